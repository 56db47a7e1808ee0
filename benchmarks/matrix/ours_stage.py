"""One encrypted round of this library in which the villain has a client: real endpoints, and a hand on every frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from benchmarks.matrix.ciphertexts import Floats
from protocols import codec
from protocols.ckks import epoch as names
from protocols.ckks.messages import Certificate, Ciphertext
from protocols.cohort import Cohort, identity_from
from protocols.endpoint import Task
from protocols.messages import Submit
from protocols.party import SERVER, PartyId
from protocols.plan import ENCRYPTED, RoundPlan, context_of
from secagg.ckks.plan import CkksPlan
from secagg.keys import Seed

CLIENTS = 5
VILLAIN = PartyId(0)


def plan(clients: int = CLIENTS, clip: int = 1, bits: int = 16) -> RoundPlan:
    """One of five may vanish, and holders open a sum of four or five."""
    return RoundPlan.recommend(
        clients, dropout=Fraction(1, 5), corrupt=Fraction(0), clip=clip, bits=bits, protocol=ENCRYPTED
    )


class Stage:
    """The round is open; nobody has sent anything."""

    def __init__(self, vectors: dict[int, Floats], terms: RoundPlan | None = None) -> None:
        root = Seed.fresh()
        self.vectors = vectors
        self.cohort = Cohort.from_root(terms or plan(), vectors, root)
        self.server = self.cohort.server
        self.villain = identity_from(root, VILLAIN)
        task = self.cohort.keyed(Task(0, len(vectors[VILLAIN])))
        if not isinstance(task.certificate, Certificate):
            raise TypeError("an encrypted round has a certified key")
        self.certificate = task.certificate
        self.submitted: dict[int, Submit] = {}
        [invitation] = self.server.open(task, tuple(self.cohort.clients))
        self._invitation = bytes(invitation)

    @property
    def key_plan(self) -> CkksPlan:
        return self.certificate.epoch.plan

    def upload(self, who: int) -> bytes:
        """What this client sends, in the hand of whoever carries it."""
        client = self.cohort.clients[PartyId(who)]
        client.receive(self._invitation)
        self.submitted[who] = client.prepare(self.vectors[who])
        [frame] = client.send(self.submitted[who])
        return bytes(frame)

    def letter(self, frame: bytes) -> Ciphertext:
        """What is in a client's frame."""
        body = frame[codec.HEADER.size : -codec.SIGNATURE_BYTES]
        letter: Ciphertext = codec.decode_body(Ciphertext, body, SERVER)
        return letter

    def signed(self, c0: bytes, c1: bytes) -> bytes:
        """These halves from the villain's client, under its own good signatures."""
        agreement = self.server.agreement
        digests = names.digest(c0), names.digest(c1)
        text = names.upload_text(context_of(agreement), agreement.key, VILLAIN, *digests)
        attempt = codec.attempt_id(agreement.plan.task, agreement.nonce)
        letter = Ciphertext(c0, c1, self.villain.sign(text))
        return b"".join(codec.encode(letter, VILLAIN, attempt, agreement.round, self.villain.sign))

    def refusal_of(self, frame: bytes, who: int = VILLAIN) -> str:
        """The error by which the server excludes this frame; empty where it takes it."""
        before = len(self.server.excluded)
        self.server.receive(frame, PartyId(who))
        return ", ".join(note.error for note in self.server.excluded[before:])

    def finish(self, but: Iterable[int] = ()) -> Floats:
        """All others upload, the holders open; the mean of those counted."""
        left = set(but)
        letters = deque(
            frame
            for who in self.vectors
            if who not in left
            for frame in self.server.receive(self.upload(who), PartyId(who))
        )
        while not self.server.done:
            if not letters and self.server.wait is not None:
                letters.extend(self.server.deadline(self.server.wait.room))
            frame = letters.popleft()
            for holder in frame.to:
                if holder in self.cohort.holders and not self.server.done:
                    for answer in self.cohort.holders[holder].receive(bytes(frame)):
                        letters.extend(self.server.receive(bytes(answer), holder))
        return np.asarray(self.server.mean())
