"""The villain reads an input off the outputs that its neighbour could not have produced (Mironov, CCS 2012).

Float noise leaves such gaps: at standard deviation 3.73 one coordinate in fourteen proves "0, not 1". Ours
is integers times a step, so every output must be those integers and nothing more, each one in reach of every
neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from dp.accountant import Unit
from dp.bounds import Clip, Lattice
from dp.distributed import SHRINK, NoiseShare
from dp.entropy import Entropy
from dp.lattice import rotate
from dp.mechanisms import DiscreteGaussian, DiscreteLaplace, LocalMechanism, Mechanism, Skellam
from dp.noise import GaussianLaw
from protocols.coding import LABEL_ROTATION, Noisy, coding_of
from protocols.learning import Dealt, Examples, FedAvg, Federation, Local, Parameters, Rounds, softmax_regression
from protocols.plan import RoundPlan, context_of
from protocols.round import RoundReport, secure_mean
from protocols.simulate import Cohort
from secagg.keys import Seed, derive
from tests.rows import rows

STD = 3.73
TRIALS = 2_000_000
FAST = 100_000

CLIP = Clip(Fraction(2), Fraction(2))
STEP = Lattice(Fraction(1, 8))
UNIT = Unit("replace-one")
SIGMA2 = (Fraction(373, 100) / STEP.gamma) ** 2
MECHANISMS: list[Mechanism] = [
    DiscreteGaussian(SIGMA2, CLIP, STEP, UNIT),
    DiscreteLaplace(Fraction(21), CLIP, STEP, UNIT),
    Skellam(SIGMA2, CLIP, STEP, UNIT),
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

sizes = pytest.mark.parametrize("trials", [FAST, pytest.param(TRIALS, marks=pytest.mark.slow)])


def stream(purpose: bytes, number: int = 0) -> Entropy:
    return Entropy.insecure(number, b"granularity", purpose)


def finer_than_one(outputs: Floats) -> int:
    """Outputs that are no multiple of 2^-53: no double 1 + noise is such a number, while noise alone often is."""
    return int((np.ldexp(outputs, 53) % 1.0 != 0.0).sum())


def off_the_steps(outputs: Floats, gamma: float) -> int:
    """The same attack where outputs are multiples of gamma: those that are not tell something of the input."""
    return int((outputs / gamma % 1.0 != 0.0).sum())


def out_of_reach(steps: Integers, neighbour: Integers | int, reach: int) -> int:
    """Integers that noise of the largest magnitude cannot make of the neighbour."""
    return int((np.abs(steps - neighbour) > reach).sum())


# --- the control: the attack works where noise is a float ------------------------------------------


@rows("N1")
@sizes
def test_float_noise_proves_a_zero_in_one_coordinate_of_fourteen(row: str, trials: int) -> None:
    noise = np.random.default_rng(1).normal(scale=STD, size=trials)
    hits, false_alarms = finer_than_one(0.0 + noise), finer_than_one(1.0 + noise)
    # In (2^-(j+1), 2^-j) doubles are spaced 2^-(53+j): all but one in 2^j are finer than 2^-53.
    cumulative = [0.5 * math.erfc(-(2.0**-j) / STD / 2**0.5) for j in range(60)]
    expected = sum(2 * (cumulative[j] - cumulative[j + 1]) * (1 - 2.0**-j) for j in range(1, 59))
    assert expected == pytest.approx(0.0711, abs=1e-4)
    assert abs(hits / trials - expected) < 6 * (expected / trials) ** 0.5
    assert false_alarms == 0


@rows("N1")
def test_single_floats_and_averages_of_four_draws_leave_the_same_gaps(row: str) -> None:
    rng = np.random.default_rng(2)
    single = rng.normal(scale=STD, size=FAST).astype(np.float32)
    assert (np.ldexp(single, 24) % 1.0 != 0.0).mean() > 0.06
    assert not (np.ldexp(np.float32(1) + single, 24) % 1.0 != 0.0).any()
    averaged = rng.normal(scale=STD, size=(4, FAST)).sum(axis=0) / 2
    # Sums of four are coarser, yet one coordinate in seventy still proves its input.
    assert finer_than_one(averaged) > 0.01 * FAST
    assert finer_than_one(1.0 + averaged) == 0


# --- central and local -----------------------------------------------------------------------------


@rows("N1")
@sizes
@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: type(mechanism).__name__)
def test_no_output_of_a_mechanism_is_impossible_under_its_neighbour(
    row: str, mechanism: Mechanism, trials: int
) -> None:
    gamma, reach = float(STEP.gamma), mechanism.law.reach
    for input, neighbour in ((0, 8), (8, 0)):
        noisy = mechanism.apply(np.full(trials, input, dtype=np.int64), stream(b"central", input))
        assert out_of_reach(noisy, neighbour, reach) == 0
        outputs = mechanism.to_real(noisy)
        assert finer_than_one(outputs) == 0
        assert off_the_steps(outputs, gamma) == 0
    # Nor are there gaps between: within two deviations every integer occurs under both.
    near = min(int(2 * float(mechanism.law.variance) ** 0.5), reach - 8)
    assert set(range(-near, near + 1)) <= set(noisy.tolist())


@rows("N1")
@sizes
@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: type(mechanism).__name__)
def test_no_local_message_is_impossible_under_another_update(row: str, mechanism: Mechanism, trials: int) -> None:
    update = np.zeros(2000)
    update[0] = 1.0
    other = mechanism.quantise(-update, stream(b"other"))
    for client in range(trials // update.size):
        message = LocalMechanism(mechanism).randomise(update, stream(b"local", client))
        assert out_of_reach(message.vector, other, mechanism.law.reach) == 0
        assert off_the_steps(mechanism.to_real(message.vector), float(STEP.gamma)) == 0


@rows("N1")
def test_the_attack_notices_noise_that_is_drawn_as_a_float_and_scaled(row: str) -> None:
    # The planted fault: the same mechanism with its noise drawn before the lattice and not after.
    mechanism = MECHANISMS[0]
    noise = np.random.default_rng(3).normal(scale=STD, size=FAST)
    planted = mechanism.to_real(mechanism.quantise(np.zeros(FAST), stream(b"planted"))) + noise
    assert off_the_steps(planted, float(STEP.gamma)) > 0.99 * FAST
    assert finer_than_one(planted) > 0.06 * FAST


# --- noise of a cohort, opened and turned back -----------------------------------------------------


def steps_behind(
    outputs: Floats, decode: Callable[[Integers], Floats], steps_of: Callable[[Floats], Floats]
) -> Integers:
    """The integers an output was made of; fails unless the output is theirs, bit for bit.

    The rotation back fills all bits of a double. What counts is that these bits are a function of the
    integers alone: then the output can tell nothing that the integers do not.
    """
    nearly = steps_of(outputs)
    steps = np.rint(nearly).astype(np.int64)
    assert np.abs(nearly - steps).max() < 1e-3
    assert np.array_equal(decode(steps), outputs)
    return steps


def share_plan(d: int, clients: int) -> NoiseShare:
    return NoiseShare.plan(
        noise_multiplier=Fraction(1),
        clip=Fraction(1),
        dimension=d,
        modulus_bits=20,
        max_clients=clients,
        min_survivors=clients,
        colluders=0,
    )


@rows("N1")
@sizes
def test_no_opened_sum_of_shares_is_impossible_under_a_neighbour(row: str, trials: int) -> None:
    d, clients, seed = 1 << 14, 3, bytes(range(32))
    share = share_plan(d, clients)
    reach = clients * GaussianLaw(share.share_variance).reach
    updates = np.random.default_rng(4).normal(size=(clients, d))
    for number in range(-(-trials // d)):
        total = np.zeros(d, dtype=np.int64)
        for client in range(clients):
            total += share.encode(updates[client], seed, stream(b"share", clients * number + client)).vector
        outputs = share.decode(total, seed)
        steps = steps_behind(
            outputs,
            lambda steps: share.decode(steps, seed),
            lambda real: rotate(real, seed, SHRINK / float(share.gamma)),
        )
        assert np.array_equal(steps, total)
        # Client 0 contributed nothing, or its opposite: its own rounded vector is what changes.
        for replaced in (np.zeros(d), -updates[0]):
            neighbour = sum(
                share.quantise(update, seed, stream(b"neighbour", number)).vector for update in (replaced, *updates[1:])
            )
            assert out_of_reach(total, np.asarray(neighbour), reach) == 0


@rows("N1")
def test_the_attack_on_sums_notices_float_noise_added_after_decoding(row: str) -> None:
    d, seed = 1 << 10, bytes(32)
    share = share_plan(d, 3)
    outputs = share.decode(np.zeros(d, dtype=np.int64), seed) + np.random.default_rng(5).normal(size=d)
    with pytest.raises(AssertionError):
        steps_behind(
            outputs,
            lambda steps: share.decode(steps, seed),
            lambda real: rotate(real, seed, SHRINK / float(share.gamma)),
        )


# --- the means a learning loop releases ------------------------------------------------------------


def clouds(clients: int, features: int, classes: int) -> Dealt:
    """A few examples per client; the parameters, (features + 1) classes, fill a power of two."""
    rng = np.random.default_rng(6)

    def draw(count: int) -> Examples:
        return Examples(rng.normal(size=(count, features)), rng.integers(0, classes, count), classes)

    return Dealt({who: draw(4) for who in range(clients)}, draw(8))


@rows("N1")
@pytest.mark.parametrize(
    ("features", "rounds"), [(1023, 3), pytest.param(32767, 8, marks=pytest.mark.slow)], ids=["fast", "full"]
)
def test_no_mean_released_by_the_loop_is_more_than_integers_in_reach(row: str, features: int, rounds: int) -> None:
    clients, classes = 4, 8
    data = clouds(clients, features, classes)
    plan = RoundPlan.recommend(clients, dropout=0, corrupt=0, noise_multiplier=1, modulus_bits=24)
    cohort = Cohort.fresh(plan, data.clients)
    looked_at = 0

    def aggregate(updates: Mapping[int, Parameters], number: int) -> RoundReport:
        nonlocal looked_at
        report = secure_mean(updates, plan, round=number, cohort=cohort)
        agreement = cohort.server.agreement
        context, coding = context_of(agreement), coding_of(agreement)
        assert isinstance(coding, Noisy)
        share, n = coding.share, len(report.survivors)
        assert share.padded == share.dimension  # else the mean holds fewer numbers than there are integers
        seed = derive(Seed(bytes(context)), LABEL_ROTATION, context).expose()
        mean = np.concatenate([part.ravel() for part in report.mean])
        steps = steps_behind(
            mean,
            lambda steps: coding.decode(coding.ring.reduce(steps), n, context),
            lambda real: rotate(real * n, seed, SHRINK / float(share.gamma)),
        )
        # Client 0 absent: the integers of the others alone are in reach of the same outputs.
        flat = [np.concatenate([part.ravel() for part in updates[who]]) for who in report.survivors]
        others = sum(share.quantise(update, seed, stream(b"loop")).vector for update in flat[1:])
        reach = n * GaussianLaw(share.share_variance).reach
        assert out_of_reach(steps, np.asarray(others), reach) == 0
        looked_at += steps.size
        return report

    federation = Federation(
        softmax_regression(features, classes), FedAvg(Local(0.1, 1)), data, (Rounds(rounds),), seed=1
    )
    records = list(federation.run(aggregate))
    assert [record.failed for record in records] == [None] * rounds
    assert looked_at == rounds * (features + 1) * classes
