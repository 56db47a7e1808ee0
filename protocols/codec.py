"""Messages as signed frames, and states as bytes.

    frame = header | body | signature
    header = "SA" version kind sender task round body-length          (40 bytes)
    signature = Ed25519 over label | header | SHA-256(body)

A frame names and proves its sender. Foreign bytes become a message or `Malformed` / `TooLarge` /
`BadSignature` and nothing else: the header is compared with what its receiver expects and with the
bytes that are there before anything is allocated, the signature is checked before the body is parsed,
every byte is consumed, and a message is accepted only in its one canonical form.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dp.errors import DpError
from protocols import messages, wire
from protocols.ckks import messages as ckks
from protocols.ckks import seeded_messages as seeded
from protocols.ckks import single_messages as single
from protocols.errors import BadPlan, Malformed, TooLarge, Undecodable, blame
from protocols.oneshot import messages as oneshot
from protocols.party import PartyId
from protocols.wire import Buffer
from secagg.errors import SecaggError
from secagg.keys import verify

MAGIC = b"SA"
VERSION = 1
HEADER = struct.Struct("<2sBBI16sQQ")
SIGNATURE_BYTES = 64
LABEL_FRAME = b"secagg/v1/frame"
LABEL_TASK = b"secagg/v1/task"
LABEL_ATTEMPT = b"secagg/v1/attempt"

# A control message of 10^5 clients fits; only a hidden vector may be larger, and its size is agreed.
MAX_CONTROL_BYTES = 64 << 20

# The one table of kind bytes; a number is never reused for another meaning.
KINDS: dict[int, type[Any]] = {
    1: messages.Open,
    2: messages.Advertise,
    3: messages.Roster,
    4: messages.Shares,
    5: messages.Inbox,
    6: messages.Masked,
    7: messages.Survivors,
    8: messages.Witness,
    9: messages.Witnesses,
    10: messages.Unmask,
    11: messages.Result,
    12: ckks.Invite,
    13: ckks.Commit,
    14: ckks.Commits,
    15: ckks.Reveal,
    16: ckks.Deals,
    17: ckks.Checked,
    18: ckks.Dispute,
    19: ckks.Summands,
    20: ckks.Certificate,
    21: ckks.Probe,
    22: ckks.OpenEncrypted,
    23: ckks.Ciphertext,
    24: ckks.EncryptedSum,
    25: ckks.Partial,
    26: single.WholeSum,
    27: single.Decrypted,
    28: seeded.OpenSeeded,
    29: seeded.SeededCiphertext,
    30: seeded.SeededSum,
    31: oneshot.Convene,
    32: oneshot.Enlisted,
    33: oneshot.OpenOneShot,
    34: oneshot.Concealed,
    35: oneshot.Included,
    36: oneshot.Summed,
    37: messages.Countersignature,
}
_KIND_OF = {message: kind for kind, message in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Header:
    """Who says what in which round of which task, and how long it is."""

    kind: int
    sender: PartyId
    task: bytes
    round: int
    length: int

    def to_bytes(self) -> bytes:
        return HEADER.pack(MAGIC, VERSION, self.kind, self.sender, self.task, self.round, self.length)


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes for `to`, as a list of buffers so that a large vector is never copied; `bytes(frame)` joins."""

    to: tuple[PartyId, ...]
    parts: tuple[Buffer, ...]

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)


def kind_byte(frame: Frame | Buffer) -> int:
    """The kind of a frame that this process made or stored; kinds ascend in the order of the protocol."""
    return int(HEADER.unpack_from(frame.parts[0] if isinstance(frame, Frame) else frame)[2])


def kind_of(frame: Frame | Buffer) -> type[Any]:
    """The type of message that such a frame announces."""
    return KINDS[kind_byte(frame)]


def task_id(task: str) -> bytes:
    """Sixteen bytes that stand for a task's name in every header."""
    return hashlib.sha256(LABEL_TASK + task.encode()).digest()[:16]


