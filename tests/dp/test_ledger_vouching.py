"""Who vouches for a ledger: a kept head, a witness somebody knows, and what neither can say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dp.errors import BadParameters, Corrupt, Forked, RolledBack, StorageRefused
from dp.ledger import Head, Ledger
from dp.ledger.chain import Signer, witness_statement
from dp.ledger.pins import Pin
from dp.ledger.vouching import Known, Witness
from tests.dp.ledger_kit import WIDE, charge, edit, outcome, write_rounds
from tests.rows import rows

PARTY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
PUBLIC = PARTY.public_key().public_bytes_raw()


def seen_by_party(ledger: Ledger, head: Head) -> bytes:
    """The party's signature of a head."""
    return PARTY.sign(witness_statement(ledger.pin().ledger_id, head))


def round_of(ledger: Ledger, number: int) -> Head:
    """One whole round."""
    return ledger.commit(ledger.reserve(charge(number)), outcome())


def copy_of(path: Path, to: Path) -> Path:
    """The closed ledger and its key, somewhere else."""
    to.parent.mkdir(exist_ok=True)
    shutil.copy(path, to)
    shutil.copy(path.with_name(path.name + ".key"), to.with_name(to.name + ".key"))
    return to


# --- a pin beside the writer ---------------------------------------------------------------------------


def test_every_entry_renews_the_pin_and_a_later_one_is_verified_up_to_it(tmp_path: Path) -> None:
    path, pin = tmp_path / "run.ledger", tmp_path / "elsewhere.pin"
    with Ledger.open(path, WIDE, pin=pin) as ledger:
        assert Pin.read(pin).head == ledger.head()
        reservation = ledger.reserve(charge(1))
        assert Pin.read(pin).head.seq == reservation.seq
        head = ledger.commit(reservation, outcome())
        assert Pin.read(pin).head == head
    with Ledger.open(path) as ledger:
        round_of(ledger, 2)
        verdict = ledger.verify(Known(pin=Pin.read(pin)))
    assert (verdict.verdict, verdict.vouched, verdict.entries) == ("verified", head.seq, 6)


@rows("L3")
def test_an_old_copy_is_refused_by_the_pin_and_by_verify(row: str, tmp_path: Path) -> None:
    path, pin = tmp_path / "run.ledger", tmp_path / "elsewhere.pin"
    with Ledger.open(path, WIDE, pin=pin) as ledger:
        round_of(ledger, 1)
    old = copy_of(path, tmp_path / "old" / "run.ledger")
    with Ledger.open(path, pin=pin) as ledger:
        round_of(ledger, 2)
    with pytest.raises(RolledBack, match="ends at entry 3, but entry 5 was there"):
        Ledger.open(old, pin=pin)
    with Ledger.read(old) as ledger:
        assert ledger.verify().verdict == "internally-consistent"
        found = ledger.verify(Known(pin=Pin.read(pin)))
    assert (found.verdict, found.vouched) == ("refuted", None)
    assert [(each.line, each.error) for each in found.problems] == [(3, "RolledBack")]


@rows("L3")
def test_a_cut_tail_without_a_pin_is_internally_consistent_and_with_one_refuted(row: str, tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 2)
    with Ledger.read(path) as ledger:
        pin = ledger.pin()
    edit(path, "DELETE FROM entry WHERE seq > 3")
    with Ledger.read(path) as ledger:
        assert ledger.verify().verdict == "internally-consistent"
        assert [each.error for each in ledger.verify(Known(pin=pin)).problems] == ["RolledBack"]


def test_a_history_rewritten_by_the_holder_of_the_key_is_forked(tmp_path: Path) -> None:
    path, pin = tmp_path / "run.ledger", tmp_path / "elsewhere.pin"
    with Ledger.open(path, WIDE) as ledger:
        round_of(ledger, 1)
    other = copy_of(path, tmp_path / "other" / "run.ledger")
    with Ledger.open(path, pin=pin) as ledger:
        round_of(ledger, 2)
    with Ledger.open(other) as ledger:
        round_of(ledger, 3)
        round_of(ledger, 4)
        assert ledger.verify().verdict == "internally-consistent"
        found = ledger.verify(Known(pin=Pin.read(pin)))
    assert [(each.line, each.error) for each in found.problems] == [(5, "Forked")]
    with pytest.raises(Forked, match="entry 5 is not the one"):
        Ledger.open(other, pin=pin)


def test_a_pin_of_another_ledger_is_forked_at_its_first_entry(tmp_path: Path) -> None:
    write_rounds(tmp_path / "a.ledger", 1)
    write_rounds(tmp_path / "b.ledger", 1)
    with Ledger.read(tmp_path / "a.ledger") as ledger:
        pin = ledger.pin()
    with Ledger.read(tmp_path / "b.ledger") as ledger:
        assert [(each.line, each.error) for each in ledger.verify(Known(pin=pin)).problems] == [(0, "Forked")]
    pin.keep(tmp_path / "run.pin")
    with pytest.raises(Forked, match="another ledger"):
        Ledger.open(tmp_path / "b.ledger", pin=tmp_path / "run.pin")


