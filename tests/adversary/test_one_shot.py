"""Every script of the adversary kit fails against one-shot rounds; those that lie succeed against their twins."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from protocols.adversary import inputs
from protocols.adversary.one_shot import OneShot
from protocols.adversary.scripts import SCRIPTS
from protocols.adversary.targets import (
    AnswersServer,
    Case,
    KeepsState,
    MakesMasks,
    RunsRounds,
    Step,
    Surroundable,
    Surroundings,
)
from protocols.adversary.verdict import Outcome
from protocols.oneshot import client as clients
from protocols.oneshot import member as members
from protocols.party import Party
from secagg.quorum import Quorum

WITHSTOOD = {
    "seed_entropy": (Outcome.NOT_APPLICABLE, "does not offer MakesMasks"),
    "top_value": (Outcome.NOT_APPLICABLE, "does not offer MakesMasks"),
    "clear_metadata": (Outcome.FAILED, "nowhere in the"),
    "leftover_secrets": (Outcome.FAILED, "0 of 5 secrets"),
    "asks_both_shares": (Outcome.INEXPRESSIBLE, "asked about one set of clients: each is in it, or not"),
    "split_view": (Outcome.FAILED, "5 of 10 clients told that one vanished: Opening: 5 of 9 have spoken"),
    "cohort_of_one": (Outcome.REFUSED, "alone: CohortTooSmall; .* own: BadSignature; .* secret: BadCommittee"),
    "early_dropout": (Outcome.FAILED, "0 of 20 rounds"),
    "even_degree": (Outcome.FAILED, "3 to 10 shares per secret all end in"),
    "nan_input": (Outcome.FAILED, "^NonFinite; .* is right"),
    "huge_weight": (Outcome.REFUSED, "10 clients refuse with BadParameters"),
    "tiny_weight": (Outcome.FAILED, "at weight 1,000"),
    "zero_weight": (Outcome.REFUSED, "10 clients refuse with BadParameters"),
    "wrong_shape": (Outcome.FAILED, "ShapeMismatch; .* is right .*ShapeMismatch; .* is right"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_one_shot_rounds_withstand(name: str) -> None:
    verdict = SCRIPTS[name].against(OneShot())
    outcome, evidence = WITHSTOOD[name]
    assert not verdict.succeeded
    assert verdict.outcome is outcome
    assert re.search(evidence, verdict.evidence), verdict.evidence


def test_the_target_offers_what_it_claims_and_works_where_nobody_attacks() -> None:
    for capability in (AnswersServer, Surroundable, RunsRounds, KeepsState):
        assert isinstance(OneShot(), capability)
    assert not isinstance(OneShot(), MakesMasks)
    vectors, weights = inputs.vectors_of(10), inputs.alike(10, 500)
    ended = OneShot().run(Case(vectors, weights, lost={3: Step.VECTOR, 4: Step.UNMASK}))
    assert inputs.mean_error(ended, vectors, weights) < inputs.TOLERANCE
    assert ended.counted == frozenset(range(10)) - {3}


# --- twins: with the check gone, the same script succeeds ----------------------------------------------


def test_where_half_of_the_members_open_a_split_view_opens_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quorum, "privacy", property(lambda quorum: 4))
    monkeypatch.setattr(Quorum, "needed", property(lambda quorum: quorum.members // 2))
    verdict = SCRIPTS["split_view"].against(OneShot())
    assert verdict.succeeded, verdict.evidence


def careless_about_cohorts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(members, "check_cohort", lambda state, cohort: None)


def careless_about_clients(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(members, "signed_texts", lambda state, message: [said.box_key for said in message.contributions])


def careless_about_committees(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clients, "check_committee", lambda own, agreement, certificate: None)


@pytest.mark.parametrize(
    ("how", "careless"),
    [
        (Surroundings.ALONE, careless_about_cohorts),
        (Surroundings.SYBILS, careless_about_clients),
        (Surroundings.ONE_SHARE, careless_about_committees),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_without_its_check_the_victim_is_seen_alone(
    how: Surroundings, careless: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless(monkeypatch)
    opened, truth = OneShot().surround(how)
    assert np.abs(opened - truth).max() < 1e-3


def test_a_client_that_still_holds_its_round_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Party.receive

    def lingering(self: Party, sender: Any, message: Any) -> Any:
        before = self.state
        root = getattr(before, "root", None)
        if not isinstance(before, clients.Ready) or root is None:
            return receive(self, sender, message)
        kept = type(root)(root.expose())
        out = receive(self, sender, message)
        self.state = clients.Idle(before.own, kept, -1)
        return out

    monkeypatch.setattr(Party, "receive", lingering)
    verdict = SCRIPTS["leftover_secrets"].against(OneShot())
    assert verdict.succeeded
    assert "1 of 5 secrets are still in the client's state: root" in verdict.evidence
