"""One client's elements behind each other as masks carry them: exact sums of vectors and of 64-bit words in limbs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadPlan
from protocols.heads import NO_LEDGER
from protocols.oneshot import shape as shapes
from protocols.oneshot.shape import Shape
from protocols.plan import NOTHING, Agreement, RoundPlan
from secagg.ring import Ring


def shape_of(clients: int = 6, bits: int = 12, weight: int = 3, length: int = 10, **terms: Any) -> Shape:
    plan = RoundPlan.recommend(
        clients, corrupt=Fraction(0), bits=bits, max_weight=weight, min_cohort=3, protocol="oneshot", **terms
    )
    return Shape.of(Agreement(plan, 0, bytes(16), length, NOTHING, NOTHING, NO_LEDGER))


SHAPES = [shape_of(), shape_of(3, 8, 1), shape_of(1000, 16, 50), shape_of(100, 8, 2**20), shape_of(20, 4, 1, 70_000)]


def summed(shape: Shape, parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What masks add up to, modulo 2^b, element by element."""
    total = shape.coding.ring.zeros(shape.mask.length)
    for each in parts:
        total += each
    shape.coding.ring.reduce_in_place(total)
    return total


@given(data=st.data())
def test_sums_of_vectors_and_words_are_exact(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES[:4]))
    clients = data.draw(st.integers(1, min(shape.mask.clients, 8)))
    word = st.integers(0, 2**64 - 1)
    count = shape.extras.length
    words = [data.draw(st.lists(word, min_size=count, max_size=count)) for _ in range(clients)]
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ring = shape.coding.ring
    vectors = [ring.reduce(generator.integers(0, ring.modulus, shape.coding.length)) for _ in range(clients)]
    parts = [shape.elements(vector, np.array(each, np.uint64)) for vector, each in zip(vectors, words, strict=True)]
    total, opened = shape.sums(summed(shape, parts))
    assert total.tolist() == [sum(map(int, column)) % ring.modulus for column in zip(*vectors, strict=True)]
    assert opened.tolist() == [sum(column) % 2**64 for column in zip(*words, strict=True)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.coding.ring.bits} bits, {shape.mask.clients}")
def test_no_sum_of_limbs_of_all_clients_leaves_half_of_the_ring(shape: Shape) -> None:
    most = shape.mask.clients * ((1 << shape.limb_bits) - 1)
    assert most < shape.coding.ring.modulus // 2
    # One more bit might leave it, so limbs are as wide as can be said without looking at the number itself.
    assert 2 * (most + shape.mask.clients) * 2 >= shape.coding.ring.modulus // 2
    full = np.full(shape.extras.length, 2**64 - 1, np.uint64)
    part = shape.elements(shape.coding.ring.zeros(shape.coding.length), full)
    assert int(part.max()) < 1 << shape.limb_bits
    _, words = shape.sums(summed(shape, [part] * shape.mask.clients))
    assert words.tolist() == [shape.mask.clients * (2**64 - 1) % 2**64] * shape.extras.length


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.coding.ring.bits} bits, {shape.mask.clients}")
def test_the_mask_is_for_exactly_what_is_masked(shape: Shape) -> None:
    vector, words = shape.coding.ring.zeros(shape.coding.length), np.zeros(shape.extras.length, np.uint64)
    elements = shape.elements(vector, words)
    assert (elements.size, elements.dtype) == (shape.mask.length, shape.coding.ring.dtype)
    assert shape.mask.bits == shape.coding.ring.bits
    limbs = (shape.mask.length - shape.coding.length) // shape.extras.length
    assert (limbs - 1) * shape.limb_bits < 64 <= limbs * shape.limb_bits


@pytest.mark.parametrize(("clients", "bits"), [(3, 4), (6, 5), (16, 7), (100, 9)])
def test_the_narrowest_rings_there_are_have_room_for_a_limb(clients: int, bits: int) -> None:
    shape = shape_of(clients, 2, 1)
    assert (shape.coding.ring.bits, shape.limb_bits) == (bits, 1)


def test_a_ring_without_room_for_a_limb_is_refused_and_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """No coding of ours is as narrow; one that comes later must not open words as other ones."""

    class Narrow:
        ring = Ring(4)
        length = 10

    monkeypatch.setattr(shapes, "coding_of", lambda agreement: Narrow())
    assert shape_of(3).limb_bits == 1
    with pytest.raises(BadPlan, match="sums of 4 bits have no room for the weights of 4 clients"):
        shape_of(4)


def test_sums_wider_than_a_mask_are_refused_and_say_what_to_lower() -> None:
    with pytest.raises(BadPlan, match="lower the bits or the clients"):
        shape_of(6, 24, 2**22)
