"""Any bytes are a message in its one spelling or a named refusal: a million mutants, and the headers by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import pytest

from protocols import codec, messages, wire
from protocols.codec import KINDS, kind_of
from protocols.errors import Malformed, Undecodable
from protocols.messages import Masked, Roster, Witnesses
from protocols.pairwise import client as pairwise_client
from protocols.pairwise.server import Seeding
from protocols.party import SERVER, PartyId
from tests.attacks.villain import rows
from tests.fuzz import loops, targets
from tests.fuzz.corpus import Recording, frame_seeds, frames, recordings
from tests.fuzz.encrypted import encrypted_frames
from tests.fuzz.mutate import Mutator
from tests.fuzz.oneshot import oneshot_frames

FRAMES = 1_000_000
# So many of the kinds belong to masked rounds.
PAIRWISE_KINDS = 11
Tell = Callable[[str], None]


def letters(kind: type[Any]) -> list[Any]:
    return [codec.decode_body(kind, body, SERVER) for said, body in bodies() if said is kind]


def bodies() -> list[tuple[type[Any], bytes]]:
    return [pair for recording in recordings() for pair in recording.bodies]


# --- the seeds and the mutants ----------------------------------------------------------------------


def test_the_seeds_hold_every_kind_of_letter_under_every_promise() -> None:
    opened_by_others = set(map(kind_of, (*encrypted_frames(), *oneshot_frames()))) - {messages.Result}
    assert opened_by_others == set(list(KINDS.values())[PAIRWISE_KINDS:]) - {messages.Countersignature}
    for recording in recordings():
        missing = set(KINDS.values()) - opened_by_others - {kind_of(frame) for frame in recording.frames}
        witnessed = recording.company.plan.promise.value == "active"
        assert missing == (set() if witnessed else {messages.Witness, Witnesses})


def test_the_seeds_hold_a_complaint_and_a_share_of_a_mask_key() -> None:
    assert any(letter.complaints for letter in letters(Masked))
    assert any(None in letter.shares for letter in letters(messages.Unmask))
    assert any(len(recording.company.ids) > sum(survivors(recording)) for recording in recordings())


def survivors(recording: Recording) -> list[int]:
    [bitmap] = {body for kind, body in recording.bodies if kind is messages.Survivors}
    return [byte.bit_count() for byte in bitmap[8:]]


def test_the_same_number_gives_the_same_mutants() -> None:
    one, two, other = (Mutator(number, frame_seeds(frames())) for number in (7, 7, 8))
    mutants = [one.mutant() for _ in range(1000)]
    assert mutants == [two.mutant() for _ in range(1000)]
    assert mutants != [other.mutant() for _ in range(1000)]
    assert len(set(mutants)) > 900


@pytest.mark.parametrize("name", [way.__name__ for way in Mutator(0, ()).ways])
def test_every_way_of_damage_changes_bytes_and_bears_any_length(name: str) -> None:
    mutator = Mutator(1, frame_seeds(frames()))
    damaged: Counter[bool] = Counter()
    for seed in mutator.seeds:
        for size in (0, 1, 5, len(seed.data)):
            data = bytearray(seed.data[:size])
            getattr(mutator, name)(seed, data)
            damaged[data != seed.data[:size]] += 1
    assert damaged[True] > len(mutator.seeds) // 2


# --- a million frames -------------------------------------------------------------------------------


@rows("C3", "D17", "D18")
def test_a_million_mutated_frames_are_refused_by_name_or_have_one_spelling(
    row: str, pool: Executor, tell: Tell
) -> None:
    tally = loops.shoot(pool, loops.frame_loop, FRAMES)
    tell(f"{tally.total():,} mutated frames, 0 foreign exceptions: {dict(tally.most_common())}")
    assert tally.total() == FRAMES
    assert set(tally) == {"accepted", "Malformed", "TooLarge"}
    # Enough got through to the decoders, and through them, for this to have been about more than headers.
    assert min(tally.values()) > FRAMES // 100


def test_a_second_spelling_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with a decoder that sorts what it should refuse, the same loop fails."""
    monkeypatch.setattr(Witnesses, "__post_init__", sort_silently)
    with pytest.raises(AssertionError, match="a second spelling"):
        loops.frame_loop(0, 50_000)


def sort_silently(letter: Witnesses) -> None:
    object.__setattr__(letter, "signed", tuple(sorted(letter.signed, key=lambda entry: entry.index)))


