"""dp.noise: the law is exact, the keystream order is fixed, and a stream has one owner."""

from __future__ import annotations

import copy
import hmac
import json
import os
import pickle
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from hashlib import sha256
from math import isqrt
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from dp import noise
from dp.errors import BadParameters, EntropyUnavailable
from dp.noise import (
    CHUNK_WORDS,
    LABEL_TIES,
    LABEL_WORDS,
    TABLE_STD,
    AliasTable,
    Entropy,
    add_discrete_gaussian_into,
    discrete_gaussian,
    exp_negative,
    gaussian_table,
    gaussian_weights,
    keystream,
    split,
    table_draws,
)
from secagg.keys import Seed
from secagg.prg import Stream
from tests.rows import rows

ROOT = Path(__file__).resolve().parents[2]
FALSE_ALARM = 1e-6
DIGITS = 120
SMALL = [Fraction(1, 4), Fraction(1), Fraction(4), Fraction(1, 1000), Fraction(22, 7), Fraction(100)]


def seeded(seed: int, label: bytes = b"test", context: bytes = b"") -> Entropy:
    return Entropy.insecure(seed, label, context)


def decimal_law(sigma2: Fraction, support: int) -> list[Decimal]:
    """exp(-k^2 / 2 sigma2) / sum for k = 0..support, to 120 digits, by the decimal module."""
    with localcontext() as arithmetic:
        arithmetic.prec = DIGITS
        rate = Decimal(sigma2.denominator) / Decimal(2 * sigma2.numerator)
        weights = [(-rate * k * k).exp() for k in range(support + 60 * (isqrt(int(sigma2)) + 1))]
        total = weights[0] + 2 * sum(weights[1:])
        return [weight / total for weight in weights[: support + 1]]


