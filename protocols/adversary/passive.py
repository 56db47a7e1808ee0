"""Scripts that read and never lie: what anybody sees who watches the protocol being followed."""

from __future__ import annotations

import base64
import struct
from collections import Counter

import numpy as np

from protocols.adversary.targets import Case, KeepsState, MakesMasks, RunsRounds, vector_of
from protocols.adversary.verdict import Finding, Script

PAIRS = 1024
# What a key of AES-128 has; the least that is called a key today (NIST SP 800-57, part 1).
STRENGTH_BITS = 128


def seed_entropy(target: MakesMasks) -> Finding:
    """Counts the bits of a mask key that vary and matter.

    A bit that is the same in a thousand agreed keys, or whose flip leaves the mask as it was, adds nothing to what
    somebody would have to try. Nothing is tried here: the count is the finding.
    That all bits matter proves no strength: there may be a shorter way than the keys, such as the curve.
    """
    keys = target.mask_keys(PAIRS)
    size = 8 * len(keys[0])
    table = np.unpackbits(np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1), axis=1, bitorder="little")
    varies = table.min(axis=0) < table.max(axis=0)
    live = [place for place in range(size) if varies[place] and flip_matters(target, keys[0], place)]
    entropy = sum(binary_entropy(float(table[:, place].mean())) for place in live)
    counted = f"{len(live)} of {size} key bits vary and change the mask"
    return Finding(len(live) < STRENGTH_BITS, f"{counted} ({entropy:.2f} bits over {len(keys):,} pairs)")


def flip_matters(target: MakesMasks, key: bytes, place: int) -> bool:
    """Whether the mask changes when this bit of its key does."""
    flipped = bytearray(key)
    flipped[place // 8] ^= 1 << place % 8
    return not np.array_equal(target.mask(key, 16, 32), target.mask(bytes(flipped), 16, 32))


def binary_entropy(p: float) -> float:
    """Bits of entropy of one bit that is set with probability p."""
    return 0.0 if p in (0.0, 1.0) else float(-p * np.log2(p) - (1 - p) * np.log2(1 - p))


def top_value(target: MakesMasks) -> Finding:
    """Looks for residues that a mask never takes: each of them tells something about what it hides."""
    bits, length = 4, 1 << 14
    counts = np.zeros(1 << bits, np.int64)
    for key in target.mask_keys(4):
        counts += np.bincount(target.mask(key, bits, length).astype(np.int64), minlength=1 << bits)
    missing = np.flatnonzero(counts == 0).tolist()
    seen = f"{missing} never occur" if missing else f"each value {counts.min():,} to {counts.max():,} times"
    return Finding(bool(missing), f"modulo {1 << bits}, {4 * length:,} draws: {seen}")


def clear_metadata(target: RunsRounds) -> Finding:
    """Searches everything a client uploads for its weight, in the spellings an integer has on a wire."""
    secret = 123_456_789
    vectors = {who: vector_of(who, 40) for who in range(5)}
    weights = {who: 100_000_000 + 7_777 * who for who in vectors} | {2: secret}
    ended = target.run(Case(vectors, weights, max_weight=200_000_000))
    found = [name for name, spelling in spellings(secret).items() if spelling in ended.uploads[2]]
    size = len(ended.uploads[2])
    if found:
        return Finding(True, f"the weight is in the client's {size:,} bytes as {', '.join(found)}")
    return Finding(False, f"the weight is nowhere in the {size:,} bytes the client sent")


def spellings(number: int) -> dict[str, bytes]:
    """How a weight is written: fixed width, floating point, protobuf's varints, text."""
    return {
        "four little-endian bytes": number.to_bytes(4, "little"),
        "four big-endian bytes": number.to_bytes(4, "big"),
        "float64": struct.pack("<d", number),
        "float64 big-endian": struct.pack(">d", number),
        "a varint": varint(number),
        "a zigzag varint": varint(2 * number),
        "text": str(number).encode(),
    }


def varint(number: int) -> bytes:
    """Base 128, low group first, the high bit set on all but the last (protobuf)."""
    groups = []
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def leftover_secrets(target: KeepsState) -> Finding:
    """Searches what a client stores after the round for the secrets it had during the round."""
    kept = target.after_round()
    found = [name for name, secret in kept.secrets.items() if any(text in kept.state for text in forms_of(secret))]
    counted = f"{len(found)} of {len(kept.secrets)} secrets are still in the client's state"
    return Finding(bool(found), f"{counted}: {summary(found)}" if found else counted)


def forms_of(secret: bytes) -> tuple[bytes, ...]:
    """A secret as itself, in hexadecimal and in base64."""
    return secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")[:-1]


def summary(names: list[str]) -> str:
    """Names before their colon, each once, with how often."""
    kinds = Counter(name.partition(":")[0] for name in names)
    return ", ".join(kind if count == 1 else f"{count} x {kind}" for kind, count in kinds.items())


SCRIPTS = (
    Script(
        "seed_entropy", "the keys of masks have fewer bits than a key needs", ("K5", "K7"), MakesMasks, seed_entropy
    ),
    Script("top_value", "a mask never takes some residue", ("K7",), MakesMasks, top_value),
    Script("clear_metadata", "a weight is readable beside its masked vector", (), RunsRounds, clear_metadata),
    Script("leftover_secrets", "a client stores secrets of a past round", ("K1", "K2"), KeepsState, leftover_secrets),
)
