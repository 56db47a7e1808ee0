"""What a client insists on, whatever the server proposes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from protocols.certificates import Credential
from protocols.errors import BadPlan, KeyMismatch, PolicyViolation, blame
from protocols.party import MAX_CLIENT_ID, SERVER, PartyId
from protocols.plan.agreement import Agreement
from protocols.plan.checks import require_key, require_pinned
from protocols.plan.kinds import PAIRWISE, USUAL_CLIP, USUAL_LENGTH, USUAL_MODES, Promise, Suite
from protocols.plan.proposal import RoundPlan
from secagg.ckks.plan import Mode
from secagg.graph import Assumption, GraphMode


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
            require_key(f"the identity of client {who}", key)
        if self.authority is not None:
            require_key("authority", self.authority)
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
