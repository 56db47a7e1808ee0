"""The server's side of a committee: everybody signs, and the certificate is made of it.

    Idle -Convoke-> Convening -Enlisted*-> Certified

Everybody must: what a quorum is safe against is counted over all its members.
"""

from __future__ import annotations

import hmac
from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated

from protocols.errors import KeyMismatch, Misused, TooFewMembers, blame
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Certificate, Convene, Enlisted
from protocols.party import APP, Blame, Envelope, PartyId, Role, Step, Wait
from protocols.verifying import Verifier
from protocols.wire import Supplied

convener = Role("one-shot convener", Blame.EXCLUDE)


@dataclass(frozen=True, slots=True)
class Known:
    """What is given again after a restart: how signatures are checked."""

    verify: Verifier


Supply = Annotated[Known, Supplied]


@dataclass(frozen=True, slots=True)
class Convoke:
    """APP -> server: convene this committee of these parties, in the order of the epoch's identities."""

    epoch: Epoch
    members: tuple[PartyId, ...]
    patience_seconds: int


@dataclass(frozen=True, slots=True)
class Convened:
    """Server -> APP: every member has signed; clients may be invited under this committee."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Idle:
    """Before the committee."""

    known: Supply


@dataclass(frozen=True, slots=True)
class Convening:
    """Members sign. Member i of the epoch is party `members[i - 1]`."""

    known: Supply
    epoch: Epoch
    members: tuple[PartyId, ...]
    arrived: dict[PartyId, Enlisted]

    @property
    def invited(self) -> Set[PartyId]:
        return frozenset(self.members)


@dataclass(frozen=True, slots=True)
class Certified:
    """The committee stands."""

    certificate: Certificate


@convener.on(Idle, Convoke)
def convoke(state: Idle, sender: PartyId, message: Convoke) -> Step:
    if len(set(message.members)) != len(message.epoch.members):
        raise Misused(f"{len(set(message.members))} parties for a committee of {len(message.epoch.members)}")
    wait = Envelope((APP,), Wait(Convening.__name__, message.patience_seconds))
    room = Convening(state.known, message.epoch, message.members, {})
    return room, [Envelope(message.members, Convene(message.epoch)), wait]


def keep_enlisted(room: Convening, who: PartyId, letter: Enlisted) -> Convening:
    with blame(who):
        place = room.members.index(who) + 1
        letter.check(room.epoch.members[place - 1], room.epoch.context, place, room.known.verify)
    if any(hmac.compare_digest(letter.box_key, other.box_key) for other in room.arrived.values()):
        # Against: a certificate that every client refuses, in the name of the server.
        raise KeyMismatch(who, "serves under the key of another member")
    room.arrived[who] = letter
    return room


def everybody(room: Convening) -> bool:
    return len(room.arrived) == len(room.members)


def close_convening(room: Convening) -> Step:
    silent = tuple(who for who in room.members if who not in room.arrived)
    if silent:
        raise TooFewMembers(len(room.arrived), len(room.members), "Convening", silent)
    certificate = Certificate(room.epoch, tuple(room.arrived[who] for who in room.members))
    return Certified(certificate), [Envelope((APP,), Convened(certificate))]


convener.room(Convening, Enlisted, keep=keep_enlisted, complete=everybody, close=close_convening)
