"""One server behind the codec: frames of clients in, signed frames for them out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from protocols import codec, wire
from protocols.ckks import seeded_server, single_server
from protocols.ckks import server as ckks_server
from protocols.ckks.messages import Certificate
from protocols.ckks.seeded_messages import SeededSum
from protocols.codec import Frame, Header
from protocols.countersigning import check
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
from protocols.endpoint.limits import LARGEST_ADVERTISE, VECTORS, largest_control, largest_frame
from protocols.endpoint.outbox import Outbox
from protocols.endpoint.reader import OpenedSum, Reader
from protocols.errors import (
    BadPlan,
    BadSignature,
    KeyMismatch,
    Malformed,
    Misused,
    OutOfTurn,
    PolicyConflict,
    TooLarge,
    Undecodable,
)
from protocols.heads import NO_LEDGER, LedgerHead
from protocols.messages import Advertise, Aggregate, Countersignature, Result, Start
from protocols.oneshot import server as oneshot_server
from protocols.oneshot.epoch import Epoch as CommitteeEpoch
from protocols.oneshot.messages import Certificate as CommitteeCertificate
from protocols.pairwise import server as pairwise_server
from protocols.pairwise.session import roster_hash
from protocols.party import APP, Failed, Party, PartyId, Role, Wait
from protocols.plan import ENCRYPTED, NOTHING, ONE_SHOT, PAIRWISE, Agreement, RoundPlan
from protocols.wire import Buffer
from secagg.ckks.plan import CkksPlan, Mode
from secagg.errors import BadSignature as WrongSignature
from secagg.keys import Identity, verify
from secagg.workers import ALONE, Workers

NO_HOLDERS: Mapping[PartyId, bytes] = MappingProxyType({})
# Who plays a round under a certified key.
CERTIFIED: Mapping[Mode, Role] = MappingProxyType(
    {Mode.THRESHOLD: ckks_server.server, Mode.SINGLE: single_server.single_server}
)
CLOSED = (
    pairwise_server.Closed | ckks_server.Closed | single_server.Closed | seeded_server.Closed | oneshot_server.Closed
)
SUMMING = (
    pairwise_server.Summing
    | ckks_server.Summing
    | single_server.Gathering
    | seeded_server.Summing
    | oneshot_server.Summing
)
OPENING = pairwise_server.Unmasking | ckks_server.Opening | single_server.Decrypting | oneshot_server.Opening
# What a round ends with, and all that is repeated when it is over.
LAST_WORDS = (Result, SeededSum)


@dataclass(frozen=True, slots=True)
class Task:
    """One round's particulars, in the application's terms.

    `length` is the number of parameters; `layout` and `model` are digests all clients must agree on;
    `clip` is this round's where the plan's clip adapts: `next_clip` of the round before; None means the plan's own.
    `nonce` tells two attempts at one round apart, and is for the clients alone: who opens an encrypted sum must not
    know it (`ckks.vector.weighted_sum`). `ledger_head` is where the ledger ends that the round is charged to
    (`countersigning.head_of`). `certificate` is that of the key that updates are encrypted under, where the
    protocol encrypts them (`KeyMaker`), or of the committee that opens one-shot sums (`Convener`); `shared_key` is the
    public name of the key instead, where clients share it (`SharedKey.name`).
    Raises: Misused for a round that is no counter of 64 bits, a head that is none, two keys, or what names none.
    """

    round: int
    length: int
    layout: bytes = NOTHING
    model: bytes = NOTHING
    ledger_head: LedgerHead = NO_LEDGER
    nonce: bytes = field(default_factory=lambda: os.urandom(16))
    clip: Fraction | None = None
    certificate: Certificate | CommitteeCertificate | None = None
    shared_key: bytes | None = None

    def __post_init__(self) -> None:
        if type(self.round) is not int or not 0 <= self.round < 1 << 64:
            raise Misused(f"round is {self.round!r}, it must be an integer in 0..2^64 - 1")
        if not isinstance(self.ledger_head, LedgerHead):
            raise Misused(f"ledger_head is {self.ledger_head!r}, it must be countersigning.head_of(ledger)")
        named = self.shared_key
        if named is not None and (not isinstance(named, bytes) or len(named) != len(NOTHING) or named == NOTHING):
            raise Misused("shared_key is the public name of the clients' key, 32 bytes: SharedKey.name")
        if named is not None and self.certificate is not None:
            raise Misused("a round has one key: a certificate, or the name of the one that clients share")

    @property
    def key(self) -> bytes:
        """What the agreement names the key or the committee by, nothing where clients open the sum themselves."""
        if self.certificate is not None:
            return self.certificate.digest
        return NOTHING if self.shared_key is None else self.shared_key


class Server(Hub, Reader):
    """One server over many rounds, one round at a time, by the protocol that its plan names.

    `identities` are the keys of the clients it knows; with an `authority` it also admits whoever advertises with a
    credential that the authority issued. `holders` open encrypted or one-shot sums, none of them a client. Where
    clients share the key they alone have the sum, and `handed_out` says who was sent it. `countersignatures` are those
    of clients that were shown the round's ledger head, by identity key: for `Ledger.witness`.

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
        if identity.public in holders.values():
            raise PolicyConflict("who adds up must not open what it added: take the server out of `holders`")
        keys = [*identities.values(), *holders.values(), identity.public]
        if len(set(keys)) != len(keys):
            raise Misused("two parties are registered under one identity key: each needs its own, the server too")
        if not identities.keys().isdisjoint(holders):
            raise Misused("a party is registered both as a client and as a holder: give it two numbers and two keys")
        self.plan = plan
        self.identities = dict(identities)
        self.holders = dict(holders)
        self.aggregate: Aggregate | None = None
        self.handed_out: tuple[PartyId, ...] = ()
        self.countersignatures: dict[bytes, bytes] = {}
        self._authority = authority
        self._certified: dict[PartyId, bytes] = {}
        self._agreement: Agreement | None = None
        self._opening_parties: tuple[PartyId, ...] = ()
        self._known = pairwise_server.Registry(self.identities, workers, authority)
        self._sharing = seeded_server.Known(self.identities, verify)
        super().__init__(identity, Party(pairwise_server.server, pairwise_server.Unopened(self._known)))

    @property
    def done(self) -> bool:
        """Whether the round is over; `aggregate` holds the sum unless it failed, or clients alone have it."""
        return isinstance(self._party.state, CLOSED | Failed)

    @property
    def summing(self) -> bool:
        """Whether the round waits for the clients' vectors."""
        return isinstance(self._party.state, SUMMING)

    @property
    def opening(self) -> bool:
        """Whether the frames just returned ask for what opens the sum, or did so before."""
        return isinstance(self._party.state, OPENING | CLOSED)

    @property
    def agreement(self) -> Agreement:
        """What the round that is open is about.  Raises: Misused before one is."""
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
            key=task.key,
        )

    def open(self, task: Task, invited: tuple[PartyId, ...] | None = None) -> list[Frame]:
        """Begin a round and return its invitations, to all known clients unless `invited` says otherwise.

        Raises: Misused when the invitation does not fit the plan.
        """
        with self._turns.one(self._party):
            return self._open(task, invited)

    def _open(self, task: Task, invited: tuple[PartyId, ...] | None) -> list[Frame]:
        agreement = self.agree(task)
        everyone = tuple(sorted(self.identities)) if invited is None else invited
        require_opener(self.plan, task)
        places = () if task.certificate is None else self._places_of(task.certificate)
        party, begin = self._unopened(task, agreement, everyone, places)
        envelopes = party.receive(APP, begin)
        self._limit = largest_frame(agreement, _opened_by(party.state))
        self._agreement, self._opening_parties, self.aggregate, self.handed_out = agreement, places, None, ()
        self.countersignatures = {}
        self._begin(party)
        return self._deliver(envelopes)

    def _unopened(
        self, task: Task, agreement: Agreement, invited: tuple[PartyId, ...], places: tuple[PartyId, ...]
    ) -> tuple[Party, object]:
        """Who plays this round, by its protocol and the mode of its key, and what begins it."""
        if isinstance(task.certificate, CommitteeCertificate):
            party = Party(oneshot_server.server, oneshot_server.Unopened(self._committee(places)))
            return party, oneshot_server.Begin(agreement, task.certificate, invited)
        if task.certificate is not None:
            role = CERTIFIED[task.certificate.epoch.plan.keys.mode]
            party = Party(role, ckks_server.Unopened(self._openers(places)))
            return party, ckks_server.Begin(agreement, task.certificate, invited)
        if task.shared_key is not None:
            party = Party(seeded_server.seeded_server, seeded_server.Unopened(self._sharing))
            return party, seeded_server.Begin(agreement, invited)
        return Party(pairwise_server.server, pairwise_server.Unopened(self._known)), Start(agreement, invited)

    def _openers(self, places: tuple[PartyId, ...]) -> ckks_server.Known:
        return ckks_server.Known(self.identities, places, verify)

    def _committee(self, places: tuple[PartyId, ...]) -> oneshot_server.Known:
        return oneshot_server.Known(self.identities, places, verify, self._known.workers)

    def _places_of(self, certificate: Certificate | CommitteeCertificate) -> tuple[PartyId, ...]:
        """The parties that open what this certificate is for, in its order.

        Raises: Misused for one that is not known.
        """
        epoch = certificate.epoch
        keys = epoch.members if isinstance(epoch, CommitteeEpoch) else epoch.holders
        numbers = {key: who for who, key in self.holders.items()}
        strangers = [key.hex()[:16] for key in keys if key not in numbers]
        if strangers:
            raise Misused(
                f"this certificate is of parties that are not registered here ({', '.join(strangers)}): name them all, "
                "Server(..., holders=...)"
            )
        return tuple(numbers[key] for key in keys)

    def _topic(self) -> Topic | None:
        return None if self._agreement is None else Topic.of(self._agreement)

    def _hears(self, who: PartyId, identity: bytes, letter: Any) -> bool:
        """Keeps a countersignature, the first of each client, whatever room is open: evidence closes none."""
        if not isinstance(letter, Countersignature):
            return False
        if who not in self.identities or self.agreement.ledger_head == NO_LEDGER:
            raise OutOfTurn(who, "countersigns a ledger, and was not asked to")
        check(letter, self.agreement.ledger_head, who, identity)
        self.countersignatures.setdefault(identity, letter.signature)
        return True

    def _take(self, note: Any) -> None:
        if isinstance(note, Aggregate):
            self.aggregate, self._wait = note, None
        elif isinstance(note, seeded_server.HandedOut):
            self.handed_out, self._wait = note.survivors, None

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

    def _opened_sum(self) -> OpenedSum:
        if self.handed_out:
            raise Misused("the clients share the key: they have the sum (`Client.mean`), and the server never has it")
        if self.aggregate is None:
            raise Misused("the round has not ended in a sum")
        return OpenedSum(self.agreement, self.aggregate)

    def repeat(self) -> list[Frame]:
        """To each client what it was sent since it last spoke; when the round is over, its result and nothing else."""
        return [frame for frame in self._outbox.everything() if not self.done or codec.kind_of(frame) in LAST_WORDS]

    def freeze(self) -> bytes:
        """The round so far, as bytes."""
        state = self._party.state
        image = ServerImage(
            version=IMAGE_VERSION,
            owner=self.public,
            agreement=self._agreement,
            wait="" if self.wait is None else self.wait.room,
            answered=self._answered,
            said=self._outbox.stored(),
            certified=self._certified,
            aggregate=self.aggregate,
            opening_parties=self._opening_parties,
            handed_out=self.handed_out,
            countersignatures=self.countersignatures,
            kind=SERVER_STATES.index(type(state)),
            state=codec.freeze(state),
        )
        return wire.encode(image)

    def thaw(self, data: Buffer) -> None:
        """Become the server that `freeze` described.

        Raises: Misused when the bytes are no image of this version.
        """
        image, state = restored(ServerImage, data, self.public, SERVER_STATES, self._supplied)
        try:
            if image.wait and isinstance(state, CLOSED | Failed):
                raise Undecodable(f"the room {image.wait!r} is open in a round that is over")
            outbox = Outbox.of(image.said)
            agreement = image.agreement
            limit = codec.MAX_CONTROL_BYTES if agreement is None else largest_frame(agreement, _opened_by(state))
        except (BadPlan, Undecodable) as error:
            raise Misused(f"these bytes are no frozen server: {error}") from error
        self._agreement, self._limit, self._outbox = agreement, limit, outbox
        self._answered = dict(image.answered)
        self._opening_parties = image.opening_parties
        self._restore_certified(image.certified)
        self.aggregate, self.handed_out = image.aggregate, image.handed_out
        self.countersignatures = dict(image.countersignatures)
        self._party = Party(SERVER_ROLES[type(state)], state)
        self._wait = Wait(image.wait, self.plan.patience_seconds) if image.wait else None

    def _supplied(self, image: ServerImage) -> Mapping[Any, object]:
        """Raises: Misused when the holders of the stored round are not those given at construction."""
        if not self.holders.keys() >= set(image.opening_parties):
            raise Misused("these bytes are of a round whose holders are not registered here")
        return {
            pairwise_server.Registry: self._known,
            ckks_server.Known: self._openers(image.opening_parties),
            oneshot_server.Known: self._committee(image.opening_parties),
            seeded_server.Known: self._sharing,
        }

    def _check_kind(self, header: Header, speaker: PartyId) -> None:
        """Raises: OutOfTurn, TooLarge for a letter no client says, or none of this length, before it is parsed."""
        kind = codec.KINDS[header.kind]
        if kind not in TO_SERVERS:
            raise OutOfTurn(speaker, f"sends a {kind.__name__}, which is not said to a server")
        most = largest_control(self.plan)
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


