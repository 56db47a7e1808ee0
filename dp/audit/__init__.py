"""Attacks that try to refute a privacy claim: each gives a lower bound of what leaks, with its confidence.

    lower_bound > claim    the claim is refuted; anything else proves nothing

finding     what an audit says, and how it stands in a ledger
inversion   pictures read out of sums of gradients: a demonstration that bounds nothing
"""

from __future__ import annotations

from dp.audit.finding import Check, Correction, Finding
from dp.audit.glyphs import Pictures, glyphs
from dp.audit.inversion import invert
from dp.audit.inverted import Inversion, InversionRow, Panel

__all__ = [
    "Check",
    "Correction",
    "Finding",
    "Inversion",
    "InversionRow",
    "Panel",
    "Pictures",
    "glyphs",
    "invert",
]
