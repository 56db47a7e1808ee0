"""A private training in one call: the noise is enough and no more, the rounds are counted, a crash changes nothing."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountant import Budget, Relation, Unit, View, account
from dp.calibrate import calibrate_gaussian
from dp.errors import BadParameters, BudgetExceeded, Corrupt, DpError, Infeasible, Locked, StorageRefused
from dp.events import GaussianEvent, Repeated
from dp.gaussian import gaussian_sigma
from dp.ledger import Ledger
from protocols import PrivateTraining, make_private
from protocols import private as module
from protocols.coding import noise_coding
from protocols.errors import BadPlan, Misused, TooFewClients, WrongUpdate
from protocols.participation import attendance, invite
from protocols.party import PartyId
from protocols.plan import Excess, NoisePlan
from protocols.private_plan import MOST_INFLATION, OPENING, PrivatePlan, PrivateSettings
from protocols.round import secure_mean
from protocols.simulate import Exchange, Fate, FaultPlan, Lost
from protocols.tensors import Layout

ASKED: dict[str, Any] = {
    "clients": 6,
    "epsilon": 4,
    "delta": 1e-5,
    "rounds": 3,
    "clip": 1.0,
    "dimension": 5,
    "dropout": 0.2,
    "corrupt": 0.2,
}
UNIT = Unit(Relation.ZERO_OUT)


def started(folder: Path, **changed: Any) -> PrivateTraining:
    return make_private(**{**ASKED, "ledger": folder / "run.ledger", **changed})


def settings_of(**changed: Any) -> PrivateSettings:
    values: dict[str, Any] = {
        "participations": 3,
        "task": "private",
        **ASKED,
        "epsilon": Fraction(4),
        "delta": Fraction(1, 10**5),
        "clip": Fraction(1),
        "dropout": Fraction(1, 5),
        "corrupt": Fraction(1, 5),
        "excess": Excess.KEPT,
    }
    return PrivateSettings(**{**values, **changed})


def updates_of(clients: int | range = 6, dimension: int = 5) -> dict[int, list[np.ndarray]]:
    ids = range(clients) if isinstance(clients, int) else clients
    return {who: [np.full(dimension, 0.1)] for who in ids}


def vanish(clients: int, exchange: Exchange) -> FaultPlan:
    return FaultPlan({PartyId(who): Fate(exchange, Lost.REPLY) for who in range(clients)})


# --- the protocol


@pytest.mark.parametrize(("protocol", "corrupt"), [("oneshot", 0.2), ("ckks", 0)])
def test_a_training_may_be_played_by_any_protocol(tmp_path: Path, protocol: str, corrupt: float) -> None:
    with started(tmp_path, protocol=protocol, corrupt=corrupt, dropout=0) as training:
        assert training.plan.protocol == protocol
        report = training.round(updates_of())
        assert report.exact
        assert len(report.survivors) == 6
        assert report.epsilon is not None
    with pytest.raises(Misused, match=f"started with protocol {protocol}, not pairwise"):
        started(tmp_path, corrupt=corrupt, dropout=0)


def test_only_pairwise_rounds_remove_noise() -> None:
    with pytest.raises(BadPlan, match="only pairwise masks have them"):
        PrivatePlan.calibrated(settings_of(protocol="oneshot", excess=Excess.REMOVED))


# --- the noise


def test_the_noise_is_that_of_the_exact_gaussian_for_all_rounds_together() -> None:
    """T releases are one of 1/sqrt(T) the noise: the closed form of another function, within a thousandth."""
    for rounds in (1, 3, 200):
        chosen = PrivatePlan.calibrated(settings_of(clients=100, rounds=rounds, participations=rounds, dimension=1000))
        truth = gaussian_sigma(4.0, 1e-5) * rounds**0.5
        assert truth <= float(chosen.share.noise_multiplier) <= 1.001 * truth


@given(
    clients=st.integers(3, 300),
    rounds=st.integers(1, 500),
    epsilon=st.fractions(Fraction(1, 20), 20, max_denominator=100),
    dimension=st.integers(1, 10**7),
    dropout=st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 5)]),
    corrupt=st.sampled_from([Fraction(0), Fraction(1, 10)]),
    clip=st.sampled_from([Fraction(1, 100), Fraction(1), Fraction(7)]),
    excess=st.sampled_from(Excess),
)
@settings(max_examples=25)
def test_whatever_is_asked_for_fits_the_budget_on_the_event_the_plan_releases(
    clients: int,
    rounds: int,
    epsilon: Fraction,
    dimension: int,
    dropout: Fraction,
    corrupt: Fraction,
    clip: Fraction,
    excess: Excess,
) -> None:
    try:
        asked = settings_of(
            clients=clients,
            rounds=rounds,
            participations=rounds,
            epsilon=epsilon,
            dimension=dimension,
            dropout=dropout,
            corrupt=corrupt,
            clip=clip,
            excess=excess,
        )
    except BadPlan:
        return
    chosen = PrivatePlan.calibrated(asked)
    assert chosen.plan.noise is not None
    # What the endpoints will derive from the plan, not what was remembered while calibrating.
    coding = noise_coding(chosen.plan, chosen.plan.noise, dimension)
    honest, share = chosen.plan.min_cohort - chosen.plan.corrupted, coding.share
    event = coding.event(chosen.plan.min_cohort, "system")
    assert event.sigma2 == honest * share.share_variance
    spent = account([Repeated(event, rounds)], UNIT, View.AGGREGATOR, asked.delta)
    assert Fraction(spent.upper) <= epsilon
    # The least: a thousandth less variance would not do. An exact curve needs 4 of variance for being an integer.
    less = dataclasses.replace(event, sigma2=event.sigma2 * Fraction(999, 1000))
    assert account([Repeated(less, rounds)], UNIT, View.AGGREGATOR, asked.delta).upper > epsilon
    # The ring: rounding adds a hundredth of noise at most.
    assert share.l2_squared * share.gamma**2 <= (MOST_INFLATION * clip) ** 2


def test_the_ring_is_the_smallest_that_carries_the_noise_well() -> None:
    chosen = PrivatePlan.calibrated(settings_of(clients=100, rounds=200, participations=200, dimension=10**4))
    smaller = NoisePlan(chosen.share.noise_multiplier, 20, chosen.share.modulus_bits - 1)
    share = noise_coding(chosen.plan, smaller, 10**4).share
    assert share.l2_squared * share.gamma**2 > (MOST_INFLATION * Fraction(1001, 1000)) ** 2


def test_fewer_participations_need_less_noise(tmp_path: Path) -> None:
    all_rounds = PrivatePlan.calibrated(settings_of(rounds=100, participations=100))
    quarter = PrivatePlan.calibrated(settings_of(rounds=100, participations=25))
    ratio = all_rounds.share.noise_multiplier / quarter.share.noise_multiplier
    assert float(ratio) == pytest.approx(2, rel=1e-3)
    assert all_rounds.limit() == all_rounds.settings.budget
    # The ledger charges everybody for every round: its limit is what a client in all of them would spend.
    assert quarter.limit().epsilon > 8
    assert quarter.cost(25).upper <= 4 < quarter.cost(26).upper


def test_removed_excess_leaves_a_full_cohort_the_noise_of_the_smallest(tmp_path: Path) -> None:
    dimension = 3000
    with started(tmp_path, clients=10, dimension=dimension, rounds=2, excess=Excess.REMOVED) as training:
        kept = PrivatePlan.calibrated(dataclasses.replace(training.settings, excess=Excess.KEPT))
        layered, share = training.chosen, training.chosen.share
        assert training.plan.noise is not None
        assert training.plan.noise.excess is Excess.REMOVED
        full, smallest = layered.coding.noise_variance(10), layered.coding.noise_variance(training.plan.min_cohort)
        assert full == smallest < kept.coding.noise_variance(10) * Fraction(7, 10)
        noise = training.round({who: [np.zeros(dimension)] for who in range(10)}).mean[0]
        assert np.std(noise) == pytest.approx(float(share.gamma) * float(full) ** 0.5 / 10, rel=0.1)
        report = training.round({who: [np.zeros(dimension)] for who in range(10)})
        assert report.epsilon is not None
        assert 3.99 < report.epsilon.upper <= 4
        with pytest.raises(BudgetExceeded):
            training.round({who: [np.zeros(dimension)] for who in range(10)})


# --- the rounds


def test_a_training_ends_exactly_after_its_rounds_and_the_ledger_agrees(tmp_path: Path) -> None:
    with started(tmp_path) as training:
        epsilons = []
        for number in range(3):
            assert training.rounds_left == 3 - number
            report = training.round(updates_of())
            assert report.exact
            assert report.epsilon is not None
            epsilons.append(report.epsilon.upper)
            assert training.epsilon().upper == report.epsilon.upper
        assert epsilons == sorted(epsilons)
        assert 3.99 < epsilons[-1] <= 4
        head = training.ledger.head()
        with pytest.raises(BudgetExceeded, match="all 3 rounds that epsilon 4 was divided among are spent"):
            training.round(updates_of())
        assert training.ledger.head() == head
        # Without the wrapper's own count the ledger refuses the fourth round as well.
        with pytest.raises(BudgetExceeded, match="the limit is epsilon 4"):
            secure_mean(updates_of(), training.plan, round=3, ledger=training.ledger)
        assert training.ledger.verify().ok


def test_the_mean_is_the_clipped_mean_plus_noise_of_the_size_described(tmp_path: Path) -> None:
    dimension = 4000
    with started(tmp_path, clients=10, dimension=dimension, rounds=1) as training:
        report = training.round({who: [np.full(dimension, 10.0)] for who in range(10)})
        share = training.chosen.share
        std = float(share.gamma) * float(share.share_variance / 10) ** 0.5
        assert f"standard deviation {std:.4g} in each of 4000 coordinates" in training.describe()
    noise = report.mean[0] - 1 / dimension**0.5
    assert np.std(noise) == pytest.approx(std, rel=0.1)
    assert abs(np.mean(noise)) < 5 * std / dimension**0.5


def test_a_lost_round_that_was_never_opened_costs_nothing_and_one_that_was_costs_all(tmp_path: Path) -> None:
    with started(tmp_path) as training:
        with pytest.raises(TooFewClients):
            training.round(updates_of(), faults=vanish(6, Exchange.SHARES))
        assert (training.rounds_left, training.attendance().next_round) == (3, 1)
        assert training.epsilon().upper == 0
        with pytest.raises(TooFewClients):
            training.round(updates_of(), faults=vanish(6, Exchange.UNMASK))
        assert (training.rounds_left, training.attendance().next_round) == (2, 2)
        for _ in range(2):
            training.round(updates_of())
        with pytest.raises(BudgetExceeded):
            training.round(updates_of())


def test_no_client_is_in_more_rounds_than_it_may(tmp_path: Path) -> None:
    with started(tmp_path, rounds=5, participations=2) as training:
        for clients in (range(6), range(3, 9)):
            training.round(updates_of(clients))
        head = training.ledger.head()
        with pytest.raises(BudgetExceeded, match=r"clients \[3, 4, 5\] have been in 2 rounds.*Invite others"):
            training.round(updates_of(range(6)))
        assert training.ledger.head() == head
        training.round(updates_of([0, 1, 2, 6, 7, 8]))
        assert training.attendance().most() == 2
        assert 3.9 < training.epsilon().upper <= 4
        # The ledger's own figure is for a client in all three rounds.
        assert training.ledger.interval().upper > 4
        with pytest.raises(BudgetExceeded, match="Invite others"):
            training.round(updates_of(range(8, 14)))
        for _ in range(2):
            training.round(updates_of(range(20, 26)))
        with pytest.raises(BudgetExceeded, match="all 5 rounds"):
            training.round(updates_of(range(30, 36)))


# --- the ledger remembers


def test_an_interrupted_training_goes_on_with_its_noise_rounds_and_invitations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path, rounds=4, participations=3) as first:
        first.round(updates_of())
        first.round(updates_of(range(1, 7)))
        before = first.attendance()
    # Nothing is calibrated a second time: a tighter accountant of tomorrow must not change the noise half way.
    monkeypatch.setattr(PrivatePlan, "calibrated", None)
    with started(tmp_path, rounds=4, participations=3) as second:
        assert second.plan == first.plan
        assert second.chosen == first.chosen
        assert second.attendance() == before
        assert (before.charged, before.next_round, before.of(PartyId(0)), before.of(PartyId(3))) == (2, 2, 1, 2)
        second.round(updates_of())
        with pytest.raises(BudgetExceeded, match=r"clients \[1, 2, 3, 4, 5\] have been in 3 rounds"):
            second.round(updates_of())
        assert second.ledger.verify().ok


def test_a_process_that_died_before_it_said_what_for_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PrivatePlan, "to_note", die)
        with pytest.raises(Killed):
            started(tmp_path)
    with started(tmp_path) as training:
        assert training.rounds_left == 3
        training.round(updates_of())
    # After the list of the invited and before the charge: a number is skipped, nothing is spent.
    with monkeypatch.context() as patch:
        patch.setattr(module, "secure_mean", die)
        with started(tmp_path) as training, pytest.raises(Killed):
            training.round(updates_of())
    with started(tmp_path) as training:
        assert (training.rounds_left, training.attendance().next_round) == (2, 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"clients": 7}, "clients 6, not 7"),
        ({"rounds": 4}, "rounds 3, not 4"),
        ({"participations": 2}, "participations 3, not 2"),
        ({"epsilon": 5}, "epsilon 4, not 5"),
        ({"delta": 1e-6}, "delta 1/100000, not 1/1000000"),
        ({"clip": 0.5}, "clip 1, not 1/2"),
        ({"dimension": 6}, "dimension 5, not 6"),
        ({"dropout": 0.1}, "dropout 1/5, not 1/10"),
        ({"corrupt": 0.1}, "corrupt 1/5, not 1/10"),
        ({"excess": Excess.REMOVED}, "excess kept, not removed"),
        ({"task": "other"}, "task private, not other"),
    ],
)
def test_a_ledger_is_not_resumed_for_other_settings(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    started(tmp_path).close()
    with pytest.raises(Misused, match=said):
        started(tmp_path, **changed)
    # The refusal gave the ledger back.
    started(tmp_path).close()


def test_a_ledger_of_something_else_is_refused(tmp_path: Path) -> None:
    budget = Budget(4, Fraction(1, 10**5), Relation.ZERO_OUT)
    chosen = PrivatePlan.calibrated(settings_of())
    with Ledger.open(tmp_path / "run.ledger", budget) as ledger:
        secure_mean(updates_of(), chosen.plan, round=0, ledger=ledger)
    with pytest.raises(Misused, match="belongs to something else"):
        started(tmp_path)
    with Ledger.open(tmp_path / "other", Budget(5, Fraction(1, 10**5), Relation.ZERO_OUT)):
        pass
    with pytest.raises(BadParameters, match="another limit needs another ledger"):
        started(tmp_path, ledger=tmp_path / "other")


def test_rounds_charged_beside_the_training_count_for_everybody_or_stop_it(tmp_path: Path) -> None:
    with started(tmp_path, rounds=4, participations=2) as training:
        training.round(updates_of())
        secure_mean(updates_of(), training.plan, round=9, ledger=training.ledger)
        assert training.attendance().of(PartyId(77)) == 1
        assert (training.rounds_left, training.attendance().next_round) == (2, 10)
        with pytest.raises(BudgetExceeded, match="Invite others"):
            training.round(updates_of())
        training.round(updates_of(range(10, 16)))
        for plan in (
            dataclasses.replace(training.plan, task="guest"),
            dataclasses.replace(training.plan, clip=Fraction(1, 2), noise=NoisePlan(Fraction(99), 1, 20)),
        ):
            secure_mean(updates_of(), plan, round=11, ledger=training.ledger)
            with pytest.raises(Misused, match="charges something else than a round of 'private'"):
                training.round(updates_of(range(20, 26)))


@pytest.mark.parametrize("note", ["3", "{}", "nonsense", '{"noise_multiplier": "x", "modulus_bits": 3}', "null"])
def test_a_note_of_another_form_is_corrupt(note: str) -> None:
    with pytest.raises(Corrupt, match="no private training of this version"):
        PrivatePlan.resumed(settings_of(), OPENING + note)


def test_a_list_that_is_none_is_corrupt_and_foreign_notes_are_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as training:
        for text in ("hello", "task 'other' round 5 invites 1,2", "task 'private2' round 5 invites 1"):
            training.ledger.note(text)
        assert training.attendance().next_round == 0
        training.ledger.note("task 'private' round 5 invites all")
        with pytest.raises(Corrupt, match="invites nobody"):
            training.attendance()


def test_a_long_list_is_written_in_parts_and_read_as_one(tmp_path: Path) -> None:
    with started(tmp_path) as training:
        everybody = tuple(map(PartyId, range(2**32 - 1002, 2**32 - 2)))
        invite(training.ledger, "private", 0, everybody)
        notes = [entry for entry in training.ledger.entries() if "invites" in str(entry.body)]
        assert len(notes) == 8
        secure_mean(updates_of(), training.plan, round=0, ledger=training.ledger)
        found = attendance(training.ledger, "private", training.chosen.event)
        assert (found.unlisted, found.most(), len(found.invitations)) == (0, 1, 1000)


def test_the_note_holds_the_settings_and_the_noise_exactly(tmp_path: Path) -> None:
    chosen = PrivatePlan.calibrated(settings_of(task='{"é"}'))
    assert PrivatePlan.resumed(chosen.settings, chosen.to_note()) == chosen
    kept = json.loads(chosen.to_note().removeprefix(OPENING))
    with pytest.raises(Corrupt, match="does not keep a client within epsilon"):
        PrivatePlan.resumed(chosen.settings, OPENING + json.dumps(kept | {"noise_multiplier": "1/4"}))
    assert Fraction(kept["noise_multiplier"]) == chosen.share.noise_multiplier


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_something_else_in_place_of_the_trainings_file_is_refused(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "run.ledger.training")
    with pytest.raises(StorageRefused, match="remove it"):
        module._held(tmp_path / "run.ledger")


def test_one_ledger_serves_one_training_at_a_time(tmp_path: Path) -> None:
    """Two at once could both find that a client has a round left, and both invite it."""
    with started(tmp_path):
        with pytest.raises(Locked, match="another training goes on with the ledger"):
            started(tmp_path)
        (tmp_path / "link").symlink_to(tmp_path / "run.ledger")
        with pytest.raises(Locked):
            started(tmp_path, ledger=tmp_path / "link")
    with started(tmp_path) as again:
        assert again.rounds_left


# --- every error by name


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"clients": 2}, BadPlan, "fewer than 3"),
        ({"clients": 6.0}, BadPlan, "must be an integer"),
        ({"rounds": 0}, Misused, "rounds is 0"),
        ({"rounds": 2.5}, Misused, "rounds is 2.5"),
        ({"rounds": True}, Misused, "rounds is True"),
        ({"rounds": 10**20}, Misused, "rounds is 1"),
        ({"participations": 4}, Misused, r"participations is 4, it must be an integer in 1\.\.3"),
        ({"participations": 0}, Misused, "participations is 0"),
        ({"dimension": 0}, Misused, "dimension is 0"),
        ({"epsilon": -1}, BadParameters, "epsilon must not be negative"),
        ({"epsilon": float("nan")}, BadParameters, "epsilon must be a finite number"),
        ({"epsilon": 0, "delta": 0}, Infeasible, "allow more epsilon or delta"),
        ({"delta": 1}, BadParameters, "delta must be at least 0 and below 1"),
        ({"delta": 0}, Infeasible, "allow more epsilon or delta"),
        # Table samplers are within 2^-127 of their law: a delta below that cannot be promised.
        ({"delta": 1e-40}, Infeasible, "within 2\\^-127 of its law; allow more epsilon or delta"),
        ({"clip": 0}, BadPlan, "clip is 0"),
        ({"clip": 2e6}, Misused, "clip is 2e\\+06, above 1048576, which clients refuse"),
        ({"dimension": 1 << 28}, Misused, "dimension is 268435456"),
        ({"clip": "many"}, BadParameters, "clip must be a finite number"),
        ({"dropout": 0.5}, BadPlan, "drop-out"),
        ({"corrupt": 0.9}, BadPlan, "corrupt"),
        ({"task": ""}, BadPlan, "task must be a name"),
        ({"ledger": None}, Misused, "ledger is the path of a file"),
        ({"ledger": 3}, Misused, "ledger is the path of a file"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_makes_no_ledger(
    changed: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        started(tmp_path, **changed)
    assert list(tmp_path.iterdir()) == []


def test_noise_that_no_ring_can_carry_is_infeasible() -> None:
    with pytest.raises(Infeasible, match=r"no ring up to 62 bits carries 1000 clients.*allow more epsilon"):
        PrivatePlan.calibrated(
            settings_of(clients=1000, epsilon=Fraction(1, 10**15), delta=Fraction(1, 10**18), dimension=1 << 27)
        )


@pytest.mark.parametrize(
    "updates",
    [None, [], {"a": [np.zeros(5)]}, {-1: [np.zeros(5)]}, {True: [np.zeros(5)]}, {0: [np.zeros(6)]}, {0: "x"}],
)
def test_wrong_updates_leave_no_trace(updates: Any, tmp_path: Path) -> None:
    with started(tmp_path) as training:
        head = training.ledger.head()
        with pytest.raises(WrongUpdate):
            training.round(updates)
        assert training.ledger.head() == head


@pytest.mark.parametrize("clients", [0, 1, 3])
def test_too_few_clients_are_a_round_to_skip_and_leave_no_trace(clients: int, tmp_path: Path) -> None:
    with started(tmp_path) as training:
        assert training.plan.min_cohort == 4
        head = training.ledger.head()
        said = f"^{clients} clients came, at least 4 are needed; nothing was sent and nothing charged: skip this round"
        with pytest.raises(TooFewClients, match=said) as lost:
            training.round(updates_of(clients))
        assert (lost.value.have, lost.value.need) == (clients, 4)
        assert training.ledger.head() == head
        assert (training.rounds_left, training.attendance().next_round) == (3, 0)
        training.round(updates_of(4))


def test_more_clients_than_the_noise_was_made_for_are_refused_and_leave_no_trace(tmp_path: Path) -> None:
    with started(tmp_path) as training:
        head = training.ledger.head()
        with pytest.raises(Misused, match=r"7 clients are more than the 6 .*nothing was sent\. Invite fewer"):
            training.round(updates_of(7))
        assert training.ledger.head() == head
        training.round(updates_of())


def test_where_all_rounds_are_spent_that_is_said_and_not_that_too_few_came(tmp_path: Path) -> None:
    """Else a loop that skips such rounds would never end."""
    with started(tmp_path, rounds=1) as training:
        training.round(updates_of())
        for clients in (0, 2):
            with pytest.raises(BudgetExceeded, match="all 1 rounds"):
                training.round(updates_of(clients))


def test_known_seeds_pay_for_nothing(tmp_path: Path) -> None:
    """A rehearsal's ledger is not taken for a real one."""
    with Ledger.open_insecure(tmp_path / "run.ledger", Budget(4, Fraction(1, 10**5), Relation.ZERO_OUT)):
        pass
    with pytest.raises(BadParameters, match="insecure randomness"):
        started(tmp_path)


