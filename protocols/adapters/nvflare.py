"""Secure sums inside NVFlare, on its collab API: `collab_recipe(plan, train, start, ...)`.

    recipe = collab_recipe(plan, train, start, server_home="homes/server", home="homes/{site}", rounds=30)
    recipe.run(SimEnv(clients=["site-0", "site-1", ...]))       or ProdEnv, PocEnv

`train(model, site) -> Trained` runs on the sites, `start() -> model` on the server; a site publishes one method, which
takes bytes and gives bytes. A one-shot round is two exchanges: the training, and the opening by the committee.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dp import Budget
from protocols import wire
from protocols.adapters.demands import demands_from
from protocols.adapters.nvflare_parties import SecureClient, SecureServer
from protocols.adapters.steps import Trained
from protocols.errors import MissingExtra, Misused
from protocols.plan import RoundPlan

try:
    from nvflare.collab import CollabRecipe
except ModuleNotFoundError as error:
    raise MissingExtra("nvflare") from error

__all__ = ["Trained", "collab_recipe"]

# What must be installed wherever the job runs.
INSTALLED = ("secagg", "dp", "protocols")
NO_DEMANDS: Mapping[str, Any] = MappingProxyType({})


def collab_recipe(
    plan: RoundPlan,
    train: Callable[..., Any],
    start: Callable[[], Any],
    *,
    server_home: str,
    home: str,
    rounds: int,
    train_seconds: float | None = None,
    each: Callable[..., Any] | None = None,
    demands: Mapping[str, Any] = NO_DEMANDS,
    ledger: str | None = None,
    budget: Budget | None = None,
    name: str = "secagg",
    min_clients: int | None = None,
    sync_seconds: int = 60,
) -> CollabRecipe:
    """A job of so many secure rounds: x <- x + mean of what the sites trained.

    `train`, `start` and `each` are functions of a module; a file beside this program travels with the job, a module of
    a package must be installed where it runs. `home` is a site's folder of keys (`make_homes`), where "{site}" stands
    for its NVFlare name. A site's own `policy.json` in its home decides what it takes part in; without one the
    `demands` do, by default the plan's own protocol and smallest cohort, and then whoever submits the job decides.
    `each(number, model, finished)` is called on the server after every round. `train_seconds`, by default the plan's
    patience, is how long a round waits for training. Paths are those of the machine where they are used.

    Guarantee: nothing of one client leaves its site but masked or encrypted, weight and metrics included; what a
        client's code raises stays there. Sites must allow jobs to bring code (NVFlare's BYOC right).
    Raises: Misused for functions that cannot be named, or a ledger without budget.
    """
    if (ledger is None) != (budget is None):
        raise Misused("a ledger has a budget: give both, or neither")
    usual = {"protocols": [plan.protocol], "min_cohort": plan.min_cohort}
    demanded = dict(demands or usual)
    demands_from(demanded)
    server = SecureServer(
        plan=wire.encode(plan).hex(),
        home=str(server_home),
        start=name_of(start),
        rounds=rounds,
        train_seconds=float(plan.patience_seconds if train_seconds is None else train_seconds),
        each="" if each is None else name_of(each),
        ledger="" if ledger is None else str(ledger),
        budget=[] if budget is None else [str(budget.epsilon), str(budget.delta), str(budget.relation)],
    )
    client = SecureClient(home=str(home), train=name_of(train), demands=demanded)
    recipe = CollabRecipe(
        job_name=name,
        server=server,
        client=client,
        min_clients=plan.min_cohort if min_clients is None else min_clients,
        sync_task_timeout=math.ceil(sync_seconds),
    )
    # Against: a job that carries copies of this toolkit to a site, where they come before what is installed there.
    # Recipes have no public name for their job.
    recipe._job.set_app_packages(list(INSTALLED))
    for path in {file_of(function) for function in (start, each) if function is not None} - {None}:
        recipe.add_server_file(path)
    path = file_of(train)
    if path is not None:
        recipe.add_client_file(path)
    return recipe


def name_of(function: Callable[..., Any]) -> str:
    """ "module:function", as it can be imported where the job runs.

    Raises: Misused for what is no function of a module.
    """
    if (
        not inspect.isfunction(function)
        or function.__qualname__ != function.__name__
        or function.__name__ == "<lambda>"
    ):
        raise Misused(f"{function!r} is no function of a module: sites find it by its name")
    module = function.__module__
    return f"{Path(inspect.getfile(function)).stem if module == '__main__' else module}:{function.__name__}"


def file_of(function: Callable[..., Any]) -> str | None:
    """The file that has to travel with the job; None where its module belongs to a package."""
    module = function.__module__
    return None if "." in module else inspect.getfile(function)
