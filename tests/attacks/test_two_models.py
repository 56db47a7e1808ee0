"""The server gives one client another model than the rest and reads the odd update out of the sum.

With a model from which all others can only answer zero, the sum of many is the update of one: secure aggregation is
sidestepped, not broken. Here the model's digest is in the context and the context in every derivation, so clients
with different models share no mask, and what they add up to is noise.
Source: Pasquini, Francati, Ateniese, CCS 2022 ("Eluding secure aggregation in federated learning via model
inconsistency").
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.endpoint import client as client_endpoint
from protocols.endpoint import reader
from protocols.errors import BadBox, BadSignature, CohortTooSmall, ViewMismatch
from protocols.messages import SHARE_BYTES, Advertise, Inbox, Masked, Open, Roster, RosterEntry, Shares, to_bitmap
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import server as pairwise_server
from protocols.pairwise import session as names
from protocols.pairwise.client import Held
from protocols.pairwise.session import Session
from protocols.party import SERVER, PartyId
from protocols.plan import NOTHING, Agreement, context_of
from secagg.keys import Context, Secret, Seed
from secagg.masks import Correction, unmask_into
from tests.attacks import villain
from tests.attacks.villain import Stage, rows
from tests.contracts.uniform import FALSE_ALARM, p_values, uncorrelated

# From the dead model every update is zero; the live one goes to the client the server is curious about.
DEAD, LIVE = b"\x0d" * 32, b"\x11" * 32

COORDINATES = 1 << 14


class TwoModels(Stage):
    """Five clients, the last `odd` of which are told another model; each trains from what it was told."""

    def __init__(self, odd: int = 1) -> None:
        super().__init__(5)
        self.others, self.odd = self.ids[: 5 - odd], self.ids[5 - odd :]
        self.own_masks: dict[PartyId, tuple[bytes, Seed]] = {}
        task = replace(self.company.task(villain.LENGTH), model=DEAD)
        invitations = dict(self._addressed(self.server.open(task, self.ids)))
        self.live = replace(self.server.agreement, model=LIVE)
        invitations |= dict.fromkeys(self.odd, self.framed(SERVER, Open(self.live)))
        self.opened, self.pending = True, list(invitations.items())

    def update(self, who: PartyId) -> np.ndarray[Any, Any]:
        return super().update(who) if self.clients[who].offer.model == LIVE else np.zeros(villain.LENGTH)

    def deliver(self, who: PartyId, frame: bytes) -> list[bytes]:
        client = self.clients[who]
        frames = client.receive(frame)
        if client.needs_update:
            state = client._party.state
            self.own_masks[who] = state.session.sid, Seed(state.self_seed.expose())
            submission = client.prepare(self.update(who), weight=2, model=client.offer.model)
            self.vectors[who] = submission.vector
            frames = client.send(submission)
        return [self._overheard(who, reply) for reply in frames]

    def advertised(self) -> tuple[RosterEntry, ...]:
        """Everybody's entry, collected by a server that does not mind whom they advertise to."""
        self.answers()
        said = {who: self.heard[who, Advertise] for who in self.ids}
        return tuple(
            RosterEntry(who, one.box_key, one.mask_key, one.commitment, one.signature) for who, one in said.items()
        )

    def context(self, who: PartyId) -> bytes:
        return self.heard[who, Advertise].context

    def relay(self, who: PartyId) -> Inbox:
        """The honest inbox of this client, whatever the boxes were sealed for."""
        sealed = tuple(
            self.heard[peer, Shares].sealed[self.ids.index(who) - (peer < who)] for peer in self.ids if peer != who
        )
        return Inbox(who, to_bitmap(frozenset(self.ids), self.ids), sealed)

    def without_own_masks(self, whose: tuple[PartyId, ...]) -> np.ndarray[Any, Any]:
        """The masked vectors of these clients, added up, for a server that was told all their own masks."""
        ring = self.server.agreement.plan.encoding.ring
        total = ring.zeros(villain.LENGTH)
        for who in whose:
            sid, own = self.own_masks[who]
            ring.add_packed_into(total, self.heard[who, Masked].vector)
            unmask_into(total, ring, [Correction(-1, own)], sid, names.MODEL_SECTION, villain.LENGTH)
        return ring.reduce(total)

    def said(self) -> set[type[Any]]:
        return {kind for _, kind in self.heard}


# --- every check in place


@rows("M19")
def test_who_advertises_for_another_model_is_excluded_and_the_sum_is_that_of_the_others(row: str) -> None:
    stage = TwoModels()
    stage.until(None)
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(stage.odd[0], "ViewMismatch")]
    assert stage.server.aggregate.survivors == stage.others
    assert {kind for who, kind in stage.heard if who in stage.odd} == {Advertise}


