"""Parts 1 and 3: how far the file can be trusted, and what each viewer learned."""

from __future__ import annotations

from collections.abc import Sequence

from dp.accountant import Interval, View
from dp.audit.finding import refuted
from dp.ledger.chain import Head
from dp.ledger.charge import Scope
from dp.ledger.statement import BudgetStatement
from dp.ledger.verdict import Verdict
from protocols.report.markup import NOTHING, Markup, Piece, element, join
from protocols.report.parts import (
    LISTED,
    SHOWN,
    code,
    facts,
    figures,
    hexadecimal,
    left_out,
    listing,
    paragraph,
    quiet,
    section,
    stranger,
    table,
)
from protocols.report.privacy.facts import Facts
from protocols.report.privacy.noise import sampled_by
from protocols.report.privacy.totals import Total
from protocols.report.privacy.words import (
    A_PARTY,
    A_PIN,
    AGAINST,
    EYES,
    VERDICTS,
    above,
    below,
    count,
    counted,
    ends,
    interval,
    rational,
    unit_of,
)


def verdict(known: Facts) -> Markup:
    """Part 1."""
    statement = known.statement
    kind, words, meaning = VERDICTS[statement.verdict.verdict]
    if kind == "verified" and refuted(finding for _, finding in statement.audits):
        kind, words = AGAINST
    box = element(
        "div",
        element("strong", words),
        paragraph(meaning),
        _vouched(statement.verdict, A_PARTY if statement.pin is None else A_PIN),
        _unread(known),
        cls=f"verdict {kind}",
    )
    problems = statement.verdict.problems
    found = [
        join(
            [
                f"Entry {problem.line}: " if problem.line is not None else "",
                code(problem.error),
                " ",
                stranger(problem.message),
            ]
        )
        for problem in problems[:LISTED]
    ]
    return section(
        1,
        "verdict",
        "Verdict",
        box,
        *_second_thoughts(known),
        join([element("h3", "Problems"), listing(found)]) if found else NOTHING,
        left_out(len(problems), LISTED, "problems"),
        facts(_anchors(known)),
    )


def _vouched(verdict: Verdict, by: str) -> Markup:
    """By what, and how far, the file is vouched for: what comes later is the word of the key's holder alone."""
    if not verdict.ok or verdict.vouched is None or verdict.head is None:
        return NOTHING
    later = verdict.head.seq - verdict.vouched
    if later <= 0:
        return paragraph(f"{by} What was given covers all entries up to entry {verdict.vouched}, the last.")
    follow = "1 later entry rests" if later == 1 else f"{count(later)} later entries rest"
    return paragraph(
        f"{by} What was given covers all entries up to entry {verdict.vouched}; {follow} on the signing key alone."
    )


def _unread(known: Facts) -> Markup:
    """Where reading ended: what is not below may still be in the ledger."""
    if known.unread is None:
        return NOTHING
    return paragraph(
        f"Entry {known.unread} and what follows could not be read. Below is what the entries before it say; how much "
        "was spent, and what else there was, nobody can tell from this file."
    )


def _second_thoughts(known: Facts) -> list[Markup]:
    """What a sound file may still say against its own claims."""
    findings = [finding for _, finding in known.statement.audits]
    against = [finding for finding in findings if finding.refuted]
    boxes = []
    if refuted(findings):
        words = f"{counted(len(against), 'audit')} of {count(len(findings))} refuted what was claimed"
        boxes.append(_warning(words, "audits", "More leaks than is promised, or a check of the noise failed."))
    if known.exceptions.disagreeing:
        words = "An accountant does not confirm what was recorded"
        boxes.append(_warning(words, "views", "What it says stands beside the recorded figures."))
    return boxes


def _warning(words: str, where: str, meaning: str) -> Markup:
    see = element("a", "See there", href=f"#{where}")
    return element("div", element("strong", words), paragraph(meaning, " ", see, "."), cls="verdict refuted")


def _anchors(known: Facts) -> list[tuple[str, Piece]]:
    statement = known.statement
    checkpoints = statement.checkpoints
    shown = checkpoints[-SHOWN:]
    pairs: list[tuple[str, Piece]] = [
        ("Entries", _numbers(statement.verdict.entries)),
        ("Head", _head(statement.verdict.head)),
        ("Pin", "none given" if statement.pin is None else _head(statement.pin)),
        ("Releases", _period(known)),
        ("Witnesses", _witnesses(known)),
    ]
    if checkpoints:
        left = left_out(len(checkpoints), SHOWN, "checkpoints")
        pairs.append(("Checkpoints", join([listing(map(_head, shown)), left])))
    return pairs


def _numbers(entries: int) -> str:
    return f"{count(entries)}, numbered from 0 to {entries - 1}" if entries else "none"


def _witnesses(known: Facts) -> str:
    many = known.statement.witnesses
    return known.of_all(f"{counted(many, 'countersignature')} by others than the signer" if many else "none")


