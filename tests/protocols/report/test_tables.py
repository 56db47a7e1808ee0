"""One result, two faces: the table and the JSON object say the same, and neither says NaN."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.report.tables import VERSION, JsonOutput, Output, TextOutput, are_records, finite, text_of

RESULT = {
    "exact": True,
    "survivors": [9, 8, 10],
    "epsilon_upper": 1.23456789,
    "epsilon_lower": math.nan,
    "aggregator": math.inf,
    "bytes": 1234567,
    "nothing": None,
    "folder": "runs/[/bold] [red]x",
}


def strictly(text: str) -> dict[str, object]:
    """Exactly one JSON object, without the words Python adds to JSON."""

    def refuse(word: str) -> object:
        raise AssertionError(f"{word} is no JSON")

    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


def test_json_is_one_object_with_version_command_and_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    JsonOutput().result("demo", RESULT)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    assert strictly(out) == {
        "version": VERSION,
        "command": "demo",
        **RESULT,
        "epsilon_lower": None,
        "aggregator": None,
    }


def test_the_table_names_every_key_and_shows_every_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    TextOutput().result("demo", RESULT)
    out, err = capsys.readouterr()
    assert err == ""
    rows = {}
    for line in out.splitlines():
        if "│" in line:
            label, value = (cell.strip() for cell in line.strip("│").split("│"))
            rows[label] = value
    assert rows == {
        "exact": "yes",
        "survivors": "9 8 10",
        "epsilon upper": "1.23457",
        "epsilon lower": "-",
        "aggregator": "-",
        "bytes": "1,234,567",
        "nothing": "-",
        "folder": "runs/[/bold] [red]x",
    }


@pytest.mark.parametrize("path", ["[/x]", "[bold]", "a\\[b", "\udcff\udc80", "Größe 安全", ":smile:"])
@pytest.mark.parametrize("output", [JsonOutput(), TextOutput()])
def test_no_name_of_a_file_breaks_the_output(
    path: str, output: Output, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    output.result("demo", {"folder": path})
    out, _ = capfdbinary.readouterr()
    shown = path.encode("utf-8", "replace")
    assert shown in out if isinstance(output, TextOutput) else json.loads(out)["folder"] == path


def test_a_failure_is_one_object_on_stdout_or_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    JsonOutput().failure("demo", "Locked", "held [by] another")
    out, err = capsys.readouterr()
    assert (strictly(out), err) == (
        {"version": VERSION, "command": "demo", "error": "Locked", "message": "held [by] another"},
        "",
    )
    TextOutput().failure(None, "Locked", "held [by] another")
    assert capsys.readouterr() == ("", "Locked: held [by] another\n")


def test_before_a_command_is_understood_its_name_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    JsonOutput().failure(None, "UsageError", "no")
    assert strictly(capsys.readouterr().out)["command"] is None


# --- finite

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(NESTED)
def test_every_value_becomes_strict_json(value: object) -> None:
    assert strictly(json.dumps({"value": finite(value)}, allow_nan=False))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_json_cannot_say_become_null_at_any_depth(number: float) -> None:
    assert finite(number) is None
    assert finite({"a": [1.5, number, (number, {"b": number})]}) == {"a": [1.5, None, [None, {"b": None}]]}


@pytest.mark.parametrize("value", [0, 1.5, -0.0, True, None, "nan", [1, "x"], {"a": {"b": 2}}])
def test_everything_else_stays_as_it_is(value: object) -> None:
    assert finite(value) == value
    assert type(finite(value)) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0.1 + 0.2, "0.3"),
        (1e-12, "1e-12"),
        (1234567, "1,234,567"),
        ([1, None, 0.5], "1 - 0.5"),
        ([], ""),
        ("pairwise", "pairwise"),
        ("\udcff/x", "?/x"),
    ],
)
def test_a_person_reads(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_list_of_records_has_a_table_of_its_own_with_every_name_and_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    checks = [
        {"name": "[red]first", "passed": True, "value": 0.125},
        {"name": "second", "passed": False, "value": math.nan, "line": 7},
    ]
    TextOutput().result("audit selftest", {"ok": False, "checks": checks, "problems": []})
    out, _ = capsys.readouterr()
    above, _, below = out.partition("checks")
    assert "ok" in above
    assert "problems" in above
    for shown in ("name", "passed", "value", "line", "[red]first", "yes", "0.125", "second", "no", "7"):
        assert shown in below
    assert "{" not in out


@pytest.mark.parametrize("value", [[], [1, 2], "text", [{"a": 1}, 2], {"a": 1}, None])
def test_anything_else_is_no_list_of_records(value: object) -> None:
    assert not are_records(value)


def test_no_word_is_broken_where_all_of_them_fit_on_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    what = "the released histogram is close to what its law says of it and of every neighbour it may have"
    check = {"name": "discrete gaussian", "why": "counterexample-distinguisher", "what": what, "more": what}
    TextOutput().result("audit", {"checks": [check, check]})
    out = capsys.readouterr().out
    words = {word for line in out.splitlines() for word in line.replace("│", " ").split()}
    assert set(what.split()) | {"discrete", "gaussian", "counterexample-distinguisher"} <= words
    assert max(map(len, out.splitlines())) <= 80
