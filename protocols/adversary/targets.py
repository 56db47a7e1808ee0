"""What a library under attack must offer a script. A target offers as many of these as it can.

    MakesMasks      what keys a mask, and the mask it makes                          seed_entropy, top_value
    AnswersServer   clients that have sent their vectors and answer the villain      asks_both_shares, split_view
    Surroundable    a victim whose whole neighbourhood the villain chooses           cohort_of_one
    RunsRounds      a whole round on given inputs, weights, drop-outs                the accidents and inputs
    KeepsState      what a client keeps after the round                              leftover_secrets

Vectors are float64 in [-1, 1) unless a script spoils them. Parties are numbered from 0. A target raises
`Refused` when the library refuses by name and `Inexpressible` when its messages cannot say the request.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secagg.keys import Seed
from secagg.prg import Stream

Floats = NDArray[np.float64]


def vector_of(who: int, length: int) -> Floats:
    """A client's vector, uniform in [-1, 1), the same in every run and for every target."""
    words = Stream(Seed(who.to_bytes(32, "little"))).words(0, length)
    return words.astype(np.float64) * 2.0**-63 - 1.0


@runtime_checkable
class MakesMasks(Protocol):
    """The pairwise mask generator, as the library calls it."""

    @property
    def name(self) -> str: ...
    def mask_keys(self, pairs: int) -> Sequence[bytes]:
        """What the generator is keyed with, for so many freshly agreed pairs."""

    def mask(self, key: bytes, bits: int, length: int) -> NDArray[np.uint64]:
        """The mask that this key makes, modulo 2^bits."""


@dataclass(frozen=True, slots=True)
class View:
    """What one client is told at the end of a round: who is in the sum, who vanished."""

    alive: frozenset[int]
    dead: frozenset[int] = frozenset()


class Interrogation(Protocol):
    """One round in which every masked vector has arrived; from here the villain speaks for the server."""

    @property
    def ids(self) -> Sequence[int]: ...
    def ask(self, views: Mapping[int, View]) -> Mapping[int, str]:
        """Tell each client its view and keep what it answers; who refused, and the named error."""

    def recovered(self, victim: int) -> Floats:
        """The victim's vector alone, from the answers. Raises: Refused, saying what is still missing."""

    def truth(self, victim: int) -> Floats: ...


@runtime_checkable
class AnswersServer(Protocol):
    @property
    def name(self) -> str: ...
    def interrogate(self, clients: int) -> Interrogation:
        """An honest round of so many clients, played until all vectors are in."""


class Surroundings(enum.Enum):
    """Whom the villain's server shows its victim."""

    ALONE = "a cohort of the victim alone"
    SYBILS = "neighbours that are the server's own"
    ONE_SHARE = "honest neighbours, but one share opens a secret"


@runtime_checkable
class Surroundable(Protocol):
    @property
    def name(self) -> str: ...
    def surround(self, how: Surroundings) -> tuple[Floats, Floats]:
        """The victim's vector as the server recovers it, and the truth. Raises: Refused."""


class Step(enum.IntEnum):
    """The server's request that a vanishing client no longer hears."""

    SETUP = 0
    SHARES = 1
    VECTOR = 2
    UNMASK = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One round: each client's vector and weight, when it vanishes, and into how many shares a secret is split.

    `shares` None: the library's own choice; otherwise a target may leave out clients to arrive at that number.
    A vector of another shape is sent by a client that lies. `max_weight` is what the operator declared; a
    weight above it is the client's own doing.
    """

    vectors: Mapping[int, Floats]
    weights: Mapping[int, int]
    lost: Mapping[int, Step] = field(default_factory=dict)
    shares: int | None = None
    max_weight: int = 1000


@dataclass(frozen=True, slots=True)
class Ended:
    """How a round ended.

    `mean` is None when the round was lost, and `why` says it as the library did. `counted` are the clients
    in the mean; `refusals` name what was refused and whose; `uploads` are the bytes each client sent.
    """

    mean: Floats | None
    counted: frozenset[int]
    why: str
    refusals: Mapping[int, str]
    uploads: Mapping[int, bytes]


@runtime_checkable
class RunsRounds(Protocol):
    @property
    def name(self) -> str: ...
    def run(self, case: Case) -> Ended:
        """Play the round to its end."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A client's named secrets of the round, and all it stores after the round."""

    secrets: Mapping[str, bytes]
    state: bytes


@runtime_checkable
class KeepsState(Protocol):
    @property
    def name(self) -> str: ...
    def after_round(self) -> Kept: ...


Target = Any
"""Something with a `name` that offers some of the capabilities above."""
