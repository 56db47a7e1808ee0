"""Part 2: what each budget promises, in one sentence, or that nothing is promised and why.

An audit names no budget, so one that refutes takes the claim from every one of them: the same software made the noise
of all, and what leaks more than it may cannot be told apart from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dp.audit.finding import Finding
from dp.ledger.charge import Randomness, Scope
from dp.ledger.records import Standing
from dp.ledger.statement import BudgetStatement, Release, Statement
from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import SHOWN, code, commas, left_out, paragraph, quiet, section
from protocols.report.privacy.facts import Facts, Span, either
from protocols.report.privacy.words import (
    EVERY_DATA_SET,
    WHO_LOOKS,
    above,
    below,
    count,
    counted,
    ends,
    neighbours,
    unit_of,
)

# Audits named in a sentence; part 7 lists them all.
NAMED = 3


def claim_of(budget: BudgetStatement, statement: Statement) -> str:
    """What one budget promises, in one sentence, or that it promises nothing."""
    terms, spent = budget.terms, budget.spent
    against = refuting(statement)
    if statement.verdict.verdict == "refuted" or spent is None:
        too = f"; what was claimed before was refuted by {against}" if against else ""
        return f"Budget {budget.id}: the ledger is refuted, so nothing is claimed{too}."
    if terms.randomness is Randomness.INSECURE:
        return f"Budget {budget.id} is a rehearsal: its noise may come from known seeds and protects nobody."
    charged = [
        release
        for release in statement.releases
        if budget.id in release.budgets and release.standing is not Standing.ABORTED
    ]
    if not charged:
        return f"Budget {budget.id}: nothing was charged to it yet, so nothing was revealed."
    if math.isinf(spent.upper):
        return f"Budget {budget.id}: no finite epsilon covers what was released, so nothing is claimed."
    span = f"epsilon {ends(spent.lower, spent.upper)}"
    if spent.lower is not None:
        span = f"epsilon in [{below(spent.lower)}, {above(spent.upper)}]"
    whose = f"ach {unit_of(terms.unit)}'s entire contribution ({terms.unit.relation.value})"
    where = _rounds([release.round for release in charged], terms.scope)
    bound = f"{span} at delta {above(spent.delta)} against {WHO_LOOKS[terms.view]}{assumed(charged)}"
    if against:
        return (
            f"Budget {budget.id}: refuted by {against}, so nothing is claimed; what was computed for e{whose} in "
            f"{where} was {bound}."
        )
    return f"E{whose} in {where} is protected with {bound}."


def assumed(releases: Sequence[Release]) -> str:
    """What the bound on these releases rests on, to follow a sentence: survivors, and how many of them collude."""
    settings = [release.setting for release in releases if release.setting is not None]
    parts = []
    if settings:
        fewest, colluders = (Span.of([getattr(s, name) for s in settings]) for name in ("min_survivors", "colluders"))
        parts.append(f"each sum holds at least {either(fewest)} survivors, of whom at most {either(colluders)} collude")
    silent = len(releases) - len(settings)
    if silent:
        parts.append(f"{counted(silent, 'release')} kept to assumptions that are not on record")
    return f", provided that {' and '.join(parts)}"


def refuting(statement: Statement) -> str:
    """Which audits found more than was claimed or a check that failed, in words; "" where none did."""
    found = [(seq, finding) for seq, finding in statement.audits if finding.refuted]
    named = [f"audit {finding.audit} in entry {seq} ({_found(finding)})" for seq, finding in found[:NAMED]]
    if len(found) > NAMED:
        named.append(f"{count(len(found) - NAMED)} more")
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def _found(finding: Finding) -> str:
    if finding.claim is None or finding.lower_bound is None or finding.lower_bound <= finding.claim:
        return "a check failed"
    return f"epsilon is at least {below(finding.lower_bound)} where {above(finding.claim)} was claimed"


def _rounds(rounds: Sequence[int], scope: Scope) -> str:
    first, last = min(rounds), max(rounds)
    where = f"round {first}" if first == last else f"rounds {first} to {last}"
    releases = f"the {counted(len(rounds), 'release')} of {where}" if len(rounds) > 1 else f"the release of {where}"
    return f"the rounds it was invited to, among {releases}," if scope is Scope.EACH else releases


def claims(known: Facts, sentences: Sequence[str]) -> Markup:
    """Part 2."""
    budgets = known.statement.budgets
    said = [
        element("div", paragraph(sentence), quiet(_about(budget, known.statement.releases)), cls="claim")
        for budget, sentence in zip(budgets[:SHOWN], sentences, strict=False)
    ]
    empty = paragraph(known.of_all("No budget was ever opened in this ledger, so nothing is claimed."))
    return section(2, "claim", "Claim", *(said or [empty]), left_out(len(budgets), SHOWN, "claims"))


def _data(budget: BudgetStatement, releases: Sequence[Release]) -> Piece:
    """The data set it is for; of a budget for all of them, which were charged to it so far."""
    if budget.terms.dataset:
        return code(budget.terms.dataset)
    found = list(dict.fromkeys(each.dataset for each in releases if budget.id in each.budgets and each.dataset))
    more = [f"{count(len(found) - NAMED)} more"] if len(found) > NAMED else []
    named = commas([*map(code, found[:NAMED]), *more])
    return join([EVERY_DATA_SET, ", so far ", named]) if found else EVERY_DATA_SET


def _about(budget: BudgetStatement, releases: Sequence[Release]) -> Markup:
    terms = budget.terms
    about: list[Piece] = [f"Budget {budget.id}", join(["data: ", _data(budget, releases)])]
    if terms.task:
        about.append(join(["task: ", code(terms.task)]))
    if terms.purpose:
        about.append(join(["purpose: ", code(terms.purpose)]))
    return join([commas(about), ". ", neighbours(budget.terms.unit)])
