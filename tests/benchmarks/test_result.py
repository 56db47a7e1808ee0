"""What `python -m benchmarks` prints and keeps, and what README may say of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import machine, quoted, suites
from benchmarks.goals import GOALS
from benchmarks.measuring import Measured, measured
from benchmarks.pages import harmless, line_of, table, with_table
from benchmarks.peers import PEERS
from benchmarks.rows import Row, Taken
from benchmarks.scoreboard import Cell
from benchmarks.showing import holds, result_of
from benchmarks.suites import BESIDE, NEEDS_PEERS, ON_DEMAND, SUITES, modules_of, names, scaling, suite_of, utility
from protocols.report.tables import finite
from tests.benchmarks import kit
from tools.site_pages.keys import unlisted_in

ROW_KEYS = {
    *("suite", "case", "unit", "ours", "peer", "peer_name", "ratio", "limit", "judged", "right", "passed", "note"),
    *(f"{side}_{what}" for side in ("ours", "peer") for what in ("median", "repeats", "spread", "error")),
}


@pytest.mark.parametrize(
    ("passed", "why", "told"),
    [(False, "", True), (False, "another reason", False), (True, "", False), (None, "", False)],
)
def test_a_reason_that_was_found_after_the_run_is_quoted_where_the_result_has_none(
    passed: bool | None, why: str, told: bool
) -> None:
    goal = next(goal for goal in GOALS if goal.known)
    cell = Cell(goal.row, goal.against, "1", goal.goal, passed, why)
    assert quoted.why_of(cell) == (goal.known if told else why)


def test_a_row_of_numpys_numbers_is_plain_json() -> None:
    made = replace(
        kit.row("servers", "y"),
        ours=Taken.once(np.float64(1.0)),
        peer=Taken.once(np.float64(2.0)),
        ours_error=np.float64(0.5),
        error_limit=1.0,
    )
    told = json.loads(json.dumps(made.to_dict()))
    assert (told["right"], told["passed"], told["ours_error"]) == (True, True, 0.5)


def test_every_module_belongs_to_one_suite_or_is_run_on_demand() -> None:
    folder = Path(suites.__file__).parent
    modules = [module for within in SUITES.values() for module in within]
    assert sorted([*modules, *ON_DEMAND]) == sorted(
        path.stem for path in folder.glob("*.py") if path.stem != "__init__"
    )
    assert set(BESIDE) <= set(modules)
    assert set(BESIDE.values()) == set(PEERS)


def test_without_peers_only_what_needs_none_is_run_and_with_them_everything() -> None:
    own = [module for _, module in modules_of([], peers=False)]
    assert own
    assert not NEEDS_PEERS & set(own)
    everything = [module for _, module in modules_of([], peers=True)]
    assert everything == [module for within in SUITES.values() for module in within]


def test_a_suite_or_a_module_is_asked_for_by_its_name() -> None:
    assert modules_of(["masks"], peers=False) == [
        ("masks", module) for module in ("masking", "unmasking", "memory", "encoding")
    ]
    # Both are nothing without their peers, and are asked for by name.
    assert modules_of(["ckks", "oneshot"], peers=False) == [
        *(("ckks", module) for module in SUITES["ckks"]),
        ("oneshot", "oneshot"),
    ]
    assert set(names()) == {*SUITES, *ON_DEMAND} | {module for within in SUITES.values() for module in within}
    assert (suite_of("oneshot"), suite_of("inversion")) == ("rounds", "inversion")


def test_the_keys_of_a_result_are_these() -> None:
    result = result_of([Measured("masks", "masking", 1.5, kit.ROWS[:1])], "full")
    assert unlisted_in(result) == unlisted_in(kit.result()) == []
    assert set(result["rows"][0]) == ROW_KEYS | {"error_limit"}
    assert (result["version"], result["command"], result["suite"], result["seconds"]) == (1, "bench", ["masks"], 1.5)
    assert {"processor", "cores", "memory_bytes", "system", "python"} <= set(result["machine"])
    assert {"numpy", "cryptography", "openssl", "tenseal"} <= set(result["versions"]["here"])
    json.dumps(result, allow_nan=False)


def test_a_ratio_that_is_no_number_is_null() -> None:
    result = result_of([Measured("masks", "masking", 1.0, (kit.row("masking", "x", 1.0, 0.0),))], "full")
    assert result["rows"][0]["ratio"] is None
    json.dumps(result, allow_nan=False)


def test_a_result_holds_until_a_row_a_goal_or_a_module_does_not() -> None:
    fine = result_of([Measured("masks", "masking", 1.0, (kit.row("masking", "x"),))], "full")
    assert holds(fine)
    assert not holds({**fine, "failed": ["masking: ended with code 1"]})
    assert not holds({**fine, "rows": [{**fine["rows"][0], "passed": False}]})
    assert not holds({**fine, "scoreboard": [{**fine["scoreboard"][0], "passed": False}]})


def test_a_module_that_fails_is_named_and_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows_here(module: str, effort: str) -> list[object]:
        if module == "masking":
            raise subprocess.CalledProcessError(3, "python")
        return [kit.row(module, "x")]

    monkeypatch.setattr("benchmarks.measuring.rows_here", rows_here)
    broken, fine = measured([("masks", "masking"), ("masks", "memory")], "smoke")
    assert (broken.rows, broken.failed) == ((), "ended with code 3; what it said stands above")
    assert (len(fine.rows), fine.failed) == (1, "")
    told = capsys.readouterr()
    assert told.out == ""
    assert "[1 of 2, 0 s so far] masks: masking" in told.err
    assert "FAILED masking" in told.err


@pytest.mark.parametrize(("limit", "smoke", "code"), [(1.0, [], 0), (0.1, [], 1), (0.1, ["--smoke"], 0)])
def test_the_object_is_printed_and_kept_with_its_page(
    limit: float,
    smoke: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = replace(kit.row("masking", "x"), limit=limit)
    monkeypatch.setattr(command, "measured", lambda modules, effort: [Measured("masks", "masking", 1.0, (row,))])
    kept = tmp_path / "out.json"
    assert command.main(["--suite", "masks", "--json", *smoke, str(kept)]) == code
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed == kept.read_text(encoding="utf-8")
    assert unlisted_in(json.loads(printed)) == []
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    "words",
    [
        ["--suite", "nothing"],
        ["missing/out.json"],
        ["--page", "missing/x.html"],
        ["README.md"],
        ["run.ledger"],
        ["out.json", "--page", "out.json"],
        ["--save", "--smoke"],
        ["docs/privacy-report.schema.json"],
        ["benchmarks/results/2026-11-27-peers.json"],
    ],
)
def test_wrong_use_ends_in_two_before_anything_is_measured(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(command, "measured")
    monkeypatch.chdir(quoted.README.parent)
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2


def test_a_result_that_cannot_be_stored_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        command, "measured", lambda modules, effort: [Measured("masks", "masking", 1.0, (kit.ROWS[0],))]
    )

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    before = json.dumps(kit.result())
    (tmp_path / "out.json").write_text(before, encoding="utf-8")
    monkeypatch.setattr("os.fsync", full)
    assert command.main(["--smoke", "--json", str(tmp_path / "out.json")]) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out)["rows"]) == 1
    assert "out.json: No space left on device" in err
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == before


def test_a_run_that_is_interrupted_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(modules: object, effort: str) -> list[Measured]:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measured", interrupted)
    assert command.main(["--json", str(tmp_path / "out.json")]) == 130
    assert capsys.readouterr() == ("", "interrupted: nothing more is written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rows", "kept"), [(kit.ROWS[:1], ["2026"]), ((), [])])
def test_a_result_is_kept_under_its_date_where_there_is_one(
    rows: tuple[Row, ...], kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "measured", lambda modules, effort: [Measured("masks", "masking", 1.0, rows)])
    monkeypatch.setattr(command, "result_of", lambda done, effort: {**kit.result(rows, ()), "effort": effort})
    command.main(["--suite", "masks", "--save"])
    assert [path.name for path in tmp_path.iterdir()] == ["2026-01-02-masks.json" for _ in kept]


def test_a_module_whose_last_line_is_no_list_of_rows_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ("", "goodbye", "5", "[{}]"):
        monkeypatch.setattr(subprocess, "run", lambda *words, said=said, **how: SimpleNamespace(stdout=said))
        for module in ("masking", "attacks"):
            [found] = measured([("suite", module)], "smoke")
            assert found.rows == ()
            assert found.failed.startswith("its last line is no list of rows")


def test_the_commit_is_told_of_this_checkout_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}\+?", machine.commit() or "")
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    assert machine.commit() is None
    # As an archive that was unpacked inside of another repository.
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *who, "commit", "--quiet", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    assert machine.commit() is not None
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path / "inside")
    assert machine.commit() is None


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.commit() is None


def test_a_spread_is_the_interquartile_range_and_none_of_one_figure() -> None:
    assert Taken.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Taken(1.0, 3.0, 5, 2.0)
    assert Taken.of([4.0, 1.0, 2.0, 3.0, 5.0]).per(2).spread == 1.0
    assert Taken.of([1.0]).spread is None


@pytest.mark.parametrize("protocol", scaling.PROTOCOLS)
def test_a_point_of_a_curve_is_read_from_its_case(protocol: str) -> None:
    for axis in scaling.AXES:
        for point in scaling.points(protocol, axis, replace(scaling_effort(), repeats=3)):
            assert scaling.point_of(point.case("upload")) == (point, "upload")
    assert scaling.point_of("something else") is None
    assert scaling.point_of(point.case("colour")) is None


def scaling_effort() -> scaling.Effort:
    from benchmarks.rows import FULL

    return FULL


def test_a_training_is_read_from_its_case() -> None:
    for rule in utility.RULES:
        for epsilon in utility.EPSILONS:
            assert utility.point_of(utility.case_of(rule, epsilon)) == (rule, epsilon)
    assert utility.point_of("something else") is None


def test_every_protocol_ends_in_the_model_of_the_ideal_functionality() -> None:
    pytest.importorskip("sklearn", reason="extra 'report' is not installed")
    assert all(utility.equal(protocol).passed for protocol in utility.PROTOCOLS)


# --- what continuous integration makes of a small run ---------------------------------------------------------------


def judged_small(tmp_path: Path, *rows: dict[str, object]) -> int:
    result = {**kit.result((), ()), "skipped": [], "rows": [kit.row("clients", "x").to_dict(), *rows]}
    (tmp_path / "rows.json").write_text(json.dumps(finite(result)), encoding="utf-8")
    script = Path(command.__file__).parents[1] / ".ci" / "peers.py"
    done = subprocess.run([sys.executable, script, tmp_path / "rows.json"], check=False, capture_output=True)
    return done.returncode


def test_a_small_run_is_fine_where_attacks_are_withstood_and_sums_are_right(tmp_path: Path) -> None:
    right = replace(kit.row("servers", "y"), ours_error=1e-5).to_dict()
    trained = replace(kit.row("compression", "z"), ours_error=0.3, error_limit=0.1).to_dict()
    assert judged_small(tmp_path, right, trained, kit.ATTACK) == 0


@pytest.mark.parametrize("suite", ["servers", "compression"])
def test_a_small_run_whose_sum_is_no_number_is_wrong(suite: str, tmp_path: Path) -> None:
    assert judged_small(tmp_path, replace(kit.row(suite, "y"), ours_error=float("nan")).to_dict()) == 1


def test_a_small_run_whose_sum_is_far_off_is_wrong(tmp_path: Path) -> None:
    assert judged_small(tmp_path, replace(kit.row("servers", "y"), ours_error=1e-3).to_dict()) == 1


def test_a_small_run_in_which_an_attack_succeeds_is_wrong(tmp_path: Path) -> None:
    assert judged_small(tmp_path, {**kit.ATTACK, "passed": False}) == 1


# --- what is quoted -------------------------------------------------------------------------------------------------


def test_readme_and_the_page_say_what_the_newest_full_result_says_and_nothing_else() -> None:
    readme, page = (path.read_text(encoding="utf-8") for path in (quoted.README, quoted.PAGE))
    result = quoted.newest()
    assert result is not None
    assert quoted.with_section(readme, quoted.section(result)) == readme
    assert with_table(page, quoted.COMMAND, quoted.figures(result)) == page


def test_the_page_has_every_row_of_the_suites_it_shows() -> None:
    made = quoted.figures(kit.result())
    shown = [row for row in kit.ROWS if row.suite not in quoted.NOT_IN_TABLES]
    assert shown
    assert all(f"| {harmless(row.case)} | {row.ours.least:.3g} {row.unit} |" in made for row in shown)


def test_a_hostile_name_is_no_markup_where_it_is_quoted() -> None:
    assert kit.HOSTILE in json.dumps(kit.result(), ensure_ascii=False).replace('\\"', '"')
    for made in (quoted.figures(kit.result()), quoted.section(kit.result()), table([kit.row("noise", kit.HOSTILE)])):
        assert "<script>" not in made
        assert "&lt;script>" in made


def test_a_cell_stays_one_cell_of_one_line_and_a_limit_is_as_it_was() -> None:
    assert line_of(["<= 0.5x", "a | b\nc", "<!-- x"]) == "| <= 0.5x | a \\| b c | &lt;!-- x |"


def test_the_section_is_made_of_the_result_and_may_be_made_again() -> None:
    text = "# x\n\n## Measured\n\nby hand\n\n## Next\n\nkept\n"
    made = quoted.with_section(text, quoted.section(kit.result()))
    assert "by hand" not in made
    assert made.endswith("\n\n## Next\n\nkept\n")
    assert "client seconds, d = 1,000,000, 3 masks | Flower | 7 times less | >= 6 times less | passed |" in made
    assert quoted.with_section(made, quoted.section(kit.result())) == made
    with pytest.raises(ValueError, match="no heading"):
        quoted.with_section("# x\n", "")


def test_only_full_results_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quoted, "RESULTS", tmp_path)
    assert quoted.newest() is None
    judged = [cell for cell in kit.result()["scoreboard"] if cell["passed"] is not None]
    full = {**kit.result(), "scoreboard": judged}
    (tmp_path / "2026-01-02-peers.json").write_text(json.dumps(full), encoding="utf-8")
    assert quoted.newest() == full
    for day, change, why in (
        (3, {"effort": "smoke"}, "full ones only"),
        (4, {"failed": ["x: y"]}, "failed, which is not quoted"),
        (5, {"scoreboard": kit.result()["scoreboard"]}, "did not measure every goal"),
    ):
        (tmp_path / f"2026-01-0{day}-peers.json").write_text(json.dumps({**full, **change}), encoding="utf-8")
        with pytest.raises(ValueError, match=why):
            quoted.newest()


def test_the_peers_are_named_and_not_what_they_are_measured_with() -> None:
    *_, last = quoted.opening(kit.result())
    assert last == "Peers: flwr 1.41.0."
