"""Checks F1 to F12: the scripts of `protocols.adversary`, each under the id that it has here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.matrix.finding import Answer, NotApplicable
from benchmarks.matrix.target import Probe
from protocols.adversary.scripts import SCRIPTS
from protocols.adversary.verdict import Outcome

SCRIPTS_OF = {
    "F1": ("seed_entropy",),
    "F2": ("asks_both_shares",),
    "F3": ("cohort_of_one",),
    "F4": ("split_view",),
    "F5": ("early_dropout",),
    "F6": ("even_degree",),
    "F7": ("nan_input",),
    "F8": ("huge_weight", "tiny_weight", "zero_weight"),
    "F9": ("wrong_shape",),
    "F10": ("clear_metadata",),
    "F11": ("leftover_secrets",),
    "F12": ("top_value",),
}


def probes_of(make: Callable[[], Any]) -> dict[str, Probe]:
    """What plays these checks against a target of the adversary kit, each against a new one."""
    return {check: partial(played, make, scripts) for check, scripts in SCRIPTS_OF.items()}


def played(make: Callable[[], Any], scripts: tuple[str, ...]) -> Answer:
    """It falls with any of the scripts.  Raises: NotApplicable where the target offers none of what they drive."""
    target = make()
    verdicts = [SCRIPTS[script].against(target) for script in scripts]
    if all(verdict.outcome is Outcome.NOT_APPLICABLE for verdict in verdicts):
        raise NotApplicable("; ".join(verdict.evidence for verdict in verdicts))
    fell = [verdict for verdict in verdicts if verdict.succeeded]
    return Answer(bool(fell), "; ".join(verdict.evidence for verdict in fell or verdicts))
