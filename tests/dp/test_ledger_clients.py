"""Cohorts and clients: who was in which round, what each has spent, what it is shown, and what erasing leaves."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountant import Budget, View
from dp.errors import (
    BadParameters,
    BadReservation,
    BudgetExceeded,
    ConflictingCharge,
    Corrupt,
    Erased,
    LedgerError,
    Locked,
    StorageRefused,
)
from dp.events import GaussianEvent, Poisson, Repeated, Sampled
from dp.ledger import Ledger, Outcome, Standing, check_proof, log
from dp.ledger.attendance import fullest, require_openings
from dp.ledger.chain import Kind, Signer, link
from dp.ledger.charge import Charge, Scope
from dp.ledger.cohorts import Opening, Pseudonyms, cohort_of
from dp.ledger.merkle import leaf_hash, root_of
from dp.ledger.place import beside, read_key
from dp.ledger.records import Named
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, budget_for, charge, edit, epsilon_of
from tests.dp.test_ledger_budgets import terms
from tests.dp.test_ledger_damage import rewrite

WEAKER = GaussianEvent(sigma2=30_000, l2_squared=100, d=10, components=20, draws=200)


def client(number: int) -> bytes:
    """The identity key of one client."""
    return hashlib.sha256(b"client %d" % number).digest()


def invites(number: int, *clients: int, **other: object) -> Charge:
    """The charge of a round that names its cohort."""
    return charge(number, cohort=len(clients), members=tuple(map(client, clients)), **other)  # type: ignore[arg-type]


def survives(*clients: int, event: object = EVENT) -> Outcome:
    return Outcome(len(clients), event, b"\x07" * 32, named=tuple(map(client, clients)))  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, WIDE) as opened:
        yield opened


def fields(ledger: Ledger, seq: int) -> dict[str, object]:
    return json.loads(next(entry.body for entry in ledger.entries() if entry.seq == seq))  # type: ignore[no-any-return]


# --- what is written -----------------------------------------------------------------------------


def test_a_pseudonym_is_an_hmac_that_only_the_key_file_can_repeat(path: Path, ledger: Ledger) -> None:
    secret = read_key(beside(path, ".key")).secret
    expected = hmac.new(secret, b"secagg/v1/ledger/pseudonym" + client(3), hashlib.sha256).digest()
    assert ledger.pseudonym(client(3)) == expected
    with Ledger.open(path.with_name("other"), WIDE) as other:
        assert other.pseudonym(client(3)) != expected
    with Ledger.read(path) as reader:
        for asked in (reader.pseudonym, reader.client, lambda who: reader.prove(2, who)):
            with pytest.raises(StorageRefused, match="opened for reading"):
                asked(client(3))


def test_the_entry_holds_the_root_over_the_openings_and_no_name(path: Path, ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(invites(0, 5, 1, 3)), survives(3, 1))
    openings = ledger._log.store.openings_of(2)
    assert [opening.pseudonym for opening in openings] == sorted(map(ledger.pseudonym, map(client, (5, 1, 3))))
    assert [opening.position for opening in openings] == [0, 1, 2]
    assert len({opening.salt for opening in openings}) == 3
    root = root_of([leaf_hash(opening.salt, opening.pseudonym) for opening in openings])
    assert fields(ledger, 2)["members"] == root.hex()
    assert len(ledger._log.store.openings_of(3)) == 2
    raw = path.read_bytes() + beside(path, "-wal").read_bytes()
    for number in (1, 3, 5):
        assert client(number) not in raw
        assert client(number).hex().encode() not in raw
    assert ledger.verify().ok


def test_a_charge_that_names_nobody_says_so_by_silence(ledger: Ledger) -> None:
    ledger.reserve(charge(0))
    assert "members" not in fields(ledger, 2)
    with pytest.raises(BadParameters, match="entry 2 names nobody"):
        ledger.prove(2, client(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": (client(0),), "cohort": 2},
        {"members": (client(0), client(0)), "cohort": 2},
        {"members": (b"",), "cohort": 1},
        {"members": (b"x" * 257,), "cohort": 1},
        {"members": ("name",), "cohort": 1},
        {"members": [client(0)], "cohort": 1},
    ],
    ids=["too few", "twice", "empty", "long", "text", "list"],
)
def test_a_cohort_that_is_none_is_refused_on_construction(wrong: dict[str, object]) -> None:
    with pytest.raises(BadParameters):
        charge(0, EVENT, **wrong)


def test_survivors_must_have_been_invited_by_name(ledger: Ledger) -> None:
    held = ledger.reserve(invites(0, 1, 2, 3))
    with pytest.raises(BadParameters, match="not invited"):
        ledger.commit(held, survives(1, 4))
    unnamed = ledger.reserve(charge(1))
    with pytest.raises(BadParameters, match="nobody was named"):
        ledger.commit(unnamed, survives(1))
    ledger.commit(held, survives(1, 2))
    assert ledger.verify().ok


def test_the_same_charge_again_is_the_same_reservation_only_with_the_same_members(ledger: Ledger) -> None:
    held = ledger.reserve(invites(0, 1, 2))
    assert ledger.reserve(invites(0, 2, 1)) == held
    for other in (invites(0, 1, 3), charge(0, cohort=2)):
        with pytest.raises(ConflictingCharge):
            ledger.reserve(other)
    unnamed = ledger.reserve(charge(1, cohort=2))
    assert ledger.reserve(charge(1, cohort=2)) == unnamed
    with pytest.raises(ConflictingCharge):
        ledger.reserve(invites(1, 1, 2))


def test_the_same_outcome_again_is_the_same_head_only_with_the_same_survivors(ledger: Ledger) -> None:
    held = ledger.reserve(invites(0, 1, 2, 3))
    head = ledger.commit(held, survives(1, 2))
    assert ledger.commit(held, survives(2, 1)) == head
    with pytest.raises(BadReservation, match="already committed"):
        ledger.commit(held, survives(1, 3))


# --- what a client has spent ---------------------------------------------------------------------


def test_a_client_has_spent_the_rounds_it_was_invited_to(ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(invites(0, 1, 2)), survives(1))
    ledger.commit(ledger.reserve(invites(1, 1, 3)), survives(1, 3))
    ledger.abort(ledger.reserve(invites(2, 1, 2)), "nobody came")
    ledger.forfeit(ledger.reserve(invites(3, 2, 3)), "server stopped")
    one, two, nobody = (ledger.client(client(number)) for number in (1, 2, 9))
    assert (one.pseudonym, one.invited, one.survived) == (ledger.pseudonym(client(1)), (2, 4), (2, 4))
    assert (two.invited, two.survived) == ((2, 8), ())
    assert [(budget, Fraction(spent.upper)) for budget, spent in one.spent] == [(1, epsilon_of(Repeated(EVENT, 2)))]
    assert one.remaining == ((1, ledger.remaining()),)
    assert (nobody.invited, nobody.survived, nobody.spent) == ((), (), ())
    assert {record.pseudonym for record in ledger.clients()} == set(map(ledger.pseudonym, map(client, (1, 2, 3))))


def test_it_is_unsaid_who_survived_where_a_round_did_not_say_it(ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(invites(0, 1, 2)), Outcome(2, EVENT, bytes(32)))
    ledger.reserve(invites(1, 2, 3))
    assert ledger.client(client(1)).survived is None
    assert ledger.client(client(3)).survived == ()


def test_a_reader_without_the_key_sees_every_client_under_its_pseudonym(path: Path, ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(invites(0, 1, 2)), survives(1, 2))
    with Ledger.read(path) as reader:
        assert reader.clients() == ledger.clients()
        assert len(reader.clients()) == 2


@pytest.mark.slow
def test_figures_of_a_long_training_with_rare_cohorts(path: Path) -> None:
    """q = 0.01, noise multiplier 0.8, 500 rounds, delta 1e-5: three figures known from the literature's accountants."""
    sampled = Sampled(GaussianEvent.for_multiplier(0.8), Poisson(Fraction(1, 100)))
    with Ledger.create(path) as ledger:
        reader = ledger.open_budget(terms(Budget(Fraction("2.4"), DELTA, RELATION), view=View.RELEASED))
        server = ledger.open_budget(terms(Budget(2000, DELTA, RELATION), scope=Scope.EACH))
        seen = Counter({5: 5, 16: 16})
        for number in range(16):
            present = [who for who, times in seen.items() if number < times]
            ledger.commit(ledger.reserve(invites(number, *present, event=sampled)), survives(*present, event=sampled))
        rest = Repeated(sampled, 484)
        ledger.commit(ledger.reserve(invites(16, 484, event=rest)), survives(484, event=rest))
        assert ledger.interval(reader).upper == pytest.approx(2.399, abs=5e-4)
        assert ledger.interval_released(reader).upper == pytest.approx(2.399, abs=5e-4)
        for who, known in ((5, 15.22), (16, 33.10)):
            spent = dict(ledger.client(client(who)).spent)
            assert spent[server].upper == pytest.approx(known, abs=5e-3)
            # Whatever the viewer of a budget knows, the server knows the cohorts.
            assert spent[reader].upper == pytest.approx(known, abs=5e-3)


