"""What the fuzzers shoot at, and what counts as a hit.

    open_any    bytes -> frame -> message                 only the codec's errors, or the one canonical form
    Scene       message -> one state of one role          only what the engine's rules allow
    Door        bytes -> one endpoint's `receive`         only what its docstring says

Whatever else comes out (KeyError, IndexError, numpy's errors, MemoryError ...) is not caught here and fails the
test. `trusting` makes every signature pass: damage behind a signature is what a registered villain can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocols import codec, wire
from protocols.codec import HEADER, MAGIC, SIGNATURE_BYTES, VERSION
from protocols.endpoint import Client, Server
from protocols.errors import Malformed, Misbehaved, Misused, OutOfTurn, RoundLost, TooLarge
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import APP, SERVER, Envelope, Excluded, Failed, Party, PartyId, Role
from tests.fuzz.corpus import Pose, Recording

LIMIT = 1 << 20
SIGNATURE = bytes(SIGNATURE_BYTES)
ACCEPTED = "accepted"


def require(condition: object, rule: str) -> None:
    if not condition:
        raise AssertionError(rule)


def believe(public: bytes, text: bytes, signature: bytes) -> None:
    """A verifier that accepts everything."""


def no_signature(text: bytes) -> bytes:
    return SIGNATURE


@contextmanager
def trusting() -> Iterator[None]:
    """Inside, frames, advertisements and witnesses need no true signature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "verify", believe)
        patch.setattr(pairwise_server, "verify", believe)
        yield


# --- frames ---------------------------------------------------------------------------------------


def framed(kind: int, body: bytes, sender: int = SERVER, task: bytes = bytes(16), round: int = 0) -> bytes:
    """A frame whose header fits its body; its signature is for those who trust."""
    return HEADER.pack(MAGIC, VERSION, kind, sender, task, round, len(body)) + body + SIGNATURE


def kind_byte(frame: bytes) -> int:
    return frame[3]


def repaired(data: bytes) -> bytes:
    """The frame with whatever its header needs to reach the decoder of its body: version, known kind, length."""
    head = data[: HEADER.size].ljust(HEADER.size, b"\0")
    _, _, kind, sender, task, round_, _ = HEADER.unpack(head)
    body = data[HEADER.size :][: -SIGNATURE_BYTES or None]
    return framed(1 + (kind - 1) % len(codec.KINDS), body, sender, task, round_)


def open_any(data: bytes) -> str:
    """Open a frame as an endpoint does, all signatures trusted: the outcome's name.

    Fails when the message that was accepted has another spelling than these bytes.
    """
    try:
        header = codec.read_header(data, SERVER, LIMIT)
        message = codec.open_frame(data, header, b"")
    except (Malformed, TooLarge) as error:
        return type(error).__name__
    again = header.to_bytes() + wire.encode(message) + data[-SIGNATURE_BYTES:]
    require(again == data, "a second spelling of a message")
    return ACCEPTED


# --- states ---------------------------------------------------------------------------------------


@dataclass
class Scene:
    """One state of one role, put back whenever a message has changed it."""

    recording: Recording
    pose: Pose
    role: Role = field(init=False)
    supplied: dict[Any, object] = field(init=False)
    party: Party = field(init=False)

    def __post_init__(self) -> None:
        company = self.recording.company
        self.role = pairwise_server.server if self.pose.who == SERVER else pairwise_client.client
        own = pairwise_client.Own(self.pose.who, company.policy, no_signature, believe)
        self.supplied = {pairwise_client.Own: own, pairwise_server.Registry: pairwise_server.Registry(company.known)}
        self.reset()

    def reset(self) -> None:
        self.party = Party(self.role, codec.thaw(self.pose.kind, self.pose.state, self.supplied))

    @property
    def senders(self) -> Sequence[PartyId]:
        """Who can reach this party: a client hears its server only, a server those whose identity it knows."""
        return self.recording.company.ids if self.role is pairwise_server.server else (SERVER,)

    def knows(self, message: object) -> bool:
        return (self.pose.kind, type(message)) in self.role.arrows

    def hear(self, sender: PartyId, message: object) -> str:
        """Say this to the party; the outcome's name. Fails unless the engine's rules hold (party.py, 1 to 4)."""
        before = self.party.state
        try:
            out = self.party.receive(sender, message)
        except OutOfTurn as error:
            require(self.party.state is before, "a message out of turn has changed the state")
            return type(error).__name__
        except (Misbehaved, RoundLost) as error:
            require(self.pose.who != SERVER or isinstance(error, RoundLost), "a message has ended a server's call")
            require(isinstance(self.party.state, Failed), "a party goes on after a refusal")
            self.reset()
            return type(error).__name__
        notes = [each.message for each in out if each.to == (APP,) and isinstance(each.message, Excluded)]
        if notes:
            require(self.party.state is before, "an ignored message has changed the state")
            # What no arrow takes has met nothing that it could change.
            if self.knows(message):
                require(codec.freeze(before) == self.pose.state, "an ignored message has changed the room")
            return str(notes[0].error)
        self.require_sound(out)
        self.reset()
        return ACCEPTED

    def require_sound(self, out: list[Envelope]) -> None:
        """What was accepted can be sent and stored."""
        for envelope in out:
            if envelope.to != (APP,):
                kind = type(envelope.message)
                back = wire.decode(kind, wire.encode(envelope.message))
                require(back == envelope.message, "a letter does not come back from its bytes")
        stored = codec.freeze(self.party.state)
        back = codec.thaw(type(self.party.state), stored, self.supplied)
        require(codec.freeze(back) == stored, "a state does not come back from its bytes")


# --- endpoints ------------------------------------------------------------------------------------


@dataclass
class Door:
    """One stored endpoint, put back whenever a frame has changed it."""

    recording: Recording
    pose: Pose
    endpoint: Any = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        company, who = self.recording.company, self.pose.who
        if who == SERVER:
            self.endpoint = Server(company.plan, company.known, company.identity)
        else:
            identity = company.identities[who]
            self.endpoint = Client(company.policy, identity, company.identity.public, believe)
        self.endpoint.thaw(self.pose.image)

    def receive(self, data: bytes) -> str:
        """Hand these bytes to the endpoint; the outcome's name. Fails unless `receive` keeps its word."""
        before = self.endpoint._party.state
        try:
            self.endpoint.receive(data)
        except (RoundLost, Misbehaved) as error:
            require(self.pose.who != SERVER or isinstance(error, RoundLost), "a faulty frame has ended a server's call")
            if self.endpoint._party.state is before:
                require(self.endpoint.freeze() == self.pose.image, "a refused frame has left something behind")
            else:
                require(isinstance(self.endpoint._party.state, Failed), "an endpoint goes on after a refusal")
                require(not isinstance(error, OutOfTurn), "a frame out of turn has ended a round")
                require(open_any(data) == ACCEPTED, "bytes that are no message have ended a round")
                self.reset()
            return type(error).__name__
        self.endpoint.freeze()
        notes = self.endpoint.excluded if self.pose.who == SERVER else []
        outcome = notes[0].error if notes else ACCEPTED
        self.reset()
        return str(outcome)

    def thaw(self, data: bytes) -> str:
        """Restore the endpoint from these bytes; what is restored is stored as the same bytes."""
        try:
            self.endpoint.thaw(data)
        except Misused as error:
            require(self.endpoint.freeze() == self.pose.image, "a refused image has left something behind")
            return type(error).__name__
        require(self.endpoint.freeze() == data, "what was restored is stored as other bytes")
        self.reset()
        return ACCEPTED
