"""How many bytes a round moves for one client: whole frames, exactly, without playing the round.

Every figure is the length of what the codec writes for a letter of the right shape, so a change of a letter
or of the frame changes it here too. A letter of many equal parts is written with none and with one of them;
its length is affine in their number. The shape is that of a round in which every one of n clients speaks in
time and nobody complains: a lost client only makes letters shorter, a complaint adds four bytes. Text in the
plan (the task's name, fractions) travels in `Open` and counts.

    sent        Advertise  Shares  Masked  [Witness]  Unmask
    received    Open  Roster  Inbox  Survivors  [Witnesses]  Result          [ ]  promise `active` only

Of an encrypted round the ceremony that makes its key is left out: clients take no part in it.

    client      OpenEncrypted -> Ciphertext    Result
    holder      EncryptedSum -> Partial        for one opening
    decryptor   WholeSum -> Decrypted          where it is the one who opens

    client      OpenSeeded -> SeededCiphertext    SeededSum    where clients share the key

Where a ledger counts the round, each client says a Countersignature besides, of 208 bytes: it is left out here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from protocols import codec, messages
from protocols.ckks.binding import Binding, binding_of, hash_bytes, knapsack_of
from protocols.ckks.epoch import POLYNOMIAL_BYTES, WIDTH, partial_width
from protocols.ckks.messages import Certificate, Checked, Ciphertext, Contribution, EncryptedSum, OpenEncrypted, Partial
from protocols.ckks.seeded_messages import OpenSeeded, SeededCiphertext, SeededSum
from protocols.ckks.single_messages import Decrypted, WholeSum, sums_bytes
from protocols.ckks.single_server import check_halves
from protocols.ckks.vector import Shape, key_for
from protocols.coding import EXTRAS_RING, Extras, coding_of
from protocols.errors import BadPlan
from protocols.party import SERVER, PartyId
from protocols.plan import NOTHING, Agreement, Promise
from secagg.ckks.plan import CkksPlan, Keys, Mode
from secagg.ckks.wire import packed_bytes
from secagg.keys import Context
from secagg.negacyclic import N

SIGNATURE = bytes(codec.SIGNATURE_BYTES)
NO_CONTEXT = Context(NOTHING)
ENTRY = messages.RosterEntry(PartyId(0), NOTHING, NOTHING, NOTHING, SIGNATURE)


def sealed_shares(links: int) -> messages.SealedShares:
    """One box of the shape of a plan with so many seeds of removable noise."""
    return messages.SealedShares(bytes(messages.sealed_bytes(links)), NOTHING, NOTHING, (NOTHING,) * links)


SEALED = sealed_shares(0)


@dataclass(frozen=True, slots=True)
class Letter:
    """One frame: the message's type and the bytes on the wire, header and signature included."""

    kind: type[Any]
    bytes: int


@dataclass(frozen=True, slots=True)
class RoundSizes:
    """The frames one client sends, and those it receives, in the order of the round."""

    sent: tuple[Letter, ...]
    received: tuple[Letter, ...]

    @property
    def upload_bytes(self) -> int:
        return sum(letter.bytes for letter in self.sent)

    @property
    def download_bytes(self) -> int:
        return sum(letter.bytes for letter in self.received)

    @property
    def exchanges(self) -> int:
        """Server-to-client-and-back exchanges: each letter of a client answers one of the server."""
        return len(self.sent)

    def bytes_of(self, kind: type[Any]) -> int:
        """The frames of one kind of letter."""
        return sum(letter.bytes for letter in self.sent + self.received if letter.kind is kind)


