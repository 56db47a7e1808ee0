"""Every state as bytes at every step, every pair outside the tables refused, secrets gone when nobody needs them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import codec, wire
from protocols.ckks import client as clients
from protocols.ckks import holder as holders
from protocols.ckks import keys
from protocols.ckks import messages as letters
from protocols.ckks import server as servers
from protocols.errors import Misused, OutOfTurn, Undecodable
from protocols.messages import Submit
from protocols.party import APP, SERVER, Deadline, Failed, Party, PartyId, Role, secrets_in
from secagg.errors import BadParameters, SecaggError
from secagg.keys import Seed
from tests.protocols.ckks.kit import Company, as_it_is

LETTERS = [
    kind for kind in vars(letters).values() if dataclasses.is_dataclass(kind) and kind.__module__ == letters.__name__
]
ROLES: list[Role] = [clients.client, holders.holder, keys.keymaker, servers.server]


def stored(party: Party) -> None:
    """The party goes on as whoever reads its bytes."""
    state = party.state
    owns = [
        getattr(state, "own", None),
        getattr(state, "known", None),
        getattr(getattr(state, "company", None), "known", None),
    ]
    own = next((each for each in owns if each is not None), None)
    supplied = {} if own is None else {type(own): own}
    party.state = codec.thaw(type(state), codec.freeze(state), supplied)
    assert codec.freeze(party.state) == codec.freeze(state)


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """One letter of each kind from an honest run, in which every party was stored after every step."""
    company, heard = Company(), {}

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        heard.setdefault(type(message).__name__, message)
        for party in (company.maker, *company.holders.values()):
            stored(party)
        return message

    company.bend = bend
    certificate = company.certificate()
    opened = company.round(certificate)
    company.bend = as_it_is
    expected = company.ideal(company.client_ids, certificate)
    assert np.array_equal(opened.total, expected.total)
    heard["Dispute"] = letters.Dispute(certificate.checks)
    heard["Summands"] = letters.Summands((1, 2, 3))
    heard["Contribution"] = heard["EncryptedSum"].contributions[0]
    heard["Revealed"] = heard["Deals"].reveals[0]
    return heard


def test_every_state_survives_being_stored_at_every_step(said: dict[str, Any]) -> None:
    assert {kind.__name__ for kind in LETTERS} <= set(said)


def test_the_server_and_the_clients_survive_being_stored() -> None:
    company = Company()
    certificate = company.certificate()
    server = company.server()

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        stored(server)
        return message

    company.bend = bend
    opened = company.round(certificate, server=server)
    assert np.array_equal(opened.total, company.ideal(company.client_ids, certificate).total)
    party = company.client(PartyId(0))
    agreement = company.agreement(certificate.digest)
    stored(party)
    party.receive(SERVER, letters.OpenEncrypted(agreement, certificate))
    stored(party)
    party.receive(APP, company.update(PartyId(0), agreement, party.state.update_seed))
    stored(party)


@pytest.mark.parametrize("kind", LETTERS, ids=lambda kind: kind.__name__)
def test_every_letter_has_one_spelling(kind: type[Any], said: dict[str, Any]) -> None:
    letter = said[kind.__name__]
    data = wire.encode(letter)
    assert wire.encode(wire.decode(kind, data)) == data
    for wrong in (data[:-1], data + b"\0", b""):
        if wrong or dataclasses.fields(kind):
            with pytest.raises(Undecodable):
                wire.decode(kind, wrong)


@given(data=st.data())
@settings(max_examples=200)
def test_bent_bytes_are_another_letter_or_none(data: st.DataObject, said: dict[str, Any]) -> None:
    kind = data.draw(st.sampled_from(LETTERS))
    encoded = bytearray(wire.encode(said[kind.__name__])[:4096])
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        letter = wire.decode(kind, bytes(encoded))
    except (Undecodable, SecaggError, Misused):
        return
    assert wire.encode(letter) == bytes(encoded)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_pair_outside_the_table_is_refused_and_leaves_the_state_alone(role: Role, said: dict[str, Any]) -> None:
    states = {state for state, _ in role.arrows}
    for kind in (*states, Failed):
        state = object.__new__(kind)
        for letter in said.values():
            if (kind, type(letter)) in role.arrows:
                continue
            party = Party(role, state)
            if role in (clients.client, holders.holder):
                with pytest.raises(OutOfTurn):
                    party.receive(SERVER, letter)
            else:
                [note] = party.receive(PartyId(1), letter)
                assert note.message.error == "OutOfTurn"
            assert party.state is state
        party = Party(role, state)
        assert (kind, Deadline) in role.arrows or party.receive(APP, Deadline("Elsewhere")) == []
        if (kind, Submit) not in role.arrows:
            with pytest.raises(Misused):
                party.receive(APP, Submit(np.zeros(1)))


def test_secrets_are_erased_once_a_state_no_longer_holds_them() -> None:
    company = Company()
    roots = [party.state.root for party in company.holders.values()]
    certificate = company.certificate()
    for root in roots:
        with pytest.raises(BadParameters, match="erased"):
            root.expose()
    party = company.client(PartyId(0))
    agreement, root = company.agreement(certificate.digest), party.state.root
    party.receive(SERVER, letters.OpenEncrypted(agreement, certificate))
    update = company.update(PartyId(0), agreement, party.state.update_seed)
    party.receive(APP, update)
    with pytest.raises(BadParameters, match="erased"):
        root.expose()
    holder = company.holders[company.places[0]]
    [share, smudging] = secrets_in(holder.state)
    holder.abandon("the key is not needed any more")
    for secret in (share, smudging):
        with pytest.raises(BadParameters, match="erased"):
            secret.expose()  # type: ignore[attr-defined]
    assert isinstance(smudging, Seed)
