"""Sums under CKKS beside TenSEAL's vectors with NVFlare's default parameters: client, server, opening, bytes, memory.

    ours      float32 update -> 16-bit integers -> ciphertext -> planes of bytes; server: planes, checks, addition
    TenSEAL   floats -> CKKSVector -> bytes; server: load, addition; opened with the one key that everybody holds

Our plan is of ten clients and five holders, any four of whom open; the sums are exact. Everything that a row names is
within its seconds; frames, signatures and the ceremony are not.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec

import numpy as np

from benchmarks.inputs import Floats, mean_of, rms, update_of
from benchmarks.peers import tenseal
from benchmarks.peers.tenseal import Encryption, Federation
from benchmarks.rows import Effort, Row, Taken, Threads, alternate, faster, on_cores, timed
from secagg.ckks.binding import Knapsack
from secagg.ckks.cipher import (
    Engine,
    Fft,
    Opened,
    PublicKey,
    Upload,
    add_into,
    add_planes_into,
    encrypt,
    encrypt_seeded,
    open_exact,
)
from secagg.ckks.plan import CkksPlan, Keys, Mode, plan
from secagg.ckks.sample import key_gaussian, ternary, uniform_mod_q
from secagg.ckks.seal import SealEngine, SealPool
from secagg.ckks.share import combine, deal, lagrange, partial, public_share
from secagg.ckks.wire import check_planes
from secagg.keys import Seed, derive
from secagg.negacyclic import Integers, N, Residues, reduced, transform
from secagg.prg import Stream
from secagg.workers import ALONE, Workers

CLIENTS, SEEDED_CLIENTS = 10, 100
VALUE_BITS = 16
STEP = 2.0 ** (1 - VALUE_BITS)
TIMES_FFT_PUBLIC, TIMES_FFT_SYMMETRIC = 12.0, 7.0
TIMES_SEAL, TIMES_SEAL_TWO = 3.0, 5.0
TIMES_SERVER = 5.0
# 100 and 1.5 million values a second.
LIMIT_ADD_NS, LIMIT_OPEN_NS = 10.0, 1000 / 1.5
# Six million residues a second, most of them floating-point transforms.
LIMIT_HASH_NS = 1000 / 6
LIMIT_BYTES, LIMIT_SEEDED_BYTES = 1 / 5, 1 / 9
LIMIT_MEMORY_MB = 16.0
LABEL = b"secagg/benchmarks/ckks"
CONTEXT = bytes(32)


def rows(effort: Effort) -> Iterator[Row]:
    ours = Ours(Federated.agreed(Keys.recommended(5, 1), effort.dimension))
    public, symmetric = Peer(Encryption.PUBLIC, effort.dimension), Peer(Encryption.SYMMETRIC, effort.dimension)
    with on_cores(1):
        yield client(ours, Fft(), public, TIMES_FFT_PUBLIC, effort)
        yield client(ours, Fft(), symmetric, TIMES_FFT_SYMMETRIC, effort)
        yield client(ours, SealEngine(), public, TIMES_SEAL, effort)
        yield from server(ours, public, effort)
        yield linear_hash(ours, effort)
        yield opening(Ours(Federated.agreed(Keys(Mode.THRESHOLD, 3, 3), effort.dimension)), public, effort)
    with on_cores(2), SealPool(2) as pool, ThreadPoolExecutor(2) as threads:
        yield client(ours, pool, public, TIMES_SEAL_TWO, effort, Workers(threads, 2))
    yield bytes_per_value(ours, public)
    yield seeded_bytes_per_value(public)
    yield memory(ours)


# --- both sides -----------------------------------------------------------------------------------------------


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
        opened = self.federated.open(*self.summed(engine, workers)).values
        if not np.array_equal(opened, sum(levels(update_of(who, self.plan.dimension)) for who in range(CLIENTS))):
            raise AssertionError("the opened sum is not that of the clients' integers")
        return opened * (STEP / CLIENTS)


@dataclass(frozen=True)
class Peer:
    """What TenSEAL's do."""

    encryption: Encryption
    dimension: int

    @property
    def title(self) -> str:
        return f"{tenseal.TITLE}, {self.encryption}"

    @cached_property
    def federation(self) -> Federation:
        return Federation(self.encryption)

    @cached_property
    def upload(self) -> bytes:
        """The first client's."""
        return self.federation.upload(update_of(0, self.dimension))

    @cached_property
    def error(self) -> float:
        """Of the mean."""
        total = self.federation.load(self.upload)
        for who in range(1, CLIENTS):
            self.federation.add(total, self.federation.upload(update_of(who, self.dimension)))
        return error_of(self.federation.mean(total, CLIENTS))


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


# --- rows -------------------------------------------------------------------------------------------------------


def client(ours: Ours, engine: Engine, peer: Peer, times: float, effort: Effort, workers: Workers = ALONE) -> Row:
    update, threads = update_of(0, effort.dimension), Threads(workers.count)
    taken, taken_peer = alternate(
        timed(lambda: ours.upload(update, engine, workers), threads.clock),
        timed(lambda: peer.federation.upload(update), threads.clock),
        effort.repeats,
    )
    nanoseconds = effort.dimension * 1e-9
    reading = "zstandard" if find_spec("zstandard") else "no zstandard"
    return Row(
        suite="ckks",
        case=f"client, float32 to bytes, {type(engine).__name__}, d = {effort.dimension:,}, {threads}",
        unit="ns per value",
        ours=taken.per(nanoseconds),
        peer_name=peer.title,
        peer=taken_peer.per(nanoseconds),
        limit=faster(times),
        judged="ratio",
        ours_error=error_of(ours.mean(engine, workers)),
        peer_error=peer.error,
        error_limit=STEP,
        note=threads.note if isinstance(engine, Fft) else f"{threads.note}; {reading}",
    )


