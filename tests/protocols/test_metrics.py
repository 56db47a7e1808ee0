"""Metrics under the mask: the round opens their weighted means, and nobody sees one client's."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.coding import EXTRAS_RING, Extras
from protocols.endpoint import Client
from protocols.errors import BadPlan, ImplausibleSum, WrongUpdate
from protocols.messages import Submit
from protocols.pairwise import client as pairwise_client
from protocols.party import PartyId
from protocols.plan import MAX_METRICS, Metric, NoisePlan, RoundPlan
from protocols.round import secure_mean
from protocols.simulate import Exchange, Fate, FaultPlan, Lost, Simulation
from secagg.errors import NonFinite
from tests.attacks.villain import rows
from tests.contracts.company import Company, StandIn, update_of

LOSS, ACCURACY = Metric("loss", Fraction(8)), Metric("accuracy", Fraction(1), bits=16)
PLAN = RoundPlan.recommend(5, dropout=0.2, corrupt=0, max_weight=1000, metrics=(LOSS, ACCURACY))
VALUES = {who: {"loss": 0.7 * who - 1.9, "accuracy": who / 7} for who in range(5)}
WEIGHTS = {0: 1, 1: 10, 2: 100, 3: 1000, 4: 7}
UPDATES = {who: [np.zeros(3, np.float32)] for who in range(5)}


def means_of(who: tuple[int, ...]) -> dict[str, float]:
    total = sum(WEIGHTS[one] for one in who)
    return {name: sum(WEIGHTS[one] * VALUES[one][name] for one in who) / total for name in ("loss", "accuracy")}


# --- the means


def test_the_round_opens_the_weighted_means() -> None:
    report = secure_mean(UPDATES, PLAN, round=0, weights=WEIGHTS, metrics=VALUES)
    assert report.exact
    for name, mean in means_of((0, 1, 2, 3, 4)).items():
        step = dict(zip(Extras.of(PLAN).names, Extras.of(PLAN).encodings, strict=True))[name].step
        assert abs(report.metrics[name] - mean) <= step / 2 + 1e-12


def test_the_metrics_of_a_client_that_vanished_are_not_in_the_mean() -> None:
    faults = FaultPlan({PartyId(3): Fate(Exchange.MASKED, Lost.REPLY)})
    report = secure_mean(UPDATES, PLAN, round=0, weights=WEIGHTS, metrics=VALUES, faults=faults)
    assert report.metrics["loss"] == pytest.approx(means_of((0, 1, 2, 4))["loss"], abs=1e-6)


def test_a_plan_without_metrics_opens_none() -> None:
    assert secure_mean(UPDATES, RoundPlan.recommend(5), round=0).metrics == {}


@given(st.integers(2, 24), st.integers(1, 2**20), st.integers(3, 1000), st.fractions(Fraction(1, 100), 1000))
def test_no_sum_of_metrics_wraps_at_its_bounds(bits: int, weight: int, clients: int, clip: Fraction) -> None:
    encoding = Metric("m", clip, bits).encoding(weight, clients)
    assert clients * weight * encoding.levels < 1 << 63
    assert encoding.levels * Fraction(encoding.step) >= clip


@given(st.floats(-20, 20), st.integers(1, 1000))
def test_one_client_alone_comes_back_clipped_and_rounded(value: float, weight: int) -> None:
    extras = Extras.of(PLAN)
    integers = extras.quantised({"loss": value, "accuracy": 0.5})
    opened = EXTRAS_RING.centre(extras.words(weight, 0, integers)[2:])
    assert extras.fits(tuple(opened.tolist()), weight)
    mean = extras.means(tuple(opened.tolist()), weight)
    assert abs(mean["loss"] - min(max(value, -8), 8)) <= extras.encodings[0].step / 2
    assert mean["accuracy"] == 0.5


# --- what is hidden


@rows("C6")
def test_no_frame_of_a_client_holds_its_weight_or_a_metric_in_the_clear(row: str) -> None:
    """The values are planted where they would be found in any usual form."""
    company = Company(PLAN, 5)
    secret = {"loss": 3.14159, "accuracy": 0.271828}
    weight = 777

    def train(who: PartyId, client: Client) -> Submit:
        return client.prepare(update_of(company, who, 3), weight=weight, metrics=secret)

    simulation = Simulation(company.cohort(StandIn), train)
    simulation.run(company.task(3))
    assert simulation.exact
    forms = [struct.pack(form, value) for value in secret.values() for form in ("<d", "<f", ">d", ">f")]
    forms += [str(value).encode() for value in secret.values()]
    integers = Extras.of(PLAN).quantised(secret)
    forms += [(weight * integer).to_bytes(8, order) for integer in integers for order in ("little", "big")]
    forms += [weight.to_bytes(8, order) for order in ("little", "big")]
    said = b"".join(bytes(frame) for who in company.ids for frame in simulation.clients[who].emitted)
    assert not any(form in said for form in forms)


# --- what is refused


@pytest.mark.parametrize("metrics", [{}, {"loss": 1.0}, {"loss": 1.0, "accuracy": 0.5, "more": 1.0}, {"Loss": 1.0}])
def test_exactly_the_agreed_metrics_are_submitted(metrics: Mapping[str, float]) -> None:
    with pytest.raises(WrongUpdate, match="submit these metrics, not"):
        secure_mean(UPDATES, PLAN, round=0, metrics=dict.fromkeys(UPDATES, metrics))


@rows("C4")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_is_finite(row: str, value: float) -> None:
    with pytest.raises(NonFinite, match="metric 'loss'"):
        secure_mean(UPDATES, PLAN, round=0, metrics={who: {"loss": value, "accuracy": 0.0} for who in UPDATES})


def test_metrics_are_given_for_every_client() -> None:
    with pytest.raises(WrongUpdate, match="metrics are given for"):
        secure_mean(UPDATES, PLAN, round=0, metrics={0: VALUES[0]})


def metrics_of(*names: str) -> tuple[Metric, ...]:
    return tuple(Metric(name, Fraction(1)) for name in names)


@pytest.mark.parametrize(
    ("metrics", "match"),
    [
        (metrics_of("a", "a"), "distinct names"),
        (metrics_of(*map(str, range(MAX_METRICS + 1))), "at most"),
        ([Metric("a", Fraction(1))], "tuple of Metric"),
        (("loss",), "tuple of Metric"),
    ],
)
def test_a_plan_with_other_metrics_is_refused(metrics: Any, match: str) -> None:
    with pytest.raises(BadPlan, match=match):
        RoundPlan.recommend(5, metrics=metrics)


def test_an_exact_metric_beside_noise_is_refused() -> None:
    with pytest.raises(BadPlan, match="beside noise"):
        RoundPlan.recommend(5, metrics=(LOSS,), noise_multiplier=1.0)
    assert NoisePlan(Fraction(1), 0, 24)


def test_a_metric_whose_sum_could_wrap_is_refused_when_the_plan_is_built() -> None:
    with pytest.raises(BadPlan, match="metric 'loss'"):
        RoundPlan.recommend(5, bits=2, max_weight=1 << 40, metrics=(LOSS,))


@pytest.mark.parametrize(
    ("name", "clip", "bits"), [("", 1, 24), ("x" * 65, 1, 24), (5, 1, 24), ("a", 0, 24), ("a", -1, 24), ("a", 1, 25)]
)
def test_a_metric_has_a_name_a_clip_and_a_precision(name: Any, clip: Any, bits: int) -> None:
    with pytest.raises(BadPlan):
        Metric(name, Fraction(clip), bits)


# --- hostile clients


def with_extras(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One client masks other extras than its own checks would let pass."""
    honest = Extras.words

    def words(extras: Extras, weight: int, checksum: int, metrics: tuple[int, ...]) -> Any:
        vector = honest(extras, weight, checksum, metrics)
        return change(vector) if weight == WEIGHTS[2] else vector

    monkeypatch.setattr(Extras, "words", words)


