"""harary: published degrees and thresholds, and every condition again in exact fractions."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from functools import cache
from math import comb
from pathlib import Path

import pytest

from secagg import harary
from secagg.errors import BadParameters, NoParameters
from secagg.harary import find_sparse_parameters, largest_feasible_sparse_dropout
from secagg.parameters import Against, Assumption, Parameters

ACTIVE, CURIOUS, SEMI = Against.ACTIVE, Against.CURIOUS, Against.SEMI

# --- known answers

# (degree, threshold) for sigma = 40, eta = 30
SIZES = (20, 50, 100, 500, 1000, 10**4, 10**5)
PAIRS = [
    (CURIOUS, ".05", ".05", "4,2 6,3 12,6 30,16 34,18 38,21 40,22"),
    (CURIOUS, ".05", ".10", "4,2 8,3 16,6 36,17 40,19 46,22 52,25"),
    (CURIOUS, ".10", ".10", "6,3 12,6 22,11 46,25 52,28 60,32 66,35"),
    (CURIOUS, ".10", ".30", "10,3 22,6 36,11 88,33 102,39 126,48 136,52"),
    (CURIOUS, ".20", ".10", "8,5 16,11 32,21 66,41 76,47 90,55 98,59"),
    (CURIOUS, ".33", ".33", "14,7 34,17 68,34 230,118 310,159 480,246 536,274"),
    (SEMI, ".05", ".05", "4,3 8,6 16,11 52,36 62,43 74,51 80,55"),
    (SEMI, ".05", ".10", "6,4 14,9 26,16 76,49 90,58 114,74 124,80"),
    (SEMI, ".10", ".10", "8,6 16,11 32,22 94,64 114,78 144,98 156,106"),
    (SEMI, ".20", ".10", "10,8 22,17 42,32 130,95 162,118 216,157 236,171"),
    (SEMI, ".33", ".05", "10,9 22,20 42,37 122,100 152,124 204,165 224,181"),
]
# (degree, threshold, window) against ACTIVE
ACTIVE_SIZES = (65, 100, 200, 500, 1000, 10**4, 10**5)
TRIPLES = [
    (".05", ".05", "14,9,3 22,14,5 42,27,10 58,39,15 66,45,17 76,52,20 80,55,21"),
    (".05", ".10", "20,12,3 32,19,5 50,31,10 76,49,17 90,58,19 114,74,24 124,80,26"),
    (".10", ".10", "26,17,6 42,27,10 70,46,18 94,64,24 114,78,28 144,98,35 156,106,37"),
    (".10", ".30", "52,30,6 72,42,10 140,81,20 298,175,40 462,273,58 936,555,107 1112,659,125"),
    (".20", ".10", "40,27,13 62,42,20 98,70,30 132,96,40 162,118,47 216,157,61 236,171,66"),
    (".33", ".05", "50,36,21 68,51,28 100,80,39 146,117,54 172,138,63 206,167,75 224,181,81"),
]


def numbers(row: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, cell.split(","))) for cell in row.split()]


@pytest.mark.parametrize(("against", "corrupt", "dropout", "row"), PAIRS)
def test_the_table_of_pairs(against: Against, corrupt: str, dropout: str, row: str) -> None:
    assumption = Assumption(Fraction(corrupt), Fraction(dropout), against=against)
    for n, pair in zip(SIZES, numbers(row), strict=True):
        found = find_sparse_parameters(n, assumption)
        assert (found.degree, found.threshold) == pair
        assert found.window == -1  # nothing is demanded of half neighbourhoods
        assert found.quorum == (0 if against is CURIOUS else (n + assumption.corrupted(n)) // 2 + 1)


@pytest.mark.parametrize(("corrupt", "dropout", "row"), TRIPLES)
def test_the_table_of_triples_against_an_active_server(corrupt: str, dropout: str, row: str) -> None:
    assumption = Assumption(Fraction(corrupt), Fraction(dropout))
    for n, triple in zip(ACTIVE_SIZES, numbers(row), strict=True):
        found = find_sparse_parameters(n, assumption)
        assert (found.degree, found.threshold, found.window) == triple
        assert found.quorum == (n + assumption.corrupted(n)) // 2 + 1 <= n - assumption.lost(n)


def test_every_published_row_of_the_graph_parameter_finder(shared: Path) -> None:
    published = json.loads((shared / "vectors" / "secagg_plus_harary_params.json").read_text())
    sigma, eta = published["security_parameter"], published["correctness_parameter"]
    assert (sigma, eta) == (40, 20)
    classes = {"NONE": CURIOUS, "CURIOUS_SERVER": CURIOUS, "SEMI_MALICIOUS_SERVER": SEMI}
    feasible = infeasible = 0
    for row in published["rows"]:
        against = classes[row["adversary_class"]]

        def search(row: dict[str, float] = row, against: Against = against) -> Parameters:
            assumption = Assumption(row["adversarial_rate"], row["dropout_rate"], sigma, eta, against)
            return find_sparse_parameters(int(row["n"]), assumption)

        if row["degree"]:
            found = search()
            assert (found.degree, found.threshold) == (row["degree"], row["max_threshold"]), row
            feasible += 1
        else:
            # That everybody drops is no assumption to begin with.
            with pytest.raises(BadParameters if row["dropout_rate"] == 1 else NoParameters):
                search()
            infeasible += 1
    assert (feasible, infeasible) == (98, 6)


# --- every condition in exact fractions


@cache
def up_to(n: int, marked: int, count: int, x: int) -> Fraction:
    """P[X <= x], X of `count` drawn among `marked` of n."""
    ways = sum(comb(marked, j) * comb(n - marked, count - j) for j in range(min(x, count) + 1))
    return Fraction(ways, comb(n, count))


def log2_of(p: Fraction) -> float:
    return -math.inf if p == 0 else math.log2(p.numerator) - math.log2(p.denominator)


def slow_conditions(n: int, k: int, assumption: Assumption) -> tuple[dict[str, bool], int, int]:
    """Which conditions hold at degree k, with the threshold and window they are about."""
    a, d, against = assumption.corrupted(n), assumption.lost(n), assumption.against
    rare, seldom = Fraction(1, n * 2 ** (assumption.sigma + 1)), Fraction(1, n * 2**assumption.eta)
    cut = Fraction(n * (n - k - 1), 2) * Fraction(comb(a + d, k), comb(n, k))
    most = next(x for x in range(k + 1) if 1 - up_to(n, a, k, x) < rare)
    t = max(2, most + 1 if against is CURIOUS else (k + most) // 2 + 1)
    w = next(x for x in range(k // 2 + 1) if 1 - up_to(n, a, k // 2, x) < rare)
    held = {
        "connected": cut < n * rare,
        "completes": t <= k and up_to(n, n - d, k, t - 1) < seldom,
        "window": against is not ACTIVE or up_to(n, n - d, k // 2, w) < seldom,
    }
    return held, t, w if against is ACTIVE else -1


CASES = [
    (n, Assumption(Fraction(corrupt), Fraction(dropout), sigma, eta, against))
    for n in (65, 100, 181, 300)
    for corrupt, dropout in ((".05", ".05"), (".1", ".1"), (".1", ".3"), (".33", ".05"), ("0", ".25"), (".2", "0"))
    for sigma, eta in ((40, 30), (60, 20))
    for against in Against
]


def check_against_fractions(n: int, assumption: Assumption) -> bool:
    """Every claim about one answer; False where there is none, which must then be so in fractions, too."""
    try:
        found = find_sparse_parameters(n, assumption)
    except NoParameters:
        if assumption.corrupt + (1 if assumption.against is CURIOUS else 2) * assumption.dropout > Fraction(9, 10):
            return False
        assert not any(all(slow_conditions(n, k, assumption)[0].values()) for k in range(2, n - 1, 2))
        return False
    k, t, w = found.degree, found.threshold, found.window
    a, s = assumption.corrupted(n), n - assumption.lost(n)
    for smaller in range(2, k, 2):
        assert not all(slow_conditions(n, smaller, assumption)[0].values())
    held, threshold, window = slow_conditions(n, k, assumption)
    assert all(held.values())
    assert (t, w) == (threshold, window)

    # What one honest victim sees are its n - 1 others.
    half_sigma, eta = Fraction(1, 2 ** (assumption.sigma + 1)), Fraction(1, 2**assumption.eta)
    harmless = t - 1 if assumption.against is CURIOUS else 2 * t - k - 1
    secrecy = (n - a) * (1 - up_to(n - 1, a, k, harmless))
    assert secrecy <= n * (1 - up_to(n, a, k, harmless)) < half_sigma
    lost_ones = (n - s) * up_to(n - 1, s, k, t - 1) if s < n else 0
    completion = s * up_to(n - 1, s - 1, k, t - 1) + lost_ones
    assert completion == n * up_to(n, s, k, t - 1) < eta
    privacy = n * (1 - up_to(n, a, k, harmless))
    if assumption.against is ACTIVE:
        h = k // 2
        assert n * up_to(n, s, h, w) < eta
        assert n * (1 - up_to(n, a, h, w)) < half_sigma
        assert (n - a) * (1 - up_to(n - 1, a, h, w)) < half_sigma
        privacy += n * (1 - up_to(n, a, h, w))
        completion += n * up_to(n, s, h, w)
    else:
        privacy += Fraction(n * (n - k - 1), 2) * Fraction(comb(a + n - s, k), comb(n, k))
    assert found.privacy_failure_log2 == pytest.approx(log2_of(privacy), abs=1e-9)
    assert found.completion_failure_log2 == pytest.approx(log2_of(completion), abs=1e-9)
    assert found.privacy_failure_log2 < -assumption.sigma
    assert found.completion_failure_log2 < -assumption.eta + (assumption.against is ACTIVE)
    return True


def test_every_bound_holds_in_exact_fractions_and_no_smaller_degree_would_do() -> None:
    answered = sum(check_against_fractions(n, assumption) for n, assumption in CASES)
    assert answered >= len(CASES) * 9 // 10


@pytest.mark.slow
def test_every_bound_holds_in_exact_fractions_over_a_large_sweep() -> None:
    answered = asked = 0
    for n in range(65, 301, 13):
        for corrupt in range(0, 45, 7):
            for dropout in range(0, 45, 6):
                for against in Against:
                    assumption = Assumption(Fraction(corrupt, 100), Fraction(dropout, 100), against=against)
                    answered += check_against_fractions(n, assumption)
                    asked += 1
        up_to.cache_clear()
    assert answered > asked / 2


def test_each_condition_alone_forbids_some_degree_two_below_an_answer() -> None:
    blamed = set()
    for n, assumption in CASES:
        try:
            found = find_sparse_parameters(n, assumption)
        except NoParameters:
            continue
        if found.degree > 2:
            held, _, _ = slow_conditions(n, found.degree - 2, assumption)
            failed = [name for name, holds in held.items() if not holds]
            assert failed
            if len(failed) == 1:
                blamed.update(failed)
    assert blamed == {"connected", "completes", "window"}


def test_population_n_is_the_expected_number_of_bad_neighbourhoods_itself() -> None:
    # Around a lost client k of n - 1 are drawn with all s survivors, around a survivor with s - 1 of them.
    for n, s, k, t in ((10, 7, 4, 2), (12, 9, 6, 4), (30, 20, 8, 5)):
        around_survivors, around_lost = up_to(n - 1, s - 1, k, t - 1), up_to(n - 1, s, k, t - 1)
        assert s * around_survivors + (n - s) * around_lost == n * up_to(n, s, k, t - 1)


def test_a_threshold_raised_to_two_is_what_must_complete() -> None:
    # A published pair of ten clients raises 1 to 2 after the test: one round in three would be lost.
    nobody = Assumption(0, 0.33, eta=20, against=CURIOUS)
    small = find_sparse_parameters(10, nobody)
    assert (small.degree, small.threshold) == (4, 2)
    assert small.completion_failure_log2 == pytest.approx(math.log2(Fraction(1, 3)))
    # Where rings are used, that degree is passed over.
    few = Assumption(0, Fraction(9, 10), sigma=1, eta=6, against=CURIOUS)
    found = find_sparse_parameters(100, few)
    assert found.threshold == 2
    assert up_to(100, 10, found.degree, 1) < Fraction(1, 100 * 2**6) <= up_to(100, 10, found.degree - 2, 1)
    assert up_to(100, 10, found.degree - 2, 0) < Fraction(1, 100 * 2**6)


# --- the search itself


def test_the_bracket_of_large_cohorts_finds_what_the_whole_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        (n, Assumption(corrupt, dropout, against=against))
        for n in (10_001, 30_000, 123_456)
        for corrupt, dropout in ((0, 0), (0.05, 0.05), (0.1, 0.3), (0.33, 0.05), (0.01, 0.4))
        for against in Against
    ]
    bracketed = [find_sparse_parameters(n, assumption) for n, assumption in cases]
    monkeypatch.setattr(harary, "EXHAUSTIVE_UP_TO", harary.MAX_SPARSE)
    assert bracketed == [find_sparse_parameters(n, assumption) for n, assumption in cases]


def test_the_bracket_refuses_what_the_whole_search_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = Assumption(0.3, 0.3)
    for _ in ("whole", "bracketed"):
        with pytest.raises(NoParameters, match="no sparse graph of 100"):
            find_sparse_parameters(100, heavy)
        monkeypatch.setattr(harary, "EXHAUSTIVE_UP_TO", 0)


@pytest.mark.parametrize("against", Against)
@pytest.mark.parametrize(("n", "corrupt"), [(70, 0.1), (100, 0.33), (200, 0), (12_000, 0.25)])
def test_the_largest_dropout_has_parameters_and_one_more_loss_is_refused(
    n: int, corrupt: float, against: Against
) -> None:
    feasible = largest_feasible_sparse_dropout(n, Assumption(corrupt, 0.9, against=against))
    assert (feasible * n).denominator == 1
    find_sparse_parameters(n, Assumption(corrupt, feasible, against=against))
    with pytest.raises(NoParameters, match=f"largest feasible drop-out is {feasible} ") as caught:
        find_sparse_parameters(n, Assumption(corrupt, feasible + Fraction(1, n), against=against))
    assert against.name in str(caught.value)


def test_more_corruption_or_losses_never_need_fewer_neighbours() -> None:
    for against in Against:
        for n in (100, 1000):
            by_corruption = [
                find_sparse_parameters(n, Assumption(c / 100, 0.1, against=against)) for c in range(0, 30, 5)
            ]
            by_losses = [find_sparse_parameters(n, Assumption(0.1, d / 100, against=against)) for d in range(0, 30, 5)]
            for found in (by_corruption, by_losses):
                degrees = [parameters.degree for parameters in found]
                assert degrees == sorted(degrees)


def test_where_nobody_is_corrupted_an_active_server_must_still_leave_somebody_in_every_window() -> None:
    found = find_sparse_parameters(1000, Assumption(0, 0.1))
    assert found.window == 0 < find_sparse_parameters(1000, Assumption(0.01, 0.1)).window
    assert found.quorum == 501


# --- what is refused


@pytest.mark.parametrize("n", [-1, 0, 3, 1_000_001])
def test_cohorts_no_ring_is_made_for_have_no_parameters(n: int) -> None:
    for search in (find_sparse_parameters, largest_feasible_sparse_dropout):
        with pytest.raises(NoParameters, match="4 to 1000000"):
            search(n, Assumption(0, 0))


@pytest.mark.parametrize("n", [100.0, "100", True, None])
def test_the_number_of_clients_is_an_integer(n: int) -> None:
    for search in (find_sparse_parameters, largest_feasible_sparse_dropout):
        with pytest.raises(BadParameters, match="number of clients"):
            search(n, Assumption(0, 0))


def test_where_nearly_all_are_corrupted_no_dropout_is_feasible() -> None:
    nearly_all = Assumption(0.91, 0)
    for search in (find_sparse_parameters, largest_feasible_sparse_dropout):
        with pytest.raises(NoParameters, match="even without drop-out"):
            search(1000, nearly_all)


def test_losses_count_once_against_a_curious_server_and_twice_against_a_lying_one() -> None:
    assert find_sparse_parameters(1000, Assumption(0.45, 0.45, eta=20, against=CURIOUS)).degree == 822
    with pytest.raises(NoParameters, match="2/5"):
        find_sparse_parameters(1000, Assumption(0.5, 0.41, eta=20, against=CURIOUS))
    assert find_sparse_parameters(1000, Assumption(0.3, 0.3, eta=20, against=SEMI)).degree == 872
    with pytest.raises(NoParameters, match="3/10"):
        find_sparse_parameters(1000, Assumption(0.3, 0.301, eta=20, against=SEMI))


@pytest.mark.parametrize("against", [SEMI, ACTIVE])
def test_whoever_has_parameters_keeps_a_quorum_after_the_losses(against: Against) -> None:
    # From 20 clients on it follows from corrupt + 2 dropout <= 9/10; below, every assumption is tried, leniently.
    answered = 0
    for n in range(4, 20):
        for corrupted in range(n):
            for lost in range((n - corrupted) // 2 + 1):
                assumption = Assumption(Fraction(corrupted, n), Fraction(lost, n), 1, 1, against)
                try:
                    found = find_sparse_parameters(n, assumption)
                except NoParameters:
                    continue
                answered += 1
                assert found.quorum == (n + corrupted) // 2 + 1 <= n - lost
    assert answered > 100
