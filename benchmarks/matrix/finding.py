"""What came of one check against one library. Imports nothing but the standard library."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from benchmarks.matrix.checks import BY_ID


class Outcome(enum.Enum):
    """WITHSTOOD and FELL were seen; NOT_APPLICABLE and NOT_INSTALLED say why nothing was."""

    WITHSTOOD = "withstood"
    FELL = "fell"
    NOT_APPLICABLE = "not applicable"
    NOT_INSTALLED = "not installed"

    @property
    def seen(self) -> bool:
        return self in (Outcome.WITHSTOOD, Outcome.FELL)


class NotApplicable(Exception):
    """Raised by a probe: the library does not do what the check is about, and this is why."""


class NotInstalled(Exception):
    """Raised by a probe: the part of the library that the check drives cannot be used here, and why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe saw, and the numbers that show it."""

    fell: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One cell of the matrix. `evidence` is a line that a sceptic can check, or the reason why there is none.

    `version` is the library's as found, empty where it is not installed; `upstream` are public issues, where the
    library fell.

    Raises: ValueError for a finding that says nothing, or that cites issues without a fall.
    """

    check: str
    library: str
    version: str
    outcome: Outcome
    evidence: str
    upstream: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.check not in BY_ID:
            raise ValueError(f"there is no check {self.check!r}")
        if not self.evidence:
            raise ValueError(f"{self.check} of {self.library}: a finding says what was seen, or why nothing was")
        if self.outcome.seen and not self.version:
            raise ValueError(f"{self.check} of {self.library}: what was seen is of a version")
        if self.upstream and self.outcome is not Outcome.FELL:
            raise ValueError(f"{self.check} of {self.library}: issues are cited where it fell")

    @property
    def fell(self) -> bool:
        return self.outcome is Outcome.FELL

    def to_dict(self) -> dict[str, object]:
        return {
            "check": self.check,
            "library": self.library,
            "version": self.version,
            "outcome": self.outcome.value,
            "evidence": self.evidence,
            "upstream": list(self.upstream),
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Finding:
        """The inverse of `to_dict`."""
        return cls(
            plain["check"],
            plain["library"],
            plain["version"],
            Outcome(plain["outcome"]),
            plain["evidence"],
            tuple(plain["upstream"]),
        )
