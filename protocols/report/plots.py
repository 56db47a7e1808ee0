"""Curves of privacy budgets as pictures; the format follows from the name of the file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp.accountant import Interval
from protocols.curves import EpsilonCurve, NoiseCurves
from protocols.errors import MissingExtra, Misused

FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Plot:
    """A file that a picture can be drawn into; made before anything is computed, so that nothing is in vain."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Plot:
        """Raises: Misused for another format or a missing folder; MissingExtra without matplotlib."""
        if path.suffix.lower() not in FORMATS:
            raise Misused(f"cannot draw into {path}: name a file that ends in {', '.join(FORMATS)}")
        if path.is_dir() or not path.parent.is_dir():
            raise Misused(f"cannot draw into {path}: it must be a file in a folder that exists")
        _matplotlib()
        return cls(path)

    def draw_epsilon(self, curve: EpsilonCurve) -> str:
        """Epsilon over the releases: the band a reader's epsilon lies in, and the aggregator's upper end.

        Raises: OSError when the file cannot be written.
        """
        figure, axes = self._axes("releases", curve.relation, float(curve.delta))
        axes.plot(curve.steps, _upper(curve.aggregator), color="C1", label="aggregator, knows each cohort (upper end)")
        axes.plot(curve.steps, _upper(curve.released), color="C0", label="reader of the releases (upper end)")
        lower = [math.nan if found.lower is None else found.lower for found in curve.released]
        if not all(map(math.isnan, lower)):
            label = "where the reader's epsilon lies"
            axes.fill_between(curve.steps, lower, _upper(curve.released), color="C0", alpha=0.25, label=label)
        axes.set_ylabel("epsilon")
        axes.set_ylim(bottom=0)
        return self._save(figure, axes)

    def draw_noise(self, curves: NoiseCurves) -> str:
        """The noise multiplier that an epsilon needs, one line for each number of releases, and the budget.

        Raises: OSError when the file cannot be written.
        """
        budget = curves.budget
        figure, axes = self._axes("epsilon of all releases (upper end)", budget.relation, float(budget.delta))
        for curve in curves.curves:
            axes.plot(_upper(curve.released), curve.noise, label=f"{curve.steps:,} releases")
        axes.axvline(float(budget.epsilon), color="0.5", linestyle=":", label="the budget")
        axes.set_ylabel(f"noise multiplier, {curves.mechanism}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        return self._save(figure, axes)

    def _axes(self, what: str, relation: str, delta: float) -> tuple[Any, Any]:
        # Without pyplot: no window, no backend to choose, no figure that stays behind.
        figure = _matplotlib()(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(what)
        axes.set_title(f"{relation}, delta {delta:g}")
        axes.grid(alpha=0.3)
        return figure, axes

    def _save(self, figure: Any, axes: Any) -> str:
        axes.legend()
        figure.savefig(self.path, dpi=150)
        return str(self.path)


def _upper(intervals: Iterable[Interval]) -> list[float]:
    return [found.upper for found in intervals]


def _matplotlib() -> Any:
    """The class of figures.  Raises: MissingExtra."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise MissingExtra("report") from missing
    return Figure
