"""Pictures of budgets: files that are pictures, drawn from what the accountants say and from nothing else."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from dp.accountant import Interval, Relation, Unit, View, account
from dp.calibrate import Schedule as Repetition
from dp.events import GaussianEvent, Poisson, Repeated, Sampled, exact
from protocols.budgets import Schedule, budget_of, poisson, release_of
from protocols.curves import EpsilonCurve, epsilon_over_steps, noise_against_epsilon
from protocols.errors import Misused
from protocols.report.plots import Plot

pytest.importorskip("matplotlib", reason="PLOTS NOT CHECKED: matplotlib is not installed")

DELTA = Fraction(1, 10**5)
SCHEDULE = Schedule.of(release_of("gaussian", 2), poisson("0.1"), 100, 10)
EVERYBODY = Schedule.of(release_of("gaussian", 2), poisson(1), 100)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, each with its checksum verified."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at = 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size) == (zlib.crc32(kind + body),)
        yield kind, body
        at += 12 + size


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    """What was drawn: the label of each line and its points."""
    points = {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.get_lines()}
    return {label: (np.array(x).tolist(), np.array(y).tolist()) for label, (x, y) in points.items()}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every figure that is saved."""
    seen: list[Any] = []
    honest = Plot._save

    def save(plot: Plot, figure: Any, axes: Any) -> str:
        seen.append(axes)
        return honest(plot, figure, axes)

    monkeypatch.setattr(Plot, "_save", save)
    return seen


def test_a_png_is_whole_and_holds_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    assert Plot.at(path).draw_epsilon(epsilon_over_steps(SCHEDULE, DELTA, "zero-out")) == str(path)
    parts = list(chunks(path.read_bytes()))
    assert (parts[0][0], parts[-1][0]) == (b"IHDR", b"IEND")
    width, height, depth, colour = struct.unpack_from(">IIBB", parts[0][1])
    assert (width, height, depth, colour) == (1050, 675, 8, 6)
    pixels = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    assert len(pixels) == height * (1 + 4 * width)
    assert len(set(pixels)) > 50


@pytest.mark.parametrize("name", ["curve.svg", "CURVE.SVG"])
def test_an_svg_is_well_formed(name: str, tmp_path: Path) -> None:
    Plot.at(tmp_path / name).draw_noise(
        noise_against_epsilon(budget_of(2, DELTA, "zero-out"), "gaussian", poisson(1), 9)
    )
    root = ElementTree.fromstring((tmp_path / name).read_text("utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20


def test_a_pdf_is_one(tmp_path: Path) -> None:
    Plot.at(tmp_path / "x.pdf").draw_epsilon(epsilon_over_steps(SCHEDULE, DELTA, "zero-out"))
    data = (tmp_path / "x.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")


def test_epsilon_over_steps_is_what_the_accountants_say_in_both_views(tmp_path: Path, drawn: list[Any]) -> None:
    Plot.at(tmp_path / "x.svg").draw_epsilon(epsilon_over_steps(SCHEDULE, DELTA, "zero-out"))
    shown, unit, release = lines(drawn[0]), Unit(Relation.ZERO_OUT), GaussianEvent.for_multiplier(2)
    steps, epsilons = shown["reader of the releases (upper end)"]
    assert (steps[0], steps[-1]) == (1, 100)
    for count, epsilon in zip(steps, epsilons, strict=True):
        run = Repeated(Sampled(release, Poisson(Fraction(1, 10))), count)
        assert epsilon == account([run], unit, View.RELEASED, DELTA).upper
    steps, epsilons = shown["aggregator, knows each cohort (upper end)"]
    # It rises until the client's ten participations are used up, and never after.
    assert 10 in steps
    for count, epsilon in zip(steps, epsilons, strict=True):
        assert epsilon == account([Repeated(release, min(count, 10))], unit, View.AGGREGATOR, DELTA).upper
    assert drawn[0].get_title() == "zero-out, delta 1e-05"


def test_the_band_is_drawn_where_a_lower_end_is_known_and_only_there(tmp_path: Path, drawn: list[Any]) -> None:
    known = epsilon_over_steps(EVERYBODY, DELTA, "zero-out")
    unknown = EpsilonCurve(
        known.steps,
        tuple(Interval(None, one.upper, one.delta, "x") for one in known.released),
        known.aggregator,
        known.relation,
        known.delta,
    )
    for curve in (known, unknown):
        Plot.at(tmp_path / "x.svg").draw_epsilon(curve)
    (band,) = drawn[0].collections
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    for count, found in zip(known.steps, known.released, strict=True):
        assert found.lower is not None
        assert {(count, found.lower), (count, found.upper)} <= corners
    assert list(drawn[1].collections) == []


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete-gaussian", "laplace"])
def test_noise_against_epsilon_passes_through_the_budget(mechanism: str, tmp_path: Path, drawn: list[Any]) -> None:
    budget = budget_of(2, DELTA, "zero-out")
    curves = noise_against_epsilon(budget, mechanism, poisson("1/4"), 100)
    Plot.at(tmp_path / "x.svg").draw_noise(curves)
    shown = lines(drawn[0])
    for steps in (25, 100, 400):
        epsilons, noise = shown[f"{steps} releases"]
        for epsilon, multiplier in zip(epsilons, noise, strict=True):
            release = release_of(mechanism, exact("z", multiplier))
            run = Repetition(steps, Poisson(Fraction(1, 4))).run(release)
            assert epsilon == account([run], Unit(Relation.ZERO_OUT), View.RELEASED, DELTA).upper
        assert noise[-1] / noise[0] == pytest.approx(16)
        assert len(noise) == 16
        if steps == 100:
            assert min(epsilons) < 2 < max(epsilons)
    assert shown["the budget"][0] == [2, 2]


def test_noise_too_coarse_to_be_accounted_for_is_no_point_of_the_curve() -> None:
    loud = noise_against_epsilon(budget_of(10**7, DELTA, "zero-out"), "discrete-gaussian", poisson("1/2"), 4)
    assert all(len(curve.noise) == len(curve.released) < 16 for curve in loud.curves)


def test_a_curve_of_one_release_has_one_point() -> None:
    once = epsilon_over_steps(Schedule.of(release_of("laplace", 1), poisson(1), 1), 0, "zero-out")
    assert once.steps == (1,)
    assert once.released[0].upper == pytest.approx(1)


@pytest.mark.parametrize("name", ["x", "x.jpg", "png", "missing/x.png", "folder.png"])
def test_a_file_that_cannot_be_drawn_into_is_misuse(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(Misused, match="cannot draw into"):
        Plot.at(tmp_path / name)
