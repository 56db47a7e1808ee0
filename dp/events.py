"""What was released: frozen descriptions in integers and rationals, with the formula in each docstring.

    leaf       GaussianEvent  LaplaceEvent  SkellamEvent  PureEvent  ApproxEvent  ZcdpEvent  NonPrivate
    sampling   Sampled(event, Poisson(q) | FixedSize(m, N))      never inside another Sampled
    counting   Repeated(event, T)   Composed(events)

An event describes, an accountant interprets. Its bounds are those of ONE unit's contribution before the
relation is applied: the accountant doubles them under replace-one, so no caller ever types a sensitivity.
The meaning of a class or field never changes once written to a ledger; a new mechanism gets a new class.
`to_canonical` gives nested tuples of integers, names and "p/q" strings (never a float), `from_canonical`
accepts exactly those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import ClassVar

from dp.errors import BadParameters, NoiseTooCoarse

Exact = int | float | Fraction | str
Canonical = int | str | tuple["Canonical", ...]

# Below this lattice variance an independently drawn integer component is too far from Gaussian for the
# discrete-to-continuous step of dp.gaussian.
LEAST_COMPONENT_VARIANCE = 9

_RATIONAL = re.compile(r"-?[0-9]+/[0-9]+")
# A canonical form may nest this deep; an event less, so that an accountant's state of it is still readable.
_DEEPEST = 64
_DEEPEST_EVENT = 48
_MOST_PARTS = 1 << 20
# Of a typed number: "1e999999999" would be written out, digit by digit.
_LONGEST_EXPONENT = 5


def exact(name: str, value: Exact) -> Fraction:
    """The rational a caller meant: a float counts as its shortest decimal, so 1e-5 is 1/100000.

    Raises: BadParameters for NaN, infinity, a bool, or a string that is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction | str):
        raise BadParameters(f"{name} must be a number, got {type(value).__name__}")
    if isinstance(value, str) and len(value.lower().partition("e")[2]) > _LONGEST_EXPONENT:
        raise BadParameters(
            f"{name} must be a number with at most {_LONGEST_EXPONENT} digits of exponent, got {value[:40]!r}"
        )
    try:
        # A numpy double is a float too, and its own repr is no number.
        return Fraction(repr(float(value))) if isinstance(value, float) else Fraction(value)
    except (ValueError, ZeroDivisionError) as wrong:
        raise BadParameters(f"{name} must be a finite number, got {value!r}") from wrong


