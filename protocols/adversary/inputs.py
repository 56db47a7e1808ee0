"""Scripts without a key: bad inputs and ordinary accidents that spoil or lose a round for everybody."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from protocols.adversary.targets import Case, Ended, RunsRounds, Step, vector_of
from protocols.adversary.verdict import Finding, Refused, Script

CLIENTS = 10
LENGTH = 40
MAX_WEIGHT = 1000
# Twice what rounding to 2^16 levels of [-8, 8] costs one client: a mean farther off is wrong.
TOLERANCE = 5e-4

Vectors = dict[int, NDArray[np.float64]]


def vectors_of(clients: int) -> Vectors:
    return {who: vector_of(who, LENGTH) for who in range(clients)}


def alike(clients: int, weight: int) -> dict[int, int]:
    return dict.fromkeys(range(clients), weight)


def mean_error(ended: Ended, vectors: Vectors, weights: dict[int, int]) -> float:
    """Largest distance of the mean from that of the counted clients' finite vectors; inf for no number."""
    counted = [who for who in ended.counted if vectors[who].shape == (LENGTH,) and np.isfinite(vectors[who]).all()]
    total = sum(weights[who] for who in counted)
    if ended.mean is None or ended.mean.shape != (LENGTH,) or not np.isfinite(ended.mean).all() or total == 0:
        return float("inf")
    right = sum(weights[who] * vectors[who] for who in counted) / total
    return float(np.abs(ended.mean - right).max())


def early_dropout(target: RunsRounds) -> Finding:
    """Loses one client at each step, then two at each pair of steps; eight of ten are always enough."""
    vectors, weights = vectors_of(CLIENTS), alike(CLIENTS, 500)
    schedules: list[dict[int, Step]] = [{3: step} for step in Step]
    schedules += [{3: first, 7: second} for first, second in itertools.product(Step, Step)]
    bad: list[dict[int, Step]] = []
    reasons = set()
    for lost in schedules:
        ended = target.run(Case(vectors, weights, lost))
        if mean_error(ended, vectors, weights) > TOLERANCE:
            bad.append(lost)
            reasons.add(ended.why)
    singles = [next(iter(lost.values())).name.lower() for lost in bad if len(lost) == 1]
    because = f"; one client lost at {' or '.join(singles)} suffices: {', '.join(sorted(reasons))}" if singles else ""
    counted = f"{len(bad)} of {len(schedules)} rounds with 8 or 9 of {CLIENTS} clients left have no right mean"
    return Finding(bool(bad), counted + because)


def even_degree(target: RunsRounds) -> Finding:
    """Runs undisturbed rounds in which every secret has 3 to 10 shares."""
    vectors, weights = vectors_of(CLIENTS + 2), alike(CLIENTS + 2, 500)
    lost: dict[int, str] = {}
    for shares in range(3, 11):
        ended = target.run(Case(vectors, weights, shares=shares))
        counted = {who: vectors[who] for who in ended.counted}
        if ended.mean is None or mean_error(ended, counted, weights) > TOLERANCE:
            lost[shares] = ended.why
    if not lost:
        return Finding(False, "undisturbed rounds with 3 to 10 shares per secret all end in the right mean")
    which = ", ".join(map(str, lost))
    return Finding(True, f"undisturbed rounds with {which} shares per secret are lost: {next(iter(lost.values()))}")


def nan_input(target: RunsRounds) -> Finding:
    """One client of ten trains to NaN."""
    vectors, weights = vectors_of(CLIENTS), alike(CLIENTS, 500)
    vectors[4] = vectors[4].copy()
    vectors[4][7] = np.nan
    return poisoned(target, vectors, weights, 4)


