"""Rounds over a framework that carries one answer to each question: exact means, and every way of not answering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp import Budget, BudgetExceeded, Ledger
from dp.ledger import Standing
from protocols.errors import BadPlan, Misused, TooFewClients, TooFewMembers
from protocols.exchanges import Exchanges
from protocols.home import Home, make_homes
from protocols.party import PartyId
from protocols.plan import RoundPlan
from secagg import Identity
from secagg.graph import GraphMode
from tests.protocols.exchange_kit import LENGTH, Framework, update_of

PROTOCOLS = ("pairwise", "oneshot", "ckks")
# Half a step of 16 bits at clip 1, of which a sum has one for each client.
STEP = 2.0 / (2**16 - 1)


def plan_of(protocol: str, clients: int = 8, **changes: Any) -> RoundPlan:
    assert protocol in PROTOCOLS
    return RoundPlan.recommend(
        clients, dropout=0.25, corrupt=0, clip=1.0, protocol=protocol, task="exchanged", min_cohort=3, **changes
    )


def mean_of(clients: Any) -> Any:
    return np.mean([update_of(PartyId(who)) for who in clients], axis=0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rounds_give_the_mean_and_need_two_exchanges_once_they_are_under_way(protocol: str, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    first, second = framework.round(update_of), framework.round(update_of)
    for finished in (first, second):
        assert finished.survivors == tuple(range(8))
        assert (finished.dropped, finished.excluded, finished.epsilon) == ((), {}, None)
        assert np.abs(finished.mean - mean_of(range(8))).max() <= STEP
        assert finished.weight == 8
    ceremony = {"pairwise": 0, "oneshot": 1, "ckks": 5}[protocol]
    usual = {"pairwise": 5, "oneshot": 2, "ckks": 2}[protocol]
    assert second.exchanges == usual
    assert first.exchanges - second.exchanges == ceremony
    assert framework.refusals == {}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("gone", [1, 2])
def test_whoever_does_not_train_drops_out(protocol: str, gone: int, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    framework.round(update_of)
    framework.lost = {PartyId(who): (3 if protocol == "pairwise" else 1) for who in range(gone)}
    # Those who open sums live on, so that only the clients are lost.
    finished = framework.round(update_of)
    assert finished.survivors == tuple(range(gone, 8))
    assert finished.dropped == tuple(range(gone))
    assert np.abs(finished.mean - mean_of(range(gone, 8))).max() <= STEP


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_weights_count(protocol: str, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol, max_weight=100), 8)
    weights = {who: 10 * who + 1 for who in framework.clients}
    finished = framework.round(update_of, weights)
    expected = np.average([update_of(who) for who in framework.clients], axis=0, weights=list(weights.values()))
    assert finished.weight == sum(weights.values())
    assert np.abs(finished.mean - expected).max() <= STEP


# --- who does not answer, or answers what is none


def test_a_committee_that_nobody_answers_for_costs_no_budget(tmp_path: Path) -> None:
    plan = plan_of("oneshot", noise_multiplier=1.0)
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan, 8, ledger)
        framework.lost = dict.fromkeys(framework.exchanges.roster.openers, 0)
        with pytest.raises(TooFewMembers):
            framework.round(update_of)
        assert ledger.interval().upper == 0
        framework.lost = {}
        assert framework.round(update_of).survivors == tuple(range(8))


@pytest.mark.parametrize("bend", [b"", b"\xff" * 4, b"\xff" * 100, bytes(4), b"\0\0\0\1\0\0\0\2ab"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_that_is_no_bundle_or_no_frame_costs_its_party_only(
    protocol: str, bend: bytes, tmp_path: Path
) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    framework.round(update_of)
    liar = PartyId(3)
    framework.bends = lambda who, answer: bend if who == liar else answer
    finished = framework.round(update_of)
    assert finished.survivors == (0, 1, 2, 4, 5, 6, 7)
    assert np.abs(finished.mean - mean_of((0, 1, 2, 4, 5, 6, 7))).max() <= STEP
    assert finished.excluded == ({} if bend == bytes(4) else {liar: "Malformed"})


def test_an_answer_in_anothers_name_is_noted_against_who_gave_it(tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of("oneshot"), 8)
    framework.round(update_of)
    heard: dict[PartyId, bytes] = {}

    def swap(who: PartyId, answer: bytes) -> bytes:
        heard[who] = answer
        return heard[PartyId(0)] if who == 1 else answer

    framework.bends = swap
    finished = framework.round(update_of)
    assert finished.survivors == (0, 2, 3, 4, 5, 6, 7)
    assert finished.excluded == {PartyId(1): "BadSignature"}


def test_a_party_that_is_told_again_keeps_no_room_open(tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of("pairwise"), 8)
    framework.lost = {PartyId(2): 1}
    twice = {PartyId(5)}

    def bend(who: PartyId, answer: bytes) -> bytes:
        return answer[:3] + bytes([2]) + answer[4:] + answer[4:] if who in twice and answer[3] == 1 else answer

    framework.bends = bend
    finished = framework.round(update_of)
    assert finished.survivors == (0, 1, 3, 4, 5, 6, 7)
    assert finished.exchanges == 5


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_too_few_trained_clients_lose_the_round_and_the_next_one_goes_on(protocol: str, tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of(protocol), 8)
    framework.round(update_of)
    framework.lost = {PartyId(who): (3 if protocol == "pairwise" else 1) for who in range(6)}
    with pytest.raises(TooFewClients):
        framework.round(update_of)
    framework.lost = {}
    assert framework.round(update_of).survivors == tuple(range(8))


def test_a_site_that_is_restarted_goes_on_in_the_same_round(tmp_path: Path) -> None:
    plan = plan_of("oneshot")
    framework = Framework.made(tmp_path, plan, 8)
    framework.round(update_of)
    policy = framework.exchanges.roster.policy(min_cohort=3, protocols=frozenset({"oneshot"}))
    letters = framework.exchanges.begin(LENGTH, bytes(32), bytes(32), framework.clients, framework.ask)
    answers = {}
    for who, bundle in letters.items():
        framework.sites[who].hear(bundle)
        framework.sites[who].close()
        again = Home.at(tmp_path / f"site-{who}").site(policy)
        framework.sites = {**framework.sites, **dict.fromkeys(again.numbers, again)}
        answers[who] = again.submit(update_of(who))
    assert framework.exchanges.finish(answers, framework.ask).survivors == tuple(range(8))


# --- the ledger


def ledger_in(folder: Path, epsilon: float = 50.0) -> Ledger:
    return Ledger.open(folder / "run.ledger", Budget(epsilon=epsilon, delta=1e-5, relation="zero-out"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_round_is_charged_before_it_opens_and_committed_before_its_mean(protocol: str, tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of(protocol, noise_multiplier=1.0), 8, ledger)
        first, second = framework.round(update_of), framework.round(update_of)
        assert second.epsilon == ledger.interval()
        assert first.epsilon.upper < second.epsilon.upper
        assert second.epsilon_released.upper <= second.epsilon.upper
        kinds = [entry.kind for entry in ledger.entries()]
        assert kinds[-4:] == ["RESERVE", "COMMIT"] * 2


def test_a_spent_budget_stops_before_anybody_is_asked(tmp_path: Path) -> None:
    with ledger_in(tmp_path, epsilon=0.1) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of("pairwise", noise_multiplier=1.0), 8, ledger)
        with pytest.raises(BudgetExceeded):
            framework.round(update_of)
        assert framework.exchanges.exchanges == 0


def test_a_round_lost_before_it_is_opened_is_given_back_and_one_lost_after_it_is_not(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of("oneshot", noise_multiplier=1.0), 8, ledger)
        framework.lost = {PartyId(who): 2 for who in range(6)}
        with pytest.raises(TooFewClients):
            framework.round(update_of)
        assert ledger.interval().upper == 0
        framework.lost = dict.fromkeys(framework.exchanges.roster.openers, 2)
        with pytest.raises(TooFewMembers):
            framework.round(update_of)
        assert ledger.interval().upper > 0


def test_a_round_that_is_given_up_is_given_back(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of("oneshot", noise_multiplier=1.0), 8, ledger)
        framework.exchanges.begin(LENGTH, bytes(32), bytes(32), framework.clients, framework.ask)
        assert ledger.interval().upper > 0
        framework.exchanges.lose()
        assert ledger.interval().upper == 0
        assert framework.round(update_of).survivors == tuple(range(8))


# --- used wrongly


def test_answers_to_a_round_that_was_given_back_make_no_mean(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of("pairwise", noise_multiplier=1.0), 8, ledger)
        exchanges = framework.exchanges
        letters = exchanges.begin(LENGTH, bytes(32), bytes(32), framework.clients, framework.ask)
        answers = {}
        for who, bundle in letters.items():
            framework.sites[who].hear(bundle)
            answers[who] = framework.sites[who].submit(update_of(who))
        exchanges.lose()
        with pytest.raises(Misused, match="begin one"):
            exchanges.finish(answers, framework.ask)
        assert ledger.interval().upper == 0


def test_a_round_that_is_begun_gives_up_the_one_before(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of("pairwise", noise_multiplier=1.0), 8, ledger)
        framework.exchanges.begin(LENGTH, bytes(32), bytes(32), framework.clients, framework.ask)
        framework.round(update_of)
        assert [standing for _, standing in ledger.charges()] == [Standing.ABORTED, Standing.COMMITTED]


def test_a_round_that_is_over_cannot_be_given_up(tmp_path: Path) -> None:
    with ledger_in(tmp_path) as ledger:
        framework = Framework.made(tmp_path / "homes", plan_of("pairwise", noise_multiplier=1.0), 8, ledger)
        framework.round(update_of)
        framework.exchanges.lose()
        assert [standing for _, standing in ledger.charges()] == [Standing.COMMITTED]


def test_a_server_of_another_roster_is_refused(tmp_path: Path) -> None:
    roster = make_homes(tmp_path, 8)
    with pytest.raises(Misused, match="not the server's"):
        Exchanges(plan_of("oneshot"), roster, Identity.fresh())


def test_answers_without_a_round_are_refused(tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of("oneshot"), 8)
    with pytest.raises(Misused, match="begin one"):
        framework.exchanges.finish({}, framework.ask)


def test_a_letter_to_an_opener_where_none_lives_is_refused(tmp_path: Path) -> None:
    framework = Framework.made(tmp_path, plan_of("oneshot"), 8, openers=6)
    heard: list[bytes] = []

    def ask(letters: Any, seconds: float) -> Any:
        heard.extend(letters.values())
        return framework.ask(letters, seconds)

    framework.exchanges.begin(LENGTH, bytes(32), bytes(32), framework.clients, ask)
    with pytest.raises(Misused, match="none lives on this site"):
        framework.sites[PartyId(7)].hear(heard[0])


def test_a_plan_that_waits_for_a_beacon_is_refused(tmp_path: Path) -> None:
    roster, home = make_homes(tmp_path, 8, "pairwise"), Home.at(tmp_path / "server")
    with pytest.raises(BadPlan, match="beacon"):
        Exchanges(plan_of("pairwise", graph=GraphMode.BEACON), roster, home.identity)
