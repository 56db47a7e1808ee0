"""The `secagg` command as its users and their scripts see it: streams, keys, exit codes, and no traceback, ever."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rich.console import Console

from dp.accountant import Budget
from dp.errors import (
    AccountantDisagreement,
    BudgetExceeded,
    ClipExceeded,
    DpError,
    EntropyUnavailable,
    LedgerError,
    UnsoundNoise,
)
from dp.ledger import Ledger
from protocols.cli import app, exit_code, main, process
from protocols.errors import Misbehaved, Misused, ProtocolError, RoundLost
from protocols.learning import demo as demo_module
from protocols.learning.demo import BUDGET
from protocols.report import progress
from protocols.simulate import Simulation
from secagg.errors import EntropyUnavailable as NoEntropy
from secagg.errors import SecaggError
from tests.command import Ran, Secagg, in_this_process
from tools.site_pages.keys import KEYS, PLANNED, unlisted_in

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "from protocols.cli import main; main()"

# --- fine calls; their keys are those of tools/site_pages/keys.py

FINE = {
    "demo": {"--clients": "8", "--rounds": "2", "--dropout": "0.15"},
    "simulate": {"--clients": "5", "--dim": "20", "--dropout": "0.2", "--seed": "3"},
    "plan": {"--clients": "20", "--dropout": "0.2", "--corrupt": "0.1", "--dim": "1000"},
    "epsilon": {"--noise-multiplier": "1.1", "--sampling-rate": "0.01", "--steps": "1000", "--delta": "1e-5"},
    "calibrate": {"--epsilon": "6", "--delta": "1e-4", "--sampling-rate": "1", "--steps": "30"},
}
NEEDED = {
    "demo": set(),
    "simulate": {"--clients", "--dim"},
    "plan": {"--clients", "--dropout", "--corrupt"},
    "epsilon": {"--noise-multiplier", "--sampling-rate", "--steps", "--delta"},
    "calibrate": {"--epsilon", "--delta", "--sampling-rate", "--steps"},
}


@pytest.fixture
def secagg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Secagg:
    return in_this_process(monkeypatch, capsys, tmp_path)


def in_a_process(*arguments: str, before: str = "", cwd: Path) -> Ran:
    """The command as a shell starts it."""
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{PROGRAM}", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def words(options: dict[str, str]) -> list[str]:
    # With "=", so that a negative number is a value and not another option.
    return [f"{name}={value}" for name, value in options.items()]


def call(command: str, *more: str, **changed: str | None) -> list[str]:
    """A fine call of the command with some options changed (named with underscores) or, by None, left out."""
    changes = {"--" + name.replace("_", "-"): value for name, value in changed.items()}
    options = {name: value for name, value in {**FINE[command], **changes}.items() if value is not None}
    return [command, *words(options), *more]


# --- every command, both faces


def test_every_command_is_tested_here() -> None:
    # `bench` measures for minutes, and has tests of its own.
    assert {info.callback.__name__ for info in app.registered_commands if info.callback} == {*FINE, "bench"}


@pytest.mark.parametrize("command", sorted(FINE))
def test_json_is_one_object_with_the_promised_keys_and_nothing_else(command: str, secagg: Secagg) -> None:
    ran = secagg(*call(command, "--json"))
    assert ran.code == 0
    assert unlisted_in(ran.json) == []
    assert ran.json["command"] == command
    # Only the demo says how far it is where nobody watches.
    assert ("round" in ran.err) if command == "demo" else (ran.err == "")


@pytest.mark.parametrize("command", sorted(FINE))
def test_the_table_shows_every_key_and_progress_stays_on_stderr(command: str, secagg: Secagg) -> None:
    ran = secagg(*call(command))
    assert ran.code == 0
    labels = {line.split("│")[1].strip() for line in ran.out.splitlines() if line.startswith("│")}
    shown = KEYS[f"secagg {command}"].usual
    if command == "plan":
        # Tables of their own; sentences stand below them, and nothing is said of half a ring where there is none, nor
        # of a round's duration where exchanges are not counted.
        sentences = {"way", "why", "trusts", "survives", "advice", "reasons"}
        shown = (shown | set(PLANNED)) - {"protocols", "window", "round_seconds"} - sentences
    assert labels == {key.replace("_", " ") for key in shown}
    assert "without privacy" not in ran.out
    assert ("without privacy" in ran.err) if command == "demo" else (ran.err == "")


def test_simulate_at_its_documented_size_is_exact_in_a_real_process(tmp_path: Path) -> None:
    ran = in_a_process(*["simulate", "--clients", "20", "--dim", "100000", "--dropout", "0.2", "--json"], cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    found = ran.json
    assert found["exact"] is True
    assert 16 <= found["survivors"] <= 20
    assert found["deterministic"] is False
    # 21 bits per coordinate, and what the exchanges carry besides.
    assert 100_000 * 21 / 8 < found["upload_bytes_per_client"] < 100_000 * 21 / 8 + 8192


def test_simulate_with_a_seed_repeats_itself(secagg: Secagg) -> None:
    clock = {"client_seconds_median", "server_seconds", "peak_rss_bytes"}
    one, two = (secagg(*call("simulate", "--json")).json for _ in range(2))
    assert one["deterministic"] is True
    assert {key: one[key] for key in one if key not in clock} == {key: two[key] for key in two if key not in clock}


def test_a_plan_shows_both_adversaries_and_the_bytes_that_simulate_counts(secagg: Secagg) -> None:
    found = secagg(*call("plan", "--json", dropout="0", clients="9", bits="12")).json
    assert found["recommended"] == "pairwise"
    for shown in found["protocols"].values():
        assert set(shown) == {*PLANNED, "variants"}
        assert all(set(variant) == set(PLANNED) for variant in shown["variants"])
    shown = found["protocols"]["pairwise"]
    assert [(one["promise"], one["exchanges"]) for one in (shown, *shown["variants"])] == [
        ("active", 5),
        ("curious", 4),
    ]
    # On the complete graph nothing is left to chance, and JSON has no word for log2 of zero.
    assert (shown["privacy_failure_log2"], shown["completion_failure_log2"]) == (None, None)
    played = secagg(*call("simulate", "--json", dropout="0", clients="9", bits="12", dim="1000")).json
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client"):
        assert played[name] == shown[name]


def test_a_plan_shows_the_encrypted_sum_that_simulate_plays(secagg: Secagg) -> None:
    options = {"dropout": "0", "clients": "5", "bits": "12"}
    shown = secagg(*call("plan", "--json", **options, corrupt="0")).json["protocols"]["ckks"]
    assert [(one["promise"], one["mode"], one["feasible"]) for one in (shown, *shown["variants"])] == [
        ("active", "threshold", True),
        ("active", "single", True),
        ("active", "seeded", True),
        ("curious", "threshold", True),
    ]
    played = secagg(*call("simulate", "--json", **options, dim="1000", protocol="ckks")).json
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client", "download_bytes_per_holder"):
        assert played[name] == shown[name]


@pytest.mark.parametrize(
    ("mode", "holders", "binding", "said"),
    [
        ("threshold", 5, "full", "a client that helps whoever sees the opened sums"),
        ("single", 1, None, "the decryptor alone can decrypt every upload"),
        ("seeded", 1, None, "every client can decrypt every other client's upload"),
    ],
)
def test_simulate_plays_every_way_to_open_and_says_what_is_weak_about_it(
    mode: str, holders: int, binding: str | None, said: str, secagg: Secagg
) -> None:
    found = secagg(*call("simulate", "--json", protocol="ckks", mode=mode)).json
    assert unlisted_in(found) == []
    assert (found["mode"], found["holders"], found["binding"]) == (mode, holders, binding)
    assert (found["exact"], found["deterministic"], found["degree"]) == (True, True, None)
    assert str(found["weakness"]).startswith(said)
    assert (found["smudging_log2"] is None) is (mode != "threshold")
    assert (found["download_bytes_per_holder"] == 0) is (mode == "seeded")
    again = secagg(*call("simulate", "--json", protocol="ckks", mode=mode)).json
    clock = {"client_seconds_median", "server_seconds", "holder_seconds_median", "peak_rss_bytes"}
    assert all(again[key] == value for key, value in found.items() if key not in clock)
    shown = secagg(*call("simulate", protocol="ckks", mode=mode)).out
    assert "│ weakness" in shown


@pytest.mark.parametrize("protocol", ["pairwise", "ckks"])
def test_simulate_says_on_a_terminal_how_far_it_is_and_nothing_of_it_on_stdout(
    protocol: str, secagg: Secagg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    monkeypatch.setattr(progress, "NOTES", Console(file=terminal, force_terminal=True))
    ran = secagg(*call("simulate", "--json", protocol=protocol, dropout="0"))
    assert (ran.json["exact"], ran.err) == (True, "")
    assert "5/5" in terminal.getvalue()
    assert (
        ("answers of holders: 4" in terminal.getvalue()) is ("answers" in terminal.getvalue()) is (protocol == "ckks")
    )


def test_encrypted_sums_are_opened_by_holders_unless_it_is_said(secagg: Secagg) -> None:
    assert secagg(*call("simulate", "--json", protocol="ckks")).json["mode"] == "threshold"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "single"}, "add --protocol ckks"),
        ({"mode": "threshold", "protocol": "pairwise"}, "add --protocol ckks"),
        ({"mode": "seeded", "protocol": "ckks", "engine": "fft"}, "leave --engine out"),
        ({"mode": "all", "protocol": "ckks"}, "threshold"),
        ({"mode": "", "protocol": "ckks"}, "threshold"),
    ],
)
def test_a_mode_that_means_nothing_here_is_wrong_use(options: dict[str, str], said: str, secagg: Secagg) -> None:
    told = secagg(*call("simulate", "--json", **options))
    assert (told.code, told.json["error"]) == (2, "UsageError")
    assert said in str(told.json["message"]).replace("\n", " ")


def test_a_table_has_no_rows_that_a_protocol_never_fills(secagg: Secagg) -> None:
    rest, encrypted = secagg(*call("plan", corrupt="0")).out.split(" ckks ")
    masks, committees = rest.split(" oneshot ")
    assert "degree" in masks
    for shown in (committees, encrypted):
        assert "holders  " in shown
        assert "degree" not in shown
    assert "holders  " not in masks
    assert "committee  " in committees
    assert "committee  " not in masks + encrypted
    assert "active, named committee of 10: at most 2 of the 10 members may help the server" in committees
    assert "active, threshold key: a client speaks once" in encrypted


def test_a_plan_shows_the_one_shot_sum_that_simulate_plays(secagg: Secagg) -> None:
    options = {"dropout": "0", "clients": "5", "bits": "12"}
    shown = secagg(*call("plan", "--json", **options)).json["protocols"]["oneshot"]
    found = [(one["committee"], one["holders"], one["feasible"]) for one in (shown, *shown["variants"])]
    assert found == [("named", 10, True), ("named", 5, True), ("named", 20, True), ("drawn", 5, True)]
    assert (shown["exchanges"], shown["round_exchanges"], shown["way"]) == (1, 2, "named committee of 10")
    # Nothing is left to chance that corrupts, and JSON has no word for log2 of zero.
    assert (shown["privacy_failure_log2"], shown["completion_failure_log2"]) == (None, -36)
    played = secagg(*call("simulate", "--json", **options, dim="1000", protocol="oneshot")).json
    assert unlisted_in(played) == []
    for name in ("degree", "threshold", "modulus_bits", "upload_bytes_per_client"):
        assert played[name] == shown[name]
    assert played["download_bytes_per_member"] == shown["download_bytes_per_holder"]


@pytest.mark.parametrize(
    "options",
    [
        {"clients": "1000", "dropout": "0.46"},
        {"clients": "10000", "dropout": "0.41"},
        {"clients": "1000000", "bits": "8"},
    ],
)
def test_what_pairwise_masks_do_not_survive_is_done_in_one_shot(options: dict[str, str], secagg: Secagg) -> None:
    found = secagg(*call("plan", "--json", **options)).json
    assert found["recommended"] == "oneshot"
    assert not found["protocols"]["pairwise"]["feasible"]
    assert any(str(reason).startswith("not pairwise: ") for reason in found["reasons"])


def test_exchanges_that_take_seconds_are_counted_and_the_reasons_are_shown(secagg: Secagg) -> None:
    least = secagg(*call("plan", "--json")).json
    assert (least["recommended"], least["exchange_seconds"]) == ("pairwise", 0)
    assert {shown["round_seconds"] for shown in least["protocols"].values()} == {None}
    asked = {"exchange-seconds": "5", "corrupt": "0"}
    found = secagg(*call("plan", "--json", **asked)).json
    assert (found["recommended"], found["exchange_seconds"]) == ("oneshot", 5)
    counted = {name: shown["round_exchanges"] for name, shown in found["protocols"].items()}
    # Five of the last are those that make a key for one round.
    assert counted == {"pairwise": 5, "oneshot": 2, "ckks": 7}
    for name, shown in found["protocols"].items():
        computing = shown["client_seconds"] + shown["server_seconds"]
        assert shown["round_seconds"] == pytest.approx(5 * counted[name] + computing)
    reasons = found["reasons"]
    assert re.match(r"oneshot: its round is the shortest, 10[.\d]* s: 2 exchanges of 5 s", str(reasons[0]))
    assert sum(str(reason).startswith(("not pairwise: ", "not ckks: ")) for reason in reasons) == 2
    text = " ".join(secagg(*call("plan", **asked)).out.replace("│", " ").split())
    assert "oneshot: its round is the shortest" in text
    assert "for that oneshot asks for more trust: at most 2 of the 10 members may help the server" in text
    assert "round seconds" in text


def test_a_plan_on_a_ring_shows_its_two_failure_probabilities(secagg: Secagg) -> None:
    shown = secagg(*call("plan", "--json", clients="100000", dropout="0.1")).json["protocols"]["pairwise"]
    assert (shown["graph"], shown["degree"], shown["threshold"]) == ("roster", 156, 106)
    assert -60 < shown["privacy_failure_log2"] < -40
    assert -60 < shown["completion_failure_log2"] < -29


def test_a_plan_says_below_its_table_why_and_what_to_mind(secagg: Secagg) -> None:
    ran = secagg(*call("plan", clients="100", dropout="0.4", corrupt="0.33", promise="curious"))
    assert ran.code == 0
    assert "curious, complete graph: safe only while the server follows the protocol" in ran.out
    assert "active, complete graph: 100 clients with 33 corrupted cannot lose 40" in ran.out


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": "0.5"},
        {"corrupt": "0.9"},
        {"clients": "1000", "dropout": "0.51"},
        {"clients": "10000", "dropout": "0.5"},
    ],
)
def test_an_infeasible_plan_names_the_largest_feasible_drop_out_or_the_corruption(
    options: dict[str, str], secagg: Secagg
) -> None:
    told = secagg(*call("plan", "--json", **options))
    assert (told.code, told.json["command"], told.json["error"]) == (2, "plan", "BadPlan")
    reasons = r"largest feasible drop-out is [\d/]+ |even without drop-out|assume less corruption"
    assert re.search(reasons, str(told.json["message"]))


def test_the_demo_writes_where_it_says(secagg: Secagg, tmp_path: Path) -> None:
    found = secagg(*call("demo", "--json", runs="here")).json
    folder = tmp_path / str(found["folder"])
    assert folder.parent == tmp_path / "here"
    report = json.loads((folder / "report.json").read_text("utf-8"))
    of_the_command = {"version", "command", "ledger_verdict", "ledger_replayed", "report"}
    assert report == {key: value for key, value in found.items() if key not in of_the_command}
    assert (found["ledger_verdict"], found["ledger_replayed"]) == ("verified", True)
    assert (tmp_path / str(found["report"])).read_text("utf-8").startswith("<!DOCTYPE html>")
    assert len(found["survivors"]) == found["rounds"] == 2


def test_the_demo_without_noise_has_no_epsilon(secagg: Secagg) -> None:
    found = secagg(*call("demo", "--no-dp", "--iid", "--json", rounds="1")).json
    assert (found["epsilon"], found["delta"], found["ledger_tail"]) == (None, None, None)
    assert unlisted_in(found) == []
    assert found["exact"] is True


@pytest.mark.parametrize("folder", ["[/x]", "[bold red]", "a b"])
def test_no_name_of_a_folder_breaks_the_demo(folder: str, secagg: Secagg) -> None:
    assert secagg(*call("demo", runs=folder, rounds="1")).code == 0


def test_a_folder_whose_name_is_no_text_breaks_nothing(tmp_path: Path) -> None:
    assert in_a_process(*call("demo", runs="\udcff", rounds="1"), cwd=tmp_path).code == 0


def test_calibrate_keeps_the_promise_that_epsilon_checks(secagg: Secagg) -> None:
    for options in ({}, {"sampling_rate": "0.1", "epsilon": "2", "steps": "500"}, {"relation": "zero-out"}):
        found = secagg(*call("calibrate", "--json", **options)).json
        limit = float(options.get("epsilon", FINE["calibrate"]["--epsilon"]))
        assert found["epsilon"] <= limit
        asked = {
            key: options.get(key, FINE["calibrate"].get("--" + key.replace("_", "-")))
            for key in ("delta", "sampling_rate", "steps", "relation")
        }
        checked = secagg(*call("epsilon", "--json", noise_multiplier=repr(found["noise_multiplier"]), **asked)).json
        assert checked["epsilon_upper"] <= limit
        assert checked["epsilon_upper"] == pytest.approx(found["epsilon"], rel=1e-12)


def table_of(ran: Ran) -> dict[str, str]:
    """What the two columns of a table say."""
    rows = [line.strip("│").split("│") for line in ran.out.splitlines() if line.startswith("│")]
    return {label.strip(): value.strip() for label, value in rows}


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace", "discrete-gaussian", "skellam"])
@pytest.mark.parametrize("epsilon", ["0.37", "4"])
def test_what_the_table_of_calibrate_says_may_be_typed_back(mechanism: str, epsilon: str, secagg: Secagg) -> None:
    asked = {"delta": "1e-6", "sampling_rate": "1", "steps": "7"}
    noise = table_of(secagg(*call("calibrate", epsilon=epsilon, mechanism=mechanism, **asked)))["noise multiplier"]
    checked = secagg(*call("epsilon", "--json", noise_multiplier=noise, mechanism=mechanism, **asked)).json
    assert 0.99 * float(epsilon) < checked["epsilon_upper"] <= float(epsilon)


def test_bounds_are_shown_rounded_outwards(secagg: Secagg) -> None:
    asked = call("epsilon", sampling_rate="1", noise_multiplier="1.7", steps="3")
    exact, shown = secagg(*asked, "--json").json, table_of(secagg(*asked))
    assert float(shown["epsilon lower"]) <= exact["epsilon_lower"] <= exact["epsilon_upper"]
    for name in ("epsilon_upper", "epsilon_aggregator_view"):
        assert exact[name] <= float(shown[name.replace("_", " ")]) <= exact[name] * (1 + 1e-5)


def test_calibrate_solves_for_what_is_left_out(secagg: Secagg) -> None:
    asked = {"epsilon": "3", "delta": "1e-5", "relation": "zero-out"}
    noise = secagg(*call("calibrate", "--json", steps="200", sampling_rate="0.05", **asked)).json
    given = str(noise["noise_multiplier"])
    steps = secagg(*call("calibrate", "--json", noise_multiplier=given, sampling_rate="0.05", steps=None, **asked)).json
    assert unlisted_in(steps) == []
    assert steps["steps"] == 200
    rate = secagg(*call("calibrate", "--json", noise_multiplier=given, sampling_rate=None, steps="200", **asked)).json
    assert unlisted_in(rate) == []
    assert rate["sampling_rate"] == pytest.approx(0.05, rel=1e-4)
    assert max(noise["epsilon"], steps["epsilon"], rate["epsilon"]) <= 3


def test_rates_may_be_typed_as_fractions_and_cohorts_by_their_size(secagg: Secagg) -> None:
    decimal, fraction = (secagg(*call("epsilon", "--json", sampling_rate=rate)).json for rate in ("0.01", "1/100"))
    assert decimal == fraction
    sized = {"sampling_rate": None, "cohort": "10", "population": "1000", "relation": "replace-one"}
    found = secagg(*call("epsilon", "--json", **sized)).json
    assert found["epsilon_upper"] < found["epsilon_aggregator_view"]
    noise = secagg(*call("calibrate", "--json", **sized)).json["noise_multiplier"]
    back = secagg(*call("calibrate", "--json", **sized, steps=None, noise_multiplier=str(noise))).json
    assert back["steps"] == int(FINE["calibrate"]["--steps"])


def test_a_client_seen_less_often_costs_the_aggregator_view_less(secagg: Secagg) -> None:
    views = [
        secagg(*call("epsilon", "--json", participations=seen)).json for seen in ("1", "30", FINE["epsilon"]["--steps"])
    ]
    assert [one["epsilon_upper"] for one in views] == [views[0]["epsilon_upper"]] * 3
    seen = [one["epsilon_aggregator_view"] for one in views]
    assert seen == sorted(seen)
    assert seen[0] < seen[1] < seen[2]


EXTREMES = [
    {"noise_multiplier": "1e-15"},
    {"noise_multiplier": "1e15"},
    {"noise_multiplier": "1e-15", "steps": str(2**48), "sampling_rate": "1e-15"},
    {"noise_multiplier": "1e15", "steps": str(2**48)},
    {"steps": str(2**48)},
    {"steps": str(2**48), "noise_multiplier": "1e-3", "sampling_rate": "1"},
    {"sampling_rate": "1e-300"},
    {"sampling_rate": "0.9999999999999999"},
    {"delta": "1e-300"},
    {"delta": "0.999999"},
    {"delta": "1e-300", "sampling_rate": "1e-300", "noise_multiplier": "1e-15"},
]


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace", "discrete-gaussian"])
@pytest.mark.parametrize("extreme", EXTREMES, ids=lambda extreme: " ".join(f"{k}={v}" for k, v in extreme.items()))
def test_extremes_have_an_answer_and_no_warning(extreme: dict[str, str], mechanism: str, secagg: Secagg) -> None:
    ran = secagg(*call("epsilon", "--json", mechanism=mechanism, **extreme))
    assert ran.err == ""
    if ran.code == 0:
        assert 0 <= ran.json["epsilon_upper"] <= ran.json["epsilon_aggregator_view"]
    else:
        assert (ran.code, ran.json["error"] in ("Infeasible", "NoiseTooCoarse")) == (2, True)


@pytest.mark.parametrize(
    "extreme",
    [
        {"epsilon": "1e-9"},
        {"epsilon": "1e9"},
        {"epsilon": "0"},
        {"delta": "1e-300"},
        {"delta": "0.999999"},
        {"steps": str(2**48)},
        {"steps": str(2**48), "sampling_rate": "1e-9"},
        {"sampling_rate": "1e-300"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mechanism", ["gaussian", "laplace", "discrete-gaussian"])
def test_extreme_budgets_have_an_answer_and_no_warning(extreme: dict[str, str], mechanism: str, secagg: Secagg) -> None:
    ran = secagg(*call("calibrate", "--json", mechanism=mechanism, **extreme))
    assert ran.err == ""
    if ran.code == 0:
        assert ran.json["epsilon"] <= float(extreme.get("epsilon", FINE["calibrate"]["--epsilon"]))
    else:
        assert (ran.code, ran.json["error"]) == (2, "Infeasible")


def test_help_is_fine(secagg: Secagg) -> None:
    helped = secagg("--help")
    assert (helped.code, helped.err) == (0, "")
    assert all(command in helped.out for command in FINE)
    assert all(secagg(command, "--help").code == 0 for command in FINE)


@pytest.mark.parametrize(("group", "command"), [([], "simulate"), (["ledger"], "verify"), (["audit"], "selftest")])
def test_no_command_shows_those_there_are_and_is_wrong_use(group: list[str], command: str, secagg: Secagg) -> None:
    empty = secagg(*group)
    assert (empty.code, empty.err) == (2, "")
    assert command in empty.out
    assert secagg(*group, "--help").out.rstrip() == empty.out.rstrip()


# --- wrong use: exit 2, by name, before anything happens

NO_NUMBER = ("nan", "inf", "-inf", "-1", "", "many")
USAGE, PLAN = {"UsageError"}, {"UsageError", "BadPlan", "Misused"}
NONSENSE = {"UsageError", "BadParameters"}


def wrong(command: str, option: str, values: Iterable[str], names: set[str]) -> list[tuple[list[str], set[str]]]:
    return [(call(command, **{option: value}), names) for value in values]


WRONG_USE: list[tuple[list[str], set[str]]] = [
    *wrong("demo", "clients", (*NO_NUMBER, "0", "2", "1025", "8.5"), USAGE),
    *wrong("demo", "rounds", (*NO_NUMBER, "0", "1.5"), USAGE),
    # Whether NaN lies in 0..1 is for the parser or for the plan to deny, depending on the release.
    *wrong("demo", "dropout", (*NO_NUMBER, "1.0001", "2"), PLAN),
    *wrong("demo", "seed", NO_NUMBER, USAGE),
    *wrong("demo", "protocol", ("", "ckks-2", "nan"), USAGE),
    *wrong("demo", "dropout", ("0.6",), {"BadPlan"}),
    *wrong("demo", "rounds", ("1" + 30 * "0",), {"BadParameters"}),
    *wrong("simulate", "clients", (*NO_NUMBER, "0", "2", "100001"), USAGE),
    *wrong("simulate", "dim", (*NO_NUMBER, "0", "1e3"), USAGE),
    *wrong("simulate", "dim", (str((1 << 27) + 1), "4294967297", "1" + 40 * "0"), USAGE),
    *wrong("simulate", "dropout", (*NO_NUMBER, "1.0001"), PLAN),
    *wrong("simulate", "bits", (*NO_NUMBER, "1", "25"), USAGE),
    *wrong("simulate", "seed", NO_NUMBER, USAGE),
    *wrong("simulate", "seed", ("9" * 100,), {"Misused"}),
    *wrong("simulate", "protocol", ("", "smoke"), USAGE),
    *wrong("plan", "clients", (*NO_NUMBER, "0", "2", "1000001", "8.5"), USAGE),
    *wrong("plan", "clients", ("1000000",), {"BadPlan"}),
    *wrong("plan", "dropout", (*NO_NUMBER, "0.5", "1", "1.0001"), PLAN),
    *wrong("plan", "corrupt", (*NO_NUMBER, "0.9", "1", "1.0001"), PLAN),
    *wrong("plan", "dim", (*NO_NUMBER, "0", "1e3"), USAGE),
    *wrong("plan", "dim", ("4294967297", "1" + 40 * "0"), {"BadPlan"}),
    *wrong("plan", "bits", (*NO_NUMBER, "1", "25"), USAGE),
    *wrong("plan", "promise", ("", "hope"), USAGE),
    *wrong("plan", "exchange-seconds", (*NO_NUMBER, "-1", "-0.001"), PLAN),
    *wrong("plan", "exchange-seconds", ("inf", "1e999"), {"BadPlan"}),
    *wrong("epsilon", "noise_multiplier", (*NO_NUMBER, "0", "1e999", "1e999999999", "1/0"), NONSENSE),
    *wrong("epsilon", "sampling_rate", (*NO_NUMBER, "0", "1.5", "3/2", "1e999999999"), NONSENSE),
    *wrong("epsilon", "steps", (*NO_NUMBER, "0", "1.5", "1" + 30 * "0"), NONSENSE),
    *wrong("epsilon", "delta", (*NO_NUMBER, "1", "1.5", "1e-400", "1e-999999999"), NONSENSE),
    *wrong("epsilon", "delta", ("0",), {"Infeasible"}),
    *wrong("epsilon", "participations", (*NO_NUMBER, "0", "1001", "1.5"), NONSENSE),
    *wrong("epsilon", "cohort", ("5",), USAGE),
    *wrong("epsilon", "population", ("5",), USAGE),
    *wrong("epsilon", "plot", ("", "x", "x.jpg", "missing/x.png", ".png"), {"Misused"}),
    (call("epsilon", sampling_rate=None, cohort="5"), USAGE),
    (call("epsilon", cohort="5", population="9"), USAGE),
    (call("epsilon", sampling_rate=None, cohort="9", population="5", relation="replace-one"), {"BadParameters"}),
    (call("epsilon", sampling_rate=None, cohort="5", population="9"), {"UnsupportedEvent"}),
    (
        call("epsilon", sampling_rate=None, cohort="5", population="9", mechanism="laplace", relation="replace-one"),
        {"UnsupportedEvent"},
    ),
    *wrong("epsilon", "relation", ("", "neighbour"), USAGE),
    *wrong("epsilon", "mechanism", ("", "cauchy"), USAGE),
    *wrong("epsilon", "relation", ("replace-one",), {"UnsupportedEvent"}),
    *wrong("epsilon", "mechanism", ("skellam",), {"UnsupportedEvent"}),
    *wrong("calibrate", "epsilon", (*NO_NUMBER, "1e30", "1e999999999"), NONSENSE),
    *wrong("calibrate", "noise_multiplier", ("1",), USAGE),
    *wrong("calibrate", "mechanism", ("", "cauchy"), USAGE),
    *wrong("calibrate", "plot", ("x", "missing/x.svg"), {"Misused"}),
    (call("calibrate", steps=None, noise_multiplier="0"), NONSENSE),
    (call("calibrate", steps=None, noise_multiplier="1e-3"), {"Infeasible"}),
    (call("calibrate", sampling_rate=None, noise_multiplier="1e-3", delta="1e-30"), {"Infeasible"}),
    (call("calibrate", sampling_rate=None, steps=None, noise_multiplier="1"), USAGE),
    (call("calibrate", sampling_rate="0.5", mechanism="skellam"), {"UnsupportedEvent"}),
    (call("calibrate", sampling_rate="0.5", relation="replace-one"), {"UnsupportedEvent"}),
    *wrong("calibrate", "delta", (*NO_NUMBER, "1"), NONSENSE),
    *wrong("calibrate", "delta", ("0",), {"Infeasible"}),
    *wrong("calibrate", "sampling_rate", (*NO_NUMBER, "0", "2"), NONSENSE),
    *wrong("calibrate", "steps", (*NO_NUMBER, "0"), NONSENSE),
    *((call(command, **{option[2:].replace("-", "_"): None}), USAGE) for command in FINE for option in NEEDED[command]),
    *((call(command, "--frobnicate"), USAGE) for command in FINE),
    *((call(command, "surplus"), USAGE) for command in FINE),
]


@pytest.mark.parametrize(("arguments", "names"), WRONG_USE, ids=[" ".join(a)[:90] for a, _ in WRONG_USE])
def test_wrong_use_ends_in_two_with_its_name_and_leaves_nothing(
    arguments: list[str], names: set[str], secagg: Secagg, tmp_path: Path
) -> None:
    told = secagg(*arguments, "--json")
    assert told.code == 2
    assert set(told.json) == {"version", "command", "error", "message"}
    assert told.json["command"] == arguments[0]
    assert told.json["error"] in names
    assert told.json["message"]
    shown = secagg(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert f"{told.json['error']}: " in shown.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_is_wrong_use_and_has_no_name(secagg: Secagg) -> None:
    told = secagg("dema", "--json")
    assert (told.code, told.json["command"], told.json["error"]) == (2, None, "UsageError")
    assert "dema" in secagg("dema").err


@pytest.mark.parametrize("arguments", [["--no-dp", "--ledger=x"], ["--runs=file"], ["--runs=/dev/null/x"]])
def test_a_demo_that_cannot_be_is_misuse(arguments: list[str], secagg: Secagg, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = secagg(*call("demo", *arguments, "--json"))
    assert (told.code, told.json["error"]) == (2, "Misused")
    assert "Misused: " in secagg(*call("demo", *arguments)).err


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("command", ["epsilon", "calibrate"])
def test_without_matplotlib_a_plot_names_the_line_that_installs_it(command: str, tmp_path: Path) -> None:
    before = BLOCKED.replace("sklearn", "matplotlib")
    told = in_a_process(*call(command, "--json", plot="x.png"), before=before, cwd=tmp_path)
    assert (told.code, told.json["error"]) == (2, "MissingExtra")
    assert "[report]'" in str(told.json["message"])
    assert list(tmp_path.iterdir()) == []
    # Without a plot nobody misses it.
    assert in_a_process(*call(command, "--json"), before=before, cwd=tmp_path).code == 0


@pytest.mark.parametrize("command", ["epsilon", "calibrate"])
def test_a_plot_is_drawn_beside_the_same_answer(command: str, secagg: Secagg, tmp_path: Path) -> None:
    plain = secagg(*call(command, "--json")).json
    drawn = secagg(*call(command, "--json", plot="x.png"))
    assert (drawn.code, drawn.err) == (0, "")
    assert drawn.json == {**plain, "plot": "x.png"}
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_scikit_learn_the_demo_names_the_line_that_installs_it(tmp_path: Path) -> None:
    told = in_a_process(*call("demo", "--json"), before=BLOCKED, cwd=tmp_path)
    assert (told.code, told.json["error"]) == (2, "MissingExtra")
    assert "[report]'" in str(told.json["message"])
    shown = in_a_process(*call("demo"), before=BLOCKED, cwd=tmp_path)
    assert (shown.code, shown.out) == (2, "")
    assert "MissingExtra: " in shown.err
    assert "[report]'" in shown.err
    assert list(tmp_path.iterdir()) == []


# --- refused or failed: exit 1, by name


@pytest.mark.parametrize("dropout", ["0.6", "0.8", "0.99"])
def test_too_many_drop_outs_lose_the_round_by_name(dropout: str, secagg: Secagg) -> None:
    arguments = call("simulate", clients="20", dropout=dropout)
    told = secagg(*arguments, "--json")
    assert (told.code, told.json["error"]) == (1, "TooFewClients")
    assert "open a new round" in str(told.json["message"])
    shown = secagg(*arguments)
    assert (shown.code, shown.out) == (1, "")
    assert "TooFewClients: " in shown.err


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_an_inexact_sum_is_shown_and_ends_in_one(command: str, secagg: Secagg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Simulation, "exact", property(lambda _: False))
    told = secagg(*call(command, "--json"))
    assert (told.code, told.json["exact"]) == (1, False)
    shown = secagg(*call(command))
    assert shown.code == 1
    assert "│ exact" in shown.out


def test_a_demo_that_loses_every_round_ends_in_one_with_its_result(
    secagg: Secagg, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three of the seven selected vanish where the plan for a smaller drop-out can spare two.
    honest = demo_module.FaultPlan.seeded
    monkeypatch.setattr(demo_module.FaultPlan, "seeded", lambda ids, _, seed: honest(ids, 1.0, seed))
    told = secagg(*call("demo", "--json"))
    assert (told.code, told.json["exact"], told.json["survivors"]) == (1, False, [0, 0])
    assert "no round ended in a sum" in told.err
    assert secagg(*call("demo")).code == 1


def test_a_full_disk_ends_in_one_with_the_rounds_so_far(
    secagg: Secagg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(demo_module, "save_model", full)
    told = secagg(*call("demo", "--json"))
    assert (told.code, told.json["error"]) == (1, "OSError")
    assert "No space left" in str(told.json["message"])
    (lines,) = tmp_path.glob("runs/*/rounds.jsonl")
    assert len(lines.read_text("utf-8").splitlines()) == 1


def test_the_ledger_of_one_demo_is_spent_by_the_next(secagg: Secagg, tmp_path: Path) -> None:
    make_ledger(tmp_path / "shared.ledger")
    first = secagg(*call("demo", "--json", ledger="shared.ledger"))
    assert first.code == 0
    with Ledger.read(tmp_path / "shared.ledger") as ledger:
        before = [entry.hash for entry in ledger.entries()]
    told = secagg(*call("demo", "--json", ledger="shared.ledger"))
    assert (told.code, told.json["error"]) == (1, "BudgetExceeded")
    shown = secagg(*call("demo", ledger="shared.ledger"))
    assert (shown.code, shown.out) == (1, "")
    assert "BudgetExceeded: budget 1: the limit is epsilon 6" in shown.err
    with Ledger.read(tmp_path / "shared.ledger") as ledger:
        assert [entry.hash for entry in ledger.entries()] == before
        assert ledger.verify().ok
    # What the first run wrote is still there.
    folder = tmp_path / str(first.json["folder"])
    assert {path.name for path in folder.iterdir()} == {
        "model.npz",
        "privacy.html",
        "privacy.json",
        "report.json",
        "rounds.jsonl",
        "run.pin",
    }


# --- a ledger that cannot be used: a named error, and not a byte of it is touched


def make_ledger(path: Path) -> Path:
    Ledger.open(path, BUDGET).close()
    return path


def a_directory(path: Path) -> None:
    path.mkdir()


def random_bytes(path: Path) -> None:
    path.write_bytes(b"".join(bytes([i * i % 251]) for i in range(20_000)))


def an_empty_file(path: Path) -> None:
    path.touch()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def half_a_ledger(path: Path) -> None:
    make_ledger(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entry (seq INTEGER)")
    connection.close()


def an_edited_entry(path: Path) -> None:
    make_ledger(path)
    connection = sqlite3.connect(path, isolation_level=None)
    (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_is_not_changed'").fetchone()
    connection.execute("DROP TRIGGER entry_is_not_changed")
    connection.execute("UPDATE entry SET body = CAST(replace(body, '6', '9') AS BLOB) WHERE seq = 1")
    connection.execute(trigger)
    connection.close()


def a_key_without_ledger(path: Path) -> None:
    make_ledger(path).unlink()


def a_ledger_without_key(path: Path) -> None:
    make_ledger(path).with_name(path.name + ".key").unlink()


def a_key_others_can_read(path: Path) -> None:
    make_ledger(path).with_name(path.name + ".key").chmod(0o644)


def the_key_of_another_ledger(path: Path) -> None:
    make_ledger(path)
    make_ledger(path.with_name("other")).with_name("other.key").replace(path.with_name(path.name + ".key"))


def another_limit(path: Path) -> None:
    Ledger.open(path, Budget(1, BUDGET.delta, BUDGET.relation)).close()


def a_rehearsal(path: Path) -> None:
    Ledger.open_insecure(path, BUDGET).close()


def a_closed_budget(path: Path) -> None:
    with Ledger.open(path, BUDGET) as ledger:
        ledger.close_budget("done")


def nothing(path: Path) -> None:
    """A typing error, which must not begin another budget."""
    assert not path.exists()


def nothing_in_a_missing_folder(path: Path) -> None:
    path.symlink_to("missing/deeper/run.ledger")


DAMAGED: list[tuple[Callable[[Path], None], int, str]] = [
    (a_directory, 1, "StorageRefused"),
    (random_bytes, 1, "Corrupt"),
    (an_empty_file, 1, "Corrupt"),
    (a_pipe, 1, "StorageRefused"),
    (a_loop, 1, "StorageRefused"),
    (half_a_ledger, 1, "Corrupt"),
    (another_database, 1, "WrongVersion"),
    (an_edited_entry, 1, "Corrupt"),
    (a_key_without_ledger, 1, "RolledBack"),
    (a_ledger_without_key, 1, "StorageRefused"),
    (a_key_others_can_read, 1, "StorageRefused"),
    (the_key_of_another_ledger, 1, "Corrupt"),
    (a_closed_budget, 1, "BudgetExceeded"),
    (nothing, 2, "Misused"),
    (nothing_in_a_missing_folder, 2, "Misused"),
    (another_limit, 2, "BadParameters"),
    (a_rehearsal, 2, "BadParameters"),
]


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file that could hold a charge or a key, as it is."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(("damage", "code", "name"), DAMAGED, ids=[damage.__name__ for damage, _, _ in DAMAGED])
def test_a_ledger_that_cannot_be_used_is_named_and_not_touched(
    damage: Callable[[Path], None], code: int, name: str, secagg: Secagg, tmp_path: Path
) -> None:
    folder = tmp_path / "ledgers"
    folder.mkdir()
    damage(folder / "run.ledger")
    before = bytes_below(folder)
    arguments = call("demo", ledger="ledgers/run.ledger", rounds="1")
    told = secagg(*arguments, "--json")
    assert (told.code, told.json["error"]) == (code, name)
    shown = secagg(*arguments)
    assert (shown.code, shown.out) == (code, "")
    assert f"{name}: " in shown.err
    assert bytes_below(folder) == before
    # No round was played, so nothing was released.
    assert {found.name for found in tmp_path.glob("runs/*/*")} <= {"run.pin"}


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT CHECKED: the superuser may read every file")
def test_a_ledger_this_user_may_not_read_is_refused(secagg: Secagg, tmp_path: Path) -> None:
    make_ledger(tmp_path / "run.ledger").chmod(0)
    told = secagg(*call("demo", "--json", ledger="run.ledger"))
    assert (told.code, told.json["error"]) == (1, "StorageRefused")


def test_a_ledger_somebody_else_is_writing_to_is_locked_and_loses_nothing(
    secagg: Secagg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_ledger(tmp_path / "run.ledger")
    defaults = Ledger.open.__func__.__kwdefaults__
    monkeypatch.setitem(defaults, "timeout_seconds", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        told = secagg(*call("demo", "--json", ledger="run.ledger", rounds="1"))
        shown = secagg(*call("demo", ledger="run.ledger", rounds="1"))
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert (told.code, told.json["error"]) == (1, "Locked")
    assert (shown.code, "Locked: " in shown.err) == (1, True)
    with Ledger.open(path, BUDGET) as ledger:
        assert ledger.verify().ok
        assert [str(entry.kind) for entry in ledger.entries()] == ["GENESIS", "OPEN_BUDGET"]
    assert secagg(*call("demo", "--json", ledger="run.ledger", rounds="1")).code == 0


# --- the user stops it


@pytest.mark.parametrize("stop", [KeyboardInterrupt, EOFError])
def test_a_user_who_stops_the_command_gets_one_and_no_traceback(
    stop: type[BaseException], secagg: Secagg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise stop

    monkeypatch.setattr(demo_module, "_keep", stopped)
    told = secagg(*call("demo", "--json"))
    assert (told.code, told.json["error"]) == (1, "Aborted")
    assert "stay charged" in str(told.json["message"])
    shown = secagg(*call("demo"))
    assert (shown.code, shown.out) == (1, "")
    assert "Aborted: " in shown.err


def test_an_interrupt_between_processes_keeps_the_rounds_and_the_ledger(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *call("demo", "--json", rounds="1000")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A shell starts what it runs in the background with interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    give_up = time.monotonic() + 100
    try:
        while not list(tmp_path.glob("runs/*/model.npz")):
            assert process.poll() is None, "the demo ended before it was stopped"
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    ran = Ran(process.returncode, out, err)
    assert "Traceback" not in err
    assert (ran.code, ran.json["error"]) == (1, "Aborted")
    (folder,) = (tmp_path / "runs").iterdir()
    lines = (folder / "rounds.jsonl").read_text("utf-8").splitlines()
    with Ledger.read(folder / "run.ledger") as ledger:
        assert ledger.verify().ok
        kinds = [str(entry.kind) for entry in ledger.entries()]
    assert 1 <= len(lines) <= kinds.count("COMMIT") <= kinds.count("RESERVE") <= len(lines) + 1


# --- exit codes, once for all errors


def below(root: type[Exception]) -> Iterable[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from below(child)


def test_every_error_has_one_of_the_two_codes_and_the_refusals_are_these() -> None:
    known = {error for root in (ProtocolError, DpError, SecaggError) for error in below(root)}
    made = {error: error.__new__(error) for error in known}
    codes = {error: exit_code(instance) for error, instance in made.items()}
    assert set(codes.values()) == {1, 2}
    refused = (
        BudgetExceeded,
        LedgerError,
        EntropyUnavailable,
        NoEntropy,
        AccountantDisagreement,
        ClipExceeded,
        UnsoundNoise,
    )
    for root in (*refused, RoundLost, Misbehaved):
        assert {codes[error] for error in below(root)} == {1}, root
    for error in below(Misused):
        assert codes[error] == 2
    for root in (DpError, SecaggError):
        assert {codes[error] for error in below(root) if not issubclass(error, refused)} == {2}


def test_a_bug_of_ours_is_not_dressed_up_as_a_named_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(process, "app", broken)
    monkeypatch.setattr(process, "asked_for", lambda: None)
    with pytest.raises(ZeroDivisionError):
        main()
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NOT CHECKED: this system has no /dev/full")
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_full_disk_behind_stdout_is_a_failure_with_a_name(as_json: list[str]) -> None:
    asked = ["calibrate", "--epsilon", "4", "--delta", "1e-5", "--sampling-rate", "1", "--steps", "1", *as_json]
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, *asked],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith("OSError: ")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["demo", "simulate", "plan"])
@pytest.mark.parametrize("fraction", ["1", "1.5"])
def test_a_dropout_of_everybody_is_wrong_use_of_every_command(secagg: Secagg, command: str, fraction: str) -> None:
    told = secagg(*call(command, "--json", dropout=fraction))
    assert (told.code, told.json["error"]) == (2, "UsageError")
    assert "is not below 1" in told.json["message"]
