"""parameters: the published table of complete graphs, and the inequalities behind it by exhaustion."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest

from secagg.errors import BadParameters, NoParameters
from secagg.parameters import Against, Assumption, Parameters, find_parameters, largest_feasible_dropout

ACTIVE, CURIOUS, SEMI = Against.ACTIVE, Against.CURIOUS, Against.SEMI


# --- known answers


@pytest.mark.parametrize(
    ("n", "rows"),
    [
        (5, [(0, 3, 3, 1), (1, 3, 4, 1), (1, 3, 4, 1)]),
        (10, [(1, 6, 6, 3), (2, 6, 7, 3), (3, 7, 7, 2)]),
        (20, [(2, 11, 12, 8), (4, 12, 13, 7), (6, 13, 14, 6)]),
        (50, [(5, 28, 28, 21), (10, 30, 31, 19), (16, 33, 34, 16)]),
        (64, [(6, 35, 36, 28), (12, 38, 39, 25), (21, 43, 43, 20)]),
        (100, [(10, 55, 56, 44), (20, 60, 61, 39), (33, 67, 67, 32)]),
    ],
)
def test_the_published_table_of_complete_graphs(n: int, rows: list[tuple[int, int, int, int]]) -> None:
    fractions = [Fraction(1, 10), Fraction(1, 5), Fraction((n - 1) // 3, n)]
    for corrupt, (corrupted, threshold, quorum, spare_holders) in zip(fractions, rows, strict=True):
        assumption = Assumption(corrupt, 0)
        assert assumption.corrupted(n) == corrupted
        found = find_parameters(n, assumption)
        assert found == Parameters(n - 1, threshold, 0, quorum, -math.inf, -math.inf)
        assert found.degree - found.threshold == spare_holders


def test_against_a_curious_server_a_majority_or_more_than_the_corrupted_holds() -> None:
    assert find_parameters(20, Assumption(0.1, 0.3, against=CURIOUS)).threshold == 10
    assert find_parameters(20, Assumption(0.7, 0.2, against=CURIOUS)).threshold == 15
    assert find_parameters(20, Assumption(0.7, 0.2, against=CURIOUS)).quorum == 0


# --- the inequalities


@pytest.mark.parametrize("against", Against)
def test_thresholds_are_the_least_that_keep_both_secrets_apart(against: Against) -> None:
    for n in range(3, 40):
        for corrupted in range(n - 1):
            assumption = Assumption(Fraction(corrupted, n), 0, against=against)
            k = n - 1

            def safe(t: int, k: int = k, corrupted: int = corrupted) -> bool:
                # Corrupted holders give both shares; a lying server splits the honest ones as it likes.
                honest = k - corrupted
                if against is CURIOUS:
                    return t > corrupted and 2 * t > k
                return not any(corrupted + h >= t and corrupted + honest - h >= t for h in range(honest + 1))

            least = next(t for t in range(1, n + 1) if safe(t))
            if least > k:
                with pytest.raises(NoParameters):
                    find_parameters(n, assumption)
                continue
            try:
                found = find_parameters(n, assumption)
            except NoParameters:
                # The threshold would do, but no quorum of n has an honest signer in common with another.
                assert against is not CURIOUS
                assert (n + corrupted) // 2 + 1 > n
                continue
            assert found.threshold == least >= 2
            if against is not CURIOUS:
                assert 2 * found.quorum - n > corrupted >= 2 * (found.quorum - 1) - n


@pytest.mark.parametrize("against", Against)
def test_with_the_largest_dropout_every_secret_is_rebuilt_and_one_more_loss_is_refused(against: Against) -> None:
    refused = 0
    for n in range(3, 70):
        for corrupt in (0, Fraction(1, 10), Fraction(1, 3), 0.45):
            feasible = largest_feasible_dropout(n, Assumption(corrupt, 0.999, against=against))
            lost = feasible * n
            assert lost.denominator == 1
            found = find_parameters(n, Assumption(corrupt, feasible, against=against))
            # The client to be rebuilt may itself be among the lost or not: its k holders lose at most D.
            assert found.degree - lost >= found.threshold
            assert n - lost >= found.quorum
            assert find_parameters(n, Assumption(corrupt, feasible + Fraction(1, 2 * n), against=against)) == found
            with pytest.raises(NoParameters, match=f"largest feasible drop-out is {feasible} ") as caught:
                find_parameters(n, Assumption(corrupt, feasible + Fraction(1, n), against=against))
            assert f"cannot lose {lost + 1}" in str(caught.value)
            refused += 1
    assert refused == 67 * 4


def test_two_lists_with_a_quorum_each_share_an_honest_signer() -> None:
    n, corrupted = 7, 2
    quorum = find_parameters(n, Assumption(Fraction(corrupted, n), 0)).quorum
    signers = [set(chosen) for chosen in combinations(range(n), quorum)]
    assert all(a & b - set(range(corrupted)) for a in signers for b in signers)
    fewer = [set(chosen) for chosen in combinations(range(n), quorum - 1)]
    assert not all(a & b - set(range(corrupted)) for a in fewer for b in fewer)


def test_lying_servers_are_treated_alike_on_the_complete_graph() -> None:
    for n in (5, 33, 100):
        assert find_parameters(n, Assumption(0.1, 0.1, against=SEMI)) == find_parameters(n, Assumption(0.1, 0.1))


# --- the edges of the range


@pytest.mark.parametrize("n", [-1, 0, 1, 2, 1025, 10**9])
def test_cohorts_out_of_range_have_no_parameters(n: int) -> None:
    for search in (find_parameters, largest_feasible_dropout):
        with pytest.raises(NoParameters, match="3 to 1024"):
            search(n, Assumption(0, 0))


@pytest.mark.parametrize("n", [3, 64, 65, 1024])
def test_the_smallest_and_the_largest_cohort_have_parameters(n: int) -> None:
    assert find_parameters(n, Assumption(0, 0)).degree == n - 1


def test_where_nearly_all_are_corrupted_no_dropout_is_feasible() -> None:
    nearly_all = Assumption(Fraction(19, 20), 0)
    with pytest.raises(NoParameters, match="even without drop-out"):
        find_parameters(20, nearly_all)
    with pytest.raises(NoParameters, match="assume less corruption"):
        largest_feasible_dropout(20, nearly_all)
    assert largest_feasible_dropout(20, Assumption(Fraction(18, 20), 0)) == 0


@pytest.mark.parametrize("n", [10.0, "10", True, None])
def test_the_number_of_clients_is_an_integer(n: int) -> None:
    with pytest.raises(BadParameters, match="number of clients"):
        find_parameters(n, Assumption(0, 0))


def test_a_float_is_the_decimal_it_prints() -> None:
    assert Assumption(0.1, 0.3) == Assumption(Fraction(1, 10), Fraction(3, 10))
    assert Assumption(0.1, 0.3).lost(10) == 3 > math.floor(Fraction(0.3) * 10)
    assert Assumption(0.29, 0.29).corrupted(100) == 29 > math.floor(0.29 * 100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"corrupt": -0.1},
        {"corrupt": 1},
        {"corrupt": math.nan},
        {"corrupt": True},
        {"corrupt": "0.1"},
        {"dropout": 1.0},
        {"dropout": math.inf},
        {"dropout": Fraction(-1, 7)},
        {"sigma": 0},
        {"sigma": 40.0},
        {"eta": 129},
        {"against": "active"},
    ],
    ids=str,
)
def test_an_assumption_out_of_range_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(BadParameters, match=next(iter(wrong))):
        Assumption(**{"corrupt": 0.1, "dropout": 0.1} | wrong)