# --- a limit for each client ---------------------------------------------------------------------


@pytest.fixture
def each(path: Path) -> Iterator[Ledger]:
    """A ledger whose clients may be in two rounds each."""
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(budget_for(2), scope=Scope.EACH))
        yield ledger


def test_each_client_has_its_own_limit_and_only_who_reached_it_is_refused(each: Ledger) -> None:
    for number, cohort in enumerate([(1, 2), (2, 3), (3, 4), (4, 5)]):
        each.reserve(invites(number, *cohort))
    before = list(each.entries())
    with pytest.raises(BudgetExceeded, match="for each client"):
        each.reserve(invites(9, 1, 2))
    assert list(each.entries()) == before
    each.reserve(invites(4, 1, 5))
    assert Fraction(each.interval().upper) == epsilon_of(Repeated(EVENT, 2))
    assert (each.remaining(), each.affords(EVENT)) == (0, True)
    assert each.verify().ok


def test_who_may_be_invited_again_is_told_beforehand(each: Ledger) -> None:
    each.reserve(invites(0, 1, 2))
    each.reserve(invites(1, 2, 3))
    asked = list(map(client, range(5)))
    assert each.eligible(None, asked, EVENT) == tuple(map(client, (0, 1, 3, 4)))
    assert each.eligible(1, asked, Repeated(EVENT, 2)) == (client(0), client(4))
    assert each.eligible(1, asked, Repeated(EVENT, 3)) == ()
    each.abort(each.reserve(invites(2, 1, 4)), "nobody came")
    assert client(1) in each.eligible(1, asked, EVENT)
    assert each.remaining() == 0


