"""The Flower adapter, message by message: on stand-ins of Flower's types, on its own where flwr is installed."""

from __future__ import annotations

import copy
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp import AdaptiveClip, Budget, Ledger
from protocols.errors import BadPlan, Malformed, Misused, PolicyConflict, TooFewClients
from protocols.plan import Metric, RoundPlan
from tests.protocols.adapters.federation import (
    CLIENTS,
    METRICS,
    MODEL,
    STEP,
    WEIGHTS,
    Federation,
    flower_names,
    off_by,
    place_in_memory,
    plan_for,
    weighted,
)
from tests.protocols.adapters.local import Node, never, trainer, wire


@pytest.fixture(scope="module")
def flower() -> Iterator[Any]:
    with flower_names() as names:
        yield names


@pytest.fixture
def place() -> Iterator[Path]:
    with place_in_memory() as folder:
        yield folder


@pytest.fixture
def made(flower: Any, place: Path) -> Federation:
    return Federation(flower, place / "homes", plan_for())


# --- a whole round ------------------------------------------------------------------------------------


def test_the_result_is_the_weighted_mean_within_one_step(made: Federation) -> None:
    result = made.run()
    for name in ("layer.weight", "layer.bias"):
        assert off_by(result, name, MODEL[name] + weighted(made.deltas, name)) <= STEP


def test_names_order_shapes_and_dtypes_are_the_models_and_integers_are_the_servers(made: Federation) -> None:
    arrays = made.run().arrays
    assert list(arrays) == list(MODEL)
    assert [(array.numpy().shape, array.numpy().dtype) for array in arrays.values()] == [
        (array.shape, array.dtype) for array in MODEL.values()
    ]
    assert arrays["layer.count"].numpy() == 7


def test_metrics_are_weighted_means_and_the_figures_are_told(made: Federation) -> None:
    figures = made.run().train_metrics_clientapp[1]
    total = sum(WEIGHTS.values())
    mean = sum(WEIGHTS[who] * METRICS[who]["loss"] for who in range(CLIENTS)) / total
    assert figures["loss"] == pytest.approx(mean, abs=16 / 2**23)
    assert {name: figures[f"secagg-{name}"] for name in ("survivors", "dropped", "excluded")} == {
        "survivors": CLIENTS,
        "dropped": 0,
        "excluded": 0,
    }
    assert "secagg-epsilon" not in figures


def test_a_round_takes_two_exchanges_after_the_committee_was_convened(made: Federation) -> None:
    figures = made.run(3).train_metrics_clientapp
    assert [figures[number]["secagg-exchanges"] for number in (1, 2, 3)] == [3, 2, 2]
    kinds = [message.content["secagg"]["kind"] for message in made.grid.sent]
    assert kinds.count("introduce") == CLIENTS


def test_how_much_was_clipped_is_told_as_a_mean(flower: Any, place: Path) -> None:
    """Of client 1 half of the update is cut, of the others nothing."""
    deltas = {
        who: {"w": np.array([0.25, 0.5, 1.5 if who == 1 else 0.5, -2.0 if who == 1 else 0.5])} for who in range(CLIENTS)
    }
    plan = plan_for(max_weight=1, metrics=(Metric("secagg-clipped", 1),))
    made = Federation(flower, place / "homes", plan, model={"w": np.zeros(4)}, deltas=deltas)
    result = made.run()
    assert result.train_metrics_clientapp[1]["secagg-clipped"] == pytest.approx(0.5 / CLIENTS, abs=1e-6)
    assert off_by(result, "w", np.array([0.25, 0.5, 0.6, 0.2])) <= STEP


def test_the_bytes_that_are_told_are_those_of_the_bundles(made: Federation) -> None:
    figures = made.run().train_metrics_clientapp[1]
    rounds = [reply.content for reply in made.grid.carried if reply.content["secagg"]["kind"] != "introduce"]
    up = sum(len(array.data) for content in rounds for array in content["secagg.frames"].values())
    assert figures["secagg-bytes-up"] == up


def test_no_node_sends_a_number_of_its_own_in_the_clear(made: Federation) -> None:
    made.run(2)
    said = wire(made.grid.carried)
    for who in range(CLIENTS):
        for name in ("layer.weight", "layer.bias"):
            delta, trained = made.deltas[who][name], MODEL[name] + made.deltas[who][name]
            for array in (delta, trained, trained.astype(np.float32), delta.astype(np.float32)):
                assert array.tobytes()[: 2 * array.itemsize] not in said
        assert repr(METRICS[who]["loss"]).encode() not in said
        assert np.float64(METRICS[who]["loss"]).tobytes() not in said
    assert b"num-examples" not in said
    assert b"loss" not in said
    assert b"layer.weight" not in said


