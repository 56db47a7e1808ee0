"""A peer's names, taken from the version the figures are of, or not at all. Imports nothing of ours."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any


class PeerChanged(Exception):
    """This peer is not the one that was looked at: nothing may be said about it."""


def names_of(distribution: str, pinned: str, symbols: Mapping[str, tuple[str, ...]]) -> Any:
    """The symbols of each module, as attributes of one namespace.

    Raises: PeerChanged naming what is gone or the version that was found; ModuleNotFoundError without the peer.
    """
    if version(distribution) != pinned:
        raise PeerChanged(f"{distribution} {version(distribution)} is installed; the figures here are of {pinned}")
    found: dict[str, Any] = {}
    for module, wanted in symbols.items():
        loaded = importlib.import_module(module)
        for symbol in wanted:
            if not hasattr(loaded, symbol):
                raise PeerChanged(f"{module} no longer has {symbol}")
            found[symbol] = getattr(loaded, symbol)
    return SimpleNamespace(**found)
