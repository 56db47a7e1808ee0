"""The federated loop: start -> select -> distribute -> train -> aggregate -> update -> evaluate -> again.

`Federation.run(aggregate)` yields one `RoundRecord` per round. How updates become their mean is the
caller's: `aggregate` is a secure round, or a plain mean to compare with. The loop itself never prints,
never looks at one client's update beside its own training, and draws everything random (cohorts, batches,
the first model) from the seed, so that two aggregates can be compared on equal cohorts and data.
"""

from __future__ import annotations

import enum
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from protocols.errors import Misused, RoundLost, WrongUpdate
from protocols.learning.data import Dealt, Examples
from protocols.learning.models import Model, Parameters, Score
from protocols.learning.reduction import Everything, Latest, Public, Reduction
from protocols.learning.strategies import Local, Strategy

# First words of the generators' seeds: one purpose never repeats another's draws.
_START, _SELECT, _TRAIN = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The mean of the survivors' updates, and who they are."""

    mean: Any
    survivors: tuple[int, ...]


class Released(Protocol):
    """What a round must give back: `Aggregated`, or the report of a secure round as it is."""

    @property
    def mean(self) -> Any: ...
    @property
    def survivors(self) -> tuple[int, ...]: ...


# Updates as they travel, and the round's number.
Aggregate = Callable[[Mapping[int, Any], int], Released]


