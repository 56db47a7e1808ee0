"""Two processes that shoot, and a way to say how often."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

import pytest


@pytest.fixture(scope="session")
def pool() -> Iterator[Executor]:
    """Spawned, not forked: what other tests have patched or locked stays behind."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        yield processes


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print past pytest's capture: how much was tried belongs into every log."""

    def told(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}")

    return told
