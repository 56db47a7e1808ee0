"""`secagg audit invert`: keys, table, pictures, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dp.canonical import decode_body
from dp.ledger import Ledger
from dp.ledger.chain import Kind
from dp.noise import GaussianLaw
from protocols.errors import MissingExtra
from protocols.learning import inverting
from tests.command import in_this_process
from tools.site_pages.keys import unlisted_in

FINE = ("audit", "invert", "--source", "glyphs", "--clients", "1", "--clients", "5")

Invert = Callable[..., tuple[object, str, str]]


@pytest.fixture
def invert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Invert:
    """The command in this process: how it ended, stdout, stderr."""
    command = in_this_process(monkeypatch, capsys, tmp_path)

    def run(*more: str) -> tuple[object, str, str]:
        ran = command(*FINE, *more)
        return ran.code, ran.out, ran.err

    return run


def test_json_is_one_object_with_the_promised_keys(invert: Invert) -> None:
    code, out, err = invert("--json")
    values = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert unlisted_in(values) == []
    assert (values["command"], values["ok"], values["claimed"], values["lower_bound"]) == (
        "audit invert",
        True,
        None,
        None,
    )
    assert {frozenset(check) for check in values["checks"]} == {frozenset(("name", "passed", "value"))}
    assert [(row["clients"], row["noise_multiplier"]) for row in values["rows"]] == [
        (clients, z) for clients in (1, 5) for z in (0.0, 0.001, 0.01, 0.1, 1.0)
    ]


def test_the_table_shows_cells_checks_and_what_they_do_not_prove(invert: Invert) -> None:
    code, out, err = invert("--noise-multiplier", "0", "--noise-multiplier", "1/2")
    assert (code, err) == (0, "")
    for words in ("the attack works", "0.5", "not differentially private", "no proof of privacy", "best psnr"):
        assert words in out
    assert "{" not in out


def test_pictures_are_written_where_they_were_asked_for(invert: Invert, tmp_path: Path) -> None:
    code, out, _ = invert("--json", "--pictures", "seen", "--noise-multiplier", "0")
    assert code == 0
    paths = json.loads(out)["pictures"]
    assert paths[0] == "seen/all.png"
    assert len(paths) == len(list((tmp_path / "seen").iterdir())) == 4
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_check_that_fails_ends_with_one(invert: Invert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianLaw, "add_into", lambda law, total, entropy: None)
    code, out, _ = invert("--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


def test_the_finding_stands_in_the_ledger_it_was_asked_for(invert: Invert, tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "run.ledger"):
        pass
    code, _, err = invert("--json", "--noise-multiplier", "0", "--ledger", "run.ledger")
    assert (code, err) == (0, "")
    with Ledger.read(tmp_path / "run.ledger") as ledger:
        assert ledger.verify().ok
        [body] = [decode_body(entry.body) for entry in ledger.entries() if entry.kind == Kind.AUDIT]
    assert (body["audit"], body["subject"]) == ("invert", "gradients of glyphs, one picture each")
    assert {"claim", "lower_bound"} & set(body) == set()


def test_no_ledger_is_opened_where_there_is_none(invert: Invert, tmp_path: Path) -> None:
    code, out, _ = invert("--json", "--noise-multiplier", "0", "--ledger", "run.ledger")
    assert (code, json.loads(out)["error"]) == (2, "BadParameters")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--clients", "3"), "BadParameters"),
        (("--clients", "2000"), "UsageError"),
        (("--noise-multiplier", "x"), "BadParameters"),
        (("--noise-multiplier", "nan"), "BadParameters"),
        (("--noise-multiplier", "2000"), "BadParameters"),
        (("--noise-multiplier=-1",), "BadParameters"),
        (("--noise-multiplier", "1e-400"), "BadParameters"),
        (("--seed", "-1"), "UsageError"),
        (("--source", "faces"), "UsageError"),
        (("--pictures", "/dev/null/folder"), "Misused"),
    ],
)
def test_wrong_use_ends_with_two_and_a_name(invert: Invert, more: tuple[str, ...], error: str) -> None:
    code, out, err = invert("--json", *more)
    assert (code, err) == (2, "")
    assert json.loads(out)["error"] == error


def test_digits_without_their_package_end_with_two(invert: Invert, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtra("report")

    monkeypatch.setattr(inverting, "digits", missing)
    code, out, _ = invert("--json", "--source", "digits")
    assert (code, json.loads(out)["error"]) == (2, "MissingExtra")
