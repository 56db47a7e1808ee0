"""Attacks that try to refute a privacy claim: each gives a lower bound of what leaks, with its confidence.

    lower_bound > claim    the claim is refuted; anything else proves nothing

selftest          every noise path against its own event, in a second     self_testing tables
                  what those paths are, and how production draws them     routes production shared_routes
across_processes  streams of other processes, and of forked children      processes
one_run           m canaries, one run of training, guesses about each     guessing
canary            one client in or out of rounds whose sums are seen      canaries
membership        the matched filter against the best there can be        matching
confidence        from counted mistakes to a lower bound of epsilon
finding           what an audit says, and how it stands in a ledger
inversion         pictures read out of sums of gradients: a demonstration that bounds nothing
                  inverted (what it shows) network imprint (weights, fresh and chosen) glyphs (pictures)

The attacked system is an argument: nothing in here knows how a sum came about.
"""

from __future__ import annotations

from dp.audit.canaries import Observed, Presence, canary, observe
from dp.audit.confidence import Count, Mistakes, Rule, epsilon_of_shift
from dp.audit.finding import Check, Correction, Finding, Reading, refuted
from dp.audit.glyphs import Pictures, glyphs
from dp.audit.guessing import Canaries, ChosenOnHalf, Declared, one_run
from dp.audit.inversion import invert
from dp.audit.inverted import Inversion, InversionRow, Panel
from dp.audit.matching import Point, Roc, judge, membership, optimum, roc
from dp.audit.processes import across_processes
from dp.audit.production import production_routes, routes_of
from dp.audit.routes import NoisePath, Route
from dp.audit.self_testing import examine, selftest

__all__ = [
    "Canaries",
    "Check",
    "ChosenOnHalf",
    "Correction",
    "Count",
    "Declared",
    "Finding",
    "Inversion",
    "InversionRow",
    "Mistakes",
    "NoisePath",
    "Observed",
    "Panel",
    "Pictures",
    "Point",
    "Presence",
    "Reading",
    "Roc",
    "Route",
    "Rule",
    "across_processes",
    "canary",
    "epsilon_of_shift",
    "examine",
    "glyphs",
    "invert",
    "judge",
    "membership",
    "observe",
    "one_run",
    "optimum",
    "production_routes",
    "refuted",
    "roc",
    "routes_of",
    "selftest",
]
