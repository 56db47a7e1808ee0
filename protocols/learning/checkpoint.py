"""Where a run stands, as one file: a run that was killed goes on from here, and draws no cohort a second time.

    before a round    number and cohort are written down
    after it          model, strategy state and history of the next

The ledger knows rounds by number, and each number is charged once at most. What a death between charge and checkpoint
does to a mean is the business of `SecureRounds`: it keeps the mean before the ledger calls it released.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from protocols.errors import Misused
from protocols.learning.folders import RunFolder, differing
from protocols.learning.reduction import Latest
from protocols.learning.stopping import Progress

NAME = "checkpoint"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that the next round depends on. `number` is its own, `invited` its cohort where that was drawn already.

    `state` is the strategy's, `latest` the mean that a round released last.
    """

    parameters: list[Array] = field(repr=False)
    state: tuple[list[Array], ...] = field(repr=False)
    progress: Progress
    latest: Latest | None = None
    invited: tuple[int, ...] | None = None

    @property
    def number(self) -> int:
        """Of the next round: every attempt has its own."""
        return self.progress.attempts

    def save(self, folder: RunFolder, run: str) -> None:
        """Durably; `run` says whose it is.

        Raises: Misused when the mean that travelled is made of something else than numpy arrays.
        """
        arrays = _numbered("parameter", self.parameters)
        said, means = (None, {}) if self.latest is None else _latest_said(self.latest)
        arrays |= means
        for place, part in enumerate(self.state):
            arrays |= _numbered(f"state-{place}", part)
        about = {
            "run": _name_of(run),
            "settings": run,
            "progress": dataclasses.asdict(self.progress),
            "invited": self.invited,
            "parameters": len(self.parameters),
            "state": [len(part) for part in self.state],
            "latest": said,
        }
        folder.save(NAME, about, arrays)

    @classmethod
    def load(cls, folder: RunFolder, run: str) -> Self | None:
        """What was saved last; None where nothing was.

        Raises: Misused when the folder is another run's, or its file no checkpoint.
        """
        found = folder.load(NAME)
        if found is None:
            return None
        about, arrays = found
        try:
            if about["run"] != _name_of(run):
                raise Misused(
                    f"{folder.path} belongs to a run with other settings than {_apart(about.get('settings'), run)}: "
                    "name another folder, or go on with those it was started with"
                )
            progress = about["progress"]
            return cls(
                _listed("parameter", arrays, about["parameters"]),
                tuple(_listed(f"state-{place}", arrays, count) for place, count in enumerate(about["state"])),
                Progress(progress["attempts"], tuple(progress["losses"]), tuple(progress["norms"])),
                None if about["latest"] is None else _latest_heard(about["latest"], arrays),
                None if about["invited"] is None else tuple(about["invited"]),
            )
        except (KeyError, TypeError) as error:
            raise Misused(f"{folder.path} holds a checkpoint of another version: {error}") from error


def _name_of(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()


def _apart(known: str | None, given: str) -> str:
    """What differs, where the folder says its settings: folders of earlier versions have their digest alone."""
    if known is None:
        return given
    theirs, ours = differing(known, given)
    return f"{ours}, it has {theirs}"


def _numbered(name: str, arrays: list[Array]) -> dict[str, Array]:
    return {f"{name}-{place}": array for place, array in enumerate(arrays)}


def _listed(name: str, arrays: Mapping[str, Array], count: int) -> list[Array]:
    return [arrays[f"{name}-{place}"] for place in range(count)]


def _latest_said(latest: Latest) -> tuple[dict[str, Any], dict[str, Array]]:
    """What says how to put it together, and the arrays.

    Raises: Misused for means that are made of something else than numpy arrays.
    """
    travelled, mean = latest.travelled, latest.mean
    parts = list(travelled.values()) if isinstance(travelled, Mapping) else list(travelled)
    if not all(isinstance(array, np.ndarray) for array in (*parts, *mean)):
        raise Misused("a mean is kept as numpy arrays: give a run arrays, or let Session take the tensors")
    said = {
        "round": latest.round,
        "survivors": latest.survivors,
        "travelled": list(travelled) if isinstance(travelled, Mapping) else len(parts),
        "mean": len(mean),
    }
    return said, _numbered("travelled", parts) | _numbered("mean", mean)


def _latest_heard(said: Mapping[str, Any], arrays: Mapping[str, Array]) -> Latest:
    """The inverse of `_latest_said`."""
    names = said["travelled"]
    count = names if isinstance(names, int) else len(names)
    parts = _listed("travelled", arrays, count)
    travelled = parts if isinstance(names, int) else dict(zip(names, parts, strict=True))
    return Latest(said["round"], travelled, _listed("mean", arrays, said["mean"]), tuple(said["survivors"]))
