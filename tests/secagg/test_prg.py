"""prg: published AES-CTR vectors, seeking and tiling, and whether the words look random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg import prg
from secagg.errors import BadParameters
from secagg.keys import Seed
from secagg.prg import (
    CHUNK_BYTES,
    GCM_FROM_BYTES,
    Keystream,
    Stream,
    accumulate_into,
    expand,
    expand_into,
    scratch_of,
)
from secagg.ring import Ring
from tests.rows import rows

SEED = Seed(bytes(range(32)))
FALSE_ALARM = 1e-6


def ctr_in_one_call(key: bytes, count: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(count))


def read(keystream: Keystream, *sizes: int) -> bytes:
    parts = b""
    for size in sizes:
        # No larger than promised, so that nothing may be written beyond it.
        scratch = scratch_of(size)
        keystream.read_into(scratch, size)
        parts += scratch[:size].tobytes()
    return parts


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


# --- known answers

# NIST SP 800-38A, F.5.5: CTR-AES256.Encrypt.
F55_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
F55_COUNTER = int("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16)
F55_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
F55_CIPHER = bytes.fromhex(
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)


@pytest.mark.parametrize("start", [0, 1, 15, 16, 17, 32, 48, 63])
def test_sp_800_38a_from_every_block_and_between(start: int) -> None:
    keystream = Keystream(F55_KEY, start, 64 - start, F55_COUNTER)
    assert xor(read(keystream, 64 - start), F55_PLAIN[start:]) == F55_CIPHER[start:]


@pytest.mark.parametrize("size", [128, 192, 256])
def test_rfc_3686(size: int) -> None:
    vectors = pytest.importorskip("cryptography_vectors", reason="VECTORS NOT CHECKED: cryptography-vectors")
    text = (Path(vectors.__file__).parent / f"ciphers/AES/CTR/aes-{size}-ctr.txt").read_text()
    fields = [line.split(" = ") for line in text.splitlines() if " = " in line]
    checked = 0
    for (_, key), (_, counter), (_, plain), (_, cipher) in zip(
        *[iter([f for f in fields if f[0] != "COUNT"])] * 4, strict=True
    ):
        data = bytes.fromhex(plain)
        keystream = Keystream(bytes.fromhex(key), 0, len(data), int(counter, 16))
        assert xor(read(keystream, len(data)), data) == bytes.fromhex(cipher)
        checked += 1
    assert checked == 3


def test_the_counter_of_a_stream_starts_at_zero_and_words_are_little_endian() -> None:
    key = SEED.expose()
    encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    blocks = [encrypt.update(i.to_bytes(16, "big")) for i in range(300)]
    plain = b"".join(blocks)
    assert Stream(SEED).bytes(0, len(plain)) == plain
    for bits, word in ((16, 2), (23, 4), (36, 8)):
        expected = [int.from_bytes(plain[j : j + word], "little") % 2**bits for j in range(0, len(plain), word)]
        assert expand(SEED, len(expected), Ring(bits)).tolist() == expected
    words = [int.from_bytes(plain[j : j + 8], "little") for j in range(0, len(plain), 8)]
    assert Stream(SEED).words(3, 50).tolist() == words[3:53]


# --- one stream, whichever way it is read


@pytest.mark.parametrize(
    "sizes",
    [
        (GCM_FROM_BYTES,),
        (16, GCM_FROM_BYTES),
        (5, 27, 1, GCM_FROM_BYTES),
        (31, 2, GCM_FROM_BYTES),
        (CHUNK_BYTES, CHUNK_BYTES, 48),
        (CHUNK_BYTES - 4, CHUNK_BYTES, 7),
    ],
)
@pytest.mark.parametrize("gcm", [True, False])
def test_a_long_stream_from_its_start_has_the_bytes_of_plain_ctr(
    gcm: bool, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prg, "gcm_is_faster", lambda: gcm)
    keystream = Keystream(SEED.expose(), 0, sum(sizes))
    assert bool(keystream._head) is gcm, "the path asked for must be the one under test"
    assert read(keystream, *sizes) == ctr_in_one_call(SEED.expose(), sum(sizes))


def test_the_look_at_the_machine_is_taken_once() -> None:
    assert prg.gcm_is_faster() is prg.gcm_is_faster()
    assert prg.gcm_is_faster.cache_info().misses == 1


@pytest.mark.parametrize(("gcm", "ctr", "faster"), [(1.0, 3.0, True), (3.0, 1.0, False), (2.0, 2.0, False)])
def test_the_mode_that_took_less_time_is_taken(
    gcm: float, ctr: float, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0

    class Timed:
        def __init__(self, algorithm: object, mode: object) -> None:
            self.seconds = gcm if isinstance(mode, modes.GCM) else ctr

        def encryptor(self) -> Timed:
            return self

        def update_into(self, data: memoryview, scratch: memoryview) -> None:
            nonlocal now
            assert len(scratch) >= len(data) == CHUNK_BYTES
            now += self.seconds

    monkeypatch.setattr(prg, "Cipher", Timed)
    monkeypatch.setattr(prg.time, "perf_counter", lambda: now)
    assert prg.gcm_is_faster.__wrapped__() is faster


@given(st.integers(0, 3 * CHUNK_BYTES), st.integers(0, 2 * CHUNK_BYTES))
def test_the_same_place_holds_the_same_bytes(offset: int, count: int) -> None:
    whole = ctr_in_one_call(SEED.expose(), offset + count)
    assert Stream(SEED).bytes(offset, count) == whole[offset:]


@pytest.mark.parametrize("bits", [9, 16, 23, 32, 47, 64])
@pytest.mark.parametrize("cuts", [(0,), (1, 2, 3), (64, 65, 40_000), (16_384, 65_536, 131_072)])
def test_tiles_equal_the_whole(bits: int, cuts: tuple[int, ...]) -> None:
    ring, d = Ring(bits), 150_001
    total = ring.zeros(d)
    for lo, hi in zip((0, *cuts), (*cuts, d), strict=True):
        expand_into(total, 1, SEED, ring, lo, hi)
    assert (ring.reduce(total) == expand(SEED, d, ring)).all()


def test_without_a_range_the_whole_vector_is_added_to() -> None:
    ring = Ring(32)
    one, many = ring.zeros(9), ring.zeros(9)
    expand_into(one, 1, SEED, ring)
    accumulate_into(many, ring, [(1, SEED)])
    assert one.tolist() == many.tolist() == np.frombuffer(Stream(SEED).bytes(0, 36), "<u4").tolist()


def test_what_is_added_can_be_taken_away() -> None:
    ring, other = Ring(23), Seed(bytes(32))
    total = ring.zeros(70_000)
    accumulate_into(total, ring, [(1, SEED), (-1, other), (1, other), (-1, SEED)])
    assert not total.any()
    accumulate_into(total, ring, [(1, SEED), (-1, other)], 5, 66_000)
    difference = expand(SEED, 70_000, ring) - expand(other, 70_000, ring)
    assert (ring.reduce(total[5:66_000]) == ring.reduce(difference[5:66_000])).all()
    assert not total[:5].any()
    assert not total[66_000:].any()


# --- K7: statistics at a false alarm of one in a million, seeds fixed above


@pytest.mark.parametrize("bits", [1, 3, 8, 12])
def test_every_residue_appears_equally_often(bits: int) -> None:
    sample = expand(SEED, 256 << bits, Ring(bits))
    counts = np.bincount(sample, minlength=1 << bits)
    assert counts.size == 1 << bits
    assert counts[-1] > 0
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_the_same_count_catches_a_stream_that_never_draws_the_top_value() -> None:
    sample = expand(SEED, 256 << 8, Ring(8)) % 255
    assert stats.chisquare(np.bincount(sample, minlength=256)).pvalue < FALSE_ALARM


@rows("K7")
def test_bytes_words_and_neighbours_of_a_stream_look_uniform(row: str) -> None:
    sample = np.frombuffer(Stream(SEED).bytes(0, 1 << 20), dtype=np.uint8)
    assert stats.chisquare(np.bincount(sample, minlength=256)).pvalue > FALSE_ALARM
    pairs = sample.astype(np.int64).reshape(-1, 2)
    assert stats.chisquare(np.bincount(pairs[:, 0] * 256 + pairs[:, 1], minlength=65_536)).pvalue > FALSE_ALARM
    words = Stream(SEED).words(0, 1 << 17) / 2.0**64
    assert stats.kstest(words, "uniform").pvalue > FALSE_ALARM
    serial = np.corrcoef(words[:-1], words[1:])[0, 1] * np.sqrt(words.size)
    assert abs(serial) < stats.norm.isf(FALSE_ALARM / 2)


def linear_complexity(bits: list[int]) -> int:
    """Length of the shortest linear feedback register that makes these bits (Berlekamp, Massey)."""
    connection, previous, length, gap, history = 1, 1, 0, 1, 0
    for place, bit in enumerate(bits):
        # Bit i of `history` is the bit seen i steps ago.
        history = history << 1 | bit
        if (connection & history).bit_count() % 2 == 0:
            gap += 1
            continue
        shifted = previous << gap
        if 2 * length <= place:
            previous, length, gap = connection, place + 1 - length, 1
        else:
            gap += 1
        connection ^= shifted
    return length


def test_linear_complexity_of_a_register_is_its_length() -> None:
    bits = [1, 0, 0, 1, 1, 0, 1]
    while len(bits) < 60:
        bits.append(bits[-7] ^ bits[-4])
    assert linear_complexity(bits) == 7


@rows("K7")
def test_low_bits_are_no_linear_recurrence_where_a_mersenne_twister_is(row: str) -> None:
    length, slack = 41_000, 60
    ours = expand(SEED, length, Ring(32)) & np.uint32(1)
    twister = np.random.Generator(np.random.MT19937(1)).integers(0, 2**32, length, dtype=np.uint32) & np.uint32(1)
    assert abs(linear_complexity(ours.tolist()) - length // 2) < slack
    assert linear_complexity(twister.tolist()) == 19_937 < length // 2 - slack


# --- refusals


@pytest.mark.parametrize("sign", [0, 2, -2])
def test_a_sign_is_plus_or_minus_one(sign: int) -> None:
    total = Ring(16).zeros(4)
    with pytest.raises(BadParameters, match="sign"):
        accumulate_into(total, Ring(16), [(1, SEED), (sign, SEED)])
    assert not total.any()


@pytest.mark.parametrize(("lo", "hi"), [(-1, 3), (3, 2), (0, 5), (5, 5)])
def test_a_range_lies_within_the_vector(lo: int, hi: int) -> None:
    with pytest.raises(BadParameters, match="range"):
        expand_into(Ring(16).zeros(4), 1, SEED, Ring(16), lo, hi)


@pytest.mark.parametrize(("offset", "count"), [(-1, 1), (0, -1)])
def test_a_stream_has_no_negative_place(offset: int, count: int) -> None:
    with pytest.raises(BadParameters, match="no bytes"):
        Stream(SEED).bytes(offset, count)
    with pytest.raises(BadParameters, match="no bytes"):
        Stream(SEED).words(offset, count)


def test_a_total_of_another_word_is_refused() -> None:
    with pytest.raises(BadParameters, match="expected one row"):
        expand_into(Ring(36).zeros(4), 1, SEED, Ring(16))
