"""A client's own training of a torch module: state_dict in, difference of state_dicts out.

torch itself is never imported here: module, loss and optimiser bring it along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.errors import Misused, WrongUpdate
from protocols.learning.arguments import require_count, require_number


@dataclass(frozen=True, slots=True)
class TorchTrainer:
    """`epochs` passes of an optimiser from the received model; FedProx where mu > 0.

    `loader` gives pairs of inputs and targets, the same data in each pass; `optimiser` makes a fresh optimiser of the
    parameters it is given, so that nothing is remembered from one round to the next. Several clients may share a
    module: each starts from what it receives.

    Guarantee: mu (y - x) is added to the gradient of every parameter that has one; buffers have none.
    Raises: Misused for numbers outside their range, or an optimiser that is made already.
    Source: Li et al., MLSys 2020, equation 2 (the proximal term).
    """

    module: Any = field(repr=False)
    loss: Callable[[Any, Any], Any] = field(repr=False)
    loader: Iterable[tuple[Any, Any]] = field(repr=False)
    optimiser: Callable[[Iterable[Any]], Any] = field(repr=False)
    epochs: int = 1
    mu: float = 0.0

    def __post_init__(self) -> None:
        if not callable(self.optimiser):
            raise Misused(
                f"optimiser is a {type(self.optimiser).__name__}, expected a function that makes one: "
                "lambda parameters: torch.optim.SGD(parameters, lr=0.1), for one"
            )
        require_count("epochs", self.epochs)
        require_number("mu", self.mu)
        if not 0 <= self.mu < math.inf:
            raise Misused(f"mu is {self.mu}, expected a number >= 0")

    def fit(self, received: Mapping[str, Any]) -> dict[str, Any]:
        """Trained minus received, for each floating array; integer buffers have no difference and are left out.

        Raises: WrongUpdate when the module has other parameters; Misused for a pass without a batch.
        """
        start = {name: tensor.detach().clone() for name, tensor in received.items()}
        try:
            self.module.load_state_dict(start)
        except RuntimeError as error:
            raise WrongUpdate(f"the received model is not this module's: {error}") from error
        self.module.train()
        optimiser = self.optimiser(self.module.parameters())
        for _ in range(self.epochs):
            self._pass(optimiser, start)
        trained = self.module.state_dict()
        return {name: trained[name].detach() - tensor for name, tensor in start.items() if tensor.is_floating_point()}

    def _pass(self, optimiser: Any, start: Mapping[str, Any]) -> None:
        batches = 0
        for inputs, targets in self.loader:
            self._step(optimiser, inputs, targets, start)
            batches += 1
        if batches == 0:
            raise Misused(
                "the loader gave no batch: give a list or a DataLoader, a generator is used up after one pass"
            )

    def _step(self, optimiser: Any, inputs: Any, targets: Any, start: Mapping[str, Any]) -> None:
        optimiser.zero_grad()
        self.loss(self.module(inputs), targets).backward()
        if self.mu:
            for name, parameter in self.module.named_parameters():
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - start[name], alpha=self.mu)
        optimiser.step()
