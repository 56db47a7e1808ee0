"""Part 4: how it came to that, as pictures. Each says its figures in words too, for who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from dp.ledger.statement import BudgetStatement, Erased, Release
from protocols.report.markup import NOTHING, Markup, element
from protocols.report.parts import SHOWN, figure, left_out, paragraph, remark, section
from protocols.report.privacy.facts import Clients, Facts, Histogram, finite_ends
from protocols.report.privacy.noise import deviation, noise_of
from protocols.report.privacy.words import above, below, count, counted, float_of, near
from protocols.report.svg import Frame, Point, axis, band, bars, line, picture, rule

# Beyond, a double no longer tells two rounds apart.
_LARGEST_ROUND = 2**50
# Empty room at each side of a bin that is the only one, in widths of it.
_BESIDE = 3


def plots(known: Facts) -> Markup:
    """All plots that have something to show."""
    statement = known.statement
    spent = [budget for budget in statement.budgets if budget.points]
    drawn = [_epsilon(budget) for budget in spent[:SHOWN]]
    drawn += _clients(known.clients, known.statement.erased)
    drawn += _releases(statement.releases)
    nothing = paragraph(known.of_all("Nothing was charged, so nothing is drawn."))
    shown = element("div", *drawn, cls="plots") if drawn else nothing
    left = left_out(len(spent), SHOWN, "budgets")
    ended = remark(known.only_before()) if drawn else NOTHING
    return section(4, "plots", "How it came to that", shown, left, remark(_erasures(statement.erased)), ended)


def _erasures(erased: Erased) -> str:
    if not erased.openings:
        return ""
    return (
        f"{counted(erased.openings, 'opening')} in {counted(erased.rounds, 'round')} {_were(erased.openings)} erased. "
        "Nobody can say whose, so each such round that was not aborted counts in the epsilon of every client that is "
        "not listed in it; clients listed nowhere any more have no figures of their own, here or in the JSON record."
    )


def _were(many: int) -> str:
    return "was" if many == 1 else "were"


def _epsilon(budget: BudgetStatement) -> Markup:
    across, xs = _numbered([point.round for point in budget.points])
    found = [finite_ends(point.ends) for point in budget.points]
    lower = [(x, low) for x, (low, _) in zip(xs, found, strict=True)]
    upper = [(x, high) for x, (_, high) in zip(xs, found, strict=True)]
    limit = float_of(budget.terms.budget.epsilon)
    frame = Frame.around(xs, [limit, *(high for _, high in upper)], x_grain=1.0)
    last = budget.points[-1].ends
    title = f"Budget {budget.id}: epsilon"
    said = (
        f"After {counted(len(budget.points), 'charge')} epsilon is at most {above(last.upper)}"
        f"{'' if last.lower is None else f' and at least {below(last.lower)}'}; the limit is {above(limit)}."
    )
    shapes = (band(frame, lower, upper, "spread"), line(frame, upper, "data"), rule(frame, limit, "line limit"))
    drawing = picture(f"epsilon-{budget.id}", title, said, axis(frame, across), *shapes)
    return figure(title, drawing, [("data", "recorded, upper end"), ("spread", "lower to upper"), ("limit", "limit")])


def _numbered(rounds: Sequence[int]) -> tuple[str, list[float]]:
    """Rounds where they grow, else the releases counted from 1: several tasks may count their own rounds."""
    if all(one < other for one, other in pairwise(rounds)) and max(rounds) < _LARGEST_ROUND:
        return "round", [float(number) for number in rounds]
    return "release", [float(number) for number in range(1, len(rounds) + 1)]


# --- clients ----------------------------------------------------------------------------------------


def _clients(clients: Clients, erased: Erased) -> list[Markup]:
    if clients.total == 0:
        return []
    said = (
        f"Of {counted(clients.total, 'client')} the one invited most was in {counted(clients.most_invited, 'round')}."
    )
    invited = "Rounds each client is listed in" if erased.openings else "Rounds each client was invited to"
    drawn = [_histogram("invited", invited, "rounds", said, clients.invited, grain=1.0)]
    for (budget, histogram), (_, worst) in list(zip(clients.spent, clients.worst, strict=True))[:SHOWN]:
        title = f"Budget {budget}: epsilon of each client"
        said = f"{counted(sum(histogram.counts), 'client')} with a finite epsilon; of the worst it is {above(worst)}."
        drawn.append(_histogram(f"clients-{budget}", title, "epsilon, upper end", said, histogram, grain=0.0))
    return drawn


def _histogram(key: str, title: str, across: str, said: str, histogram: Histogram, *, grain: float) -> Markup:
    edges, counts = histogram.edges, histogram.counts
    # One bin alone would fill the plot, as if the clients were spread over all of it.
    beside = _BESIDE * (edges[-1] - edges[0]) if len(counts) == 1 else 0.0
    across_all = [max(edges[0] - beside, min(edges[0], 0.0)), edges[-1] + beside] if edges else []
    frame = Frame.around(across_all, list(map(float, counts)), x_grain=grain, y_grain=1.0)
    return figure(
        title, picture(key, title, said, axis(frame, across), bars(frame, edges, counts, "data")), [("bar", "clients")]
    )


# --- releases ---------------------------------------------------------------------------------------


def _releases(releases: Sequence[Release]) -> list[Markup]:
    done = [release for release in releases if release.survivors is not None]
    set_up = [release for release in releases if release.setting is not None]
    drawn = []
    if done:
        drawn.append(_survivors(done))
    if set_up:
        drawn.append(_clip(set_up))
    loud = [release for release in releases if noise_of(release.event) is not None]
    return [*drawn, _noise(loud)] if loud else drawn


def _survivors(done: Sequence[Release]) -> Markup:
    across, xs = _numbered([release.round for release in done])
    survivors = [float(release.survivors or 0) for release in done]
    least = [
        (x, float(release.setting.min_survivors))
        for x, release in zip(xs, done, strict=True)
        if release.setting is not None
    ]
    frame = Frame.around(xs, [*survivors, *(y for _, y in least)], x_grain=1.0, y_grain=1.0)
    few, many = int(min(survivors)), int(max(survivors))
    said = f"{count(few)} to {count(many)} survivors in {counted(len(done), 'release')}"
    required = [release.setting.min_survivors for release in done if release.setting is not None]
    said += (
        f"; at least {count(max(required))} were required." if required else "; how many were required is not known."
    )
    shapes = (line(frame, list(zip(xs, survivors, strict=True)), "data"), line(frame, least, "limit"))
    keys = [("data", "survivors"), *([("limit", "fewest allowed")] if least else [])]
    return figure("Survivors", picture("survivors", "Survivors", said, axis(frame, across), *shapes), keys)


def _clip(set_up: Sequence[Release]) -> Markup:
    across, xs = _numbered([release.round for release in set_up])
    clips = [float_of(release.setting.clip) for release in set_up if release.setting is not None]
    frame = Frame.around(xs, clips, x_grain=1.0)
    said = f"From {near(clips[0])} to {near(clips[-1])}; at most {near(max(clips))}."
    drawing = picture(
        "clip", "Clip norm", said, axis(frame, across), line(frame, list(zip(xs, clips, strict=True)), "data")
    )
    return figure("Clip norm", drawing, [("data", "longest update counted, L2")])


def _noise(loud: Sequence[Release]) -> Markup:
    """Charged is what the epsilon rests on: the fewest survivors, without the colluders. Released is what was there."""
    across, xs = _numbered([release.round for release in loud])
    known = all(release.setting is not None for release in loud)
    charged = _finite(xs, loud, lambda release: deviation(release.event, release.setting if known else None))
    there = _finite(xs, loud, lambda release: deviation(release.released, release.setting if known else None))
    frame = Frame.around(xs, [y for _, y in (*charged, *there)], x_grain=1.0)
    units = "in the units of an update" if known else "in steps of the lattice"
    said = f"Standard deviation per coordinate of the sum, {units}."
    if charged:
        said += f" Charged: {_between(charged)}."
    if there:
        said += f" Released: {_between(there)}."
    shapes = (line(frame, there, "second"), line(frame, charged, "data"))
    title = f"Noise on the sum, {units}"
    keys = [
        ("data", "charged: what epsilon rests on"),
        *([("second", "released: with all survivors")] if there else []),
    ]
    return figure(title, picture("noise", title, said, axis(frame, across), *shapes), keys)


def _finite(xs: Sequence[float], loud: Sequence[Release], value: Callable[[Release], float | None]) -> list[Point]:
    pairs = ((x, value(release)) for x, release in zip(xs, loud, strict=True))
    return [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]


def _between(points: Sequence[Point]) -> str:
    values = [y for _, y in points]
    return f"{near(min(values))} to {near(max(values))}"
