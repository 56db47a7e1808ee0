"""Check that no suite beside a peer was skipped, and that none of their sums was wrong."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    result = json.load(file)
errors = {row["case"]: row.get("ours_error") for row in result["rows"]}
wrong = [case for case, error in errors.items() if error is not None and not error < 1e-4]
if result["skipped"] or not result["rows"] or wrong:
    sys.exit(f"skipped: {result['skipped']}; wrong: {wrong}; {len(result['rows'])} rows")
print(f"{len(result['rows'])} rows beside peers, none skipped, every sum right")
