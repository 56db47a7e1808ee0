"""A model update <-> one flat vector: names, shapes and dtypes are the layout, the numbers are the vector.

    dict of name -> array (a torch state_dict among them) | sequence of arrays  --flatten-->  float vector
    float vector  --unflatten-->  the same structure, each array with its own dtype

The rules, all enforced by name and never by a guess:
    order        that of the layout; a dict is matched by name, so its own order does not matter
    floats       float16, bfloat16, float32, float64, rounded back to their own dtype on return
    integers     of a dict: kept, for the mean of a batch counter is no integer. They never travel, the server's own
                 values stay. Refused in a list, whose places would shift, and with integers="refuse"
    keep         names that match these patterns stay too: keep="*.running_*" is FedBN. Without, running means and
                 variances are ordinary floats
    tied         an array that a model holds under two names travels once and comes back under both
    other forms  complex, sparse, quantised, storageless and masked arrays are refused
    shapes       equal or refused; nothing is ever broadcast
Restored tensors lie on the CPU. torch is never imported here; a tensor brings its own module along. NaN and infinity
are the encoder's to refuse.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
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
INTEGERS = ("bool", *(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")))
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


class Role(Enum):
    """What becomes of an array."""

    SUM = "sum"
    KEEP = "keep"


class Integers(StrEnum):
    """What to do with the integers of a dict."""

    KEEP = "keep"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Slot:
    """One array of a model: its name (or place), shape, dtype by name, role, and whose array it is, if another's."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Kind
    role: Role = Role.SUM
    tied: str | None = None

    @property
    def size(self) -> int:
        """How many numbers of the flat vector are its own."""
        return math.prod(self.shape) if self.travels else 0

    @property
    def travels(self) -> bool:
        return self.role is Role.SUM and self.tied is None

    def described(self) -> str:
        return f"{self.dtype} of shape {self.shape}"

    def to_json(self) -> list[object]:
        """What the digest is of: ordinary arrays are written as they always were."""
        plain: list[object] = [self.name, self.shape, self.dtype]
        return plain if self.travels else [*plain, self.role.value, self.tied]


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

    @property
    def kept(self) -> tuple[str, ...]:
        """The arrays that never travel."""
        return tuple(slot.name for slot in self.slots if slot.role is Role.KEEP)

    @classmethod
    def of(cls, model: Update, *, keep: str | Iterable[str] = (), integers: str = Integers.KEEP) -> Layout:
        """The layout of a model: the server's, from which both ends take their order.

        `keep` are patterns, as of file names, of arrays that stay where they are.
        Raises: WrongUpdate; also for a pattern that matches nothing, for a typing error would send what was to stay,
            and for one that keeps an array under one name of two.
        """
        found = cls.of_update(model, integers=integers)
        slots = _kept(found.slots, keep)
        _check_kept_whole(slots, tuple(_tied(found.slots, _arrays(model))))
        return replace(found, slots=tuple(_tied(slots, _arrays(model))))

    @classmethod
    def of_update(cls, update: Update, *, integers: str = Integers.KEEP) -> Layout:
        """The layout of an update: two arrays that are one by chance are two."""
        policy = _policy(integers)
        if isinstance(update, Mapping):
            return cls(Container.MAPPING, tuple(_slot(_key(name), value, policy) for name, value in update.items()))
        if isinstance(update, Sequence) and not isinstance(update, str | bytes):
            slots = tuple(_slot(str(i), value, Integers.REFUSE) for i, value in enumerate(update))
            return cls(Container.SEQUENCE, slots)
        raise WrongUpdate(f"an update is a state_dict or a list of arrays, not {type(update).__name__}")

    def digest(self) -> bytes:
        """SHA-256 of names, shapes, dtypes, roles and ties; who made the arrays does not matter."""
        text = json.dumps([slot.to_json() for slot in self.slots])
        return hashlib.sha256(LABEL_LAYOUT + self.container.value.encode() + text.encode()).digest()

    def flatten(self, update: Update) -> Floats:
        """All numbers in order: float32, or float64 when some array is float64. What is kept may be left out."""
        self._compare(Layout.of_update(update))
        values = _arrays(update)
        wide = any(slot.dtype == "float64" for slot in self.slots if slot.travels)
        flat = np.empty(self.length, np.float64 if wide else np.float32)
        start = 0
        for slot in self.slots:
            if slot.travels:
                flat[start : start + slot.size] = _numbers(values[slot.name]).reshape(-1)
                start += slot.size
            elif slot.tied is not None:
                _check_equal(slot, values[slot.name], values[slot.tied])
        return flat

    def unflatten(self, vector: Floats, like: Update | None = None) -> Update:
        """The structure with the vector's numbers, each array rounded to its own dtype.

        Kept arrays are those of `like`, and absent without.
        Raises: WrongUpdate for another length, a number too large for its array's dtype, or a `like` without such an
            array.
        """
        if vector.shape != (self.length,):
            raise WrongUpdate(f"expected {self.length} numbers, got shape {vector.shape}: give a vector of this layout")
        arrays: dict[str, Any] = {}
        start = 0
        for slot in self.slots:
            if slot.travels:
                arrays[slot.name] = _restored(slot, vector[start : start + slot.size].reshape(slot.shape))
                start += slot.size
            elif slot.tied is not None:
                arrays[slot.name] = arrays[slot.tied]
            elif like is not None:
                arrays[slot.name] = _own(slot.name, like)
        return arrays if self.container is Container.MAPPING else list(arrays.values())

    def not_finite(self, vector: Floats) -> dict[str, int]:
        """How many NaN and infinite numbers each array has in this flat vector; arrays without any are left out."""
        found: dict[str, int] = {}
        start = 0
        for slot in self.slots:
            count = slot.size - int(np.count_nonzero(np.isfinite(vector[start : start + slot.size])))
            start += slot.size
            if count:
                found[slot.name] = count
        return found

    def moved(self, model: Update, mean: Floats) -> Update:
        """model + mean, added in float64 and rounded once to each array's dtype; what is kept is the model's own.

        Raises: as `flatten` and `unflatten`.
        """
        if mean.shape != (self.length,):
            raise WrongUpdate(f"expected {self.length} numbers, got shape {mean.shape}: give a mean of this layout")
        return self.unflatten(self.flatten(model).astype(np.float64) + mean, like=model)

    def _compare(self, found: Layout) -> None:
        if found.container is not self.container:
            raise WrongUpdate(f"expected a {self.container.value} of arrays, got a {found.container.value}")
        kept = set(self.kept)
        expected = {slot.name: slot for slot in self.slots if slot.name not in kept}
        got = {slot.name: slot for slot in found.slots if slot.name not in kept}
        if expected.keys() != got.keys():
            missing, extra = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
            raise WrongUpdate(f"submit the arrays of the agreed model: {missing} are missing, {extra} unknown")
        for name, slot in expected.items():
            if (slot.shape, slot.dtype) != (got[name].shape, got[name].dtype):
                raise WrongUpdate(
                    f"array {name!r}: expected {slot.described()}, got {got[name].described()}{_cast(slot, got[name])}"
                )