def round_sizes(agreement: Agreement, clients: int) -> RoundSizes:
    """The letters of a pairwise round of `clients` clients, none of them lost.

    Raises: BadPlan when the plan has no parameters for so many clients, when no vector of this length can be
        encoded, and when the roster would not fit a frame, naming the most clients whose roster does.
    """
    check_roster_fits(clients)
    parameters, coding = agreement.plan.parameters(clients), coding_of(agreement)
    extras = bytes(EXTRAS_RING.packed_bytes(Extras.of(agreement.plan).length))
    bitmap = bytes(-(-clients // 8))
    degree, links = parameters.degree, agreement.plan.links
    sealed, share = sealed_shares(links), bytes(messages.SHARE_BYTES)
    sent = [
        single(messages.Advertise(NO_CONTEXT, NOTHING, NOTHING, NOTHING, SIGNATURE)),
        series(lambda count: messages.Shares((sealed,) * count), degree),
        series(lambda size: messages.Masked(bytes(size), extras, ()), coding.ring.packed_bytes(coding.length)),
    ]
    received = [
        single(messages.Open(agreement)),
        series(roster_of, clients),
        series(lambda count: messages.Inbox(PartyId(0), bitmap, (sealed,) * count), degree),
        single(messages.Survivors(bitmap)),
    ]
    if agreement.plan.promise is Promise.ACTIVE:
        sent.append(single(messages.Witness(SIGNATURE)))
        received.append(series(witnesses_of, agreement.plan.smallest_sum(clients)))
    told = (share,) if links else ()
    sent.append(series(lambda count: messages.Unmask((share,) * count, told * count), degree))
    received.append(single(messages.Result(NO_CONTEXT, NOTHING)))
    return RoundSizes(tuple(sent), tuple(received))


def check_roster_fits(clients: int) -> None:
    """Raises: BadPlan when the roster is too large a frame for a client; nothing else it receives is larger."""
    allowed = codec.HEADER.size + codec.MAX_CONTROL_BYTES + codec.SIGNATURE_BYTES
    needed, empty, one = (series(roster_of, count).bytes for count in (clients, 0, 1))
    if needed > allowed:
        raise BadPlan(
            f"the roster of {clients} clients makes a frame of {needed} bytes, clients take at most {allowed}: "
            f"invite at most {(allowed - empty) // (one - empty)} to one round"
        )


@dataclass(frozen=True, slots=True)
class EncryptedSizes:
    """The frames of one client of an encrypted round, and those of one holder for one opening of its sum.

    One decryptor is the one holder; where clients share the key there is none, and no frame of it.
    """

    client: RoundSizes
    holder: RoundSizes


def encrypted_sizes(agreement: Agreement, keys: Keys, clients: int) -> EncryptedSizes:
    """The letters of an encrypted round of which `clients` uploads arrive, under a key made for it or shared.

    Raises: BadPlan when no ciphertext carries such a round, no hash binds its sum, or a decryptor does not add up so
        many uploads for itself.
    """
    if keys.mode is Mode.SEEDED:
        return EncryptedSizes(shared_sizes(agreement, keys, clients), RoundSizes((), ()))
    holders = tuple(place.to_bytes(32, "little") for place in range(keys.holders))
    epoch = key_for(agreement, keys, 0, holders)
    certificate = Certificate(epoch, bytes(POLYNOMIAL_BYTES), (Checked(0, SIGNATURE),) * keys.holders)
    encrypted = ciphertext_sizes(epoch.plan, clients)
    received = single(OpenEncrypted(agreement, certificate)), single(messages.Result(NO_CONTEXT, NOTHING))
    return EncryptedSizes(replace(encrypted.client, received=received), encrypted.holder)


def ciphertext_sizes(plan: CkksPlan, clients: int) -> EncryptedSizes:
    """The letters that carry residues, and what is said beside these."""
    residues, linear = plan.blocks * N, bytes(hash_bytes(plan))

    def upload(count: int) -> Ciphertext:
        half0, half1 = (bytes(packed_bytes(count, width)) for width in (plan.width0, plan.width1))
        return Ciphertext(c0=half0, c1=half1, signature=SIGNATURE, hash=linear)

    opening = decrypting_sizes(plan, clients) if plan.keys.mode is Mode.SINGLE else opening_sizes(plan, clients)
    return EncryptedSizes(client=RoundSizes(sent=(series(upload, residues),), received=()), holder=opening)


def opening_sizes(plan: CkksPlan, clients: int) -> RoundSizes:
    """The letters of one of t holders."""
    openers, width = tuple(range(1, plan.keys.threshold + 1)), partial_width(plan)

    def answer(count: int) -> Partial:
        part = bytes(packed_bytes(count, width))
        return Partial(context=NO_CONTEXT, question=NOTHING, openers=openers, part=part)

    return RoundSizes(sent=(series(answer, plan.blocks * N),), received=(question_size(plan, openers, clients),))


def decrypting_sizes(plan: CkksPlan, clients: int) -> RoundSizes:
    """The letters of the one decryptor, which is sent both halves of every upload."""
    check_halves(plan, clients)

    def question(count: int) -> WholeSum:
        said = tuple(Contribution(PartyId(who), NOTHING, NOTHING, SIGNATURE, b"") for who in range(count))
        return WholeSum(NOTHING, NO_CONTEXT, said, (b"",) * count, (b"",) * count)

    empty = series(question, clients)
    halves = clients * sum(packed_bytes(plan.blocks * N, width) for width in (plan.width0, plan.width1))
    answer = series(lambda size: Decrypted(NO_CONTEXT, NOTHING, bytes(size)), sums_bytes(plan))
    return RoundSizes(sent=(answer,), received=(replace(empty, bytes=empty.bytes + halves),))


def shared_sizes(agreement: Agreement, keys: Keys, clients: int) -> RoundSizes:
    """The letters of one of the clients who share the key."""
    plan = Shape.of(agreement, keys).plan
    residues = plan.blocks * N

    def total(count: int) -> SeededSum:
        said = tuple(Contribution(PartyId(who), NOTHING, NOTHING, SIGNATURE, b"") for who in range(count))
        return SeededSum(NO_CONTEXT, said, (NOTHING,) * count, b"")

    upload = series(
        lambda count: SeededCiphertext(bytes(packed_bytes(count, plan.width0)), NOTHING, SIGNATURE), residues
    )
    empty = series(total, clients)
    summed = replace(empty, bytes=empty.bytes + packed_bytes(residues, WIDTH))
    return RoundSizes(sent=(upload,), received=(single(OpenSeeded(agreement)), summed))


def question_size(plan: CkksPlan, openers: tuple[int, ...], clients: int) -> Letter:
    """The frame by which holders are asked to open; it is written without what may be the largest of all letters."""
    linear = bytes(hash_bytes(plan))

    def question(count: int, halves: int) -> EncryptedSum:
        said = (Contribution(PartyId(who), NOTHING, NOTHING, SIGNATURE, linear) for who in range(count))
        return EncryptedSum(
            key=NOTHING,
            context=NO_CONTEXT,
            openers=openers,
            contributions=tuple(said),
            halves=(b"",) * halves,
            digits=b"",
        )

    match binding_of(plan):
        case Binding.FULL:
            empty = series(lambda count: question(count, count), clients)
            shown = clients * packed_bytes(plan.blocks * N, plan.width1)
        case Binding.HASHED:
            empty = series(lambda count: question(count, 0), clients)
            shown = knapsack_of(plan, NO_CONTEXT).sums_bytes
    return replace(empty, bytes=empty.bytes + shown)


def roster_of(count: int) -> messages.Roster:
    return messages.Roster(NO_CONTEXT, tuple(replace(ENTRY, who=PartyId(who)) for who in range(count)))


def witnesses_of(count: int) -> messages.Witnesses:
    return messages.Witnesses(tuple(messages.Signed(index, SIGNATURE) for index in range(count)))


def single(message: object) -> Letter:
    """The frame of one message."""
    frame = codec.encode(message, SERVER, bytes(16), 0, lambda text: SIGNATURE)
    return Letter(type(message), sum(map(len, frame)))


def series(letter_of: Callable[[int], object], count: int) -> Letter:
    """The frame of a letter with `count` equal parts; `letter_of` is asked for none and for one only."""
    none, one = single(letter_of(0)), single(letter_of(1))
    return Letter(none.kind, none.bytes + count * (one.bytes - none.bytes))
