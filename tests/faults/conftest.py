"""Worlds in which schedules are played."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def staged() -> Iterator[None]:
    """Thin rings and remembered steps for a whole module."""
    # Only here: a module that plays no schedule need not import the kit.
    from tests.faults.world import stage

    with stage():
        yield
