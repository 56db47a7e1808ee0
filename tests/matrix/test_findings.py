"""Findings, the table of them, and the page: the page is what the stored result says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import pages
from benchmarks.matrix import page
from benchmarks.matrix.checks import BY_ID, CHECKS
from benchmarks.matrix.finding import Answer, Finding, NotApplicable, NotInstalled, Outcome
from benchmarks.matrix.libraries import LIBRARIES
from benchmarks.matrix.table import LEGEND, Matrix
from benchmarks.matrix.target import Target, for_all

FELL = Finding("F1", "flower", "1.41.0", Outcome.FELL, "28 of 32 key bits", ("flower#7522",))
OURS = Finding("F1", "secagg", "0.1.0", Outcome.WITHSTOOD, "256 of 256 key bits")


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
def test_a_finding_survives_the_way_to_another_process(outcome: Outcome) -> None:
    cited = FELL.upstream if outcome is Outcome.FELL else ()
    finding = Finding("T1", "tenseal", "0.3.18", outcome, "seen", cited)
    assert Finding.from_dict(json.loads(json.dumps(finding.to_dict()))) == finding
    assert finding.fell is (outcome is Outcome.FELL)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"check": "F13"}, "no check 'F13'"),
        ({"evidence": ""}, "says what was seen"),
        ({"version": ""}, "is of a version"),
        ({"outcome": Outcome.WITHSTOOD}, "cited where it fell"),
    ],
)
def test_a_finding_that_says_too_little_or_too_much_is_none(change: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(FELL, **change)  # type: ignore[arg-type] # a field of each type


def target(probe: object) -> Target:
    rest = for_all((check.id for check in CHECKS if check.id != "F1"), "it has no masks")
    return Target("x", lambda: "1", {"F1": probe}, rest, {"F1": ("x#1",)})  # type: ignore[dict-item] # raises or answers


def raising(error: Exception) -> object:
    def probe() -> Answer:
        raise error

    return probe


@pytest.mark.parametrize(
    ("probe", "outcome", "evidence", "upstream"),
    [
        (lambda: Answer(True, "28 bits"), Outcome.FELL, "28 bits", ("x#1",)),
        (lambda: Answer(False, "256 bits"), Outcome.WITHSTOOD, "256 bits", ()),
        (raising(NotApplicable("no such mask")), Outcome.NOT_APPLICABLE, "no such mask", ()),
        (raising(NotInstalled("needs y")), Outcome.NOT_INSTALLED, "needs y", ()),
    ],
)
def test_what_a_probe_says_becomes_the_finding(
    probe: object, outcome: Outcome, evidence: str, upstream: tuple[str, ...]
) -> None:
    assert target(probe).finding("F1", "1") == Finding("F1", "x", "1", outcome, evidence, upstream)


def test_a_probe_that_breaks_is_no_finding() -> None:
    with pytest.raises(KeyError):
        target(raising(KeyError("gone"))).finding("F1", "1")


def test_a_target_answers_with_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = target(lambda: Answer(True, "28 bits"))
    monkeypatch.setattr("sys.argv", ["x_target", '{"checks": ["F1", "T1"]}'])
    made.main()
    answer = json.loads(capsys.readouterr().out)
    assert (answer["library"], answer["version"]) == ("x", "1")
    assert [(each["check"], each["outcome"]) for each in answer["findings"]] == [
        ("F1", "fell"),
        ("T1", "not applicable"),
    ]
    monkeypatch.setattr("sys.argv", ["x_target"])
    made.main()
    assert len(json.loads(capsys.readouterr().out)["findings"]) == len(CHECKS)


def test_the_table_has_a_sign_for_each_and_a_legend() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(Matrix([OURS, FELL]).rich())
    text = str(console.file.getvalue())
    for part in ("F1", "secagg", "0.1.0", "flower", "1.41.0", "✓", "✗", *LEGEND.split("   ")):
        assert part in text
    assert "F2" not in text


def test_the_page_says_what_was_seen_and_cites_what_is_public() -> None:
    missing = Finding("F1", "pfl", "", Outcome.NOT_INSTALLED, "no environment at /x")
    text = Matrix([OURS, FELL, missing]).markdown()
    assert "| F1 the key of a mask has fewer bits than a key needs | ✓ | ✗ | ? |" in text
    assert "### flower 1.41.0\n\n- **F1 fell.** 28 of 32 key bits. Upstream: flower#7522." in text
    assert "- **F1 withstood.** 256 of 256 key bits.\n" in text
    unknown = Matrix([replace(FELL, upstream=())]).markdown()
    assert "28 of 32 key bits. No public issue is known to us.\n" in unknown
    assert "### pfl\n\n- F1 not installed: no environment at /x" in text


def test_no_text_of_a_library_is_a_mark_of_the_page() -> None:
    odd = replace(FELL, evidence="a | b <script> [x](y) *z* __init__")
    assert r"a \| b \<script> \[x\](y) \*z\* \_\_init\_\_" in Matrix([odd]).markdown()


# --- what is stored ------------------------------------------------------------------------------------


def test_the_page_is_what_the_newest_stored_result_says() -> None:
    """Regenerated by `python -m benchmarks --suite attacks --save` and `python -m benchmarks.matrix`."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert pages.with_table(text, page.COMMAND, page.made(page.newest())) == text


def test_the_stored_result_has_every_check_and_library_and_we_withstood_them_all() -> None:
    matrix = page.stored(page.newest())
    assert matrix.libraries == ["secagg", *(library.target.library for library in LIBRARIES)]
    assert [check.id for check in matrix.checks] == list(BY_ID)
    assert {matrix.cells[check, "secagg"].outcome for check in BY_ID} == {Outcome.WITHSTOOD}


def test_where_nothing_is_stored_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="--suite attacks --save"):
        page.newest()


def test_the_page_is_written_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "page.md"
    own.write_text(
        f"before\n{pages.BEGIN.format(command=page.COMMAND)}\nwhat stood here\n{pages.END}\nafter\n", encoding="utf-8"
    )
    monkeypatch.setattr(page, "PAGE", own)
    page.write()
    text = own.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith(f"{pages.END}\nafter\n")
    assert "what stood here" not in text
    assert LEGEND in text
