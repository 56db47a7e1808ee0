"""One server behind the codec: frames of clients in, signed frames for them out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from protocols import codec, wire
from protocols.ckks import server as ckks_server
from protocols.ckks.epoch import partial_width
from protocols.ckks.messages import Certificate, Ciphertext, Partial
from protocols.codec import Frame, Header
from protocols.coding import Counted, Extras, Floats, coding_of
from protocols.endpoint.hub import Hub
from protocols.endpoint.images import (
    IMAGE_VERSION,
    SERVER_ROLES,
    SERVER_STATES,
    TO_SERVERS,
    ServerImage,
    Topic,
    beacon_of,
    restored,
)
from protocols.endpoint.outbox import Outbox
from protocols.errors import (
    BadPlan,
    BadSignature,
    KeyMismatch,
    Malformed,
    Misused,
    OutOfTurn,
    TooLarge,
    Undecodable,
)
from protocols.messages import SHARE_BYTES, Advertise, Aggregate, Masked, Result, Start
from protocols.pairwise import server as pairwise_server
from protocols.pairwise.session import roster_hash
from protocols.party import APP, Failed, Party, PartyId, Wait
from protocols.plan import ENCRYPTED, NOTHING, Agreement, RoundPlan, context_of
from protocols.wire import Buffer
from secagg.ckks.binding import HASH_BYTES
from secagg.errors import BadSignature as WrongSignature
from secagg.keys import Identity, verify
from secagg.negacyclic import N
from secagg.workers import ALONE, Workers

# Everything else that a client says is short, but for what grows with the number of clients.
VECTORS = (Masked, Ciphertext, Partial)
NO_HOLDERS: Mapping[PartyId, bytes] = MappingProxyType({})
# Read before its sender is known: keys, commitment, signature and credential.
LARGEST_ADVERTISE = 512
# A share of one seed of removable noise, and its tag.
LINK_BYTES = SHARE_BYTES + 32


@dataclass(frozen=True, slots=True)
class Task:
    """One round's particulars, in the application's terms.

    `length` is the number of parameters; `layout` and `model` are digests all clients must agree on;
    `clip` is this round's where the plan's clip adapts: `next_clip` of the round before; None means the plan's own.
    `nonce` tells two attempts at one round apart. `certificate` is the key that updates are encrypted under, where the
    protocol encrypts them (`KeyMaker`).
    Raises: Misused for a round that is no counter of 64 bits.
    """

    round: int
    length: int
    layout: bytes = NOTHING
    model: bytes = NOTHING
    ledger_head: bytes = NOTHING
    nonce: bytes = field(default_factory=lambda: os.urandom(16))
    clip: Fraction | None = None
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        if type(self.round) is not int or not 0 <= self.round < 1 << 64:
            raise Misused(f"round is {self.round!r}, it must be an integer in 0..2^64 - 1")


class Server(Hub):
    """One server over many rounds, one round at a time, by the protocol that its plan names.

    `identities` are the keys of the clients it knows; with an `authority` it also admits whoever advertises with a
    credential that the authority issued. `holders` are those who open encrypted sums, none of them a client.

    Guarantee: no frame of a client ends the process or another client's round; the sum is exact over
    `aggregate.survivors` or the round ends in TooFewClients, TooFewMembers or ImplausibleSum.
    """

    def __init__(
        self,
        plan: RoundPlan,
        identities: Mapping[PartyId, bytes],
        identity: Identity,
        workers: Workers = ALONE,
        authority: bytes | None = None,
        holders: Mapping[PartyId, bytes] = NO_HOLDERS,
    ) -> None:
        keys = [*identities.values(), *holders.values(), identity.public]
        if len(set(keys)) != len(keys):
            raise Misused("two parties are registered under one identity key: each needs its own, the server too")
        if not identities.keys().isdisjoint(holders):
            raise Misused("a party is registered both as a client and as a holder: give it two numbers and two keys")
        self.plan = plan
        self.identities = dict(identities)
        self.holders = dict(holders)
        self.aggregate: Aggregate | None = None
        self._authority = authority
        self._certified: dict[PartyId, bytes] = {}
        self._agreement: Agreement | None = None
        self._opening_parties: tuple[PartyId, ...] = ()
        self._known = pairwise_server.Registry(self.identities, workers, authority)
        super().__init__(identity, Party(pairwise_server.server, pairwise_server.Unopened(self._known)))

    @property
    def done(self) -> bool:
        """Whether the round is over; `aggregate` holds the sum unless it failed."""
        return isinstance(self._party.state, pairwise_server.Closed | ckks_server.Closed | Failed)

    @property
    def opening(self) -> bool:
        """Whether the frames just returned ask for what opens the sum, or did so before."""
        pairwise, encrypted = pairwise_server, ckks_server
        asked = pairwise.Unmasking | pairwise.Closed | encrypted.Opening | encrypted.Closed
        return isinstance(self._party.state, asked)

    @property
    def agreement(self) -> Agreement:
        if self._agreement is None:
            raise Misused("no round is open: call open first")
        return self._agreement

    def agree(self, task: Task) -> Agreement:
        """The agreement that `open` would propose for this task.

        Raises: BadPlan for a clip that the plan does not allow, or a length that no vector has.
        """
        return Agreement(
            plan=self.plan if task.clip is None else self.plan.at_clip(task.clip),
            round=task.round,
            nonce=task.nonce,
            length=task.length,
            layout=task.layout,
            model=task.model,
            ledger_head=task.ledger_head,
            key=NOTHING if task.certificate is None else task.certificate.digest,
        )

    def open(self, task: Task, invited: tuple[PartyId, ...] | None = None) -> list[Frame]:
        """Begin a round and return its invitations, to all known clients unless `invited` says otherwise.

        Raises: Misused when the invitation does not fit the plan.
        """
        agreement = self.agree(task)
        everyone = tuple(sorted(self.identities)) if invited is None else invited
        if (self.plan.protocol == ENCRYPTED) is not (task.certificate is not None):
            raise Misused(f"protocol {self.plan.protocol!r}, and a key given or not: only encrypted rounds take one")
        places: tuple[PartyId, ...] = ()
        if task.certificate is None:
            party = Party(pairwise_server.server, pairwise_server.Unopened(self._known))
            envelopes = party.receive(APP, Start(agreement, everyone))
        else:
            places = self._places_of(task.certificate)
            party = Party(ckks_server.server, ckks_server.Unopened(self._openers(places)))
            envelopes = party.receive(APP, ckks_server.Begin(agreement, task.certificate, everyone))
        self._limit = _largest_frame(agreement, task.certificate)
        self._agreement, self._opening_parties, self.aggregate = agreement, places, None
        self._begin(party)
        return self._deliver(envelopes)

    def _openers(self, places: tuple[PartyId, ...]) -> ckks_server.Known:
        return ckks_server.Known(self.identities, places, verify)

    def _places_of(self, certificate: Certificate) -> tuple[PartyId, ...]:
        """The parties that hold this key, in its order.  Raises: Misused for a holder that is not known."""
        numbers = {key: who for who, key in self.holders.items()}
        strangers = [key.hex()[:16] for key in certificate.epoch.holders if key not in numbers]
        if strangers:
            raise Misused(f"this key has holders that are not registered here: {', '.join(strangers)}")
        return tuple(numbers[key] for key in certificate.epoch.holders)

    def _topic(self) -> Topic | None:
        return None if self._agreement is None else Topic.of(self._agreement)

    def _take(self, note: Any) -> None:
        if isinstance(note, Aggregate):
            self.aggregate, self.wait = note, None

    @property
    def needs_beacon(self) -> bytes | None:
        """The hash of the roster for which the round waits for `beacon`; None when it does not."""
        state = self._party.state
        return roster_hash(state.entries) if isinstance(state, pairwise_server.Seeding) else None

    def beacon(self, value: bytes) -> list[Frame]:
        """Go on with the public value that seeds the graph: the one that all clients are going to use.

        Raises: Misused when no beacon is asked for, or for a value that is not 32 bytes.
        """
        return self._deliver(self._party.receive(APP, beacon_of(value)))

    def mean(self) -> Floats:
        """The weighted mean of the survivors' updates, float64, after the round is done."""
        opened = self._opened_sum()
        context = context_of(self.agreement)
        return coding_of(self.agreement).decode(opened.total, opened.weight_sum, context, opened.surplus)

    def metrics(self) -> dict[str, float]:
        """The weighted means of the survivors' metrics, after the round is done."""
        opened = self._opened_sum()
        return Extras.of(self.agreement.plan).means(opened.metrics, opened.weight_sum)

    def fraction_within_clip(self) -> Fraction:
        """The noisy fraction of the survivors whose norm was within the clip, after the round is done.

        Raises: Misused where the clip is fixed: then nobody was asked.
        """
        opened, coding = self._opened_sum(), coding_of(self.agreement)
        if not isinstance(coding, Counted):
            raise Misused("this plan's clip is fixed: give its noise an AdaptiveClip")
        return coding.fraction(opened.total, len(opened.survivors))

    def next_clip(self) -> Fraction:
        """The clip of the next round's `Task`, after the round is done; the same again where it is fixed."""
        opened, coding = self._opened_sum(), coding_of(self.agreement)
        if not isinstance(coding, Counted):
            return self.agreement.plan.clip
        return coding.next_clip(opened.total, len(opened.survivors))

    def _opened_sum(self) -> Aggregate:
        if self.aggregate is None:
            raise Misused("the round has not ended in a sum")
        return self.aggregate

    def repeat(self) -> list[Frame]:
        """To each client what it was sent since it last spoke; when the round is over, its result and nothing else."""
        if self.aggregate is None and self.done:
            return []
        return [frame for frame in self._outbox.everything() if not self.done or codec.kind_of(frame) is Result]

    def freeze(self) -> bytes:
        """The round so far, as bytes."""
        state = self._party.state
        image = ServerImage(
            version=IMAGE_VERSION,
            agreement=self._agreement,
            wait="" if self.wait is None else self.wait.room,
            answered=self._answered,
            said=self._outbox.stored(),
            certified=self._certified,
            aggregate=self.aggregate,
            opening_parties=self._opening_parties,
            kind=SERVER_STATES.index(type(state)),
            state=codec.freeze(state),
        )
        return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the server that `freeze` described.

        Raises: Misused when the bytes are no image of this version.
        """
        image, state = restored(ServerImage, data, SERVER_STATES, self._supplied)
        try:
            outbox = Outbox.of(image.said)
            agreement = image.agreement
            limit = codec.MAX_CONTROL_BYTES if agreement is None else _largest_frame(agreement, _certificate_in(state))
        except (BadPlan, Undecodable) as error:
            raise Misused(f"these bytes are no frozen server: {error}") from error
        self._agreement, self._limit, self._outbox = agreement, limit, outbox
        self._answered = dict(image.answered)
        self._opening_parties = image.opening_parties
        self._restore_certified(image.certified)
        self.aggregate = image.aggregate
        self._party = Party(SERVER_ROLES[type(state)], state)
        self.wait = Wait(image.wait, self.plan.patience_seconds) if image.wait else None

    def _supplied(self, image: ServerImage) -> Mapping[Any, object]:
        """Raises: Misused when the holders of the stored round are not those given at construction."""
        if not self.holders.keys() >= set(image.opening_parties):
            raise Misused("these bytes are of a round whose holders are not registered here")
        return {pairwise_server.Registry: self._known, ckks_server.Known: self._openers(image.opening_parties)}

    def _check_kind(self, header: Header, speaker: PartyId) -> None:
        """Raises: OutOfTurn, TooLarge for a letter no client says, or none of this length, before it is parsed."""
        kind = codec.KINDS[header.kind]
        if kind not in TO_SERVERS:
            raise OutOfTurn(speaker, f"sends a {kind.__name__}, which is not said to a server")
        most = _largest_control(self.plan)
        if kind not in VECTORS and header.length > most:
            raise TooLarge(speaker, f"announces {header.length} bytes of {kind.__name__}, {most} are allowed here")

    def _identity_of(self, data: Buffer, header: Header, speaker: PartyId) -> bytes:
        """The key a frame's sender must have signed it with: a known one, or one it shows a credential for.

        Raises: BadSignature for a stranger, in the name of whoever carried the frame.
        """
        known = self.identities.get(header.sender) or self.holders.get(header.sender)
        if known is not None:
            return known
        stranger = BadSignature(speaker, f"speaks as party {header.sender}, which is neither known here nor certified")
        if self._authority is None or codec.KINDS[header.kind] is not Advertise or header.length > LARGEST_ADVERTISE:
            raise stranger
        try:
            letter = codec.body_of(Advertise, data, header)
            if letter.credential is None:
                raise stranger
            letter.credential.check(self._authority, header.sender)
        except (Malformed, WrongSignature) as error:
            raise stranger from error
        return letter.credential.identity

    def _admit(self, who: PartyId, identity: bytes) -> None:
        """Remember a client that came with a credential; its frame was opened under the certified key.

        Raises: KeyMismatch when another client has this identity: one key is one client.
        """
        if who in self.identities or who in self.holders:
            return
        if not isinstance(self._party.state, pairwise_server.Gathering) or who not in self._party.state.invited:
            raise OutOfTurn(who, "has a credential but no invitation")
        if identity in self.identities.values():
            raise KeyMismatch(who, "has a credential for an identity that another client speaks with")
        self.identities[who] = self._certified[who] = identity

    def _restore_certified(self, certified: Mapping[PartyId, bytes]) -> None:
        """Those admitted before, as far as the keys and the authority given at construction still allow it."""
        for who in self._certified:
            del self.identities[who]
        taken = set(self.identities.values())
        allowed = {} if self._authority is None else certified
        self._certified = {w: k for w, k in allowed.items() if w not in self.identities and k not in taken}
        self.identities.update(self._certified)


def _largest_frame(agreement: Agreement, certificate: Certificate | None) -> int:
    """No letter of this round is longer: a hidden vector, or shares and ids for every other client."""
    if certificate is None:
        coding = coding_of(agreement)
        return coding.ring.packed_bytes(coding.length) + _largest_control(agreement.plan)
    plan = certificate.epoch.plan
    residue = max(plan.width0 + plan.width1, partial_width(plan))
    return plan.blocks * N * residue + HASH_BYTES + _largest_control(agreement.plan)


def _certificate_in(state: Any) -> Certificate | None:
    """The key of the round that this state is about; one that is over hears nothing as long as an upload."""
    if isinstance(state, ckks_server.Opening):
        return state.summed.certificate
    return state.certificate if isinstance(state, ckks_server.Summing) else None


def _largest_control(plan: RoundPlan) -> int:
    """No letter of a client but its vector is longer: shares and ids for every other client."""
    return (256 + LINK_BYTES * plan.links) * plan.max_clients + 1024
