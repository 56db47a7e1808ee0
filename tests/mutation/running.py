"""Mutants run one by one, each in a forked child, against the tests that reach its line, fastest first.

Tests are collected once. A change inside a function is put into the functions that are there, in the child; any
other is imported anew in a process that has imported nothing of ours yet. A mutant is killed by a test that fails,
by an error, or by a test that uses more than ten times the time it needs.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from hypothesis import Phase, settings

from tests.mutation.mutants import ROOT, Mutant

PATIENCE = 4
MEMORY = 6 << 30
QUIET = [
    "-qq",
    "-s",
    "--no-summary",
    "--assert=plain",
    "--tb=no",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:logging",
    "-m",
    "not slow",
]


@dataclass(frozen=True, slots=True)
class Reach:
    """Which tests reach which line of which file, and the seconds each test needs."""

    seconds: dict[str, float]
    tests: dict[str, dict[int, frozenset[str]]]

    def of(self, mutant: Mutant, most_seconds: float) -> list[str]:
        """The tests that reach its line, as many as the time allows.

        What is no line of a function is run by importing it: there, the tests that reach the file, and those that reach
        no line of any, but may look at a constant.
        """
        lines = self.tests.get(mutant.file, {})
        if mutant.function:
            return self._within(most_seconds, lines.get(mutant.number, frozenset()))
        every = frozenset().union(*(tests for reached in self.tests.values() for tests in reached.values()))
        reaching = self._within(most_seconds, frozenset().union(*lines.values()))
        return reaching + self._within(most_seconds, self.seconds.keys() - every)

    def _within(self, most_seconds: float, tests: Set[str]) -> list[str]:
        """The fastest of them, one at least."""
        chosen: list[str] = []
        spent = 0.0
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            spent += self.seconds[test]
            if chosen and spent > most_seconds:
                break
            chosen.append(test)
        return chosen

    def all_pass(self, runner: Runner, names: Iterable[str]) -> bool:
        """Whether these tests do, where they are, each in about its time; the first that does not is the last."""
        for name in names:
            limit(PATIENCE + 10 * self.seconds[name])
            if name in runner.items and not runner.passes(name):
                return False
        return True


def limit(seconds: float) -> None:
    """This process dies after so much work from now on, or six times as long if it waits."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 6 * seconds)


def in_child(work: Callable[[], bool], seconds: float) -> bool:
    """What work says in a forked child; False where the child died, or used more than so many seconds."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            limit(seconds)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(silence, stream)
            status = 0 if work() else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status == 0


@dataclass
class Runner:
    """A plug-in of pytest: what it does with the collected tests is `work`."""

    work: Callable[[Runner], bool]
    items: dict[str, pytest.Item] = field(default_factory=dict)
    failed: bool = False
    good: bool = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """An example that fails is enough; nobody reads a smaller one."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings(), phases=phases, database=None)
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        # A file that cannot be collected is an error like any other.
        self.good = not session.testsfailed and self.work(self)
        return True

    def passes(self, name: str) -> bool:
        """Whether a test passes or skips, set up and torn down alone."""
        item = self.items[name]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed


def run(tests: Iterable[str], work: Callable[[Runner], bool]) -> bool:
    """What work says of these tests, once collected; False where they cannot be."""
    runner = Runner(work)
    pytest.main([*QUIET, *tests], plugins=[runner])
    return runner.good


def measure(runner: Runner, files: list[str], into: Path) -> bool:
    """Write what is reached by each test that passes; caches are emptied before each, so that all reach their own."""
    cover = coverage.Coverage(data_file=None, include=[str(ROOT / file) for file in files], config_file=False)
    # Not `isinstance`, which asks objects for their class: some libraries warn when asked.
    cached = [each for each in gc.get_objects() if type(each) is functools._lru_cache_wrapper]
    seconds = {}
    cover.start()
    for name in runner.items:
        for cache in cached:
            cache.cache_clear()
        cover.switch_context(name)
        started = time.perf_counter()
        if not runner.passes(name):
            return False
        seconds[name] = time.perf_counter() - started
    cover.stop()
    data = cover.get_data()
    tests = {file: data.contexts_by_lineno(str(ROOT / file)) for file in files}
    into.write_text(json.dumps({"seconds": seconds, "tests": tests}))
    return True


def reach(into: Path) -> Reach:
    """What `measure` wrote."""
    kept = json.loads(into.read_text())
    tests = {
        file: {int(line): frozenset(names) - {""} for line, names in lines.items()}
        for file, lines in kept["tests"].items()
    }
    return Reach(kept["seconds"], tests)


def functions_of(file: str) -> dict[str, list[FunctionType]]:
    """Every function of a file that is alive, by its name within the module."""
    found: dict[str, list[FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename == str(ROOT / file):
            found.setdefault(each.__code__.co_qualname, []).append(each)
    return found


def code_of(mutant: Mutant) -> list[CodeType]:
    """The code of the function that is changed; of all its namesakes, in order."""
    codes, open_codes = [], [compile(mutant.source(), str(ROOT / mutant.file), "exec", dont_inherit=True)]
    for code in open_codes:
        if code.co_qualname == mutant.function:
            codes.append(code)
        open_codes += [each for each in code.co_consts if isinstance(each, CodeType)]
    return codes


def put_in(mutant: Mutant, functions: dict[str, list[FunctionType]]) -> None:
    """The functions that are there run the changed code."""
    codes = {code.co_firstlineno: code for code in code_of(mutant)}
    for function in functions[mutant.function]:
        function.__code__ = codes[function.__code__.co_firstlineno]


def import_instead(mutant: Mutant) -> None:
    """Whoever imports the file gets the changed one."""
    whole, path = SourceFileLoader.get_code, str(ROOT / mutant.file)

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        return compile(mutant.source(), path, "exec") if self.path == path else whole(self, fullname)

    # In a child of its own, which ends with this mutant.
    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
