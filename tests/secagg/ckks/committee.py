"""Who encrypts and who opens, in each mode, all of them functions of a word; and products by Python's integers.

Threshold   holders deal one key and open by sets of t
Single      one decryptor with a ternary key
Seeded      clients share a ternary key; c1 is expanded from public bytes
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from secagg.ckks.cipher import (
    Fft,
    Opened,
    PublicKey,
    Upload,
    add_into,
    each_part,
    encrypt,
    encrypt_seeded,
    largest_value,
    open_exact,
    public_rows,
    subtract_into,
)
from secagg.ckks.plan import CkksPlan, Keys, Mode, Noise
from secagg.ckks.sample import cbd21, ternary, uniform_mod_q
from secagg.ckks.share import (
    combine,
    combine_deals,
    common_polynomial,
    lagrange,
    own_deals,
    own_key,
    own_public_share,
    partial,
    smudging_seed,
)
from secagg.ckks.wire import unpack
from secagg.errors import NoParameters
from secagg.keys import Seed
from secagg.negacyclic import PRIME, Integers, N, Residues, big_product, reduced, transform
from secagg.prg import Stream
from secagg.workers import ALONE, Workers

EPOCH = hashlib.sha256(b"epoch").digest()
CONTEXT = hashlib.sha256(b"context").digest()
SINGLE, SEEDED = Keys(Mode.SINGLE), Keys(Mode.SEEDED)


def seed_of(*words: object) -> Seed:
    """A test's seed, named by words."""
    return Seed(hashlib.sha256(repr(words).encode()).digest())


def random_residues(*words: object, rows: int) -> Residues:
    return uniform_mod_q(Stream(seed_of(*words)), rows * N).reshape(rows, N)


