"""Two small models with one gradient: softmax regression and a multi-layer perceptron, in numpy and in torch.

    inputs --W1, b1--> relu --W2, b2--> ... --Wk, bk--> logits --softmax--> cross-entropy

Softmax regression is the network without hidden layers. `Dense` computes gradients by hand and is the
reference; `TorchDense` computes the same ones by automatic differentiation and needs the extra `torch`.
Parameters are plain lists [W1, b1, W2, b2, ...] of float64 arrays, so an update is a list of the same kind.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.errors import MissingExtra, Misused, WrongUpdate
from protocols.learning.data import Examples

Floats = NDArray[np.float64]
Parameters = list[Floats]


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross-entropy in nats, and the fraction of labels found."""

    loss: float
    accuracy: float


class Model(Protocol):
    """What the learning loop needs to know of a model."""

    def start(self, rng: np.random.Generator) -> Parameters: ...
    def gradient(self, parameters: Parameters, examples: Examples) -> Parameters: ...
    def score(self, parameters: Parameters, examples: Examples) -> Score: ...


@dataclass(frozen=True, slots=True)
class Dense:
    """Affine layers of the given sizes with relu between them and softmax at the end.

    Shapes: `sizes` is (inputs, hidden ..., classes); W is (in, out), b is (out,).
    Raises: Misused for sizes that are no network, WrongUpdate for parameters of other shapes.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise Misused(f"sizes are {self.sizes}, expected at least inputs and classes, all positive")

    def start(self, rng: np.random.Generator) -> Parameters:
        """The first model: zeros without hidden layer, else normal weights of variance 2 / inputs.

        Source: He et al., ICCV 2015, section 2.2. Zero is the one start of a convex problem that favours
        no class and tells nothing; with hidden layers it would be a saddle.
        """
        hidden = len(self.sizes) > 2
        parameters: Parameters = []
        for inputs, outputs in pairwise(self.sizes):
            weights = rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs) if hidden else None
            parameters += [np.zeros((inputs, outputs)) if weights is None else weights, np.zeros(outputs)]
        return parameters

    def logits(self, parameters: Parameters, inputs: Floats) -> Floats:
        """Unnormalised log-probabilities: (n, inputs) -> (n, classes)."""
        return self._activations(parameters, inputs)[-1]

    def gradient(self, parameters: Parameters, examples: Examples) -> Parameters:
        """d/dparameters of the mean cross-entropy over the examples.

        Raises: Misused without examples: their mean does not exist.
        """
        _check_any(examples)
        outputs = self._activations(parameters, examples.features)
        slope = np.exp(_log_softmax(outputs[-1]))
        slope[np.arange(len(examples)), examples.labels] -= 1.0
        slope /= len(examples)
        backwards: Parameters = []
        for layer in reversed(range(len(self.sizes) - 1)):
            backwards += [slope.sum(axis=0), outputs[layer].T @ slope]
            if layer:
                slope = (slope @ parameters[2 * layer].T) * (outputs[layer] > 0)
        return backwards[::-1]

    def score(self, parameters: Parameters, examples: Examples) -> Score:
        """Loss and accuracy of one model on the examples.

        Raises: Misused without examples.
        """
        _check_any(examples)
        logs = _log_softmax(self.logits(parameters, examples.features))
        right = logs[np.arange(len(examples)), examples.labels]
        return Score(float(-right.mean()), float((logs.argmax(axis=1) == examples.labels).mean()))

    def _activations(self, parameters: Parameters, inputs: Floats) -> Parameters:
        """The inputs and every layer's output, the last one being the logits."""
        self.check(parameters)
        found = [inputs]
        for layer, (weights, bias) in enumerate(_layers(parameters)):
            output = found[-1] @ weights + bias
            found.append(output if layer == len(self.sizes) - 2 else np.maximum(output, 0.0))
        return found

    def check(self, parameters: Parameters) -> None:
        """Raises: WrongUpdate unless the parameters have this network's shapes."""
        expected = [shape for i, o in pairwise(self.sizes) for shape in ((i, o), (o,))]
        found = [array.shape for array in parameters]
        if found != expected:
            raise WrongUpdate(f"parameters have shapes {found}, expected {expected}")


@dataclass(frozen=True, slots=True)
class TorchDense:
    """The same network with torch's own layers, loss and automatic differentiation, in float64 on the CPU.

    Guarantee: equal to `Dense` up to the order of float64 sums.
    Raises: MissingExtra when torch is not installed.
    """

    reference: Dense

    def start(self, rng: np.random.Generator) -> Parameters:
        """The reference's first model."""
        return self.reference.start(rng)

    def gradient(self, parameters: Parameters, examples: Examples) -> Parameters:
        """As `Dense.gradient`."""
        _check_any(examples)
        tensors = self._tensors(parameters)
        return [slope.numpy() for slope in _torch().autograd.grad(self._loss(tensors, examples), tensors)]

    def score(self, parameters: Parameters, examples: Examples) -> Score:
        """As `Dense.score`."""
        _check_any(examples)
        tensors = self._tensors(parameters)
        found = self._logits(tensors, examples).argmax(dim=1).numpy()
        return Score(self._loss(tensors, examples).item(), float((found == examples.labels).mean()))

    def _tensors(self, parameters: Parameters) -> list[Any]:
        self.reference.check(parameters)
        return [_torch().tensor(array, dtype=_torch().float64, requires_grad=True) for array in parameters]

    def _logits(self, tensors: list[Any], examples: Examples) -> Any:
        linear, relu = _torch().nn.functional.linear, _torch().nn.functional.relu
        flow = _torch().tensor(examples.features, dtype=_torch().float64)
        for layer, (weights, bias) in enumerate(_layers(tensors)):
            flow = linear(relu(flow) if layer else flow, weights.T, bias)
        return flow

    def _loss(self, tensors: list[Any], examples: Examples) -> Any:
        labels = _torch().tensor(examples.labels)
        return _torch().nn.functional.cross_entropy(self._logits(tensors, examples), labels)


def softmax_regression(features: int, classes: int) -> Dense:
    """softmax(x W + b), started at zero: convex, and one row of W per feature."""
    return Dense((features, classes))


def mlp(features: int, hidden: int, classes: int) -> Dense:
    """softmax(relu(x W1 + b1) W2 + b2)."""
    return Dense((features, hidden, classes))


def _layers(parameters: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(parameters[::2], parameters[1::2], strict=True)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _check_any(examples: Examples) -> None:
    if len(examples) == 0:
        raise Misused("there are no examples: a mean over none does not exist")


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingExtra("torch") from error
