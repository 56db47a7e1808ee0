"""Secure sums inside pfl: `SecureSum(plan)`, the last postprocessor of a `SimulatedBackend`.

    one user    statistics -> update and weight -> words: residues mod 2^b, noise share and weight included
    pfl         adds the words up
    server      words -> sum mod 2^b -> statistics of the sum, and their weight

pfl simulates in one process and sends nothing. This emulates `protocols.ideal`, which every protocol equals, bit for
bit (`emulation.py`): right for studies of utility and cost, and no protection of anybody.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from protocols.adapters.emulation import Draw, Emulation, fresh, from_root, require_emulated
from protocols.coding import Counted, Floats
from protocols.errors import MissingExtra, Misused, PolicyConflict, WrongUpdate
from protocols.plan import RoundPlan
from protocols.tensors import Kind, Layout
from secagg.keys import Seed

try:
    from pfl.internal.ops.selector import get_default_framework_module
    from pfl.metrics import Metrics, StringMetricName
    from pfl.postprocessor.base import Postprocessor
    from pfl.stats import MappedVectorStatistics
except ModuleNotFoundError as error:
    raise MissingExtra("pfl") from error

NAME = "secagg words"
LAST = "SecureSum must be the last postprocessor: put clipping, weighting, noise and sparsity before it"


class WordStatistics(MappedVectorStatistics):  # type: ignore[misc]  # pfl is not typed
    """Words on their way to the server: they can be added, and nothing else.

    Raises: PolicyConflict when a postprocessor behind `SecureSum` scales them or makes them something else.
    """

    def reweight(self, new_weight: float) -> None:
        raise PolicyConflict(f"encoded integers cannot be reweighted. {LAST}")

    def from_weights(self, metadata: Any, weights: list[Any]) -> Self:
        if len(weights) != 1 or not str(weights[0].dtype).endswith("int64"):
            raise PolicyConflict(f"encoded integers were made something else. {LAST}")
        made: Self = super().from_weights(metadata, weights)
        return made


class SecureSum(Postprocessor):  # type: ignore[misc]  # pfl is not typed
    """sum_i w_i clip(x_i) with the plan's noise, as its protocol would open it; last in the list of postprocessors.

    What a user's statistics hold is taken as w_i x_i, as pfl does, and w_i must be an integer within the plan's
    max_weight; the server's statistics are the sum and the sum of weights, so that their average is the mean.

    Guarantee: the integer sum equals `ideal.aggregate` of the same users' submissions bit for bit.
    Raises: BadPlan for a plan with metrics or removable noise, or a cohort above max_clients; PolicyConflict where
        another postprocessor came behind this one, or several processes add up; WrongUpdate for statistics that are
        no floating-point tensors of one layout; TooFewClients below min_cohort.
    """

    def __init__(self, plan: RoundPlan, draw: Draw = fresh) -> None:
        require_emulated(plan)
        self.plan = plan
        self._draw = draw
        self._rounds = 0
        self._emulation: Emulation | None = None

    @classmethod
    def from_root(cls, plan: RoundPlan, root: Seed) -> Self:
        """INSECURE outside tests: all rounding and noise is a function of `root`, so runs can be repeated."""
        return cls(plan, from_root(root))

    def postprocess_one_user(self, *, stats: Any, user_context: Any) -> tuple[Any, Any]:
        """The words of this user's update."""
        _require_one_process()
        if type(stats) is not MappedVectorStatistics:
            raise WrongUpdate(f"expected pfl's MappedVectorStatistics, got {type(stats).__name__}")
        tensors = dict(stats.items())
        if self._emulation is None:
            self._emulation = Emulation(
                self.plan, self._rounds, Layout.of_update(tensors, integers="refuse"), self._draw
            )
        weight = float(stats.weight)
        update = self._emulation.layout.flatten(tensors)
        if weight > 1:
            update /= weight
        words = self._emulation.words(update, weight)
        first = next(iter(tensors.values()))
        return WordStatistics({NAME: _like(first, words)}, weight=1.0), Metrics()

    def postprocess_server(self, *, stats: Any, central_context: Any, aggregate_metrics: Any) -> tuple[Any, Any]:
        """The statistics of the sum; metrics say that it was emulated, over how many, and what a client would send."""
        # Given up first: a round that is lost here must not leave its users to the next.
        emulation, self._emulation, self._rounds = self._emulation, None, self._rounds + 1
        if emulation is None:
            raise Misused("no user of this round came by: give every backend a SecureSum of its own")
        if list(stats.keys()) != [NAME]:
            raise PolicyConflict(f"these are not the words of users. {LAST}")
        words = stats[NAME]
        opened = emulation.opened(_numbers(words))
        total, coding = opened.aggregate, emulation.coding
        if isinstance(coding, Counted):
            self.plan = self.plan.at_clip(coding.next_clip(total.total, len(total.survivors)))
        tensors = emulation.layout.unflatten(emulation.sum_of(opened))
        placed = {name: _beside(words, tensor) for name, tensor in tensors.items()}
        said = {"clients": len(total.survivors), "masked bytes per client": coding.ring.packed_bytes(coding.length)}
        metrics = Metrics(
            [(StringMetricName(f"emulated secure sum | {what}"), number) for what, number in said.items()]
        )
        return MappedVectorStatistics(placed, weight=float(total.weight_sum)), metrics


def _require_one_process() -> None:
    """Raises: PolicyConflict; what pfl adds up between processes are float32, which do not carry these integers."""
    processes = get_default_framework_module().distributed.world_size
    if processes > 1:
        raise PolicyConflict(f"{processes} processes add up in float32 and would lose integers: simulate in one")


def _like(example: Any, words: Floats) -> Any:
    """The words as the kind of tensor that pfl adds up in this simulation, where that lies."""
    if Layout.of_update([example]).slots[0].kind is Kind.NUMPY:
        return words
    import torch

    return torch.from_numpy(words).to(example.device)


def _numbers(words: Any) -> Floats:
    return words if isinstance(words, np.ndarray) else np.asarray(words.cpu().numpy())


def _beside(words: Any, tensor: Any) -> Any:
    return tensor if isinstance(words, np.ndarray) else tensor.to(words.device)
