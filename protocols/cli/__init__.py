"""The `secagg` command: parse, call, show. No logic lives here.

Results go to stdout (`--json`: exactly one object), progress and notes to stderr. Exit codes: 0 fine,
1 a check or a budget refused, 2 wrong use.

rounds   demo, simulate, plan          ledgers   ledger show, verify, replay, report, ...
budgets  epsilon, calibrate            audits    audit selftest, one-run, canary, membership, invert
bench    bench: runs the benchmarks of a checkout
options  what several commands share   app       all of them under their names        process  what runs them
"""

from __future__ import annotations

from protocols.cli.app import app
from protocols.cli.process import exit_code, main

__all__ = ["app", "exit_code", "main"]
