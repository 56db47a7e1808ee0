"""The page of a ledger as a file, and the JSON beside it: `secagg ledger report`, and the end of a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dp.ledger import Ledger
from dp.ledger.pins import Pin
from dp.ledger.place import require_not_of_a_ledger
from dp.ledger.vouching import Known
from dp.place import replacing
from protocols.bookkeeping import Values, judged, refuting, replayed

if TYPE_CHECKING:
    from dp.audit import Inversion


def reported(
    ledger: Ledger, pin: Pin | None, page: Path, record: Path | None, inversion: Inversion | None = None
) -> Values:
    """How the ledger is judged, and its page in a file; pictures and every number beside it where they are wanted.

    Raises: dp.errors.StorageRefused for a file that belongs to a ledger; LedgerError; OSError.
    """
    from protocols.report.privacy import render

    for out in (page, record):
        if out is not None:
            require_not_of_a_ledger(out)
    statement = ledger.state(Known(pin=pin))
    html, numbers = render(statement, inversion, datetime.now(UTC))
    with replacing(page) as file:
        file.write(html.encode("utf-8"))
    if record is not None:
        with replacing(record) as file:
            file.write(json.dumps(numbers, indent=1).encode("utf-8") + b"\n")
    return judged(ledger, statement.verdict) | {
        "verdict": statement.verdict.verdict,
        "audits_refuted": refuting(statement.verdict),
        "out": str(page),
        "json_out": None if record is None else str(record),
    }


def pictures() -> Inversion:
    """Pictures read out of sums of gradients, with and without noise: attacked now, for a ledger keeps none."""
    from dp.audit.inversion import COHORTS
    from protocols.learning.inverting import pictures_of, table_of_sums

    return table_of_sums(pictures_of(None, max(COHORTS), seed=0), seed=0)


def closed(path: Path, folder: Path) -> Values:
    """A finished run's ledger as `verify` and `replay` judge it, and its page with pictures in the run's folder."""
    from protocols.learning.demo import PIN

    page, pin = folder / "privacy.html", folder / PIN
    with Ledger.read(path) as ledger:
        told = reported(ledger, Pin.read(pin), page, folder / "privacy.json", pictures())
        again = replayed(ledger, foreign=False)
    return {
        "ok": bool(told["ok"] and again["ok"]),
        "ledger_verdict": told["verdict"],
        "ledger_replayed": again["ok"],
        "report": str(page),
    }
