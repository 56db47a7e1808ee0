"""Who looks decides what was revealed: the same rounds in the eyes of each viewer, side by side.

    RELEASED        all rounds, each behind its sampling: a reader knows no cohort
    AGGREGATOR      the rounds a client was seen in, without sampling: the server knows each cohort
    COLLUDING(t)    these rounds, without the noise that t clients of each cohort made

The first figure alone is what most reports show, and the server, of all parties, is the one it does not hold for:
at rate 0.01, noise 0.8, 500 rounds and delta 1e-5 it is 2.4, and 33.1 for a client the server saw 16 times.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Self

from dp.accountant import Interval, Unit, View, account
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import (
    Composed,
    Event,
    Exact,
    GaussianEvent,
    LaplaceEvent,
    NonPrivate,
    Repeated,
    Sampled,
    SkellamEvent,
    without_sampling,
)


@dataclass(frozen=True, slots=True)
class Participations:
    """In how many rounds each client was seen; the mean counts every client named here, also one never seen.

    Raises: BadParameters for a count that is no whole number of rounds.
    """

    rounds: Mapping[Hashable, int]

    def __post_init__(self) -> None:
        for client, count in self.rounds.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise BadParameters(f"client {client!r} was seen {count!r} times; it must be an integer of at least 0")
        object.__setattr__(self, "rounds", MappingProxyType(dict(self.rounds)))

    @classmethod
    def from_cohorts(cls, cohorts: Iterable[Iterable[Hashable]]) -> Self:
        """Counts who was in which round's cohort; clients in no cohort stay unknown and lower no mean.

        Raises: BadParameters for a client that is twice in one cohort: it would contribute twice.
        """
        seen: Counter[Hashable] = Counter()
        for number, cohort in enumerate(cohorts):
            once = Counter(cohort)
            if twice := [client for client, count in once.items() if count > 1]:
                raise BadParameters(f"cohort {number} holds client {twice[0]!r} more than once")
            seen.update(once)
        return cls(seen)

    def of(self, client: Hashable) -> int:
        """How many rounds this client was seen in; 0 for one that is not named."""
        return self.rounds.get(client, 0)

    @property
    def mean(self) -> Fraction:
        """The mean over the clients; 0 when there is none."""
        return Fraction(sum(self.rounds.values()), max(1, len(self.rounds)))

    @property
    def most(self) -> int:
        """The count of the client seen most."""
        return max(self.rounds.values(), default=0)

    def counts(self) -> Counter[int]:
        """Number of rounds -> how many clients were seen in so many."""
        return Counter(self.rounds.values())


@dataclass(frozen=True, slots=True)
class Coalition:
    """The server and `colluders` of the `survivors` whose shares make up each round's noise, t < n.

    Raises: BadParameters when nobody's noise is left unknown, or for a negative number.
    """

    colluders: int
    survivors: int

    def __post_init__(self) -> None:
        for name in ("colluders", "survivors"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise BadParameters(f"{name} must be an integer of at least 0, got {value!r}")
        if self.colluders >= self.survivors:
            raise BadParameters(
                f"{self.colluders} colluders know the noise of all {self.survivors} survivors: none is left unknown"
            )

    def sees(self, event: Event) -> Event:
        """The event in which only the n - t others' noise counts: n equal shares, of which t are known.

        Noise of at most one component was added centrally, where no client knows a part of it.
        Raises: BadParameters for noise that is no n equal parts; UnsupportedEvent for an event that states a bound
            and no noise: nobody can tell what is left of it.
        """
        match event:
            case Sampled():
                return Sampled(self.sees(event.event), event.sampling)
            case Repeated():
                return Repeated(self.sees(event.event), event.times)
            case Composed():
                return Composed(tuple(self.sees(part) for part in event.events))
            case GaussianEvent() | SkellamEvent() if event.components > 1:
                return self._without_known_shares(event)
            case GaussianEvent() | SkellamEvent() | LaplaceEvent() | NonPrivate():
                return event
        raise UnsupportedEvent(f"a {event.tag} event does not say whose noise it counts: state it for this view")

    def _without_known_shares(self, event: GaussianEvent | SkellamEvent) -> Event:
        if event.components % self.survivors or event.draws % self.survivors:
            raise BadParameters(
                f"{event.components} components drawn {event.draws} times are no equal parts of {self.survivors} "
                "survivors: is this the event of another cohort?"
            )
        others = Fraction(self.survivors - self.colluders, self.survivors)
        components, draws = int(event.components * others), int(event.draws * others)
        if isinstance(event, GaussianEvent):
            return replace(event, sigma2=event.sigma2 * others, components=components, draws=draws)
        return replace(event, mu=event.mu * others, components=components, draws=draws)


@dataclass(frozen=True, slots=True)
class SeenTimes:
    """Each of `clients` clients was seen in `times` rounds; its whole contribution costs `interval`."""

    times: int
    clients: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class KnownCohorts:
    """What a viewer that knows each cohort learned of one client: of the mean one, the worst, and any other.

    `mean` is the figure of a client seen as often as the mean, rounded up to whole rounds; it bounds nobody in
    particular. `most` bounds every client. `each` is in order of `times`, which no two share.
    """

    mean: Interval
    most: Interval
    each: tuple[SeenTimes, ...]
    participations: Participations = field(repr=False)

    @classmethod
    def of(cls, event: Event, unit: Unit, view: View, delta: Exact, participations: Participations) -> Self:
        """Accounts `event` once for every number of rounds in which some client was seen."""
        counts = participations.counts()
        average, most = math.ceil(participations.mean), participations.most
        known = {times: seen_cost(event, times, unit, delta, view) for times in sorted({*counts, average, most})}
        each = tuple(SeenTimes(times, counts[times], known[times]) for times in sorted(counts))
        return cls(known[average], known[most], each, participations)

    def client(self, who: Hashable) -> Interval:
        """This client's own figure.  Raises: BadParameters for one that is not named in the participations."""
        if who not in self.participations.rounds:
            raise BadParameters(f"nothing is known of client {who!r}")
        times = self.participations.of(who)
        return next(group.interval for group in self.each if group.times == times)


