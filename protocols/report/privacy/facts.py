"""What a report derives from a statement before anything is written: sums, groups, histograms. Both files show these.

Nothing here is decided: epsilons are those of the statement, and what is added up is an upper bound that says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from dp.events import Event, is_insecure, leaves, without_sampling
from dp.ledger.charge import Ends, Randomness, Setting
from dp.ledger.records import Standing
from dp.ledger.statement import BudgetStatement, Opinion, Release, Statement
from dp.ledger.verdict import Problem
from protocols.report.privacy.noise import Noise, noise_of, root
from protocols.report.privacy.totals import Total, totals_of
from protocols.report.privacy.words import UNKNOWN, count, float_of

MOST_BINS = 24
# Values nearer than this share of their size are one value to a reader, drawn as a bin of this share of it.
_SAME, _NARROW = 1e-5, 0.01
# Below, no double has room for a bin.
_LEAST_SIZE = 1e-300
# Nanoseconds since 1970; what counts more is no date of ours.
_LAST_CLOCK = 2**63


@dataclass(frozen=True, slots=True)
class Span:
    """The least and the greatest of some counts."""

    least: int
    most: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Span | None:
        """None of no values."""
        return cls(min(values), max(values)) if values else None


def either(span: Span | None) -> str:
    """ "80", or "80 to 90"."""
    if span is None:
        return UNKNOWN
    return count(span.least) if span.least == span.most else f"{count(span.least)} to {count(span.most)}"


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Releases that were made in one way: the same law of noise, bounds and setting.

    `mean_noise` is the charged noise, which epsilon rests on, over the fewest survivors that were allowed: per
    coordinate of the mean, in the units of an update. What was released held at least that. `noise_to_clip` is its
    length over all coordinates divided by the clip, the most one update can be long.
    """

    name: str
    event: Event
    setting: Setting | None
    releases: int
    rounds: Span
    cohorts: Span
    survivors: Span | None
    noise: Noise | None

    @property
    def mean_noise(self) -> float | None:
        """None where the setting is not known."""
        if self.noise is None or self.setting is None or self.setting.min_survivors == 0:
            return None
        return self.noise.deviation * float_of(self.setting.lattice_step) / self.setting.min_survivors

    @property
    def noise_to_clip(self) -> float | None:
        """None where `mean_noise` is."""
        mean = self.mean_noise
        if mean is None or self.noise is None or self.setting is None:
            return None
        return mean * root(Fraction(self.noise.coordinates)) * float_of(1 / self.setting.clip)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many clients lie between each edge and the next."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Clients:
    """How the clients are spread: rounds invited to, and for each budget epsilon; those with a finite one."""

    total: int
    most_invited: int
    invited: Histogram
    spent: tuple[tuple[int, Histogram], ...]
    worst: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Exceptions:
    """What did not go the ordinary way."""

    aborted: tuple[Release, ...]
    settled: tuple[Release, ...]
    pending: tuple[Release, ...]
    insecure: tuple[Release, ...]
    rehearsals: tuple[BudgetStatement, ...]
    unverifiable: tuple[Problem, ...]
    disagreeing: tuple[Opinion, ...]

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in type(self).__slots__)


@dataclass(frozen=True, slots=True)
class Facts:
    """A statement and everything that is derived from it."""

    statement: Statement
    mechanisms: tuple[Mechanism, ...]
    totals: tuple[Total, ...]
    clients: Clients
    exceptions: Exceptions

    @property
    def unread(self) -> int | None:
        """The first entry of which nothing is known, None where the ledger was read to its end."""
        return self.statement.verdict.unread

    def of_all(self, sentence: str) -> str:
        """A sentence about every entry, such as that there is none of a kind; not said of entries nobody could read."""
        if self.unread is None:
            return sentence
        return f"Could not be read: of entry {self.unread} and what follows nothing is known."

    def only_before(self) -> str:
        """The remark beside what is listed that the list ends where reading did; "" where it is all there is."""
        if self.unread is None:
            return ""
        return f"Only of the entries before {self.unread}; those from there on could not be read."

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """When the first and the last release were reserved; None where that is unknown or no clock shows a date."""
        if self.unread is not None:
            return None
        clocks = [release.clock for release in self.statement.releases if 0 <= release.clock < _LAST_CLOCK]
        if not clocks:
            return None
        return _date(min(clocks)), _date(max(clocks))

    @property
    def most_draws(self) -> int:
        """The most draws from tables in one law of a release."""
        laws = (law for each in self.mechanisms for law, _ in leaves(without_sampling(each.event)))
        return max((int(getattr(law, "draws", 0)) for law in laws), default=0)

    @classmethod
    def of(cls, statement: Statement) -> Facts:
        """All of them."""
        return cls(
            statement,
            tuple(_mechanisms(statement.releases)),
            totals_of(statement),
            _clients(statement),
            _exceptions(statement),
        )


