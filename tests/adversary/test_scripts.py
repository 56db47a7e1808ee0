"""Every script of the adversary kit fails against this library, and succeeds against a weak one and its own twin."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.adversary import inputs, ours, passive
from protocols.adversary.ours import Ours
from protocols.adversary.scripts import SCRIPTS, verdicts
from protocols.adversary.targets import (
    AnswersServer,
    Case,
    KeepsState,
    MakesMasks,
    RunsRounds,
    Surroundable,
    Surroundings,
)
from protocols.adversary.verdict import Inexpressible, Outcome, Refused, Script, Verdict
from protocols.pairwise import client as pairwise_client
from protocols.party import PartyId
from protocols.plan import Promise, proposal
from secagg import parameters
from secagg.keys import Seed
from secagg.masks import Correction, unmask_into
from tests.adversary.toy import LENGTH, Toy

WITHSTOOD = [
    pytest.param(
        "seed_entropy", Outcome.FAILED, "^256 of 256 key bits vary and change the mask", id="K5-K7-seed_entropy"
    ),
    pytest.param("top_value", Outcome.FAILED, "each value", id="K7-top_value"),
    pytest.param("clear_metadata", Outcome.FAILED, "nowhere in the", id="clear_metadata"),
    pytest.param("leftover_secrets", Outcome.FAILED, "0 of 7 secrets", id="K1-K2-leftover_secrets"),
    pytest.param("asks_both_shares", Outcome.INEXPRESSIBLE, "one bit per client", id="M1-asks_both_shares"),
    pytest.param("split_view", Outcome.REFUSED, "10 refuse with ViewMismatch", id="M2-split_view"),
    pytest.param(
        "cohort_of_one",
        Outcome.REFUSED,
        "CohortTooSmall; .*BadSignature; .*PolicyViolation",
        id="M6-M7-M11-cohort_of_one",
    ),
    pytest.param("early_dropout", Outcome.FAILED, "0 of 20 rounds", id="D1-D3-D5-D7-early_dropout"),
    pytest.param("even_degree", Outcome.FAILED, "3 to 10 shares per secret all end in", id="D24-even_degree"),
    pytest.param("nan_input", Outcome.FAILED, "^NonFinite; .* is right", id="C4-nan_input"),
    pytest.param("huge_weight", Outcome.REFUSED, "10 clients refuse with BadParameters", id="C6-C7-huge_weight"),
    pytest.param("tiny_weight", Outcome.FAILED, "at weight 1,000", id="C6-tiny_weight"),
    pytest.param("zero_weight", Outcome.REFUSED, "10 clients refuse with BadParameters", id="C6-D25-zero_weight"),
    pytest.param(
        "wrong_shape", Outcome.FAILED, "ShapeMismatch; .* is right .*ShapeMismatch; .* is right", id="C2-wrong_shape"
    ),
]


@pytest.mark.parametrize(("name", "outcome", "evidence"), WITHSTOOD)
def test_this_library_withstands(name: str, outcome: Outcome, evidence: str) -> None:
    verdict = SCRIPTS[name].against(Ours())
    assert not verdict.succeeded
    assert verdict.outcome is outcome
    assert re.search(evidence, verdict.evidence), verdict.evidence


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_weak_library_falls_to(name: str) -> None:
    verdict = SCRIPTS[name].against(Toy())
    assert verdict.succeeded, verdict.evidence


def test_the_weak_library_works_where_nobody_attacks() -> None:
    vectors, weights = inputs.vectors_of(10), inputs.alike(10, 500)
    for target in (Toy(), Ours()):
        ended = target.run(Case(vectors, weights))
        assert inputs.mean_error(ended, vectors, weights) < inputs.TOLERANCE
        assert ended.counted == frozenset(range(10))


def test_every_script_is_tried_under_the_rows_it_stands_for() -> None:
    tried = {case.values[0]: str(case.id).removesuffix(str(case.values[0])).rstrip("-") for case in WITHSTOOD}
    assert tried == {name: "-".join(script.rows) for name, script in SCRIPTS.items()}


# --- twins: with the check gone, the same script succeeds against this library --------------------------


def test_without_witnesses_and_with_a_low_threshold_a_split_view_opens_a_vector(monkeypatch: Any) -> None:
    def low(n: int, assumption: parameters.Assumption, complete: Any = parameters._complete) -> parameters.Parameters:
        return replace(complete(n, assumption), threshold=4)

    monkeypatch.setattr(parameters, "_complete", low)
    monkeypatch.setattr(pairwise_client, "check_witnesses", lambda state, message: None)
    proposal._parameters.cache_clear()
    try:
        verdict = SCRIPTS["split_view"].against(Ours())
    finally:
        proposal._parameters.cache_clear()
    assert verdict.succeeded, verdict.evidence


def test_without_witnesses_the_threshold_alone_still_keeps_a_vector(monkeypatch: Any) -> None:
    monkeypatch.setattr(pairwise_client, "check_witnesses", lambda state, message: None)
    verdict = SCRIPTS["split_view"].against(Ours())
    assert verdict.outcome is Outcome.FAILED
    assert "4 clients remain, 5 are needed" in verdict.evidence


def test_without_checks_of_signatures_made_up_neighbours_open_a_vector(monkeypatch: Any) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    monkeypatch.setattr(pairwise_client, "check_witnesses", lambda state, message: None)
    opened, truth = Ours().surround(Surroundings.SYBILS)
    assert np.abs(opened - truth).max() < 1e-4


def test_a_generator_that_reads_two_bytes_of_its_key_is_found_out(monkeypatch: Any) -> None:
    def short(total: Any, ring: Any, corrections: list[Correction], *rest: Any) -> None:
        cut = [Correction(term.sign, Seed(term.seed.expose()[:2] + bytes(30))) for term in corrections]
        unmask_into(total, ring, cut, *rest)

    monkeypatch.setattr(ours, "unmask_into", short)
    finding = passive.seed_entropy(Ours())
    assert finding.succeeded
    assert finding.evidence.startswith("16 of 256 key bits vary")


def test_a_client_that_still_holds_its_round_is_found_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(ours.Stage, "until", _stops_at_the_end(ours.Stage.until))
    verdict = SCRIPTS["leftover_secrets"].against(Ours())
    assert verdict.succeeded
    assert "4 x share of a neighbour" in verdict.evidence


def _stops_at_the_end(until: Any) -> Any:
    """Plays no further than asked: a round that shall end stays where it is."""
    return lambda stage, kind, silent=(): {} if kind is None else until(stage, kind, silent)


def test_a_weight_beside_the_vector_is_found_out(monkeypatch: Any) -> None:
    def chatty(self: Ours, case: Case, run: Any = Ours.run) -> Any:
        ended = run(self, case)
        return replace(
            ended, uploads={who: data + passive.varint(case.weights[who]) for who, data in ended.uploads.items()}
        )

    monkeypatch.setattr(Ours, "run", chatty)
    verdict = SCRIPTS["clear_metadata"].against(Ours())
    assert verdict.succeeded
    assert "as a varint" in verdict.evidence


@pytest.mark.parametrize("name", ["asks_both_shares", "split_view", "cohort_of_one"])
def test_a_plan_for_a_curious_server_is_not_opened_by_these_lies_either(name: str) -> None:
    """Nothing is promised against a lying server there; these three do not get a vector all the same."""
    verdict = SCRIPTS[name].against(Ours(promise=Promise.CURIOUS))
    assert not verdict.succeeded, verdict.evidence


# --- the kit ------------------------------------------------------------------------------------------


class Nothing:
    name = "nothing"


def test_a_target_that_lacks_what_a_script_drives_is_not_applicable_by_name() -> None:
    for verdict in verdicts(Nothing()):
        assert verdict.outcome is Outcome.NOT_APPLICABLE
        assert not verdict.succeeded
        assert verdict.evidence == f"nothing does not offer {SCRIPTS[verdict.script].needs.__name__}"


def test_targets_offer_what_they_claim() -> None:
    for capability in (MakesMasks, AnswersServer, Surroundable, RunsRounds, KeepsState):
        assert isinstance(Ours(), capability)
        assert isinstance(Toy(), capability)


@pytest.mark.parametrize(
    ("raised", "outcome"), [(Refused("no"), Outcome.REFUSED), (Inexpressible("no"), Outcome.INEXPRESSIBLE)]
)
def test_what_a_target_raises_becomes_the_verdict(raised: Exception, outcome: Outcome) -> None:
    def attack(target: object) -> Any:
        raise raised

    assert Script("s", "", (), Nothing, attack).against(Nothing()) == Verdict("s", "nothing", outcome, "no")


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
def test_a_verdict_survives_the_way_to_another_process(outcome: Outcome) -> None:
    verdict = Verdict("top_value", "toy", outcome, "modulo 16")
    assert Verdict.from_dict(verdict.to_dict()) == verdict
    assert verdict.succeeded is (outcome is Outcome.SUCCEEDED)


def test_only_the_chosen_scripts_are_played() -> None:
    assert [verdict.script for verdict in verdicts(Toy(), ("nan_input", "top_value"))] == ["nan_input", "top_value"]


def test_a_wrong_mean_is_no_mean_of_those_counted() -> None:
    vectors, weights = inputs.vectors_of(3), inputs.alike(3, 1)
    ended = Toy().run(Case(vectors, weights, max_weight=1))
    assert inputs.mean_error(replace(ended, counted=frozenset({0, 1})), vectors, weights) > 0.1
    for mean in (None, np.full(LENGTH, np.nan), np.zeros(3)):
        assert inputs.mean_error(replace(ended, mean=mean), vectors, weights) == float("inf")


def test_the_kit_knows_no_framework() -> None:
    folder = Path(passive.__file__).parent
    imported = {
        name.partition(".")[0]
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    assert imported & {"flwr", "nvflare", "pfl", "torch", "tenseal", "benchmarks", "tests"} == set()
    assert {"protocols", "secagg", "numpy"} <= imported


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_parties_of_the_stage_are_those_of_the_case() -> None:
    stage = Ours().stage(Ours().plan(4), inputs.vectors_of(4))
    assert stage.ids == tuple(map(PartyId, range(4)))
