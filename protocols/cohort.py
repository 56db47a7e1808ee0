"""Everybody whom a round needs, in one process, with identities pinned to each other.

    Cohort.fresh(plan, ids)              identities and secrets from the operating system
    Cohort.from_root(plan, ids, root)    insecure: all of it a function of the root
    .keyed(task)                         with the key or the committee that opens the round's sum

Nothing of it is for parties that must not trust each other: they run endpoints of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from dp.noise import RngSource
from protocols.ckks import seeded
from protocols.ckks.messages import Certificate
from protocols.ckks.vector import Shape
from protocols.committee import (
    HOLDERS,
    MEMBERS,
    Build,
    BuildDecryptor,
    BuildMember,
    Committee,
    KeyCommittee,
    OneShotCommittee,
    numbers,
)
from protocols.endpoint import Client, Decryptor, Holder, Member, Opener, Server, Task
from protocols.errors import Misused
from protocols.messages import Aggregate
from protocols.party import SERVER, PartyId
from protocols.plan import ENCRYPTED, NOTHING, ONE_SHOT, PAIRWISE, Policy, RoundPlan
from protocols.verifying import Verifier
from secagg.ckks.cipher import Engine
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.whole import SharedKey
from secagg.keys import Identity, Seed, derive, verify

Verifiers = Callable[[PartyId], Verifier]


def by_itself(who: PartyId) -> Verifier:
    """Every client checks every signature."""
    return verify


LABEL_COHORT = b"secagg/v1/simulate/cohort"
LABEL_SHARED = b"secagg/v1/simulate/shared"


def identity_from(root: Seed, who: PartyId) -> Identity:
    """INSECURE outside tests: the identity that `Cohort.from_root` gives this party."""
    return Identity.from_seed(derive(root, LABEL_COHORT, NOTHING, who.to_bytes(4, "little")))


@dataclass(frozen=True, slots=True)
class Cohort:
    """A server and its clients in one process, with identities pinned to each other.

    Where others than the clients open sums, `committee` are they; `shared` is the name of the key that clients share.
    """

    server: Server
    clients: Mapping[PartyId, Client]
    sums: list[frozenset[PartyId]] = field(default_factory=list)
    committee: Committee | None = None
    shared: bytes | None = None

    @property
    def holders(self) -> Mapping[PartyId, Opener[Any]]:
        return {} if self.committee is None else self.committee.holders

    def keyed(self, task: Task) -> Task:
        """The task with what opens its sum, where it names none: a new key, the one that clients share, or a committee.

        Raises: as `certificate_for` of the committee.
        """
        if task.key != NOTHING or self.server.plan.protocol == PAIRWISE:
            return task
        if self.committee is None:
            return replace(task, shared_key=self.shared)
        return replace(task, certificate=self.committee.certificate_for(self.server.agree(task)))

    def encryption_of(self, task: Task) -> CkksPlan | None:
        """The plan of the key that such a task has, None where masks hide."""
        if isinstance(task.certificate, Certificate):
            return task.certificate.epoch.plan
        return None if task.shared_key is None else Shape.of(self.server.agree(task), seeded.KEYS).plan

    def warnings(self, opened: Aggregate) -> tuple[str, ...]:
        """What a reader of this sum and of an earlier one of these endpoints learns beyond both; then remembers it."""
        survivors, plan = frozenset(opened.survivors), self.server.plan
        sizes = [len(survivors ^ earlier) for earlier in self.sums]
        self.sums.append(survivors)
        close = [size for size in sizes if 0 < size < plan.min_cohort]
        if plan.noise is not None or not close:
            return ()
        return (
            f"DifferenceOfRounds: without noise, this sum and an earlier one differ in {min(close)} clients, "
            f"fewer than the {plan.min_cohort} of a cohort: their difference tells on them",
        )

    @property
    def deterministic(self) -> bool:
        """Whether some client's secrets come from a given root instead of the operating system."""
        return any(client.deterministic for client in self.clients.values())

    @property
    def rng(self) -> RngSource:
        """Where the noise comes from, as the ledger calls it."""
        return "insecure" if self.deterministic else "system"

    @classmethod
    def fresh(
        cls,
        plan: RoundPlan,
        ids: Iterable[int],
        verifiers: Verifiers = by_itself,
        engine: Engine | None = None,
        mode: Mode = Mode.THRESHOLD,
    ) -> Cohort:
        """New identities and secrets from the operating system.

        Where the protocol encrypts, `engine` does so, and who can open is for `mode` to say.
        """
        identities = {who: Identity.fresh() for who in (SERVER, *_holders_of(plan, mode), *map(PartyId, ids))}
        build = Builders(partial(Client, engine=engine), Holder, Decryptor, Member, Seed.fresh)
        return cls._of(plan, mode, identities, build, verifiers)

    @classmethod
    def from_root(
        cls,
        plan: RoundPlan,
        ids: Iterable[int],
        root: Seed,
        verifiers: Verifiers = by_itself,
        engine: Engine | None = None,
        mode: Mode = Mode.THRESHOLD,
    ) -> Cohort:
        """INSECURE outside tests: every identity and secret is a function of `root`, so runs can be repeated."""
        identities = {who: identity_from(root, who) for who in (SERVER, *_holders_of(plan, mode), *map(PartyId, ids))}
        build = Builders(
            client=partial(Client.from_root, root, engine=engine),
            holder=partial(Holder.from_root, root),
            decryptor=partial(Decryptor.from_root, root),
            member=partial(Member.from_root, root),
            shared=lambda: derive(root, LABEL_SHARED, NOTHING),
        )
        return cls._of(plan, mode, identities, build, verifiers)

    def invite(self, ids: Iterable[int]) -> Cohort:
        """The same endpoints, of which only these clients are invited.

        Raises: Misused naming clients that are not in the cohort.
        """
        strangers = sorted(set(ids) - set(self.clients))
        if strangers:
            raise Misused(f"clients {strangers} have no endpoint in this cohort")
        return replace(self, clients={PartyId(who): self.clients[PartyId(who)] for who in ids})

    @classmethod
    def _of(
        cls, plan: RoundPlan, mode: Mode, known: dict[PartyId, Identity], build: Builders, verifiers: Verifiers
    ) -> Cohort:
        server, holders = known.pop(SERVER), {who: known.pop(who) for who in _holders_of(plan, mode)}
        identities = {who: identity.public for who, identity in known.items()}
        committee = build.committee(plan, mode, identities, server, holders) if holders else None
        publics = {} if committee is None else committee.identities
        policy = Policy(
            identities,
            min_cohort=plan.min_cohort,
            promise=plan.promise,
            graphs=frozenset({plan.graph}),
            assumption=plan.assumption,
            protocols=frozenset({plan.protocol}),
            holders=frozenset(publics.values()),
            modes=frozenset({mode}),
        )
        shared = SharedKey(build.shared()) if _is_shared(plan, mode) else None
        clients = {
            who: build.client(policy, identity, server.public, verifiers(who), shared_key=shared)
            for who, identity in known.items()
        }
        name = None if shared is None else shared.name
        return cls(Server(plan, identities, server, holders=publics), clients, committee=committee, shared=name)


