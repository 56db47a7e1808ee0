"""What the privacy report says of every kind of ledger."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from dp.accountant import Budget, Interval, Relation, Unit, View
from dp.audit.finding import Check
from dp.events import FixedSize, Poisson, Sampled
from dp.ledger.records import Standing
from dp.ledger.statement import BudgetStatement, Opinion
from dp.ledger.verdict import Problem, Verdict
from protocols.report.privacy import render
from protocols.report.privacy.totals import Total, totals_of
from protocols.report.privacy.words import confidence
from tests.protocols.report import statement_kit as kit
from tests.protocols.report.page_kit import read, shown
from tests.protocols.report.schema_kit import SCHEMA, faults

NOTHING = kit.statement(1, budgets=(), releases=(), clients=(), audits=(), notes=(), opinions=(), policy="")


def test_the_three_verdicts_are_told_apart_in_words() -> None:
    entries, head = 62, kit.head(61)
    assert "Internally consistent, not verified" in shown(kit.statement())
    assert "without any pin or witness the holder of the signing key can rewrite everything" in shown(kit.statement())
    refuted = kit.statement(verdict=Verdict(False, entries, head, (Problem(7, "Corrupt", "entry 7 was changed"),)))
    assert "Rely on no figure below" in shown(refuted)
    assert "Entry 7: Corrupt entry 7 was changed" in shown(refuted)
    whole = shown(kit.statement(verdict=Verdict(True, entries, head, (), vouched=61)))
    assert "What was given covers all entries up to entry 61, the last." in whole
    assert "Entries 62, numbered from 0 to 61" in whole
    assert "What was given covers" not in shown(kit.statement())
    assert "What was given covers" not in shown(kit.statement(verdict=replace(refuted.verdict, vouched=61)))


@pytest.mark.parametrize(("vouched", "words"), [(60, "1 later entry rests"), (11, "50 later entries rest")])
def test_what_nobody_outside_has_seen_is_said(vouched: int, words: str) -> None:
    said = shown(kit.statement(verdict=Verdict(True, 62, kit.head(61), (), vouched)))
    assert "Verified Every entry" in said
    assert f"What was given covers all entries up to entry {vouched}; {words} on the signing key alone." in said


def test_the_page_does_not_say_where_a_pin_was_kept() -> None:
    """A pin in the ledger's own folder is in its owner's hands, and the page cannot see the difference."""
    vouched = kit.statement(verdict=Verdict(True, 62, kit.head(61), (), vouched=61))
    said = shown(vouched)
    assert "A pin was given; this page cannot know where it was kept, and one kept with the ledger and its key" in said
    assert "kept elsewhere, or a party" not in said
    assert "somebody outside" not in said
    by_party = shown(replace(vouched, pin=None))
    assert "A party whose public key was given has signed its head. What was given covers" in by_party
    assert "A pin was given" not in by_party


def test_a_verified_file_whose_claims_are_refuted_is_not_called_verified_alone() -> None:
    vouched = Verdict(True, 62, kit.head(61), (), vouched=61)
    page, _ = render(kit.statement(verdict=vouched, audits=((61, kit.finding("canary", 9.0)),)))
    assert '<div class="verdict verified">' not in page
    assert "The file is verified, its claims are refuted by an audit" in page
    assert '<div class="verdict verified">' in render(kit.statement(verdict=vouched))[0]


def test_the_server_and_the_reader_stand_side_by_side() -> None:
    said = shown(kit.statement())
    assert "In the eyes of the server epsilon 2.83755 to 2.83758" in said
    assert "In the eyes of a reader epsilon 0.23" in said
    unknown = shown(kit.statement(budgets=(kit.budget(2, released=None),)))
    assert "no accountant has a proof for this view" in unknown


def totals(budgets: tuple[BudgetStatement, ...], *charged: tuple[int, ...]) -> tuple[Total, ...]:
    """Of a ledger whose releases were charged to these budgets."""
    releases = tuple(kit.release(number, budgets=ids) for number, ids in enumerate(charged))
    return totals_of(kit.statement(2, budgets=budgets, releases=releases))


def test_closed_budgets_count_in_the_sum_of_their_data_set() -> None:
    before, now = kit.budget(3, id=1, closed=9), kit.budget(5, id=10)
    [total] = totals((before, now), (1,), (1,), (10,))
    assert (total.dataset, total.open, total.closed, total.delta) == ("digits", 1, 1, 2 * kit.DELTA)
    assert Fraction(total.epsilon) >= Fraction(before.spent.upper) + Fraction(now.spent.upper)
    assert total.epsilon == pytest.approx(before.spent.upper + now.spent.upper, rel=1e-12)
    other = kit.budget(5, id=10, terms=replace(kit.TERMS, view=View.RELEASED))
    assert len(totals((before, other), (1, 10))) == 2


def test_a_budget_that_counts_every_release_bounds_them_alone() -> None:
    tight, loose = kit.budget(3, id=1), kit.budget(5, id=10)
    [total] = totals((tight, loose), (1, 10), (1, 10), (1, 10))
    assert (total.epsilon, total.delta) == (tight.spent.upper, kit.DELTA)
    [total] = totals((tight, loose), (10,), (1, 10), (1, 10))
    assert total.epsilon == loose.spent.upper
    named = replace(kit.TERMS, dataset="digits")
    first, second = kit.budget(2, id=1, terms=named, closed=5), kit.budget(2, id=6, terms=named)
    [total] = totals((first, second, kit.budget(30, id=10)), (1, 10), (6, 10))
    assert total.epsilon == pytest.approx(first.spent.upper + second.spent.upper, rel=1e-12)
    assert total.delta == 2 * kit.DELTA


def test_releases_that_no_budget_of_the_unit_counts_are_named() -> None:
    [total] = totals((kit.budget(3, id=1),), (1,), (2,), (2,))
    assert total.uncounted == 2
    releases = (kit.release(0), kit.release(1, budgets=(2,)))
    assert "and 1 release that no such budget counts" in shown(kit.statement(2, releases=releases))
    aborted = kit.release(1, budgets=(2,), standing=Standing.ABORTED)
    assert "no such budget counts" not in shown(kit.statement(2, releases=(kit.release(0), aborted)))


def test_an_accountant_that_contradicts_the_record_is_in_the_verdict() -> None:
    wrong = Opinion(1, "pld", Interval(5.0, 5.5, kit.DELTA, "pld"), False, "recorded 2.8")
    assert "An accountant does not confirm what was recorded" in shown(kit.statement(opinions=(wrong,)))
    assert "An accountant does not confirm" not in shown(kit.statement())
    assert "No second accountant was asked" in shown(kit.statement(opinions=()))


def test_a_refuting_audit_is_in_the_verdict_and_the_failed_check_is_named() -> None:
    broken = kit.finding("selftest", 9.5, checks=(Check("variance, standard errors", False, 99.5),))
    said = shown(kit.statement(audits=((62, broken),)))
    assert "1 audit of 1 refuted what was claimed" in said
    assert "failed : variance, standard errors , 99.5" in said
    assert "refuted what was claimed" not in shown(kit.statement())


def test_lower_bounds_and_claims_share_one_axis() -> None:
    page, _ = render(kit.statement(audits=((62, kit.finding("one", 2.0, 4.0)), (63, kit.finding("two", 4.0, 8.0)))))
    chart = page[page.index('aria-labelledby="bounds-title') :]
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', chart)[:2]]
    marks = [float(x) - 6.0 for x in re.findall(r'<path d="M([\d.]+) [^"]*" class="line mark"', chart)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert marks == pytest.approx([2 * width for width in widths], abs=0.2)


def test_the_ledgers_own_claim_is_on_the_axis_of_the_audits() -> None:
    """What the self-test attacks is reference noise, whose claim is not this ledger's."""
    whole = kit.statement(audits=((62, kit.finding("selftest", 4.3, 4.377)), (63, kit.finding("canary", 2.0, 4.0))))
    page, _ = render(whole)
    chart = page[page.index('aria-labelledby="bounds-title') :].split("</svg>")[0]
    [own] = [float(x) - 6.0 for x in re.findall(r'<path d="M([\d.]+) [^"]*" class="line own"', chart)]
    first, _ = [float(x) - 6.0 for x in re.findall(r'<path d="M([\d.]+) [^"]*" class="line mark"', chart)]
    assert own / first == pytest.approx(kit.spent(kit.EVENT, 30).upper / 4.377, abs=0.002)
    assert "Budget 1 of this ledger: 2.83755 to 2.83758." in chart
    assert "this ledger, budget 1: 2.83758 at delta 1e-5" in chart
    assert shown(whole).count("claim of reference noise, multiplier 1, not of this ledger") == 1
    unbounded = kit.budget(2, spent=Interval(None, math.inf, kit.DELTA, "pld"))
    rehearsal = kit.budget(2, terms=replace(kit.TERMS, randomness=kit.Randomness.INSECURE))
    refuted = replace(whole, verdict=Verdict(False, 62, kit.head(61), (Problem(7, "Corrupt", "changed"),)))
    for silent in (replace(whole, budgets=(unbounded,)), replace(whole, budgets=(rehearsal,)), refuted):
        assert 'class="line own"' not in render(silent)[0]


