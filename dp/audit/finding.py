"""What an empirical audit says: a lower bound of the privacy loss with its confidence, beside the claim.

Everything a reader needs to judge the attack is in it: trials, the seed of the attack (never of the noise), how many
hypotheses were declared beforehand and how their number was corrected for. It is written to a ledger as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from dp.canonical import Body, Value, decode_rational, encode_rational, integer_of, require_keys, text_of
from dp.errors import BadParameters

MOST_CHECKS = 256
LONGEST_NAME = 200


class Correction(StrEnum):
    """How several hypotheses share one confidence."""

    NONE = "none"  # there is one
    BONFERRONI = "bonferroni"  # each at alpha / their number
    SPLIT = "split"  # chosen on one half of the data, tested on the other


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: its name, whether it held, and the number it was judged by."""

    name: str
    passed: bool
    value: float

    def __post_init__(self) -> None:
        _require_name(self.name)
        if not math.isfinite(self.value):
            raise BadParameters(f"the value of check {self.name!r} must be finite, got {self.value}")

    def to_body(self) -> Body:
        """As it stands in an AUDIT entry."""
        return {"name": self.name, "passed": int(self.passed), "value": encode_rational(Fraction(self.value))}

    @classmethod
    def from_body(cls, body: Body) -> Check:
        """The inverse of `to_body`.  Raises: BadParameters."""
        require_keys(body, "name", "passed", "value")
        passed = integer_of(body, "passed")
        if passed not in (0, 1):
            raise BadParameters(f"a check passed or did not, got {passed}")
        return cls(text_of(body, "name"), bool(passed), _float(text_of(body, "value")))


@dataclass(frozen=True, slots=True)
class Reading:
    """One number that was measured, or that bounds what can be: nothing is judged by it."""

    name: str
    value: float

    def __post_init__(self) -> None:
        _require_name(self.name)
        if not math.isfinite(self.value):
            raise BadParameters(f"the value of reading {self.name!r} must be finite, got {self.value}")

    def to_body(self) -> Body:
        """As it stands in an AUDIT entry."""
        return {"name": self.name, "value": encode_rational(Fraction(self.value))}

    @classmethod
    def from_body(cls, body: Body) -> Reading:
        """The inverse of `to_body`.  Raises: BadParameters."""
        require_keys(body, "name", "value")
        return cls(text_of(body, "name"), _float(text_of(body, "value")))


@dataclass(frozen=True, slots=True)
class Finding:
    """What one audit found out about one claim.

    `claim` is the epsilon at `delta` that was promised, None where nothing was (a bare sum); `lower_bound` the epsilon
    that the attack proves to leak, with probability `confidence` over its trials, None where it bounds nothing.
    Raises: BadParameters.
    """

    audit: str
    subject: str
    claim: float | None
    delta: Fraction
    lower_bound: float | None
    confidence: float
    trials: int
    hypotheses: int
    correction: Correction
    seed: int | None
    checks: tuple[Check, ...]
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        _require_name(self.audit)
        _require_name(self.subject)
        for name, value in (("claim", self.claim), ("lower_bound", self.lower_bound)):
            if value is not None and not 0 <= value < math.inf:
                raise BadParameters(f"{name} must be a finite epsilon of at least 0, got {value}")
        if not 0 <= self.delta < 1 or not 0 < self.confidence < 1:
            raise BadParameters(f"delta {self.delta} and confidence {self.confidence} are no probabilities")
        if self.trials < 1 or self.hypotheses < 1 or len(self.checks) + len(self.readings) > MOST_CHECKS:
            raise BadParameters("a finding needs trials, at least one hypothesis, and at most 256 checks and readings")
        if (self.hypotheses > 1) == (self.correction is Correction.NONE):
            raise BadParameters(f"{self.hypotheses} hypotheses and correction {self.correction.value!r} do not fit")

    @property
    def refuted(self) -> bool:
        """Whether more leaks than was claimed, or a check failed."""
        above = self.claim is not None and self.lower_bound is not None and self.lower_bound > self.claim
        return above or not all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """ "refuted" or "not refuted"; there is no third, for no attack proves privacy."""
        return "refuted" if self.refuted else "not refuted"

    def to_body(self) -> dict[str, Value]:
        """As it stands in an AUDIT entry: what is unknown is left out, numbers are exact rationals."""
        body: dict[str, Value] = {
            "audit": self.audit,
            "subject": self.subject,
            "delta": encode_rational(self.delta),
            "confidence": encode_rational(Fraction(self.confidence)),
            "trials": self.trials,
            "hypotheses": self.hypotheses,
            "correction": self.correction.value,
            "checks": [check.to_body() for check in self.checks],
            "readings": [reading.to_body() for reading in self.readings],
        }
        if self.claim is not None:
            body["claim"] = encode_rational(Fraction(self.claim))
        if self.lower_bound is not None:
            body["lower_bound"] = encode_rational(Fraction(self.lower_bound))
        if self.seed is not None:
            body["seed"] = self.seed
        return body

    @classmethod
    def from_body(cls, body: Body) -> Finding:
        """The inverse of `to_body`.  Raises: BadParameters."""
        optional = [key for key in ("claim", "lower_bound", "seed") if key in body]
        known = ("audit", "subject", "delta", "confidence", "trials", "hypotheses", "correction")
        require_keys(body, *known, "checks", "readings", *optional)
        try:
            correction = Correction(text_of(body, "correction"))
        except ValueError as unknown:
            raise BadParameters(f"unknown correction: {unknown}") from unknown
        return cls(
            audit=text_of(body, "audit"),
            subject=text_of(body, "subject"),
            claim=_float(text_of(body, "claim")) if "claim" in body else None,
            delta=decode_rational(text_of(body, "delta")),
            lower_bound=_float(text_of(body, "lower_bound")) if "lower_bound" in body else None,
            confidence=_float(text_of(body, "confidence")),
            trials=integer_of(body, "trials"),
            hypotheses=integer_of(body, "hypotheses"),
            correction=correction,
            seed=integer_of(body, "seed") if "seed" in body else None,
            checks=tuple(map(Check.from_body, _objects(body, "checks"))),
            readings=tuple(map(Reading.from_body, _objects(body, "readings"))),
        )


def refuted(findings: Iterable[Finding]) -> bool:
    """Whether any of them refutes its claim."""
    return any(finding.refuted for finding in findings)


def _float(text: str) -> float:
    value = decode_rational(text)
    try:
        return float(value)
    except OverflowError as wrong:
        raise BadParameters(f"{text[:40]} is beyond all doubles") from wrong


def _objects(body: Body, key: str) -> Sequence[Body]:
    value = body[key]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadParameters(f"{key} must be a list of objects")
    return value


def _require_name(name: str) -> None:
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadParameters(f"a name is 1 to {LONGEST_NAME} printable characters, got {name[:40]!r}")