@dataclass(frozen=True, slots=True)
class Views:
    """One training in the eyes of each viewer; the released figure never travels without the aggregator's.

    `colluding` is None when no coalition was asked about.
    Guarantee: each interval holds for its viewer alone; against a server only `aggregator.most`, and
        `colluding.most` where clients may help it, bound what is learned of every client.
    """

    released: Interval
    aggregator: KnownCohorts
    coalition: Coalition | None
    colluding: KnownCohorts | None

    @classmethod
    def of(
        cls,
        event: Event,
        rounds: int,
        unit: Unit,
        delta: Exact,
        participations: Participations,
        coalition: Coalition | None = None,
    ) -> Self:
        """The intervals of `rounds` releases of `event`, which is sampled where cohorts are drawn at random.

        `event` counts all noise of a round as unknown, as a reader finds it: for noise made by the clients it is
        `NoiseShare.event_released(survivors)`, and the coalition's cohort has as many survivors.
        Raises: BadParameters when a client was seen in more rounds than there are; what dp.account raises.
        """
        if participations.most > rounds:
            raise BadParameters(f"a client was seen {participations.most} times in {rounds} rounds")
        colluding = None
        if coalition is not None:
            colluding = KnownCohorts.of(coalition.sees(event), unit, View.COLLUDING, delta, participations)
        return cls(
            released_cost(event, rounds, unit, delta),
            KnownCohorts.of(event, unit, View.AGGREGATOR, delta, participations),
            coalition,
            colluding,
        )


def released_cost(event: Event, rounds: int, unit: Unit, delta: Exact) -> Interval:
    """What a reader of all releases learns of one unit: whoever was in a cohort, sampling hid it."""
    return account(_times(event, rounds), unit, View.RELEASED, delta)


def seen_cost(event: Event, times: int, unit: Unit, delta: Exact, view: View = View.AGGREGATOR) -> Interval:
    """What a viewer that knows each cohort learned of a client it saw in so many rounds."""
    return account(_times(without_sampling(event), times), unit, view, delta)


def _times(event: Event, times: int) -> tuple[Event, ...]:
    return (Repeated(event, times),) if times else ()
