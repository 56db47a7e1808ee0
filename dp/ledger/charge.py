"""What a spend says: Charge before the release, Outcome after it; and the ends of the intervals it led to.

    charge_id = SHA256(CHARGE || canonical (task, round, dataset, mechanism))

All of it is integers, names and rationals, so that what was agreed can be recomputed from the entry alone;
`to_body` and `from_body` are inverse to each other.
"""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import dataclass, field
from fractions import Fraction

from dp.accountant import Interval
from dp.canonical import (
    Body,
    Value,
    bytes_of,
    decode_rational,
    encode_body,
    encode_rational,
    integer_of,
    object_of,
    require_keys,
    text_of,
)
from dp.errors import BadParameters
from dp.events import Event
from dp.ledger.cohorts import require_members
from dp.ledger.terms import Randomness, Scope, Terms, require_name

__all__ = ["Charge", "Ends", "Outcome", "Randomness", "Scope", "Setting", "Terms", "grid_above", "grid_below"]

LABEL_CHARGE = b"secagg/v1/ledger/charge"
# Recorded ends of an interval are multiples of this, rounded outwards.
GRID = 2**32
# What is recorded was a double.
_LARGEST = Fraction(sys.float_info.max)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the noise of a release is made: what an auditor needs beside the event, in integers and rationals.

    Units: `lattice_step` and `clip` in the units of an update, one coordinate's step and one client's L2 norm.
    Raises: BadParameters.
    """

    lattice_step: Fraction
    clip: Fraction
    modulus_bits: int
    min_survivors: int
    colluders: int
    layers: int

    def __post_init__(self) -> None:
        for name in ("lattice_step", "clip"):
            value = getattr(self, name)
            if not isinstance(value, Fraction) or value <= 0:
                raise BadParameters(f"{name} must be a Fraction above 0, got {value!r}")
        for name in ("modulus_bits", "min_survivors", "colluders", "layers"):
            _require_count(name, getattr(self, name), 0)

    def to_body(self) -> dict[str, Value]:
        """As it stands in a RESERVE entry."""
        return {
            "lattice_step": encode_rational(self.lattice_step),
            "clip": encode_rational(self.clip),
            "modulus_bits": self.modulus_bits,
            "min_survivors": self.min_survivors,
            "colluders": self.colluders,
            "layers": self.layers,
        }

    @classmethod
    def from_body(cls, body: Body) -> Setting:
        """The inverse of `to_body`.  Raises: BadParameters."""
        require_keys(body, "lattice_step", "clip", "modulus_bits", "min_survivors", "colluders", "layers")
        return cls(
            decode_rational(text_of(body, "lattice_step")),
            decode_rational(text_of(body, "clip")),
            integer_of(body, "modulus_bits"),
            integer_of(body, "min_survivors"),
            integer_of(body, "colluders"),
            integer_of(body, "layers"),
        )


@dataclass(frozen=True, slots=True)
class Charge:
    """One release about to happen: which data, by which mechanism, at what cost, for how many units.

    Shapes: `event` is the worst case the plan allows (fewest survivors); `cohort` the units invited;
        `context` the 32-byte hash of everything the round agreed on; `setting` how the noise is made, where it is
        said; `members` the identity keys of all invited, or of none: only their pseudonyms are written.
    Raises: BadParameters.
    """

    task: str
    round: int
    dataset: str
    mechanism: str
    event: Event
    cohort: int
    context: bytes
    setting: Setting | None = None
    # Left out of comparisons: what is read back from a ledger knows no identity keys.
    members: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("task", "dataset", "mechanism"):
            require_name(name, getattr(self, name))
        _require_count("round", self.round, 0)
        _require_count("cohort", self.cohort, 1)
        _require_event("event", self.event)
        _require_digest("context", self.context)
        require_members("members", self.members, self.cohort)

    @property
    def id(self) -> bytes:
        """The 32 bytes that make two charges the same release."""
        body: Body = {"task": self.task, "round": self.round, "dataset": self.dataset, "mechanism": self.mechanism}
        return hashlib.sha256(LABEL_CHARGE + encode_body(body)).digest()

    def require_survivors(self, survivors: int) -> None:
        """As many as can have survived: of those invited, enough for the noise of `event`.  Raises: BadParameters."""
        least = 0 if self.setting is None else self.setting.min_survivors
        if not least <= survivors <= self.cohort:
            raise BadParameters(
                f"{survivors} survivors of a cohort of {self.cohort}, of whom at least {least} make the noise of its "
                "charge; forfeit the reservation"
            )

    def to_body(self) -> Body:
        """As it stands in a RESERVE entry."""
        setting: Body = {} if self.setting is None else {"setting": self.setting.to_body()}
        return {
            "task": self.task,
            "round": self.round,
            "dataset": self.dataset,
            "mechanism": self.mechanism,
            "event": self.event.to_canonical(),
            "cohort": self.cohort,
            "context": self.context.hex(),
            **setting,
        }

    @classmethod
    def from_body(cls, body: Body, event: Event) -> Charge:
        """The inverse of `to_body`, its event already read. Raises: BadParameters."""
        said = ("setting",) if "setting" in body else ()
        require_keys(body, "task", "round", "dataset", "mechanism", "event", "cohort", "context", *said)
        return cls(
            text_of(body, "task"),
            integer_of(body, "round"),
            text_of(body, "dataset"),
            text_of(body, "mechanism"),
            event,
            integer_of(body, "cohort"),
            bytes_of(body, "context", 32),
            Setting.from_body(object_of(body, "setting")) if said else None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: who survived, the event as a reader of the model sees it, the result's hash.

    `variance` is that of the noise the survivors made, per coordinate in squared lattice steps, where it is known;
    `named` the identity keys of all survivors, or of none: only their pseudonyms are written. A ledger writes the
    digest hidden by a salt, so that nobody can try out results against it.
    Raises: BadParameters.
    """

    survivors: int
    released: Event
    digest: bytes
    variance: Fraction | None = None
    named: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        _require_count("survivors", self.survivors, 0)
        _require_event("released", self.released)
        _require_digest("digest", self.digest)
        if self.variance is not None and not (isinstance(self.variance, Fraction) and self.variance >= 0):
            raise BadParameters(f"variance must be a Fraction of at least 0, got {self.variance!r}")
        require_members("named", self.named, self.survivors)

    def to_body(self) -> dict[str, Value]:
        """As it stands in a COMMIT entry."""
        said = {} if self.variance is None else {"variance": encode_rational(self.variance)}
        return {
            "survivors": self.survivors,
            "released": self.released.to_canonical(),
            "digest": self.digest.hex(),
            **said,
        }

    @classmethod
    def from_body(cls, body: Body, released: Event) -> Outcome:
        """The inverse of `to_body`, its event already read; other keys are the caller's. Raises: BadParameters."""
        return cls(
            integer_of(body, "survivors"),
            released,
            bytes_of(body, "digest", 32),
            decode_rational(text_of(body, "variance")) if "variance" in body else None,
        )