def test_the_search_for_plain_numbers_finds_them_without_the_mod(flower: Any, made: Federation) -> None:
    app = flower.ClientApp()
    app.train()(trainer(made.deltas, METRICS))
    made.grid.nodes = {100 + who: Node(app, made.context(who)) for who in range(CLIENTS)}
    flower.strategies.FedAvg(fraction_evaluate=0.0).start(made.grid, made.arrays(), num_rounds=1)
    said = wire(made.grid.carried)
    assert repr(METRICS[1]["loss"]).encode() in said
    trained = MODEL["layer.weight"] + made.deltas[1]["layer.weight"]
    assert trained.tobytes()[:8] in said


@pytest.mark.parametrize("protocol", ["pairwise", "ckks"])
def test_the_other_protocols_give_the_same_mean(flower: Any, place: Path, protocol: str) -> None:
    made = Federation(flower, place / "homes", plan_for(protocol=protocol, metrics=()))
    result = made.run(2)
    drift = weighted(made.deltas, "layer.weight")
    assert off_by(result, "layer.weight", MODEL["layer.weight"] + 2 * drift) <= 2 * STEP
    # Of the encrypted rounds only the first makes a key.
    assert result.train_metrics_clientapp[2]["secagg-exchanges"] == {"pairwise": 5, "ckks": 2}[protocol]


@pytest.mark.parametrize("clients", [3, 4, 7])
def test_small_even_and_odd_cohorts(flower: Any, place: Path, clients: int) -> None:
    made = Federation(flower, place / "homes", plan_for(clients, dropout=0, max_weight=1), clients)
    mean = sum(made.deltas[who]["layer.bias"] for who in range(clients)) / clients
    assert off_by(made.run(), "layer.bias", MODEL["layer.bias"] + mean) <= STEP


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_comes_back_as_it_was(flower: Any, place: Path, dtype: Any) -> None:
    model = {"w": np.linspace(-1, 1, 9).astype(dtype), "scalar": np.array(0.25, dtype)}
    made = Federation(flower, place / "homes", plan_for(max_weight=1), model=model)
    arrays = made.run().arrays
    assert {name: array.numpy().dtype for name, array in arrays.items()} == {"w": dtype, "scalar": dtype}
    mean = sum(delta["w"].astype(np.float64) for delta in made.deltas.values()) / CLIENTS
    # A client's own rounding of what it trained, and ours of the result, are steps of its dtype.
    assert np.abs(arrays["w"].numpy() - (model["w"] + mean)).max() <= STEP + 2 * np.finfo(dtype).eps


# --- what happens to messages -----------------------------------------------------------------------------


def without(made: Federation, lost: int) -> list[int]:
    return [who for who in range(CLIENTS) if who != lost]


def as_lost(made: Federation, result: Any, lost: int = 2) -> None:
    """The round is over everybody else, and says so."""
    left = without(made, lost)
    assert off_by(result, "layer.bias", MODEL["layer.bias"] + weighted(made.deltas, "layer.bias", left)) <= STEP
    assert result.train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS - 1
    assert result.train_metrics_clientapp[1]["secagg-dropped"] == 1


def test_a_silent_node_costs_itself_only(made: Federation) -> None:
    made.disturb(2, never)
    as_lost(made, made.run())


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 7, 8])
def test_an_error_of_flowers_is_a_drop_out_whoever_reports_it(made: Federation, code: int) -> None:
    def failed(message: Any, app: Any) -> list[Any]:
        reply = made.flower.Message(made.flower.Error(code, "a traceback"), reply_to=message)
        # An unavailable node is reported by the SuperLink, which is node 1.
        reply.metadata.__dict__["_src_node_id" if "_src_node_id" in reply.metadata.__dict__ else "src_node_id"] = 1
        return [reply]

    made.disturb(2, failed)
    as_lost(made, made.run())


def test_an_apps_exception_is_a_drop_out_and_is_not_quoted(made: Federation) -> None:
    secret = "patient 4711 weighs 71.3"
    node = made.grid.nodes[102]
    app = made.flower.ClientApp(mods=[made.flower.client_mod(home=made.folder)])

    @app.train()
    def broken(message: Any, context: Any) -> Any:
        raise ValueError(secret)

    node.app = app
    as_lost(made, made.run())
    [error] = [reply.error for reply in made.grid.carried if reply.has_error()]
    assert (error.code, error.reason) == (2, "secagg:Failed")
    assert secret.encode() not in wire(made.grid.carried)


def test_an_apps_own_error_reply_loses_its_words(made: Federation) -> None:
    app = made.flower.ClientApp(mods=[made.flower.client_mod(home=made.folder)])
    app.train()(lambda message, context: made.flower.Message(made.flower.Error(0, "loss 3.25"), reply_to=message))
    made.grid.nodes[102].app = app
    as_lost(made, made.run())
    assert b"3.25" not in wire(made.grid.carried)


def test_a_late_reply_is_not_heard(made: Federation) -> None:
    late: list[Any] = []

    def slow(message: Any, app: Any) -> list[Any]:
        kept, late[:] = list(late), [app(message)]
        return kept

    made.disturb(2, slow)
    result = made.run(2)
    assert [result.train_metrics_clientapp[number]["secagg-dropped"] for number in (1, 2)] == [1, 1]


