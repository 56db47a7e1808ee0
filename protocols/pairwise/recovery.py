"""Rebuilding the secrets a round needs, and naming whoever made that impossible.

For a survivor v the server needs its self seed, and where noise is removable the one link of its chain that
the number of survivors opens; for a client w that shared but did not survive its mask key. Every share that
comes back is compared with the dealer's tag, every rebuilt secret with the dealer's public key or commitment;
so a wrong share names its holder, a wrong secret its dealer.
Source: Bonawitz et al., CCS 2017, figure 4, round 4; tags and commitments are ours.
"""

from __future__ import annotations

import hmac
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from protocols.errors import TooFewClients
from protocols.messages import SHARE_BYTES, RosterEntry, Shares
from protocols.pairwise import session as names
from protocols.pairwise.session import Session
from protocols.party import PartyId
from protocols.wire import Exactly
from secagg.errors import BadShare
from secagg.keys import AgreementKey, Seed
from secagg.masks import Correction
from secagg.shamir import Share, combine

Bytes33 = Annotated[bytes, Exactly(SHARE_BYTES)]


@dataclass(frozen=True, slots=True)
class Told:
    """What one holder tells of one dealer: a share of its secret, and one of its chain's link if it has such."""

    share: Bytes33 = field(repr=False)
    link: Bytes33 | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Good shares per dealer, by holder; the inner mappings grow in place."""

    survivors: frozenset[PartyId]
    shares: Mapping[PartyId, dict[PartyId, Told]] = field(repr=False)

    @classmethod
    def of(cls, sharing: frozenset[PartyId], survivors: frozenset[PartyId]) -> Recovery:
        return cls(survivors, {who: {} for who in sorted(sharing)})

    def which(self, dealer: PartyId) -> bytes:
        return names.SELF_SECRET if dealer in self.survivors else names.MASK_SECRET

    def tags_match(self, session: Session, dealer: PartyId, holder: PartyId, dealt: Shares, told: Told) -> bool:
        """Whether everything told is what the dealer sealed for this holder."""
        letter = dealt.sealed[session.point(dealer, holder) - 1]
        expected = letter.self_tag if dealer in self.survivors else letter.mask_tag
        pieces = [(self.which(dealer), told.share, expected)]
        if told.link is not None:
            place = session.opened_link(len(self.survivors))
            pieces.append((names.link_secret(place), told.link, letter.link_tags[place]))
        return all(
            hmac.compare_digest(names.tag_of(session.sid, dealer, holder, which, share), tag)
            for which, share, tag in pieces
        )

    def add(self, dealer: PartyId, holder: PartyId, told: Told) -> None:
        self.shares[dealer][holder] = told

    def complete(self, threshold: int) -> bool:
        return all(len(shares) >= threshold for shares in self.shares.values())

    def secret(self, session: Session, dealer: PartyId) -> Seed:
        """The dealer's secret from its lowest points.

        Without drop-outs all dealers then share one set of Lagrange coefficients.
        Raises: BadShare (of the pure package) when the shares do not give 32 bytes.
        """
        return self._combined(session, dealer, lambda told: told.share)

    def link(self, session: Session, dealer: PartyId) -> Seed:
        """The opened link of a survivor's chain, in the same manner.

        Raises: BadShare.
        """
        return self._combined(session, dealer, lambda told: told.link or b"")

    def _combined(self, session: Session, dealer: PartyId, piece: Callable[[Told], bytes]) -> Seed:
        threshold = session.parameters.threshold
        lowest = sorted(self.shares[dealer].items(), key=operator.itemgetter(0))[:threshold]
        shares = [Share.from_bytes(session.point(dealer, holder), piece(told)) for holder, told in lowest]
        return combine(shares, threshold)


def corrections_for(
    recovery: Recovery, session: Session, entries: tuple[RosterEntry, ...], survivors: frozenset[PartyId]
) -> tuple[list[Correction], tuple[bytes, ...]]:
    """Every mask that is still in the sum, with the sign that removes it; and the opened links of removable noise.

    Raises: TooFewClients when some secret has too few good shares, or, naming the dealers as
        culprits, when the good shares of a dealer give another secret than it committed to.
    """
    threshold = session.parameters.threshold
    fewest = min(len(shares) for shares in recovery.shares.values())
    if fewest < threshold:
        raise TooFewClients(fewest, threshold, "Unmasking")
    entry_of = {entry.who: entry for entry in entries}
    corrections: list[Correction] = []
    opened: list[bytes] = []
    culprits: list[PartyId] = []
    place = session.opened_link(len(survivors))
    for dealer in recovery.shares:
        try:
            secret = recovery.secret(session, dealer)
            link = recovery.link(session, dealer) if dealer in survivors and session.links else None
        except BadShare:
            culprits.append(dealer)
            continue
        if dealer in survivors:
            end = b"" if link is None else names.end_of(link, place, session.links)
            committed = names.commitment_of(session.context, dealer, secret, end)
            honest = hmac.compare_digest(committed, entry_of[dealer].commitment)
            opened += [] if link is None else [link.expose()]
            removed = [Correction(-1, names.self_mask_seed(secret, session.sid, dealer))] if honest else []
        else:
            key = AgreementKey(secret)
            honest = key.public == entry_of[dealer].mask_key
            removed = pair_corrections(session, key, dealer, entry_of, survivors) if honest else []
        corrections += removed
        if not honest:
            culprits.append(dealer)
    if culprits:
        good = len(recovery.shares) - len(culprits)
        raise TooFewClients(good, len(recovery.shares), "Unmasking", tuple(culprits))
    return corrections, tuple(opened)


def pair_corrections(
    session: Session,
    key: AgreementKey,
    lost: PartyId,
    entry_of: Mapping[PartyId, RosterEntry],
    survivors: frozenset[PartyId],
) -> list[Correction]:
    """What the surviving neighbours of a lost client added for it: each v added sgn(v, lost) PRG(pair)."""
    return [
        Correction(
            -1 if peer < lost else 1,
            names.pair_seed(key.agree(entry_of[peer].mask_key), session.sid, peer, lost),
        )
        for peer in session.neighbours(lost)
        if peer in survivors
    ]
