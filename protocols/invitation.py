"""Whom a server may invite to a round."""

from __future__ import annotations

from collections.abc import Mapping, Set

from protocols.errors import Misused
from protocols.party import PartyId
from protocols.plan import RoundPlan


def check_invited(identities: Mapping[PartyId, bytes], plan: RoundPlan, invited: Set[PartyId]) -> None:
    """Raises: Misused for clients that are not known, or too few or too many of them."""
    check_known(identities, invited)
    check_number(plan, invited)


def check_known(identities: Mapping[PartyId, bytes], invited: Set[PartyId]) -> None:
    """Raises: Misused naming clients whose identities are not known."""
    strangers = sorted(invited - set(identities))
    if strangers:
        raise Misused(f"clients {strangers} are invited but their identities are not known: register them first")


def check_number(plan: RoundPlan, invited: Set[PartyId]) -> None:
    """Raises: Misused for too few or too many clients."""
    if not plan.min_cohort <= len(invited) <= plan.max_clients:
        raise Misused(f"{len(invited)} clients are invited; the plan allows {plan.min_cohort}..{plan.max_clients}")
