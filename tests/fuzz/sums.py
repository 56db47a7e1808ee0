"""Whole rounds in which letters are bent, and a second opinion on what they must end in.

    vector in an upload            under the key that the roots give, of its client or of all holders together
    sum of those in all uploads    what the round must open to, extras included, or it ends in a named error

The keys and the vectors of single uploads exist in this file alone. Signatures are believed, so a bent letter is one
that its own sender could have sent.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from protocols import codec
from protocols.ckks.vector import aggregate_of
from protocols.codec import HEADER, SIGNATURE_BYTES, Frame, kind_of
from protocols.errors import ImplausibleSum, RoundLost
from protocols.messages import Aggregate
from protocols.oneshot import epoch as names
from protocols.oneshot.messages import Concealed
from protocols.oneshot.shape import Shape
from protocols.party import SERVER, PartyId
from protocols.plan import context_of
from protocols.submission import checked_sums
from secagg.box import open_box
from secagg.ckks.cipher import add_into, open_exact
from secagg.ckks.share import own_key
from secagg.ckks.wire import unpack
from secagg.errors import BadCiphertext
from secagg.keys import AgreementKey
from secagg.negacyclic import Integers, N, Residues, big_product
from secagg.ring import RingVector
from secagg.rlwe import reveal
from secagg.shamir import combine_packed
from tests.fuzz import targets
from tests.fuzz.corpus import Pose
from tests.fuzz.encrypted import EncryptedRecording, encrypted_recordings
from tests.fuzz.mutate import Focused, Seed
from tests.fuzz.oneshot import OneShotRecording, oneshot_recordings
from tests.fuzz.opened import OpenedRecording

# One letter in so many is bent; what is refused is bent again, so often at most.
ONE_IN, TRIES = 6, 4
# Where a header names who speaks.
SENDER_AT = 4
EXACT, DESPITE = "the exact sum", "the exact sum, bent letters in it"


class Bout(ABC):
    """A recorded round, played again and again from its stored endpoints."""

    def __init__(self, recording: OpenedRecording, number: int) -> None:
        self.recording, self.tally = recording, Counter[str]()
        self.mutator = Focused(number, [Seed(frame, ()) for frame in recording.uploads.values()])

    @abstractmethod
    def expected(self, accepted: dict[PartyId, bytes]) -> Aggregate | None:
        """The sum of these uploads; None when there is none that anybody may open."""

    def play(self) -> None:
        """One round. Fails when it ends in another sum than that of the uploads it accepted."""
        self.server = self.at(self.recording.summing)
        self.holders = {who: self.at(pose) for who, pose in self.recording.holding.items()}
        self.bent = 0
        try:
            end = self.judged(self.taken_uploads())
        except RoundLost as lost:
            end = type(lost).__name__
        self.tally[end] += 1

    def at(self, pose: Pose) -> Any:
        endpoint = targets.endpoint_of(self.recording, pose.who)
        endpoint.thaw(pose.image)
        return endpoint

    def taken_uploads(self) -> dict[PartyId, bytes]:
        """Which frame of each client is in the sum, after the whole round was played."""
        accepted: dict[PartyId, bytes] = {}
        queue: deque[Frame] = deque()
        for who, honest in self.recording.uploads.items():
            accepted[who] = self.say(honest, queue)
        while not self.server.done:
            if not queue:
                queue.extend(self.server.deadline("Opening"))
            question = queue.popleft()
            if kind_of(question) is self.recording.question:
                self.ask(question, queue)
        return accepted

    def ask(self, question: Frame, queue: deque[Frame]) -> None:
        for who in question.to:
            for answer in self.holders[who].receive(bytes(question)):
                self.say(bytes(answer), queue)

    def say(self, honest: bytes, queue: deque[Frame]) -> bytes:
        """Say this to the server, or bent letters in its place until one is accepted; returns what was accepted."""
        for frame in self.attempts(honest):
            before, notes = self.server._party.state, len(self.server.excluded)
            known = arrived(before)
            queue.extend(self.server.receive(frame))
            self.tally["frames"] += 1
            if self.server._party.state is not before or arrived(before) != known:
                self.bent += frame != honest
                return frame
            targets.require(len(self.server.excluded) > notes, "a frame was neither taken nor noted")
        raise AssertionError("an honest letter was refused")

    def attempts(self, honest: bytes) -> Iterator[bytes]:
        if not self.mutator.below(ONE_IN):
            for _ in range(TRIES):
                # Frames of one header and signature are one frame to a server that has answered it.
                yield self.bend(honest)[:-SIGNATURE_BYTES] + self.mutator.draw.randbytes(SIGNATURE_BYTES)
        yield honest

    def bend(self, honest: bytes) -> bytes:
        """Another letter of the same sender."""
        seed = Seed(honest, ())
        data = bytearray(honest)
        if self.mutator.below(4) == 0:
            data = bytearray(self.mutator.mutant(seed))
        else:
            for _ in range(1 + self.mutator.below(2)):
                (self.mutator.flip if self.mutator.below(2) else self.mutator.byte)(seed, data)
        bent = targets.repaired(bytes(data))
        return bent[:SENDER_AT] + honest[SENDER_AT : SENDER_AT + 4] + bent[SENDER_AT + 4 :]

    def judged(self, accepted: dict[PartyId, bytes]) -> str:
        opened, expected = self.server.aggregate, self.expected(accepted)
        if expected is None or not targets.same_sum(opened, expected):
            raise AssertionError(f"a wrong sum was accepted: {opened} for {expected}")
        return DESPITE if self.bent else EXACT


def arrived(state: Any) -> dict[PartyId, int]:
    """Who has spoken in this room."""
    return {who: id(letter) for who, letter in getattr(state, "arrived", {}).items()}


# --- under the key of all holders together --------------------------------------------------------------


class EncryptedBout(Bout):
    """phase_i = c0_i + s c1_i for each upload; the round opens to what is in the sum of them."""

    def __init__(self, recording: EncryptedRecording, number: int) -> None:
        super().__init__(recording, number)
        self.secret = secret_of(recording)
        self.vector = functools.lru_cache(256)(self.vector_in)

    def expected(self, accepted: dict[PartyId, bytes]) -> Aggregate | None:
        """The sum of these uploads; None when their extras contradict it."""
        total = np.sum([self.vector(frame) for frame in accepted.values()], axis=0)
        agreement, keys = self.server.agreement, self.recording.epoch.plan.keys
        try:
            return aggregate_of(agreement, keys, tuple(sorted(accepted)), total)
        except ImplausibleSum:
            return None

    def vector_in(self, frame: bytes) -> Integers:
        """What is encrypted in one upload."""
        plan = self.recording.epoch.plan
        letter = codec.decode_body(kind_of(frame), frame[HEADER.size : -SIGNATURE_BYTES], SERVER)
        phase = unpack(letter.c0, plan.blocks * N, plan.width0).reshape(plan.blocks, N)
        add_into(phase, big_product(unpack(letter.c1, plan.blocks * N, plan.width1).reshape(phase.shape), self.secret))
        return open_exact(plan, phase).values


def secret_of(recording: EncryptedRecording) -> Residues:
    """The collective key: nobody has it outside this test."""
    company, epoch = recording.company, recording.epoch
    total = np.zeros(N, np.uint64)
    for who in company.holder_ids:
        add_into(total, own_key(company.ceremony_root(who, epoch), epoch.context).residues)
    return total


# --- under the key of each client -----------------------------------------------------------------------


class OneShotBout(Bout):
    """phase_i = c_i - a s_i for each upload; the round opens to what is in the sum of them, if its error is one."""

    def __init__(self, recording: OneShotRecording, number: int) -> None:
        super().__init__(recording, number)
        self.agreement = self.at(recording.summing).agreement
        self.shape, self.context = Shape.of(self.agreement), context_of(self.agreement)
        self.keys = [AgreementKey(self.at(pose)._party.state.key) for pose in recording.holding.values()]
        self.secrets = {who: self.secret_of(who, frame) for who, frame in recording.uploads.items()}

    def secret_of(self, who: PartyId, frame: bytes) -> Integers:
        """What this client masked with: the last members can tell, as many as it takes."""
        letter, quorum = upload_in(frame), self.recording.epoch.quorum
        places = range(quorum.members - quorum.needed + 1, quorum.members + 1)
        shares = {}
        for place in places:
            key = names.box_key(self.keys[place - 1].agree(letter.box_key), self.context, who, place)
            dealt = open_box(key, bytes(letter.boxes[place - 1]), names.box_binding(self.context, who, place))
            shares[place] = names.share_from_bytes(dealt)
        return combine_packed(shares, quorum, N)

    def expected(self, accepted: dict[PartyId, bytes]) -> Aggregate | None:
        shape, survivors = self.shape, tuple(sorted(accepted))
        total: RingVector = np.sum([self.vector_in(frame) for frame in accepted.values()], axis=0, dtype=np.uint64)
        total &= np.uint64(shape.mask.ring.modulus - 1)
        secret = np.sum([self.secrets[who] for who in survivors], axis=0)
        try:
            vector, words = shape.sums(reveal(shape.mask, total, secret, self.context, len(survivors)))
            weights, metrics = checked_sums(self.agreement, shape.coding, shape.extras, len(survivors), vector, words)
        except (BadCiphertext, ImplausibleSum):
            return None
        return Aggregate(vector, weights, survivors, {}, metrics)

    def vector_in(self, frame: bytes) -> RingVector:
        """The masked vector of one upload."""
        mask = self.shape.mask
        return mask.ring.unpack(upload_in(frame).vector, mask.coefficients).astype(np.uint64)


def upload_in(frame: bytes) -> Concealed:
    return codec.decode_body(Concealed, frame[HEADER.size : -SIGNATURE_BYTES], SERVER)


# --- so many of them ------------------------------------------------------------------------------------


def encrypted_sum_loop(number: int, count: int) -> Counter[str]:
    """So many rounds with bent letters: how they ended, and how many frames the server took or refused."""
    recording = encrypted_recordings()[number % 2]
    with recording.company.conditions():
        return played(lambda: EncryptedBout(recording, number), count)


def oneshot_sum_loop(number: int, count: int) -> Counter[str]:
    """The same under one-shot masks."""
    recording = oneshot_recordings()[number % 2]
    return played(lambda: OneShotBout(recording, number), count)


def played(bout_of: Callable[[], Bout], count: int) -> Counter[str]:
    with targets.trusting(), targets.without_tenseal():
        bout = bout_of()
        for _ in range(count):
            bout.play()
    return bout.tally
