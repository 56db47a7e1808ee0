"""Secure rounds in NVFlare's simulator: `python examples/nvflare_job.py`, with nvflare 2.9 beside secagg[report].

Four sites learn digits. The same job runs on provisioned sites with ProdEnv: give each its own folder of keys and start
it from a machine that has neither.
"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from protocols import Metric, RoundPlan
from protocols.home import make_homes
from protocols.learning.data import Dealt, deal_iid, digits

SITES = [f"site-{number}" for number in range(4)]
ROUNDS = 8


@functools.cache
def dealt() -> Dealt:
    """Every site reads its own part alone; here all parts are made from one seed."""
    return deal_iid(digits(), len(SITES), seed=0)


def start() -> dict[str, Any]:
    """The first model: softmax regression on 64 pixels."""
    return {"weights": np.zeros((64, 10), np.float32), "bias": np.zeros(10, np.float32)}


def chances(model: dict[str, Any], pixels: Any) -> Any:
    scores = np.exp(pixels @ model["weights"] + model["bias"])
    return scores / scores.sum(axis=1, keepdims=True)


def train(model: dict[str, Any], site: str) -> Any:
    """Twenty full-batch steps on the site's own digits."""
    from protocols.adapters.nvflare import Trained

    mine = dealt().clients[SITES.index(site)]
    trained, wanted = {name: array.copy() for name, array in model.items()}, np.eye(10)[mine.labels]
    loss = float(-np.log((chances(trained, mine.features) * wanted).sum(axis=1)).mean())
    for _ in range(20):
        wrong = (chances(trained, mine.features) - wanted) / len(mine)
        trained["weights"] -= (mine.features.T @ wrong).astype(np.float32)
        trained["bias"] -= wrong.sum(axis=0).astype(np.float32)
    return Trained(trained, weight=len(mine), metrics={"loss": loss})


def accuracy(model: dict[str, Any]) -> float:
    public = dealt().public
    return float((chances(model, public.features).argmax(axis=1) == public.labels).mean())


def main(folder: Path) -> float:
    # Without the data no site is started.
    dealt()

    from nvflare.recipe import SimEnv

    from protocols.adapters.nvflare import collab_recipe

    make_homes(folder / "homes", clients=len(SITES))
    # One of four may be missing from a sum; the loss is averaged under the same masks as the model.
    plan = RoundPlan.recommend(
        len(SITES),
        protocol="oneshot",
        dropout=0.25,
        corrupt=0,
        min_cohort=3,
        clip=1.0,
        bits=20,
        max_weight=1000,
        metrics=(Metric("loss", 10),),
        patience_seconds=20,
    )
    recipe = collab_recipe(
        plan,
        train,
        start,
        server_home=str(folder / "homes" / "server"),
        home=str(folder / "homes" / "{site}"),
        rounds=ROUNDS,
    )
    run = recipe.run(SimEnv(clients=SITES, workspace_root=str(folder / "work")))
    results = Path(run.get_result(clean_up=False)) / "server" / "simulate_job"
    for number, each in enumerate(json.loads((results / "rounds.json").read_text())):
        print(f"round {number}: {len(each['survivors'])} survivors, loss {each['metrics']['loss']:.3f}")
    with np.load(results / "model.npz") as model:
        return accuracy(dict(model))


if __name__ == "__main__":
    print(f"accuracy {main(Path(tempfile.mkdtemp())):.3f}")
