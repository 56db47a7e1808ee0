"""The noise that a budget needs, and how long it takes to find, beside Opacus.

error     how far dp-accounting's PLD says that the noise found exceeds the budget, relative
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count

from benchmarks.peers import dp_accounting, opacus
from benchmarks.rows import Effort, Row, Taken, alternate, on_cores, timed
from dp import Budget, View, calibrate_gaussian

MOST_REPEATS = 3
LIMIT_SECONDS = 2.0
# Nobody's noise may be above what Opacus finds by the same means or better ones.
LIMIT_NOISE = 1.0
# The grid that judges: at 15,000 steps it adds T dx^2 / 8 = 2e-5 to epsilon by itself.
INTERVAL = 1e-4
ERROR_LIMIT = 1e-3
ACCOUNTANTS = ("rdp", "prv")
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Wish:
    """T steps at rate q that together cost (epsilon, delta)."""

    rate: Fraction
    steps: int
    epsilon: Fraction
    delta: Fraction

    def __str__(self) -> str:
        return f"epsilon {self.epsilon}, delta {float(self.delta):g}, q = {self.rate}, T = {self.steps:,}"

    def anew(self) -> Wish:
        """Nearly the same at a rate that nobody has asked about before; everyone's rate stays 1."""
        return self if self.rate == 1 else replace(self, rate=self.rate * (1 - Fraction(next(_numbers), 10**9)))


WISHES = (
    Wish(Fraction("1/100"), 1_000, Fraction(3), Fraction("1e-5")),
    Wish(Fraction("1/1000"), 2_000, Fraction(1), Fraction("1e-7")),
    Wish(Fraction("1/250"), 15_000, Fraction(3), Fraction("1e-5")),
    Wish(Fraction(1), 100, Fraction(4), Fraction("1e-6")),
    Wish(Fraction("1/2"), 50, Fraction(5), Fraction("1e-5")),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The noise multipliers that both sides found for a wish, and the seconds it took them."""

    wish: Wish
    ours: Taken
    peer: Taken
    ours_noise: float
    peer_noise: float


def rows(effort: Effort) -> Iterator[Row]:
    wishes, repeats = WISHES[: effort.most_runs], min(effort.repeats, MOST_REPEATS)
    with on_cores(1):
        for accountant in ACCOUNTANTS:
            found = [calibrated(wish, accountant, repeats) for wish in wishes]
            yield from (seconds(one, accountant) for one in found)
            yield noise(max(found, key=lambda one: one.ours_noise / one.peer_noise), accountant)


def calibrated(wish: Wish, accountant: str, repeats: int) -> Found:
    def peer(asked: Wish) -> float:
        plain = float(asked.rate), asked.steps, float(asked.epsilon), float(asked.delta)
        return opacus.noise_multiplier(*plain, accountant)

    taken, taken_peer = alternate(timed(lambda: noise_for(wish.anew())), timed(lambda: peer(wish.anew())), repeats)
    return Found(wish, taken, taken_peer, noise_for(wish), peer(wish))


def noise_for(wish: Wish) -> float:
    """Ours."""
    budget = Budget(wish.epsilon, wish.delta, "add-or-remove-one")
    return float(calibrate_gaussian(budget, wish.rate, wish.steps, View.RELEASED).noise)


def excess(wish: Wish, noise_multiplier: float) -> float:
    """How far epsilon at that noise is above the wished one, relative, by a third accountant."""
    spent = dp_accounting.pld_epsilon(float(wish.rate), noise_multiplier, wish.steps, float(wish.delta), INTERVAL)
    return max(0.0, spent / float(wish.epsilon) - 1)


def seconds(found: Found, accountant: str) -> Row:
    return Row(
        suite="calibration",
        case=str(found.wish),
        unit="s",
        ours=found.ours,
        peer_name=f"{opacus.TITLE}, {accountant}",
        peer=found.peer,
        limit=LIMIT_SECONDS,
        judged="ours",
        ours_error=excess(found.wish, found.ours_noise),
        peer_error=excess(found.wish, found.peer_noise),
        error_limit=ERROR_LIMIT,
        note=f"CPU seconds; noise multiplier {found.ours_noise:.4f} / {found.peer_noise:.4f}; error: of epsilon",
    )


def noise(worst: Found, accountant: str) -> Row:
    return Row(
        suite="calibration",
        case=f"noise, largest ratio of all wishes: {worst.wish}",
        unit="noise multiplier",
        ours=Taken.once(worst.ours_noise),
        peer_name=f"{opacus.TITLE}, {accountant}",
        peer=Taken.once(worst.peer_noise),
        limit=LIMIT_NOISE,
        judged="ratio",
        ours_error=excess(worst.wish, worst.ours_noise),
        peer_error=excess(worst.wish, worst.peer_noise),
        error_limit=ERROR_LIMIT,
        note="error: of epsilon",
    )
