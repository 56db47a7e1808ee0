"""OpenDP: its exact samplers of integer noise. Nothing of this project is imported here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks.peers.pins import names_of

NAME = "opendp"
VERSION = "0.16.0"
TITLE = f"OpenDP {VERSION}"
PYTHON = "3.11"
PIP = ("opendp==0.16.0",)

Adds = Callable[[list[int]], list[int]]

SYMBOLS = {
    "opendp.prelude": ("atom_domain", "enable_features", "l1_distance", "l2_distance", "m", "vector_domain"),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    peer = names_of("opendp", VERSION, SYMBOLS)
    peer.enable_features("contrib")
    return peer


def gaussian(std: float) -> Adds:
    """What adds discrete Gaussian noise to a list of integers."""
    peer = names()
    space = peer.vector_domain(peer.atom_domain(T=int)), peer.l2_distance(T=float)
    added: Adds = peer.m.make_gaussian(*space, scale=std)
    return added


def laplace(scale: float) -> Adds:
    """What adds discrete Laplace noise to a list of integers."""
    peer = names()
    space = peer.vector_domain(peer.atom_domain(T=int)), peer.l1_distance(T=float)
    added: Adds = peer.m.make_laplace(*space, scale=scale)
    return added
