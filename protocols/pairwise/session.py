"""What both ends of the pairwise protocol derive alike: session, labels, keys, tags, signed texts.

    context   hash of the agreement, known from `Open`
    roster    who advertised which keys
    session   hash of context, roster and parameters; everything after the roster is bound to it

Two key pairs per client are needed: the mask key of a client that drops is rebuilt in public, and
with one pair that would open every box it ever received.
Source: Bonawitz et al., CCS 2017, figure 4 (double masking) and section 6 (active variant).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from dp.layers import chain
from protocols.coding import Coding, Extras, coding_of, layers_seed
from protocols.messages import RosterEntry, Who
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, ContextBytes
from protocols.wire import Bytes32
from secagg.graph import Graph, GraphMode, Parameters, beacon_seed, roster_seed
from secagg.keys import AgreementKey, Context, Seed, derive

PREFIX = b"secagg/v1/pairwise/"
LABEL_BOX_KEY = PREFIX + b"box-key"
LABEL_MASK_KEY = PREFIX + b"mask-key"
LABEL_SELF_SEED = PREFIX + b"self-seed"
LABEL_UPDATE = PREFIX + b"update"
LABEL_COEFFICIENTS = PREFIX + b"coefficients"
LABEL_COMMIT = PREFIX + b"commit"
LABEL_BOX = PREFIX + b"box"
LABEL_PAIR = PREFIX + b"pair"
LABEL_SELF = PREFIX + b"self"
LABEL_TAG = PREFIX + b"tag"
LABEL_ROSTER = PREFIX + b"roster"
LABEL_SESSION = PREFIX + b"session"
LABEL_ADVERTISE = PREFIX + b"advertise"
LABEL_WITNESS = PREFIX + b"witness"

MASK_SECRET = b"s"
SELF_SECRET = b"b"
LINK_SECRET = b"n"

MODEL_SECTION = 0
EXTRAS_SECTION = 1


def word(number: int) -> bytes:
    """A party id or a count as four little-endian bytes."""
    return number.to_bytes(4, "little")


@dataclass(frozen=True)
class Session:
    """One agreement among one roster. `ids` ascend; `sid` is the public hash everything is bound to.

    `beacon` is the public value that seeds the graph, zero where none does; `certified` are the identity keys that
    came with a credential.
    """

    agreement: Agreement
    context: ContextBytes
    ids: tuple[Who, ...]
    roster: Bytes32
    beacon: Bytes32
    certified: dict[Who, Bytes32]
    sid: Bytes32

    @classmethod
    def of(
        cls, agreement: Agreement, context: Context, entries: tuple[RosterEntry, ...], beacon: bytes = NOTHING
    ) -> Session:
        """The session of this roster.

        Raises: BadPlan when no parameters exist for a roster of this size.
        """
        parameters = agreement.plan.parameters(len(entries))
        roster = roster_hash(entries)
        numbers = (len(entries), parameters.degree, parameters.threshold, parameters.window + 1, parameters.quorum)
        sid = hashlib.sha256(LABEL_SESSION + context + roster + beacon + b"".join(map(word, numbers))).digest()
        certified = {entry.who: entry.credential.identity for entry in entries if entry.credential is not None}
        return cls(agreement, context, tuple(entry.who for entry in entries), roster, beacon, certified, sid)

    @cached_property
    def parameters(self) -> Parameters:
        return self.agreement.plan.parameters(len(self.ids))

    @cached_property
    def graph(self) -> Graph:
        if self.parameters.degree == len(self.ids) - 1:
            return Graph.complete(self.ids)
        by_beacon = self.agreement.plan.graph is GraphMode.BEACON
        seed = beacon_seed(self.roster, self.beacon) if by_beacon else roster_seed(self.roster)
        return Graph.ring(self.ids, self.parameters.degree, seed, self.context)

    @cached_property
    def coding(self) -> Coding:
        return coding_of(self.agreement)

    @cached_property
    def extras(self) -> Extras:
        return Extras.of(self.agreement.plan)

    @property
    def links(self) -> int:
        """How many seeds of removable noise each client deals; none where the plan keeps all noise."""
        return self.agreement.plan.links

    def opened_link(self, survivors: int) -> int:
        """Which of them, counted from 0, is opened of each survivor of so many.

        Every client that never came into the sum makes it one later: noise of one fewer must then be as much.
        """
        return min(self.agreement.plan.max_clients - survivors, self.links - 1)

    @cached_property
    def smallest_sum(self) -> int:
        """Fewer survivors than this are never opened, and against an active server so many must have witnessed them."""
        return self.agreement.plan.smallest_sum(len(self.ids))

    def witnessed_by(self, signers: frozenset[PartyId]) -> bool:
        """Whether these signatures make a list of survivors one to answer: a whole cohort's, all around the ring.

        Signers are in this session beyond doubt, while a listed client may have been shown another roster; so it is
        they who must leave no half neighbourhood empty.
        """
        return len(signers) >= self.smallest_sum and self.graph.windows(signers) > self.parameters.window

    @cached_property
    def members(self) -> frozenset[PartyId]:
        return frozenset(self.ids)

    @cached_property
    def _neighbours(self) -> dict[PartyId, tuple[PartyId, ...]]:
        return {}

    def neighbours(self, who: PartyId) -> tuple[PartyId, ...]:
        """Who masks with `who` and holds its shares, ascending."""
        if who not in self._neighbours:
            self._neighbours[who] = tuple(PartyId(peer) for peer in self.graph.neighbours(who))
        return self._neighbours[who]

    def point(self, dealer: PartyId, holder: PartyId) -> int:
        """Shamir abscissa of a holder of the dealer's secrets: 1 + its rank, never 0."""
        return self.graph.point(dealer, holder)


