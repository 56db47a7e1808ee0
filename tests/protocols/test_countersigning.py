"""Countersignatures: of every client in every protocol, in known bytes, kept by the server, and never a condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dp import Budget, Ledger
from protocols import codec
from protocols.codec import kind_of
from protocols.countersigning import check, countersign, head_of
from protocols.endpoint import Task
from protocols.errors import BadSignature, Misused, ViewMismatch
from protocols.heads import NO_LEDGER, LedgerHead
from protocols.messages import Countersignature, Inbox, Masked, Survivors, Witness, Witnesses
from protocols.party import Excluded, PartyId
from protocols.plan import ONE_SHOT
from protocols.simulate import Exchange, Fate, FaultPlan, Lost
from secagg.keys import Identity
from tests.attacks import hall
from tests.attacks.villain import LENGTH, Stage, plan_of, rows
from tests.contracts.company import (
    Company,
    Encrypting,
    Keyed,
    Played,
    Repeated,
    Restarted,
    Speaking,
    StandIn,
    play,
    seed_of,
)
from tests.contracts.modes import Seeded, Single

HEAD = LedgerHead(bytes(range(16)), 5, bytes(range(32)))
STATEMENT = b"secagg/v1/ledger/witness" + bytes(range(16)) + (5).to_bytes(8, "little") + bytes(range(32))
COMPANIES: dict[str, Callable[[], Company]] = {
    "pairwise": lambda: Company(plan_of(4), 4),
    "one-shot": lambda: Speaking(plan_of(4, protocol=ONE_SHOT), 4),
    "threshold": lambda: Encrypting(hall.encrypted_plan(), 4, holders=3),
    "single": Single,
    "seeded": Seeded,
}
each_protocol = pytest.mark.parametrize("protocol", COMPANIES)


def charged(protocol: str, head: LedgerHead = HEAD) -> Company:
    company = COMPANIES[protocol]()
    company.head = head
    return company


def kept(played: Played) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = played.simulation.server.countersignatures
    return found


def said_kinds(played: Played, who: PartyId) -> list[type[Any]]:
    return [kind_of(frame) for frame in played.said(who)]


# --- known bytes


def test_what_is_signed_is_the_statement_that_the_ledger_knows() -> None:
    identity = Identity.from_seed(seed_of("a client"))
    letter = countersign(HEAD, identity.sign)
    assert (letter.seq, letter.hash) == (HEAD.seq, HEAD.hash)
    Ed25519PublicKey.from_public_bytes(identity.public).verify(letter.signature, STATEMENT)
    check(letter, HEAD, PartyId(3), identity.public)


@rows("C20")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"seq": 6}, ViewMismatch),
        ({"hash": b"\1" * 32}, ViewMismatch),
        ({"signature": bytes(64)}, BadSignature),
        ({"signature": Identity.from_seed(seed_of("another")).sign(STATEMENT)}, BadSignature),
        ({"signature": Identity.from_seed(seed_of("a client")).sign(STATEMENT[:-1] + b"\0")}, BadSignature),
    ],
    ids=["entry", "hash", "zeros", "another's", "of another text"],
)
def test_what_is_no_countersignature_of_this_head_names_its_sender(
    row: str, change: dict[str, Any], error: type
) -> None:
    identity = Identity.from_seed(seed_of("a client"))
    letter = replace(countersign(HEAD, identity.sign), **change)
    with pytest.raises(error) as caught:
        check(letter, HEAD, PartyId(3), identity.public)
    assert caught.value.peer == 3


def test_the_head_of_a_ledger_is_read_from_the_file(tmp_path: Path) -> None:
    assert head_of(None) == NO_LEDGER
    with Ledger.open(tmp_path / "run.ledger", Budget(epsilon=8, delta=1e-5, relation="zero-out")) as ledger:
        first, _ = ledger.entries()
        head = head_of(ledger)
        assert (head.seq, head.hash) == (1, ledger.head().hash)
        assert head.ledger_id.hex() == first.fields["ledger_id"]
        ledger.note("moved on")
        assert head_of(ledger) == LedgerHead(head.ledger_id, 2, ledger.head().hash)


# --- every protocol


@each_protocol
@pytest.mark.parametrize("kind", [StandIn, Restarted, Repeated], ids=lambda kind: kind.__name__)
def test_every_client_vouches_once_and_the_sum_is_the_one_without_a_ledger(protocol: str, kind: type[StandIn]) -> None:
    company = charged(protocol)
    kind = Keyed if (protocol, kind) == ("threshold", StandIn) else kind
    played = play(company, kind=kind)
    assert played.lost is None
    assert kept(played).keys() == set(company.known.values())
    for public, signature in kept(played).items():
        Ed25519PublicKey.from_public_bytes(public).verify(signature, STATEMENT)
    assert played.simulation.exact
    assert played.simulation.server.excluded == []
    for who in company.ids:
        assert said_kinds(played, who).count(Countersignature) == 1


@each_protocol
def test_without_a_ledger_nothing_is_countersigned(protocol: str) -> None:
    played = play(charged(protocol, NO_LEDGER), kind=Keyed)
    assert kept(played) == {}
    assert Countersignature not in played.kinds_said_by_clients()


def test_it_goes_before_the_vector_so_that_no_room_is_closed_without_it() -> None:
    company = charged("pairwise")
    played = play(company)
    for who in company.ids:
        said = said_kinds(played, who)
        assert said[said.index(Masked) - 1] is Countersignature


@pytest.mark.parametrize("protocol", ["pairwise", "one-shot"])
def test_whose_vector_is_lost_vouches_for_nothing(protocol: str) -> None:
    company = charged(protocol)
    last = company.ids[-1]
    played = play(company, faults=FaultPlan({last: Fate(Exchange.MASKED, Lost.REPLY)}))
    assert played.opened.survivors == company.ids[:-1]
    assert kept(played).keys() == {company.known[who] for who in company.ids[:-1]}


# --- evidence, and no condition


class Mute(Stage):
    """Of what a client says at once it carries the last letter only, which is never a countersignature."""

    def __init__(self) -> None:
        super().__init__(4)
        self.company.head = HEAD

    def task_of(self, round: int, nonce: bytes) -> Task:
        return replace(self.company.task(LENGTH, round), nonce=nonce)

    def vouch(self, who: PartyId) -> list[Excluded]:
        """Says it after all; what the server notes."""
        return self.speak(who, countersign(HEAD, self.company.identities[who].sign))


def test_the_sum_is_whole_without_any() -> None:
    stage = Mute()
    stage.until(None)
    assert stage.server.countersignatures == {}
    assert stage.server.excluded == []
    assert stage.server.aggregate is not None
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


@pytest.mark.parametrize(
    "kind", [Inbox, Survivors, Witnesses, None], ids=lambda kind: getattr(kind, "__name__", "over")
)
def test_it_is_heard_at_any_time_of_the_round(kind: type[Any] | None) -> None:
    stage = Mute()
    stage.until(kind)
    who = stage.ids[0]
    before = stage.server._party.state
    assert stage.vouch(who) == []
    assert stage.server._party.state is before
    assert stage.server.countersignatures.keys() == {stage.company.known[who]}
    stage.until(None)
    assert stage.server.aggregate is not None
    assert stage.server.aggregate.survivors == stage.ids


def test_it_hides_no_letter_that_comes_again() -> None:
    """Its kind is above all others: were it remembered as the latest letter, a repeated witness would be late."""
    stage = Mute()
    stage.until(Survivors)
    replies = stage.answers()
    who, *others = stage.ids
    assert stage.server.receive(replies[who], who) == []
    assert stage.vouch(who) == []
    assert kind_of(replies[who]) is Witness
    assert stage.server.receive(replies[who], who) == []
    stage.hand({other: replies[other] for other in others})
    assert stage.server.excluded == []
    stage.until(None)
    assert stage.server.aggregate is not None


def test_the_first_of_a_client_counts() -> None:
    stage = Mute()
    stage.until(Inbox)
    for _ in range(2):
        assert [stage.vouch(who) for who in stage.ids] == [[], [], [], []]
        assert stage.server.countersignatures.keys() == set(stage.company.known.values())


def test_the_next_round_begins_without_those_of_the_one_before() -> None:
    stage = Mute()
    stage.until(None)
    assert stage.vouch(stage.ids[0]) == []
    stage.company.head = replace(HEAD, seq=6)
    stage.open(1, b"\1" * 16)
    assert stage.server.countersignatures == {}
    stage.until(None)
    assert stage.server.aggregate is not None


def test_a_server_that_restarts_has_them_still() -> None:
    stage = Mute()
    stage.until(Survivors)
    assert [stage.vouch(who) for who in stage.ids] == [[], [], [], []]
    assert len(stage.server.countersignatures) == 4
    again = stage.company.server()
    again.thaw(stage.server.freeze())
    assert again.countersignatures == stage.server.countersignatures
    assert again.freeze() == stage.server.freeze()


@pytest.mark.parametrize("head", [HEAD.hash, None, "head"])
def test_a_task_takes_a_head_and_not_a_hash(head: Any) -> None:
    with pytest.raises(Misused, match=r"countersigning\.head_of"):
        replace(Company(plan_of(4), 4).task(5), ledger_head=head)


# --- who vouches falsely


def false(stage: Mute, who: PartyId) -> dict[str, Countersignature]:
    other = stage.ids[1]
    mine, honest = stage.company.identities[who], countersign(HEAD, stage.company.identities[other].sign)
    return {
        "zeros": replace(honest, signature=bytes(64)),
        "another client's": honest,
        "of another entry": countersign(replace(HEAD, seq=6), mine.sign),
        "of another hash": countersign(replace(HEAD, hash=b"\1" * 32), mine.sign),
        "of another ledger": countersign(replace(HEAD, ledger_id=b"\1" * 16), mine.sign),
    }


@rows("C20")
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("zeros", "BadSignature"),
        ("another client's", "BadSignature"),
        ("of another entry", "ViewMismatch"),
        ("of another hash", "ViewMismatch"),
        ("of another ledger", "BadSignature"),
    ],
)
def test_a_false_one_is_noted_is_no_evidence_and_costs_nobody_the_round(row: str, name: str, error: str) -> None:
    stage = Mute()
    stage.until(Survivors)
    who = stage.ids[0]
    [note] = stage.speak(who, false(stage, who)[name])
    assert (note.peer, note.error) == (who, error)
    assert stage.server.countersignatures == {}
    # A true one counts still.
    assert stage.vouch(who) == []
    stage.until(None)
    assert stage.server.aggregate is not None
    assert stage.server.aggregate.survivors == stage.ids


@rows("C20")
def test_where_no_ledger_is_named_none_is_wanted(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    who = stage.ids[0]
    [note] = stage.speak(who, countersign(HEAD, stage.company.identities[who].sign))
    assert (note.peer, note.error) == (who, "OutOfTurn")
    assert stage.server.countersignatures == {}


@rows("C20")
def test_who_opens_sums_is_no_client_and_vouches_for_nothing(row: str) -> None:
    open_hall = hall.Hall()
    holder, identity = next(iter(open_hall.company.holder_identities.items()))
    letter = countersign(HEAD, identity.sign)
    agreement = open_hall.server.agreement
    attempt = codec.attempt_id(agreement.plan.task, agreement.nonce)
    frame = b"".join(codec.encode(letter, holder, attempt, agreement.round, identity.sign))
    assert open_hall.server.receive(frame, holder) == []
    assert [(note.peer, note.error) for note in open_hall.server.excluded] == [(holder, "OutOfTurn")]


def test_one_of_another_attempt_or_round_is_out_of_turn() -> None:
    stage = Mute()
    stage.until(None)
    who = stage.ids[0]
    stale = stage.framed(who, countersign(HEAD, stage.company.identities[who].sign))
    stage.company.head = replace(HEAD, seq=6)
    stage.open(1, b"\1" * 16)
    assert stage.server.receive(stale, who) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "OutOfTurn")]
    assert stage.server.countersignatures == {}


def test_a_frame_cannot_be_turned_into_one_nor_one_into_a_frame() -> None:
    """Both are Ed25519 under one identity: what is signed begins differently, whatever follows."""
    assert not STATEMENT.startswith(codec.LABEL_FRAME)
    assert not codec.LABEL_FRAME.startswith(b"secagg/v1/ledger")
