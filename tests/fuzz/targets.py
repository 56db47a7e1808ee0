"""What the fuzzers shoot at, and what counts as a hit.

    open_any    bytes -> frame -> message                 only the codec's errors, or the one canonical form
    Scene       message -> one state of one role          only what the engine's rules allow
    Door        bytes -> one endpoint's `receive`         only what its docstring says

Whatever else comes out (KeyError, IndexError, numpy's errors, MemoryError ...) is not caught here and fails the
test. `trusting` makes every signature pass: damage behind a signature is what a registered villain can do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from typing import Any

import pytest

from protocols import codec, countersigning, wire
from protocols.codec import HEADER, MAGIC, SIGNATURE_BYTES, VERSION
from protocols.committee import FIRST_HOLDER
from protocols.endpoint import Client
from protocols.endpoint import server as endpoint_server
from protocols.endpoint.hub import Hub
from protocols.endpoint.images import CLIENT_ROLES, SERVER_ROLES
from protocols.errors import Malformed, Misbehaved, Misused, OutOfTurn, RoundLost, TooLarge
from protocols.messages import Aggregate
from protocols.pairwise import server as pairwise_server
from protocols.party import APP, SERVER, Blame, Envelope, Excluded, Failed, Party, PartyId, Role
from secagg.ckks.cipher import Fft
from tests.fuzz.corpus import MAKER, Pose, Recording
from tests.fuzz.corpus import believe as believe
from tests.fuzz.corpus import no_signature as no_signature
from tests.fuzz.opened import OpenedRecording

LIMIT = 1 << 20
SIGNATURE = bytes(SIGNATURE_BYTES)
ACCEPTED = "accepted"
# Of so many frames that only led to a note, one is followed by a look at the whole endpoint.
LOOK = 16


def require(condition: object, rule: str) -> None:
    if not condition:
        raise AssertionError(rule)


@contextmanager
def trusting() -> Iterator[None]:
    """Inside, frames, advertisements and witnesses need no true signature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "verify", believe)
        patch.setattr(countersigning, "verify", believe)
        patch.setattr(pairwise_server, "verify", believe)
        patch.setattr(endpoint_server, "verify", believe)
        yield


