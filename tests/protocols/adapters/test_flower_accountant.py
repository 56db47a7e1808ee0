"""Flower's accountant interface in front of a ledger: known figures first, then what is reserved when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dp import Budget, BudgetExceeded, Ledger
from dp.errors import BadParameters, RolledBack
from tests.protocols.adapters.federation import flower_names

POPULATION = 50


@pytest.fixture(scope="module")
def flower() -> Iterator[Any]:
    with flower_names() as names:
        yield names


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "run.ledger", Budget(8, "1e-5", "add-or-remove-one")) as ledger:
        yield ledger


def event(flower: Any, noise: float = 2.0, population: int = POPULATION) -> Any:
    return flower.GaussianPrivacyEvent(noise, 10, population)


# dp-accounting 0.6.0, PLD with a grid of 1e-4: GaussianDpEvent(2.0) ten times, under the two relations.
KNOWN = {"add-or-remove-one": 7.511, "replace-one": 17.857}


@pytest.mark.parametrize("relation", KNOWN)
def test_ten_releases_cost_what_is_known(flower: Any, tmp_path: Path, relation: str) -> None:
    with Ledger.open(tmp_path / "run.ledger", Budget(20, "1e-5", relation)) as ledger:
        accountant = flower.FlowerAccountant(ledger, POPULATION)
        accountant.compose(event(flower), count=10)
        assert accountant.get_epsilon(1e-5) == pytest.approx(KNOWN[relation], abs=2e-3)
        assert accountant.get_delta(KNOWN[relation]) == pytest.approx(1e-5, rel=0.02)


def test_the_ledger_and_the_accountant_tell_the_same(flower: Any, opened: Ledger) -> None:
    accountant = flower.FlowerAccountant(opened, POPULATION)
    assert accountant.get_privacy_spent() == flower.PrivacySpent(0.0, 1e-5, 0, "pld")
    accountant.compose(event(flower))
    accountant.compose(event(flower, 3.0), count=2)
    spent = accountant.get_privacy_spent()
    assert (spent.epsilon, spent.num_releases) == (pytest.approx(opened.interval().upper), 3)


def test_the_configuration_is_the_ledgers_budget(flower: Any, opened: Ledger) -> None:
    config = flower.FlowerAccountant(opened, POPULATION).config
    assert (config.max_epsilon, config.target_delta, config.population_size) == (8.0, 1e-5, POPULATION)
    assert config.sampling_method is flower.SamplingMethod.NO_AMPLIFICATION


def test_what_may_be_released_is_reserved_and_then_composed_once(flower: Any, opened: Ledger) -> None:
    accountant = flower.FlowerAccountant(opened, POPULATION)
    assert accountant.would_exceed(event(flower)) is False
    assert accountant.would_exceed(event(flower)) is False
    reserved = accountant.get_epsilon(1e-5)
    assert reserved > 0
    assert accountant.num_releases == 0
    accountant.compose(event(flower))
    assert accountant.get_epsilon(1e-5) == reserved
    assert accountant.num_releases == 1
    assert [entry.kind for entry in opened.entries()][2:] == ["RESERVE", "COMMIT"]


def test_a_crash_between_noise_and_compose_leaves_the_charge(flower: Any, tmp_path: Path) -> None:
    path, budget = tmp_path / "run.ledger", Budget(8, "1e-5", "add-or-remove-one")
    with Ledger.open(path, budget) as ledger:
        accountant = flower.FlowerAccountant(ledger, POPULATION)
        accountant.would_exceed(event(flower))
        spent = accountant.get_epsilon(1e-5)
    with Ledger.open(path, budget) as ledger:
        again = flower.FlowerAccountant(ledger, POPULATION)
        assert (again.get_epsilon(1e-5), again.num_releases) == (spent, 0)
        again.compose(event(flower))
        assert again.get_epsilon(1e-5) > spent


def test_another_release_than_the_reserved_one_gives_that_back(flower: Any, opened: Ledger) -> None:
    accountant = flower.FlowerAccountant(opened, POPULATION)
    accountant.would_exceed(event(flower, 1.5))
    accountant.compose(event(flower, 6.0))
    alone = flower.FlowerAccountant(opened, POPULATION).get_epsilon(1e-5)
    assert alone < 1
    assert [entry.kind for entry in opened.entries()][2:] == ["RESERVE", "ABORT", "RESERVE", "COMMIT"]


def test_the_budget_is_kept(flower: Any, opened: Ledger) -> None:
    accountant = flower.FlowerAccountant(opened, POPULATION)
    composed = 0
    while not accountant.would_exceed(event(flower)):
        accountant.compose(event(flower))
        composed += 1
    assert composed == accountant.num_releases == 11
    with pytest.raises(BudgetExceeded):
        accountant.compose(event(flower))
    assert opened.interval().upper <= 8


def test_a_lower_limit_of_the_callers_is_kept_and_reserves_nothing(flower: Any, opened: Ledger) -> None:
    accountant = flower.FlowerAccountant(opened, POPULATION)
    assert accountant.would_exceed(event(flower), max_epsilon=0.5) is True
    assert accountant.get_epsilon(1e-5) == 0.0


def test_a_state_is_json_and_is_held_against_the_ledger(flower: Any, opened: Ledger, tmp_path: Path) -> None:
    accountant = flower.FlowerAccountant(opened, POPULATION)
    accountant.compose(event(flower))
    state = json.loads(json.dumps(accountant.state_dict()))
    accountant.compose(event(flower))
    flower.FlowerAccountant(opened, POPULATION).load_state_dict(state)
    with Ledger.open(tmp_path / "older.ledger", Budget(8, "1e-5", "add-or-remove-one")) as older:
        before = flower.FlowerAccountant(older, POPULATION)
        with pytest.raises(RolledBack, match="the ledger has no entry 3"):
            before.load_state_dict(state)
    with pytest.raises(BadParameters, match="not the state of an accountant with a ledger"):
        accountant.load_state_dict({"schema_version": 1, "backend": "rdp"})


def test_what_flower_does_not_know_is_refused(flower: Any, opened: Ledger, tmp_path: Path) -> None:
    zero = Ledger.open(tmp_path / "zero.ledger", Budget(8, "1e-5", "zero-out"))
    with zero, pytest.raises(BadParameters, match="not the ledger's zero-out"):
        flower.FlowerAccountant(zero, POPULATION)
    with pytest.raises(BadParameters, match="the event is of 49 clients, the accountant of 50"):
        flower.FlowerAccountant(opened, POPULATION).compose(event(flower, population=49))
