"""One-shot rounds played once, and remembered from the moment their sum is about to be opened.

Every secret is a function of a root, as in `benchmarks.recording`. Clients come and go one at a time: no more than one
upload is held, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from benchmarks.inputs import Floats, update_of
from benchmarks.recording import FIRST, ROOT, Heard, hear
from protocols.codec import Frame
from protocols.endpoint import Client, Member, Server, Task
from protocols.party import SERVER, PartyId
from protocols.plan import ONE_SHOT, RoundPlan
from protocols.simulate import Cohort, identity_from
from protocols.verifying import shared_memory


@dataclass(frozen=True, slots=True)
class Played:
    """What the clients heard, the server's image before the committee speaks, and what the committee hears and says."""

    cohort: Cohort
    task: Task
    invitation: bytes
    image: bytes
    question: bytes
    answers: tuple[Heard, ...]
    mean: Floats

    def client(self, who: PartyId = FIRST) -> Client:
        """This client before it has heard anything, checking every signature by itself."""
        made = self.cohort.clients[who]
        return Client.from_root(ROOT, made.policy, identity_from(ROOT, who), made.server_key)

    def ready(self, who: PartyId = FIRST) -> Client:
        """The same when it is invited."""
        client = self.client(who)
        client.receive(self.invitation)
        return client

    def upload(self, who: PartyId = FIRST) -> bytes:
        """The one frame that it says."""
        [frame] = self.ready(who).submit(update_of(who, self.task.length))
        return bytes(frame)

    def member(self) -> Member:
        """The first of the committee; it says the same as often as it is asked the same."""
        member = self.cohort.holders[min(self.cohort.holders)]
        assert isinstance(member, Member)
        return member

    def listening(self) -> Server:
        """The server that has opened the round and heard nothing yet."""
        made = self.cohort.server
        server = Server(made.plan, made.identities, identity_from(ROOT, SERVER), holders=made.holders)
        server.open(self.task)
        return server

    def before_opening(self) -> Server:
        """The server that has added everything up and waits for the committee."""
        made = self.cohort.server
        server = Server(made.plan, made.identities, identity_from(ROOT, SERVER), holders=made.holders)
        server.thaw(self.image)
        return server

    def open(self, server: Server) -> Floats:
        """What the committee's answers open, as the mean."""
        hear(server, list(self.answers))
        return server.mean()


def plan_of(clients: int) -> RoundPlan:
    """16 bits; a tenth of all may be corrupt, and three tenths lost where that leaves enough."""
    lost = Fraction(3, 10) if clients >= 10 else Fraction(0)
    return RoundPlan.recommend(clients, dropout=lost, corrupt=Fraction(1, 10), protocol=ONE_SHOT)


def play(clients: int, dimension: int, lost: frozenset[int] = frozenset()) -> Played:
    """A round of so many clients, of whom some are never heard of."""
    memory = shared_memory()
    cohort = Cohort.from_root(plan_of(clients), range(clients), ROOT, memory)
    task, server = cohort.keyed(Task(0, dimension, nonce=bytes(16))), cohort.server
    [opened] = server.open(task)
    invitation, questions = bytes(opened), []
    for who, known in cohort.clients.items():
        if who not in lost:
            # Those of the cohort would keep what they said, in case it is asked for again.
            client = Client.from_root(ROOT, known.policy, identity_from(ROOT, who), known.server_key, memory(who))
            client.receive(invitation)
            [upload] = client.submit(update_of(who, dimension))
            questions += server.receive(bytes(upload), who)
    if lost:
        assert server.wait is not None
        questions += server.deadline(server.wait.room)
    image, answers = server.freeze(), answered(cohort, questions)
    hear(server, answers)
    return Played(cohort, task, invitation, image, bytes(questions[0]), tuple(answers), server.mean())


def answered(cohort: Cohort, questions: list[Frame]) -> list[Heard]:
    """What the members say to what they are asked."""
    return [
        (who, bytes(frame))
        for question in questions
        for who in question.to
        for frame in cohort.holders[who].receive(bytes(question))
    ]
