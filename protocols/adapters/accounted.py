"""No noise that nobody counts: where an adapter plays real rounds, a plan with noise has a ledger."""

from __future__ import annotations

from protocols.errors import BadPlan
from protocols.plan import RoundPlan


def require_ledger(plan: RoundPlan, ledger: object | None) -> None:
    """Raises: BadPlan for noise that no ledger is charged for: its epsilon would be anybody's guess."""
    if plan.noise is not None and ledger is None:
        raise BadPlan("noise without a ledger is not accounted: give ledger=")
