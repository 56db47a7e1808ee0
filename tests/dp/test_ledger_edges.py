"""The rare ways through a ledger: proofs by strangers, events nobody can compute, keys that change hands meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from dp.accountant import Interval
from dp.errors import BadParameters, Corrupt, StorageRefused, UnsupportedEvent
from dp.events import FixedSize, Sampled
from dp.ledger import Ledger, check_proof, clients, exporting, genesis, rotation, session, stating, store, verdict
from dp.ledger.attendance import Attendance
from dp.ledger.chain import Head, Kind, Signer, link
from dp.ledger.checkpoint import budgets_of
from dp.ledger.clients import MerkleProof
from dp.ledger.cohorts import Opening
from dp.ledger.erasing import Run
from dp.ledger.genesis import Beginning
from dp.ledger.history import History
from dp.ledger.opening import only_budget
from dp.ledger.pins import Pin
from dp.ledger.place import Keys, beside, read_key, require_file, write_key
from dp.ledger.session import Owner
from dp.ledger.store import Store
from dp.ledger.terms import Randomness
from dp.ledger.vouching import Witness
from tests.dp.ledger_kit import EVENT, WIDE, budget_for, charge, edit, outcome, write_rounds
from tests.dp.test_ledger_budgets import terms
from tests.dp.test_ledger_clients import client, invites, survives
from tests.dp.test_ledger_damage import Forger, rewrite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


# --- proofs --------------------------------------------------------------------------------------


@pytest.fixture
def proof(path: Path) -> MerkleProof:
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(invites(0, 1, 2, 3, 4)), survives(1, 3))
        return ledger.prove(2, client(1))


def test_a_proof_is_read_as_it_was_written(path: Path, proof: MerkleProof) -> None:
    read = MerkleProof.from_body(proof.to_body())
    assert read == proof
    assert (len(read.path), len(read.after)) == (2, 1)
    with Ledger.read(path) as ledger:
        check_proof(read, ledger.head())


HASH = "00" * 32


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": [HASH]}, "a step of the proof's path must be an object"),
        ({"path": [{"side": "above", "hash": HASH}]}, "unknown side of a path"),
        ({"path": [{"side": "left"}]}, "hash"),
        ({"path": {}}, "must be a list of at most"),
        ({"after": [HASH] * (clients.LONGEST_WAY + 1)}, "must be a list of at most"),
        ({"after": [HASH[2:]]}, "hash"),
        ({"prev": HASH + "00"}, "prev"),
        ({"body": "\ud800"}, "not valid Unicode"),
    ],
)
def test_a_strangers_proof_of_another_form_is_refused_by_name(
    proof: MerkleProof, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadParameters, match=why):
        MerkleProof.from_body({**proof.to_body(), **change})


def test_no_proof_is_longer_than_anybody_reads(path: Path, proof: MerkleProof, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        monkeypatch.setattr(clients, "LONGEST_WAY", 2)
        ledger.note("the last that fits")
        assert len(ledger.prove(2, client(1)).after) == 2
        ledger.note("one too many")
        with pytest.raises(BadParameters, match="more than 2 entries follow entry 2"):
            ledger.prove(2, client(1))


# --- what nobody can compute ---------------------------------------------------------------------


@pytest.fixture
def unprovable(path: Path) -> Path:
    """A budget in a reader's eyes, charged by its key's holder with an event no accountant bounds there."""
    write_rounds(path, 0, budget_for(1))
    forger = Forger(path)
    forger.says(Kind.OPEN_BUDGET, {**forger.entries.pop().fields, "view": "released"})
    forger.reserves(0, charge=charge(0, Sampled(EVENT, FixedSize(1, 2))).to_body())
    rewrite(path, forger.entries)
    return path


def test_a_charge_nobody_can_compute_is_said_to_be_infinite_and_affords_nothing(unprovable: Path) -> None:
    with Ledger.read(unprovable) as ledger:
        [budget] = ledger.state().budgets
    assert budget.spent is not None
    assert (budget.spent.upper, budget.spent.method) == (float("inf"), "no proof: UnsupportedEvent")
    assert budget.affordable == 0


def test_a_replay_says_which_charge_it_cannot_compute(unprovable: Path) -> None:
    with Ledger.read(unprovable) as ledger:
        report = ledger.replay()
    [problem] = [each for each in report.problems if "cannot be computed" in each.message]
    assert (problem.line, problem.error) == (2, "UnsupportedEvent")
    [budget] = report.budgets
    assert (budget.own, budget.opinions) == (None, ())


def test_a_client_of_whom_nothing_can_be_proved_has_no_figure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(invites(0, 1, 2, 3)), survives(1, 2, 3))
        assert [len(each.spent) for each in ledger.state().clients] == [1, 1, 1]

        def unprovable(*of: object) -> Interval:
            raise UnsupportedEvent("nobody has a proof")

        monkeypatch.setattr(stating, "compose", unprovable)
        assert [each.spent for each in ledger.state().clients] == [(), (), ()]


# --- beginnings ----------------------------------------------------------------------------------


def test_a_first_budget_of_another_randomness_is_refused() -> None:
    with pytest.raises(BadParameters, match="another randomness than the ledger"):
        Beginning(Randomness.SYSTEM, terms=only_budget(WIDE, Randomness.INSECURE))


def test_software_that_was_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(genesis, "version", unknown)
    assert genesis.software.__wrapped__() == "secagg, not installed"


def test_a_file_says_whose_it_is_and_in_which_format(path: Path) -> None:
    """The number a file manager or an old version sees is part of the format and never changes."""
    write_rounds(path, 1)
    header = path.read_bytes()[:100]
    assert header.startswith(b"SQLite format 3\0")
    assert header[68:72] == bytes.fromhex("5ec466db")


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="not a regular file; name the ledger file itself"):
        require_file(tmp_path)


def test_the_key_is_on_the_disk_before_anything_says_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, []

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_key(tmp_path / "run.ledger.key", Keys(bytes(32), bytes(32)))
    assert synced == [(tmp_path / "run.ledger.key").stat().st_size]


def test_a_key_followed_by_anything_is_no_key(tmp_path: Path) -> None:
    key = tmp_path / "run.ledger.key"
    write_key(key, Keys(bytes(32), bytes(range(32))))
    assert read_key(key).secret == bytes(range(32))
    with key.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(Corrupt, match="is not a signing key"):
        read_key(key)


def test_a_name_in_a_folder_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match=r"cannot open .*run\.ledger: No such file"):
        session._name_of(tmp_path / "gone" / "run.ledger")


def test_a_file_that_may_not_be_read_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rounds(path, 1)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageRefused, match="may not be read by this user; run as its owner"):
        require_file(path)


# --- entries against the rules -------------------------------------------------------------------


@pytest.fixture
def forger(path: Path) -> Forger:
    write_rounds(path, 1, budget_for(2))
    return Forger(path)


@pytest.mark.parametrize("budget", [0, 2, 9])
def test_only_a_budget_that_is_open_is_closed(forger: Forger, budget: int) -> None:
    forger.says(Kind.CLOSE_BUDGET, {"budget": budget, "reason": "x", "clock": 0})
    [problem] = forger.verdict().problems
    assert (problem.line, f"entry {budget} opened no budget" in problem.message) == (4, True)


def test_nobody_survives_by_name_where_nobody_was_named(forger: Forger) -> None:
    body = {"reserve": 4, "clock": 0, **outcome().to_body(), "named": HASH}
    forger.reserves(1).says(Kind.COMMIT, body)
    [problem] = forger.verdict().problems
    assert (problem.line, "nobody was named when they were invited" in problem.message) == (5, True)


def test_no_key_follows_where_none_was() -> None:
    with pytest.raises(BadParameters, match="no key was in use"):
        History()._rotate_key(1, {})


@pytest.mark.parametrize("listed", ["text", 5, [1], [{}, "x"]])
def test_a_state_that_is_no_list_of_objects_is_refused(listed: Any) -> None:
    with pytest.raises(BadParameters, match="budgets is not a list of objects"):
        budgets_of({"budgets": listed})


def test_a_checkpoint_resumes_only_the_reservations_it_names(path: Path) -> None:
    write_rounds(path, 1)
    forger = Forger(path).reserves(1).reserves(2)
    whole = History()
    for entry in forger.entries:
        whole.apply(entry)
    forger.says(Kind.CHECKPOINT, {**whole.state(), "clock": 0})
    for held, fits in ((lambda seq: forger.entries[seq], True), (lambda seq: forger.entries[seq - 1], False)):
        resumed = History()
        resumed.apply(forger.entries[0])
        if fits:
            resumed.resume(forger.entries[-1], held)
            assert list(resumed.open) == [4, 5]
        else:
            with pytest.raises(BadParameters, match="entry 4 is not the reservation that was open"):
                resumed.resume(forger.entries[-1], held)


def test_a_limit_is_judged_whenever_its_budget_changed_and_not_otherwise(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger.create(path) as ledger:
        first, second = (ledger.open_budget(terms(dataset=name)) for name in ("a", "b"))
        ledger.abort(ledger.reserve(charge(0, dataset="a")), "nobody came")
        ledger.commit(ledger.reserve(charge(1, dataset="a")), outcome())
    judged = []
    real = verdict._Examination.check_limit
    monkeypatch.setattr(
        verdict._Examination, "check_limit", lambda self, seq, state: (judged.append(state.id), real(self, seq, state))
    )
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
    assert judged == [first, second, first]


def test_a_closed_budget_is_no_reason_for_a_charge_it_never_covered(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(dataset="clients"))
        ledger.close_budget("over")
        with pytest.raises(BadParameters, match="no open budget is for data set 'others'"):
            ledger.reserve(charge(0, dataset="others"))


def test_a_ledger_without_erasures_has_erased_nothing(path: Path) -> None:
    write_rounds(path, 1)
    with Ledger.read(path) as ledger:
        found = ledger.state()
    assert (found.erased.openings, found.erased.rounds) == (0, 0)


def test_where_not_everything_was_read_nothing_is_said_of_erasures(path: Path) -> None:
    write_rounds(path, 2)
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 4")
    with Ledger.read(path) as ledger:
        found = ledger.state()
    assert (found.verdict.unread, found.erased.openings, found.erased.rounds) == (4, 0, 0)


def test_nobody_survives_without_a_plan_and_that_is_written_down(path: Path) -> None:
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(0)), outcome(survivors=0))
        assert ledger.verify().ok


def test_what_is_spent_before_it_shrinks_is_judged_at_the_entry_before(forger: Forger) -> None:
    for number in range(1, 4):
        forger.reserves(number)
    forger.ends(Kind.ABORT, 6)
    found = [(problem.line, problem.error) for problem in forger.verdict().problems]
    # Before the abort shrinks it, and again at the end.
    assert found == [(6, "BudgetExceeded"), (7, "BudgetExceeded")]


def test_a_pin_of_a_long_ledger_is_read_as_it_was_written() -> None:
    signer, ledger_id = Signer(bytes(32)), bytes(16)
    for seq in (0, 1000, 2**63 - 1):
        entry = link(ledger_id, signer, Head(seq, bytes(32), bytes(64)), Kind.NOTE, {"text": "x", "clock": 0})
        pin = Pin(ledger_id, signer.public, replace(entry.head, seq=seq))
        assert Pin.from_bytes(pin.to_bytes()) == pin


def test_openings_beside_no_entry_at_all_are_corrupt() -> None:
    with pytest.raises(Corrupt, match="entry 0 has openings beside it, but names nobody"):
        Attendance().learn(History(), [Opening(0, 0, bytes(32), bytes(16))])


@pytest.mark.parametrize(
    "made",
    [
        lambda number: Owner("00" * 16, number // 2**32),
        lambda number: Witness(number, bytes(32), bytes(64)),
        lambda number: Run(number, 0, 0),
    ],
    ids=["owner", "witness", "run"],
)
def test_numbers_go_as_far_as_the_file_keeps_them(made: Callable[[int], object]) -> None:
    assert made(2**63 - 1)
    for none in (2**63, -(2**33)):
        with pytest.raises((BadParameters, Corrupt)):
            made(none)


@pytest.mark.parametrize("seq", [-1, 2**63])
def test_an_export_numbers_entries_as_a_ledger_does(seq: int) -> None:
    with pytest.raises(BadParameters, match="no entry or opening has such a number"):
        exporting._line_of({"seq": seq, "kind": "NOTE"})


def test_what_replaces_a_file_is_on_the_disk_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "run.ledger", []
    write_rounds(path, 1)
    for module in (rotation, exporting):
        monkeypatch.setattr(module, "sync_directory", synced.append)
    with Ledger.open(path) as ledger:
        ledger.rotate_key()
        # Once when the next key is prepared, and once when it has taken its place.
        assert synced == [tmp_path, tmp_path]
        ledger.export(tmp_path / "lines")
    synced.clear()
    Ledger.import_lines(tmp_path / "lines", tmp_path / "back.ledger")
    assert synced == [tmp_path]


def test_stray_openings_are_named_by_their_entry(path: Path) -> None:
    write_rounds(path, 1)
    edit(path, f"INSERT INTO opening VALUES (9, 0, X'{HASH}', X'{HASH[:32]}')")
    with Ledger.read(path) as ledger:
        found = ledger.verify()
    assert [(each.line, each.error) for each in found.problems] == [(9, "Corrupt")]
    assert "entry 9 is not there" in found.problems[0].message


# --- readers -------------------------------------------------------------------------------------


def test_a_reader_settles_nothing(path: Path) -> None:
    write_rounds(path, 1)
    with Ledger.read(path) as ledger, pytest.raises(StorageRefused, match="read"):
        ledger.settle()


def test_a_tail_that_cannot_be_merged_is_no_ledger_without_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rounds(path, 1)

    def refused(cls: type[Store], path: Path, mode: str, timeout_seconds: float) -> Store:
        raise StorageRefused(f"{mode} is not allowed here")

    monkeypatch.setattr(Store, "_read", classmethod(refused))
    with pytest.raises(StorageRefused, match="ro&immutable=1 is not"):
        Store.read(path, 1.0)
    beside(path, "-wal").write_bytes(b"x")
    with pytest.raises(StorageRefused, match=r"^ro is not"):
        Store.read(path, 1.0)


def test_a_moment_that_was_given_up_is_over(path: Path) -> None:
    write_rounds(path, 1)
    store = Store.read(path, 1.0)
    with store.one_moment():
        store._live().execute("ROLLBACK")
    assert not store._live().in_transaction
    store.close()


def test_a_child_is_left_the_connections_that_are_open_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rounds(path, 1)
    opened, closed = Store.read(path, 1.0), Store.read(path, 1.0)
    connection = opened._live()
    closed.close()
    monkeypatch.setattr(store, "_open_stores", {opened, closed})
    monkeypatch.setattr(store, "left_by_parent", left := [])
    store._leave_to_parent()
    assert [each for _, each in left] == [connection]
    assert store._open_stores == set()
    opened.close()


# --- keys that change hands ----------------------------------------------------------------------


def test_a_new_key_beside_a_ledger_that_nobody_signs_with_changes_nothing(path: Path) -> None:
    write_rounds(path, 1)
    stranger = Keys(hashlib.sha256(b"stranger").digest(), bytes(32))
    write_key(beside(path, rotation.NEXT), stranger)
    with pytest.raises(Corrupt, match="signed by another key than the one beside it"):
        rotation.keys_of(path, lambda: Signer(bytes(32)).public, 1.0)
    assert read_key(beside(path, rotation.NEXT)) == stranger
