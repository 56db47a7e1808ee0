"""The self-test: every noise path, drawn through its own code from the production entropy, against its own claim.

    bound       outputs of both neighbours, a rule fixed beforehand, exact binomial ends: epsilon >= lower bound
    variance    (S^2 / sigma^2 - 1) sqrt(N / (E x^4 / sigma^4 - 1)), both sides, N the draws of both rounds
    centre      the mean, in its standard errors
    lattice     every residue class of 8, and of the factors of its tables, occurs at both neighbours
    tables      they add up to the law, exactly, and each by itself is sampled as it stands
    freshness   no window of 12 values occurs twice within two rounds, and coordinates are unrelated, at any lag
    clip        updates at the clip and far beyond it move the release, noise and all, by no more than the sensitivity

False alarms: 5e-8 for each bound, 2e-9 for each other check but 4e-8 for the variance of a few hundred bits, whose
law is skewed: below 1e-6 in a run over all routes.
A pass proves nothing; it would have found noise 2 % too weak (the bit's: 20 %), a clip that is missing, or a stream
drawn twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dp.accountant import Unit, View, account
from dp.audit.confidence import Count, Mistakes, alpha_of
from dp.audit.finding import Check, Correction, Finding
from dp.audit.production import production_routes
from dp.audit.routes import Route, Source
from dp.audit.tables import lattice, law_of_tables, samples_of_tables
from dp.entropy import Entropy
from dp.errors import BadParameters, ClipExceeded
from dp.noise import Integers

LABEL_WORDS = b"secagg/v1/dp/audit/words"

DELTA = Fraction(1, 100_000)
FALSE_ALARM = 5e-8
SIX_SIGMAS = 6.0
# Of 2^18 lags and turns, sound noise has one above this with probability below 1e-9.
EIGHT_SIGMAS = 8.0
# Twelve values of the narrowest noise here are told apart as surely as a word of 64 bits.
WINDOW = 12
TESTED_WORDS = 1 << 13


def selftest(
    routes: Iterable[Route] | None = None,
    *,
    delta: Fraction = DELTA,
    confidence: float = 1.0 - FALSE_ALARM,
    source: Source = Entropy.system,
) -> tuple[Finding, ...]:
    """One finding for each route, all of production's unless others are given, and one for the streams themselves.

    Raises: BadParameters; NotEnoughTrials when a route draws too little for the confidence.
    """
    chosen = production_routes() if routes is None else tuple(routes)
    return (*(examine(route, delta=delta, confidence=confidence, source=source) for route in chosen), streams(source))


def examine(
    route: Route,
    *,
    delta: Fraction = DELTA,
    confidence: float = 1.0 - FALSE_ALARM,
    source: Source = Entropy.system,
    claim: float | None = None,
) -> Finding:
    """One route against what its event is accounted as, or against a claim that somebody makes of it.

    Guarantee: `lower_bound` is above the true epsilon at delta with probability at most 1 - confidence; a failed check
        of sound noise has probability below 4e-8.
    """
    absent, other = route.draw(source, b"absent"), route.draw(source, b"present")
    _require_outputs(absent, other)
    present, both = other + route.distance, np.concatenate((absent, other))
    mistakes = Mistakes(
        Count(int(np.count_nonzero(absent > route.threshold)), absent.size),
        Count(int(np.count_nonzero(present <= route.threshold)), present.size),
    )
    return Finding(
        audit="selftest",
        subject=route.name,
        claim=claimed(route, delta) if claim is None else claim,
        delta=delta,
        lower_bound=route.rule.bound(mistakes, float(delta), alpha_of(confidence)),
        confidence=confidence,
        trials=absent.size + present.size,
        hypotheses=1,
        correction=Correction.NONE,
        seed=None,
        checks=(
            _variance(route, both),
            _centre(route, both),
            lattice(route.laws, absent, present),
            law_of_tables(route.laws),
            samples_of_tables(route.laws, source),
            fresh((absent, other)),
            _related("coordinates", absent),
            clipped(lambda: route.length(source)),
        ),
    )


def claimed(route: Route, delta: Fraction) -> float:
    """The epsilon that every ledger here books for one release of this route."""
    return account([route.event], Unit(route.relation), View.RELEASED, delta).upper


def streams(source: Source = Entropy.system) -> Finding:
    """Two instances of one purpose, and two rounds of it: no twelve words in a row occur twice."""
    drawn = [_words(source, context) for context in (b"first", b"first", b"second")]
    return unclaimed("entropy", len(drawn), (fresh(drawn), _related("words", drawn[0] >> np.uint64(12))))


def unclaimed(subject: str, trials: int, checks: tuple[Check, ...]) -> Finding:
    """The finding of a self-test that holds no epsilon against anything: its checks alone."""
    return Finding(
        audit="selftest",
        subject=subject,
        claim=None,
        delta=Fraction(0),
        lower_bound=None,
        confidence=1.0 - FALSE_ALARM,
        trials=trials,
        hypotheses=1,
        correction=Correction.NONE,
        seed=None,
        checks=checks,
    )


def fresh(drawn: Iterable[NDArray[np.uint64] | Integers]) -> Check:
    """Whether no window of 12 values occurs twice among these streams or within one of them.

    A window counts by its sum with odd weights modulo 2^64: some two of 2^18 different ones fall together below 2e-9.
    """
    sums = np.sort(np.concatenate([_window_sums(stream) for stream in drawn]))
    again = int(np.count_nonzero(sums[1:] == sums[:-1]))
    return Check(f"windows of {WINDOW} that occur twice", again == 0, float(again))


def clipped(length: Callable[[], Fraction]) -> Check:
    """Whether |v|^2 / Delta^2, v what an update moves a release by, stays within 1."""
    name = "length of a far too long update / sensitivity"
    try:
        most = length()
    except ClipExceeded:
        # The release was blocked by the integer bound, but only because the clip before it did nothing.
        return Check(name, False, math.nextafter(1.0, 2.0))
    return Check(name, most <= 1, float(most))


def _words(source: Source, context: bytes) -> NDArray[np.uint64]:
    with source(LABEL_WORDS, context) as entropy:
        return entropy.borrow(TESTED_WORDS, LABEL_WORDS).copy()


def _require_outputs(*outputs: Integers) -> None:
    for output in outputs:
        if type(output) is not np.ndarray or output.dtype != np.int64 or output.ndim != 1 or output.size < WINDOW:
            raise BadParameters(f"a route draws one int64 vector of at least {WINDOW} outputs")


def _variance(route: Route, noise: Integers) -> Check:
    observed = float(np.mean(np.square(noise.astype(np.float64))))
    error = (observed / float(route.variance) - 1.0) * math.sqrt(noise.size / (route.fourth - 1.0))
    return Check("variance, in standard errors", abs(error) < SIX_SIGMAS, error)


def _centre(route: Route, noise: Integers) -> Check:
    error = float(np.mean(noise.astype(np.float64))) * math.sqrt(noise.size / float(route.variance))
    return Check("mean, in standard errors", abs(error) < SIX_SIGMAS, error)


def _window_sums(stream: NDArray[np.uint64] | Integers) -> NDArray[np.uint64]:
    words = stream.view(np.uint64)
    count = words.size - WINDOW + 1
    total = np.zeros(count, dtype=np.uint64)
    weight = 0x9E3779B97F4A7C15
    for place in range(WINDOW):
        total += words[place : place + count] * np.uint64(weight)
        weight = weight * 0xD1342543DE82EF95 % (1 << 64)
    return total


def _related(name: str, values: NDArray[np.uint64] | Integers) -> Check:
    """The largest correlation of the values with themselves, shifted by any lag, or turned around at any place.

    By two circular convolutions: a copy, a negated copy or a mirrored one, near or far, stands out of one of them if
    it is longer than some 8 sqrt(N) values.
    """
    numbers = values.astype(np.float64)
    numbers -= numbers.mean()
    spread = float(np.sum(np.square(numbers)))
    if spread == 0.0:
        # Values that are all alike are as correlated as can be.
        return Check(f"{name}, largest correlation in standard errors", False, math.sqrt(numbers.size))
    waves = np.fft.rfft(numbers)
    shifted = np.fft.irfft(np.square(np.abs(waves)), numbers.size)[1:]
    turned = np.fft.irfft(np.square(waves), numbers.size)
    # The middle lag and all turns count every pair twice.
    shifted[(numbers.size - 1) // 2] /= math.sqrt(2.0)
    most = max(float(np.abs(shifted).max()), float(np.abs(turned).max()) / math.sqrt(2.0))
    error = most / spread * math.sqrt(numbers.size)
    return Check(f"{name}, largest correlation in standard errors", error < EIGHT_SIGMAS, error)
