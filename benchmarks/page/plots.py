"""The plots of the page; each says its figures in words too, for who cannot see it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.suites import scaling, suite_of, utility
from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import figure, paragraph
from protocols.report.svg import WIDTH, Decades, Frame, Point, Scale, axis, line, number, picture

Plain = Mapping[str, Any]
# Suites whose rows are curves, not comparisons.
CURVES = ("scaling", "utility")
STYLES = ("data", "second", "limit")
LINE, BAR, LETTERS = 14.0, 9.0, 56
AXES = {"clients": "clients", "dimension": "coordinates", "dropout": "share of clients that drop out"}
NAMES = {
    "client": "client, CPU seconds",
    "server": "server, CPU seconds",
    "upload": "upload of a client, bytes",
    "memory": "peak memory of all parties, MiB",
}


# --- ratios -----------------------------------------------------------------------------------------------------


def ratios(rows: Sequence[Plain]) -> Markup:
    """For each suite its rows as bars: to the left of 1 where ours is less."""
    beside = [row for row in rows if row["suite"] not in CURVES and row["ratio"]]
    suites = dict.fromkeys(suite_of(row["suite"]) for row in beside)
    drawn = [bars(suite, [row for row in beside if suite_of(row["suite"]) == suite]) for suite in suites]
    return element("div", *drawn, cls="plots") if drawn else paragraph("Nothing was measured beside a peer.")


def bars(suite: str, rows: Sequence[Plain]) -> Markup:
    """One bar a row, from 1 to ours / peer, on a scale of decades; its case stands above it."""
    found = [row["ratio"] for row in rows]
    across = Decades(min(0.5, *found) / 1.3, max(2.0, *found) * 1.3, 8.0, WIDTH - 8.0, 0.0)
    shapes: list[Piece] = []
    y = LINE
    for row in rows:
        words = f"{row['case']}; beside {row['peer_name']}: {row['ratio']:.3g}"
        for part in textwrap.wrap(words, LETTERS):
            shapes.append(element("text", part, x=8, y=round(y, 1), cls="name"))
            y += LINE
        left, right = sorted((across.at(1.0), across.at(row["ratio"])))
        box = {"x": round(left, 1), "y": round(y - BAR, 1), "width": round(max(right - left, 1.0), 1), "height": BAR}
        shapes.append(element("rect", **box, cls=f"area {'data' if row['ratio'] <= 1 else 'bad'}"))
        y += LINE + 4
    one = round(across.at(1.0), 1)
    shapes.insert(0, element("path", d=f"M{one} 2V{round(y - LINE, 1)}", cls="grid"))
    for tick in across.ticks():
        shapes.append(element("text", number(tick), x=round(across.at(tick), 1), y=round(y, 1), cls="tick middle"))
    better = sum(ratio < 1 for ratio in found)
    said = f"Ours is less in {better} of {len(rows)} rows; ours / peer from {min(found):.3g} to {max(found):.3g}."
    title = f"{suite}: ours / peer, less is better"
    keys = [("bar", "ours is less, or the same; red: more")]
    return figure(title, picture(f"ratios-{suite}", title, said, *shapes, height=y + 6), keys)


# --- curves -----------------------------------------------------------------------------------------------------


def curves(rows: Sequence[Plain]) -> Markup:
    """One plot for each axis and quantity, one line for each protocol."""
    points: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for row in rows:
        told = scaling.point_of(row["case"]) if row["suite"] == "scaling" else None
        # Nothing is drawn at 0 on a scale of decades.
        if told is not None and row["ours_median"] > 0:
            point, quantity = told
            lines = points.setdefault((point.axis, quantity), {})
            lines.setdefault(point.protocol, []).append((point.x, row["ours_median"]))
    drawn = [curve(over, quantity, lines) for (over, quantity), lines in points.items()]
    return element("div", *drawn, cls="plots") if drawn else paragraph("No curve was measured.")


def curve(over: str, quantity: str, lines: Mapping[str, list[Point]]) -> Markup:
    title = f"{NAMES[quantity]}, over {AXES[over]}"
    every = [point for points in lines.values() for point in points]
    frame = Frame(across(over, [x for x, _ in every]), upright([y for _, y in every]))
    shapes = [line(frame, points, style) for points, style in zip(lines.values(), STYLES, strict=False)]
    said = "; ".join(
        f"{protocol}: {points[0][1]:.3g} at {points[0][0]:g}, {points[-1][1]:.3g} at {points[-1][0]:g}"
        for protocol, points in lines.items()
    )
    drawing = picture(f"curve-{over}-{quantity}", title, said, axis(frame, AXES[over]), *shapes)
    return figure(title, drawing, [(style, name) for name, style in zip(lines, STYLES, strict=False)])


LEFT, RIGHT, TOP, BOTTOM = 52.0, WIDTH - 12.0, 10.0, 174.0


def across(over: str, xs: Sequence[float]) -> Scale:
    """Shares evenly, counts by decades."""
    low, high = min(xs), max(xs)
    if over == "dropout":
        return Scale(low, max(high, low + 0.1), LEFT, RIGHT, 0.0)
    return Decades(low, max(high, 2 * low), LEFT, RIGHT, 0.0)


def upright(ys: Sequence[float]) -> Scale:
    return Decades(min(ys) / 1.5, max(ys) * 1.5, BOTTOM, TOP, 0.0)


# --- utility ----------------------------------------------------------------------------------------------------


def accuracy(rows: Sequence[Plain]) -> Markup:
    """Medians of the shares of digits found over epsilon; what is found without noise stands in words."""
    lines: dict[str, list[Point]] = {}
    exact: dict[str, float] = {}
    for row in rows:
        told = utility.point_of(row["case"]) if row["suite"] == "utility" else None
        if told is None:
            continue
        rule, epsilon = told
        if epsilon is None:
            exact[rule] = 1 - row["ours_median"]
        else:
            lines.setdefault(rule, []).append((float(epsilon), 1 - row["ours_median"]))
    if not lines:
        return paragraph("No training was run.")
    xs = [x for points in lines.values() for x, _ in points]
    frame = Frame(Decades(min(xs), max(*xs, 2 * min(xs)), LEFT, RIGHT, 0.0), Scale(0.0, 1.0, BOTTOM, TOP, 0.0))
    shapes = [line(frame, points, style) for points, style in zip(lines.values(), STYLES, strict=False)]
    told_exact = "; ".join(f"{rule}: {found:.3f}" for rule, found in exact.items())
    said = "; ".join(
        f"{rule}: " + ", ".join(f"{found:.3f} at epsilon {x:g}" for x, found in points)
        for rule, points in lines.items()
    )
    title = "Share of test digits found, over epsilon of the whole run at delta 1e-4"
    drawing = picture("accuracy", title, f"{said}. Without noise: {told_exact}.", axis(frame, "epsilon"), *shapes)
    keys = [(style, rule) for rule, style in zip(lines, STYLES, strict=False)]
    words = paragraph(
        "Rounds are the ideal functionality's: the same integers and noise as any protocol's, without cryptography. "
        f"Without noise: {told_exact}."
    )
    return join([figure(title, drawing, keys), words])