@rows("C6")
@pytest.mark.parametrize("place", [2, 3])
def test_a_sum_of_metrics_beyond_what_the_weights_allow_is_implausible(
    row: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inflated(vector: Any) -> Any:
        vector[place] ^= np.uint64(1 << 60)
        return vector

    with_extras(inflated, monkeypatch)
    with pytest.raises(ImplausibleSum, match="metric sums"):
        secure_mean(UPDATES, PLAN, round=0, weights=WEIGHTS, metrics=VALUES)
    monkeypatch.setattr(Extras, "fits", lambda extras, metrics, weight: True)
    assert abs(secure_mean(UPDATES, PLAN, round=0, weights=WEIGHTS, metrics=VALUES).metrics["loss"]) > 8 or place == 3


@rows("C6")
@pytest.mark.parametrize("metrics", [(), (1,), (1, 2, 3), (1 << 40, 0)])
def test_a_bare_submission_with_other_metrics_is_refused_and_another_may_follow(
    row: str, metrics: tuple[int, ...]
) -> None:
    company = Company(PLAN, 5)

    def train(who: PartyId, client: Client) -> Submit:
        good = client.prepare(update_of(company, who, 3), metrics=VALUES[0])
        state = client._party.state
        with pytest.raises(WrongUpdate, match="opens 2 metrics"):
            client.send(Submit(good.vector, good.weight, good.model, metrics))
        assert client._party.state is state
        assert isinstance(state, pairwise_client.Ready)
        return good

    simulation = Simulation(company.cohort(), train)
    simulation.run(company.task(3))
    assert simulation.exact
