"""Budgets for noise, sampling and stopping that are chosen by looking at earlier outputs.

    composition   parameters fixed in advance            dp.accountant, by any curve
    filter        parameters chosen on the way           here: spend, then release; stop when refused
    odometer      no budget, epsilon read on the way     dp.odometer

| filter         | refuses when                         | holds under any choice by                                   |
|----------------|--------------------------------------|-------------------------------------------------------------|
| `GdpFilter`    | sum Delta_i^2 / sigma_i^2 > mu^2     | Smith and Thakurta, arXiv 2210.17520                        |
| `RenyiFilter`  | sum R_i(alpha) > B, alpha fixed      | Feldman and Zrnic, arXiv 2008.11193                         |
| `RenyiFamily`  | each of K orders is overspent        | delta/K per order, added over which order lasted to the end |
| `PureFilter`   | sum epsilon_i > epsilon              | Rogers, Roth, Ullman and Vadhan, NeurIPS 2016               |

There is no filter here that follows a composed privacy curve (PLD, f-DP) and stops when it would cross the budget:
such a rule is invalid (arXiv 2602.06756). Curves of different shape cross, so whoever knows the loss so far picks
the release that hurts most at that loss, and what results is on no curve of releases fixed in advance.

Integer noise is paid from what is set aside at opening: 2^-40 of epsilon for twice its pointwise slack, 2^-20 of
delta for what its tables draw wrongly (a PureFilter has all of delta for that). Bounds fixed beforehand hold on
every path; a trade between the currencies would not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fractions import Fraction
from typing import ClassVar, Protocol, Self

from dp.accountant import Budget, Unit, downward, upward
from dp.costs import Cost, gdp_cost, pure_cost, renyi_cost, renyi_order
from dp.errors import BadParameters, BudgetExceeded, Infeasible
from dp.events import Canonical, Event, Exact, exact
from dp.gaussian import gaussian_sigma

# Set aside for integer noise, of epsilon and of delta.
SLACK_SHARE, DISTANCE_SHARE = Fraction(1, 2**40), Fraction(1, 2**20)
# As in dp.rdp: covers the rounding of curves, of their sum and of the conversion.
_ROUNDING = 1e-12
_LARGEST_EXPONENT = 700.0
# Below, the rounding of the curves themselves is more than delta.
LEAST_DELTA = 2.0**-1000


class Filter(Protocol):
    """Admits releases one by one, whatever they were chosen by, while the budget holds for all of them.

    Guarantee: everything released after a successful `spend` is (budget.epsilon, budget.delta)-DP for the unit,
        when events, stopping and the data's use in between depend on the data through earlier releases alone.
    """

    @property
    def budget(self) -> Budget:
        """The limit that no admitted sequence of releases exceeds."""

    @property
    def unit(self) -> Unit:
        """Whose presence is hidden, and by which relation of neighbouring data sets."""

    @property
    def spent(self) -> Fraction:
        """What was admitted so far, in the filter's own measure."""

    @property
    def remaining(self) -> Fraction:
        """What may still be admitted, in the same measure."""

    def admits(self, event: Event) -> bool:
        """Whether `spend` would take the event; leaves no trace."""

    def spend(self, event: Event) -> None:
        """Takes the event before its release, or raises BudgetExceeded and then leaves no trace."""

    def state(self) -> Canonical:
        """(tag, relation, of, epsilon, delta, orders, amounts, slack, distance): integers and rationals."""

    @classmethod
    def from_state(cls, state: object) -> Self:
        """A filter that has spent the same."""


