"""Rounds as sets of parties: which letters there are, in which rooms, and who is in the sum when some vanish.

A model shares no code with the protocol it judges: parameters are computed anew from their formulas.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from protocols.errors import RoundLost, TooFewClients, TooFewMembers
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Encrypted, Exchange, Fate, Lost

Ring = tuple[int, int, int]
Letter = Exchange | Encrypted


@dataclass(frozen=True)
class Expected:
    """What the model of sets says: a sum over these survivors, or a shortage in this room."""

    survivors: frozenset[PartyId] = frozenset()
    room: str | None = None
    error: type[RoundLost] = TooFewClients


@dataclass(frozen=True)
class Shortage:
    """Whoever speaks in this room is lost, one after the other, until it gets short."""

    promise: Promise
    letter: Letter
    room: str
    clients: int
    cohort: int
    why: str

    def __str__(self) -> str:
        return f"{self.promise.value}-{self.room}-{self.why}"


class Model(ABC):
    """One protocol; `vector` is the letter that carries the update.

    `rings` are named by the bits of a coordinate: bits per value, largest weight, room for clients; `usual` is one.
    """

    rings: ClassVar[Mapping[str, Ring]]
    usual: ClassVar[str]
    sizes: ClassVar[Sequence[int]]
    vector: ClassVar[Letter]

    @abstractmethod
    def letters(self, promise: Promise) -> Sequence[Letter]:
        """What a client says, in order."""

    @abstractmethod
    def rooms(self, promise: Promise) -> Sequence[str]:
        """Where the server waits, in order."""

    @abstractmethod
    def shortages(self) -> list[Shortage]:
        """Each way in which a room gets short."""

    @abstractmethod
    def end(self, plan: RoundPlan, ids: Iterable[PartyId], fates: Mapping[PartyId, Fate]) -> Expected:
        """How the round of these clients ends."""

    def fates(self, promise: Promise) -> list[Fate]:
        """Each way to vanish."""
        return [Fate(letter, side) for letter in self.letters(promise) for side in Lost]


class Pairwise(Model):
    """Five letters; a client of a curious round writes one less."""

    rings: ClassVar[Mapping[str, Ring]] = {
        "b16": (8, 1, 255),
        "b17": (8, 1, 256),
        "b32": (16, 256, 255),
        "b33": (16, 256, 256),
        "b64": (24, 1 << 32, 255),
    }
    usual = "b32"
    sizes = (*range(3, 13), 24, 40)
    vector = Exchange.MASKED

    def letters(self, promise: Promise) -> Sequence[Exchange]:
        return list(Exchange)[: 5 if promise is Promise.ACTIVE else 4]

    def rooms(self, promise: Promise) -> Sequence[str]:
        witnessing = ("Witnessing",) if promise is Promise.ACTIVE else ()
        return ("Gathering", "Relaying", "Summing", *witnessing, "Unmasking")

    def shortages(self) -> list[Shortage]:
        cases = [
            Shortage(promise, letter, room, 8, cohort, f"cohort{cohort}")
            for promise in Promise
            for letter, room in zip(Exchange, self.rooms(promise), strict=False)
            for cohort in (5, 7)
            if cohort == 5 or letter <= Exchange.MASKED
        ]
        # Seven clients: the cohort and the quorum would allow one loss more than the threshold.
        return cases + [
            Shortage(promise, letter, room, 7, 3, "threshold")
            for promise in Promise
            for letter, room in ((Exchange.SHARES, "Relaying"), (Exchange.MASKED, "Summing"))
        ]

    def end(self, plan: RoundPlan, ids: Iterable[PartyId], fates: Mapping[PartyId, Fate]) -> Expected:
        """U1 .. U5 from the fates alone (section 11 of the pairwise page)."""
        lost_at = {who: fate.exchange for who, fate in fates.items()}
        active = plan.promise is Promise.ACTIVE

        def after(members: frozenset[PartyId], letter: int) -> frozenset[PartyId]:
            return frozenset(who for who in members if lost_at.get(who) != letter)

        u1 = after(frozenset(ids), 0)
        n, corrupt, drop = len(u1), plan.assumption.corrupt * len(u1) // 1, plan.assumption.dropout * len(u1) // 1
        if active:
            threshold, quorum = (n - 1 + corrupt) // 2 + 1, (n + corrupt) // 2 + 1
        else:
            threshold, quorum = max(corrupt, (n - 1) // 2) + 1, 0
        if n < max(3, plan.min_cohort) or threshold > n - 1 - drop or quorum > n - drop:
            return Expected(room="Gathering")
        need = max(plan.min_cohort, quorum, threshold + 1)
        u2 = after(u1, 1)
        if len(u2) < need:
            return Expected(room="Relaying")
        u3 = after(u2, 2)
        if len(u3) < need:
            return Expected(room="Summing")
        u4 = after(u3, 3)
        if active and len(u4) < max(plan.min_cohort, quorum):
            return Expected(room="Witnessing")
        u5 = after(u4, 4)
        if any(len(u5 - {dealer}) < threshold for dealer in u2):
            return Expected(room="Unmasking")
        return Expected(survivors=u3)


@dataclass(frozen=True)
class EncryptedRounds(Model):
    """One letter of a client, one of a holder; of these holders so many must be left to open.

    That many sets of holders are asked as it takes to find out who is silent, one at a time, so no more may be missing
    than a sum may be opened again.
    """

    holders: frozenset[PartyId]
    threshold: int

    # A coefficient has 54 bits for sums, noise and smudge; in the narrowest ring it carries two coordinates.
    rings: ClassVar[Mapping[str, Ring]] = {
        "b13": (8, 1, 24),
        "b16": (8, 1, 255),
        "b17": (8, 1, 256),
        "b21": (12, 16, 24),
        "b29": (24, 1, 24),
    }
    usual = "b21"
    sizes = (*range(3, 8), 12, 24)
    vector = Encrypted.VECTOR

    def letters(self, promise: Promise) -> Sequence[Encrypted]:
        return tuple(Encrypted)

    def rooms(self, promise: Promise) -> Sequence[str]:
        return ("Summing", "Opening")

    def shortages(self) -> list[Shortage]:
        return [
            Shortage(promise, Encrypted.VECTOR, room, 8, cohort, f"cohort{cohort}")
            for promise in Promise
            for room in self.rooms(promise)
            for cohort in (5, 7)
        ]

    def end(self, plan: RoundPlan, ids: Iterable[PartyId], fates: Mapping[PartyId, Fate]) -> Expected:
        there = frozenset(ids) - fates.keys()
        if len(there) < plan.min_cohort:
            return Expected(room="Summing")
        if len(self.holders - fates.keys()) < self.threshold:
            return Expected(room="Opening", error=TooFewMembers)
        return Expected(survivors=there)


@dataclass(frozen=True)
class OneShotRounds(Model):
    """One letter of a client, one of a member; of these members so many must answer."""

    members: frozenset[PartyId]
    needed: int

    # Where two or three coordinates share a coefficient, and where one of them fills it.
    rings: ClassVar[Mapping[str, Ring]] = {
        "b13": (8, 1, 24),
        "b17": (8, 1, 256),
        "b21": (12, 16, 24),
        "b32": (16, 256, 255),
        "b33": (16, 256, 256),
        "b40": (24, 1 << 8, 255),
    }
    usual = "b21"
    sizes = (*range(3, 8), 12, 24)
    vector = Encrypted.VECTOR

    def letters(self, promise: Promise) -> Sequence[Encrypted]:
        return tuple(Encrypted)

    def rooms(self, promise: Promise) -> Sequence[str]:
        return ("Summing", "Opening")

    def shortages(self) -> list[Shortage]:
        return [
            Shortage(promise, Encrypted.VECTOR, room, 8, cohort, f"cohort{cohort}")
            for promise in Promise
            for room in self.rooms(promise)
            for cohort in (5, 7)
        ]

    def end(self, plan: RoundPlan, ids: Iterable[PartyId], fates: Mapping[PartyId, Fate]) -> Expected:
        there = frozenset(ids) - fates.keys()
        if len(there) < plan.min_cohort:
            return Expected(room="Summing")
        if len(self.members - fates.keys()) < self.needed:
            return Expected(room="Opening", error=TooFewMembers)
        return Expected(survivors=there)
