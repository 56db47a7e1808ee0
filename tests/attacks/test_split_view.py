"""The server tells halves of the cohort different survivors, to open a sum over fewer than anybody agreed to."""

from __future__ import annotations

import pytest

from protocols.errors import ViewMismatch
from protocols.messages import Masked, Roster, Signed, Survivors, Unmask, Witness, Witnesses, to_bitmap
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from secagg.masks import Correction
from tests.attacks.villain import Stage, pair_correction, rows


def split(stage: Stage) -> tuple[dict, list]:
    """Four clients; 0 and 3 hear that 2 vanished, 1 and 2 that 3 did. All of them sign what they heard."""
    roster = next(iter(stage.until(Roster).values()))
    stage.until(Survivors)
    ids, (zero, one, two, three) = stage.ids, stage.ids
    told = {zero: two, three: two, one: three, two: three}
    views = {who: to_bitmap(frozenset(ids) - {gone}, ids) for who, gone in told.items()}
    for who, bitmap in views.items():
        [answer] = stage.say(who, Survivors(bitmap))
        assert isinstance(answer, Witness)
    signed = [Signed(index, stage.heard[who, Witness].signature) for index, who in enumerate(ids)]
    return {"roster": roster, "views": views}, signed


@rows("M2")
def test_no_selection_of_witnesses_convinces_a_client_that_was_told_another_list(row: str) -> None:
    for chosen in ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3), (0, 1, 2, 3)):
        stage = Stage(4)
        _, signed = split(stage)
        for who in stage.ids:
            with stage.refuses(who, ViewMismatch):
                stage.say(who, Witnesses(tuple(signed[index] for index in chosen)))
        assert not any(kind is Unmask for _, kind in stage.heard)


@rows("M2")
def test_fewer_signatures_than_the_quorum_are_no_proof(row: str) -> None:
    stage = Stage(4)
    honest = stage.until(Witnesses)
    for who, letter in honest.items():
        with stage.refuses(who, ViewMismatch):
            stage.say(who, Witnesses(letter.signed[:-1]))


@rows("M2")
def test_a_signature_of_a_client_outside_the_list_or_the_roster_does_not_count(row: str) -> None:
    for index in (2, 4, 2**32 - 1):
        stage = Stage(4)
        stage.until(Survivors)
        bitmap = to_bitmap(frozenset(stage.ids) - {stage.ids[2]}, stage.ids)
        for who in (stage.ids[0], stage.ids[1], stage.ids[3]):
            stage.say(who, Survivors(bitmap))
        signed = [Signed(place, stage.heard[stage.ids[place], Witness].signature) for place in (0, 1)]
        # A client that helps the villain signs the list although it is not on it.
        session = stage.clients[stage.ids[0]]._party.state.session
        text = names.witness_text(session.sid, bitmap)
        signed.append(Signed(index, stage.signers[stage.ids[2]].identity.sign(text)))
        with stage.refuses(stage.ids[0], ViewMismatch):
            stage.say(stage.ids[0], Witnesses(tuple(signed)))


@rows("M2")
def test_without_the_witness_check_the_same_script_opens_a_sum_of_two(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_witnesses", lambda state, message: None)
    stage = Stage(4)
    known, signed = split(stage)
    answers = {who: stage.say(who, Witnesses(tuple(signed)))[0] for who in stage.ids}
    session, (zero, one, two, three) = stage.session(known["roster"]), stage.ids
    public = {entry.who: entry.mask_key for entry in known["roster"].entries}

    def from_those_who(lost: int, dealer: int):
        told = [who for who in stage.ids if (who in (one, two)) == (lost == three) and who != dealer]
        return stage.rebuilt(session, dealer, {who: answers[who] for who in told}, stage.ids)

    # Everybody was told that 0 and 1 survive; 2 and 3 each are dead to two clients.
    seeds = {v: stage.rebuilt(session, v, {u: answers[u] for u in stage.ids if u != v}, stage.ids) for v in (zero, one)}
    corrections = [Correction(-1, names.self_mask_seed(seeds[v], session.sid, v)) for v in (zero, one)]
    for gone in (two, three):
        secret = from_those_who(gone, gone)
        corrections += [pair_correction(session, gone, secret, v, public[v]) for v in (zero, one)]
    assert stage.unmasked(session, (zero, one), corrections) == stage.encoded((zero, one))
    assert (zero, Masked) in stage.heard


@rows("M2")
def test_a_witness_for_another_list_is_excluded_and_the_others_finish(row: str) -> None:
    stage = Stage(5)
    stage.until(Survivors)
    replies = stage.answers()
    liar = stage.ids[0]
    session = stage.clients[liar]._party.state.session
    other = names.witness_text(session.sid, to_bitmap(frozenset(stage.ids[:4]), stage.ids))
    [note] = stage.speak(liar, Witness(stage.signers[liar].identity.sign(other)))
    assert (note.peer, note.error) == (liar, "BadSignature")
    assert stage.server._party.state.arrived == {}
    stage.hand({who: replies[who] for who in stage.ids[1:]})
    stage.until(None)
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)
