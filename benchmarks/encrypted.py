"""Sums under CKKS that benchmarks measure: a plan, keys that are functions of fixed bytes, and what parties do.

    Federated   threshold keys: any t of the holders open       Ours     its clients and its server
    Shared      one key that all clients were given             both open exactly, or raise

Seconds do not depend on secrets, so every one of them is a function of a constant. Frames, signatures and the ceremony
are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from benchmarks.inputs import Floats, mean_of, rms, update_of
from secagg.ckks.cipher import (
    Engine,
    Opened,
    Part,
    PublicKey,
    Upload,
    add_into,
    add_planes_into,
    each_part,
    encrypt,
    encrypt_seeded,
    open_exact,
    public_rows,
)
from secagg.ckks.plan import CkksPlan, Keys, Mode, plan
from secagg.ckks.sample import key_gaussian, uniform_mod_q
from secagg.ckks.share import combine, deal, lagrange, partial, public_share
from secagg.ckks.whole import SharedKey, decrypt
from secagg.ckks.wire import check_planes
from secagg.keys import Seed, derive
from secagg.negacyclic import Integers, N, Residues, reduced
from secagg.prg import Stream
from secagg.workers import ALONE, Workers

CLIENTS = 10
VALUE_BITS = 16
STEP = 2.0 ** (1 - VALUE_BITS)
LABEL = b"secagg/benchmarks/ckks"
CONTEXT = bytes(32)


@dataclass(frozen=True, slots=True)
class Federated:
    """A plan, the collective key, and each holder's share of what opens it."""

    plan: CkksPlan
    key: PublicKey
    shares: dict[int, Residues] = field(repr=False)

    @classmethod
    def agreed(cls, keys: Keys, dimension: int) -> Federated:
        a, holders = uniform_mod_q(stream(b"a"), N), range(keys.holders)
        secrets = [reduced(key_gaussian(stream(b"secret", holder), N)) for holder in holders]
        b = np.zeros(N, np.uint64)
        shares = np.zeros((keys.holders, N), np.uint64)
        for holder, secret in enumerate(secrets):
            add_into(b, public_share(secret, a, stream(b"error", holder)))
            add_into(shares, deal(secret, keys.threshold, keys.holders, stream(b"deal", holder)))
        agreed = plan(CLIENTS, sum_bits(CLIENTS), dimension, keys)
        return cls(agreed, PublicKey(a, b), {holder + 1: shares[holder] for holder in holders})

    def open(self, c0: Residues, c1: Residues) -> Opened:
        """Partial decryptions by the first holders that are enough, and what they open."""
        points = sorted(self.shares)[: self.plan.keys.threshold]
        smudging = self.plan.noise.smudging
        partials = [
            partial(self.shares[point], c1, weight, smudging, seed(b"smudge", point))
            for point, weight in lagrange(points).items()
        ]
        return open_exact(self.plan, combine(c0, partials))


@dataclass(frozen=True)
class Ours:
    """What our clients and our server do."""

    federated: Federated

    @property
    def plan(self) -> CkksPlan:
        return self.federated.plan

    def upload(self, update: Floats, engine: Engine, workers: Workers = ALONE) -> Upload:
        """float32 to the bytes of a ciphertext."""
        return encrypt(self.plan, self.federated.key, levels(update), Seed(bytes(32)), CONTEXT, engine, workers)

    def add(self, totals: tuple[Residues, Residues], upload: Upload) -> None:
        """One client's share of the server's work: planes to residues, their ranges, addition."""
        count = self.plan.blocks * N
        for total, planes, width in zip(
            totals, (upload.c0, upload.c1), (self.plan.width0, self.plan.width1), strict=True
        ):
            check_planes(planes, count, width)
            add_planes_into(total, planes, count, width)

    def zeros(self) -> tuple[Residues, Residues]:
        return np.zeros(self.plan.blocks * N, np.uint64), np.zeros(self.plan.blocks * N, np.uint64)

    def summed(self, engine: Engine, workers: Workers = ALONE) -> tuple[Residues, Residues]:
        """The ciphertext of all clients' sum."""
        totals = self.zeros()
        for who in range(CLIENTS):
            self.add(totals, self.upload(update_of(who, self.plan.dimension), engine, workers))
        c0, c1 = (total.reshape(self.plan.blocks, N) for total in totals)
        return c0, c1

    def mean(self, engine: Engine, workers: Workers = ALONE) -> Floats:
        """What is opened. Raises: AssertionError when it is not exactly the sum of the integers."""
        return exact_mean(self.federated.open(*self.summed(engine, workers)), CLIENTS)


