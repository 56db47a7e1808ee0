"""The server shows clients different rosters, and with them different graphs, parameters and lists.

The graph is in no message: each client computes it from the roster it was shown, and the roster is in the session
id that every box, mask and signature is bound to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from protocols.errors import CohortTooSmall, ViewMismatch
from protocols.messages import (
    Inbox,
    Masked,
    Roster,
    SealedShares,
    Shares,
    Signed,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
    sealed_bytes,
    to_bitmap,
)
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.pairwise.session import Session
from protocols.party import PartyId
from protocols.plan import Agreement, proposal
from secagg.graph import HararyGraph, Parameters
from secagg.keys import Context
from secagg.masks import Correction
from tests.attacks.villain import Stage, pair_correction, rows

JUNK = SealedShares(bytes(sealed_bytes(0)), bytes(32), bytes(32))


class Rosters(Stage):
    """A server that shows each client the roster it likes, out of the entries everybody advertised."""

    def __init__(self, clients: int, min_cohort: int) -> None:
        super().__init__(clients)
        self.company.plan = replace(self.company.plan, min_cohort=min_cohort)
        self.server = self.company.server()
        self.roster = next(iter(self.until(Roster).values()))
        self.shown: dict[PartyId, tuple[PartyId, ...]] = {}

    def show(self, who: PartyId, places: Iterable[int]) -> None:
        """This client gets a roster of the clients at these places, and deals."""
        self.shown[who] = tuple(self.ids[place] for place in places)
        entries = tuple(entry for entry in self.roster.entries if entry.who in self.shown[who])
        [letter] = self.say(who, Roster(self.roster.context, entries))
        assert isinstance(letter, Shares)

    def session_of(self, who: PartyId) -> Session:
        return self.clients[who]._party.state.session

    def relay(self, who: PartyId) -> Inbox:
        """Everybody on this client's roster shared, says the server; where nothing was dealt to it there is junk."""
        mine = self.shown[who]
        return Inbox(
            who, to_bitmap(frozenset(mine), mine), tuple(self.dealt(peer, who) for peer in mine if peer != who)
        )

    def dealt(self, dealer: PartyId, holder: PartyId) -> SealedShares:
        others = [peer for peer in self.shown[dealer] if peer != dealer]
        return self.heard[dealer, Shares].sealed[others.index(holder)] if holder in others else JUNK


# --- one client with a roster of its own


def one_apart() -> tuple[Rosters, PartyId]:
    """Five clients; the first is shown a roster without the last."""
    stage = Rosters(5, min_cohort=3)
    victim, *rest = stage.ids
    stage.show(victim, range(4))
    for who in rest:
        stage.show(who, range(5))
    return stage, victim


@rows("M8", "M15")
def test_a_client_with_a_roster_of_its_own_opens_no_box_and_sends_no_vector(row: str) -> None:
    stage, victim = one_apart()
    assert len({stage.session_of(who).sid for who in stage.ids}) == 2
    with stage.refuses(victim, CohortTooSmall, match="0 of the dealt shares are good; 2 are required"):
        stage.say(victim, stage.relay(victim))
    for who in stage.ids[1:]:
        [letter] = stage.say(who, stage.relay(who))
        assert isinstance(letter, Masked)
        assert letter.complaints == (victim,)
    assert (victim, Masked) not in stage.heard


def bound_to_no_roster(agreement: Agreement, context: Context, *roster: Any) -> Session:
    """`Session.of` with the roster left out of the session id."""
    session = session_of(agreement, context, *roster)
    return replace(session, sid=hashlib.sha256(names.LABEL_SESSION + context).digest())


session_of = Session.of


@rows("M8", "M15")
def test_with_the_roster_left_out_of_the_session_its_boxes_open_and_its_vector_leaves(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "of", bound_to_no_roster)
    stage, victim = one_apart()
    assert len({stage.session_of(who).sid for who in stage.ids}) == 1
    for who in stage.ids:
        [letter] = stage.say(who, stage.relay(who))
        assert isinstance(letter, Masked)
    assert stage.session_of(victim).neighbours(victim) == stage.ids[1:4]
    assert stage.heard[victim, Masked].complaints == ()


# --- two rosters, one bitmap, two lists


def two_rosters(min_cohort: int, first: tuple[int, ...], second: tuple[int, ...]) -> Rosters:
    """Seven clients: 0, 1, 2 are shown the first roster, the others the second; all hear that 0b1111 survive."""
    stage = Rosters(7, min_cohort)
    for place, who in enumerate(stage.ids):
        stage.show(who, first if place < 3 else second)
    for who in stage.ids:
        [letter] = stage.say(who, stage.relay(who))
        assert isinstance(letter, Masked)
    return stage


def signed(stage: Rosters, who: PartyId, place: int) -> Signed:
    """This client's signature under the list of the first four of its roster, as if it stood at `place`."""
    if (who, Witness) not in stage.heard:
        [letter] = stage.say(who, Survivors(b"\x0f"))
        assert isinstance(letter, Witness)
    return Signed(place, stage.heard[who, Witness].signature)


