"""Which protocol, which parameters, at what price: `secagg plan`.

    request     n clients, a fraction that drops out, a fraction that is corrupt, d coordinates of so many bits
    choice      one way to meet it: promise, and graph or key, with every number that follows; or why it cannot be met
    report      per protocol the choice to take and all the others; the protocol to take

A request is met under the promise it asks for or not at all: a weaker promise is shown beside, never taken
instead. Bytes are exact (`sizes.py`), seconds an estimate (`costs.py`, `encrypted_costs.py`), probabilities proven
bounds (`secagg.harary`, `secagg.ckks.plan`). The graph is chosen here for everybody: `simulate` plays the plan that
is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

from protocols.ckks import seeded
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.modes import weakness
from protocols.ckks.vector import Shape as EncryptedShape
from protocols.coding import coding_of
from protocols.committee import HOLDERS
from protocols.costs import Shape, client_steps, server_steps, timed_steps
from protocols.encrypted_costs import (
    EncryptedRound,
    EncryptedSteps,
    adding_server,
    encrypting_client,
    keeping_server,
    sample_of,
    timed_cipher_steps,
)
from protocols.errors import BadPlan
from protocols.plan import ENCRYPTED, NOTHING, PAIRWISE, USUAL_MODES, Agreement, Promise, RoundPlan
from protocols.sizes import check_roster_fits, encrypted_sizes, round_sizes
from secagg.ckks.plan import FAILURE_LOG2, Keys, Mode
from secagg.encode import Encoding
from secagg.errors import BadParameters
from secagg.graph import GraphMode
from secagg.harary import ALWAYS_COMPLETE
from secagg.negacyclic import PRIME_BITS
from secagg.parameters import MAX_COMPLETE

# A model of ordinary size: a small convolutional network, or an adapter of a large one.
USUAL_DIMENSION = 1_000_000
# Up to here masking with everybody costs less than the questions a sparse graph raises.
PREFER_COMPLETE = 128
# A modulus this little above a word doubles memory and mask time for a few bits.
FEW_BITS = 4

REASONS = {
    GraphMode.COMPLETE: "everybody masks with everybody: no choice of drop-outs cuts the graph",
    GraphMode.ROSTER: "on a sparse ring work and traffic hardly grow with the number of clients",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a round has to cope with."""

    clients: int
    dropout: float | Fraction
    corrupt: float | Fraction = Fraction(1, 10)
    dimension: int = USUAL_DIMENSION
    bits: int = 16
    promise: Promise = Promise.ACTIVE

    def plan(self, promise: Promise, graph: GraphMode = GraphMode.COMPLETE, protocol: str = PAIRWISE) -> RoundPlan:
        """The plan of one promise and, where vectors are masked, of one graph.

        Raises: BadPlan when it cannot be met, naming the largest feasible drop-out where that is the reason.
        """
        return RoundPlan.recommend(
            self.clients,
            dropout=self.dropout,
            corrupt=self.corrupt,
            bits=self.bits,
            promise=promise,
            graph=graph,
            protocol=protocol,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """One promise, and one graph or key: all its numbers, or none of them and why not.

    Units: bytes of whole frames, for one surviving client, and for one holder of the key that opens one sum; CPU
        seconds of one client and of the server; log2 of failure bounds, -inf where the guarantee is no matter of
        chance. `window` is the number of survivors every half neighbourhood of a ring must exceed, None where nothing
        is demanded of them. Either `graph` or `mode` is None, and with it what only the other has.

    Of encrypted sums, whose `threshold` counts holders, both failures are of one key. Privacy fails where the holders'
    answers say more of their shares than their noise is for (`Noise.hint_bound`); that ring-LWE holds, at 128 bits by
    the standard's table, is assumed, no matter of chance, and not in the number: where one party opens alone no
    answer says anything of a share. Completion fails where noise reaches a coefficient of a sum; that enough clients
    and holders answer is assumed. Where clients share the key, `holders` is 1, its bytes are 0, and seconds are not
    estimated.
    """

    feasible: bool
    why: str
    promise: str
    graph: str | None = None
    mode: str | None = None
    holders: int | None = None
    degree: int | None = None
    threshold: int | None = None
    window: int | None = None
    quorum: int | None = None
    min_cohort: int | None = None
    modulus_bits: int | None = None
    privacy_failure_log2: float | None = None
    completion_failure_log2: float | None = None
    exchanges: int | None = None
    upload_bytes_per_client: int | None = None
    download_bytes_per_client: int | None = None
    client_seconds: float | None = None
    server_seconds: float | None = None
    upload_bytes_per_holder: int | None = None
    download_bytes_per_holder: int | None = None
    advice: tuple[str, ...] = ()

    @property
    def way(self) -> str:
        """What hides the vectors, in two words."""
        return f"{self.mode} key" if self.graph is None else f"{self.graph} graph"


@dataclass(frozen=True, slots=True)
class ProtocolReport:
    """The choice to take under one protocol, and every other it offers."""

    choice: Choice
    variants: tuple[Choice, ...]

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self.choice), "variants": [asdict(variant) for variant in self.variants]}


