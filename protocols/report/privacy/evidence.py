"""Parts 7 and 9: what attacks found beside what is claimed, and everything that did not go the ordinary way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dp.accountant import Interval
from dp.audit.finding import Correction, Finding
from dp.ledger.charge import Randomness
from dp.ledger.statement import BudgetStatement, Release, Statement
from protocols.report.markup import NOTHING, Markup, Piece, element, join
from protocols.report.parts import (
    LISTED,
    SHOWN,
    code,
    figure,
    figures,
    left_out,
    listing,
    paragraph,
    quiet,
    remark,
    section,
    stranger,
    table,
)
from protocols.report.privacy.facts import Facts
from protocols.report.privacy.words import above, below, confidence, count, interval, near
from protocols.report.svg import WIDTH, Scale, number, picture

SELF_TEST = "selftest"
_ROW, _BAR, _LETTERS = 38, 9, 50

CORRECTIONS = {
    Correction.NONE: "one hypothesis",
    Correction.BONFERRONI: "corrected by Bonferroni",
    Correction.SPLIT: "chosen on one half of the data, tested on the other",
}


def audits(known: Facts) -> Markup:
    """Part 7."""
    found = known.statement.audits
    if not found:
        nothing = paragraph(known.of_all("No audit was written to this ledger, so no attack has tested the claims."))
        return section(7, "audits", "Audits", nothing)
    return section(
        7,
        "audits",
        "Audits",
        paragraph(
            "Each audit is an attack that proves a lower bound of what leaks, with the confidence it states. Above the "
            "claim, the claim is refuted. Below it, nothing is proved: no attack proves privacy. Each claim is that of "
            "what was attacked, at the delta beside it; this ledger's own claims have marks of their own."
        ),
        _axis_of_claims([finding for _, finding in found[:SHOWN]], _claiming(known.statement)[:SHOWN]),
        table(
            "Findings",
            ("audit", "verdict", "claim", "lower bound", "confidence", "trials", "checks"),
            [_row(seq, finding) for seq, finding in found[:LISTED]],
        ),
        left_out(len(found), LISTED, "findings"),
        remark(known.only_before()),
    )


def _row(seq: int, finding: Finding) -> Sequence[Piece]:
    # No green: not to be refuted is no proof.
    kind = "refuted" if finding.refuted else "open"
    hypotheses = CORRECTIONS[finding.correction]
    if finding.hypotheses > 1:
        hypotheses = f"{count(finding.hypotheses)} hypotheses, {hypotheses}"
    return (
        join([code(finding.audit), quiet(stranger(finding.subject), f", entry {seq}"), remark(_whose_claim(finding))]),
        element("span", finding.verdict, cls=f"word figures {kind}"),
        "none"
        if finding.claim is None
        else join([figures(above(finding.claim)), quiet(figures(f"delta {above(finding.delta)}"))]),
        "none" if finding.lower_bound is None else figures(below(finding.lower_bound)),
        _confidence(finding, hypotheses),
        figures(count(finding.trials)),
        _checks(finding),
    )


def _whose_claim(finding: Finding) -> str:
    """Of the self-test, the only audit that attacks no rounds: with what noise; "" of the others."""
    if finding.audit != SELF_TEST or finding.claim is None:
        return ""
    return "claim of reference noise, multiplier 1, not of this ledger"


def _confidence(finding: Finding, hypotheses: str) -> Piece:
    if finding.claim is None and finding.lower_bound is None:
        return "none: it bounds no epsilon"
    return join([figures(confidence(finding.confidence)), quiet(hypotheses)])


def _checks(finding: Finding) -> Piece:
    if not finding.checks:
        return "none"
    held = sum(check.passed for check in finding.checks)
    failed = [
        join([element("span", "failed", cls="word refuted"), ": ", stranger(check.name), f", {near(check.value)}"])
        for check in finding.checks
        if not check.passed
    ]
    listed = listing(failed[:SHOWN]) if failed else NOTHING
    return join([f"{count(held)} of {count(len(finding.checks))} held", listed])


def _axis_of_claims(found: Sequence[Finding], budgets: Sequence[BudgetStatement]) -> Markup:
    """A bar from 0 to the lower bound, and a mark where the claim is, one row for each finding.

    Below them a row for each budget, with a mark where the ledger's own claim is.
    """
    bounded = [finding for finding in found if finding.claim is not None or finding.lower_bound is not None]
    ends = [value for finding in bounded for value in (finding.claim, finding.lower_bound) if value is not None]
    if not ends:
        return NOTHING
    own = [(each.id, each.spent) for each in budgets if each.spent is not None and math.isfinite(each.spent.upper)]
    ends += [spent.upper for _, spent in own]
    # Between them, a double has room for ticks.
    high = min(max(ends), 1e300) * 1.05 if max(ends) > 1e-300 else 1.0
    scale = Scale(0.0, high, 6.0, WIDTH - 14.0, 0.0)
    height = _ROW * (len(bounded) + len(own)) + 24
    marks: list[Piece] = []
    for tick in scale.ticks():
        x = number(round(scale.at(tick), 1))
        marks.append(element("path", d=f"M{x} 4V{height - 22}", cls="grid"))
        marks.append(element("text", number(tick), x=x, y=height - 8, cls="tick middle"))
    for index, finding in enumerate(bounded):
        marks += _bar(scale, finding, 4.0 + _ROW * index)
    for index, (budget, spent) in enumerate(own, len(bounded)):
        marks += _own(scale, budget, spent, 4.0 + _ROW * index)
    said = " ".join([_said(bounded), *(f"Budget {budget} of this ledger: {interval(spent)}." for budget, spent in own)])
    drawing = picture("bounds", "Lower bounds beside claims", said, *marks, height=height)
    keys = [("bar", "lower bound found"), ("mark", "claim of what was attacked")]
    keys += [("own", "this ledger's own claim")] if own else []
    return figure("Epsilon: what attacks prove, and what is claimed", drawing, keys)


def _bar(scale: Scale, finding: Finding, top: float) -> Iterable[Piece]:
    words = f"{finding.audit}: {finding.subject}"
    short = words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1]}…"
    # The name as it was cut, then what is left of the subject.
    audit, subject = short[: len(finding.audit)], short[len(finding.audit) + 2 :]
    follows = join([": ", element("tspan", subject)]) if subject else NOTHING
    yield element("text", element("tspan", audit), follows, x=6, y=number(top + 12), cls="name")
    middle = top + 18
    if finding.lower_bound is not None:
        width = max(scale.at(finding.lower_bound) - scale.first, 1.0)
        style = "bad" if finding.refuted else "data"
        box = {"x": number(scale.first), "y": number(middle), "width": number(round(width, 1)), "height": number(_BAR)}
        yield element("rect", **box, cls=f"area {style}")
    if finding.claim is not None:
        x = number(round(scale.at(finding.claim), 1))
        yield element("path", d=f"M{x} {number(middle - 4)}V{number(middle + _BAR + 4)}", cls="line mark")


def _claiming(statement: Statement) -> Sequence[BudgetStatement]:
    """Those that claim something: none of a refuted ledger, and no rehearsal."""
    if statement.verdict.verdict == "refuted":
        return ()
    return [budget for budget in statement.budgets if budget.terms.randomness is Randomness.SYSTEM]


def _own(scale: Scale, budget: int, spent: Interval, top: float) -> Iterable[Piece]:
    words = f"this ledger, budget {budget}: {above(spent.upper)} at delta {above(spent.delta)}"
    yield element(
        "text", words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1]}…", x=6, y=number(top + 12), cls="name"
    )
    x, middle = number(round(scale.at(spent.upper), 1)), top + 18
    yield element("path", d=f"M{x} {number(middle - 4)}V{number(middle + _BAR + 4)}", cls="line own")


def _said(bounded: Sequence[Finding]) -> str:
    parts = []
    for finding in bounded:
        claim = "no claim" if finding.claim is None else f"claim {above(finding.claim)}"
        bound = "no lower bound" if finding.lower_bound is None else f"lower bound {below(finding.lower_bound)}"
        parts.append(f"{finding.audit}: {bound}, {claim}.")
    return " ".join(parts)


# --- 9 exceptions -----------------------------------------------------------------------------------


def exceptions(known: Facts) -> Markup:
    """Part 9."""
    found = known.exceptions
    groups = [
        _releases("Aborted", found.aborted, "Given back before anything was released; they cost nothing."),
        _releases("Settled", found.settled, "Closed without a result, as spent: something may have been released."),
        _releases(
            "Never closed",
            found.pending,
            known.of_all("Reserved and neither committed nor given back; they count as spent."),
        ),
        _releases("Insecure", found.insecure, "Their noise came from a known seed, so it protects nobody."),
        _rehearsals(known),
        _unverifiable(known.statement),
        _notes(known.statement),
    ]
    told = [group for group in groups if group != NOTHING]
    if not found:
        told = [paragraph(_none(known)), *told]
    return section(9, "exceptions", "Exceptions", *told, remark(known.only_before()) if found else NOTHING)


def _none(known: Facts) -> str:
    if not known.statement.releases:
        return known.of_all("None: nothing was ever reserved.")
    return known.of_all("None: every reservation was committed, and every event is one that accountants know.")


def _releases(title: str, releases: Sequence[Release], meaning: str) -> Markup:
    if not releases:
        return NOTHING
    rows = [
        (str(release.seq), join([code(release.task), f", round {release.round}"]), release.reason or "none given")
        for release in releases[:LISTED]
    ]
    return join(
        [
            table(f"{title}: {count(len(releases))}. {meaning}", ("entry", "release", "reason"), rows),
            left_out(len(releases), LISTED, "releases"),
        ]
    )


def _rehearsals(known: Facts) -> Markup:
    budgets = known.exceptions.rehearsals
    if not budgets:
        return NOTHING
    named = ", ".join(f"budget {budget.id}" for budget in budgets[:LISTED])
    said = f"Noise from known seeds is accepted, so nothing is proved: {named}."
    return join([element("h3", "Rehearsals"), paragraph(said), left_out(len(budgets), LISTED, "budgets")])


def _unverifiable(statement: Statement) -> Markup:
    problems = [problem for problem in statement.verdict.problems if problem.error == "Unverifiable"]
    doubts = [opinion for opinion in statement.opinions if opinion.interval is None]
    said: list[Piece] = [problem.message for problem in problems[:LISTED]]
    said += [
        join([f"Budget {each.budget}, accountant ", stranger(each.accountant), ": ", stranger(each.why)])
        for each in doubts[:LISTED]
    ]
    if not said:
        return NOTHING
    many = len(problems) + len(doubts)
    return join([element("h3", "Without a second opinion"), listing(said), left_out(many, len(said), "of them")])


def _notes(statement: Statement) -> Markup:
    notes = statement.notes
    if not notes:
        return NOTHING
    said = [join([f"Entry {seq}: ", element("span", note, cls="pre")]) for seq, note in notes[:LISTED]]
    return join([element("h3", "Notes"), listing(said), left_out(len(notes), LISTED, "notes")])