def _period(known: Facts) -> str:
    if known.period is None:
        return known.of_all("none with a date")
    first, last = (f"{moment.isoformat(sep=' ', timespec='minutes')[:16]} UTC" for moment in known.period)
    when = first if first == last else f"{first} to {last}"
    return f"{when}, by the clock of the machine that wrote them, which nobody checked"


def _head(head: Head | None) -> Piece:
    return "none" if head is None else join([f"entry {head.seq} ", hexadecimal(head.hash)])


# --- 3 views ----------------------------------------------------------------------------------------


def views(known: Facts) -> Markup:
    """Part 3."""
    budgets = known.statement.budgets
    return section(
        3,
        "views",
        "What each viewer learned",
        paragraph(
            "The same releases, by who looks at them. The server picks the cohorts, so no sampling hides anybody from "
            "it; only its figure is one to rely on against the server."
        ),
        *(_side_by_side(known, budget) for budget in budgets[:SHOWN]),
        left_out(len(budgets), SHOWN, "budgets"),
        _totals(known.totals),
        _opinions(known),
    )


def _side_by_side(known: Facts, budget: BudgetStatement) -> Markup:
    terms, limit = budget.terms, budget.terms.budget
    closed = "" if budget.closed is None else f", closed by entry {budget.closed}"
    left: Piece = f"of a limit of {rational(limit.epsilon)} at delta {above(limit.delta)}; {_left(known, budget)}"
    if terms.scope is Scope.EACH:
        left = join([left, "; counted for each client by the rounds it was invited to, this is the worst"])
    cards = [_card(known, EYES[terms.view], budget.spent, left)]
    if terms.view is not View.RELEASED:
        sampled = any(sampled_by(each.event) for each in known.statement.releases if budget.id in each.budgets)
        behind = "behind the sampling and " if sampled else ""
        what = f"{behind}with all noise that was there; no limit is set for it"
        cards.append(_card(known, EYES[View.RELEASED], budget.released, what))
    title = f"Budget {budget.id}{closed}"
    return join([element("h3", title), element("div", *cards, cls="pair")])


def _left(known: Facts, budget: BudgetStatement) -> str:
    if budget.remaining is None:
        return known.of_all("what is left is not known")
    affordable = "" if budget.affordable is None else f"; {count(budget.affordable)} more like the last would fit"
    return f"{below(budget.remaining)} is left{affordable}"


def _card(known: Facts, title: str, span: Interval | None, remark: Piece) -> Markup:
    unproved = known.of_all("no accountant has a proof for this view")
    method = unproved if span is None else f"proved by {span.method}"
    return element(
        "div",
        element("h4", title),
        element("p", f"epsilon {interval(span)}", cls="figure"),
        quiet(remark),
        quiet(method),
        cls="card",
    )


def _totals(totals: Sequence[Total]) -> Markup:
    if not totals:
        return NOTHING
    rows = [
        (
            code(total.dataset),
            f"{unit_of(total.unit)}, {total.unit.relation.value}",
            total.view.value,
            figures(f"{count(total.open)} and {count(total.closed)}"),
            _in_all(total),
            figures(above(total.delta)),
        )
        for total in totals[:LISTED]
    ]
    columns = ("data set", "unit", "view", "open and closed", "epsilon in all", "delta in all")
    return join(
        [
            table("All budgets of a data set together", columns, rows),
            left_out(len(totals), LISTED, "sums"),
            quiet(
                "A budget that was closed and opened anew still counts: what was revealed stays revealed. Budgets that "
                "are needed to cover all releases are added up by basic composition."
            ),
        ]
    )


def _in_all(total: Total) -> Piece:
    epsilon = figures(ends(None, total.epsilon))
    if not total.uncounted:
        return epsilon
    return join([epsilon, quiet(f"and {counted(total.uncounted, 'release')} that no such budget counts")])


def _opinions(known: Facts) -> Markup:
    opinions = known.statement.opinions
    if not opinions:
        return quiet(known.of_all("No second accountant was asked; replay the ledger to recompute every figure."))
    rows = [
        (
            str(opinion.budget),
            stranger(opinion.accountant),
            stranger(opinion.why)
            if opinion.interval is None
            else join([interval(opinion.interval), quiet(stranger(opinion.why))]),
            "no opinion" if opinion.interval is None else agreement(agrees=opinion.agrees),
        )
        for opinion in opinions[:LISTED]
    ]
    columns = ("budget", "accountant", "epsilon", "agrees with the record")
    title = "Recomputed from the events alone"
    looser = quiet(
        "Each gives an upper bound of the same epsilon. A looser one may lie above another, and above a limit, and "
        "agrees all the same: the least of all counts."
    )
    return join([table(title, columns, rows), looser, left_out(len(opinions), LISTED, "opinions")])


def agreement(*, agrees: bool) -> Markup:
    """Yes in green or no in red, as a word either way."""
    return element("span", "yes" if agrees else "no", cls=f"word {'held' if agrees else 'refuted'}")