@dataclass(frozen=True, slots=True)
class PlanReport:
    """The request, the protocol to take, and what each protocol offers."""

    request: Request
    recommended: str
    protocols: Mapping[str, ProtocolReport]

    def to_dict(self) -> dict[str, object]:
        """The report under the names the command prints."""
        return {
            "recommended": self.recommended,
            "clients": self.request.clients,
            "dropout": float(self.request.dropout),
            "corrupt": float(self.request.corrupt),
            "dimension": self.request.dimension,
            "bits": self.request.bits,
            "promise": self.request.promise.value,
            "protocols": {name: report.to_dict() for name, report in self.protocols.items()},
        }


def plan_round(request: Request) -> PlanReport:
    """What each protocol offers, and the first that meets the request.

    Raises: BadPlan when none does, with every reason.
    """
    protocols = {name: planner(request) for name, planner in PLANNERS.items()}
    met = [name for name, report in protocols.items() if report.choice.feasible]
    if not met:
        raise BadPlan("; ".join(reason for name, report in protocols.items() for reason in refusals(name, report)))
    return PlanReport(request, met[0], protocols)


def refusals(name: str, report: ProtocolReport) -> Iterator[str]:
    """Why a protocol cannot meet the promise asked for, and whether it could meet another, or by another key."""
    asked = report.choice.promise
    for choice in (report.choice, *report.variants):
        what = f"{name} under promise {choice.promise} with a {choice.way}"
        if choice.feasible and choice.promise != asked:
            yield f"{what} would be feasible: ask for --promise {choice.promise} if that is enough"
        elif choice.feasible:
            yield f"{what} would be feasible, but {choice.advice[0]}"
        elif choice.promise == asked and (choice is report.choice or choice.why != report.choice.why):
            yield f"{what}: {choice.why}"


def preferred(asked: Sequence[Choice], others: Sequence[Choice]) -> ProtocolReport:
    """The first that meets the promise asked for, the most preferred where none does; all others beside it."""
    first = asked[0]
    taken = next((choice for choice in asked if choice.feasible), first)
    beside = (*(choice for choice in asked if choice is not taken), *others)
    if taken is not first:
        taken = replace(taken, why=f"{taken.why}; a {first.way} would be preferred, but {first.why}")
    return ProtocolReport(taken, beside)


def besides(promise: Promise) -> list[Promise]:
    """The promises that were not asked for."""
    return [other for other in Promise if other != promise]


# --- pairwise -------------------------------------------------------------------------------------


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
        agreement = Agreement(request.plan(promise, graph), 0, bytes(16), request.dimension, NOTHING, NOTHING, NOTHING)
        return met(agreement, request.clients)
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
        upload_bytes_per_client=sizes.upload_bytes,
        download_bytes_per_client=sizes.download_bytes,
        client_seconds=client_steps(shape).seconds(each),
        server_seconds=server_steps(shape).seconds(each),
        advice=(*consents(plan), *word_advice(plan.encoding)),
    )


def consents(plan: RoundPlan) -> Iterator[str]:
    """What is believed of the server, and what a client's policy has to say because it refuses that by default."""
    allowed = []
    if plan.promise is Promise.CURIOUS:
        yield "safe only while the server follows the protocol"
        allowed.append("promise=Promise.CURIOUS")
    elif plan.graph is GraphMode.ROSTER:
        yield "the server is trusted not to search for a roster whose ring suits it, unless graph=GraphMode.BEACON"
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


# --- ckks -----------------------------------------------------------------------------------------

# How the key is held, and how else it may be. In every other way one party more can decrypt single uploads.
KEYS = keys_for_rounds(HOLDERS)
OTHER_KEYS = (Keys(Mode.SINGLE), seeded.KEYS)


def plan_ckks(request: Request) -> ProtocolReport:
    """The key that holders share, if it meets the promise asked for; beside it other keys, and the other promise.

    Keys that protect less are shown, never taken.
    """
    return preferred(
        [encrypted_choice(request, request.promise, KEYS)],
        [
            *(encrypted_choice(request, request.promise, keys) for keys in OTHER_KEYS),
            *(encrypted_choice(request, promise, KEYS) for promise in besides(request.promise)),
        ],
    )


