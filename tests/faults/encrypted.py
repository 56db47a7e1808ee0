"""Where schedules of encrypted rounds are played: some clients, five holders of whom four open, and their key."""

from __future__ import annotations

import functools
from typing import Any

from protocols.ckks.messages import Ciphertext, Partial
from protocols.plan import ENCRYPTED
from tests.contracts.company import Encrypting
from tests.faults.opened import HOLDERS, OpenedWorld, plan_for
from tests.faults.world import REMEMBERED


class EncryptedWorld(OpenedWorld):
    """Holders that have made a key. Further sets of them are asked when one is silent."""

    upload, part = Ciphertext, Partial

    def __init__(self, clients: int) -> None:
        super().__init__(Encrypting(plan_for(clients, ENCRYPTED), clients, holders=HOLDERS), REMEMBERED)

    def together(self, letter: Any) -> tuple[int, ...]:
        return tuple(letter.openers)


@functools.cache
def encrypted_world(clients: int) -> EncryptedWorld:
    return EncryptedWorld(clients)
