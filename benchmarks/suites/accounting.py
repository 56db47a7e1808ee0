"""Epsilon of one run, and the noise an epsilon needs, beside dp-accounting, Opacus and prv-accountant."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.peers import dp_accounting
from benchmarks.rows import Effort, Row, on_cores
from benchmarks.runs import RUNS, UNIT, Run, ask
from dp import RdpAccountant

MOST_REPEATS = 3
LIMIT_RDP_SECONDS = 2e-3


def rows(effort: Effort) -> Iterator[Row]:
    runs, repeats = RUNS[: effort.most_runs], min(effort.repeats, MOST_REPEATS)
    with on_cores(1):
        yield renyi(runs, repeats)


def renyi(runs: tuple[Run, ...], repeats: int) -> Row:
    """The run that takes us longest. dp-accounting's fractional orders are too large, so its answer is above."""

    def ours(run: Run) -> float:
        accountant = RdpAccountant(UNIT)
        accountant.compose(run.event)
        return accountant.epsilon(run.delta)

    asked = [ask(run, ours, lambda run: dp_accounting.rdp_epsilon(*run.plain), repeats) for run in runs]
    slowest = max(asked, key=lambda one: one.ours.least)
    return Row(
        suite="accounting",
        case=f"Renyi, every order, slowest of {len(runs)} runs: {slowest.run}",
        unit="s",
        ours=slowest.ours,
        peer_name=f"{dp_accounting.TITLE}, RDP",
        peer=slowest.peer,
        limit=LIMIT_RDP_SECONDS,
        judged="ours",
        ours_error=max(one.above for one in asked),
        error_limit=1e-6,
        note="CPU seconds; error: epsilon above the peer's, worst of all runs",
    )
