"""Seeds of the fuzzers from keys and encrypted sums, each a function of its number.

shown      a whole ceremony and round; a holder is silent, so that a second set opens
hashed     the same where holders are shown digit sums and hashes, and a client vanishes
disputed   a holder deals wrongly: the ceremony ends with its name, and there is no round
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from protocols import codec
from protocols.ckks import client as ckks_client
from protocols.ckks import holder as ckks_holder
from protocols.ckks import keys as ckks_keys
from protocols.ckks import server as ckks_server
from protocols.ckks.binding import MOST_HALVES_BYTES
from protocols.ckks.messages import Ciphertext, EncryptedSum, Invite
from protocols.endpoint import Holder, KeyMaker
from protocols.party import SERVER, PartyId
from protocols.simulate import Encrypted, Fate, Lost
from secagg.ckks.cipher import Fft
from tests.contracts.company import play
from tests.contracts.encrypted import Company, bad_dealer
from tests.contracts.modes import Seeded, Single
from tests.fuzz.corpus import LENGTH, MAKER, Pose, Watched, believe, failed, no_signature, restaged
from tests.fuzz.opened import OpenedRecording, Played, watched_maker

# Hardly any halves may be shown.
FEW_BYTES = 1000


@dataclass(frozen=True, slots=True)
class EncryptedRecording(OpenedRecording):
    """A ceremony of holders, and a round under their key."""

    company: Company

    maker_role = ckks_keys.keymaker
    opener_role = ckks_holder.holder
    summing_state = ckks_server.Summing
    upload = Ciphertext
    convocation = Invite
    question = EncryptedSum

    def maker(self) -> KeyMaker:
        return self.company.maker()

    def opener(self, who: PartyId) -> Holder:
        return self.company.holder(who, believe)

    def supplied(self, who: PartyId) -> dict[Any, object]:
        company = self.company
        own = ckks_client.Own(who, company.policy, no_signature, believe, company.identity.public, Fft())
        found: dict[Any, object] = {
            ckks_client.Own: own,
            ckks_server.Known: ckks_server.Known(company.known, tuple(company.holders), believe),
            ckks_keys.Known: ckks_keys.Known(believe),
        }
        if who in company.holders:
            found[ckks_holder.Own] = ckks_holder.Own(company.holders[who], company.holder_policy, no_signature, believe)
        return found


def record(name: str, company: Company, fates: Mapping[PartyId, Fate]) -> EncryptedRecording:
    """Play a ceremony and a round; the server is posed, the maker of the key, one client, and a holder that answers."""
    cohort = company.cohort(Watched, watched_maker)
    played = Played.of(company, cohort, Invite, fates, company.holder_ids[-1])
    poses = (*played.poses, *by_hand(played.poses, company))
    return EncryptedRecording(name, company, played.frames, poses, played.epoch, played.holding, played.aggregate)


def by_hand(poses: Iterable[Pose], company: Company) -> Iterator[Pose]:
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
