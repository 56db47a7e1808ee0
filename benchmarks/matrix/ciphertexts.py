"""Checks N1 to T6: one judgement for each, of what any library that encrypts does. Needs numpy alone."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.matrix.child import Ending
from benchmarks.matrix.finding import Answer

Floats = NDArray[np.float64]

CLOSE = 1e-3
# Ten tensors: the weights and biases of LeNet-5.
LENET = ((6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 256), (120,), (84, 120), (84,), (10, 84), (10,))
MULTIPLE = 2.0
# One honest client, for flips of single bits.
FLIPS = 100
# Protocol buffers' way to say "4096 numbers" and nothing else: the message of three bytes.
HOLLOW = b"\x08\x80\x20"
NO_CIPHERTEXTS = {"nothing": b"", "three bytes": HOLLOW, "eighteen bytes": bytes(range(18))}


def opens_anothers(opened: Floats | None, truth: Floats, files: Sequence[Path], words: str) -> Answer:
    """N1. What one client's own material makes of another client's upload, and who may read that material."""
    modes = ", ".join(sorted({f"{stat.S_IMODE(file.stat().st_mode):04o}" for file in files}))
    readable = f"; files of mode {modes}" if files else ""
    if opened is None or opened.shape != truth.shape:
        return Answer(False, words + readable)
    error = float(np.abs(opened - truth).max())
    return Answer(error < CLOSE, f"{words}: its picture of another's update is off by {error:.1e}{readable}")


def survives(endings: Sequence[tuple[str, Ending | str]]) -> Answer:
    """N2, T1. How each message ended the process that read it, or the name under which it was refused."""
    killed = any(isinstance(ending, Ending) and ending.killed for _, ending in endings)
    return Answer(killed, "; ".join(f"{what}: {ending}" for what, ending in endings))


def layered(flat: int, layers: int, parameters: int) -> Answer:
    """N3. Bytes of one vector and of the same numbers in LeNet-5's ten tensors."""
    clear = 4 * parameters
    said = f"{parameters:,} parameters: {layers / 1e6:.2f} MB in ten tensors, {flat / 1e6:.2f} MB in one vector"
    return Answer(layers > MULTIPLE * flat, f"{said}; {layers / clear:.1f} times float32")


def poisoned(mean: Floats | None, words: str) -> Answer:
    """N4. The mean of five clients in [-1, 1], one of whom sends NaN and 1e300."""
    if mean is None:
        return Answer(False, words)
    spoilt = not bool(np.isfinite(mean).all()) or float(np.abs(mean).max()) > 1
    return Answer(spoilt, f"the mean of vectors in [-1, 1] is {[float(f'{value:.4g}') for value in mean[:2]]}; {words}")


def told_in_logs(text: str, update: Floats) -> Answer:
    """N5. Whether all that was logged while an update was sent names its least or greatest value."""
    extremes = (float(update.min()), float(update.max()))
    seen = [value for value in extremes if repr(value)[:8] in text]
    return Answer(bool(seen), f"{len(text):,} characters logged, with {len(seen)} of the 2 extremes in them")


def believed(claimed: int, held: int, returned: int | None, words: str) -> Answer:
    """T2. How many numbers come out of a message that claims more than it holds; None: refused."""
    said = f"{held:,} numbers under a claim of {claimed:,}"
    if returned is None:
        return Answer(False, f"{said}: {words}")
    return Answer(returned > held, f"{said}: {returned:,} come out")


def flipped(read: Callable[[bytes], Floats | None], upload: bytes, truth: Floats) -> Answer:
    """T3. Flips single bits, evenly over the upload; `read` gives the sum that then comes out, None where refused."""
    accepted = wrong = 0
    for number in range(FLIPS):
        place = (2 * number + 1) * 8 * len(upload) // (2 * FLIPS)
        bent = bytearray(upload)
        bent[place // 8] ^= 1 << place % 8
        found = read(bytes(bent))
        accepted += found is not None
        wrong += found is not None and (found.shape != truth.shape or not np.allclose(found, truth, atol=CLOSE))
    return Answer(wrong > 0, f"{FLIPS} flips: {accepted} accepted, {wrong} of them with a wrong sum")


def carries_noise(released: Floats, exact: Floats) -> Answer:
    """T4. Whether what is released of a sum of lattice points is that lattice point, or beside it.

    The distance is the ciphertext's own noise, and that is all that keeps a key from being solved for.
    Source: Li, Micciancio, EUROCRYPT 2021.
    """
    beside = np.abs(released - exact)
    off = int((beside > 0).sum())
    worst = f"by up to {float(beside.max()):.1e}" if off else "all are exact"
    return Answer(off > 0, f"{off:,} of {exact.size:,} released sums of integers are beside the integer, {worst}")


def wraps(opened: float | None, exact: float, words: str) -> Answer:
    """T5. A sum that is too large for its ring, or the words in which it is refused."""
    if opened is None:
        return Answer(False, words)
    return Answer(abs(opened - exact) > CLOSE * exact, f"{words}: {opened:.5g}, exact is {exact:.5g}")


def talks(printed: str, words: str) -> Answer:
    """T6. What a library prints by itself."""
    lines = len(printed.splitlines())
    return Answer(bool(printed), f"{words}: {lines} lines on standard output")
