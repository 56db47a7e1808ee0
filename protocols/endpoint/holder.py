"""One holder of a part of a key behind the codec: frames of the server in, signed frames for it out.

    holder = Holder(me, policy, identity, server_key)
    send(holder.receive(data))              a ceremony, then one answer for each sum; store `freeze()` before it leaves

An answer is a function of what is stored, so a question that comes again, after a crash or a lost answer, gets the same
bytes without their being kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from protocols import codec, wire
from protocols.ckks import holder as roles
from protocols.ckks.epoch import Epoch, largest_question
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.messages import EncryptedSum, Invite, Probe
from protocols.codec import Frame, Header
from protocols.endpoint.images import HOLDER_STATES, IMAGE_VERSION, TO_HOLDERS, HolderImage, Said, Topic, restored
from protocols.endpoint.turns import Turns
from protocols.errors import Malformed, Misused, OutOfTurn, Replay
from protocols.party import MAX_CLIENT_ID, SERVER, Envelope, Failed, Party, PartyId
from protocols.plan import NOTHING
from protocols.verifying import Verifier
from protocols.wire import Buffer
from secagg.keys import Identity, Seed, derive, verify

LABEL_ROOT = b"secagg/v1/endpoint/holder-root"


class Holder:
    """One holder over many keys, one key at a time.

    Guarantee: whatever the server sends, one sum of a round is opened at most, over at least `policy.min_cohort` pinned
        clients who signed for it under this very key, and no more sums than the key was made for.
    Limit: an older image that is put back is believed, unless it is given to the very holder that has gone on.
    """

    def __init__(
        self,
        me: int,
        policy: HolderPolicy,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
    ) -> None:
        if not 0 <= me <= MAX_CLIENT_ID:
            raise Misused(f"holders are numbered 0..{MAX_CLIENT_ID}, got {me}")
        if identity.public not in policy.holders:
            raise Misused("this identity is not among those the policy pins, and a holder pins at least its own key")
        if not isinstance(server_key, bytes) or len(server_key) != len(NOTHING):
            raise Misused("server_key is the server's public key, 32 bytes: server.public, or its identity's")
        self.me = PartyId(me)
        self.policy = policy
        self.server_key = server_key
        self.deterministic = False
        self._own = roles.Own(identity.public, policy, identity.sign, verifier)
        self._draw_root: Callable[[Epoch], Seed] = lambda epoch: Seed.fresh()
        self._numbers: dict[bytes, int] = {}
        self._turns = Turns("holder")
        self._answered = NOTHING
        self._replies: list[Frame] = []
        self._epoch: Epoch | None = None
        self._party = Party(roles.holder, Failed("NoKey", "no ceremony has been held"))

    @classmethod
    def from_root(
        cls,
        root: Seed,
        me: int,
        policy: HolderPolicy,
        identity: Identity,
        server_key: bytes,
        verifier: Verifier = verify,
    ) -> Holder:
        """INSECURE outside tests: every secret is a function of `root`, so runs can be repeated."""
        made = cls(me, policy, identity, server_key, verifier)
        made.deterministic = True
        made._draw_root = lambda epoch: derive(root, LABEL_ROOT, epoch.context, made.me.to_bytes(4, "little"))
        return made

    @property
    def holding(self) -> bool:
        """Whether this holder has its part of a certified key."""
        return isinstance(self._party.state, roles.Holding)

    @property
    def public(self) -> bytes:
        """The identity key under which others know this holder."""
        return self._own.identity

    def receive(self, data: Buffer) -> list[Frame]:
        """Take one frame from the server and return the answer; a repeated frame gets the same answer.

        Raises: Misbehaved of the kind that fits. A frame that is not the server's, does not parse, is OutOfTurn or
            invites to a spent number (Replay) changes nothing; after any other this key is given up here. Misused in a
            forked process, or while another thread is inside.
        """
        with self._turns.one(self._party):
            return self._receive(data)

    def _receive(self, data: Buffer) -> list[Frame]:
        header = codec.read_header(data, SERVER, self._limit())
        if header.sender != SERVER:
            raise Malformed(SERVER, f"relayed a frame that names party {header.sender} as its sender")
        kind = codec.KINDS[header.kind]
        if kind not in TO_HOLDERS:
            raise OutOfTurn(SERVER, f"sends a {kind.__name__}, which is not said to holders")
        if kind is not EncryptedSum and header.length > codec.MAX_CONTROL_BYTES:
            raise OutOfTurn(SERVER, f"sends a {kind.__name__} of {header.length} bytes")
        fingerprint = codec.fingerprint(data)
        if hmac.compare_digest(fingerprint, self._answered):
            return list(self._replies)
        message = codec.open_frame(data, header, self.server_key)
        if isinstance(message, Invite):
            self._begin(header, message.epoch)
        elif not isinstance(message, EncryptedSum):
            self._require_ceremony(header)
        frames = self._signed(header, self._party.receive(SERVER, message))
        if not isinstance(message, EncryptedSum | Probe):
            # An opening can be said again from the state; what the ceremony's secrets said cannot.
            self._answered, self._replies = fingerprint, frames
        return list(frames)

    def repeat(self) -> list[Frame]:
        """What this holder said last in a ceremony: after a restart or a lost connection."""
        return list(self._replies)

    def freeze(self) -> bytes:
        """Everything this holder must not forget, as bytes. Secret: store it readable by its owner only."""
        with self._turns.one(self._party):
            state = self._party.state
            image = HolderImage(
                version=IMAGE_VERSION,
                numbers=self._numbers,
                answered=self._answered,
                replies=tuple(Said(frame.to, bytes(frame)) for frame in self._replies),
                epoch=self._epoch,
                kind=HOLDER_STATES.index(type(state)),
                state=codec.freeze(state),
            )
            return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the holder that `freeze` described; policy and identity are those given at construction.

        Raises: Misused when the bytes are no image of this version, or older than this very holder: going back would
            open a second sum of a round.
        """
        with self._turns.one(self._party):
            image, state = restored(HolderImage, data, HOLDER_STATES, lambda _: {roles.Own: self._own})
            if self._is_older(image, state):
                raise Misused("this image is older than the holder it is given to: it would open sums a second time")
            self._numbers, self._epoch = dict(image.numbers), image.epoch
            self._answered = image.answered
            self._replies = [Frame(said.to, (bytes(said.data),)) for said in image.replies]
            self._party.abandon("the holder was restored")
            self._party = Party(roles.holder, state)

    def _is_older(self, image: HolderImage, state: object) -> bool:
        if any(image.numbers.get(task, -1) < number for task, number in self._numbers.items()):
            return True
        mine = self._party.state
        if image.epoch != self._epoch or self._epoch is None:
            return False
        if isinstance(mine, roles.Holding) and isinstance(state, roles.Holding):
            return state.answered < mine.answered
        return HOLDER_STATES.index(type(state)) < HOLDER_STATES.index(type(mine))

    def _limit(self) -> int:
        state = self._party.state
        if not isinstance(state, roles.Holding):
            return codec.MAX_CONTROL_BYTES
        return max(codec.MAX_CONTROL_BYTES, largest_question(state.certificate.epoch.plan))

    def _begin(self, header: Header, epoch: Epoch) -> None:
        """Raises: Replay for a key whose number is not above the last: an old invitation is anybody's to replay."""
        if not Topic.of_key(epoch).covers(header):
            raise Malformed(SERVER, "the frame and the invitation inside it name different keys")
        if epoch.number <= self._numbers.get(header.task, -1):
            raise Replay(SERVER, f"key {epoch.number} of this task is past; make one of a higher number")
        # Drawn before anything is given up: where the system refuses, the same invitation may come again.
        state = roles.Uninvited(self._own, self._draw_root(epoch))
        self._party.abandon("the server began another key")
        self._numbers[header.task] = epoch.number
        self._epoch, self._party = epoch, Party(roles.holder, state)

    def _require_ceremony(self, header: Header) -> None:
        if self._epoch is None or not Topic.of_key(self._epoch).covers(header):
            raise OutOfTurn(SERVER, f"speaks of key {header.round}, which is not being made here")

    def _signed(self, asked: Header, envelopes: list[Envelope]) -> list[Frame]:
        """Answers name what they answer: the ceremony, or the attempt at a round that asks for its sum."""
        about_key = self._epoch is not None and codec.KINDS[asked.kind] is not EncryptedSum
        frames = []
        for envelope in envelopes:
            if about_key and self._epoch is not None:
                frames.append(Topic.of_key(self._epoch).frame(envelope, self.me, self._own.sign))
            else:
                parts = codec.encode(envelope.message, self.me, asked.task, asked.round, self._own.sign)
                frames.append(Frame(envelope.to, parts))
        return frames
