"""`python -m benchmarks [--suite NAME] [--json] [--smoke]`: measure, print, exit 1 when a limit is broken.

`--smoke` runs every suite and breaks no build over a slow machine: figures are printed, limits are not
judged.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row
from benchmarks.suites import attacks

SUITES = ("masking", "memory", "rounds", "attacks")
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """What the figures were taken on; only ratios travel between machines."""
    import os

    import cryptography
    import numpy

    return {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "numpy": numpy.__version__,
        "cryptography": cryptography.__version__,
    }


def show(rows: list[Row]) -> None:
    table = Table(title="benchmarks")
    for column in ("suite", "case", "ours", "peer", "ratio", "limit", "passed"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row.suite,
            row.case,
            f"{row.ours:.3g} {row.unit}",
            f"{row.peer:.3g} ({row.peer_name})",
            f"{row.ratio:.3g}",
            f"{row.judged} <= {row.limit:g}",
            "yes" if row.passed else "NO",
        )
    Console(width=140).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, action="append")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", action="store_true", help="also write benchmarks/results/<date>.json")
    parser.add_argument("--smoke", action="store_true", help="measure but do not judge")
    arguments = parser.parse_args()
    rows = [
        row for name in arguments.suite or SUITES for row in importlib.import_module(f"benchmarks.suites.{name}").rows()
    ]
    result = {"version": 1, "command": "bench", "machine": machine(), "rows": [row.to_dict() for row in rows]}
    if arguments.save:
        path = RESULTS / f"{datetime.date.today().isoformat()}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(result))
    else:
        show([row for row in rows if isinstance(row, Row)])
        verdicts = [row for row in rows if isinstance(row, attacks.VerdictRow)]
        if verdicts:
            Console(width=140).print(attacks.table_of(verdicts))
    return 0 if arguments.smoke or all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
