"""`bench`: the benchmarks of a checkout, which are no part of what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dp.errors import LedgerError
from dp.ledger.place import require_not_of_a_ledger
from protocols.cli.options import Json
from protocols.errors import Misused


class SuiteName(StrEnum):
    """What can be asked for; `python -m benchmarks` knows each suite's modules too."""

    MASKS = "masks"
    ROUNDS = "rounds"
    CKKS = "ckks"
    NOISE = "noise"
    ACCOUNTING = "accounting"
    BYTES = "bytes"
    UTILITY = "utility"
    ATTACKS = "attacks"


RESULT, PAGE = ".json", ".html"
# What stands in a file that the benchmarks wrote, and in no other of its kind.
MARKS = {RESULT: '"command": "bench"', PAGE: "<title>What secure sums cost</title>"}
CHECKOUT = Path(__file__).resolve().parents[2]
KEPT = CHECKOUT / "benchmarks" / "results"


def bench(
    out: Annotated[
        Path | None, typer.Argument(help="a .json file that receives the object too, its page beside it")
    ] = None,
    suite: Annotated[
        list[SuiteName] | None, typer.Option(help="what to measure, all unless said; may be given several times")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="beside other libraries, each installed in an environment of its own")
    ] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="measure little, and judge nothing but failures")] = False,
    page: Annotated[Path | None, typer.Option(help="an .html page with plots; beside OUT unless given")] = None,
    save: Annotated[bool, typer.Option("--save", help="keep the result in benchmarks/results")] = False,
    json: Json = False,
) -> None:
    """What everything costs, beside other libraries; which goals hold. Needs a checkout; with --peers half an hour."""
    if not (CHECKOUT / "benchmarks" / "__main__.py").is_file():
        raise Misused(
            "the benchmarks come with a checkout of the repository only; if this is one, install it there with -e: "
            "pip install -c constraints.txt -e '.[report]'"
        )
    # As they are where it was typed; the benchmarks run in the checkout.
    if refusal := refusal_of(out, page, save=save, smoke=smoke):
        raise typer.BadParameter(refusal)
    words = [word for name in suite or () for word in ("--suite", name.value)]
    flags = {"--peers": peers, "--smoke": smoke, "--json": json, "--save": save}
    words += [flag for flag, wanted in flags.items() if wanted]
    words += [] if page is None else ["--page", str(page.absolute())]
    words += [] if out is None else [str(out.absolute())]
    raise typer.Exit(run(words))


def refusal_of(out: Path | None, page: Path | None, *, save: bool, smoke: bool) -> str:
    """Why this is not measured: said before minutes of it, and before anything else than a result is replaced."""
    if save and smoke:
        return "--save keeps what documents quote, and a small run is quoted nowhere: leave out --smoke, or give OUT"
    return out_of_place("OUT", out, RESULT) or out_of_place("the page (--page)", page_of(out, page), PAGE)


def page_of(out: Path | None, page: Path | None) -> Path | None:
    """Where the page goes, if anywhere."""
    return page or (None if out is None else out.with_suffix(PAGE))


def out_of_place(name: str, path: Path | None, suffix: str) -> str:
    """Why nothing is written there."""
    if path is None:
        return ""
    if path.suffix != suffix:
        return f"{name} is {path}: its name must end in {suffix}, so that nothing else is overwritten"
    if path.is_dir() or not path.absolute().parent.is_dir():
        return f"{name} is {path}, which is no file that can be written: make its folder first"
    if Path(os.path.realpath(path)).parent == KEPT:
        return f"{name} is {path}, where documents quote from: --save keeps results there under their date"
    try:
        require_not_of_a_ledger(path)
        if path.exists() and not is_ours(path, MARKS[suffix]):
            return f"{name} is {path}, which no benchmark wrote: give another name, or remove it first"
    except LedgerError as refused:
        return f"{name}: {refused}"
    except OSError as wrong:
        return f"{name} is {path}, which cannot be looked at: {wrong.strerror}"
    return ""


def is_ours(path: Path, mark: str) -> bool:
    """Whether a regular file is empty, or of an earlier run."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return not text or mark in text


def run(words: list[str]) -> int:
    """The benchmarks in a process of their own, on our streams; its exit code."""
    sys.stdout.flush()
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=CHECKOUT, env=surroundings, check=False
    ).returncode