def test_a_closed_limit_invites_nobody_and_one_for_everyone_treats_all_alike(ledger: Ledger) -> None:
    asked = list(map(client, range(3)))
    assert ledger.eligible(None, asked, EVENT) == tuple(asked)
    ledger.close_budget("done")
    assert ledger.eligible(None, asked, EVENT) == ()


def test_a_limit_for_each_client_needs_to_know_who_is_invited(each: Ledger) -> None:
    with pytest.raises(BadParameters, match="give the charge its members"):
        each.reserve(charge(0))
    assert each.head().seq == 1


def test_limits_for_everyone_and_for_each_are_charged_together(each: Ledger) -> None:
    all_of_them = each.open_budget(terms(budget_for(3)))
    each.reserve(invites(0, 1, 2))
    each.reserve(invites(1, 3, 4))
    each.reserve(invites(2, 5, 6))
    assert Fraction(each.interval(1).upper) == epsilon_of(EVENT)
    assert Fraction(each.interval(all_of_them).upper) == epsilon_of(Repeated(EVENT, 3))
    with pytest.raises(BudgetExceeded, match=f"budget {all_of_them}"):
        each.reserve(invites(3, 7, 8))
    assert client(7) in each.eligible(1, [client(7)], EVENT)
    left = dict(each.client(client(1)).remaining)
    assert left == {1: each.terms.budget.epsilon - epsilon_of(EVENT), all_of_them: 0}


