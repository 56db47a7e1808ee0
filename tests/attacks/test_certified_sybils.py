"""An authority certifies who is who: what a server can and cannot add to a roster with its certificates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.certificates import Credential
from protocols.errors import BadSignature, KeyMismatch, PolicyViolation
from protocols.messages import Roster, RosterEntry
from protocols.pairwise import session as names
from protocols.party import SERVER, PartyId
from secagg.keys import AgreementKey, Identity
from tests.attacks.villain import Stage
from tests.contracts.company import seed_of
from tests.rows import rows

AUTHORITY = Identity.from_seed(seed_of("authority"))
OTHER = Identity.from_seed(seed_of("another authority"))
NEWCOMER = PartyId(1000)


def certified() -> tuple[Stage, Any]:
    """A stage whose clients trust the authority beside the identities they pin, and the roster it is about to show."""
    probe = Stage(5)
    stage = Stage(5, policy=replace(probe.company.policy, authority=AUTHORITY.public))
    return stage, stage.until(Roster)[stage.ids[0]]


def entry_of(signer: Identity, context: bytes, credential: Credential | None) -> RosterEntry:
    """Sound keys of a newcomer under whatever credential."""
    box, mask = (AgreementKey(seed_of("newcomer", use)).public for use in ("box", "mask"))
    text = names.advertised_text(context, NEWCOMER, box, mask, bytes(32))
    return RosterEntry(NEWCOMER, box, mask, bytes(32), signer.sign(text), credential)


def shown(roster: Roster, newcomer: RosterEntry) -> Roster:
    """The roster with the newcomer in the place of its last client."""
    return replace(roster, entries=(*roster.entries[:-1], newcomer))


@rows("M11")
def test_a_newcomer_the_authority_certified_is_welcome(row: str) -> None:
    stage, roster = certified()
    identity = Identity.from_seed(seed_of("newcomer"))
    credential = Credential.issue(AUTHORITY, NEWCOMER, identity.public)
    [answer] = stage.say(stage.ids[0], shown(roster, entry_of(identity, roster.context, credential)))
    assert len(answer.sealed) == 4


@rows("M11")
@pytest.mark.parametrize("how", ["another authority", "another number", "another key"])
def test_a_newcomer_with_a_certificate_that_is_not_its_own_is_refused(row: str, how: str) -> None:
    stage, roster = certified()
    identity = Identity.from_seed(seed_of("newcomer"))
    credential = {
        "another authority": Credential.issue(OTHER, NEWCOMER, identity.public),
        "another number": Credential.issue(AUTHORITY, PartyId(1001), identity.public),
        "another key": replace(Credential.issue(AUTHORITY, NEWCOMER, OTHER.public), identity=identity.public),
    }[how]
    with stage.refuses(stage.ids[0], BadSignature, blamed=NEWCOMER):
        stage.say(stage.ids[0], shown(roster, entry_of(identity, roster.context, credential)))


@rows("M11")
def test_a_newcomer_without_a_certificate_is_a_stranger(row: str) -> None:
    stage, roster = certified()
    identity = Identity.from_seed(seed_of("newcomer"))
    with stage.refuses(stage.ids[0], KeyMismatch, blamed=NEWCOMER):
        stage.say(stage.ids[0], shown(roster, entry_of(identity, roster.context, None)))


@rows("M11", "C14")
def test_one_identity_under_two_certified_numbers_is_refused(row: str) -> None:
    stage, roster = certified()
    one = stage.signers[stage.ids[2]].identity
    credential = Credential.issue(AUTHORITY, NEWCOMER, one.public)
    with stage.refuses(stage.ids[0], KeyMismatch, blamed=SERVER, match="one identity"):
        stage.say(stage.ids[0], shown(roster, entry_of(one, roster.context, credential)))


@rows("M10")
def test_a_pinned_client_cannot_be_certified_to_another_key(row: str) -> None:
    stage, roster = certified()
    victim = roster.entries[2]
    other = Identity.from_seed(seed_of("impostor"))
    forged = replace(victim, credential=Credential.issue(AUTHORITY, victim.who, other.public))
    entries = (*roster.entries[:2], forged, *roster.entries[3:])
    with stage.refuses(stage.ids[0], KeyMismatch, blamed=victim.who, match="policy pins"):
        stage.say(stage.ids[0], replace(roster, entries=entries))


@rows("M6")
def test_floors_of_the_policy_hold_for_certified_clients_too(row: str) -> None:
    probe = Stage(5)
    policy = replace(probe.company.policy, authority=AUTHORITY.public, min_degree=5)
    stage = Stage(5, policy=policy)
    roster = stage.until(Roster)[stage.ids[0]]
    with stage.refuses(stage.ids[0], PolicyViolation, match="degree 4 is below my 5"):
        stage.say(stage.ids[0], roster)