@rows("M19")
@pytest.mark.parametrize("odd", [1, 2])
def test_one_roster_for_both_models_is_refused_by_whoever_has_the_other(row: str, odd: int) -> None:
    stage = TwoModels(odd)
    entries = stage.advertised()
    for context, refusing in ((stage.context(stage.others[0]), stage.odd), (stage.context(stage.odd[0]), stage.others)):
        for who in refusing:
            with stage.refuses(who, ViewMismatch, match="another context"):
                stage.say(who, Roster(context, entries))
    assert stage.said() == {Advertise}


@rows("M19")
@pytest.mark.parametrize("odd", [1, 2])
def test_a_roster_relabelled_for_each_model_names_keys_signed_for_the_other(row: str, odd: int) -> None:
    stage = TwoModels(odd)
    entries = stage.advertised()
    for who in stage.ids:
        stranger = stage.others[0] if who in stage.odd else stage.odd[0]
        with stage.refuses(who, BadSignature, blamed=stranger):
            stage.say(who, Roster(stage.context(who), entries))
    assert stage.said() == {Advertise}


@rows("M19", "M20")
def test_a_client_that_hashes_what_it_trained_from_is_not_talked_into_another_model(row: str) -> None:
    stage = TwoModels(odd=0)
    letters = stage.until(Inbox)
    client = stage.clients[stage.ids[0]]
    client.receive(stage.framed(SERVER, letters[stage.ids[0]]))
    submission = client.prepare(np.ones(villain.LENGTH), model=LIVE)
    with stage.refuses(stage.ids[0], ViewMismatch, match="another model"):
        client.send(submission)


# --- without the check of the roster, the boxes do not open


def no_roster_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)


def dealt(odd: int) -> TwoModels:
    """Everybody has dealt its shares over one roster of five."""
    stage = TwoModels(odd)
    entries = stage.advertised()
    for who in stage.ids:
        [letter] = stage.say(who, Roster(stage.context(who), entries))
        assert isinstance(letter, Shares)
    return stage


@rows("M8", "M19")
@pytest.mark.parametrize("odd", [1, 2])
def test_shares_dealt_under_one_model_do_not_open_under_the_other(
    row: str, odd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_roster_check(monkeypatch)
    stage = dealt(odd)
    for who in stage.odd:
        with stage.refuses(who, CohortTooSmall, match=f"{odd - 1} of the dealt shares are good; 3 are required"):
            stage.say(who, stage.relay(who))
    assert Masked not in stage.said()


# --- without that check either, the masks do not cancel


def gullible(session: Session, dealer: PartyId, me: PartyId, agreed: Seed, letter: Any) -> Held:
    """`open_shares` of a client that takes a box it cannot open for a good one."""
    try:
        return open_shares(session, dealer, me, agreed, letter)
    except BadBox:
        return Held(dealer, Secret(bytes(SHARE_BYTES)), Secret(bytes(SHARE_BYTES)))


open_shares = pairwise_client.open_shares


def suspicious(opened: np.ndarray[Any, Any], bits: int) -> set[str]:
    """Which statistics tell this vector from noise."""
    return {name for name, p in p_values(opened, bits).items() if p < FALSE_ALARM}


@rows("M8", "M19")
@pytest.mark.parametrize("odd", [1, 2])
def test_with_every_check_off_the_sum_over_two_models_is_noise(
    row: str, odd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(villain, "LENGTH", COORDINATES)
    no_roster_check(monkeypatch)
    monkeypatch.setattr(pairwise_client, "open_shares", gullible)
    stage = dealt(odd)
    for who in stage.ids:
        [letter] = stage.say(who, stage.relay(who))
        assert isinstance(letter, Masked)
    bits = stage.server.agreement.plan.encoding.ring.bits
    secret = stage.encoded(stage.odd)
    for whose in (stage.ids, stage.odd, stage.others):
        opened = stage.without_own_masks(whose)
        assert suspicious(opened, bits) == set()
        assert uncorrelated(opened, np.array(secret)) > FALSE_ALARM
    # The clients of one model do share masks with each other, and still their sum is hidden by those with the rest.
    assert stage.without_own_masks(stage.ids).tolist() != secret


# --- the twin: with the model left out of the context the odd update lies open


def blind_to_the_model(agreement: Agreement) -> Context:
    return context_of(replace(agreement, model=NOTHING))


@rows("M19")
def test_with_the_model_left_out_of_the_context_the_sum_is_the_odd_update(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(villain, "LENGTH", COORDINATES)
    for module in (pairwise_client, pairwise_server, client_endpoint, reader):
        monkeypatch.setattr(module, "context_of", blind_to_the_model)
    stage = TwoModels()
    stage.until(None)
    assert stage.server.excluded == []
    assert stage.server.aggregate.survivors == stage.ids
    secret = stage.encoded(stage.odd)
    assert any(secret)
    assert stage.server.aggregate.total.tolist() == secret
    # The same statistics that found nothing above see through this sum at once.
    opened = stage.without_own_masks(stage.ids)
    assert opened.tolist() == secret
    assert "highest byte" in suspicious(opened, stage.server.agreement.plan.encoding.ring.bits)
    assert uncorrelated(opened, np.array(secret)) < FALSE_ALARM