def test_limits_hold_after_opening_again_and_in_other_processes(path: Path, each: Ledger) -> None:
    each.commit(each.reserve(invites(0, 1, 2)), survives(1, 2))
    with Ledger.open(path) as other:
        other.commit(other.reserve(invites(1, 1, 3)), survives(1, 3))
    with pytest.raises(BudgetExceeded):
        each.reserve(invites(2, 1, 4))
    assert each.client(client(1)).invited == (2, 4)


def test_a_round_charged_meanwhile_to_the_same_client_is_seen(
    path: Path, each: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, turns = each._admission.admit, []

    def meanwhile(*arguments: object) -> object:
        prices = real(*arguments)  # type: ignore[arg-type]
        if len(turns) < 2:
            turns.append(1)
            with Ledger.open(path) as other:
                other.reserve(invites(100 + len(turns), 1, 2))
        return prices

    monkeypatch.setattr(each._admission, "admit", meanwhile)
    with pytest.raises(BudgetExceeded):
        each.reserve(invites(0, 1, 3))


def test_the_key_holder_cannot_overspend_one_client_unseen(path: Path) -> None:
    """Three rounds of one client, each legal by itself: what `verify` says of the third."""
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(budget_for(3), scope=Scope.EACH))
        for number in range(3):
            ledger.commit(ledger.reserve(invites(number, 1, 2 + number)), survives(1))
    forge_limit(path, budget_for(2))
    with Ledger.read(path) as ledger:
        assert [(problem.line, problem.error) for problem in ledger.verify().problems] == [
            (6, "BudgetExceeded"),
            (7, "BudgetExceeded"),
        ]


def forge_limit(path: Path, budget: Budget) -> None:
    """Signs the same history anew under a smaller limit, as the holder of the key could."""
    signer = Signer(read_key(beside(path, ".key")).seed)
    with Ledger.read(path) as ledger:
        entries = list(ledger.entries())
    forged = entries[:1]
    ledger_id = bytes.fromhex(entries[0].fields["ledger_id"])  # type: ignore[arg-type]
    for entry in entries[1:]:
        body = entry.fields
        if entry.kind == Kind.OPEN_BUDGET:
            body = {**body, "epsilon": f"{budget.epsilon.numerator}/{budget.epsilon.denominator}"}
        forged.append(link(ledger_id, signer, forged[-1].head, Kind(entry.kind), body))
    rewrite(path, forged)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=8))
def test_the_fullest_counts_contain_all_others_and_none_another(drawn: list[dict[str, int]]) -> None:
    profiles = [Counter(each) for each in drawn]
    kept = fullest(profiles)  # type: ignore[arg-type]
    assert all(any(each <= other for other in kept) for each in profiles)  # type: ignore[operator]
    assert not any(one <= other for one, other in itertools.permutations(kept, 2))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=3), max_size=8))
def test_no_client_is_ever_charged_above_its_limit(
    tmp_path_factory: pytest.TempPathFactory, cohorts: list[set[int]]
) -> None:
    """Against a plain count of rounds."""
    seen: Counter[int] = Counter()
    with Ledger.create(tmp_path_factory.mktemp("each") / "run.ledger") as ledger:
        ledger.open_budget(terms(budget_for(2), scope=Scope.EACH))
        for number, cohort in enumerate(cohorts):
            fits = all(seen[who] < 2 for who in cohort)
            eligible = ledger.eligible(None, map(client, cohort), EVENT)
            assert len(eligible) == sum(seen[who] < 2 for who in cohort)
            try:
                ledger.reserve(invites(number, *cohort))
            except BudgetExceeded:
                assert not fits
            else:
                assert fits
                seen.update(cohort)
        assert ledger.verify().ok
        assert Fraction(ledger.interval().upper) == (
            epsilon_of(Repeated(EVENT, max(seen.values()))) if seen else Fraction(0)
        )


