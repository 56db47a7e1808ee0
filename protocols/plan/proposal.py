"""What a server proposes for many rounds. Constructing it is the proof that the parts fit each other."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

from dp.adaptive import AdaptiveClip
from dp.errors import DpError
from protocols.errors import BadPlan
from protocols.plan.checks import rational, require_short
from protocols.plan.kinds import ENCRYPTED, MAX_METRICS, ONE_SHOT, PAIRWISE, Excess, Promise, Suite
from protocols.plan.metric import Metric
from protocols.plan.noise import NoisePlan
from protocols.wire import U8, U32, U64, Text
from secagg.encode import Encoding
from secagg.errors import BadParameters, NoParameters, SecaggError
from secagg.graph import Against, Assumption, GraphMode, Parameters, choose_parameters

# Bits of each number on the wire.
WIDTHS = {"min_cohort": 32, "max_clients": 32, "bits": 8, "max_weight": 64, "patience_seconds": 32}


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What the server proposes. Constructing it is the proof that the parts fit each other.

    n clients are invited, at most `max_clients`; a sum over fewer than `min_cohort` is never opened.
    Every coordinate is clipped to +-clip and sent with `bits` bits; with noise, the whole vector is
    clipped to the L2 norm `clip` instead and the lattice follows from the noise plan. Where the clip adapts, `clip`
    is that of the first round, and each round's agreement holds the plan `at_clip` of its own.
    Raises: BadPlan naming the number to change.
    """

    task: Text
    protocol: Text
    promise: Promise
    min_cohort: U32
    max_clients: U32
    assumption: Assumption
    graph: GraphMode
    clip: Fraction
    bits: U8
    max_weight: U64
    noise: NoisePlan | None
    patience_seconds: U32
    metrics: tuple[Metric, ...] = ()
    suite: Suite = Suite.CLASSIC

    def __post_init__(self) -> None:
        self._check_kinds()
        self._check_integers()
        self._check_cohort()
        for name, value in (
            ("clip", self.clip),
            ("corrupt", Fraction(self.assumption.corrupt)),
            ("dropout", Fraction(self.assumption.dropout)),
        ):
            require_short(name, value)
        self._check_metrics()
        if self.noise is None:
            self._encoding()
        else:
            self._check_noise(self.noise)
        self._check_clip()
        if self.protocol == ENCRYPTED:
            self._check_encrypted()
        if self.protocol != PAIRWISE and self.links:
            raise BadPlan(
                "excess noise is removed by what neighbours hold: only pairwise masks have them (Excess.KEPT)"
            )

    def _check_kinds(self) -> None:
        kinds = {"promise": Promise, "graph": GraphMode, "assumption": Assumption, "clip": Fraction, "suite": Suite}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise BadPlan(f"{name} is {getattr(self, name)!r}, it must be a {kind.__name__}")
        if not isinstance(self.task, str):
            raise BadPlan(f"task is {self.task!r}, it must be a name")
        if not 1 <= len(self.task.encode()) <= 64:
            raise BadPlan(f"task must be a name of 1 to 64 bytes, got {self.task!r}")
        if self.clip <= 0:
            raise BadPlan(f"clip is {self.clip}, it must be above 0")

    def _check_integers(self) -> None:
        for name, most in WIDTHS.items():
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < 1 << most:
                raise BadPlan(f"{name} is {value!r}, it must be an integer below 2^{most}")
        if self.patience_seconds < 1:
            raise BadPlan("patience_seconds must be at least 1")

    def _check_cohort(self) -> None:
        if not 3 <= self.min_cohort <= self.max_clients:
            raise BadPlan(f"min_cohort is {self.min_cohort}, it must lie in 3..{self.max_clients} (max_clients)")
        if self.min_cohort < self.corrupted + 2:
            raise BadPlan(
                f"min_cohort is {self.min_cohort} and {self.corrupted} clients are assumed corrupt: a sum over fewer "
                f"than 2 honest ones hides nobody; assume less corruption, or ask for at least {self.corrupted + 2}"
            )
        if self.promise is Promise.ACTIVE and self.assumption.against is not Against.ACTIVE:
            raise BadPlan(f"promise active needs parameters against an active server, not {self.assumption.against}")

    def _check_noise(self, noise: NoisePlan) -> None:
        if self.max_weight != 1:
            raise BadPlan(f"max_weight is {self.max_weight}: with noise every client has weight 1")
        if noise.colluders < self.corrupted:
            raise BadPlan(
                f"noise discounts {noise.colluders} colluders, yet {self.corrupted} clients are assumed corrupt"
            )
        if noise.colluders > self.min_cohort - 2:
            raise BadPlan(
                f"{noise.colluders} colluders leave fewer than 2 of {self.min_cohort} clients to make noise: that "
                "of one alone would go with it"
            )

    def _check_encrypted(self) -> None:
        """Against a client that adds a multiple of the key to its upload: whoever then sees the sum has the key."""
        if self.promise is Promise.ACTIVE and self.corrupted:
            raise BadPlan(
                f"{self.corrupted} clients are assumed to help the server, and one that lies is enough to open every "
                "encrypted upload: assume corrupt=0, or promise=Promise.CURIOUS where they follow the protocol, or "
                "take the pairwise protocol"
            )

    def _check_clip(self) -> None:
        if self.rule is not None:
            try:
                self.rule.require_clip(self.clip)
            except DpError as error:
                raise BadPlan(f"the clip does not fit the rule by which it adapts: {error}") from error

    @property
    def rule(self) -> AdaptiveClip | None:
        """By which the clip follows the norms; None where it is fixed."""
        return None if self.noise is None else self.noise.adaptive

    def at_clip(self, clip: Fraction) -> Self:
        """The plan of one round, which clips to this norm.

        Raises: BadPlan for a clip outside the range of the rule, or another than the plan's where it is fixed.
        """
        if self.rule is None and clip != self.clip:
            raise BadPlan(f"clip is {clip}, and this plan's is fixed at {self.clip}: give its noise an AdaptiveClip")
        return replace(self, clip=clip)

    def _check_metrics(self) -> None:
        if not isinstance(self.metrics, tuple) or not all(isinstance(metric, Metric) for metric in self.metrics):
            raise BadPlan(f"metrics are a tuple of Metric, got {self.metrics!r}")
        if len({metric.name for metric in self.metrics}) != len(self.metrics) or len(self.metrics) > MAX_METRICS:
            raise BadPlan(f"metrics have distinct names, at most {MAX_METRICS} of them")
        if self.metrics and self.noise is not None:
            raise BadPlan("metrics are exact sums: beside noise they tell what it hides; measure them elsewhere")
        for metric in self.metrics:
            metric.encoding(self.max_weight, self.max_clients)

    def smallest_sum(self, clients: int) -> int:
        """The fewest survivors a sum of this many clients is opened for: the cohort, and the witnesses' quorum.

        The quorum alone leaves no honest client with two lists. It does not say how many of a list are there: a
        client that was shown another roster, and whose masks were rebuilt in that one, would count as a survivor.
        Each signature is bound to one roster, so a cohort of signatures is a cohort of clients.
        """
        return max(self.min_cohort, self.parameters(clients).quorum)

    def promise_of(self, clients: int) -> str:
        """What a round of this many clients may call itself: `active` needs a graph that no server could choose."""
        if self.protocol != PAIRWISE:
            return self.promise.value
        sparse = self.parameters(clients).degree < clients - 1
        trusted = self.promise is Promise.ACTIVE and sparse and self.graph is GraphMode.ROSTER
        return "active-graph-trusted" if trusted else self.promise.value

    @property
    def links(self) -> int:
        """How many seeds of removable noise each client deals: one for every number of drop-outs, none included."""
        removable = self.noise is not None and self.noise.excess is Excess.REMOVED
        return self.max_clients - self.min_cohort + 1 if removable else 0

    @property
    def corrupted(self) -> int:
        """A: how many of the clients that may be invited are assumed to help the server."""
        return self.assumption.corrupted(self.max_clients)

    def _encoding(self) -> Encoding:
        try:
            return Encoding(self.clip, self.bits, self.max_weight, self.max_clients)
        except SecaggError as error:
            raise BadPlan(str(error)) from error

    @property
    def encoding(self) -> Encoding:
        """The lattice of a plan without noise, wide enough that no sum can wrap."""
        return self._encoding()

    def parameters(self, clients: int) -> Parameters:
        """Threshold and quorum for this many clients; each party derives them for itself.

        The corrupt clients are counted over all that may be invited: a server that lists fewer keeps its own
        in the roster and leaves out honest ones, so their number does not shrink with it. Those that never
        advertised have used up their part of the assumed drop-out.
        Raises: BadPlan when the assumed drop-out and corruption cannot be met.
        """
        corrupted = self.corrupted
        if corrupted >= clients:
            raise BadPlan(f"{clients} clients may all be among the {corrupted} that are assumed corrupt")
        missing = max(0, self.max_clients - clients)
        still_lost = max(0, self.assumption.lost(self.max_clients) - missing)
        remaining = replace(
            self.assumption, corrupt=Fraction(corrupted, clients), dropout=Fraction(still_lost, clients)
        )
        try:
            return _parameters(clients, remaining, self.graph)
        except NoParameters as error:
            raise BadPlan(str(error)) from error

    @classmethod
    def recommend(
        cls,
        clients: int,
        *,
        dropout: float | Fraction = Fraction(1, 10),
        corrupt: float | Fraction = Fraction(1, 10),
        clip: float | Fraction = Fraction(1),
        bits: int = 16,
        max_weight: int = 1,
        noise_multiplier: float | Fraction | None = None,
        modulus_bits: int = 24,
        excess: Excess = Excess.KEPT,
        adaptive: AdaptiveClip | None = None,
        min_cohort: int | None = None,
        promise: Promise = Promise.ACTIVE,
        graph: GraphMode = GraphMode.COMPLETE,
        task: str = "task",
        patience_seconds: int = 60,
        metrics: tuple[Metric, ...] = (),
        protocol: str = PAIRWISE,
    ) -> Self:
        """A plan for `clients` invited clients of which a fraction may drop out or be corrupt.

        The smallest cohort is what remains after twice the expected drop-out, at least three and a
        majority; with noise, as many colluders as corrupt clients are discounted. A clip that adapts starts at
        `clip`, rounded to one that the rule can hold. `protocol` is "pairwise", "oneshot" or "ckks"; only the first
        has a graph.
        Raises: BadPlan when no such plan exists, naming what to lower.
        """
        if type(clients) is not int:
            raise BadPlan(f"clients is {clients!r}, it must be an integer")
        if protocol not in (PAIRWISE, ONE_SHOT, ENCRYPTED):
            raise BadPlan(f"protocol is {protocol!r}, it must be {PAIRWISE!r}, {ONE_SHOT!r} or {ENCRYPTED!r}")
        assumption = _assumption(corrupt, dropout, promise)
        if clients < 3:
            raise BadPlan(f"{clients} clients: a sum over fewer than 3 hides nobody")
        floor = max(3, clients // 2 + 1, clients - 2 * math.floor(assumption.dropout * clients))
        colluders = math.floor(assumption.corrupt * clients)
        plan = cls(
            task=task,
            protocol=protocol,
            promise=promise,
            min_cohort=floor if min_cohort is None else min_cohort,
            max_clients=clients,
            assumption=assumption,
            graph=graph,
            clip=_first_clip(clip, adaptive, noise_multiplier),
            bits=bits,
            max_weight=max_weight,
            noise=_noise(noise_multiplier, colluders, modulus_bits, excess, adaptive),
            patience_seconds=patience_seconds,
            metrics=metrics,
        )
        if protocol == PAIRWISE:
            plan.parameters(clients)
        plan._check_bearable()
        return plan

    def _check_bearable(self) -> None:
        """Raises: BadPlan where what the assumed drop-out leaves of all clients is below the smallest cohort."""
        clients = self.max_clients
        left = clients - self.assumption.lost(clients)
        if left < self.min_cohort:
            bearable = Fraction(clients - self.min_cohort, clients)
            raise BadPlan(
                f"the assumed drop-out leaves {left} of {clients} clients, and a sum over fewer than "
                f"{self.min_cohort} is never opened; the largest feasible drop-out is {bearable} "
                f"({float(bearable):.4f})"
            )


def _assumption(corrupt: float | Fraction, dropout: float | Fraction, promise: Promise) -> Assumption:
    if not isinstance(promise, Promise):
        raise BadPlan(f"promise is {promise!r}, it must be one of {', '.join(map(str, Promise))}")
    try:
        return Assumption(
            corrupt=rational("corrupt", corrupt),
            dropout=rational("dropout", dropout),
            against=Against.ACTIVE if promise is Promise.ACTIVE else Against.CURIOUS,
        )
    except BadParameters as error:
        raise BadPlan(str(error)) from error


def _first_clip(
    clip: float | Fraction, adaptive: AdaptiveClip | None, noise_multiplier: float | Fraction | None
) -> Fraction:
    first = rational("clip", clip)
    if adaptive is None:
        return first
    if noise_multiplier is None:
        raise BadPlan("a clip adapts by a noisy count: without noise_multiplier there is none")
    return adaptive.nearest(first)


def _noise(
    multiplier: float | Fraction | None,
    colluders: int,
    modulus_bits: int,
    excess: Excess,
    adaptive: AdaptiveClip | None,
) -> NoisePlan | None:
    if multiplier is None:
        return None
    return NoisePlan(rational("noise_multiplier", multiplier), colluders, modulus_bits, excess, adaptive)


@functools.lru_cache(maxsize=256)
def _parameters(clients: int, assumption: Assumption, graph: GraphMode) -> Parameters:
    # The same search by every client of a process, and at every step of a round.
    return choose_parameters(clients, assumption, graph)