def model_digest(parameters: Update) -> bytes:
    """SHA-256 of a model's layout and exact numbers: what clients compare before they train."""
    layout = Layout.of_update(parameters)
    arrays = _arrays(parameters)
    digest = hashlib.sha256(LABEL_MODEL + layout.digest() + layout.flatten(parameters).tobytes())
    for name in layout.kept:
        digest.update(np.ascontiguousarray(_numbers(arrays[name])).tobytes())
    return digest.digest()


def check_model(parameters: Update, policy: Policy) -> bytes:
    """The digest of a received model that this policy is ready to train from; pass it on with the update.

    Against: a server that sends a model chosen to make updates tell on their data, or to break the training.
    Raises: NonFinite for a parameter that is NaN or infinite; PolicyViolation when the L2 norm is above the
        policy's `max_model_norm`; WrongUpdate for a model that has no layout.
    """
    flat = Layout.of_update(parameters).flatten(parameters)
    bad = int(np.count_nonzero(~np.isfinite(flat)))
    if bad:
        raise NonFinite(f"the received model has {bad} parameters that are not finite: do not train from it")
    norm = float(np.linalg.norm(flat.astype(np.float64, copy=False)))
    if norm > policy.max_model_norm:
        raise PolicyViolation(
            SERVER, f"sent a model of norm {norm:.6g}; at most {policy.max_model_norm:.6g} is allowed"
        )
    return model_digest(parameters)


