"""One round between a server and clients that only exchange bytes: `python examples/processes.py`.

The queues stand for any transport. What a real deployment adds: identities handed out before the round,
`freeze()` stored before every send, and a clock that calls `deadline` when `server.wait.seconds` are over.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from protocols import Client, Policy, RoundPlan, Server, Task
from secagg import Identity

CLIENTS = 6


def main() -> np.ndarray:
    plan = RoundPlan.recommend(CLIENTS, dropout=0.2, corrupt=0.0, clip=1.0)
    server_identity = Identity.fresh()
    known = {who: Identity.fresh() for who in range(CLIENTS)}
    identities = {who: identity.public for who, identity in known.items()}

    server = Server(plan, identities, server_identity)
    policy = Policy(identities, min_cohort=4)
    clients = {who: Client(policy, identity, server_identity.public) for who, identity in known.items()}

    to_clients: deque[tuple[int, bytes]] = deque()
    to_server: deque[bytes] = deque()

    def send(frames: list) -> None:
        for frame in frames:
            to_clients.extend((who, bytes(frame)) for who in frame.to)

    send(server.open(Task(round=0, length=3)))
    while not server.done:
        room = server.wait.room
        while to_clients:
            who, data = to_clients.popleft()
            out = clients[who].receive(data)
            if clients[who].needs_update:
                out = clients[who].submit(np.full(3, 0.1 * who))
            to_server.extend(bytes(frame) for frame in out)
        while to_server and not server.done:
            send(server.receive(to_server.popleft()))
        if not to_clients and not server.done and server.wait.room == room:
            # Quiet: here a real server would wait until the room's time is over.
            send(server.deadline(room))
    return server.mean()


if __name__ == "__main__":
    print(main())
