"""A client deals shares of another secret than it committed to, or shares on no polynomial at all."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from protocols.errors import ImplausibleSum, TooFewClients
from protocols.messages import Inbox, Masked, Roster, Shares, Unmask, Witness
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import recovery
from protocols.pairwise.session import RoundKeys
from secagg.shamir import PRIME, Share, split
from tests.attacks.villain import Stage, rows
from tests.contracts.company import seed_of


def dealt_by(stage: Stage, villain: int, roster: Roster, how: str, monkeypatch: pytest.MonkeyPatch) -> Shares:
    """Shares in sound boxes with matching tags, that lead to another secret or to none."""
    state = stage.clients[villain]._party.state
    session = stage.session(roster)
    keys = RoundKeys.of(state.root, state.context)
    peers = session.neighbours(villain)
    entries = {entry.who: entry for entry in roster.entries}
    seeds = tuple(keys.box.agree(entries[peer].box_key) for peer in peers)
    if how == "another self seed":
        keys = replace(keys, self_seed=seed_of("other"))
    if how == "another mask key":
        keys = replace(keys, mask_seed=seed_of("other"))
    if how == "no polynomial":

        def scattered(secret, threshold, points, coefficients):
            honest = split(secret, threshold, points, coefficients)
            return [Share(share.x, (share.y + share.x**7) % PRIME) for share in honest]

        monkeypatch.setattr(pairwise_client, "split", scattered)
    if how == "no 256 bits":
        # Every share of the constant polynomial of a field element that is the 32 bytes of no secret.
        monkeypatch.setattr(pairwise_client, "split", lambda *_: [Share(1, PRIME - 1)] * len(peers))
    if how == "false tags":
        monkeypatch.setattr(pairwise_client.names, "tag_of", lambda *_: bytes(32))
    if how == "no field elements":
        beyond = SimpleNamespace(to_bytes=lambda: b"\xff" * 33)
        monkeypatch.setattr(pairwise_client, "split", lambda *_: [beyond] * len(peers))
    sealed = pairwise_client.deal(state, session, keys, peers, seeds)
    monkeypatch.undo()
    return Shares(sealed)


def play_on(stage: Stage, how: str, monkeypatch: pytest.MonkeyPatch, drops: bool) -> int:
    """The round with one false dealer, who may vanish before its vector, up to its end."""
    letters = stage.until(Roster)
    villain = stage.ids[1]
    false = dealt_by(stage, villain, letters[villain], how, monkeypatch)
    replies = stage.answers()
    assert stage.speak(villain, false) == []
    stage.hand({who: reply for who, reply in replies.items() if who != villain})
    stage.until(Inbox)
    stage.until(None, silent=[villain] if drops else [])
    return villain


@rows("C10")
@pytest.mark.parametrize(
    ("how", "drops"),
    [
        ("another self seed", False),
        ("another mask key", True),
        ("no polynomial", False),
        ("no polynomial", True),
        ("no 256 bits", False),
        ("no 256 bits", True),
    ],
)
def test_a_false_dealer_is_named_and_costs_the_round(
    row: str, how: str, drops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(6)
    with pytest.raises(TooFewClients) as caught:
        play_on(stage, how, monkeypatch, drops)
    assert (caught.value.room, caught.value.culprits) == ("Unmasking", (stage.ids[1],))
    assert f"exclude {stage.ids[1]} next time" in str(caught.value)
    assert stage.server.aggregate is None
    # The next attempt, without the one that was named, ends in the sum of the others.
    honest = tuple(who for who in stage.ids if who != stage.ids[1])
    frames = stage.server.open(replace(stage.company.task(5, 1), nonce=b"\1" * 16), honest)
    stage.round, stage.pending = 1, stage._addressed(frames)
    stage.until(None)
    assert stage.server.aggregate.survivors == honest
    assert stage.server.aggregate.total.tolist() == stage.encoded(honest)


@rows("C10")
@pytest.mark.parametrize(("how", "drops"), [("another self seed", True), ("another mask key", False)])
def test_a_false_secret_that_is_never_needed_harms_nobody(
    row: str, how: str, drops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(6)
    villain = play_on(stage, how, monkeypatch, drops)
    expected = tuple(who for who in stage.ids if not (drops and who == villain))
    assert stage.server.aggregate.survivors == expected
    assert stage.server.aggregate.total.tolist() == stage.encoded(expected)


@rows("C10")
def test_without_the_commitment_the_false_seed_spoils_the_sum_and_nobody_is_named(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(6)
    monkeypatch.setattr(recovery, "hmac", SimpleNamespace(compare_digest=lambda one, other: True))
    with pytest.raises(ImplausibleSum, match="checksum"), pytest.MonkeyPatch.context() as inner:
        play_on(stage, "another self seed", inner, drops=False)


@rows("C10")
@pytest.mark.parametrize("how", ["false tags", "no field elements"])
@pytest.mark.parametrize("drops", [False, True], ids=["stays", "drops"])
def test_shares_that_contradict_their_tags_or_the_field_lose_the_round_by_name_before_anything_is_opened(
    row: str, how: str, drops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(6)
    with pytest.raises(TooFewClients) as caught:
        play_on(stage, how, monkeypatch, drops)
    villain = stage.ids[1]
    assert (caught.value.room, caught.value.have, caught.value.culprits) == ("Summing", 0, (villain,))
    honest = [who for who in stage.ids if who != villain]
    assert all(stage.heard[who, Masked].complaints == (villain,) for who in honest)
    assert not any(kind in (Witness, Unmask) for _, kind in stage.heard)


@rows("C10")
def test_fewer_accusers_than_that_do_not_stop_the_round_however_often_they_accuse(row: str) -> None:
    stage = Stage(6)
    stage.until(Inbox)
    replies = stage.answers()
    accuser, accused = stage.ids[:2]
    letter = replace(stage.heard[accuser, Masked], complaints=(accused,) * 9)
    assert stage.speak(accuser, letter) == []
    stage.hand({who: replies[who] for who in stage.ids[1:]})
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids
    assert stage.server.aggregate.blamed == {accused: "BadBox"}
