"""A model update <-> one flat vector: names, shapes and dtypes are the layout, the numbers are the vector.

    dict of name -> array (a torch state_dict among them) | sequence of arrays  --flatten-->  float vector
    float vector  --unflatten-->  the same structure, each array with its own dtype

Only floating-point arrays are averaged. An integer array (a batch counter, say) has no mean that is an
integer, so it is refused by name: leave it out of the update. torch is never imported here; a tensor
brings its own module along.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from protocols.errors import WrongUpdate

Floats = np.ndarray[Any, np.dtype[Any]]
Update = Any

LABEL_LAYOUT = b"secagg/v1/layout"
LABEL_MODEL = b"secagg/v1/model"
FLOATING = ("float16", "bfloat16", "float32", "float64")


class Container(Enum):
    """What holds the arrays."""

    MAPPING = "mapping"
    SEQUENCE = "sequence"


class Kind(Enum):
    """Who made the arrays."""

    NUMPY = "numpy"
    TORCH = "torch"


@dataclass(frozen=True, slots=True)
class Slot:
    """One array of an update: its name (or place), shape, and dtype by name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """The structure all updates of a round share.

    Raises: WrongUpdate, naming the array, for an update that is empty or differs.
    """

    container: Container
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if self.length == 0:
            raise WrongUpdate("the update holds no numbers: there is nothing to aggregate")

    @property
    def length(self) -> int:
        """How many numbers the flat vector has."""
        return sum(slot.size for slot in self.slots)

    @classmethod
    def of(cls, update: Update) -> Layout:
        """The layout of an update."""
        if isinstance(update, Mapping):
            return cls(Container.MAPPING, tuple(_slot(str(name), value) for name, value in update.items()))
        if isinstance(update, Sequence) and not isinstance(update, str | bytes):
            return cls(Container.SEQUENCE, tuple(_slot(str(i), value) for i, value in enumerate(update)))
        raise WrongUpdate(f"an update is a state_dict or a list of arrays, not {type(update).__name__}")

    def digest(self) -> bytes:
        """SHA-256 of names, shapes and dtypes; who made the arrays does not matter."""
        text = json.dumps([[slot.name, slot.shape, slot.dtype] for slot in self.slots])
        return hashlib.sha256(LABEL_LAYOUT + self.container.value.encode() + text.encode()).digest()

    def flatten(self, update: Update) -> Floats:
        """All numbers in order: float32, or float64 when some array is float64."""
        found = Layout.of(update)
        self._compare(found)
        values = update.values() if isinstance(update, Mapping) else update
        wide = any(slot.dtype == "float64" for slot in self.slots)
        flat = np.empty(self.length, np.float64 if wide else np.float32)
        start = 0
        for slot, value in zip(self.slots, values, strict=True):
            flat[start : start + slot.size] = _numbers(value).reshape(-1)
            start += slot.size
        return flat

    def unflatten(self, vector: Floats) -> Update:
        """The structure with the vector's numbers, each array rounded to its own dtype."""
        if vector.shape != (self.length,):
            raise WrongUpdate(f"expected {self.length} numbers, got shape {vector.shape}")
        arrays = []
        start = 0
        for slot in self.slots:
            arrays.append(_restored(slot, vector[start : start + slot.size].reshape(slot.shape)))
            start += slot.size
        if self.container is Container.SEQUENCE:
            return arrays
        return {slot.name: array for slot, array in zip(self.slots, arrays, strict=True)}

    def _compare(self, found: Layout) -> None:
        if found.container is not self.container or len(found.slots) != len(self.slots):
            raise WrongUpdate(
                f"expected a {self.container.value} of {len(self.slots)} arrays, "
                f"got a {found.container.value} of {len(found.slots)}"
            )
        for mine, other in zip(self.slots, found.slots, strict=True):
            if (mine.name, mine.shape, mine.dtype) != (other.name, other.shape, other.dtype):
                raise WrongUpdate(
                    f"array {mine.name!r}: expected {mine.dtype}{mine.shape}, "
                    f"got {other.name!r} {other.dtype}{other.shape}"
                )


def model_digest(parameters: Update) -> bytes:
    """SHA-256 of a model's layout and exact numbers: what clients compare before they train."""
    layout = Layout.of(parameters)
    return hashlib.sha256(LABEL_MODEL + layout.digest() + layout.flatten(parameters).tobytes()).digest()


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _slot(name: str, value: Any) -> Slot:
    if _is_torch(value):
        dtype, kind = str(value.dtype).removeprefix("torch."), Kind.TORCH
    elif isinstance(value, np.ndarray | np.generic):
        dtype, kind = value.dtype.name, Kind.NUMPY
    else:
        raise WrongUpdate(f"array {name!r} is a {type(value).__name__}, expected a numpy array or a torch tensor")
    if dtype not in FLOATING:
        raise WrongUpdate(f"array {name!r} is {dtype}: only {', '.join(FLOATING)} have a mean; leave it out")
    return Slot(name, tuple(int(side) for side in value.shape), dtype, kind)


def _numbers(value: Any) -> Floats:
    if _is_torch(value):
        # numpy has no bfloat16; every bfloat16 is a float32.
        tensor = value.detach().cpu()
        return np.asarray(tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy())
    return np.asarray(value)


def _restored(slot: Slot, numbers: Floats) -> Any:
    if slot.kind is Kind.NUMPY:
        return numbers.astype(slot.dtype)
    torch = sys.modules["torch"]
    return torch.from_numpy(numbers.astype(np.float64)).to(getattr(torch, slot.dtype))
