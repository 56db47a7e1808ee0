"""What a client does to an update before it is masked, and the server to the sum: clip, rotate, round, add noise.

Beside it the noise that proves its input: the same clipping, then `numpy.random.normal` added to floats.

    error     how far the standard deviation of the noise is from the one that was promised, relative
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from benchmarks.inputs import Floats, rms, update_of
from benchmarks.rows import Effort, Row, Taken, alternate, on_cores, timed
from dp import Entropy, NoiseShare, clip_l2

CLIP = Fraction(1)
CLIENTS = 100
# Narrow rings take noise from one table, wide ones from two.
MODULUS_BITS = (16, 20)
LIMIT_ENCODE = 45.0
LIMIT_DECODE = 15.0
# The vector clipped, the same rotated, the integers; retries need the rotated one.
LIMIT_VECTORS = 3.2
ROTATION_SEED = bytes(32)
# The mean of f (1 - f) over fractions f: what unbiased rounding adds to a variance, in lattice steps squared.
ROUNDING_VARIANCE = Fraction(1, 6)


def rows(effort: Effort) -> Iterator[Row]:
    update = update_of(0, effort.dimension)
    entropy = Entropy.system(b"secagg/benchmarks/encoding", b"")
    with on_cores(1):
        for bits in MODULUS_BITS:
            plan = plan_of(effort.dimension, bits)
            yield encode(plan, update, entropy, effort)
        yield decode(plan, update, entropy, effort)
    yield memory(plan, update, entropy)


def plan_of(dimension: int, bits: int) -> NoiseShare:
    """100 clients, a tenth may be lost and a tenth collude; noise multiplier 1 on the sum."""
    return NoiseShare.plan(
        noise_multiplier=Fraction(1),
        clip=CLIP,
        dimension=dimension,
        modulus_bits=bits,
        max_clients=CLIENTS,
        min_survivors=CLIENTS - CLIENTS // 10,
        colluders=CLIENTS // 10,
    )


def encode(plan: NoiseShare, update: Floats, entropy: Entropy, effort: Effort) -> Row:
    std = float(plan.gamma) * float(plan.share_variance) ** 0.5
    expected = float(plan.gamma) * float(plan.share_variance + ROUNDING_VARIANCE) ** 0.5

    def ours() -> Floats:
        return plan.encode(update, ROTATION_SEED, entropy).vector

    taken, taken_peer = alternate(timed(ours), timed(lambda: float_noise(update, std)), effort.repeats)
    clipped = clip_l2(update, CLIP).vector
    nanoseconds = plan.dimension * 1e-9
    return Row(
        suite="encoding",
        case=f"client: clip, rotate, round, noise of {plan.modulus_bits}-bit ring, d = {plan.dimension:,}",
        unit="ns per parameter",
        ours=taken.per(nanoseconds),
        peer_name="clip and numpy.random.normal",
        peer=taken_peer.per(nanoseconds),
        limit=LIMIT_ENCODE,
        judged="ours",
        ours_error=abs(rms(plan.decode(ours(), ROTATION_SEED) - clipped) / expected - 1),
        peer_error=abs(rms(float_noise(update, std) - clipped) / std - 1),
        error_limit=5 / (2 * plan.dimension) ** 0.5,
        note=f"CPU seconds; lattice std {float(plan.share_variance) ** 0.5:,.0f}; error: of the noise's std",
    )


def decode(plan: NoiseShare, update: Floats, entropy: Entropy, effort: Effort) -> Row:
    """The sum of two encoded vectors, as the server holds it."""
    total = sum_of_two(plan, update, entropy)
    scale = float(plan.gamma)
    ours, peer = alternate(
        timed(lambda: plan.decode(total, ROTATION_SEED)), timed(lambda: total * scale), effort.repeats
    )
    expected = scale * float(2 * (plan.share_variance + ROUNDING_VARIANCE)) ** 0.5
    difference = plan.decode(total, ROTATION_SEED) - 2 * clip_l2(update, CLIP).vector
    nanoseconds = plan.dimension * 1e-9
    return Row(
        suite="encoding",
        case=f"server: the sum back to reals, d = {plan.dimension:,}",
        unit="ns per parameter",
        ours=ours.per(nanoseconds),
        peer_name="one multiplication, no rotation",
        peer=peer.per(nanoseconds),
        limit=LIMIT_DECODE,
        judged="ours",
        ours_error=abs(rms(difference) / expected - 1),
        peer_error=0.0,
        error_limit=5 / (2 * plan.dimension) ** 0.5,
        note="CPU seconds; error: of the noise's std",
    )


def sum_of_two(plan: NoiseShare, update: Floats, entropy: Entropy) -> Floats:
    first, second = (plan.encode(update, ROTATION_SEED, entropy).vector for _ in range(2))
    return first + second


def memory(plan: NoiseShare, update: Floats, entropy: Entropy) -> Row:
    return Row(
        suite="encoding",
        case=f"client: peak of the same, d = {plan.dimension:,}",
        unit="float64 vectors, padded",
        ours=Taken.once(peak_vectors(lambda: plan.encode(update, ROTATION_SEED, entropy), plan)),
        peer_name="clip and numpy.random.normal",
        peer=Taken.once(peak_vectors(lambda: float_noise(update, 1.0), plan)),
        limit=LIMIT_VECTORS,
        judged="ours",
        note="the update itself not counted; what is returned is",
    )


def float_noise(update: Floats, std: float) -> Floats:
    """What most libraries do: a clipped float vector plus float noise."""
    vector = clip_l2(update, CLIP).vector
    vector += np.random.normal(0.0, std, vector.size)
    return vector


def peak_vectors(act: Callable[[], object], plan: NoiseShare) -> float:
    """Peak of what `act` allocates, tables that it leaves behind not counted: it has run before."""
    act()
    tracemalloc.start()
    act()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (plan.padded * 8)
