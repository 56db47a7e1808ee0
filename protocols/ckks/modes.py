"""Who can open encrypted sums, what is weak about each way, and which ways a party has agreed to."""

from __future__ import annotations

from collections.abc import Set

from protocols.errors import PolicyViolation
from protocols.party import SERVER
from secagg.ckks.plan import Mode

_WEAKNESSES = {
    Mode.THRESHOLD: "a client that helps whoever sees the opened sums can recover the key, and with it every upload "
    "made under it",
    Mode.SINGLE: "the decryptor alone can decrypt every upload that it gets hold of, and it learns every sum",
    Mode.SEEDED: "every client can decrypt every other client's upload that it gets to see",
}


def weakness(mode: Mode) -> str:
    """One sentence for plans and reports: what this mode does not protect against."""
    return _WEAKNESSES[mode]


def check_mode(mode: Mode, allowed: Set[Mode]) -> None:
    """Raises: PolicyViolation in the server's name for a mode that this party has not agreed to."""
    if mode not in allowed:
        raise PolicyViolation(
            SERVER, f"proposes encrypted sums of mode {mode.value}, which I have not agreed to: {weakness(mode)}"
        )