def test_a_second_reply_changes_nothing(made: Federation) -> None:
    def twice(message: Any, app: Any) -> list[Any]:
        reply = app(message)
        return [reply, reply]

    made.disturb(2, twice)
    result = made.run()
    assert off_by(result, "layer.bias", MODEL["layer.bias"] + weighted(made.deltas, "layer.bias")) <= STEP


def test_a_reply_of_an_earlier_round_is_excluded_by_name(made: Federation) -> None:
    first: list[Any] = []

    def replayed(message: Any, app: Any) -> list[Any]:
        reply = app(message)
        first.append(reply.content)
        return [made.flower.Message(first[0], reply_to=message)]

    made.disturb(2, replayed)
    figures = made.run(2).train_metrics_clientapp
    assert figures[1]["secagg-survivors"] == CLIENTS
    assert (figures[2]["secagg-survivors"], figures[2]["secagg-excluded"]) == (CLIENTS - 1, 1)


def spoiled(flower: Any, how: str) -> Callable[[Any, Any], list[Any]]:
    def answer(message: Any, app: Any) -> list[Any]:
        content = app(message).content
        frames = content["secagg.frames"]
        [number] = frames
        match how:
            case "no marker":
                del content["secagg"]
            case "no frames":
                del content["secagg.frames"]
            case "nothing":
                content = flower.RecordDict()
            case "another version":
                content["secagg"]["version"] = 2
            case "another kind":
                content["secagg"]["kind"] = "hello"
            case "a plain array":
                frames[number] = flower.Array(np.zeros(3))
            case "no number":
                frames["one"] = frames[number]
            case "a bundle of noise":
                frames[number] = flower.Array(dtype="uint8", shape=(9,), stype="secagg.frames", data=b"not frames")
            case "another's number":
                frames["0"] = frames[number]
                del frames[number]
        return [flower.Message(content, reply_to=message)]

    return answer


@pytest.mark.parametrize(
    "how",
    [
        "no marker",
        "no frames",
        "nothing",
        "another version",
        "another kind",
        "a plain array",
        "no number",
        "a bundle of noise",
        "another's number",
    ],
)
def test_a_spoiled_reply_costs_its_node_only(made: Federation, how: str) -> None:
    made.disturb(2, spoiled(made.flower, how))
    as_lost(made, made.run())


UNREADABLE = {
    "a bundle of type 'numpy.ndarray'": lambda f, c: c["secagg.frames"].update({"3": f.Array(np.zeros(3))}),
    "a party without a number": lambda f, c: c["secagg.frames"].update({"03": c["secagg.frames"]["3"]}),
    "speaks version 2": lambda f, c: c["secagg"].update({"version": 2}),
    "kind is no short text": lambda f, c: c["secagg"].update({"kind": "x" * 300}),
    "'hello' is not a valid Kind": lambda f, c: c["secagg"].update({"kind": "hello"}),
    "clips is no short list": lambda f, c: c["secagg"].update({"clips": ["1"] * 65}),
    "shorter than argument": lambda f, c: c["secagg"].update({"metrics": ["loss"], "clips": []}),
    "a metric has a name": lambda f, c: c["secagg"].update({"metrics": [""], "clips": ["1"]}),
    "Fraction": lambda f, c: c["secagg"].update({"metrics": ["loss"], "clips": ["1/0"]}),
    "alone, or as records of another type": lambda f, c: c.pop("secagg"),
    "65 bundles at once": lambda f, c: c["secagg.frames"].update({str(n): c["secagg.frames"]["3"] for n in range(65)}),
}


@pytest.mark.parametrize("why", UNREADABLE)
def test_records_that_cannot_be_read_are_malformed_by_name(flower: Any, why: str) -> None:
    records = importlib.import_module("protocols.adapters.flower.records")
    content = records.Parcel(records.Kind.TRAIN, {3: b"a bundle"}).beside(flower.RecordDict())
    assert records.Parcel.taken_from(content, 7).letters == {3: b"a bundle"}
    UNREADABLE[why](flower, content)
    with pytest.raises(Malformed, match=f"party 7: .*{re.escape(why)}"):
        records.Parcel.taken_from(content, 7)


def test_a_member_that_dies_before_it_is_asked_is_spared(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(10, max_weight=1), 10)
    made.disturb(2, never, only="exchange")
    node = made.grid.nodes[102]
    silent_from_now_on = node.answer
    node.answer = lambda message, app: [app(message)]
    strategy = made.strategy()
    first = strategy.start(made.grid, made.arrays(), num_rounds=1, timeout=0.01)
    node.answer = silent_from_now_on
    second = strategy.start(made.grid, first.arrays, num_rounds=1, timeout=0.01)
    assert second.train_metrics_clientapp[1]["secagg-survivors"] == 10


