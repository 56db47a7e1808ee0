"""plan: known answers, refusals that name the nearest number, the proof for every plan, and hints on the key."""

from __future__ import annotations

import math
import re
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from secagg.ckks.plan import (
    MOST_BITS,
    MOST_CLIENTS,
    MOST_HOLDERS,
    MOST_OPENINGS,
    MOST_VALUES,
    CkksPlan,
    Keys,
    Mode,
    Noise,
    plan,
)
from secagg.ckks.sample import KEY_SIGMA, cbd21, key_gaussian, rounded_gaussian, ternary, uniform_mod_q
from secagg.ckks.wire import WIDTHS, dropped, pack_into, packed_bytes, unpack
from secagg.errors import BadParameters, NoParameters
from secagg.keys import Seed
from secagg.negacyclic import PRIME, Complexes, N, Residues, big_product, centred, reduced, transform
from secagg.prg import Stream

MILLION = 10**6
SINGLE, SEEDED = Keys(Mode.SINGLE), Keys(Mode.SEEDED)
ONCE, THIRTY = Keys(Mode.THRESHOLD, 5, 4, 1), Keys(Mode.THRESHOLD, 5, 4, 30)


def sum_bits(clients: int, value_bits: int) -> int:
    """Bits of a sum of so many values of v bits each, as the encoding counts them."""
    return math.ceil(math.log2(2 * clients * 2 ** (value_bits - 1) + 1))


def bytes_per_value(clients: int, value_bits: int, keys: Keys) -> float | None:
    try:
        return plan(clients, sum_bits(clients, value_bits), MILLION, keys).bytes_per_value
    except NoParameters:
        return None


def stream(name: str) -> Stream:
    return Stream(Seed(name.encode().ljust(32, b".")))


# --- known answers: bytes per value for values of 12, 16 and 20 bits, a million of them

BYTES = {
    3: ([6, 8, 10], [8, 9, 10], [5, 6, 8], [2, 3, 3.5]),
    10: ([8, 10, 10], [8, 10, 10], [5.5, 8, 9], [2.5, 3, 4]),
    100: ([10, 10, 12], [10, 11, None], [8, 9, 10], [3, 4, 5]),
    300: ([10, 12, None], [10, None, None], [9, 10, 11], [3.5, 5, 5]),
    1000: ([10, None, None], [11, None, None], [9, 10, 11], [4, 5, 5]),
    10000: ([None, None, None], [None, None, None], [11, 12, 13], [5, 6, 6]),
}


@pytest.mark.parametrize("clients", BYTES)
def test_bytes_per_value(clients: int) -> None:
    for keys, expected in zip((ONCE, THIRTY, SINGLE, SEEDED), BYTES[clients], strict=True):
        assert [bytes_per_value(clients, bits, keys) for bits in (12, 16, 20)] == expected, keys


@pytest.mark.parametrize(
    ("clients", "keys", "most"), [(1000, ONCE, 15), (1000, THIRTY, 13), (10000, ONCE, 10), (10000, THIRTY, 7)]
)
def test_the_widest_values_that_fit(clients: int, keys: Keys, most: int) -> None:
    assert bytes_per_value(clients, most, keys) is not None
    assert bytes_per_value(clients, most + 1, keys) is None


@pytest.mark.parametrize(
    ("clients", "value_bits", "keys", "layout", "guard", "smudging", "std"),
    [
        (10, 16, ONCE, (1, 4, 6), 27, 21.06, 22.47),
        (100, 16, THIRTY, (1, 4, 7), 29, 22.68, 24.11),
        (3, 12, ONCE, (2, 5, 7), 23, 17.20, 18.20),
        (10, 16, SINGLE, (1, 4, 4), 32, None, 27.08),
        (10, 16, SEEDED, (2, 6, 0), 11, None, 5.89),
    ],
)
def test_rows_of_the_specification(
    clients: int,
    value_bits: int,
    keys: Keys,
    layout: tuple[int, int, int],
    guard: int,
    smudging: float | None,
    std: float,
) -> None:
    found = plan(clients, sum_bits(clients, value_bits), MILLION, keys)
    assert (found.digits, found.width0, found.width1) == layout
    assert found.guard == guard
    assert math.log2(found.noise.std) == pytest.approx(std, abs=0.0051)
    if smudging is None:
        assert found.noise.smudging == 0.0
    else:
        assert math.log2(found.noise.smudging) == pytest.approx(smudging, abs=0.0051)
    assert found.largest_sum == 2 ** (found.bits - 1) - 1
    assert found.blocks == math.ceil(MILLION / (N * found.digits))


