"""A result as `secagg bench` prints it, made of rows that a test chooses."""

from __future__ import annotations

from typing import Any

from benchmarks.measuring import Measured
from benchmarks.rows import Row, Taken
from benchmarks.scoreboard import scoreboard
from benchmarks.suites.scaling import Point
from benchmarks.suites.utility import case_of

HOSTILE = "<script>alert(1)</script>\"'&\u202e"
ATTACK = {
    "suite": "attacks",
    "case": HOSTILE,
    "idea": HOSTILE,
    "ours": {"outcome": "withstood", "evidence": HOSTILE},
    "peer_name": "Flower",
    "peer": {"outcome": "fell", "evidence": "the seed has 32 bits", "upstream": "flower#7522"},
    "skipped": "",
    "passed": True,
}


def row(suite: str, case: str, ours: float = 1.0, peer: float = 2.0, peer_name: str = "peer") -> Row:
    return Row(suite, case, "s", Taken(ours, ours, 3, 0.1), peer_name, Taken.once(peer), 1.0, "ratio")


ROWS = (
    row("clients", "3 masks, weights up to 1, d = 1,000,000, 1 thread", 1.0, 7.0),
    row("noise", HOSTILE, peer_name=HOSTILE),
    *(
        row("scaling", Point(protocol, "clients", clients, 100, 0.1).case(quantity), float(clients))
        for protocol in ("pairwise", "oneshot")
        for clients in (10, 20)
        for quantity in ("client", "upload")
    ),
    *(row("utility", case_of("all coordinates", epsilon), 0.2) for epsilon in (1, 8, None)),
)


def result(rows: tuple[Row, ...] = ROWS, attacks: tuple[dict[str, Any], ...] = (ATTACK,)) -> dict[str, Any]:
    """What `result_of` gives for a run of this kind, on a machine that is made up."""
    return {
        "version": 1,
        "command": "bench",
        "suite": ["masks"],
        "effort": "full",
        "date": "2026-01-02T03:04:05+00:00",
        "commit": None,
        "machine": {"processor": HOSTILE, "cores": 2, "system": "Linux", "python": "3.11.7"},
        "versions": {"here": {"numpy": "2"}, "flower": {"python": "3.11.7", "flwr": "1.41.0", "gone": None}},
        "seconds": 61.0,
        "modules": [Measured("masks", "clients", 60.0).to_dict()],
        "scoreboard": [cell.to_dict() for cell in scoreboard(rows, attacks)],
        "skipped": [HOSTILE],
        "failed": [],
        "rows": [*(one.to_dict() for one in rows), *attacks],
    }
