"""The ring that supervisor and rprun share, where several threads write: what is read, what not, in which order."""

from __future__ import annotations

import os
import sys
import threading

import pytest

if sys.platform != "linux":
    pytest.skip("Linux is what this is about", allow_module_level=True)
if os.uname().machine != "x86_64":
    pytest.skip("there is machine code for x86_64 only", allow_module_level=True)

from writers import writer

from rprun.backends.seccomp.ring import DATA_SIZE, Ring


def test_in_the_order_of_their_places() -> None:
    """Nothing is read behind what is not complete; what was withdrawn is never read, nor a reason to stop."""
    ring = Ring()
    ring.share(writer(ring).reserve)
    places = [ring.put(bytes([number]) * (number + 1)) for number in range(5)]
    assert sorted(places) == places
    assert (ring.take(10), ring.has_records()) == ([], False)
    ring.publish(places[1])
    assert (ring.take(10), ring.has_records()) == ([], False)
    ring.publish(places[0])
    assert ring.has_records()
    assert (ring.take(10), ring.has_records()) == ([b"\0", b"\1\1"], False)
    ring.publish(places[4])
    ring.publish(places[3])
    assert ring.take(10) == []
    ring.withdraw(places[2])
    assert ring.take(1) == [b"\3" * 4]
    assert ring.take(10) == [b"\4" * 5]
    ring.close()


def test_writers_that_are_no_more() -> None:
    """What they had not completed is withdrawn, and the next one, who writes alone, goes on behind it."""
    ring = Ring()
    ring.share(writer(ring).reserve)
    places = [ring.put(bytes([number])) for number in range(4)]
    ring.publish(places[0])
    ring.publish(places[2])
    ring.withdraw_all()
    following = Ring(os.dup(ring.fd), os.dup(ring.bell))
    following.take_over()
    following.publish(following.put(b"next"))
    assert ring.take(10) == [b"\0", b"\2", b"next"]
    assert not ring.has_records()
    following.close()
    ring.close()


def test_no_room() -> None:
    """It is said, counted, and nobody's record is overwritten."""
    ring = Ring()
    ring.share(writer(ring).reserve)
    record = bytes(1 << 16)
    count = 0
    while (place := ring.put(record)) >= 0:
        ring.publish(place)
        count += 1
    assert count == DATA_SIZE // (len(record) + 8)
    assert ring.put(record, is_dispensable=True) < 0
    assert ring.newly_lost() == 1
    assert len(ring.take(2)) == 2
    # Round the end, where the rest is not enough for one.
    place = ring.put(record)
    assert place == 0
    ring.publish(place)
    assert ring.take(count) == [record] * (count - 1)
    ring.close()


@pytest.mark.parametrize("writers", [1, 2])
def test_many_threads(writers: int) -> None:
    """All that is written by threads at the same time is read once, and of each in its order, round and round."""
    each = 30_000
    ring = Ring()
    first = writer(ring)
    ring.share(first.reserve)
    with_rings = [(ring, first)]
    if writers > 1:
        other = Ring(os.dup(ring.fd), os.dup(ring.bell))
        second = writer(other, first)
        other.share(second.reserve)
        with_rings.append((other, second))

    def write(name: int, mine: Ring) -> None:
        for number in range(each):
            record = name.to_bytes(4, "little") + number.to_bytes(4, "little") + bytes(number % 300)
            while (place := mine.put(record, is_dispensable=True)) < 0:
                os.sched_yield()
            if number % 7 == 3:
                mine.withdraw(place)
            else:
                mine.publish(place)

    threads = [threading.Thread(target=write, args=(name, mine)) for name, (mine, _) in enumerate(with_rings)]
    for thread in threads:
        thread.start()
    expected = [number for number in range(each) if number % 7 != 3]
    seen: list[list[int]] = [[] for _ in threads]
    while any(len(numbers) < len(expected) for numbers in seen):
        for record in ring.take(100):
            assert len(record) == 8 + int.from_bytes(record[4:8], "little") % 300
            seen[int.from_bytes(record[:4], "little")].append(int.from_bytes(record[4:8], "little"))
    for thread in threads:
        thread.join()
    assert seen == [expected] * writers
    assert not ring.has_records()
    for mine, _ in reversed(with_rings):
        mine.close()
