"""Clients that know each other by an authority's word, and what such a word is not good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.certificates import Credential
from protocols.codec import Frame
from protocols.endpoint import Client, Server, Task
from protocols.errors import BadSignature, KeyMismatch, Misbehaved, Misused
from protocols.messages import Advertise, Roster
from protocols.pairwise import session as names
from protocols.party import SERVER, PartyId
from protocols.plan import Policy, RoundPlan
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost, Simulation
from secagg.keys import Identity
from tests.attacks.villain import rows
from tests.contracts.company import seed_of

PLAN = RoundPlan.recommend(5, dropout=0.2, corrupt=0, min_cohort=3)
AUTHORITY = Identity.from_seed(seed_of("authority"))
OTHER = Identity.from_seed(seed_of("another authority"))
HOST = Identity.from_seed(seed_of("host"))
IDS = tuple(map(PartyId, range(5)))
IDENTITIES = {who: Identity.from_seed(seed_of("certified", who)) for who in IDS}
LENGTH = 4


def credential(who: PartyId, authority: Identity = AUTHORITY, named: PartyId | None = None) -> Credential:
    return Credential.issue(authority, who if named is None else named, IDENTITIES[who].public)


def client(who: PartyId, shown: Credential | None = None) -> Client:
    """A client that pins nobody but itself."""
    policy = Policy({who: IDENTITIES[who].public}, authority=AUTHORITY.public, assumption=PLAN.assumption)
    shown = credential(who) if shown is None else shown
    return Client.from_root(seed_of("root", who), policy, IDENTITIES[who], HOST.public, credential=shown)


def showing(who: PartyId, shown: Credential) -> Client:
    """A villain's client: it shows what its own constructor would refuse."""
    made = client(who)
    made._own = replace(made._own, credential=shown)
    return made


def server() -> Server:
    return Server(PLAN, {}, HOST, authority=AUTHORITY.public)


def prepared(who: PartyId, one: Client) -> Any:
    return one.prepare(np.full(LENGTH, who / 8))


@dataclass
class Meeting:
    """A server nobody is registered at, and what its clients say to its invitation."""

    host: Server
    clients: dict[PartyId, Client]
    said: dict[PartyId, bytes]

    @classmethod
    def of(cls, made: Callable[[PartyId], Client] = client) -> Meeting:
        host, clients = server(), {who: made(who) for who in IDS}
        [invitation] = host.open(Task(0, LENGTH, nonce=bytes(16)), IDS)
        said = {who: bytes(one.receive(bytes(invitation))[0]) for who, one in clients.items()}
        return cls(host, clients, said)

    def roster(self, *only: PartyId) -> bytes:
        for who in only or IDS:
            out = self.host.receive(self.said[who], who)
        return bytes((out or self.host.deadline("Gathering"))[0])


# --- rounds


@pytest.mark.parametrize("exchange", [None, *list(Exchange)])
def test_clients_that_pin_nobody_sum_exactly(exchange: Exchange | None) -> None:
    faults = {} if exchange is None else {IDS[2]: Fate(exchange, Lost.REPLY)}
    cohort = Cohort(server(), {who: client(who) for who in IDS})
    simulation = Simulation(cohort, prepared, FaultPlan(faults))
    simulation.run(Task(0, LENGTH))
    assert simulation.exact
    assert not simulation.aborted
    # The next round knows them already.
    again = Simulation(cohort, prepared)
    again.run(Task(1, LENGTH))
    assert again.exact


def test_pinned_and_certified_clients_sum_together() -> None:
    pinned = {who: IDENTITIES[who].public for who in IDS[:3]}

    def mixed(who: PartyId) -> Client:
        policy = Policy(pinned | {who: IDENTITIES[who].public}, authority=AUTHORITY.public, assumption=PLAN.assumption)
        shown = None if who in pinned else credential(who)
        return Client.from_root(seed_of("root", who), policy, IDENTITIES[who], HOST.public, credential=shown)

    host = Server(PLAN, pinned, HOST, authority=AUTHORITY.public)
    simulation = Simulation(Cohort(host, {who: mixed(who) for who in IDS}), prepared)
    simulation.run(Task(0, LENGTH))
    assert simulation.exact


def test_a_server_comes_back_with_those_it_admitted() -> None:
    meeting = Meeting.of()
    for who in IDS[:3]:
        meeting.host.receive(meeting.said[who], who)
    again = server()
    again.thaw(meeting.host.freeze())
    assert again.freeze() == meeting.host.freeze()
    assert again.identities == {who: IDENTITIES[who].public for who in IDS[:3]}
    meeting.host = again
    assert meeting.roster(*IDS[3:])


