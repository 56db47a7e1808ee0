"""One-shot sums in a plan: under which committee, with which numbers.

    named committee     of nodes that are known by name and stay: all of them sign when they are convened
    drawn committee     of clients, drawn at random: how many depends on how many of them are corrupt

Bytes are exact (`oneshot_sizes.py`), seconds an estimate (`oneshot_costs.py`), probabilities proven bounds
(`secagg.rlwe`, `secagg.hypergeometric`). A server that lies learns no more than one that does not: the other promise
would have the same numbers, and is not shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from protocols.choices import Choice, ProtocolReport, Request, believed_of_clients, preferred, spared
from protocols.committee import MEMBERS
from protocols.costs import timed_steps
from protocols.endpoint.convener import USUAL_ROUNDS
from protocols.errors import BadPlan
from protocols.oneshot.shape import Shape
from protocols.oneshot_costs import (
    OneShotRound,
    OneShotSteps,
    masking_client,
    opening_server,
    sample_of,
    timed_mask_steps,
)
from protocols.oneshot_sizes import OneShotSizes, oneshot_sizes
from protocols.plan import ONE_SHOT, Agreement, Promise, RoundPlan
from secagg.errors import BadParameters, NoParameters
from secagg.hypergeometric import Population
from secagg.quorum import Quorum, drawn_from

NAMED, DRAWN = "named", "drawn"
# The fewest that can spare one; and twice as many as play by default, of whom twice as many may be corrupt.
OTHER_SIZES = (5, 20)
# `reveal` and `check_opens` refuse an honest sum with probability 2^-37 at most, each; whatever reaches the guard bits
# is among what the first refuses.
REFUSED_LOG2 = -36.0
# A server that keeps so many sealed shares in memory has to be of a kind of its own.
MANY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Committee:
    """Who opens: how they are found, and log2 of the probability that too many are corrupt, and that too many are away.

    Of those that are named both are assumed away: -inf.
    """

    kind: str
    quorum: Quorum
    corrupt_log2: float = -math.inf
    away_log2: float = -math.inf


def plan_oneshot(request: Request) -> ProtocolReport:
    """Ten named members; beside them fewer, more, and as many as are safe when they are drawn from the clients.

    The others are shown, never taken: who can be named, only the reader knows.
    """
    return preferred(
        [named_choice(request, MEMBERS)],
        [*(named_choice(request, members) for members in OTHER_SIZES), drawn_choice(request)],
    )


def named_choice(request: Request, members: int) -> Choice:
    """All numbers under so many members that are known by name, or why there are none."""
    committee = Committee(NAMED, Quorum.usual(members))
    try:
        return met(request.agreement(request.plan(request.promise, protocol=ONE_SHOT)), committee)
    except BadPlan as error:
        return Choice(False, str(error), request.promise.value, committee=NAMED, holders=members)


def drawn_choice(request: Request) -> Choice:
    """All numbers under members drawn from the clients, or why there are none."""
    try:
        agreement = request.agreement(request.plan(request.promise, protocol=ONE_SHOT))
        committee = drawn(agreement.plan)
    except (BadPlan, BadParameters, NoParameters) as error:
        return Choice(False, str(error), request.promise.value, committee=DRAWN)
    try:
        check_stays(agreement.plan, committee)
        return met(agreement, committee)
    except BadPlan as error:
        members = committee.quorum.members
        return Choice(False, str(error), request.promise.value, committee=DRAWN, holders=members)


def drawn(plan: RoundPlan) -> Committee:
    """The committee of least upload that is safe when it is drawn from the clients of this plan.

    Raises: NoParameters when none is; BadParameters for more clients than are drawn from.
    """
    clients, assumed = plan.max_clients, plan.assumption
    quorum = drawn_from(clients, plan.corrupted, -assumed.sigma)
    population = Population(clients)
    corrupt = population.draw(plan.corrupted, quorum.members).log2_above(quorum.corrupted)
    away = population.draw(assumed.lost(clients), quorum.members).log2_above(quorum.offline)
    return Committee(DRAWN, quorum, corrupt, away)


def check_stays(plan: RoundPlan, committee: Committee) -> None:
    """Raises: BadPlan where members that drop out as clients do are too many too often."""
    quorum, eta = committee.quorum, plan.assumption.eta
    if committee.away_log2 > -eta:
        raise BadPlan(
            f"{quorum.members} of {plan.max_clients} clients would be safe, with up to {quorum.corrupted} of them "
            f"corrupt; but where {plan.assumption.lost(plan.max_clients)} of the clients drop out, more than the "
            f"{quorum.offline} that may be silent are among them with probability {2.0**committee.away_log2:.2g}, over "
            f"2^-{eta}: draw from clients that stay, or name members"
        )


def met(agreement: Agreement, committee: Committee) -> Choice:
    """The numbers of a one-shot round that can be met."""
    plan, quorum, shape = agreement.plan, committee.quorum, Shape.of(agreement)
    sizes = oneshot_sizes(agreement, quorum, plan.max_clients)
    round_ = OneShotRound(plan.max_clients, shape.coding.length, shape.mask, quorum, sizes)
    each = OneShotSteps(timed_steps(plan.encoding), timed_mask_steps(sample_of(shape.mask), quorum))
    return Choice(
        feasible=True,
        why=f"a client speaks once; {quorum.needed} of {quorum.members} members open the sum, and it alone",
        promise=plan.promise.value,
        committee=committee.kind,
        holders=quorum.members,
        threshold=quorum.needed,
        min_cohort=plan.min_cohort,
        modulus_bits=shape.mask.modulus_bits,
        privacy_failure_log2=committee.corrupt_log2,
        completion_failure_log2=log2_of_either(REFUSED_LOG2, committee.away_log2),
        exchanges=sizes.client.exchanges,
        round_exchanges=sizes.client.exchanges + sizes.member.exchanges,
        upload_bytes_per_client=sizes.client.upload_bytes,
        download_bytes_per_client=sizes.client.download_bytes,
        client_seconds=masking_client(round_).seconds(each),
        server_seconds=opening_server(round_).seconds(each),
        upload_bytes_per_holder=sizes.member.upload_bytes,
        download_bytes_per_holder=sizes.member.download_bytes,
        trusts=tuple(believed(plan, committee)),
        survives=f"{spared(plan)}, and {quorum.offline} of the {quorum.members} members",
        advice=(*consents(plan), *size_advice(quorum, sizes)),
    )


def log2_of_either(one: float, other: float) -> float:
    """log2 (2^one + 2^other), of which not both are -inf."""
    larger, smaller = max(one, other), min(one, other)
    return larger + math.log2(1 + 2.0 ** (smaller - larger))


def believed(plan: RoundPlan, committee: Committee) -> Iterator[str]:
    """Whom a one-shot round believes."""
    quorum = committee.quorum
    yield (
        f"at most {quorum.corrupted} of the {quorum.members} members may help the server; {quorum.needed} must answer"
    )
    yield believed_of_clients(plan)
    if committee.kind == DRAWN:
        yield "the draw must not be the server's: take a public value that nobody knew when the clients were fixed"


def consents(plan: RoundPlan) -> Iterator[str]:
    """What a client's policy has to say because it refuses that by default, and what comes before the round."""
    allowed = ['protocols=frozenset({"oneshot"})', "holders=..."]
    if plan.promise is Promise.CURIOUS:
        allowed.append("promise=Promise.CURIOUS")
    yield f"clients allow this by Policy(..., {', '.join(allowed)})"
    yield f"the committee is convened in one exchange more, once for {USUAL_ROUNDS:,} rounds"


def size_advice(quorum: Quorum, sizes: OneShotSizes) -> Iterator[str]:
    """What so many clients cost whoever has to keep their shares."""
    each = sizes.member.download_bytes
    if quorum.members * each > MANY_BYTES:
        yield (
            f"the server keeps {quorum.members * each / 1e9:.1f} GB of sealed shares until members are asked, and "
            f"sends {each / 1e9:.2f} GB to each: invite fewer clients at a time"
        )
