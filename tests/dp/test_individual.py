"""One budget per client: who has spent its own is left out by name, and nobody else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Budget, Unit
from dp.errors import BadParameters, NoiseTooCoarse, UnsupportedEvent
from dp.events import Event, GaussianEvent, LaplaceEvent
from dp.filters import Filter, GdpFilter, PureFilter, RenyiFamily, RenyiFilter
from dp.gaussian import GaussianAccountant
from dp.individual import Admission, IndividualFilters

BUDGET, UNIT = Budget(8, "1e-5", "zero-out"), Unit("zero-out")
MAKERS: list[Callable[[], Filter]] = [
    lambda: GdpFilter(BUDGET, UNIT),
    lambda: RenyiFilter(BUDGET, UNIT, 4),
    lambda: RenyiFamily(BUDGET, UNIT, (3, 4, 8)),
]


def at_clip(clip: object) -> GaussianEvent:
    """One round whose noise has standard deviation 4, for a client of this clip."""
    return GaussianEvent(16, Fraction(str(clip)) ** 2, d=1, components=0, draws=0)


def opened(*clients: int | str) -> IndividualFilters:
    """A GDP filter for each."""
    return IndividualFilters.open(clients, MAKERS[0])


@pytest.mark.parametrize("make", MAKERS, ids=["gdp", "renyi", "family"])
def test_a_client_at_twice_the_clip_pays_four_times_and_is_left_out_while_others_go_on(
    make: Callable[[], Filter],
) -> None:
    filters, alone = IndividualFilters.open(["small", "large"], make), make()
    lasts = 0
    while alone.admits(at_clip(2)):
        alone.spend(at_clip(2))
        lasts += 1
    clips = {"small": 1, "large": 2}
    for _ in range(lasts):
        paid = filters.spend(["large", "small"], lambda client: at_clip(clips[client]))
        assert paid == Admission(("large", "small"), ())
    before = filters.state()
    foreseen = filters.admitted(["large", "small"], lambda client: at_clip(clips[client]))
    assert foreseen == Admission(admitted=("small",), left_out=("large",))
    assert filters.state() == before
    assert filters.spend(["large", "small"], lambda client: at_clip(clips[client])) == foreseen
    assert filters.spent("large") == alone.spent
    assert filters.spent("small") * 4 == pytest.approx(float(alone.spent) * (lasts + 1) / lasts, rel=1e-12)
    assert filters.remaining("small") > filters.remaining("large")


def test_only_who_takes_part_pays() -> None:
    filters = opened(1, 2, 3)
    filters.spend([1, 3], lambda _: at_clip(1))
    assert [filters.spent(client) for client in filters.clients] == [Fraction(1, 16), 0, Fraction(1, 16)]
    assert filters.unit == UNIT
    assert filters.spend([], lambda _: at_clip(1)) == Admission((), ())


def test_a_round_of_which_nobody_can_pay_admits_nobody() -> None:
    filters = opened("a", "b")
    assert filters.spend(["b", "a"], lambda _: at_clip(100)) == Admission((), ("b", "a"))
    assert filters.spent("a") == 0


def test_budgets_may_differ_from_client_to_client() -> None:
    filters = IndividualFilters({
        "strict": GdpFilter(Budget(1, "1e-6", "zero-out"), UNIT),
        "mild": RenyiFilter(BUDGET, UNIT, 4),
    })  # fmt: skip
    assert filters.spend(["strict", "mild"], lambda _: at_clip(3)) == Admission(("mild",), ("strict",))


rounds = st.lists(st.tuples(st.sets(st.integers(0, 3)), st.integers(1, 4), st.integers(1, 40)), min_size=1, max_size=15)


@given(rounds)
def test_each_clients_own_composition_stays_within_its_budget(played: list[tuple[set[int], int, int]]) -> None:
    filters = opened(0, 1, 2, 3)
    own = {client: GaussianAccountant(UNIT) for client in range(4)}
    for cohort, scale, sigma2 in played:

        def event_of(client: Any, scale: int = scale, sigma2: int = sigma2) -> Event:
            return GaussianEvent(sigma2, (client + 1) * scale, 1, 0, 0)

        paid = filters.spend(sorted(cohort), event_of)
        assert set(paid.admitted) | set(paid.left_out) == cohort
        for client in paid.admitted:
            own[int(client)].compose(event_of(client))
    for client, accountant in own.items():
        assert BUDGET.holds(accountant.interval(BUDGET.delta))
        assert (filters.spent(client) == 0) == (accountant.epsilon(BUDGET.delta) == 0)


@given(rounds)
def test_a_state_goes_through_json_and_back(played: list[tuple[set[int], int, int]]) -> None:
    filters = IndividualFilters({client: MAKERS[client % 3]() for client in range(4)})
    for cohort, scale, sigma2 in played:
        filters.spend(sorted(cohort), lambda _, s=scale, v=sigma2: GaussianEvent(v, s, 1, 0, 0))
    again = IndividualFilters.from_state(json.loads(json.dumps(filters.state())))
    assert again.state() == filters.state()
    assert again.admitted(range(4), lambda _: at_clip(2)) == filters.admitted(range(4), lambda _: at_clip(2))


def test_one_event_without_a_price_and_nobody_pays() -> None:
    filters = opened("a", "b")
    for wrong, error in (
        (LaplaceEvent.for_multiplier(1), UnsupportedEvent),
        (GaussianEvent(4, 1, 1, 1, 0), NoiseTooCoarse),
    ):
        with pytest.raises(error):
            filters.spend(["a", "b"], lambda client, wrong=wrong: at_clip(1) if client == "a" else wrong)
    assert filters.spent("a") == filters.spent("b") == 0


def test_strangers_and_doubles_are_refused_by_name() -> None:
    filters = opened("a", "b")
    for ask in (filters.spend, filters.admitted):
        with pytest.raises(BadParameters, match="'c' has no filter"):
            ask(["a", "c"], lambda _: at_clip(1))
        with pytest.raises(BadParameters, match="'a' is in the cohort twice"):
            ask(["a", "b", "a"], lambda _: at_clip(1))
    for read in (filters.spent, filters.remaining):
        with pytest.raises(BadParameters, match="'c' has no filter"):
            read("c")
    assert filters.spent("a") == 0


def test_filters_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(BadParameters, match="0 units"):
        IndividualFilters({})
    other = GdpFilter(Budget(8, "1e-5", "add-or-remove-one"), Unit("add-or-remove-one"))
    with pytest.raises(BadParameters, match="2 units"):
        IndividualFilters({"a": MAKERS[0](), "b": other})
    shared = MAKERS[0]()
    with pytest.raises(BadParameters, match="share one filter"):
        IndividualFilters.open(["a", "b"], lambda: shared)
    for client in (1.5, True, b"a"):
        with pytest.raises(BadParameters, match="int or a str"):
            IndividualFilters({client: MAKERS[0]()})  # type: ignore[dict-item]


def test_replacing_has_no_proof_here() -> None:
    budget, unit = Budget(8, "1e-5", "replace-one"), Unit("replace-one")
    with pytest.raises(UnsupportedEvent, match=r"replace-one.*zero-out"):
        IndividualFilters.open(["a"], lambda: PureFilter(budget, unit))


def test_a_state_that_was_tampered_with_is_refused() -> None:
    known = MAKERS[0]().state()
    for state in (None, (), ("individual-filters",), ("gdp-filter", ())):
        with pytest.raises(BadParameters, match="not the state of individual filters"):
            IndividualFilters.from_state(state)
    for pairs, match in (
        ((("a", known), ("a", known)), "two states"),
        ((("a", known, 3),), "is \\(client, state\\)"),
        (((2.5, known),), "is \\(client, state\\)"),
        ((("a", ("nothing",)),), "not the state of a filter"),
        ((), "0 units"),
        (((True, known),), "int or a str"),
    ):
        with pytest.raises(BadParameters, match=match):
            IndividualFilters.from_state(("individual-filters", pairs))