class NoTenseal(MetaPathFinder):
    """Whoever looks for tenseal fails, with an error that no decoder takes for one of its own."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        require(name.partition(".")[0] != "tenseal", "a call into tenseal")


@contextmanager
def without_tenseal() -> Iterator[None]:
    """Inside, in a process that has never loaded it, tenseal cannot be called."""
    require("tenseal" not in sys.modules, "this process has loaded tenseal: shoot in one of the pool")
    finder = NoTenseal()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


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


# --- who is shot at -------------------------------------------------------------------------------


def role_of(recording: Recording, pose: Pose) -> Role:
    """The table of the party that takes this pose."""
    if pose.who == SERVER:
        return SERVER_ROLES[pose.kind]
    if isinstance(recording, OpenedRecording) and pose.who == MAKER:
        return recording.maker_role
    if isinstance(recording, OpenedRecording) and pose.who >= FIRST_HOLDER:
        return recording.opener_role
    return CLIENT_ROLES[pose.kind]


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
        self.role = role_of(self.recording, self.pose)
        self.supplied = self.recording.supplied(self.pose.who)
        self.reset()

    def reset(self) -> None:
        self.party = Party(self.role, codec.thaw(self.pose.kind, self.pose.state, self.supplied))

    @property
    def senders(self) -> Sequence[PartyId]:
        """Who can reach this party: who answers for itself hears its server only, a server whomever it knows."""
        company, holders = self.recording.company, tuple(self.recording.company.holders)
        if self.pose.who == SERVER:
            return company.ids + holders
        return holders if self.pose.who == MAKER else (SERVER,)

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
            excludes = self.role.blame is Blame.EXCLUDE
            require(not excludes or isinstance(error, RoundLost), "a message has ended a server's call")
            if type(before) in self.role.lasting:
                require(self.party.state is before, "a refusal has changed a state that outlives it")
                return type(error).__name__
            require(isinstance(self.party.state, Failed), "a party goes on after a refusal")
            self.reset()
            return type(error).__name__
        notes = [each.message for each in out if each.to == (APP,) and isinstance(each.message, Excluded)]
        # Where more is said than notes, the message was taken, and led to notes on others.
        if notes and len(notes) == len(out):
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


def same_sum(one: Aggregate, other: Aggregate) -> bool:
    """Bit for bit, weights and metrics included."""
    return wire.encode(one) == wire.encode(other)


# --- endpoints ------------------------------------------------------------------------------------


def endpoint_of(recording: Recording, who: PartyId) -> Any:
    """A new endpoint of this party, which believes every signature."""
    company = recording.company
    if who == SERVER:
        return company.server()
    if isinstance(recording, OpenedRecording) and who in company.holders:
        return recording.opener(who)
    return Client(company.policy, company.identities[who], company.identity.public, believe, engine=Fft())


@dataclass
class Door:
    """One stored endpoint, put back whenever a frame has changed it."""

    recording: Recording
    pose: Pose
    endpoint: Any = field(init=False)
    shrugs: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        if isinstance(self.recording, OpenedRecording) and self.pose.who == MAKER:
            supplied = self.recording.supplied(MAKER)
            self.endpoint = self.recording.set_maker(codec.thaw(self.pose.kind, self.pose.state, supplied))
        else:
            self.endpoint = endpoint_of(self.recording, self.pose.who)
            self.endpoint.thaw(self.pose.image)

    def same(self) -> bool:
        """Whether the endpoint is as it was posed."""
        if self.pose.who == MAKER:
            return codec.freeze(self.endpoint._party.state) == self.pose.state and not self.endpoint._answered
        return bool(self.endpoint.freeze() == self.pose.image)

    def receive(self, data: bytes) -> str:
        """Hand these bytes to the endpoint; the outcome's name. Fails unless `receive` keeps its word."""
        before, is_hub = self.endpoint._party.state, isinstance(self.endpoint, Hub)
        answered = dict(self.endpoint._answered) if is_hub else {}
        try:
            self.endpoint.receive(data)
        except (RoundLost, Misbehaved) as error:
            require(not is_hub or isinstance(error, RoundLost), "a faulty frame has ended a server's call")
            if self.endpoint._party.state is before:
                require(self.same(), "a refused frame has left something behind")
            else:
                require(isinstance(self.endpoint._party.state, Failed), "an endpoint goes on after a refusal")
                require(not isinstance(error, OutOfTurn), "a frame out of turn has ended a round")
                require(open_any(data) == ACCEPTED, "bytes that are no message have ended a round")
                self.reset()
            return type(error).__name__
        notes = self.endpoint.excluded if is_hub else []
        if notes and self.endpoint._party.state is before and self.endpoint._answered == answered:
            return self.shrug(notes)
        self.require_right_sum()
        codec.freeze(self.endpoint._party.state)
        outcome = notes[0].error if notes else ACCEPTED
        self.reset()
        return str(outcome)

    def shrug(self, notes: list[Excluded]) -> str:
        """A frame that got no further than a note: now and then the endpoint is looked at whole."""
        [note] = notes
        self.endpoint.excluded = []
        self.shrugs += 1
        require(self.shrugs % LOOK or self.same(), "a refused frame has left something behind")
        return note.error

    def require_right_sum(self) -> None:
        """What was opened after a bent answer is what was opened after the honest one."""
        recorded = self.recording.aggregate if isinstance(self.recording, OpenedRecording) else None
        opened = getattr(self.endpoint, "aggregate", None)
        if recorded is not None and opened is not None:
            require(same_sum(opened, recorded), f"a wrong sum was accepted: {opened} for {recorded}")

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
