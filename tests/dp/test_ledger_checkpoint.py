"""Opening at a checkpoint: the same answers as from the first entry, and what it does not look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dp.accountant import Budget, Unit, View
from dp.errors import BadParameters, BadReservation, BudgetExceeded, Corrupt, Forked
from dp.events import GaussianEvent
from dp.ledger import Ledger, Scope, Standing, Terms
from dp.ledger import log as log_file
from dp.ledger.chain import Entry, Kind, Signer, link
from dp.ledger.checkpoint import EVERY, budgets_of, held_of, state_of
from dp.ledger.history import History
from dp.ledger.place import beside, read_key
from dp.ledger.store import Store
from dp.ledger.terms import Randomness
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, budget_for, charge, edit, finish, outcome, start

OTHER = GaussianEvent(sigma2=90_000, l2_squared=100, d=10, components=20, draws=200)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> int:
    """A checkpoint every eight entries instead of every 1,024."""
    monkeypatch.setattr(log_file, "EVERY", 8)
    return 8


def members_of(number: int) -> tuple[bytes, ...]:
    """Three of five clients."""
    return tuple(bytes([65 + (number + step) % 5]) for step in range(3))


def fill(path: Path, rounds: int) -> None:
    """Rounds of every ending, two budgets, members, an audit's worth of notes."""
    with Ledger.open(path, WIDE) as ledger:
        ledger.open_budget(
            Terms(
                Budget(4, DELTA, RELATION),
                Unit(RELATION),
                View.AGGREGATOR,
                Randomness.SYSTEM,
                task="digits",
                scope=Scope.EACH,
            )
        )
        for number in range(rounds):
            event = OTHER if number % 3 else EVENT
            reservation = ledger.reserve(charge(number, event, cohort=3, members=members_of(number)))
            if number % 5 == 4:
                ledger.abort(reservation, "nobody came")
            elif number % 5 == 3:
                ledger.forfeit(reservation, "lost")
            else:
                ledger.commit(reservation, outcome(event, 3))


def answers(ledger: Ledger) -> tuple[object, ...]:
    """What a ledger can be asked, in an order that begins with what needs no old entries."""
    return (
        ledger.head(),
        ledger.terms,
        [ledger.interval(budget) for budget in ledger.budgets],
        [ledger.interval_released(budget) for budget in ledger.budgets],
        [ledger.remaining(budget) for budget in ledger.budgets],
        ledger.affords(EVENT),
        [(each.charged, each.realised, each.version) for each in ledger.budgets.values()],
        [ledger.standing(charge(number)) for number in range(12)],
        ledger.charges(),
        ledger.clients(),
        ledger.client(b"A"),
        ledger.prove(3, b"A"),
    )


def kinds(path: Path) -> Counter[str]:
    with Ledger.read(path) as ledger:
        return Counter(entry.kind for entry in ledger.entries())


@pytest.mark.parametrize("rounds", [3, 4, 9, 20])
def test_a_ledger_opened_at_its_checkpoint_gives_the_answers_of_the_whole(
    often: int, tmp_path: Path, rounds: int
) -> None:
    path = tmp_path / "run.ledger"
    fill(path, rounds)
    assert (kinds(path)[Kind.CHECKPOINT] > 0) == (rounds > 3)
    with Ledger.open(path, check="full") as ledger:
        assert ledger._log.history.since == 1
        expected = answers(ledger)
    with Ledger.open(path, check="tail") as ledger:
        assert (ledger._log.history.since > 1) == (rounds > 3)
        assert answers(ledger) == expected
        assert ledger._log.history.since == 1
        assert ledger.verify().ok


