"""A client's training of a torch module: the same steps as by hand, the proximal term, and what has no difference."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.errors import Misused, WrongUpdate
from protocols.learning import FedProx, Local, TorchTrainer, softmax_regression, train
from tests.protocols.learning.test_loop import toy

torch: Any = pytest.importorskip("torch", reason="extra 'torch' is not installed")


def linear(inputs: int = 2, outputs: int = 3) -> Any:
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Linear(inputs, outputs, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.randn(outputs, inputs, generator=generator, dtype=torch.float64))
        module.bias.copy_(torch.randn(outputs, generator=generator, dtype=torch.float64))
    return module


def trainer(module: Any, rate: float = 0.3, **changes: Any) -> TorchTrainer:
    share = toy().clients[0]
    loader = [(torch.tensor(share.features), torch.tensor(share.labels))]
    return TorchTrainer(
        module, torch.nn.functional.cross_entropy, loader, lambda p: torch.optim.SGD(p, lr=rate), **changes
    )


@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_the_steps_are_those_of_the_numpy_loop(mu: float) -> None:
    module = linear()
    received = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = trainer(module, epochs=3, mu=mu).fit(received)
    local = Local(0.3, 3) if not mu else FedProx(Local(0.3, 3), mu=mu).local
    start = [received["weight"].numpy().T.copy(), received["bias"].numpy().copy()]
    expected = train(softmax_regression(2, 3), start, toy().clients[0], local, np.random.default_rng(0))
    assert np.allclose(found["weight"].numpy().T, expected[0], rtol=0, atol=1e-12)
    assert np.allclose(found["bias"].numpy(), expected[1], rtol=0, atol=1e-12)


def test_a_large_mu_keeps_the_client_closer() -> None:
    received = linear().state_dict()
    norms = [float(trainer(linear(), 0.1, epochs=30, mu=mu).fit(received)["weight"].norm()) for mu in (0.0, 1.0, 5.0)]
    assert norms == sorted(norms, reverse=True)


def test_the_received_model_is_left_alone_and_a_module_may_be_shared() -> None:
    module = linear()
    received = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in received.items()}
    one, two = (trainer(module).fit(received) for _ in range(2))
    assert all(torch.equal(received[name], before[name]) for name in received)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_optimiser_remembers_nothing_from_round_to_round() -> None:
    client = trainer(linear())
    momentum = TorchTrainer(
        client.module, client.loss, client.loader, lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9), epochs=2
    )
    received = linear().state_dict()
    one, two = (momentum.fit(received) for _ in range(2))
    assert torch.equal(one["weight"], two["weight"])


def test_the_proximal_term_is_for_parameters_and_not_for_buffers() -> None:
    """Running means move the same way whatever mu is: the first step's inputs are the same."""
    share = toy().clients[0]
    loader = [(torch.tensor(share.features), torch.tensor(share.labels))]

    def fitted(mu: float) -> Any:
        module = torch.nn.Sequential(torch.nn.BatchNorm1d(2, dtype=torch.float64), linear())
        make = TorchTrainer(
            module, torch.nn.functional.cross_entropy, loader, lambda p: torch.optim.SGD(p, lr=0.1), epochs=2, mu=mu
        )
        return make.fit(module.state_dict())

    plain, pulled = fitted(0.0), fitted(5.0)
    assert torch.equal(plain["0.running_mean"], pulled["0.running_mean"])
    assert plain["0.running_mean"].abs().sum() > 0
    assert not torch.equal(plain["1.weight"], pulled["1.weight"])
    assert "0.num_batches_tracked" not in plain


def test_frozen_parameters_have_no_gradient_and_do_not_move() -> None:
    module = linear()
    module.bias.requires_grad_(False)
    found = trainer(module, mu=0.5).fit(module.state_dict())
    assert not found["bias"].any()
    assert found["weight"].any()


def test_a_tied_module_gives_equal_differences_under_both_names() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    module[1].weight = module[0].weight
    data = [(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64))]
    make = TorchTrainer(module, torch.nn.functional.cross_entropy, data, lambda p: torch.optim.SGD(p, lr=0.1))
    found = make.fit(module.state_dict())
    assert torch.equal(found["0.weight"], found["1.weight"])
    assert found["0.weight"].any()


def test_a_model_of_another_module_is_refused() -> None:
    with pytest.raises(WrongUpdate, match="the received model is not this module's"):
        trainer(linear()).fit(linear(3, 3).state_dict())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": "3"}, "epochs is '3', it must be an integer of at least 1"),
        ({"mu": -1}, "mu is -1"),
        ({"mu": float("nan")}, "mu is"),
        ({"mu": "0.1"}, "mu is '0.1', expected a number"),
    ],
)
def test_a_number_outside_its_range_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Misused, match=words):
        trainer(linear(), **changes)


def test_an_optimiser_that_is_made_already_is_refused() -> None:
    module = linear()
    with pytest.raises(Misused, match="optimiser is a SGD, expected a function that makes one"):
        replace(trainer(module), optimiser=torch.optim.SGD(module.parameters(), lr=0.1))


def test_a_pass_without_a_batch_is_refused() -> None:
    client = trainer(linear())
    received = linear().state_dict()
    used_up, empty = iter(client.loader), replace(client, loader=[])
    for refused in (empty, replace(client, loader=used_up, epochs=2), replace(client, loader=used_up)):
        with pytest.raises(Misused, match="the loader gave no batch: give a list or a DataLoader"):
            refused.fit(received)


def test_the_learning_package_does_not_import_torch() -> None:
    code = "import sys, protocols.learning; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
