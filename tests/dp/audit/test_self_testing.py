"""The self-test: silent about sound noise, tight against its claim, and loud about each thing it looks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from dp.audit import Finding, NoisePath, Route, Rule, examine, production_routes, refuted, routes_of, selftest
from dp.audit.production import COORDINATES, central_gaussian, central_laplace, central_skellam
from dp.audit.self_testing import DELTA, FALSE_ALARM, _related, claimed, fresh, streams
from dp.audit.shared_routes import BITS, SHARED_COORDINATES
from dp.entropy import Entropy
from dp.errors import BadParameters, NotEnoughTrials
from dp.gaussian import gaussian_epsilon, gaussian_sigma
from dp.noise import Integers
from tests.dp.audit.audit_kit import fresh_seeded, seeded
from tests.rows import rows

SMALL = 1 << 13


@pytest.fixture(scope="module")
def sound() -> tuple[Finding, ...]:
    """One run over everything, from streams that every run of the tests sees alike."""
    return selftest(source=fresh_seeded(1))


def named(finding: Finding, words: str) -> bool:
    """Whether the check whose name holds these words passed."""
    [check] = [check for check in finding.checks if words in check.name]
    return check.passed


def test_every_noise_path_is_tested_once_and_the_streams_too(sound: tuple[Finding, ...]) -> None:
    assert [finding.subject for finding in sound] == [
        "central discrete Gaussian, one table",
        "central discrete Gaussian, several tables",
        "central discrete Laplace, one table",
        "central discrete Laplace, several tables",
        "central Skellam",
        "sum of noise shares",
        "sum of noise shares, 20 bits",
        "sum of Skellam shares",
        "total after surplus layers",
        "total after surplus layers, 20 bits",
        "adaptive clip bit",
        "local DP",
        "entropy",
    ]
    assert sum(len(routes_of(path)) for path in NoisePath) == len(production_routes()) == len(sound) - 1


def test_sound_noise_is_not_refuted_and_every_bound_is_below_its_claim(sound: tuple[Finding, ...]) -> None:
    assert not refuted(sound)
    for finding in sound[:-1]:
        assert finding.claim is not None
        assert finding.lower_bound is not None
        assert 0.0 < finding.lower_bound < finding.claim
        assert finding.confidence == 1.0 - FALSE_ALARM
        assert (finding.hypotheses, finding.seed) == (1, None)


def test_a_run_has_fewer_false_alarms_than_one_in_a_million(sound: tuple[Finding, ...]) -> None:
    """S^2 of N normal numbers is chi-square of N degrees: at 6 standard errors its upper tail is above the normal's."""
    bounds = sum(finding.lower_bound is not None for finding in sound)
    others = sum(len(finding.checks) for finding in sound)
    few, many = (float(stats.chi2.sf(n * (1 + 6 * math.sqrt(2 / n)), n)) for n in (2 * BITS, 2 * SHARED_COORDINATES))
    assert few < 4e-8
    assert many < 2e-9
    assert bounds * FALSE_ALARM + few + others * 2e-9 < 1e-6


def test_the_production_entropy_passes() -> None:
    assert not refuted(selftest())


@pytest.mark.parametrize(("epsilon", "coordinates"), [(1.0, 1 << 22), (4.0, 1 << 19), (10.0, 1 << 19)])
def test_the_bound_of_gaussian_noise_is_within_five_percent_of_the_claim(epsilon: float, coordinates: int) -> None:
    z = Fraction(gaussian_sigma(epsilon, float(DELTA))).limit_denominator(1 << 20)
    finding = examine(central_gaussian(z, coordinates=coordinates), source=fresh_seeded(2))
    assert finding.claim == pytest.approx(epsilon, rel=5e-3)
    assert finding.lower_bound is not None
    assert 0.95 * finding.claim < finding.lower_bound < finding.claim


def test_the_claim_is_the_exact_curve() -> None:
    assert claimed(central_gaussian(1), DELTA) == pytest.approx(gaussian_epsilon(1e-5, 1.0), rel=1e-3)
    assert claimed(central_laplace(1), DELTA) == pytest.approx(1.0, rel=1e-4)


@rows("N5")
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_bounds_exceed_a_true_claim_as_rarely_as_they_say(row: str, epsilon: float) -> None:
    z = Fraction(gaussian_sigma(epsilon, float(DELTA))).limit_denominator(1 << 10)
    route, above = central_gaussian(z, coordinates=SMALL), 0
    truth = gaussian_epsilon(float(DELTA), float(z))
    for seed in range(200):
        finding = examine(route, confidence=0.95, source=fresh_seeded(1000 + seed), claim=truth)
        assert finding.lower_bound is not None
        above += finding.lower_bound > truth
    assert above <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95)


# --- each check by the one thing it is for ------------------------------------------------------------------


def noisy(change: Callable[[Integers], Integers], route: Route | None = None) -> Finding:
    """What is found about a route whose noise is changed on the way."""
    route = central_gaussian(1, coordinates=1 << 15) if route is None else route
    return examine(replace(route, draw=lambda source, context: change(route.draw(source, context))), source=seeded(3))


def test_unchanged_noise_is_not_refuted() -> None:
    assert not noisy(lambda noise: noise).refuted


@pytest.mark.parametrize("factor", [0.5, 0.95, 1.05])
def test_a_sigma_that_is_wrong_either_way_is_seen(factor: float) -> None:
    finding = noisy(lambda noise: np.rint(factor * noise).astype(np.int64))
    assert not named(finding, "variance, in")
    assert finding.refuted


