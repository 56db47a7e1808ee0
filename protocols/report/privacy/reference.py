"""Part 10: the questions a reader of NIST SP 800-226 brings, answered from this page, and the words it uses.

Source of the questions: NIST SP 800-226, Guidelines for Evaluating Differential Privacy Guarantees, 2025. Which
question is answered where is ours; section numbers of the publication are not cited.
"""

from __future__ import annotations

import math

from dp.accountant import View
from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import quiet, section, table
from protocols.report.privacy.facts import Facts
from protocols.report.privacy.words import WHO_LOOKS, above, count, counted, unit_of
from protocols.report.privacy.working import adds_in_one_place

GLOSSARY = (
    (
        "epsilon, delta",
        "How much one unit can change what anybody sees: every probability by at most a factor e^epsilon, except "
        "for delta. Smaller is more private.",
    ),
    (
        "interval",
        "The true epsilon lies between the two ends; the upper one is what is promised. Bounds are rounded outwards.",
    ),
    (
        "unit and neighbours",
        "Whose data may change between two neighbouring data sets, and how: added or removed, replaced by the "
        "zero vector, or exchanged.",
    ),
    (
        "view",
        "Who looks. The server knows every cohort; a reader of the results knows none, and sampling hides "
        "clients from that reader only.",
    ),
    (
        "budget",
        "A limit on epsilon at one delta. What would exceed it is refused before anything is released.",
    ),
    (
        "reservation",
        "A charge written before the release. It counts as spent unless it is given back before anything left.",
    ),
    (
        "head, pin, witness",
        "The hash that commits to every entry so far; such a hash kept elsewhere; one signed by somebody else. "
        "They show that history was not cut or rewritten.",
    ),
    (
        "clip",
        "The longest an update may be; what is longer is shortened, so that one client has bounded influence.",
    ),
    (
        "lattice step",
        "The distance of the grid on which updates are added and noise is drawn as integers.",
    ),
    (
        "zero-out",
        "The relation of neighbours that differ in one contribution, which in one of them is the zero vector.",
    ),
    (
        "independent parts",
        "How many shares of noise, each drawn by another client, make up the noise of a sum.",
    ),
    (
        "variance fixed by survivors",
        "Each survivor brings its share, so a sum with more survivors than the fewest holds more noise than was "
        "charged. Under exact, the surplus was taken back.",
    ),
    (
        "removable layers",
        "Parts of each client's noise, of which the surplus is taken back where fewer dropped out than was feared. "
        "Where there is one, nothing is taken back.",
    ),
    (
        "opening",
        "Beside the entry of a round: a client's pseudonym and salt, which prove that it was in the cohort. Erased, it "
        "leaves a hash that says nothing.",
    ),
    (
        "noise multiplier",
        "Standard deviation of the noise over the bound of one unit's contribution.",
    ),
    (
        "cohort, survivors",
        "The clients invited to a round, and those whose updates are in its sum.",
    ),
    (
        "accountant",
        "A method that bounds epsilon from the events alone. Independent ones must agree.",
    ),
    (
        "lower bound",
        "An epsilon that an attack proves to leak, with a stated confidence. It can refute a claim, never prove one.",
    ),
)


def reference(known: Facts) -> Markup:
    """Part 10."""
    entries = (element("div", element("dt", word), element("dd", meaning)) for word, meaning in GLOSSARY)
    return section(
        10,
        "glossary",
        "Questions and glossary",
        table("What NIST SP 800-226 asks of a guarantee", ("question", "answer", "where"), _questions(known)),
        quiet("The assignment of questions to parts is ours and was reviewed by nobody at NIST."),
        element("h3", "Glossary"),
        element("dl", *entries, cls="facts glossary"),
    )


def _questions(known: Facts) -> list[tuple[Piece, Piece, Piece]]:
    return [
        ("Unit of privacy, bounded or unbounded", _units(known), _see("claim", 2)),
        ("Epsilon and delta, over time and releases", _spent(known), _see("plots", 4)),
        ("Trust model: who sees what before the noise", _before_the_noise(known), _see("trust", 6)),
        ("Trust model: who looks at the result", _viewers(known), _see("trust", 6)),
        ("Mechanism and sensitivity", known.of_all(counted(len(known.mechanisms), "mechanism")), _see("mechanisms", 5)),
        ("Evidence that it is correct", _evidence(known), _see("audits", 7)),
        ("Side channels: floating point, timing, randomness", "stated, timing not covered", _see("trust", 6)),
        ("Sampling, and who knows the cohort", "the server knows it", _see("trust", 6)),
        ("Data access outside the mechanism", _access(known), _see("trust", 6)),
        ("Budgets refreshed or reset", _reset(known), _see("views", 3)),
        ("Utility and bias", _utility(known), _see("mechanisms", 5)),
    ]


def _see(key: str, number: int) -> Markup:
    return element("a", f"part {number}", href=f"#{key}", cls="figures")


def _units(known: Facts) -> str:
    units = {budget.terms.unit: None for budget in known.statement.budgets}
    return "; ".join(f"{unit_of(unit)}, {unit.relation.value}" for unit in units) or known.of_all("no budget")


def _spent(known: Facts) -> str:
    budgets = known.statement.budgets
    if not budgets:
        return known.of_all("nothing was spent")
    spent = [(budget.id, budget.spent) for budget in budgets if budget.spent is not None]
    if len(spent) < len(budgets):
        return known.of_all("not known")
    worst, most = max(spent, key=lambda each: each[1].upper)
    if math.isinf(most.upper):
        return f"unbounded in budget {worst}"
    at = f"at most {above(most.upper)} at delta {above(most.delta)}"
    return at if len(budgets) == 1 else f"{at} in the fullest of {count(len(budgets))} budgets"


def _before_the_noise(known: Facts) -> str:
    if not known.mechanisms:
        return known.of_all("no release")
    if adds_in_one_place(known):
        return "whoever adds the noise sees the exact result"
    return (
        "of an update nobody but the client itself, by secure aggregation; of the sum nobody: when it is opened it "
        "already holds the noise"
    )


def _viewers(known: Facts) -> str:
    views = {budget.terms.view for budget in known.statement.budgets}
    return "; ".join(WHO_LOOKS[view] for view in View if view in views) or known.of_all("no viewer is named")


def _evidence(known: Facts) -> Piece:
    statement = known.statement
    against = sum(finding.refuted for _, finding in statement.audits)
    opinions = [opinion.agrees for opinion in statement.opinions if opinion.interval is not None]
    agree = f"{count(sum(opinions))} of {counted(len(opinions), 'opinion')} of accountants agree"
    refute = f"{count(against)} of {counted(len(statement.audits), 'audit')} refute"
    said = f"{agree if opinions else 'no accountant was asked'}; {refute if statement.audits else 'no audit'}"
    return join([known.of_all(said), " (", element("a", "part 3", href="#views"), ")"])


def _access(known: Facts) -> str:
    return "declared, not checked" if known.statement.policy else "nothing is declared"


def _reset(known: Facts) -> str:
    budgets = known.statement.budgets
    if not budgets:
        return known.of_all("no budget")
    closed = sum(budget.closed is not None for budget in budgets)
    return known.of_all(
        f"{count(closed)} of {counted(len(budgets), 'budget')} closed; sums over all of them are printed"
    )


def _utility(known: Facts) -> str:
    said = "survivors and noise to signal" if known.mechanisms else known.of_all("no release")
    return f"{said}; the clipped fraction is not released"
