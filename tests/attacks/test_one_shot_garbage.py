"""One client or member spoils a round: never into a wrong model, and by its name where it can be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.errors import BadMaskKey, ImplausibleSum, TooFewMembers
from protocols.oneshot import client as roles
from protocols.oneshot import epoch as names
from protocols.oneshot import server as servers
from protocols.oneshot.messages import Concealed, Summed
from protocols.party import PartyId
from secagg import rlwe
from secagg.keys import Context
from secagg.prg import Stream
from secagg.shamir import PACKED_PRIME, deal_packed
from tests.attacks.assembly import Assembly
from tests.attacks.hall import body_of
from tests.contracts.company import seed_of
from tests.protocols.oneshot.kit import change_for, off_by
from tests.rows import rows


@pytest.fixture
def assembly() -> Assembly:
    return Assembly()


@contextmanager
def spoilt(assembly: Assembly, error: type[ImplausibleSum], match: str) -> Iterator[None]:
    """Inside, the round is lost by this name, and no sum of it is ever had."""
    with pytest.raises(error, match=match) as caught:
        yield
    assert type(caught.value) is error
    assert assembly.server.aggregate is None
    assert assembly.server.done


def signed(assembly: Assembly, who: PartyId, letter: Concealed, **changes: Any) -> Concealed:
    bent = replace(letter, **changes)
    text = names.upload_text(Context(assembly.context), assembly.certificate.epoch.context, who, bent.box_key)
    return replace(bent, signature=assembly.speakers[who].identity.sign(text))


# --- a client's vector


@rows("C1", "C3")
@pytest.mark.parametrize(
    "garbage",
    [
        lambda size: Stream(seed_of("noise")).bytes(0, size),
        bytes,
        lambda size: b"\xff" * size,
        lambda size: bytes([7]) * size,
    ],
    ids=["noise", "zeros", "ones", "sevens"],
)
def test_a_vector_of_garbage_is_no_model(row: str, garbage: Callable[[int], bytes], assembly: Assembly) -> None:
    villain = assembly.ids[0]
    honest = assembly.upload_of(villain)
    assembly.uploads[villain] = replace(honest, vector=garbage(len(honest.vector)))
    assembly.everybody()
    with spoilt(assembly, BadMaskKey, "did not mask as agreed"):
        assembly.open()


@rows("C1")
def test_an_honest_vector_with_one_flipped_bit_of_a_message_fails_its_checksum(row: str, assembly: Assembly) -> None:
    """The mask's error is untouched by it; the sum of the elements is not."""
    villain, guard = assembly.ids[0], assembly.shape.mask.guard_bits
    ring, count = assembly.shape.mask.ring, assembly.shape.mask.coefficients
    honest = assembly.upload_of(villain)
    words = ring.unpack(honest.vector, count)
    words[0] ^= np.uint64(1 << guard)
    assembly.uploads[villain] = replace(honest, vector=ring.pack(words))
    assembly.everybody()
    with spoilt(assembly, ImplausibleSum, "contradicts its checksum"):
        assembly.open()


