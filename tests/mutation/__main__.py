"""`python -m tests.mutation [--sample N] [--least 90] [TARGET ...]`: the share of mutants that the tests notice.

Verdicts are kept in build/mutation and read again as long as the file, its tests and what these share are the same;
what survived is tried anew. A change to another file of the package is not seen: remove build/mutation then.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.mutation.mutants import ROOT, Mutant, mutants_of
from tests.mutation.running import Runner, functions_of, import_instead, in_child, measure, put_in, reach, run

HERE = Path(__file__).parent
KEPT = ROOT / "build" / "mutation"
A_WHOLE_RUN = 3600
TO_COLLECT = 60


@dataclass(frozen=True, slots=True)
class Target:
    """Files, the tests that shall notice their mutants, and how many seconds of them each mutant gets."""

    files: list[str]
    tests: list[str]
    seconds: float


def targets() -> dict[str, Target]:
    """Those of targets.toml."""
    table = tomllib.loads((HERE / "targets.toml").read_text(encoding="utf-8"))
    return {name: Target(_files(row["files"]), _files(row["tests"]), row["seconds"]) for name, row in table.items()}


def _files(patterns: list[str]) -> list[str]:
    return [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def judged() -> set[tuple[str, str, str, str, int]]:
    """What survives rightly: nobody could notice it, or only by the clock."""
    rows = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8")).get("survivor", [])
    return {(row["file"], row["function"], row["line"], row["change"], row.get("nth", 1)) for row in rows}


@dataclass
class Verdicts:
    """The verdicts on the mutants of one file; `kept` is True for a killed one, `basis` a digest of what decides it."""

    file: str
    mutants: list[Mutant]
    kept: dict[str, bool]
    basis: str

    @classmethod
    def of(cls, file: str, tests: list[str], sample: int | None) -> Verdicts:
        """All mutants of a file, or so many that are drawn by their hashes: a uniform sample, always the same."""
        mutants = sorted(mutants_of(file), key=name_of)[:sample]
        path = KEPT / f"{file.replace('/', '.')}.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        basis = digest([ROOT / file, *(ROOT / test for test in tests), *shared_by_tests()])
        return cls(file, mutants, kept["killed"] if kept.get("basis") == basis else {}, basis)

    def keep(self, mutant: Mutant, killed: bool) -> None:
        """Write it down at once: a run that is cut goes on from here."""
        self.kept[name_of(mutant)] = killed
        path = KEPT / f"{self.file.replace('/', '.')}.json"
        path.with_suffix(".new").write_text(json.dumps({"basis": self.basis, "killed": self.kept}))
        path.with_suffix(".new").replace(path)

    def survivors(self) -> list[Mutant]:
        """Those not known to be killed, in the order of the file."""
        return sorted((m for m in self.mutants if not self.kept.get(name_of(m))), key=lambda m: (m.start, m.end))


def name_of(mutant: Mutant) -> str:
    return hashlib.sha256(repr(mutant.key).encode()).hexdigest()[:16]


def digest(files: list[Path]) -> str:
    """Of the contents of all, in this order."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


@cache
def shared_by_tests() -> list[Path]:
    """What tests import of each other, and this tool."""
    return sorted(path for path in ROOT.glob("tests/**/*.py") if not path.name.startswith("test_"))


def pending(target: Target, sample: int | None, in_function: bool) -> list[tuple[Verdicts, Mutant]]:
    """Every mutant neither killed nor judged that stands in a function, or in none.

    In the order of their hashes: what a run that is cut has seen is a sample.
    """
    every, rightly = [Verdicts.of(file, target.tests, sample) for file in target.files], judged()
    left = [(each, mutant) for each in every for mutant in each.survivors() if mutant.key not in rightly]
    return sorted((pair for pair in left if bool(pair[1].function) == in_function), key=lambda pair: name_of(pair[1]))


