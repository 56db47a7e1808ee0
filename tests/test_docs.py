"""The documents tell the truth about the code: named tests exist, named commands and classes too."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED_TESTS = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))


def test_the_threat_table_names_tests() -> None:
    assert len(NAMED_TESTS) >= 20


@pytest.mark.parametrize(("file", "name"), NAMED_TESTS)
def test_every_test_the_threat_table_names_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", ["secagg", "dp", "protocols"])
def test_the_readme_imports_only_what_packages_export(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    package = __import__(name)
    for imported in re.findall(rf"^from {name} import (.+)$", readme, flags=re.MULTILINE):
        for item in imported.split(","):
            assert item.strip() in package.__all__


def test_the_readme_names_every_command() -> None:
    from protocols.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"`secagg {command.callback.__name__}" in readme


EPSILON = (ROOT / "docs/how-to/epsilon.md").read_text("utf-8")
SHOWN = re.findall(r"^\$ secagg (epsilon|calibrate) (.+)$", EPSILON, flags=re.MULTILINE)


def test_the_page_about_epsilon_shows_the_commands_for_budgets() -> None:
    assert len(SHOWN) >= 4


@pytest.mark.parametrize(("command", "options"), SHOWN)
def test_the_commands_for_budgets_warn_of_nothing(
    command: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from protocols.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["secagg", command, *options.split(), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (0, "")


def snippet_with(words: str, text: str) -> str:
    snippets = re.findall(r"^```python\n(.+?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (found,) = [snippet for snippet in snippets if words in snippet]
    return found


def test_the_snippet_of_views_prints_the_figures_that_stand_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    snippet = snippet_with("Views.of", EPSILON)
    shown = re.findall(r"[\d.]+", snippet.rpartition("#")[2])
    exec(snippet, {})
    printed = [float(figure) for figure in capsys.readouterr().out.split()]
    assert [f"{figure:.3g}" for figure in printed] == [f"{float(figure):.3g}" for figure in shown]
    assert len(shown) == 3


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_no_document_has_a_placeholder(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"^[A-Z]{6,}$|TODO|FIXME|TBD", text, flags=re.MULTILINE) == []


def test_the_federation_on_the_page_about_the_loop_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/explanation/learning.md").read_text(encoding="utf-8")
    snippet = snippet_with("Federation(", page)
    found: dict[str, Any] = {}
    exec(snippet, found)
    assert capsys.readouterr().out.count("RoundRecord(round=") == 3
    assert found["record"].accuracy > 0.9
    assert found["record"].survivors == tuple(range(5))


def test_the_page_about_the_loop_names_what_there_is() -> None:
    import dp.events
    import protocols.budgets
    import protocols.errors
    import protocols.learning
    import protocols.tensors

    page = (ROOT / "docs/explanation/learning.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z]\w+)", page)) - {"DifferenceOfRounds"}
    homes = (protocols, protocols.learning, protocols.errors, protocols.tensors, protocols.budgets, dp.events)
    assert len(named) > 20
    assert {name for name in named if not any(hasattr(home, name) for home in homes)} == set()
