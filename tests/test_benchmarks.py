"""The benchmarks' own judgement: what is wrong fails however fast, and what cannot be measured is named."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from benchmarks import encrypted, pages
from benchmarks.inputs import mean_of, rms
from benchmarks.oneshot import play
from benchmarks.peers import PEERS, Skipped, pinned, rows_beside, tenseal
from benchmarks.peers.pins import PeerChanged, names_of
from benchmarks.rows import SMOKE, Row, Taken
from benchmarks.suites import BESIDE, ckks, compression, sparse
from benchmarks.suites.encoding import off
from benchmarks.suites.noise import gap
from dp import NoiseShare

ROW = Row("suite", "case", "s", Taken.once(1.0), "peer", Taken.once(2.0), limit=0.5, judged="ratio")


@pytest.mark.parametrize(
    ("error", "limit", "passed"), [(None, None, True), (0.1, None, True), (0.1, 0.1, True), (0.2, 0.1, False)]
)
def test_a_fast_wrong_answer_fails(error: float | None, limit: float | None, passed: bool) -> None:
    row = replace(ROW, ours_error=error, error_limit=limit)
    assert (row.ratio, row.passed) == (0.5, passed)
    assert Row.from_dict(row.to_dict()) == row


@pytest.mark.parametrize("error", [None, float("nan")])
def test_an_error_that_is_not_told_is_beyond_every_limit(error: float | None) -> None:
    assert not replace(ROW, ours_error=error, error_limit=1.0).passed


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_an_error_that_is_no_number_is_wrong_where_nothing_limits_it_and_is_told_as_wrong(error: float) -> None:
    row = replace(ROW, ours_error=error)
    assert not row.passed
    assert row.to_dict()["right"] is False


def test_the_gap_tells_a_law_from_one_with_two_percent_more_noise() -> None:
    from scipy.special import ndtr

    drawn, limit = np.random.default_rng(0).normal(size=10**6), 3 / 10**3
    assert gap(drawn, ndtr) < limit < gap(1.02 * drawn, ndtr)


def test_the_gap_of_integers_is_taken_on_both_sides_of_each() -> None:
    # Half at 0 and half at 1, told of a coin that falls on 0 in three of four.
    assert gap(np.array([0, 1]), lambda values: np.array([{-1: 0.0, 0: 0.75, 1: 1.0}[int(v)] for v in values])) == 0.25


def test_the_noise_of_an_encoding_is_measured_against_its_plan() -> None:
    plan = NoiseShare.plan(
        noise_multiplier=1, clip=1, dimension=4096, modulus_bits=16, max_clients=10, min_survivors=9, colluders=0
    )
    drawn = np.random.default_rng(0).normal(size=10**6) * float(plan.gamma) * float(plan.share_variance) ** 0.5
    assert off(drawn, plan, plan.share_variance) < 0.005 < off(1.01 * drawn, plan, plan.share_variance)


@pytest.mark.parametrize("environment", PEERS)
def test_a_missing_environment_skips_by_name(environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERS_HOME", str(tmp_path))
    skipped = rows_beside(environment, "noise", "smoke")
    assert isinstance(skipped, Skipped)
    assert str(skipped) == (
        f"skipped noise, beside {', '.join(PEERS[environment])}: "
        f"there is no {tmp_path}/{environment}/bin/python: `make peers` makes it"
    )


def test_every_suite_beside_a_peer_names_an_environment() -> None:
    assert set(BESIDE.values()) == set(PEERS)


def test_every_peer_is_pinned_exactly() -> None:
    assert all("==" in pin for environment in PEERS for pin in pinned(environment))


def test_another_version_or_a_missing_name_is_another_peer() -> None:
    installed = version("numpy")
    assert names_of("numpy", installed, {"numpy": ("zeros",)}).zeros is np.zeros
    with pytest.raises(PeerChanged, match=f"numpy {installed} is installed; the figures here are of 0"):
        names_of("numpy", "0", {"numpy": ("zeros",)})
    with pytest.raises(PeerChanged, match="numpy no longer has nothing"):
        names_of("numpy", installed, {"numpy": ("nothing",)})
    with pytest.raises(ModuleNotFoundError):
        names_of("no-such-peer", "1", {})


@pytest.fixture
def pinned_tenseal() -> None:
    try:
        tenseal.check()
    except PeerChanged as changed:
        pytest.skip(str(changed))


@pytest.mark.usefixtures("pinned_tenseal")
def test_encrypted_sums_are_exact_on_our_side_and_close_on_the_peers() -> None:
    """The suite itself asserts that what is opened is exactly the sum of the integers."""
    found = list(ckks.rows(SMOKE))
    assert all(row.right for row in found)
    assert sum(row.error_limit is not None for row in found) == 5
    assert all(row.peer_error is None or row.peer_error < 1e-7 for row in found)


@pytest.mark.parametrize("lost", [frozenset(), frozenset({0, 9})])
def test_a_one_shot_round_that_was_played_is_opened_again(lost: frozenset[int]) -> None:
    played = play(10, 3000, lost)
    assert rms(played.mean - mean_of(sorted(set(range(10)) - lost), 3000)) < 1e-4
    for _ in range(2):
        assert np.array_equal(played.open(played.before_opening()), played.mean)
    server = played.listening()
    assert server.receive(played.upload()) == server.excluded == []
    first, again = (played.member().receive(played.question) for _ in range(2))
    assert [bytes(frame) for frame in first] == [bytes(frame) for frame in again] == [played.answers[0][1]]


def test_a_sum_of_encrypted_integers_is_as_wide_as_the_planner_takes_it() -> None:
    assert [encrypted.sum_bits(clients) for clients in (3, 8, 10, 100)] == [18, 20, 20, 23]


@pytest.mark.parametrize("suite", pages.PAGES)
def test_the_table_of_a_page_is_what_the_stored_result_says(suite: str) -> None:
    """Regenerated by `python -m benchmarks --suite SUITE --save`."""
    text = (pages.DOCS / pages.PAGES[suite]).read_text(encoding="utf-8")
    rows = pages.stored(suite)
    assert len(rows) > 3
    assert pages.with_table(text, pages.COMMAND.format(suite=suite), pages.table(rows)) == text


def test_a_page_without_a_place_for_its_table_is_refused() -> None:
    for text in ("", pages.BEGIN.format(command="x"), pages.END):
        with pytest.raises(ValueError, match="no place for the table"):
            pages.with_table(text, "x", "| a |")
    with pytest.raises(FileNotFoundError, match="--suite nothing --save"):
        pages.stored("nothing")


def test_digits_are_found_with_a_quarter_of_the_upload_and_every_rule_is_in_the_stored_table() -> None:
    rows = pages.stored("compression")
    goals = [row for row in rows if row.error_limit == compression.GOAL_ERROR]
    assert len(goals) == sum(case.goal for case in compression.EXACT_CASES)
    for row in goals:
        assert "TopKOfLast" in row.case
        assert row.ratio <= compression.GOAL_BYTES == row.limit
        assert row.ours_error is not None
        assert row.ours_error <= 0.10
    cases = [(compression.EXACT, each) for each in compression.EXACT_CASES]
    cases += [(compression.NOISY, each) for each in compression.NOISY_CASES]
    expected = {f"{setting.name}: {case.rule}, {setting.width.format(case.bits)}" for setting, case in cases}
    assert {row.case for row in rows if row.ours_error is not None} == expected
    assert all(row.passed for row in rows)
    assert sum(row.case.startswith("one real round") and row.ratio == 1 for row in rows) >= 1


def test_gathered_and_scattered_values_are_those_of_fancy_indexing() -> None:
    found = list(sparse.rows(SMOKE))
    assert len(found) == 6
    assert all(row.right for row in found)