def roster_hash(entries: tuple[RosterEntry, ...]) -> bytes:
    """SHA-256 of who advertised what."""
    listed = hashlib.sha256(LABEL_ROSTER + word(len(entries)))
    for entry in entries:
        certified = b"" if entry.credential is None else entry.credential.identity
        listed.update(word(entry.who) + entry.box_key + entry.mask_key + entry.commitment)
        listed.update(word(len(certified)) + certified)
    return listed.digest()


def awaits_beacon(agreement: Agreement, clients: int) -> bool:
    """Whether the graph of so many clients is sparse and seeded by a public value.

    Raises: BadPlan when no parameters exist for a roster of this size.
    """
    sparse = agreement.plan.parameters(clients).degree < clients - 1
    return sparse and agreement.plan.graph is GraphMode.BEACON


@dataclass(frozen=True, slots=True)
class RoundKeys:
    """A client's two key pairs and self seed of one round, all functions of its root and the context."""

    box: AgreementKey
    mask: AgreementKey
    mask_seed: Seed
    self_seed: Seed

    @classmethod
    def of(cls, root: Seed, context: Context) -> RoundKeys:
        box_seed = derive(root, LABEL_BOX_KEY, context)
        mask_seed = derive(root, LABEL_MASK_KEY, context)
        keys = cls(AgreementKey(box_seed), AgreementKey(mask_seed), mask_seed, derive(root, LABEL_SELF_SEED, context))
        box_seed.erase()
        return keys


def links_of(root: Seed, agreement: Agreement, context: Context) -> tuple[Seed, ...]:
    """The seeds a client deals of its removable noise, the chain's end included."""
    first = layers_seed(derive(root, LABEL_UPDATE, context), context)
    return tuple(map(Seed, chain(first.expose(), agreement.plan.links)))


def end_of(link: Seed, place: int, links: int) -> bytes:
    """The end of the chain of which `link` stands at `place`, counted from 0; nothing without a chain."""
    return chain(link.expose(), links - place)[-1]


def commitment_of(context: Context, who: PartyId, self_seed: Seed, end: bytes = b"") -> bytes:
    """Binds a client to its self seed, and to its chain, before anybody knows them, so a false dealer can be named."""
    return hashlib.sha256(LABEL_COMMIT + context + word(who) + self_seed.expose() + end).digest()


def link_secret(place: int) -> bytes:
    """The name of one link in tags and coefficients."""
    return LINK_SECRET + word(place)


def advertised_text(context: Context, who: PartyId, box_key: bytes, mask_key: bytes, commitment: bytes) -> bytes:
    """What an advertisement signs."""
    return LABEL_ADVERTISE + context + word(who) + box_key + mask_key + commitment


def witness_text(sid: Bytes32, bitmap: bytes) -> bytes:
    """What a witness signs: this session, this list of survivors."""
    return LABEL_WITNESS + sid + hashlib.sha256(bitmap).digest()


def pair_seed(agreed: Seed, sid: Bytes32, one: PartyId, other: PartyId) -> Seed:
    """The seed of the mask two clients share; symmetric in its two ends."""
    low, high = sorted((one, other))
    return derive(agreed, LABEL_PAIR, sid, word(low), word(high))


def self_mask_seed(self_seed: Seed, sid: Bytes32, who: PartyId) -> Seed:
    """The seed of a client's own mask in this session."""
    return derive(self_seed, LABEL_SELF, sid, word(who))


def box_key(agreed: Seed, sid: Bytes32, sender: PartyId, recipient: PartyId) -> Seed:
    """The key of the single box that sender seals for recipient; the direction is part of it."""
    return derive(agreed, LABEL_BOX, sid, word(sender), word(recipient))


def box_binding(sid: Bytes32, sender: PartyId, recipient: PartyId, *tags: bytes) -> bytes:
    """The additional data of a box: a box moved elsewhere, or with other tags, does not open."""
    return sid + word(sender) + word(recipient) + b"".join(tags)


def tag_of(sid: Bytes32, dealer: PartyId, holder: PartyId, which: bytes, share: bytes) -> bytes:
    """The dealer's public fingerprint of one share; shares have 256 bits of entropy, so it hides them."""
    return hashlib.sha256(LABEL_TAG + sid + word(dealer) + word(holder) + which + share).digest()
