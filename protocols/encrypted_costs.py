"""How long an encrypted round keeps a client and the server busy: an estimate from steps counted and steps timed.

As `costs`, and with what `costs` counts and times: signatures, digests, rounding. Beside these come steps on
polynomials, timed on a part of the ciphertext at hand, with the engine that endpoints take by default.

    client      it checks the certificate, loads the key, and encrypts
    server      every upload arrives, the dearest case for it; t holders answer at once, or one decryptor

What holders do is not estimated, nor the ceremony, which costs milliseconds, nor rounds whose key the clients share:
see `secagg simulate --protocol ckks`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from protocols.ckks.binding import Binding, binding_of, knapsack_of
from protocols.ckks.epoch import WIDTH, partial_width
from protocols.costs import NO_STEPS, Priced, Steps, best_of
from protocols.plan import NOTHING
from protocols.sizes import EncryptedSizes
from secagg.ckks.cipher import CHUNK, PublicKey, Upload, add_into, add_planes_into, encrypt, open_exact
from secagg.ckks.guard import SAMPLE, exposed
from secagg.ckks.plan import CkksPlan, Mode
from secagg.ckks.seal import SealEngine
from secagg.ckks.share import common_polynomial
from secagg.ckks.wire import check_planes, packed_bytes, unpack
from secagg.keys import Context, Seed
from secagg.negacyclic import N

# Sums of long vectors do not stay in a core's cache, and neither does this.
SAMPLE_BLOCKS = 256


@dataclass(frozen=True, slots=True)
class CipherSteps(Priced):
    """One number per kind of step on ciphertexts: how often a party takes it, or how many seconds it takes.

    key      a public key derived, loaded by the engine, and tried on one polynomial
    attack   the one that is tried on every sum before it is published

    Of one polynomial:

    encrypt  encrypted and written                 part      a holder's answer read, checked and added
    add      an upload's, checked and added        opening   the sum's, opened
    bind     its second half hashed and its digits added, where sums are bound by hashes
    """

    key: float
    attack: float
    encrypt: float
    bind: float
    add: float
    part: float
    opening: float


@dataclass(frozen=True, slots=True)
class EncryptedSteps:
    """What a party does with letters and vectors, and with ciphertexts."""

    common: Steps
    ciphers: CipherSteps

    def seconds(self, each: EncryptedSteps) -> float:
        """These counts at so many seconds each."""
        return self.common.seconds(each.common) + self.ciphers.seconds(each.ciphers)


@dataclass(frozen=True, slots=True)
class EncryptedRound:
    """What the counts depend on: n clients, d coordinates, the plan of their ciphertexts, and the letters."""

    clients: int
    length: int
    plan: CkksPlan
    sizes: EncryptedSizes


def encrypting_client(shape: EncryptedRound) -> EncryptedSteps:
    """What one client does in a round."""
    upload, download = shape.sizes.client.upload_bytes, shape.sizes.client.download_bytes
    common = replace(
        NO_STEPS,
        # The frame, and the word for both digests.
        signature=2,
        verification=len(shape.sizes.client.received) + shape.plan.keys.holders,
        item=shape.plan.keys.holders,
        # Its halves have digests beside that of the frame.
        digest=2 * upload + download,
        encode=shape.length,
    )
    blocks = shape.plan.blocks
    ciphers = CipherSteps(key=1, attack=0, encrypt=blocks, bind=hashed(shape.plan), add=0, part=0, opening=0)
    return EncryptedSteps(common, ciphers)


def adding_server(shape: EncryptedRound) -> EncryptedSteps:
    """What the server does in a round in which everybody answers."""
    n, blocks, openers = shape.clients, shape.plan.blocks, shape.plan.keys.threshold
    client, holder = shape.sizes.client, shape.sizes.holder
    common = replace(
        NO_STEPS,
        # Each letter of the server is signed once for all who get it.
        signature=len(client.received) + len(holder.received),
        verification=2 * n + openers,
        item=2 * n,
        digest=2 * n * client.upload_bytes + holder.download_bytes + openers * holder.upload_bytes,
    )
    ciphers = CipherSteps(
        key=0,
        attack=1,
        encrypt=0,
        bind=n * hashed(shape.plan),
        add=n * blocks,
        part=openers * blocks,
        opening=blocks,
    )
    return EncryptedSteps(common, ciphers)


def keeping_server(shape: EncryptedRound) -> EncryptedSteps:
    """What the server does where one decryptor opens: it reads every upload, and tries and opens nothing itself."""
    adding = adding_server(shape)
    return replace(adding, ciphers=replace(adding.ciphers, attack=0, part=0, opening=0))


def hashed(plan: CkksPlan) -> int:
    """How many polynomials of an upload are hashed."""
    return plan.blocks if binding_of(plan) is Binding.HASHED else 0


def sample_of(plan: CkksPlan, blocks: int = SAMPLE_BLOCKS) -> CkksPlan:
    """The same ciphertexts, of so many polynomials at most: fewer are never noisier."""
    return replace(plan, dimension=min(plan.dimension, blocks * N * plan.digits))


@functools.lru_cache(maxsize=16)
def timed_cipher_steps(sample: CkksPlan) -> CipherSteps:
    """Seconds of each step on this machine, the best of a few tries.

    Raises: BadParameters where tenseal is missing or too old.
    """
    blocks, count = sample.blocks, sample.blocks * N
    # Where one party opens alone nobody answers with a part, and this step is never counted.
    width = partial_width(sample) if sample.keys.mode is Mode.THRESHOLD else WIDTH
    half0, half1, answer = (bytes(packed_bytes(count, each)) for each in (sample.width0, sample.width1, width))
    total = np.zeros(count, np.uint64)

    knapsack = knapsack_of(sample, Context(NOTHING))
    digits, few = knapsack.zeros(), np.ones((min(blocks, SAMPLE), N), np.uint64)

    def add() -> None:
        # The second half is only checked: it is for holders to add, or its digits are added.
        check_planes(half1, count, sample.width1)
        check_planes(half0, count, sample.width0)
        add_planes_into(total, half0, count, sample.width0)

    def bind() -> None:
        knapsack.hash(half1)
        knapsack.add_digits(digits, half1)

    def part() -> None:
        # It is checked when it arrives, and read when all have.
        check_planes(answer, count, width)
        add_into(total, unpack(answer, count, width))

    chunk, one = sample_of(sample, CHUNK), sample_of(sample, 1)
    key, nothing = fresh_key(), np.zeros(sample.dimension, np.int64)
    return CipherSteps(
        key=best_of(lambda: encrypt_zeros(one, fresh_key())),
        attack=best_of(lambda: exposed(sample, few, few, nothing)),
        encrypt=best_of(lambda: encrypt_zeros(chunk, key)) / chunk.blocks,
        bind=best_of(bind) / blocks,
        add=best_of(add) / blocks,
        part=best_of(part) / blocks,
        opening=best_of(lambda: open_exact(sample, total.reshape(blocks, N))) / blocks,
    )


def fresh_key() -> PublicKey:
    """One that no engine has loaded. Both polynomials of any key look uniform; these are."""
    return PublicKey(common_polynomial(Seed.fresh().expose()), common_polynomial(Seed.fresh().expose()))


def encrypt_zeros(plan: CkksPlan, key: PublicKey) -> Upload:
    """An upload of nothing, by the engine that endpoints take by default."""
    return encrypt(plan, key, np.zeros(plan.dimension, np.int64), Seed.fresh(), NOTHING, SealEngine())
