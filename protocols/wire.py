"""Values as bytes and back, driven by their type hints.

One canonical form per value: integers are little-endian and of declared width, sequences carry a
length, dataclasses are their fields in order, options one byte and then the value. Whoever reads
foreign bytes gets the value, or `Undecodable`; lengths are compared with what is left to read before
anything is allocated, and every byte must be consumed.

Annotations a field may use: `U8 U32 U64 I64 Float` numbers, `Fixed(n)` bytes, `Bounded(n)` bytes or
text, `Fraction`, enumerations, `X | None`, `tuple[X, ...]`, dataclasses, `Seed`, `Share`, `Vector`
(a numpy array), and `Supplied` for what a restart must provide again instead of reading it back.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, TypeVar

import numpy as np

from protocols.errors import Undecodable
from secagg.keys import Secret, Seed

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An integer of `width` bytes, little-endian."""

    width: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Exactly:
    """Bytes of one length."""

    size: int


@dataclass(frozen=True, slots=True)
class AtMost:
    """Bytes or text of up to `size` bytes."""

    size: int


class Supplied:
    """Mark of a field that is never written and must be given again by whoever restores the state."""


U8 = Annotated[int, Unsigned(1)]
U32 = Annotated[int, Unsigned(4)]
U64 = Annotated[int, Unsigned(8)]
I64 = Annotated[int, Unsigned(8, signed=True)]
Bytes16 = Annotated[bytes, Exactly(16)]
Bytes32 = Annotated[bytes, Exactly(32)]
Bytes64 = Annotated[bytes, Exactly(64)]
Bitmap = Annotated[bytes, AtMost(1 << 17)]
Text = Annotated[str, AtMost(500)]
Payload = Annotated[bytes | bytearray | memoryview, AtMost(1 << 40)]
Vector = Annotated[np.ndarray[Any, Any], "vector"]

# Characters of a rational number, numerator / denominator.
MOST_DIGITS = 200

_DTYPES = (np.uint16, np.uint32, np.uint64, np.int64, np.float64)


class Reader:
    """A cursor over bytes that never reads past the end."""

    def __init__(self, data: Buffer, supplied: Mapping[Any, object] | None = None) -> None:
        self.view = memoryview(data).cast("B")
        self.position = 0
        self.supplied = supplied or {}

    @property
    def left(self) -> int:
        return len(self.view) - self.position

    def take(self, size: int) -> memoryview:
        if size > self.left:
            raise Undecodable(f"{size} bytes expected, {self.left} left")
        start, self.position = self.position, self.position + size
        return self.view[start : self.position]

    def finish(self) -> None:
        if self.left:
            raise Undecodable(f"{self.left} bytes too many")


Pieces = list[Buffer]


@dataclass(frozen=True, slots=True)
class Coder:
    """How one type is written and read; `least` is the smallest number of bytes a value takes."""

    write: Callable[[Any, Pieces], None]
    read: Callable[[Reader], Any]
    least: int


T = TypeVar("T")


def encode(value: object) -> bytes:
    """The canonical bytes of a dataclass value."""
    return b"".join(pieces(value))


def pieces(value: object) -> Pieces:
    """The canonical encoding as a list of buffers; large payloads are passed through uncopied."""
    out: Pieces = []
    hint: Any = type(value)
    coder(hint).write(value, out)
    return out


def decode(kind: type[T], data: Buffer, supplied: Mapping[Any, object] | None = None) -> T:
    """The value of type `kind` whose canonical encoding is exactly `data`.

    Raises: Undecodable when there is none. Errors of the type's own constructor pass through.
    """
    reader = Reader(data, supplied)
    hint: Any = kind
    value = coder(hint).read(reader)
    reader.finish()
    return typing.cast(T, value)