def test_what_an_opening_skips_is_read_only_when_somebody_asks_about_it(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        for number in range(20):
            ledger.commit(ledger.reserve(charge(number)), outcome())
    with Ledger.open(path) as ledger:
        history = ledger._log.history
        reservation = ledger.reserve(charge(20))
        ledger.commit(reservation, outcome())
        assert ledger.commit(reservation, outcome()) == ledger.head()
        assert (history.since > 20, ledger.interval().upper > 0) == (True, True)
        assert ledger.standing(charge(99)) is None
        assert history.since > 20
        assert ledger.standing(charge(2)) is Standing.COMMITTED
        assert history.since == 1


def test_an_old_round_is_not_released_twice_after_opening_at_a_checkpoint(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        for number in range(12):
            ledger.commit(ledger.reserve(charge(number)), outcome())
    with Ledger.open(path) as ledger, pytest.raises(BadReservation, match="already committed"):
        ledger.reserve(charge(1))


def test_an_old_aborted_round_may_be_reserved_again(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        ledger.abort(ledger.reserve(charge(1)), "lost")
        for number in range(2, 12):
            ledger.commit(ledger.reserve(charge(number)), outcome())
    with Ledger.open(path) as ledger:
        ledger.commit(ledger.reserve(charge(1)), outcome())
        assert ledger.verify().ok


def test_reservations_open_at_a_checkpoint_are_settled_by_whoever_opens_it(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"

    def die_with_two_open() -> None:
        ledger = Ledger.open(path, WIDE)
        ledger.reserve(charge(100))
        ledger.reserve(charge(101))
        for number in range(10):
            ledger.commit(ledger.reserve(charge(number)), outcome())
        ledger._log.store.close()

    assert finish(start(die_with_two_open)) == 0
    with Ledger.open(path) as ledger:
        history = ledger._log.history
        assert history.since > 1
        assert not history.open
        assert [history.records[seq].standing for seq in (2, 3)] == [Standing.SETTLED] * 2
        assert ledger.budgets[1].charged == Counter({EVENT: 12})
        assert ledger.verify().ok


def test_the_limit_holds_across_a_checkpoint(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, budget_for(12)) as ledger:
        for number in range(11):
            ledger.commit(ledger.reserve(charge(number)), outcome())
    with Ledger.open(path) as ledger:
        ledger.commit(ledger.reserve(charge(11)), outcome())
        with pytest.raises(BudgetExceeded):
            ledger.reserve(charge(12))


def test_each_process_reads_what_another_ones_checkpoint_says_as_any_entry(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as first, Ledger.open(path) as second:
        for number in range(12):
            ledger = (first, second)[number % 2]
            ledger.commit(ledger.reserve(charge(number)), outcome())
        assert first.interval() == second.interval()
        assert first._log.history.checkpoints == second._log.history.checkpoints
    # GENESIS, OPEN_BUDGET, 24 entries of rounds: one after every eighth entry that follows the last one.
    assert kinds(path)[Kind.CHECKPOINT] == 3


def test_closed_budgets_and_a_policy_survive_a_checkpoint(often: int, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.create(path, policy="backups are encrypted") as ledger:
        terms = Terms(WIDE, Unit(RELATION), View.AGGREGATOR, Randomness.SYSTEM)
        first = ledger.open_budget(terms)
        ledger.close_budget("replaced", first)
        second = ledger.open_budget(terms)
        for number in range(10):
            ledger.note(f"remark {number}")
    with Ledger.open(path) as ledger:
        assert ledger._log.history.since > 1
        assert (ledger.policy, ledger.randomness) == ("backups are encrypted", Randomness.SYSTEM)
        assert [(each.id, each.closed) for each in ledger.budgets.values()] == [(first, 2), (second, None)]


# --- what is not believed -------------------------------------------------------------------------------


def filled(path: Path) -> Path:
    """Eleven rounds and at least one checkpoint."""
    with Ledger.open(path, WIDE) as ledger:
        for number in range(11):
            ledger.commit(ledger.reserve(charge(number)), outcome())
    return path


def test_an_edit_before_the_checkpoint_is_found_by_verify_and_by_the_first_question(often: int, tmp_path: Path) -> None:
    path = filled(tmp_path / "run.ledger")
    edit(path, "UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), 'digits', 'digitz') AS BLOB) WHERE seq = 2")
    with Ledger.open(path) as ledger:
        assert ledger.affords(EVENT)
        assert [(each.line, each.error) for each in ledger.verify().problems] == [(2, "Corrupt")]
        with pytest.raises(Corrupt, match="entry 2 was changed"):
            ledger.charges()
        with pytest.raises(Corrupt, match="entry 2 was changed"):
            ledger.head()
    with pytest.raises(Corrupt, match="entry 2 was changed"):
        Ledger.open(path, check="full")


def test_another_first_entry_does_not_carry_a_checkpoint(often: int, tmp_path: Path) -> None:
    # The one old entry whose meaning is used: whether known seeds are accepted stands in it.
    path = filled(tmp_path / "run.ledger")
    key = read_key(beside(path, ".key"))
    with Ledger.read(path) as ledger:
        first = next(ledger.entries())
    body = {**first.fields, "randomness": "insecure"}
    forged = link(bytes.fromhex(str(body["ledger_id"])), Signer(key.seed), None, Kind.GENESIS, body)
    edit(
        path,
        f"UPDATE entry SET body = X'{forged.body.hex()}', hash = X'{forged.hash.hex()}', "
        f"signature = X'{forged.signature.hex()}' WHERE seq = 0",
    )
    with pytest.raises(Corrupt, match="another first entry"):
        Ledger.open_insecure(path)


def test_a_checkpoint_of_another_key_is_no_place_to_begin(often: int, tmp_path: Path) -> None:
    path = filled(tmp_path / "run.ledger")
    edit(path, "UPDATE entry SET key_id = zeroblob(16) WHERE kind = 'CHECKPOINT'")
    with Ledger.open(path) as ledger:
        assert ledger._log.history.since == 1
        assert [each.error for each in ledger.verify().problems] == ["Corrupt"]


@pytest.mark.parametrize("column", ["hash", "signature", "body"])
def test_a_damaged_checkpoint_is_corrupt(often: int, tmp_path: Path, column: str) -> None:
    path = filled(tmp_path / "run.ledger")
    wrong = {"hash": "zeroblob(32)", "signature": "zeroblob(64)", "body": "CAST('{}' AS BLOB)"}[column]
    edit(path, f"UPDATE entry SET {column} = {wrong} WHERE kind = 'CHECKPOINT'")
    with pytest.raises(Corrupt):
        Ledger.open(path)


def lying(path: Path, change: dict[str, object]) -> None:
    """Appends a checkpoint that the key's holder signed and that states something else."""
    store = Store.open(path, 1.0)
    history = History()
    for entry in store.entries():
        history.apply(entry)
    assert history.head is not None
    assert history.signed is not None
    signer = Signer(read_key(beside(path, ".key")).seed)
    body = {**history.state(), **change, "clock": 0}
    with store.writing():
        store.append(link(history.signed.ledger_id, signer, history.head, Kind.CHECKPOINT, body))  # type: ignore[arg-type]
    store.close()


@pytest.mark.parametrize("change", [{"budgets": []}, {"open": [{"seq": 2, "hash": "00" * 32}]}, {"genesis": "11" * 32}])
def test_a_checkpoint_that_lies_is_refuted_by_whoever_reads_everything(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = filled(tmp_path / "run.ledger")
    lying(path, change)
    with Ledger.read(path) as ledger:
        found = ledger.verify()
        assert [(each.line, each.error) for each in found.problems] == [(found.entries - 1, "Corrupt")]
    with pytest.raises(Corrupt, match="amount to"):
        Ledger.open(path, check="full")


def test_entries_cut_out_below_a_checkpoint_are_missed_once_they_are_read(often: int, tmp_path: Path) -> None:
    path = filled(tmp_path / "run.ledger")
    edit(path, "DELETE FROM entry WHERE seq BETWEEN 2 AND 5")
    with Ledger.open(path) as ledger, pytest.raises(Corrupt, match="entry 2 is missing"):
        ledger.charges()


def test_other_entries_under_the_same_checkpoint_are_forked(
    often: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "run.ledger")
    with Ledger.open(path) as ledger:
        last = ledger.head().seq

        def fewer(store: Store, since: int = 0) -> Iterator[Entry]:
            return (entry for entry in everything(store, since) if entry.seq < last)

        everything = Store.entries
        head = ledger.head()
        monkeypatch.setattr(Store, "entries", fewer)
        monkeypatch.setattr(type(ledger._log), "catch_up", lambda log: log.history)
        with pytest.raises(Forked, match="not those it was made of"):
            ledger._log.whole()
    assert head.seq == last


# --- the state itself -------------------------------------------------------------------------------------


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    fill(path, 7)
    with Ledger.open(path) as ledger:
        ledger.reserve(charge(50, cohort=3, members=members_of(0)))
        history = ledger._log.history
        state = history.state()
        assert budgets_of(state) == history.budgets
        assert list(held_of(state)) == list(history.open)


def test_a_state_that_does_not_fit_is_left_out_and_opening_begins_at_the_first_entry(
    often: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dp.ledger.checkpoint._MOST_BYTES", 100)
    path = filled(tmp_path / "run.ledger")
    with Ledger.open(path) as ledger:
        assert ledger._log.history.since == 1
        assert ledger.verify().ok
    assert kinds(path)[Kind.CHECKPOINT] == 2


def test_a_state_of_thousands_of_different_events_does_not_fit() -> None:
    from dp.ledger.budgets import BudgetState

    terms = Terms(WIDE, Unit(RELATION), View.AGGREGATOR, Randomness.SYSTEM)
    few = BudgetState(1, terms, charged=Counter({EVENT: 1}))
    many = BudgetState(1, terms, charged=Counter(GaussianEvent(10_000 + n, 1, 1, 1, 1) for n in range(2000)))
    assert state_of(bytes(32), bytes(32), [few], {})["budgets"]
    assert state_of(bytes(32), bytes(32), [many], {}) == {}


def test_how_much_is_read_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadParameters, match="check must be one of tail, full"):
        Ledger.open(tmp_path / "run.ledger", WIDE, check="some")


@pytest.mark.slow
def test_a_checkpoint_stands_after_1024_entries(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        for number in range(EVERY + 2):
            ledger.note(f"remark {number}")
        assert [head.seq for head in ledger._log.history.checkpoints] == [EVERY + 1]