def attempt_id(task: str, nonce: bytes) -> bytes:
    """Sixteen bytes that stand for one attempt at a round: what was said in another one does not fit here."""
    return hashlib.sha256(LABEL_ATTEMPT + nonce + task.encode()).digest()[:16]


def encode(
    message: object, sender: PartyId, task: bytes, round: int, sign: Callable[[bytes], bytes]
) -> tuple[Buffer, ...]:
    """The signed frame of a message, as buffers."""
    body = wire.pieces(message)
    header = Header(_KIND_OF[type(message)], sender, task, round, sum(map(len, body))).to_bytes()
    return (header, *body, sign(_signed_text(header, body)))


def _signed_text(header: Buffer, body: list[Buffer]) -> bytes:
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    return LABEL_FRAME + bytes(header) + digest.digest()


def fingerprint(data: Buffer) -> bytes:
    """SHA-256 of a frame's header and signature, which stand for its body: that need not be read twice.

    Whoever bends the body of a frame that was already answered gets the answer its sender got, and no other.
    """
    view = memoryview(data)
    return hashlib.sha256(bytes(view[: HEADER.size]) + bytes(view[-SIGNATURE_BYTES:])).digest()


def read_header(data: Buffer, peer: PartyId, limit: int) -> Header:
    """The header of a frame that is exactly as long as it says and no longer than `limit`.

    Raises: Malformed, TooLarge, in the name of `peer`, the party the transport believes is speaking.
    """
    if len(data) < HEADER.size + SIGNATURE_BYTES:
        raise Malformed(peer, f"sent {len(data)} bytes, fewer than a frame has")
    magic, version, kind, sender, task, round_, length = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise Malformed(peer, f"speaks another protocol or version: {bytes(magic)!r} {version}")
    if kind not in KINDS:
        raise Malformed(peer, f"sent a frame of unknown kind {kind}")
    if length > limit:
        raise TooLarge(peer, f"announces {length} bytes, {limit} are allowed here")
    if length != len(data) - HEADER.size - SIGNATURE_BYTES:
        raise Malformed(peer, f"announces {length} bytes but the frame holds {len(data)}")
    return Header(kind, PartyId(sender), task, round_, length)


def open_frame(data: Buffer, header: Header, public: bytes) -> Any:
    """The message of a frame whose header was read, after its signature was checked under `public`.

    Raises: BadSignature, Malformed, in the name of the frame's sender.
    """
    view = memoryview(data)
    body = view[HEADER.size : HEADER.size + header.length]
    with blame(header.sender):
        verify(public, _signed_text(view[: HEADER.size], [body]), bytes(view[HEADER.size + header.length :]))
    return decode_body(KINDS[header.kind], body, header.sender)


T = TypeVar("T")


def body_of(kind: type[T], data: Buffer, header: Header) -> T:
    """The message inside a frame, before anybody has checked its signature.

    Raises: Malformed, in the name of the frame's sender.
    """
    return decode_body(kind, memoryview(data)[HEADER.size : HEADER.size + header.length], header.sender)


def decode_body(kind: type[T], body: Buffer, peer: PartyId) -> T:
    """One message of the given kind.

    Raises: Malformed when the bytes are not its canonical encoding or its constructor refuses them.
    """
    try:
        return wire.decode(kind, body)
    except (Undecodable, SecaggError, DpError, BadPlan) as error:
        raise Malformed(peer, f"{kind.__name__}: {error}") from error


def freeze(state: object) -> bytes:
    """A state as bytes, without what the restorer must supply again.

    The bytes hold the round's secrets: keep them where only their owner can read, and erase them when
    the round is over.
    """
    return wire.encode(state)


def thaw(kind: type[T], data: Buffer, supplied: Mapping[Any, object]) -> T:
    """The state that `freeze` wrote.

    Raises: Undecodable when the bytes are no such state.
    """
    try:
        return wire.decode(kind, data, supplied)
    except (SecaggError, DpError, BadPlan) as error:
        raise Undecodable(f"{kind.__name__}: {error}") from error
