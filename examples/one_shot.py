"""One-shot rounds between a server, its clients and a committee of eight: `python examples/one_shot.py`.

Bytes are all that the parties exchange; the queues stand for any transport, the folder for each process's own disk.
Seven of the eight members open a sum. One dies before it is asked, and a new process takes its place; another never
comes back. A third of the clients vanish, which costs nobody anything. One committee serves both rounds.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

import numpy as np

from protocols import (
    Client,
    Convener,
    DurableClient,
    DurableMember,
    Member,
    MemberPolicy,
    Policy,
    RoundPlan,
    Server,
    Task,
    exit_on_sigterm,
)
from secagg import Identity

CLIENTS, MEMBERS = range(6), range(100, 108)
VANISHED = {1, 4}


def main(folder: Path) -> np.ndarray:
    plan = RoundPlan.recommend(len(CLIENTS), dropout=0.3, clip=1.0, protocol="oneshot", task="one-shot", min_cohort=4)
    server_identity = Identity.fresh()
    identities = {who: Identity.fresh() for who in (*CLIENTS, *MEMBERS)}
    clients = {who: identities[who].public for who in CLIENTS}
    members = {who: identities[who].public for who in MEMBERS}
    pinned = frozenset(members.values())
    policy = Policy(clients, min_cohort=4, protocols=frozenset({"oneshot"}), holders=pinned)
    member_policy = MemberPolicy(pinned, clients, min_cohort=4)

    def start(who: int) -> DurableClient | DurableMember:
        mine, home = identities[who], folder / f"party-{who}"
        if who in clients:
            return DurableClient(Client(policy, mine, server_identity.public), home)
        return DurableMember(Member(who, member_policy, mine, server_identity.public), home)

    parties = {who: start(who) for who in identities}
    to_parties: deque[tuple[int, bytes]] = deque()

    def play(hub: Convener | Server, first: list) -> None:
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

    server, convener = Server(plan, clients, server_identity, holders=members), Convener(members, server_identity)
    play(convener, convener.open(plan, number=0))
    committee = convener.certificate
    play(server, server.open(Task(round=0, length=3, certificate=committee)))

    parties[100].close()
    parties[100] = start(100)
    parties.pop(107).close()
    for who in VANISHED:
        parties.pop(who).close()
    play(server, server.open(Task(round=1, length=3, certificate=committee)))
    quorum = committee.epoch.quorum
    print(
        f"the sum of {len(server.aggregate.survivors)} of {len(clients)} clients was opened by "
        f"{quorum.needed} of {quorum.members} members"
    )
    return server.mean()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, exit_on_sigterm():
        print(main(Path(folder)))
