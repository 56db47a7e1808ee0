"""All holders of a key in one process, for whoever plays a whole encrypted round there.

    Committee.of(...)       five holders, of whom four open
    Committee.single(...)   one decryptor
    .key_for(agreement)     one ceremony: a key for one round

A new key for every round costs a fraction of a second and leaves the most room for precision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.ckks.decryptor import DecryptorPolicy
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.messages import Certificate
from protocols.codec import Frame
from protocols.endpoint import Decryptor, Holder, KeyMaker, Opener
from protocols.errors import Misused
from protocols.party import MAX_CLIENT_ID, PartyId
from protocols.plan import Agreement, RoundPlan
from secagg.ckks.plan import Keys, Mode
from secagg.keys import Identity

HOLDERS = 5
# The last numbers a party may have, so that clients are free to count from zero.
FIRST_HOLDER = MAX_CLIENT_ID + 1 - 64

Build = Callable[[int, HolderPolicy, Identity, bytes], Holder]
BuildDecryptor = Callable[[int, DecryptorPolicy, Identity, bytes], Decryptor]


@dataclass(slots=True)
class Committee:
    """The holders, by number, and who has them make keys. `made` counts the keys. One decryptor is the one holder."""

    maker: KeyMaker
    holders: Mapping[PartyId, Opener[Any]]
    keys: Keys
    made: int = field(default=0)

    @staticmethod
    def numbers(size: int = HOLDERS) -> tuple[PartyId, ...]:
        return tuple(PartyId(FIRST_HOLDER + place) for place in range(size))

    @classmethod
    def of(
        cls,
        plan: RoundPlan,
        clients: Mapping[PartyId, bytes],
        server: Identity,
        identities: Mapping[PartyId, Identity],
        build: Build = Holder,
    ) -> Committee:
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
    ) -> Committee:
        """One decryptor, which pins the clients, whose keys open one sum each."""
        [(who, identity)] = identities.items()
        policy = DecryptorPolicy(clients, min_cohort=plan.min_cohort)
        maker = KeyMaker({who: identity.public}, server, plan.patience_seconds)
        return cls(maker, {who: build(who, policy, identity, server.public)}, Keys(Mode.SINGLE))

    @property
    def identities(self) -> Mapping[PartyId, bytes]:
        return self.maker.holders

    def key_for(self, agreement: Agreement) -> Certificate:
        """A new key for rounds such as this.

        Raises: BadPlan when no ciphertext carries such a round; TooFewMembers, BadCommittee when it cannot be made.
        """
        letters: deque[Frame] = deque(self.maker.open(agreement, self.keys, self.made))
        self.made += 1
        while letters:
            letter = letters.popleft()
            data = bytes(letter)
            for who in letter.to:
                for answer in self.holders[who].receive(data):
                    letters.extend(self.maker.receive(bytes(answer), who))
        if not self.maker.done:
            raise Misused(f"the ceremony stands still: {self.maker.excluded}")
        return self.maker.certificate
