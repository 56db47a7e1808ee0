"""The guided fuzzer finds what chance does not: a fault behind three conditions, and more lines of the decoders."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from protocols import codec, messages, wire
from protocols.messages import Witness
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from tests.contracts.company import kind_of
from tests.fuzz import loops, targets
from tests.fuzz.corpus import Recording, frame_seeds, frames, recordings
from tests.fuzz.lines import Watch, guided, unguided
from tests.fuzz.mutate import Mutator, Seed

BUDGET = 20_000
NUMBER = 5
Tell = Callable[[str], None]


class Planted(Exception):
    """The fault that is to be found."""


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that fails when three bytes in a row have one low half each: one body in 4096, were they drawn."""
    decode_body = codec.decode_body

    def decode_and_fail(kind: type[Any], body: memoryview, peer: Any) -> Any:
        if kind is Witness and len(body) == 64:
            if body[20] & 15 == 5:
                if body[40] & 15 == 9:
                    if body[60] & 15 == 3:
                        raise Planted
        return decode_body(kind, body, peer)

    monkeypatch.setattr(codec, "decode_body", decode_and_fail)


def witness_seed() -> list[Seed]:
    found = {frame for frame in frames() if kind_of(frame) is Witness}
    bent = {frame[:40] + bytes(64) + frame[104:] for frame in found}
    return frame_seeds(sorted(bent)[:1])
