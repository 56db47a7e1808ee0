"""What everybody derives alike about one committee: its context, signed texts, and the ends of its boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols import wire
from protocols.errors import BadPlan
from protocols.wire import U32, U64, Buffer, Bytes32, Text
from secagg.box import TAG_BYTES
from secagg.errors import BadParameters, BadShare, NoParameters
from secagg.keys import Context, Seed, derive
from secagg.negacyclic import N
from secagg.quorum import Quorum
from secagg.shamir import PackedShare, packed_rows

PREFIX = b"secagg/v1/oneshot/"
LABEL_EPOCH = PREFIX + b"epoch"
LABEL_ENLISTED = PREFIX + b"enlisted"
LABEL_CERTIFICATE = PREFIX + b"certificate"
LABEL_MEMBER_KEY = PREFIX + b"member-key"
LABEL_UPDATE = PREFIX + b"update"
LABEL_UPLOAD = PREFIX + b"upload"
LABEL_BINDING = PREFIX + b"binding"
LABEL_MESSAGE = PREFIX + b"message"
LABEL_SECRET = PREFIX + b"secret"
LABEL_ERRORS = PREFIX + b"errors"
LABEL_DEAL = PREFIX + b"deal"
LABEL_BOX_KEY = PREFIX + b"box-key"
LABEL_BOX = PREFIX + b"box"
LABEL_QUESTION = PREFIX + b"question"

# A share of a field element below 2^31.
ELEMENT_BYTES = 4
# A contributor's number, box key and signature, and some room for lengths.
CONTRIBUTION_BYTES = 128


@dataclass(frozen=True, slots=True)
class Epoch:
    """One committee: for which task, of whom, against how many of them, for how many rounds.

    `members` are identity keys, member i the i-th, counted from 1; `corrupted` of them may help the server, `offline`
    may be silent. Its members open sums over `min_cohort` to `clients` clients, for at most `rounds` rounds.

    Raises: BadPlan when two members are one, or no quorum is safe with so many corrupt and silent ones.
    """

    task: Text
    number: U64
    members: tuple[Bytes32, ...]
    corrupted: U32
    offline: U32
    min_cohort: U32
    clients: U32
    rounds: U32

    def __post_init__(self) -> None:
        if len(set(self.members)) != len(self.members):
            raise BadPlan("two members of the committee are one identity")
        if not 3 <= self.min_cohort <= self.clients:
            raise BadPlan(f"a committee for sums over {self.min_cohort}..{self.clients} clients; at least 3 are needed")
        if self.rounds < 1:
            raise BadPlan("a committee for no round at all")
        try:
            Quorum(len(self.members), self.corrupted, self.offline)
        except (BadParameters, NoParameters) as error:
            raise BadPlan(str(error)) from error

    @property
    def quorum(self) -> Quorum:
        return Quorum(len(self.members), self.corrupted, self.offline)

    @property
    def context(self) -> Context:
        """SHA-256 of all of it."""
        return Context(hashlib.sha256(LABEL_EPOCH + wire.encode(self)).digest())

    @property
    def rows(self) -> int:
        """How many polynomials carry one mask key."""
        return packed_rows(N, self.quorum)

    @property
    def share_bytes(self) -> int:
        """One member's share of a mask key, or of a sum of them."""
        return ELEMENT_BYTES * self.rows

    @property
    def box_bytes(self) -> int:
        """A sealed share."""
        return self.share_bytes + TAG_BYTES

    def largest_question(self, clients: int) -> int:
        """Bytes that no `Included` over so many clients exceeds."""
        return clients * (self.box_bytes + CONTRIBUTION_BYTES) + 1024


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def enlisted_text(context: Context, place: int, box_key: bytes) -> bytes:
    """What the member in this place signs: it serves in this very committee, under this key."""
    return LABEL_ENLISTED + context + number(place) + box_key


def member_key(root: Seed, context: Context) -> Seed:
    """The seed of a member's key pair, a function of its root and the epoch."""
    return derive(root, LABEL_MEMBER_KEY, context)


def upload_text(context: Context, committee: bytes, who: int, box_key: bytes) -> bytes:
    """What a client signs: the key under which, in this round, it sealed the shares of its one mask key.

    Box key and mask key come from one root, which is bound to the masked vector: whoever names the one names all.
    """
    return LABEL_UPLOAD + context + committee + number(who) + box_key


def box_key(agreed: Seed, context: Context, who: int, place: int) -> Seed:
    """The key of the one box from client `who` to the member in this place."""
    return derive(agreed, LABEL_BOX, context, number(who), number(place))


def box_binding(context: Context, who: int, place: int) -> bytes:
    """What a box is bound to: round and both ends."""
    return LABEL_BOX + context + number(who) + number(place)


def share_to_bytes(share: PackedShare) -> bytes:
    """Four bytes an element."""
    return share.astype("<u4").tobytes()


def share_from_bytes(data: Buffer) -> PackedShare:
    """What `share_to_bytes` wrote.  Raises: secagg.errors.BadShare for what is no whole number of elements."""
    if len(data) % ELEMENT_BYTES:
        raise BadShare(f"a share of {len(data)} bytes, which is no whole number of elements")
    return np.frombuffer(data, "<u4").astype(np.uint32, copy=False)


def question_of(context: Context, committee: bytes, texts: Sequence[bytes]) -> bytes:
    """Names one set of uploads: the texts their clients signed, in order."""
    said = hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in texts)).digest()
    return hashlib.sha256(LABEL_QUESTION + context + committee + said).digest()
