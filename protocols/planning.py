"""Which protocol, which parameters, at what price: `secagg plan`.

    request     what a round has to cope with                                              `choices.py`
    planners    per protocol the choice to take and all the others                         `..._planning.py`
    report      all of it; the protocol to take; the reasons

A request is met under the promise it asks for or not at all: a weaker promise is shown beside, never taken instead.
Of the protocols that meet it the one to take is the one that trusts least; or, where the reader says how long an
exchange takes, the one whose round is the shortest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from protocols.choices import Choice, ProtocolReport, Request
from protocols.encrypted_planning import plan_ckks
from protocols.errors import BadPlan
from protocols.oneshot_planning import plan_oneshot
from protocols.pairwise_planning import plan_pairwise
from protocols.plan import ENCRYPTED, ONE_SHOT, PAIRWISE

# From the least trust to the most: nobody; a committee; holders, and that no client helps who sees the sum.
PLANNERS: Mapping[str, Callable[[Request], ProtocolReport]] = {
    PAIRWISE: plan_pairwise,
    ONE_SHOT: plan_oneshot,
    ENCRYPTED: plan_ckks,
}
Reports = Mapping[str, ProtocolReport]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """The request, the protocol to take and why, and what each protocol offers, those that trust less first."""

    request: Request
    recommended: str
    reasons: tuple[str, ...]
    protocols: Reports

    def to_dict(self) -> dict[str, object]:
        """The report under the names the command prints."""
        each = self.request.exchange_seconds
        return {
            "recommended": self.recommended,
            "reasons": list(self.reasons),
            "clients": self.request.clients,
            "dropout": float(self.request.dropout),
            "corrupt": float(self.request.corrupt),
            "dimension": self.request.dimension,
            "bits": self.request.bits,
            "promise": self.request.promise.value,
            "exchange_seconds": float(each),
            "protocols": {name: report.to_dict(each) for name, report in self.protocols.items()},
        }


def plan_round(request: Request) -> PlanReport:
    """What each protocol offers, and the one to take.

    Raises: BadPlan when none meets the request, with every reason.
    """
    protocols = {name: planner(request) for name, planner in PLANNERS.items()}
    if not any(report.choice.feasible for report in protocols.values()):
        raise BadPlan("; ".join(reason for name, report in protocols.items() for reason in refusals(name, report)))
    taken = recommended(protocols, request.exchange_seconds)
    return PlanReport(request, taken, tuple(reasons(protocols, taken, request.exchange_seconds)), protocols)


def refusals(name: str, report: ProtocolReport) -> Iterator[str]:
    """Why a protocol cannot meet the promise asked for, and whether it could meet another, or by another key."""
    asked = report.choice.promise
    for choice in (report.choice, *report.variants):
        what = f"{name} under promise {choice.promise} with a {choice.way}"
        if choice.feasible and choice.promise != asked:
            yield f"{what} would be feasible: ask for --promise {choice.promise} if that is enough"
        elif choice.feasible:
            yield f"{what} would be feasible, but {choice.trusts[0]}"
        elif choice.promise == asked and (choice is report.choice or choice.why != report.choice.why):
            yield f"{what}: {choice.why}"


def recommended(protocols: Reports, exchange_seconds: float) -> str:
    """The first that meets the request; where exchanges count the one of the shortest round, the first of equals."""
    met = [name for name, report in protocols.items() if report.choice.feasible]
    if not exchange_seconds:
        return met[0]

    def seconds(name: str) -> float:
        """Without end where nobody has estimated them."""
        known = protocols[name].choice.round_seconds(exchange_seconds)
        return math.inf if known is None else known

    return min(met, key=seconds)


def reasons(protocols: Reports, taken: str, exchange_seconds: float) -> Iterator[str]:
    """Why this protocol, and why none of the others."""
    others = [(name, report.choice) for name, report in protocols.items() if name != taken]
    rivals = [(name, choice) for name, choice in others if choice.feasible]
    if exchange_seconds:
        yield from by_duration(protocols, taken, exchange_seconds)
    else:
        yield from by_trust(protocols[taken].choice, taken, rivals)
    for name, choice in others:
        if not choice.feasible:
            yield f"not {name}: {choice.why}"
    if rivals and not exchange_seconds:
        yield "how long an exchange takes was not counted: with --exchange-seconds the shortest round is recommended"


def by_trust(choice: Choice, taken: str, rivals: Sequence[tuple[str, Choice]]) -> Iterator[str]:
    """Where exchanges are not counted: whom each asks to trust, and how many exchanges it takes."""
    yield f"{taken}: of the protocols that meet the request it asks for the least trust ({choice.trusts[0]})"
    for name, other in rivals:
        yield (
            f"not {name}: it asks for more trust ({other.trusts[0]}), for a round of {other.round_exchanges} exchanges "
            f"where {taken} takes {choice.round_exchanges}"
        )


def by_duration(protocols: Reports, taken: str, exchange_seconds: float) -> Iterator[str]:
    """Where exchanges are counted: how long each round takes, and what trust the shortest asks for beyond others."""
    choice = protocols[taken].choice
    yield f"{taken}: its round is the shortest, {lasting(choice, exchange_seconds)}"
    earlier = list(itertools.takewhile(lambda name: name != taken, protocols))
    for name, report in protocols.items():
        if name != taken and report.choice.feasible:
            yield f"not {name}: its round takes {lasting(report.choice, exchange_seconds)}"
    if any(protocols[name].choice.feasible for name in earlier):
        yield f"for that {taken} asks for more trust: {choice.trusts[0]}"


def lasting(choice: Choice, exchange_seconds: float) -> str:
    """How long a round takes, and what of it."""
    seconds, exchanges = choice.round_seconds(exchange_seconds), f"{choice.round_exchanges} exchanges"
    if seconds is None:
        return f"{exchanges}, and a time for computing that is not estimated"
    return (
        f"{seconds:.3g} s: {exchanges} of {exchange_seconds:g} s, {choice.client_seconds:.2g} s at a client, "
        f"{choice.server_seconds:.2g} s at the server"
    )