def test_a_confidence_is_rounded_downwards_and_none_is_said_where_nothing_is_bounded() -> None:
    assert [confidence(value) for value in (0.99999992, 1.0 - 1e-12, 0.95)] == ["0.9999999", "0.9999999", "0.95"]
    said = shown(kit.statement(audits=((62, kit.finding("canary", 4.0, confidence=0.99999992)),)))
    assert "0.9999999 one hypothesis" in said
    silent = kit.finding("invert", None, None, confidence=0.5)
    assert "none: it bounds no epsilon" in shown(kit.statement(audits=((62, silent),)))


def test_exceptions_are_listed_each_with_its_reason() -> None:
    said = shown(kit.troubled("why"))
    for words in (
        "Aborted: 1.",
        "Settled: 1.",
        "Never closed: 1.",
        "Insecure: 1.",
        "budget 7",
        "took noise from a known seed",
    ):
        assert words in said
    assert "None: every reservation was committed" in shown(kit.statement())


def test_mechanisms_are_given_in_exact_numbers() -> None:
    said = shown(kit.statement())
    for words in ("squared 640000", "bound 10000", "step 1/100", "fewest survivors 80", "multiplier 8", "bits 32"):
        assert words in said
    setting = replace(kit.SETTING, lattice_step=Fraction(1, 3**200))
    long = shown(kit.statement(2, releases=(kit.release(0, setting=setting),)))
    assert "…" in long
    assert str(3**200)[-20:] in long


