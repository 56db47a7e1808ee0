"""Epsilon of one run, beside dp-accounting, prv-accountant and autodp.

equal mesh    the same discretisation on both sides: what is left is how fast it is composed
interval      both ends at a mesh of our own choosing, and how far they are apart
online        a further round, and epsilon after it
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

from benchmarks.peers import autodp, dp_accounting, prv
from benchmarks.rows import Effort, Row, Taken, alternate, faster, on_cores, timed
from benchmarks.runs import MILLION, RUNS, UNIT, Asked, Run, ask, relative, together, told_of
from benchmarks.scoreboard import worst
from dp import Interval, RdpAccountant
from dp.pld import PldAccountant

MOST_REPEATS = 3
MESH = 1e-4
# The mesh of the truth that a million rounds are compared with: T dx^2 / 8 = 1e-4 above it at most.
FINE_MESH = 3e-5
TIMES_DP_ACCOUNTING = 2.5
# Above the peer; above the peer's laws composed exactly, where we book rounding that it does not, up to twice that.
LIMIT_ABOVE, LIMIT_ABOVE_LAW = 1e-5, 2e-5
LIMIT_INTERVAL_SECONDS, LIMIT_MILLION_SECONDS, LIMIT_ROUND_SECONDS, LIMIT_RDP_SECONDS = 0.3, 0.4, 15e-3, 2e-3
# What an interval may be wide: this share of its upper end, or this much.
WIDTH_SHARE, WIDTH_LEAST = 0.01, 0.005
# Half the width of the intervals that prv-accountant is asked for.
PRV_ERROR = 0.1
ROUNDS = 20


def rows(effort: Effort) -> Iterator[Row]:
    runs, repeats = RUNS[: effort.most_runs], min(effort.repeats, MOST_REPEATS)
    with on_cores(1):
        yield equal_mesh(runs, repeats)
        yield from intervals(runs, repeats)
        yield million(repeats)
        yield online(RUNS[0], effort)
        yield renyi(runs, repeats, f"{dp_accounting.TITLE}, RDP", dp_accounting.rdp_epsilon)
        yield renyi(runs, repeats, f"{autodp.TITLE}, RDP", autodp.epsilon)


def equal_mesh(runs: tuple[Run, ...], repeats: int) -> Row:
    asked = [ask(run, upper_on_mesh, lambda run: dp_accounting.pld_epsilon(*run.plain, MESH), repeats) for run in runs]
    worst = max(asked, key=above_its_law)
    return Row(
        suite="accounting",
        case=f"upper end at mesh {MESH:g}, {len(runs)} runs together",
        unit="s",
        ours=together([one.ours for one in asked]),
        peer_name=f"{dp_accounting.TITLE}, PLD",
        peer=together([one.peer for one in asked]),
        limit=faster(TIMES_DP_ACCOUNTING),
        judged="ratio",
        ours_error=above_its_law(worst),
        error_limit=LIMIT_ABOVE_LAW,
        note="CPU seconds; error: epsilon above the peer's, or above that of the peer's own laws composed in extended "
        f"precision where its doubles fall short, relative, worst at {worst.run}",
    )


def above_its_law(asked: Asked) -> float:
    """How far we are above what the peer should have said: near delta = 1e-9 its FFT loses the last digits.

    At one mesh nobody is far below either, unless wrong: then that is the distance.
    """
    if abs(relative(asked.ours_answer, asked.peer_answer)) <= LIMIT_ABOVE:
        return asked.above
    off = abs(relative(asked.ours_answer, dp_accounting.pld_epsilon_of_its_law(*asked.run.plain, MESH)))
    return off if math.isfinite(off) else math.inf


def intervals(runs: tuple[Run, ...], repeats: int) -> Iterator[Row]:
    """The slowest and the widest; the peer's interval bounds one direction, so ours must only meet it."""
    asked = [
        ask(run, lambda run: interval(run).upper, lambda run: prv.interval(*run.plain, PRV_ERROR)[1], repeats)
        for run in runs
    ]
    slowest = max(asked, key=lambda one: one.ours.least)
    widest = max(runs, key=lambda run: width(interval(run)))
    apart = worst(apart_from_prv(run) for run in runs)
    yield Row(
        suite="accounting",
        case=f"interval, slowest of {len(runs)} runs: {slowest.run}",
        unit="s",
        ours=slowest.ours,
        peer_name=f"{prv.TITLE}, epsilon +- {PRV_ERROR}",
        peer=slowest.peer,
        limit=LIMIT_INTERVAL_SECONDS,
        judged="ours",
        ours_error=apart,
        error_limit=0.0,
        note="CPU seconds; error: distance between the two intervals, 0 where they meet, worst of all runs",
    )
    yield Row(
        suite="accounting",
        case=f"width of the interval, widest of {len(runs)} runs: {widest}",
        unit=f"of max({WIDTH_SHARE:.0%}, {WIDTH_LEAST})",
        ours=Taken.once(width(interval(widest))),
        peer_name=f"{prv.TITLE}, epsilon +- {PRV_ERROR}",
        peer=Taken.once(width_of(*prv.interval(*widest.plain, PRV_ERROR))),
        limit=1.0,
        judged="ours",
        ours_error=apart,
        error_limit=0.0,
        note="error: as above",
    )


