"""Where schedules of one-shot rounds are played: some clients, and a committee of five of whom four open."""

from __future__ import annotations

import functools
from typing import Any

from protocols.oneshot.messages import Concealed, Summed
from protocols.plan import ONE_SHOT
from tests.contracts.company import Speaking
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


@functools.cache
def oneshot_world(clients: int) -> OneShotWorld:
    return OneShotWorld(clients)
