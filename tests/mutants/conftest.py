"""One copy of the sources for each file of tests that spoils them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.spoiling import copy_sources


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and tests in a folder of their own."""
    return copy_sources(tmp_path_factory.mktemp("mutants"))
