"""Declared lengths, counts and dimensions cost nothing before they are believed, and are never believed."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from protocols import codec, wire
from protocols.codec import HEADER, kind_of
from protocols.errors import Malformed, PolicyViolation, TooLarge
from protocols.messages import Masked, Open, Unmask
from protocols.pairwise.client import Idle
from protocols.pairwise.server import Summing
from protocols.party import SERVER
from protocols.plan import MAX_LENGTH
from tests.attacks.villain import rows
from tests.fuzz import targets
from tests.fuzz.bombs import HUGE, MIB, bombs, peak_of, refused, refused_in_little_memory, seeds
from tests.fuzz.corpus import frames, recordings

Tell = Callable[[str], None]
# What one wire byte of the densest letters becomes in CPython: an id of four bytes is an int and a reference.
DENSEST = 16


@rows("D16")
def test_every_count_of_every_frame_made_huge_is_refused_before_anything_is_allocated(row: str, tell: Tell) -> None:
    peak, tally = 0, Counter[str]()
    with targets.trusting():
        for seed in seeds():
            for data in bombs(seed):
                tally[refused(data)] += 1
            peak = max(peak, peak_of(lambda seed=seed: [refused(data) for data in bombs(seed)]) - len(seed.data))
    tell(f"{tally.total():,} bombs, {dict(tally)}; at most {peak:,} bytes above the frame's own")
    assert tally[TooLarge.__name__] == len(seeds()) * (len(HUGE))
    assert tally[Malformed.__name__] > 500
    assert peak < MIB


def test_a_decoder_that_believes_counts_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: room is made for as many as are announced."""
    believed = wire._length

    def make_room(reader: wire.Reader, most: int, least_item: int = 1) -> int:
        count = int.from_bytes(reader.view[reader.position :][:8], "little")
        bytearray(min(count, 4 * MIB))
        return believed(reader, most, least_item)

    monkeypatch.setattr(wire, "_length", make_room)
    [seed] = [seed for seed in seeds() if kind_of(seed.data) is Masked][:1]
    with targets.trusting():
        assert peak_of(lambda: [refused(data) for data in bombs(seed)]) > len(seed.data) + MIB


@rows("D16")
@pytest.mark.parametrize("announced", [2**32, 2**40, 2**64 - 1])
def test_four_gibibytes_in_a_header_are_too_large_at_every_stage_of_every_endpoint(row: str, announced: int) -> None:
    frame = frames()[0]
    data = frame[: HEADER.size - 8] + announced.to_bytes(8, "little") + frame[HEADER.size :]
    for door in (targets.Door(recordings()[0], pose) for pose in recordings()[0].poses):
        assert peak_of(partial(door.receive, data)) < MIB
        assert door.receive(data) == TooLarge.__name__


@rows("D16")
@pytest.mark.parametrize("length", [2**27, 2**27 + 1, MAX_LENGTH])
def test_a_round_over_a_huge_dimension_allocates_no_vector_before_the_application_has_one(
    row: str, length: int
) -> None:
    """Up to the policy's own bound a client takes part, and still holds keys only."""
    for recording in recordings():
        [scene] = [targets.Scene(recording, pose) for pose in recording.poses if pose.kind is Idle]
        honest = next(codec.decode_body(kind, body, SERVER) for kind, body in recording.bodies if kind is Open)
        bomb = Open(replace(honest.agreement, length=length))
        assert peak_of(partial(scene.hear, SERVER, bomb)) < MIB
        fine = length <= recording.company.policy.max_length
        assert scene.hear(SERVER, bomb) == (targets.ACCEPTED if fine else PolicyViolation.__name__)


@rows("D16")
@pytest.mark.parametrize("length", [0, MAX_LENGTH + 1, 2**64 - 1])
def test_a_dimension_that_no_vector_can_have_is_malformed(row: str, length: int) -> None:
    for kind, body in (pair for recording in recordings() for pair in recording.bodies):
        if kind is Open:
            # length, layout, model, the head of the ledger and the key come last.
            bent = body[:-160] + length.to_bytes(8, "little") + body[-152:]
            with pytest.raises(Malformed, match=f"a vector of {length} coordinates"):
                codec.decode_body(Open, bent, SERVER)


@rows("D16")
@pytest.mark.parametrize(
    "letter",
    [
        Masked(b"", b"", tuple(range(1000, 50_000))),
        Unmask((None,) * 200_000),
        Masked(bytes(200_000), b"", ()),
        Masked(b"", bytes(200_000), ()),
    ],
    ids=["complaints", "no-shares", "vector", "extras"],
)
def test_the_densest_letter_that_is_no_longer_than_it_says_costs_a_small_multiple_of_its_bytes(
    row: str, letter: object, tell: Tell
) -> None:
    """Within the limit of a round a registered client can fill a frame with the smallest items there are."""
    data = targets.framed(codec._KIND_OF[type(letter)], wire.encode(letter))
    header = codec.read_header(data, SERVER, targets.LIMIT)
    with targets.trusting():
        peak = peak_of(partial(codec.open_frame, data, header, b""))
    tell(f"{peak / len(data):.1f} bytes for each byte of the frame")
    assert peak < DENSEST * len(data) + MIB


@rows("D16")
def test_a_room_refuses_a_letter_of_many_items_and_keeps_none_of_them(row: str) -> None:
    for recording in recordings():
        for scene in (targets.Scene(recording, pose) for pose in recording.poses if pose.kind is Summing):
            who = next(who for who in scene.party.state.invited if who not in scene.party.state.arrived)
            honest = next(codec.decode_body(kind, body, SERVER) for kind, body in recording.bodies if kind is Masked)
            assert scene.hear(who, replace(honest, complaints=tuple(range(100_000)))) == Malformed.__name__


@rows("D16")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is read from /proc")
def test_all_bombs_are_refused_in_a_process_that_can_get_no_memory(row: str, tell: Tell) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        count = process.submit(refused_in_little_memory, 32 * MIB).result()
    tell(f"{count:,} bombs refused with 32 MiB of address space to spare")
    assert count == sum(len(HUGE) * len(seed.counts) for seed in seeds())