class _Bounded(ABC):
    """Sums of costs below a limit that was fixed at opening; the subclass says in which currency."""

    tag: ClassVar[str]

    def __init__(self, budget: Budget, unit: Unit, orders: tuple[Fraction, ...], limit: Cost) -> None:
        if budget.relation is not unit.relation:
            raise BadParameters(f"the unit is {unit.relation}, the budget {budget.relation}: they must agree")
        self._budget, self._unit, self._orders, self._limit = budget, unit, orders, limit
        self._spent = Cost(tuple(Fraction(0) for _ in limit.amounts))

    @property
    def budget(self) -> Budget:
        """The (epsilon, delta) that all releases together keep to."""
        return self._budget

    @property
    def unit(self) -> Unit:
        """The unit the budget is about."""
        return self._unit

    @property
    def limit(self) -> Fraction:
        """What `spent` may reach, in the filter's currency."""
        return self._limit.amounts[0]

    @property
    def spent(self) -> Fraction:
        """The sum of what was admitted, in the filter's currency."""
        return self._spent.amounts[0]

    @property
    def remaining(self) -> Fraction:
        """limit - spent."""
        return self.limit - self.spent

    def admits(self, event: Event) -> bool:
        """Whether `spend` would take the event; leaves no trace.  Raises: as `spend`, but not BudgetExceeded."""
        return (self._spent + self._cost(event)).exceeds(self._limit) is None

    def spend(self, event: Event) -> None:
        """Takes the event before its release.

        Raises: BudgetExceeded when it does not fit, UnsupportedEvent or NoiseTooCoarse when the currency has no
            price for it; nothing was spent then.
        """
        after = self._spent + self._cost(event)
        excess = after.exceeds(self._limit)
        if excess is not None:
            kept = f"epsilon {float(self._budget.epsilon):.6g} at delta {float(self._budget.delta):.3g}"
            raise BudgetExceeded(f"{excess}, which is all that {kept} allows this {type(self).__name__}")
        self._spent = after

    def state(self) -> Canonical:
        """(tag, relation, of, epsilon, delta, orders, amounts, slack, distance): integers and rationals."""
        kept, spent = self._budget, self._spent
        return (
            self.tag,
            self._unit.relation.value,
            self._unit.of,
            ratio(kept.epsilon),
            ratio(kept.delta),
            tuple(ratio(order) for order in self._orders),
            tuple(ratio(amount) for amount in spent.amounts),
            ratio(spent.slack),
            ratio(spent.distance),
        )

    @classmethod
    def from_state(cls, state: object) -> Self:
        """A filter that has spent the same, its limit solved for anew.

        Raises: BadParameters for another tag or form, and for more spent than the limit allows.
        """
        match state:
            case (cls.tag, str(relation), str(of), epsilon, delta, (*orders,), (*amounts,), slack, distance):
                budget = Budget(from_ratio(epsilon), from_ratio(delta), relation)
                opened = cls._open(budget, Unit(relation, of), tuple(from_ratio(order) for order in orders))
                spent = Cost(tuple(from_ratio(part) for part in amounts), from_ratio(slack), from_ratio(distance))
            case _:
                raise BadParameters(f"not the state of a {cls.__name__}: {str(state)[:80]}")
        if len(spent.amounts) != len(opened._limit.amounts):
            raise BadParameters(f"{len(spent.amounts)} amounts for {len(opened._limit.amounts)} currencies")
        excess = spent.exceeds(opened._limit)
        if excess is not None:
            raise BadParameters(f"a state that is over its budget: {excess}")
        opened._spent = spent
        return opened

    @classmethod
    @abstractmethod
    def _open(cls, budget: Budget, unit: Unit, orders: tuple[Fraction, ...]) -> Self:
        """Opens one from the fields of a state."""

    @abstractmethod
    def _cost(self, event: Event) -> Cost:
        """What the event adds."""


class GdpFilter(_Bounded):
    """Gaussian noise on everyone while sum Delta_i^2/sigma_i^2 <= mu^2, the most that the budget allows.

    mu is the largest shift with delta_G(epsilon; mu) <= delta, rounded down. Units: mu^2.
    Guarantee: (epsilon, delta)-DP, and mu-GDP for the Gaussian laws behind it, when every sigma, every clip and
        the time to stop are chosen by earlier outputs. No looser than composition of noise fixed in advance.
    Raises: BadParameters when unit and budget differ in relation; Infeasible at delta 0.
    Source: Smith and Thakurta, arXiv 2210.17520 (fully adaptive GDP); Balle and Wang, ICML 2018 (the curve).
    """

    tag: ClassVar[str] = "gdp-filter"

    def __init__(self, budget: Budget, unit: Unit) -> None:
        # As releases within e^(+-K) of Gaussian ones: delta(epsilon) <= e^K delta_G(epsilon - 2 K).
        slack = min(budget.epsilon, Fraction(1)) * SLACK_SHARE
        epsilon, delta = budget.epsilon - 2 * slack, (1 - slack) * (1 - DISTANCE_SHARE) * budget.delta
        mu = 1.0 / gaussian_sigma(downward(epsilon), _usable(delta))
        limit = Cost((Fraction(mu) ** 2,), slack, _most_distance(budget, DISTANCE_SHARE))
        super().__init__(budget, unit, (), limit)

    @classmethod
    def _open(cls, budget: Budget, unit: Unit, orders: tuple[Fraction, ...]) -> Self:
        _no_orders(orders)
        return cls(budget, unit)

    def _cost(self, event: Event) -> Cost:
        return gdp_cost(event, self._unit)


