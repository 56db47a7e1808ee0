"""Agreements made of extreme but well-formed fields: what a lying server can put into an `Open`.

Flipped bits seldom give a number of seventy digits or a plan for 2^32 clients; here every field is drawn from
the edges of its type. `damaged` leaves most fields of an honest agreement alone, so that some get past the plan's
own checks and reach those of the policy, the coding and the parameters.
"""

from __future__ import annotations

import dataclasses
import random
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from protocols import wire
from protocols.plan import Agreement, NoisePlan
from protocols.wire import Pieces

HUGE = Fraction(10**68)
RATIOS = tuple(
    ratio
    for positive in (Fraction(0), Fraction(1, 3), Fraction(1), Fraction(2**20), Fraction(2**64), HUGE, 1 / HUGE)
    for ratio in (positive, -positive, positive + Fraction(1, 10**60), 1 - positive)
)
NUMBERS = tuple(
    number
    for power in (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 27, 31, 32, 48, 53, 62, 63, 64)
    for number in (2**power - 1, 2**power, 2**power + 1)
)
TEXTS = ("", "task", "pairwise", "é" * 32, "x" * 64, "x" * 65, "\0", "x" * 500)


@dataclass(frozen=True, slots=True)
class Draw:
    """Extreme values by type, each a function of the generator's integer."""

    source: random.Random
    chance: float

    def value(self, honest: Any) -> Any:
        """This value, or another of its kind."""
        if isinstance(honest, tuple):
            return tuple(self.value(item) for item in honest for _ in range(self.source.choice((0, 1, 1, 1, 2))))
        if dataclasses.is_dataclass(honest):
            return [self.value(getattr(honest, name)) for name, _ in wire.fields_of(type(honest))]
        if self.source.random() > self.chance:
            return honest
        if honest is None:
            return None
        if isinstance(honest, bytes):
            return self.source.randbytes(len(honest))
        if isinstance(honest, str):
            return self.source.choice(TEXTS)
        if isinstance(honest, Fraction):
            return self.source.choice(RATIOS)
        if isinstance(honest, int):
            return self.source.choice(NUMBERS)
        return self.source.choice(list(type(honest)))


def damaged(honest: Agreement, number: int) -> Iterator[bytes]:
    """Bodies of `Open`, no two alike on purpose; without end."""
    source = random.Random(number)
    while True:
        draw = Draw(source, source.choice((0.05, 0.2, 0.5)))
        out: Pieces = []
        write(Agreement, draw.value(honest), out)
        yield b"".join(out)


def write(kind: type[Any], values: list[Any], out: Pieces) -> None:
    """The fields as the wire has them, whether or not the constructor would take them."""
    for (_, hint), value in zip(wire.fields_of(kind), values, strict=True):
        if isinstance(value, tuple):
            [item, _] = typing.get_args(hint)
            out.append(len(value).to_bytes(8, "little"))
            for fields in value:
                write(item, fields, out)
        elif isinstance(value, list):
            inner = hint if isinstance(hint, type) else NoisePlan
            out += [] if inner is hint else [b"\1"]
            write(inner, value, out)
        elif isinstance(value, int) and not isinstance(value, bool):
            width = wire.coder(hint).least
            out.append((value % (1 << 8 * width)).to_bytes(width, "little"))
        else:
            wire.coder(hint).write(value, out)