def server(ours: Ours, peer: Peer, effort: Effort) -> Iterator[Row]:
    """The same figure against its own limit and against the peer."""
    upload, totals = ours.upload(update_of(0, effort.dimension), Fft()), ours.zeros()
    total = peer.federation.load(peer.upload)
    taken, taken_peer = alternate(
        timed(lambda: ours.add(totals, upload)),
        timed(lambda: peer.federation.add(total, peer.upload)),
        effort.repeats,
    )
    nanoseconds = effort.dimension * 1e-9
    for limit, judged in ((LIMIT_ADD_NS, "ours"), (faster(TIMES_SERVER), "ratio")):
        yield Row(
            suite="ckks",
            case=f"server per client, bytes into the sum, d = {effort.dimension:,}",
            unit="ns per value",
            ours=taken.per(nanoseconds),
            peer_name=peer.title,
            peer=taken_peer.per(nanoseconds),
            limit=limit,
            judged=judged,
            note="CPU seconds; unpacking, range checks and addition against load and addition",
        )


def linear_hash(ours: Ours, effort: Effort) -> Row:
    """What binds a sum too large to be shown in halves, beside what one half costs a holder where they are shown."""
    half, plan = bytes(ours.upload(update_of(0, effort.dimension), Fft()).c1), ours.plan
    knapsack, count = Knapsack(CONTEXT, CLIENTS, plan.blocks, plan.width1), plan.blocks * N
    total = np.zeros(count, np.uint64)

    def shown() -> None:
        hashlib.sha256(half).digest()
        check_planes(half, count, plan.width1)
        add_planes_into(total, half, count, plan.width1)

    taken, taken_peer = alternate(timed(lambda: knapsack.hash(half)), timed(shown), effort.repeats)
    return Row(
        suite="ckks",
        case=f"linear hash of a second half, {plan.width1} bytes a residue, d = {effort.dimension:,}",
        unit="ns per residue",
        ours=taken.per(count * 1e-9),
        peer_name="one half that is shown: SHA-256, unpacking, addition",
        peer=taken_peer.per(count * 1e-9),
        limit=LIMIT_HASH_NS,
        judged="ours",
        note="CPU seconds; a holder pays it once a sum, about twice, and a shown half once a client",
    )


def opening(ours: Ours, peer: Peer, effort: Effort) -> Row:
    c0, c1 = ours.summed(Fft())
    total = peer.federation.load(peer.upload)
    taken, taken_peer = alternate(
        timed(lambda: ours.federated.open(c0, c1)),
        timed(lambda: peer.federation.mean(total, CLIENTS)),
        effort.repeats,
    )
    nanoseconds = effort.dimension * 1e-9
    return Row(
        suite="ckks",
        case=f"opening by 3 of 3 holders, all parts added up, d = {effort.dimension:,}",
        unit="ns per value",
        ours=taken.per(nanoseconds),
        peer_name=f"{peer.title}: decryption with one key that everybody holds",
        peer=taken_peer.per(nanoseconds),
        limit=LIMIT_OPEN_NS,
        judged="ours",
        ours_error=error_of(ours.mean(Fft())),
        peer_error=peer.error,
        error_limit=STEP,
        note="CPU seconds; three partial decryptions with smudging, combination, exact opening",
    )


def bytes_per_value(ours: Ours, peer: Peer) -> Row:
    dimension = ours.plan.dimension
    upload = ours.upload(update_of(0, dimension), Fft())
    return sizes(f"{CLIENTS} clients, 4 of 5 holders", len(upload.c0) + len(upload.c1), peer, LIMIT_BYTES)


def seeded_bytes_per_value(peer: Peer) -> Row:
    agreed = plan(SEEDED_CLIENTS, sum_bits(SEEDED_CLIENTS), peer.dimension, Keys(Mode.SEEDED))
    secret = transform(ternary(stream(b"seeded"), N))
    public = bytes(32)
    upload = encrypt_seeded(agreed, secret, levels(update_of(0, peer.dimension)), Seed(bytes(32)), CONTEXT, public)
    return sizes(f"{SEEDED_CLIENTS} clients, seeded", len(upload) + len(public), peer, LIMIT_SEEDED_BYTES)


def sizes(case: str, size: int, peer: Peer, limit: float) -> Row:
    return Row(
        suite="ckks",
        case=f"upload of 16-bit values, {case}, d = {peer.dimension:,}",
        unit="bytes per value",
        ours=Taken.once(size / peer.dimension),
        peer_name=peer.title,
        peer=Taken.once(len(peer.upload) / peer.dimension),
        limit=limit,
        judged="ratio",
        note="without frames here and the context there",
    )


def memory(ours: Ours) -> Row:
    values = levels(update_of(0, ours.plan.dimension))
    key, root = ours.federated.key, Seed(bytes(32))
    peak, upload = peak_bytes(lambda: encrypt(ours.plan, key, values, root, CONTEXT, Fft()))
    size = len(upload.c0) + len(upload.c1)
    return Row(
        suite="ckks",
        case=f"client peak beyond input and output, Fft, d = {ours.plan.dimension:,}",
        unit="MB",
        ours=Taken.once((peak - size) * 1e-6),
        peer_name="its output",
        peer=Taken.once(size * 1e-6),
        limit=LIMIT_MEMORY_MB,
        judged="ours",
    )


def peak_bytes(act: Callable[[], Upload]) -> tuple[int, Upload]:
    """Peak of what is allocated meanwhile, once everything lazy is there, and what comes of it."""
    act()
    tracemalloc.start()
    made = act()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, made