def test_it_says_what_it_chose(tmp_path: Path) -> None:
    with started(tmp_path, clients=100, rounds=200, participations=20, dimension=10**4, corrupt=0.1) as training:
        said = training.describe()
    for words in (
        "epsilon 4 at delta 1e-05",
        "zero-out",
        "in at most 20 of 200 rounds",
        "knows every cohort and the noise of 10 colluders",
        "a sum over fewer than 60 is never opened",
        f"noise multiplier {float(training.chosen.share.noise_multiplier):.6g}",
        "updates are clipped to norm 1",
    ):
        assert words in said


def test_continuous_noise_would_not_have_been_enough() -> None:
    """The calibration is on the event that is released: what planning formulas ask for lies just below it."""
    ideal = calibrate_gaussian(settings_of().budget, 1, 3, View.AGGREGATOR).noise
    chosen = PrivatePlan.calibrated(settings_of())
    share = noise_coding(chosen.plan, NoisePlan(ideal, 1, chosen.share.modulus_bits), 5).share
    event = share.event(share.min_survivors)
    assert isinstance(event, GaussianEvent)
    assert chosen.share.noise_multiplier >= ideal
    assert Layout.of([np.zeros(5)]).length == chosen.settings.dimension
    assert issubclass(Infeasible, DpError)