# --- openings edited behind our back -------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("DELETE FROM opening WHERE seq = 2 AND position = 1", 2),
        ("DELETE FROM opening WHERE seq = 2", 2),
        ("DELETE FROM opening WHERE seq = 3", 3),
        ("UPDATE opening SET salt = zeroblob(16) WHERE seq = 2 AND position = 0", 2),
        ("UPDATE opening SET pseudonym = zeroblob(32) WHERE seq = 3 AND position = 0", 3),
        ("UPDATE opening SET salt = x'' WHERE seq = 2 AND position = 0", 2),
        ("UPDATE opening SET salt = zeroblob(15) WHERE seq = 2 AND position = 0", 2),
        ("UPDATE opening SET position = 7 WHERE seq = 2 AND position = 2", 2),
        ("UPDATE opening SET seq = 4 WHERE seq = 2 AND position = 2", 2),
        ("INSERT INTO opening VALUES (2, 3, zeroblob(32), zeroblob(16))", 2),
        ("INSERT INTO opening VALUES (1, 0, zeroblob(32), zeroblob(16))", 1),
    ],
)
def test_openings_that_are_not_those_of_the_entry_are_found_at_its_line(path: Path, statement: str, line: int) -> None:
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(scope=Scope.EACH))
        ledger.commit(ledger.reserve(invites(0, 1, 2, 3)), survives(1, 2))
        ledger.note("done")
    edit(path, statement)
    with Ledger.open(path) as ledger:
        assert [(problem.line, problem.error) for problem in ledger.verify().problems] == [(line, "Corrupt")]
        with pytest.raises(Corrupt) as wrong:
            ledger.reserve(invites(1, 1))
        assert wrong.value.seq == line


def test_a_bit_flipped_anywhere_never_gives_a_client_a_wrong_account(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(scope=Scope.EACH))
        for number in range(3):
            ledger.commit(ledger.reserve(invites(number, 1, 2, 3 + number)), survives(1, 2))
        expected = ledger.clients()
    raw, refused, right = path.read_bytes(), 0, 0
    for at in range(0, len(raw), 97):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        try:
            with Ledger.read(path) as reader:
                found = reader.clients()
        except LedgerError:
            refused += 1
        else:
            assert found == expected
            right += 1
    assert min(refused, right) > 0


def test_a_cohort_larger_than_any_list_is_refused_without_counting_to_it() -> None:
    with pytest.raises(Corrupt, match="names 4611686018427387904, but 0 openings"):
        require_openings(Named(2, 2, bytes(32), 2**62), [])


def test_rows_cannot_be_changed_by_accident_but_taken_out(path: Path, ledger: Ledger) -> None:
    ledger.reserve(invites(0, 1, 2))
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        connection.execute("UPDATE opening SET salt = zeroblob(16)")
    connection.execute("DELETE FROM opening")
    connection.rollback()
    connection.close()


# --- proofs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 34))
def test_every_member_of_a_cohort_can_be_proved(tmp_path: Path, size: int) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        seq = ledger.reserve(invites(0, *range(size))).seq
        ledger.note("later")
        for who in range(size):
            proof = ledger.prove(seq, client(who))
            check_proof(proof, ledger.head())
            assert proof.pseudonym == ledger.pseudonym(client(who))
        with pytest.raises(BadParameters, match="does not name this client"):
            ledger.prove(seq, client(size))


def test_a_proof_holds_under_every_head_from_its_entry_on_and_under_no_other(path: Path, ledger: Ledger) -> None:
    heads = [ledger.head()]
    held = ledger.reserve(invites(0, 1, 2, 3))
    heads.append(ledger.head())
    heads.append(ledger.commit(held, survives(1, 2)))
    invited, survived = ledger.prove(2, client(1)), ledger.prove(3, client(1))
    for head in heads[1:]:
        check_proof(invited, head)
    check_proof(survived, heads[2])
    newer = ledger.note("later")
    for proof, head in ((invited, heads[0]), (survived, heads[1]), (invited, newer)):
        with pytest.raises(BadParameters, match="the proof leads from entry"):
            check_proof(proof, head)
    check_proof(ledger.prove(2, client(1)), newer)
    with Ledger.open(path.with_name("other"), WIDE) as other:
        other.reserve(invites(0, 1, 2, 3))
        with pytest.raises(Corrupt, match="not in the ledger with this head"):
            check_proof(invited, other.head())
    with pytest.raises(BadParameters, match="does not name this client"):
        ledger.prove(3, client(3))


