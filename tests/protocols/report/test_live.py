"""The demo as it happens: notes on stderr, one row per round, and closing words that fit what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.errors import BadPlan
from protocols.learning.demo import Demo, DemoResult, DemoRound, DemoStart
from protocols.report.live import closing_words, follow, opening_words, row_of, spent_words, stopped_words

SETTINGS = Demo(
    protocol="pairwise",
    rounds=2,
    clients=8,
    dropout=0.125,
    private=True,
    iid=False,
    seed=0,
    folder=Path("runs"),
    ledger=None,
)
ROUND = DemoRound(
    round=0,
    survivors=7,
    accuracy=0.5,
    accuracy_plain=0.75,
    epsilon=1.25,
    bytes_up_per_client=5164,
    exact=True,
    lost=None,
)
LOST = dataclasses.replace(
    ROUND, round=1, survivors=0, bytes_up_per_client=0, lost="TooFewClients: Summing: 5 clients remain"
)
RESULT = DemoResult(
    protocol="pairwise",
    accuracy=0.5,
    accuracy_plain=0.75,
    epsilon=1.25,
    epsilon_released=1.125,
    delta=1e-4,
    rounds=2,
    lost_rounds=1,
    survivors=[7, 0],
    bytes_up_per_client=5164,
    seconds=1.0,
    exact=True,
    seen_bytes=3072,
    chi_square_p=0.5,
    ledger_tail="5 COMMIT abcd",
    folder="runs/[/now]",
)

START = DemoStart(folder="runs/[/now]", epsilon=0.0)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    for forcing in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(forcing, raising=False)


def test_rounds_and_closing_words_go_to_stderr_and_the_result_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(iter([START, ROUND, LOST, RESULT]), SETTINGS) is RESULT
    out, err = capsys.readouterr()
    assert out == ""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in err.splitlines() if line.startswith("│")]
    assert rows == [
        ["1", "7", "0.500", "0.750", "1.250", "5.2", "yes"],
        ["2", "TooFewClients", "0.500", "0.750", "1.250", "0.0", "-"],
    ]
    assert err.splitlines()[0] == "this run is kept in runs/[/now]"
    assert "8 clients, 2 rounds, drop-out 0.125" in err
    assert "last line of the ledger: 5 COMMIT abcd" in err.splitlines()
    # A folder may hold what the terminal library takes for markup.
    assert "model, report and ledger are in runs/[/now]" in err.splitlines()


def test_a_failure_keeps_the_rounds_so_far_on_screen_and_ends_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> Iterator[DemoStart | DemoRound | DemoResult]:
        yield START
        yield ROUND
        raise BadPlan("spent")

    with pytest.raises(BadPlan, match="spent"):
        follow(stopped(), SETTINGS)
    out, err = capsys.readouterr()
    assert out == ""
    assert "0.750" in err
    assert err.endswith("\n")


def test_what_is_wrong_from_the_start_is_said_before_anything_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> Iterator[DemoStart | DemoRound | DemoResult]:
        raise BadPlan("from the start")
        yield START

    with pytest.raises(BadPlan, match="from the start"):
        follow(refused(), SETTINGS)
    assert capsys.readouterr() == ("", "")


def test_what_a_ledger_spent_before_is_said_and_nothing_of_a_new_one() -> None:
    assert list(opening_words(START)) == ["this run is kept in runs/[/now]"]
    spent = list(opening_words(dataclasses.replace(START, epsilon=1.25)))[1]
    assert spent.startswith("the ledger has spent epsilon 1.250 in earlier runs: the training begins anew")


@pytest.mark.parametrize(
    ("steps", "missing"), [([START, ROUND], "without a result"), ([ROUND, RESULT], "without saying where")]
)
def test_a_run_without_a_start_or_a_result_is_a_bug_of_ours(
    steps: list[DemoStart | DemoRound | DemoResult], missing: str
) -> None:
    with pytest.raises(RuntimeError, match=missing):
        follow(iter(steps), SETTINGS)


def test_a_round_without_privacy_has_no_epsilon_and_an_inexact_one_shouts() -> None:
    row = row_of(dataclasses.replace(ROUND, epsilon=None, exact=False))
    assert (row[4], row[6]) == ("-", "NO")


def test_closing_words_name_both_views_and_the_test_of_uniformity() -> None:
    words = list(closing_words(RESULT))
    assert "3,072 bytes" in words[0]
    assert words[0].endswith("uniform 0.500")
    assert "epsilon at delta 0.0001: 1.250 for the aggregator" in words[1]
    assert "1.125 for a reader of the model" in words[1]


def test_without_privacy_neither_epsilon_nor_ledger_is_mentioned() -> None:
    public = dataclasses.replace(RESULT, epsilon=None, epsilon_released=None, delta=None, ledger_tail=None)
    words = list(closing_words(public))
    assert len(words) == 2
    assert words[1] == "model, report are in runs/[/now]"


def test_when_every_round_was_lost_the_words_say_so() -> None:
    lost = dataclasses.replace(RESULT, chi_square_p=None, seen_bytes=0, exact=False)
    assert next(closing_words(lost)).startswith("no round ended in a sum")


def test_a_continued_ledger_says_what_was_before_what_this_run_added_and_the_total() -> None:
    start, result = dataclasses.replace(START, epsilon=1.25), dataclasses.replace(RESULT, epsilon=3.5)
    (line,) = spent_words(start, result)
    assert "1.250 before, 2.250 added by this run, 3.500 in total" in line
    assert list(spent_words(dataclasses.replace(START, epsilon=0.0), result)) == []


def test_an_interrupted_run_names_its_folder_and_the_ledger_to_go_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> Iterator[DemoStart | DemoRound | DemoResult]:
        yield START
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(stopped(), SETTINGS)
    told = " ".join(capsys.readouterr().err.split())
    assert f"kept in {START.folder}" in told
    assert "secagg demo --ledger" in told


def test_an_interrupted_run_without_noise_has_no_ledger_to_go_on_with() -> None:
    words = " ".join(stopped_words(START, dataclasses.replace(SETTINGS, private=False, ledger=None)))
    assert START.folder in words
    assert "--ledger" not in words