def require_opener(plan: RoundPlan, task: Task) -> None:
    """Raises: Misused where the task does not name what this protocol's sums are opened with."""
    is_committee = isinstance(task.certificate, CommitteeCertificate)
    for fine, what in (
        (
            plan.protocol != ENCRYPTED or (task.key != NOTHING and not is_committee),
            "updates are to be encrypted, and the task names no key: Task(..., certificate=maker.certificate)",
        ),
        (
            plan.protocol != ONE_SHOT or is_committee,
            "a committee is to open the sum, and the task names none: Task(..., certificate=convener.certificate)",
        ),
        (
            plan.protocol != PAIRWISE or task.key == NOTHING,
            f"the task names a key, and a round of protocol {plan.protocol!r} encrypts nothing",
        ),
    ):
        if not fine:
            raise Misused(what)


def _opened_by(state: Any) -> CkksPlan | CommitteeEpoch | None:
    """What opens the sum that this state is about; an encrypted one that is over hears nothing as long as an upload."""
    match state:
        case ckks_server.Summing():
            return state.certificate.epoch.plan
        case ckks_server.Opening():
            return state.summed.certificate.epoch.plan
        case single_server.Gathering() | single_server.Decrypting() | seeded_server.Summing():
            return state.plan
        case oneshot_server.Summing():
            return state.certificate.epoch
        case oneshot_server.Opening() | oneshot_server.Closed():
            return state.epoch
    return None
