"""What runs on the server and on the sites of an NVFlare job: made from JSON there, each with one method of ours.

    SecureServer.run      all rounds, over calls of `step`
    SecureClient.step     the only method that is published: letters and model in, a reply out (`steps.py`)

NVFlare copies the file of a shipped class beside the job, under its bare name. That is why these classes have a file of
their own, whose name shadows nothing; what it imports must be installed on the sites.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dp import Budget, Ledger
from protocols import wire
from protocols.adapters.demands import policy_at
from protocols.adapters.steps import Named, Node, Rounds, Speaker
from protocols.errors import MissingExtra, Misused, RoundLost
from protocols.exchanges import Exchanges, Finished
from protocols.home import Home
from protocols.plan import RoundPlan
from protocols.tensors import Layout, Update

try:
    from nvflare.collab import collab
except ModuleNotFoundError as error:
    raise MissingExtra("nvflare") from error

MOST_LOST = 3
NOTE = "refusal.txt"


def named_function(name: str) -> Callable[..., Any]:
    """The function that "module:function" names.

    Raises: Misused when there is none.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise Misused(f"{name} is no function that can be imported here: {error}") from error
    if not callable(found):
        raise Misused(f"{name} is no function")
    return found  # type: ignore[no-any-return]  # what a module holds has no type


class SecureClient:
    """One site of a job. `home` is the folder of its keys, where "{site}" stands for the site's name.

    `train` is "module:function", called as `function(model, site)` and returning a `Trained`; `demands` are those of a
    site whose home has no `policy.json`.
    """

    def __init__(self, home: str, train: str, demands: dict[str, Any]) -> None:
        self.home, self.train, self.demands = home, train, demands
        self._opening = threading.Lock()
        self._node: Node | None = None

    @collab.publish  # type: ignore[untyped-decorator]  # nvflare is not typed
    def step(self, letters: bytes, model: Any = None) -> bytes:
        """The reply to these letters; refusals included, for what is raised here is told to the server."""
        name = collab.site_name
        folder = Path(self.home.replace("{site}", name))
        named = Named(folder / NOTE)
        with named:
            return self._opened(name, folder).step(letters, model)
        return named.said

    def _opened(self, name: str, folder: Path) -> Node:
        # At the first letter and not before: a site without keys must not end the job of all others.
        with self._opening:
            if self._node is None:
                home = Home.at(folder)
                policy = policy_at(home, self.demands)
                train = named_function(self.train)
                self._node = Node(name, Speaker(home.site(policy), policy), train, folder / NOTE)
            return self._node

    @collab.final  # type: ignore[untyped-decorator]  # nvflare is not typed
    def leave(self) -> None:
        """Gives the site's folders up for another job."""
        if self._node is not None:
            self._node.close()


class SecureServer:
    """The server of a job. All its arguments are JSON: the plan as hexadecimal bytes of `wire.encode`.

    `start` is "module:function" returning the first model; `each`, if not empty, is called after each round as
    `function(number, model, finished)`. `ledger` is a path, empty for none, and `budget` its epsilon, delta, relation.
    `rounds` that are lost are played again; after three in a row the job ends with the error of the last.
    """

    def __init__(
        self,
        plan: str,
        home: str,
        start: str,
        rounds: int,
        train_seconds: float,
        each: str,
        ledger: str,
        budget: list[str],
    ) -> None:
        self.plan, self.home, self.start, self.rounds = plan, home, start, rounds
        self.train_seconds, self.each, self.ledger, self.budget = train_seconds, each, ledger, budget

    @collab.main  # type: ignore[untyped-decorator]  # nvflare is not typed
    def run(self) -> None:
        """All rounds; `model.npz` and `rounds.json` in the folder of the run are written after each."""
        folder = Path(collab.workspace.get_run_dir(collab.fl_ctx.get_job_id()))
        with ledger_at(self.ledger, self.budget) as ledger:
            self._run(folder, ledger)

    def _run(self, folder: Path, ledger: Ledger | None) -> None:
        exchanges = exchanges_of(self.plan, self.home, ledger)
        rounds = Rounds(exchanges, call_sites, [site.name for site in collab.clients], self.train_seconds)
        model, log, lost = named_function(self.start)(), list[dict[str, Any]](), 0
        while len(log) < self.rounds:
            try:
                model, finished = rounds.round(model)
            except RoundLost:
                lost += 1
                if lost == MOST_LOST:
                    raise
                continue
            lost = 0
            log.append(record(finished, rounds.refusals))
            (folder / "rounds.json").write_text(json.dumps(log, indent=1), encoding="utf-8")
            np.savez(folder / "model.npz", **arrays_of(model))
            if self.each:
                named_function(self.each)(len(log) - 1, model, finished)


def call_sites(requests: Mapping[str, bytes], model: Update | None, seconds: float) -> dict[str, object]:
    """`step` of each site with its own letters, all at once; who raised, is unknown or is late is absent."""
    calls = {
        site: collab.get_clients([site])(blocking=False, timeout=seconds).step(letters, model)
        for site, letters in requests.items()
    }
    return {site: reply for site, results in calls.items() for _, reply in results}


@contextmanager
def ledger_at(path: str, budget: Sequence[str]) -> Iterator[Ledger | None]:
    """The ledger of a job, None for an empty path; `budget` is epsilon, delta and relation."""
    if not path:
        yield None
        return
    epsilon, delta, relation = budget
    with Ledger.open(path, Budget(epsilon, delta, relation)) as ledger:
        yield ledger


def exchanges_of(plan: str, home: str, ledger: Ledger | None) -> Exchanges:
    """The server's side of all rounds, from what a job's configuration can hold."""
    mine = Home.at(home)
    return Exchanges(wire.decode(RoundPlan, bytes.fromhex(plan)), mine.roster, mine.identity, ledger)


def record(finished: Finished, refusals: Mapping[str, str]) -> dict[str, Any]:
    """A round for `rounds.json`: how many, not who did what with which numbers."""
    spent = finished.epsilon
    return {
        "survivors": list(finished.survivors),
        "dropped": list(finished.dropped),
        "excluded": {str(who): name for who, name in finished.excluded.items()},
        "refusals": dict(refusals),
        "weight": finished.weight,
        "metrics": dict(finished.metrics),
        "exchanges": finished.exchanges,
        "epsilon": None if spent is None else spent.upper,
    }


def arrays_of(model: Update) -> dict[str, Any]:
    """The model's arrays as float32 or float64, for numpy has no bfloat16; integers as they are."""
    layout = Layout.of_update(model)
    flat, arrays, start = layout.flatten(model), {}, 0
    for slot in layout.slots:
        if slot.travels:
            arrays[slot.name] = flat[start : start + slot.size].reshape(slot.shape)
            start += slot.size
        else:
            arrays[slot.name] = np.asarray(model[slot.name])
    return arrays
