"""How long a round keeps a client and the server busy: an estimate from steps counted and steps timed.

    seconds = sum over kinds of step of   how often the round takes it  *  how long one takes here

The counts follow the arrows of `pairwise`; the times are measured when asked for, in some milliseconds, on
the machine and the ring at hand. It is an estimate: one thread, no network, no waiting, and what is neither
cryptography nor a pass over the vector is priced as parsing. Measured rounds (`secagg simulate`) decide.

    client      everybody arrives: the dearest case for it. It lives in a process of its own and verifies
                every signature of the roster and, against an active server, of the witnesses
    server      the assumed drop-outs are lost after they shared keys and before their vectors arrive: the
                dearest case for it, because every mask they leave behind has to be rebuilt
"""

from __future__ import annotations

import functools
import hashlib
import operator
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from typing import Self

import numpy as np

from protocols import wire
from protocols.messages import SHARE_BYTES, Inbox, Shares
from protocols.plan import NOTHING, Promise, RoundPlan
from protocols.sizes import SEALED, RoundSizes
from secagg.box import open_box, seal
from secagg.encode import Encoding
from secagg.keys import AgreementKey, Identity, Seed, derive, verify
from secagg.parameters import Parameters
from secagg.prg import Stream, expand_into
from secagg.shamir import split

LABEL_SAMPLE = b"secagg/v1/costs/sample"
SAMPLE_ELEMENTS = 1 << 16
SAMPLE_BYTES = 1 << 18
SAMPLE_POINTS = 32
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Priced:
    """One number per kind of step: how often a party takes it, or how many seconds it takes."""

    def seconds(self, each: Self) -> float:
        """These counts at so many seconds each."""
        return float(sum(map(operator.mul, astuple(self), astuple(each))))


@dataclass(frozen=True, slots=True)
class Steps(Priced):
    """One number per kind of step: how often a party takes it, or how many seconds it takes.

    agreement   X25519, or the public half of a key pair       digest   SHA-256 of one byte
    signature   Ed25519                                        mask     one element of one mask
    verification   Ed25519                                     encode   one element, rounding included
    box         a key derived, a box sealed or opened          pack     one element written to the wire's bits
    field       one multiplication and addition modulo p       unpack   one element read and added
    item        one entry of a letter parsed or written
    """

    agreement: float
    signature: float
    verification: float
    box: float
    field: float
    item: float
    digest: float
    mask: float
    encode: float
    pack: float
    unpack: float


NO_STEPS = Steps(*(0.0,) * len(fields(Steps)))


@dataclass(frozen=True, slots=True)
class Shape:
    """What the counts depend on: n clients of a plan, its parameters, d coordinates, and the letters."""

    plan: RoundPlan
    clients: int
    parameters: Parameters
    length: int
    sizes: RoundSizes

    @property
    def witnesses(self) -> int:
        """Signatures under the list of survivors that everybody checks."""
        return self.plan.smallest_sum(self.clients) if self.plan.promise is Promise.ACTIVE else 0


def client_steps(shape: Shape) -> Steps:
    """What one client does in a round."""
    n, d, k, t = shape.clients, shape.length, shape.parameters.degree, shape.parameters.threshold
    sent, received, signers = len(shape.sizes.sent), len(shape.sizes.received), shape.witnesses
    return Steps(
        # Two key pairs, made for the advertisement and again for the shares, and two secrets per neighbour.
        agreement=4 + 2 * k,
        # Every frame, the advertisement inside its frame, and the witness.
        signature=sent + 1 + (signers > 0),
        verification=received + n + signers,
        box=2 * k,
        field=2 * k * t,
        item=n + 3 * k + signers,
        digest=shape.sizes.upload_bytes + shape.sizes.download_bytes,
        mask=(k + 1) * d,
        encode=d,
        pack=d,
        unpack=0,
    )


def server_steps(shape: Shape) -> Steps:
    """What the server does in a round that loses as many clients as the plan assumes."""
    n, d, k, t = shape.clients, shape.length, shape.parameters.degree, shape.parameters.threshold
    sent, signers = len(shape.sizes.sent), shape.witnesses
    lost = shape.plan.assumption.lost(n)
    # A lost client left one mask at each neighbour that stayed.
    left_behind = lost * k * (n - lost) / n
    return Steps(
        agreement=lost + left_behind,
        # One inbox each; the other letters are signed once for all.
        signature=n + len(shape.sizes.received) - 1,
        verification=sent * n + n + signers,
        box=0,
        field=n * t + t * t,
        # Shares are read, relayed and later compared with their tags.
        item=n + 3 * n * k + signers,
        digest=n * (shape.sizes.upload_bytes + shape.sizes.bytes_of(Inbox)),
        mask=(n - lost + left_behind) * d,
        encode=0,
        pack=0,
        unpack=(n - lost) * d,
    )


@functools.lru_cache(maxsize=16)
def timed_steps(encoding: Encoding) -> Steps:
    """Seconds of each step on this machine, the best of a few tries; vectors are encoded like this."""
    ring, seed = encoding.ring, Seed(bytes(range(32)))
    key, identity = AgreementKey(seed), Identity.from_seed(seed)
    peer = AgreementKey(derive(seed, LABEL_SAMPLE, NOTHING)).public
    signed = identity.sign(LABEL_SAMPLE)
    points = range(1, SAMPLE_POINTS + 1)
    stream = Stream(derive(seed, LABEL_SAMPLE, NOTHING, b"coefficients"))
    sealed = wire.encode(Shares((SEALED,) * SAMPLE_POINTS))
    blob = bytes(SAMPLE_BYTES)
    vector = ring.zeros(SAMPLE_ELEMENTS)
    packed = ring.pack(vector)
    floats = np.linspace(-1, 1, SAMPLE_ELEMENTS, dtype=np.float32)

    def box() -> None:
        box_key = derive(seed, LABEL_SAMPLE, NOTHING, b"box")
        open_box(box_key, seal(box_key, bytes(2 * SHARE_BYTES), NOTHING), NOTHING)

    return Steps(
        agreement=best_of(lambda: key.agree(peer)),
        signature=best_of(lambda: identity.sign(LABEL_SAMPLE)),
        verification=best_of(lambda: verify(identity.public, LABEL_SAMPLE, signed)),
        box=best_of(box),
        field=best_of(lambda: split(seed, SAMPLE_POINTS, points, stream)) / SAMPLE_POINTS**2,
        item=best_of(lambda: wire.decode(Shares, sealed)) / SAMPLE_POINTS,
        digest=best_of(lambda: hashlib.sha256(blob)) / SAMPLE_BYTES,
        mask=best_of(lambda: expand_into(vector, 1, seed, ring)) / SAMPLE_ELEMENTS,
        encode=best_of(lambda: encoding.encode(floats, 1, seed)) / SAMPLE_ELEMENTS,
        pack=best_of(lambda: ring.pack(vector)) / SAMPLE_ELEMENTS,
        unpack=best_of(lambda: ring.add_packed_into(vector, packed)) / SAMPLE_ELEMENTS,
    )


def best_of(work: Callable[[], object]) -> float:
    """The fastest of a few tries, in seconds; the rest met interruptions or cold caches."""
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)