@dataclass(frozen=True)
class Shared:
    """What clients who share one key do, and the server that adds what it cannot open."""

    clients: int
    dimension: int

    @cached_property
    def plan(self) -> CkksPlan:
        return plan(self.clients, sum_bits(self.clients), self.dimension, Keys(Mode.SEEDED))

    @cached_property
    def key(self) -> SharedKey:
        return SharedKey(seed(b"shared"))

    def upload(self, update: Floats, who: int = 0) -> bytearray:
        """float32 to the bytes of first halves; the 32 bytes of the second travel beside them."""
        secret = self.key.of(CONTEXT).transformed
        return encrypt_seeded(self.plan, secret, levels(update), seed(b"root", who), CONTEXT, public_bytes(who))

    def zeros(self) -> Residues:
        return np.zeros(self.plan.blocks * N, np.uint64)

    def add(self, total: Residues, upload: bytearray) -> None:
        """One client's share of the server's work."""
        count = self.plan.blocks * N
        check_planes(upload, count, self.plan.width0)
        add_planes_into(total, upload, count, self.plan.width0)

    def open(self, total: Residues) -> Opened:
        """What every client does for itself: all second halves expanded, and the sum opened."""
        c1 = np.zeros((self.plan.blocks, N), np.uint64)

        def work(part: Part) -> None:
            for who in range(self.clients):
                add_into(c1[part.first : part.first + part.size], public_rows(public_bytes(who), part))

        each_part(self.plan.blocks, work, ALONE)
        return open_exact(self.plan, decrypt(self.key.of(CONTEXT), total.reshape(self.plan.blocks, N), c1))

    def summed(self) -> Residues:
        """All clients' first halves."""
        total = self.zeros()
        for who in range(self.clients):
            self.add(total, self.upload(update_of(who, self.dimension), who))
        return total

    def mean(self) -> Floats:
        """What is opened. Raises: AssertionError when it is not exactly the sum of the integers."""
        return exact_mean(self.open(self.summed()), self.clients)


def public_bytes(who: int) -> bytes:
    """What the second half of this client's upload is expanded from."""
    return seed(b"public", who).expose()


def exact_mean(opened: Opened, clients: int) -> Floats:
    """Raises: AssertionError when what was opened is not exactly the sum of the clients' integers."""
    values = opened.values
    if not np.array_equal(values, sum(levels(update_of(who, values.size)) for who in range(clients))):
        raise AssertionError("the opened sum is not that of the clients' integers")
    return values * (STEP / clients)


def seed(what: bytes, holder: int = 0) -> Seed:
    """Fixed bytes for each purpose: seconds do not depend on them."""
    return derive(Seed(bytes(32)), LABEL, CONTEXT, what, bytes([holder]))


def stream(what: bytes, holder: int = 0) -> Stream:
    return Stream(seed(what, holder))


def levels(update: Floats) -> Integers:
    """Values within [-1, 1] as integers of 16 bits."""
    return np.rint(update * np.float32(1 / STEP)).astype(np.int64)


def sum_bits(clients: int) -> int:
    """Bits of a sum, sign included."""
    return (clients << VALUE_BITS).bit_length()


def error_of(mean: Floats) -> float:
    return rms(mean - mean_of(list(range(CLIENTS)), mean.size))
