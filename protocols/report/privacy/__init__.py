"""What a ledger states, as one page for people and one object for programs.

    render(statement) -> (html, json)       pure: values in, text out; the same bytes for the same statement

facts      what is derived: sums, groups, histograms           noise      deviations of the laws in events
record     the JSON object                                      values     rationals, intervals, heads in it
page       the file as a whole, in ten parts
opening    1 verdict, 3 views                                  claiming   2 claim
plots      4 epsilon, clients, survivors, clip, noise          working    5 mechanisms, 6 trust model
evidence   7 audits, 9 exceptions                              inverting  8 pictures read out of gradients
totals     all budgets of a data set together                  reference  10 questions and glossary
words      how numbers and terms are said
"""

from __future__ import annotations

from datetime import datetime

from dp.audit.inverted import Inversion
from dp.ledger.statement import Statement
from protocols.report.privacy.claiming import claim_of
from protocols.report.privacy.facts import Facts
from protocols.report.privacy.inverting import inversion as pictures_of
from protocols.report.privacy.page import page
from protocols.report.privacy.record import record
from protocols.report.privacy.values import Json

__all__ = ["render"]


def render(
    statement: Statement, inversion: Inversion | None = None, generated: datetime | None = None
) -> tuple[str, Json]:
    """(html, json) of everything the ledger states, with pictures of an inversion and the time where they are given.

    Guarantee: the page loads and runs nothing, escapes every text of the ledger, and shows no number that is not in
        the JSON object.
    """
    known = Facts.of(statement)
    sentences = tuple(claim_of(budget, statement) for budget in statement.budgets)
    pictures = pictures_of(inversion, statement.audits)
    return page(known, sentences, pictures, generated), record(known, sentences, inversion, generated)
