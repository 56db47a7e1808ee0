"""A new signing key: named by the old one, agreed to by itself, and recoverable wherever its maker dies."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dp.canonical import Body
from dp.errors import BadParameters, BadReservation, Corrupt, StorageRefused
from dp.ledger import Ledger, Standing, upkeep
from dp.ledger import rotation as rotation_file
from dp.ledger.chain import Entry, Head, Kind, Signed, Signer, link
from dp.ledger.log import Log
from dp.ledger.pins import Pin
from dp.ledger.place import Keys, beside, read_key, write_key
from dp.ledger.rotation import keys_of, rotated, rotation_body
from dp.ledger.store import Store
from dp.ledger.vouching import Known
from tests.dp.ledger_kit import WIDE, charge, finish, outcome, start, write_rounds

LEDGER_ID = bytes(range(16))
OLD, NEW, OTHER = (Signer(bytes([number] * 32)) for number in (1, 2, 3))
SIGNED = Signed(LEDGER_ID, OLD.public)
AFTER = Head(7, b"\x07" * 32, bytes(64))


def round_of(ledger: Ledger, number: int) -> Head:
    return ledger.commit(ledger.reserve(charge(number)), outcome())


def test_keys_that_another_process_took_over_meanwhile_are_read_again(tmp_path: Path) -> None:
    path, old, new = tmp_path / "run.ledger", Keys(bytes([1] * 32), bytes(32)), Keys(bytes([2] * 32), bytes(32))
    write_key(beside(path, ".key"), old)

    def signer_while_the_other_finishes() -> bytes:
        write_key(beside(path, ".key"), new)
        return NEW.public

    assert keys_of(path, signer_while_the_other_finishes, 1.0) == new
    assert read_key(beside(path, ".key")) == new


# --- in a file --------------------------------------------------------------------------------------------


def test_after_a_rotation_the_new_key_signs_and_everything_still_verifies(tmp_path: Path) -> None:
    path, pin = tmp_path / "run.ledger", tmp_path / "elsewhere.pin"
    with Ledger.open(path, WIDE, pin=pin) as ledger:
        before = read_key(beside(path, ".key"))
        round_of(ledger, 1)
        first = Pin.read(pin)
        head = ledger.rotate_key()
        assert Pin.read(pin) == Pin(first.ledger_id, first.signer, head)
        round_of(ledger, 2)
        assert Pin.read(pin).signer != first.signer
        pseudonym = ledger.pseudonym(b"client")
    after = read_key(beside(path, ".key"))
    assert (after.seed != before.seed, after.secret) == (True, before.secret)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere.pin", "run.ledger", "run.ledger.key"]
    with Ledger.open(path, pin=pin) as ledger:
        round_of(ledger, 3)
        ledger.rotate_key()
        round_of(ledger, 4)
        assert ledger.pseudonym(b"client") == pseudonym
        verdict = ledger.verify(Known(pin=first))
        keys = [entry.key_id for entry in ledger.entries()]
    assert (verdict.verdict, verdict.vouched) == ("verified", first.head.seq)
    assert len(set(keys)) == 3


def test_a_key_is_not_changed_under_an_open_reservation_wherever_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as holder, Ledger.open(path) as other:
        reservation = holder.reserve(charge(1))
        for ledger in (holder, other):
            with pytest.raises(BadReservation, match="are open; end them"):
                ledger.rotate_key()
        holder.commit(reservation, outcome())
        other.rotate_key()
        assert other.verify().ok


def test_a_ledger_opened_before_a_rotation_writes_nothing_after_it(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as old:
        with Ledger.open(path) as other:
            other.rotate_key()
        with pytest.raises(StorageRefused, match="changed the signing key"):
            old.reserve(charge(1))
        assert old.interval().upper == 0
    with Ledger.open(path) as ledger:
        round_of(ledger, 1)
        assert ledger.verify().ok


def test_a_session_that_rotated_still_holds_its_reservations_towards_others(tmp_path: Path) -> None:
    # The lock that says "I live" lay on the key file that was replaced.
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        ledger.rotate_key()
        reservation = ledger.reserve(charge(1))

        with Ledger.open(path) as other:
            assert other.standing(charge(1)) is Standing.RESERVED
        ledger.commit(reservation, outcome())


def test_a_reader_rotates_nothing(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "run.ledger", WIDE):
        pass
    with Ledger.read(tmp_path / "run.ledger") as ledger, pytest.raises(StorageRefused, match="opened for reading"):
        ledger.rotate_key()
    assert not (tmp_path / "run.ledger.key.next").exists()


# --- whoever dies on the way --------------------------------------------------------------------------------


class Died(BaseException):
    """The process ended here."""


def dying(what: Callable[..., object], *, before: bool) -> Callable[..., object]:
    """The same call, after or before which the process ends."""

    def call(*arguments: object) -> object:
        if not before:
            what(*arguments)
        os._exit(7)

    return call


POINTS = [
    (upkeep, "prepare", True),
    (upkeep, "prepare", False),
    (Log, "append", True),
    (Log, "append", False),
    (upkeep, "take_over", True),
    (upkeep, "take_over", False),
]


@pytest.mark.parametrize(("owner", "name", "before"), POINTS, ids=[f"{n}-{b}" for _, n, b in POINTS])
def test_a_rotation_cut_short_anywhere_leaves_a_ledger_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, before: bool
) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        round_of(ledger, 1)

    def rotate() -> None:
        ledger = Ledger.open(path)
        setattr(owner, name, dying(getattr(owner, name), before=before))
        ledger.rotate_key()

    original = getattr(owner, name)
    assert finish(start(rotate)) == 7
    assert getattr(owner, name) is original
    with Ledger.open(path) as ledger:
        round_of(ledger, 2)
        ledger.rotate_key()
        round_of(ledger, 3)
        assert ledger.verify().ok
    assert sorted(os.listdir(tmp_path)) == ["run.ledger", "run.ledger.key"]


def test_two_who_find_the_rename_missing_both_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        monkeypatch.setattr(upkeep, "take_over", lambda path: None)
        ledger.rotate_key()
    monkeypatch.undo()
    with Ledger.open(path) as first, Ledger.open(path) as second:
        round_of(first, 1)
        round_of(second, 2)
        assert first.verify().ok


@pytest.mark.parametrize("times", [1, 2])
def test_whoever_opens_while_another_rotates_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    path = tmp_path / "run.ledger"
    write_rounds(path, 1)
    real = rotation_file.keys_of

    def after_rotations(path: Path, signer: Callable[[], bytes], seconds: float) -> Keys:
        """Another process rotates between what this one reads in the ledger and in the file of the key."""
        monkeypatch.undo()
        before = signer()
        for _ in range(times):
            with Ledger.open(path) as other:
                other.rotate_key()
        answers = iter([before])
        return real(path, lambda: next(answers, None) or signer(), seconds)

    monkeypatch.setattr("dp.ledger.book.keys_of", after_rotations)
    with Ledger.open(path) as ledger:
        ledger.commit(ledger.reserve(charge(1)), outcome())
        assert ledger.verify().ok


def test_a_lost_new_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        monkeypatch.setattr(upkeep, "take_over", lambda path: None)
        ledger.rotate_key()
    beside(path, ".key.next").unlink()
    with pytest.raises(Corrupt, match="signed by another key than the one beside it"):
        Ledger.open(path)


def test_a_key_that_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="cannot replace the signing key"):
        rotation_file.take_over(tmp_path / "run.ledger")


# --- forged ones ------------------------------------------------------------------------------------------


def appended(path: Path, *makers: Callable[[Signed, Head], Entry]) -> None:
    """Writes entries past every check of ours."""
    with Ledger.read(path) as ledger:
        ledger.head()
        signed, head = ledger._log.known()
    store = Store.open(path, 1.0)
    with store.writing():
        for make in makers:
            entry = make(signed, head)
            store.append(entry)
            head = entry.head
    store.close()


def own_key(path: Path) -> Signer:
    return Signer(read_key(beside(path, ".key")).seed)


def test_a_rotation_the_old_key_did_not_sign_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE) as ledger:
        head = ledger.head()

    def forged(signed: Signed, head: Head) -> Entry:
        body: Body = {**rotation_body(signed.ledger_id, head, NEW), "clock": 0}
        entry = link(signed.ledger_id, NEW, head, Kind.ROTATE_KEY, body)
        return dataclasses.replace(entry, key_id=own_key(path).key_id)

    # The later entry under the new key would otherwise vouch for it.
    appended(path, forged, lambda signed, at: link(signed.ledger_id, NEW, at, Kind.NOTE, {"text": "x", "clock": 0}))
    with Ledger.read(path) as ledger:
        assert [(each.line, each.error) for each in ledger.verify().problems] == [(head.seq + 1, "Corrupt")]
        with pytest.raises(Corrupt, match="not signed by this ledger's key"):
            ledger.head()


def test_a_rotation_the_new_key_did_not_agree_to_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    with Ledger.open(path, WIDE):
        pass

    def stolen(signed: Signed, head: Head) -> Entry:
        body = {**rotation_body(signed.ledger_id, head, OTHER), "signer": NEW.public.hex(), "clock": 0}
        return link(signed.ledger_id, own_key(path), head, Kind.ROTATE_KEY, body)

    appended(path, stolen)
    with Ledger.read(path) as ledger:
        [problem] = ledger.verify().problems
    assert (problem.error, "did not sign that it takes over" in problem.message) == ("Corrupt", True)


def test_a_rotation_under_an_open_reservation_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"

    def reserve_and_die() -> None:
        Ledger.open(path, WIDE).reserve(charge(1))
        os._exit(0)

    assert finish(start(reserve_and_die)) == 0
    appended(
        path,
        lambda signed, head: link(
            signed.ledger_id,
            own_key(path),
            head,
            Kind.ROTATE_KEY,
            {**rotation_body(signed.ledger_id, head, NEW), "clock": 0},
        ),
    )
    with Ledger.read(path) as ledger:
        [problem] = ledger.verify().problems
    assert (problem.error, "still open" in problem.message) == ("Corrupt", True)


# --- the statement -------------------------------------------------------------------------------------------


def test_the_new_key_signs_place_predecessor_and_itself() -> None:
    import hashlib

    body = {**rotation_body(LEDGER_ID, AFTER, NEW), "clock": 0}
    text = hashlib.sha256(b"secagg/v1/ledger/rotate" + (8).to_bytes(8, "little") + b"\x07" * 32 + NEW.public).digest()
    assert body["signature"] == NEW.sign(LEDGER_ID, text).hex()
    assert rotated(SIGNED, AFTER, body) == Signed(LEDGER_ID, NEW.public)


@pytest.mark.parametrize(
    ("signed", "after", "change"),
    [
        (Signed(bytes(16), OLD.public), AFTER, {}),
        (SIGNED, dataclasses.replace(AFTER, seq=8), {}),
        (SIGNED, dataclasses.replace(AFTER, hash=bytes(32)), {}),
        (SIGNED, AFTER, {"signer": OTHER.public.hex()}),
        (SIGNED, AFTER, {"signature": "00" * 64}),
        (SIGNED, AFTER, {"signer": "ff" * 32}),
        (SIGNED, AFTER, {"signer": "ff" * 31}),
        (SIGNED, AFTER, {"more": 1}),
        (Signed(LEDGER_ID, NEW.public), AFTER, {}),
    ],
    ids=["ledger", "place", "predecessor", "key", "signature", "no-key", "short", "keys", "itself"],
)
def test_an_agreement_to_something_else_is_none(signed: Signed, after: Head, change: dict[str, object]) -> None:
    body = {**rotation_body(LEDGER_ID, AFTER, NEW), "clock": 0, **change}
    with pytest.raises(BadParameters):
        rotated(signed, after, body)  # type: ignore[arg-type]  # the changes are what a file may hold