class RenyiFilter(_Bounded):
    """Any release with a Renyi divergence while sum R_i(alpha) <= B at one order, fixed at opening.

    B = epsilon + ln(alpha/(alpha-1)) + (ln delta + ln alpha)/(alpha-1), rounded down. Units: nats at order alpha.
    Guarantee: (epsilon, delta)-DP when noise, sampling rates and the time to stop are chosen by earlier outputs.
    Raises: BadParameters when unit and budget differ in relation or dp.rdp does not keep the order; Infeasible
        when the conversion leaves nothing at this order.
    Source: Feldman and Zrnic, NeurIPS 2021 (arXiv 2008.11193), the Renyi filter; Canonne, Kamath, Steinke,
        NeurIPS 2020, Proposition 12 (conversion).
    """

    tag: ClassVar[str] = "renyi-filter"

    def __init__(self, budget: Budget, unit: Unit, order: Exact) -> None:
        orders = (renyi_order(order),)
        super().__init__(budget, unit, orders, _renyi_limit(budget, orders))

    @property
    def order(self) -> Fraction:
        """alpha."""
        return self._orders[0]

    @classmethod
    def _open(cls, budget: Budget, unit: Unit, orders: tuple[Fraction, ...]) -> Self:
        if len(orders) != 1:
            raise BadParameters(f"a Renyi filter has one order, got {len(orders)}")
        return cls(budget, unit, orders[0])

    def _cost(self, event: Event) -> Cost:
        return renyi_cost(event, self._unit, self._orders)


class RenyiFamily(_Bounded):
    """K Renyi filters, each at delta/K, that all pay for every release; one that is within its budget is enough.

    Units of `spent`, `limit` and `remaining`: shares of the budget at the order that has most left.
    Guarantee: (epsilon, delta)-DP as for one filter, without knowing in advance which order will serve. Let T_k
        be the histories at whose end k is the first order within its budget. On T_k the run is the one that filter
        k alone would have admitted, so sum over T_k of (P - e^epsilon Q)+ <= delta/K; the T_k are disjoint.
    Raises: as RenyiFilter; BadParameters for no orders or one named twice.
    Source: Feldman and Zrnic, NeurIPS 2021 (arXiv 2008.11193), with the sum over the T_k above.
    """

    tag: ClassVar[str] = "renyi-family"

    def __init__(self, budget: Budget, unit: Unit, orders: Iterable[Exact]) -> None:
        known = tuple(renyi_order(order) for order in orders)
        if not known or len(set(known)) < len(known):
            raise BadParameters(f"orders must be at least one and distinct, got {', '.join(map(str, known)) or 'none'}")
        super().__init__(budget, unit, known, _renyi_limit(budget, known))

    @property
    def orders(self) -> tuple[Fraction, ...]:
        """All alpha, as they were given."""
        return self._orders

    @property
    def limit(self) -> Fraction:
        """1: shares."""
        return Fraction(1)

    @property
    def spent(self) -> Fraction:
        """The least share of its budget that any order has spent."""
        return min(amount / bound for amount, bound in zip(self._spent.amounts, self._limit.amounts, strict=True))

    @classmethod
    def _open(cls, budget: Budget, unit: Unit, orders: tuple[Fraction, ...]) -> Self:
        return cls(budget, unit, orders)

    def _cost(self, event: Event) -> Cost:
        return renyi_cost(event, self._unit, self._orders)