def test_a_foreign_exception_would_be_found_and_its_bytes_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a decoder that looks beyond the end of what it was given."""
    monkeypatch.setattr(Witnesses, "__post_init__", lambda letter: letter.signed[0])
    with pytest.raises(AssertionError, match=r"IndexError: .*, on 5341") as caught:
        loops.frame_loop(0, 50_000)
    data = bytes.fromhex(str(caught.value).rpartition(" ")[2])
    with pytest.raises(IndexError), targets.trusting():
        targets.open_any(data)


# --- headers by hand --------------------------------------------------------------------------------


def doors(*kinds: type[Any]) -> list[targets.Door]:
    return [targets.Door(recordings()[0], pose) for pose in recordings()[0].poses if pose.kind in kinds or not kinds]


def knock(door: targets.Door, data: bytes) -> str:
    """A frame that nobody repaired, at an endpoint that trusts signatures; `Door` asserts that nothing changed."""
    with targets.trusting():
        return door.receive(data)


@rows("D17", "M25")
@pytest.mark.parametrize("place", [0, 1, 2], ids=["magic", "magic", "version"])
def test_any_other_version_byte_is_malformed_at_every_stage_of_every_endpoint(row: str, place: int) -> None:
    for frame in {kind_of(frame): frame for frame in frames()}.values():
        for byte in set(range(256)) - {frame[place]}:
            with pytest.raises(Malformed, match="another protocol or version"):
                codec.read_header(frame[:place] + bytes([byte]) + frame[place + 1 :], SERVER, targets.LIMIT)
    newer = frame[:2] + b"\x02" + frame[3:]
    assert {knock(door, newer) for door in doors()} == {"Malformed"}


@rows("D17", "M1")
def test_a_frame_of_no_known_kind_is_malformed_at_every_stage_of_every_endpoint(row: str) -> None:
    """There is no second kind of frame in which a server could ask for the other share."""
    [frame] = {frame for frame in recordings()[0].frames if kind_of(frame) is messages.Survivors}
    for kind in sorted(set(range(256)) - set(KINDS)):
        forged = frame[:3] + bytes([kind]) + frame[4:]
        assert {knock(door, forged) for door in doors(pairwise_client.Sent, pairwise_client.Witnessed)} == {"Malformed"}
    assert {knock(door, forged) for door in doors()} == {"Malformed"}


@rows("M1")
def test_the_letters_that_a_client_answers_with_a_share_name_each_client_once(row: str) -> None:
    """Alive or dead is one bit; a second bitmap appended to the first is too many bytes."""
    for kind, body in bodies():
        if kind is messages.Survivors:
            with pytest.raises(Malformed, match="bytes too many"):
                codec.decode_body(kind, body + body, SERVER)


@rows("D17")
def test_a_field_more_is_malformed_whatever_it_holds(row: str) -> None:
    for kind, body in bodies():
        for more in (b"\0", b"\1", bytes(8), bytes(64), body):
            with pytest.raises(Malformed):
                codec.decode_body(kind, body + more, SERVER)


# --- repeated and unordered ids -----------------------------------------------------------------------


@rows("D18")
def test_a_roster_in_any_other_order_or_with_one_client_twice_is_malformed(row: str) -> None:
    for roster in letters(Roster):
        body = wire.encode(roster)
        entries = [body[40:][at : at + 165] for at in range(0, len(body) - 40, 165)]
        for one in range(len(entries)):
            for two in range(len(entries)):
                bent = list(entries)
                bent[one], bent[two] = (bent[two], bent[one]) if one < two else (bent[two], bent[two])
                if bent == entries:
                    continue
                with pytest.raises(Malformed, match="roster ids must strictly ascend"):
                    codec.decode_body(Roster, body[:40] + b"".join(bent), SERVER)


@rows("D18")
def test_a_witness_named_twice_is_malformed(row: str) -> None:
    for letter in letters(Witnesses):
        first, *others = letter.signed
        with pytest.raises(Undecodable, match="must strictly ascend"):
            replace(letter, signed=(first, first, *others))
        body = wire.encode(letter)
        doubled = (len(letter.signed) + 1).to_bytes(8, "little") + body[8:76] + body[8:]
        with pytest.raises(Malformed, match="witness indices must strictly ascend"):
            codec.decode_body(Witnesses, doubled, SERVER)


@rows("D18")
def test_a_second_letter_with_other_words_is_a_duplicate_in_every_room(row: str) -> None:
    """Whoever has spoken in a room says what another client has said there."""
    met = set()
    for recording in recordings():
        for scene in (targets.Scene(recording, pose) for pose in recording.poses if pose.who == SERVER):
            for who in spoken(scene.party.state):
                for kind, body in recording.bodies:
                    letter = codec.decode_body(kind, body, SERVER)
                    if scene.knows(letter):
                        outcome = scene.hear(who, letter)
                        assert outcome == ("accepted" if late(scene, kind) else "Duplicate")
                        met.add(scene.pose.kind.__name__)
    assert met == {"Gathering", "Seeding", "Relaying", "Summing", "Witnessing", "Unmasking"}


def spoken(room: Any) -> list[PartyId]:
    return list(room.early if isinstance(room, Seeding) else getattr(room, "arrived", {}))


def late(scene: targets.Scene, kind: type[Any]) -> bool:
    """Enough had signed: what the others sign is not read."""
    return scene.pose.kind.__name__ == "Unmasking" and kind is messages.Witness


# --- a vector of another length -----------------------------------------------------------------------


@rows("C2", "C3")
def test_a_vector_of_every_other_length_is_excluded_and_the_sum_is_as_before(row: str) -> None:
    """`Scene` asserts that the frozen room is the same bytes after each refusal."""
    for recording in recordings():
        [scene] = [
            targets.Scene(recording, pose)
            for pose in recording.poses
            if pose.kind.__name__ == "Summing" and not targets.Scene(recording, pose).party.state.arrived
        ]
        honest = next(codec.decode_body(kind, body, SERVER) for kind, body in recording.bodies if kind is Masked)
        vector, extras = bytes(honest.vector), bytes(honest.extras)
        for size in set(range(200)) - {len(vector)}:
            letter = replace(honest, vector=bytes(size))
            assert scene.hear(recording.company.ids[0], letter) == "ShapeMismatch"
        for size in set(range(200)) - {len(extras)}:
            letter = replace(honest, extras=bytes(size))
            assert scene.hear(recording.company.ids[0], letter) == "ShapeMismatch"