def test_a_node_that_is_gone_is_not_waited_for(made: Federation) -> None:
    strategy = made.strategy()
    first = strategy.start(made.grid, made.arrays(), num_rounds=1, timeout=0.01)
    made.grid.present = {100, 101, 103, 104}
    sent = len(made.grid.sent)
    second = strategy.start(made.grid, first.arrays, num_rounds=1, timeout=0.01)
    assert all(message.metadata.dst_node_id != 102 for message in made.grid.sent[sent:])
    assert second.train_metrics_clientapp[1]["secagg-survivors"] == 4


def test_a_member_that_goes_while_others_train_is_not_asked(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(10, max_weight=1), 10)

    def leaves(message: Any, app: Any) -> list[Any]:
        made.grid.present = set(made.grid.nodes) - {102}
        return [app(message)]

    made.disturb(2, leaves)
    assert made.run().train_metrics_clientapp[1]["secagg-survivors"] == 10
    opening = [message.metadata.dst_node_id for message in made.grid.sent[-9:]]
    assert sorted(opening) == [node for node in sorted(made.grid.nodes) if node != 102]


def test_the_first_reply_to_a_message_counts_and_a_stray_one_never(flower: Any) -> None:
    post = importlib.import_module("protocols.adapters.flower.post")
    asked = [post.letter(flower.RecordDict(), node, 1) for node in (5, 6)]
    for number, message in enumerate(asked):
        message.metadata.__dict__["_message_id"] = f"message-{number}"
    first, second = (flower.Message(flower.Error(code), reply_to=asked[0]) for code in (1, 2))
    assert post.by_node(asked[:1], [first, second]) == {5: first}
    assert post.by_node(asked[1:], [first]) == {}


def test_a_site_that_comes_back_as_another_node_is_found_again(made: Federation) -> None:
    strategy = made.strategy()
    first = strategy.start(made.grid, made.arrays(), num_rounds=1, timeout=0.01)
    made.grid.nodes = {200 + node if node == 102 else node: each for node, each in made.grid.nodes.items()}
    second = strategy.start(made.grid, first.arrays, num_rounds=1, timeout=0.01)
    assert second.train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS


def test_a_node_that_claims_anothers_number_gets_none_of_its_letters(made: Federation) -> None:
    made.grid.nodes = {**made.grid.nodes, 999: Node(made.app, made.context(1))}
    result = made.run()
    assert result.train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS
    kinds = {message.content["secagg"]["kind"] for message in made.grid.sent if message.metadata.dst_node_id == 999}
    assert kinds == {"introduce"}


def test_a_node_that_says_another_lives_there_gets_none_of_its_letters(made: Federation) -> None:
    def lie(message: Any, app: Any) -> list[Any]:
        reply = app(message)
        frames = reply.content["secagg.frames"]
        reply.content["secagg.frames"] = made.flower.ArrayRecord({"1": frames["0"]})
        return [reply]

    made.disturb(0, lie, only="introduce")
    result = made.run()
    assert result.train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS - 1
    told = {party for message in made.grid.sent if message.metadata.dst_node_id == 100 for party in letters_in(message)}
    assert told == set()


def letters_in(message: Any) -> set[str]:
    return set(message.content["secagg.frames"])


def test_messages_are_void_when_nobody_waits_for_them_any_more(made: Federation) -> None:
    made.run()
    assert {message.metadata.ttl for message in made.grid.sent} == {0.01, 1}


def test_nodes_share_no_letters(made: Federation) -> None:
    made.run()
    for message in made.grid.sent:
        numbers = set(message.content["secagg.frames"])
        who = message.metadata.dst_node_id - 100
        assert numbers <= {str(party) for party in (who, *made.roster.openers)}


# --- it fails closed --------------------------------------------------------------------------------------


def instruction(made: Federation, kind: str = "train") -> Any:
    content = made.flower.RecordDict({"arrays": made.arrays(), "config": made.flower.ConfigRecord({"lr": 0.1})})
    return made.flower.Message(content, 100, kind)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_an_unmarked_message_is_refused_and_not_passed_on(made: Federation, kind: str) -> None:
    reply = made.app(instruction(made, kind), made.context(0))
    assert reply.error.code == 6
    assert reply.error.reason.startswith("secagg:PolicyViolation")
    assert made.trained == 0


def test_an_evaluation_in_the_clear_wants_the_nodes_consent(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(), clear=frozenset({"evaluate"}))
    reply = made.app(instruction(made, "evaluate"), made.context(0))
    assert reply.content["metrics"]["loss"] == METRICS[0]["loss"]
    assert made.app(instruction(made, "train"), made.context(0)).has_error()


def test_no_node_can_consent_to_training_in_the_clear(flower: Any) -> None:
    with pytest.raises(Misused, match=r"clear may list \['evaluate', 'query'\], got \['train'\]"):
        flower.client_mod(clear={"train"})


def test_a_plan_that_the_nodes_refuse_stops_the_run_and_says_why(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(), demands={"min_cohort": 4})
    with pytest.raises(PolicyConflict, match=r"5 nodes refuse this plan, as in .* I open none over fewer than 4"):
        made.run()
    assert made.trained == 0