def _cast(expected: Slot, found: Slot) -> str:
    """What to do about an array that differs in its dtype alone."""
    if expected.shape != found.shape:
        return ""
    if found.kind is Kind.TORCH:
        return f": cast it with .to(torch.{expected.dtype})"
    # numpy has no name for bfloat16.
    return f": cast it with .astype(np.{expected.dtype})" if hasattr(np, expected.dtype) else ""


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _key(name: object) -> str:
    # 1 and "1" would become one name, and the second array would silently replace the first.
    if not isinstance(name, str):
        raise WrongUpdate(f"array names are text, {name!r} is a {type(name).__name__}")
    return name


def _arrays(update: Update) -> Mapping[str, Any]:
    return update if isinstance(update, Mapping) else {str(place): value for place, value in enumerate(update)}


def _policy(integers: str) -> Integers:
    if integers not in tuple(Integers):
        raise WrongUpdate(f"integers is {integers!r}, it must be one of {[str(choice) for choice in Integers]}")
    return Integers(integers)


def _kept(slots: tuple[Slot, ...], keep: str | Iterable[str]) -> tuple[Slot, ...]:
    patterns = (keep,) if isinstance(keep, str) else tuple(keep)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(slot.name, pattern) for slot in slots):
            raise WrongUpdate(f"keep={pattern!r} matches no array: the names are {[slot.name for slot in slots][:8]}")

    def role(slot: Slot) -> Role:
        stays = any(fnmatch.fnmatchcase(slot.name, pattern) for pattern in patterns)
        return Role.KEEP if stays else slot.role

    return tuple(replace(slot, role=role(slot)) for slot in slots)


def _tied(slots: tuple[Slot, ...], values: Mapping[str, Any]) -> Iterator[Slot]:
    """The slots, each that holds the very numbers of one before it naming that one."""
    first: dict[object, str] = {}
    for slot in slots:
        if slot.size == 0:
            yield slot
            continue
        owner = first.setdefault(_place(values[slot.name]), slot.name)
        yield slot if owner == slot.name else replace(slot, tied=owner)


def _check_kept_whole(slots: tuple[Slot, ...], tied: tuple[Slot, ...]) -> None:
    """Against: a module that loads both names, of which the one that stays undoes what the mean has moved."""
    roles = {slot.name: slot.role for slot in slots}
    for slot in tied:
        if slot.tied is not None and roles[slot.name] is not roles[slot.tied]:
            raise WrongUpdate(
                f"arrays {slot.name!r} and {slot.tied!r} are one array, only one of them is kept: let keep name both"
            )


def _place(value: Any) -> object:
    """Where an array's numbers lie and how they are read: equal for two names of one array alone."""
    if _is_torch(value):
        return value.device, value.data_ptr(), value.stride(), tuple(value.shape), value.dtype
    array = np.asarray(value)
    return array.__array_interface__["data"][0], array.strides, array.shape, array.dtype


def _check_equal(slot: Slot, one: Any, other: Any) -> None:
    if not np.array_equal(_numbers(one), _numbers(other), equal_nan=True):
        raise WrongUpdate(
            f"arrays {slot.name!r} and {slot.tied!r} are one array in the layout and have different numbers here: "
            "tie them, or make the layout of a model in which they are two"
        )


def _own(name: str, like: Update) -> Any:
    if not isinstance(like, Mapping) or name not in like:
        raise WrongUpdate(f"array {name!r} is kept, and the model to keep it from has none of that name")
    return like[name]


def _slot(name: str, value: Any, integers: Integers) -> Slot:
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
    shape = tuple(int(side) for side in value.shape)
    if dtype in INTEGERS and integers is Integers.KEEP:
        return Slot(name, shape, dtype, kind, Role.KEEP)
    if dtype not in FLOATING:
        raise WrongUpdate(f"array {name!r} is {dtype}: only {', '.join(FLOATING)} have a mean; leave it out")
    return Slot(name, shape, dtype, kind)


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
