"""What every test shares: deterministic hypothesis, and reference data when it lies beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference values beside the checkout; a loud skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"REFERENCE VALUES NOT CHECKED: no folder {folder.name!r} beside the checkout")
    return folder
