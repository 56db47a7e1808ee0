"""What a client does to an update before it is masked, and the server to the sum: clip, rotate, round, add noise.

Beside it the noise that proves its input: the same clipping, then `numpy.random.normal` added to floats.

    error     how far the standard deviation of the noise is from the one that was promised, relative
"""

from __future__ import annotations

import secrets
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from benchmarks.inputs import Floats, rms, update_of
from benchmarks.rows import Effort, Row, Taken, alternate, on_cores, timed
from dp import EncodedShare, Entropy, NoiseShare, clip_l2
from dp.layers import Layers

CLIP = Fraction(1)
CLIENTS = 100
# Narrow rings take noise from one table, wide ones from two.
MODULUS_BITS = (16, 20)
LIMIT_ENCODE = 45.0
LIMIT_LAYER = 12.0
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
            plan = NoiseShare.plan(modulus_bits=bits, **demand(effort.dimension))
            yield encode(plan, update, entropy, effort)
        yield encode_layers(Layers.plan(modulus_bits=bits, **demand(effort.dimension)), update, entropy, effort)
        yield decode(plan, update, entropy, effort)
    yield memory(plan, update, entropy)


def demand(dimension: int) -> dict[str, Any]:
    """100 clients, a tenth may be lost and a tenth collude; noise multiplier 1 on the sum."""
    return {
        "noise_multiplier": Fraction(1),
        "clip": CLIP,
        "dimension": dimension,
        "max_clients": CLIENTS,
        "min_survivors": CLIENTS - CLIENTS // 10,
        "colluders": CLIENTS // 10,
    }


def encode(plan: NoiseShare, update: Floats, entropy: Entropy, effort: Effort) -> Row:
    row = client(plan, lambda: plan.encode(update, ROTATION_SEED, entropy), plan.share_variance, update, effort)
    return replace(row, case=f"client: clip, rotate, round, noise of a {plan.modulus_bits}-bit ring, {row.case}")


def encode_layers(layers: Layers, update: Floats, entropy: Entropy, effort: Effort) -> Row:
    plan, first = layers.share, secrets.token_bytes(32)
    variance = sum(layers.variances, Fraction(0))
    row = client(plan, lambda: layers.encode(update, ROTATION_SEED, entropy, first), variance, update, effort)
    case = f"client: the same, noise in {len(layers.variances)} layers, {row.case}"
    return replace(row, case=case, limit=LIMIT_ENCODE + layers.removable * LIMIT_LAYER)


def client(
    plan: NoiseShare, act: Callable[[], EncodedShare], variance: Fraction, update: Floats, effort: Effort
) -> Row:
    """`act` encodes the update for `plan`, with noise of that lattice variance."""
    std = float(plan.gamma) * float(variance) ** 0.5
    taken, taken_peer = alternate(timed(act), timed(lambda: float_noise(update, std)), effort.repeats)
    clipped = clip_l2(update, CLIP).vector
    nanoseconds = plan.dimension * 1e-9
    return Row(
        suite="encoding",
        case=f"d = {plan.dimension:,}",
        unit="ns per parameter",
        ours=taken.per(nanoseconds),
        peer_name="clip and numpy.random.normal",
        peer=taken_peer.per(nanoseconds),
        limit=LIMIT_ENCODE,
        judged="ours",
        ours_error=off(plan.decode(act().vector, ROTATION_SEED) - clipped, plan, variance),
        peer_error=abs(rms(float_noise(update, std) - clipped) / std - 1),
        error_limit=5 / (2 * plan.dimension) ** 0.5,
        note=f"CPU seconds; lattice std {float(variance) ** 0.5:,.0f}; error: of the noise's std",
    )


def off(difference: Floats, plan: NoiseShare, variance: Fraction) -> float:
    """How far the noise in `difference` is from that lattice variance and one rounding, as a standard deviation."""
    expected: float = float(plan.gamma) * float(variance + ROUNDING_VARIANCE) ** 0.5
    return abs(rms(difference) / expected - 1)


def decode(plan: NoiseShare, update: Floats, entropy: Entropy, effort: Effort) -> Row:
    """Of a sum, which costs the same however many are in it."""
    total = plan.encode(update, ROTATION_SEED, entropy).vector
    scale = float(plan.gamma)
    ours, peer = alternate(
        timed(lambda: plan.decode(total, ROTATION_SEED)), timed(lambda: total * scale), effort.repeats
    )
    difference = plan.decode(total, ROTATION_SEED) - clip_l2(update, CLIP).vector
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
        ours_error=off(difference, plan, plan.share_variance),
        error_limit=5 / (2 * plan.dimension) ** 0.5,
        note="CPU seconds; error: of the noise's std",
    )


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
