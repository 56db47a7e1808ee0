"""One method of each site, bytes in and out: exact means, every way not to answer, and what a reply may say."""

from __future__ import annotations

import stat
import threading
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import Budget, BudgetExceeded, Ledger
from protocols import Metric
from protocols.adapters.steps import ANSWER, NUMBERS, REFUSAL, Reply, Rounds, Trained
from protocols.bundle import EMPTY, pack
from protocols.errors import BadPlan, Misused, TooFewClients, WrongUpdate
from protocols.party import PartyId
from tests.protocols.adapters.step_kit import SECRET, World, assert_moved, change_of, model_of, plan_of, train

PROTOCOLS = ("oneshot", "pairwise", "ckks")
SITES = [f"site-{number}" for number in range(5)]


def failing(model: Any, site: str) -> Trained:
    raise ValueError(SECRET)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_model_moves_by_the_mean_and_a_round_is_two_exchanges(protocol: str, tmp_path: Path) -> None:
    plan = plan_of(protocol)
    world, model = World.made(tmp_path, plan), model_of()
    for number in range(2):
        found, finished = world.rounds.round(model)
        assert_moved(found, model, SITES, plan)
        assert (finished.survivors, world.rounds.refusals) == (tuple(range(5)), {})
        model = found
        if number == 1:
            assert finished.exchanges == (5 if protocol == "pairwise" else 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_site_whose_training_fails_drops_out_and_only_its_own_people_read_why(protocol: str, tmp_path: Path) -> None:
    plan = plan_of(protocol)
    world, model = World.made(tmp_path, plan, {"site-1": failing}), model_of()
    found, finished = world.rounds.round(model)
    assert_moved(found, model, [site for site in SITES if site != "site-1"], plan)
    assert (finished.dropped, world.rounds.refusals) == ((1,), {"site-1": "TrainingFailed"})
    assert not any(SECRET.encode() in reply or b"ValueError" in reply for reply in world.seen)
    note = tmp_path / "site-1" / "refusal.txt"
    assert SECRET in note.read_text()
    assert stat.S_IMODE(note.stat().st_mode) == 0o600


def test_a_log_says_no_more_than_the_reply(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    World.made(tmp_path, plan_of(), {"site-1": failing}).rounds.round(model_of())
    assert "TrainingFailed" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "reply", [None, b"", b"nonsense", 7, ANSWER + b"\x00\x00\x00\x09", REFUSAL + b"no name!", b"\x09"]
)
def test_a_site_that_is_silent_or_talks_nonsense_drops_out(protocol: str, reply: Any, tmp_path: Path) -> None:
    plan = plan_of(protocol)
    world, model = World.made(tmp_path, plan), model_of()
    model, _ = world.rounds.round(model)
    # Its updates only: who opens sums there is another party, and it goes on.
    world.loses = lambda site, said: reply if site == "site-4" else said
    found, finished = world.rounds.round(model)
    assert 4 not in finished.survivors
    assert_moved(found, model, SITES[:4], plan)
    assert world.rounds.refusals == ({} if reply is None else {"site-4": "Malformed"})


def test_too_few_sites_lose_the_round_and_the_next_one_works(tmp_path: Path) -> None:
    plan = plan_of()
    world, model = World.made(tmp_path, plan), model_of()
    world.loses = lambda site, said: None if site in SITES[:3] else said
    with pytest.raises(TooFewClients):
        world.rounds.round(model)
    world.loses = lambda site, said: said
    found, _ = world.rounds.round(model)
    assert_moved(found, model, SITES, plan)


def test_a_site_that_was_silent_at_first_is_met_later(tmp_path: Path) -> None:
    plan = plan_of("pairwise")
    world, model = World.made(tmp_path, plan), model_of()
    world.bends = lambda site, said: None if site == "site-0" else said
    found, finished = world.rounds.round(model)
    assert finished.survivors == (1, 2, 3, 4)
    world.bends = lambda site, said: said
    _, finished = world.rounds.round(found)
    assert finished.survivors == (0, 1, 2, 3, 4)


def test_nobody_is_asked_to_train_where_too_few_say_who_they_are(tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of())
    world.bends = lambda site, said: None if site in SITES[:3] else said
    with pytest.raises(TooFewClients, match="Meeting"):
        world.rounds.round(model_of())
    assert all(reply[:1] == NUMBERS for reply in world.seen)


def test_two_sites_that_claim_one_number_are_named(tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of())
    world.bends = lambda site, said: NUMBERS + bytes(4)
    with pytest.raises(BadPlan, match="site-0 and site-1"):
        world.rounds.round(model_of())


def test_weights_and_metrics_are_summed_and_never_said(tmp_path: Path) -> None:
    plan = plan_of(max_weight=1000, metrics=(Metric("loss", Fraction(8)),))
    weights = {site: 100 * number + 7 for number, site in enumerate(SITES)}

    def weighted(model: Any, site: str) -> Trained:
        return Trained(train(model, site).model, weights[site], {"loss": weights[site] / 500})

    world, model = World.made(tmp_path, plan, dict.fromkeys(SITES, weighted)), model_of()
    found, finished = world.rounds.round(model)
    assert_moved(found, model, SITES, plan, weights=weights)
    assert finished.weight == sum(weights.values())
    expected = np.average([w / 500 for w in weights.values()], weights=list(weights.values()))
    assert abs(finished.metrics["loss"] - expected) < 1e-5


def test_no_reply_holds_an_update_in_the_clear(tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of())
    world.rounds.round(model_of())
    said = b"".join(world.seen)
    for site in SITES:
        change = change_of(site)
        trained = {name: array + change[name] for name, array in model_of().items()}
        for array in (*change.values(), *trained.values()):
            assert array.tobytes() not in said
            assert array.astype(np.float64).tobytes() not in said


def test_a_training_in_place_counts_all_the_same(tmp_path: Path) -> None:
    def in_place(model: Any, site: str) -> Trained:
        for name, change in change_of(site).items():
            model[name] += change
        return Trained(model)

    plan, start = plan_of(), model_of()
    world = World.made(tmp_path, plan, dict.fromkeys(SITES, in_place))
    world.call, kept = world.call, world.call
    world.rounds._call = lambda requests, model, seconds: {
        site: reply
        for name, letters in requests.items()
        for site, reply in kept(
            {name: letters}, None if model is None else {k: v.copy() for k, v in model.items()}, seconds
        ).items()
    }
    found, _ = world.rounds.round(start)
    assert_moved(found, start, SITES, plan)


@pytest.mark.parametrize(
    ("made", "refusal"),
    [
        (lambda model: model, "WrongUpdate"),
        (lambda model: Trained({"weights": model["weights"]}), "WrongUpdate"),
        (lambda model: Trained({**model, "bias": model["bias"][:1]}), "WrongUpdate"),
        (lambda model: Trained({**model, "bias": model["bias"].astype(np.float64)}), "WrongUpdate"),
        (lambda model: Trained({**model, "bias": model["bias"] * np.nan}), "NonFinite"),
        (lambda model: Trained(dict(model), weight=2), "BadParameters"),
        (lambda model: Trained(dict(model), metrics={"loss": 1.0}), "WrongUpdate"),
    ],
    ids=[
        "no Trained",
        "an array missing",
        "broadcastable",
        "another dtype",
        "nan",
        "weight",
        "a metric nobody asked for",
    ],
)
def test_a_training_that_does_not_fit_is_refused_by_name(made: Any, refusal: str, tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of(), {"site-2": lambda model, site: made(model)})
    _, finished = world.rounds.round(model_of())
    assert finished.dropped == (2,)
    assert world.rounds.refusals == {"site-2": refusal}


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (lambda model: {**model, "bias": model["bias"] + 1}, "ViewMismatch"),
        (lambda model: {**model, "bias": model["bias"] * np.inf}, "NonFinite"),
        (lambda model: {**model, "more": model["bias"]}, "ViewMismatch"),
        (lambda model: {**model, "counter": np.array(3)}, "ViewMismatch"),
        (lambda model: b"model", "WrongUpdate"),
    ],
    ids=["another", "infinite", "larger", "with a counter", "bytes"],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
