"""What endpoints keep: their states by number, their images, and frames said and heard.

An image is what must not be forgotten, as bytes; whoever restores one supplies again what it does not hold
(identity, policy, verifier). States are stored by their place in the lists below: new ones go to the end of a
released version.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from protocols import codec, wire
from protocols.ckks import client as ckks_client
from protocols.ckks import decryptor as ckks_decryptor
from protocols.ckks import holder as ckks_holder
from protocols.ckks import seeded, seeded_server, single_server
from protocols.ckks import server as ckks_server
from protocols.ckks.epoch import Epoch as KeyEpoch
from protocols.ckks.messages import (
    Certificate,
    Checked,
    Ciphertext,
    Commit,
    Commits,
    Deals,
    Dispute,
    EncryptedSum,
    Invite,
    OpenEncrypted,
    Partial,
    Probe,
    Reveal,
    Summands,
)
from protocols.ckks.seeded_messages import OpenSeeded, SeededCiphertext, SeededSum
from protocols.ckks.single_messages import Decrypted, WholeSum
from protocols.codec import Frame, Header
from protocols.errors import Misused, Undecodable
from protocols.heads import LedgerHead
from protocols.messages import (
    Advertise,
    Aggregate,
    Beacon,
    Countersignature,
    Inbox,
    Masked,
    Open,
    Result,
    Roster,
    Shares,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
)
from protocols.oneshot import client as oneshot_client
from protocols.oneshot import member as oneshot_member
from protocols.oneshot import server as oneshot_server
from protocols.oneshot.epoch import Epoch as CommitteeEpoch
from protocols.oneshot.messages import Concealed, Convene, Enlisted, Included, OpenOneShot, Summed
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import Envelope, Failed, PartyId, Role
from protocols.plan import NOTHING, Agreement
from protocols.wire import U8, U64, Buffer, Bytes16, Bytes32, Bytes64, Payload

IMAGE_VERSION = 7
# The nonce of an attempt, or the context of a key.
Nonce = Annotated[bytes, wire.AtMost(32)]

PAIRWISE_CLIENT_STATES: tuple[type[Any], ...] = (
    pairwise_client.Idle,
    pairwise_client.Advertised,
    pairwise_client.Enrolled,
    pairwise_client.Shared,
    pairwise_client.Ready,
    pairwise_client.Sent,
    pairwise_client.Witnessed,
    pairwise_client.Done,
    Failed,
)
PAIRWISE_SERVER_STATES: tuple[type[Any], ...] = (
    pairwise_server.Unopened,
    pairwise_server.Gathering,
    pairwise_server.Seeding,
    pairwise_server.Relaying,
    pairwise_server.Summing,
    pairwise_server.Witnessing,
    pairwise_server.Unmasking,
    pairwise_server.Closed,
    Failed,
)
CKKS_CLIENT_STATES: tuple[type[Any], ...] = (ckks_client.Idle, ckks_client.Ready, ckks_client.Done)
CKKS_SERVER_STATES: tuple[type[Any], ...] = (
    ckks_server.Unopened,
    ckks_server.Summing,
    ckks_server.Opening,
    ckks_server.Closed,
)
SINGLE_SERVER_STATES: tuple[type[Any], ...] = (
    single_server.Gathering,
    single_server.Decrypting,
    single_server.Closed,
)
SEEDED_CLIENT_STATES: tuple[type[Any], ...] = (seeded.Idle, seeded.Ready, seeded.Sent, seeded.Done)
SEEDED_SERVER_STATES: tuple[type[Any], ...] = (
    seeded_server.Unopened,
    seeded_server.Summing,
    seeded_server.Closed,
)
ONESHOT_CLIENT_STATES: tuple[type[Any], ...] = (oneshot_client.Idle, oneshot_client.Ready, oneshot_client.Done)
ONESHOT_SERVER_STATES: tuple[type[Any], ...] = (
    oneshot_server.Unopened,
    oneshot_server.Summing,
    oneshot_server.Opening,
    oneshot_server.Closed,
)
CLIENT_STATES = PAIRWISE_CLIENT_STATES + CKKS_CLIENT_STATES + SEEDED_CLIENT_STATES + ONESHOT_CLIENT_STATES
SERVER_STATES = (
    PAIRWISE_SERVER_STATES + CKKS_SERVER_STATES + SINGLE_SERVER_STATES + SEEDED_SERVER_STATES + ONESHOT_SERVER_STATES
)
HOLDER_STATES: tuple[type[Any], ...] = (
    ckks_holder.Uninvited,
    ckks_holder.Committed,
    ckks_holder.Dealt,
    ckks_holder.Checking,
    ckks_holder.Holding,
    Failed,
)
DECRYPTOR_STATES: tuple[type[Any], ...] = (ckks_decryptor.Uninvited, ckks_decryptor.Holding, Failed)
MEMBER_STATES: tuple[type[Any], ...] = (oneshot_member.Uninvited, oneshot_member.Serving, Failed)

# Whose table a state belongs to; what failed belongs to the first, and is refused everything by each.
CLIENT_ROLES: Mapping[type[Any], Role] = {
    **dict.fromkeys(PAIRWISE_CLIENT_STATES, pairwise_client.client),
    **dict.fromkeys(CKKS_CLIENT_STATES, ckks_client.client),
    **dict.fromkeys(SEEDED_CLIENT_STATES, seeded.seeded_client),
    **dict.fromkeys(ONESHOT_CLIENT_STATES, oneshot_client.client),
}
SERVER_ROLES: Mapping[type[Any], Role] = {
    **dict.fromkeys(PAIRWISE_SERVER_STATES, pairwise_server.server),
    **dict.fromkeys(CKKS_SERVER_STATES, ckks_server.server),
    **dict.fromkeys(SINGLE_SERVER_STATES, single_server.single_server),
    **dict.fromkeys(SEEDED_SERVER_STATES, seeded_server.seeded_server),
    **dict.fromkeys(ONESHOT_SERVER_STATES, oneshot_server.server),
}

# What each end takes from the other; anything else is refused before it is parsed.
INVITATIONS = frozenset({Open, OpenEncrypted, OpenSeeded, OpenOneShot})
TO_CLIENTS = INVITATIONS | {Roster, Inbox, Survivors, Witnesses, Result, SeededSum}
TO_SERVERS = frozenset(
    {Advertise, Shares, Masked, Witness, Unmask, Ciphertext, Partial, Decrypted, SeededCiphertext, Concealed, Summed}
    # Heard by the endpoint itself: no role has an arrow for it.
    | {Countersignature}
)
TO_HOLDERS = frozenset({Invite, Commits, Deals, Certificate, Dispute, Probe, EncryptedSum})
TO_DECRYPTORS = frozenset({Invite, WholeSum})
TO_MEMBERS = frozenset({Convene, Included})
TO_KEY_MAKERS = frozenset({Commit, Reveal, Checked, Summands, Partial, Certificate})
TO_CONVENERS = frozenset({Enlisted})


@dataclass(frozen=True, slots=True)
class Topic:
    """What headers name: in an invitation the task, in everything after it this one attempt."""

    task: wire.Text
    nonce: Nonce
    number: U64

    @classmethod
    def of(cls, agreement: Agreement) -> Topic:
        """One attempt at a round."""
        return cls(agreement.plan.task, agreement.nonce, agreement.round)

    @classmethod
    def of_key(cls, epoch: KeyEpoch | CommitteeEpoch) -> Topic:
        """One key, or one committee; who takes part, and for which sums, is in its context."""
        return cls(epoch.task, epoch.context, epoch.number)

    def named_in(self, kind: type[Any]) -> bytes:
        """The sixteen bytes that the header of such a letter carries."""
        invites = kind in INVITATIONS or kind in (Invite, Convene)
        return codec.task_id(self.task) if invites else codec.attempt_id(self.task, self.nonce)

    def covers(self, header: Header) -> bool:
        """Whether a frame belongs to this very attempt; an old one of the same number does not."""
        return header.round == self.number and header.task == self.named_in(codec.KINDS[header.kind])

    def frame(self, envelope: Envelope, sender: PartyId, sign: Callable[[bytes], bytes]) -> Frame:
        """The signed letter."""
        task = self.named_in(type(envelope.message))
        return Frame(envelope.to, codec.encode(envelope.message, sender, task, self.number, sign))


@dataclass(frozen=True, slots=True)
class Said:
    """A stored frame: to whom, and its bytes."""

    to: tuple[PartyId, ...]
    data: Payload


@dataclass(frozen=True, slots=True)
class ClientImage:
    """A client endpoint as it is stored. It holds the round's secrets, and the sum where clients open it.

    `heads` are the ledger heads it accepted last, by task: what it was shown, it is not to forget.
    """

    version: U8
    owner: Bytes32
    spent: dict[Bytes16, U64]
    taken: dict[Bytes16, U64]
    heads: dict[Bytes16, LedgerHead]
    answered: Bytes32
    heard: frozenset[Bytes32]
    replies: tuple[Said, ...]
    result: Payload | None
    aggregate: Aggregate | None
    agreement: Agreement | None
    kind: U8
    state: Payload


@dataclass(frozen=True, slots=True)
class HolderImage:
    """Whoever opens sums as it is stored: a holder, a decryptor, or a member of a committee, with its key."""

    version: U8
    owner: Bytes32
    numbers: dict[Bytes16, U64]
    answered: Bytes32
    replies: tuple[Said, ...]
    topic: Topic | None
    kind: U8
    state: Payload


@dataclass(frozen=True, slots=True)
class Answered:
    """The latest letter of a client: its kind, and the fingerprint of its frame."""

    kind: U8
    fingerprint: Bytes32


NOT_YET_ANSWERED = Answered(0, NOTHING)


@dataclass(frozen=True, slots=True)
class ServerImage:
    """A server endpoint as it is stored. It holds hidden sums and relayed shares, no client's secret.

    `opening_parties` are the holders of this round's key, in its order; `handed_out` are the clients that have what
    opens to their sum; `countersignatures` are by the identity key of who vouched for the agreement's ledger head.
    """

    version: U8
    owner: Bytes32
    agreement: Agreement | None
    wait: wire.Text
    answered: dict[PartyId, Answered]
    said: tuple[Said, ...]
    certified: dict[PartyId, Bytes32]
    aggregate: Aggregate | None
    opening_parties: tuple[PartyId, ...]
    handed_out: tuple[PartyId, ...]
    countersignatures: dict[Bytes32, Bytes64]
    kind: U8
    state: Payload


def beacon_of(value: bytes) -> Beacon:
    if not isinstance(value, bytes) or len(value) != len(NOTHING) or value == NOTHING:
        raise Misused("a beacon is 32 bytes of public randomness: hash a longer value first")
    return Beacon(value)


def stage_of(states: tuple[type[Any], ...], state: object) -> int:
    """How far a party has come; whoever failed goes nowhere from there."""
    return len(states) if isinstance(state, Failed) else states.index(type(state))


Image = TypeVar("Image", bound=ClientImage | ServerImage | HolderImage)


def restored(
    kind: type[Image],
    data: Buffer,
    owner: bytes,
    states: tuple[type[Any], ...],
    supply: Callable[[Image], Mapping[Any, object]],
) -> tuple[Image, Any]:
    """An endpoint's image and the state inside it, completed by what `supply` gives again.

    Raises: Misused when the bytes are no image of this kind and version, or of another identity: one party's secrets
        in another's hands would be used twice.
    """
    try:
        image = codec.thaw(kind, data, {})
        if image.version != IMAGE_VERSION or image.kind >= len(states):
            raise Undecodable(f"image version {image.version}, state kind {image.kind}")
        if not hmac.compare_digest(image.owner, owner):
            raise Undecodable("they belong to another identity")
        return image, codec.thaw(states[image.kind], image.state, supply(image))
    except Undecodable as error:
        name = kind.__name__.removesuffix("Image").lower()
        raise Misused(f"these bytes are no frozen {name}: {error}") from error
