"""Check that no suite was skipped whose peer every machine can have, and that none of their answers was wrong."""

import json
import sys

SUMS_LIMIT = 1e-4
# It wants an interpreter of its own, which a machine need not have.
MAY_BE_MISSING = "skipped openfhe, "
# Where models are trained the error is the share of wrong answers, and small runs train them little.
TRAINED = {"compression"}


def is_right(row: dict) -> bool:
    """Whether the error that our side reports, if any, is within the row's own limit or that of sums."""
    error, limit = row.get("ours_error"), row.get("error_limit")
    return error is None or row["suite"] in TRAINED or error <= (SUMS_LIMIT if limit is None else limit)


with open(sys.argv[1], encoding="utf-8") as file:
    result = json.load(file)
if result["failed"]:
    sys.exit(f"failed: {result['failed']}")
wrong = [f"{row['suite']}: {row['case']}" for row in result["rows"] if not is_right(row)]
missing = [skip for skip in result["skipped"] if not skip.startswith(MAY_BE_MISSING)]
if missing or not result["rows"] or wrong:
    sys.exit(f"skipped: {missing}; wrong: {wrong}; {len(result['rows'])} rows")
print(*result["skipped"], sep="\n")
print(f"{len(result['rows'])} rows beside peers, none skipped that can be measured here, every answer right")
