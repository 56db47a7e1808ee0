"""Check the promises of the demo against the JSON it printed."""

import json
import sys
from pathlib import Path

with open(sys.argv[1], encoding="utf-8") as file:
    result = json.load(file)
promises = {
    "every round is exact": result["exact"] is True,
    "accuracy within 0.03 of the run without privacy": result["accuracy"] >= result["accuracy_plain"] - 0.03,
    "epsilon at most 6 at delta 1e-4": result["epsilon"] <= 6 and result["delta"] == 1e-4,
    "its ledger is verified against its pin": result["ledger_verdict"] == "verified",
    "its figures are replayed": result["ledger_replayed"] is True,
    "its page is there": Path(result["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>"),
    "one survivor count per round": len(result["survivors"]) == result["rounds"] == 30,
}
broken = [promise for promise, kept in promises.items() if not kept]
print(json.dumps(result))
if broken:
    sys.exit(f"broken promises: {broken}")