def _rational(name: str, value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise BadParameters(f"{name} must be an int or a Fraction, got {type(value).__name__} {value!r}")
    return Fraction(value)


def _positive(name: str, value: object) -> Fraction:
    number = _rational(name, value)
    if number <= 0:
        raise BadParameters(f"{name} must be above 0, got {number}")
    return number


def _not_negative(name: str, value: object) -> Fraction:
    number = _rational(name, value)
    if number < 0:
        raise BadParameters(f"{name} must not be negative, got {number}")
    return number


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadParameters(f"{name} must be an integer of at least {least}, got {value!r}")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadParameters(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Extent:
    """How deep the canonical form of an event nests, and of how many leaves it consists.

    Raises: BadParameters for more than any accountant could walk.
    """

    depth: int
    parts: int

    def __post_init__(self) -> None:
        if self.depth > _DEEPEST_EVENT or self.parts > _MOST_PARTS:
            raise BadParameters(
                f"an event nests at most {_DEEPEST_EVENT} deep and holds at most {_MOST_PARTS} parts, got {self.depth} "
                f"and {self.parts}; count equal releases by Repeated"
            )


def _measure(event: Event, levels: int, parts: tuple[Event, ...]) -> None:
    extents = [part.extent for part in parts]
    deepest = max((extent.depth for extent in extents), default=1)
    object.__setattr__(event, "extent", Extent(levels + deepest, sum(extent.parts for extent in extents)))


def _written(kind: type) -> list[str]:
    """The fields that an event's canonical form holds, in order."""
    return [each.name for each in fields(kind) if each.init]


class Event:
    """One or several releases about the same units; see the subclasses."""

    __slots__ = ()
    tag: ClassVar[str]

    @property
    def extent(self) -> Extent:
        """How large the event is; that of a single release unless a subclass holds others."""
        return Extent(2, 1)

    def to_canonical(self) -> Canonical:
        """(tag, field, ...) in declared order; equal events have equal forms and only they do."""
        return _encode(self)

    @staticmethod
    def from_canonical(canonical: object) -> Event:
        """The event whose `to_canonical` this is; lists stand for tuples, as they do after JSON.

        Raises: BadParameters for an unknown tag, a float, a rational not in lowest terms, a wrong number
            of fields, or a nesting deeper than 64.
        """
        event = _decode(canonical, 0)
        if not isinstance(event, Event):
            raise BadParameters(f"not the canonical form of an event: {str(canonical)[:80]}")
        if event.to_canonical() != _frozen(canonical):
            raise BadParameters(f"rationals must be 'p/q' in lowest terms: {str(canonical)[:80]}")
        return event


@dataclass(frozen=True, slots=True)
class GaussianEvent(Event):
    """Releases sum_i x_i + noise in Z^d, |x_i|_2^2 <= l2_squared, noise of variance sigma2 per coordinate.

    The noise is a sum of `components` independent vectors of discrete Gaussians N_Z(0, v_k), sum v_k =
    sigma2: 1 when it is central, one per surviving contribution (and layer) when the cohort makes it.
    components = 0 is the continuous N(0, sigma2 I) of the literature, used to plan, never to sample.
    `draws` samples came from tables, each within total variation 2^-127 of its law.
    `total` says what fixes sigma2 when components > 1: whoever survives ("survivors"), or surplus layers
    removed until it is the same for every cohort ("exact").

    Raises: BadParameters; NoiseTooCoarse when several components cannot each have lattice variance 9.
    """

    tag: ClassVar[str] = "gaussian"
    sigma2: Fraction | int
    l2_squared: Fraction | int
    d: int
    components: int
    draws: int
    rng: str = "system"
    total: str = "survivors"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma2", _positive("sigma2", self.sigma2))
        object.__setattr__(self, "l2_squared", _positive("l2_squared", self.l2_squared))
        _check_sampler(self.d, self.components, self.draws, self.rng)
        _one_of("total", self.total, ("survivors", "exact"))
        if self.components > 1 and self.sigma2 < LEAST_COMPONENT_VARIANCE * self.components:
            raise NoiseTooCoarse(
                f"{str(self.components)[:40]} components share variance {str(self.sigma2)[:40]}, but each needs "
                f"lattice variance {LEAST_COMPONENT_VARIANCE}; take a finer lattice or fewer components"
            )

    @classmethod
    def for_multiplier(cls, noise_multiplier: Exact) -> GaussianEvent:
        """The continuous Gaussian with standard deviation z per unit of L2 sensitivity."""
        z = _positive("noise_multiplier", exact("noise_multiplier", noise_multiplier))
        return cls(sigma2=z * z, l2_squared=1, d=1, components=0, draws=0)


@dataclass(frozen=True, slots=True)
class LaplaceEvent(Event):
    """Releases sum_i x_i + noise in Z^d, |x_i|_1 <= l1, pmf of each noise coordinate ~ exp(-|k| / scale).

    components = 1 is the discrete law on the lattice, 0 the continuous Laplace(scale) of the literature.
    """

    tag: ClassVar[str] = "laplace"
    scale: Fraction | int
    l1: Fraction | int
    d: int
    draws: int
    components: int = 1
    rng: str = "system"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _positive("scale", self.scale))
        object.__setattr__(self, "l1", _positive("l1", self.l1))
        _check_sampler(self.d, self.components, self.draws, self.rng)
        if self.components > 1:
            raise BadParameters(
                f"a sum of Laplace noises is not Laplace: components must be 0 or 1, got {self.components}"
            )

    @classmethod
    def for_multiplier(cls, noise_multiplier: Exact) -> LaplaceEvent:
        """The continuous Laplace with scale z per unit of L1 sensitivity; epsilon = 1/z per release."""
        z = _positive("noise_multiplier", exact("noise_multiplier", noise_multiplier))
        return cls(scale=z, l1=1, d=1, draws=0, components=0)


@dataclass(frozen=True, slots=True)
class SkellamEvent(Event):
    """Releases sum_i x_i + noise in Z^d, |x_i|_2^2 <= l2_squared, |x_i|_1 <= l1, noise Skellam(mu).

    pmf e^-mu I_k(mu), variance mu per coordinate, whoever added its parts: Skellam sums stay Skellam.
    """

    tag: ClassVar[str] = "skellam"
    mu: Fraction | int
    l2_squared: Fraction | int
    l1: Fraction | int
    d: int
    draws: int
    components: int = 1
    rng: str = "system"

    def __post_init__(self) -> None:
        for name in ("mu", "l2_squared", "l1"):
            object.__setattr__(self, name, _positive(name, getattr(self, name)))
        _whole("components", self.components, 1)
        _check_sampler(self.d, self.components, self.draws, self.rng)


@dataclass(frozen=True, slots=True)
class PureEvent(Event):
    """Any release with epsilon-DP at delta 0, epsilon stated for the accountant's own relation."""

    tag: ClassVar[str] = "pure"
    epsilon: Fraction | int

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", _not_negative("epsilon", self.epsilon))


@dataclass(frozen=True, slots=True)
class ApproxEvent(Event):
    """Any release with (epsilon, delta)-DP, stated for the accountant's own relation."""

    tag: ClassVar[str] = "approximate"
    epsilon: Fraction | int
    delta: Fraction | int

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", _not_negative("epsilon", self.epsilon))
        object.__setattr__(self, "delta", _not_negative("delta", self.delta))
        if self.delta >= 1:
            raise BadParameters(f"delta must be below 1, got {self.delta}")


@dataclass(frozen=True, slots=True)
class ZcdpEvent(Event):
    """Any release with Renyi divergence <= rho alpha at every order, stated for the accountant's relation."""

    tag: ClassVar[str] = "zcdp"
    rho: Fraction | int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", _not_negative("rho", self.rho))


@dataclass(frozen=True, slots=True)
class NonPrivate(Event):
    """An exact release: epsilon is infinite, and a report shows it as such."""

    tag: ClassVar[str] = "non-private"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Every unit takes part independently with probability q, 0 < q <= 1."""

    tag: ClassVar[str] = "poisson"
    q: Fraction | int

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", _positive("q", self.q))
        if self.q > 1:
            raise BadParameters(f"q is a probability and must be at most 1, got {self.q}")


@dataclass(frozen=True, slots=True)
class FixedSize:
    """A uniformly random cohort of exactly m units out of `population`, without replacement."""

    tag: ClassVar[str] = "fixed-size"
    m: int
    population: int

    def __post_init__(self) -> None:
        _whole("m", self.m, 1)
        _whole("population", self.population, self.m)


Sampling = Poisson | FixedSize


@dataclass(frozen=True, slots=True)
class Sampled(Event):
    """Applies `event` to a cohort drawn afresh by `sampling`; who knows the cohort is the view's business."""

    tag: ClassVar[str] = "sampled"
    event: Event
    sampling: Sampling
    extent: Extent = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_event("event", self.event)
        _measure(self, 1, (self.event,))
        if not isinstance(self.sampling, Poisson | FixedSize):
            raise BadParameters(f"sampling must be Poisson or FixedSize, got {type(self.sampling).__name__}")
        if any(isinstance(leaf, Sampled) for leaf, _ in _walk(self.event, 1)):
            raise BadParameters("sampling inside sampling has no accountant; sample once, at the outside")


@dataclass(frozen=True, slots=True)
class Repeated(Event):
    """The same event T times on the same units, T >= 1."""

    tag: ClassVar[str] = "repeated"
    event: Event
    times: int
    extent: Extent = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_event("event", self.event)
        _measure(self, 1, (self.event,))
        _whole("times", self.times, 1)


@dataclass(frozen=True, slots=True)
class Composed(Event):
    """All of these events on the same units; no events at all is the release of nothing."""

    tag: ClassVar[str] = "composed"
    events: tuple[Event, ...]
    extent: Extent = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.events, tuple | list):
            raise BadParameters(f"events must be a tuple of events, got {type(self.events).__name__}")
        object.__setattr__(self, "events", tuple(self.events))
        for event in self.events:
            _check_event("events", event)
        _measure(self, 2, self.events)