def test_a_proof_that_was_changed_anywhere_proves_nothing(ledger: Ledger) -> None:
    ledger.reserve(invites(0, *range(5)))
    head = ledger.note("later")
    # The middle of the list, where every path is three steps long.
    _, one, two, *_ = sorted(map(client, range(5)), key=ledger.pseudonym)
    good, other = ledger.prove(2, one), ledger.prove(2, two)
    check_proof(good, head)
    for changed in (
        replace(good, ledger_id=bytes(16)),
        replace(good, seq=3, after=()),
        replace(good, kind="COMMIT"),
        replace(good, prev=bytes(32)),
        replace(good, body=good.body.replace(b'"cohort":5', b'"cohort":6')),
        replace(good, position=other.position),
        replace(good, pseudonym=other.pseudonym),
        replace(good, salt=bytes(16)),
        replace(good, salt=b""),
        replace(good, path=other.path),
        replace(good, path=good.path[:-1]),
        replace(good, path=good.path[::-1]),
        replace(good, path=good.path * 30),
        replace(good, position=-1),
        replace(good, after=(bytes(32),)),
        # A node passed as a leaf: the pair below it as salt and content, with the path that is left.
        replace(good, salt=good.path[0].hash[:16], pseudonym=good.path[0].hash[16:], path=good.path[1:]),
    ):
        with pytest.raises(Corrupt):
            check_proof(changed, head)


def test_an_entry_that_names_nobody_proves_nothing(ledger: Ledger) -> None:
    ledger.reserve(invites(0, 1))
    head = ledger.note("later")
    entry = list(ledger.entries())[3]
    good = ledger.prove(2, client(1))
    note = replace(good, seq=3, kind=entry.kind, prev=entry.prev, body=entry.body, after=())
    with pytest.raises(Corrupt, match="names nobody"):
        check_proof(note, head)


def test_a_proof_can_be_written_down(ledger: Ledger) -> None:
    ledger.reserve(invites(0, 1, 2))
    proof = ledger.prove(2, client(1))
    written = json.loads(json.dumps(proof.to_body()))
    assert written["pseudonym"] == proof.pseudonym.hex()
    assert written["path"] == [{"side": step.side.value, "hash": step.hash.hex()} for step in proof.path]
    assert bytes.fromhex(written["salt"]) == proof.salt


# --- erasure -------------------------------------------------------------------------------------


def two_rounds(ledger: Ledger) -> None:
    ledger.commit(ledger.reserve(invites(0, 1, 2, 3)), survives(1, 2))
    ledger.commit(ledger.reserve(invites(1, 2, 3, 4)), survives(2, 4))


def test_an_erased_round_answers_erased_and_everything_else_still_holds(ledger: Ledger) -> None:
    two_rounds(ledger)
    before, spent = ledger.head(), ledger.interval()
    assert ledger.erase(2) == 3
    for who in (1, 2, 3, 9):
        with pytest.raises(Erased):
            ledger.prove(2, client(who))
    check_proof(ledger.prove(3, client(1)), ledger.head())
    check_proof(ledger.prove(4, client(2)), ledger.head())
    assert ledger.interval() == spent
    assert ledger.verify().ok
    assert ledger.verify().entries == before.seq + 2
    assert list(ledger.entries())[-1].kind == Kind.ERASE
    assert fields(ledger, before.seq + 1)["openings"] == [[2, 0, 2]]
    assert ledger.verify().erased == 3
    assert ledger.erase(2) == 0
    assert ledger.head().seq == before.seq + 1


