"""What a real client sends for a vector of zeros: nothing but masks, and those must look like noise.

The streams one by one are tried in `tests/secagg/test_prg.py`; here their sum is, as it leaves. Every statistic is
also shown a planted fault, which it must see with the same seeds. A top value that no *stream* ever takes is not
among these faults: five such streams added up differ from uniform by 255^-5, and only the test of streams finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from protocols.coding import EXTRAS_RING
from protocols.messages import Masked, Survivors
from protocols.pairwise import client as pairwise_client
from secagg import masks
from secagg.keys import Seed
from secagg.masks import SEGMENT, mask_and_pack
from secagg.ring import Ring
from tests.attacks import villain
from tests.attacks.villain import Stage, rows
from tests.contracts.uniform import FALSE_ALARM, Residues, chi_square, p_values

LENGTH = 1 << 15
CLIENTS = 5
ROUNDS = 12
WEIGHT = 2  # what `Stage` submits


class Zeros(Stage):
    """Clients whose updates are zero, in a ring of b bits that follows from the bits of a coordinate."""

    def __init__(self, coordinate_bits: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(villain, "LENGTH", length)
        super().__init__(CLIENTS)
        self.company.plan = replace(self.company.plan, bits=coordinate_bits, max_weight=WEIGHT)
        self.server = self.company.server()

    def update(self, who: int) -> Residues:
        return np.zeros(villain.LENGTH)

    @property
    def ring(self) -> Ring:
        return self.company.plan.encoding.ring

    def masked(self, round: int = 0) -> dict[int, Residues]:
        """By client: its masked vector, which is its mask."""
        self.open(round)
        self.until(Survivors)
        assert not any(vector.any() for vector in self.vectors.values())
        return {who: self.ring.unpack(self.heard[who, Masked].vector, villain.LENGTH) for who in self.ids}

    def extras(self, who: int) -> Residues:
        """The mask of its weight and checksum."""
        return EXTRAS_RING.unpack(self.heard[who, Masked].extras, 2) - np.array([WEIGHT, 0], np.uint64)


def suspicious(mask: Residues, bits: int) -> set[str]:
    return {name for name, p in p_values(mask, bits).items() if p < FALSE_ALARM}


# --- one vector


@rows("K7")
@pytest.mark.parametrize(("coordinate_bits", "modulus_bits"), [(4, 8), (12, 16), (16, 20), (24, 28)])
def test_the_masked_vector_of_zeros_looks_uniform(
    row: str, coordinate_bits: int, modulus_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Zeros(coordinate_bits, LENGTH, monkeypatch)
    assert stage.ring.bits == modulus_bits
    for mask in stage.masked().values():
        assert suspicious(mask, modulus_bits) == set()


@rows("K7")
def test_every_residue_of_eight_bits_is_reached(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for mask in Zeros(4, LENGTH, monkeypatch).masked().values():
        assert np.unique(mask).tolist() == list(range(256))


def never_the_top(mask: Residues) -> Residues:
    return mask % 255


def one_bit_stuck(mask: Residues) -> Residues:
    return mask & 254


def every_word_twice(mask: Residues) -> Residues:
    return mask.repeat(2)[: mask.size]


@pytest.mark.parametrize(
    ("fault", "seen_by"),
    [
        (never_the_top, "highest byte"),
        (one_bit_stuck, "lowest byte"),
        (every_word_twice, "serial"),
        (every_word_twice, "neighbours"),
    ],
)
def test_a_mask_with_a_fault_does_not(
    fault: Callable[[Residues], Residues], seen_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mask in Zeros(4, LENGTH, monkeypatch).masked().values():
        assert seen_by in suspicious(fault(mask), 8)


# --- two stretches under keys of their own

STRETCH = 1 << 13


def segments_differ(monkeypatch: pytest.MonkeyPatch) -> float:
    stage = Zeros(4, SEGMENT + STRETCH, monkeypatch)
    mask = stage.masked()[stage.ids[0]]
    return chi_square((mask[SEGMENT:].astype(np.int64) - mask[:STRETCH]) % 256, 256)


@rows("K5", "K7")
def test_a_segment_of_the_mask_says_nothing_of_the_next(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert segments_differ(monkeypatch) > FALSE_ALARM


def test_segments_under_one_key_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    derivation = masks.derivation
    monkeypatch.setattr(masks, "derivation", lambda label, context, *parts: derivation(label, context, *parts[:-1]))
    assert segments_differ(monkeypatch) < FALSE_ALARM


# --- many rounds


@dataclass(frozen=True)
class Pads:
    """The masks of both sections, by round and client."""

    vectors: list[Residues]
    extras: list[Residues]

    @classmethod
    def of_many_rounds(cls, monkeypatch: pytest.MonkeyPatch) -> Pads:
        stage, pads = Zeros(4, 16, monkeypatch), cls([], [])
        for round in range(ROUNDS):
            for who, mask in stage.masked(round).items():
                pads.vectors.append(mask)
                pads.extras.append(stage.extras(who))
        assert len(pads.vectors) == ROUNDS * CLIENTS
        return pads

    def sections_differ(self) -> float:
        """Low nibbles of the first two words of both sections, subtracted.

        Words of the vector are 16 bits wide, those of the extras 64: bytes 0 and 8 of a stream.
        """
        apart = [np.array([mask[0], mask[4]], np.uint64) - extras for mask, extras in self.pairs()]
        return chi_square((np.concatenate(apart) % np.uint64(16)).astype(np.int64), 16)

    def pairs(self) -> Iterator[tuple[Residues, Residues]]:
        return zip(self.vectors, self.extras, strict=True)

    def distinct(self) -> int:
        return len({mask.tobytes() for mask in self.vectors})


@pytest.fixture(scope="module")
def honest() -> Iterator[Pads]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Pads.of_many_rounds(monkeypatch)


@rows("K5", "K7")
def test_the_mask_of_the_vector_says_nothing_of_the_mask_of_the_extras(row: str, honest: Pads) -> None:
    assert honest.sections_differ() > FALSE_ALARM


def test_sections_under_one_key_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    derivation = masks.derivation
    monkeypatch.setattr(masks, "derivation", lambda label, context, *parts: derivation(label, context))
    assert Pads.of_many_rounds(monkeypatch).sections_differ() < FALSE_ALARM


@rows("K5")
def test_no_mask_comes_twice(row: str, honest: Pads) -> None:
    assert honest.distinct() == ROUNDS * CLIENTS


def test_masks_from_a_seed_of_few_bits_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 28 bits a repetition is expected among 2^14 masks; these sixty are enough for a seed of eight.
    def folded(vector: Any, ring: Ring, self_seed: Seed, pairs: Any, me: int, sid: bytes, *rest: Any) -> bytearray:
        return mask_and_pack(vector, ring, Seed(self_seed.expose()[:1] + bytes(31)), {}, me, bytes(32), *rest)

    monkeypatch.setattr(pairwise_client, "mask_and_pack", folded)
    assert Pads.of_many_rounds(monkeypatch).distinct() < ROUNDS * CLIENTS


def test_masks_under_one_key_for_all_rounds_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "derivation", lambda label, context, *parts: lambda seed: Seed(bytes(32)))
    assert Pads.of_many_rounds(monkeypatch).distinct() <= CLIENTS
