"""Everything that travels or is stored, cut at every byte: never a message, never a state, always by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial

import pytest

from protocols import codec, wire
from protocols.codec import HEADER, SIGNATURE_BYTES, kind_of
from protocols.endpoint import (
    CKKS_CLIENT_STATES,
    CKKS_SERVER_STATES,
    HOLDER_STATES,
    MEMBER_STATES,
    ONESHOT_CLIENT_STATES,
    ONESHOT_SERVER_STATES,
    PAIRWISE_CLIENT_STATES,
    PAIRWISE_SERVER_STATES,
)
from protocols.errors import Malformed, Misused, Undecodable
from protocols.party import SERVER
from tests.attacks.villain import rows
from tests.fuzz import targets
from tests.fuzz.corpus import MAKER, Pose, Recording, frames, recordings
from tests.fuzz.encrypted import encrypted_frames, encrypted_recordings
from tests.fuzz.oneshot import oneshot_frames, oneshot_recordings

# Bytes that are cut everywhere; of longer ones so many at either end, and so many places between.
LONG, NEAR, BETWEEN = 8192, 400, 150

Tell = Callable[[str], None]


def heads(size: int) -> Sequence[int]:
    """Every length below this one; of long bytes, most of which are residues, all near both ends and some between."""
    if size <= LONG:
        return range(size)
    return [*range(NEAR), *range(NEAR, size - NEAR, size // BETWEEN), *range(size - NEAR, size)]


def refuses(error: type[Exception], take: Callable[[bytes], object], data: bytes) -> int:
    """The heads of these bytes are refused with this error; how many were tried."""
    for size in heads(len(data)):
        try:
            take(data[:size])
        except error:
            continue
        raise AssertionError(f"{size} of {len(data)} bytes were taken for the whole")
    return len(heads(len(data)))


def cut_frames(found: Iterable[bytes]) -> int:
    """Every frame cut, and every body under a header that fits what is left."""
    cuts = 0
    for frame in found:
        decode = partial(codec.decode_body, kind_of(frame), peer=SERVER)
        cuts += refuses(Malformed, partial(codec.read_header, peer=SERVER, limit=targets.LIMIT), frame)
        cuts += refuses(Malformed, decode, frame[HEADER.size : -SIGNATURE_BYTES])
    return cuts


def poses() -> list[Pose]:
    """Every kind of state of both endpoints, at its fullest."""
    found = list({(pose.kind, pose.who): pose for pose in recordings()[0].poses}.values())
    assert {pose.kind for pose in found} == {*PAIRWISE_CLIENT_STATES, *PAIRWISE_SERVER_STATES}
    return found


def opened_poses() -> list[Pose]:
    """Every kind of state of server, client and who opens, where others than the clients do, at its fullest."""
    stages = (encrypted_recordings()[0], oneshot_recordings()[0])
    poses = (pose for recording in stages for pose in recording.poses if pose.who != MAKER)
    found = list({(pose.kind, pose.who): pose for pose in poses}.values())
    encrypted = {*CKKS_CLIENT_STATES, *CKKS_SERVER_STATES, *HOLDER_STATES}
    oneshot = {*ONESHOT_CLIENT_STATES, *ONESHOT_SERVER_STATES, *MEMBER_STATES}
    assert {pose.kind for pose in found} == encrypted | oneshot
    return found


def recording_of(pose: Pose) -> Recording:
    stages: tuple[Recording, ...] = (recordings()[0], encrypted_recordings()[0], oneshot_recordings()[0])
    return next(recording for recording in stages if pose in recording.poses)


def cut_states(chosen: Iterable[Pose]) -> int:
    """Frozen states cut."""
    cuts = 0
    for scene in (targets.Scene(recording_of(pose), pose) for pose in chosen):
        cuts += refuses(Undecodable, partial(codec.thaw, scene.pose.kind, supplied=scene.supplied), scene.pose.state)
    return cuts


def cut_images(chosen: Iterable[Pose]) -> int:
    """Stored endpoints cut; an endpoint that refuses such an image stays what it was."""
    cuts = 0
    for door in (targets.Door(recording_of(pose), pose) for pose in chosen):
        cuts += refuses(Misused, door.endpoint.thaw, door.pose.image)
        targets.require(door.endpoint.freeze() == door.pose.image, "a cut image has left something behind")
    return cuts


@rows("D15")
def test_every_frame_cut_at_every_byte_is_malformed(row: str, tell: Tell) -> None:
    cuts = cut_frames(frames())
    tell(f"{cuts:,} cut frames and bodies, all Malformed")
    assert cuts == sum(2 * len(frame) - HEADER.size - SIGNATURE_BYTES for frame in frames())


@rows("D15")
def test_every_state_cut_at_every_byte_is_undecodable(row: str, pool: Executor, tell: Tell) -> None:
    cuts = sum(pool.map(cut_states, (poses()[::2], poses()[1::2])))
    tell(f"{cuts:,} cut states, all Undecodable")
    assert cuts == sum(len(pose.state) for pose in poses())


@rows("D15")
def test_every_image_cut_at_every_byte_is_misused(row: str, pool: Executor, tell: Tell) -> None:
    cuts = sum(pool.map(cut_images, (poses()[::2], poses()[1::2])))
    tell(f"{cuts:,} cut images, all Misused")
    assert cuts == sum(len(pose.image) for pose in poses())


@rows("D15")
def test_whatever_is_said_or_stored_where_others_open_is_refused_when_cut(row: str, pool: Executor, tell: Tell) -> None:
    found = list({kind_of(frame): frame for frame in (*encrypted_frames(), *oneshot_frames())}.values())
    cuts = sum(pool.map(cut_frames, (found[::2], found[1::2])))
    stored = sum(pool.map(cut_states, (opened_poses()[::2], opened_poses()[1::2])))
    images = sum(pool.map(cut_images, (opened_poses()[::2], opened_poses()[1::2])))
    tell(f"{cuts:,} cut frames and bodies, {stored:,} cut states, {images:,} cut images")
    assert min(cuts, stored, images) > 4_000


def test_a_decoder_that_pads_what_is_missing_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a reader that makes up the bytes it does not have."""

    def take(reader: wire.Reader, size: int) -> memoryview:
        start, reader.position = reader.position, min(reader.position + size, len(reader.view))
        return memoryview(bytes(reader.view[start : reader.position]).ljust(size, b"\0"))

    monkeypatch.setattr(wire.Reader, "take", take)
    with pytest.raises(AssertionError, match="were taken for the whole"):
        cut_frames(frames())
