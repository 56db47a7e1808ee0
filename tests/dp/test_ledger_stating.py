"""A ledger as plain values: every part of the statement against what the ledger itself answers."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.accountant import Budget, Unit, View
from dp.audit.finding import Check, Correction, Finding
from dp.errors import BadParameters, BudgetExceeded, Corrupt
from dp.events import Composed, LaplaceEvent, Poisson, Sampled
from dp.ledger import Ledger, Scope, Setting, Standing, Terms, stating
from dp.ledger import log as log_file
from dp.ledger.chain import Kind, Signer, link, witness_statement
from dp.ledger.genesis import code, software
from dp.ledger.place import beside, read_key
from dp.ledger.store import Store
from dp.ledger.terms import Randomness
from dp.ledger.vouching import Known
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, budget_for, charge, edit, outcome, write_rounds

FINDING = Finding(
    audit="canary",
    subject="the sum",
    claim=1.5,
    delta=DELTA,
    lower_bound=1.2,
    confidence=0.95,
    trials=1000,
    hypotheses=1,
    correction=Correction.NONE,
    seed=7,
    checks=(Check("variance", True, 0.5),),
)
SETTING = Setting(Fraction(1, 1000), Fraction(1), 20, 1, 1, 2)
PARTY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)


def terms(epsilon: int, scope: Scope) -> Terms:
    return Terms(
        Budget(epsilon, DELTA, RELATION), Unit(RELATION), View.AGGREGATOR, Randomness.SYSTEM, task="digits", scope=scope
    )


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with something in every field."""
    monkeypatch.setattr(log_file, "EVERY", 6)
    made = tmp_path / "run.ledger"
    with Ledger.create(made, policy="backups are encrypted") as ledger:
        first = ledger.open_budget(terms(8, Scope.EVERYONE))
        second = ledger.open_budget(terms(4, Scope.EACH))
        for number, members in enumerate([(b"A", b"B"), (b"A", b"C"), (b"B", b"C"), (b"A", b"B")]):
            held = ledger.reserve(charge(number, cohort=2, members=members, setting=SETTING))
            if number == 2:
                ledger.abort(held, "nobody came")
            elif number == 3:
                ledger.forfeit(held, "the server lost it")
            else:
                ledger.commit(held, dataclasses.replace(outcome(survivors=1), named=(b"A",)))
        ledger.audit(FINDING)
        head = ledger.note("a remark")
        ledger.witness(
            head, PARTY.public_key().public_bytes_raw(), PARTY.sign(witness_statement(ledger.pin().ledger_id, head))
        )
        ledger.close_budget("over", second)
        assert (first, second) == (1, 2)
    return made


def test_every_part_is_what_the_ledger_answers(path: Path) -> None:
    with Ledger.open(path) as ledger:
        pin = ledger.pin()
        found = ledger.state(Known(pin=pin))
        assert (found.ledger_id, found.policy, found.software) == (pin.ledger_id, "backups are encrypted", software())
        assert (found.pin, found.witnesses) == (pin.head, 1)
        assert found.verdict == ledger.verify(Known(pin=pin))
        assert found.verdict.verdict == "verified"
        kinds = {entry.seq: entry.kind for entry in ledger.entries()}
        assert [head.seq for head in found.checkpoints] == [s for s, kind in kinds.items() if kind == Kind.CHECKPOINT]
        assert len(found.checkpoints) > 1
        for budget in found.budgets:
            assert budget.terms == ledger.budgets[budget.id].terms
            assert budget.spent == ledger.interval(budget.id)
            assert budget.released == ledger.interval_released(budget.id)
            assert budget.remaining == ledger.remaining(budget.id)
            assert budget.closed == ledger.budgets[budget.id].closed
            assert [point.round for point in budget.points] == [0, 1, 2, 3]
        assert [(each.pseudonym, each.invited) for each in found.clients] == [
            (record.pseudonym, len(record.invited)) for record in ledger.clients()
        ]
        for each, record in zip(found.clients, ledger.clients(), strict=True):
            assert each.spent == record.spent
        assert found.notes == ((min(s for s, kind in kinds.items() if kind == Kind.NOTE), "a remark"),)
    [(seq, audited)] = found.audits
    assert (kinds[seq], audited) == (Kind.AUDIT, FINDING)
    assert {each.accountant for each in found.opinions} == {"exact-gaussian", "pld", "rdp"}
    assert all(each.agrees for each in found.opinions)


def test_each_release_says_how_it_ended(path: Path) -> None:
    with Ledger.read(path) as ledger:
        releases = ledger.state().releases
    assert [each.standing for each in releases] == [
        Standing.COMMITTED,
        Standing.COMMITTED,
        Standing.ABORTED,
        Standing.SETTLED,
    ]
    assert [each.reason for each in releases] == [None, None, "nobody came", "the server lost it"]
    assert [each.survivors for each in releases] == [1, 1, None, None]
    for each in releases:
        assert (each.task, each.dataset, each.mechanism, each.cohort) == ("digits", "clients", "sum", 2)
        assert (each.event, each.setting, each.budgets) == (EVENT, SETTING, (1, 2))
        assert (each.software, each.code) == (software(), code())
        assert each.clock > 0


def test_who_survived_is_unknown_where_nobody_was_named(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(1, cohort=1, members=(b"A",))), outcome(survivors=1))
        [client] = ledger.state().clients
    assert (client.invited, client.survived) == (1, None)