class BuildClient(Protocol):
    """How the cohort's clients are built."""

    def __call__(
        self, policy: Policy, identity: Identity, server_key: bytes, verifier: Verifier, *, shared_key: SharedKey | None
    ) -> Client: ...


@dataclass(frozen=True, slots=True)
class Builders:
    """How the parties of a cohort are built, and where the key comes from that clients share."""

    client: BuildClient
    holder: Build
    decryptor: BuildDecryptor
    member: BuildMember
    shared: Callable[[], Seed]

    def committee(
        self,
        plan: RoundPlan,
        mode: Mode,
        clients: Mapping[PartyId, bytes],
        server: Identity,
        holders: Mapping[PartyId, Identity],
    ) -> Committee:
        """The holders, the one decryptor, or the members."""
        if plan.protocol == ONE_SHOT:
            return OneShotCommittee.of(plan, clients, server, holders, self.member)
        if mode is Mode.SINGLE:
            return KeyCommittee.single(plan, clients, server, holders, self.decryptor)
        return KeyCommittee.of(plan, clients, server, holders, self.holder)


def _holders_of(plan: RoundPlan, mode: Mode) -> tuple[PartyId, ...]:
    encrypted = {Mode.THRESHOLD: HOLDERS, Mode.SINGLE: 1, Mode.SEEDED: 0}[mode]
    return numbers({PAIRWISE: 0, ONE_SHOT: MEMBERS, ENCRYPTED: encrypted}[plan.protocol])


def _is_shared(plan: RoundPlan, mode: Mode) -> bool:
    return plan.protocol == ENCRYPTED and mode is Mode.SEEDED
