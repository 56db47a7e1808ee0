"""How numbers are hidden: rings, encodings, keys, shares, masks. Pure functions and frozen values.

    floats --encode--> ring vector --masks--> uniform words --pack--> bytes        prg keys box shamir graph

There are no parties here, no messages, clocks or sockets: who says what and when is `protocols`, how much a
sum reveals is `dp`. Names load their module on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secagg.box import open_box as open_box
    from secagg.box import seal as seal
    from secagg.encode import Encoding as Encoding
    from secagg.encode import Hit as Hit
    from secagg.encode import OnExcess as OnExcess
    from secagg.encode import Rounding as Rounding
    from secagg.errors import BadBox as BadBox
    from secagg.errors import BadCiphertext as BadCiphertext
    from secagg.errors import BadParameters as BadParameters
    from secagg.errors import BadPoint as BadPoint
    from secagg.errors import BadShare as BadShare
    from secagg.errors import BadSignature as BadSignature
    from secagg.errors import ClipExceeded as ClipExceeded
    from secagg.errors import EntropyUnavailable as EntropyUnavailable
    from secagg.errors import NonFinite as NonFinite
    from secagg.errors import NoParameters as NoParameters
    from secagg.errors import Overflow as Overflow
    from secagg.errors import SecaggError as SecaggError
    from secagg.errors import WrongContext as WrongContext
    from secagg.graph import Against as Against
    from secagg.graph import Assumption as Assumption
    from secagg.graph import Graph as Graph
    from secagg.graph import GraphMode as GraphMode
    from secagg.graph import Parameters as Parameters
    from secagg.graph import find_parameters as find_parameters
    from secagg.graph import largest_feasible_dropout as largest_feasible_dropout
    from secagg.keys import AgreementKey as AgreementKey
    from secagg.keys import Context as Context
    from secagg.keys import Identity as Identity
    from secagg.keys import Secret as Secret
    from secagg.keys import Seed as Seed
    from secagg.keys import check_point as check_point
    from secagg.keys import derive as derive
    from secagg.keys import public_of as public_of
    from secagg.keys import verify as verify
    from secagg.masks import Correction as Correction
    from secagg.masks import mask_into as mask_into
    from secagg.masks import unmask_into as unmask_into
    from secagg.prg import Stream as Stream
    from secagg.prg import expand as expand
    from secagg.prg import expand_into as expand_into
    from secagg.quorum import Quorum as Quorum
    from secagg.ring import Ring as Ring
    from secagg.shamir import Share as Share
    from secagg.shamir import combine as combine
    from secagg.shamir import split as split
    from secagg.sparse import Selection as Selection
    from secagg.workers import Workers as Workers

_HOME = {
    "Against": "graph",
    "AgreementKey": "keys",
    "Assumption": "graph",
    "BadBox": "errors",
    "BadCiphertext": "errors",
    "BadParameters": "errors",
    "BadPoint": "errors",
    "BadShare": "errors",
    "BadSignature": "errors",
    "ClipExceeded": "errors",
    "Context": "keys",
    "Correction": "masks",
    "Encoding": "encode",
    "EntropyUnavailable": "errors",
    "Graph": "graph",
    "GraphMode": "graph",
    "Hit": "encode",
    "Identity": "keys",
    "NoParameters": "errors",
    "NonFinite": "errors",
    "OnExcess": "encode",
    "Overflow": "errors",
    "Parameters": "graph",
    "Quorum": "quorum",
    "Ring": "ring",
    "Rounding": "encode",
    "SecaggError": "errors",
    "Secret": "keys",
    "Seed": "keys",
    "Selection": "sparse",
    "Share": "shamir",
    "Stream": "prg",
    "Workers": "workers",
    "WrongContext": "errors",
    "check_point": "keys",
    "combine": "shamir",
    "derive": "keys",
    "expand": "prg",
    "expand_into": "prg",
    "find_parameters": "graph",
    "largest_feasible_dropout": "graph",
    "mask_into": "masks",
    "open_box": "box",
    "public_of": "keys",
    "seal": "box",
    "split": "shamir",
    "unmask_into": "masks",
    "verify": "keys",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'secagg' has no attribute {name!r}")
    return getattr(import_module(f"secagg.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
