"""pfl-research: federated averaging in its simulation, with Gaussian noise on the sum.

It simulates a trusted server: users' clipped updates are summed in the clear, noise from numpy's global generator is
added once, and no protocol is played. Nothing of this project is imported here.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.peers.pins import names_of

NAME = "pfl"
VERSION = "0.6.0"
TITLE = f"pfl {VERSION}"
PYTHON = "3.11"
PIP = ("pfl==0.6.0",)

Floats = np.ndarray[Any, np.dtype[Any]]
Labelled = tuple[Floats, Floats]

SYMBOLS = {
    "pfl.aggregate.base": ("SumAggregator",),
    "pfl.aggregate.simulate": ("SimulatedBackend",),
    "pfl.algorithm.base": ("NNAlgorithmParams",),
    "pfl.algorithm.federated_averaging": ("FederatedAveraging",),
    "pfl.data.dataset": ("Dataset",),
    "pfl.data.federated_dataset": ("FederatedDataset",),
    "pfl.hyperparam": ("NNEvalHyperParams", "NNTrainHyperParams"),
    "pfl.internal.ops.pytorch_ops": (),
    "pfl.internal.ops": ("pytorch_ops",),
    "pfl.internal.ops.selector": ("set_framework_module",),
    "pfl.model.pytorch": ("PyTorchModel",),
    "pfl.privacy.gaussian_mechanism": ("GaussianMechanism",),
    "pfl.privacy.privacy_mechanism": ("CentrallyAppliedPrivacyMechanism",),
    "torch": ("from_numpy", "manual_seed", "nn", "optim", "set_num_threads"),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    peer = names_of("pfl", VERSION, SYMBOLS)
    peer.set_num_threads(1)
    peer.set_framework_module(peer.pytorch_ops, old_module=peer.pytorch_ops)
    return peer


@dataclass(frozen=True, slots=True)
class Training:
    """Softmax regression: all users in every round, full batches; noise of `noise` times the clip on their sum."""

    rounds: int
    epochs: int
    rate: float
    clip: float
    noise: float
    seed: int


def softmax_of(features: int, classes: int) -> Any:
    """One layer, started at zero, with the two methods that pfl asks of a model."""
    peer = names()
    module: Any = peer.nn.Module

    class Softmax(module):  # type: ignore[misc]  # of the torch in the peer's environment, which is not typed here
        def __init__(self) -> None:
            super().__init__()
            self.layer = peer.nn.Linear(features, classes)
            for each in self.layer.parameters():
                peer.nn.init.zeros_(each)

        def loss(self, x: Any, y: Any, eval: bool = False) -> Any:
            return peer.nn.functional.cross_entropy(self.layer(x), y)

        def metrics(self, x: Any, y: Any) -> dict[str, Any]:
            return {}

    return Softmax()


def trained(users: list[Labelled], classes: int, training: Training) -> tuple[Floats, Floats]:
    """Weights, one row per feature, and offsets of the model after the last round."""
    peer = names()
    peer.manual_seed(training.seed)
    np.random.seed(training.seed)
    held = [[peer.from_numpy(features.astype(np.float32)), peer.from_numpy(labels)] for features, labels in users]
    turn = itertools.cycle(range(len(held)))
    data = peer.FederatedDataset(lambda who: peer.Dataset(raw_data=held[who], user_id=str(who)), lambda: next(turn))
    module = softmax_of(users[0][0].shape[1], classes)
    mechanism = peer.GaussianMechanism(clipping_bound=training.clip, relative_noise_stddev=training.noise)
    with unadvised():
        peer.FederatedAveraging().run(
            algorithm_params=peer.NNAlgorithmParams(
                central_num_iterations=training.rounds,
                evaluation_frequency=training.rounds + 1,
                train_cohort_size=len(users),
                val_cohort_size=0,
            ),
            backend=peer.SimulatedBackend(
                training_data=data,
                val_data=None,
                postprocessors=[peer.CentrallyAppliedPrivacyMechanism(mechanism)],
                aggregator=peer.SumAggregator(),
            ),
            model=peer.PyTorchModel(
                model=module,
                local_optimizer_create=peer.optim.SGD,
                central_optimizer=peer.optim.SGD(module.parameters(), lr=1.0),
            ),
            model_train_params=peer.NNTrainHyperParams(
                local_num_epochs=training.epochs, local_learning_rate=training.rate, local_batch_size=None
            ),
            model_eval_params=peer.NNEvalHyperParams(local_batch_size=None),
        )
    weights, offsets = module.layer.parameters()
    return weights.detach().double().numpy().T.copy(), offsets.detach().double().numpy().copy()


@contextmanager
def unadvised() -> Iterator[None]:
    """pfl copies tensors in a way that torch advises against."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
