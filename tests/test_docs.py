"""The documents tell the truth about the code: named tests exist, named commands and classes too."""

from __future__ import annotations

import ast
import re
from pathlib import Path

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


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_no_document_has_a_placeholder(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"^[A-Z]{6,}$|TODO|FIXME|TBD", text, flags=re.MULTILINE) == []