@pytest.mark.parametrize("times", [1, 2, 5, 13])
def test_how_many_more_like_the_last_one_are_granted(tmp_path: Path, times: int) -> None:
    with Ledger.open(tmp_path / "run.ledger", budget_for(times)) as ledger:
        assert ledger.state().budgets[0].affordable is None
        ledger.commit(ledger.reserve(charge(0)), outcome())
        assert ledger.state().budgets[0].affordable == times - 1
        for number in range(1, times):
            ledger.commit(ledger.reserve(charge(number)), outcome())
        with pytest.raises(BudgetExceeded):
            ledger.reserve(charge(times))
        ledger.close_budget("over")
        assert ledger.state().budgets[0].affordable == 0


def test_a_view_without_a_proof_is_missing_and_not_made_up(tmp_path: Path) -> None:
    # Sampled clients that make the noise themselves make more or less of it by chance: no accountant bounds that.
    event = Sampled(EVENT, Poisson(Fraction(1, 10)))
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(1, event)), outcome(event))
        [budget] = ledger.state().budgets
        assert (budget.spent, budget.released) == (ledger.interval(), None)


def test_a_refuted_ledger_is_stated_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 3)
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 6")
    with Ledger.read(path) as ledger:
        found = ledger.state()
    assert (found.verdict.verdict, len(found.releases)) == ("refuted", 2)
    assert (found.verdict.unread, found.verdict.entries) == (6, 8)


@pytest.mark.parametrize(
    ("statement", "unread"),
    [
        ("UPDATE entry SET hash = zeroblob(32) WHERE seq = 7", 7),
        ("UPDATE entry SET signature = zeroblob(64) WHERE seq = 7", 7),
        ("UPDATE entry SET kind = 'LATER' WHERE seq = 7", 7),
        ("DELETE FROM entry WHERE seq = 7", 7),
        ("DELETE FROM opening WHERE seq = 5 AND position = 1", 5),
        ("DELETE FROM entry WHERE seq = (SELECT max(seq) FROM entry)", 15),
    ],
)
def test_no_figure_is_stated_where_not_every_entry_could_be_read(path: Path, statement: str, unread: int) -> None:
    """What could not be read may have cost anything: nothing is summed up, and nobody is said to have spent little."""
    with Ledger.read(path) as ledger:
        whole, known = ledger.state(), Known(pin=ledger.pin())
    assert whole.verdict.unread is None
    edit(path, statement)
    with Ledger.read(path) as ledger:
        found = ledger.state(known)
    assert (found.verdict.verdict, found.verdict.unread) == ("refuted", unread)
    assert found.budgets
    for budget in found.budgets:
        assert (budget.spent, budget.released, budget.remaining, budget.affordable) == (None, None, None, None)
    assert (found.clients, found.opinions) == ((), ())
    assert all(release.seq < unread for release in found.releases)
    assert [each.seq for each in found.releases] == [each.seq for each in whole.releases if each.seq < unread]


def test_a_ledger_that_is_read_to_its_end_keeps_its_figures_though_it_is_refuted(path: Path) -> None:
    with Ledger.read(path) as ledger:
        whole, other = ledger.state(), Known(signer=bytes(32))
        found = ledger.state(other)
    assert (found.verdict.verdict, found.verdict.unread) == ("refuted", None)
    assert found.budgets == whole.budgets


def test_a_stray_opening_beside_the_first_entry_is_a_named_error(path: Path) -> None:
    edit(path, "INSERT INTO opening SELECT 0, position, pseudonym, salt FROM opening WHERE seq = 3")
    with Ledger.read(path) as ledger, pytest.raises(Corrupt, match="entry 0 has openings"):
        ledger.state()


def test_a_file_without_a_first_entry_states_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 1)
    edit(path, "DELETE FROM entry")
    with Ledger.read(path) as ledger, pytest.raises(Corrupt, match="no GENESIS"):
        ledger.state()


# --- audits in the ledger ---------------------------------------------------------------------------------


def test_a_finding_is_kept_as_it_stands_and_a_wrong_one_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        head = ledger.audit(FINDING)
        assert ledger._log.history.audits == {head.seq: FINDING}
        assert ledger.verify().ok
        ledger_id, last = ledger.pin().ledger_id, ledger.head()
    store = Store.open(path, 1.0)
    body = {**FINDING.to_body(), "hypotheses": 2, "clock": 0}
    with store.writing():
        signer = Signer(read_key(beside(path, ".key")).seed)
        store.append(link(ledger_id, signer, last, Kind.AUDIT, body))
    store.close()
    with Ledger.read(path) as ledger:
        [problem] = ledger.verify().problems
    assert (problem.line, problem.error) == (last.seq + 1, "Corrupt")
    with pytest.raises(BadParameters):
        dataclasses.replace(FINDING, hypotheses=2)


def test_openings_that_do_not_fit_are_the_verdicts_to_name(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(0, cohort=2, members=(b"A", b"B"))), outcome(survivors=2))
    edit(path, "DELETE FROM opening WHERE seq = 2 AND position = 1")
    with Ledger.read(path) as ledger:
        found = ledger.state()
    assert [(each.line, each.error) for each in found.verdict.problems] == [(2, "Corrupt")]
    assert (found.releases, found.budgets[0].spent) == ((), None)


@pytest.mark.parametrize("kinds", [3, 4])
def test_releases_of_many_kinds_are_not_counted_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: int
) -> None:
    monkeypatch.setattr(stating, "MOST_TABLES", 3)
    laws = tuple(LaplaceEvent(10 + kind, 1, 1, 1) for kind in range(kinds))
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        ledger.reserve(charge(0, Composed((*laws, *laws, EVENT))))
        [budget] = ledger.state().budgets
    assert (budget.affordable is None) is (kinds > 3)
