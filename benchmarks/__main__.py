"""`python -m benchmarks [--suite NAME] [--peers] [--json] [--smoke]`: measure, print, exit 1 when a limit is broken.

Without `--peers`, the suites that need nothing but this project; with it, those beside its peers.
`--smoke` runs every suite on small inputs and breaks no build: figures are printed, limits are not judged.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import platform
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from benchmarks import pages
from benchmarks.pages import RESULTS
from benchmarks.peers import Skipped, rows_beside
from benchmarks.rows import EFFORTS, Row
from benchmarks.suites import attacks
from benchmarks.suites.attacks import VerdictRow

OWN_SUITES = ("masking", "unmasking", "memory", "rounds", "encoding", "sparse", "ledger", "audits")
# Those that run in the environment they name; attacks go there by themselves.
BESIDE = dict.fromkeys(("clients", "servers", "oneshot", "sizes", "rounding", "faults"), "flower")
BESIDE |= dict.fromkeys(("noise", "accounting", "calibration"), "dp")
BESIDE |= {"ckks": "tenseal", "nvflare_he": "nvflare", "openfhe": "openfhe", "jax_privacy": "jax_privacy", "pfl": "pfl"}
PEER_SUITES = (*BESIDE, "attacks")
# Only where they are named: one starts a framework's engine, the others train for minutes or need torch.
BESIDE |= {"flower_loop": "flower"}
ON_DEMAND = ("flower_loop", "compression", "membership", "inversion")


def machine() -> dict[str, object]:
    """What the figures were taken on; only ratios travel between machines."""
    import os

    import cryptography
    import numpy
    from cryptography.hazmat.backends.openssl import backend

    return {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "numpy": numpy.__version__,
        "cryptography": cryptography.__version__,
        "openssl": backend.openssl_version_text(),
    }


def measured(suites: list[str], effort: str) -> Iterator[Row | VerdictRow | Skipped]:
    """The rows of every suite, in this process or in its peer's environment."""
    for suite in suites:
        if suite == "attacks":
            yield from attacks.rows()
        elif suite in BESIDE:
            found = rows_beside(BESIDE[suite], suite, effort)
            yield from [found] if isinstance(found, Skipped) else found
        else:
            yield from importlib.import_module(f"benchmarks.suites.{suite}").rows(EFFORTS[effort])


def show(rows: list[Row]) -> None:
    table = Table(title="benchmarks")
    for column in ("suite", "case", "ours", "peer", "ratio", "limit", "passed", "errors"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row.suite,
            f"{row.case} ({row.note})" if row.note else row.case,
            f"{row.ours.least:.3g} {row.unit}",
            f"{row.peer.least:.3g} ({row.peer_name})",
            f"{row.ratio:.3g}" + (f" = 1/{1 / row.ratio:.3g}" if 0 < row.ratio < 1 else ""),
            f"{row.judged} <= {row.limit:.3g}",
            "yes" if row.passed else "NO",
            " / ".join(f"{error:.1e}" for error in (row.ours_error, row.peer_error) if error is not None),
        )
    Console(width=170).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--suite", choices=OWN_SUITES + PEER_SUITES + ON_DEMAND, action="append")
    parser.add_argument("--peers", action="store_true", help="the suites beside other libraries (see `make peers`)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", action="store_true", help="also write results/<date>-<what>.json, and its page")
    parser.add_argument("--smoke", action="store_true", help="measure little and do not judge")
    arguments = parser.parse_args()
    suites = arguments.suite or (PEER_SUITES if arguments.peers else OWN_SUITES)
    found = list(measured(list(suites), "smoke" if arguments.smoke else "full"))
    rows = [row for row in found if isinstance(row, Row)]
    verdicts = [row for row in found if isinstance(row, VerdictRow)]
    judged: list[Row | VerdictRow] = [*rows, *verdicts]
    skipped = [str(skip) for skip in found if isinstance(skip, Skipped)]
    skipped += sorted({f"skipped attacks: {row.skipped}" for row in verdicts if row.skipped})
    result = {
        "version": 1,
        "command": "bench",
        "machine": machine(),
        "rows": [row.to_dict() for row in judged],
        "skipped": skipped,
    }
    if arguments.save:
        kind = "-".join(arguments.suite or ["peers" if arguments.peers else "own"])
        path = RESULTS / f"{datetime.date.today().isoformat()}-{kind}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if kind in pages.PAGES:
            pages.write(kind, rows)
    if arguments.json:
        print(json.dumps(result))
    else:
        if rows:
            show(rows)
        if verdicts:
            Console(width=170).print(attacks.table_of(verdicts))
        for line in skipped:
            print(line)
    return 0 if arguments.smoke or all(row.passed for row in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
