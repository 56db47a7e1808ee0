"""Merkle roots and paths against published vectors and a second implementation that follows RFC 6962 word by word."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.errors import BadParameters
from dp.ledger.merkle import Side, Step, climb, is_at, leaf_hash, node_hash, path_of, root_of, sides_of

SIZES = range(1, 34)

# The inputs and roots that implementations of Certificate Transparency are tested with.
DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(bytes([number]) * 16, b"member %d" % number) for number in range(size)]


def split(size: int) -> int:
    """The largest power of two below size."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def tree_hash(parts: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1."""
    if len(parts) == 1:
        return parts[0]
    k = split(len(parts))
    return hashlib.sha256(b"\x01" + tree_hash(parts[:k]) + tree_hash(parts[k:])).digest()


def audit_path(at: int, parts: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(parts) == 1:
        return []
    k = split(len(parts))
    if at < k:
        return [*audit_path(at, parts[:k]), tree_hash(parts[k:])]
    return [*audit_path(at - k, parts[k:]), tree_hash(parts[:k])]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size: int) -> None:
    hashed = [hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest() for text in DATA[:size]]
    assert root_of(hashed).hex() == ROOTS[size - 1]


def test_a_leaf_is_a_published_leaf_of_salt_and_content() -> None:
    salt, content = bytes.fromhex(DATA[7]), b"content"
    assert leaf_hash(salt, content) == hashlib.sha256(b"\x00" + salt + content).digest()
    assert root_of([]) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", SIZES)
def test_root_and_paths_are_those_of_the_standard_and_lead_to_the_root(size: int) -> None:
    parts = leaves(size)
    root = root_of(parts)
    assert root == tree_hash(parts)
    for at in range(size):
        path = path_of(parts, at)
        assert [step.hash for step in path] == audit_path(at, parts)
        assert sides_of(at, size) == tuple(step.side for step in path)
        assert climb(parts[at], path) == root
        assert is_at(root, parts[at], at, size, path)


@pytest.mark.parametrize("size", SIZES)
def test_no_other_leaf_place_or_size_is_proved_by_a_path(size: int) -> None:
    parts = leaves(size)
    root = root_of(parts)
    for at in range(size):
        path = path_of(parts, at)
        assert not is_at(root, leaf_hash(bytes(16), b"a stranger"), at, size, path)
        for other in range(size):
            if other != at:
                assert not is_at(root, parts[other], at, size, path)
                assert not is_at(root, parts[at], other, size, path)


@pytest.mark.parametrize("size", SIZES)
def test_a_changed_order_or_a_changed_leaf_is_another_root(size: int) -> None:
    parts = leaves(size)
    root = root_of(parts)
    for at in range(size - 1):
        swapped = [*parts]
        swapped[at], swapped[at + 1] = parts[at + 1], parts[at]
        assert root_of(swapped) != root
    for at in range(size):
        assert root_of([*parts[:at], leaf_hash(bytes(16), b"x"), *parts[at + 1 :]]) != root
    # Without the promotion of the odd one, doubling the last leaf would give the same root.
    assert root_of([*parts, parts[-1]]) != root
    assert root_of(parts[:-1]) != root


@pytest.mark.parametrize("size", [2, 3, 4, 8, 33])
def test_a_node_is_not_a_leaf(size: int) -> None:
    """The two halves of an inner node, offered as the content of a leaf, hash to something else than the node."""
    parts = leaves(size)
    inner = node_hash(parts[0], parts[1])
    content = parts[0] + parts[1]
    assert leaf_hash(content[:16], content[16:]) != inner
    assert hashlib.sha256(content).digest() != inner
    # The node itself in place of a leaf, with the shorter path that is right for it.
    shorter = path_of(parts, 0)[1:]
    assert climb(inner, shorter) == root_of(parts)
    assert not is_at(root_of(parts), inner, 0, size, shorter)


def test_a_path_that_turns_otherwise_is_refused() -> None:
    parts = leaves(5)
    path = path_of(parts, 2)
    mirrored = tuple(Step(Side.RIGHT if step.side is Side.LEFT else Side.LEFT, step.hash) for step in path)
    assert not is_at(root_of(parts), parts[2], 2, 5, mirrored)
    assert not is_at(root_of(parts), parts[2], 2, 5, path[:-1])
    assert not is_at(root_of(parts), parts[2], 2, 5, (*path, path[-1]))


@given(st.integers(1, 200), st.data())
def test_paths_of_any_size_lead_home(size: int, data: st.DataObject) -> None:
    parts = leaves(size % 256)
    at = data.draw(st.integers(0, size - 1))
    path = path_of(parts, at)
    assert is_at(root_of(parts), parts[at], at, size, path)
    assert len(path) <= (size - 1).bit_length()


def test_what_is_no_leaf_place_or_path_is_refused_by_name() -> None:
    parts = leaves(3)
    for refused in (
        lambda: leaf_hash(b"short", b"x"),
        lambda: root_of([b"short"]),
        lambda: path_of(parts, 3),
        lambda: path_of(parts, -1),
        lambda: path_of([], 0),
        lambda: sides_of(3, 3),
        lambda: sides_of(0, 2**41),
        lambda: climb(b"short", ()),
        lambda: climb(parts[0], [Step(Side.LEFT, parts[1])] * 41),
        lambda: Step(Side.LEFT, b"short"),
    ):
        with pytest.raises(BadParameters):
            refused()
