"""What recordings of rounds have in common that others than the clients open, after a ceremony.

OpenedRecording     a ceremony, and a round that is opened by those who held it
record              plays both: posed are the server, who leads the ceremony, one client, and one who opens
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from protocols import codec
from protocols.codec import HEADER, SIGNATURE_BYTES, kind_of
from protocols.endpoint.images import Topic
from protocols.errors import BadDealing
from protocols.messages import Aggregate
from protocols.party import SERVER, Party, PartyId, Role
from protocols.simulate import Cohort, Fate, FaultPlan, Simulation
from tests.fuzz.corpus import LENGTH, MAKER, ROUND, Pose, Recording, Watched, first_and_last, train


@dataclass(frozen=True, slots=True)
class OpenedRecording(Recording):
    """A ceremony, and a round after it: `holding` are all who open before it, `aggregate` is what they opened.

    Both are empty where nothing was certified.
    """

    epoch: Any
    holding: Mapping[PartyId, Pose]
    aggregate: Aggregate | None

    maker_role: ClassVar[Role]
    opener_role: ClassVar[Role]
    # The server's room for uploads; an upload; what invites to the ceremony; what asks those who open.
    summing_state: ClassVar[type[Any]]
    upload: ClassVar[type[Any]]
    convocation: ClassVar[type[Any]]
    question: ClassVar[type[Any]]

    @property
    def summing(self) -> Pose:
        """The server before the first upload."""
        return next(pose for pose in self.poses if pose.kind is self.summing_state)

    @property
    def uploads(self) -> Mapping[PartyId, bytes]:
        """What each client sent, arrived or not."""
        found = (frame for frame in self.frames if kind_of(frame) is self.upload)
        return {PartyId(HEADER.unpack_from(frame)[3]): frame for frame in found}

    @abstractmethod
    def maker(self) -> Any:
        """Who leads the ceremony, before it."""

    @abstractmethod
    def opener(self, who: PartyId) -> Any:
        """One who opens, before the ceremony; it believes every signature."""

    def set_maker(self, state: Any) -> Any:
        """Who leads the ceremony in this state; it is not stored, so it is set where it was."""
        maker = self.maker()
        maker._about = Topic.of_key(self.epoch)
        maker._party = Party(self.maker_role, state)
        return maker


@dataclass(frozen=True, slots=True)
class Played:
    """A ceremony and a round after it, with poses of those that were watched."""

    frames: tuple[bytes, ...]
    poses: tuple[Pose, ...]
    epoch: Any
    holding: Mapping[PartyId, Pose]
    aggregate: Aggregate | None

    @classmethod
    def of(
        cls, company: Any, cohort: Cohort, convocation: type[Any], fates: Mapping[PartyId, Fate], opener: PartyId
    ) -> Self:
        """Posed are, beside the server and who leads the ceremony, the first client and this one of those who open."""
        simulation = Simulation(cohort, partial(train, company), FaultPlan(fates))
        committee: Any = cohort.committee
        holding = {}
        with suppress(BadDealing):
            task = cohort.keyed(company.task(LENGTH, ROUND))
            holding = {who: Pose.of(who, end) for who, end in committee.holders.items()}
            simulation.run(task)
        others = [end for who, end in committee.holders.items() if who != opener]
        first, *rest = cohort.clients.values()
        posed: list[Any] = [cohort.server, committee.ceremony.maker, committee.holders[opener], first]
        frames = tuple(dict.fromkeys(bytes(frame) for end in (*posed, *others, *rest) for frame in end.emitted))
        poses = tuple(pose for end in posed for pose in first_and_last(end.poses) if belongs(pose))
        [invitation] = {frame[HEADER.size : -SIGNATURE_BYTES] for frame in frames if kind_of(frame) is convocation}
        epoch = codec.decode_body(convocation, invitation, SERVER).epoch
        return cls(frames, poses, epoch, holding, cohort.server.aggregate)


def watched_maker(maker: Any) -> Watched:
    return Watched(maker, who=MAKER)


def belongs(pose: Pose) -> bool:
    """A server or client that waits for its first round is on the other stage."""
    return not pose.kind.__module__.startswith("protocols.pairwise")
