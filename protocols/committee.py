"""All who open sums of a round, in one process, for whoever plays a whole round there.

    KeyCommittee.of(...)       five holders of keys, of whom four open an encrypted sum
    KeyCommittee.single(...)   one decryptor
    OneShotCommittee.of(...)   ten members, of whom nine open a one-shot sum
    .certificate_for(task)     a key for one round, or a committee for many

A new key for every round costs a fraction of a second and leaves the most room for precision; a committee is convened
again only when the old one does not fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from protocols.ckks.decryptor import DecryptorPolicy
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.messages import Certificate
from protocols.codec import Frame
from protocols.endpoint import Convener, Decryptor, Holder, KeyMaker, Member, Opener
from protocols.endpoint.certifier import Certifier
from protocols.errors import Misused
from protocols.oneshot.member import MemberPolicy
from protocols.oneshot.messages import Certificate as CommitteeCertificate
from protocols.party import MAX_CLIENT_ID, PartyId
from protocols.plan import Agreement, RoundPlan
from secagg.ckks.plan import Keys, Mode
from secagg.keys import Identity
from secagg.quorum import Quorum

HOLDERS = 5
MEMBERS = 10
# The last numbers a party may have, so that clients are free to count from zero.
FIRST_HOLDER = MAX_CLIENT_ID + 1 - 64

Build = Callable[[int, HolderPolicy, Identity, bytes], Holder]
BuildDecryptor = Callable[[int, DecryptorPolicy, Identity, bytes], Decryptor]
BuildMember = Callable[[int, MemberPolicy, Identity, bytes], Member]


class Committee(Protocol):
    """Who opens the sums of a cohort. `needed` of its `holders` do; a sum needs no other of them."""

    @property
    def holders(self) -> Mapping[PartyId, Opener[Any]]: ...
    @property
    def needed(self) -> int: ...
    @property
    def identities(self) -> Mapping[PartyId, bytes]: ...
    def certificate_for(self, agreement: Agreement) -> Certificate | CommitteeCertificate: ...


def numbers(size: int) -> tuple[PartyId, ...]:
    """The numbers of so many parties who open."""
    return tuple(PartyId(FIRST_HOLDER + place) for place in range(size))


def exchange(first: list[Frame], maker: Certifier[Any], holders: Mapping[PartyId, Opener[Any]]) -> None:
    """Delivers what is said until nobody says anything.

    Raises: TooFewMembers, BadDealing when nothing can be certified.
    """
    letters: deque[Frame] = deque(first)
    while letters:
        letter = letters.popleft()
        data = bytes(letter)
        for who in letter.to:
            for answer in holders[who].receive(data):
                letters.extend(maker.receive(bytes(answer), who))
    if not maker.done:
        raise Misused(f"the ceremony stands still: {maker.excluded}")


@dataclass(slots=True)
class KeyCommittee:
    """The holders, by number, and who has them make keys. `made` counts the keys. One decryptor is the one holder."""

    maker: KeyMaker
    holders: Mapping[PartyId, Opener[Any]]
    keys: Keys
    made: int = field(default=0)

    @classmethod
    def of(
        cls,
        plan: RoundPlan,
        clients: Mapping[PartyId, bytes],
        server: Identity,
        identities: Mapping[PartyId, Identity],
        build: Build = Holder,
    ) -> KeyCommittee:
        """Holders of these identities, each of whom pins the clients and the others."""
        publics = {who: identity.public for who, identity in identities.items()}
        policy = HolderPolicy(frozenset(publics.values()), clients, min_cohort=plan.min_cohort)
        holders = {who: build(who, policy, identity, server.public) for who, identity in identities.items()}
        return cls(KeyMaker(publics, server, plan.patience_seconds), holders, keys_for_rounds(len(holders)))

    @classmethod
    def single(
        cls,
        plan: RoundPlan,
        clients: Mapping[PartyId, bytes],
        server: Identity,
        identities: Mapping[PartyId, Identity],
        build: BuildDecryptor = Decryptor,
    ) -> KeyCommittee:
        """One decryptor, which pins the clients, whose keys open one sum each."""
        [(who, identity)] = identities.items()
        policy = DecryptorPolicy(clients, min_cohort=plan.min_cohort)
        maker = KeyMaker({who: identity.public}, server, plan.patience_seconds)
        return cls(maker, {who: build(who, policy, identity, server.public)}, Keys(Mode.SINGLE))

    @property
    def needed(self) -> int:
        return self.keys.threshold

    @property
    def identities(self) -> Mapping[PartyId, bytes]:
        return self.maker.holders

    def certificate_for(self, agreement: Agreement) -> Certificate:
        """A new key for rounds such as this.

        Raises: BadPlan when no ciphertext carries such a round; TooFewMembers, BadDealing when it cannot be made.
        """
        first = self.maker.open(agreement, self.keys, self.made)
        self.made += 1
        exchange(first, self.maker, self.holders)
        return self.maker.certificate


@dataclass(slots=True)
class OneShotCommittee:
    """The members, by number, and who convenes them.

    `convened` counts the committees, `served` the rounds of the present one.
    """

    maker: Convener
    holders: Mapping[PartyId, Opener[Any]]
    convened: int = field(default=0)
    served: int = field(default=0)

    @classmethod
    def of(
        cls,
        plan: RoundPlan,
        clients: Mapping[PartyId, bytes],
        server: Identity,
        identities: Mapping[PartyId, Identity],
        build: BuildMember = Member,
    ) -> OneShotCommittee:
        """Members of these identities, each of whom pins the clients and the others."""
        publics = {who: identity.public for who, identity in identities.items()}
        policy = MemberPolicy(frozenset(publics.values()), clients, min_cohort=plan.min_cohort)
        members = {who: build(who, policy, identity, server.public) for who, identity in identities.items()}
        return cls(Convener(publics, server, plan.patience_seconds), members)

    @property
    def needed(self) -> int:
        return Quorum.usual(len(self.holders)).needed

    @property
    def identities(self) -> Mapping[PartyId, bytes]:
        return self.maker.holders

    def certificate_for(self, agreement: Agreement) -> CommitteeCertificate:
        """The committee that serves, or another one where it is not for rounds such as this.

        Raises: BadPlan, NoParameters when no committee of so many can be; TooFewMembers when a member is silent.
        """
        if not self._serves(agreement.plan):
            first = self.maker.open(agreement.plan, self.convened)
            self.convened, self.served = self.convened + 1, 0
            exchange(first, self.maker, self.holders)
        self.served += 1
        return self.maker.certificate

    def _serves(self, plan: RoundPlan) -> bool:
        if not self.convened or not self.maker.done:
            return False
        epoch = self.maker.certificate.epoch
        fits = (epoch.task, epoch.min_cohort, epoch.clients) == (plan.task, plan.min_cohort, plan.max_clients)
        return fits and self.served < epoch.rounds
