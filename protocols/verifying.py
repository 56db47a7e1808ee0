"""How a party checks signatures: each for itself, or all clients of one process together.

A roster of n clients carries n signatures and every client checks them all. Where many clients live in
one process, `remembering()` checks each signature once: verification is a pure function of key, text
and signature, so the answer is the same. A client of its own process gains nothing from it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from secagg.keys import verify

Verifier = Callable[[bytes, bytes, bytes], None]
"""(public, text, signature) -> None; raises BadSignature."""


def shared_memory() -> Callable[[object], Verifier]:
    """One `remembering` verifier for every client."""
    memory = remembering()
    return lambda who: memory


def remembering() -> Verifier:
    """A verifier that remembers what it accepted; refusals are raised anew each time."""
    return functools.lru_cache(maxsize=1 << 16)(verify)
