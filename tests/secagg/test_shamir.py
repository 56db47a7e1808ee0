"""shamir: worked by hand in small fields, exhaustive secrecy, a published example, refusals."""

from __future__ import annotations

import json
from itertools import combinations, permutations, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import BadParameters, BadShare
from secagg.keys import Seed
from secagg.prg import Stream
from secagg.shamir import (
    PRIME,
    SHARE_BYTES,
    STEPS_PER_REDUCTION,
    Share,
    combine,
    draw_elements,
    evaluate,
    interpolate,
    invert_all,
    lagrange_at_zero,
    split,
)

SECRET = Seed(b"\xff" * 32)
STREAM = Stream(Seed(b"coefficients".ljust(32, b".")))


def is_prime(n: int) -> bool:
    """Miller and Rabin to forty bases after the small primes."""
    bases = [p for p in range(2, 180) if all(p % q for q in range(2, p))]
    if any(n % p == 0 for p in bases):
        return n in bases
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        power = pow(base, odd, n)
        if power in (1, n - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % n
            if power == n - 1:
                break
        else:
            return False
    return True


# --- the field


def test_p_is_the_smallest_prime_above_2_to_256() -> None:
    assert PRIME == 2**256 + 297
    assert is_prime(PRIME)
    assert not any(is_prime(2**256 + gap) for gap in range(1, 297))
    assert PRIME.bit_length() == 257 <= 8 * SHARE_BYTES


# --- known answers


def test_two_of_three_in_seven_elements_by_hand() -> None:
    # f(X) = 5 + 3 X: f(1) = 1, f(2) = 4, f(3) = 0 (mod 7).
    assert [evaluate([5, 3], x, 7) for x in (1, 2, 3)] == [1, 4, 0]
    # Through x = 1 and 3: lambda = 3 / 2 = 5 and 1 / -2 = 3; 1 * 5 + 0 * 3 = 5.
    assert lagrange_at_zero((1, 3), 7) == (5, 3)
    assert interpolate((1, 3), [1, 0], 7) == 5


def test_three_of_five_in_257_elements_by_hand() -> None:
    # f(X) = 123 + 7 X + 200 X^2: 330 = 73, 937 = 166, 1944 = 145, 3351 = 10, 5158 = 18 (mod 257).
    shares = [73, 166, 145, 10, 18]
    assert [evaluate([123, 7, 200], x, 257) for x in range(1, 6)] == shares
    for xs in permutations(range(1, 6), 3):
        assert interpolate(xs, [shares[x - 1] for x in xs], 257) == 123


def test_a_published_reconstruction(shared: Path) -> None:
    example = json.loads((shared / "vectors" / "fcp_secagg_kats.json").read_text())["shamir"]
    prime, chunk_bits = example["prime"], example["chunk_bits"]
    rows = [bytes(share) for share in example["shares"]]
    chunks = [[int.from_bytes(row[i : i + 4], "big") for i in range(0, len(row), 4)] for row in rows]
    for holders in combinations(range(len(rows)), example["threshold"]):
        xs = tuple(holder + 1 for holder in holders)
        values = [interpolate(xs, [chunks[h][c] for h in holders], prime) for c in range(len(chunks[0]))]
        secret = 0
        for value in values:
            secret = secret << chunk_bits | value
        assert secret.to_bytes(example["secret_len"], "big").hex() == example["secret_hex"]


def test_shares_are_values_of_the_polynomial_drawn_from_the_stream() -> None:
    # Draw i is bytes 33 i .. 33 i + 33, little-endian, cut to 257 bits, rejected when not below p.
    plain = STREAM.bytes(0, 33 * 40)
    draws = [int.from_bytes(plain[i : i + 33], "little") % 2**257 for i in range(0, len(plain), 33)]
    kept = [draw for draw in draws if draw < PRIME]
    assert len(kept) < len(draws), "the rejection must be under test"
    assert draw_elements(STREAM, 9) == kept[:9]
    for share in split(SECRET, 4, [1, 2, 40, 2**32 - 1], STREAM):
        assert share.y == sum(c * share.x**i for i, c in enumerate([2**256 - 1, *kept[:3]])) % PRIME


class Planned(Stream):
    """A stream whose bytes are written out beforehand."""

    __slots__ = ("_plain",)

    def __init__(self, plain: bytes) -> None:
        super().__init__(Seed(bytes(32)))
        self._plain = plain

    def bytes(self, offset: int, count: int) -> bytes:
        return self._plain[offset : offset + count]


def test_a_draw_of_the_prime_itself_is_rejected_and_one_below_is_not() -> None:
    draws = (PRIME, PRIME - 1, 2**257 - 1, 0)
    assert draw_elements(Planned(b"".join(draw.to_bytes(33, "little") for draw in draws)), 2) == [PRIME - 1, 0]


def test_as_many_values_as_points_are_interpolated() -> None:
    for ys in ([1], [1, 0, 2]):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            interpolate((1, 3), ys, 7)


# --- secrecy and recovery


@pytest.mark.parametrize("threshold", [1, 2, 3, 4])
def test_fewer_than_t_shares_fit_every_secret_equally_often(threshold: int) -> None:
    prime, points = 7, range(1, 7)
    for seen in combinations(points, threshold - 1):
        counts: dict[tuple[int, ...], list[int]] = {}
        for secret, *rest in product(range(prime), repeat=threshold):
            view = tuple(evaluate([secret, *rest], x, prime) for x in seen)
            counts.setdefault(view, [0] * prime)[secret] += 1
        assert len(counts) == prime ** (threshold - 1)
        assert all(count == [1] * prime for count in counts.values())


@pytest.mark.parametrize("threshold", [1, 2, 3, 4])
def test_every_t_shares_of_every_polynomial_give_the_secret(threshold: int) -> None:
    for polynomial in product(range(5), repeat=threshold):
        values = {x: evaluate(polynomial, x, 5) for x in range(1, 5)}
        for xs in combinations(values, threshold):
            assert interpolate(xs, [values[x] for x in xs], 5) == polynomial[0]


@given(st.binary(min_size=32, max_size=32), st.data())
def test_any_t_shares_in_any_order_give_the_secret(secret: bytes, data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=40, unique=True))
    threshold = data.draw(st.integers(1, len(points)))
    shares = split(Seed(secret), threshold, points, STREAM)
    assert [share.x for share in shares] == points
    chosen = data.draw(st.permutations(shares))[:threshold]
    assert combine(chosen, threshold) == Seed(secret)


