"""Pairwise masks in a plan: which graph, with which numbers.

Bytes are exact (`sizes.py`), seconds an estimate (`costs.py`), probabilities proven bounds (`secagg.harary`). The graph
is chosen here for everybody: `simulate` plays the plan that is shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocols.choices import Choice, ProtocolReport, Request, believed_of_clients, besides, preferred
from protocols.coding import coding_of
from protocols.costs import Shape, client_steps, server_steps, timed_steps
from protocols.errors import BadPlan
from protocols.plan import Agreement, Promise, RoundPlan
from protocols.sizes import check_roster_fits, round_sizes
from secagg.encode import Encoding
from secagg.graph import GraphMode
from secagg.harary import ALWAYS_COMPLETE
from secagg.parameters import MAX_COMPLETE

# Up to here masking with everybody costs less than the questions a sparse graph raises.
PREFER_COMPLETE = 128
# A modulus this little above a word doubles memory and mask time for a few bits.
FEW_BITS = 4

REASONS = {
    GraphMode.COMPLETE: "everybody masks with everybody: no choice of drop-outs cuts the graph",
    GraphMode.ROSTER: "on a sparse ring work and traffic hardly grow with the number of clients",
}


def graphs_for(clients: int) -> tuple[GraphMode, ...]:
    """The graphs that many clients may have, the preferred first."""
    if clients <= ALWAYS_COMPLETE:
        return (GraphMode.COMPLETE,)
    if clients <= PREFER_COMPLETE:
        return (GraphMode.COMPLETE, GraphMode.ROSTER)
    return (GraphMode.ROSTER, GraphMode.COMPLETE) if clients <= MAX_COMPLETE else (GraphMode.ROSTER,)


def plan_pairwise(request: Request) -> ProtocolReport:
    """The preferred graph that meets the promise asked for; the other graph and the other promise beside it."""
    graphs = graphs_for(request.clients)
    return preferred(
        [choice_of(request, request.promise, graph) for graph in graphs],
        [choice_of(request, promise, graph) for promise in besides(request.promise) for graph in graphs],
    )


def choice_of(request: Request, promise: Promise, graph: GraphMode) -> Choice:
    """All numbers of one promise and graph, or why there are none."""
    try:
        # Before the search for parameters, which takes longest where this fails.
        check_roster_fits(request.clients)
        return met(request.agreement(request.plan(promise, graph)), request.clients)
    except BadPlan as error:
        return Choice(False, str(error), promise.value, graph.value)


def met(agreement: Agreement, clients: int) -> Choice:
    """The numbers of a plan that can be met."""
    plan, coding = agreement.plan, coding_of(agreement)
    parameters, sizes = plan.parameters(clients), round_sizes(agreement, clients)
    shape, each = Shape(plan, clients, parameters, coding.length, sizes), timed_steps(plan.encoding)
    return Choice(
        feasible=True,
        why=REASONS[plan.graph],
        promise=plan.promise.value,
        graph=plan.graph.value,
        degree=parameters.degree,
        threshold=parameters.threshold,
        window=parameters.window if parameters.degree < clients - 1 and parameters.window >= 0 else None,
        quorum=parameters.quorum or None,
        min_cohort=plan.min_cohort,
        modulus_bits=coding.ring.bits,
        privacy_failure_log2=parameters.privacy_failure_log2,
        completion_failure_log2=parameters.completion_failure_log2,
        exchanges=sizes.exchanges,
        round_exchanges=sizes.exchanges,
        upload_bytes_per_client=sizes.upload_bytes,
        download_bytes_per_client=sizes.download_bytes,
        client_seconds=client_steps(shape).seconds(each),
        server_seconds=server_steps(shape).seconds(each),
        trusts=(believed_of_clients(plan), *believed_of_server(plan)),
        survives=(
            f"the {plan.assumption.lost(clients)} of {clients} clients that are assumed to drop out may do so at any "
            f"of {sizes.exchanges} exchanges"
        ),
        advice=(*consents(plan), *word_advice(plan.encoding)),
    )


def believed_of_server(plan: RoundPlan) -> Iterator[str]:
    """What a server that lies could do after all."""
    if plan.promise is Promise.CURIOUS:
        yield "safe only while the server follows the protocol"
    elif plan.graph is GraphMode.ROSTER:
        yield "the server is trusted not to search for a roster whose ring suits it, unless graph=GraphMode.BEACON"


def consents(plan: RoundPlan) -> Iterator[str]:
    """What a client's policy has to say because it refuses that by default."""
    allowed = []
    if plan.promise is Promise.CURIOUS:
        allowed.append("promise=Promise.CURIOUS")
    if plan.graph is GraphMode.ROSTER:
        allowed.append("graphs=frozenset({GraphMode.ROSTER})")
    if allowed:
        yield f"clients allow this by Policy(..., {', '.join(allowed)})"


def word_advice(encoding: Encoding) -> Iterator[str]:
    """Which single reduction would fit the modulus into the next smaller word."""
    for word in (16, 32):
        if word < encoding.ring.bits <= word + FEW_BITS:
            smaller = list(reductions(encoding, (1 << (word - 1)) - 1))
            if smaller:
                yield (
                    f"a modulus of {encoding.ring.bits} bits takes words of {encoding.ring.word_bits}: "
                    f"{' or '.join(smaller)} would fit {word} bits and about halve the time for masks"
                )


def reductions(encoding: Encoding, largest_sum: int) -> Iterator[str]:
    """One number at a time lowered until no sum of magnitude above `largest_sum` remains."""
    clients, weight, levels = encoding.max_clients, encoding.max_weight, encoding.levels
    fewer_clients = largest_sum // (weight * levels)
    if fewer_clients >= 3:
        yield f"at most {fewer_clients} clients"
    lighter = largest_sum // (clients * levels)
    if 1 <= lighter < weight:
        yield f"weights up to {lighter}"
    for bits in range(encoding.bits - 1, 1, -1):
        coarser = Encoding(encoding.clip, bits, weight, clients)
        if clients * weight * coarser.levels <= largest_sum:
            yield f"{bits} bits of precision"
            return
