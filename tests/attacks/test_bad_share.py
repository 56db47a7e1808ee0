"""A client returns wrong shares when the sum is to be opened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import ImplausibleSum, TooFewClients
from protocols.messages import Inbox, Survivors, Unmask, Witnesses
from protocols.pairwise import recovery
from protocols.plan import Promise
from tests.attacks.villain import Stage, heavier, rows

BOTH = pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)


def at_unmasking(promise: Promise = Promise.ACTIVE, clients: int = 5) -> tuple[Stage, dict]:
    """The answers of everybody, not yet with the server; the last client dropped before its vector."""
    stage = Stage(clients, promise)
    stage.until(Inbox)
    stage.until(Witnesses if promise is Promise.ACTIVE else Survivors, silent=stage.ids[-1:])
    return stage, stage.answers()


def bent(answer: Unmask, places: tuple[int, ...]) -> Unmask:
    """The answer with one bit of these shares changed."""
    shares = list(answer.shares)
    for place in places:
        shares[place] = shares[place][:-1] + bytes([shares[place][-1] ^ 1])
    return Unmask(tuple(shares))


@rows("C8")
@BOTH
@pytest.mark.parametrize("place", [0, 4], ids=["self", "mask"])
def test_one_bent_share_names_its_holder_and_the_others_finish(row: str, promise: Promise, place: int) -> None:
    stage, replies = at_unmasking(promise, clients=6)
    villain, survivors = stage.ids[0], stage.ids[:5]
    [note] = stage.speak(villain, bent(stage.heard[villain, Unmask], (place,)))
    assert (note.peer, note.error) == (villain, "BadShare")
    assert not stage.server._party.state.arrived
    assert not any(stage.server._party.state.recovery.shares.values())
    stage.hand({who: replies[who] for who in survivors[1:]})
    stage.until(None)
    assert stage.server.aggregate.survivors == survivors
    assert stage.server.aggregate.total.tolist() == stage.encoded(survivors)


@rows("C8")
def test_a_share_of_the_other_secret_is_no_answer(row: str) -> None:
    stage, _ = at_unmasking()
    villain = stage.ids[0]
    shares = list(stage.heard[villain, Unmask].shares)
    shares[0], shares[-1] = shares[-1], shares[0]
    [note] = stage.speak(villain, Unmask(tuple(shares)))
    assert (note.peer, note.error) == (villain, "BadShare")


@rows("C8")
@pytest.mark.parametrize("count", [0, 3, 5])
def test_another_number_of_shares_is_excluded(row: str, count: int) -> None:
    stage, _ = at_unmasking()
    villain = stage.ids[0]
    shares = stage.heard[villain, Unmask].shares
    [note] = stage.speak(villain, Unmask((*shares, None)[:count]))
    assert (note.peer, note.error) == (villain, "ShapeMismatch")


@rows("C9")
@BOTH
def test_too_many_bad_shares_lose_the_round_by_name(row: str, promise: Promise) -> None:
    stage, replies = at_unmasking(promise)
    for villain in stage.ids[:2]:
        stage.speak(villain, bent(stage.heard[villain, Unmask], (1,)))
    stage.hand({who: replies[who] for who in stage.ids[2:4]})
    with pytest.raises(TooFewClients) as caught:
        stage.until(None)
    assert (caught.value.room, caught.value.need) == ("Unmasking", 3)
    assert caught.value.have < 3
    assert {note.error for note in stage.server.excluded} == {"BadShare"}
    assert stage.server.done
    assert stage.server.aggregate is None


@rows("C9")
def test_withheld_shares_count_as_missing_not_as_bad(row: str) -> None:
    stage, replies = at_unmasking()
    villain = stage.ids[0]
    assert stage.speak(villain, Unmask((None,) * 4)) == []
    stage.hand({who: replies[who] for who in stage.ids[1:4]})
    with pytest.raises(TooFewClients) as caught:
        stage.until(None)
    # Client 3's own secret has two other holders left that answered: 1 and 2.
    assert (caught.value.have, caught.value.need) == (2, 3)


@rows("C8")
def test_without_the_tags_a_bent_share_costs_the_round_and_names_the_wrong_one(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery.Recovery, "tags_match", lambda *_: True)
    stage, replies = at_unmasking(clients=6)
    villain = stage.ids[0]
    assert stage.speak(villain, bent(stage.heard[villain, Unmask], (0,))) == []
    with pytest.raises(TooFewClients) as caught:
        stage.hand({who: replies[who] for who in stage.ids[1:5]})
    # The commitment still notices, but the dealer, who is innocent, is blamed.
    assert caught.value.culprits == (stage.ids[1],)


@rows("C1")
def test_a_vector_that_contradicts_its_checksum_spoils_the_round_not_the_model(row: str) -> None:
    stage = Stage(5)
    stage.lies(lambda honest: replace(honest, vector=bytes([honest.vector[0] ^ 1]) + bytes(honest.vector[1:])))
    with pytest.raises(ImplausibleSum, match="checksum"):
        stage.until(None)
    assert stage.server.aggregate is None
    assert stage.server.done


@rows("C6")
@pytest.mark.parametrize("change", [1 << 20, -(1 << 20)], ids=["above", "below"])
def test_a_sum_of_weights_that_so_many_clients_cannot_have_is_implausible(row: str, change: int) -> None:
    stage = Stage(5)
    stage.lies(lambda honest: heavier(honest, change))
    with pytest.raises(ImplausibleSum, match="weight sum"):
        stage.until(None)