def leaves(event: Event) -> Iterator[tuple[Event, int]]:
    """(leaf, how often) with Repeated and Composed multiplied out; a Sampled is a leaf of its own.

    Sampling that takes everyone (q = 1, m = N) is no sampling: the leaves inside are given instead.
    """
    for leaf, count in _walk(event, 1):
        if isinstance(leaf, Sampled) and takes_everyone(leaf.sampling):
            yield from _walk(leaf.event, count)
        else:
            yield leaf, count


def takes_everyone(sampling: Sampling) -> bool:
    """Whether the cohort is always the whole population."""
    return sampling.q == 1 if isinstance(sampling, Poisson) else sampling.m == sampling.population


def without_sampling(event: Event) -> Event:
    """The event as seen by somebody who knows every cohort: each Sampled(e, ...) replaced by e."""
    match event:
        case Sampled():
            return event.event
        case Repeated():
            return Repeated(without_sampling(event.event), event.times)
        case Composed():
            return Composed(tuple(without_sampling(part) for part in event.events))
    return event


def is_insecure(event: Event) -> bool:
    """Whether any noise came from a known seed: such an event proves nothing about privacy."""
    return any(getattr(leaf, "rng", "system") == "insecure" for leaf, _ in _walk(without_sampling(event), 1))


def _walk(event: Event, count: int) -> Iterator[tuple[Event, int]]:
    match event:
        case Repeated():
            yield from _walk(event.event, count * event.times)
        case Composed():
            for part in event.events:
                yield from _walk(part, count)
        case _:
            yield event, count


