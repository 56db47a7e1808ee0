"""What both endpoints keep: their states by number, their images, and frames said and heard.

An image is what must not be forgotten, as bytes; whoever restores one supplies again what it does not hold
(identity, policy, verifier). States are stored by their place in the lists below: new ones go to the end of a
released version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from protocols import codec, wire
from protocols.codec import Frame, Header
from protocols.errors import Misused, Undecodable
from protocols.messages import (
    Advertise,
    Aggregate,
    Beacon,
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
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.party import Envelope, Failed, PartyId
from protocols.plan import NOTHING, Agreement
from protocols.wire import U8, U64, Buffer, Bytes16, Bytes32, Payload

IMAGE_VERSION = 3

CLIENT_STATES: tuple[type[Any], ...] = (
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
SERVER_STATES: tuple[type[Any], ...] = (
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


# What each end takes from the other; anything else is refused before it is parsed.
FROM_SERVER = frozenset({Open, Roster, Inbox, Survivors, Witnesses, Result})
FROM_CLIENT = frozenset({Advertise, Shares, Masked, Witness, Unmask})


@dataclass(frozen=True, slots=True)
class Said:
    """A stored frame: to whom, and its bytes."""

    to: tuple[PartyId, ...]
    data: Payload


@dataclass(frozen=True, slots=True)
class ClientImage:
    """A client endpoint as it is stored. It holds the round's secrets."""

    version: U8
    spent: dict[Bytes16, U64]
    taken: dict[Bytes16, U64]
    answered: Bytes32
    heard: frozenset[Bytes32]
    replies: tuple[Said, ...]
    result: Payload | None
    agreement: Agreement | None
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
    """A server endpoint as it is stored. It holds masked sums and relayed shares, no client's secret."""

    version: U8
    agreement: Agreement | None
    wait: wire.Text
    answered: dict[PartyId, Answered]
    said: tuple[Said, ...]
    certified: dict[PartyId, Bytes32]
    aggregate: Aggregate | None
    kind: U8
    state: Payload


def beacon_of(value: bytes) -> Beacon:
    if not isinstance(value, bytes) or len(value) != len(NOTHING) or value == NOTHING:
        raise Misused("a beacon is 32 bytes of public randomness: hash a longer value first")
    return Beacon(value)


def same_round(header: Header, agreement: Agreement) -> bool:
    """Whether a frame belongs to this very attempt at this round; an old one of the same number does not."""
    return header.round == agreement.round and header.task == topic_of(codec.KINDS[header.kind], agreement)


def topic_of(kind: type[Any], agreement: Agreement) -> bytes:
    """What a header names: the task in an invitation, the attempt in everything after it."""
    task = agreement.plan.task
    return codec.task_id(task) if kind is Open else codec.attempt_id(task, agreement.nonce)


def frame_of(envelope: Envelope, sender: PartyId, agreement: Agreement, sign: Callable[[bytes], bytes]) -> Frame:
    task = topic_of(type(envelope.message), agreement)
    return Frame(envelope.to, codec.encode(envelope.message, sender, task, agreement.round, sign))


Image = TypeVar("Image", bound=ClientImage | ServerImage)


def restored(
    kind: type[Image], data: Buffer, states: tuple[type[Any], ...], supplied: Mapping[Any, object]
) -> tuple[Image, Any]:
    """An endpoint's image and the state inside it.

    Raises: Misused when the bytes are no image of this kind and version.
    """
    try:
        image = codec.thaw(kind, data, {})
        if image.version != IMAGE_VERSION or image.kind >= len(states):
            raise Undecodable(f"image version {image.version}, state kind {image.kind}")
        return image, codec.thaw(states[image.kind], image.state, supplied)
    except Undecodable as error:
        name = kind.__name__.removesuffix("Image").lower()
        raise Misused(f"these bytes are no frozen {name}: {error}") from error
