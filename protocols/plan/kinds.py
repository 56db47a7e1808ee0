"""The words a plan is made of, and the bounds that no plan exceeds."""

from __future__ import annotations

import enum
from fractions import Fraction

from secagg.ckks.plan import Mode

NOTHING = bytes(32)
MAX_LENGTH = 1 << 32
MAX_METRICS = 64
# What a policy allows that does not say otherwise.
USUAL_LENGTH, USUAL_CLIP = 1 << 27, Fraction(1 << 20)
MAX_NOISE_MULTIPLIER = Fraction(1 << 64)
PAIRWISE, ONE_SHOT, ENCRYPTED = "pairwise", "oneshot", "ckks"
# The other modes of encrypted sums trust one party, or every client, with every upload.
USUAL_MODES = frozenset({Mode.THRESHOLD})


class Promise(enum.Enum):
    """Whom the round is safe against.

    CURIOUS: a server that follows the protocol and reads everything; four exchanges.
    ACTIVE: also a server that lies at will once the identities are registered; five exchanges.
    """

    CURIOUS = "curious"
    ACTIVE = "active"


class Suite(enum.Enum):
    """The primitives of a round. Nothing assumes their sizes beyond the messages of the suite."""

    CLASSIC = "X25519, Ed25519, HKDF-SHA256, AES-256-GCM, AES-256-CTR"


class Excess(enum.Enum):
    """What becomes of the noise that a cohort larger than the smallest one has too much of.

    KEPT: it stays in the sum. REMOVED: clients add their shares in layers, and the layers too many are opened and
    subtracted, so that every allowed cohort ends with the same noise (`dp.layers`).
    """

    KEPT = "kept"
    REMOVED = "removed"
