"""Rebuilding the secrets a round needs, and naming whoever made that impossible.

For a survivor v the server needs its self seed, for a client w that shared but did not survive its
mask key. Every share that comes back is compared with the dealer's tag, every rebuilt secret with the
dealer's public key or commitment; so a wrong share names its holder, a wrong secret its dealer.
Source: Bonawitz et al., CCS 2017, figure 4, round 4; tags and commitments are ours.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.errors import TooFewClients
from protocols.messages import RosterEntry, Shares
from protocols.pairwise import session as names
from protocols.pairwise.session import Session
from protocols.party import PartyId
from secagg.errors import BadShare
from secagg.keys import AgreementKey, Seed
from secagg.masks import Correction
from secagg.shamir import Share, combine


@dataclass(frozen=True, slots=True)
class Recovery:
    """Good shares per dealer, by holder; the inner mappings grow in place."""

    survivors: frozenset[PartyId]
    shares: Mapping[PartyId, dict[PartyId, bytes]] = field(repr=False)

    @classmethod
    def of(cls, sharing: frozenset[PartyId], survivors: frozenset[PartyId]) -> Recovery:
        return cls(survivors, {who: {} for who in sorted(sharing)})

    def which(self, dealer: PartyId) -> bytes:
        return names.SELF_SECRET if dealer in self.survivors else names.MASK_SECRET

    def tag_matches(self, session: Session, dealer: PartyId, holder: PartyId, dealt: Shares, share: bytes) -> bool:
        letter = dealt.sealed[session.point(dealer, holder) - 1]
        expected = letter.self_tag if dealer in self.survivors else letter.mask_tag
        return hmac.compare_digest(names.tag_of(session.sid, dealer, holder, self.which(dealer), share), expected)

    def add(self, dealer: PartyId, holder: PartyId, share: bytes) -> None:
        self.shares[dealer][holder] = share

    def complete(self, threshold: int) -> bool:
        return all(len(shares) >= threshold for shares in self.shares.values())

    def secret(self, session: Session, dealer: PartyId) -> Seed:
        """The dealer's secret from its lowest points.

        Without drop-outs all dealers then share one set of Lagrange coefficients.
        Raises: BadShare (of the pure package) when the shares do not give 32 bytes.
        """
        threshold = session.parameters.threshold
        lowest = sorted(self.shares[dealer].items())[:threshold]
        shares = [Share.from_bytes(session.point(dealer, holder), share) for holder, share in lowest]
        return combine(shares, threshold)


def corrections_for(
    recovery: Recovery, session: Session, entries: tuple[RosterEntry, ...], survivors: frozenset[PartyId]
) -> list[Correction]:
    """Every mask that is still in the sum, with the sign that removes it.

    Raises: TooFewClients when some secret has too few good shares, or, naming the dealers as
        culprits, when the good shares of a dealer give another secret than it committed to.
    """
    threshold = session.parameters.threshold
    fewest = min(len(shares) for shares in recovery.shares.values())
    if fewest < threshold:
        raise TooFewClients(fewest, threshold, "Unmasking")
    entry_of = {entry.who: entry for entry in entries}
    corrections: list[Correction] = []
    culprits: list[PartyId] = []
    for dealer in recovery.shares:
        try:
            secret = recovery.secret(session, dealer)
        except BadShare:
            culprits.append(dealer)
            continue
        if dealer in survivors:
            committed = names.commitment_of(session.context, dealer, secret)
            honest = hmac.compare_digest(committed, entry_of[dealer].commitment)
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
    return corrections


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
