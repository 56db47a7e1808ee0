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
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np

from benchmarks.encrypted import (
    CLIENTS,
    CONTEXT,
    STEP,
    Federated,
    Ours,
    Shared,
    error_of,
    levels,
)
from benchmarks.inputs import update_of
from benchmarks.peers import tenseal
from benchmarks.peers.tenseal import Encryption, Federation
from benchmarks.rows import Effort, Row, Taken, Threads, alternate, faster, on_cores, timed
from secagg.ckks.binding import Knapsack
from secagg.ckks.cipher import Engine, Fft, Upload, add_planes_into, encrypt
from secagg.ckks.plan import Keys, Mode
from secagg.ckks.seal import SealEngine, SealPool
from secagg.ckks.wire import check_planes
from secagg.keys import Seed
from secagg.negacyclic import N
from secagg.workers import ALONE, Workers

SEEDED_CLIENTS = 100
PUBLIC_BYTES = 32
TIMES_FFT_PUBLIC, TIMES_FFT_SYMMETRIC = 12.0, 7.0
TIMES_SEAL, TIMES_SEAL_TWO = 3.0, 5.0
TIMES_SERVER = 5.0
# 100 and 1.5 million values a second.
LIMIT_ADD_NS, LIMIT_OPEN_NS = 10.0, 1000 / 1.5
# Six million residues a second, most of them floating-point transforms.
LIMIT_HASH_NS = 1000 / 6
LIMIT_BYTES, LIMIT_SEEDED_BYTES = 1 / 5, 1 / 9
LIMIT_MEMORY_MB = 16.0


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
    upload = Shared(SEEDED_CLIENTS, peer.dimension).upload(update_of(0, peer.dimension))
    return sizes(f"{SEEDED_CLIENTS} clients, seeded", len(upload) + PUBLIC_BYTES, peer, LIMIT_SEEDED_BYTES)


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