def float_law(sigma2: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Values and probabilities within 12 standard deviations, by plain float arithmetic."""
    reach = int(12 * sigma2**0.5) + 2
    values = np.arange(-reach, reach + 1)
    weights = np.exp(-(values.astype(np.float64) ** 2) / (2 * sigma2))
    return values, weights / weights.sum()


def p_value(samples: NDArray[np.int64], sigma2: float) -> float:
    """Chi-square of the samples against N_Z(0, sigma2), neighbours merged into cells of enough mass."""
    values, law = float_law(sigma2)
    least = max(25 / len(samples), 1 / 300)
    cells = np.minimum((np.cumsum(law) / least).astype(np.int64), int(1 / least) - 1)
    expected = np.bincount(cells, law)
    kept = np.flatnonzero(expected > 0)
    inside = np.clip(samples, values[0], values[-1]) - values[0]
    observed = np.bincount(cells[inside], minlength=len(expected))[kept]
    expected = expected[kept] * len(samples)
    # A cell that came out light joins its neighbour, so that every expectation carries the approximation.
    while len(expected) > 2 and expected.min() < 10:
        light = int(expected.argmin())
        beside = light - 1 if light else 1
        expected[beside] += expected[light]
        observed[beside] += observed[light]
        expected, observed = np.delete(expected, light), np.delete(observed, light)
    return float(stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(expected) - 1))


def table_law(table: AliasTable) -> dict[int, Fraction]:
    """The exact law of a table, read back from its thresholds."""
    columns = len(table.heads)
    capacity = 1 << (table.word_bits - table.column_bits + 192)
    law: dict[int, Fraction] = {}
    for column in range(columns):
        low = int.from_bytes(table.tails[24 * column : 24 * column + 24], "big")
        own = Fraction((int(table.heads[column]) << 192) + low, capacity)
        for value, share in zip(table.outcomes[2 * column : 2 * column + 2], (1 - own, own), strict=True):
            law[int(value)] = law.get(int(value), Fraction(0)) + share / columns
    return law


class Scripted:
    """An entropy whose words are given: reaches branches that chance visits once in 2^50 draws."""

    def __init__(self, words: list[int], ties: list[int]) -> None:
        self.script = {LABEL_WORDS: words, LABEL_TIES: ties}

    def borrow(self, count: int, stream: bytes) -> NDArray[np.uint64]:
        taken, self.script[stream] = self.script[stream][:count], self.script[stream][count:]
        return np.array(taken, dtype="<u8")


# known answers


def test_moments_agree_with_the_reference(shared: Path) -> None:
    reference = json.loads((shared / "data" / "dp_reference.json").read_text())
    for case in reference["discrete_gaussian_moments"]:
        half = gaussian_weights(Fraction(case["config"]["sigma2"]))
        total = half[0] + 2 * sum(half[1:])
        variance = Fraction(2 * sum(k * k * weight for k, weight in enumerate(half)), total)
        for name, ours in (
            ("P0", Fraction(half[0], total)),
            ("P1", Fraction(half[1], total)),
            ("variance_exact", variance),
        ):
            theirs = Fraction(case["value"][name])
            assert abs(ours / theirs - 1) < Fraction(1, 10**21), (case["config"], name)


def test_samples_of_an_independent_implementation_fit_the_same_law(shared: Path) -> None:
    names = sorted((shared / "vectors").glob("discrete_gauss_*.json"))
    assert names
    for name in names:
        vector = json.loads(name.read_text())
        sigma2 = Fraction(vector["std_num"], vector["std_denom"]) ** 2
        theirs = np.array(vector["samples"], dtype=np.int64)
        ours = discrete_gaussian(sigma2, len(theirs), seeded(5))
        for samples in (theirs, ours):
            assert spread_fits(samples, float(sigma2))
            # The planted fault: noise of half the standard deviation sold as the whole.
            assert not spread_fits(samples, 4 * float(sigma2))
            assert abs(samples.mean()) < 5 * float(sigma2 / len(samples)) ** 0.5


def spread_fits(samples: NDArray[np.int64], sigma2: float) -> bool:
    """Two-sided chi-square of sum x^2 / sigma2 at the false alarm rate (the law is Gaussian enough)."""
    statistic = float((samples.astype(np.float64) ** 2).sum()) / sigma2
    tail = stats.chi2.cdf(statistic, len(samples)), stats.chi2.sf(statistic, len(samples))
    return bool(min(tail) > FALSE_ALARM / 2)


def test_a_slow_reading_of_the_keystream_gives_the_same_samples() -> None:
    # HKDF by hmac, AES-CTR by counting blocks, thresholds compared as 256-bit integers.
    table = gaussian_table(Fraction(100))
    secret, label, context = bytes(range(32)), b"label", b"context"
    info = b"secagg/v1/dp/noise/root" + (5).to_bytes(4, "little") + label + context
    extracted = hmac.digest(bytes(32), secret, sha256)
    root = hmac.digest(extracted, info + b"\x01", sha256)
    key = hmac.digest(root, b"secagg/v1/dp/noise/words" + b"\x01", sha256)
    block_cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # the test's own CTR
    blocks = b"".join(block_cipher.update(counter.to_bytes(16, "big")) for counter in range(500))
    expected = []
    for at in range(0, len(blocks), 8):
        word = int.from_bytes(blocks[at : at + 8], "little")
        column, fraction = divmod(word, 1 << 55)
        own = fraction < int(table.heads[column])
        expected.append(int(table.outcomes[2 * column + own]))
    assert (len(table.heads), table.column_bits) == (1 << 9, 9)
    drawn = discrete_gaussian(Fraction(100), 1000, Entropy.derived(secret, label, context))
    assert drawn.tolist() == expected


def test_the_normative_streams_have_not_moved() -> None:
    # Regression, from our own output: stored seeds of noise must keep their meaning.
    for sigma2, digest in (
        (Fraction(1, 4), "fd4f68ee497aecfa"),
        (Fraction(10**4), "3d2070f071301011"),
        (Fraction(10**9), "67249b5445a83b66"),
    ):
        samples = discrete_gaussian(sigma2, 5000, seeded(0, b"vector", b"v1"))
        assert sha256(samples.astype("<i8").tobytes()).hexdigest()[:16] == digest


def test_the_keystream_is_that_of_the_masks() -> None:
    key, words = bytes(range(32)), 3 * CHUNK_WORDS
    assert keystream(key).update(bytes(8 * words)) == Stream(Seed(key)).words(0, words).tobytes()


# the law


@pytest.mark.parametrize("sigma2", SMALL, ids=str)
def test_the_table_is_within_2_to_the_minus_127_of_its_law(sigma2: Fraction) -> None:
    law = table_law(gaussian_table(sigma2))
    reach = max(law)
    exact = decimal_law(sigma2, reach)
    inside = [Fraction(share) for share in exact]
    error = sum(abs(law[k] - inside[abs(k)]) for k in range(-reach, reach + 1))
    outside = 1 - inside[0] - 2 * sum(inside[1:])
    assert sum(law.values()) == 1
    assert (error + outside) / 2 <= Fraction(1, 2**127)


@given(st.fractions(min_value=0, max_value=400))
def test_the_integer_exponential_is_right_to_its_last_bit(exponent: Fraction) -> None:
    with localcontext() as arithmetic:
        arithmetic.prec = DIGITS
        exact = (-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp() * 2**320
        assert abs(exp_negative(exponent) - exact) <= 2


@rows("N2")
@pytest.mark.parametrize("sigma2", [Fraction(1, 4), 1, 4, 100, 10**4, 10**8], ids=str)
def test_a_million_draws_fit_the_law_and_no_other(row: str, sigma2: Fraction) -> None:
    samples = discrete_gaussian(sigma2, 10**6, seeded(int(sigma2)))
    assert p_value(samples, float(sigma2)) > FALSE_ALARM
    # The same test must notice half the noise, a variance wrong by two percent, and a shift of a tenth.
    assert p_value(samples, 4 * float(sigma2)) < FALSE_ALARM
    assert p_value(samples, 1.02 * float(sigma2)) < FALSE_ALARM
    assert p_value(samples + max(1, isqrt(int(sigma2)) // 10), float(sigma2)) < FALSE_ALARM


def test_draws_do_not_depend_on_their_neighbours() -> None:
    samples = discrete_gaussian(Fraction(10**4), 10**6, seeded(3)).astype(np.float64)
    for lag in (1, 2, CHUNK_WORDS):
        assert abs(np.corrcoef(samples[:-lag], samples[lag:])[0, 1]) < 6 / 10**3


@pytest.mark.parametrize("sigma2", [Fraction(1, 4), Fraction(4), Fraction(100)], ids=str)
def test_a_table_of_8_fraction_bits_ties_often_and_keeps_its_law(sigma2: Fraction) -> None:
    columns = gaussian_table(sigma2).column_bits
    narrow = gaussian_table(sigma2, columns + 8)
    assert table_law(narrow)[0] == pytest.approx(float(decimal_law(sigma2, 0)[0]), rel=1e-15)
    total = np.zeros(10**5, dtype=np.int64)
    narrow.add_into(total, 1, seeded(11))
    assert p_value(total, float(sigma2)) > FALSE_ALARM


def test_ties_are_decided_by_192_more_bits_in_ascending_order() -> None:
    table = gaussian_table(Fraction(4))
    shift = 64 - table.column_bits
    words, ties, expected = [], [], []
    for column in range(len(table.heads)):
        head = int(table.heads[column])
        rest = int.from_bytes(table.tails[24 * column : 24 * column + 24], "big")
        if head == 1 << shift:
            continue  # a full column never ties
        alias, own = (int(value) for value in table.outcomes[2 * column : 2 * column + 2])
        for bits, value in ((rest - 1, own), (rest, alias), (rest + 1, alias)):
            if 0 <= bits < 1 << 192:
                words.append((column << shift) | head)
                ties += [bits >> 128, (bits >> 64) % 2**64, bits % 2**64]
                expected.append(value)
    script = Scripted(words, ties)
    total = np.zeros(len(words), dtype=np.int64)
    table.add_into(total, 1, script)  # type: ignore[arg-type]
    assert total.tolist() == expected
    assert script.script == {LABEL_WORDS: [], LABEL_TIES: []}


def test_just_below_and_above_a_threshold_no_tie_bits_are_taken() -> None:
    table = gaussian_table(Fraction(4))
    shift = 64 - table.column_bits
    column = next(c for c in range(len(table.heads)) if 0 < int(table.heads[c]) < 1 << shift)
    head = int(table.heads[column])
    total = np.zeros(2, dtype=np.int64)
    table.add_into(total, 1, Scripted([(column << shift) | (head - 1), (column << shift) | (head + 1)], []))  # type: ignore[arg-type]
    alias, own = table.outcomes[2 * column : 2 * column + 2].tolist()
    assert total.tolist() == [own, alias]


def test_any_law_with_integer_weights_gets_an_exact_table() -> None:
    law = table_law(AliasTable.build([5, -3, 7], [1, 2, 4], 64))
    assert law[7] == pytest.approx(4 / 7, abs=1e-15)
    assert abs(law[-3] - Fraction(2, 7)) < Fraction(1, 2**250)
    assert sum(law.values()) == 1


def test_noise_of_no_size_worth_mentioning_is_zero() -> None:
    assert not discrete_gaussian(Fraction(1, 10**6), 10**4, seeded(1)).any()


# splitting


@given(st.fractions(min_value=TABLE_STD**2 + 1, max_value=2**100))
def test_a_split_keeps_the_variance_and_smooths_enough(sigma2: Fraction) -> None:
    factor, coarse, fine = split(sigma2)
    assert factor**2 * coarse + fine == sigma2
    assert coarse * fine / sigma2 >= Fraction(25, 4)
    # round(sqrt(s)): (factor - 1/2)^4 <= sigma2 < (factor + 1/2)^4
    assert (2 * factor - 1) ** 4 <= 16 * sigma2 < (2 * factor + 1) ** 4
    assert 2 <= table_draws(sigma2) <= 16


def test_a_split_law_is_pointwise_the_discrete_gaussian() -> None:
    sigma2 = Fraction(4000)
    factor, coarse, fine = split(sigma2)
    (values_a, law_a), (values_b, law_b) = float_law(float(coarse)), float_law(float(fine))
    law = np.zeros(2 * (factor * values_a[-1] + values_b[-1]) + 1)
    for value, mass in zip(values_a, law_a, strict=True):
        start = factor * (value - values_a[0])
        law[start : start + len(law_b)] += mass * law_b
    values, direct = float_law(float(sigma2))
    centre = len(law) // 2
    inside = np.abs(values) <= 8 * float(sigma2) ** 0.5
    ratio = law[centre + values[inside]] / direct[inside]
    assert np.abs(np.log(ratio)).max() < 1e-12


def test_one_table_serves_up_to_the_limit_and_two_beyond() -> None:
    assert table_draws(Fraction(TABLE_STD**2)) == 1
    assert table_draws(TABLE_STD**2 + Fraction(1, 7)) == 2


# streams


def test_equal_seeds_regenerate_equal_noise() -> None:
    first, second = (discrete_gaussian(Fraction(10**9), 40_000, seeded(1)) for _ in range(2))
    assert np.array_equal(first, second)


@rows("N7")
@pytest.mark.parametrize(
    "other",
    [seeded(2), seeded(1, b"tes", b"t"), seeded(1, b"test", b"x"), Entropy.derived(bytes(32), b"test", b"")],
)
def test_seed_label_and_context_each_separate_streams(row: str, other: Entropy) -> None:
    first = discrete_gaussian(Fraction(10**6), 64, seeded(1))
    assert (first == discrete_gaussian(Fraction(10**6), 64, other)).sum() < 8


def test_one_call_equals_two_shorter_ones() -> None:
    whole = discrete_gaussian(Fraction(50), CHUNK_WORDS + 100, seeded(1))
    stream = seeded(1)
    parts = [discrete_gaussian(Fraction(50), n, stream) for n in (7, CHUNK_WORDS - 1, 94)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_adding_into_a_vector_equals_drawing_and_adding() -> None:
    total = np.arange(1000, dtype=np.int64)
    add_discrete_gaussian_into(total, Fraction(10**8), seeded(4))
    assert np.array_equal(total - np.arange(1000), discrete_gaussian(Fraction(10**8), 1000, seeded(4)))


@rows("N3")
def test_two_streams_of_the_system_share_no_word(row: str) -> None:
    first, second = (Entropy.system(b"same", b"same").borrow(CHUNK_WORDS, LABEL_WORDS) for _ in range(2))
    assert not np.intersect1d(first, second).size


def test_the_source_of_randomness_is_named() -> None:
    assert Entropy.system(b"a", b"").rng == Entropy.derived(bytes(32), b"a", b"").rng == "system"
    assert Entropy.insecure(0, b"a", b"").rng == "insecure"


DRAW_ELSEWHERE = """
import sys
from fractions import Fraction
from dp.noise import Entropy, discrete_gaussian
sys.stdout.buffer.write(discrete_gaussian(Fraction(9), 10**5, Entropy.insecure(int(sys.argv[1]), b"t", b"")).tobytes())
"""


def drawn_in_another_process(seed: int) -> NDArray[np.int64]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRAW_ELSEWHERE, str(seed)]
    done = subprocess.run(command, check=True, env=environment, timeout=60, capture_output=True)
    return np.frombuffer(done.stdout, np.int64)


@rows("N3")
def test_another_process_draws_other_noise_of_the_same_law_and_the_same_from_the_same_seed(row: str) -> None:
    here, again = (discrete_gaussian(Fraction(9), 10**5, seeded(seed, b"t")) for seed in (1, 2))
    there = drawn_in_another_process(2)
    assert np.array_equal(there, again)
    assert stats.ks_2samp(here, there).pvalue > FALSE_ALARM
    # Independent draws of this law coincide in a share of the sum of its squared probabilities.
    law = table_law(gaussian_table(Fraction(9)))
    by_chance = float(sum(share**2 for share in law.values()))
    assert abs((here == there).mean() - by_chance) < 6 * (by_chance / 10**5) ** 0.5
    # The same test must notice a variance wrong by a tenth and a shift of a third of the deviation.
    assert stats.ks_2samp(here, discrete_gaussian(Fraction(10), 10**5, seeded(3))).pvalue < FALSE_ALARM
    assert stats.ks_2samp(here, there + 1).pvalue < FALSE_ALARM


@rows("K3", "N3")
def test_a_forked_child_cannot_draw_and_the_parent_goes_on(row: str) -> None:
    script = """
import os, sys
from fractions import Fraction
from dp.errors import EntropyUnavailable
from dp.noise import Entropy, discrete_gaussian
stream, mirror = (Entropy.insecure(1, b"t", b"") for _ in range(2))
discrete_gaussian(Fraction(9), 10, stream), discrete_gaussian(Fraction(9), 10, mirror)
child = os.fork()
if child == 0:
    wiped = not stream._root and not stream._buffer.any() and not stream._streams
    try:
        discrete_gaussian(Fraction(9), 10, stream)
    except EntropyUnavailable:
        os._exit(0 if wiped else 2)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (discrete_gaussian(Fraction(9), 10, stream) == discrete_gaussian(Fraction(9), 10, mirror)).all()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)


