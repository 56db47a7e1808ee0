"""Small pictures of numbers as inline SVG: an axis, lines, bands, bars. No script, no library, always the same bytes.

A plot is 360 units wide, so that its letters keep their size on a telephone. Colours are classes; the page's style
gives them, in light, in dark and in print. Numbers in paths have at most 6 significant digits, a path at most
MOST_POINTS points: of more, each bucket keeps its least and its greatest, so no peak is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.report.markup import Markup, Piece, element, join

WIDTH, HEIGHT = 360, 210
_TOP, _RIGHT, _BOTTOM = 10, 12, 36
_LETTER = 6.2  # width of a digit at the size of the ticks
MOST_POINTS = 600
# Beyond, a double has no room left for a margin and a tick.
_LARGEST = 1e300

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high`, drawn from `first` to `last`; ticks are at least `grain` apart."""

    low: float
    high: float
    first: float
    last: float
    grain: float

    def at(self, value: float) -> float:
        """Where a value is drawn; one outside stays at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Up to seven round numbers in the range, 1, 2 or 5 times a power of ten apart."""
        rough = max((self.high - self.low) / 5, self.grain)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [multiple * step for multiple in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Decades(Scale):
    """The same for values above 0 that span powers of ten: equal ratios are equally far apart."""

    def at(self, value: float) -> float:
        within = min(max(value, self.low), self.high)
        share = math.log(within / self.low) / math.log(self.high / self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Powers of ten in the range, where there is but one its halves and fifths too, at most seven."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        powers = [10.0**power for power in range(first, last + 1)]
        whole = [power for power in powers if self.low <= power <= self.high]
        if len(whole) > 1:
            return whole[:: -(-len(whole) // 7)]
        finer = [factor * power for power in powers for factor in (1, 2, 5)]
        return [tick for tick in finer if self.low <= tick <= self.high]


@dataclass(frozen=True, slots=True)
class Frame:
    """The two scales of a plot."""

    x: Scale
    y: Scale

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float], x_grain: float = 0.0, y_grain: float = 0.0) -> Frame:
        """A frame that holds all of these, y from 0; what is infinite is left outside. A grain of 1 counts things."""
        tall = max([value for value in ys if 1 / _LARGEST <= value <= _LARGEST], default=1.0)
        within = [min(max(value, -_LARGEST), _LARGEST) for value in xs]
        low, high = min(within, default=0.0), max(within, default=0.0)
        apart = max(abs(low), abs(high), 1 / _LARGEST) * 1e-9  # closer, and no tick fits between them
        if high - low < apart:
            low, high = low - max(apart, 1.0), high + max(apart, 1.0)
        upright = Scale(0.0, tall * 1.08, HEIGHT - _BOTTOM, _TOP, y_grain)
        widest = max(len(number(tick)) for tick in upright.ticks())
        return cls(Scale(low, high, 10 + _LETTER * widest, WIDTH - _RIGHT, x_grain), upright)


def number(value: float) -> str:
    """A number in a picture: 6 significant digits."""
    return f"{value:.6g}"


def _place(value: float) -> str:
    return number(round(value, 1))


def axis(frame: Frame, across: str) -> Markup:
    """Horizontal rules with their values at the left, values below, and what the values below are."""
    marks: list[Piece] = []
    for tick in frame.y.ticks():
        y = _place(frame.y.at(tick))
        marks.append(rule(frame, tick, "grid"))
        marks.append(element("text", number(tick), x=_place(frame.x.first - 5), y=y, dy="0.35em", cls="tick end"))
    for tick in frame.x.ticks():
        x = _place(frame.x.at(tick))
        marks.append(element("text", number(tick), x=x, y=HEIGHT - _BOTTOM + 14, cls="tick middle"))
    middle = _place((frame.x.first + frame.x.last) / 2)
    marks.append(element("text", across, x=middle, y=HEIGHT - 6, cls="tick middle"))
    return join(marks)


def line(frame: Frame, points: Sequence[Point], style: str) -> Markup:
    """A line through the points, each marked while they are few."""
    kept = thinned(points)
    path = element("path", d=f"M{_path(frame, kept)}", cls=f"line {style}") if len(kept) > 1 else Markup("")
    few = kept if len(kept) <= 24 else []
    dots = [element("circle", cx=_place(frame.x.at(x)), cy=_place(frame.y.at(y)), r=2.2, cls=style) for x, y in few]
    return join([path, *dots])


def band(frame: Frame, lower: Sequence[Point], upper: Sequence[Point], style: str) -> Markup:
    """The area between two lines."""
    around = [*thinned(lower), *reversed(thinned(upper))]
    return element("path", d=f"M{_path(frame, around)}Z", cls=f"area {style}") if around else Markup("")


def rule(frame: Frame, y: float, style: str) -> Markup:
    """A horizontal line across the whole plot; none where it would be outside."""
    if not frame.y.low <= y <= frame.y.high:
        return Markup("")
    height, left, right = (_place(value) for value in (frame.y.at(y), frame.x.first, frame.x.last))
    return element("path", d=f"M{left} {height}H{right}", cls=style)


def bars(frame: Frame, edges: Sequence[float], heights: Sequence[float], style: str) -> Markup:
    """A column between each edge and the next, a hair apart; none where the height is 0."""
    drawn = []
    for left, right, height in zip(edges, edges[1:], heights, strict=False):
        x, top = frame.x.at(left), frame.y.at(height)
        width = max(frame.x.at(right) - x - 1.0, 0.8)
        box = {"x": _place(x + 0.5), "y": _place(top), "width": _place(width), "height": _place(frame.y.first - top)}
        drawn += [element("rect", **box, cls=f"area {style}")] if height else []
    return join(drawn)


def picture(key: str, title: str, description: str, *shapes: Piece, height: float = HEIGHT) -> Markup:
    """The whole: what a screen reader says, and the shapes. `key` is its own in the page."""
    words = (element("title", title, id=f"{key}-title"), element("desc", description, id=f"{key}-desc"))
    about, box = f"{key}-title {key}-desc", f"0 0 {WIDTH} {_place(height)}"
    return element("svg", *words, *shapes, viewBox=box, role="img", aria_labelledby=about)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most MOST_POINTS of the points in their order: of each bucket its least and its greatest, and both ends."""
    if len(points) <= MOST_POINTS:
        return list(points)
    inner, buckets = range(1, len(points) - 1), (MOST_POINTS - 2) // 2
    kept = {0, len(points) - 1}
    for bucket in range(buckets):
        part = inner[bucket * len(inner) // buckets : (bucket + 1) * len(inner) // buckets]
        kept |= {min(part, key=lambda index: points[index][1]), max(part, key=lambda index: points[index][1])}
    return [points[index] for index in sorted(kept)]


def _path(frame: Frame, points: Sequence[Point]) -> str:
    return "L".join(f"{_place(frame.x.at(x))} {_place(frame.y.at(y))}" for x, y in points)