class PureFilter(_Bounded):
    """Releases with an epsilon at delta 0 while sum epsilon_i <= epsilon, exactly. Units: epsilon.

    Guarantee: (epsilon, delta)-DP when all parameters and the time to stop are chosen by earlier outputs; delta
        pays for what integer samplers draw wrongly and for nothing else, so at delta 0 they are refused.
    Raises: BadParameters when unit and budget differ in relation.
    Source: Rogers, Roth, Ullman and Vadhan, NeurIPS 2016 (basic composition as a filter).
    """

    tag: ClassVar[str] = "pure-filter"

    def __init__(self, budget: Budget, unit: Unit) -> None:
        limit = Cost((budget.epsilon,), Fraction(0), _most_distance(budget, Fraction(1)))
        super().__init__(budget, unit, (), limit)

    @classmethod
    def _open(cls, budget: Budget, unit: Unit, orders: tuple[Fraction, ...]) -> Self:
        _no_orders(orders)
        return cls(budget, unit)

    def _cost(self, event: Event) -> Cost:
        return pure_cost(event, self._unit)


AnyFilter = GdpFilter | RenyiFilter | RenyiFamily | PureFilter
_KINDS: dict[object, type[AnyFilter]] = {kind.tag: kind for kind in (GdpFilter, RenyiFilter, RenyiFamily, PureFilter)}


def filter_from_state(state: object) -> AnyFilter:
    """The filter whose `state` this is, of whichever kind.  Raises: BadParameters."""
    match state:
        case (str(tag), *_) if tag in _KINDS:
            return _KINDS[tag].from_state(state)
    raise BadParameters(f"not the state of a filter: {str(state)[:80]}")


def _renyi_limit(budget: Budget, orders: tuple[Fraction, ...]) -> Cost:
    delta = _usable((1 - DISTANCE_SHARE) * budget.delta / len(orders))
    amounts = tuple(_most_renyi(budget, float(order), delta) for order in orders)
    return Cost(amounts, Fraction(0), _most_distance(budget, DISTANCE_SHARE))


def _most_renyi(budget: Budget, order: float, delta: float) -> Fraction:
    """B: the largest divergence at the order that converts to at most epsilon at delta."""
    epsilon = downward(budget.epsilon)
    most = epsilon - math.log1p(-1.0 / order) + (math.log(delta) + math.log(order)) / (order - 1.0)
    most -= _ROUNDING * (1.0 + epsilon)
    if most <= 0.0:
        raise Infeasible(
            f"at order {order:g} a delta of {delta:.3g} alone costs epsilon {epsilon - most:.6g}, more than "
            f"{epsilon:.6g}: take a larger order, epsilon or delta"
        )
    return Fraction(most)


def _most_distance(budget: Budget, share: Fraction) -> Fraction:
    """t with t (1 + e^epsilon) <= share of delta (see dp.accountant.distance_cost)."""
    return distance_within(share * budget.delta, upward(budget.epsilon))


def distance_within(delta: Fraction, epsilon: float) -> Fraction:
    """The most total variation that delta pays for on both sides, at epsilon."""
    if epsilon > _LARGEST_EXPONENT:
        return Fraction(0)
    return delta / (1 + Fraction(math.exp(epsilon)) * (1 + Fraction(1, 2**40)))


def _usable(delta: Fraction) -> float:
    """The largest double not above delta.  Raises: Infeasible when that is 0 or as good as 0."""
    below = downward(delta)
    if below < LEAST_DELTA:
        raise Infeasible(f"this noise has no finite epsilon at delta 0, and a delta of {below!r} is too near to it")
    return below


def _no_orders(orders: tuple[Fraction, ...]) -> None:
    if orders:
        raise BadParameters(f"this kind of filter has no orders, got {len(orders)}")


def ratio(number: Fraction) -> str:
    """'p/q', as in the canonical form of events."""
    return f"{number.numerator}/{number.denominator}"


def from_ratio(text: object) -> Fraction:
    """The number whose `ratio` this is, not negative.  Raises: BadParameters."""
    if isinstance(text, str) and "/" in text:
        number = exact("rational", text)
        if number >= 0 and ratio(number) == text:
            return number
    raise BadParameters(f"a state holds rationals as 'p/q' in lowest terms, not negative, got {str(text)[:80]!r}")
