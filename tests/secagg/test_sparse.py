"""Selections: the coordinates they stand for, both ways of taking and putting back, agreed choices, refusals."""

from __future__ import annotations

import hashlib
import math
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from secagg.encode import Encoding
from secagg.errors import BadParameters, NonFinite
from secagg.keys import Seed
from secagg.masks import mask_into
from secagg.ring import Ring
from secagg.sparse import Selection, above, block_norms, draw, top_k

SEED = Seed(b"public".ljust(32, b"."))


def ids(*places: int) -> np.ndarray:
    return np.array(places, np.int64)


@st.composite
def selections(drawn: st.DrawFn) -> Selection:
    length = drawn(st.integers(1, 40))
    block = drawn(st.integers(1, length))
    chosen = drawn(st.sets(st.integers(0, -(-length // block) - 1)))
    return Selection(length, ids(*sorted(chosen)), block)


# Known answers


def test_the_digest_is_the_hash_of_length_block_count_and_ids() -> None:
    expected = hashlib.sha256(b"secagg/v1/sparse/selection" + struct.pack("<3Q3q", 10, 2, 3, 0, 2, 4)).digest()
    assert Selection(10, ids(0, 2, 4), 2).digest == expected


def test_blocks_take_their_coordinates_and_the_last_one_is_as_short_as_what_is_left() -> None:
    chosen = Selection(10, ids(1, 3), 3)
    assert chosen.coordinates.tolist() == [3, 4, 5, 9]
    assert chosen.size == 4
    assert chosen.gather(np.arange(10.0)).tolist() == [3, 4, 5, 9]
    assert chosen.scatter(np.array([1.0, 2, 3, 4])).tolist() == [0, 0, 0, 1, 2, 3, 0, 0, 0, 4]


def test_a_block_that_divides_the_length_leaves_no_short_one() -> None:
    assert Selection(9, ids(2), 3).coordinates.tolist() == [6, 7, 8]
    assert Selection(9, ids(0, 1, 2), 3) == Selection.whole(9, 3)


def test_nothing_and_everything_are_selections_too() -> None:
    nothing, everything = Selection(5, ids()), Selection.whole(5)
    assert nothing.size == 0
    assert nothing.gather(np.arange(5.0)).size == 0
    assert nothing.scatter(np.zeros(0)).tolist() == [0] * 5
    assert everything.gather(np.arange(5.0)).tolist() == [0, 1, 2, 3, 4]
    assert Selection.whole(10, 4).size == 10


def test_the_largest_magnitudes_with_ties_to_the_lower_place() -> None:
    assert top_k(np.array([1.0, -3, 2, 3, -2]), 3).tolist() == [1, 2, 3]
    assert top_k(np.array([1.0, 1, 1, 1]), 2).tolist() == [0, 1]
    assert top_k(np.array([0.0, -0.0, 0.0]), 1).tolist() == [0]
    assert top_k(np.array([5.0, 6.0]), 0).tolist() == []
    assert top_k(np.array([5.0, 6.0]), 2).tolist() == [0, 1]


def test_above_is_strict_and_looks_at_magnitudes() -> None:
    assert above(np.array([0.5, -0.6, 0.7, -0.5]), 0.5).tolist() == [1, 2]
    assert above(np.zeros(3), 0.0).tolist() == []


def drawn_slowly(seed: Seed, population: int, k: int) -> list[int]:
    """The first k of the permutation that sorts places by keystream words, in Python's own integers."""
    keystream = Cipher(algorithms.AES(seed.expose()), modes.CTR(bytes(16))).encryptor().update(bytes(8 * population))
    words = struct.unpack(f"<{population}Q", keystream)
    return sorted(sorted(range(population), key=lambda place: (words[place], place))[:k])


@pytest.mark.parametrize(
    ("population", "k"), [(1, 1), (7, 3), (1000, 1), (1000, 137), (1000, 999), (1000, 1000), (5, 0)]
)
def test_draws_equal_an_independent_keystream_permutation(population: int, k: int) -> None:
    assert draw(SEED, population, k).tolist() == drawn_slowly(SEED, population, k)


def test_norms_of_blocks_equal_hypot() -> None:
    x = np.random.default_rng(0).standard_normal(103)
    expected = [math.hypot(*x[start : start + 10]) for start in range(0, 103, 10)]
    assert np.allclose(block_norms(x, 10), expected, rtol=1e-14, atol=0)
    assert block_norms(np.zeros(5), 2).tolist() == [0, 0, 0]


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_norms_survive_squares_that_float64_does_not_hold(scale: float) -> None:
    assert np.allclose(block_norms(np.array([3.0, 4.0, 0.0]) * scale, 2), np.array([5.0, 0.0]) * scale, rtol=1e-14)


# Properties


@given(selections())
def test_a_selection_is_the_coordinates_whose_block_is_chosen(chosen: Selection) -> None:
    members = set(chosen.ids.tolist())
    assert chosen.coordinates.tolist() == [j for j in range(chosen.length) if j // chosen.block in members]
    assert chosen.size == chosen.coordinates.size


@given(selections(), st.sampled_from([np.float32, np.float64, np.uint16]))
def test_gather_and_scatter_equal_fancy_indexing(chosen: Selection, dtype: type) -> None:
    vector = np.random.default_rng(chosen.length).integers(1, 1000, chosen.length).astype(dtype)
    values = chosen.gather(vector)
    assert values.dtype == dtype
    assert (values == vector[chosen.coordinates]).all()
    expected = np.zeros(chosen.length, dtype)
    expected[chosen.coordinates] = values
    assert (chosen.scatter(values) == expected).all()
    assert (chosen.gather(chosen.scatter(values)) == values).all()
    kept = vector.copy()
    chosen.scatter_into(kept, np.zeros(chosen.size, dtype))
    assert (kept == vector - expected).all()


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.data())
def test_top_k_equals_sorting(numbers: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(numbers)))
    expected = sorted(sorted(range(len(numbers)), key=lambda place: (-abs(numbers[place]), place))[:k])
    assert top_k(np.array(numbers, np.float64), k).tolist() == expected
    assert top_k(np.array(numbers, np.float32), k).tolist() == expected


@given(selections(), selections())
def test_selections_are_equal_exactly_when_all_their_fields_are(one: Selection, two: Selection) -> None:
    same = (one.length, one.block, one.ids.tolist()) == (two.length, two.block, two.ids.tolist())
    assert (one == two) is same
    assert (one.digest == two.digest) is same
    assert len({one, two}) == (1 if same else 2)


def test_two_spellings_of_one_set_have_two_digests() -> None:
    blocks, single = Selection(8, ids(1), 4), Selection(8, ids(4, 5, 6, 7))
    assert blocks.coordinates.tolist() == single.coordinates.tolist()
    assert blocks != single


def test_every_place_is_drawn_equally_often() -> None:
    counts = np.zeros(12)
    for trial in range(3000):
        counts[draw(Seed(trial.to_bytes(32, "big")), 12, 5)] += 1
    # Draws without replacement are less spread than independent ones: the test errs on the quiet side.
    assert chisquare(counts).pvalue > 1e-4
    assert counts.sum() == 15_000


def test_ids_are_the_selections_own_copy() -> None:
    given_ids = ids(1, 2)
    chosen = Selection(5, given_ids)
    given_ids[0] = 4
    assert chosen.ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        chosen.ids[0] = 0


def test_a_representation_shows_how_large_it_is_and_no_coordinate() -> None:
    assert repr(Selection(1000, ids(997))) == "Selection(length=1000, block=1, size=1)"


def test_gathering_allocates_what_it_returns() -> None:
    vector = np.ones(1 << 20, np.float32)
    for block in (1, 64):
        chosen = Selection(1 << 20, np.arange(0, (1 << 20) // block, 10, dtype=np.int64), block)
        chosen.gather(vector)
        tracemalloc.start()
        values = chosen.gather(vector)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= values.nbytes + (1 << 15)


# A masked vector does not compress: what is to be saved must be saved before the mask


@pytest.mark.parametrize("bits", [8, 15, 16, 21, 23, 32])
def test_a_masked_vector_does_not_compress(bits: int) -> None:
    ring = Ring(bits)
    sparse = np.zeros(200_000, ring.dtype)
    sparse[::100] = 1
    assert len(zlib.compress(bytes(ring.pack(sparse)), 9)) < 0.05 * ring.packed_bytes(sparse.size)
    mask_into(sparse, ring, SEED, {1: Seed(bytes(32))}, 0, bytes(32), 0, sparse.size)
    packed = bytes(ring.pack(sparse))
    assert len(zlib.compress(packed, 9)) > 0.999 * len(packed)


# Errors


@pytest.mark.parametrize(
    ("length", "chosen", "block"),
    [
        (5, ids(2, 1), 1),
        (5, ids(1, 1), 1),
        (5, ids(5), 1),
        (5, ids(-1), 1),
        (5, ids(3), 2),
        (5, np.array([1.0]), 1),
        (5, np.array([True, False]), 1),
        (5, np.array([[1]]), 1),
        (5, np.array([2**63], np.uint64), 1),
        (5, [1], 1),
        (0, ids(), 1),
        (-1, ids(), 1),
        (5, ids(0), 0),
        (5, ids(0), 6),
        (5, ids(0), True),
        (5.0, ids(0), 1),
        ((1 << 32) + 1, ids(0), 1),
    ],
)
def test_what_is_no_set_of_blocks_is_refused(length: int, chosen: np.ndarray, block: int) -> None:
    with pytest.raises(BadParameters):
        Selection(length, chosen, block)


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.gather(np.zeros(11)),
        lambda s: s.gather(np.zeros((10, 1))),
        lambda s: s.gather(np.zeros(20)[::2]),
        lambda s: s.scatter(np.zeros(3)),
        lambda s: s.scatter(np.zeros((2, 1))),
        lambda s: s.scatter_into(np.zeros(9), np.zeros(2)),
        lambda s: s.scatter_into(np.zeros(20)[::2], np.zeros(2)),
        lambda s: s.scatter_into(np.zeros(10, np.float32), np.zeros(2)),
    ],
)
def test_vectors_of_another_shape_or_dtype_are_refused_and_nothing_is_broadcast(
    act: Callable[[Selection], object],
) -> None:
    with pytest.raises(BadParameters):
        act(Selection(10, ids(1, 5)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_ranked(bad: float) -> None:
    values = np.array([1.0, bad, 2.0])
    for act in (lambda: top_k(values, 1), lambda: above(values, 1.0), lambda: block_norms(values, 2)):
        with pytest.raises(NonFinite, match="1 of 3"):
            act()
    with pytest.raises(NonFinite, match="threshold"):
        above(np.zeros(2), bad)


def test_a_norm_beyond_float64_is_refused_where_it_is_compared() -> None:
    with pytest.raises(NonFinite):
        above(block_norms(np.full(4, 1.7e308), 4), 1.0)


def test_numbers_out_of_range_are_refused() -> None:
    for act in (
        lambda: top_k(np.zeros(3), 4),
        lambda: top_k(np.zeros(3), -1),
        lambda: top_k(np.zeros((3, 1)), 1),
        lambda: top_k(np.zeros(3, np.int64), 1),
        lambda: draw(SEED, 3, 4),
        lambda: draw(SEED, 3, -1),
        lambda: draw(SEED, -1, 0),
        lambda: block_norms(np.zeros(3), 0),
        lambda: block_norms(np.zeros(3), 4),
        lambda: block_norms(np.zeros(0), 1),
        lambda: above(np.zeros(3), -1.0),
    ):
        with pytest.raises(BadParameters):
            act()


# What rounding costs


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("clients", [1, 10, 100])
def test_rounding_errs_as_much_as_is_expected_of_it(bits: int, clients: int) -> None:
    encoding = Encoding(1.0, bits, 1, 100)
    rng, count = np.random.default_rng(bits), 20_000
    total, exact = encoding.ring.zeros(count), np.zeros(count)
    for who in range(clients):
        x = rng.uniform(-0.9, 0.9, count)
        exact += x
        encoding.ring.add_into(total, encoding.encode(x, 1, Seed(who.to_bytes(32, "big")))[0])
    error = float(np.sqrt(np.mean((encoding.decode(total, clients) - exact / clients) ** 2)))
    assert error == pytest.approx(encoding.rms_error(clients), rel=0.05)
    assert encoding.rms_error(clients) < encoding.worst_rms_error(clients)


def test_half_a_step_is_the_worst_and_a_whole_one_costs_nothing() -> None:
    encoding = Encoding(1.0, 8, 1, 10)
    for part, expected in ((0.5, encoding.worst_rms_error(1)), (0.0, 0.0)):
        x = np.full(50_000, (3 + part) * encoding.step)
        found = encoding.decode_sum(encoding.encode(x, 1, SEED)[0])
        assert float(np.sqrt(np.mean((found - x) ** 2))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("clients", [0, -1, 101, 1.5])
def test_the_error_of_nobodys_mean_is_no_number(clients: int) -> None:
    encoding = Encoding(1.0, 8, 1, 100)
    for error in (encoding.rms_error, encoding.worst_rms_error):
        with pytest.raises(BadParameters):
            error(clients)