@rows("K3")
def test_another_process_id_is_noticed_even_without_the_fork_hook(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = seeded(1)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EntropyUnavailable, match="fork"):
        discrete_gaussian(Fraction(1), 1, stream)


def test_a_closed_stream_is_zeroed_and_silent() -> None:
    with seeded(1) as stream:
        discrete_gaussian(Fraction(1), 100, stream)
        root, buffer = stream._root, stream._buffer
        assert any(root)
        assert buffer.any()
    assert not any(root)
    assert not buffer.any()
    with pytest.raises(EntropyUnavailable, match="closed"):
        discrete_gaussian(Fraction(1), 1, stream)


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_a_stream_is_neither_pickled_nor_copied(take) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadParameters, match="equal noise"):
        take(seeded(1))


def test_a_stream_prints_nothing_of_itself() -> None:
    stream = Entropy.derived(b"s" * 32, b"label", b"context")
    assert repr(stream) == "<Entropy rng=system>"
    assert stream._root.hex() not in f"{stream!r}{stream!s}"


# attacks


def impossible(outputs: NDArray[np.generic], neighbour: int) -> int:
    """How many outputs no noise can produce when the true value is `neighbour` instead of 0."""
    noise_needed = outputs - neighbour
    if outputs.dtype.kind == "i":
        return int((neighbour + noise_needed != outputs).sum())
    near = [np.nextafter(noise_needed, side) for side in (-np.inf, np.inf)]
    return int(np.logical_and.reduce([neighbour + value != outputs for value in (noise_needed, *near)]).sum())


