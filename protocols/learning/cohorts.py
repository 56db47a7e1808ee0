"""Who is asked in a round, how it is drawn, and what may be claimed for it.

    Everyone              all clients                                no amplification
    UniformCohort(m)      m of N without replacement                 dp.FixedSize(m, N)
    PoissonCohort(q)      each with probability q, independently     dp.Poisson(q)
    FixedGroups(T)        one of the groups of at least T            no amplification; no sum over fewer than T clients
                          into which all are divided once            follows from the sums of any rounds

The aggregator picks the cohort and knows it: to it nothing is amplified, and a round's `epsilon` is charged in full. A
claim is for readers of what is released alone, and only where the draws came from the operating system. A public
seed (`Federation(seed=...)`) makes every draw repeatable and every claim void.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

from dp.entropy import Entropy
from dp.errors import BadParameters
from dp.events import Exact, FixedSize, Poisson, Sampling, exact
from protocols.errors import Misused

STREAM = b"cohort"
# Every rate within is compared with one word, and no bound is left so often that a draw would wait.
LARGEST_DENOMINATOR = 1 << 53


class CohortsTooClose(Misused):
    """Two cohorts differ in a few clients, whose part their exact sums would tell: nothing was sent.

    Ask `Everyone`, or `FixedGroups`, or add noise.
    """


class Draws:
    """Exact uniform draws from the keystream of an entropy source; no float takes part."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def below(self, bound: int) -> int:
        """Uniform on 0 .. bound - 1, by rejection.

        Raises: Misused for a bound outside 1..2^53.
        """
        if not 1 <= bound <= LARGEST_DENOMINATOR:
            raise Misused(f"a draw needs a bound in 1..2^53, got {bound}")
        limit = (1 << 64) // bound * bound
        while True:
            word = int(self._entropy.borrow(1, STREAM)[0])
            if word < limit:
                return word % bound

    def happens(self, rate: Fraction) -> bool:
        """True with exactly this probability."""
        return self.below(rate.denominator) < rate.numerator

    def sample(self, items: Sequence[int], size: int) -> tuple[int, ...]:
        """So many of the items, sorted; every subset is equally likely.

        Source: the first `size` steps of the shuffle of Fisher and Yates.
        """
        pool = list(items)
        for place in range(size):
            other = place + self.below(len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return tuple(sorted(pool[:size]))


class CohortRule(Protocol):
    """Who is asked in a round, and as what a reader of the models may count that."""

    def choose(self, clients: Sequence[int], draws: Draws) -> tuple[int, ...]: ...
    def sampling(self, population: int) -> Sampling | None: ...


@dataclass(frozen=True, slots=True)
class Everyone:
    """All clients, every round."""

    def choose(self, clients: Sequence[int], draws: Draws) -> tuple[int, ...]:
        """All of them."""
        return tuple(sorted(clients))

    def sampling(self, population: int) -> None:
        """Nothing is sampled."""
        return


@dataclass(frozen=True, slots=True)
class UniformCohort:
    """`size` clients, uniformly without replacement.

    Raises: Misused when there are fewer clients than that.
    """

    size: int

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise Misused(f"a cohort of {self.size} clients cannot train: ask at least one")

    def choose(self, clients: Sequence[int], draws: Draws) -> tuple[int, ...]:
        """A sorted sample."""
        self._check(len(clients))
        return draws.sample(sorted(clients), self.size)

    def sampling(self, population: int) -> FixedSize:
        """For the replace-one relation alone: dp refuses the others."""
        self._check(population)
        return FixedSize(self.size, population)

    def _check(self, population: int) -> None:
        if self.size > population:
            raise Misused(f"a cohort of {self.size} cannot be drawn from {population} clients")


@dataclass(frozen=True, slots=True)
class PoissonCohort:
    """Each client with probability `rate`, independently; a float counts as its shortest decimal.

    Guarantee: exact Bernoulli draws. The amplified epsilon is for who learns neither a cohort nor its size, so for
        sums over a fixed number (q N) whose noise does not grow with the cohort (`Excess.REMOVED`). A mean over the
        survivors tells its size to every reader, exactly: its coordinates are multiples of a known step / n. To them,
        and to readers of models that such means have moved, nothing is amplified. Where
        rounds are skipped because fewer than `least` came, each of them adds (1 + e^epsilon) `chance_of_fewer` to
        delta: by so much a run that skips differs from one that never does, whatever the data.
    Raises: Misused for a rate that is no probability above 0 with a denominator of at most 2^53.
    """

    rate: Exact
    exact_rate: Fraction = field(init=False)

    def __post_init__(self) -> None:
        try:
            rate = exact("rate", self.rate)
        except BadParameters as wrong:
            raise Misused(str(wrong)) from wrong
        if not 0 < rate <= 1 or rate.denominator > LARGEST_DENOMINATOR:
            raise Misused(f"rate is {self.rate}, expected a probability above 0 and at most 1 of up to 15 digits")
        object.__setattr__(self, "exact_rate", rate)

    def choose(self, clients: Sequence[int], draws: Draws) -> tuple[int, ...]:
        """Whoever was drawn, sorted: possibly nobody."""
        return tuple(who for who in sorted(clients) if draws.happens(self.exact_rate))

    def sampling(self, population: int) -> Poisson:
        """What amplifies."""
        return Poisson(self.exact_rate)

    def chance_of_fewer(self, population: int, least: int) -> float:
        """The probability that a cohort has fewer than `least` clients, to within 1 part in 10^9 from above."""
        from scipy.stats import binom

        return float(binom.cdf(least - 1, population, float(self.exact_rate))) * (1 + 1e-9)


@dataclass(frozen=True, slots=True)
class FixedGroups:
    """The clients in order of their numbers, cut into groups of at least `size`; a round asks one group, at random.

    Guarantee: whatever sums of whole groups are added or subtracted, none over fewer than `size` clients follows. The
        groups are a function of who the clients are: keep them the same for a run. Drop-outs are not covered.
    Raises: Misused when there are fewer clients than that.
    Source: So et al., Securing Secure Aggregation, AAAI 2023, section 5 (batch partitioning).
    """

    size: int

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 2:
            raise Misused(f"groups of {self.size} hide nobody: take at least 2")

    def groups(self, clients: Iterable[int]) -> tuple[tuple[int, ...], ...]:
        """All of them; those left over at the end join the last one."""
        ids = sorted(clients)
        count = len(ids) // self.size
        if count == 0:
            raise Misused(f"a group of {self.size} cannot be made of {len(ids)} clients")
        borders = [place * self.size for place in range(count)] + [len(ids)]
        return tuple(tuple(ids[start:end]) for start, end in pairwise(borders))

    def choose(self, clients: Sequence[int], draws: Draws) -> tuple[int, ...]:
        """One group, each equally likely."""
        found = self.groups(clients)
        return found[draws.below(len(found))]

    def sampling(self, population: int) -> None:
        """Members of a group are always asked together: that is no sampling dp has a proof for."""
        return


def check_apart(cohort: Iterable[int], earlier: Iterable[frozenset[int]], least: int) -> None:
    """Against: subtracting the exact sums of two rounds, which leaves the part of those who were in one of them.

    Raises: CohortsTooClose when this cohort differs from an earlier one in 1 .. least - 1 clients.
    """
    now = frozenset(cohort)
    close = [size for before in earlier if 0 < (size := len(now ^ before)) < least]
    if close:
        raise CohortsTooClose(
            f"this cohort and an earlier one differ in {min(close)} clients, and without noise fewer than {least} must "
            "never be told apart; nothing was sent. Ask everyone or fixed groups, or give the plan noise"
        )
