"""dp.alias: a table draws exactly the law of its weights, word by word in a fixed order."""

from __future__ import annotations

import hmac
from fractions import Fraction
from hashlib import sha256

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from dp import alias
from dp.alias import LABEL_TIES, LABEL_WORDS, AliasTable, TableCache
from dp.entropy import CHUNK_WORDS, Entropy
from dp.errors import BadParameters
from dp.noise import GaussianLaw, LaplaceLaw, Law, SkellamLaw, discrete_gaussian
from dp.weights import gaussian_weights
from tests.dp.noise_kit import FALSE_ALARM, Scripted, float_pmf, p_value, seeded, table_law, total_variation
from tests.rows import rows

GAUSSIANS = {sigma2: AliasTable.symmetric(gaussian_weights(Fraction(sigma2))) for sigma2 in (4, 100)}
NARROW = [GaussianLaw(Fraction(1, 4)), GaussianLaw(4), GaussianLaw(100), LaplaceLaw(Fraction(3, 2)), SkellamLaw(9)]

# known answers


def test_a_slow_reading_of_the_keystream_gives_the_same_samples() -> None:
    # HKDF by hmac, AES-CTR by counting blocks, thresholds compared as 256-bit integers.
    table = GAUSSIANS[100]
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


@rows("N2")
@pytest.mark.parametrize("law", NARROW, ids=repr)
def test_a_table_of_8_fraction_bits_ties_often_and_keeps_its_law(row: str, law: Law) -> None:
    [term] = law.terms()
    half = term.weights(*term.parameters)
    wide = AliasTable.symmetric(half)
    narrow = AliasTable.symmetric(half, wide.column_bits + 8)
    # The law is the same to 2^-200 although a word holds only 8 bits of fraction: ties carry the rest.
    exact = table_law(wide)
    assert total_variation(table_law(narrow), [exact[k] for k in range(wide.reach + 1)]) < Fraction(1, 2**190)
    total, stream = np.zeros(10**5, dtype=np.int64), seeded(11)
    narrow.add_into(total, 1, stream)
    assert LABEL_TIES in stream._streams
    assert p_value(total, float_pmf(law)) > FALSE_ALARM


def test_ties_are_decided_by_192_more_bits_in_ascending_order() -> None:
    table = GAUSSIANS[4]
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
    table = GAUSSIANS[4]
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


@given(st.lists(st.integers(0, 2**70), min_size=1, max_size=40).filter(any))
def test_the_law_of_a_table_is_its_weights(weights: list[int]) -> None:
    law, total = table_law(AliasTable.build(range(len(weights)), weights)), sum(weights)
    for value, weight in enumerate(weights):
        assert abs(law.get(value, 0) - Fraction(weight, total)) <= Fraction(len(weights), 2**256)
    assert sum(law.values()) == 1


@given(st.integers(0, 3 * CHUNK_WORDS), st.integers(0, 300))
def test_a_vector_drawn_in_two_pieces_is_the_vector_drawn_at_once(first: int, second: int) -> None:
    whole, pieces = (np.zeros(first + second, dtype=np.int64) for _ in range(2))
    GAUSSIANS[100].add_into(whole, 1, seeded(1))
    stream = seeded(1)
    GAUSSIANS[100].add_into(pieces[:first], 1, stream)
    GAUSSIANS[100].add_into(pieces[first:], 1, stream)
    assert np.array_equal(whole, pieces)


def test_the_reach_is_the_largest_value_on_either_side() -> None:
    assert AliasTable.build([5, -9, 7], [1, 2, 4]).reach == 9
    assert AliasTable.build([5, -3, 7], [1, 2, 4]).reach == 7


# the cache


def test_a_table_is_built_once_and_the_oldest_leave_when_columns_run_out() -> None:
    cache, built = TableCache(most_columns=1024), []

    def draw_from(law: int) -> AliasTable:
        return cache.table(law, lambda: built.append(law) or GAUSSIANS[100])  # type: ignore[func-returns-value]

    first = draw_from(1)
    assert len(first.heads) == 512
    assert draw_from(1) is first
    draw_from(2)
    draw_from(1)
    assert built == [1, 2]
    draw_from(3)  # the third does not fit: 2 was used least recently
    assert cache.columns == 1024
    draw_from(1)
    assert built == [1, 2, 3]
    draw_from(2)
    assert built == [1, 2, 3, 2]


def test_a_table_larger_than_the_cache_is_kept_while_it_is_the_newest() -> None:
    cache = TableCache(most_columns=1)
    assert cache.table("law", lambda: GAUSSIANS[100]) is cache.table("law", lambda: GAUSSIANS[4])
    assert cache.table("other", lambda: GAUSSIANS[4]) is GAUSSIANS[4]
    assert cache.columns == len(GAUSSIANS[4].heads)


def test_a_hundred_laws_of_deviation_2000_stay_at_hand() -> None:
    columns = len(AliasTable.symmetric(gaussian_weights(Fraction(2000) ** 2)).heads)
    assert 100 * columns <= alias.CACHED_COLUMNS


# errors


def test_a_law_with_too_many_values_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alias, "MAX_COLUMNS", 4)
    with pytest.raises(BadParameters, match="columns"):
        AliasTable.build(range(5), [1] * 5)
