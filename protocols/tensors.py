"""A model update <-> one flat vector: names, shapes and dtypes are the layout, the numbers are the vector.

    dict of name -> array (a torch state_dict among them) | sequence of arrays  --flatten-->  float vector
    float vector  --unflatten-->  the same structure, each array with its own dtype

The rules, all enforced by name and never by a guess:
    order        that of the layout; a dict is matched by name, so its own order does not matter
    floats       float16, bfloat16, float32, float64, rounded back to their own dtype on return
    integers     refused: a batch counter has no mean that is an integer. Leave it out of the update
                 and keep the server's own value. Running means and variances are ordinary floats
    other forms  complex, sparse, quantised, storageless and masked arrays are refused
    shapes       equal or refused; nothing is ever broadcast
A tensor tied to another one travels under both names. Restored tensors lie on the CPU. torch is never
imported here; a tensor brings its own module along. NaN and infinity are the encoder's to refuse.
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

from protocols.errors import PolicyViolation, WrongUpdate
from protocols.party import SERVER
from protocols.plan import Policy
from secagg.errors import NonFinite

Floats = np.ndarray[Any, np.dtype[Any]]
Update = Any

LABEL_LAYOUT = b"secagg/v1/layout"
LABEL_MODEL = b"secagg/v1/model"
FLOATING = ("float16", "bfloat16", "float32", "float64")
_LARGEST = {
    "float16": 65504.0,
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float32": float(np.finfo(np.float32).max),
    "float64": float(np.finfo(np.float64).max),
}


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

    def described(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


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
            return cls(Container.MAPPING, tuple(_slot(_key(name), value) for name, value in update.items()))
        if isinstance(update, Sequence) and not isinstance(update, str | bytes):
            return cls(Container.SEQUENCE, tuple(_slot(str(i), value) for i, value in enumerate(update)))
        raise WrongUpdate(f"an update is a state_dict or a list of arrays, not {type(update).__name__}")

    def digest(self) -> bytes:
        """SHA-256 of names, shapes and dtypes; who made the arrays does not matter."""
        text = json.dumps([[slot.name, slot.shape, slot.dtype] for slot in self.slots])
        return hashlib.sha256(LABEL_LAYOUT + self.container.value.encode() + text.encode()).digest()

    def flatten(self, update: Update) -> Floats:
        """All numbers in order: float32, or float64 when some array is float64."""
        self._compare(Layout.of(update))
        values = [update[slot.name] for slot in self.slots] if isinstance(update, Mapping) else update
        wide = any(slot.dtype == "float64" for slot in self.slots)
        flat = np.empty(self.length, np.float64 if wide else np.float32)
        start = 0
        for slot, value in zip(self.slots, values, strict=True):
            flat[start : start + slot.size] = _numbers(value).reshape(-1)
            start += slot.size
        return flat

    def unflatten(self, vector: Floats) -> Update:
        """The structure with the vector's numbers, each array rounded to its own dtype.

        Raises: WrongUpdate for another length, or for a number too large for its array's dtype.
        """
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
        if found.container is not self.container:
            raise WrongUpdate(f"expected a {self.container.value} of arrays, got a {found.container.value}")
        expected, got = ({slot.name: slot for slot in layout.slots} for layout in (self, found))
        if expected.keys() != got.keys():
            missing, extra = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
            raise WrongUpdate(f"the update lacks arrays {missing} and has {extra} that the layout does not know")
        for name, slot in expected.items():
            if (slot.shape, slot.dtype) != (got[name].shape, got[name].dtype):
                raise WrongUpdate(f"array {name!r}: expected {slot.described()}, got {got[name].described()}")


def model_digest(parameters: Update) -> bytes:
    """SHA-256 of a model's layout and exact numbers: what clients compare before they train."""
    layout = Layout.of(parameters)
    return hashlib.sha256(LABEL_MODEL + layout.digest() + layout.flatten(parameters).tobytes()).digest()


def check_model(parameters: Update, policy: Policy) -> bytes:
    """The digest of a received model that this policy is ready to train from; pass it on with the update.

    Against: a server that sends a model chosen to make updates tell on their data, or to break the training.
    Raises: NonFinite for a parameter that is NaN or infinite; PolicyViolation when the L2 norm is above the
        policy's `max_model_norm`; WrongUpdate for a model that has no layout.
    """
    flat = Layout.of(parameters).flatten(parameters)
    bad = int(np.count_nonzero(~np.isfinite(flat)))
    if bad:
        raise NonFinite(f"the received model has {bad} parameters that are not finite: do not train from it")
    norm = float(np.linalg.norm(flat.astype(np.float64, copy=False)))
    if norm > policy.max_model_norm:
        raise PolicyViolation(
            SERVER, f"sent a model of norm {norm:.6g}; at most {policy.max_model_norm:.6g} is allowed"
        )
    return model_digest(parameters)


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _key(name: object) -> str:
    # 1 and "1" would become one name, and the second array would silently replace the first.
    if not isinstance(name, str):
        raise WrongUpdate(f"array names are text, {name!r} is a {type(name).__name__}")
    return name


def _slot(name: str, value: Any) -> Slot:
    if _is_torch(value):
        dtype, kind = str(value.dtype).removeprefix("torch."), Kind.TORCH
        if str(value.layout) != "torch.strided" or value.is_meta:
            raise WrongUpdate(f"array {name!r} is a sparse or meta tensor: submit its dense values")
    elif isinstance(value, np.ma.MaskedArray):
        raise WrongUpdate(f"array {name!r} is a masked array: fill it, its mask would be lost")
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
    largest = _LARGEST[slot.dtype]
    # A NaN compares false and is passed on: it was not made by narrowing.
    if numbers.size and max(float(numbers.max()), -float(numbers.min())) > largest:
        raise WrongUpdate(f"array {slot.name!r}: a mean above {largest:g} does not fit its dtype {slot.dtype}")
    if slot.kind is Kind.NUMPY:
        return numbers.astype(slot.dtype)
    torch = sys.modules["torch"]
    return torch.from_numpy(numbers.astype(np.float64)).to(getattr(torch, slot.dtype))
