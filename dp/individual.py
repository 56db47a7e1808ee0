"""One filter per client: each pays for its own participation, at its own clip, until its own budget is spent.

    cohort --admitted--> those who can still pay       their updates enter the sum
           \\-- left out by name -----------------      the others go on

Under a common budget the client with the most rounds or the largest clip decides when everybody stops; here it
alone stops. Filters are those of dp.filters, of any kind and with budgets of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from dp.accountant import Relation, Unit
from dp.errors import BadParameters, UnsupportedEvent
from dp.events import Canonical, Event
from dp.filters import Filter, filter_from_state

ClientId = int | str


@dataclass(frozen=True, slots=True)
class Admission:
    """Who of a cohort takes part, and whose budget is exhausted, both in the cohort's order."""

    admitted: tuple[ClientId, ...]
    left_out: tuple[ClientId, ...]


class IndividualFilters:
    """A filter for each client, under zero-out or add-or-remove-one.

    `event_of(client)` is the round as that client's data sees it: l2_squared from its own clip, sigma2 and components
    that are certain whoever else is left out (for noise made by clients: the plan's smallest cohort).
    Guarantee: each client's own data is (epsilon, delta)-DP within that client's budget towards a reader of the
        releases, when noise, clips and cohorts are chosen by earlier releases. A client that is left out must really
        contribute nothing. The list of who was left out is for whoever runs the round: where clips are measured on a
        client's data instead of declared, that list and `remaining` depend on it and must not be published.
    Raises: BadParameters for no clients, an id that is neither int nor str, or filters for different units;
        UnsupportedEvent under replace-one, where the cost of whoever takes the client's place is not known.
    Source: Feldman and Zrnic, NeurIPS 2021 (arXiv 2008.11193).
    """

    tag: ClassVar[str] = "individual-filters"

    def __init__(self, filters: Mapping[ClientId, Filter]) -> None:
        self._filters = dict(filters)
        units = {known.unit for known in self._filters.values()}
        if len(units) != 1:
            raise BadParameters(f"individual filters need clients and one unit for all, got {len(units)} units")
        [self._unit] = units
        if self._unit.relation is Relation.REPLACE_ONE:
            raise UnsupportedEvent(
                f"individual filters have no proof under {Relation.REPLACE_ONE}: the replacement has costs of its own; "
                f"use {Relation.ZERO_OUT} or {Relation.ADD_REMOVE}"
            )
        if len({id(known) for known in self._filters.values()}) < len(self._filters):
            raise BadParameters("two clients share one filter: each needs its own")
        for client in self._filters:
            if isinstance(client, bool) or not isinstance(client, int | str):
                raise BadParameters(f"a client's id must be an int or a str, got {type(client).__name__}")

    @classmethod
    def open(cls, clients: Iterable[ClientId], make: Callable[[], Filter]) -> IndividualFilters:
        """The same kind of filter, opened anew for each client."""
        return cls({client: make() for client in clients})

    @property
    def unit(self) -> Unit:
        """The unit each budget is about."""
        return self._unit

    @property
    def clients(self) -> tuple[ClientId, ...]:
        """Everybody with a filter."""
        return tuple(self._filters)

    def spent(self, client: ClientId) -> Fraction:
        """As Filter.spent.  Raises: BadParameters for an unknown client."""
        return self._filter(client).spent

    def remaining(self, client: ClientId) -> Fraction:
        """As Filter.remaining.  Raises: BadParameters for an unknown client."""
        return self._filter(client).remaining

    def admitted(self, cohort: Iterable[ClientId], event_of: Callable[[ClientId], Event]) -> Admission:
        """Who could pay for its event; leaves no trace.  Raises: as `spend`."""
        return self._judge(self._events(cohort, event_of))

    def spend(self, cohort: Iterable[ClientId], event_of: Callable[[ClientId], Event]) -> Admission:
        """Takes its event from each client that can pay, before the release; the others are left out of it.

        Raises: BadParameters for a client that is unknown or named twice; UnsupportedEvent or NoiseTooCoarse when a
            filter has no price for its event. Nobody paid then.
        """
        events = self._events(cohort, event_of)
        judged = self._judge(events)
        for client in judged.admitted:
            self._filters[client].spend(events[client])
        return judged

    def state(self) -> Canonical:
        """(tag, ((client, its filter's state), ...))."""
        return (self.tag, tuple((client, known.state()) for client, known in self._filters.items()))

    @classmethod
    def from_state(cls, state: object) -> IndividualFilters:
        """Filters that have spent the same.  Raises: BadParameters, also for a client that is named twice."""
        match state:
            case (cls.tag, (*pairs,)):
                restored: dict[ClientId, Filter] = {}
                for pair in pairs:
                    client, known = _restored(pair)
                    if client in restored:
                        raise BadParameters(f"client {client!r} has two states")
                    restored[client] = known
                return cls(restored)
        raise BadParameters(f"not the state of individual filters: {str(state)[:80]}")

    def _filter(self, client: ClientId) -> Filter:
        if client not in self._filters:
            raise BadParameters(f"client {client!r} has no filter")
        return self._filters[client]

    def _events(self, cohort: Iterable[ClientId], event_of: Callable[[ClientId], Event]) -> dict[ClientId, Event]:
        events: dict[ClientId, Event] = {}
        for client in cohort:
            self._filter(client)
            if client in events:
                raise BadParameters(f"client {client!r} is in the cohort twice")
            events[client] = event_of(client)
        return events

    def _judge(self, events: Mapping[ClientId, Event]) -> Admission:
        able = {client: self._filters[client].admits(event) for client, event in events.items()}
        return Admission(
            admitted=tuple(client for client in events if able[client]),
            left_out=tuple(client for client in events if not able[client]),
        )


def _restored(pair: object) -> tuple[ClientId, Filter]:
    match pair:
        case (int(client) | str(client), state):
            return client, filter_from_state(state)
    raise BadParameters(f"an individual filter's state is (client, state), got {str(pair)[:80]}")
