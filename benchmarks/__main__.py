"""`python -m benchmarks` prints the table that the README shows."""

from __future__ import annotations

import sys

from benchmarks.run import main

sys.exit(main())
