"""Seeds of the fuzzers from committees and one-shot rounds, each a function of its number.

silent      a client vanishes, and a member: the others open
unreadable  a client deals one member what is no share: that one answers with its name, and the others open
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from protocols import codec
from protocols.codec import Frame, kind_of
from protocols.endpoint import Convener, Member
from protocols.oneshot import client as oneshot_client
from protocols.oneshot import convener as oneshot_convener
from protocols.oneshot import member as oneshot_member
from protocols.oneshot import server as oneshot_server
from protocols.oneshot.member import MemberPolicy
from protocols.oneshot.messages import Concealed, Convene, Included
from protocols.party import SERVER, PartyId
from protocols.plan import ONE_SHOT, Metric, RoundPlan
from protocols.simulate import Encrypted, Fate, Lost
from tests.contracts.company import Speaking, seed_of
from tests.fuzz.corpus import MAKER, Pose, Watched, believe, failed, no_signature, restaged
from tests.fuzz.opened import OpenedRecording, Played, watched_maker

CLIENTS, MEMBERS = 4, 5


class Company(Speaking):
    """Four clients of whom one may vanish, and five members of whom four open."""

    def __init__(self, number: int = 0) -> None:
        plan = RoundPlan.recommend(
            CLIENTS,
            dropout=Fraction(1, 4),
            corrupt=Fraction(0),
            bits=12,
            max_weight=8,
            min_cohort=3,
            metrics=(Metric("loss", Fraction(4)),),
            protocol=ONE_SHOT,
        )
        super().__init__(plan, CLIENTS, number, MEMBERS)
        self.member_policy = MemberPolicy(frozenset(self.publics.values()), self.known, min_cohort=plan.min_cohort)

    def maker(self) -> Convener:
        return Convener(self.publics, self.identity)


class Uneven(Watched):
    """Deals the first member what is no share."""

    company: Company

    def act(self, deed: Callable[[], list[Frame]]) -> list[Frame]:
        frames = super().act(deed)
        if [kind_of(frame) for frame in frames] != [Concealed]:
            return frames
        self.emitted[-1:] = [self.spoiled(frames[0])]
        return self.emitted[-1:]

    def spoiled(self, frame: Frame) -> Frame:
        data = bytes(frame)
        header = codec.read_header(data, self.who, len(data))
        letter = codec.decode_body(Concealed, data[codec.HEADER.size : -codec.SIGNATURE_BYTES], self.who)
        letter = replace(letter, boxes=(bytes(len(letter.boxes[0])), *letter.boxes[1:]))
        sign = self.company.identities[self.who].sign
        return Frame(frame.to, codec.encode(letter, header.sender, header.task, header.round, sign))


@dataclass(frozen=True, slots=True)
class OneShotRecording(OpenedRecording):
    """A committee that was convened, and a round that it opened."""

    company: Company

    maker_role = oneshot_convener.convener
    opener_role = oneshot_member.member
    summing_state = oneshot_server.Summing
    upload = Concealed
    convocation = Convene
    question = Included

    def maker(self) -> Convener:
        return self.company.maker()

    def opener(self, who: PartyId) -> Member:
        company = self.company
        root, mine = seed_of("member root", company.number, who, 1), company.holder_identities[who]
        return Member.from_root(root, who, company.member_policy, mine, company.identity.public, believe)

    def supplied(self, who: PartyId) -> dict[Any, object]:
        company = self.company
        found: dict[Any, object] = {
            oneshot_client.Own: oneshot_client.Own(who, company.policy, no_signature, believe, company.identity.public),
            oneshot_server.Known: oneshot_server.Known(company.known, company.holder_ids, believe),
            oneshot_convener.Known: oneshot_convener.Known(believe),
        }
        if who in company.holders:
            own = oneshot_member.Own(company.holders[who], company.member_policy, no_signature, believe)
            found[oneshot_member.Own] = own
        return found


def record(name: str, company: Company, fates: Mapping[PartyId, Fate], uneven: frozenset[PartyId]) -> OneShotRecording:
    """Convene a committee and play a round; the server is posed, who convenes, one client, and the first member."""

    def watched(build: Callable[[], Any]) -> Watched:
        if getattr(build(), "me", SERVER) not in uneven:
            return Watched(build)
        made = Uneven(build)
        made.company = company
        return made

    kind: Any = watched
    cohort = company.cohort(kind)
    committee: Any = cohort.committee
    committee.ceremony.maker = watched_maker(company.maker)
    played = Played.of(company, cohort, Convene, fates, company.holder_ids[0])
    poses = (*played.poses, *by_hand(played.poses, company))
    return OneShotRecording(name, company, played.frames, poses, played.epoch, played.holding, played.aggregate)


def by_hand(poses: Iterable[Pose], company: Company) -> Iterator[Pose]:
    """States that are left by the very step that makes them, and ends that gave up."""
    met = {pose.kind: pose for pose in poses}
    supplied = {oneshot_client.Own: None, oneshot_member.Own: None, oneshot_server.Known: None}
    ready = codec.thaw(oneshot_client.Ready, met[oneshot_client.Ready].state, supplied)
    yield restaged(met[oneshot_client.Ready], oneshot_client.Idle(ready.own, ready.root, -1))
    room = codec.thaw(oneshot_server.Summing, met[oneshot_server.Summing].state, supplied)
    yield restaged(met[oneshot_server.Summing], oneshot_server.Unopened(room.known))
    serving = codec.thaw(oneshot_member.Serving, met[oneshot_member.Serving].state, supplied)
    yield restaged(met[oneshot_member.Serving], oneshot_member.Uninvited(serving.own, serving.key))
    yield failed(SERVER, company.server())
    yield failed(MAKER, company.maker())
    yield failed(company.ids[0], company.client(company.ids[0]))


@functools.cache
def oneshot_recordings() -> tuple[OneShotRecording, ...]:
    silent, unreadable = Company(), Company(1)
    lost = Fate(Encrypted.VECTOR, Lost.REPLY)
    return (
        record("silent", silent, {silent.ids[3]: lost, silent.holder_ids[-1]: lost}, frozenset()),
        record("unreadable", unreadable, {}, frozenset({unreadable.ids[3]})),
    )


@functools.cache
def oneshot_frames() -> tuple[bytes, ...]:
    """Every frame of every one-shot recording."""
    return tuple(frame for recording in oneshot_recordings() for frame in recording.frames)
