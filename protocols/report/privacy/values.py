"""Single values of the JSON object: rationals, intervals, heads; what has no finite double or is unknown is null."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction

from dp.accountant import Interval
from dp.canonical import encode_rational
from dp.ledger.chain import Head
from dp.ledger.charge import Setting
from protocols.report.privacy.facts import Span
from protocols.report.privacy.words import float_of

Json = dict[str, object]


def finite(value: float | None) -> float | None:
    """What JSON has a word for."""
    return None if value is None or not math.isfinite(value) else value


def exact(value: Fraction | int) -> Json:
    """A rational, and the double beside it."""
    return {"exact": encode_rational(Fraction(value)), "value": finite(float_of(Fraction(value)))}


def interval_record(interval: Interval | None) -> Json | None:
    if interval is None:
        return None
    return {
        "lower": finite(interval.lower),
        "upper": finite(interval.upper),
        "delta": exact(interval.delta),
        "method": interval.method,
    }


def head_record(head: Head | None) -> Json | None:
    if head is None:
        return None
    return {"seq": head.seq, "hash": head.hash.hex(), "signature": head.signature.hex()}


def setting_record(setting: Setting | None) -> Json | None:
    if setting is None:
        return None
    written = ((each.name, getattr(setting, each.name)) for each in fields(setting))
    return {name: exact(value) if isinstance(value, Fraction) else value for name, value in written}


def span_record(span: Span | None) -> Json | None:
    return None if span is None else {"least": span.least, "most": span.most}
