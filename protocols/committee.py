"""Who opens the sums of a round: their certificate made, or found to serve still.

    Convening, KeyMaking       .certificate_for(agreement, deliver): a committee or a key, made anew where the old one
                               does not fit; `deliver` carries the letters, in one process or between machines
    KeyCommittee.of(...)       five holders of keys in this process, of whom four open an encrypted sum
    KeyCommittee.single(...)   one decryptor
    OneShotCommittee.of(...)   ten members, of whom nine open a one-shot sum

A new key for every round leaves the most room for precision; between machines its letters cost more than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from protocols.ckks.decryptor import DecryptorPolicy
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.messages import Certificate
from protocols.ckks.vector import key_for
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

# Carries the first letters of a ceremony, and what they bring about, until nobody says anything.
Deliver = Callable[[list[Frame]], None]

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
    """Delivers what is said in this process until nobody says anything.

    Raises: TooFewMembers, BadDealing when nothing can be certified.
    """
    letters: deque[Frame] = deque(first)
    while letters:
        letter = letters.popleft()
        data = bytes(letter)
        for who in letter.to:
            for answer in holders[who].receive(data):
                letters.extend(maker.receive(bytes(answer), who))


@dataclass(slots=True)
class KeyMaking:
    """Keys for `rounds` rounds each. `number` is the next one's, above all earlier ones of the task."""

    maker: KeyMaker
    keys: Keys
    rounds: int = 1
    number: int = 0
    left: int = field(default=0, init=False)

    def certificate_for(self, agreement: Agreement, deliver: Deliver) -> Certificate:
        """The key that serves, or a new one for rounds such as this.

        Raises: BadPlan when no ciphertext carries such a round; TooFewMembers, BadDealing when it cannot be made;
            Misused where its letters came to nothing.
        """
        if not self._serves(agreement):
            first, self.left = self.maker.open(agreement, self.keys, self.number), 0
            self.number += 1
            deliver(first)
            require_made(self.maker)
            self.left = self.rounds
        self.left -= 1
        return self.maker.certificate

    def _serves(self, agreement: Agreement) -> bool:
        if not self.left:
            return False
        epoch = self.maker.certificate.epoch
        return epoch == key_for(agreement, self.keys, epoch.number, epoch.holders)


@dataclass(slots=True)
class Convening:
    """Committees for as many rounds as they were convened for. `number` is the next one's, above all earlier ones."""

    maker: Convener
    number: int = 0
    left: int = field(default=0, init=False)

    def certificate_for(self, agreement: Agreement, deliver: Deliver) -> CommitteeCertificate:
        """The committee that serves, or another one where it is not for rounds such as this.

        Raises: BadPlan, NoParameters when no committee of so many can be; TooFewMembers when a member is silent;
            Misused where its letters came to nothing.
        """
        if not self._serves(agreement.plan):
            first, self.left = self.maker.open(agreement.plan, self.number), 0
            self.number += 1
            deliver(first)
            require_made(self.maker)
            self.left = self.maker.certificate.epoch.rounds
        self.left -= 1
        return self.maker.certificate

    def _serves(self, plan: RoundPlan) -> bool:
        if not self.left:
            return False
        epoch = self.maker.certificate.epoch
        return (epoch.task, epoch.min_cohort, epoch.clients) == (plan.task, plan.min_cohort, plan.max_clients)


def require_made(maker: Certifier[Any]) -> None:
    """Raises: Misused where a ceremony is not over although nobody says anything any more."""
    if not maker.done:
        raise Misused(f"the ceremony stands still: {maker.excluded}")


@dataclass(slots=True)
class KeyCommittee:
    """The holders, by number, and who has them make keys. One decryptor is the one holder."""

    ceremony: KeyMaking
    holders: Mapping[PartyId, Opener[Any]]

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
        making = KeyMaking(KeyMaker(publics, server, plan.patience_seconds), keys_for_rounds(len(holders)))
        return cls(making, holders)

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
        making = KeyMaking(maker, Keys(Mode.SINGLE))
        return cls(making, {who: build(who, policy, identity, server.public)})

    @property
    def needed(self) -> int:
        return self.ceremony.keys.threshold

    @property
    def identities(self) -> Mapping[PartyId, bytes]:
        return self.ceremony.maker.holders

    def certificate_for(self, agreement: Agreement) -> Certificate:
        """A new key for rounds such as this.  Raises: as `KeyMaking.certificate_for`."""
        return self.ceremony.certificate_for(
            agreement, partial(exchange, maker=self.ceremony.maker, holders=self.holders)
        )


@dataclass(slots=True)
class OneShotCommittee:
    """The members, by number, and who convenes them."""

    ceremony: Convening
    holders: Mapping[PartyId, Opener[Any]]

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
        return cls(Convening(Convener(publics, server, plan.patience_seconds)), members)

    @property
    def needed(self) -> int:
        return Quorum.usual(len(self.holders)).needed

    @property
    def identities(self) -> Mapping[PartyId, bytes]:
        return self.ceremony.maker.holders

    def certificate_for(self, agreement: Agreement) -> CommitteeCertificate:
        """The committee that serves, or another one.  Raises: as `Convening.certificate_for`."""
        carry = partial(exchange, maker=self.ceremony.maker, holders=self.holders)
        return self.ceremony.certificate_for(agreement, carry)
