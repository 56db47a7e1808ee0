"""The self-test of a server that is about to run private rounds: noise that fails it starts none.

The routes of `dp.audit` draw from the operating system, with no round about them. What a client of a round draws from
is derived: root -> update seed -> rounding, noise, bit, layers (`protocols.coding.Randomness`), each salted with the
round. So the codings of rounds are tested as well, as clients call them:

    secrets     no two of three clients in two rounds share a seed or a word, and no two purposes of one client do
    freshness   no window of 12 values of their encodings occurs twice, nor of their layers without the first
    variance    the noise of one encoding is that of the plan
    clip        an update moves its encoding, noise and all, by no more than the sensitivity, and its bit by one step
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import numpy as np

from dp.adaptive import AdaptiveClip
from dp.audit import Check, Finding, NoisePath, refuted, routes_of, selftest
from dp.audit.self_testing import SIX_SIGMAS, clipped, fresh, unclaimed
from dp.audit.shared_routes import long_updates
from dp.distributed import NoiseShare
from dp.errors import UnsoundNoise
from dp.noise import Entropy, GaussianLaw, Integers
from protocols.coding import Counted, Exact, Floats, Layered, Noisy, Randomness, planned_coding
from protocols.errors import Misused
from protocols.plan import Excess, RoundPlan
from secagg.keys import Context, Seed

LABEL_WORDS = b"secagg/v1/selftest/words"

# What clients add to sums that are opened, and what the clip is chosen by.
OF_ROUNDS = (NoisePath.SHARES, NoisePath.LAYERS, NoisePath.CLIP_BIT)
CLIENTS = 3
ROUNDS = (Context(b"\x01" * 32), Context(b"\x02" * 32))
LENGTH = 1 << 10
# Its tables are small; wide ones are the routes' to test.
MODULUS_BITS = 13
RULE = AdaptiveClip(Fraction(1, 2), Fraction(2), bit_noise=Fraction(2))

Noise = Noisy | Layered | Counted


@cache
def require_sound_noise() -> tuple[Finding, ...]:
    """What the self-test found about the noise of rounds, by this machine and this installation; one to two seconds.

    Asked again, a process that passed says what it found the first time; one that failed is tested again. It is about
    the code here: clients draw their shares on machines of their own, and may run it there.
    Raises: UnsoundNoise naming the routes and the checks that failed; EntropyUnavailable.
    """
    found = (
        *selftest(route for path in OF_ROUNDS for route in routes_of(path)),
        *(examine_coding(subject, plan) for subject, plan in plans()),
    )
    if refuted(found):
        raise UnsoundNoise(f"the self-test refuted {'; '.join(_why(each) for each in found if each.refuted)}")
    return found


def plans() -> Iterator[tuple[str, RoundPlan]]:
    """A small plan for each way clients encode with noise."""
    for subject, excess, rule in (
        ("clients' shares in a round", Excess.KEPT, None),
        ("clients' layers in a round", Excess.REMOVED, None),
        ("clients' shares and bits in a round", Excess.KEPT, RULE),
    ):
        yield (
            subject,
            RoundPlan.recommend(
                CLIENTS + 1,
                noise_multiplier=1,
                modulus_bits=MODULUS_BITS,
                min_cohort=CLIENTS,
                dropout=0,
                corrupt=0,
                excess=excess,
                adaptive=rule,
            ),
        )


def examine_coding(subject: str, plan: RoundPlan) -> Finding:
    """The noise of one plan as its clients make it, from fresh seeds, in two rounds.

    Raises: Misused for a plan without noise; EntropyUnavailable.
    """
    coding = planned_coding(plan, LENGTH)
    if isinstance(coding, Exact):
        raise Misused("a plan without noise has none to test: give it a noise_multiplier")
    seeds = [Seed.fresh() for _ in range(CLIENTS)]
    drawn = [Randomness(seed, context, deterministic=False) for seed in seeds for context in ROUNDS]
    noise = [_vector(coding, np.zeros(LENGTH), each) for each in drawn]
    checks = (
        _secrets(drawn),
        fresh((*noise, *_above(coding, drawn, noise))),
        _variance(coding, np.concatenate(noise)),
        clipped(lambda: _moved(coding, drawn)),
    )
    return unclaimed(subject, len(drawn), checks)


def _secrets(drawn: list[Randomness]) -> Check:
    """Whether clients, rounds and purposes have secrets of their own: 256 bits of each that are all different."""
    secrets = [
        secret
        for each in drawn
        for secret in (each.rounding().expose(), each.layers().expose(), _first(each.noise()), _first(each.bit()))
    ]
    again = len(secrets) - len(set(secrets))
    return Check("secrets that occur twice", again == 0, float(again))


def _first(entropy: Entropy) -> bytes:
    with entropy:
        return entropy.borrow(4, LABEL_WORDS).tobytes()


def _above(coding: Noise, drawn: list[Randomness], noise: list[Integers]) -> list[Integers]:
    """What the layers above the first hold: they have seeds of their own, which the first would hide."""
    if not isinstance(coding, Layered):
        return []
    lowest = GaussianLaw(coding.layers.variances[0])
    return [whole - lowest.sample(coding.length, each.noise()) for whole, each in zip(noise, drawn, strict=True)]


def _variance(coding: Noise, noise: Integers) -> Check:
    each = float(_share(coding).share_variance)
    error = (float(np.mean(np.square(noise.astype(np.float64)))) / each - 1.0) * math.sqrt(noise.size / 2.0)
    return Check("variance, in standard errors", abs(error) < SIX_SIGMAS, error)


def _moved(coding: Noise, drawn: list[Randomness]) -> Fraction:
    """The largest |v|^2 / Delta^2 of what an update adds to an encoding; with a bit, also its step squared."""
    share, most = _share(coding), Fraction(0)
    for each in drawn:
        silent = _encoded(coding, np.zeros(LENGTH), each)
        for update in long_updates(LENGTH, float(share.clip)):
            move = coding.ring.centre(coding.ring.reduce(_encoded(coding, update, each) - silent)).astype(np.int64)
            most = max(most, Fraction(int(np.dot(move[:LENGTH], move[:LENGTH])), share.l2_squared))
            if isinstance(coding, Counted):
                most = max(most, Fraction(int(move[-1]) ** 2, coding.bit.l2_squared))
    return most


def _encoded(coding: Noise, update: Floats, randomness: Randomness) -> Integers:
    """Centred, the bit with it.  Raises: as the encoder."""
    return coding.ring.centre(coding.encode(update, 1, randomness).vector).astype(np.int64)


def _vector(coding: Noise, update: Floats, randomness: Randomness) -> Integers:
    return _encoded(coding, update, randomness)[:LENGTH]


def _share(coding: Noise) -> NoiseShare:
    return coding.vector.share if isinstance(coding, Counted) else coding.share


def _why(finding: Finding) -> str:
    reasons = [f"{check.name} is {check.value:.6g}" for check in finding.checks if not check.passed]
    if finding.claim is not None and finding.lower_bound is not None and finding.lower_bound > finding.claim:
        reasons.append(f"epsilon {finding.claim:.6g} is claimed and {finding.lower_bound:.6g} leaks")
    return f"{finding.subject} ({', '.join(reasons)})"
