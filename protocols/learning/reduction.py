"""What of an update travels: the hook by which a run sends less.

    before a round   Public -> Reduction.choose -> Chosen        of public things alone: every party gets the same set
    each client      update -> Reduction.send -> what travels    the rest may stay with the client, as its residual
    the server       mean of what travelled -> Reduction.restore -> mean update

What travels is a mapping of names to arrays. A layout's digest holds those names and is part of every round's context:
a name that carries the digest of the chosen set keeps clients with other sets out of the sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from protocols.learning.models import Parameters
from protocols.tensors import model_digest

LABEL_PUBLIC = b"secagg/v1/learning/public"


@dataclass(frozen=True, slots=True)
class Latest:
    """What the latest round that was not lost released.

    Shapes: `travelled` is the mean as it travelled, `mean` the same restored, with the model's shapes; both over the
        clients that `survivors` names.
    """

    round: int
    travelled: Any = field(repr=False)
    mean: Parameters = field(repr=False)
    survivors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Public:
    """What every party knows before a round: all that a chosen set may depend on.

    Shapes: `model` as the clients receive it; `latest` is None before a round has released anything.
    """

    round: int
    model: Parameters = field(repr=False)
    latest: Latest | None

    @property
    def context(self) -> bytes:
        """SHA-256 over the model and the round's number: 32 public bytes, another for each round."""
        return hashlib.sha256(LABEL_PUBLIC + self.round.to_bytes(8, "little") + model_digest(self.model)).digest()


class Chosen(Protocol):
    """A set of coordinates that all parties of a round agree on."""

    @property
    def digest(self) -> bytes: ...


class Reduction(Protocol):
    """One rule of sending less, and the residuals its clients keep.

    `choose` depends on nothing but its argument, and the set it gives is the round's. `send` is called once for each
    client and round, in no promised order; what it keeps of a client is that client's own. `restore` has the model's
    shapes, zero where nothing travelled. Who sends other coordinates than `chosen` raises PolicyViolation.
    `received` comes first: its result is the round's model, for training, for `Public` and for the step.
    """

    def received(self, model: Parameters, round: int) -> Parameters: ...
    def choose(self, public: Public) -> Chosen: ...
    def send(self, who: int, update: Parameters, chosen: Chosen, public: Public) -> Any: ...
    def restore(self, mean: Any, chosen: Chosen, public: Public) -> Parameters: ...


@dataclass(frozen=True, slots=True)
class Whole:
    """All coordinates: the set that needs no digest, for the layout says it."""

    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Everything:
    """Updates travel as they are."""

    def received(self, model: Parameters, round: int) -> Parameters:
        """The model itself."""
        return model

    def choose(self, public: Public) -> Chosen:
        """All of it."""
        return Whole()

    def send(self, who: int, update: Parameters, chosen: Chosen, public: Public) -> Parameters:
        """The update itself."""
        return update

    def restore(self, mean: Parameters, chosen: Chosen, public: Public) -> Parameters:
        """The mean itself."""
        return mean


def travelling(chosen: Chosen, values: Mapping[str, Any]) -> dict[str, Any]:
    """These arrays under names that say which set they are of."""
    return {f"{name}@{chosen.digest.hex()}": array for name, array in values.items()}


def arrived(chosen: Chosen, mean: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `travelling`."""
    ending = f"@{chosen.digest.hex()}"
    return {name.removesuffix(ending): array for name, array in mean.items()}
