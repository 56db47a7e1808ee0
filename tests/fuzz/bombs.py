"""Bytes that promise more than they hold, and what refusing them may cost.

    bombs(data)    the same bytes with each count in turn made huge: 4 GiB, 2^31 items, 2^63, ...
    peak_of(deed)  the most bytes that were allocated at one moment inside

Bound (D16): the bytes that are there, and one MiB.
"""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from protocols.codec import kind_of
from protocols.errors import Malformed, TooLarge
from tests.fuzz import targets
from tests.fuzz.corpus import frame_seeds, recordings
from tests.fuzz.encrypted import encrypted_frames
from tests.fuzz.mutate import Seed
from tests.fuzz.oneshot import oneshot_frames

MIB = 1 << 20
HUGE = tuple(n.to_bytes(8, "little") for n in (2**24, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, 2**64 - 1))


def seeds() -> list[Seed]:
    """Every pairwise frame, and one of each kind that is said where others than the clients open."""
    others = {kind_of(frame): frame for frame in (*encrypted_frames(), *oneshot_frames())}.values()
    return [*(seed for recording in recordings() for seed in frame_seeds(recording.frames)), *frame_seeds(others)]


def bombs(seed: Seed) -> Iterator[bytes]:
    for count in seed.counts:
        for huge in HUGE:
            yield seed.data[: count.place] + huge + seed.data[count.place + 8 :]


def peak_of(deed: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        deed()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(data: bytes) -> str:
    """The error's name. A bomb that is taken for a message fails here."""
    outcome = targets.open_any(data)
    targets.require(outcome in (Malformed.__name__, TooLarge.__name__), f"a bomb was {outcome}: {data.hex()}")
    return outcome


def refused_in_little_memory(spare: int) -> int:
    """All bombs, in a process that can get no more than `spare` bytes of address space beyond what it has.

    Raises: MemoryError when refusing allocates; AssertionError when the limit does not hold.
    """
    with targets.trusting():
        found = [bomb for seed in seeds() for bomb in bombs(seed)]
        [refused(data) for data in found[:100]]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + spare
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        require_limit(spare)
        return len([refused(data) for data in found])


def require_limit(spare: int) -> None:
    try:
        bytearray(2 * spare)
    except MemoryError:
        return
    raise AssertionError("the limit of address space does not hold here")
