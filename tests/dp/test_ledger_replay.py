"""Recomputing a ledger from its events: what was recorded honestly comes out again, what was not is named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dp.accountant import Budget, Interval, Unit, View, account
from dp.errors import UnsupportedEvent
from dp.events import Event, GaussianEvent, LaplaceEvent, Poisson, PureEvent, Repeated, Sampled, SkellamEvent, ZcdpEvent
from dp.ledger import Ledger, Scope, Terms
from dp.ledger.chain import Entry, Kind, Signer, link
from dp.ledger.charge import Ends
from dp.ledger.pins import Pin
from dp.ledger.place import beside, read_key
from dp.ledger.replay import differ, exceeds, meets, understates
from dp.ledger.terms import Randomness
from dp.ledger.vouching import Known
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, budget_for, charge, edit, outcome

SAMPLED = Sampled(
    GaussianEvent(sigma2=40_000, l2_squared=100, d=10, components=20, draws=200, total="exact"),
    Poisson(Fraction(1, 10)),
)
SKELLAM = SkellamEvent(mu=400, l2_squared=1, l1=1, d=1, draws=1)
LAPLACE = LaplaceEvent(scale=400, l1=10, d=3, draws=3)


def terms(epsilon: int, **other: Any) -> Terms:
    """Another budget for the same charges."""
    view = other.pop("view", View.AGGREGATOR)
    return Terms(Budget(epsilon, DELTA, RELATION), Unit(RELATION), view, Randomness.SYSTEM, **other)


def filled(path: Path, rounds: int = 4) -> Path:
    """Three budgets of different kinds, rounds of every ending."""
    with Ledger.open(path, WIDE) as ledger:
        ledger.open_budget(terms(4, view=View.RELEASED))
        ledger.open_budget(terms(3, scope=Scope.EACH))
        for number in range(rounds):
            members = (b"A", b"B") if number % 2 else (b"A", b"C")
            held = ledger.reserve(charge(number, SAMPLED, cohort=2, members=members))
            if number % 4 == 3:
                ledger.abort(held, "nobody came")
            else:
                ledger.commit(held, outcome(SAMPLED, 2))
    return path


def test_an_honest_ledger_comes_out_again_in_every_budget(tmp_path: Path) -> None:
    with Ledger.read(filled(tmp_path / "run.ledger")) as ledger:
        report = ledger.replay()
    assert (report.ok, report.problems, report.compared) == (True, (), 12)
    assert [each.budget for each in report.budgets] == [1, 2, 3]
    for each in report.budgets:
        assert each.recorded is not None
        assert each.own is not None
        assert abs(float(each.recorded.upper) - each.own.upper) < 1e-6
        assert {one.accountant for one in each.opinions} == {"exact-gaussian", "pld", "rdp"}
    everyone, released, of_each = report.budgets
    # Four releases to the aggregator, of which the last was given back afterwards; the reader's own view; three of A.
    assert everyone.own == account([Repeated(SAMPLED, 4)], Unit(RELATION), View.AGGREGATOR, DELTA)
    assert released.own == account([Repeated(SAMPLED, 4)], Unit(RELATION), View.RELEASED, DELTA)
    assert of_each.own == everyone.own


def test_an_accountant_without_a_proof_says_so_and_contradicts_nobody(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(1, LAPLACE)), outcome(LAPLACE))
        report = ledger.replay()
    [budget] = report.budgets
    assert report.ok
    silent = [one for one in budget.opinions if one.interval is None]
    assert [one.accountant for one in silent] == ["exact-gaussian"]
    assert "has no proof" in silent[0].why


def test_a_budget_that_was_never_charged_has_nothing_recorded(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        [budget] = ledger.replay().budgets
    assert (budget.recorded, budget.opinions) == (None, ())
    assert budget.own == Interval(0.0, 0.0, DELTA, "nothing released")


def test_erased_members_leave_the_totals_comparable(tmp_path: Path) -> None:
    path = filled(tmp_path / "run.ledger")
    with Ledger.open(path) as ledger:
        ledger.erase(ledger.pseudonym(b"A"))
        ledger.commit(ledger.reserve(charge(9, SAMPLED, cohort=2, members=(b"B", b"C"))), outcome(SAMPLED, 2))
        report = ledger.replay()
    assert (report.ok, report.compared) == (True, 15)


# --- doctored ones -------------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[Entry, dict[str, Any]], dict[str, Any]], signer: Signer | None) -> None:
    """Every entry once more, changed, the chain and all signatures made anew; None takes the ledger's own key."""
    with Ledger.read(path) as ledger:
        entries = list(ledger.entries())
    own = Signer(read_key(beside(path, ".key")).seed) if signer is None else signer
    ledger_id, head = bytes.fromhex(str(entries[0].fields["ledger_id"])), None
    made: list[Entry] = []
    for entry in entries:
        body = change(entry, dict(entry.fields))
        if entry.seq == 0:
            body["signer"] = own.public.hex()
        made.append(link(ledger_id, own, head, Kind(entry.kind), body))
        head = made[-1].head
    edit(
        path,
        *(
            f"UPDATE entry SET body = X'{e.body.hex()}', prev = X'{e.prev.hex()}', hash = X'{e.hash.hex()}', "
            f"signature = X'{e.signature.hex()}', key_id = X'{e.key_id.hex()}' WHERE seq = {e.seq}"
            for e in made
        ),
    )