@functools.cache
def coder(hint: Any) -> Coder:
    """The coder of a type hint.

    Raises: TypeError for a hint outside the list above, when the class is first used: our bug.
    """
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _annotated(*typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return _optional(hint)
    if origin is tuple:
        item_hint, *rest = typing.get_args(hint)
        if rest != [Ellipsis]:
            raise TypeError(f"only tuple[X, ...] has a wire form, not {hint!r}")
        return _sequence(item_hint)
    if origin is frozenset:
        return _set(hint)
    if origin in (dict, Mapping):
        return _mapping(hint)
    if isinstance(hint, typing.NewType):
        return coder(hint.__supertype__)
    if hint is bytes:
        return _payload(1 << 16)
    if hint is str:
        return _text(1 << 16)
    if hint is int:
        return _integer(Unsigned(8, signed=True))
    if hint is Fraction:
        return _fraction()
    if hint is Seed:
        return _secret(32, Seed)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enumeration(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    raise TypeError(f"no wire form for {hint!r}")


def _annotated(base: Any, mark: Any) -> Coder:
    if isinstance(mark, Unsigned):
        return _integer(mark)
    if isinstance(mark, Exactly):
        return _secret(mark.size) if base is Secret else _exact_bytes(mark.size)
    if isinstance(mark, AtMost):
        return _text(mark.size) if base is str else _payload(mark.size)
    if mark is Supplied:
        return Coder(lambda value, out: None, lambda reader: reader.supplied[base], 0)
    if mark == "vector":
        return _vector()
    raise TypeError(f"no wire form for annotation {mark!r}")


def _integer(mark: Unsigned) -> Coder:
    width, signed = mark.width, mark.signed

    def write(value: int, out: Pieces) -> None:
        out.append(int(value).to_bytes(width, "little", signed=signed))

    def read(reader: Reader) -> int:
        return int.from_bytes(reader.take(width), "little", signed=signed)

    return Coder(write, read, width)


def _exact_bytes(size: int) -> Coder:
    def write(value: bytes, out: Pieces) -> None:
        if len(value) != size:
            raise Undecodable(f"{size} bytes expected, got {len(value)}")
        out.append(value)

    return Coder(write, lambda reader: bytes(reader.take(size)), size)


def _secret(size: int, kind: type[Secret] = Secret) -> Coder:
    return Coder(lambda value, out: out.append(value.expose()), lambda r: kind(r.take(size)), size)


def _length(reader: Reader, most: int, least_item: int = 1) -> int:
    count = int.from_bytes(reader.take(8), "little")
    if count > most or count * least_item > reader.left:
        raise Undecodable(f"a length of {count} does not fit")
    return count


def _payload(most: int) -> Coder:
    def write(value: Buffer, out: Pieces) -> None:
        if len(value) > most:
            raise Undecodable(f"at most {most} bytes, got {len(value)}")
        out.append(len(value).to_bytes(8, "little"))
        out.append(value)

    # Small fields are copied so that they do not keep a whole frame alive; vectors are not.
    def read(reader: Reader) -> Buffer:
        view = reader.take(_length(reader, most))
        return bytes(view) if most <= 1 << 20 else view

    return Coder(write, read, 8)


def _text(most: int) -> Coder:
    inner = _payload(most)

    def read(reader: Reader) -> str:
        try:
            return bytes(inner.read(reader)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Undecodable("text is not UTF-8") from error

    return Coder(lambda value, out: inner.write(value.encode("utf-8"), out), read, 8)


def _fraction() -> Coder:
    inner = _text(MOST_DIGITS)

    def read(reader: Reader) -> Fraction:
        text = inner.read(reader)
        numerator, _, denominator = text.partition("/")
        try:
            value = Fraction(int(numerator), int(denominator))
        except (ValueError, ZeroDivisionError) as error:
            raise Undecodable("not a rational number") from error
        if text != f"{value.numerator}/{value.denominator}":
            raise Undecodable("a rational number must be in lowest terms")
        return value

    return Coder(lambda v, out: inner.write(f"{v.numerator}/{v.denominator}", out), read, 8)


def _enumeration(kind: type[enum.Enum]) -> Coder:
    members = list(kind)

    def read(reader: Reader) -> enum.Enum:
        index = reader.take(1)[0]
        if index >= len(members):
            raise Undecodable(f"{kind.__name__} has no member {index}")
        return members[index]

    return Coder(lambda value, out: out.append(bytes([members.index(value)])), read, 1)


def _optional(hint: Any) -> Coder:
    inner_hints = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    if set(inner_hints) == {Fraction, float}:
        # Fields that take either keep a Fraction once their constructor has run.
        return _fraction()
    if len(inner_hints) != 1:
        raise TypeError(f"only X | None has a wire form, not {hint!r}")
    inner = coder(inner_hints[0])

    def write(value: object, out: Pieces) -> None:
        out.append(b"\0" if value is None else b"\1")
        if value is not None:
            inner.write(value, out)

    def read(reader: Reader) -> object:
        flag = reader.take(1)[0]
        if flag > 1:
            raise Undecodable("an option is neither absent nor present")
        return inner.read(reader) if flag else None

    return Coder(write, read, 1)


def _sequence(item_hint: Any) -> Coder:
    item = coder(item_hint)

    def write(values: tuple[object, ...], out: Pieces) -> None:
        out.append(len(values).to_bytes(8, "little"))
        for value in values:
            item.write(value, out)

    def read(reader: Reader) -> tuple[object, ...]:
        count = _length(reader, 1 << 24, max(1, item.least))
        return tuple(item.read(reader) for _ in range(count))

    return Coder(write, read, 8)


def _set(hint: Any) -> Coder:
    items = _sequence(typing.get_args(hint)[0])

    def read(reader: Reader) -> frozenset[Any]:
        values = items.read(reader)
        _require_ascending(values)
        return frozenset(values)

    return Coder(lambda value, out: items.write(tuple(sorted(value)), out), read, 8)


def _mapping(hint: Any) -> Coder:
    key_hint, value_hint = typing.get_args(hint)
    key, value = coder(key_hint), coder(value_hint)

    def write(mapping: Mapping[Any, Any], out: Pieces) -> None:
        out.append(len(mapping).to_bytes(8, "little"))
        for name in sorted(mapping):
            key.write(name, out)
            value.write(mapping[name], out)

    def read(reader: Reader) -> dict[Any, Any]:
        count = _length(reader, 1 << 24, max(1, key.least + value.least))
        found = [(key.read(reader), value.read(reader)) for _ in range(count)]
        _require_ascending([name for name, _ in found])
        return dict(found)

    return Coder(write, read, 8)


def _require_ascending(values: Sequence[Any]) -> None:
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise Undecodable("keys must strictly ascend")


def _vector() -> Coder:
    def write(value: np.ndarray[Any, Any], out: Pieces) -> None:
        out.append(bytes([[np.dtype(d) for d in _DTYPES].index(value.dtype)]))
        out.append(value.size.to_bytes(8, "little"))
        out.append(np.ascontiguousarray(value).data.cast("B"))

    def read(reader: Reader) -> np.ndarray[Any, Any]:
        code = reader.take(1)[0]
        if code >= len(_DTYPES):
            raise Undecodable("unknown number type")
        dtype = np.dtype(_DTYPES[code])
        count = _length(reader, 1 << 40, dtype.itemsize)
        return np.frombuffer(reader.take(count * dtype.itemsize), dtype).copy()

    return Coder(write, read, 9)


def fields_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Field names and resolved hints of a dataclass, in order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.init:
            yield field.name, hints[field.name]


def _record(kind: type) -> Coder:
    parts = [(name, coder(hint)) for name, hint in fields_of(kind)]

    def write(value: object, out: Pieces) -> None:
        for name, part in parts:
            part.write(getattr(value, name), out)

    readers = [part.read for _, part in parts]

    def read(reader: Reader) -> object:
        return kind(*[read_part(reader) for read_part in readers])

    return Coder(write, read, sum(part.least for _, part in parts))
