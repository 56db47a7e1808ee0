"""One encrypted round between a server, its clients and five key holders: `python examples/encrypted.py`.

Bytes are all that the parties exchange; the queues stand for any transport, the folder for each process's own disk.
Four of the five holders open a sum. The first dies before it is asked, and a new process takes its place; the last
never comes back. Identities and the number of each party are handed out before the round.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

import numpy as np

from protocols import (
    Client,
    DurableClient,
    DurableHolder,
    Holder,
    HolderPolicy,
    KeyMaker,
    Policy,
    RoundPlan,
    Server,
    Task,
    exit_on_sigterm,
    keys_for_rounds,
)
from secagg import Identity

CLIENTS, HOLDERS = range(6), range(100, 105)


def main(folder: Path) -> np.ndarray:
    plan = RoundPlan.recommend(len(CLIENTS), dropout=0.2, corrupt=0, clip=1.0, protocol="ckks", task="encrypted")
    keys = keys_for_rounds(holders=len(HOLDERS))
    server_identity = Identity.fresh()
    identities = {who: Identity.fresh() for who in (*CLIENTS, *HOLDERS)}
    clients = {who: identities[who].public for who in CLIENTS}
    holders = {who: identities[who].public for who in HOLDERS}
    pinned = frozenset(holders.values())
    policy = Policy(clients, min_cohort=4, protocols=frozenset({"ckks"}), holders=pinned, min_opening_threshold=4)
    holder_policy = HolderPolicy(pinned, clients, min_cohort=4, min_threshold=4)

    def start(who: int) -> DurableClient | DurableHolder:
        mine, home = identities[who], folder / f"party-{who}"
        if who in clients:
            return DurableClient(Client(policy, mine, server_identity.public), home)
        return DurableHolder(Holder(who, holder_policy, mine, server_identity.public), home)

    parties = {who: start(who) for who in identities}
    to_parties: deque[tuple[int, bytes]] = deque()

    def play(hub: KeyMaker | Server, first: list) -> None:
        """Carry bytes to and fro until the hub is done; a quiet network is a room whose time is over."""
        post(first)
        while not hub.done:
            if not to_parties:
                post(hub.deadline(hub.wait.room))
                continue
            who, data = to_parties.popleft()
            if who not in parties:
                continue
            out = parties[who].receive(data)
            if who in clients and parties[who].needs_update:
                out = parties[who].submit(np.full(3, 0.1 * who))
            for frame in out:
                post(hub.receive(bytes(frame)))

    def post(frames: list) -> None:
        for frame in frames:
            to_parties.extend((who, bytes(frame)) for who in frame.to)

    server, maker = Server(plan, clients, server_identity, holders=holders), KeyMaker(holders, server_identity)
    task = Task(round=0, length=3)
    play(maker, maker.open(server.agree(task), keys, number=0))

    parties[100].close()
    parties[100] = start(100)
    parties.pop(104).close()

    play(server, server.open(Task(round=0, length=3, certificate=maker.certificate)))
    print(
        f"the sum of {len(server.aggregate.survivors)} clients was opened by {keys.threshold} of {keys.holders} holders"
    )
    return server.mean()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, exit_on_sigterm():
        print(main(Path(folder)))
