"""A client is put back to before it spoke, and asked to mask another vector: two messages of one root."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.endpoint import Client
from protocols.errors import AlreadyAnswered, Misused, Replay
from protocols.oneshot import client as roles
from protocols.oneshot.messages import Concealed, OpenOneShot
from protocols.party import SERVER, PartyId
from secagg.keys import Context, Seed
from secagg.ring import RingVector
from tests.attacks.assembly import Assembly
from tests.attacks.hall import body_of
from tests.contracts.uniform import FALSE_ALARM, byte_planes
from tests.rows import rows

LENGTH = 20_000
OTHER = np.full(LENGTH, 0.25)


@pytest.fixture
def assembly() -> Assembly:
    return Assembly(length=LENGTH)


def two_messages(assembly: Assembly, who: PartyId) -> tuple[Concealed, Concealed, RingVector]:
    """What the client says, what it says once it was put back, and how much the two vectors differ."""
    client = assembly.clients[who]
    client.receive(assembly.invitation)
    before = client.freeze()
    first = assembly.upload_of(who)
    restored = assembly.company.client(who)
    restored.thaw(before)
    submission = restored.prepare(OTHER, weight=2)
    [frame] = restored.send(submission)
    return first, body_of(bytes(frame), who), assembly.submitted[who].vector - submission.vector


def difference(assembly: Assembly, one: Concealed, other: Concealed) -> RingVector:
    """What the server computes of two masked vectors."""
    ring, count = assembly.shape.mask.ring, assembly.shape.mask.coefficients
    left: RingVector = ring.unpack(one.vector, count) - ring.unpack(other.vector, count)
    ring.reduce_in_place(left)
    return left


def messages_in(assembly: Assembly, left: RingVector) -> list[int]:
    """The first elements, one in each coefficient, of the vector in the high bits, with errors rounded away."""
    mask, ring = assembly.shape.mask, assembly.shape.coding.ring
    rounded = (left + np.uint64(1 << (mask.guard_bits - 1))) >> np.uint64(mask.guard_bits)
    return [int(value) for value in rounded & np.uint64(ring.modulus - 1)]


def firsts(assembly: Assembly, truth: RingVector) -> list[int]:
    return [int(value) for value in assembly.shape.coding.ring.reduce(truth)[: assembly.shape.mask.coefficients]]


@rows("S17")
def test_two_vectors_of_one_root_are_masked_by_two_keys(row: str, assembly: Assembly) -> None:
    """The documented limit of storage that rolls back costs nothing here: the difference is noise in every byte."""
    who = assembly.ids[0]
    one, other, truth = two_messages(assembly, who)
    left = difference(assembly, one, other)
    assert min(byte_planes(left, assembly.shape.mask.modulus_bits).values()) > FALSE_ALARM
    assert np.mean(np.equal(messages_in(assembly, left), firsts(assembly, truth))) < 0.01
    assert one.box_key != other.box_key


@rows("S16", "S17")
def test_under_one_mask_their_difference_would_be_plain(
    row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: keys that do not hang on the vector."""

    def unbound(root: Seed, context: Context, elements: RingVector) -> Seed:
        return bound_to(root, context, elements[:0])

    bound_to = roles.bound_to
    monkeypatch.setattr(roles, "bound_to", unbound)
    one, other, truth = two_messages(assembly, assembly.ids[0])
    left = difference(assembly, one, other)
    bits = assembly.shape.mask.modulus_bits
    assert byte_planes(left, bits)[f"bits {bits - 8} to {bits - 1}"] < FALSE_ALARM
    assert messages_in(assembly, left) == firsts(assembly, truth)


@rows("S17", "C11")
def test_the_server_counts_the_first_and_names_who_says_two(row: str, assembly: Assembly) -> None:
    who = assembly.ids[0]
    one, other, _ = two_messages(assembly, who)
    assert assembly.speak(who, one) == []
    assert assembly.speak(who, other) == [(who, "Duplicate")]
    for each in assembly.ids[1:]:
        assembly.speak(each, assembly.upload_of(each))
    assembly.require_sum_of(*assembly.ids)


@rows("S17", "M21")
def test_no_two_sums_with_either_message_are_opened(row: str, assembly: Assembly) -> None:
    """Both are good words of the client; but members answer about one set of words in a round."""
    who = assembly.ids[0]
    one, other, _ = two_messages(assembly, who)
    for each in assembly.ids[1:]:
        assembly.upload_of(each)
    for member in assembly.members:
        assembly.uploads[who] = one
        assert assembly.ask(member, assembly.question(member, assembly.ids)).shares is not None
        assembly.uploads[who] = other
        with assembly.refuses(member, AlreadyAnswered):
            assembly.ask(member, assembly.question(member, assembly.ids))


@rows("S16")
def test_after_its_message_a_client_has_nothing_to_make_a_second_with(row: str, assembly: Assembly) -> None:
    who = assembly.ids[0]
    assembly.upload_of(who)
    client = assembly.clients[who]
    restarted = assembly.company.client(who)
    restarted.thaw(client.freeze())
    for each in (client, restarted):
        assert not each.needs_update
        with pytest.raises(Misused, match="one update per round"):
            each.submit(OTHER)
        assert [body_of(bytes(frame), who) for frame in each.repeat()] == [assembly.uploads[who]]


@rows("S16", "M14")
def test_after_its_message_the_round_is_spent(row: str, assembly: Assembly) -> None:
    who = assembly.ids[0]
    assembly.upload_of(who)
    restarted = assembly.company.client(who)
    restarted.thaw(assembly.clients[who].freeze())
    for client in (assembly.clients[who], restarted):
        with pytest.raises(Replay, match="round 0 of this task is spent"):
            invited_again(assembly, client)


def invited_again(assembly: Assembly, client: Client) -> None:
    """The server opens another attempt at the same round."""
    agreement = replace(assembly.agreement, nonce=b"\1" * 16)
    client.receive(assembly.framed(OpenOneShot(agreement, assembly.certificate), SERVER))


@rows("S17")
def test_a_live_client_is_not_set_back_to_before_its_message(row: str, assembly: Assembly) -> None:
    who = assembly.ids[0]
    client = assembly.clients[who]
    client.receive(assembly.invitation)
    before = client.freeze()
    assembly.upload_of(who)
    state = client._party.state
    with pytest.raises(Misused, match="older"):
        client.thaw(before)
    assert client._party.state is state
