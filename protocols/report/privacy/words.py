"""How the report says numbers and settled things: bounds rounded outwards, and every term in a whole sentence."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from dp.accountant import Interval, Relation, Unit, View, upward
from dp.events import exact

Number = float | int | Fraction

DIGITS = 6
# A rational of a stranger's ledger may have a thousand digits; the JSON record has them all.
LONGEST_RATIONAL = 60

UNBOUNDED = "unbounded"
UNKNOWN = "not known"
EVERY_DATA_SET = "every data set"

WHO_LOOKS = {
    View.RELEASED: "a reader of everything released, who knows no cohort",
    View.AGGREGATOR: "the server, which knows every cohort",
    View.COLLUDING: "the server together with the clients that collude with it",
}
EYES = {
    View.RELEASED: "In the eyes of a reader",
    View.AGGREGATOR: "In the eyes of the server",
    View.COLLUDING: "In the eyes of the server and its colluders",
}
NEIGHBOURS = {
    Relation.ADD_REMOVE: "Neighbouring data sets differ by one {unit} that is there or not (unbounded neighbours).",
    Relation.ZERO_OUT: "Neighbouring data sets differ by one {unit} that is there with its contribution or with the "
    "zero vector; how many take part is public.",
    Relation.REPLACE_ONE: "Neighbouring data sets differ by one {unit} exchanged for any other (bounded neighbours).",
}
# By what a ledger says of itself: the style, the heading, and what that means.
VERDICTS = {
    "verified": (
        "verified",
        "Verified",
        "Every entry continues the one before it and is signed, no budget was exceeded, and the file agrees with what "
        "was given beside it.",
    ),
    "internally-consistent": (
        "consistent",
        "Internally consistent, not verified",
        "Every entry continues the one before it and is signed, and no budget was exceeded. But without any pin or "
        "witness the holder of the signing key can rewrite everything, and nobody could tell from this file.",
    ),
    "refuted": (
        "refuted",
        "Refuted",
        "The file contradicts itself, its signatures or the pin that was given. Rely on no figure below.",
    ),
}
# Nobody may read "verified" of a claim off the verdict on a file.
AGAINST = ("consistent", "The file is verified, its claims are refuted by an audit")
A_PIN = (
    "A pin was given; this page cannot know where it was kept, and one kept with the ledger and its key vouches for "
    "nothing against their owner."
)
A_PARTY = "A party whose public key was given has signed its head."


def above(value: Number) -> str:
    """An upper bound in 6 digits, never below it. A double counts as its shortest decimal, here as everywhere."""
    return _written(value, ROUND_CEILING)


def below(value: Number) -> str:
    """A lower bound in 6 digits, never above it."""
    return _written(value, ROUND_FLOOR)


def confidence(value: float) -> str:
    """How sure a bound is, in 7 digits, never more than it is: 1 would be certainty."""
    return _written(value, ROUND_FLOOR, 7)


def near(value: Number) -> str:
    """A number in 6 digits, which bounds nothing."""
    return _written(value, ROUND_HALF_EVEN)


def count(value: int) -> str:
    """A count, its digits in groups of three."""
    return f"{value:,}"


def counted(value: int, one: str) -> str:
    """ "1 round", "2 rounds"."""
    return f"{count(value)} {one}" if value == 1 else f"{count(value)} {one}s"


def rational(value: Fraction | int) -> str:
    """The exact number: an integer, or p/q; its middle is left out when it is longer than a line."""
    whole = str(value)
    half = LONGEST_RATIONAL // 2
    return whole if len(whole) <= LONGEST_RATIONAL else f"{whole[:half]}…{whole[-half:]}"


def interval(span: Interval | None) -> str:
    """ "2.1 to 2.2", "at most 2.2" when only that is known, "unbounded"."""
    if span is None:
        return UNKNOWN
    return ends(span.lower, span.upper)


def ends(lower: Number | None, upper: Number) -> str:
    """The same of two numbers."""
    if isinstance(upper, float) and math.isinf(upper):
        return UNBOUNDED
    return f"at most {above(upper)}" if lower is None else f"{below(lower)} to {above(upper)}"


def unit_of(unit: Unit) -> str:
    """Whose data one step changes."""
    return "client" if unit.of == "client" else "record of a client"


def neighbours(unit: Unit) -> str:
    """The relation, written out."""
    return NEIGHBOURS[unit.relation].format(unit=unit_of(unit))


def float_of(value: Fraction) -> float:
    """The nearest double, infinite beyond all of them."""
    return upward(value) if abs(value) > 1 else float(value)


def _written(value: Number, rounding: str, digits: int = DIGITS) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return UNBOUNDED
    number = exact("number", value)
    rounded = Context(prec=digits, rounding=rounding).divide(Decimal(number.numerator), Decimal(number.denominator))
    return f"{rounded.normalize():f}" if -5 < rounded.adjusted() < digits else f"{rounded.normalize():e}"