def million(repeats: int) -> Row:
    truth = dp_accounting.pld_epsilon(*MILLION.plain, FINE_MESH)
    asked = ask(MILLION, lambda run: interval(run).upper, lambda run: prv.interval(*run.plain, PRV_ERROR)[1], repeats)
    return Row(
        suite="accounting",
        case=f"interval of a million rounds: {MILLION}",
        unit="s",
        ours=asked.ours,
        peer_name=f"{prv.TITLE}, epsilon +- {PRV_ERROR}",
        peer=asked.peer,
        limit=LIMIT_MILLION_SECONDS,
        judged="ours",
        ours_error=abs(asked.ours_answer / truth - 1),
        peer_error=abs(asked.peer_answer / truth - 1),
        error_limit=1e-3,
        note=f"CPU seconds; error: of the upper end, from {dp_accounting.TITLE} at mesh {FINE_MESH:g}",
    )


def online(run: Run, effort: Effort) -> Row:
    """Both accountants live through the same rounds, from the first on."""
    ours, peer = PldAccountant(UNIT), dp_accounting.Online(*run.plain[:2], run.plain[3], MESH)
    answers: list[float] = []

    def next_round() -> None:
        ours.compose(run.step)
        answers.append(ours.epsilon(run.delta))

    rounds = ROUNDS if effort.repeats > 1 else 1
    taken, taken_peer = alternate(timed(next_round), timed(peer.next), rounds)
    expected = peer.next()
    next_round()
    return Row(
        suite="accounting",
        case=f"one more round after {rounds} and epsilon, q = {run.rate}, z = {float(run.noise):g}",
        unit="s",
        ours=taken,
        peer_name=f"{dp_accounting.TITLE}, PLD at mesh {MESH:g}",
        peer=taken_peer,
        limit=LIMIT_ROUND_SECONDS,
        judged="ours",
        ours_error=abs(relative(answers[-1], expected)),
        error_limit=WIDTH_SHARE,
        note="CPU seconds; error: epsilon above or below the peer's, relative",
    )


def renyi(runs: tuple[Run, ...], repeats: int, title: str, peer: Callable[[float, float, int, float], float]) -> Row:
    """The run that takes us longest. Both peers have fewer orders, or too large ones, so their answers are above."""

    def ours(run: Run) -> float:
        accountant = RdpAccountant(UNIT)
        accountant.compose(run.event)
        return accountant.epsilon(run.delta)

    asked = [ask(run, ours, lambda run: peer(*run.plain), repeats) for run in runs]
    slowest = max(asked, key=lambda one: one.ours.least)
    return Row(
        suite="accounting",
        case=f"Renyi, every order, slowest of {len(runs)} runs: {slowest.run}",
        unit="s",
        ours=slowest.ours,
        peer_name=title,
        peer=slowest.peer,
        limit=LIMIT_RDP_SECONDS,
        judged="ours",
        ours_error=worst([*(one.above for one in asked), *map(below_the_losses, asked)]),
        error_limit=1e-6,
        note="CPU seconds; error: epsilon above the peer's, or below that of its losses on a grid, relative, worst of "
        "all runs",
    )


def below_the_losses(asked: Asked) -> float:
    """How far a Renyi bound is below what it bounds, relative: 0 for one that holds, infinite for no number.

    It is above the true epsilon by 5 % and more in these runs, and the peer's losses at MESH by 1e-5 at most.
    """
    off = -relative(asked.ours_answer, epsilon_by_losses(asked.run))
    return max(0.0, off) if math.isfinite(off) else math.inf


@cache
def epsilon_by_losses(run: Run) -> float:
    """dp-accounting's, asked once for the rows of both peers."""
    return dp_accounting.pld_epsilon(*run.plain, MESH)


def upper_on_mesh(run: Run) -> float:
    """The upper end at MESH."""
    return told_of(run).upper_at(MESH, run.delta)


def interval(run: Run) -> Interval:
    """Both ends at the mesh that our accountant chooses."""
    return told_of(run).interval(run.delta)


def width(found: Interval) -> float:
    return width_of(found.lower or 0.0, found.upper)


def width_of(lower: float, upper: float) -> float:
    """In units of what an interval may be wide."""
    return (upper - lower) / max(WIDTH_SHARE * upper, WIDTH_LEAST)


def apart_from_prv(run: Run) -> float:
    """The distance between our interval and the peer's: at least one of them is wrong where it is not 0."""
    found, (lower, upper) = interval(run), prv.interval(*run.plain, PRV_ERROR)
    return worst((0.0, lower - found.upper, (found.lower or 0.0) - upper))