@pytest.mark.parametrize(("holders", "threshold"), [(99, 55), (150, 3 * STEPS_PER_REDUCTION + 1)])
def test_large_cohorts_recover_from_the_first_and_from_the_last(holders: int, threshold: int) -> None:
    shares = split(SECRET, threshold, range(1, holders + 1), STREAM)
    assert combine(shares[:threshold], threshold) == SECRET == combine(shares[-threshold:], threshold)
    whole = [2**256 - 1, *draw_elements(STREAM, threshold - 1)]
    assert shares[-1].y == sum(c * holders**i for i, c in enumerate(whole)) % PRIME


@given(st.lists(st.integers(1, PRIME - 1), max_size=20))
def test_one_inversion_serves_all(values: list[int]) -> None:
    assert invert_all(values, PRIME) == [pow(value, -1, PRIME) for value in values]


def test_a_threshold_of_one_hands_out_the_secret_itself() -> None:
    assert [share.to_bytes() for share in split(SECRET, 1, [1, 2], STREAM)] == [b"\0" + b"\xff" * 32] * 2


# --- shares as bytes


def test_a_share_travels_as_33_bytes() -> None:
    for y in (0, 1, 2**256, PRIME - 1):
        data = Share(7, y).to_bytes()
        assert len(data) == 33
        assert Share.from_bytes(7, data) == Share(7, y)


def test_a_share_prints_no_secret() -> None:
    assert repr(Share(7, 123456789)) == "Share(x=7)"


@pytest.mark.parametrize("data", [PRIME.to_bytes(33, "big"), b"\xff" * 33, bytes(32), bytes(34), b""])
def test_bytes_that_are_no_field_element_are_refused(data: bytes) -> None:
    with pytest.raises(BadShare, match="holder 7") as caught:
        Share.from_bytes(7, data)
    assert data.hex()[:12] not in str(caught.value) or not data


@pytest.mark.parametrize("x", [0, -1, PRIME])
def test_no_holder_sits_at_zero(x: int) -> None:
    with pytest.raises(BadShare, match="x is at least 1"):
        Share(x, 5)


@pytest.mark.parametrize("y", [-1, PRIME])
def test_a_value_outside_the_field_is_no_share(y: int) -> None:
    with pytest.raises(BadShare, match="holder 7 is not a field element"):
        Share(7, y)


# --- refusals


def test_combine_takes_exactly_t_distinct_shares() -> None:
    shares = split(SECRET, 3, range(1, 6), STREAM)
    for wrong in ([], shares[:2], shares[:4]):
        with pytest.raises(BadShare, match="3 shares are needed"):
            combine(wrong, 3)
    with pytest.raises(BadShare, match="same x"):
        combine([shares[0], shares[1], shares[0]], 3)
    with pytest.raises(BadParameters, match="threshold"):
        combine([], 0)


def test_shares_of_no_32_byte_secret_are_refused() -> None:
    for secret in (2**256, PRIME - 1):
        shares = [Share(x, (secret + 5 * x) % PRIME) for x in (1, 2)]
        with pytest.raises(BadShare, match="no polynomial through a 32-byte secret") as caught:
            combine(shares, 2)
        assert str(secret)[:10] not in str(caught.value)
    largest = [Share(x, (2**256 - 1 + 5 * x) % PRIME) for x in (1, 2)]
    assert combine(largest, 2) == SECRET


def test_one_wrong_share_gives_another_secret() -> None:
    shares = split(Seed(bytes(32)), 3, range(1, 4), STREAM)
    # lambda of x = 2 among 1, 2, 3 is -3, so one less in y is three more in the secret.
    spoilt = Share(2, (shares[1].y - 1) % PRIME)
    assert combine([shares[0], spoilt, shares[2]], 3).expose() == (3).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("threshold", "points"),
    [(0, [1, 2]), (3, [1, 2]), (1, []), (2, [1, 1]), (2, [0, 1]), (2, [-1, 1]), (2, [1, 2**32])],
)
def test_impossible_sharings_are_refused(threshold: int, points: list[int]) -> None:
    with pytest.raises(BadParameters):
        split(SECRET, threshold, points, STREAM)