def _date(clock: int) -> datetime:
    return datetime.fromtimestamp(clock // 10**9, UTC)


def spread(values: Iterable[float]) -> Histogram:
    """At most MOST_BINS equal bins from the least finite value to the greatest, none around none.

    No edge lies beyond the greatest value. Values that 5 digits do not tell apart share one bin, which reaches a
    hundredth of their size below them.
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return Histogram((), ())
    low, high = finite[0], finite[-1]
    size = max(abs(high), abs(low), _LEAST_SIZE)
    if high - low <= size * _SAME:
        return Histogram((low - size * _NARROW, high), (len(finite),))
    width = high / MOST_BINS - low / MOST_BINS
    counts = Counter(min(int((value - low) / width), MOST_BINS - 1) for value in finite)
    edges = (*(low + width * index for index in range(MOST_BINS)), high)
    return Histogram(edges, tuple(counts[index] for index in range(MOST_BINS)))


def spread_of_counts(values: Iterable[int]) -> Histogram:
    """At most MOST_BINS bins, each around the same number of whole numbers, edges between them; none around none."""
    counted = sorted(values)
    if not counted:
        return Histogram((), ())
    low, high = counted[0], counted[-1]
    width = -(-(high - low + 1) // MOST_BINS)
    bins = -(-(high - low + 1) // width)
    counts = Counter((value - low) // width for value in counted)
    edges = tuple(low + width * index - 0.5 for index in range(bins + 1))
    return Histogram(edges, tuple(counts[index] for index in range(bins)))


def finite_ends(ends: Ends) -> tuple[float, float]:
    """The recorded ends as doubles; an unknown lower one is 0."""
    return float_of(ends.lower or Fraction(0)), float_of(ends.upper)


def _mechanisms(releases: Sequence[Release]) -> Iterable[Mechanism]:
    groups: dict[tuple[str, Event, Setting | None], list[Release]] = {}
    for release in releases:
        groups.setdefault((release.mechanism, release.event, release.setting), []).append(release)
    for (name, event, setting), group in groups.items():
        rounds = [release.round for release in group]
        cohorts = [release.cohort for release in group]
        survivors = Span.of([release.survivors for release in group if release.survivors is not None])
        yield Mechanism(
            name,
            event,
            setting,
            len(group),
            Span(min(rounds), max(rounds)),
            Span(min(cohorts), max(cohorts)),
            survivors,
            noise_of(event),
        )


def _clients(statement: Statement) -> Clients:
    upper: dict[int, list[float]] = {}
    for client in statement.clients:
        for budget, interval in client.spent:
            upper.setdefault(budget, []).append(interval.upper)
    invited = [client.invited for client in statement.clients]
    return Clients(
        len(invited),
        max(invited, default=0),
        spread_of_counts(invited),
        tuple((budget, spread(values)) for budget, values in sorted(upper.items())),
        tuple((budget, max(values)) for budget, values in sorted(upper.items())),
    )


def _exceptions(statement: Statement) -> Exceptions:
    def standing(where: Standing) -> tuple[Release, ...]:
        return tuple(release for release in statement.releases if release.standing is where)

    known_seed = {event: is_insecure(event) for event in {release.event for release in statement.releases}}
    return Exceptions(
        standing(Standing.ABORTED),
        standing(Standing.SETTLED),
        standing(Standing.RESERVED),
        tuple(release for release in statement.releases if known_seed[release.event]),
        tuple(budget for budget in statement.budgets if budget.terms.randomness is Randomness.INSECURE),
        tuple(problem for problem in statement.verdict.problems if problem.error == "Unverifiable"),
        tuple(opinion for opinion in statement.opinions if opinion.interval is not None and not opinion.agrees),
    )
