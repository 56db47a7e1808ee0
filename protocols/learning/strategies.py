"""How the server's model moves, given the mean of what the clients sent; each rule is one pure function.

    D = mean over the survivors of (local model - received model), x the server's model
    FedSGD       x <- x + eta D          D = minus the mean gradient: one full-batch step of rate 1
    FedAvg       x <- x + eta D          local epochs of gradient descent
    FedProx      x <- x + eta D          local gradients gain mu (y - x)
    FedAvgM      v <- beta v + D;  x <- x + eta v
    FedAdam, FedYogi, FedAdagrad         m, v as below;  x <- x + eta m / (sqrt(v) + tau)

Rules see the mean only, so no rule here can need a single client's update: medians, trimmed means and
distances between clients are impossible by type. Under privacy everything here is post-processing of a
noisy mean and costs nothing.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from protocols.errors import Misused, WrongUpdate
from protocols.learning.arguments import require_count, require_made, require_number
from protocols.learning.models import Floats, Parameters

State = tuple[Parameters, ...]


@dataclass(frozen=True, slots=True)
class Local:
    """What a client does before it answers: `epochs` passes of gradient descent on its own examples.

    `batch_size` None takes all examples at once, so that an epoch is one step. `proximal` is FedProx's mu.
    Raises: Misused for a number outside its range.
    """

    rate: float
    epochs: int = 1
    batch_size: int | None = None
    proximal: float = 0.0

    def __post_init__(self) -> None:
        _require_positive("local rate", self.rate)
        require_count("epochs", self.epochs)
        if self.batch_size is not None and self.batch_size < 1:
            raise Misused(f"batch_size is {self.batch_size}, expected at least 1, or None for all examples")
        require_number("proximal", self.proximal)
        if not 0 <= self.proximal < math.inf:
            raise Misused(f"proximal is {self.proximal}, expected a number >= 0")


class ServerRule(Protocol):
    """What the server makes of the mean: all it is given, element by element."""

    def start(self, parameters: Parameters) -> State: ...
    def step(self, parameters: Parameters, mean: Parameters, state: State) -> tuple[Parameters, State]: ...


class Strategy(ServerRule, Protocol):
    """What the clients do, and what the server makes of their mean."""

    @property
    def local(self) -> Local: ...


class _Stateless(ABC):
    """x <- x + eta D."""

    __slots__ = ()
    rate: float

    def start(self, parameters: Parameters) -> State:
        """Nothing is remembered between rounds."""
        return ()

    def step(self, parameters: Parameters, mean: Parameters, state: State) -> tuple[Parameters, State]:
        """The next model.

        Raises: WrongUpdate when the mean has other shapes than the model.
        """
        _check_same(parameters, mean)
        return _moved(parameters, [self.rate * change for change in _wide(mean)]), ()


@dataclass(frozen=True, slots=True)
class FedSGD(_Stateless):
    """x <- x - eta * mean of the clients' full-batch gradients.

    Source: McMahan et al., AISTATS 2017, section 2.
    """

    rate: float
    local: Local = field(default_factory=lambda: Local(rate=1.0), init=False)

    def __post_init__(self) -> None:
        _require_positive("rate", self.rate)


@dataclass(frozen=True, slots=True)
class FedAvg(_Stateless):
    """x <- x + eta * mean of the clients' changes; eta = 1 is the mean of their models.

    Source: McMahan et al., AISTATS 2017, algorithm 1.
    """

    local: Local
    rate: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("rate", self.rate)


@dataclass(frozen=True, slots=True)
class FedProx(_Stateless):
    """FedAvg whose clients minimise F_i(y) + (mu/2) |y - x|^2: skewed clients stray less.

    Source: Li et al., MLSys 2020, equation 2.
    """

    plain: Local
    mu: float
    rate: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("mu", self.mu)
        _require_positive("rate", self.rate)

    @property
    def local(self) -> Local:
        """The clients' descent with the proximal term."""
        return dataclasses.replace(self.plain, proximal=self.mu)


@dataclass(frozen=True, slots=True)
class FedAvgM:
    """v <- beta v + D;  x <- x + eta v.

    With eta = 1 - beta the steps are those of FedAvg, averaged over 1/(1 - beta) rounds: noise that is
    fresh in every round cancels in part, the direction that persists does not.
    Source: Hsu et al., 2019 (arXiv 1909.06335), section 4.
    """

    local: Local
    rate: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _require_positive("rate", self.rate)
        _require_fraction("momentum", self.momentum)

    def start(self, parameters: Parameters) -> State:
        """v = 0."""
        return (_filled(parameters, 0.0),)

    def step(self, parameters: Parameters, mean: Parameters, state: State) -> tuple[Parameters, State]:
        """The next model and velocity.

        Raises: WrongUpdate when the mean has other shapes than the model.
        """
        _check_same(parameters, mean)
        velocity = [self.momentum * old + change for old, change in zip(state[0], _wide(mean), strict=True)]
        return _moved(parameters, [self.rate * v for v in velocity]), (velocity,)


