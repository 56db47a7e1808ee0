"""`SecureSum` against stand-ins of pfl's types: what it takes, what it gives, and every order it refuses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocols import RoundPlan
from protocols.errors import MissingExtra, Misused, PolicyConflict, WrongUpdate
from protocols.tensors import Layout
from secagg.keys import Seed

ROOT = Seed(bytes(range(32)))
MODULE = "protocols.adapters.pfl"


class Statistics:
    """pfl's `MappedVectorStatistics`, as far as it is used."""

    def __init__(self, name_to_stats: dict[str, Any], weight: float = 1.0) -> None:
        self._data, self.weight = dict(name_to_stats), weight

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __add__(self, other: Statistics) -> Statistics:
        return type(self)({name: self[name] + other[name] for name in self.keys()}, self.weight + other.weight)

    def keys(self) -> Any:
        return self._data.keys()

    def items(self) -> Any:
        return self._data.items()

    def reweight(self, new_weight: float) -> None:
        for name in self.keys():
            self._data[name] = self._data[name] * (new_weight / self.weight)
        self.weight = new_weight

    def get_weights(self) -> Any:
        return np.array([self.weight], np.float32), list(self._data.values())

    def from_weights(self, metadata: Any, weights: Any) -> Statistics:
        return type(self)(dict(zip(self.keys(), weights, strict=True)), float(metadata[0]))

    def apply_elementwise(self, change: Any) -> Statistics:
        metadata, weights = self.get_weights()
        return self.from_weights(metadata, [change(value) for value in weights])


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The adapter over stand-ins, and how many processes pfl says there are."""
    processes = SimpleNamespace(world_size=1)
    stand_ins = [
        module("pfl"),
        module("pfl.internal"),
        module("pfl.internal.ops"),
        module(
            "pfl.internal.ops.selector", get_default_framework_module=lambda: SimpleNamespace(distributed=processes)
        ),
        module("pfl.metrics", Metrics=dict, StringMetricName=str),
        module("pfl.postprocessor"),
        module("pfl.postprocessor.base", Postprocessor=object),
        module("pfl.stats", MappedVectorStatistics=Statistics),
    ]
    for stand_in in stand_ins:
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield SimpleNamespace(adapter=importlib.import_module(MODULE), processes=processes)
    sys.modules.pop(MODULE, None)


def plan_of(**more: Any) -> RoundPlan:
    return RoundPlan.recommend(6, **({"dropout": 0.4, "corrupt": 0, "min_cohort": 3, "clip": 4.0} | more))


def update_of(who: int) -> dict[str, Any]:
    generator = np.random.default_rng(who)
    return {"a": generator.normal(size=(2, 2)).astype(np.float32), "b": generator.normal(size=3).astype(np.float32)}


def words_of(summing: Any, who: int, weight: float = 1.0) -> Any:
    weighted = {name: value * np.float32(weight) for name, value in update_of(who).items()}
    words, metrics = summing.postprocess_one_user(stats=Statistics(weighted, weight), user_context=None)
    assert metrics == {}
    return words


def opened(summing: Any, stats: Any) -> Any:
    return summing.postprocess_server(stats=stats, central_context=None, aggregate_metrics={})


def test_the_statistics_of_the_sum_come_back_with_their_weight_and_shapes(world: SimpleNamespace) -> None:
    plan = plan_of(max_weight=8)
    summing = world.adapter.SecureSum.from_root(plan, ROOT)
    weights = (1, 2, 8, 4)
    words = [words_of(summing, who, weight) for who, weight in enumerate(weights)]
    # All that pfl may see of a user is of equal weight.
    assert [each.weight for each in words] == [1.0] * 4
    stats, metrics = opened(summing, words[0] + words[1] + words[2] + words[3])
    assert type(stats) is Statistics
    assert stats.weight == 15.0
    assert metrics["emulated secure sum | clients"] == 4
    for name in ("a", "b"):
        expected = sum(w * update_of(who)[name].astype(np.float64) for who, w in enumerate(weights))
        assert stats[name].dtype == np.float32
        assert np.abs(stats[name] - expected).max() <= 15 * plan.encoding.step + 1e-5


def test_the_sum_is_that_of_the_emulated_round_and_each_round_is_another(world: SimpleNamespace) -> None:
    summing = world.adapter.SecureSum.from_root(plan_of(noise_multiplier=1.0), ROOT)
    sums = []
    for number in range(2):
        emulation = world.adapter.Emulation(
            summing.plan, number, Layout.of(update_of(0)), world.adapter.from_root(ROOT)
        )
        total = sum(emulation.words(emulation.layout.flatten(update_of(who)), 1) for who in range(4))
        stats, _ = opened(summing, sum((words_of(summing, who) for who in range(1, 4)), words_of(summing, 0)))
        expected = emulation.layout.unflatten(emulation.sum_of(emulation.opened(total)))
        assert all(np.array_equal(stats[name], expected[name]) for name in expected)
        sums.append(stats["b"].tolist())
    assert sums[0] != sums[1]


def test_a_clip_that_adapts_moves_from_round_to_round(world: SimpleNamespace) -> None:
    from fractions import Fraction

    from dp.adaptive import AdaptiveClip

    rule = AdaptiveClip(bit_noise=Fraction(5), min_clip=Fraction(1, 128), max_clip=Fraction(100))
    summing = world.adapter.SecureSum(plan_of(noise_multiplier=1.0, adaptive=rule))
    first = summing.plan.clip
    opened(summing, sum((words_of(summing, who) for who in range(1, 4)), words_of(summing, 0)))
    assert summing.plan.clip != first


@pytest.mark.parametrize(
    "later",
    [
        lambda words: words.reweight(5.0),
        lambda words: words.apply_elementwise(lambda value: value * 0.5),
        lambda words: words.apply_elementwise(lambda value: value.astype(np.float32)),
    ],
    ids=["weighting", "clipping", "rounding"],
)
def test_a_postprocessor_behind_is_refused_at_the_first_user(world: SimpleNamespace, later: Any) -> None:
    with pytest.raises(PolicyConflict, match="last postprocessor"):
        later(words_of(world.adapter.SecureSum(plan_of()), 0))


def test_a_postprocessor_that_thins_out_the_integers_is_refused_at_the_server(world: SimpleNamespace) -> None:
    summing = world.adapter.SecureSum(plan_of())
    thinned = [
        words_of(summing, who).apply_elementwise(lambda value: np.where(np.arange(value.size) % 3, value, 0))
        for who in range(3)
    ]
    with pytest.raises(PolicyConflict, match="contradict"):
        opened(summing, thinned[0] + thinned[1] + thinned[2])


def test_noise_added_to_the_integers_is_refused_at_the_server(world: SimpleNamespace) -> None:
    summing = world.adapter.SecureSum(plan_of())
    words = [words_of(summing, who) for who in range(3)]
    total = words[0] + words[1] + words[2]
    noised = Statistics({name: value + 0.5 for name, value in total.items()}, total.weight)
    with pytest.raises(PolicyConflict, match="int64"):
        opened(summing, noised)


def test_plain_statistics_at_the_server_are_refused(world: SimpleNamespace) -> None:
    summing = world.adapter.SecureSum(plan_of())
    words_of(summing, 0)
    with pytest.raises(PolicyConflict, match="not the words"):
        opened(summing, Statistics(update_of(0)))


def test_a_server_without_users_is_refused(world: SimpleNamespace) -> None:
    summing = world.adapter.SecureSum(plan_of())
    with pytest.raises(Misused, match="of its own"):
        opened(summing, Statistics(update_of(0)))


def test_several_processes_are_refused(world: SimpleNamespace) -> None:
    world.processes.world_size = 2
    with pytest.raises(PolicyConflict, match="2 processes"):
        words_of(world.adapter.SecureSum(plan_of()), 0)


@pytest.mark.parametrize(
    "stats",
    [
        Statistics({"a": np.zeros(3, np.float32), "b": np.zeros(3, np.int64)}),
        Statistics({}),
        SimpleNamespace(weight=1.0),
    ],
    ids=["integers", "nothing", "another kind"],
)
def test_what_has_no_mean_is_refused(world: SimpleNamespace, stats: Any) -> None:
    with pytest.raises(WrongUpdate):
        world.adapter.SecureSum(plan_of()).postprocess_one_user(stats=stats, user_context=None)


def test_a_second_user_of_another_layout_is_refused(world: SimpleNamespace) -> None:
    summing = world.adapter.SecureSum(plan_of())
    words_of(summing, 0)
    with pytest.raises(WrongUpdate, match="shape"):
        summing.postprocess_one_user(
            stats=Statistics({"a": np.zeros((2, 2), np.float32), "b": np.zeros(4, np.float32)}), user_context=None
        )


def test_without_pfl_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setitem(sys.modules, "pfl", None)
    for name in [name for name in sys.modules if name.startswith("pfl.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtra, match="pfl"):
        importlib.import_module(MODULE)