def test_a_node_without_a_policy_takes_part_in_one_shot_rounds_only(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(protocol="pairwise"))
    app = flower.ClientApp(mods=[flower.client_mod(home=made.folder)])
    app.train()(trainer(made.deltas, METRICS))
    made.grid.nodes = {100 + who: Node(app, made.context(who)) for who in range(CLIENTS)}
    with pytest.raises(PolicyConflict, match="protocol 'pairwise' is not allowed here"):
        made.run()


def test_what_a_node_wrote_down_counts_before_the_apps_policy(made: Federation) -> None:
    """The app would take part; the file in the home of client 4 demands what this plan does not offer."""
    (made.folder / "site-4" / "policy.json").write_text('{"protocols": ["oneshot"], "min_noise_multiplier": "1/2"}')
    made.run()
    [refusal] = [reply.error.reason for reply in made.grid.carried if reply.has_error()]
    assert refusal.startswith("secagg:PolicyViolation")
    assert "noise 0 is below 1/2" in refusal
    assert made.trained == CLIENTS - 1


def test_a_node_without_a_home_refuses_by_name(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(), openers=4)
    app = made.flower.ClientApp(mods=[made.flower.client_mod()])
    app.train()(trainer(made.deltas, METRICS))
    made.grid.nodes[104].app = app
    assert made.run().train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS - 1
    assert [reply.error.reason for reply in made.grid.carried if reply.has_error()] == ["secagg:Misused"]


def test_the_nodes_own_configuration_names_its_home_before_the_app_does(made: Federation) -> None:
    context = made.context(0)
    context.node_config["secagg-home"] = str(made.folder / "site-3")
    made.grid.nodes = {node: each for node, each in made.grid.nodes.items() if node != 103}
    made.grid.nodes[100].context = context
    # Nobody is at the home of site 0 now, and the committee is made without it.
    assert made.run().train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS - 1
    [said] = [r for r in made.grid.carried[:CLIENTS] if r.metadata.reply_to_message_id == "message-0"]
    assert next(iter(said.content["secagg.frames"])) == "3"


TOLD_OTHERWISE = {
    "another model": lambda f, content: content["arrays"].update({"layer.bias": f.Array(np.zeros(3))}),
    "another setting": lambda f, content: content["config"].update({"server-round": 9}),
    "one more setting": lambda f, content: content["config"].update({"lr": 0.0}),
    "another integer": lambda f, content: content["arrays"].update({"layer.count": f.Array(np.array(8))}),
    "one more record": lambda f, content: content.update({"x": f.MetricRecord({"a": 1})}),
    # Weighed by something that the server knows, one client's weight would be what is left of the sum.
    "another weight": lambda f, content: content["secagg"].update({"weight-key": "loss"}),
}


@pytest.mark.parametrize("how", TOLD_OTHERWISE)
def test_who_is_told_otherwise_than_the_others_does_not_train(made: Federation, how: str) -> None:
    def bent(message: Any, app: Any) -> list[Any]:
        TOLD_OTHERWISE[how](made.flower, message.content)
        return [app(message)]

    made.disturb(2, bent)
    as_lost(made, made.run())
    assert made.trained == CLIENTS - 1
    assert [reply.error.reason for reply in made.grid.carried if reply.has_error()] == ["secagg:ViewMismatch"]


def test_who_is_to_measure_on_another_scale_does_not(made: Federation) -> None:
    """A scale on which the others' metrics vanish would leave one client's."""

    def bent(message: Any, app: Any) -> list[Any]:
        message.content["secagg"]["clips"] = ["1"]
        return [app(message)]

    made.disturb(2, bent, only="evaluate")
    figures = made.run(evaluate="masked", evaluate_metrics=(Metric("loss", 8),)).evaluate_metrics_clientapp[1]
    assert figures["secagg-survivors"] == CLIENTS - 1
    assert [reply.error.reason for reply in made.grid.carried if reply.has_error()] == ["secagg:ViewMismatch"]


def test_who_is_to_run_another_function_than_the_others_does_not(made: Federation) -> None:
    made.app.train("idle")(lambda message, context: pytest.fail("nobody is to run it"))

    def bent(message: Any, app: Any) -> list[Any]:
        message.metadata.message_type = "train.idle"
        return [app(message)]

    made.disturb(2, bent)
    as_lost(made, made.run())
    assert [reply.error.reason for reply in made.grid.carried if reply.has_error()] == ["secagg:ViewMismatch"]