def test_an_erased_client_is_gone_and_the_proofs_of_the_others_stay(path: Path, ledger: Ledger) -> None:
    two_rounds(ledger)
    name = ledger.pseudonym(client(2))
    assert ledger.erase(name) == 4
    for seq in (2, 3, 4, 5):
        with pytest.raises(Erased):
            ledger.prove(seq, client(2))
    for seq, who in ((2, 1), (2, 3), (3, 1), (4, 4), (5, 4)):
        check_proof(ledger.prove(seq, client(who)), ledger.head())
    assert name not in {record.pseudonym for record in ledger.clients()}
    assert ledger.client(client(2)).invited == ()
    assert ledger.verify().ok
    with Ledger.open(path) as again:
        assert again.verify().ok
        assert len(again.clients()) == 3


@pytest.mark.parametrize("size", [3, 300])
def test_what_was_erased_is_nowhere_in_the_files(path: Path, size: int) -> None:
    with Ledger.open(path, WIDE) as ledger:
        ledger.commit(ledger.reserve(invites(0, *range(size))), survives(*range(size)))
        name = ledger.pseudonym(client(1))
        salts = [each.salt for each in ledger._log.store.openings() if each.pseudonym == name]
        kept = ledger.pseudonym(client(2))

        def raw() -> bytes:
            return b"".join(file.read_bytes() for file in path.parent.iterdir())

        assert all(secret in raw() for secret in (name, *salts))
        assert ledger.erase(name) == 2
        assert not any(secret in raw() for secret in (name, *salts))
        assert kept in raw()
    assert not any(secret in raw() for secret in (name, *salts))


def test_erasing_waits_for_readers_by_name_and_can_be_done_again(path: Path) -> None:
    with Ledger.open(path, WIDE, timeout_seconds=0.01) as ledger:
        two_rounds(ledger)
        name = ledger.pseudonym(client(2))
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entry").fetchone()
        with pytest.raises(Locked, match="erase again"):
            ledger.erase(name)
        reader.execute("ROLLBACK")
        reader.close()
        assert ledger.erase(name) == 0
        assert name not in path.read_bytes() + beside(path, "-wal").read_bytes()


def test_a_round_that_is_still_open_is_not_erased(ledger: Ledger) -> None:
    ledger.reserve(invites(0, 1, 2))
    for of in (2, ledger.pseudonym(client(1))):
        with pytest.raises(BadReservation, match="end them"):
            ledger.erase(of)
    for wrong in (b"short", "name", None, True, -1, 2**63):
        with pytest.raises(BadParameters):
            ledger.erase(wrong)  # type: ignore[arg-type]
    assert ledger.erase(77) == 0
    assert ledger.verify().ok


def test_a_finished_round_stays_finished_when_it_was_erased(ledger: Ledger) -> None:
    two_rounds(ledger)
    ledger.erase(2)
    with pytest.raises(BadReservation, match="already committed"):
        ledger.reserve(invites(0, 1, 2, 3))
    assert ledger.standing(invites(0, 1, 2, 3)) is Standing.COMMITTED


def test_an_erased_client_gets_no_second_limit(path: Path, each: Ledger) -> None:
    """Nobody can say whose the erased openings were: such rounds count for all that are not listed in them."""
    for number in range(2):
        each.commit(each.reserve(invites(number, 1, 2 + number)), survives(1))
    assert each.eligible(None, map(client, (1, 2, 3, 4)), EVENT) == tuple(map(client, (2, 3, 4)))
    each.erase(each.pseudonym(client(1)))
    # Listed in one of the two rounds, absent from the list of the other: both may have been theirs.
    assert each.eligible(None, map(client, (1, 2, 3, 4)), EVENT) == ()
    with pytest.raises(BudgetExceeded):
        each.reserve(invites(7, 1))
    assert not each.affords(EVENT)
    assert each.verify().ok
    with Ledger.open(path) as again:
        assert again.eligible(None, map(client, (1, 2, 3, 4)), EVENT) == ()