@rows("N1")
def test_reads_the_input_off_the_gaps_between_possible_outputs(row: str) -> None:
    floats = np.random.default_rng(1).normal(scale=3.73, size=10**5)
    assert impossible(floats, 1) > 2000  # the attack works on float noise ...
    outputs = discrete_gaussian(Fraction(373, 100) ** 2, 10**5, seeded(1))
    assert impossible(outputs, 1) == 0  # ... and has nothing to say here: every integer has both preimages
    support = set(table_law(gaussian_table(Fraction(373, 100) ** 2)))
    assert set(outputs - 1) | set(outputs + 1) <= support
    assert support == set(range(-max(support), max(support) + 1))


# errors


@pytest.mark.parametrize("sigma2", [0, -1, 1.0, True, 2**100 + 1, "1"], ids=repr)
def test_a_variance_that_is_no_positive_rational_in_range_raises(sigma2: Fraction) -> None:
    with pytest.raises(BadParameters, match="sigma2"):
        discrete_gaussian(sigma2, 1, seeded(1))
    with pytest.raises(BadParameters, match="sigma2"):
        table_draws(sigma2)


def test_a_negative_count_raises() -> None:
    with pytest.raises(BadParameters, match="count"):
        discrete_gaussian(Fraction(1), -1, seeded(1))