# The first four of (0, 1, 2, 3) are all of it; the first four of (0, 3, 4, 5, 6) leave out client 6.
FIRST, SECOND = (0, 1, 2, 3), (0, 3, 4, 5, 6)


@rows("M2", "M8")
def test_a_signature_under_the_list_of_another_roster_is_no_witness(row: str) -> None:
    stage = two_rosters(3, FIRST, SECOND)
    letter = Witnesses(tuple(signed(stage, stage.ids[place], place) for place in FIRST))
    for who in stage.ids[:3]:
        with stage.refuses(who, ViewMismatch, match="another list"):
            stage.say(who, letter)
    assert not any(kind is Unmask for _, kind in stage.heard)


@rows("M2", "M8")
def test_with_the_roster_left_out_of_the_session_one_signature_serves_two_lists(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "of", bound_to_no_roster)
    stage = two_rosters(3, FIRST, SECOND)
    letter = Witnesses(tuple(signed(stage, stage.ids[place], place) for place in FIRST))
    for who in stage.ids[:3]:
        [answer] = stage.say(who, letter)
        assert isinstance(answer, Unmask)


# --- the graph itself


@rows("M8")
def test_every_client_computes_the_same_ring_and_another_roster_gives_another(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Parameters(4, 3, 1, 5, -40.0, -30.0)
    monkeypatch.setattr(proposal, "_parameters", lambda clients, assumption, graph: ring)
    stage = Rosters(10, min_cohort=5)
    for who in stage.ids[:8]:
        stage.show(who, range(9))
    for who in stage.ids[8:]:
        stage.show(who, range(10))
    graphs = [stage.session_of(who).graph for who in stage.ids]
    assert all(isinstance(graph, HararyGraph) for graph in graphs)
    assert graphs[:8] == [graphs[0]] * 8
    assert graphs[8] == graphs[9]
    assert [who for who in graphs[9].order if who != stage.ids[9]] != list(graphs[0].order)
    # What the server can say about it: a context and entries. There is no field for a graph, a seed or a degree.
    assert list(Roster.__slots__) == ["context", "entries"]


# --- ghosts: clients on a list that were shown another roster

# Client 6 is listed to 0, 1 and 2 as a survivor and dealt them nothing that opens; to 3, 4 and 5 it is dead.
WITH_A_GHOST, WITHOUT_IT = (0, 1, 2, 6), (0, 3, 4, 5, 6)


def witnesses(stage: Rosters, signers: tuple[int, ...], roster: tuple[int, ...]) -> Witnesses:
    return Witnesses(tuple(signed(stage, stage.ids[place], roster.index(place)) for place in signers))


def quorum_signed(state: pairwise_client.Witnessed, message: Witnesses) -> None:
    """`check_witnesses` when a quorum, here three of four or five, is all it asks for."""
    session = state.session
    assert len(message.signed) >= session.parameters.quorum == 3
    for one in message.signed:
        text = names.witness_text(session.sid, state.survivors)
        state.own.verify(state.own.policy.identities[session.ids[one.index]], text, one.signature)


@rows("M4", "M8")
def test_where_fewer_than_the_cohort_need_to_sign_a_ghost_leaves_a_sum_of_three_instead_of_four(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairwise_client, "check_witnesses", quorum_signed)
    stage = two_rosters(4, WITH_A_GHOST, WITHOUT_IT)
    first, second, ghost = stage.ids[:3], stage.ids[3:6], stage.ids[6]
    letters = {who: witnesses(stage, (0, 1, 2), WITH_A_GHOST) for who in first}
    letters |= {who: witnesses(stage, (3, 4, 5), WITHOUT_IT) for who in second}
    answers = {who: stage.say(who, letter)[0] for who, letter in letters.items()}

    entries = {entry.who: entry for entry in stage.roster.entries}
    theirs, ours = (
        Session.of(stage.server.agreement, stage.roster.context, tuple(entries[u] for u in stage.shown[who]))
        for who in (ghost, first[0])
    )
    # The mask key belongs to the context, not to the session: once told, it undoes the masks of every session.
    key = stage.rebuilt(theirs, ghost, {u: answers[u] for u in second}, theirs.ids)
    corrections = [pair_correction(ours, ghost, key, u, entries[u].mask_key) for u in first]
    for u in first:
        seed = stage.rebuilt(ours, u, {v: answers[v] for v in first if v != u}, ours.ids)
        corrections.append(Correction(-1, names.self_mask_seed(seed, ours.sid, u)))
    assert ours.agreement.plan.min_cohort == 4
    assert stage.unmasked(ours, first, corrections) == stage.encoded(first)


@rows("M4", "M8")
def test_a_list_with_a_ghost_lacks_a_witness(row: str) -> None:
    stage = two_rosters(4, WITH_A_GHOST, WITHOUT_IT)
    letter = witnesses(stage, (0, 1, 2), WITH_A_GHOST)
    for who in stage.ids[:3]:
        with stage.refuses(who, ViewMismatch, match="3 witnesses; 4 are required"):
            stage.say(who, letter)
    assert not any(kind is Unmask for _, kind in stage.heard)
