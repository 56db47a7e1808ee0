"""Streams of other processes: fresh, and seen when they are not."""

from __future__ import annotations

import sys

import pytest

from dp.audit import across_processes
from dp.errors import EntropyUnavailable
from tests.rows import rows

MODULE = sys.modules["dp.audit.processes"]
SPEAK = "from dp.audit.processes import speak; speak()"


@rows("N3")
def test_new_processes_and_their_children_draw_nothing_twice(row: str) -> None:
    finding = across_processes()
    assert not finding.refuted
    # Of each: the parent before and after, and what it and its child opened anew.
    assert finding.trials == 8


def test_a_child_that_keeps_its_parents_stream_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = "from dp.entropy import Entropy; Entropy.close = lambda self: None\n"
    monkeypatch.setattr(MODULE, "_PROGRAM", kept + SPEAK)
    finding = across_processes()
    assert finding.refuted
    assert finding.trials == 10


def test_processes_that_start_from_one_state_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "import os; os.urandom = bytes\n"
    monkeypatch.setattr(MODULE, "_PROGRAM", known + SPEAK)
    assert across_processes().refuted


@pytest.mark.parametrize(
    "program", ["import sys; sys.exit(3)", "print('nothing')", "import os; os.fork = None\n" + SPEAK]
)
def test_a_process_that_does_not_say_what_it_drew_is_an_error(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_PROGRAM", program)
    with pytest.raises(EntropyUnavailable, match="did not say what it drew"):
        across_processes()


def test_a_process_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(MODULE, "PATIENCE_SECONDS", 0.25)
    with pytest.raises(EntropyUnavailable, match="within 0"):
        across_processes()


def test_a_process_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EntropyUnavailable, match="could be started"):
        across_processes()
