"""What a caller expects of a ledger that is opened: which limit, which noise, which head it must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dp.accountant import Budget, Unit, View
from dp.errors import BadParameters, StorageRefused
from dp.ledger.terms import Randomness, Terms

AnyPath = str | os.PathLike[str]
TIMEOUT_SECONDS = 10.0


class Check(StrEnum):
    """Where reading begins when a ledger is opened: at its newest checkpoint, or at its first entry."""

    TAIL = "tail"
    FULL = "full"


@dataclass(frozen=True, slots=True, init=False)
class Wanted:
    """What a caller expects of a ledger that is opened.  Raises: BadParameters."""

    budget: Budget | None
    randomness: Randomness
    pin: Path | None
    check: Check

    def __init__(self, budget: Budget | None, randomness: Randomness, pin: AnyPath | None, check: Check | str) -> None:
        if budget is not None and not isinstance(budget, Budget):
            raise BadParameters(f"budget must be a Budget, got {type(budget).__name__}")
        if check not in list(Check):
            raise BadParameters(f"check must be one of {', '.join(Check)}; got {str(check)[:40]!r}")
        object.__setattr__(self, "budget", budget)
        object.__setattr__(self, "randomness", randomness)
        object.__setattr__(self, "pin", None if pin is None else real_path(pin))
        object.__setattr__(self, "check", Check(check))


def only_budget(budget: Budget, randomness: Randomness) -> Terms:
    """The terms of one budget for everything, towards the aggregator."""
    return Terms(budget, Unit(budget.relation), View.AGGREGATOR, randomness)


def real_path(path: AnyPath) -> Path:
    """The path itself, no link to it.  Raises: StorageRefused."""
    try:
        return Path(os.path.realpath(path))
    except (TypeError, ValueError) as wrong:
        raise StorageRefused(f"{str(path)[:80]!r} is not a path") from wrong


def require_seconds(timeout_seconds: float) -> None:
    """From 0 to an hour.  Raises: BadParameters."""
    if not 0 <= timeout_seconds <= 3600:
        raise BadParameters(f"timeout_seconds must be from 0 to 3600, got {timeout_seconds!r}")
