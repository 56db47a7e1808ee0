"""The ledger itself: what it charges, what it refuses, what it remembers."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dp.ledger.admission
from dp.accountant import Budget, Interval, Unit, View
from dp.errors import (
    BadParameters,
    BadReservation,
    BudgetExceeded,
    ConflictingCharge,
    InsecureEntropy,
    StorageRefused,
    UnsupportedEvent,
)
from dp.events import Composed, Event, GaussianEvent, NonPrivate, Poisson, PureEvent, Repeated, Sampled
from dp.ledger import Ledger, Reservation, Standing, spend
from dp.ledger.budgets import compose
from dp.ledger.charge import Charge, Ends, Outcome, Randomness, Terms, grid_above, grid_below
from dp.ledger.vouching import Known
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, budget_for, charge, epsilon_of, outcome
from tests.rows import rows

NOISIER = GaussianEvent(sigma2=50_000, l2_squared=100, d=10, components=25, draws=250)
WEAKER = GaussianEvent(sigma2=10_000, l2_squared=100, d=10, components=20, draws=200)
KNOWN_SEED = GaussianEvent(sigma2=40_000, l2_squared=100, d=10, components=20, draws=200, rng="insecure")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, WIDE) as opened:
        yield opened


def bodies(ledger: Ledger, kind: str) -> list[dict[str, object]]:
    return [json.loads(entry.body) for entry in ledger.entries() if entry.kind == kind]


# --- charging ------------------------------------------------------------------------------------


def test_the_interval_is_that_of_all_charges_together(ledger: Ledger) -> None:
    assert ledger.interval().upper == 0
    for number in range(3):
        ledger.commit(ledger.reserve(charge(number)), outcome())
    assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(EVENT, 3))
    assert ledger.remaining() == 8 - epsilon_of(Repeated(EVENT, 3))


def test_a_reservation_counts_before_anything_is_released(ledger: Ledger) -> None:
    ledger.reserve(charge(0))
    assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)
    assert ledger.standing(charge(0)) is Standing.RESERVED


def test_what_the_ledger_affords_is_what_it_would_grant_and_asking_writes_nothing(path: Path) -> None:
    with Ledger.open(path, budget_for(2)) as ledger:
        for number in range(2):
            assert ledger.affords(EVENT)
            ledger.reserve(charge(number))
        before = list(ledger.entries())
        assert not ledger.affords(EVENT)
        with pytest.raises(InsecureEntropy):
            ledger.affords(KNOWN_SEED)
        assert list(ledger.entries()) == before


def test_a_closed_budget_affords_nothing(ledger: Ledger) -> None:
    assert ledger.affords(EVENT)
    ledger.close_budget("enough")
    assert not ledger.affords(EVENT)


def test_the_last_unit_fits_and_the_next_one_leaves_no_trace(path: Path) -> None:
    with Ledger.open(path, budget_for(3)) as ledger:
        for number in range(3):
            ledger.reserve(charge(number))
        assert ledger.remaining() == 0
        before = list(ledger.entries())
        with pytest.raises(BudgetExceeded, match=r"limit is epsilon .* round 9 of task 'digits' would make it"):
            ledger.reserve(charge(9))
        assert list(ledger.entries()) == before
        assert ledger.standing(charge(9)) is None


def test_an_abort_gives_the_charge_back_and_its_id_too(path: Path) -> None:
    with Ledger.open(path, budget_for(1)) as ledger:
        ledger.abort(ledger.reserve(charge(0)), "too few clients")
        assert ledger.interval().upper == 0
        assert ledger.standing(charge(0)) is Standing.ABORTED
        again = ledger.reserve(charge(0, context=b"\x01" * 32))
        assert ledger.commit(again, outcome()) == ledger.head()
        assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)


def test_all_charges_are_told_in_order_and_how_they_stand(ledger: Ledger) -> None:
    assert ledger.charges() == []
    ledger.commit(ledger.reserve(charge(0)), outcome())
    ledger.abort(ledger.reserve(charge(1)), "nobody came")
    ledger.reserve(charge(2))
    standings = [Standing.COMMITTED, Standing.ABORTED, Standing.RESERVED]
    assert ledger.charges() == list(zip(map(charge, range(3)), standings, strict=True))


def test_a_reader_of_the_model_is_charged_what_was_realised(ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(charge(0)), outcome(NOISIER))
    ledger.reserve(charge(1))
    ledger.forfeit(ledger.reserve(charge(2)), "server stopped")
    ledger.abort(ledger.reserve(charge(3)), "nobody came")
    assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(EVENT, 3))
    # The accountants add up in the order of first appearance; the last digit may depend on it.
    counted = compose(Counter({EVENT: 2, NOISIER: 1}), ledger.terms, View.RELEASED)
    assert ledger.interval_released().upper == pytest.approx(counted.upper, rel=1e-12)
    assert ledger.interval_released().upper < ledger.interval().upper


def test_the_aggregator_gains_nothing_from_sampling_a_reader_does(ledger: Ledger) -> None:
    central = GaussianEvent(sigma2=40_000, l2_squared=10_000, d=10, components=1, draws=10)
    sampled = Sampled(central, Poisson(Fraction(1, 100)))
    ledger.commit(ledger.reserve(charge(0, sampled)), outcome(sampled))
    assert Fraction(ledger.interval().upper) == epsilon_of(central)
    assert Fraction(ledger.interval_released().upper) == epsilon_of(sampled, view=View.RELEASED)
    assert ledger.interval_released().upper < ledger.interval().upper / 2


def test_an_event_without_a_proof_is_refused_before_it_is_written(path: Path) -> None:
    departing = Budget(8, DELTA, "add-or-remove-one")
    with Ledger.open(path, departing) as ledger:
        with pytest.raises(UnsupportedEvent):
            ledger.reserve(charge(0))
        assert ledger.head().seq == 1


def test_an_exact_release_never_fits(ledger: Ledger) -> None:
    with pytest.raises(BudgetExceeded):
        ledger.reserve(charge(0, NonPrivate()))


def test_the_recorded_ends_enclose_the_interval_on_the_grid(ledger: Ledger) -> None:
    ledger.reserve(charge(0))
    ledger.reserve(charge(1))
    first, second = bodies(ledger, "RESERVE")
    interval = ledger.interval()
    [before], [after] = first["budgets"], second["budgets"]  # type: ignore[misc]
    recorded = Ends.from_body(after["after"])
    assert interval.lower is not None
    assert recorded.lower is not None
    assert recorded.lower <= Fraction(interval.lower) <= Fraction(interval.upper) <= recorded.upper
    assert recorded.upper - Fraction(interval.upper) < Fraction(1, 2**32)
    assert (recorded.upper * 2**32).denominator == 1
    assert before["after"] == after["before"]
    assert before["budget"] == after["budget"] == 1


# --- one charge id, one release ------------------------------------------------------------------


@rows("L6")
def test_the_same_charge_again_is_the_same_reservation(row: str, ledger: Ledger) -> None:
    first = ledger.reserve(charge(0))
    head = ledger.head()
    assert ledger.reserve(charge(0)) == first
    assert ledger.head() == head


@rows("L6")
@pytest.mark.parametrize(
    "other", [{"event": NOISIER}, {"cohort": 39}, {"context": bytes(32)}], ids=lambda other: next(iter(other))
)
def test_the_same_id_with_other_content_conflicts(row: str, ledger: Ledger, other: dict[str, object]) -> None:
    ledger.reserve(charge(1))
    with pytest.raises(ConflictingCharge, match="round 1") as wrong:
        ledger.reserve(charge(1, **{"event": EVENT, **other}))  # type: ignore[arg-type]
    assert wrong.value.seq == 2
    assert ledger.head().seq == 2


@rows("L6")
def test_a_finished_charge_cannot_be_released_again(row: str, ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(charge(0)), outcome())
    ledger.forfeit(ledger.reserve(charge(1)), "gave up")
    for number in range(2):
        with pytest.raises(BadReservation, match="already"):
            ledger.reserve(charge(number))


@given(
    st.tuples(*[st.sampled_from(["a", "b", "ab"])] * 3, st.integers(0, 1)),
    st.tuples(*[st.sampled_from(["a", "b", "ab"])] * 3, st.integers(0, 1)),
)
def test_a_charge_id_is_that_of_task_round_dataset_and_mechanism_only(
    one: tuple[str, str, str, int], two: tuple[str, str, str, int]
) -> None:
    def named(names: tuple[str, str, str, int], cohort: int) -> bytes:
        task, dataset, mechanism, number = names
        return charge(number, task=task, dataset=dataset, mechanism=mechanism, cohort=cohort).id

    assert (named(one, 3) == named(two, 4)) == (one == two)


def test_another_session_cannot_use_a_reservation(path: Path, ledger: Ledger) -> None:
    reservation = ledger.reserve(charge(0))
    with Ledger.open(path) as other:
        with pytest.raises(BadReservation, match="another session"):
            other.reserve(charge(0))
        for use in (
            other.mark,
            lambda r: other.commit(r, outcome()),
            lambda r: other.abort(r, "mine now"),
            lambda r: other.forfeit(r, "mine now"),
        ):
            with pytest.raises(BadReservation, match="another session"):
                use(reservation)
    assert ledger.commit(reservation, outcome()).seq == 3


def test_a_reservation_ends_once(ledger: Ledger) -> None:
    reservation = ledger.reserve(charge(0))
    ledger.commit(reservation, outcome())
    with pytest.raises(BadReservation, match="already committed at entry 3"):
        ledger.abort(reservation, "changed my mind")
    with pytest.raises(BadReservation, match="already committed"):
        ledger.commit(reservation, outcome(survivors=37))
    with pytest.raises(BadReservation, match="already committed"):
        ledger.mark(reservation)


def test_the_same_outcome_again_is_the_same_head(ledger: Ledger) -> None:
    reservation = ledger.reserve(charge(0))
    head = ledger.commit(reservation, outcome())
    ledger.note("something else happened")
    assert ledger.commit(reservation, outcome()) == head
    assert ledger.head().seq == head.seq + 1


def test_an_invented_reservation_is_refused(ledger: Ledger) -> None:
    real = ledger.reserve(charge(0))
    for invented in (
        Reservation(7, charge(0), real.session),
        Reservation(real.seq, charge(1), real.session),
        Reservation(real.seq, charge(0), "00" * 16),
    ):
        with pytest.raises(BadReservation):
            ledger.commit(invented, outcome())


def test_a_marked_reservation_is_used_once_and_never_aborted(ledger: Ledger) -> None:
    reservation = ledger.reserve(charge(0))
    ledger.mark(reservation)
    with pytest.raises(BadReservation, match="already used"):
        ledger.mark(reservation)
    with pytest.raises(BadReservation, match="forfeit"):
        ledger.abort(reservation, "please")
    assert ledger.forfeit(reservation, "gave up") == ledger.head()
    assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)


@pytest.mark.parametrize("bad", [outcome(survivors=41), outcome(WEAKER)], ids=["survivors", "event"])
def test_an_outcome_the_charge_does_not_cover_is_refused(ledger: Ledger, bad: Outcome) -> None:
    reservation = ledger.reserve(charge(0))
    with pytest.raises(BadParameters):
        ledger.commit(reservation, bad)
    assert ledger.standing(charge(0)) is Standing.RESERVED
    assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)


# --- spend ---------------------------------------------------------------------------------------


def test_spend_reserves_releases_and_commits_in_this_order(ledger: Ledger) -> None:
    seen: list[Standing | None] = []

    def release() -> str:
        seen.append(ledger.standing(charge(0)))
        return "sum"

    assert spend(ledger, charge(0), release, lambda value: outcome()) == "sum"
    assert seen == [Standing.RESERVED]
    assert ledger.standing(charge(0)) is Standing.COMMITTED


def test_spend_releases_nothing_without_budget(path: Path) -> None:
    def release() -> str:
        raise AssertionError("released without a charge")

    with Ledger.open(path, budget_for(1)) as ledger:
        ledger.reserve(charge(0))
        with pytest.raises(BudgetExceeded):
            spend(ledger, charge(1), release, lambda value: outcome())


def test_spend_never_releases_twice_for_one_charge(ledger: Ledger) -> None:
    calls: list[int] = []
    for _ in range(2):
        try:
            spend(ledger, charge(0), lambda: calls.append(1), lambda value: outcome())
        except BadReservation:
            calls.append(-1)
    assert calls == [1, -1]


@pytest.mark.parametrize("stop", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_release_that_fails_stays_spent(ledger: Ledger, stop: type[BaseException]) -> None:
    def release() -> str:
        raise stop

    with pytest.raises(stop):
        spend(ledger, charge(0), release, lambda value: outcome())
    assert ledger.standing(charge(0)) is Standing.SETTLED
    assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)


def test_a_release_that_gave_up_itself_is_not_forfeited_twice(ledger: Ledger) -> None:
    def release() -> None:
        ledger.forfeit(ledger.reserve(charge(0)), "no")

    with pytest.raises(BadReservation, match="already settled"):
        spend(ledger, charge(0), release, lambda value: outcome())
    assert [entry.kind for entry in ledger.entries()][2:] == ["RESERVE", "SETTLE"]


def test_an_outcome_that_is_refused_keeps_the_value_back(ledger: Ledger) -> None:
    with pytest.raises(BadParameters, match="do not hand it out"):
        spend(ledger, charge(0), lambda: "secret", lambda value: outcome(WEAKER))
    assert ledger.standing(charge(0)) is Standing.SETTLED


# --- opening again -------------------------------------------------------------------------------


def test_everything_is_there_after_opening_again(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        for number in range(3):
            ledger.commit(ledger.reserve(charge(number)), outcome(NOISIER))
        ledger.note("end of day one")
        told = (ledger.interval(), ledger.interval_released(), ledger.head(), list(ledger.entries()))
    with Ledger.open(path) as ledger:
        assert (ledger.interval(), ledger.interval_released(), ledger.head(), list(ledger.entries())) == told
        with pytest.raises(BadReservation):
            ledger.reserve(charge(2))


def test_closing_settles_what_is_still_held(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        ledger.reserve(charge(0))
    with Ledger.read(path) as ledger:
        assert ledger.standing(charge(0)) is Standing.SETTLED
        assert Fraction(ledger.interval().upper) == epsilon_of(EVENT)


def test_a_reservation_of_a_living_process_is_left_alone(path: Path, ledger: Ledger) -> None:
    reservation = ledger.reserve(charge(0))
    with Ledger.open(path) as other:
        assert other.settle() == 0
    assert ledger.commit(reservation, outcome()).seq == 3


def test_the_stored_limit_must_be_the_given_one(path: Path) -> None:
    with Ledger.open(path, WIDE):
        pass
    for other in (Budget(9, DELTA, RELATION), Budget(8, Fraction(1, 10**6), RELATION), Budget(8, DELTA, "replace-one")):
        with pytest.raises(BadParameters) as wrong:
            Ledger.open(path, other)
        assert "epsilon 8 at delta 1/100000 under zero-out" in str(wrong.value)
        assert other.relation.value in str(wrong.value)
    with Ledger.open(path, Budget(epsilon=8.0, delta=1e-5, relation="zero-out")) as ledger:
        assert ledger.terms.budget == WIDE


def test_a_new_ledger_needs_a_budget(path: Path) -> None:
    with pytest.raises(BadParameters, match="give a Budget"):
        Ledger.open(path)
    with pytest.raises(BadParameters, match="must be a Budget"):
        Ledger.open(path, 8.0)  # type: ignore[arg-type]
    assert list(path.parent.iterdir()) == []


def test_a_closed_budget_takes_no_more_charges(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        held = ledger.reserve(charge(0))
        with pytest.raises(BadReservation, match="open"):
            ledger.close_budget("end of study")
        ledger.commit(held, outcome())
        ledger.close_budget("end of study")
        for refused in (lambda: ledger.reserve(charge(1)), lambda: ledger.close_budget("again")):
            with pytest.raises(BudgetExceeded, match="closed at entry 4"):
                refused()
        assert ledger.remaining() == 0
        assert ledger.note("still readable").seq == 5
        assert ledger.verify().ok


def test_noise_from_a_known_seed_needs_a_rehearsal(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        with pytest.raises(InsecureEntropy):
            ledger.reserve(charge(0, KNOWN_SEED))
        held = ledger.reserve(charge(0))
        with pytest.raises(InsecureEntropy):
            ledger.commit(held, outcome(KNOWN_SEED))
        for asked in (lambda: ledger.affords(KNOWN_SEED), lambda: ledger.eligible(None, [bytes(32)], KNOWN_SEED)):
            with pytest.raises(InsecureEntropy):
                asked()
    with pytest.raises(BadParameters, match="open_insecure"):
        Ledger.open_insecure(path)
    rehearsal = path.with_name("rehearsal.ledger")
    with Ledger.open_insecure(rehearsal, WIDE) as ledger:
        assert ledger.verify().ok
        ledger.commit(ledger.reserve(charge(0, KNOWN_SEED)), outcome(KNOWN_SEED))
        ledger.commit(ledger.reserve(charge(1, KNOWN_SEED)), outcome(KNOWN_SEED))
        for judged in (ledger.verify(Known(pin=ledger.pin())), ledger.replay()):
            assert not judged.ok
            assert [(each.line, each.error) for each in judged.problems] == [(2, "Unverifiable")]
            assert "rehearsal" in judged.problems[0].message
        assert ledger.terms.randomness is Randomness.INSECURE
    with pytest.raises(BadParameters, match="open_insecure"):
        Ledger.open(rehearsal)


def test_a_ledger_opened_for_reading_writes_nothing(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        held = ledger.reserve(charge(0))
        with Ledger.read(path) as reader:
            assert reader.interval() == ledger.interval()
            for write in (
                lambda: reader.reserve(charge(1)),
                lambda: reader.commit(held, outcome()),
                lambda: reader.abort(held, "x"),
                lambda: reader.note("x"),
                lambda: reader.close_budget("x"),
            ):
                with pytest.raises((StorageRefused, BadReservation)):
                    write()
            assert reader.head() == ledger.head()


def test_a_closed_ledger_is_refused_by_name(path: Path) -> None:
    ledger = Ledger.open(path, WIDE)
    ledger.close()
    ledger.close()
    with pytest.raises(StorageRefused, match="closed"):
        ledger.interval()


# --- exactness -----------------------------------------------------------------------------------


@rows("L8")
def test_many_tiny_charges_equal_the_exact_composition(row: str, path: Path) -> None:
    tiny = GaussianEvent.for_multiplier(1000)
    thousand, times = Repeated(tiny, 10_000), 100
    with Ledger.open(path, budget_for(times, thousand)) as ledger:
        for number in range(times):
            ledger.reserve(charge(number, thousand))
        assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(tiny, 10**6))
        assert ledger.remaining() == 0
        with pytest.raises(BudgetExceeded):
            ledger.reserve(charge(times, tiny))


@rows("L8")
def test_a_million_pure_charges_are_one_exact_sum(row: str, path: Path) -> None:
    # 10^6 / 10^6 added as floats is 1.000000000007918; as rationals the last charge fits and no more.
    tiny = PureEvent(Fraction(1, 10**6))
    with Ledger.open(path, Budget(1, 0, RELATION)) as ledger:
        for number in range(10):
            ledger.reserve(charge(number, Repeated(tiny, 10**5)))
        assert Fraction(ledger.interval().upper) == 1
        with pytest.raises(BudgetExceeded):
            ledger.reserve(charge(10, tiny))


@pytest.mark.slow
@rows("L8")
def test_many_entries_equal_the_exact_composition(row: str, path: Path) -> None:
    tiny, times = GaussianEvent.for_multiplier(1000), 5_000
    with Ledger.open(path, WIDE) as ledger:
        for number in range(times):
            ledger.commit(ledger.reserve(charge(number, tiny)), outcome(tiny))
        assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(tiny, times))
        assert ledger.verify().ok


@rows("L9")
@pytest.mark.parametrize("jump", [-(2**62), -1, 0, 2**62])
def test_the_clock_is_recorded_and_changes_nothing(
    row: str, path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    with Ledger.open(path, budget_for(2)) as ledger:
        held = ledger.reserve(charge(0))
        monkeypatch.setattr(time, "time_ns", lambda: jump)
        assert ledger.reserve(charge(0)) == held
        ledger.commit(held, outcome())
        ledger.reserve(charge(1))
        with pytest.raises(BudgetExceeded):
            ledger.reserve(charge(2))
        assert [body["clock"] for body in bodies(ledger, "COMMIT")] == [jump]
        assert ledger.verify().ok
    with Ledger.open(path) as ledger:
        assert Fraction(ledger.interval().upper) == epsilon_of(Repeated(EVENT, 2))


# --- bad input -----------------------------------------------------------------------------------


@rows("L7")
@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(-1, DELTA, RELATION),
        lambda: Budget(float("nan"), DELTA, RELATION),
        lambda: Budget(float("inf"), DELTA, RELATION),
        lambda: Budget(1, 1, RELATION),
        lambda: Budget(1, -DELTA, RELATION),
        lambda: Budget(1, DELTA, "someone"),
        lambda: charge(0, PureEvent(Fraction(-1))),
        lambda: charge(0, GaussianEvent(sigma2=0, l2_squared=1, d=1, components=1, draws=1)),
        lambda: charge(-1),
        lambda: charge(0.5),  # type: ignore[arg-type]
        lambda: charge(True),
        lambda: charge(0, cohort=0),
        lambda: charge(0, cohort=2**63),
        lambda: charge(0, task=""),
        lambda: charge(0, task="two\nlines"),
        lambda: charge(0, dataset="x" * 201),
        lambda: charge(0, mechanism=b"sum"),
        lambda: charge(0, context=bytes(31)),
        lambda: charge(0, event="gaussian"),  # type: ignore[arg-type]
        lambda: charge(0, event=Event()),
        lambda: Outcome(-1, EVENT, bytes(32)),
        lambda: Outcome(1, EVENT, bytes(31)),
        lambda: Outcome(1, None, bytes(32)),  # type: ignore[arg-type]
        lambda: Terms(WIDE, Unit("replace-one"), View.AGGREGATOR, Randomness.SYSTEM),
    ],
)
def test_values_outside_their_range_are_refused_on_construction(row: str, make: Callable[[], object]) -> None:
    with pytest.raises(BadParameters):
        make()


def test_texts_and_timeouts_are_refused_out_of_range(path: Path, ledger: Ledger) -> None:
    held = ledger.reserve(charge(0))
    for refused in (
        lambda: ledger.note(""),
        lambda: ledger.note("x" * 2001),
        lambda: ledger.note("\ud800"),
        lambda: ledger.abort(held, ""),
        lambda: ledger.close_budget(7),
        lambda: Ledger.open(path, timeout_seconds=-1.0),
        lambda: Ledger.read(path, timeout_seconds=float("nan")),
    ):
        with pytest.raises(BadParameters):
            refused()
    assert ledger.head().seq == 2


def test_a_charge_above_64_kib_is_refused_and_nothing_is_written(ledger: Ledger) -> None:
    wide = Composed(tuple(GaussianEvent.for_multiplier(1000 + k) for k in range(3000)))
    with pytest.raises(BadParameters, match="at most 65536"):
        ledger.reserve(charge(0, wide))
    assert ledger.head().seq == 1
    assert ledger.reserve(charge(0)).seq == 2


# --- canonical forms -----------------------------------------------------------------------------

ends = st.tuples(st.one_of(st.none(), st.floats(0, 50)), st.floats(50, 1000))


@given(ends)
def test_recorded_ends_come_back_and_enclose(pair: tuple[float | None, float]) -> None:
    interval = Interval(pair[0], pair[1], DELTA, "test")
    recorded = Ends.of(interval)
    assert Ends.from_body(recorded.to_body()) == recorded
    assert recorded.upper == grid_above(Fraction(pair[1])) >= Fraction(pair[1])
    if pair[0] is not None:
        assert recorded.lower == grid_below(Fraction(pair[0])) <= Fraction(pair[0])


def test_a_charge_and_its_terms_come_back_from_their_bodies(ledger: Ledger) -> None:
    one = charge(3, NOISIER, task="name with ümlaut")
    assert Charge.from_body(one.to_body(), NOISIER) == one
    terms = ledger.terms
    assert Terms.from_body({**terms.to_body(), "clock": 0}) == terms
    for broken in (
        {"composition": "filter"},
        {"view": "nobody"},
        {"randomness": "dice"},
        {"scope": "some"},
        {"extra": 1},
    ):
        with pytest.raises(BadParameters):
            Terms.from_body({**terms.to_body(), "clock": 0, **broken})


def test_no_entry_and_no_repr_holds_the_signing_key(path: Path, ledger: Ledger) -> None:
    secrets = path.with_name(path.name + ".key").read_bytes().decode().splitlines()[1:]
    ledger.reserve(charge(0))
    shown = " ".join([repr(ledger), repr(vars(ledger)), repr(vars(ledger._log)), *map(repr, ledger.entries())])
    assert len(secrets) == 2
    for secret in secrets:
        assert len(secret) == 64
        assert secret not in shown
        assert repr(bytes.fromhex(secret))[2:-1] not in shown
        assert bytes.fromhex(secret) not in path.read_bytes()


def test_admission_does_not_grow_with_the_rounds_behind_it(path: Path) -> None:
    """Compositions are counted, not timed: one per round, whatever came before."""
    calls: list[int] = []
    real = compose

    def counted(*arguments: object) -> Interval:
        calls.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    with Ledger.open(path, WIDE) as ledger, pytest.MonkeyPatch.context() as patch:
        ledger.interval()
        patch.setattr(dp.ledger.admission, "compose", counted)
        for number in range(20):
            ledger.commit(ledger.reserve(charge(number)), outcome())
            ledger.interval()
    assert len(calls) == 20


def test_remembered_costs_are_bounded_and_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dp.ledger.admission, "_REMEMBERED_COSTS", 2)
    with Ledger.open(path, WIDE) as ledger:
        for number in range(6):
            held = ledger.reserve(charge(number))
            with pytest.raises(BadParameters, match="do not hand it out"):
                ledger.commit(held, outcome(WEAKER))
            ledger.commit(held, outcome(GaussianEvent(50_000 + number, 100, d=10, components=25, draws=250)))
            assert len(ledger._admission._costs) <= 2


def test_a_path_can_be_relative_or_a_link(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with Ledger.open("run.ledger", WIDE) as ledger:
        ledger.reserve(charge(0))
        os.chdir("/")
        ledger.reserve(charge(1))
    link = path.with_name("link")
    link.symlink_to(path)
    with Ledger.open(link) as ledger:
        assert ledger.head().seq == 5
