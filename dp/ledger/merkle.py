"""One hash for a list, and short proofs that something is on it. Pure functions.

    leaf   = SHA256(00 || salt || content)          16 random bytes hide a content that could be guessed
    node   = SHA256(01 || left || right)            no node can be passed off as a leaf, nor a leaf as a node
    root   of one leaf is the leaf; of n, the node of the first 2^k < n <= 2^(k+1) and of the rest; of none, SHA256("")

Source: RFC 6962, section 2.1 (the tree and its audit paths), with a salt in every leaf.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dp.errors import BadParameters

HASH_BYTES = 32
SALT_BYTES = 16
# A list of 2^40 leaves is none that anybody keeps; a longer path is not even walked.
LONGEST_PATH = 40


class Side(Enum):
    """On which side of the path a neighbour stands."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class Step:
    """One neighbour on the way from a leaf to the root."""

    side: Side
    hash: bytes

    def __post_init__(self) -> None:
        _require_hash(self.hash)


def leaf_hash(salt: bytes, content: bytes) -> bytes:
    """SHA256(00 || salt || content).  Raises: BadParameters for a salt that is not 16 bytes long."""
    if len(salt) != SALT_BYTES:
        raise BadParameters(f"a leaf needs a salt of {SALT_BYTES} bytes, got {len(salt)}")
    return hashlib.sha256(b"\x00" + salt + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA256(01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in their order.  Raises: BadParameters."""
    for leaf in leaves:
        _require_hash(leaf)
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def path_of(leaves: Sequence[bytes], position: int) -> tuple[Step, ...]:
    """The neighbours on the way from one leaf up to the root.  Raises: BadParameters."""
    if not 0 <= position < len(leaves):
        raise BadParameters(f"there is no leaf {position} among {len(leaves)}")
    level, at, steps = list(leaves), position, []
    while len(level) > 1:
        neighbour = at ^ 1
        if neighbour < len(level):
            steps.append(Step(Side.LEFT if neighbour < at else Side.RIGHT, level[neighbour]))
        level, at = _above(level), at // 2
    return tuple(steps)


def climb(leaf: bytes, path: Sequence[Step]) -> bytes:
    """The root that this leaf has along this path.  Raises: BadParameters for what is no path."""
    _require_hash(leaf)
    if len(path) > LONGEST_PATH:
        raise BadParameters(f"a path has at most {LONGEST_PATH} steps, got {len(path)}")
    at = leaf
    for step in path:
        at = node_hash(step.hash, at) if step.side is Side.LEFT else node_hash(at, step.hash)
    return at


def is_at(root: bytes, leaf: bytes, position: int, size: int, path: Sequence[Step]) -> bool:
    """Whether the path leads from this leaf, at this position of a list of this size, to the root.

    Against: a path that is right in itself and turns elsewhere than the position says.
    """
    return sides_of(position, size) == tuple(step.side for step in path) and hmac.compare_digest(
        climb(leaf, path), root
    )


def sides_of(position: int, size: int) -> tuple[Side, ...]:
    """The turns on the way up from a position in a list of this size.  Raises: BadParameters."""
    if not 0 <= position < size or size > 1 << LONGEST_PATH:
        raise BadParameters(f"there is no leaf {position} among {size}")
    sides = []
    while size > 1:
        neighbour = position ^ 1
        if neighbour < size:
            sides.append(Side.LEFT if neighbour < position else Side.RIGHT)
        position, size = position // 2, (size + 1) // 2
    return tuple(sides)


def _above(level: list[bytes]) -> list[bytes]:
    """The next level: neighbours joined, an odd one at the end promoted as it is."""
    paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return [*paired, level[-1]] if len(level) % 2 else paired


def _require_hash(value: bytes) -> None:
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        raise BadParameters(f"a leaf or node is a hash of {HASH_BYTES} bytes")