@rows("C1")
def test_without_the_checksum_that_would_be_another_model(
    row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test."""
    monkeypatch.setattr(servers, "checked_sums", lambda *_: (10, ()))
    villain, guard = assembly.ids[0], assembly.shape.mask.guard_bits
    ring, count = assembly.shape.mask.ring, assembly.shape.mask.coefficients
    honest = assembly.upload_of(villain)
    words = ring.unpack(honest.vector, count)
    words[0] ^= np.uint64(1 << guard)
    assembly.uploads[villain] = replace(honest, vector=ring.pack(words))
    assembly.everybody()
    assembly.open()
    assert assembly.server.aggregate is not None
    opened, true = assembly.server.aggregate.total.tolist(), assembly.sum_of(*assembly.ids)
    assert opened[1:] == true[1:]
    assert abs(opened[0] - true[0]) == 1


@rows("C2", "C3")
@pytest.mark.parametrize("change", [-1, 1, None], ids=["short", "long", "empty"])
def test_a_vector_of_another_length_is_left_out_by_name(row: str, change: int | None, assembly: Assembly) -> None:
    villain = assembly.ids[0]
    honest = assembly.upload_of(villain)
    size = 0 if change is None else len(honest.vector) + change
    bent = replace(honest, vector=bytes(honest.vector).ljust(size, b"\0")[:size])
    # A frame longer than any honest one is not even read.
    [(peer, error)] = assembly.speak(villain, bent)
    assert (peer, error) in {(villain, "ShapeMismatch"), (villain, "TooLarge")}
    others = assembly.ids[1:]
    assembly.everybody(villain)
    assembly.require_sum_of(*others)


# --- a client's shares


@rows("C10")
def test_a_client_whose_shares_nobody_reads_costs_one_round_and_is_named(row: str, assembly: Assembly) -> None:
    villain = assembly.ids[1]
    honest = assembly.upload_of(villain)
    assembly.uploads[villain] = replace(honest, boxes=tuple(bytes(len(box)) for box in honest.boxes))
    assembly.everybody()
    with pytest.raises(TooFewMembers) as caught:
        assembly.open()
    assert (caught.value.have, caught.value.culprits, caught.value.missing) == (0, (villain,), ())
    # The next attempt leaves it out, as the error says.
    others = tuple(who for who in assembly.ids if who not in caught.value.culprits)
    again = Assembly()
    again.task = replace(again.task, nonce=b"\1" * 16)
    [again.invitation] = map(bytes, again.server.open(again.task, invited=others))
    for who in others:
        again.speak(who, again.upload_of(who))
    again.require_sum_of(*others)


@rows("C10")
def test_a_client_whose_share_one_member_cannot_read_costs_nothing(row: str, assembly: Assembly) -> None:
    villain = assembly.ids[1]
    honest = assembly.upload_of(villain)
    assembly.uploads[villain] = replace(honest, boxes=(*honest.boxes[:-1], bytes(len(honest.boxes[0]))))
    assembly.everybody()
    assembly.require_sum_of(*assembly.ids)
    notes = assembly.server.excluded
    assert [(note.peer, note.error) for note in notes] == [(villain, "BadShare")]


@rows("C10", "M12")
def test_a_box_key_that_agrees_on_nothing_is_left_out_before_it_costs_the_round(row: str, assembly: Assembly) -> None:
    villain = assembly.ids[1]
    for point in (bytes(32), b"\1" + bytes(31), b"\xff" * 32):
        bent = signed(assembly, villain, assembly.uploads.get(villain) or assembly.upload_of(villain), box_key=point)
        assert assembly.speak(villain, bent) == [(villain, "KeyMismatch")]
    others = tuple(who for who in assembly.ids if who != villain)
    assembly.everybody(villain)
    assembly.require_sum_of(*others)


def dealt_unevenly(assembly: Assembly, who: PartyId, places: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """This client deals these members one word that is off, and masks and signs as it should."""

    def dealt(*arguments: Any) -> Any:
        shares = deal_packed(*arguments)
        for place in places:
            shares[place - 1, 9] = (int(shares[place - 1, 9]) + 1 + place) % PACKED_PRIME
        return shares

    with monkeypatch.context() as bent:
        bent.setattr(roles, "deal_packed", dealt)
        assembly.upload_of(who)


@rows("C10")
def test_uneven_dealing_is_never_a_wrong_model(row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    dealt_unevenly(assembly, assembly.ids[1], (1, 2), monkeypatch)
    assembly.everybody()
    with spoilt(assembly, BadMaskKey, "a client dealt unevenly"):
        assembly.open()


@rows("C10")
@pytest.mark.parametrize("place", range(1, 6))
def test_uneven_dealing_to_one_member_is_survived(
    row: str, place: int, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt_unevenly(assembly, assembly.ids[1], (place,), monkeypatch)
    assembly.everybody()
    assembly.require_sum_of(*assembly.ids)
    assert {note.error for note in assembly.server.excluded} <= {"BadShare"}


@rows("C10", "C1")
def test_a_client_that_deals_another_key_than_it_masked_with_is_never_a_wrong_model(
    row: str, assembly: Assembly
) -> None:
    """Its shares are good shares, of the key of another vector."""
    villain = assembly.ids[0]
    mine, other = assembly.upload_of(villain), Assembly()
    # The same root, and another update.
    other.company.number = 1
    shares = other.upload_of(villain)
    assert mine.box_key != shares.box_key
    assembly.uploads[villain] = replace(shares, vector=mine.vector)
    assembly.everybody()
    with spoilt(assembly, BadMaskKey, "did not mask as agreed"):
        assembly.open()


# --- members


def answered(assembly: Assembly, lies: dict[int, Callable[[Summed], Summed]]) -> None:
    """Members answer in order of their places; these lie."""
    assembly.everybody()
    for who, place in assembly.places.items():
        if not assembly.server.done:
            [frame] = assembly.members[who].receive(assembly.asked[who])
            letter = body_of(bytes(frame), who)
            assembly.speak(who, lies[place](letter) if place in lies else letter)
    assembly.asked = {}


@rows("C8")
@pytest.mark.parametrize("liar", range(1, 5))
@pytest.mark.parametrize("word", [0, 2047])
def test_a_member_that_lies_in_one_word_is_left_out_by_name(row: str, liar: int, word: int, assembly: Assembly) -> None:
    answered(assembly, {liar: off_by((word, 1))})
    assembly.require_sum_of(*assembly.ids)
    [note] = assembly.server.excluded
    assert (assembly.places[note.peer], note.error) == (liar, "BadShare")


@rows("C8")
@pytest.mark.parametrize("power", ["0", "1", "g - 1", "g", "g + 1", "Q - 1"])
def test_a_member_that_shifts_the_sum_of_keys_by_a_power_of_two_is_left_out_by_name(
    row: str, power: str, assembly: Assembly
) -> None:
    """By 2^g the low bits would be perfect and the high ones another model; by less, keys look like keys."""
    mask = assembly.shape.mask
    exponent = {
        "0": 0,
        "1": 1,
        "g - 1": mask.guard_bits - 1,
        "g": mask.guard_bits,
        "g + 1": mask.guard_bits + 1,
    }.get(power, min(mask.modulus_bits - 1, 29))
    change = change_for(assembly.quorum, (1, 2, 3, 4), 2, 1 << exponent)
    answered(assembly, {2: off_by((3, change))})
    assembly.require_sum_of(*assembly.ids)
    assert [(assembly.places[note.peer], note.error) for note in assembly.server.excluded] == [(2, "BadShare")]


@rows("C8")
def test_without_a_look_at_the_sum_of_keys_that_would_be_another_model(
    row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: the error left by the mask says nothing of a shift by 2^g."""
    monkeypatch.setattr(rlwe, "check_secret_sum", lambda secret, summed: None)
    monkeypatch.setattr(servers, "checked_sums", lambda *_: (10, ()))
    change = change_for(assembly.quorum, (1, 2, 3, 4), 2, 1 << assembly.shape.mask.guard_bits)
    answered(assembly, {2: off_by((3, change))})
    assert assembly.server.aggregate is not None
    assert assembly.server.aggregate.total.tolist() != assembly.sum_of(*assembly.ids)


@rows("C8")
def test_an_answer_of_another_set_or_shape_is_ignored_and_the_honest_one_counts(row: str, assembly: Assembly) -> None:
    assembly.everybody()
    who = next(iter(assembly.asked))
    [frame] = assembly.members[who].receive(assembly.asked[who])
    honest = body_of(bytes(frame), who)
    for bent, error in (
        (replace(honest, question=bytes(32)), "ViewMismatch"),
        (replace(honest, shares=bytes(honest.shares)[:-4]), "ShapeMismatch"),
        (replace(honest, shares=b"\xff" * len(honest.shares)), "BadShare"),
    ):
        assert assembly.speak(who, bent) == [(who, error)]
    assembly.require_sum_of(*assembly.ids)


@rows("C9")
def test_more_liars_than_may_be_away_cost_the_round_and_no_model(row: str, assembly: Assembly) -> None:
    with spoilt(assembly, BadMaskKey, "no 4 of 5 answers take the mask off: members lie"):
        answered(assembly, {1: off_by((0, 1)), 2: off_by((0, 1))})


@rows("C13")
def test_a_client_is_not_heard_as_a_member_nor_a_member_as_another(row: str, assembly: Assembly) -> None:
    assembly.everybody()
    who, other = list(assembly.asked)[:2]
    [frame] = assembly.members[who].receive(assembly.asked[who])
    letter = body_of(bytes(frame), who)
    assert assembly.speak(assembly.ids[0], letter) == [(assembly.ids[0], "OutOfTurn")]
    noted = len(assembly.server.excluded)
    assembly.server.receive(bytes(frame), other)
    assert [(note.peer, note.error) for note in assembly.server.excluded[noted:]] == [(other, "BadSignature")]
    assembly.require_sum_of(*assembly.ids)


@rows("C10")
def test_one_member_that_cries_wolf_frames_nobody_whose_sum_is_opened(row: str, assembly: Assembly) -> None:
    """It costs nothing but a note, which names the accuser as well."""

    def crying(letter: Summed) -> Summed:
        return replace(letter, shares=None, unreadable=assembly.ids)

    answered(assembly, {1: crying})
    assembly.require_sum_of(*assembly.ids)
    liar = next(who for who, place in assembly.places.items() if place == 1)
    assert [note.peer for note in assembly.server.excluded] == list(assembly.ids)
    assert all(note.why == f"dealt what is no share, say members [{liar}]" for note in assembly.server.excluded)