def laid_out(
    clients: int, bits: int, dimension: int, keys: Keys, digits: int, width0: int, width1: int
) -> CkksPlan | None:
    """The plan of this layout with as few guard bits as it needs, if it fits."""
    blocks = -(-dimension // (N * digits))
    guard = Noise(clients, blocks, keys, width0, width1).guard
    try:
        return CkksPlan(clients, bits, dimension, keys, digits, width0, width1, guard)
    except NoParameters:
        return None


def every_layout(clients: int, bits: int, dimension: int, keys: Keys) -> list[CkksPlan]:
    """All that fit, of 1 to 4 digits and 3 to 7 bytes a residue."""
    second = (0,) if keys.mode is Mode.SEEDED else range(3, 8)
    plans = [laid_out(clients, bits, dimension, keys, *each) for each in product(range(1, 5), range(3, 8), second)]
    return [plan for plan in plans if plan is not None]


def random_values(plan: CkksPlan, *words: object) -> Integers:
    """All over the range of one client."""
    bound = largest_value(plan)
    words64 = Stream(seed_of("values", *words)).words(0, plan.dimension)
    return (words64 % np.uint64(2 * bound + 1)).astype(np.int64) - bound


def summed(uploads: Sequence[Upload], plan: CkksPlan) -> tuple[Residues, Residues]:
    """What the server has: rows of c0 and of c1."""
    count, totals = plan.blocks * N, []
    for planes, width in (
        ([upload.c0 for upload in uploads], plan.width0),
        ([upload.c1 for upload in uploads], plan.width1),
    ):
        total = np.zeros(count, np.uint64)
        for each in planes:
            add_into(total, unpack(each, count, width))
        totals.append(total.reshape(plan.blocks, N))
    return totals[0], totals[1]


class Threshold:
    """C holders after their ceremony; any set of t opens."""

    def __init__(self, plan: CkksPlan, word: str = "holders") -> None:
        self.plan = plan
        holders = range(1, plan.keys.holders + 1)
        self.roots = {i: seed_of(word, i) for i in holders}
        secrets = {i: own_key(self.roots[i], EPOCH) for i in holders}
        deals = {i: own_deals(secrets[i], plan.keys.threshold, len(holders), self.roots[i], EPOCH) for i in holders}
        self.shares = {i: combine_deals(deals[j][i - 1] for j in holders).residues for i in holders}
        self.secret, b = np.zeros(N, np.uint64), np.zeros(N, np.uint64)
        for i in holders:
            add_into(self.secret, secrets[i].residues)
            add_into(b, own_public_share(secrets[i], self.roots[i], EPOCH))
        self.key = PublicKey(common_polynomial(EPOCH), b)
        self.members: tuple[int, ...] = tuple(holders)[: plan.keys.threshold]

    def upload(self, values: Integers, who: int, context: bytes = CONTEXT, workers: Workers = ALONE) -> Upload:
        return encrypt(self.plan, self.key, values, seed_of("client", who), context, Fft(), workers)

    def summed(self, uploads: Sequence[Upload]) -> tuple[Residues, Residues]:
        return summed(uploads, self.plan)

    def answer(self, holder: int, c1: Residues, members: Sequence[int], digest: bytes = b"sum") -> Residues:
        noise = smudging_seed(self.roots[holder], CONTEXT, digest, members)
        return partial(self.shares[holder], c1, lagrange(members)[holder], self.plan.noise.smudging, noise)

    def plaintext(self, c0: Residues, c1: Residues) -> Residues:
        return combine(c0, (self.answer(holder, c1, self.members) for holder in self.members))


class Single:
    """One decryptor with a ternary key s, b = -a s + e."""

    def __init__(self, plan: CkksPlan, word: str = "decryptor") -> None:
        self.plan = plan
        self.secret = reduced(ternary(Stream(seed_of(word, "s")), N).astype(np.int64))
        a, b = random_residues(word, "a", rows=1)[0], reduced(cbd21(Stream(seed_of(word, "e")), N))
        subtract_into(b, big_product(self.secret, a))
        self.key = PublicKey(a, b)

    def upload(self, values: Integers, who: int, context: bytes = CONTEXT, workers: Workers = ALONE) -> Upload:
        return encrypt(self.plan, self.key, values, seed_of("client", who), context, Fft(), workers)

    def summed(self, uploads: Sequence[Upload]) -> tuple[Residues, Residues]:
        return summed(uploads, self.plan)

    def plaintext(self, c0: Residues, c1: Residues) -> Residues:
        return combine(c0, [big_product(c1, self.secret)])


class Seeded:
    """Clients with one ternary key; c1 is expanded from 32 public bytes for each upload."""

    def __init__(self, plan: CkksPlan, word: str = "clients") -> None:
        self.plan = plan
        signs = ternary(Stream(seed_of(word, "s")), N)
        self.secret, self.spectrum = reduced(signs.astype(np.int64)), transform(signs)

    def upload(
        self, values: Integers, who: int, context: bytes = CONTEXT, workers: Workers = ALONE
    ) -> tuple[bytearray, bytes]:
        public = hashlib.sha256(context + bytes([who])).digest()
        root = seed_of("client", who)
        return encrypt_seeded(self.plan, self.spectrum, values, root, context, public, workers), public

    def summed(self, uploads: Sequence[tuple[bytearray, bytes]]) -> tuple[Residues, Residues]:
        blocks = self.plan.blocks
        c0, c1 = (np.zeros((blocks, N), np.uint64) for _ in range(2))
        for packed, public in uploads:
            add_into(c0, unpack(packed, blocks * N, self.plan.width0).reshape(blocks, N))
            add_into(c1, expanded(public, blocks))
        return c0, c1

    def plaintext(self, c0: Residues, c1: Residues) -> Residues:
        return combine(c0, [big_product(c1, self.secret)])


def expanded(public: bytes, blocks: int) -> Residues:
    """The polynomials of an upload's public bytes."""
    parts: list[Residues] = []
    each_part(blocks, lambda part: parts.append(public_rows(public, part)), ALONE)
    return np.concatenate(parts)


Deployment = Threshold | Single | Seeded


def deployed(plan: CkksPlan) -> Deployment:
    return {Mode.THRESHOLD: Threshold, Mode.SINGLE: Single, Mode.SEEDED: Seeded}[plan.keys.mode](plan)


def opened(deployment: Deployment, vectors: Iterable[Integers]) -> Opened:
    """The sum of one upload for each vector, opened."""
    uploads = [deployment.upload(values, who) for who, values in enumerate(vectors)]
    return open_exact(deployment.plan, deployment.plaintext(*deployment.summed(uploads)))


def slow_product(left: Residues, right: Residues) -> list[int]:
    """x y in R_q by one product of Python's integers: coefficients 128 bits apart (Kronecker)."""
    whole = _packed(left) * _packed(right)
    raw = whole.to_bytes(2 * N * 16, "little")
    terms = [int.from_bytes(raw[i : i + 16], "little") for i in range(0, len(raw), 16)]
    return [(low - high) % PRIME for low, high in zip(terms[:N], terms[N:], strict=True)]


def _packed(polynomial: Residues) -> int:
    return int.from_bytes(b"".join(int(value).to_bytes(16, "little") for value in polynomial), "little")
