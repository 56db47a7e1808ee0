"""Error feedback: nothing is lost, nothing counts twice, and no residual leaves its client or lifts a sensitivity."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols.coding import Noisy, Randomness, coding_of
from protocols.endpoint import Client, Task
from protocols.errors import Misused, PolicyViolation, TooFewClients, WrongUpdate
from protocols.learning import (
    Aggregated,
    ErrorFeedback,
    FedAvg,
    Federation,
    Latest,
    Local,
    OnlyKeys,
    PrunedMask,
    Public,
    RandomK,
    Residual,
    Rounds,
    TopKOfLast,
    VotedBlocks,
    arrived,
    deal_iid,
    plain_mean,
    softmax_regression,
)
from protocols.learning.data import Examples
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import RoundPlan
from protocols.simulate import Cohort, Simulation
from secagg.keys import Context, Seed
from secagg.sparse import Selection

D = 12
MODEL = [np.zeros((2, 4)), np.zeros(4)]
LAYOUT = bytes(32)


def update_of(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((2, 4)), rng.standard_normal(4)]


def flat_of(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(-1) for array in arrays])


class Rehearsal:
    """Drives a reduction round by round, as the loop does; `survivors` None is a lost round."""

    def __init__(self, reduction: ErrorFeedback) -> None:
        self.reduction, self.number, self.latest = reduction, 0, None
        self.model = [array.copy() for array in MODEL]

    def play(self, updates: dict[int, list[np.ndarray]], survivors: tuple[int, ...] | None) -> dict[int, np.ndarray]:
        public = Public(self.number, self.model, self.latest)
        chosen = self.reduction.choose(public)
        sent = {who: self.reduction.send(who, update, chosen, public) for who, update in updates.items()}
        if survivors is not None:
            mean = {name: np.mean([sent[who][name] for who in survivors], axis=0) for name in sent[survivors[0]]}
            restored = self.reduction.restore(mean, chosen, public)
            self.latest = Latest(self.number, mean, restored, survivors)
            self.model = [array + change for array, change in zip(self.model, restored, strict=True)]
        self.number += 1
        return {who: chosen.scatter(arrived(chosen, values)["update"]) for who, values in sent.items()}


# Nothing lost, nothing twice


@pytest.mark.parametrize("rule", [RandomK(3), TopKOfLast(4, 0.5), RandomK(D)], ids=repr)
def test_what_travelled_and_what_is_left_add_up_to_all_updates(rule: Any) -> None:
    rounds, clients = Rehearsal(ErrorFeedback(rule)), (0, 1, 2)
    wanted = {who: np.zeros(D) for who in clients}
    for number in range(30):
        updates = {who: update_of(100 * number + who) for who in clients}
        for who, travelled in rounds.play(updates, clients).items():
            wanted[who] += flat_of(updates[who]) - travelled
    # One more round of nothing tells each client how the last one ended.
    for who, travelled in rounds.play(dict.fromkeys(clients, MODEL), clients).items():
        left = rounds.reduction.residual_of(who)
        assert left is not None
        assert left.vector == pytest.approx(wanted[who], abs=1e-12)
        assert travelled[travelled != 0] == pytest.approx(left.vector[travelled != 0])


def test_the_mean_is_not_scaled_where_the_rest_travels_later() -> None:
    public = Public(0, MODEL, None)
    with_feedback, without = ErrorFeedback(RandomK(3)), RandomK(3)
    chosen = without.choose(public)
    sent = with_feedback.send(0, update_of(1), chosen, public)
    plain, scaled = (flat_of(rule.restore(sent, chosen, public)) for rule in (with_feedback, without))
    assert plain == pytest.approx(chosen.scatter(chosen.gather(flat_of(update_of(1)))))
    assert scaled == pytest.approx(plain * D / 3)


def test_a_client_that_vanished_keeps_all_that_it_wanted_to_send() -> None:
    rounds = Rehearsal(ErrorFeedback(RandomK(3)))
    rounds.play({0: update_of(0), 1: update_of(1)}, (0,))
    rounds.play({0: MODEL, 1: MODEL}, (0, 1))
    lost = rounds.reduction.residual_of(1)
    assert lost is not None
    assert lost.vector == pytest.approx(flat_of(update_of(1)))
    heard = rounds.reduction.residual_of(0)
    assert heard is not None
    assert np.count_nonzero(heard.vector) == D - 3


def test_after_a_lost_round_the_residual_is_what_it_was_for_the_update_is_trained_anew() -> None:
    rounds = Rehearsal(ErrorFeedback(RandomK(3)))
    rounds.play({0: update_of(0)}, (0,))
    rounds.play({0: update_of(1)}, None)
    before = rounds.reduction.residual_of(0)
    assert before is not None
    rounds.play({0: update_of(1)}, None)
    assert rounds.reduction.residual_of(0) is before
    assert before.round == 0


def test_a_lost_first_round_leaves_nothing() -> None:
    rounds = Rehearsal(ErrorFeedback(RandomK(3)))
    rounds.play({0: update_of(0)}, None)
    rounds.play({0: update_of(1)}, (0,))
    assert rounds.reduction.residual_of(0) is None


@pytest.mark.parametrize(("missed", "kept"), [(0, True), (5, True), (6, False)])
def test_a_residual_is_dropped_after_more_than_five_missed_rounds(missed: int, kept: bool) -> None:
    rounds = Rehearsal(ErrorFeedback(RandomK(3)))
    wanted = flat_of(update_of(0)) - rounds.play({0: update_of(0), 1: update_of(1)}, (0, 1))[0]
    for _ in range(missed):
        rounds.play({1: MODEL}, (1,))
    travelled = rounds.play({0: MODEL, 1: MODEL}, (0, 1))[0]
    rounds.play({1: MODEL}, (1,))
    left = rounds.reduction.residual_of(0)
    assert left is not None
    assert travelled + left.vector == pytest.approx(wanted * kept)
    direct = Residual(LAYOUT, 0, np.ones(D)).added_to(np.zeros(D), LAYOUT, missed + 1)
    assert (direct == 1).all() == kept


def test_a_residual_is_dropped_when_the_layout_changes() -> None:
    residual = Residual(LAYOUT, 3, np.ones(4))
    assert residual.added_to(np.zeros(4), LAYOUT, 4).tolist() == [1] * 4
    assert residual.added_to(np.zeros(4), bytes([1]) * 32, 4).tolist() == [0] * 4
    assert residual.added_to(np.zeros(9), bytes([1]) * 32, 4).tolist() == [0] * 9


def test_another_layout_in_the_middle_of_a_run_starts_without_residuals() -> None:
    feedback = ErrorFeedback(RandomK(2))
    one = Public(0, MODEL, None)
    chosen = feedback.choose(one)
    sent = feedback.send(0, update_of(0), chosen, one)
    latest = Latest(0, sent, feedback.restore(sent, chosen, one), (0,))
    two = Public(1, [np.zeros(7)], latest)
    chosen = feedback.choose(two)
    assert arrived(chosen, feedback.send(0, [np.ones(7)], chosen, two))["update"].tolist() == [1, 1]


# Rounding errors too


def test_with_full_feedback_the_rounding_errors_of_real_rounds_cancel_over_time() -> None:
    plan = RoundPlan.recommend(3, dropout=0, corrupt=0, clip=1.0, bits=4)
    chosen, update, rounds = Selection.whole(5), np.array([0.31, -0.47, 0.02, 0.9, -0.66]), 12
    totals = {}
    for full in (True, False):
        residual: Residual | None = None
        total = np.zeros(5)
        cohort = Cohort.from_root(plan, range(3), Seed(b"\5" * 32))
        for number in range(rounds):
            whole = update if residual is None else residual.added_to(update, LAYOUT, number)
            submitted: list[Submit] = []

            def train(who: PartyId, client: Client, whole: Any = whole, submitted: Any = submitted) -> Submit:
                submitted.append(client.prepare(chosen.gather(whole) if who == 0 else np.zeros(5)))
                return submitted[-1]

            simulation = Simulation(cohort, train)
            simulation.run(Task(number, 5, nonce=bytes(16)))
            total += simulation.reader.mean() * 3
            mine = submitted[0]
            coding = coding_of(cohort.server.agreement)
            sent = coding.decode(mine.vector, mine.weight, Context(bytes(32)), ()) if full else chosen.gather(whole)
            residual = Residual.left(whole, chosen, sent, LAYOUT, number)
        totals[full] = np.abs(total - rounds * update).max()
        step = plan.encoding.step
    # What is left is one residual: less than a step, however many rounds there were.
    assert totals[True] < step
    assert totals[False] > totals[True]


# Privacy


def test_sensitivity_is_the_clip_whatever_the_residual_holds() -> None:
    plan = RoundPlan.recommend(10, dropout=0, corrupt=0, clip=Fraction(1), noise_multiplier=Fraction(1))
    server = Cohort.from_root(plan, range(10), Seed(b"\6" * 32)).server
    feedback = ErrorFeedback(RandomK(8))
    public = Public(0, MODEL, None)
    chosen = feedback.choose(public)
    sent = feedback.send(0, [array * 1e6 for array in update_of(3)], chosen, public)
    latest = Latest(0, sent, feedback.restore(sent, chosen, public), (0,))
    public = Public(1, MODEL, latest)
    chosen = feedback.choose(public)
    values = arrived(chosen, feedback.send(0, update_of(4), chosen, public))["update"]
    assert np.linalg.norm(values) > 1e5
    coding = coding_of(server.agree(Task(0, 8)))
    assert isinstance(coding, Noisy)
    randomness = Randomness(Seed(bytes(32)), Context(bytes(32)), deterministic=True)
    noisy = coding.noisy(values, 1, randomness)
    assert noisy.clipped.hit
    assert np.linalg.norm(noisy.clipped.vector) <= 1
    with randomness.noise() as entropy:
        integers = coding.share.quantise(values, bytes(32), entropy).vector
    assert sum(int(z) ** 2 for z in integers) <= coding.share.l2_squared


def test_no_residual_is_in_a_representation() -> None:
    feedback = ErrorFeedback(RandomK(3))
    rounds = Rehearsal(feedback)
    rounds.play({0: [np.full((2, 4), 0.123456), np.full(4, 0.123456)]}, (0,))
    rounds.play({0: MODEL}, (0,))
    assert "0.123" not in repr(feedback) + repr(feedback.__dict__) + repr(feedback.residual_of(0))
    assert "vector" not in repr(feedback.residual_of(0))


# Refusals


@pytest.mark.parametrize("rule", [PrunedMask(), OnlyKeys("0"), None])
def test_a_rule_that_never_reaches_some_coordinates_has_no_feedback(rule: Any) -> None:
    with pytest.raises(Misused, match="never sends some coordinates"):
        ErrorFeedback(rule)


@pytest.mark.parametrize("patience", [-1, True, 2.0])
def test_patience_is_a_number_of_rounds(patience: Any) -> None:
    with pytest.raises(Misused, match="patience"):
        ErrorFeedback(RandomK(3), patience)


@pytest.mark.parametrize(
    ("update", "digest", "error"),
    [
        ([np.zeros(3)], None, WrongUpdate),
        (update_of(0), Selection(D, np.array([0], np.int64)), PolicyViolation),
    ],
)
def test_after_a_refusal_the_residual_is_what_it_was(update: Any, digest: Any, error: type[Exception]) -> None:
    rounds = Rehearsal(ErrorFeedback(RandomK(3)))
    rounds.play({0: update_of(0)}, (0,))
    public = Public(1, rounds.model, rounds.latest)
    chosen = rounds.reduction.choose(public)
    with pytest.raises(error):
        rounds.reduction.send(0, update, digest or chosen, public)
    left = rounds.reduction.residual_of(0)
    assert left is not None
    assert left.round == 0
    travelled = rounds.reduction.send(0, MODEL, chosen, public)
    assert arrived(chosen, travelled)["update"] == pytest.approx(chosen.gather(left.vector))


# In the loop


def toy() -> Any:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 240)
    centres = np.array([[2.0, 0, 0.3, -0.3], [-1.0, 1.7, 0, 0], [-1.0, -1.7, 0, 0]])
    return deal_iid(Examples(centres[labels] + rng.normal(size=(240, 4)), labels, 3), 6, 1)


def loss_of(reduction: Any, lose: Any = ()) -> float:
    def aggregate(updates: Any, number: int) -> Aggregated:
        if number in lose:
            raise TooFewClients(2, 3, "Summing")
        mean = {name: np.mean([each[name] for each in updates.values()], axis=0) for name in updates[0]}
        return Aggregated(mean, tuple(sorted(updates)))

    run = Federation(
        softmax_regression(4, 3), FedAvg(Local(0.3)), toy(), stops=(Rounds(40),), seed=1, reduction=reduction
    )
    return list(run.run(aggregate))[-1].loss


def test_a_fifth_of_the_coordinates_with_feedback_trains_nearly_as_well_as_all() -> None:
    run = Federation(softmax_regression(4, 3), FedAvg(Local(0.3)), toy(), stops=(Rounds(40),), seed=1)
    dense = list(run.run(plain_mean))[-1].loss
    feedback = loss_of(ErrorFeedback(RandomK(3)))
    assert feedback < dense + 0.05
    assert math.isfinite(loss_of(RandomK(3)))


def test_lost_rounds_do_not_disturb_it() -> None:
    # The loss of a model that knows nothing is log 3; thirty of forty rounds are left.
    assert loss_of(ErrorFeedback(RandomK(3)), lose=range(1, 40, 4)) < math.log(3) / 2


def test_votes_are_about_the_residual_as_well() -> None:
    """A block that always moves a little gets its vote in the end, and travels."""
    plan = RoundPlan.recommend(3, dropout=0, corrupt=0)
    feedback = ErrorFeedback(VotedBlocks(plan, tau=0.5, min_votes=3, block=3))
    rounds = Rehearsal(feedback)
    drip = [np.zeros((2, 4)), np.full(4, 0.1)]
    sizes = []
    for _ in range(12):
        rounds.play(dict.fromkeys(range(3), drip), (0, 1, 2))
        sizes.append(feedback.choose(Public(rounds.number, rounds.model, rounds.latest)).size)
    assert 0 in sizes
    assert max(sizes) >= 3


def test_a_second_run_with_the_same_object_begins_without_residuals() -> None:
    reduction = ErrorFeedback(RandomK(3))
    assert loss_of(reduction) == loss_of(reduction) == loss_of(ErrorFeedback(RandomK(3)))
