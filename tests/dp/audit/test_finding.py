"""What an audit says: valid by construction, exact in a ledger, refuted by a bound or by a check."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.audit import Check, Correction, Finding, Reading, refuted
from dp.canonical import decode_body, encode_body
from dp.errors import BadParameters

FINE = Finding(
    audit="canary",
    subject="ideal sum",
    claim=4.377,
    delta=Fraction(1, 100_000),
    lower_bound=3.9,
    confidence=0.95,
    trials=2000,
    hypotheses=1,
    correction=Correction.NONE,
    seed=7,
    checks=(Check("variance, in standard errors", True, 0.5),),
    readings=(Reading("threshold", 0.5),),
)


def test_a_bound_above_the_claim_refutes_it_and_nothing_else_does() -> None:
    assert (FINE.refuted, FINE.verdict) == (False, "not refuted")
    above = replace(FINE, lower_bound=4.378)
    assert (above.refuted, above.verdict) == (True, "refuted")
    assert not replace(FINE, lower_bound=4.377).refuted
    assert not replace(FINE, claim=None).refuted
    assert not replace(FINE, lower_bound=None).refuted
    assert refuted([FINE, above])
    assert not refuted([FINE, FINE])


def test_a_failed_check_refutes_too() -> None:
    assert replace(FINE, checks=(Check("variance, in standard errors", False, 9.5),)).refuted


@given(
    st.one_of(st.none(), st.floats(0, 1e300)),
    st.one_of(st.none(), st.floats(0, 1e300)),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.one_of(st.none(), st.integers(0, 1 << 70)),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4),
)
def test_it_stands_in_a_ledger_exactly_and_canonically(
    claim: float | None, bound: float | None, confidence: float, seed: int | None, values: list[float]
) -> None:
    checks = tuple(Check(f"check {place}", place % 2 == 0, value) for place, value in enumerate(values))
    readings = tuple(Reading(f"reading {place}", value) for place, value in enumerate(values))
    finding = replace(FINE, claim=claim, lower_bound=bound, confidence=confidence, seed=seed, checks=checks)
    finding = replace(finding, readings=readings)
    assert Finding.from_body(decode_body(encode_body(finding.to_body()))) == finding


@pytest.mark.parametrize(
    "wrong",
    [
        {"audit": ""},
        {"subject": "x" * 201},
        {"subject": "two\nlines"},
        {"claim": -1.0},
        {"claim": math.nan},
        {"lower_bound": math.inf},
        {"delta": Fraction(1)},
        {"confidence": 1.0},
        {"trials": 0},
        {"hypotheses": 0},
        {"hypotheses": 2},
        {"correction": Correction.BONFERRONI},
        {"checks": (Check("x", True, 0.0),) * 257},
        {"readings": (Reading("x", 0.0),) * 256},
    ],
)
def test_what_is_no_finding_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadParameters):
        replace(FINE, **wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"audit": 3},
        {"claim": "1e5"},
        {"claim": "1" + "0" * 400 + "/1"},
        {"correction": "none of them"},
        {"checks": "none"},
        {"checks": [1]},
        {"checks": [{"name": "x", "passed": 2, "value": "0/1"}]},
        {"checks": [{"name": "x", "passed": 1}]},
        {"readings": 3},
        {"readings": [{"name": "x", "value": "0/1", "passed": 1}]},
        {"more": 1},
    ],
)
def test_a_body_that_is_no_finding_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadParameters):
        Finding.from_body({**FINE.to_body(), **change})


def test_a_check_and_a_reading_have_a_finite_value_and_a_name() -> None:
    for wrong in (("", 0.0), ("x", math.nan), ("x", math.inf)):
        with pytest.raises(BadParameters):
            Check(wrong[0], True, wrong[1])
        with pytest.raises(BadParameters):
            Reading(*wrong)