def test_more_words_than_the_buffer_holds_raise() -> None:
    with pytest.raises(BadParameters, match="count"):
        seeded(1).borrow(CHUNK_WORDS + 1, LABEL_WORDS)


def test_a_law_with_too_many_values_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "MAX_COLUMNS", 4)
    with pytest.raises(BadParameters, match="columns"):
        AliasTable.build(range(5), [1] * 5)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytearray(32), "x" * 32], ids=repr)
def test_a_secret_of_the_wrong_kind_raises(secret: bytes) -> None:
    with pytest.raises(BadParameters, match="secret"):
        Entropy.derived(secret, b"label", b"")


@pytest.mark.parametrize(("label", "context"), [(b"", b""), ("label", b""), (b"label", "")], ids=repr)
def test_a_label_or_context_that_is_not_bytes_raises(label: bytes, context: bytes) -> None:
    with pytest.raises(BadParameters, match="label"):
        Entropy.system(label, context)


@pytest.mark.parametrize("seed", [-1, 1.5, "1"], ids=repr)
def test_a_seed_that_is_no_natural_number_raises(seed: int) -> None:
    with pytest.raises(BadParameters, match="seed"):
        Entropy.insecure(seed, b"label", b"")


@rows("K4")
@pytest.mark.parametrize("refusal", [OSError, NotImplementedError])
def test_a_system_without_randomness_raises(
    row: str, refusal: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(count: int) -> bytes:
        raise refusal

    monkeypatch.setattr(os, "urandom", refuse)
    with pytest.raises(EntropyUnavailable, match="refused"):
        Entropy.system(b"label", b"")


@rows("K4")
def test_a_short_read_of_randomness_raises(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: bytes(count - 1))
    with pytest.raises(EntropyUnavailable, match="31 bytes"):
        Entropy.system(b"label", b"")