def test_a_client_comes_back_between_roster_and_inbox() -> None:
    meeting = Meeting.of()
    roster = meeting.roster()
    [shares] = meeting.clients[IDS[0]].receive(roster)
    again = client(IDS[0])
    again.thaw(meeting.clients[IDS[0]].freeze())
    assert [bytes(frame) for frame in again.repeat()] == [bytes(shares)]
    assert again._party.state.session.certified == {who: IDENTITIES[who].public for who in IDS}


# --- what the server does not admit


def strangers() -> dict[str, Callable[[PartyId], Client]]:
    return {
        "another authority": lambda who: showing(who, credential(who, OTHER)),
        "another number": lambda who: showing(who, credential(who, named=PartyId(who + 1))),
        "another key": lambda who: showing(who, credential(PartyId((who + 1) % 5), named=who)),
    }


@rows("M11", "C13")
@pytest.mark.parametrize("made", strangers().values(), ids=strangers().keys())
def test_a_credential_of_another_authority_number_or_key_admits_nobody(
    row: str, made: Callable[[PartyId], Client]
) -> None:
    meeting = Meeting.of(made)
    who = IDS[1]
    assert meeting.host.receive(meeting.said[who], who) == []
    assert [(note.peer, note.error) for note in meeting.host.excluded] == [(who, "BadSignature")]
    assert meeting.host.identities == {}


@pytest.mark.parametrize(
    ("shown", "match"),
    [
        (credential(IDS[0], OTHER), "not one that the policy's authority issued"),
        (credential(IDS[0], named=IDS[1]), "not one that the policy's authority issued"),
        (credential(IDS[1], named=IDS[0]), "for another identity"),
    ],
    ids=["another authority", "another number", "another key"],
)
def test_a_client_notices_a_wrong_credential_when_it_is_made(shown: Credential, match: str) -> None:
    with pytest.raises(Misused, match=match):
        client(IDS[0], shown)


@rows("C13")
def test_without_a_credential_or_an_authority_a_stranger_is_refused(row: str) -> None:
    bare = Meeting.of(lambda who: Client.from_root(seed_of(who), client(who).policy, IDENTITIES[who], HOST.public))
    meeting = Meeting.of()
    closed = Server(PLAN, {}, HOST)
    with pytest.raises(Misused, match="register them first"):
        closed.open(Task(0, LENGTH), IDS)
    who = IDS[0]
    for host, frame in ((bare.host, bare.said[who]), (closed, meeting.said[who])):
        host.receive(frame, who)
        assert [(note.peer, note.error) for note in host.excluded] == [(who, "BadSignature")]
        assert host.identities == {}


@rows("C14")
def test_one_identity_certified_under_two_numbers_is_one_client(row: str) -> None:
    def twin(who: PartyId) -> Client:
        if who != IDS[1]:
            return client(who)
        policy = Policy({who: IDENTITIES[IDS[0]].public}, authority=AUTHORITY.public, assumption=PLAN.assumption)
        shown = Credential.issue(AUTHORITY, who, IDENTITIES[IDS[0]].public)
        return Client.from_root(seed_of("twin"), policy, IDENTITIES[IDS[0]], HOST.public, credential=shown)

    meeting = Meeting.of(twin)
    for who in IDS[:2]:
        meeting.host.receive(meeting.said[who], who)
    assert [(note.peer, note.error) for note in meeting.host.excluded] == [(IDS[1], "KeyMismatch")]
    assert set(meeting.host.identities) == {IDS[0]}


@rows("C13")
def test_a_certified_client_without_an_invitation_is_not_admitted(row: str) -> None:
    host, clients = server(), {who: client(who) for who in IDS}
    [invitation] = host.open(Task(0, LENGTH, nonce=bytes(16)), IDS[:4])
    [frame] = clients[IDS[4]].receive(bytes(invitation))
    host.receive(bytes(frame), IDS[4])
    assert [(note.peer, note.error) for note in host.excluded] == [(IDS[4], "OutOfTurn")]
    assert host.identities == {}
    for who in IDS[:4]:
        host.receive(bytes(clients[who].receive(bytes(invitation))[0]), who)
    assert set(host.identities) == set(IDS[:4])
    late = client(IDS[4])
    host.receive(bytes(late.receive(bytes(invitation))[0]), IDS[4])
    assert set(host.identities) == set(IDS[:4])