# --- keys


@pytest.mark.parametrize(("holders", "threshold", "corrupt"), [(2, 2, 1), (3, 2, 0), (5, 4, 2), (7, 5, 2), (10, 7, 3)])
def test_recommended_thresholds(holders: int, threshold: int, corrupt: int) -> None:
    keys = Keys.recommended(holders, 3)
    assert astuple(keys) == (Mode.THRESHOLD, holders, threshold, 3)
    assert keys.tolerated == corrupt


@given(st.integers(2, MOST_HOLDERS), st.integers(0, MOST_HOLDERS))
def test_two_sets_of_the_recommended_threshold_share_an_honest_holder(holders: int, corrupt: int) -> None:
    if corrupt >= holders:
        # 2t > C + f has no t <= C.
        with pytest.raises(BadParameters):
            Keys.recommended(holders, 1, corrupt)
        return
    keys = Keys.recommended(holders, 1, corrupt)
    assert 2 * keys.threshold > holders + corrupt
    assert keys.threshold > corrupt
    assert keys.tolerated >= corrupt
    # And no smaller one does: 2 (t - 1) <= C + f, or t is the least there is.
    assert keys.threshold == 2 or 2 * (keys.threshold - 1) <= holders + corrupt


@given(st.integers(2, MOST_HOLDERS), st.data())
def test_tolerated_is_the_most(holders: int, data: st.DataObject) -> None:
    keys = Keys(Mode.THRESHOLD, holders, data.draw(st.integers(max(2, holders // 2 + 1), holders)))
    safe = [f for f in range(holders) if 2 * keys.threshold > holders + f and keys.threshold > f]
    assert keys.tolerated == max(safe)


@pytest.mark.parametrize(
    "arguments",
    [
        ("threshold", 3, 2, 1),
        (Mode.THRESHOLD, 1, 1, 1),
        (Mode.THRESHOLD, MOST_HOLDERS + 1, MOST_HOLDERS, 1),
        (Mode.THRESHOLD, 3, 1, 1),
        (Mode.THRESHOLD, 3, 4, 1),
        (Mode.THRESHOLD, 3, 2, 0),
        (Mode.THRESHOLD, 3, 2, MOST_OPENINGS + 1),
        (Mode.THRESHOLD, 3.0, 2, 1),
        (Mode.THRESHOLD, 3, True, 1),
        (Mode.SINGLE, 2, 2, 1),
        (Mode.SINGLE, 1, 2, 1),
        (Mode.SEEDED, 2, 1, 1),
        (Mode.SEEDED, 1, 1, 0),
    ],
)
def test_keys_out_of_range_are_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(BadParameters):
        Keys(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("holders", "threshold"), [(4, 2), (5, 2), (10, 5), (64, 32)])
def test_sets_that_need_not_meet_are_refused_and_told_what_would(holders: int, threshold: int) -> None:
    with pytest.raises(BadParameters, match=f"at least {threshold + 1 if holders % 2 == 0 else 3}"):
        Keys(Mode.THRESHOLD, holders, threshold)
    assert Keys(Mode.THRESHOLD, holders, holders // 2 + 1).tolerated >= 0


@pytest.mark.parametrize("corrupt", [-1, 6, 1.0, True])
def test_a_number_of_corrupt_holders_out_of_range_is_refused(corrupt: int) -> None:
    with pytest.raises(BadParameters):
        Keys.recommended(5, 1, corrupt)


# --- refusals


def numbers_that_fit(refusal: str) -> dict[str, int]:
    options = refusal.split(": ", 1)[1]
    return {name: int(most) for most, name in re.findall(r"(\d+) (bits|clients|openings)", options)}


@pytest.mark.parametrize(
    ("clients", "bits", "dimension", "keys"),
    [
        (1000, 26, MILLION, ONCE),
        (300, 25, MILLION, THIRTY),
        (10000, 30, MILLION, THIRTY),
        (10, 40, MILLION, SINGLE),
        (10, 50, MILLION, SEEDED),
        (100, 24, 50 * MILLION, Keys(Mode.THRESHOLD, 64, 43, 300)),
        (3, 35, 1000, Keys(Mode.THRESHOLD, 3, 2, 10)),
    ],
)
def test_refusals_name_the_nearest_numbers_that_fit(clients: int, bits: int, dimension: int, keys: Keys) -> None:
    with pytest.raises(NoParameters, match="would fit") as refusal:
        plan(clients, bits, dimension, keys)
    named = numbers_that_fit(str(refusal.value))
    assert "bits" in named

    def attempt(name: str, number: int) -> CkksPlan:
        return plan(
            number if name == "clients" else clients,
            number if name == "bits" else bits,
            dimension,
            replace(keys, openings=number) if name == "openings" else keys,
        )

    for name, number in named.items():
        attempt(name, number)
        with pytest.raises(NoParameters):
            attempt(name, number + 1)
    for name in {"clients", "openings"} - set(named):
        with pytest.raises(NoParameters):
            attempt(name, 1)


def test_two_bits_fit_whatever_the_other_numbers_are() -> None:
    most = Keys(Mode.THRESHOLD, MOST_HOLDERS, MOST_HOLDERS, MOST_OPENINGS)
    with pytest.raises(NoParameters, match="at most 2 bits would fit"):
        plan(MOST_CLIENTS, MOST_BITS, MOST_VALUES, most)
    assert plan(MOST_CLIENTS, 2, MOST_VALUES, most).guard == MOST_BITS - 2


GOOD = plan(10, 20, MILLION, ONCE)


@pytest.mark.parametrize(
    "change",
    [
        {"clients": 0},
        {"clients": MOST_CLIENTS + 1},
        {"clients": 10.0},
        {"clients": True},
        {"bits": 1},
        {"bits": MOST_BITS + 1},
        {"dimension": 0},
        {"dimension": MOST_VALUES + 1},
        {"digits": 0},
        {"digits": 5},
        {"width0": 2},
        {"width0": 8},
        {"width1": 0},
        {"guard": 0},
        {"guard": MOST_BITS + 1},
        {"keys": None},
        {"keys": SEEDED},
    ],
)
def test_plans_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadParameters):
        replace(GOOD, **change)


@pytest.mark.parametrize(
    "arguments",
    [(0, 20, 1), (MOST_CLIENTS + 1, 20, 1), (10, 1, 1), (10, MOST_BITS + 1, 1), (10, 20, 0), (10, 20.0, 1)],
)
def test_questions_out_of_range_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(BadParameters):
        plan(*arguments, SEEDED)
    with pytest.raises(BadParameters):
        plan(10, 20, MOST_VALUES + 1, SEEDED)


# --- every plan

KEYS = st.one_of(
    st.builds(Keys, st.just(Mode.SINGLE), openings=st.integers(1, 100)),
    st.builds(Keys, st.just(Mode.SEEDED), openings=st.integers(1, 100)),
    st.builds(Keys.recommended, st.integers(2, 20), st.integers(1, 100)),
)
QUESTIONS = st.tuples(st.integers(1, 3000), st.integers(2, 30), st.integers(1, 5 * MILLION), KEYS)


def noise_of_the_specification(p: CkksPlan) -> tuple[float, float]:
    """(sm, noise_std) by the formulas of the specification, with the tail of hints of short vectors."""
    r0, r1 = (4.0 ** max(0, 54 - 8 * width) / 12 if 0 < width < 7 else 0.0 for width in (p.width0, p.width1))
    opened = p.keys.openings * math.ceil(p.dimension / (N * p.digits))
    per_client, smudging = 3.24**2 + r0, 0.0
    if p.keys.mode is not Mode.SEEDED:
        threshold = p.keys.mode is Mode.THRESHOLD
        s2 = p.keys.holders * 4.6**2 if threshold else 2 / 3
        k2 = p.keys.holders * 4.6**2 if threshold else 3.24**2
        per_client += N * (2 / 3) * k2 + N * (3.24**2 + r1) * s2
        if threshold:
            tail = math.log(N / 2 * 2**40) / p.blocks
            factor = max(2, 1 + math.sqrt(2 * tail) + tail)
            smudging = 4.6 * math.sqrt(32 * factor * p.clients * opened * N * (2 / 3 + 3.24**2 + r1))
    return smudging, math.sqrt(p.clients * per_client + p.keys.threshold * smudging**2)


def planned(question: tuple[int, int, int, Keys]) -> CkksPlan | None:
    try:
        return plan(*question)
    except NoParameters:
        return None


@given(QUESTIONS)
def test_no_sum_within_a_plan_wraps_or_opens_wrongly(question: tuple[int, int, int, Keys]) -> None:
    p = planned(question)
    if p is None:
        return
    smudging, std = noise_of_the_specification(p)
    assert p.noise.smudging == pytest.approx(smudging, rel=2e-3)
    assert p.noise.std == pytest.approx(std, rel=2e-3)
    # Gaussian tails, 15 % wider, of every coefficient that one key ever opens.
    coefficients = p.keys.openings * p.blocks * N
    farthest = 1.15 * p.noise.std * math.sqrt(2 * math.log(2 * coefficients * 2**40))
    assert farthest <= 2 ** (p.guard - 1)
    assert coefficients * math.erfc(farthest / p.noise.std / math.sqrt(2)) < 2**-40
    message = sum(p.largest_sum << (p.bits * digit) for digit in range(p.digits)) << p.guard
    assert message + 2 ** (p.guard - 1) < PRIME / 2
    assert p.digits * p.bits + p.guard <= MOST_BITS


@settings(max_examples=12)
@given(QUESTIONS)
def test_no_layout_that_fits_takes_fewer_bytes(question: tuple[int, int, int, Keys]) -> None:
    clients, bits, dimension, keys = question
    p = planned(question)
    least = None if p is None else (p.bytes_per_value, p.width0 + p.width1, p.guard)
    fitting = []
    for digits in (1, 2, 3, 4):
        for width0 in WIDTHS:
            for width1 in (0,) if keys.mode is Mode.SEEDED else WIDTHS:
                guard = Noise(clients, math.ceil(dimension / (N * digits)), keys, width0, width1).guard
                if digits * bits + guard <= MOST_BITS:
                    CkksPlan(clients, bits, dimension, keys, digits, width0, width1, guard)
                    fitting.append(((width0 + width1) / digits, width0 + width1, guard))
                    with pytest.raises(NoParameters, match="guard bits"):
                        CkksPlan(clients, bits, dimension, keys, digits, width0, width1, guard - 1)
                else:
                    with pytest.raises(NoParameters, match="guard bits"):
                        CkksPlan(clients, bits, dimension, keys, digits, width0, width1, min(guard, MOST_BITS))
    assert least == min(fitting, default=None)


@given(QUESTIONS)
def test_one_more_than_a_layout_bears_is_refused(question: tuple[int, int, int, Keys]) -> None:
    p = planned(question)
    if p is None:
        return
    most_bits = (MOST_BITS - p.guard) // p.digits
    assert replace(p, bits=most_bits).largest_sum >= p.largest_sum
    with pytest.raises(NoParameters, match="a sum wraps"):
        replace(p, bits=most_bits + 1)
    with pytest.raises(NoParameters, match="guard bits"):
        replace(p, guard=p.noise.guard - 1)

    def bears(clients: int) -> bool:
        return Noise(clients, p.blocks, p.keys, p.width0, p.width1).guard <= p.guard

    low, high = p.clients, MOST_CLIENTS + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bears(middle) else (low, middle)
    replace(p, clients=low)
    if high <= MOST_CLIENTS:
        with pytest.raises(NoParameters, match="guard bits"):
            replace(p, clients=high)


@given(QUESTIONS)
def test_less_of_anything_fits_as_well_and_takes_no_more(question: tuple[int, int, int, Keys]) -> None:
    p = planned(question)
    if p is None:
        return
    clients, bits, dimension, keys = question
    for fewer in (
        (max(1, clients - 1), bits, dimension, keys),
        (clients, max(2, bits - 1), dimension, keys),
        (clients, bits, max(1, dimension // 2), keys),
        (clients, bits, dimension, replace(keys, openings=max(1, keys.openings - 1))),
    ):
        assert plan(*fewer).bytes_per_value <= p.bytes_per_value


# --- noise as it comes


def through_the_wire(residues: Residues, width: int) -> Residues:
    packed = bytearray(packed_bytes(residues.size, width))
    pack_into(packed, residues, width)
    return unpack(packed, residues.size, width).reshape(residues.shape)


@pytest.mark.parametrize(("width0", "width1"), [(7, 7), (6, 5), (3, 7)])
def test_a_sum_of_uploads_has_the_planned_noise(width0: int, width1: int) -> None:
    clients, blocks, holders = 3, 8, 3
    noise = Noise(clients, blocks, Keys(Mode.THRESHOLD, holders, 2), width0, width1)
    shares = [stream(f"{width0} {width1} {part}") for part in ("a", "s", "k", "smudge")]
    a = uniform_mod_q(shares[0], N)
    s, k = (key_gaussian(each, holders * N).reshape(holders, N).sum(axis=0) for each in shares[1:3])
    secret = reduced(s)
    b = reduced(k - centred(big_product(secret[None], a)[0]))
    total = np.zeros((blocks, N), np.int64)
    for client in range(clients):
        draw = stream(f"{width0} {width1} client {client} u"), stream(f"{width0} {width1} client {client} e")
        u = reduced(ternary(draw[0], blocks * N).astype(np.int64)).reshape(blocks, N)
        errors = cbd21(draw[1], 2 * blocks * N).reshape(2, blocks, N)
        c0 = through_the_wire(reduced(centred(big_product(u, b)) + errors[0]), width0)
        c1 = through_the_wire(reduced(centred(big_product(u, a)) + errors[1]), width1)
        total += centred(reduced(centred(big_product(c1, secret)) + centred(c0)))
    smudges = rounded_gaussian(shares[3], noise.smudging, 2 * blocks * N).reshape(2, blocks, N)
    unsmudged = math.sqrt(noise.std**2 - 2 * noise.smudging**2)
    # The key's own norm is one draw: its square varies by sqrt(2/N), 3 %, its root by half of that.
    assert np.std(total) == pytest.approx(unsmudged, rel=0.06)
    assert np.std(total + smudges.sum(axis=0)) == pytest.approx(noise.std, rel=0.02)


# --- hints on the key


@given(st.integers(1, 3000), st.integers(1, 5000), st.integers(1, 100), st.sampled_from(WIDTHS))
def test_smudged_hints_leave_keys_of_the_standards_width(clients: int, blocks: int, openings: int, width: int) -> None:
    noise = Noise(clients, blocks, Keys(Mode.THRESHOLD, 5, 4, openings), 7, width)
    left = (2 * (1 / KEY_SIGMA**2 + noise.hint_bound / noise.smudging**2)) ** -0.5
    assert left >= 3.2
    assert left < 3.21
    # What the theorem asks of sqrt(2 pi) sigma: sqrt(2) times the smoothing parameter of Z^2N at 2^-128.
    assert left * math.sqrt(2 * math.pi) >= math.sqrt(2) * math.sqrt(math.log(4 * N * (1 + 2.0**128)) / math.pi)


def multipliers(clients: int, blocks: int, width: int, name: str) -> tuple[Complexes, Complexes]:
    """U and E1 of summed uploads, by the samplers and the wire, as values at the roots of X^(N/2) = i."""
    size = blocks * N
    u, e = np.zeros(size), np.zeros(size, np.int64)
    for client in range(clients):
        u += ternary(stream(f"{name} {client} u"), size)
        c1 = uniform_mod_q(stream(f"{name} {client} c"), size)
        e += cbd21(stream(f"{name} {client} e"), size)
        e += centred(reduced(through_the_wire(c1, width).astype(np.int64) - c1.astype(np.int64)))
    return transform(u.reshape(blocks, N)), transform(e.reshape(blocks, N))


def largest_eigenvalue(u: Complexes, e: Complexes) -> float:
    """Of M^T M, M = [E1 U] of all polynomials: at each root a Hermitian matrix of two rows."""
    e2, u2 = (np.sum(np.abs(x) ** 2, axis=0) for x in (e, u))
    mixed = np.abs(np.sum(np.conj(e) * u, axis=0)) ** 2
    return float(np.max((e2 + u2) / 2 + np.sqrt((e2 - u2) ** 2 / 4 + mixed)))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("clients", "blocks"), [(1, 1), (60, 1), (3, 4), (2, 30), (1, 130)])
def test_the_hint_bound_is_above_the_largest_eigenvalue(clients: int, blocks: int, width: int) -> None:
    noise = Noise(clients, blocks, Keys(Mode.THRESHOLD, 5, 4), 7, width)
    mean = clients * blocks * N * (2 / 3 + 3.24**2 + (4 ** dropped(width) / 12 if width < 7 else 0))
    largest = largest_eigenvalue(*multipliers(clients, blocks, width, f"{clients} {blocks} {width}"))
    assert largest < noise.hint_bound
    # One polynomial overshoots twice the mean; a vector of a hundred blocks and more stays below.
    assert (largest > 2 * mean) == (blocks <= 4)
    if blocks >= 124:
        assert noise.hint_bound == pytest.approx(2 * mean, rel=1e-3)


def test_rounding_leaves_no_direction_of_the_key_to_hints() -> None:
    # Were halves always rounded up, E1 of ten uploads would be 5 in every coefficient beside its noise: 6.7 times the
    # mean at the root next to 1, in every polynomial alike.
    noise = Noise(10, 130, Keys(Mode.THRESHOLD, 5, 4), 7, 6)
    assert largest_eigenvalue(*multipliers(10, 130, 6, "centred")) < 0.75 * noise.hint_bound


@settings(max_examples=20)
@given(st.integers(1, 400))
def test_the_tail_of_hints_is_a_gammas(blocks: int) -> None:
    noise = Noise(1, blocks, Keys(Mode.THRESHOLD, 5, 4), 7, 7)
    in_means = noise.hint_bound / (blocks * N * (2 / 3 + 10.5))
    assert N / 2 * stats.gamma.sf(blocks * in_means, blocks) <= 2**-40


def test_a_sum_opened_twice_counts_its_multipliers_twice() -> None:
    once, twice = (Noise(3, 2, Keys(Mode.THRESHOLD, 5, 4, openings), 7, 6) for openings in (1, 2))
    assert twice.hint_bound == pytest.approx(2 * once.hint_bound)
    u, e = multipliers(3, 2, 6, "twice")
    assert largest_eigenvalue(np.tile(u, (2, 1)), np.tile(e, (2, 1))) < twice.hint_bound
