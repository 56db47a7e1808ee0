"""One noisy round between a server and clients that only exchange bytes: `python examples/processes.py`.

The queues stand for any transport, the folder for each process's own disk. Client 0 dies before every exchange and a
new process takes its place. Nobody charges the budget for a server that is driven by hand, so it is done here: reserve
before anything is sent, mark before anybody is asked to open the sum, commit before the mean is used. What a real
deployment adds: identities handed out before the round, and a clock that calls `deadline` when `server.wait.seconds`
are over.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

import numpy as np

from dp import Budget, Ledger
from protocols import Client, DurableClient, DurableServer, Policy, RoundPlan, Server, Task, exit_on_sigterm
from protocols.charging import charging
from protocols.countersigning import head_of
from protocols.errors import RoundLost
from secagg import Identity

CLIENTS = 6


def main(folder: Path) -> np.ndarray:
    plan = RoundPlan.recommend(CLIENTS, dropout=0.2, corrupt=0.0, clip=1.0, noise_multiplier=1.0, task="by-hand")
    server_identity = Identity.fresh()
    known = {who: Identity.fresh() for who in range(CLIENTS)}
    identities = {who: identity.public for who, identity in known.items()}
    policy = Policy(identities, min_cohort=4, min_noise_multiplier=1)

    def start(who: int) -> DurableClient:
        return DurableClient(Client(policy, known[who], server_identity.public), folder / f"client-{who}")

    server = DurableServer(Server(plan, identities, server_identity), folder / "server")
    clients = {who: start(who) for who in known}

    to_clients: deque[tuple[int, bytes]] = deque()
    to_server: deque[bytes] = deque()

    def send(frames: list) -> None:
        if server.opening:
            # These frames ask for the sum: once they have left, it may be known.
            entries.mark()
        for frame in frames:
            to_clients.extend((who, bytes(frame)) for who in frame.to)

    with Ledger.open(folder / "run.ledger", Budget(epsilon=8, delta=1e-5, relation="zero-out")) as ledger:
        task = Task(round=0, length=3, ledger_head=head_of(ledger))
        entries = charging(ledger, server.agree(task), identities)  # BudgetExceeded, and no invitation has left
        try:
            send(server.open(task))
            while not server.done:
                room = server.wait.room
                clients[0].close()
                clients[0] = start(0)
                to_server.extend(bytes(frame) for frame in clients[0].resend())
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
        except RoundLost:
            entries.lose()
            raise
        entries.commit(server.aggregate, server.countersignatures)
        print(f"{len(server.aggregate.survivors)} survivors, epsilon {ledger.interval().upper:.3f}")
    return server.mean()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, exit_on_sigterm():
        print(main(Path(folder)))
