"""The mutants of a file are found and named, killed by a test that fails and by nothing else, and judged by name."""

from __future__ import annotations

import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from tests.mutation.__main__ import Verdicts
from tests.mutation.mutants import ROOT, Mutant, mutants_of
from tests.mutation.running import Reach, Runner, functions_of, import_instead, in_child, measure, put_in, reach, run

HERE = Path(__file__).parent
SURVIVORS = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))["survivor"]
TARGETS = tomllib.loads((HERE / "targets.toml").read_text(encoding="utf-8"))
JUDGEMENTS = ("equivalent: ", "performance only: ", "chance only: ", "message only: ")
PLANTED = '''"""A docstring of 3 < 4."""

from __future__ import annotations

LIMIT = 7


@cache(size=1)
def weigh(values: list[1 + 1], *, least: int = 0) -> int | None:
    """More than 1 thing."""
    if not values or least > LIMIT:
        raise ValueError(f"{least + 1} of {len(values) - 1}")
    total = sum(values[1:-2])
    values.sort()
    return total


class Scale:
    def __repr__(self) -> str:
        return "2" * 2

    def even(self, weight: int, strict: bool = False) -> bool:
        return (weight % 2 == 0) is strict
'''
CHANGES = [
    "7 -> 8",
    "7 -> 6",
    "0 -> 1",
    "0 -> -1",
    "not values or least > LIMIT -> not values and least > LIMIT",
    "not values -> values",
    "least > LIMIT -> least >= LIMIT",
    "not values or least > LIMIT -> not (not values or least > LIMIT)",
    "raise ValueError(f'{least + 1} of {len(values) - 1}') -> pass",
    "values[1:-2] -> values[:-2]",
    "values[1:-2] -> values[1:]",
    "1 -> 2",
    "1 -> 0",
    "-2 -> 2",
    "2 -> 3",
    "2 -> 1",
    "values.sort() -> pass",
    "return total -> return None",
    "return (weight % 2 == 0) is strict -> return None",
    "(weight % 2 == 0) is strict -> (weight % 2 == 0) is not strict",
    "weight % 2 == 0 -> weight % 2 != 0",
    "weight % 2 -> weight // 2",
    "False -> True",
]


def planted(folder: Path, source: str = PLANTED) -> str:
    file = folder / "planted.py"
    file.write_text(source, encoding="utf-8")
    return str(file)


def test_every_kind_of_change_is_found_and_text_types_and_decorators_are_left_alone(tmp_path: Path) -> None:
    found = mutants_of(planted(tmp_path))
    assert {mutant.change for mutant in found} == set(CHANGES)
    assert {mutant.function for mutant in found} == {"", "weigh", "Scale.even"}
    assert len({mutant.key for mutant in found}) == len(found)


def test_a_mutant_is_another_program_in_which_no_line_has_moved(tmp_path: Path) -> None:
    for mutant in mutants_of(planted(tmp_path)) + mutants_of("secagg/masks.py"):
        original, changed = (ROOT / mutant.file).read_text(encoding="utf-8"), mutant.source()
        compile(changed, mutant.file, "exec")
        assert changed != original
        assert changed.count("\n") == original.count("\n")
        assert changed.splitlines()[: mutant.number - 1] == original.splitlines()[: mutant.number - 1]


SMALL = "LEAST = 3\n\ndef enough(count):\n    return count >= LEAST\n\ndef unseen():\n    return 1\n"
TESTS = """from planted import LEAST, enough

LENGTH = [None][LEAST // 4]

def test_enough():
    assert enough(4)
    assert not enough(1)
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "test_planted.py").write_text(TESTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "planted" not in sys.modules
    return planted(tmp_path, SMALL), str(tmp_path / "test_planted.py")


def reached(file: str, test: str, into: Path) -> Reach:
    assert in_child(lambda: run([test], lambda runner: measure(runner, [file], into)), 60)
    return reach(into)


# Each mutant has a process of its own, which carries along whatever the tests before have loaded.
@pytest.mark.slow
def test_what_no_test_sees_survives_and_what_one_sees_is_killed(small: tuple[str, str], tmp_path: Path) -> None:
    file, test = small
    known = reached(file, test, tmp_path / "reach")

    def survives(mutant: Mutant) -> bool:
        names = known.of(mutant, 1)

        def inside(runner: Runner) -> bool:
            if mutant.function:
                put_in(mutant, functions_of(file))
            return known.all_pass(runner, names)

        if not mutant.function:
            import_instead(mutant)
        return run([test], inside)

    left = {mutant.change for mutant in mutants_of(file) if in_child(partial(survives, mutant), 60)}
    unseen = {"return 1 -> return None", "1 -> 2", "1 -> 0"}
    assert left == unseen | {"count >= LEAST -> count > LEAST", "3 -> 2"}


def test_a_mutant_without_end_is_killed() -> None:
    def endless() -> bool:
        while True:
            pass

    assert not in_child(endless, 0.2)
    assert in_child(lambda: True, 0.2)


def test_the_fastest_tests_come_first_and_one_at_least() -> None:
    mutant = Mutant("f.py", "g", "x", "1 -> 2", 1, 5, 0, 1, "2")
    known = Reach({"slow": 2.0, "fast": 1.0, "slower": 3.0}, {"f.py": {5: frozenset({"slow", "fast", "slower"})}})
    assert [known.of(mutant, most) for most in (0.5, 3.0, 9.0)] == [
        ["fast"],
        ["fast", "slow"],
        ["fast", "slow", "slower"],
    ]


def test_a_test_that_only_looks_at_a_constant_is_run_too() -> None:
    mutant = Mutant("f.py", "", "LEAST = 3", "3 -> 4", 1, 1, 0, 1, "4")
    tests = {"f.py": {5: frozenset({"a"})}, "g.py": {2: frozenset({"b"})}}
    assert Reach({"a": 1.0, "b": 1.0, "constant": 0.0}, tests).of(mutant, 9.0) == ["a", "constant"]


@pytest.mark.parametrize("changed", ["planted.py", "test_planted.py", ""])
def test_a_verdict_is_kept_until_its_file_or_its_tests_change(
    changed: str, small: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, test = small
    monkeypatch.setattr("tests.mutation.__main__.KEPT", tmp_path)
    before = Verdicts.of(file, [test], None)
    for mutant in before.mutants:
        before.keep(mutant, killed=True)
    if changed:
        with (tmp_path / changed).open("a", encoding="utf-8") as stream:
            stream.write("# another\n")
    after = Verdicts.of(file, [test], None)
    assert len(after.survivors()) == (len(before.mutants) if changed else 0)


def test_every_survivor_is_still_there_and_judged() -> None:
    known = {file: {mutant.key for mutant in mutants_of(file)} for file in {row["file"] for row in SURVIVORS}}
    keys = [(row["file"], row["function"], row["line"], row["change"], row.get("nth", 1)) for row in SURVIVORS]
    assert [key for key in keys if key not in known[key[0]]] == []
    assert len(set(keys)) == len(keys)
    assert [row for row in SURVIVORS if not row["judgement"].startswith(JUDGEMENTS)] == []


def test_every_target_has_files_and_tests() -> None:
    for name, row in TARGETS.items():
        for pattern in (*row["files"], *row["tests"]):
            assert list(ROOT.glob(pattern)), (name, pattern)
