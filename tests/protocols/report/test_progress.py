"""A trial as it happens: a line on a terminal, and not one byte anywhere else."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from protocols.errors import TooFewClients
from protocols.report import progress
from protocols.report.progress import counted
from protocols.simulate import Standing

STEPS = [Standing(1, 0), Standing(2, 0), Standing(2, 1)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Stands in for stderr."""
    # Rich takes a terminal that calls itself dumb for none.
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    monkeypatch.setattr(progress, "NOTES", Console(file=file, force_terminal=True, width=120))
    return file


def lines(file: io.StringIO) -> list[str]:
    """What the terminal showed, one line for each time it was drawn."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    drawn = [re.sub(r"\S*[━╸╺]\S*| {2,}", " ", line) for line in re.split(r"[\r\n]+", plain) if line.strip()]
    return [" ".join(line.split()[:-1]) for line in drawn]


def test_updates_and_answers_are_counted_on_a_terminal(
    terminal: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with counted(2) as told:
        for step in STEPS:
            told(step)
    assert list(dict.fromkeys(lines(terminal))) == [
        "updates 0/2",
        "updates 1/2",
        "updates 2/2",
        "updates 2/2 answers of holders: 1",
    ]
    # The line is wiped before the result is printed.
    assert terminal.getvalue().endswith("\x1b[2K")
    assert capsys.readouterr() == ("", "")


def test_a_round_that_is_lost_leaves_no_line_behind(terminal: io.StringIO) -> None:
    def lose() -> None:
        with counted(2) as told:
            told(STEPS[0])
            raise TooFewClients(1, 2, "Summing")

    with pytest.raises(TooFewClients):
        lose()
    assert terminal.getvalue().endswith("\x1b[2K")


def test_where_stderr_is_no_terminal_nothing_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for forcing in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(forcing, raising=False)
    with counted(2) as told:
        for step in STEPS:
            told(step)
    assert capsys.readouterr() == ("", "")
