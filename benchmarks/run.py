"""Measures rprun beside its peers and prints a Markdown table with targets and verdicts.

    python -m benchmarks [--quick] [--rprun PATH] [start|throughput|latency|memory|observe ...]

rprun should be installed as a wheel: an editable install starts through an import hook that users do not have.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import latency, memory, observe, start, throughput
from benchmarks.measure import FailedError
from benchmarks.peers import Programs
from benchmarks.table import Row, render

BENCHMARKS = {
    "start": start.rows,
    "throughput": throughput.rows,
    "latency": latency.rows,
    "memory": memory.rows,
    "observe": observe.rows,
}


def main() -> int:
    """Measure and print; 1 where a target is missed or something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs: for a look, not for a figure")
    parser.add_argument(
        "--rprun", default=str(Path(sys.executable).with_name("rprun")), help="default: the one beside this Python"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if not Path(arguments.rprun).exists():
        parser.error(f"{arguments.rprun}: not found (try --rprun PATH)")
    programs = Programs(str(Path(arguments.rprun).absolute()))
    if not programs.is_wheel():
        print("benchmarks: this rprun is not installed as a wheel, its start will look slow", file=sys.stderr)
    programs.install()

    rows: list[Row] = []
    failed = False
    for name in arguments.names or BENCHMARKS:
        print(f"benchmarks: {name}", file=sys.stderr)
        try:
            rows += BENCHMARKS[name](programs, quick=arguments.quick)
        except FailedError as error:
            print(f"benchmarks: {name} failed: {error}", file=sys.stderr)
            failed = True
    print(render(rows))
    print(f"\nMedians of figures and of ratios, measured in turns: {programs.describe()}")
    return 1 if failed or any("missed" in row.verdict() for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