@dataclass(frozen=True, slots=True)
class FedOpt(ABC):
    """m <- b1 m + (1 - b1) D;  v <- second moment;  x <- x + eta m / (sqrt(v) + tau).

    Element-wise; m starts at 0 and v at `initial_second_moment`, tau^2 if None. State is float64.
    Source: Reddi et al., ICLR 2021, algorithm 2.
    """

    local: Local
    rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    initial_second_moment: float | None = None

    def __post_init__(self) -> None:
        _require_positive("rate", self.rate)
        _require_positive("tau", self.tau)
        _require_fraction("beta1", self.beta1)
        _require_fraction("beta2", self.beta2)
        if self.initial_second_moment is not None and not 0 <= self.initial_second_moment < math.inf:
            raise Misused(f"initial_second_moment is {self.initial_second_moment}, expected a number >= 0")

    @abstractmethod
    def second_moment(self, old: Floats, change: Floats) -> Floats:
        """The rule's v, which alone tells Adam, Yogi and Adagrad apart."""

    def start(self, parameters: Parameters) -> State:
        """m = 0 and v at its start."""
        second = self.tau**2 if self.initial_second_moment is None else self.initial_second_moment
        return _filled(parameters, 0.0), _filled(parameters, second)

    def step(self, parameters: Parameters, mean: Parameters, state: State) -> tuple[Parameters, State]:
        """The next model and moments.

        Raises: WrongUpdate when the mean has other shapes than the model.
        """
        return self._step(parameters, mean, state, self.rate)

    def _step(self, parameters: Parameters, mean: Parameters, state: State, rate: float) -> tuple[Parameters, State]:
        _check_same(parameters, mean)
        changes = _wide(mean)
        first = [self.beta1 * old + (1 - self.beta1) * d for old, d in zip(state[0], changes, strict=True)]
        second = [self.second_moment(old, d) for old, d in zip(state[1], changes, strict=True)]
        steps = [rate * m / (np.sqrt(v) + self.tau) for m, v in zip(first, second, strict=True)]
        return _moved(parameters, steps), (first, second)


@dataclass(frozen=True, slots=True)
class FedAdam(FedOpt):
    """v <- b2 v + (1 - b2) D^2."""

    def second_moment(self, old: Floats, change: Floats) -> Floats:
        """v <- b2 v + (1 - b2) D^2."""
        return np.asarray(self.beta2 * old + (1 - self.beta2) * change**2)


@dataclass(frozen=True, slots=True)
class FlowerAdam(FedAdam):
    """FedAdam as Flower computes it, to continue or to repeat its runs: v starts at 0, and in round r = 1, 2, ...

        eta_r = eta sqrt(1 - b2^(r+1)) / (1 - b1^(r+1))

    The exponent of its first round is 2. The other adaptive rules of Flower differ from the paper's by the start of v
    alone: `initial_second_moment=0`.
    Source: flwr 1.41, serverapp/strategy/fedadam.py.
    """

    initial_second_moment: float | None = 0.0

    def start(self, parameters: Parameters) -> State:
        """m, v, and how many rounds there were."""
        return (*FedAdam.start(self, parameters), [np.zeros(1)])

    def step(self, parameters: Parameters, mean: Parameters, state: State) -> tuple[Parameters, State]:
        """The next model, moments and count.

        Raises: WrongUpdate when the mean has other shapes than the model.
        """
        rounds = float(state[2][0][0]) + 1
        rate = self.rate * math.sqrt(1 - self.beta2 ** (rounds + 1)) / (1 - self.beta1 ** (rounds + 1))
        moved, moments = self._step(parameters, mean, state, rate)
        return moved, (*moments, [np.full(1, rounds)])


@dataclass(frozen=True, slots=True)
class FedYogi(FedOpt):
    """v <- v - (1 - b2) D^2 sign(v - D^2): v forgets a large D more slowly than Adam's."""

    def second_moment(self, old: Floats, change: Floats) -> Floats:
        """v <- v - (1 - b2) D^2 sign(v - D^2)."""
        square = change**2
        return np.asarray(old - (1 - self.beta2) * square * np.sign(old - square))


@dataclass(frozen=True, slots=True)
class FedAdagrad(FedOpt):
    """v <- v + D^2; no first moment by default."""

    beta1: float = 0.0

    def second_moment(self, old: Floats, change: Floats) -> Floats:
        """v <- v + D^2."""
        return np.asarray(old + change**2)


def _moved(parameters: Parameters, steps: Parameters) -> Parameters:
    """x + step, added in float64 and rounded once to the model's own dtype."""
    return [
        (value.astype(np.float64) + step).astype(value.dtype) for value, step in zip(parameters, steps, strict=True)
    ]


def _wide(arrays: Parameters) -> Parameters:
    return [array.astype(np.float64) for array in arrays]


def _filled(parameters: Parameters, value: float) -> Parameters:
    return [np.full(array.shape, value, np.float64) for array in parameters]


def _check_same(parameters: Parameters, mean: Parameters) -> None:
    # Compared before any arithmetic: a mean of shape (1,) would otherwise be broadcast over a layer.
    expected, found = [array.shape for array in parameters], [array.shape for array in mean]
    if expected != found:
        raise WrongUpdate(f"the mean has shapes {found}, the model {expected}")


def require_rule(strategy: object) -> None:
    """Raises: Misused for what is no rule of the server, a rule's class among it."""
    require_made("strategy", strategy, ("start", "step"), "FedAdam(Local(rate=1.0)), for one")


def _require_positive(name: str, value: float) -> None:
    require_number(name, value)
    if not 0 < value < math.inf:
        raise Misused(f"{name} is {value}, expected a positive number")


def _require_fraction(name: str, value: float) -> None:
    require_number(name, value)
    if not 0 <= value < 1:
        raise Misused(f"{name} is {value}, expected 0 <= {name} < 1")
