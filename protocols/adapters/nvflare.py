"""Secure sums inside NVFlare, by either of its two programming interfaces.

    recipe = collab_recipe(plan, train, start, server_home="homes/server", home="homes/{site}", rounds=30)
    recipe = secure(NumpyFedAvgRecipe(...), plan, server_home="homes/server", home="homes/{site}")
    recipe.run(SimEnv(clients=["site-0", "site-1", ...]))       or ProdEnv, PocEnv

On the collab API `train(model, site) -> Trained` runs on the sites and `start() -> model` on the server; a site
publishes one method, which takes letters and gives a reply. `secure` leaves a FedAvg recipe's training script as it is.
A one-shot round is two exchanges: the training, and the opening by the committee.
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
from protocols.adapters.accounted import require_ledger
from protocols.adapters.demands import demands_from
from protocols.adapters.nvflare_parties import SecureClient, SecureServer
from protocols.adapters.nvflare_tasks import SITE, TASK, Letters, Mask, SecureFedAvg, SecureSite, TakeLetters
from protocols.adapters.steps import Trained
from protocols.errors import BadPlan, MissingExtra, Misused
from protocols.learning.arguments import require_count
from protocols.plan import RoundPlan

try:
    from nvflare.app_common.workflows.fedavg import FedAvg
    from nvflare.collab import CollabRecipe
except ModuleNotFoundError as error:
    raise MissingExtra("nvflare") from error

__all__ = ["Trained", "collab_recipe", "secure"]

# What must be installed wherever the job runs.
INSTALLED = ("secagg", "dp", "protocols")
# Stands in a home for the name of the site.
SITE_NAME = "{site}"
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
    Raises: Misused for functions that cannot be named, rounds that are none, a home that all sites would share, or a
        ledger without budget; BadPlan for noise without a ledger.
    """
    require_count("rounds", rounds)
    _check_home(home)
    demanded = _demanded(plan, demands)
    server = SecureServer(
        start=name_of(start),
        rounds=rounds,
        each="" if each is None else name_of(each),
        **_served(plan, server_home, train_seconds, ledger, budget),
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


def secure(
    recipe: Any,
    plan: RoundPlan,
    *,
    server_home: str,
    home: str,
    train_seconds: float | None = None,
    demands: Mapping[str, Any] = NO_DEMANDS,
    ledger: str | None = None,
    budget: Budget | None = None,
) -> Any:
    """The same FedAvg recipe with secure rounds: its training script, persistor and stop condition are unchanged.

    Weights (numbers of steps, where the plan's `max_weight` is above 1) and the plan's metrics move under the mask; any
    other metric stays on its site. Call it last: its output filter must be the last one. What a script logs with a
    tracker of experiments is sent by that tracker, in the clear. The rest is as in `collab_recipe`.
    Raises: BadPlan for a recipe that is no plain FedAvg, or needs single updates, or noise without a ledger; Misused.
    """
    _check_home(home)
    demanded = _demanded(plan, demands)
    server = recipe._job._deploy_map["server"].app_config
    flows = [flow for flow in server.workflows if isinstance(flow.controller, FedAvg)]
    if len(flows) != 1:
        raise BadPlan("only FedAvg recipes have rounds of a mean: this one has another workflow")
    [flow] = flows
    flow.controller = _secured(flow.controller, _served(plan, server_home, train_seconds, ledger, budget))
    recipe._job.set_app_packages(list(INSTALLED))
    recipe._add_to_client_apps(SecureSite(home=str(home), demands=demanded), id=SITE)
    recipe._add_to_client_apps(Letters(site=SITE), tasks=[TASK])
    recipe.add_client_input_filter(TakeLetters(site=SITE), tasks=[flow.controller.task_name])
    recipe.add_client_output_filter(Mask(site=SITE), tasks=[flow.controller.task_name])
    return recipe


def _secured(plain: Any, served: Mapping[str, Any]) -> SecureFedAvg:
    """Raises: BadPlan for a controller that does more than FedAvg, or weighs sites by what the server knows of them;
    Misused for rounds that are none.
    """
    if type(plain) is not FedAvg:
        raise BadPlan(f"{type(plain).__name__} is no plain FedAvg: its rounds are not those that a secure sum replaces")
    for name in ("aggregator", "aggregation_weights", "exclude_vars", "enable_tensor_disk_offload"):
        if getattr(plain, name):
            raise BadPlan(f"{name} needs individual updates; they are never seen: leave it out")
    require_count("rounds", plain.num_rounds)
    made = SecureFedAvg(
        num_clients=plain.num_clients,
        num_rounds=plain.num_rounds,
        start_round=plain.start_round,
        persistor_id=plain._persistor_id,
        model=plain.model,
        save_filename=plain.save_filename,
        stop_cond=plain.stop_cond,
        patience=plain.patience,
        task_name=plain.task_name,
        **served,
    )
    made.set_communicator(plain.communicator)
    return made


def _check_home(home: str) -> None:
    """Raises: Misused for one folder of all sites: each has its own keys."""
    if SITE_NAME not in str(home):
        raise Misused(
            f"home is {str(home)!r} on every site: put {SITE_NAME} where its name belongs, 'homes/{SITE_NAME}'"
        )


def _demanded(plan: RoundPlan, demands: Mapping[str, Any]) -> dict[str, Any]:
    """Raises: Misused for demands that no site could read."""
    demanded = dict(demands or {"protocols": [plan.protocol], "min_cohort": plan.min_cohort})
    demands_from(demanded)
    return demanded


def _served(
    plan: RoundPlan, home: str, train_seconds: float | None, ledger: str | None, budget: Budget | None
) -> dict[str, Any]:
    """What either server is told, as JSON can hold it.

    Raises: BadPlan for noise without a ledger; Misused for a ledger without budget.
    """
    require_ledger(plan, ledger)
    if (ledger is None) != (budget is None):
        raise Misused("a ledger has a budget: give both, or neither")
    return {
        "plan": wire.encode(plan).hex(),
        "home": str(home),
        "train_seconds": float(plan.patience_seconds if train_seconds is None else train_seconds),
        "ledger": "" if ledger is None else str(ledger),
        "budget": [] if budget is None else [str(budget.epsilon), str(budget.delta), str(budget.relation)],
    }


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