def test_the_noise_on_a_mean_is_the_charged_one_over_the_fewest_allowed() -> None:
    """Not over the fewest seen: charged noise is that of the fewest allowed, so more survivors come with more of it."""
    releases = (kit.release(0, survivors=90), kit.release(1, survivors=99))
    page, found = render(kit.statement(2, releases=releases))
    [mechanism] = found["mechanisms"]  # type: ignore[misc]  # the object is untyped JSON
    charged = math.sqrt(640_000) / 100
    assert mechanism["mean_noise"] == pytest.approx(charged / 80, rel=1e-12)
    assert mechanism["noise_to_clip"] == pytest.approx(charged / 80 * math.sqrt(1000), rel=1e-12)
    assert "noise on the mean 0.1 per coordinate: charged, over the fewest allowed" in read(page).text
    assert "noise to signal 3.16228: the length of that noise over the clip" in read(page).text


def test_sampling_is_named_with_who_knows_the_cohort() -> None:
    for scheme, words in (
        (Poisson(Fraction(1, 10)), "Poisson, each with probability 1/10"),
        (FixedSize(20, 1000), "20 of 1,000, without replacement"),
    ):
        said = shown(kit.statement(2, releases=(kit.release(0, event=Sampled(kit.EVENT, scheme)),)))
        assert said.count(words) == 2
        assert "The server knows each of them" in said
        assert "behind the sampling and with all noise that was there" in said
    assert "behind the sampling" not in shown(kit.statement())
    assert "No amplification by sampling is claimed" in shown(kit.statement())
    everyone = Sampled(kit.EVENT, Poisson(Fraction(1)))
    assert "behind the sampling" not in shown(kit.statement(1, releases=(kit.release(0, event=everyone),)))


