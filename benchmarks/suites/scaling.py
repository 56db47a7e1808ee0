"""How a round grows: with the clients n, with the dimension d, with the share that drops out; for each protocol.

Real rounds of real endpoints in one process, as `secagg simulate` plays them; each sum is checked against the ideal.

    client, server seconds    CPU, the client's by the median of those who stay
    upload                    all frames of a client that stays
    memory                    peak of the process that plays every party, over what it held before: sampled in a
                              round of its own, so that the sampling costs no seconds

A curve begins at its smallest point, which the others are beside: `ratio` is how many times as much.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.resident import sampled_peak
from benchmarks.rows import Effort, Row, Taken, on_cores
from protocols.trial import Trial, TrialReport, plan_for, run_trial
from secagg.ckks.cipher import Fft

PROTOCOLS = ("pairwise", "oneshot", "ckks")
BITS, SEED, REPEATS = 16, 20261127, 3
CLIENTS = (10, 20, 40, 80)
DIMENSIONS = (10_000, 100_000, 1_000_000)
DROPOUTS = (0.0, 0.1, 0.2, 0.3)
FEW, SMALL = 10, 10_000
# Of a curve over drop-outs: as many lose how many.
MANY = 40
# Beyond its axis a figure may grow this many times more: a lost client costs a pairwise server a mask per survivor.
LIMIT = 3.0
LIMIT_LOST = 100.0
QUANTITIES = {"client": "s", "server": "s", "upload": "bytes", "memory": "MiB"}
AXES = ("clients", "dimension", "dropout")
MEBIBYTE = 1 << 20
CASE = re.compile(r"(\w+) over (\w+), ([\d,]+) clients, d = ([\d,]+), ([\d.]+) lost: (\w+)")


@dataclass(frozen=True, slots=True)
class Point:
    """One round on a curve."""

    protocol: str
    axis: str
    clients: int
    dimension: int
    dropout: float

    @property
    def x(self) -> float:
        """Where it is on its axis."""
        return {"clients": self.clients, "dimension": self.dimension, "dropout": self.dropout}[self.axis]

    def case(self, quantity: str) -> str:
        sizes = f"{self.clients:,} clients, d = {self.dimension:,}, {self.dropout:g} lost"
        return f"{self.protocol} over {self.axis}, {sizes}: {quantity}"


def point_of(case: str) -> tuple[Point, str] | None:
    """The inverse of `Point.case`: the point and its quantity; None for what is no such case."""
    found = CASE.fullmatch(case)
    if found is None or found[2] not in AXES or found[6] not in QUANTITIES:
        return None
    clients, dimension = (int(found[group].replace(",", "")) for group in (3, 4))
    return Point(found[1], found[2], clients, dimension, float(found[5])), found[6]


def rows(effort: Effort) -> Iterator[Row]:
    with on_cores(1):
        for protocol in PROTOCOLS:
            for axis in AXES:
                yield from curve(points(protocol, axis, effort), min(REPEATS, effort.repeats))


def points(protocol: str, axis: str, effort: Effort) -> list[Point]:
    """From the smallest on; of a small run the first two only."""
    many = min(MANY, 2 * effort.most_clients)
    every = {
        "clients": [Point(protocol, axis, clients, SMALL, 0.1) for clients in CLIENTS],
        "dimension": [Point(protocol, axis, FEW, dimension, 0.1) for dimension in DIMENSIONS],
        "dropout": [Point(protocol, axis, many, SMALL, dropout) for dropout in DROPOUTS],
    }[axis]
    return every if effort.repeats > 1 else every[:2]


def curve(along: list[Point], repeats: int) -> Iterator[Row]:
    first = figures(along[0], repeats)
    for point in along:
        taken = first if point is along[0] else figures(point, repeats)
        growth = LIMIT_LOST if point.axis == "dropout" else LIMIT * point.x / along[0].x
        for quantity, unit in QUANTITIES.items():
            yield Row(
                suite="scaling",
                case=point.case(quantity),
                unit=unit,
                ours=taken[quantity],
                peer_name="the smallest of the curve",
                peer=first[quantity],
                limit=growth,
                judged="ratio",
                note="CPU seconds" if unit == "s" else "",
            )


def figures(point: Point, repeats: int) -> dict[str, Taken]:
    """Every quantity of the point.  Raises: AssertionError where a round was not exact."""
    reports = [played(point) for _ in range(repeats)]
    peak = sampled_peak(lambda: played(point))
    seconds = {
        "client": [report.client_seconds_median for report in reports],
        "server": [report.server_seconds for report in reports],
    }
    counted = {"upload": float(reports[0].upload_bytes_per_client), "memory": peak / MEBIBYTE}
    taken = {name: Taken.of(values) for name, values in seconds.items()}
    return taken | {name: Taken.once(figure) for name, figure in counted.items()}


def played(point: Point) -> TrialReport:
    plan = plan_for(point.clients, point.dropout, BITS, point.protocol)
    report = run_trial(Trial(plan, point.clients, point.dimension, point.dropout, Fft()), SEED)
    if not report.exact:
        raise AssertionError(f"another sum than that of the survivors: {point}")
    return report