def encrypted_choice(request: Request, promise: Promise, keys: Keys) -> Choice:
    """All numbers of one promise and key, or why there are none."""
    try:
        plan = request.plan(promise, protocol=ENCRYPTED)
        agreement = Agreement(plan, 0, bytes(16), request.dimension, NOTHING, NOTHING, NOTHING)
        return met_encrypted(agreement, keys, request.clients)
    except (BadPlan, BadParameters) as error:
        # Bad parameters mean that the library which encrypts is missing.
        return Choice(False, str(error), promise.value, mode=keys.mode.value)


def met_encrypted(agreement: Agreement, keys: Keys, clients: int) -> Choice:
    """The numbers of an encrypted round that can be met."""
    plan, carried = agreement.plan, EncryptedShape.of(agreement, keys)
    sizes = encrypted_sizes(agreement, keys, clients)
    shape = EncryptedRound(clients, carried.coding.length, carried.plan, sizes)
    client_seconds, server_seconds = seconds_of(shape, plan)
    return Choice(
        feasible=True,
        why=f"a client speaks once; {opening_of(keys)}",
        promise=plan.promise.value,
        mode=keys.mode.value,
        holders=keys.holders,
        threshold=keys.threshold,
        min_cohort=plan.min_cohort,
        modulus_bits=PRIME_BITS,
        privacy_failure_log2=float(FAILURE_LOG2) if keys.mode is Mode.THRESHOLD else -math.inf,
        completion_failure_log2=float(FAILURE_LOG2),
        exchanges=sizes.client.exchanges,
        upload_bytes_per_client=sizes.client.upload_bytes,
        download_bytes_per_client=sizes.client.download_bytes,
        client_seconds=client_seconds,
        server_seconds=server_seconds,
        upload_bytes_per_holder=sizes.holder.upload_bytes,
        download_bytes_per_holder=sizes.holder.download_bytes,
        advice=tuple(trusted_with_keys(plan, keys)),
    )


def opening_of(keys: Keys) -> str:
    """Who opens the sum, and with what."""
    match keys.mode:
        case Mode.THRESHOLD:
            return f"{keys.threshold} of {keys.holders} holders open the sum, with a key made for it"
        case Mode.SINGLE:
            return "one decryptor, who is not the server, opens the sum, with a key made for it"
        case Mode.SEEDED:
            return "every client opens the sum, with a key that all of them share, and the server never has it"


def seconds_of(shape: EncryptedRound, plan: RoundPlan) -> tuple[float, float] | tuple[None, None]:
    """CPU seconds of one client and of the server, where they are estimated."""
    mode = shape.plan.keys.mode
    if mode is Mode.SEEDED:
        return None, None
    each = EncryptedSteps(timed_steps(plan.encoding), timed_cipher_steps(sample_of(shape.plan)))
    at_server = adding_server(shape) if mode is Mode.THRESHOLD else keeping_server(shape)
    return encrypting_client(shape).seconds(each), at_server.seconds(each)


def trusted_with_keys(plan: RoundPlan, keys: Keys) -> Iterator[str]:
    """Whom an encrypted round believes, and what a client's policy has to say because it refuses that by default."""
    yield believed(keys)
    if keys.mode is Mode.SEEDED:
        helped, lie = "the server", "each of them has the key and can give it away"
    else:
        helped, lie = "whoever sees the opened sum", "one that adds a multiple of the key to its upload gives it away"
    if plan.promise is Promise.ACTIVE:
        yield f"no client may help {helped}: {lie}"
    else:
        yield f"safe only while the server and every client follow the protocol: {lie} to {helped}"
    yield f"clients allow this by Policy(..., {', '.join(allowances(plan, keys))})"


def believed(keys: Keys) -> str:
    """How many holders may be corrupt; or, of another key, what is weak about it."""
    if keys.mode is not Mode.THRESHOLD:
        return weakness(keys.mode)
    return (
        f"at most {keys.tolerated} of the {keys.holders} holders may be corrupt: more can open two sums of one round, "
        f"and {keys.threshold} together have the key"
    )


def allowances(plan: RoundPlan, keys: Keys) -> Iterator[str]:
    """What a policy has to say beyond its defaults."""
    yield 'protocols=frozenset({"ckks"})'
    if keys.mode is not Mode.SEEDED:
        yield "holders=..."
    if keys.mode not in USUAL_MODES:
        yield f"modes=frozenset({{Mode.{keys.mode.name}}})"
    if plan.promise is Promise.CURIOUS:
        yield "promise=Promise.CURIOUS"


# What comes first and meets the request is recommended.
PLANNERS: Mapping[str, Callable[[Request], ProtocolReport]] = {PAIRWISE: plan_pairwise, ENCRYPTED: plan_ckks}
