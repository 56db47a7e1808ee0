"""Where schedules of one-shot rounds are played: some clients, and a committee of five of whom four open."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from protocols import codec
from protocols.faults.schedule import Deed, Hostile, Schedule
from protocols.oneshot.epoch import ELEMENT_BYTES
from protocols.oneshot.messages import Concealed, Summed
from protocols.party import PartyId
from protocols.plan import ONE_SHOT, Promise
from secagg.graph import GraphMode
from tests.contracts.company import Speaking
from tests.faults import opened
from tests.faults.mortal import body_of
from tests.faults.opened import HOLDERS, OPENERS, OpenedWorld, plan_for

# An image of the server holds all sealed shares, a quarter of a megabyte: so many fit into memory.
REMEMBERED = 1 << 12


class OneShotWorld(OpenedWorld):
    """Members that were convened. All of them are asked at once, about one set."""

    upload, part = Concealed, Summed

    def __init__(self, clients: int) -> None:
        company = Speaking(plan_for(clients, ONE_SHOT), clients, members=HOLDERS)
        assert company.quorum.needed == OPENERS
        super().__init__(company, REMEMBERED)

    def together(self, letter: Any) -> tuple[int, ...]:
        return ()

    def forge(self, who: PartyId, deed: Deed, data: bytes) -> bytes:
        """A vector that is a byte short, or a sum of shares that is off by one in a word of the liar's own."""
        message, header = body_of(data, who), codec.read_header(data, who, len(data))
        if deed is Deed.WRONG_LENGTH:
            message = replace(message, vector=bytes(message.vector)[:-1])
        else:
            shares = bytearray(message.shares)
            # Lies about one word can cancel each other out: then nobody has lied.
            shares[ELEMENT_BYTES * self.company.holder_ids.index(who)] ^= 1
            message = replace(message, shares=bytes(shares))
        sign = {**self.company.identities, **self.company.holder_identities}[who].sign
        return b"".join(codec.encode(message, who, header.task, header.round, sign))


@functools.cache
def oneshot_world(clients: int) -> OneShotWorld:
    return OneShotWorld(clients)


def stage_of(clients: int, promise: Promise, graph: GraphMode) -> OneShotWorld:
    """The world of such a schedule: one-shot rounds promise one thing, and have no graph."""
    return oneshot_world(clients)


def drawn(seed: int) -> Schedule:
    """Losses and troubles, and in one round of four somebody who lies."""
    honest, draw = opened.drawn(seed), np.random.default_rng([seed, 1])
    if draw.integers(4):
        return honest
    liars = [Hostile(client, Deed.WRONG_LENGTH) for client in range(honest.clients)]
    liars += [Hostile(honest.clients + member, Deed.BAD_SHARE) for member in range(HOLDERS)]
    return replace(honest, faults=(*honest.faults, liars[draw.integers(len(liars))]))
