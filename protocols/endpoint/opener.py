"""Whoever opens sums behind the codec, with a part of a key or with all of it: frames of the server in, answers out.

    opener = Holder(me, policy, identity, server_key)            or Decryptor(...)
    send(opener.receive(data))            a key is made, then one answer for each sum; store `freeze()` before it leaves

An answer about a sum is a function of what is stored, so a question that comes again, after a crash or a lost answer,
gets the same bytes without their being kept.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from protocols import codec, wire
from protocols.ckks.decryptor import DecryptorPolicy
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.messages import Invite
from protocols.codec import Frame, Header
from protocols.endpoint.images import IMAGE_VERSION, HolderImage, Said, Topic, restored, stage_of
from protocols.endpoint.turns import Turns
from protocols.errors import Malformed, Misused, OutOfTurn, Replay
from protocols.oneshot.member import MemberPolicy
from protocols.oneshot.messages import Convene
from protocols.party import MAX_CLIENT_ID, SERVER, Envelope, Failed, Party, PartyId, Role
from protocols.plan import NOTHING
from protocols.verifying import Verifier
from protocols.wire import Buffer
from secagg.keys import Context, Identity, Seed, derive, verify

LABEL_ROOT = b"secagg/v1/endpoint/holder-root"

PolicyOf = TypeVar("PolicyOf", HolderPolicy, DecryptorPolicy, MemberPolicy)


@dataclass(frozen=True, slots=True)
class Part:
    """What an opener plays: its role, its states in order and two of them by name, and what it is told.

    `question` is the letter that asks for a sum; in a holding state none is longer than `largest_question` says, in
    bytes. Answers to `openings` follow from the state, and so can be said again without being kept.
    """

    role: Role
    states: tuple[type[Any], ...]
    uninvited: type[Any]
    holding: type[Any]
    told: frozenset[type[Any]]
    question: type[Any]
    openings: frozenset[type[Any]]
    largest_question: Callable[[Any], int]


class Opener(ABC, Generic[PolicyOf]):
    """One party that opens sums, over many keys, one key at a time. What it plays its subclass says.

    Guarantee: whatever the server sends, one sum of a round is opened at most, over at least `policy.min_cohort` pinned
        clients who signed for it under this very key, and no more sums than the key was made for.
    Limit: an older image that is put back is believed, unless it is given to the very party that has gone on.
    """

    part: ClassVar[Part]

    def __init__(
        self,
        me: int,
        policy: PolicyOf,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
    ) -> None:
        if type(me) is not int or not 0 <= me <= MAX_CLIENT_ID:
            raise Misused(f"{type(self).__name__}s are numbered 0..{MAX_CLIENT_ID}, got {me!r}")
        if not isinstance(server_key, bytes) or len(server_key) != len(NOTHING):
            raise Misused("server_key is the server's public key, 32 bytes: server.public, or its identity's")
        self.me = PartyId(me)
        self.policy: PolicyOf = policy
        self.server_key = server_key
        self.deterministic = False
        self._identity = identity
        self._draw_root: Callable[[Context], Seed] = lambda context: Seed.fresh()
        self._own = self._owned(verifier)
        self._numbers: dict[bytes, int] = {}
        self._name = type(self).__name__.lower()
        self._turns = Turns(self._name)
        self._answered = NOTHING
        self._replies: list[Frame] = []
        self._topic: Topic | None = None
        self._party = Party(self.part.role, Failed("NoKey", "no ceremony has been held"))

    @classmethod
    def from_root(
        cls,
        root: Seed,
        me: int,
        policy: PolicyOf,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
    ) -> Self:
        """INSECURE outside tests: every secret is a function of `root`, so runs can be repeated."""
        made = cls(me, policy, identity, server_key, verifier)
        made.deterministic = True
        made._draw_root = lambda context: derive(root, LABEL_ROOT, context, made.me.to_bytes(4, "little"))
        return made

    def __copy__(self) -> Self:
        """Raises: Misused; two openers of one state would open two sums of one round."""
        raise Misused(f"a {self._name} is never copied: freeze it and thaw it in a new one, and go on with that alone")

    @abstractmethod
    def _owned(self, verifier: Verifier) -> Any:
        """Who this is, as its role has it: given again after a restart, never stored."""

    @property
    def holding(self) -> bool:
        """Whether there is a certified key here, or a part of one, to open sums with."""
        return isinstance(self._party.state, self.part.holding)

    @property
    def public(self) -> bytes:
        """The identity key under which others know this party."""
        return self._identity.public

    def receive(self, data: Buffer) -> list[Frame]:
        """Take one frame from the server and return the answer; a repeated frame gets the same answer.

        Raises: Misbehaved of the kind that fits. A frame that is not the server's, does not parse, is OutOfTurn or
            invites to a spent number (Replay) or to a key that the policy refuses changes nothing, nor does a question
            that is refused; after any other a key that is being made is given up. Misused in a forked process, or while
            another thread is inside.
        """
        with self._turns.one(self._party):
            return self._receive(data)

    def _receive(self, data: Buffer) -> list[Frame]:
        header = codec.read_header(data, SERVER, self._limit())
        if header.sender != SERVER:
            raise Malformed(SERVER, f"relayed a frame that names party {header.sender} as its sender")
        kind = codec.KINDS[header.kind]
        if kind not in self.part.told:
            raise OutOfTurn(SERVER, f"sends a {kind.__name__}, which is not said to {self._name}s")
        if kind is not self.part.question and header.length > codec.MAX_CONTROL_BYTES:
            raise OutOfTurn(SERVER, f"sends a {kind.__name__} of {header.length} bytes")
        fingerprint = codec.fingerprint(data)
        if hmac.compare_digest(fingerprint, self._answered):
            return list(self._replies)
        message = codec.open_frame(data, header, self.server_key)
        if isinstance(message, Invite | Convene):
            envelopes = self._begun(header, message)
        else:
            if kind is not self.part.question:
                self._require_ceremony(header)
            envelopes = self._party.receive(SERVER, message)
        frames = self._signed(header, envelopes)
        if kind not in self.part.openings:
            self._answered, self._replies = fingerprint, frames
        return list(frames)

    def repeat(self) -> list[Frame]:
        """What was said here last while the key was made: after a restart or a lost connection."""
        return list(self._replies)

    def freeze(self) -> bytes:
        """Everything that must not be forgotten, as bytes. Secret: store it readable by its owner only."""
        with self._turns.one(self._party):
            state = self._party.state
            image = HolderImage(
                version=IMAGE_VERSION,
                owner=self.public,
                numbers=self._numbers,
                answered=self._answered,
                replies=tuple(Said(frame.to, bytes(frame)) for frame in self._replies),
                topic=self._topic,
                kind=self.part.states.index(type(state)),
                state=codec.freeze(state),
            )
            return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the party that `freeze` described; policy and identity are those given at construction.

        Raises: Misused when the bytes are no image of this version, or older than this very party: going back would
            open a second sum of a round.
        """
        with self._turns.one(self._party):
            image, state = restored(
                HolderImage, data, self.public, self.part.states, lambda _: {type(self._own): self._own}
            )
            if self._is_older(image, state):
                raise Misused(
                    f"this image is older than the {self._name} it is given to: it would open sums a second time"
                )
            self._numbers, self._topic = dict(image.numbers), image.topic
            self._answered = image.answered
            self._replies = [Frame(said.to, (bytes(said.data),)) for said in image.replies]
            self._party.abandon(f"the {self._name} was restored")
            self._party = Party(self.part.role, state)

    def _is_older(self, image: HolderImage, state: Any) -> bool:
        if any(image.numbers.get(task, -1) < number for task, number in self._numbers.items()):
            return True
        mine, states = self._party.state, self.part.states
        if image.topic != self._topic or self._topic is None:
            return False
        if isinstance(mine, self.part.holding) and isinstance(state, self.part.holding):
            return bool(state.answered < mine.answered)
        return stage_of(states, state) < stage_of(states, mine)

    def _limit(self) -> int:
        state = self._party.state
        if not isinstance(state, self.part.holding):
            return codec.MAX_CONTROL_BYTES
        return max(codec.MAX_CONTROL_BYTES, self.part.largest_question(state))

    def _begun(self, header: Header, invitation: Invite | Convene) -> list[Envelope]:
        """What is said to a key that is agreed to; only then is the one before given up.

        Raises: Replay for a key whose number is not above the last: an old invitation is anybody's to replay.
        """
        epoch, topic = invitation.epoch, Topic.of_key(invitation.epoch)
        if not topic.covers(header):
            raise Malformed(SERVER, "the frame and the invitation inside it name different keys")
        if epoch.number <= self._numbers.get(header.task, -1):
            raise Replay(SERVER, f"key {epoch.number} of this task is past; make one of a higher number")
        party = Party(self.part.role, self.part.uninvited(self._own, self._draw_root(epoch.context)))
        envelopes = party.receive(SERVER, invitation)
        self._party.abandon("the server began another key")
        self._numbers[header.task] = epoch.number
        self._topic, self._party = topic, party
        return envelopes

    def retire(self) -> None:
        """Erase the key: its rounds are over. Whoever finds the folder later can open nothing with it."""
        with self._turns.one(self._party):
            self._party.abandon("the key was retired")
            self._answered, self._replies = NOTHING, []

    def _require_ceremony(self, header: Header) -> None:
        if self._topic is None or not self._topic.covers(header):
            raise OutOfTurn(SERVER, f"speaks of key {header.round}, which is not being made here")

    def _signed(self, asked: Header, envelopes: list[Envelope]) -> list[Frame]:
        """Answers name what they answer: the ceremony, or the attempt at a round that asks for its sum."""
        about_key = self._topic is not None and codec.KINDS[asked.kind] is not self.part.question
        frames = []
        for envelope in envelopes:
            if about_key and self._topic is not None:
                frames.append(self._topic.frame(envelope, self.me, self._identity.sign))
            else:
                parts = codec.encode(envelope.message, self.me, asked.task, asked.round, self._identity.sign)
                frames.append(Frame(envelope.to, parts))
        return frames
