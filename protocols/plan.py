"""What is agreed before anything secret exists: the server's plan, the client's policy, the context.

    RoundPlan    what the server proposes for many rounds
    Agreement    the plan made concrete for one round and one vector length; the body of `Open`
    Policy       what this client insists on, whatever the server proposes
    context_of   the public hash of an agreement: salt of every derivation, in every signature

A client whose context differs in one bit derives other masks, so its vector cancels with nobody's
and the sum is noise: disagreement is inert before it is detected.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Annotated, Self

from dp.adaptive import AdaptiveClip
from dp.errors import DpError
from protocols import wire
from protocols.certificates import Credential
from protocols.errors import BadPlan, KeyMismatch, PolicyViolation, blame
from protocols.heads import LedgerHead
from protocols.party import MAX_CLIENT_ID, SERVER, PartyId
from protocols.wire import U8, U32, U64, Bytes16, Bytes32, Exactly, Text
from secagg.ckks.plan import Mode
from secagg.encode import Encoding, Rounding
from secagg.errors import BadParameters, NoParameters, SecaggError
from secagg.graph import Against, Assumption, GraphMode, Parameters, choose_parameters
from secagg.keys import Context

LABEL_CONTEXT = b"secagg/v1/context"
NOTHING = bytes(32)
ContextBytes = Annotated[Context, Exactly(32)]
MAX_LENGTH = 1 << 32
MAX_METRICS = 64
# What a policy allows that does not say otherwise.
USUAL_LENGTH, USUAL_CLIP = 1 << 27, Fraction(1 << 20)
MAX_NOISE_MULTIPLIER = Fraction(1 << 64)
PAIRWISE, ONE_SHOT, ENCRYPTED = "pairwise", "oneshot", "ckks"
# The other modes of encrypted sums trust one party, or every client, with every upload.
USUAL_MODES = frozenset({Mode.THRESHOLD})


class Promise(enum.Enum):
    """Whom the round is safe against.

    CURIOUS: a server that follows the protocol and reads everything; four exchanges.
    ACTIVE: also a server that lies at will once the identities are registered; five exchanges.
    """

    CURIOUS = "curious"
    ACTIVE = "active"


class Suite(enum.Enum):
    """The primitives of a round. Nothing assumes their sizes beyond the messages of the suite."""

    CLASSIC = "X25519, Ed25519, HKDF-SHA256, AES-256-GCM, AES-256-CTR"


class Excess(enum.Enum):
    """What becomes of the noise that a cohort larger than the smallest one has too much of.

    KEPT: it stays in the sum. REMOVED: clients add their shares in layers, and the layers too many are opened and
    subtracted, so that every allowed cohort ends with the same noise (`dp.layers`).
    """

    KEPT = "kept"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """Differential privacy of the opened sum: std = noise_multiplier * L2 sensitivity.

    The noise is the sum of the clients' own shares. It is sized so that the smallest cohort the plan
    allows still reaches it after `colluders` of its members told the reader their shares.
    With `adaptive`, the clip follows the norms from round to round: the sum has one more coordinate, which counts
    the clients within the clip, and the multiplier is that of vector and count together (`dp.adaptive`).
    Units: the multiplier is a pure number; `modulus_bits` is the width of the ring on the wire.
    """

    noise_multiplier: Fraction
    colluders: U32
    modulus_bits: U8
    excess: Excess = Excess.KEPT
    adaptive: AdaptiveClip | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.excess, Excess):
            raise BadPlan(f"excess is {self.excess!r}, it must be one of {', '.join(map(str, Excess))}")
        if isinstance(self.noise_multiplier, bool) or not isinstance(self.noise_multiplier, int | Fraction):
            raise BadPlan(f"noise_multiplier is {self.noise_multiplier!r}, it must be a Fraction")
        object.__setattr__(self, "noise_multiplier", Fraction(self.noise_multiplier))
        for name in ("colluders", "modulus_bits"):
            if type(getattr(self, name)) is not int:
                raise BadPlan(f"{name} is {getattr(self, name)!r}, it must be an integer")
        if not 1 / MAX_NOISE_MULTIPLIER <= self.noise_multiplier <= MAX_NOISE_MULTIPLIER:
            raise BadPlan(f"noise_multiplier is {self.noise_multiplier}, it must lie in 2^-64..2^64")
        if not 2 <= self.modulus_bits <= 64:
            raise BadPlan(f"modulus_bits is {self.modulus_bits}, it must lie in 2..64")
        _require_short("noise_multiplier", self.noise_multiplier)
        if self.adaptive is not None:
            self._check_adaptive(self.adaptive)

    def _check_adaptive(self, rule: AdaptiveClip) -> None:
        if not isinstance(rule, AdaptiveClip):
            raise BadPlan(f"adaptive is {rule!r}, it must be a dp.AdaptiveClip")
        for name in ("min_clip", "max_clip", "bit_noise", "learning_rate", "target"):
            _require_short(f"{name} of the adaptive clip", getattr(rule, name))
        try:
            rule.vector_multiplier(self.noise_multiplier)
        except DpError as error:
            raise BadPlan(str(error)) from error

    @property
    def vector_multiplier(self) -> Fraction:
        """The multiplier of the vector alone: more than the round's where a count of clients is released beside it."""
        rule, whole = self.adaptive, self.noise_multiplier
        return whole if rule is None else rule.vector_multiplier(whole)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of each client, such as its loss, of which the round opens the weighted mean and nothing else.

    Fixed point: clipped to [-clip, clip], rounded to nearest on a lattice of `bits` bits, summed under the mask.
    Raises: BadPlan for a name that is none or a clip or precision no lattice has.
    """

    name: Text
    clip: Fraction
    bits: U8 = 24

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name.encode()) <= 64:
            raise BadPlan(f"a metric has a name of 1 to 64 bytes, got {self.name!r}")
        if not isinstance(self.clip, Fraction):
            object.__setattr__(self, "clip", _rational(f"the clip of metric {self.name!r}", self.clip))
        self.encoding(1, 1)
        _require_short(f"the clip of metric {self.name!r}", self.clip)

    def encoding(self, max_weight: int, max_clients: int) -> Encoding:
        """The lattice on which so many weighted values cannot wrap."""
        try:
            return Encoding(self.clip, self.bits, max_weight, max_clients, rounding=Rounding.NEAREST)
        except SecaggError as error:
            raise BadPlan(f"metric {self.name!r}: {error}") from error


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
        kinds = {"promise": Promise, "graph": GraphMode, "assumption": Assumption, "clip": Fraction, "suite": Suite}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise BadPlan(f"{name} is {getattr(self, name)!r}, it must be a {kind.__name__}")
        for name, most in (
            ("min_cohort", 32),
            ("max_clients", 32),
            ("bits", 8),
            ("max_weight", 64),
            ("patience_seconds", 32),
        ):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < 1 << most:
                raise BadPlan(f"{name} is {value!r}, it must be an integer below 2^{most}")
        if not isinstance(self.task, str):
            raise BadPlan(f"task is {self.task!r}, it must be a name")
        if self.clip <= 0:
            raise BadPlan(f"clip is {self.clip}, it must be above 0")
        if not 1 <= len(self.task.encode()) <= 64:
            raise BadPlan(f"task must be a name of 1 to 64 bytes, got {self.task!r}")
        if not 3 <= self.min_cohort <= self.max_clients:
            raise BadPlan(f"min_cohort is {self.min_cohort}, it must lie in 3..{self.max_clients} (max_clients)")
        if self.min_cohort < self.corrupted + 2:
            raise BadPlan(
                f"min_cohort is {self.min_cohort} and {self.corrupted} clients are assumed corrupt: a sum over fewer "
                f"than 2 honest ones hides nobody; assume less corruption, or ask for at least {self.corrupted + 2}"
            )
        if self.promise is Promise.ACTIVE and self.assumption.against is not Against.ACTIVE:
            raise BadPlan(f"promise active needs parameters against an active server, not {self.assumption.against}")
        if self.patience_seconds < 1:
            raise BadPlan("patience_seconds must be at least 1")
        for name, value in (
            ("clip", self.clip),
            ("corrupt", Fraction(self.assumption.corrupt)),
            ("dropout", Fraction(self.assumption.dropout)),
        ):
            _require_short(name, value)
        self._check_metrics()
        if self.noise is None:
            self._encoding()
        elif self.max_weight != 1:
            raise BadPlan(f"max_weight is {self.max_weight}: with noise every client has weight 1")
        elif self.noise.colluders < self.corrupted:
            raise BadPlan(
                f"noise discounts {self.noise.colluders} colluders, yet {self.corrupted} clients are assumed corrupt"
            )
        elif self.noise.colluders > self.min_cohort - 2:
            raise BadPlan(
                f"{self.noise.colluders} colluders leave fewer than 2 of {self.min_cohort} clients to make noise: that "
                "of one alone would go with it"
            )
        self._check_clip()
        if self.protocol == ENCRYPTED:
            self._check_encrypted()
        if self.protocol != PAIRWISE and self.links:
            raise BadPlan(
                "excess noise is removed by what neighbours hold: only pairwise masks have them (Excess.KEPT)"
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
        if not isinstance(promise, Promise):
            raise BadPlan(f"promise is {promise!r}, it must be one of {', '.join(map(str, Promise))}")
        try:
            assumption = Assumption(
                corrupt=_rational("corrupt", corrupt),
                dropout=_rational("dropout", dropout),
                against=Against.ACTIVE if promise is Promise.ACTIVE else Against.CURIOUS,
            )
        except BadParameters as error:
            raise BadPlan(str(error)) from error
        if clients < 3:
            raise BadPlan(f"{clients} clients: a sum over fewer than 3 hides nobody")
        floor = max(3, clients // 2 + 1, clients - 2 * math.floor(assumption.dropout * clients))
        noise, first_clip = None, _rational("clip", clip)
        if adaptive is not None:
            if noise_multiplier is None:
                raise BadPlan("a clip adapts by a noisy count: without noise_multiplier there is none")
            first_clip = adaptive.nearest(first_clip)
        if noise_multiplier is not None:
            noise = NoisePlan(
                _rational("noise_multiplier", noise_multiplier),
                math.floor(assumption.corrupt * clients),
                modulus_bits,
                excess,
                adaptive,
            )
        plan = cls(
            task=task,
            protocol=protocol,
            promise=promise,
            min_cohort=floor if min_cohort is None else min_cohort,
            max_clients=clients,
            assumption=assumption,
            graph=graph,
            clip=first_clip,
            bits=bits,
            max_weight=max_weight,
            noise=noise,
            patience_seconds=patience_seconds,
            metrics=metrics,
        )
        if protocol == PAIRWISE:
            plan.parameters(clients)
        elif protocol not in (ONE_SHOT, ENCRYPTED):
            raise BadPlan(f"protocol is {protocol!r}, it must be {PAIRWISE!r}, {ONE_SHOT!r} or {ENCRYPTED!r}")
        left = clients - assumption.lost(clients)
        if left < plan.min_cohort:
            bearable = Fraction(clients - plan.min_cohort, clients)
            raise BadPlan(
                f"the assumed drop-out leaves {left} of {clients} clients, and a sum over fewer than "
                f"{plan.min_cohort} is never opened; the largest feasible drop-out is {bearable} "
                f"({float(bearable):.4f})"
            )
        return plan


@functools.lru_cache(maxsize=256)
def _parameters(clients: int, assumption: Assumption, graph: GraphMode) -> Parameters:
    # The same search by every client of a process, and at every step of a round.
    return choose_parameters(clients, assumption, graph)


def _require_key(name: str, key: object) -> None:
    if not isinstance(key, bytes) or len(key) != 32:
        raise BadPlan(f"{name} must be a public key of 32 bytes (identity.public), not a {type(key).__name__}")


def require_pinned(name: str, keys: object) -> None:
    """Raises: BadPlan for what is no frozen set of public keys."""
    if not isinstance(keys, frozenset):
        raise BadPlan(f"{name} must be a frozenset of public keys, not a {type(keys).__name__}: frozenset({name})")
    for key in keys:
        _require_key(f"each of {name}", key)


def require_clients(clients: object) -> None:
    """Raises: BadPlan for what is no mapping of numbers to public keys."""
    if not isinstance(clients, Mapping):
        raise BadPlan(f"clients must map each client's number to its public key, not be a {type(clients).__name__}")
    for who, key in clients.items():
        _require_key(f"the identity of client {who}", key)


def require_floor(min_cohort: object) -> None:
    """Raises: BadPlan for a floor under which a sum hides nobody."""
    if type(min_cohort) is not int or min_cohort < 3:
        raise BadPlan(f"min_cohort is {min_cohort!r}: a sum over fewer than 3 hides nobody")


def _require_short(name: str, value: Fraction) -> None:
    """Raises: BadPlan for a number too long to be sent; nobody means so many digits."""
    if len(f"{value.numerator}/{value.denominator}") > wire.MOST_DIGITS:
        raise BadPlan(f"{name} is a fraction of over {wire.MOST_DIGITS} characters: round it")


def _rational(name: str, value: float | Fraction) -> Fraction:
    """A float as the short decimal a person meant; 0.1 is 1/10."""
    try:
        return value if isinstance(value, Fraction) else Fraction(repr(float(value)))
    except ValueError as error:
        raise BadPlan(f"{name} is {value}, it must be a finite number") from error


@dataclass(frozen=True, slots=True)
class Agreement:
    """One round of a plan: which round, of which model, for vectors of which shape.

    `length` counts the model's parameters, `layout` and `model` are digests (zero when there is
    none to agree on), `ledger_head` binds the budget's history (NO_LEDGER where none is kept), `nonce` makes attempts
    differ, `key` is the digest of the certificate of the key, or the committee, that opens the sum.
    """

    plan: RoundPlan
    round: U64
    nonce: Bytes16
    length: U64
    layout: Bytes32
    model: Bytes32
    ledger_head: LedgerHead
    key: Bytes32 = NOTHING

    def __post_init__(self) -> None:
        if not 1 <= self.length <= MAX_LENGTH:
            raise BadPlan(f"a vector of {self.length} coordinates; 1..{MAX_LENGTH} are possible")
        if not isinstance(self.ledger_head, LedgerHead):
            raise BadPlan(f"ledger_head is {self.ledger_head!r}, it must be a LedgerHead")


def context_of(agreement: Agreement) -> Context:
    """SHA-256 of the whole agreement: 32 public bytes, the salt of every derivation of the round."""
    return Context(hashlib.sha256(LABEL_CONTEXT + wire.encode(agreement)).digest())


@dataclass(frozen=True, slots=True)
class Policy:
    """What this client insists on. The server only proposes; a weaker plan is refused before any key.

    `identities` pins Ed25519 public keys, the client's own included; whoever is not among them is known by a
    credential of `authority`, where there is one, and else not at all.
    Bounds: at most `max_length` coordinates, `max_weight`; a clip within `min_clip..max_clip`, whichever round it is
    proposed for; at least `min_cohort` clients in a
    sum, `assumption.corrupt` of them assumed corrupt; no round with less noise than `min_noise_multiplier`;
    at most `max_rounds` vectors for one task, and only for `tasks` where these are named; training only from
    models whose L2 norm is at most `max_model_norm` (`tensors.check_model`). Without noise the sums of two rounds
    differ by what the cohorts differ in: `max_rounds` bounds how often that can be played. `min_degree` and
    `min_threshold` are floors below what the client derives for itself, `suites` the primitives it trusts. Of
    encrypted sums: `modes` are the ways to open them that this client agreed to, `holders` pins who may hold the key,
    of whom at least `min_opening_threshold` must open together. Of one-shot sums: `holders` pins who may be in the
    committee, of which fewer than `min_opening_threshold` learn nothing, and never fewer than a fifth of those pinned:
    where more may be corrupt say one more than they are, since a server may convene just those that it has corrupted.
    A client makes removable noise for at most `max_removable` numbers of drop-outs: each takes it a table.
    """

    identities: Mapping[PartyId, bytes]
    min_cohort: int = 3
    promise: Promise = Promise.ACTIVE
    graphs: frozenset[GraphMode] = frozenset({GraphMode.COMPLETE})
    assumption: Assumption = field(default_factory=lambda: Assumption(Fraction(0), Fraction(0)))
    min_clip: Fraction = Fraction(0)
    max_clip: Fraction = USUAL_CLIP
    max_weight: int = 1 << 32
    max_length: int = USUAL_LENGTH
    min_noise_multiplier: Fraction = Fraction(0)
    protocols: frozenset[str] = frozenset({PAIRWISE})
    tasks: frozenset[str] | None = None
    max_rounds: int | None = None
    min_degree: int = 0
    min_threshold: int = 0
    suites: frozenset[Suite] = frozenset({Suite.CLASSIC})
    max_model_norm: float = math.inf
    authority: bytes | None = None
    holders: frozenset[bytes] = frozenset()
    min_opening_threshold: int = 2
    max_removable: int = 256
    modes: frozenset[Mode] = USUAL_MODES
    # Who has an identity: where many clients share one policy, each looks itself up.
    numbers: Mapping[bytes, PartyId] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.min_cohort < 3:
            raise BadPlan(f"min_cohort is {self.min_cohort}: a sum over fewer than 3 hides nobody")
        self._check_types()
        numbers = {key: who for who, key in self.identities.items()}
        if len(numbers) != len(self.identities):
            raise BadPlan("two participants share one identity key")
        object.__setattr__(self, "numbers", numbers)
        if self.max_rounds is not None and self.tasks is None:
            raise BadPlan("max_rounds counts by task, and a server can rename its task: name the tasks too")
        for who in self.identities:
            if not 0 <= who <= MAX_CLIENT_ID:
                raise BadPlan(f"client ids lie in 0..{MAX_CLIENT_ID}, got {who}")

    def _check_types(self) -> None:
        """A policy that means something else than it says must not come to life: "run-10" holds "run-1"."""
        for who, key in self.identities.items():
            _require_key(f"the identity of client {who}", key)
        if self.authority is not None:
            _require_key("authority", self.authority)
        for name, members, kind in (
            ("graphs", self.graphs, GraphMode),
            ("suites", self.suites, Suite),
            ("protocols", self.protocols, str),
            ("tasks", self.tasks, str),
            ("modes", self.modes, Mode),
        ):
            if members is not None and (
                not isinstance(members, frozenset) or not all(isinstance(member, kind) for member in members)
            ):
                raise BadPlan(f"{name} must be a frozenset of {kind.__name__}, got {members!r}")
        require_pinned("holders", self.holders)
        if not isinstance(self.promise, Promise) or not isinstance(self.assumption, Assumption):
            raise BadPlan("promise must be a Promise and assumption an Assumption")
        least = self.min_noise_multiplier
        if isinstance(least, bool) or not isinstance(least, int | Fraction) or least < 0:
            raise BadPlan(f"min_noise_multiplier is {least!r}, it must be a Fraction of at least 0")
        if type(self.min_opening_threshold) is not int or self.min_opening_threshold < 1:
            raise BadPlan(
                f"min_opening_threshold is {self.min_opening_threshold!r}, it must be an integer of at least 1"
            )
        if self.max_rounds is not None and (type(self.max_rounds) is not int or self.max_rounds < 1):
            raise BadPlan(f"max_rounds is {self.max_rounds!r}, it must be an integer of at least 1")

    def identity_of(self, who: PartyId, credential: Credential | None) -> bytes:
        """The key that client `who` must sign with.

        Raises: KeyMismatch(who) for a stranger, or a key other than the pinned one; BadSignature(who) for a
            credential that the authority did not issue for this number.
        """
        pinned = self.identities.get(who)
        if pinned is not None:
            if credential is not None and credential.identity != pinned:
                raise KeyMismatch(who, "shows another identity than the one my policy pins")
            return pinned
        if self.authority is None or credential is None:
            raise KeyMismatch(who, "is in the roster but not among the identities my policy knows")
        with blame(who):
            credential.check(self.authority, who)
        return credential.identity

    def check(self, agreement: Agreement) -> None:
        """Refuse, in the server's name, what is weaker than this policy.

        Raises: PolicyViolation saying what was proposed and what is required.
        """
        plan = agreement.plan
        noise = Fraction(0) if plan.noise is None else plan.noise.noise_multiplier
        strength = list(Promise).index
        for fine, what in (
            (
                plan.protocol in self.protocols,
                f"protocol {plan.protocol!r} is not allowed here: Policy.protocols has others",
            ),
            (plan.suite in self.suites, f"suite {plan.suite.value} is not allowed here"),
            (self.tasks is None or plan.task in self.tasks, f"task {plan.task!r} is not among mine"),
            (strength(plan.promise) >= strength(self.promise), f"promise {plan.promise.value} is too weak"),
            (plan.graph in self.graphs, f"a {plan.graph.value} graph is not allowed here"),
            (plan.min_cohort >= self.min_cohort, f"min_cohort {plan.min_cohort} is below {self.min_cohort}"),
            (plan.assumption.corrupt >= self.assumption.corrupt, "assumes fewer corrupt clients than the policy"),
            (
                plan.assumption.sigma >= self.assumption.sigma and plan.assumption.eta >= self.assumption.eta,
                "allows more failure than the policy",
            ),
            (
                plan.noise is None or plan.noise.colluders >= self.assumption.corrupted(plan.max_clients),
                "discounts fewer colluders than the policy assumes corrupt",
            ),
            (plan.links <= self.max_removable, f"{plan.links} seeds of removable noise are over {self.max_removable}"),
            (plan.clip >= self.min_clip, f"clip {plan.clip} is below {self.min_clip}"),
            (plan.clip <= self.max_clip, f"clip {plan.clip} is above {self.max_clip}"),
            (plan.max_weight <= self.max_weight, f"max_weight {plan.max_weight} is above {self.max_weight}"),
            (agreement.length <= self.max_length, f"{agreement.length} coordinates, at most {self.max_length}"),
            (noise >= self.min_noise_multiplier, f"noise {noise} is below {self.min_noise_multiplier}"),
        ):
            if not fine:
                raise PolicyViolation(SERVER, f"proposed a round this policy refuses: {what}")

    def check_parameters(self, plan: RoundPlan, clients: int) -> None:
        """Refuse, in the server's name, a roster too small for these floors, or for any parameters at all.

        Raises: PolicyViolation.
        """
        try:
            found = plan.parameters(clients)
        except BadPlan as error:
            raise PolicyViolation(SERVER, f"offers a roster without parameters: {error}") from error
        for name, have, need in (
            ("degree", found.degree, self.min_degree),
            ("threshold", found.threshold, self.min_threshold),
        ):
            if have < need:
                raise PolicyViolation(SERVER, f"offers {clients} clients, whose {name} {have} is below my {need}")
