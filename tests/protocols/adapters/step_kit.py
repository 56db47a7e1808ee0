"""Sites as nodes, and a framework that calls `step` of each by name; anything may go wrong at any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protocols.adapters.steps import Node, Rounds, Speaker, Trained
from protocols.exchanges import Exchanges
from protocols.home import Home, make_homes
from protocols.plan import RoundPlan

SECRET = "patient 7 has 130 over 85"
# What a float32 of about one errs by.
ROUNDING = 2.0**-22


def model_of(value: float = 1.0) -> dict[str, Any]:
    return {"weights": np.full((4, 5), value, np.float32), "bias": np.linspace(0, 1, 5).astype(np.float32)}


def change_of(site: str) -> dict[str, Any]:
    """What this site's training adds to the model."""
    number = int(site.removeprefix("site-")) + 1
    return {
        "weights": np.full((4, 5), 0.01 * number, np.float32),
        "bias": np.linspace(-0.1, 0.1, 5, dtype=np.float32) * number,
    }


def train(model: Mapping[str, Any], site: str) -> Trained:
    change = change_of(site)
    return Trained({name: array + change[name] for name, array in model.items()})


def plan_of(protocol: str = "oneshot", clients: int = 5, **more: Any) -> RoundPlan:
    usual = {"dropout": 0.2, "corrupt": 0, "clip": 1.0, "bits": 20, "min_cohort": 3, "patience_seconds": 5}
    return RoundPlan.recommend(clients, protocol=protocol, **(usual | more))


@dataclass
class World:
    """Rounds over nodes in folders; `bends` replaces a reply, `loses` that of a training, None keeps it from coming."""

    rounds: Rounds
    nodes: Mapping[str, Node]
    folder: Path
    bends: Callable[[str, bytes], Any] = lambda site, reply: reply
    loses: Callable[[str, bytes], Any] = lambda site, reply: reply
    seen: list[bytes] = field(default_factory=list)

    @classmethod
    def made(
        cls, folder: Path, plan: RoundPlan, trains: Mapping[str, Any] | None = None, ledger: Any = None, **demands: Any
    ) -> World:
        roster = make_homes(folder, plan.max_clients, plan.protocol)
        policy = roster.policy(**({"min_cohort": 3, "protocols": frozenset({plan.protocol})} | demands))
        nodes = {}
        for number in range(plan.max_clients):
            name = f"site-{number}"
            mine = (trains or {}).get(name, train)
            speaker = Speaker(name, Home.at(folder / name), policy)
            nodes[name] = Node(name, speaker, mine, folder / name / "refusal.txt")
        exchanges = Exchanges(plan, roster, Home.at(folder / "server").identity, ledger)
        made = cls(rounds=None, nodes=nodes, folder=folder)  # type: ignore[arg-type]
        made.rounds = Rounds(exchanges, made.call, tuple(nodes), 5.0)
        return made

    def call(self, requests: Mapping[str, bytes], model: Any, seconds: float) -> dict[str, Any]:
        assert seconds > 0
        replies = {}
        for site, letters in requests.items():
            reply = self.bends(site, self.nodes[site].step(letters, model))
            if model is not None:
                reply = self.loses(site, reply)
            if reply is not None:
                self.seen.append(reply if isinstance(reply, bytes) else b"")
                replies[site] = reply
        return replies


def mean_change(sites: Any, weights: Mapping[str, int] | None = None) -> dict[str, Any]:
    sites = list(sites)
    by = [1 if weights is None else weights[site] for site in sites]
    return {
        name: np.average([change_of(site)[name] for site in sites], axis=0, weights=by) for name in ("weights", "bias")
    }


def assert_moved(found: Mapping[str, Any], start: Mapping[str, Any], sites: Any, plan: RoundPlan, **more: Any) -> None:
    change = mean_change(sites, **more)
    for name, array in start.items():
        assert found[name].dtype == array.dtype
        assert np.abs(found[name] - (array + change[name])).max() <= plan.encoding.step + ROUNDING
