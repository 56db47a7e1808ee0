"""What a plan is asked, and what it answers: a request, and one way after the other to meet it.

request     n clients, a fraction that drops out, a fraction that is corrupt, d coordinates of so many bits
choice      one way to meet it: promise, and graph, key or committee, with every number that follows; or why it
            cannot be met
report      of one protocol the choice to take and all the others
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

from protocols.errors import BadPlan
from protocols.heads import NO_LEDGER
from protocols.plan import NOTHING, PAIRWISE, Agreement, Promise, RoundPlan
from secagg.graph import GraphMode

# A model of ordinary size: a small convolutional network, or an adapter of a large one.
USUAL_DIMENSION = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What a round has to cope with.

    `exchange_seconds`: how long one exchange between the server and others takes; 0 where it is not to be counted.
    Raises: BadPlan for an exchange of no finite duration.
    """

    clients: int
    dropout: float | Fraction
    corrupt: float | Fraction = Fraction(1, 10)
    dimension: int = USUAL_DIMENSION
    bits: int = 16
    promise: Promise = Promise.ACTIVE
    exchange_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.exchange_seconds < math.inf:
            raise BadPlan(f"an exchange takes {self.exchange_seconds} seconds; it must be a finite number from 0 up")

    def plan(self, promise: Promise, graph: GraphMode = GraphMode.COMPLETE, protocol: str = PAIRWISE) -> RoundPlan:
        """The plan of one promise and, where vectors are masked pairwise, of one graph.

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

    def agreement(self, plan: RoundPlan) -> Agreement:
        """The plan for a vector of so many coordinates.  Raises: BadPlan when there is no such vector."""
        return Agreement(plan, 0, bytes(16), self.dimension, NOTHING, NOTHING, NO_LEDGER)


@dataclass(frozen=True, slots=True)
class Choice:
    """One promise, and one graph, key or committee: all its numbers, or none of them and why not.

    Units: bytes of whole frames, for one surviving client, and for one holder of the key, or one member, that opens one
        sum; CPU seconds of one client and of the server; log2 of failure bounds, -inf where the guarantee is no matter
        of chance. `window` is the number of survivors every half neighbourhood of a ring must exceed, None where
        nothing is demanded of them. One of `graph`, `mode` and `committee` is given, the others are None, and with them
        what only they have. An exchange is a letter of the server and the answer to it: `exchanges` counts those of one
        client, `round_exchanges` all that follow upon each other in a round, those of holders and members included, and
        of the ceremony where every round makes its key. The published result is none: nobody answers it.

    Of encrypted sums, whose `threshold` counts holders, both failures are of one key. Privacy fails where the holders'
    answers say more of their shares than their noise is for (`Noise.hint_bound`); that ring-LWE holds, at 128 bits by
    the standard's table, is assumed, no matter of chance, and not in the number: where one party opens alone no
    answer says anything of a share. Completion fails where noise reaches a coefficient of a sum; that enough clients
    and holders answer is assumed. Where clients share the key, `holders` is 1, its bytes are 0, and seconds are not
    estimated.

    Of one-shot sums `holders` counts the members of the committee, and `threshold` those who must answer. Privacy fails
    where more of them are corrupt than it allows: a matter of chance only where it is drawn. Ring-LWE is assumed again.
    Completion fails where a check of noise refuses an honest sum, or, of a committee that is drawn, where more of it is
    away than it can spare. What members do is not in the seconds, nor what holders do.
    """

    feasible: bool
    why: str
    promise: str
    graph: str | None = None
    mode: str | None = None
    committee: str | None = None
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
    round_exchanges: int | None = None
    upload_bytes_per_client: int | None = None
    download_bytes_per_client: int | None = None
    client_seconds: float | None = None
    server_seconds: float | None = None
    upload_bytes_per_holder: int | None = None
    download_bytes_per_holder: int | None = None
    trusts: tuple[str, ...] = ()
    survives: str | None = None
    advice: tuple[str, ...] = ()

    @property
    def way(self) -> str:
        """Who or what hides the vectors, in a few words."""
        if self.graph is not None:
            return f"{self.graph} graph"
        if self.mode is not None:
            return f"{self.mode} key"
        return f"{self.committee} committee" + ("" if self.holders is None else f" of {self.holders}")

    def round_seconds(self, exchange_seconds: float) -> float | None:
        """One exchange after the other, then what a client and the server compute.

        None where exchanges are not counted (0 seconds each), or something of it is not known.
        """
        exchanges, client, server = self.round_exchanges, self.client_seconds, self.server_seconds
        if not exchange_seconds or exchanges is None or client is None or server is None:
            return None
        return exchanges * exchange_seconds + client + server

    def to_dict(self, exchange_seconds: float) -> dict[str, object]:
        """All of it, and how long a round takes, under the names the command prints."""
        return {**asdict(self), "way": self.way, "round_seconds": self.round_seconds(exchange_seconds)}


@dataclass(frozen=True, slots=True)
class ProtocolReport:
    """The choice to take under one protocol, and every other it offers."""

    choice: Choice
    variants: tuple[Choice, ...]

    def to_dict(self, exchange_seconds: float) -> dict[str, object]:
        variants = [variant.to_dict(exchange_seconds) for variant in self.variants]
        return {**self.choice.to_dict(exchange_seconds), "variants": variants}


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


def believed_of_clients(plan: RoundPlan) -> str:
    """How many clients may be corrupt, whatever hides the vectors."""
    if not plan.corrupted:
        return f"none of the {plan.max_clients} clients may help the server"
    return f"at most {plan.corrupted} of the {plan.max_clients} clients may help the server"


def spared(plan: RoundPlan) -> str:
    """Which clients may vanish where each speaks once."""
    return f"all but {plan.min_cohort} of the {plan.max_clients} clients may vanish, whenever they do"