def said(path: Path) -> list[tuple[int | None, str]]:
    """What a replay says: where, and by which name."""
    with Ledger.read(path) as ledger:
        return [(each.line, each.error) for each in ledger.replay().problems]


def honest(path: Path) -> Pin:
    """Three rounds, and the head as somebody else kept it."""
    with Ledger.open(path, WIDE) as ledger:
        for number in range(3):
            ledger.commit(ledger.reserve(charge(number)), outcome())
        return ledger.pin()


def recording(upper: str) -> Callable[[Entry, dict[str, Any]], dict[str, Any]]:
    """The second reservation says it became something else."""

    def change(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        if entry.seq == 4:
            body["budgets"] = [{**each, "after": {"lower": "0/1", "upper": upper}} for each in body["budgets"]]
        return body

    return change


def test_a_rewritten_ledger_passes_verify_without_a_pin_and_not_with_one(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    pin = honest(path)
    rewritten(path, recording("1/1000"), Signer(b"\x42" * 32))
    with Ledger.read(path) as ledger:
        assert ledger.verify().verdict == "internally-consistent"
        assert [(e.line, e.error) for e in ledger.verify(Known(pin=pin)).problems] == [(pin.head.seq, "Forked")]
        assert [(e.line, e.error) for e in ledger.verify(Known(signer=pin.signer)).problems] == [(0, "Forked")]


def test_a_figure_below_what_it_cost_is_named_whoever_signed_it(tmp_path: Path) -> None:
    for number, signer in enumerate((None, Signer(b"\x42" * 32))):
        path = tmp_path / f"{number}.ledger"
        honest(path)
        rewritten(path, recording("1/1000"), signer)
        assert said(path) == [(4, "Corrupt"), (4, "Corrupt")]
        with Ledger.read(path) as ledger:
            below, other = ledger.replay().problems
        assert "costs at least" in below.message
        assert "the same software computes" in other.message


def test_a_figure_above_what_it_cost_is_named_where_the_same_software_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    honest(path)
    rewritten(path, recording("7/1"), None)
    assert said(path) == [(4, "Corrupt")]


def test_a_looser_figure_of_another_version_is_no_contradiction(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    honest(path)

    def older(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        if entry.kind == Kind.RESERVE:
            body["software"] = "secagg 0.0.1"
        return recording("7/1")(entry, body)

    rewritten(path, older, None)
    assert said(path) == []


def test_an_event_that_was_made_cheaper_is_named_by_the_figures_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    honest(path)
    cheaper = replace(EVENT, sigma2=4_000_000).to_canonical()

    def change(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        if entry.seq == 2:
            body["charge"] = {**body["charge"], "event": cheaper}
        return body

    rewritten(path, change, None)
    assert [line for line, _ in said(path)] == [2, 4, 4, 6, 6, 6]


def test_a_charge_that_should_not_have_been_granted_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, budget_for(3)) as ledger:
        for number in range(3):
            ledger.commit(ledger.reserve(charge(number)), outcome())
    smaller = budget_for(2).epsilon

    def change(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        if entry.kind == Kind.OPEN_BUDGET:
            body["epsilon"] = f"{smaller.numerator}/{smaller.denominator}"
        return body

    rewritten(path, change, None)
    assert said(path) == [(6, "BudgetExceeded")]


def test_damage_is_a_problem_and_not_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    honest(path)
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 4")
    assert said(path) == [(4, "Corrupt")]


def recorded(software: str, **ends: dict[str, str]) -> Callable[[Entry, dict[str, Any]], dict[str, Any]]:
    """The second reservation is by this software, and says this of itself."""

    def change(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
        if entry.seq == 4:
            body["software"] = software or body["software"]
            body["budgets"] = [{**each, **ends} for each in body["budgets"]]
        return body

    return change


CHEAPER: dict[str, dict[str, dict[str, str]]] = {
    "before 1000": {"before": {"lower": "7/1", "upper": "1000/1"}},
    "before 7": {"before": {"lower": "0/1", "upper": "7/1"}},
    "before 0": {"before": {"lower": "0/1", "upper": "0/1"}},
    "lower 0": {"after": {"lower": "0/1"}},
    "no lower": {"after": {}},
}


@pytest.mark.parametrize("software", ["", "secagg 9"])
@pytest.mark.parametrize("changed", CHEAPER.values(), ids=CHEAPER)
def test_every_end_is_compared(tmp_path: Path, changed: dict[str, dict[str, str]], software: str) -> None:
    path = tmp_path / "run.ledger"
    honest(path)
    with Ledger.read(path) as ledger:
        budgets = next(entry.fields["budgets"] for entry in ledger.entries() if entry.seq == 4)
    [[when, ends]] = changed.items()
    upper = str(budgets[0][when]["upper"])  # type: ignore[index,call-overload]
    rewritten(path, recorded(software, **{when: {"upper": upper, **ends}}), None)
    # Another version may know no lower end; a figure that cannot be is none of any version.
    harmless = software and when == "after"
    assert {line for line, _ in said(path)} == (set() if harmless else {4})


@pytest.mark.parametrize("event", [PureEvent(3), ZcdpEvent(Fraction(1, 10)), SKELLAM], ids=["pure", "zcdp", "skellam"])
@pytest.mark.parametrize("upper", ["0/1", "1/1000", "7/1"])
def test_where_no_lower_end_is_known_other_software_records_what_we_compute(
    tmp_path: Path, event: Event, upper: str
) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        for number in range(2):
            ledger.commit(ledger.reserve(charge(number, event)), outcome(event))
    rewritten(path, recorded("secagg 9"), None)
    assert said(path) == []
    rewritten(path, recorded("secagg 9", after={"upper": upper}), None)
    assert {line for line, _ in said(path)} == {4}


# --- a foreign opinion ----------------------------------------------------------------------------------------


def foreign_of(upper: float) -> Callable[[Counter[Any], Terms], Interval]:
    """Somebody who says the same of everything."""
    return lambda counts, terms: Interval(None, upper, terms.budget.delta, "abacus 1.0")


def test_a_foreign_opinion_counts_below_our_lower_end_and_far_above_our_upper_one(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    honest(path)
    with Ledger.read(path) as ledger:
        own = ledger.interval()
        assert own.lower is not None
        for upper, agrees in [
            (own.lower, True),
            (own.lower * 0.999, False),
            (own.upper * 1.009, True),
            (own.upper * 1.011, False),
            (math.inf, False),
        ]:
            report = ledger.replay(foreign_of(upper))
            opinion = report.budgets[0].opinions[-1]
            assert (opinion.accountant, opinion.agrees, report.ok) == ("abacus 1.0", agrees, agrees)
            if not agrees:
                assert f"{upper:.9g}" in opinion.why
                assert f"{own.upper:.9g}" in opinion.why
                assert [(each.line, each.error) for each in report.problems] == [(6, "AccountantDisagreement")]


def test_who_refuses_to_say_contradicts_nobody(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    honest(path)

    def refuses(counts: Counter[Any], terms: Terms) -> Interval:
        raise UnsupportedEvent("never heard of it")

    with Ledger.read(path) as ledger:
        report = ledger.replay(refuses)
    opinion = report.budgets[0].opinions[-1]
    assert (report.ok, opinion.interval) == (True, None)
    assert opinion.why == "is not asked: never heard of it"


# --- the comparisons themselves --------------------------------------------------------------------------------


@pytest.mark.parametrize(("upper", "different"), [(1.0, False), (1.0 + 9e-7, False), (1.0 + 2e-6, True), (0.9, True)])
def test_two_figures_differ_beyond_rounding(upper: float, different: bool) -> None:
    assert differ(Ends(None, Fraction(1)), Interval(None, upper, DELTA, "")) is different
    assert differ(Ends(Fraction(1), Fraction(9)), Interval(upper, 9.0, DELTA, "")) is different


def test_an_end_that_was_left_out_or_made_up_differs() -> None:
    one = Fraction(1)
    assert differ(Ends(None, one), Interval(0.0, 1.0, DELTA, ""))
    assert differ(Ends(Fraction(0), one), Interval(None, 1.0, DELTA, ""))
    assert differ(Ends(None, one), Interval(None, math.inf, DELTA, ""))


@pytest.mark.parametrize(
    ("recorded", "own", "less", "more"),
    [
        ((0, 1), (1.0, 2.0), False, False),
        ((0, 1), (1.1, 2.0), True, False),
        ((0, 1), (None, 1.0), False, False),
        ((0, 1), (None, 1.1), True, False),
        ((0, 1), (None, 0.9), False, True),
        ((0, 1), (0.2, 0.3), False, False),
        ((1, 2), (0.2, 0.9), False, True),
        ((0, 1), (None, math.inf), True, False),
        ((0, 1), (math.inf, math.inf), True, False),
    ],
)
def test_what_other_software_can_have_recorded(
    recorded: tuple[int, int], own: tuple[float | None, float], less: bool, more: bool
) -> None:
    ends, interval = Ends(*map(Fraction, recorded)), Interval(*own, DELTA, "")
    assert (understates(ends, interval), exceeds(ends, interval)) == (less, more)


@pytest.mark.parametrize(("lower", "upper", "meet"), [(0.5, 2.0, True), (1.1, 2.0, False), (0.0, 0.4, False)])
def test_two_intervals_meet_or_do_not(lower: float, upper: float, meet: bool) -> None:
    assert meets(Ends(Fraction(1, 2), Fraction(1)), Interval(lower, upper, DELTA, "")) is meet