@rows("S9")
def test_a_restored_server_believes_the_keys_it_is_given_and_not_those_of_the_image(row: str) -> None:
    meeting = Meeting.of()
    meeting.roster()
    image = meeting.host.freeze()
    withdrawn = Server(PLAN, {}, HOST)
    withdrawn.thaw(image)
    assert withdrawn.identities == {}
    fresh = Identity.from_seed(seed_of("after the theft")).public
    pinned = Server(PLAN, {IDS[2]: fresh, IDS[4]: IDENTITIES[IDS[3]].public}, HOST, authority=AUTHORITY.public)
    pinned.thaw(image)
    assert pinned.identities[IDS[2]] == fresh
    assert IDS[3] not in pinned.identities
    assert len(set(pinned.identities.values())) == len(pinned.identities) == 4


def test_a_long_letter_of_a_stranger_is_not_even_read() -> None:
    meeting = Meeting.of()
    data = bytearray(meeting.said[IDS[0]])
    header = codec.read_header(bytes(data), IDS[0], 1 << 20)
    longer = codec.HEADER.pack(b"SA", 1, header.kind, header.sender, header.task, header.round, 600)
    meeting.host.receive(longer + bytes(600 + codec.SIGNATURE_BYTES), IDS[0])
    assert [note.error for note in meeting.host.excluded] == ["BadSignature"]


# --- what a client does not believe


def forged(roster: bytes, change: Callable[[Roster], Roster]) -> bytes:
    header = codec.read_header(roster, SERVER, codec.MAX_CONTROL_BYTES)
    message = codec.body_of(Roster, roster, header)
    return b"".join(codec.encode(change(message), SERVER, header.task, header.round, HOST.sign))


def with_credential(
    place: int, shown: Credential | None, signed_by: Identity | None = None
) -> Callable[[Roster], Roster]:
    def change(roster: Roster) -> Roster:
        entries = list(roster.entries)
        entry = replace(entries[place], credential=shown)
        if signed_by is not None:
            text = names.advertised_text(roster.context, entry.who, entry.box_key, entry.mask_key, entry.commitment)
            entry = replace(entry, signature=signed_by.sign(text))
        entries[place] = entry
        return replace(roster, entries=tuple(entries))

    return change


SYBIL = Identity.from_seed(seed_of("sybil"))
LIES: dict[str, tuple[Callable[[Roster], Roster], type[Misbehaved], int]] = {
    "none": (with_credential(2, None), KeyMismatch, IDS[2]),
    "another authority": (with_credential(2, credential(IDS[2], OTHER)), BadSignature, IDS[2]),
    "another number": (with_credential(2, credential(IDS[2], named=IDS[3])), BadSignature, IDS[2]),
    "a key of the server's": (
        with_credential(2, Credential.issue(HOST, IDS[2], SYBIL.public), SYBIL),
        BadSignature,
        IDS[2],
    ),
    "somebody else's identity": (
        with_credential(2, Credential.issue(AUTHORITY, IDS[2], IDENTITIES[IDS[3]].public), IDENTITIES[IDS[3]]),
        KeyMismatch,
        SERVER,
    ),
    "mine, exchanged": (with_credential(0, credential(IDS[0], OTHER)), KeyMismatch, SERVER),
}


@rows("M10", "M11")
@pytest.mark.parametrize(("change", "error", "blamed"), LIES.values(), ids=LIES.keys())
def test_a_roster_entry_the_authority_did_not_certify_gets_no_shares(
    row: str, change: Callable[[Roster], Roster], error: type[Misbehaved], blamed: int
) -> None:
    meeting = Meeting.of()
    victim = meeting.clients[IDS[0]]
    with pytest.raises(error) as refused:
        victim.receive(forged(meeting.roster(), change))
    assert type(refused.value) is error
    assert refused.value.peer == blamed
    assert victim.done
    assert kinds(victim.repeat()) == [Advertise]


def kinds(frames: list[Frame]) -> list[type[Any]]:
    return [codec.kind_of(frame) for frame in frames]


@rows("M11")
def test_with_the_check_of_credentials_off_a_sybil_is_believed(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Credential, "check", lambda credential, authority, who: None)
    meeting = Meeting.of()
    victim = meeting.clients[IDS[0]]
    change, _, _ = LIES["a key of the server's"]
    assert [codec.kind_of(frame).__name__ for frame in victim.receive(forged(meeting.roster(), change))]


@rows("M10")
def test_a_pinned_client_is_not_replaced_by_a_certified_key(row: str) -> None:
    known = {who: IDENTITIES[who].public for who in IDS}
    policy = Policy(known, authority=AUTHORITY.public, assumption=PLAN.assumption)
    assert policy.identity_of(IDS[2], credential(IDS[2])) == known[IDS[2]]
    with pytest.raises(KeyMismatch, match="another identity than the one my policy pins"):
        policy.identity_of(IDS[2], Credential.issue(AUTHORITY, IDS[2], SYBIL.public))
