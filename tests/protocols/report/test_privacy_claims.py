"""Part 2 of the privacy report: what is claimed in one sentence, and when nothing is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dp.accountant import Budget, Interval, Unit
from dp.audit.finding import Check
from dp.ledger.charge import Scope
from dp.ledger.records import Standing
from dp.ledger.verdict import Problem, Verdict
from protocols.report.privacy import render
from tests.protocols.report import statement_kit as kit
from tests.protocols.report.page_kit import shown

NOTHING = kit.statement(1, budgets=(), releases=(), clients=(), audits=(), notes=(), opinions=(), policy="")


def test_the_claim_is_one_sentence_with_bounds_rounded_outwards() -> None:
    [said] = render(kit.statement())[1]["claims"]  # type: ignore[misc]  # the object is untyped JSON
    spent = kit.spent(kit.EVENT, 30)
    assert said == (
        "Each client's entire contribution (zero-out) in the 30 releases of rounds 0 to 29 is protected with epsilon "
        "in [2.83755, 2.83758] at delta 1e-5 against the server, which knows every cohort, provided that each sum "
        "holds at least 80 survivors, of whom at most 5 collude."
    )
    assert (spent.lower or 0) >= 2.83755
    assert spent.upper <= 2.83758
    assert spent.upper - 2.83757 > 0
    assert said in shown(kit.statement())


def test_the_claim_names_what_it_rests_on_for_every_release() -> None:
    few = replace(kit.SETTING, min_survivors=60, colluders=2)
    both = kit.statement(2, releases=(kit.release(0), kit.release(1, setting=few)))
    [said] = render(both)[1]["claims"]  # type: ignore[misc]  # the object is untyped JSON
    assert said.endswith("each sum holds at least 60 to 80 survivors, of whom at most 2 to 5 collude.")
    silent = kit.statement(2, releases=(kit.release(0), kit.release(1, setting=None)))
    [said] = render(silent)[1]["claims"]  # type: ignore[misc]  # the object is untyped JSON
    assert said.endswith("5 collude and 1 release kept to assumptions that are not on record.")


def claim(**other: object) -> str:
    [said] = render(kit.statement(2, budgets=(kit.budget(2, **other),)))[1]["claims"]  # type: ignore[misc]  # as above
    return str(said)


def test_nothing_is_claimed_where_nothing_holds() -> None:
    whole = kit.TERMS
    aborted = kit.release(0, standing=Standing.ABORTED, survivors=None)
    assert "nothing was charged" in str(render(kit.statement(2, releases=(aborted,)))[1]["claims"])
    assert "nothing was charged" in str(render(kit.statement(2, releases=()))[1]["claims"])
    assert "no finite epsilon" in claim(spent=Interval(None, math.inf, kit.DELTA, "pld"))
    rehearsal = replace(whole, randomness=kit.Randomness.INSECURE)
    assert "protects nobody" in claim(terms=rehearsal)
    assert "so nothing is claimed" in str(render(kit.troubled())[1]["claims"])
    assert "No budget was ever opened" in shown(NOTHING)


def test_a_claim_that_an_audit_refuted_is_no_claim() -> None:
    """The sentence is quoted by itself: it may not say "is protected" beside an attack that shows the contrary."""
    broken, leaking = kit.finding("selftest", 1.0, checks=(Check("variance", False, 9.5),)), kit.finding("canary", 9.0)
    audits = ((62, kit.FINDINGS[0]), (63, leaking), (64, broken))
    [said] = render(kit.statement(audits=audits))[1]["claims"]  # type: ignore[misc]  # the object is untyped JSON
    assert said == (
        "Budget 1: refuted by audit canary in entry 63 (epsilon is at least 9 where 4.377 was claimed) and audit "
        "selftest in entry 64 (a check failed), so nothing is claimed; what was computed for each client's entire "
        "contribution (zero-out) in the 30 releases of rounds 0 to 29 was epsilon in [2.83755, 2.83758] at delta 1e-5 "
        "against the server, which knows every cohort, provided that each sum holds at least 80 survivors, of whom at "
        "most 5 collude."
    )
    assert said in shown(kit.statement(audits=audits))
    assert "is protected" not in shown(kit.statement(audits=audits))
    assert "refuted by" not in shown(kit.statement())


def test_many_refuting_audits_are_counted_and_not_all_named() -> None:
    audits = tuple((number, kit.finding("canary", 9.0)) for number in range(70, 90))
    [said] = render(kit.statement(audits=audits))[1]["claims"]  # type: ignore[misc]  # the object is untyped JSON
    assert "audit canary in entry 72 (epsilon is at least 9 where 4.377 was claimed) and 17 more, so nothing" in said


def test_a_refuted_ledger_claims_nothing_and_names_the_audit_all_the_same() -> None:
    verdict = Verdict(False, 64, kit.head(63), (Problem(7, "BudgetExceeded", "too much"),))
    statement = kit.statement(verdict=verdict, audits=((63, kit.finding("canary", 9.0)),))
    assert render(statement)[1]["claims"] == [
        "Budget 1: the ledger is refuted, so nothing is claimed; what was claimed before was refuted by audit canary "
        "in entry 63 (epsilon is at least 9 where 4.377 was claimed)."
    ]


def test_a_limit_for_each_client_says_which_rounds_it_counts() -> None:
    terms = replace(kit.TERMS, scope=Scope.EACH, dataset="letters", task="digits", purpose="study 7")
    said = shown(kit.statement(2, budgets=(kit.budget(2, terms=terms),)))
    assert "in the rounds it was invited to, among the 2 releases of rounds 0 to 1, is protected" in said
    assert "counted for each client by the rounds it was invited to, this is the worst" in said
    assert "Budget 1, data: letters , task: digits , purpose: study 7 ." in said


@pytest.mark.parametrize(
    ("relation", "of", "words"),
    [
        ("replace-one", "client", "differ by one client exchanged for any other (bounded"),
        ("add-or-remove-one", "record", "differ by one record of a client that is there or not (unbounded"),
        ("zero-out", "client", "differ by one client that is there with its contribution or with the zero vector"),
    ],
)
def test_the_relation_is_written_out(relation: str, of: str, words: str) -> None:
    terms = replace(kit.TERMS, budget=Budget(8, kit.DELTA, relation), unit=Unit(relation, of))
    assert words in shown(kit.statement(budgets=(kit.budget(2, terms=terms),)))


def test_an_upper_bound_alone_is_said_as_such() -> None:
    assert "epsilon at most 3.125" in claim(spent=Interval(None, 3.125, kit.DELTA, "rdp"))
