"""What a private training asks for, and the plan that follows: the least noise, on the smallest ring.

    PrivateSettings --calibrate on the event its rounds release--> PrivatePlan(plan, coding) --> note in the ledger

The noise is calibrated for a server that knows every cohort and the noise of the colluders, in the smallest sum that
is ever opened.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction

from dp.accountant import Budget, Interval, Relation, Unit, View, account
from dp.calibrate import Schedule, calibrate
from dp.distributed import MAX_MODULUS_BITS, MIN_MODULUS_BITS, NoiseShare
from dp.errors import Corrupt, Infeasible, NoiseTooCoarse
from dp.events import Event, GaussianEvent
from dp.views import seen_cost
from protocols.coding import Layered, Noisy, noise_coding
from protocols.errors import Misused
from protocols.plan import PAIRWISE, USUAL_CLIP, USUAL_LENGTH, Excess, NoisePlan, RoundPlan

UNIT = Unit(Relation.ZERO_OUT)
# The ring is the smallest whose lattice makes the noise at most this much larger than rounding nothing would.
MOST_INFLATION = Fraction(101, 100)
OPENING = "private training "


@dataclass(frozen=True, slots=True)
class PrivateSettings:
    """What was asked for.

    At most `clients` are invited to each of `rounds` rounds, and no client to more than `participations` of them;
    a fraction `dropout` vanishes, a fraction `corrupt` tells the server its noise; updates have `dimension`
    coordinates and are clipped to the L2 norm `clip`; one client's whole contribution stays within the budget. Rounds
    are played by `protocol`.
    Raises: Misused for a count out of range, BadPlan for rounds that cannot be, dp.errors.BadParameters for a budget
        that is none.
    """

    clients: int
    rounds: int
    participations: int
    epsilon: Fraction
    delta: Fraction
    clip: Fraction
    dimension: int
    dropout: Fraction
    corrupt: Fraction
    excess: Excess
    task: str
    protocol: str = PAIRWISE

    def __post_init__(self) -> None:
        for name, most in (("rounds", 1 << 48), ("participations", self.rounds), ("dimension", USUAL_LENGTH)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise Misused(f"{name} is {value!r}, it must be an integer in 1..{most}")
        if self.clip > USUAL_CLIP:
            raise Misused(
                f"clip is {float(self.clip):g}, above {USUAL_CLIP}, which clients refuse: scale the updates down"
            )
        self.plan(None)
        _ = self.budget

    @property
    def budget(self) -> Budget:
        """The limit for one client."""
        return Budget(self.epsilon, self.delta, Relation.ZERO_OUT)

    def plan(self, noise: NoisePlan | None) -> RoundPlan:
        """The recommended plan with this noise.  Raises: BadPlan."""
        bare = RoundPlan.recommend(
            self.clients,
            dropout=self.dropout,
            corrupt=self.corrupt,
            clip=self.clip,
            task=self.task,
            protocol=self.protocol,
        )
        return replace(bare, noise=noise)

    def to_dict(self) -> dict[str, int | str]:
        """Every setting by its name: counts as they are, all else as text."""
        return {name: value if isinstance(value, int) else _text(value) for name, value in asdict(self).items()}


def _text(value: Fraction | Excess | str) -> str:
    return value.value if isinstance(value, Excess) else str(value)


@dataclass(frozen=True, slots=True)
class PrivatePlan:
    """What follows from the settings: the plan with its noise, and how the endpoints will make it."""

    settings: PrivateSettings
    plan: RoundPlan
    coding: Noisy | Layered

    @classmethod
    def calibrated(cls, settings: PrivateSettings) -> PrivatePlan:
        """The least noise that keeps a client's rounds within the budget, on the smallest ring that carries it well.

        Guarantee: `participations` releases of `event` cost at most the budget, as dp.accountant counts them.
        Raises: BadPlan, Infeasible, NoiseTooCoarse or BadParameters, naming what to change.
        """
        bare, budget, schedule = settings.plan(None), settings.budget, Schedule(settings.participations)
        # Integer noise needs a hair more than this; it decides the ring, and the ring the lattice.
        ideal = calibrate(UNIT, schedule, View.AGGREGATOR, budget, GaussianEvent.for_multiplier).noise
        bits = _smallest_ring(settings, bare, ideal)

        def law(noise_multiplier: Fraction) -> Event:
            return _coding(settings, bare, noise_multiplier, bits).worst_event("system")

        if not budget.holds(account([schedule.run(law(2 * ideal))], UNIT, View.AGGREGATOR, budget.delta)):
            raise Infeasible(
                f"delta {float(budget.delta):g} does not pay for what drawing integer noise costs: each of so many "
                "draws is within 2^-127 of its law; allow more epsilon or delta, or fewer rounds"
            )
        least = calibrate(UNIT, schedule, View.AGGREGATOR, budget, law).noise
        return cls.chosen(settings, least, bits)

    @classmethod
    def chosen(cls, settings: PrivateSettings, noise_multiplier: Fraction, modulus_bits: int) -> PrivatePlan:
        """The plan with noise that was chosen before."""
        bare = settings.plan(None)
        noise = NoisePlan(noise_multiplier, bare.corrupted, modulus_bits, settings.excess)
        return cls(settings, settings.plan(noise), _coding(settings, bare, noise_multiplier, modulus_bits))

    @property
    def share(self) -> NoiseShare:
        """What each client adds, and on which lattice."""
        return self.coding.share

    @property
    def event(self) -> Event:
        """What one round reveals at worst: the smallest sum, without the colluders' noise."""
        return self.coding.worst_event("system")

    def cost(self, rounds: int) -> Interval:
        """What the server learns of a client that was in so many rounds."""
        return seen_cost(self.event, rounds, UNIT, self.settings.delta)

    def limit(self) -> Budget:
        """What the ledger is opened for: a client in all rounds, since it charges each round to everybody.

        The budget itself where a client may be in all rounds; else the three decimals above what they cost.
        """
        if self.settings.participations == self.settings.rounds:
            return self.settings.budget
        everybody = Fraction(math.ceil(1000 * Fraction(self.cost(self.settings.rounds).upper)), 1000)
        return Budget(everybody, self.settings.delta, Relation.ZERO_OUT)

    def describe(self) -> str:
        """What was asked for, what was chosen, and what that means for the mean, in a few lines."""
        asked, share, plan = self.settings, self.share, self.plan
        most, spent = asked.participations, self.cost(asked.participations)
        std = float(share.gamma) * math.sqrt(self.coding.noise_variance(asked.clients)) / asked.clients
        return "\n".join(
            (
                f"epsilon {float(asked.epsilon):g} at delta {float(asked.delta):g} for one client's whole contribution "
                f"(zero-out), in at most {most} of {asked.rounds} rounds: {most} cost at most {spent.upper:.6f}",
                f"against a server that knows every cohort and the noise of {share.colluders} colluders",
                f"rounds of at most {asked.clients} clients; a sum over fewer than {plan.min_cohort} is never opened",
                f"noise multiplier {float(share.noise_multiplier):.6g} in the smallest sum, on integers of "
                f"{share.modulus_bits} bits",
                f"the mean over {asked.clients} clients carries noise of standard deviation {std:.4g} in each of "
                f"{asked.dimension} coordinates, of norm about {std * math.sqrt(asked.dimension):.4g}; updates are "
                f"clipped to norm {float(asked.clip):g}",
            )
        )

    def to_note(self) -> str:
        """The settings and the chosen noise as the ledger keeps them."""
        noise = {"noise_multiplier": str(self.share.noise_multiplier), "modulus_bits": self.share.modulus_bits}
        return OPENING + json.dumps(self.settings.to_dict() | noise)

    @classmethod
    def resumed(cls, settings: PrivateSettings, note: str) -> PrivatePlan:
        """The plan a ledger was started with.

        Raises: Misused when it was for other settings, naming the first that differs; dp.errors.Corrupt for another
            form.
        """
        try:
            kept = json.loads(note.removeprefix(OPENING))
            multiplier, bits = Fraction(kept.pop("noise_multiplier")), kept.pop("modulus_bits")
        except (ValueError, KeyError, AttributeError, TypeError) as wrong:
            raise Corrupt(f"the ledger's first note is no private training of this version: {note[:80]!r}") from wrong
        for name, value in settings.to_dict().items():
            if kept.get(name) != value:
                raise Misused(
                    f"this ledger was started with {name} {kept.get(name)}, not {value}: resume with that, or take "
                    "another ledger file for another training"
                )
        plan = cls.chosen(settings, multiplier, bits)
        if not settings.budget.holds(plan.cost(settings.participations)):
            raise Corrupt(
                f"the ledger's first note names a noise multiplier of {multiplier}, which does not keep a client "
                f"within epsilon {float(settings.epsilon):g}: no calibration chose it"
            )
        return plan


def _coding(settings: PrivateSettings, bare: RoundPlan, noise_multiplier: Fraction, bits: int) -> Noisy | Layered:
    noise = NoisePlan(noise_multiplier, bare.corrupted, bits, settings.excess)
    return noise_coding(bare, noise, settings.dimension)


def _smallest_ring(settings: PrivateSettings, bare: RoundPlan, noise_multiplier: Fraction) -> int:
    """The least modulus bits at which rounding raises the noise by at most a hundredth.

    It holds four times that noise as well, on a coarser lattice: as far as a search for the least noise may look.
    """
    for bits in range(MIN_MODULUS_BITS, MAX_MODULUS_BITS + 1):
        try:
            _coding(settings, bare, 4 * noise_multiplier, bits)
            share = _coding(settings, bare, noise_multiplier, bits).share
        except (Infeasible, NoiseTooCoarse):
            continue
        if share.l2_squared * share.gamma**2 <= (MOST_INFLATION * settings.clip) ** 2:
            return bits
    raise Infeasible(
        f"no ring up to {MAX_MODULUS_BITS} bits carries {settings.clients} clients, {settings.dimension} coordinates "
        f"and noise of {float(noise_multiplier):.6g} times the clip; allow more epsilon, or fewer rounds"
    )