class Selection(Protocol):
    """Who is asked in a round."""

    def choose(self, clients: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Everyone:
    """All clients, every round."""

    def choose(self, clients: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """All of them."""
        return tuple(clients)


@dataclass(frozen=True, slots=True)
class UniformCohort:
    """`size` clients, uniformly without replacement.

    Guarantee: none for privacy. The draws come from a public seed, so no amplification may be claimed.
    Raises: Misused when there are fewer clients than that.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise Misused(f"a cohort of {self.size} clients cannot train: ask at least one")

    def choose(self, clients: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """A sorted sample."""
        if self.size > len(clients):
            raise Misused(f"a cohort of {self.size} cannot be drawn from {len(clients)} clients")
        return tuple(sorted(int(who) for who in rng.choice(np.array(clients), self.size, replace=False)))


@dataclass(frozen=True, slots=True)
class Converged:
    """Stop when the loss has not fallen by `tolerance` below its best for `patience` rounds.

    Guarantee: the loss is that of the released (noisy) model on the server's own evaluation examples, so
        stopping by it is post-processing and says nothing more about any client. Lost rounds release no
        model and do not count.
    """

    patience: int
    tolerance: float

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise Misused(f"patience is {self.patience} rounds, expected at least 1")
        if not 0 <= self.tolerance < math.inf:
            raise Misused(f"tolerance is {self.tolerance}, expected a number >= 0")

    def reached(self, losses: Sequence[float]) -> bool:
        """Whether this series of losses, the start's first, has settled."""
        best, stale = math.inf, 0
        for loss in losses:
            stale = 0 if loss < best - self.tolerance else stale + 1
            best = min(best, loss)
        return stale >= self.patience


class Stop(enum.Enum):
    """Why a run ended."""

    ROUNDS = "all rounds are done"
    CONVERGED = "the loss has settled"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round as the server knows it: everything here is public once the mean is.

    `failed` says why a round was lost: survivors are then empty, `update_norm` is 0 and the model is the one
    before. `loss` and `accuracy` are those of `parameters` on the server's examples, `update_norm` is the L2
    norm of the mean update, `stop` is set in the last record.
    """

    round: int
    invited: tuple[int, ...]
    survivors: tuple[int, ...]
    failed: str | None
    loss: float
    accuracy: float
    update_norm: float
    parameters: Parameters = field(repr=False)
    stop: Stop | None


@dataclass(frozen=True, slots=True)
class Federation:
    """Everything a run depends on except how updates become their mean.

    Raises: Misused for numbers no run can have.
    """

    model: Model
    strategy: Strategy
    data: Dealt = field(repr=False)
    rounds: int
    seed: int
    selection: Selection = field(default_factory=Everyone)
    convergence: Converged | None = None
    reduction: Reduction = field(default_factory=Everything)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise Misused(f"rounds is {self.rounds}, expected at least 1")
        if self.seed < 0:
            raise Misused(f"seed is {self.seed}, expected a number >= 0")

    def first_model(self) -> Parameters:
        """The model every run of this federation starts from."""
        return self.model.start(np.random.default_rng([_START, self.seed]))

    def run(self, aggregate: Aggregate) -> Iterator[RoundRecord]:
        """Train; one record per round, the last one naming why it is the last.

        A lost round (TooFewClients, ImplausibleSum) keeps model and strategy state and the run goes on.
        Raises: what else `aggregate` raises (a spent budget among them), at the round it concerns;
            WrongUpdate when its mean does not fit the model or names an uninvited survivor.
        """
        parameters = self.first_model()
        state = self.strategy.start(parameters)
        losses = [self._score(parameters).loss]
        latest: Latest | None = None
        for number in range(self.rounds):
            invited = self._select(number)
            parameters = self.reduction.received(parameters, number)
            public = Public(number, parameters, latest)
            chosen = self.reduction.choose(public)
            updates = {
                who: self.reduction.send(who, self._train(parameters, who, number), chosen, public) for who in invited
            }
            survivors: tuple[int, ...] = ()
            failed, norm = None, 0.0
            try:
                released = _checked(aggregate(updates, number), invited)
            except RoundLost as lost:
                failed = f"{type(lost).__name__}: {lost}"
            else:
                mean, survivors = self.reduction.restore(released.mean, chosen, public), released.survivors
                latest, norm = Latest(number, released.mean, mean, survivors), _norm(mean)
                parameters, state = self.strategy.step(parameters, mean, state)
            score = self._score(parameters)
            if failed is None:
                losses.append(score.loss)
            stop = self._stop(number, losses)
            yield RoundRecord(number, invited, survivors, failed, score.loss, score.accuracy, norm, parameters, stop)
            if stop is not None:
                return

    def _select(self, number: int) -> tuple[int, ...]:
        return self.selection.choose(sorted(self.data.clients), np.random.default_rng([_SELECT, self.seed, number]))

    def _train(self, parameters: Parameters, who: int, number: int) -> Parameters:
        # Seeded per round and client: an update does not depend on who else was asked, or in which order.
        rng = np.random.default_rng([_TRAIN, self.seed, number, who])
        return train(self.model, parameters, self.data.clients[who], self.strategy.local, rng)

    def _score(self, parameters: Parameters) -> Score:
        return self.model.score(parameters, self.data.public)

    def _stop(self, number: int, losses: Sequence[float]) -> Stop | None:
        if self.convergence is not None and self.convergence.reached(losses):
            return Stop.CONVERGED
        return Stop.ROUNDS if number == self.rounds - 1 else None


def train(model: Model, received: Parameters, examples: Examples, local: Local, rng: np.random.Generator) -> Parameters:
    """y - x after local descent from x: y <- y - rate * (gradient of F_i at y + mu (y - x)).

    Raises: Misused without examples.
    """
    own = [array.copy() for array in received]
    for _ in range(local.epochs):
        for batch in _batches(examples, local.batch_size, rng):
            for mine, slope, start in zip(own, model.gradient(own, batch), received, strict=True):
                mine -= local.rate * (slope + local.proximal * (mine - start))
    return [mine - start for mine, start in zip(own, received, strict=True)]


def plain_mean(updates: Mapping[int, Parameters], round: int) -> Aggregated:
    """The mean everybody could read: what a secure aggregate is compared with.

    Raises: Misused without updates.
    """
    if not updates:
        raise Misused("there are no updates to average")
    who = tuple(sorted(updates))
    return Aggregated([np.mean(parts, axis=0) for parts in zip(*(updates[i] for i in who), strict=True)], who)


def save_model(path: Path, parameters: Parameters) -> None:
    """The parameters, in order, as one .npz file; no pickle. The file is replaced whole or not at all.

    Raises: Misused when something is no array of floats.
    """
    odd = [str(array.dtype) for array in parameters if array.dtype.kind != "f"]
    if odd or not parameters:
        raise Misused(f"a model is a list of float arrays, got {odd or 'an empty list'}")
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        np.savez(file, *parameters)
    unfinished.replace(path)


def load_model(path: Path) -> Parameters:
    """What `save_model` wrote; nothing in the file is ever executed.

    Raises: Misused when the file is something else.
    """
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile) or not found.files:
                raise Misused(f"{path} holds no model")
            return [found[f"arr_{place}"] for place in range(len(found.files))]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Misused(f"{path} is no model file: {error}") from error


def _norm(update: Parameters) -> float:
    return math.sqrt(sum(float(np.vdot(change, change)) for change in update))


def _batches(examples: Examples, size: int | None, rng: np.random.Generator) -> Iterator[Examples]:
    if size is None or size >= len(examples):
        yield examples
        return
    order = rng.permutation(len(examples))
    for start in range(0, len(order), size):
        yield examples.take(order[start : start + size])


def _checked(found: Released, invited: tuple[int, ...]) -> Released:
    strangers = sorted(set(found.survivors) - set(invited))
    if strangers:
        raise WrongUpdate(f"the mean counts clients {strangers}, who were not invited")
    return found
