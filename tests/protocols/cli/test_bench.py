"""`secagg bench`: what was typed reaches the benchmarks of the checkout, and outside of one it says what it needs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.page import render
from benchmarks.suites import SUITES
from protocols.cli.bench import KEPT, SuiteName
from tests.benchmarks import kit
from tests.command import Secagg, in_this_process
from tests.dp.ledger_kit import write_rounds

MODULE = "protocols.cli.bench"


@pytest.fixture
def secagg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Secagg:
    return in_this_process(monkeypatch, capsys, tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The processes that the command starts, none of which runs; each would end in 1."""
    calls: list[dict[str, Any]] = []

    def run(words: list[str], **how: Any) -> SimpleNamespace:
        calls.append({"words": words, **how})
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_what_was_typed_is_run_in_the_checkout_and_its_code_is_ours(
    secagg: Secagg, started: list[dict[str, Any]], tmp_path: Path
) -> None:
    ran = secagg("bench", "--peers", "--suite", "masks", "--suite", "ckks", "--json", "out.json", "--page", "p.html")
    assert (ran.code, ran.out, ran.err) == (1, "", "")
    [call] = started
    program, *words = call["words"]
    assert Path(program).name.startswith("python")
    expected = ["-m", "benchmarks", "--suite", "masks", "--suite", "ckks", "--peers", "--json"]
    assert words == [*expected, "--page", str(tmp_path / "p.html"), str(tmp_path / "out.json")]
    assert (call["cwd"] / "benchmarks" / "__main__.py").is_file()
    assert call["env"]["OMP_NUM_THREADS"] == "1"


def test_outside_of_a_checkout_it_says_that_it_needs_one(
    secagg: Secagg, started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.CHECKOUT", tmp_path)
    told = secagg("bench", "--json")
    assert (told.code, told.json["command"], told.json["error"]) == (2, "bench", "Misused")
    assert "with a checkout" in told.json["message"]
    assert "Misused: " in secagg("bench").err
    assert started == []


@pytest.mark.parametrize(
    "words",
    [["missing/out.json"], ["."], ["--page=missing/page.html"], ["--frobnicate"], ["notes.txt"], ["--page=out.json"]],
)
def test_wrong_use_ends_in_two_before_anything_runs(
    words: list[str], secagg: Secagg, started: list[dict[str, Any]]
) -> None:
    told = secagg("bench", *words, "--json")
    assert (told.code, told.json["error"]) == (2, "UsageError")
    assert started == []


def test_no_result_takes_the_place_of_a_ledger(secagg: Secagg, started: list[dict[str, Any]], tmp_path: Path) -> None:
    write_rounds(tmp_path / "run.json", 1)
    before = (tmp_path / "run.json").read_bytes()
    told = secagg("bench", str(tmp_path / "run.json"), "--json")
    assert (told.code, told.json["error"]) == (2, "UsageError")
    assert "ledger" in told.json["message"]
    assert (tmp_path / "run.json").read_bytes() == before
    assert started == []


@pytest.mark.parametrize("words", [["data.json"], ["fine.json"], ["fine.json", "--page=notes.html"]])
def test_what_no_benchmark_wrote_is_not_replaced(
    words: list[str], secagg: Secagg, started: list[dict[str, Any]], tmp_path: Path
) -> None:
    # Beside `fine.json` would be the page of that name.
    files = {"data.json": '{"mine": 1}', "fine.html": "<title>Mine</title>", "notes.html": "mine"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    told = secagg("bench", *words, "--json")
    assert (told.code, told.json["error"]) == (2, "UsageError")
    assert "no benchmark wrote" in told.json["message"]
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in files} == files
    assert started == []


def test_what_a_benchmark_wrote_is_replaced(secagg: Secagg, started: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text(json.dumps(kit.result()), encoding="utf-8")
    (tmp_path / "out.html").write_text(render(kit.result()), encoding="utf-8")
    (tmp_path / "empty.json").touch()
    assert [secagg("bench", name).code for name in ("out.json", "empty.json")] == [1, 1]
    assert len(started) == 2


def test_small_runs_are_not_kept_and_kept_ones_are_written_by_save_alone(
    secagg: Secagg, started: list[dict[str, Any]]
) -> None:
    for words in (["--save", "--smoke"], [str(KEPT / "new.json")], [f"--page={KEPT / 'new.html'}"]):
        told = secagg("bench", *words, "--json")
        assert (told.code, told.json["error"]) == (2, "UsageError")
        assert "--save" in told.json["message"]
    assert started == []


def test_the_suites_are_those_of_the_benchmarks() -> None:
    assert [name.value for name in SuiteName] == list(SUITES)


def test_a_suite_that_there_is_not_is_wrong_use(secagg: Secagg, started: list[dict[str, Any]]) -> None:
    told = secagg("bench", "--suite=nothing", "--json")
    assert (told.code, told.json["error"]) == (2, "UsageError")
    assert "masks" in told.json["message"]
    assert started == []
