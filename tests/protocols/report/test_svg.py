"""Pictures of numbers: where a value is drawn, which ticks there are, and that no peak is lost when points are."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.report.svg import (
    HEIGHT,
    MOST_POINTS,
    WIDTH,
    Frame,
    Scale,
    axis,
    band,
    bars,
    line,
    picture,
    rule,
    thinned,
)
from tests.protocols.report.page_kit import Reader

POINTS = [(0.0, 0.0), (1.0, 4.0), (2.0, 2.0)]


def coordinates(source: str) -> list[tuple[float, float]]:
    """The points of the one path in the source."""
    [path] = re.findall(r' d="([^"]*)"', source)
    pairs = re.findall(r"([-\d.e+]+) ([-\d.e+]+)", path)
    return [(float(x), float(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("low", "high", "grain", "ticks"),
    [
        (0, 10, 0, [0, 2, 4, 6, 8, 10]),
        (0, 1, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 28, 0, [5, 10, 15, 20, 25]),
        (0, 2, 1, [0, 1, 2]),
        (-1, 1, 1, [-1, 0, 1]),
        (0, 4300, 0, [0, 1000, 2000, 3000, 4000]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, grain: float, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 100, grain).ticks() == pytest.approx(ticks)


RANGE = st.floats(-1e300, 1e300)


@given(st.lists(RANGE, max_size=20), st.lists(st.floats(0, allow_nan=False), max_size=20), st.sampled_from([0.0, 1.0]))
def test_every_frame_has_few_ticks_and_draws_inside_the_picture(xs: list[float], ys: list[float], grain: float) -> None:
    frame = Frame.around(xs, ys, grain, grain)
    for scale, last in ((frame.x, WIDTH), (frame.y, HEIGHT)):
        assert len(scale.ticks()) <= 11
        assert all(0 <= scale.at(value) <= last for value in (*scale.ticks(), scale.low, scale.high))


def test_a_line_goes_through_its_points() -> None:
    frame = Frame(Scale(0, 2, 10, 110, 0), Scale(0, 4, 100, 0, 0))
    assert coordinates(line(frame, POINTS, "data").source) == [(10, 100), (60, 0), (110, 50)]
    assert line(frame, POINTS, "data").source.count("<circle") == 3
    assert "<path" not in line(frame, POINTS[:1], "data").source
    assert line(frame, [], "data").source == ""


def test_a_band_is_closed_around_both_lines() -> None:
    frame = Frame(Scale(0, 2, 10, 110, 0), Scale(0, 4, 100, 0, 0))
    upper = [(x, 4.0) for x, _ in POINTS]
    drawn = band(frame, POINTS, upper, "spread").source
    assert coordinates(drawn) == [(10, 100), (60, 0), (110, 50), (110, 0), (60, 0), (10, 0)]
    assert 'Z"' in drawn


def test_bars_stand_on_the_ground_and_none_is_drawn_for_nothing() -> None:
    frame = Frame(Scale(0, 3, 0, 300, 0), Scale(0, 4, 100, 0, 0))
    drawn = bars(frame, [0, 1, 2, 3], [4, 0, 1], "data").source
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawn)
    assert [tuple(map(float, box)) for box in found] == [(0.5, 0, 99, 100), (200.5, 75, 99, 25)]


def test_a_rule_outside_the_picture_is_not_drawn() -> None:
    frame = Frame.around([0, 1], [4])
    assert "<path" in rule(frame, 4.0, "limit").source
    assert rule(frame, math.inf, "limit").source == ""


@given(st.lists(st.tuples(RANGE, RANGE), min_size=1, max_size=2000))
def test_thinning_keeps_order_ends_and_peaks(points: list[tuple[float, float]]) -> None:
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    rest = iter(points)
    assert all(point in rest for point in kept)
    heights = [y for _, y in points]
    assert {min(heights), max(heights)} <= {y for _, y in kept}


def test_a_hundred_thousand_points_are_a_short_path() -> None:
    points = [(float(x), float(x % 977)) for x in range(100_000)]
    frame = Frame.around([0, 1e5], [977])
    assert len(line(frame, points, "data").source) < 15_000


def test_a_picture_names_and_describes_itself() -> None:
    frame = Frame.around([0, 29], [1.5])
    source = picture("key", "Title <b>", 'said "so"', axis(frame, "round"), line(frame, POINTS, "data")).source
    reader = Reader()
    reader.feed(source)
    assert reader.open == []
    assert [tag for tag, _ in reader.elements][:3] == ["svg", "title", "desc"]
    assert reader.elements[0][1]["aria-labelledby"] == "key-title key-desc"
    assert "Title <b>" in reader.text
    assert 'viewBox="0 0 360 210"' in source


def test_numbers_in_pictures_have_at_most_six_digits() -> None:
    frame = Frame.around([0.0, 1 / 3], [2 / 3])
    drawn = axis(frame, "x").source + line(frame, [(1 / 7, 1 / 9), (1 / 3, 2 / 3)], "data").source
    assert all(len(digits.replace(".", "")) <= 6 for digits in re.findall(r"\d+\.?\d*", drawn))