def wrong_shape(target: RunsRounds) -> Finding:
    """One client of ten sends a vector of one coordinate, then one of five."""
    findings = []
    for size in (1, 5):
        vectors, weights = vectors_of(CLIENTS), alike(CLIENTS, 500)
        vectors[4] = vectors[4][:size]
        findings.append(poisoned(target, vectors, weights, 4))
    return Finding(
        any(finding.succeeded for finding in findings),
        "; ".join(f"shape ({size},): {finding.evidence}" for size, finding in zip((1, 5), findings, strict=True)),
    )


def poisoned(target: RunsRounds, vectors: Vectors, weights: dict[int, int], villain: int) -> Finding:
    """Whether the villain's vector spoils or ends the round of the nine others."""
    ended = target.run(Case(vectors, weights))
    refusal = ended.refusals.get(villain, "not refused")
    if ended.mean is None:
        return Finding(True, f"the round of nine others is lost: {ended.why}")
    error = mean_error(ended, vectors, weights)
    highest = float(np.abs(ended.mean).max())
    if error > TOLERANCE:
        return Finding(True, f"{refusal}; the mean of vectors in [-1, 1] reaches {highest:.4g}")
    return Finding(False, f"{refusal}; the mean of the nine others is right to {error:.1e}")


def huge_weight(target: RunsRounds) -> Finding:
    """Ten clients report fifty times the weight that was declared as the largest."""
    vectors, weights = vectors_of(CLIENTS), alike(CLIENTS, 50 * MAX_WEIGHT)
    ended = target.run(Case(vectors, weights))
    if ended.mean is None:
        raise Refused(f"weight {50 * MAX_WEIGHT:,} of at most {MAX_WEIGHT:,}: {named(ended)}")
    error = mean_error(ended, vectors, weights)
    what = f"weight {50 * MAX_WEIGHT:,} of at most {MAX_WEIGHT:,}"
    return Finding(error > TOLERANCE, f"{what}: the mean of vectors in [-1, 1] is off by {error:.2g}")


def tiny_weight(target: RunsRounds) -> Finding:
    """Compares the error when all clients have weight 1 with that at the declared largest weight."""
    vectors = vectors_of(CLIENTS)
    errors = []
    for weight in (1, MAX_WEIGHT):
        weights = alike(CLIENTS, weight)
        errors.append(mean_error(target.run(Case(vectors, weights)), vectors, weights))
    light, heavy = errors
    return Finding(
        light > 10 * heavy,
        f"error of the mean {light:.1e} at weight 1, {heavy:.1e} at weight {MAX_WEIGHT:,}: {light / heavy:.2g} times",
    )


def zero_weight(target: RunsRounds) -> Finding:
    """All clients report weight 0."""
    vectors, weights = vectors_of(CLIENTS), alike(CLIENTS, 0)
    ended = target.run(Case(vectors, weights))
    if ended.mean is None:
        raise Refused(f"all weights 0: {named(ended)}")
    return Finding(True, f"all weights 0: a mean is published, its first coordinate is {ended.mean[0]:.4g}")


def named(ended: Ended) -> str:
    """Who refused what, in the library's words."""
    reasons = sorted(set(ended.refusals.values()))
    return f"{len(ended.refusals)} clients refuse with {', '.join(reasons)}" if reasons else ended.why


SCRIPTS = (
    Script("early_dropout", "a client lost early ends the round", ("D1", "D3", "D5", "D7"), RunsRounds, early_dropout),
    Script("even_degree", "some numbers of shares break every client", ("D24",), RunsRounds, even_degree),
    Script("nan_input", "one NaN reaches everybody's mean", ("C4",), RunsRounds, nan_input),
    Script("huge_weight", "a weight above the declared maximum spoils the mean", ("C6", "C7"), RunsRounds, huge_weight),
    Script("tiny_weight", "light clients lose their precision", ("C6",), RunsRounds, tiny_weight),
    Script("zero_weight", "a mean over no weight is published", ("C6", "D25"), RunsRounds, zero_weight),
    Script("wrong_shape", "a vector of another shape is broadcast over the sum", ("C2",), RunsRounds, wrong_shape),
)