@pytest.mark.parametrize("route", production_routes(), ids=lambda route: route.name)
def test_two_percent_of_sigma_are_seen_at_the_size_of_a_run(route: Route) -> None:
    """Twenty percent of the bit's: a run draws a thousand of them."""
    factor = 0.8 if "bit" in route.name else 0.98
    claims_more = replace(route, variance=route.variance / Fraction(factor) ** 2)
    assert not named(examine(claims_more, source=fresh_seeded(4)), "variance, in")


def test_a_shifted_mean_is_seen() -> None:
    assert not named(noisy(lambda noise: noise + 5), "mean")


def test_gaps_in_the_lattice_are_seen() -> None:
    finding = noisy(lambda noise: noise // 2 * 2)
    assert not named(finding, "one neighbour")
    assert named(finding, "mean")


def test_a_block_that_occurs_twice_is_seen() -> None:
    def repeated(noise: Integers) -> Integers:
        noise[20_000:20_012] = noise[100:112]
        return noise

    assert not named(noisy(repeated), "occur twice")


def test_related_coordinates_are_seen() -> None:
    def smoothed(noise: Integers) -> Integers:
        return np.rint((noise + np.roll(noise, 1)) / math.sqrt(2)).astype(np.int64)

    finding = noisy(smoothed)
    assert not named(finding, "correlation")
    assert named(finding, "variance, in")


LARGE = central_gaussian(1)
HALF = COORDINATES // 2


def copied(noise: Integers) -> Integers:
    noise[HALF:] = noise[:HALF]
    return noise


def negated(noise: Integers) -> Integers:
    noise[HALF:] = -noise[:HALF]
    return noise


def mirrored(noise: Integers) -> Integers:
    noise[HALF:] = noise[:HALF][::-1]
    return noise


def mirrored_and_negated(noise: Integers) -> Integers:
    noise[HALF:] = -noise[:HALF][::-1]
    return noise


def two_apart(noise: Integers) -> Integers:
    fours = noise.reshape(-1, 4)
    fours[:, 2:] = fours[:, :2]
    return noise


def negated_in_part(noise: Integers) -> Integers:
    noise[70_001:76_001] = -noise[1000:7000]
    return noise


def mirrored_in_part(noise: Integers) -> Integers:
    noise[70_001:76_001] = noise[1000:7000][::-1]
    return noise


@pytest.mark.parametrize(
    "change", [copied, negated, mirrored, mirrored_and_negated, two_apart, negated_in_part, mirrored_in_part]
)
def test_values_that_serve_two_coordinates_are_seen(change: Callable[[Integers], Integers]) -> None:
    finding = noisy(change, LARGE)
    assert not named(finding, "correlation")
    assert named(finding, "variance, in")


@pytest.mark.parametrize("size", [511, 512, 4096])
def test_sound_values_are_hardly_ever_related(size: int) -> None:
    generator = np.random.default_rng(12)
    values = [_related("x", generator.normal(0, 300, size).astype(np.int64)).value for _ in range(400)]
    assert max(values) < 7.0
    # The median of the largest of half as many lags and as many turns, both sides.
    assert float(np.median(values)) == pytest.approx(float(stats.norm.isf(math.log(2) / (3 * size))), rel=0.03)


def test_noise_that_is_all_alike_is_as_related_as_can_be() -> None:
    assert not named(noisy(lambda noise: np.full_like(noise, noise[0])), "correlation")


@pytest.mark.parametrize("route", [central_laplace(1), central_skellam(1)], ids=lambda route: route.name)
def test_the_two_bins_are_seen_to_differ_too_much(route: Route) -> None:
    finding = noisy(lambda noise: np.rint(noise / 3).astype(np.int64), route)
    assert route.rule is Rule.TWO_BINS
    assert finding.claim is not None
    assert finding.lower_bound is not None
    assert finding.lower_bound > finding.claim


def test_windows_of_streams_are_compared_with_each_other_and_within() -> None:
    one, other = (Entropy.insecure(seed, b"test", b"").borrow(1 << 10, b"x").copy() for seed in (1, 2))
    assert fresh((one, other)).passed
    assert fresh((one, one[100:])).value == 1024 - 100 - 11
    assert not fresh((one, other, np.concatenate((other[:11], one[3:15])))).passed
    assert fresh((one, other[:11], one[3:14])).passed


def test_one_stream_for_two_rounds_is_seen() -> None:
    assert not refuted([streams(fresh_seeded(5))])
    assert not named(streams(seeded(5)), "occur twice")


# --- what is refused ------------------------------------------------------------------------------------------


def test_a_route_that_draws_something_else_is_refused() -> None:
    route = central_gaussian(1, coordinates=SMALL)
    for drawn in (np.zeros(SMALL), np.zeros((2, 12), dtype=np.int64), np.zeros(3, dtype=np.int64)):
        with pytest.raises(BadParameters, match="one int64 vector"):
            examine(replace(route, draw=lambda source, context, drawn=drawn: drawn))


def test_too_few_draws_for_the_confidence_are_refused() -> None:
    with pytest.raises(NotEnoughTrials):
        examine(central_gaussian(1, coordinates=16))


@pytest.mark.parametrize("wrong", [{"distance": 0}, {"variance": Fraction(0)}, {"fourth": 1.0}])
def test_a_route_without_noise_or_neighbours_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadParameters, match="a route needs"):
        replace(central_gaussian(1), **wrong)
