"""`SecureSum` inside real pfl: digits are learned, and each round is the one that the real protocol plays.

Runs in the environment of pfl (`make test-pfl`) and is skipped by name elsewhere.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pfl", reason="pfl is not installed here: run `make test-pfl`")

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.internal.ops.selector import set_framework_module
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from pfl.postprocessor.base import Postprocessor
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism

from protocols import RoundPlan, Task
from protocols.adapters.pfl import SecureSum
from protocols.coding import coding_of
from protocols.errors import PolicyConflict, TooFewClients
from protocols.learning.data import Examples, deal_iid, digits
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import context_of
from protocols.simulate import Cohort, Simulation
from protocols.tensors import Layout
from secagg.keys import Seed

# The model is tiny: threads cost more than they save.
torch.set_num_threads(1)
ROOT = Seed(bytes(range(32)))
CLIENTS, ROUNDS = 10, 10


class Softmax(torch.nn.Module):
    """One layer, ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        return self.layer(x)

    def loss(self, x: Any, y: Any, eval: bool = False) -> Any:
        self.eval() if eval else self.train()
        return torch.nn.functional.cross_entropy(self(x), y.long())

    @torch.no_grad()
    def metrics(self, x: Any, y: Any) -> Any:
        return {"accuracy": Weighted((self(x).argmax(dim=1) == y).sum().item(), len(y))}


class Recorder(Postprocessor):
    """What comes into the next postprocessor from each user, and what goes out of it at the server."""

    def __init__(self) -> None:
        self.rounds: list[list[tuple[Any, float]]] = [[]]
        self.sums: list[tuple[Any, float]] = []

    def postprocess_one_user(self, *, stats: Any, user_context: Any) -> Any:
        self.rounds[-1].append(({name: value.clone() for name, value in stats.items()}, stats.weight))
        return stats, Metrics()

    def postprocess_server(self, *, stats: Any, central_context: Any, aggregate_metrics: Any) -> Any:
        self.sums.append(({name: value.clone() for name, value in stats.items()}, stats.weight))
        self.rounds.append([])
        return stats, Metrics()


def pixels(examples: Examples) -> list[Any]:
    return [torch.tensor(examples.features, dtype=torch.float32), torch.tensor(examples.labels)]


def train(postprocessors: list[Any], rounds: int = ROUNDS, cohort: int = CLIENTS) -> tuple[float, Any]:
    """Accuracy on held-out digits after pfl's federated averaging over ten clients, and the model."""
    set_framework_module(pytorch_ops, old_module=pytorch_ops)
    torch.manual_seed(0)
    np.random.seed(0)
    dealt = deal_iid(digits(), CLIENTS, seed=0)
    users = itertools.cycle(range(CLIENTS))
    training = FederatedDataset(
        lambda who: Dataset(raw_data=pixels(dealt.clients[who]), user_id=str(who)), lambda: next(users)
    )
    module = Softmax()
    model = PyTorchModel(
        model=module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
    )
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds, evaluation_frequency=10**6, train_cohort_size=cohort, val_cohort_size=0
        ),
        backend=SimulatedBackend(training_data=training, val_data=None, postprocessors=postprocessors),
        model=model,
        model_train_params=NNTrainHyperParams(local_num_epochs=5, local_learning_rate=1.0, local_batch_size=None),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
    )
    x, y = pixels(dealt.public)
    with torch.no_grad():
        return float((module(x).argmax(dim=1) == y).float().mean()), module.state_dict()


def plan_of(**more: Any) -> RoundPlan:
    return RoundPlan.recommend(CLIENTS, **({"dropout": 0.2, "corrupt": 0, "clip": 4.0, "bits": 20} | more))


def real_round(plan: RoundPlan, number: int, users: list[tuple[Any, float]]) -> Simulation:
    """The protocol's own round over the updates that pfl's users had."""
    layout = Layout.of(users[0][0])

    def prepared(who: PartyId, client: Any) -> Submit:
        tensors, weight = users[who]
        flat = layout.flatten(tensors)
        made: Submit = client.prepare(flat / np.float32(weight), weight=int(weight))
        return made

    real = Simulation(Cohort.from_root(plan, range(len(users)), ROOT), prepared)
    real.run(Task(number, layout.length, layout.digest(), nonce=bytes(16)))
    return real


@pytest.mark.parametrize(
    ("before", "more"),
    [([], {}), ([WeightByDatapoints()], {"max_weight": 200}), ([], {"noise_multiplier": 0.5, "modulus_bits": 32})],
    ids=["exact", "weighted by datapoints", "with noise"],
)
def test_every_round_is_the_one_that_the_real_protocol_plays(before: list[Any], more: dict[str, Any]) -> None:
    plan, recorder = plan_of(**more), Recorder()
    # Server side the order is reversed: the recorder hears what `SecureSum` has opened.
    train([*before, recorder, SecureSum.from_root(plan, ROOT)], rounds=2)
    for number in range(2):
        users, (opened, weight) = recorder.rounds[number], recorder.sums[number]
        real = real_round(plan, number, users)
        layout, found = Layout.of(users[0][0]), real.opened
        total = coding_of(real.server.agreement).decode(found.total, 1, context_of(real.server.agreement), ())
        assert weight == found.weight_sum
        expected = layout.unflatten(total)
        assert opened.keys() == expected.keys()
        assert all(torch.equal(opened[name], expected[name]) for name in expected)


def test_digits_are_learned_as_well_as_by_the_plain_mean() -> None:
    plain, plain_model = train([])
    secure, secure_model = train([SecureSum(plan_of())])
    assert plain > 0.9
    assert abs(secure - plain) < 0.02
    # A mean errs by one step at most, and learning does not amplify it beyond the number of rounds here.
    worst = max(float((plain_model[name] - secure_model[name]).abs().max()) for name in plain_model)
    assert worst < 4 * ROUNDS * plan_of().encoding.step


def central_noise() -> Any:
    return CentrallyAppliedPrivacyMechanism(GaussianMechanism(clipping_bound=1.0, relative_noise_stddev=0.1))


# pfl copies tensors in a way that torch advises against.
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")
def test_central_noise_before_it_sees_the_sum_and_digits_are_learned() -> None:
    accuracy, _ = train([central_noise(), SecureSum(plan_of())])
    assert accuracy > 0.8


@pytest.mark.parametrize("later", [central_noise, WeightByDatapoints], ids=["central noise", "weighting"])
def test_what_comes_behind_it_is_refused_at_the_first_user(later: Any) -> None:
    recorder = Recorder()
    with pytest.raises(PolicyConflict, match="last postprocessor"):
        train([recorder, SecureSum(plan_of()), later()], rounds=1)
    assert len(recorder.rounds[0]) == 1


def test_a_cohort_below_the_smallest_opens_nothing() -> None:
    with pytest.raises(TooFewClients):
        train([SecureSum(plan_of())], rounds=1, cohort=5)
