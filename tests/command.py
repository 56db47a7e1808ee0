"""The `secagg` command in this process: how one call ended, and its JSON as strictly as a program would read it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from protocols.cli import main


@dataclass(frozen=True)
class Ran:
    """How one call ended."""

    code: object
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Stdout as exactly one strict JSON object."""

        def refuse(word: str) -> object:
            raise AssertionError(f"{word} is no JSON")

        value = json.loads(self.out, parse_constant=refuse)
        assert isinstance(value, dict)
        assert self.out.count("\n") == 1
        assert (value["version"], "command" in value) == (1, True)
        return value


Secagg = Callable[..., Ran]


def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> Secagg:
    """Whatever escapes from `main` but SystemExit fails the test, and so does a traceback that it prints."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    for forcing in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(forcing, raising=False)

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["secagg", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(ended.value.code, out, err)

    return run
