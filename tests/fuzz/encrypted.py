"""Seeds of the fuzzers from keys and encrypted sums, each a function of its number.

shown      a whole ceremony and round; a holder is silent, so that a second set opens
hashed     the same where holders are shown digit sums and hashes, and a client vanishes
disputed   a holder deals wrongly: the ceremony ends with its name, and there is no round
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from protocols import codec
from protocols.ckks import client as ckks_client
from protocols.ckks import holder as ckks_holder
from protocols.ckks import server as ckks_server
from protocols.ckks.binding import MOST_HALVES_BYTES
from protocols.ckks.epoch import Epoch
from protocols.ckks.messages import Ciphertext, Invite
from protocols.codec import HEADER, SIGNATURE_BYTES, kind_of
from protocols.errors import BadDealing
from protocols.messages import Aggregate
from protocols.party import SERVER, PartyId
from protocols.simulate import Encrypted, Fate, FaultPlan, Lost, Simulation
from tests.contracts.company import play
from tests.contracts.encrypted import Company, bad_dealer
from tests.contracts.modes import Seeded, Single
from tests.fuzz.corpus import LENGTH, MAKER, ROUND, Pose, Recording, Watched, failed, first_and_last, restaged, train

# Hardly any halves may be shown.
FEW_BYTES = 1000


@dataclass(frozen=True, slots=True)
class EncryptedRecording(Recording):
    """A ceremony, and a round under its key: `holding` are all holders before it, `aggregate` is what it opened.

    Both are empty where no key was made.
    """

    company: Company
    epoch: Epoch
    holding: Mapping[PartyId, Pose]
    aggregate: Aggregate | None

    @property
    def summing(self) -> Pose:
        """The server before the first upload."""
        return next(pose for pose in self.poses if pose.kind is ckks_server.Summing)

    @property
    def uploads(self) -> Mapping[PartyId, bytes]:
        """What each client sent, arrived or not."""
        found = (frame for frame in self.frames if kind_of(frame) is Ciphertext)
        return {PartyId(HEADER.unpack_from(frame)[3]): frame for frame in found}


def record(name: str, company: Company, fates: Mapping[PartyId, Fate]) -> EncryptedRecording:
    """Play a ceremony and a round; the server is posed, the maker of the key, one client, and a holder that answers."""
    cohort = company.cohort(Watched, partial(Watched, who=MAKER))
    simulation = Simulation(cohort, partial(train, company), FaultPlan(fates))
    committee: Any = cohort.committee
    holding = {}
    with suppress(BadDealing):
        task = cohort.keyed(company.task(LENGTH, ROUND))
        holding = {who: Pose.of(who, end) for who, end in committee.holders.items()}
        simulation.run(task)
    *others, holder = committee.holders.values()
    first, *rest = cohort.clients.values()
    posed: list[Any] = [cohort.server, committee.maker, holder, first]
    frames = tuple(dict.fromkeys(bytes(frame) for end in (*posed, *others, *rest) for frame in end.emitted))
    poses = [pose for end in posed for pose in first_and_last(end.poses) if belongs(pose)]
    [invite] = {frame[HEADER.size : -SIGNATURE_BYTES] for frame in frames if kind_of(frame) is Invite}
    return EncryptedRecording(
        name,
        company,
        frames,
        (*poses, *by_hand(poses, company)),
        codec.decode_body(Invite, invite, SERVER).epoch,
        holding,
        cohort.server.aggregate,
    )


def belongs(pose: Pose) -> bool:
    """A server or client that waits for its first round is on the other stage."""
    return not pose.kind.__module__.startswith("protocols.pairwise")


def by_hand(poses: list[Pose], company: Company) -> Iterator[Pose]:
    """States that are left by the very step that makes them, and ends that gave up."""
    met = {pose.kind: pose for pose in poses}
    supplied = {ckks_client.Own: None, ckks_holder.Own: None, ckks_server.Known: None}
    if ckks_client.Ready in met:
        ready = codec.thaw(ckks_client.Ready, met[ckks_client.Ready].state, supplied)
        yield restaged(met[ckks_client.Ready], ckks_client.Idle(ready.own, ready.root, -1))
        room = codec.thaw(ckks_server.Summing, met[ckks_server.Summing].state, supplied)
        yield restaged(met[ckks_server.Summing], ckks_server.Unopened(room.known))
    committed = codec.thaw(ckks_holder.Committed, met[ckks_holder.Committed].state, supplied)
    yield restaged(met[ckks_holder.Committed], ckks_holder.Uninvited(committed.own, committed.root))
    yield failed(SERVER, company.server())
    yield failed(MAKER, company.maker())
    yield failed(company.ids[0], company.client(company.ids[0]))


@functools.cache
def encrypted_recordings() -> tuple[EncryptedRecording, ...]:
    shown, hashed, disputed = Company(), Company(number=1, most_halves=FEW_BYTES), Company(number=2)
    fates = (
        {shown.holder_ids[0]: Fate(Encrypted.VECTOR, Lost.REQUEST)},
        {hashed.holder_ids[0]: Fate(Encrypted.VECTOR, Lost.REPLY), hashed.ids[3]: Fate(Encrypted.VECTOR, Lost.REPLY)},
        {},
    )
    assert shown.most_halves == MOST_HALVES_BYTES
    found = []
    for name, company, fate in zip(("shown", "hashed", "disputed"), (shown, hashed, disputed), fates, strict=True):
        dealer = bad_dealer(company, company.holder_ids[1]) if name == "disputed" else nullcontext()
        with company.conditions(), dealer:
            found.append(record(name, company, fate))
    return tuple(found)


@functools.cache
def encrypted_frames() -> tuple[bytes, ...]:
    """Every frame of every encrypted recording, and of a round in each of the other key modes."""
    others = (frame for company in (Single(), Seeded()) for frame in play(company, LENGTH).said_by_all())
    return (*(frame for recording in encrypted_recordings() for frame in recording.frames), *others)