def test_a_model_that_the_server_did_not_sign_is_not_trained_from(sent: Any, refusal: str, tmp_path: Path) -> None:
    trained: list[str] = []

    def watched(model: Any, site: str) -> Trained:
        trained.append(site)
        return train(model, site)

    world = World.made(tmp_path, plan_of(), dict.fromkeys(SITES, watched))
    plain = world.rounds._call
    world.rounds._call = lambda requests, model, seconds: {
        site: reply
        for name, letters in requests.items()
        for site, reply in plain(
            {name: letters}, sent(model) if name == "site-3" and model is not None else model, seconds
        ).items()
    }
    _, finished = world.rounds.round(model_of())
    assert finished.dropped == (3,)
    assert world.rounds.refusals == {"site-3": refusal}
    assert "site-3" not in trained


def test_a_plan_below_the_policy_is_refused_by_every_site(tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of(), min_noise_multiplier=Fraction(1, 2))
    with pytest.raises(TooFewClients):
        world.rounds.round(model_of())
    assert world.rounds.refusals == dict.fromkeys(SITES, "PolicyViolation")


def test_who_opens_sums_answers_while_a_slow_training_runs_and_that_training_is_then_too_late(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(model: Any, site: str) -> Trained:
        started.set()
        assert go_on.wait(60)
        return train(model, site)

    plan = plan_of()
    world, model, late = World.made(tmp_path, plan, {"site-0": slow}), model_of(), list[bytes]()
    plain, running = world.rounds._call, list[threading.Thread]()

    def timed_out(requests: Mapping[str, bytes], model: Any, seconds: float) -> Mapping[str, object]:
        if model is None:
            return plain(requests, model, seconds)
        if not running:
            asked = requests["site-0"]
            running.append(threading.Thread(target=lambda: late.append(world.nodes["site-0"].step(asked, model))))
            running[0].start()
            assert started.wait(60)
            return plain({site: letters for site, letters in requests.items() if site != "site-0"}, model, seconds)
        return plain(requests, model, seconds)

    world.rounds._call = timed_out
    found, finished = world.rounds.round(model)
    assert finished.dropped == (0,)
    assert_moved(found, model, SITES[1:], plan)
    # The next round begins while the first training still runs: it is not started twice.
    _, finished = world.rounds.round(found)
    assert (finished.dropped, world.rounds.refusals) == ((0,), {"site-0": "Late"})
    go_on.set()
    running[0].join(60)
    assert late == [REFUSAL + b"Late"]
    _, finished = world.rounds.round(found)
    assert finished.dropped == ()


def test_an_interrupt_is_not_kept(tmp_path: Path) -> None:
    def interrupted(model: Any, site: str) -> Trained:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        World.made(tmp_path, plan_of(), {"site-0": interrupted}).rounds.round(model_of())


def test_a_ledger_is_charged_and_a_spent_one_asks_nobody(tmp_path: Path) -> None:
    plan = plan_of(noise_multiplier=4.0, modulus_bits=32, task="noisy")
    with Ledger.open(tmp_path / "run.ledger", Budget(epsilon=4, delta="1e-5", relation="zero-out")) as ledger:
        world = World.made(tmp_path / "homes", plan, ledger=ledger)
        _, finished = world.rounds.round(model_of())
        assert finished.epsilon is not None
        assert 0 < finished.epsilon.upper <= 4
        spent = len(world.seen)
        with pytest.raises(BudgetExceeded):
            _play(world, 20)
        # Every round that was begun has as many replies; the one that was refused has none.
        assert (len(world.seen) - spent) % 10 == 0


def _play(world: World, rounds: int) -> None:
    for _ in range(rounds):
        world.rounds.round(model_of())


def test_a_round_that_could_not_be_carried_is_given_back(tmp_path: Path) -> None:
    plan = plan_of(noise_multiplier=4.0, modulus_bits=32, task="noisy")
    with Ledger.open(tmp_path / "run.ledger", Budget(epsilon=4, delta="1e-5", relation="zero-out")) as ledger:
        world = World.made(tmp_path / "homes", plan, ledger=ledger)
        plain = world.rounds._call

        def broken(requests: Mapping[str, bytes], model: Any, seconds: float) -> Mapping[str, object]:
            if model is not None:
                raise ConnectionError
            return plain(requests, model, seconds)

        world.rounds._call = broken
        with pytest.raises(ConnectionError):
            world.rounds.round(model_of())
        assert ledger.interval().upper == 0


def test_time_to_train_is_asked_for(tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of())
    with pytest.raises(Misused, match="train_seconds"):
        Rounds(world.rounds.exchanges, world.call, SITES, 0)


@given(data=st.binary(max_size=64))
def test_any_bytes_are_a_reply_or_malformed(data: bytes) -> None:
    reply = Reply.read(data)
    assert (reply.refusal is None) == bool(reply.numbers or data[:1] == ANSWER)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (ANSWER + EMPTY, Reply()),
        (NUMBERS + b"\x00\x00\x00\x07\x00\x00\x00\x09", Reply(numbers=(PartyId(7), PartyId(9)))),
        (REFUSAL + b"Late", Reply(refusal="Late")),
        (REFUSAL + b"A" * 41, Reply(refusal="Malformed")),
        (NUMBERS, Reply(refusal="Malformed")),
        (NUMBERS + bytes(3), Reply(refusal="Malformed")),
        (NUMBERS + bytes(4 * 17), Reply(refusal="Malformed")),
        (ANSWER + pack([b"no frame"]), Reply(refusal="Malformed")),
        (ANSWER + EMPTY + b"\x00", Reply(refusal="Malformed")),
    ],
)
def test_a_reply_reads_as(data: bytes, expected: Reply) -> None:
    assert Reply.read(data) == expected


def test_a_model_without_floats_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    world = World.made(tmp_path, plan_of())
    with pytest.raises(WrongUpdate):
        world.rounds.round({"counter": np.zeros(3, np.int64)})