def test_words_of_a_node_are_short_and_on_one_line(made: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    nodes = importlib.import_module("protocols.adapters.flower.nodes")
    monkeypatch.setattr(nodes.LOG, "warning", lambda text, *given: said.append(text % given))

    def loud(message: Any, app: Any) -> list[Any]:
        error = made.flower.Error(6, "secagg:Bad\nsecagg: all is well" + "!" * 9999)
        return [made.flower.Message(error, reply_to=message)]

    made.disturb(2, loud)
    as_lost(made, made.run())
    [line] = said
    assert len(line) < 400
    assert "\n" not in line


def returning(made: Federation, change: Callable[[Any], None]) -> None:
    """Node 2 trains as ever and returns something else."""
    train = trainer(made.deltas, METRICS)
    app = made.flower.ClientApp(mods=[made.flower.client_mod(home=made.folder)])

    @app.train()
    def changed(message: Any, context: Any) -> Any:
        reply = train(message, context)
        change(reply.content)
        return reply

    made.grid.nodes[102].app = app


WRONG = {
    "NaN": ("NonFinite", lambda f, c: c["arrays"].update({"layer.bias": f.Array(np.full(3, np.nan))})),
    "shape": ("WrongUpdate", lambda f, c: c["arrays"].update({"layer.bias": f.Array(np.zeros(1))})),
    "missing": ("WrongUpdate", lambda f, c: c["arrays"].pop("layer.bias")),
    "further": ("WrongUpdate", lambda f, c: c["arrays"].update({"x": f.Array(np.zeros(1))})),
    "no arrays": ("WrongUpdate", lambda f, c: c.pop("arrays")),
    "no metrics": ("WrongUpdate", lambda f, c: c.pop("metrics")),
    "two records": ("WrongUpdate", lambda f, c: c.update({"more": f.MetricRecord({"a": 1})})),
    "no weight": ("WrongUpdate", lambda f, c: c["metrics"].pop("num-examples")),
    "half a weight": ("WrongUpdate", lambda f, c: c["metrics"].update({"num-examples": 1.5})),
    "a list": ("WrongUpdate", lambda f, c: c["metrics"].update({"loss": [1.0, 2.0]})),
    "no loss": ("WrongUpdate", lambda f, c: c["metrics"].pop("loss")),
    "too heavy": ("BadParameters", lambda f, c: c["metrics"].update({"num-examples": 101})),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_update_that_does_not_fit_is_refused_by_name_and_stays(made: Federation, what: str) -> None:
    name, change = WRONG[what]
    returning(made, lambda content: change(made.flower, content))
    as_lost(made, made.run())
    assert [reply.error.reason for reply in made.grid.carried if reply.has_error()] == [f"secagg:{name}"]


def test_further_metrics_and_records_stay_on_the_node(made: Federation) -> None:
    def more(content: Any) -> None:
        content["metrics"]["accuracy"] = 0.987654321
        content["notes"] = made.flower.ConfigRecord({"patient": "4711"})

    returning(made, more)
    assert made.run().train_metrics_clientapp[1]["secagg-survivors"] == CLIENTS
    said = wire(made.grid.carried)
    assert b"987654321" not in said
    assert b"4711" not in said


@pytest.mark.parametrize("trains", [True, False], ids=["and trained there", "and waits there"])
def test_a_site_that_went_on_meanwhile_drops_what_it_trained(made: Federation, trains: bool) -> None:
    """While a node trains, the next invitation arrives, as on one that takes two messages at once."""
    late: list[Any] = []
    train = trainer(made.deltas, METRICS)

    def fails(message: Any, context: Any) -> Any:
        raise RuntimeError

    app, other = (made.flower.ClientApp(mods=[made.flower.client_mod(home=made.folder)]) for _ in range(2))
    other.train()(train if trains else fails)

    @app.train()
    def slow(message: Any, context: Any) -> Any:
        other(late[1], context)
        return train(message, context)

    made.disturb(2, lambda message, app_: late.append(message) or [])
    made.run(2)
    reply = app(late[0], made.context(2))
    assert reply.error.reason == "secagg:Replay"


def test_a_vector_of_another_layout_than_the_model_is_not_made(made: Federation) -> None:
    strategy = made.strategy(max_lost_rounds=1)
    begin = strategy._exchanges.begin

    def elsewhere(length: int, layout: bytes, *rest: Any) -> Any:
        return begin(length, bytes(32), *rest)

    strategy._exchanges.begin = elsewhere
    with pytest.raises(TooFewClients):
        strategy.start(made.grid, made.arrays(), num_rounds=1, timeout=0.01)
    assert {reply.error.reason for reply in made.grid.carried if reply.has_error()} == {"secagg:ViewMismatch"}
    assert made.trained == 0


def test_a_model_that_is_no_model_is_not_trained_from(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(), model={"w": np.array([1.0, np.nan])})
    with pytest.raises(TooFewClients):
        made.run(max_lost_rounds=1)
    assert {reply.error.reason for reply in made.grid.carried if reply.has_error()} == {"secagg:NonFinite"}
    assert made.trained == 0


def test_a_model_above_the_norm_of_the_policy_is_not_trained_from(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(), demands={"max_model_norm": 1.0})
    with pytest.raises(PolicyConflict, match="sent a model of norm 2"):
        made.run()
    assert made.trained == 0


def test_letters_for_another_nodes_party_are_refused(made: Federation) -> None:
    def misled(message: Any, app: Any) -> list[Any]:
        frames = message.content["secagg.frames"]
        frames["4"] = frames["2"]
        return [app(message)]

    made.disturb(2, misled)
    as_lost(made, made.run())
    assert [reply.error.reason for reply in made.grid.carried if reply.has_error()] == ["secagg:Misused"]


def test_a_mask_is_never_used_for_two_messages(made: Federation) -> None:
    """The same training message twice: the same bytes, and the app is not asked again."""
    said: list[bytes] = []

    def twice(message: Any, app: Any) -> list[Any]:
        replies = [app(copy.deepcopy(message)), app(copy.deepcopy(message))]
        said.extend(wire([reply]) for reply in replies)
        return replies[:1]

    made.disturb(2, twice)
    made.run()
    assert said[0] == said[1]
    assert made.trained == CLIENTS


def test_clipping_mods_further_in_see_the_apps_records_only(made: Federation) -> None:
    seen: list[set[str]] = []

    def inner(message: Any, context: Any, call_next: Any) -> Any:
        seen.append(set(message.content))
        return call_next(message, context)

    app = made.flower.ClientApp(mods=[made.flower.client_mod(home=made.folder), inner])
    app.train()(trainer(made.deltas, METRICS))
    made.grid.nodes[102].app = app
    made.run()
    assert seen == [{"arrays", "config"}]


# --- budgets, lost rounds, evaluation ---------------------------------------------------------------------


def noisy(**wishes: Any) -> RoundPlan:
    return plan_for(noise_multiplier=8, max_weight=1, metrics=(), **wishes)


def test_a_ledger_is_charged_and_its_epsilon_told(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", noisy())
    with Ledger.open(place / "run.ledger", Budget(8, 1e-5, "zero-out")) as ledger:
        figures = made.run(2, ledger=ledger).train_metrics_clientapp
        assert 0 < figures[1]["secagg-epsilon"] < figures[2]["secagg-epsilon"] == ledger.interval().upper
        assert figures[2]["secagg-delta"] == 1e-5


def test_noise_without_a_ledger_is_refused(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", noisy())
    with pytest.raises(BadPlan, match="noise without a ledger is not accounted: give ledger="):
        made.strategy()


@pytest.mark.parametrize("ledger", ["run.ledger", Path("run.ledger")], ids=["text", "path"])
def test_a_ledger_that_is_not_open_is_refused(flower: Any, place: Path, ledger: Any) -> None:
    made = Federation(flower, place / "homes", noisy())
    with pytest.raises(Misused, match=r"run\.ledger.* must be an open one: Ledger\.open"):
        made.strategy(ledger=ledger)


def test_a_spent_budget_stops_the_training_and_keeps_the_model(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", noisy())
    with Ledger.open(place / "run.ledger", Budget(1, 1e-5, "zero-out")) as ledger:
        strategy = made.strategy(ledger=ledger)
        result = strategy.start(made.grid, made.arrays(), num_rounds=6, timeout=0.01)
        spent = len(result.train_metrics_clientapp)
        assert 1 <= spent < 6
        assert strategy.stopped is not None
        assert made.trained == spent * CLIENTS
        assert ledger.interval().upper <= 1
        assert result.arrays["layer.bias"].numpy().shape == (3,)


def test_a_lost_round_leaves_the_model_alone_and_three_in_a_row_are_raised(made: Federation) -> None:
    for who in (0, 1, 2):
        made.disturb(who, never)
    with pytest.raises(TooFewClients, match="2 clients remain, 3 are needed"):
        made.run(5)
    kinds = [message.content["secagg"]["kind"] for message in made.grid.sent]
    assert kinds.count("train") == 3 * CLIENTS


def test_a_round_that_is_lost_in_between_is_gone_on_from(made: Federation) -> None:
    calls = iter(range(100))

    def at_first(message: Any, app: Any) -> list[Any]:
        return [] if next(calls) < 3 else [app(message)]

    for who in (0, 1, 2):
        made.disturb(who, at_first)
    result = made.run(2)
    assert list(result.train_metrics_clientapp) == [2]
    assert off_by(result, "layer.bias", MODEL["layer.bias"] + weighted(made.deltas, "layer.bias")) <= STEP


def test_lost_rounds_count_only_in_a_row(made: Federation) -> None:
    calls = {who: iter(range(100)) for who in (0, 1, 2)}

    def every_other_time(who: int) -> Callable[..., list[Any]]:
        return lambda message, app: [] if next(calls[who]) % 2 == 0 else [app(message)]

    for who in calls:
        made.disturb(who, every_other_time(who))
    assert list(made.run(4, max_lost_rounds=2).train_metrics_clientapp) == [2, 4]


def test_a_strategy_that_tells_nodes_different_things_is_refused(made: Federation) -> None:
    class PerNode(made.flower.strategies.FedAvg):
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            for message in super().configure_train(server_round, arrays, config, grid):
                own = made.flower.ConfigRecord({"lr": 0.1 * message.metadata.dst_node_id})
                message.content = made.flower.RecordDict({"arrays": arrays, "config": own})
                yield message

    with pytest.raises(BadPlan, match="the strategy tells nodes different things"):
        made.run(inner=PerNode())
    assert made.trained == 0


def test_too_few_nodes_are_a_lost_round_and_nobody_is_asked(made: Federation) -> None:
    made.grid.present = {100, 101}
    with pytest.raises(TooFewClients, match="2 clients remain, 3 are needed"):
        made.run(3)
    assert {message.content["secagg"]["kind"] for message in made.grid.sent} == {"introduce"}


def test_an_evaluation_is_summed_under_the_mask(made: Federation) -> None:
    result = made.run(evaluate="masked", evaluate_metrics=(Metric("loss", 8),))
    figures = result.evaluate_metrics_clientapp[1]
    mean = sum(WEIGHTS[who] * METRICS[who]["loss"] for who in range(CLIENTS)) / sum(WEIGHTS.values())
    assert figures["loss"] == pytest.approx(mean, abs=8 * STEP)
    assert figures["secagg-exchanges"] == 2
    said = wire(made.grid.carried)
    assert all(repr(METRICS[who]["loss"]).encode() not in said for who in range(CLIENTS))


def test_an_evaluation_that_names_no_metrics_does_not_take_place(made: Federation) -> None:
    result = made.run(evaluate="masked")
    assert result.evaluate_metrics_clientapp == {}
    assert {message.metadata.message_type for message in made.grid.sent} == {"train"}


def test_an_evaluation_in_the_clear_is_flowers_own(flower: Any, place: Path) -> None:
    made = Federation(flower, place / "homes", plan_for(), clear=frozenset({"evaluate"}))
    figures = made.run(evaluate="clear").evaluate_metrics_clientapp[1]
    assert figures["loss"] > 0
    assert "secagg-exchanges" not in figures


LOSS = (Metric("loss", 8),)
CLIP = AdaptiveClip.for_cohort(CLIENTS, min_clip=Fraction(1, 100), max_clip=Fraction(10))


@pytest.mark.parametrize(
    ("settings", "plan", "why"),
    [
        ({"evaluate": "plain"}, {}, "evaluate is 'plain', it must be one of masked, off, clear"),
        ({"evaluate": "masked", "evaluate_metrics": LOSS}, {"protocol": "ckks"}, "keys are for one: evaluate='off'"),
        (
            {"evaluate": "masked", "evaluate_metrics": LOSS},
            {"noise_multiplier": 0.4, "adaptive": CLIP, "max_weight": 1},
            "would move the clip that adapts: evaluate='off'",
        ),
    ],
)
def test_an_evaluation_that_cannot_be_masked_is_refused(
    flower: Any, place: Path, settings: dict, plan: dict, why: str
) -> None:
    made = Federation(flower, place / "homes", plan_for(metrics=(), **plan))
    with pytest.raises(BadPlan, match=why):
        made.strategy(**settings)


# --- which strategies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FedAvg", "FedProx", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad"])
def test_a_strategy_of_a_mean_is_taken(made: Federation, name: str) -> None:
    assert made.strategy(getattr(made.flower.strategies, name)()).strategy


@pytest.mark.parametrize(
    "name", ["FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan", "QFedAvg", "FedXgbBagging"]
)
def test_a_strategy_that_needs_single_updates_is_refused_by_name(made: Federation, name: str) -> None:
    single = getattr(made.flower.strategies, name)
    with pytest.raises(BadPlan, match=f"{name} needs individual updates; they are never seen"):
        made.strategy(single.__new__(single))


def test_noise_around_the_mean_is_refused_with_where_it_belongs(made: Federation) -> None:
    wrapper = made.flower.strategies.DifferentialPrivacyServerSideFixedClipping
    with pytest.raises(BadPlan, match="noise_multiplier"):
        made.strategy(wrapper.__new__(wrapper))


def test_an_unknown_way_to_aggregate_needs_its_authors_word(made: Federation) -> None:
    class Mine(made.flower.strategies.FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            return super().aggregate_train(server_round, replies)

    with pytest.raises(BadPlan, match=r"Mine\.aggregate_train may need individual updates"):
        made.strategy(Mine())
    assert made.strategy(Mine(), mean_only=True).strategy


def test_a_function_for_metrics_needs_its_authors_word(made: Federation) -> None:
    inner = made.flower.strategies.FedAvg(train_metrics_aggr_fn=lambda contents, key: made.flower.MetricRecord())
    with pytest.raises(BadPlan, match="train_metrics_aggr_fn is given one reply"):
        made.strategy(inner)
    assert made.strategy(inner, mean_only=True).strategy


# --- without flwr -----------------------------------------------------------------------------------------


def test_without_flwr_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['flwr'] = None\n"
        "from protocols.errors import MissingExtra\n"
        "try:\n    import protocols.adapters.flower\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert "[flower]'" in done.stdout