def test_the_page_does_not_say_that_a_file_lies_beside_it() -> None:
    said = shown(kit.statement(2, notes=tuple((number, "n") for number in range(101))))
    assert "JSON file" not in said
    assert "secagg ledger report --json-out FILE writes." in said
    assert "1 more notes are in the JSON record, not on this page." in said


def test_what_a_reader_stumbles_over_is_explained() -> None:
    releases = (kit.release(0, code=bytes(32)), kit.release(1, dataset="letters", software="0.2.0"))
    said = shown(kit.statement(2, releases=releases))
    assert "Budget 1, data: every data set, so far digits , letters ." in said
    assert "0.1.0 without a hash, for it was not installed from a wheel: which code made the noise cannot be" in said
    assert "Compare a hash with the SHA-256 of the file RECORD where you installed" in said
    assert "Compare a hash" not in shown(kit.statement(1, releases=releases[:1]))
    glossary = said[said.index("Glossary") :]
    for word in (
        "zero-out The",
        "lattice step",
        "removable layers",
        "variance fixed by",
        "independent parts",
        "opening",
    ):
        assert word in glossary


def test_a_looser_accountant_is_explained() -> None:
    above_the_limit = Opinion(1, "rdp", Interval(None, 9.5, kit.DELTA, "rdp"), True, "")
    said = shown(kit.statement(opinions=(above_the_limit,)))
    assert "at most 9.5 yes" in said
    assert "above a limit, and agrees all the same: the least of all counts." in said


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("view", View)
def test_every_relation_and_view_has_its_words(relation: Relation, view: View) -> None:
    terms = replace(kit.TERMS, budget=Budget(8, kit.DELTA, relation), unit=Unit(relation), view=view)
    page, found = render(kit.statement(budgets=(kit.budget(2, terms=terms),)))
    assert list(faults(json.loads(json.dumps(found)), SCHEMA, SCHEMA)) == []
    assert relation.value in page


def test_who_sees_what_before_the_noise_is_not_who_looks_after_it() -> None:
    said = shown(kit.statement())
    row = "Trust model: who sees what before the noise of an update nobody but the client itself, by secure aggregation"
    assert row in said
    assert "who looks at the result the server, which knows every cohort" in said
    central = replace(kit.EVENT, components=1)
    by_one = shown(kit.statement(2, releases=(kit.release(0), kit.release(1, event=central, released=central))))
    assert "before the noise whoever adds the noise sees the exact result" in by_one


def test_the_inversion_says_what_it_does_not_prove() -> None:
    said = read(render(kit.statement(), kit.inversion())[0])
    assert "Secure aggregation alone is not differential privacy" in said.text
    assert "no proof of privacy" in said.text
    assert "5 of 5 160 dB" in said.text
    assert len([tag for tag, _ in said.elements if tag == "img"]) == 15
    assert "No pictures were handed to this report" in shown(kit.statement())
    silent = kit.finding("invert", None, None)
    both = kit.statement(audits=((62, silent), (63, silent)))
    assert "The audits in entries 62, 63 read pictures out of gradients; a ledger keeps the counts, which" in shown(
        both
    )