@dataclass(frozen=True, slots=True)
class Ends:
    """An interval as written down: multiples of 2^-32, the lower end rounded down, the upper up."""

    lower: Fraction | None
    upper: Fraction

    @classmethod
    def of(cls, interval: Interval) -> Ends:
        """The narrowest recordable interval around this one, whose upper end must be finite."""
        lower = None if interval.lower is None else grid_below(Fraction(interval.lower))
        return cls(lower, grid_above(Fraction(interval.upper)))

    def to_body(self) -> Body:
        """As it stands in a RESERVE entry."""
        upper = {"upper": encode_rational(self.upper)}
        return upper if self.lower is None else {"lower": encode_rational(self.lower), **upper}

    @classmethod
    def from_body(cls, body: Body) -> Ends:
        """The inverse of `to_body`. Raises: BadParameters."""
        known = "lower" in body
        require_keys(body, *(("lower", "upper") if known else ("upper",)))
        lower = decode_rational(text_of(body, "lower")) if known else None
        ends = cls(lower, decode_rational(text_of(body, "upper")))
        if not 0 <= (ends.lower or 0) <= ends.upper <= _LARGEST:
            raise BadParameters(f"a recorded interval runs from {str(ends.lower)[:40]} to {str(ends.upper)[:40]}")
        return ends


def grid_below(value: Fraction) -> Fraction:
    """The largest recordable number <= value."""
    return Fraction(math.floor(value * GRID), GRID)


def grid_above(value: Fraction) -> Fraction:
    """The smallest recordable number >= value."""
    return Fraction(math.ceil(value * GRID), GRID)


def _require_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise BadParameters(f"{name} must be an integer from {least} to 2^63 - 1, got {str(value)[:40]}")


def _require_event(name: str, value: object) -> None:
    if not isinstance(value, Event) or type(value) is Event:
        raise BadParameters(f"{name} must be an event of dp.events, got {type(value).__name__}")


def _require_digest(name: str, value: object) -> None:
    if not isinstance(value, bytes) or len(value) != 32:
        raise BadParameters(f"{name} must be a hash of 32 bytes")