def test_a_ledger_made_anew_under_another_key_contradicts_the_key_that_is_known(tmp_path: Path) -> None:
    write_rounds(tmp_path / "a.ledger", 1)
    with Ledger.read(tmp_path / "a.ledger") as ledger:
        own = ledger.pin().signer
        assert ledger.verify(Known(signer=own)).ok
        found = ledger.verify(Known(signer=Signer(bytes(32)).public))
    assert [(each.line, each.error) for each in found.problems] == [(0, "Forked")]
    # Knowing the key says who wrote it, not that it was not written anew: nobody outside vouches.
    with Ledger.read(tmp_path / "a.ledger") as ledger:
        assert ledger.verify(Known(signer=own)).verdict == "internally-consistent"


def test_two_processes_may_share_one_pin(tmp_path: Path) -> None:
    path, pin = tmp_path / "run.ledger", tmp_path / "elsewhere.pin"
    with Ledger.open(path, WIDE, pin=pin) as first, Ledger.open(path, pin=pin) as second:
        for number in range(3):
            round_of(first, 2 * number)
            round_of(second, 2 * number + 1)
        assert Pin.read(pin).head == first.head() == second.head()


def test_a_pin_in_the_ledgers_own_directory_locks_nobody_out(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE, pin=tmp_path / "run.pin") as ledger:
        ledger.rotate_key()
        round_of(ledger, 1)
        assert Pin.read(tmp_path / "run.pin") == ledger.pin()


def test_a_damaged_pin_is_corrupt_and_nothing_is_spent(tmp_path: Path) -> None:
    path, pin = tmp_path / "run.ledger", tmp_path / "elsewhere.pin"
    with Ledger.open(path, WIDE, pin=pin):
        pass
    pin.write_bytes(b"nonsense")
    with pytest.raises(Corrupt, match="no kept head"):
        Ledger.open(path, pin=pin)


# --- witnesses ------------------------------------------------------------------------------------------


def test_a_known_witness_vouches_up_to_the_head_it_signed_and_a_stranger_does_not(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        head = round_of(ledger, 1)
        signature = seen_by_party(ledger, head)
        ledger.witness(head, PUBLIC, signature)
        ledger.witness(head, PUBLIC, signature)
        round_of(ledger, 2)
    with Ledger.read(path) as ledger:
        stranger = ledger.verify()
        known = ledger.verify(Known(parties=frozenset({PUBLIC})))
    assert (stranger.verdict, stranger.vouched, stranger.witnesses) == ("internally-consistent", None, 1)
    assert (known.verdict, known.vouched, known.witnesses) == ("verified", head.seq, 1)


def test_a_witness_is_checked_before_it_is_kept(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE) as ledger:
        first, second = round_of(ledger, 1), round_of(ledger, 2)
        signature = seen_by_party(ledger, first)
        with pytest.raises(BadParameters, match="did not sign"):
            ledger.witness(second, PUBLIC, signature)
        with pytest.raises(BadParameters, match="did not sign"):
            ledger.witness(first, b"\x01" * 32, signature)
        beyond = Head(second.seq + 1, bytes(32), bytes(64))
        with pytest.raises(RolledBack, match="not in this ledger"):
            ledger.witness(beyond, PUBLIC, seen_by_party(ledger, beyond))
        forked = Head(first.seq, bytes(32), bytes(64))
        with pytest.raises(Forked, match="has seen another entry"):
            ledger.witness(forked, PUBLIC, seen_by_party(ledger, forked))
        assert ledger.verify().witnesses == 0


def test_witnesses_of_both_heads_tell_two_copies_apart(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        round_of(ledger, 1)
    other = copy_of(path, tmp_path / "other" / "run.ledger")
    with Ledger.open(path) as ledger:
        shown = round_of(ledger, 2)
        signature = seen_by_party(ledger, shown)
    with Ledger.open(other) as ledger:
        round_of(ledger, 3)
        with pytest.raises(Forked):
            ledger.witness(shown, PUBLIC, signature)


def test_a_witness_that_was_edited_or_outlived_its_entry_refutes(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        head = round_of(ledger, 1)
        ledger.witness(head, PUBLIC, seen_by_party(ledger, head))
    cut = copy_of(path, tmp_path / "cut" / "run.ledger")
    edit(cut, "DELETE FROM entry WHERE seq > 1")
    with Ledger.read(cut) as ledger:
        assert [each.error for each in ledger.verify().problems] == ["RolledBack"]
    edit(path, "UPDATE witness SET signature = zeroblob(64)")
    with Ledger.read(path) as ledger:
        assert [(each.line, each.error) for each in ledger.verify().problems] == [(head.seq, "Corrupt")]
    edit(path, "UPDATE witness SET signature = zeroblob(63)")
    with Ledger.read(path) as ledger:
        assert [each.error for each in ledger.verify().problems] == ["Corrupt"]


def test_a_reader_keeps_no_witness(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        head = round_of(ledger, 1)
        signature = seen_by_party(ledger, head)
    with Ledger.read(path) as ledger, pytest.raises(StorageRefused, match="opened for reading"):
        ledger.witness(head, PUBLIC, signature)


@pytest.mark.parametrize(("seq", "party", "signature"), [(-1, 32, 64), (2**63, 32, 64), (0, 31, 64), (0, 32, 65)])
def test_a_witness_has_parts_of_fixed_length(seq: int, party: int, signature: int) -> None:
    with pytest.raises(BadParameters, match="wrong length"):
        Witness(seq, bytes(party), bytes(signature))
