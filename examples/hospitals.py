"""Three hospitals learn under a key that none of them holds: `python examples/hospitals.py [FOLDER]`.

Each hospital has three departments with tumour measurements and holds one of three parts of the key; any two hospitals
open a sum. The server keeps no key. A `Hospital` here is what runs at one site: it has a folder of its own, and bytes
are all that enters and leaves it. Between rounds every site is started anew from its folder; in the rounds of `AWAY`
one is offline.

Two of three assumes that no hospital helps a server that lies. Where one might, all three must open, and none may be
away: `Keys.recommended(3, openings, corrupt=1)`.
"""

from __future__ import annotations

import sys
import tempfile
from collections import deque
from collections.abc import Iterable
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
from protocols.learning.data import Dealt, Examples, breast_cancer, deal_iid
from secagg import Identity

# Who is a department of whom, and under which number the hospital holds its part of the key.
DEPARTMENTS = {"north": (0, 1, 2), "south": (3, 4, 5), "west": (6, 7, 8)}
CLIENTS = tuple(who for departments in DEPARTMENTS.values() for who in departments)
HOLDERS = {"north": 100, "south": 101, "west": 102}
ROUNDS = 6
AWAY = {2: "west", 3: "west", 4: "north"}
MIN_COHORT = 6

Keyring = dict[int, Identity]


def prepared(dealt: Dealt, examples: Examples) -> np.ndarray:
    """Measurements in units of the public examples: the hospitals' own scales would be a release."""
    centre, scale = dealt.public.features.mean(axis=0), dealt.public.features.std(axis=0)
    return np.hstack([np.clip((examples.features - centre) / scale, -3, 3), np.ones((len(examples), 1))])


class Hospital:
    """One site: its departments' data, their identities, and its part of the key. All in its own folder."""

    def __init__(self, name: str, identities: Keyring, public: dict[int, bytes], server: bytes, home: Path) -> None:
        self.dealt = deal_iid(breast_cancer(), len(CLIENTS), seed=0)  # a real site reads its own part alone
        known = {who: public[who] for who in CLIENTS}
        pinned = frozenset(public[who] for who in HOLDERS.values())
        policy = Policy(known, min_cohort=MIN_COHORT, protocols=frozenset({"ckks"}), holders=pinned)
        mine = HOLDERS[name]
        demands = HolderPolicy(pinned, known, min_cohort=MIN_COHORT)
        self.holder = DurableHolder(Holder(mine, demands, identities[mine], server), home / "holder")
        self.departments = {
            who: DurableClient(Client(policy, identities[who], server), home / f"department-{who}")
            for who in DEPARTMENTS[name]
        }

    def hear(self, who: int, data: bytes, weights: np.ndarray) -> list[bytes]:
        """What one of this site's endpoints answers; `weights` is the model of the round, which everybody has."""
        if who == self.holder.me:
            return [bytes(frame) for frame in self.holder.receive(data)]
        department = self.departments[who]
        frames = department.receive(data)
        if department.needs_update:
            frames = department.submit(self.gradient(who, weights))
        return [bytes(frame) for frame in frames]

    def gradient(self, who: int, weights: np.ndarray) -> np.ndarray:
        """Of the mean log likelihood of one department's examples."""
        mine = self.dealt.clients[who]
        features = prepared(self.dealt, mine)
        return features.T @ (mine.labels - 1 / (1 + np.exp(-features @ weights))) / len(mine)

    def close(self) -> None:
        self.holder.close()
        for department in self.departments.values():
            department.close()


def carry(hub: KeyMaker | Server, first: list, sites: dict[int, Hospital], weights: np.ndarray) -> None:
    """Bytes to and fro until the hub is done; a quiet network is a room whose time is over."""
    post: deque[tuple[int, bytes]] = deque()

    def send(frames: Iterable) -> None:
        for frame in frames:
            post.extend((who, bytes(frame)) for who in frame.to)

    send(first)
    while not hub.done:
        if not post:
            send(hub.deadline(hub.wait.room))
            continue
        who, data = post.popleft()
        if who in sites:
            for answer in sites[who].hear(who, data, weights):
                send(hub.receive(answer))


def main(folder: Path) -> float:
    # Before anything: each site makes its own identities and publishes the public halves.
    server_identity = Identity.fresh()
    keyrings = {name: {who: Identity.fresh() for who in (*DEPARTMENTS[name], HOLDERS[name])} for name in HOLDERS}
    public = {who: identity.public for keyring in keyrings.values() for who, identity in keyring.items()}

    def start(names: Iterable[str]) -> dict[int, Hospital]:
        """The sites that are up, under every number that lives there."""
        sites: dict[int, Hospital] = {}
        for name in names:
            (folder / name).mkdir(exist_ok=True)
            site = Hospital(name, keyrings[name], public, server_identity.public, folder / name)
            sites |= dict.fromkeys((*DEPARTMENTS[name], HOLDERS[name]), site)
        return sites

    def stop(sites: dict[int, Hospital]) -> None:
        for site in set(sites.values()):
            site.close()

    known, holders = {who: public[who] for who in CLIENTS}, {who: public[who] for who in HOLDERS.values()}
    plan = RoundPlan.recommend(
        len(CLIENTS), dropout=1 / 3, corrupt=0, min_cohort=MIN_COHORT, clip=1.0, protocol="ckks", task="tumours"
    )
    weights = np.zeros(31)
    server, maker = Server(plan, known, server_identity, holders=holders), KeyMaker(holders, server_identity)

    # The ceremony: every holder must be there, once for all rounds.
    keys = keys_for_rounds(len(holders), rounds=ROUNDS)
    sites = start(HOLDERS)
    carry(maker, maker.open(server.agree(Task(round=0, length=len(weights))), keys, number=0), sites, weights)
    stop(sites)
    print(f"one key for {ROUNDS} rounds; any {keys.threshold} of {keys.holders} hospitals open a sum")

    for number in range(ROUNDS):
        sites = start(name for name in HOLDERS if name != AWAY.get(number))
        task = Task(round=number, length=len(weights), certificate=maker.certificate)
        carry(server, server.open(task), sites, weights)
        stop(sites)
        weights = weights + 2 * server.mean()
        print(f"round {number}: {len(server.aggregate.survivors)} departments, {AWAY.get(number, 'nobody')} away")

    # The rounds are over: each hospital erases its part, and what was uploaded can never be opened again.
    sites = start(HOLDERS)
    for who in holders:
        sites[who].holder.retire()
    left = sum(sites[who].holder.holding for who in holders)
    stop(sites)
    dealt = deal_iid(breast_cancer(), len(CLIENTS), seed=0)
    right = (prepared(dealt, dealt.public) @ weights > 0) == dealt.public.labels
    print(f"{left} parts of the key are left; accuracy {right.mean():.3f}")
    return float(right.mean())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, exit_on_sigterm():
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
