"""`python -m benchmarks [--suite NAME ...] [--peers] [--smoke] [--json] [--save] [--page FILE] [OUT]`: `secagg bench`.

Without `--peers`, what needs nothing but this project; with it, everything, beside libraries that are installed into
environments of their own where they are missing. A suite may be a module of it. Exit code 1 when a limit is broken, a
goal is missed or a module failed; 2 for wrong use. `--smoke` measures little and judges nothing but failures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.machine import say
from benchmarks.measuring import measured
from benchmarks.page import render
from benchmarks.pages import RESULTS
from benchmarks.peers.environments import prepare
from benchmarks.rows import Row
from benchmarks.showing import holds, result_of, rows_of, show
from benchmarks.suites import BESIDE, modules_of, names
from dp.errors import StorageRefused
from dp.place import replacing
from protocols.cli.bench import page_of, refusal_of

# As any file that is made to be shown; what replaces another is its owner's alone until it is whole.
READABLE = 0o644
# As the shell tells of who was interrupted.
INTERRUPTED = 130


def arguments_of(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--suite", choices=names(), action="append", default=[], metavar="NAME")
    parser.add_argument("--peers", action="store_true", help="beside other libraries, in environments of their own")
    parser.add_argument("--smoke", action="store_true", help="measure little and do not judge")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", action="store_true", help="also write results/<date>-<what>.json, and its page")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page with plots; beside OUT unless given")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="a file that receives the object as well")
    chosen = parser.parse_args(words)
    if refusal := refusal_of(chosen.out, chosen.page, save=chosen.save, smoke=chosen.smoke):
        parser.error(refusal)
    return chosen


def prepared(environments: Iterable[str]) -> None:
    """Make what is missing. One that cannot be made is named here, and again by each suite that it skips."""
    for name in dict.fromkeys(environments):
        say(f"environment {name}")
        if skipped := prepare(name):
            say(f"    {skipped}")


def stored(path: Path | None, text: str) -> bool:
    """Whether it is there, as a whole; a full disk is named, and costs nothing of what else is told or was there."""
    try:
        if path is not None:
            with replacing(path) as file:
                file.write(text.encode("utf-8"))
            path.chmod(READABLE)
    except StorageRefused as wrong:
        say(str(wrong))
        return False
    return True


def kept(result: dict[str, Any], rows: list[Row], kind: str) -> bool:
    """Whether the result is among those that are quoted, and in the page that has its table."""
    if not stored(RESULTS / f"{result['date'][:10]}-{kind}.json", json.dumps(result, indent=1) + "\n"):
        return False
    if kind in pages.PAGES:
        pages.write(kind, rows)
    return True


def main(words: list[str] | None = None) -> int:
    try:
        return told(arguments_of(words))
    except KeyboardInterrupt:
        say("interrupted: nothing more is written")
        return INTERRUPTED


def told(chosen: argparse.Namespace) -> int:
    """Measures, writes and prints; the exit code."""
    modules = modules_of(chosen.suite, chosen.peers)
    if chosen.peers:
        prepared(BESIDE[module] for _, module in modules if module in BESIDE)
    effort = "smoke" if chosen.smoke else "full"
    done = list(measured(modules, effort))
    if not any(one.rows for one in done):
        say("nothing was measured: add --peers where a suite stands beside other libraries alone")
    result = result_of(done, effort)
    text = json.dumps(result)
    page = page_of(chosen.out, chosen.page)
    written = stored(chosen.out, text + "\n") & stored(page, "" if page is None else render(result))
    if chosen.save and result["rows"]:
        written &= kept(result, rows_of(done), "-".join(chosen.suite or ["peers" if chosen.peers else "own"]))
    if chosen.json:
        print(text)
    else:
        show(done, result)
    return int(bool(result["failed"]) or not written or not result["rows"] or not (chosen.smoke or holds(result)))


if __name__ == "__main__":
    sys.exit(main())
