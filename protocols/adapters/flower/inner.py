"""Which strategies can live on a mean alone: an allow-list, by the class that aggregates."""

from __future__ import annotations

from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import strategy_utils

from protocols.errors import BadPlan

OF_A_MEAN = ("FedAvg", "FedProx", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad")
AGGREGATIONS = ("aggregate_train", "aggregate_evaluate")


def require_mean(strategy: strategies.Strategy, *, mean_only: bool) -> None:
    """Raises: BadPlan for a strategy that may need single updates or metrics, which are never seen.

    `mean_only` is the caller's word that a strategy, or its function for metrics, of the caller's own does with one
    reply: the weighted mean of all.
    """
    name = type(strategy).__name__
    if name.startswith("DifferentialPrivacy"):
        raise BadPlan(
            f"{name} takes the mean for a client's update: noise belongs into the sum, by the plan's noise_multiplier"
        )
    if name in vars(strategies) and name not in OF_A_MEAN:
        raise BadPlan(f"{name} needs individual updates; they are never seen")
    if mean_only:
        return
    allowed = {getattr(strategies, each) for each in OF_A_MEAN}
    for method in AGGREGATIONS:
        if _definer(strategy, method) not in allowed:
            raise BadPlan(f"{name}.{method} may need individual updates, which are never seen: mean_only=True if not")
    for function in ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"):
        if getattr(strategy, function) is not strategy_utils.aggregate_metricrecords:
            raise BadPlan(f"{function} is given one reply, the mean of all: mean_only=True if that is enough for it")


def _definer(strategy: strategies.Strategy, method: str) -> type | None:
    return next((each for each in type(strategy).__mro__ if method in vars(each)), None)
