"""`python -m benchmarks.peers SUITE full|smoke`, inside a peer's environment: the rows as one line of JSON."""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.rows import EFFORTS

if __name__ == "__main__":
    suite, effort = sys.argv[1:]
    rows = importlib.import_module(f"benchmarks.suites.{suite}").rows
    # Attacks are the same however much is measured.
    measured = rows() if suite == "attacks" else rows(EFFORTS[effort])
    print(json.dumps([row.to_dict() for row in measured]))
