"""What can be wrong with a number, a point, a share or a box.

    SecaggError
    ├── BadParameters       an argument outside its stated range: the caller's mistake
    ├── NoParameters        no (degree, threshold) meets the assumption; names the nearest one that does
    ├── Overflow            a sum could wrap around the modulus
    ├── NonFinite           a vector holds NaN or an infinity
    ├── ClipExceeded        a vector exceeds the clip and the caller asked to refuse instead of clip
    ├── BadShare            a share, or the secret it leads to, is not what honest dealing gives
    ├── BadBox              a sealed box does not open under this key and these ends
    ├── BadPoint            a public key of low order, not canonical, or of the wrong length
    ├── BadSignature        a signature does not verify
    ├── BadCiphertext       a homomorphic ciphertext is malformed
    ├── WrongContext        a value made for another round, task or plan
    └── EntropyUnavailable  the operating system gave no randomness; there is no fallback

Nobody is blamed here: these are statements about values. Who sent the value is known one floor up,
where `protocols` turns each of them into a `Misbehaved` of the same name. No message ever contains
a secret or the content of a vector.
"""

from __future__ import annotations


class SecaggError(Exception):
    """A value is not what it has to be; the message says which, by how much, and what to do."""


class BadParameters(SecaggError):
    """An argument lies outside its stated range. Yours: correct the call."""


class NoParameters(SecaggError):
    """No parameters meet the assumption. Yours: invite more clients or assume fewer losses."""


class Overflow(SecaggError):
    """max_clients * (weight * level + noise) does not fit 64 bits. Yours: lower one of the four."""


class NonFinite(SecaggError):
    """The vector holds NaN or an infinity. Yours: the training step diverged; nothing was encoded."""


class ClipExceeded(SecaggError):
    """A coordinate exceeds the clip under the policy that refuses. Yours: clip first, or count instead."""


class BadShare(SecaggError):
    """A share outside the field, a repeated point, or shares of no 256-bit secret. Blame holder or dealer."""


class BadBox(SecaggError):
    """The box was changed, or made for other ends, another direction or another session. Blame the sealer."""


class BadPoint(SecaggError):
    """The public key would make the agreed secret predictable, or has a second spelling. Blame its owner."""


class BadSignature(SecaggError):
    """The signature does not belong to this message and key. Blame whoever carries it."""


class BadCiphertext(SecaggError):
    """The ciphertext does not have the shape its plan prescribes. Blame the sender."""


class WrongContext(SecaggError):
    """The value is bound to another round, task or plan. Blame whoever replays it."""


class EntropyUnavailable(SecaggError):
    """os.urandom failed or returned too little. Yours: the machine must not take part in a round."""
