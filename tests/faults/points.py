"""Chosen points of a process at which it dies: a function, which of its calls, and whether that call still acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Plant = Callable[[pytest.MonkeyPatch], None]


def at(owner: object, name: str, call: int, *, before: bool, die: Callable[[], None]) -> Plant:
    """Ends the process, as `die` does, at the call-th use of a function, before or after it acted."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real, calls = getattr(owner, name), []

        def deadly(*arguments: Any, **named: Any) -> Any:
            calls.append(1)
            if len(calls) == call and before:
                die()
            result = real(*arguments, **named)
            if len(calls) == call:
                die()
            return result

        patch.setattr(owner, name, deadly)

    return plant
