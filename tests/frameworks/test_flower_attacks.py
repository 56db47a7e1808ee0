"""The scripts of the adversary kit against real Flower: what succeeds today, so that no claim about it grows old.

A row that fails here means that Flower has repaired the fault: then the claim is withdrawn, not the test.
Runs in the environment of Flower (`make test-flower`) and is skipped by name elsewhere.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here: run `make test-flower`")

from benchmarks.peers import flower, flower_seam, flower_stage
from benchmarks.peers.flower_rounds import Round
from benchmarks.peers.flower_seam import Node, PeerChanged
from benchmarks.peers.flower_stage import Flower, Questioned
from protocols.adversary.inputs import LENGTH, TOLERANCE, alike, mean_error, vectors_of
from protocols.adversary.scripts import SCRIPTS
from protocols.adversary.targets import (
    AnswersServer,
    Case,
    KeepsState,
    MakesMasks,
    RunsRounds,
    Step,
    Surroundable,
    View,
)
from protocols.adversary.verdict import Refused

# What each script is expected to show.
FALLS = {
    "seed_entropy": "28 of 32 key bits",
    "top_value": "[15] never occur",
    "clear_metadata": "as a zigzag varint",
    "leftover_secrets": "private key 1, private key 2, self seed, 4 x share of a neighbour",
    "asks_both_shares": "0 clients object",
    "split_view": "0 clients object",
    "cohort_of_one": "one share opens a secret: the vector is known",
    "early_dropout": "14 of 20 rounds",
    "even_degree": "with 4, 6, 8, 10 shares per secret are lost: IndexError",
    "nan_input": "reaches 1637",
    "huge_weight": "is off by 0.",
    "tiny_weight": "at weight 1,000",
    "zero_weight": "a mean is published, its first coordinate is nan",
    "wrong_shape": "shape (5,): the round of nine others is lost",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_flower_falls_to(name: str) -> None:
    verdict = SCRIPTS[name].against(Flower())
    assert verdict.succeeded, verdict.evidence
    assert FALLS[name] in verdict.evidence
    assert verdict.target in ("flower 1.41.0", "flower 1.42.0")


def test_the_target_offers_every_capability() -> None:
    for capability in (MakesMasks, AnswersServer, Surroundable, RunsRounds, KeepsState):
        assert isinstance(Flower(), capability)


class HighThreshold(Flower):
    """Seven of ten shares: what a careful operator chooses."""

    def interrogate(self, clients: int) -> Questioned:
        return Questioned(clients, clients, 7)


def test_a_high_threshold_keeps_flower_from_falling_to_a_split_view() -> None:
    verdict = SCRIPTS["split_view"].against(HighThreshold())
    assert not verdict.succeeded
    assert "5 shares of the victim's" in verdict.evidence


def test_no_threshold_keeps_flower_from_answering_for_both_secrets() -> None:
    assert SCRIPTS["asks_both_shares"].against(HighThreshold()).succeeded


# The target itself: on good inputs Flower works here, so what goes wrong above is not the adapter's doing.


def test_an_undisturbed_round_ends_in_the_right_mean() -> None:
    vectors, weights = vectors_of(10), alike(10, 500) | {3: 125}
    ended = Flower().run(Case(vectors, weights))
    assert ended.why == ""
    assert ended.refusals == {}
    assert ended.counted == frozenset(range(10))
    assert mean_error(ended, vectors, weights) < TOLERANCE


@pytest.mark.parametrize("step", [Step.VECTOR, Step.UNMASK], ids=lambda step: step.name)
def test_a_late_drop_out_is_survived(step: Step) -> None:
    vectors, weights = vectors_of(10), alike(10, 500)
    ended = Flower().run(Case(vectors, weights, {3: step}))
    assert ended.counted == frozenset(range(10)) - ({3} if step is Step.VECTOR else set())
    assert mean_error(ended, vectors, weights) < TOLERANCE


def test_an_honest_question_does_not_open_a_vector() -> None:
    room = Flower().interrogate(5)
    everybody = frozenset(room.ids)
    assert room.ask({who: View(everybody) for who in room.ids}) == {}
    with pytest.raises(Refused, match="0 shares of the victim's key, 2 are needed"):
        room.recovered(1)


def test_a_client_refuses_to_unmask_below_the_threshold() -> None:
    room = Questioned(5, 5, 3)
    assert room.ask({1: View(frozenset({1, 2}))}) == {1: "ValueError"}


def test_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_seam, "VERSIONS", ("0.0.0",))
    with pytest.raises(PeerChanged, match=r"flwr 1\.4\d\.\d is installed, 0\.0\.0 is measured here"):
        flower_seam.flower.__wrapped__()


def test_figures_are_told_of_one_version_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "VERSION", "0.0.0")
    with pytest.raises(PeerChanged, match=r"flwr 1\.4\d\.\d is installed; the figures here are of 0\.0\.0"):
        flower.flower.__wrapped__()


def test_an_error_that_is_not_a_nodes_is_no_round_of_flowers_that_was_lost() -> None:
    round = Round({who: Node(who, np.zeros(LENGTH)) for who in range(1, 6)}, {3: Step.SETUP}, fails=(IndexError,))
    with pytest.raises(KeyError):
        round.play(shares=5, threshold=3)


@pytest.mark.parametrize(
    ("symbols", "gone"),
    [
        ({"flwr.app": ("Nothing",)}, r"flwr\.app no longer has Nothing"),
        ({"flwr.nowhere": ("x",)}, r"module flwr\.nowhere"),
    ],
)
def test_a_vanished_name_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, symbols: dict, gone: str) -> None:
    monkeypatch.setattr(flower_seam, "SYMBOLS", symbols)
    with pytest.raises(PeerChanged, match=gone):
        flower_seam.flower.__wrapped__()


def test_a_generator_that_no_longer_folds_its_seed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_stage, "expanded", lambda seed, shapes: [np.frombuffer(seed[:4], np.uint8)])
    with pytest.raises(PeerChanged, match="no longer folds"):
        flower_stage.folded(b"0123456789ab")


def test_a_clients_reply_holds_what_the_mod_stores() -> None:
    node = Node(7, np.zeros(LENGTH))
    public = node.set_up(1, 1, 1)
    assert node.stored["pk1"] == public[0]
    assert node.stored["nid"] == 7