def _check_event(name: str, event: object) -> None:
    if not isinstance(event, Event) or type(event) is Event:
        raise BadParameters(f"{name} must hold events, got {type(event).__name__}")


def _check_sampler(d: int, components: int, draws: int, rng: str) -> None:
    _whole("d", d, 1)
    _whole("components", components, 0)
    _whole("draws", draws, 0)
    _one_of("rng", rng, ("system", "insecure"))
    if components == 0 and draws:
        raise BadParameters(f"components = 0 is the continuous law, never drawn, yet draws is {draws}")


_CLASSES: dict[str, tuple[Callable[..., object], int]] = {
    kind.tag: (kind, len(_written(kind)))
    for kind in (
        GaussianEvent,
        LaplaceEvent,
        SkellamEvent,
        PureEvent,
        ApproxEvent,
        ZcdpEvent,
        NonPrivate,
        Sampled,
        Repeated,
        Composed,
        Poisson,
        FixedSize,
    )
}


def _encode(value: object) -> Canonical:
    match value:
        case Event() | Poisson() | FixedSize():
            return (value.tag, *(_encode(getattr(value, name)) for name in _written(type(value))))
        case tuple():
            return tuple(_encode(part) for part in value)
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case int() | str():
            return value
    raise BadParameters(f"an event cannot hold a {type(value).__name__}")


def _decode(canonical: object, depth: int) -> object:
    if depth > _DEEPEST:
        raise BadParameters(f"events nest at most {_DEEPEST} deep")
    match canonical:
        case [str(tag), *rest] if not isinstance(canonical, str):
            if tag not in _CLASSES:
                raise BadParameters(f"unknown kind of event {tag[:40]!r}; it needs a newer version")
            build, size = _CLASSES[tag]
            if len(rest) != size:
                raise BadParameters(f"{tag} has {size} fields, got {len(rest)}")
            return build(*(_decode(part, depth + 1) for part in rest))
        case list() | tuple():
            return tuple(_decode(part, depth + 1) for part in canonical)
        case str() if _RATIONAL.fullmatch(canonical):
            return exact("rational", canonical)
        case int() | str() if not isinstance(canonical, bool):
            return canonical
    raise BadParameters(f"a canonical event holds integers, names and 'p/q', got {type(canonical).__name__}")


def _frozen(canonical: object) -> object:
    return tuple(_frozen(part) for part in canonical) if isinstance(canonical, list | tuple) else canonical
