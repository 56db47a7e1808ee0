"""Whole encrypted rounds with bent letters in them: whatever is accepted, the sum is that of the accepted uploads.

    phase_i = c0_i + s c1_i        each accepted upload, under the key that the holders' roots give
    sum of the vectors in phase_i  what the round must open to, extras included, or it ends in a named error

The key and the phases of single uploads exist in this file alone. Signatures are believed, so a bent letter is one
that its own sender could have sent.
"""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols import codec
from protocols.ckks.messages import EncryptedSum
from protocols.ckks.vector import aggregate_of
from protocols.codec import HEADER, SIGNATURE_BYTES, Frame, kind_of
from protocols.errors import ImplausibleSum, RoundLost
from protocols.messages import Aggregate
from protocols.party import SERVER, PartyId
from secagg.ckks.cipher import add_into, open_exact
from secagg.ckks.share import own_key
from secagg.ckks.wire import unpack
from secagg.negacyclic import Integers, N, Residues, big_product
from tests.fuzz import targets
from tests.fuzz.corpus import Pose
from tests.fuzz.encrypted import EncryptedRecording, encrypted_recordings
from tests.fuzz.mutate import Focused, Seed

# One letter in so many is bent; what is refused is bent again, so often at most.
ONE_IN, TRIES = 6, 4
EXACT, DESPITE = "the exact sum", "the exact sum, bent letters in it"


@dataclass
class Bout:
    """A recorded round, played again and again from its stored endpoints."""

    recording: EncryptedRecording
    number: int
    tally: Counter[str] = field(init=False, default_factory=Counter)

    def __post_init__(self) -> None:
        self.mutator = Focused(self.number, [Seed(frame, ()) for frame in self.recording.uploads.values()])
        self.secret = secret_of(self.recording)
        self.vector = functools.lru_cache(256)(self.vector_in)

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
            if kind_of(question) is EncryptedSum:
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
        seed = Seed(honest, ())
        if self.mutator.below(4) == 0:
            return targets.repaired(self.mutator.mutant(seed))
        data = bytearray(honest)
        for _ in range(1 + self.mutator.below(2)):
            (self.mutator.flip if self.mutator.below(2) else self.mutator.byte)(seed, data)
        return targets.repaired(bytes(data))

    def judged(self, accepted: dict[PartyId, bytes]) -> str:
        opened, expected = self.server.aggregate, self.expected(accepted)
        if expected is None or not targets.same_sum(opened, expected):
            raise AssertionError(f"a wrong sum was accepted: {opened} for {expected}")
        return DESPITE if self.bent else EXACT

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


def arrived(state: Any) -> dict[PartyId, int]:
    """Who has spoken in this room."""
    return {who: id(letter) for who, letter in getattr(state, "arrived", {}).items()}


def secret_of(recording: EncryptedRecording) -> Residues:
    """The collective key: nobody has it outside this test."""
    company, epoch = recording.company, recording.epoch
    total = np.zeros(N, np.uint64)
    for who in company.holder_ids:
        add_into(total, own_key(company.ceremony_root(who, epoch), epoch.context).residues)
    return total


def sum_loop(number: int, count: int) -> Counter[str]:
    """So many rounds with bent letters: how they ended, and how many frames the server took or refused."""
    recording = encrypted_recordings()[number % 2]
    with recording.company.conditions(), targets.trusting(), targets.without_tenseal():
        bout = Bout(recording, number)
        for _ in range(count):
            bout.play()
    return bout.tally
