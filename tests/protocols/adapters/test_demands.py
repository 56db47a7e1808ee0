"""Demands as JSON: each reads as it is meant, a site's own file decides, and nothing unknown passes for a demand."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from protocols import Promise
from protocols.adapters.demands import READ, demands_from, policy_at
from protocols.errors import BadPlan, Misused
from protocols.home import Home, make_homes

GIVEN: dict[str, tuple[Any, Any]] = {
    "min_cohort": (5, 5),
    "min_threshold": (4, 4),
    "min_opening_threshold": (3, 3),
    "max_weight": (100, 100),
    "max_length": (1000, 1000),
    "max_rounds": (30, 30),
    "max_model_norm": ("12.5", 12.5),
    "min_clip": ("1/10", Fraction(1, 10)),
    "max_clip": (2, Fraction(2)),
    "min_noise_multiplier": ("0.5", Fraction(1, 2)),
    "protocols": (["oneshot", "ckks"], frozenset({"oneshot", "ckks"})),
    "tasks": (["run-1"], frozenset({"run-1"})),
    "promise": ("curious", Promise.CURIOUS),
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    make_homes(tmp_path / "homes", 3)
    return Home.at(tmp_path / "homes" / "site-0")


def test_every_demand_reads_as_it_is_meant(home: Home) -> None:
    assert GIVEN.keys() == READ.keys()
    policy = policy_at(home, {name: given for name, (given, _) in GIVEN.items()})
    assert {name: getattr(policy, name) for name in GIVEN} == {name: meant for name, (_, meant) in GIVEN.items()}
    assert policy.identities == home.roster.clients
    assert policy.holders == frozenset(home.roster.openers.values())


@pytest.mark.parametrize(
    "found",
    [
        {"min_cohort": "5"},
        {"min_cohort": True},
        {"min_clip": 0.1},
        {"min_clip": "1/0"},
        {"min_noise_multiplier": "much"},
        {"protocols": "oneshot"},
        {"protocols": [1]},
        {"promise": "honest"},
        {"min_cohorts": 5},
        {1: 5},
        [],
        None,
    ],
    ids=str,
)
def test_what_is_no_demand_is_refused(found: Any) -> None:
    with pytest.raises(Misused):
        demands_from(found)


def test_a_policy_that_hides_nobody_is_refused(home: Home) -> None:
    with pytest.raises(BadPlan):
        policy_at(home, {"min_cohort": 2})


def test_the_file_of_a_site_decides_and_the_job_does_not(home: Home) -> None:
    (home.path / "policy.json").write_text(json.dumps({"min_cohort": 50, "protocols": ["oneshot"]}))
    policy = policy_at(home, {"min_cohort": 3, "protocols": ["pairwise"]})
    assert (policy.min_cohort, policy.protocols) == (50, frozenset({"oneshot"}))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"min_cohort": 2.5}', '{"more": 1}', "\udcff"], ids=repr)
def test_a_file_that_cannot_be_read_takes_part_in_nothing(home: Home, text: str) -> None:
    (home.path / "policy.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Misused):
        policy_at(home, {"min_cohort": 3})
