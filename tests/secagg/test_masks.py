"""masks: a second, slow implementation, cancellation on any pattern of losses, tiling, and how masks look."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg import masks
from secagg.errors import BadParameters
from secagg.keys import Seed
from secagg.masks import Correction, mask_and_pack, mask_into, unmask_into
from secagg.ring import Ring, RingVector
from secagg.workers import SEGMENT, Inline, Workers, shards
from tests.rows import rows

CONTEXT = bytes(range(32))
SELF = Seed(b"self".ljust(32, b"."))
PAIRS = {peer: Seed(bytes([peer]) * 32) for peer in (1, 4, 9, 200)}
FALSE_ALARM = 1e-6


def stream_slowly(seed: Seed, context: bytes, section: int, bits: int, length: int) -> list[int]:
    """One key per segment by HKDF, its keystream by one call of AES-256-CTR."""
    word = 2 if bits <= 16 else 4 if bits <= 32 else 8
    root = hmac.new(context, seed.expose(), hashlib.sha256).digest()
    elements: list[int] = []
    for first in range(0, length, SEGMENT):
        parts = [
            section.to_bytes(4, "big"),
            bits.to_bytes(4, "big"),
            length.to_bytes(8, "big"),
            (first // SEGMENT).to_bytes(4, "big"),
        ]
        info = b"secagg/v1/pairwise/stream" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        key = hmac.new(root, info + b"\1", hashlib.sha256).digest()
        size = word * min(SEGMENT, length - first)
        stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size))
        elements += np.frombuffer(stream, dtype=f"<u{word}").tolist()
    return elements


def masked(ring: Ring, d: int, me: int = 5, pairs: Mapping[int, Seed] = PAIRS, section: int = 0) -> RingVector:
    total = ring.zeros(d)
    mask_into(total, ring, SELF, pairs, me, CONTEXT, section, d)
    return total


# --- the formula


@pytest.mark.parametrize("bits", [1, 9, 16, 17, 23, 32, 33, 64])
@pytest.mark.parametrize("d", [1, 7, 1000])
def test_a_mask_is_the_signed_sum_of_streams(bits: int, d: int) -> None:
    ring = Ring(bits)
    x = np.random.default_rng(bits).integers(0, ring.modulus, d, dtype=np.uint64).astype(ring.dtype)
    total = x.copy()
    mask_into(total, ring, SELF, PAIRS, 5, CONTEXT, 3, d)
    expected = [a + b for a, b in zip(x.tolist(), stream_slowly(SELF, CONTEXT, 3, bits, d), strict=True)]
    for peer, seed in PAIRS.items():
        sign = 1 if peer > 5 else -1
        stream = stream_slowly(seed, CONTEXT, 3, bits, d)
        expected = [a + sign * b for a, b in zip(expected, stream, strict=True)]
    assert ring.reduce(total).tolist() == [element % 2**bits for element in expected]


@pytest.mark.parametrize("bits", [16, 23])
def test_later_segments_have_keys_of_their_own(bits: int) -> None:
    d = 2 * SEGMENT + 5
    expected = stream_slowly(SELF, CONTEXT, 0, bits, d)
    total = masked(Ring(bits), d, pairs={})
    assert Ring(bits).reduce(total).tolist() == [element % 2**bits for element in expected]
    assert (total[:5] != total[SEGMENT : SEGMENT + 5]).any()


# --- cancellation


def client_vector(ring: Ring, who: int, d: int) -> RingVector:
    return ring.reduce(np.random.default_rng(who).integers(-1000, 1000, d))


def pair_seed(u: int, v: int) -> Seed:
    return Seed(hashlib.sha256(b"%d,%d" % (min(u, v), max(u, v))).digest())


def self_seed(u: int) -> Seed:
    return Seed(hashlib.sha256(b"self%d" % u).digest())


@given(
    n=st.integers(2, 7),
    bits=st.sampled_from([1, 15, 16, 23, 33, 64]),
    d=st.integers(0, 70),
    data=st.data(),
)
def test_masks_cancel_on_any_graph_and_any_losses(n: int, bits: int, d: int, data: st.DataObject) -> None:
    ring = Ring(bits)
    edges = [(u, v) for u in range(n) for v in range(u + 1, n) if data.draw(st.booleans())]
    shared_keys = {u: {a + b - u for a, b in edges if u in (a, b)} for u in range(n)}
    survivors = [u for u in range(n) if data.draw(st.booleans())]
    total, expected = ring.zeros(d), ring.zeros(d)
    for u in survivors:
        y = client_vector(ring, u, d)
        ring.add_into(expected, y)
        mask_into(y, ring, self_seed(u), {v: pair_seed(u, v) for v in shared_keys[u]}, u, CONTEXT, 0, d)
        ring.add_packed_into(total, ring.pack(y))
    corrections = [Correction(-1, self_seed(v)) for v in survivors]
    for w in set(range(n)) - set(survivors):
        corrections += [Correction(-1 if v < w else 1, pair_seed(v, w)) for v in shared_keys[w] if v in survivors]
    unmask_into(total, ring, corrections, CONTEXT, 0, d)
    assert ring.reduce(total).tolist() == ring.reduce(expected).tolist()


def test_without_the_correction_for_a_lost_client_nothing_is_learned() -> None:
    ring, d = Ring(23), 500
    total = client_vector(ring, 0, d)
    mask_into(total, ring, self_seed(0), {1: pair_seed(0, 1)}, 0, CONTEXT, 0, d)
    unmask_into(total, ring, [Correction(-1, self_seed(0))], CONTEXT, 0, d)
    assert (ring.reduce(total) != client_vector(ring, 0, d)).mean() > 0.99


# --- ranges, batches, shards


@pytest.mark.parametrize("bits", [9, 23, 40])
@pytest.mark.parametrize("cuts", [(), (1, 2), (SEGMENT - 1, SEGMENT), (SEGMENT // 3, SEGMENT + 7)])
def test_ranges_tile_the_whole(bits: int, cuts: tuple[int, ...]) -> None:
    ring, d = Ring(bits), SEGMENT + 1001
    total = ring.zeros(d)
    for lo, hi in reversed(list(pairwise((0, *cuts, d)))):
        mask_into(total, ring, SELF, PAIRS, 5, CONTEXT, 0, d, lo, hi)
    assert (total == masked(ring, d)).all()


def test_a_range_changes_nothing_outside() -> None:
    ring = Ring(23)
    total = ring.zeros(100)
    mask_into(total, ring, SELF, PAIRS, 5, CONTEXT, 0, 100, 40, 60)
    assert not total[:40].any()
    assert not total[60:].any()
    assert (total[40:60] == masked(ring, 100)[40:60]).all()


def test_batches_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = masked(Ring(23), 300)
    monkeypatch.setattr(masks, "STREAMS_AT_ONCE", 2)
    assert (masked(Ring(23), 300) == whole).all()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("bits", "d"), [(16, 0), (1, 7), (23, 1000), (32, 2 * SEGMENT + 1001), (64, SEGMENT + 40_003)])
def test_masking_and_packing_at_once_gives_the_bytes_of_one_after_the_other(bits: int, d: int, count: int) -> None:
    ring = Ring(bits)
    x = np.random.default_rng(bits).integers(0, 2**63, d, dtype=np.uint64).astype(ring.dtype)
    total, before = x.copy(), x.copy()
    mask_into(total, ring, SELF, PAIRS, 5, CONTEXT, 3, d)
    workers = Workers(Inline(), count)
    assert mask_and_pack(x, ring, SELF, PAIRS, 5, CONTEXT, 3, d, workers) == ring.pack(total)
    assert np.array_equal(x, before)


@given(st.integers(0, 5 * SEGMENT), st.integers(1, 9))
def test_shards_are_adjacent_and_cover_the_vector_once(length: int, count: int) -> None:
    ranges = shards(length, count)
    assert len(ranges) <= count
    assert [lo for lo, _ in ranges] + [length] == [0] * (length > 0) + [hi for _, hi in ranges] + [0] * (length == 0)
    assert all(lo < hi and lo % 16 == 0 for lo, hi in ranges)
    if length >= 32 * count:
        assert len(ranges) == count
        grain = SEGMENT if length > SEGMENT * count else 16
        assert max(hi - lo for lo, hi in ranges) - min(hi - lo for lo, hi in ranges) <= 2 * grain
        assert all(lo % grain == 0 for lo, _ in ranges)


# --- K5: what a stream is bound to

CHANGES: dict[str, Callable[[], RingVector]] = {
    "seed": lambda: stream_of(seed=Seed(bytes(32))),
    "context": lambda: stream_of(context=CONTEXT[::-1]),
    "section": lambda: stream_of(section=1),
    "bits": lambda: stream_of(bits=24),
    "length": lambda: stream_of(length=101),
}


def stream_of(
    seed: Seed = SELF, context: bytes = CONTEXT, section: int = 0, bits: int = 23, length: int = 100
) -> RingVector:
    ring = Ring(bits)
    total = ring.zeros(length)
    mask_into(total, ring, seed, {}, 5, context, section, length)
    return total[:100] & np.uint32(2**23 - 1)


@rows("K5")
@pytest.mark.parametrize("changed", CHANGES)
def test_changing_any_one_thing_changes_the_whole_stream(row: str, changed: str) -> None:
    assert (CHANGES[changed]() != stream_of()).mean() > 0.95


# --- statistics at a false alarm of one in a million; seeds fixed above


def test_a_masked_vector_of_zeros_looks_uniform() -> None:
    ring = Ring(16)
    y = masked(ring, 1 << 18)
    assert stats.chisquare(np.bincount(y.view(np.uint8), minlength=256)).pvalue > FALSE_ALARM
    ones = int((y & 1).sum())
    assert stats.binomtest(ones, y.size).pvalue > FALSE_ALARM
    words = masked(Ring(64), 1 << 17) / 2.0**64
    assert stats.kstest(words, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("bits", [1, 5, 10])
def test_every_residue_is_reached(bits: int) -> None:
    ring = Ring(bits)
    counts = np.bincount(ring.reduce(masked(ring, 256 << bits)), minlength=1 << bits)
    assert counts.size == 1 << bits
    assert counts.min() > 0
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_sections_and_parties_are_uncorrelated() -> None:
    ring, d = Ring(32), 1 << 16
    rows = [masked(ring, d), masked(ring, d, section=1), masked(ring, d, me=2), masked(ring, d, pairs={})]
    correlation = np.corrcoef([ring.centre(row) for row in rows]) * np.sqrt(d)
    assert np.abs(np.triu(correlation, 1)).max() < stats.norm.isf(FALSE_ALARM / 2)


# --- refusals


def test_nobody_is_its_own_neighbour() -> None:
    total = Ring(23).zeros(5)
    with pytest.raises(BadParameters, match="party 4 cannot be its own neighbour"):
        mask_into(total, Ring(23), SELF, PAIRS, 4, CONTEXT, 0, 5)
    assert not total.any()


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_vector_of_another_length_is_refused(length: int) -> None:
    total = Ring(23).zeros(5)
    with pytest.raises(BadParameters, match="the vector 5"):
        mask_into(total, Ring(23), SELF, PAIRS, 5, CONTEXT, 0, length)
    with pytest.raises(BadParameters, match="the vector 5"):
        unmask_into(total, Ring(23), [Correction(1, SELF)], CONTEXT, 0, length)
    assert not total.any()


@pytest.mark.parametrize(("lo", "hi"), [(-1, 2), (3, 2), (0, 6)])
def test_a_range_outside_the_vector_is_refused(lo: int, hi: int) -> None:
    with pytest.raises(BadParameters, match="range"):
        mask_into(Ring(23).zeros(5), Ring(23), SELF, PAIRS, 5, CONTEXT, 0, 5, lo, hi)


@pytest.mark.parametrize("section", [-1, 2**32])
def test_a_section_without_a_number_is_refused(section: int) -> None:
    with pytest.raises(BadParameters, match="section is numbered"):
        mask_into(Ring(23).zeros(5), Ring(23), SELF, PAIRS, 5, CONTEXT, section, 5)


@pytest.mark.parametrize("section", [0, 2**31, 2**32 - 1])
def test_every_section_of_32_bits_has_streams_of_its_own(section: int) -> None:
    expected = stream_slowly(SELF, CONTEXT, section, 32, 5)
    assert masked(Ring(32), 5, pairs={}, section=section).tolist() == expected


def test_another_word_is_refused() -> None:
    with pytest.raises(BadParameters, match="expected one row"):
        mask_into(Ring(36).zeros(5), Ring(23), SELF, PAIRS, 5, CONTEXT, 0, 5)
    with pytest.raises(BadParameters, match="expected one row"):
        mask_and_pack(Ring(36).zeros(5), Ring(23), SELF, PAIRS, 5, CONTEXT, 0, 5)


def test_a_context_that_is_no_hash_is_refused() -> None:
    with pytest.raises(BadParameters, match="context"):
        mask_into(Ring(23).zeros(5), Ring(23), SELF, PAIRS, 5, b"", 0, 5)


@pytest.mark.parametrize("sign", [0, 2, -2])
def test_a_correction_adds_or_takes_away_once(sign: int) -> None:
    with pytest.raises(BadParameters, match="sign"):
        Correction(sign, SELF)


def test_a_vector_is_cut_into_at_least_one_range() -> None:
    with pytest.raises(BadParameters, match="0 ranges"):
        shards(100, 0)