def try_functions(target: Target, into: Path, sample: int | None) -> bool:
    """All tests are collected once; False where they do not pass as they are."""

    def inside(runner: Runner) -> bool:
        if not in_child(lambda: measure(runner, target.files, into), A_WHOLE_RUN):
            return False
        reached, functions = reach(into), {file: functions_of(file) for file in target.files}
        for verdicts, mutant in pending(target, sample, in_function=True):
            names = reached.of(mutant, target.seconds)

            def survives(mutant: Mutant = mutant, names: list[str] = names) -> bool:
                try:
                    put_in(mutant, functions[mutant.file])
                except (KeyError, ValueError):
                    # Not tried, as where the changed code closes over other names: no test has killed it.
                    return True
                return reached.all_pass(runner, names)

            verdicts.keep(mutant, not in_child(survives, TO_COLLECT))
        return True

    child = os.fork()
    if not child:
        os._exit(0 if run(target.tests, inside) else 1)
    return os.waitpid(child, 0)[1] == 0


def try_modules(target: Target, into: Path, sample: int | None) -> None:
    """This process has imported nothing of ours that is changed; each child imports and collects anew."""
    for foreign in ("scipy.stats", "hypothesis.strategies", "cryptography.hazmat.primitives.ciphers.aead"):
        importlib.import_module(foreign)
    reached = reach(into)
    for verdicts, mutant in pending(target, sample, in_function=False):
        names = reached.of(mutant, target.seconds)

        def survives(mutant: Mutant = mutant, names: list[str] = names) -> bool:
            import_instead(mutant)
            return run(sorted({name.split("::")[0] for name in names}), lambda runner: reached.all_pass(runner, names))

        verdicts.keep(mutant, not in_child(survives, TO_COLLECT))


def say(verdicts: Verdicts, rightly: set[tuple[str, str, str, str, int]]) -> tuple[int, int]:
    """(killed, tried but for what survives rightly), and a line of both with every survivor that is not judged."""
    tried = [mutant for mutant in verdicts.mutants if name_of(mutant) in verdicts.kept]
    survivors = [mutant for mutant in verdicts.survivors() if mutant in tried]
    missed = [mutant for mutant in survivors if mutant.key not in rightly]
    killed, judged_right = len(tried) - len(survivors), len(survivors) - len(missed)
    share = 100 * killed / max(1, killed + len(missed))
    print(f"{verdicts.file:32} {killed:5} of {len(tried):5} killed, {judged_right:4} judged, {share:5.1f} %")
    for mutant in missed:
        print(f"    {mutant.number} {mutant.function}: {mutant.line}\n        {mutant.change} (nth = {mutant.nth})")
    return killed, killed + len(missed)


def interval(killed: int, counted: int) -> str:
    """Where the share of all lies with 95 %.  Source: Wilson, JASA 22, 1927."""
    z2, share = 1.96**2, killed / max(1, counted)
    middle = (killed + z2 / 2) / (counted + z2)
    off = math.sqrt(z2 * counted * share * (1 - share) + z2**2 / 4) / (counted + z2)
    return f"{100 * (middle - off):.1f} to {100 * (middle + off):.1f} % with 95 %"


def main() -> None:
    """Run, print, and fail under the least score."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--sample", type=int, help="so many mutants of each file, not all")
    parser.add_argument("--least", type=float, default=90, help="per cent of every target, else the exit is 1")
    parser.add_argument("--report", action="store_true", help="of what is kept; run nothing")
    asked, wanted = parser.parse_args(), targets()
    KEPT.mkdir(parents=True, exist_ok=True)
    low = []
    for name in asked.targets or wanted:
        target, into = wanted[name], KEPT / f"{name}.reach"
        if not asked.report:
            if not try_functions(target, into, asked.sample):
                sys.exit(f"{name}: the tests do not pass as they are")
            try_modules(target, into, asked.sample)
        counts = [say(Verdicts.of(file, target.tests, asked.sample), judged()) for file in target.files]
        killed, counted = map(sum, zip(*counts, strict=True))
        share = killed / max(1, counted)
        print(f"{name}: {100 * share:.1f} %; as a sample of more: {interval(killed, counted)}")
        low += [name] if 100 * share < asked.least else []
    sys.exit(f"under {asked.least} %: {', '.join(low)}" if low else 0)


if __name__ == "__main__":
    main()