def test_erasing_accuses_nobody_of_overspending(each: Ledger) -> None:
    for number in range(4):
        each.commit(each.reserve(invites(number, 10 + number, 20 + number // 2)), survives(10 + number))
    for who in (10, 11, 12, 13):
        each.erase(each.pseudonym(client(who)))
    assert each.interval().upper > float(each.terms.budget.epsilon)
    assert each.remaining() == 0
    # Four rounds of four clients, or of one that was in all: nobody can tell, and nobody is accused.
    verdict = each.verify()
    assert [(found.line, found.error) for found in verdict.problems] == [(each.head().seq, "Unverifiable")]
    assert "in 4 rounds of budget 1 openings were erased" in verdict.problems[0].message


def test_a_copy_made_before_keeps_what_it_had(path: Path, ledger: Ledger) -> None:
    two_rounds(ledger)
    copy = path.with_name("copy")
    ledger._log.store.forget()
    shutil.copy(path, copy)
    ledger.erase(2)
    with Ledger.read(copy) as older:
        assert older.verify().ok
        assert len(older.clients()) == 4


def test_an_opening_and_its_remainder_have_one_leaf_and_odd_ones_are_refused() -> None:
    opening = Opening(2, 0, bytes(32), b"s" * 16)
    gone = opening.erased()
    assert (gone.is_erased, opening.is_erased) == (True, False)
    assert gone.leaf == opening.leaf == gone.erased().leaf
    assert b"s" * 16 not in gone.pseudonym
    for wrong in ((2, -1, bytes(32), bytes(16)), (2, 0, bytes(31), bytes(16)), (2, 0, bytes(32), bytes(15))):
        with pytest.raises(BadParameters):
            Opening(*wrong)
    with pytest.raises(BadParameters, match="32 bytes"):
        Pseudonyms(b"short")
    with pytest.raises(BadParameters, match="salt"):
        cohort_of([bytes(32)], b"")
    with pytest.raises(TypeError, match="not pickled"):
        Pseudonyms(bytes(32)).__reduce__()
    assert repr(Pseudonyms(bytes(32))) == "Pseudonyms()"
    for shown in (opening, *cohort_of([bytes(32)], b"s" * 16)):
        assert "salt" not in repr(shown)
        assert "ssss" not in repr(shown)


@pytest.mark.parametrize(
    "change", [{"seq": -1}, {"seq": 2**63}, {"seq": 2**64}, {"kind": "\ud800"}, {"kind": "NOTE"}, {"kind": ""}]
)
@pytest.mark.parametrize("reached", [False, True])
def test_a_strangers_proof_of_no_entry_is_corrupt(ledger: Ledger, change: dict[str, object], reached: bool) -> None:
    ledger.reserve(invites(0, 1, 2))
    proof = replace(ledger.prove(2, client(1)), **change)  # type: ignore[arg-type]
    assert "salt" not in repr(proof)
    with pytest.raises(Corrupt, match="names nobody"):
        check_proof(proof, replace(ledger.head(), seq=proof.seq + 1) if reached else ledger.head())


def test_a_ledger_opened_at_a_checkpoint_knows_every_round_of_a_client(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "EVERY", 6)
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(budget_for(3), scope=Scope.EACH))
        for number in range(6):
            ledger.commit(ledger.reserve(invites(number, number % 2, 10 + number)), survives(number % 2))
        expected = ledger.clients()
    with Ledger.open(path) as ledger:
        assert ledger._log.history.since > 2
        with pytest.raises(BudgetExceeded):
            ledger.reserve(invites(9, 0))
        assert ledger.clients() == expected
    with Ledger.open(path) as ledger:
        check_proof(ledger.prove(2, client(0)), ledger.head())
    with Ledger.open(path) as ledger:
        assert ledger.erase(ledger.pseudonym(client(0))) == 6
        assert ledger.eligible(None, [client(0), client(99)], EVENT) == ()
        # The other one, listed in three rounds, may have been in the three that name nobody any more.
        assert [each.error for each in ledger.verify().problems] == ["Unverifiable"]
