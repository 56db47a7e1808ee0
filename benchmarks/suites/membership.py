"""Who was in the sum, and who was in the training: two attacks beside the best that the noise allows anybody.

    matched filter    the attacker knows the target's update and sees one noisy sum; the best there is
    loss threshold    the attacker sees every model of a training and has the target's example: member, if its loss is
                      low; each client has one example, sends its clipped gradient in every round, and is protected as
                      a whole, so that T rounds together are one Gaussian of multiplier z / sqrt(T)

Rows judge the true positive rate at a false positive rate of 1/10 (the filter at 1/1000 too) over the largest one that
noise allows: without noise it is 1. A ratio above 1 by chance is within `limit`, 6 standard errors of the rate.
Needs the extra `report` for its digits. Yeom et al., CSF 2018 (loss threshold).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from benchmarks.rows import Effort, Row, Taken
from dp import Clip, Entropy, Gaussian, Unit
from dp.audit import Observed, Point, roc
from dp.audit.matching import optimum
from protocols.learning import Parameters, digits
from protocols.learning.data import Examples, Floats
from protocols.learning.models import Dense

LABEL_NOISE = b"secagg/benchmarks/membership"
MULTIPLIERS = (Fraction(1, 2), Fraction(1), Fraction(2))
# Together with the rounds: hardly any noise, and what a budget near 8 would take.
OF_TRAINING = (None, Fraction(1), Fraction(10))
MEMBERS, ROUNDS, RATE, HIDDEN = 100, 80, 8.0, 64
TESTED_RATE = 0.1
UNIT = Unit("add-or-remove-one")


def rows(effort: Effort) -> Iterator[Row]:
    for z in MULTIPLIERS:
        yield from filtered(z, min(effort.dimension, 400_000))
    for noise in OF_TRAINING:
        yield trained(noise, effort)


def filtered(z: Fraction, rounds: int) -> Iterator[Row]:
    """One release per round, drawn as the mechanism draws it."""
    mechanism = Gaussian.for_sigma(z, clip=Clip(Fraction(1)), dimension=1, unit=UNIT)
    with Entropy.system(LABEL_NOISE, b"filter") as entropy:
        drawn = [mechanism.to_real(mechanism.apply(np.zeros(rounds, np.int64), entropy)) for _ in range(2)]
    rates = (0.1, 0.001) if rounds >= 40_000 else (0.1,)
    for rate, point in zip(rates, roc(Observed(1 + drawn[0], drawn[1]), float(z), rates).points, strict=True):
        yield row(f"matched filter, z = {z}, FPR {rate:g}", point.true_positives.rate, point.optimum, errors(point))


def errors(point: Point) -> float:
    """The largest ratio that chance explains: the standard error of the rate with that of the optimum it is beside."""
    low, high = point.bars(2e-9)
    return (high - low + point.optimum) / point.optimum


def trained(noise: Fraction | None, effort: Effort) -> Row:
    """The loss of members and of others after training, over several trainings."""
    members, others, found = losses(noise, max(1, effort.repeats))
    threshold = float(np.quantile(others[0::2], TESTED_RATE))
    false = float(np.mean(others[1::2] <= threshold))
    best = 1.0 if noise is None else float(optimum(np.array([false]), float(noise) / math.sqrt(ROUNDS))[0])
    rate = float(np.mean(members <= threshold))
    spread = 6 * math.sqrt(0.25 / members.size)
    name = "no noise" if noise is None else f"z = {noise}"
    return row(f"loss threshold, {name}, {ROUNDS} rounds, accuracy {found:.2f}", rate, best, 1 + spread / best)


def losses(noise: Fraction | None, trainings: int) -> tuple[Floats, Floats, float]:
    """Every example's loss under the model of a training it was in, or was not; and the mean accuracy on the others.

    Less the median of the others, so that trainings of different noise can be judged by one threshold.
    """
    data, network = digits(), Dense((64, HIDDEN, 10))
    members, others, accuracies = [], [], []
    for seed in range(trainings):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(data))
        inside, outside = data.take(order[:MEMBERS]), data.take(order[MEMBERS : 2 * MEMBERS])
        model = fit(network, inside, noise, rng)
        apart = loss_of(network, model, outside)
        members.append(loss_of(network, model, inside) - np.median(apart))
        others.append(apart - np.median(apart))
        accuracies.append(network.score(model, outside).accuracy)
    return np.concatenate(members), np.concatenate(others), float(np.mean(accuracies))


def fit(network: Dense, examples: Examples, noise: Fraction | None, rng: np.random.Generator) -> Parameters:
    """Gradient descent on clipped gradients of one example each, their sum released by the discrete Gaussian."""
    model, clip = network.start(rng), Clip(Fraction(1))
    dimension = sum(array.size for array in model)
    multiplier = Fraction(1, 1 << 10) if noise is None else noise
    mechanism = Gaussian.for_sigma(multiplier, clip=clip, dimension=dimension, unit=UNIT)
    with Entropy.system(LABEL_NOISE, b"training") as entropy:
        for _ in range(ROUNDS):
            total = np.zeros(dimension, np.int64)
            for place in range(len(examples)):
                gradient = network.gradient(model, examples.take(np.array([place])))
                total += mechanism.quantise(np.concatenate([part.ravel() for part in gradient]), entropy)
            released = total if noise is None else mechanism.apply(total, entropy)
            step, at = RATE / len(examples) * mechanism.to_real(released), 0
            for array in model:
                array -= step[at : at + array.size].reshape(array.shape)
                at += array.size
    return model


def loss_of(network: Dense, model: Parameters, examples: Examples) -> Floats:
    """The cross-entropy of each example."""
    logits = network.logits(model, examples.features)
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found: Floats = -logs[np.arange(len(examples)), examples.labels]
    return found


def row(case: str, rate: float, best: float, limit: float) -> Row:
    return Row(
        suite="membership",
        case=case,
        unit="true positive rate",
        ours=Taken.once(rate),
        peer_name="largest under this noise",
        peer=Taken.once(best),
        limit=limit,
        judged="ratio",
        note="members found at the false positive rate",
    )
