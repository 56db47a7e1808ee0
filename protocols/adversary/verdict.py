"""What a script found, and how a target says that its library withstood."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Outcome(enum.Enum):
    """How a script ended.

    SUCCEEDED: the attacker holds what the script is after, compared with the ground truth.
    FAILED: the script was played to its end and the attacker holds nothing.
    REFUSED: the library stopped it with a named error. INEXPRESSIBLE: no message of the library says it.
    NOT_APPLICABLE: the target does not offer what the script drives.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    INEXPRESSIBLE = "inexpressible"
    NOT_APPLICABLE = "not applicable"


class Refused(Exception):
    """Raised by a target: the library under attack refused, and this is what it called the reason."""


class Inexpressible(Exception):
    """Raised by a target: the library has no message, field or setting that says this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a script saw: whether it got what it was after, and the numbers that show it."""

    succeeded: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One script against one target. `evidence` is one line that a sceptic can check."""

    script: str
    target: str
    outcome: Outcome
    evidence: str

    @property
    def succeeded(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED

    def to_dict(self) -> dict[str, object]:
        return {
            "script": self.script,
            "target": self.target,
            "outcome": self.outcome.value,
            "succeeded": self.succeeded,
            "evidence": self.evidence,
        }

    @classmethod
    def from_dict(cls, verdict: dict[str, Any]) -> Verdict:
        """The verdict that `to_dict` wrote, in another process."""
        return cls(verdict["script"], verdict["target"], Outcome(verdict["outcome"]), verdict["evidence"])


@dataclass(frozen=True, slots=True)
class Script:
    """An attack: its name, the fault it looks for, rows of the catalogue, and what it drives.

    `attack` takes a target that offers `needs`; it may raise Refused and Inexpressible.
    """

    name: str
    idea: str
    rows: tuple[str, ...]
    needs: type[Any]
    attack: Callable[[Any], Finding]

    def against(self, target: Any) -> Verdict:
        """Play the script."""
        if not isinstance(target, self.needs):
            lacking = f"{target.name} does not offer {self.needs.__name__}"
            return Verdict(self.name, target.name, Outcome.NOT_APPLICABLE, lacking)
        try:
            finding = self.attack(target)
        except Refused as refusal:
            return Verdict(self.name, target.name, Outcome.REFUSED, str(refusal))
        except Inexpressible as limit:
            return Verdict(self.name, target.name, Outcome.INEXPRESSIBLE, str(limit))
        outcome = Outcome.SUCCEEDED if finding.succeeded else Outcome.FAILED
        return Verdict(self.name, target.name, outcome, finding.evidence)
