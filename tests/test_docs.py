"""The documents tell the truth about the code: named tests exist, named commands and classes too."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocols import Layout

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


SHOWN = re.findall(r"^secagg (epsilon|calibrate) (.+)$", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)


def test_the_readme_shows_the_commands_for_budgets() -> None:
    assert len(SHOWN) >= 4


@pytest.mark.parametrize(("command", "options"), SHOWN)
def test_the_commands_for_budgets_run_as_they_are_shown(
    command: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from protocols.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["secagg", command, *options.split(), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (0, "")


SNIPPETS = re.findall(r"^```python\n(.+?)^```", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def snippet_with(words: str) -> str:
    (found,) = [snippet for snippet in SNIPPETS if words in snippet]
    return found


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.partition("\n")[0])
def test_the_snippets_of_the_readme_are_python(snippet: str) -> None:
    assert ast.parse(snippet).body


def test_the_snippet_of_views_prints_the_figures_that_stand_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    snippet = snippet_with("Views.of")
    shown = re.findall(r"[\d.]+", snippet.rpartition("#")[2])
    exec(snippet, {})
    printed = [float(figure) for figure in capsys.readouterr().out.split()]
    assert [f"{figure:.3g}" for figure in printed] == [f"{float(figure):.3g}" for figure in shown]
    assert len(shown) == 3


def test_the_snippet_for_torch_passes_over_integer_buffers() -> None:
    torch = pytest.importorskip("torch", reason="NOT CHECKED: the extra torch is not installed")
    model = torch.nn.BatchNorm1d(3)
    layout = Layout.of(model.state_dict())
    report = SimpleNamespace(mean=layout.unflatten(np.full(layout.length, 0.5)))
    exec(snippet_with("strict=False"), {"model": model, "report": report})
    assert model.num_batches_tracked == 0
    assert model.running_var.tolist() == [1.5] * 3


def test_the_snippet_that_charges_by_hand_is_what_the_example_runs() -> None:
    example = ast.parse((ROOT / "examples/processes.py").read_text("utf-8"))
    run = {ast.unparse(node) for node in ast.walk(example) if isinstance(node, ast.stmt)}
    statements = [node for node in ast.parse(snippet_with("charging(ledger")).body if ast.unparse(node) != "..."]
    imported = [node for node in statements if isinstance(node, ast.ImportFrom)]
    assert len(statements) == 5
    for node in statements:
        if node not in imported:
            assert ast.unparse(node) in run
    names = {
        (node.module, alias.name)
        for node in ast.walk(example)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {(node.module, alias.name) for node in imported for alias in node.names} <= names


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_no_document_has_a_placeholder(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"^[A-Z]{6,}$|TODO|FIXME|TBD", text, flags=re.MULTILINE) == []


def test_the_federation_on_the_page_about_the_loop_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/explanation/learning.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.+?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (snippet,) = [snippet for snippet in snippets if "Federation(" in snippet]
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
    homes = (protocols.learning, protocols.errors, protocols.tensors, protocols.budgets, dp.events)
    assert len(named) > 20
    assert {name for name in named if not any(hasattr(home, name) for home in homes)} == set()
