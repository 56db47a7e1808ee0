"""A stage on which a villain plays the server, or one of the clients, against real endpoints.

    stage = Stage(clients=4)
    rosters = stage.until(Roster)          play honestly until the server wants to say this; it is not delivered
    stage.say(who, message)                the villain's server says this to a client: a signed, real frame
    stage.speak(who, message)              the villain's client says this to the server: a signed, real frame

The stage itself is `protocols.adversary.stage`; here it is set for tests, with asserted refusals.
`refuses` asserts what a refusal is: the named error, blame on the right party, no signature made in the
step (so nothing can have left), the state Failed, and no secret of the client alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec
from protocols.adversary import stage as adversary
from protocols.adversary.stage import pair_correction as pair_correction
from protocols.endpoint import Task
from protocols.errors import Misbehaved
from protocols.messages import Inbox, Masked, RosterEntry
from protocols.pairwise import session as names
from protocols.party import SERVER, Failed, PartyId, secrets_in
from protocols.plan import Policy, Promise, RoundPlan
from secagg.errors import BadParameters
from secagg.keys import Identity
from tests.contracts.company import Company, update_of
from tests.rows import rows as rows

LENGTH = 5


class Signer:
    """An identity that counts what it signs."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.public = identity.public
        self.signed = 0

    def sign(self, text: bytes) -> bytes:
        self.signed += 1
        return self.identity.sign(text)


def plan_of(clients: int, **changes: Any) -> RoundPlan:
    """A small plan that bears a quarter of drop-outs and nobody corrupt, so that checks stand alone."""
    promise = changes.pop("promise", Promise.ACTIVE)
    plan = RoundPlan.recommend(
        clients, dropout=Fraction(1, 4), corrupt=Fraction(0), max_weight=8, min_cohort=3, promise=promise
    )
    return replace(plan, **changes)


def heavier(honest: Masked, change: int) -> Masked:
    """The masked vector whose masked weight is so much more."""
    weight = (int.from_bytes(honest.extras[:8], "little") + change) % 2**64
    return replace(honest, extras=weight.to_bytes(8, "little") + bytes(honest.extras[8:]))


class Stage(adversary.Stage):
    """Clients of a `Company`, each submitting its update with weight 2."""

    def __init__(self, clients: int = 5, promise: Promise = Promise.ACTIVE, policy: Policy | None = None) -> None:
        self.company = Company(plan_of(clients, promise=promise), clients)
        self.signers = {who: Signer(identity) for who, identity in self.company.identities.items()}
        keys = {SERVER: self.company.identity} | self.company.identities
        self.company.identities.update(self.signers)
        super().__init__(
            self.company.server(),
            {who: self.company.client(who, policy) for who in self.company.ids},
            keys,
            lambda who, client: client.prepare(self.update(who), weight=2),
            LENGTH,
        )

    @property
    def task(self) -> bytes:
        # Some tests give the company another plan than the server that was made first.
        return codec.task_id(self.company.plan.task)

    def task_of(self, round: int, nonce: bytes) -> Task:
        return replace(self.company.task(LENGTH, round), nonce=nonce)

    def lies(self, lie: Callable[[Masked], Masked]) -> None:
        """Play until all vectors are in the sum; the first client sent what `lie` makes of its own."""
        self.until(Inbox)
        replies = self.answers()
        villain, *others = self.ids
        assert self.speak(villain, lie(self.heard[villain, Masked])) == []
        self.hand({who: replies[who] for who in others})

    def update(self, who: PartyId) -> np.ndarray[Any, Any]:
        return update_of(self.company, who, LENGTH)

    @contextmanager
    def refuses(
        self, who: PartyId, error: type[Misbehaved], blamed: PartyId = SERVER, match: str | None = None
    ) -> Iterator[None]:
        """Inside, client `who` refuses with this error and falls silent for the round."""
        client, signer = self.clients[who], self.signers[who]
        signed, state = signer.signed, client._party.state
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.peer == blamed
        assert signer.signed == signed, "something was signed, so something could have left"
        assert isinstance(client._party.state, Failed)
        assert client._party.state.error == error.__name__
        assert not client.needs_update
        for secret in secrets_in(state):
            with pytest.raises(BadParameters, match="erased"):
                secret.expose()

    @contextmanager
    def shrugs_off(self, who: PartyId, error: type[Misbehaved], match: str | None = None) -> Iterator[None]:
        """Inside, client `who` refuses with this error, says nothing, and stays exactly where it was."""
        client, signer = self.clients[who], self.signers[who]
        signed, state = signer.signed, client._party.state
        with pytest.raises(error, match=match) as caught:
            yield
        assert type(caught.value) is error
        assert signer.signed == signed, "something was signed, so something could have left"
        assert client._party.state is state

    def forged(self, who: PartyId, entry: RosterEntry, context: bytes) -> RosterEntry:
        """The entry with a fresh, valid signature of `who`: a client that helps the villain."""
        text = names.advertised_text(context, entry.who, entry.box_key, entry.mask_key, entry.commitment)
        return replace(entry, signature=self.signers[who].identity.sign(text))
