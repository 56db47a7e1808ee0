"""What the holder of the key writes against the rules of spending: well linked, well signed, and found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dp.accountant import Unit, View
from dp.canonical import MAX_BODY_BYTES, encode_body
from dp.errors import BadParameters, Corrupt, Locked
from dp.events import ApproxEvent, Event, FixedSize, GaussianEvent, NonPrivate, Sampled
from dp.ledger import Ledger, Scope, Setting, Terms
from dp.ledger.chain import Kind
from dp.ledger.charge import Ends
from dp.ledger.cohorts import Opening, cohort_root
from dp.ledger.erasing import MOST_RUNS, Erasures, Run, bodies_of, runs_in, runs_of
from dp.ledger.terms import Randomness
from dp.ledger.verdict import examine
from dp.ledger.vouching import Known
from tests.dp.ledger_kit import EVENT, RELATION, WIDE, budget_for, charge, edit, outcome, write_rounds
from tests.dp.test_ledger_damage import Forger, rewrite

COARSER = GaussianEvent(sigma2=100, l2_squared=100, d=10, components=1, draws=10)
FINER = replace(EVENT, sigma2=50_000)


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    path = tmp_path / "run.ledger"
    write_rounds(path, 1, budget_for(2))
    return Forger(path)


def commits(forger: Forger, released: Event, survivors: int = 38) -> Forger:
    """The forger ends the open reservation at entry 4 with this outcome."""
    return forger.says(Kind.COMMIT, {"reserve": 4, "clock": 0, **outcome(released, survivors).to_body()})


def found(forger: Forger) -> list[tuple[int | None, str]]:
    return [(each.line, each.error) for each in examine(forger.entries).problems]


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("released", [NonPrivate(), COARSER], ids=["exact", "less noise"])
def test_an_outcome_that_costs_more_than_was_charged_is_found_at_its_line(forger: Forger, released: Event) -> None:
    commits(forger.reserves(1), released).says(Kind.NOTE, {"text": "read to the end", "clock": 0})
    verdict = examine(forger.entries)
    assert [(each.line, each.error) for each in verdict.problems] == [(5, "Corrupt")]
    assert "the outcome alone costs epsilon" in verdict.problems[0].message
    assert verdict.entries == 7


def test_an_outcome_that_costs_less_is_what_a_worst_case_is_for(forger: Forger) -> None:
    assert found(commits(forger.reserves(1), FINER)) == []


def test_an_outcome_nobody_can_judge_is_unverifiable(tmp_path: Path) -> None:
    write_rounds(tmp_path / "run.ledger", 0, budget_for(1))
    forger = Forger(tmp_path / "run.ledger")
    seen_by_readers = {**forger.entries.pop().fields, "view": "released"}
    released = Sampled(EVENT, FixedSize(1, 2))
    forger.says(Kind.OPEN_BUDGET, seen_by_readers).reserves(0)
    forger.says(Kind.COMMIT, {"reserve": 2, "clock": 0, **outcome(released).to_body()})
    assert found(forger) == [(3, "Unverifiable")]


PLANNED = Setting(Fraction(1), Fraction(10), modulus_bits=32, min_survivors=30, colluders=0, layers=1)


def test_fewer_survivors_than_the_noise_was_planned_for_are_refused_by_the_writer(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        held = ledger.reserve(charge(0, setting=PLANNED))
        for survivors in (0, 29, 41):
            with pytest.raises(BadParameters, match=f"{survivors} survivors of a cohort of 40, of whom at least 30"):
                ledger.commit(held, outcome(survivors=survivors))
        ledger.commit(held, outcome(survivors=30))
        assert ledger.verify().ok


@pytest.mark.parametrize(("survivors", "error"), [(30, []), (29, [(5, "Corrupt")])])
def test_fewer_survivors_than_the_noise_was_planned_for_are_corrupt(
    forger: Forger, survivors: int, error: list[tuple[int, str]]
) -> None:
    forger.reserves(1, charge=charge(1, setting=PLANNED).to_body())
    assert found(commits(forger, EVENT, survivors)) == error


# --- cohorts -------------------------------------------------------------------------------------


def named(*clients: int) -> list[bytes]:
    """Pseudonyms, in their order."""
    return sorted(hashlib.sha256(b"%d" % each).digest() for each in clients)


def beside(seq: int, names: list[bytes]) -> list[Opening]:
    """Openings in the order of the names, as nobody honest would write every one of them."""
    return [Opening(seq, at, name, b"%16d" % at) for at, name in enumerate(names)]


def invites(forger: Forger, number: int, openings: list[Opening]) -> Forger:
    one = charge(number, cohort=len(openings))
    return forger.reserves(number, charge=one.to_body(), members=cohort_root(openings).hex())


def survive(forger: Forger, seq: int, openings: list[Opening]) -> Forger:
    said = outcome(survivors=len(openings)).to_body()
    return forger.says(Kind.COMMIT, {"reserve": seq, "clock": 0, **said, "named": cohort_root(openings).hex()})


def judged(forger: Forger, *openings: list[Opening]) -> list[tuple[int | None, str]]:
    verdict = examine(forger.entries, [each for group in openings for each in group])
    return [(each.line, each.error) for each in verdict.problems]


@pytest.mark.parametrize(
    ("survivors", "error"), [(named(1, 3), []), (named(1, 4), [(5, "Corrupt")]), (named(4, 5), [(5, "Corrupt")])]
)
def test_survivors_were_invited_or_are_corrupt(
    forger: Forger, survivors: list[bytes], error: list[tuple[int, str]]
) -> None:
    invited, came = beside(4, named(1, 2, 3)), beside(5, survivors)
    assert judged(survive(invites(forger, 1, invited), 4, came), invited, came) == error


def test_a_survivor_may_be_one_whose_invitation_was_erased_and_no_more_than_one(forger: Forger) -> None:
    for survivors, error in ((named(1, 2), []), (named(2, 3), []), (named(2, 4), []), (named(4, 5), [(5, "Corrupt")])):
        invited, came = beside(4, named(1, 2, 3)), beside(5, survivors)
        at = next(place for place, each in enumerate(invited) if each.pseudonym in named(1))
        invited[at] = invited[at].erased()
        told = Forger(forger.path)
        survive(invites(told, 1, invited), 4, came).says(Kind.ERASE, {"openings": [[4, at, at]], "clock": 0})
        # Client 1 is gone from the list, so that one name which is not on it may be theirs.
        assert judged(told, invited, came) == error, survivors


@pytest.mark.parametrize("names", [named(1) * 3, [*named(1, 2), named(1, 2)[-1]], named(1, 2, 3)[::-1]])
def test_a_cohort_that_names_somebody_twice_or_out_of_order_is_corrupt(forger: Forger, names: list[bytes]) -> None:
    invited = beside(4, names)
    assert judged(invites(forger, 1, invited), invited) == [(4, "Corrupt")]


# --- what was erased -----------------------------------------------------------------------------

MEMBERS = (b"A", b"B", b"C")


def each_ledger(path: Path, rounds: int) -> Ledger:
    """A limit of two releases for each client; everybody is in every round."""
    ledger = Ledger.create(path)
    unit = Unit(RELATION)
    ledger.open_budget(Terms(budget_for(2), unit, View.AGGREGATOR, Randomness.SYSTEM, scope=Scope.EACH))
    for number in range(rounds):
        ledger.commit(ledger.reserve(charge(number, cohort=3, members=MEMBERS)), outcome(survivors=3))
    return ledger


def replaced(path: Path, *openings: Opening) -> None:
    """What somebody with the sqlite tool does to openings."""
    edit(
        path,
        *(f"DELETE FROM opening WHERE seq = {each.seq} AND position = {each.position}" for each in openings),
        *(
            f"INSERT INTO opening VALUES ({each.seq}, {each.position}, X'{each.pseudonym.hex()}', X'{each.salt.hex()}')"
            for each in openings
        ),
    )


def test_openings_taken_out_without_the_key_are_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with each_ledger(path, 2) as ledger:
        pin, openings = ledger.pin(), list(ledger._log.store.openings())
        ledger.erase(ledger.pseudonym(b"A"))
    with Ledger.read(path) as ledger:
        assert (ledger.verify(Known(pin=pin)).verdict, ledger.verify().erased) == ("verified", 2)
        gone = [each for each in ledger._log.store.openings() if each.is_erased]
    kept = [each for each in openings if (each.seq, each.position) not in {(one.seq, one.position) for one in gone}]
    replaced(path, kept[0].erased())
    with Ledger.read(path) as ledger:
        assert [(each.line, each.error) for each in ledger.verify(Known(pin=pin)).problems] == [(2, "Corrupt")]
    # Nor may one that was said to be gone be there again.
    replaced(path, kept[0], *(each for each in openings if each not in kept))
    with Ledger.read(path) as ledger:
        verdict = ledger.verify()
        assert [(each.line, each.error) for each in verdict.problems] == [(2, "Corrupt")]
        assert "0 openings of entry 2 are erased, the ledger's key says 1" in verdict.problems[0].message


def test_what_is_erased_while_somebody_verifies_is_seen_wholly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.ledger"
    each_ledger(path, 2).close()
    with Ledger.open(path, timeout_seconds=0.01) as writer, Ledger.read(path) as reader:
        openings = reader._log.store.openings

        def once_the_entries_are_read() -> Iterator[Opening]:
            with pytest.raises(Locked):
                writer.erase(writer.pseudonym(b"A"))
            yield from openings()

        with monkeypatch.context() as patched:
            patched.setattr(reader._log.store, "openings", once_the_entries_are_read)
            assert (reader.verify().problems, writer.verify().erased) == ((), 2)
        assert (reader.verify().problems, reader.verify().erased) == ((), 2)


def test_a_limit_that_erased_clients_may_have_passed_is_unverifiable(forger: Forger) -> None:
    limit = dict(forger.entries[1].fields, scope="each")
    del forger.entries[1:]
    forger.says(Kind.OPEN_BUDGET, limit)
    beside_all: list[Opening] = []
    for number in range(3):
        invited = beside(2 + number, named(1, 2))
        invites(forger, number, invited)
        beside_all += [each.erased() for each in invited]
        said = Forger(forger.path)
        said.entries = list(forger.entries)
        for seq in range(2, 3 + number):
            said.ends(Kind.SETTLE, seq)
        said.says(Kind.ERASE, {"openings": [[seq, 0, 1] for seq in range(2, 3 + number)], "clock": 0})
        error = [] if number < 2 else [(len(said.entries) - 1, "Unverifiable")]
        assert judged(said, beside_all) == error


@pytest.mark.parametrize(
    "openings",
    [
        [],
        "all",
        [4],
        [[2, 0]],
        [[2, 1, 0]],
        [[2, -1, 0]],
        [[2, 0, 3]],
        [[2, 0, "1"]],
        [[3, 0, 0]],
        [[9, 0, 0]],
        [[2, 0, 1], [2, 1, 2]],
    ],
    ids=repr,
)
def test_an_erasure_of_what_is_not_there_is_corrupt(forger: Forger, openings: object) -> None:
    del forger.entries[2:]
    invited = beside(2, named(1, 2, 3))
    invites(forger, 0, invited).ends(Kind.SETTLE, 2).says(Kind.ERASE, {"openings": openings, "clock": 0})  # type: ignore[dict-item]
    assert judged(forger, invited) == [(4, "Corrupt")]


def test_an_erasure_of_an_open_round_is_corrupt(forger: Forger) -> None:
    del forger.entries[2:]
    invited = beside(2, named(1, 2, 3))
    invites(forger, 0, invited).says(Kind.ERASE, {"openings": [[2, 0, 0]], "clock": 0})
    assert judged(forger, invited) == [(3, "Corrupt")]


def test_runs_join_their_neighbours_in_any_order() -> None:
    erased = Erasures()
    for first, last in ((4, 4), (0, 1), (7, 9), (2, 3), (6, 6)):
        erased.add(Run(2, first, last))
    same = Erasures()
    for run in runs_of(Opening(2, at, bytes(32), b"") for at in (0, 1, 2, 3, 4, 6, 7, 8, 9)):
        same.add(run)
    erased.require_same(same)
    assert (erased.size, erased.in_entry(2), erased.in_entry(3)) == (9, 9, 0)
    for first, last in ((0, 0), (9, 12), (5, 6), (0, 20)):
        with pytest.raises(BadParameters, match="before"):
            erased.add(Run(2, first, last))
    erased.add(Run(2, 5, 5))
    with pytest.raises(Corrupt):
        erased.require_same(same)


def test_many_erasures_take_several_entries() -> None:
    runs = [Run(2**62 + seq, 2**62, 2**62) for seq in range(MOST_RUNS + 1)]
    bodies = bodies_of(runs)
    assert [run for body in bodies for run in runs_in({**body, "clock": 2**62})] == runs
    assert [len(encode_body(body)) < MAX_BODY_BYTES - 100 for body in bodies] == [True, True]


# --- figures beyond all doubles --------------------------------------------------------------------


@pytest.mark.parametrize("end", ["before", "after"])
def test_a_recorded_end_beyond_all_doubles_is_corrupt(forger: Forger, end: str) -> None:
    cheap = Ends(None, Fraction(1, 100)).to_body()
    budget = {"budget": 1, "before": cheap, "after": cheap, end: {"upper": f"1{'0' * 400}/1"}}
    assert found(forger.reserves(1, budgets=[budget])) == [(4, "Corrupt")]


@pytest.mark.parametrize("event", [NonPrivate(), ApproxEvent(1, Fraction(1, 2))])
def test_a_charge_without_any_finite_end_is_refuted_and_replayed_by_name(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 0)
    rewrite(path, Forger(path).reserves(0, event).entries)
    with Ledger.read(path) as ledger:
        assert [(each.line, each.error) for each in ledger.verify().problems] == [(2, "BudgetExceeded")]
        assert {(each.line, each.error) for each in ledger.replay().problems} == {(2, "Corrupt"), (2, "BudgetExceeded")}
        assert not ledger.state().verdict.ok
