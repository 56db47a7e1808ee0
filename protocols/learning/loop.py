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
from typing import Protocol

import numpy as np

from protocols.errors import Misused, RoundLost, WrongUpdate
from protocols.learning.data import Examples
from protocols.learning.models import Arrays, Model, Score
from protocols.learning.strategies import Local, State, Strategy

# First words of the generators' seeds: one purpose never repeats another's draws.
_START, _SELECT, _TRAIN = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The mean of the survivors' updates, and who they are."""

    mean: Arrays
    survivors: tuple[int, ...]


Aggregate = Callable[[Mapping[int, Arrays], int], Aggregated]


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

    `failed` says why a round was lost (survivors are then empty and the model is the last one); `score` is
    that of `parameters` on the server's examples; `update_norm` is the L2 norm of the mean update, 0 when
    lost; `stop` is set in the last record.
    """

    round: int
    invited: tuple[int, ...]
    survivors: tuple[int, ...]
    failed: str | None
    score: Score
    update_norm: float
    parameters: Arrays = field(repr=False)
    stop: Stop | None


@dataclass(frozen=True, slots=True)
class Federation:
    """A model, the clients' examples, the server's own examples to measure with, and the rules.

    `public` must hold no client's data: accuracies and stopping depend on it and are not accounted for.
    Raises: Misused for a run that cannot start.
    """

    model: Model
    clients: Mapping[int, Examples] = field(repr=False)
    public: Examples = field(repr=False)
    strategy: Strategy
    rounds: int
    seed: int
    selection: Selection = field(default_factory=Everyone)
    convergence: Converged | None = None

    def __post_init__(self) -> None:
        empty = sorted(who for who, examples in self.clients.items() if not len(examples))
        if not self.clients or empty:
            raise Misused(f"clients without examples: {empty}" if empty else "a federation needs clients")
        if self.rounds < 1:
            raise Misused(f"rounds is {self.rounds}, expected at least 1")
        if self.seed < 0:
            raise Misused(f"seed is {self.seed}, expected a number >= 0")

    def first_model(self) -> Arrays:
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
        losses = [self.model.score(parameters, self.public).loss]
        for number in range(self.rounds):
            invited = self.selection.choose(sorted(self.clients), np.random.default_rng([_SELECT, self.seed, number]))
            updates = {who: self._train(parameters, who, number) for who in invited}
            try:
                found = _checked(aggregate(updates, number), invited)
            except RoundLost as lost:
                score = self.model.score(parameters, self.public)
                stop = self._stop(number, losses)
                yield RoundRecord(number, invited, (), str(lost), score, 0.0, parameters, stop)
                continue
            parameters, state, record = self._advance(parameters, state, found, invited, number, losses)
            yield record
            if record.stop is not None:
                return

    def _advance(
        self,
        parameters: Arrays,
        state: State,
        found: Aggregated,
        invited: tuple[int, ...],
        number: int,
        losses: list[float],
    ) -> tuple[Arrays, State, RoundRecord]:
        parameters, state = self.strategy.step(parameters, found.mean, state)
        score = self.model.score(parameters, self.public)
        losses.append(score.loss)
        norm = math.sqrt(sum(float(np.vdot(change, change)) for change in found.mean))
        stop = self._stop(number, losses)
        record = RoundRecord(number, invited, found.survivors, None, score, norm, parameters, stop)
        return parameters, state, record

    def _train(self, parameters: Arrays, who: int, number: int) -> Arrays:
        # Seeded per round and client: an update does not depend on who else was asked, or in which order.
        rng = np.random.default_rng([_TRAIN, self.seed, number, who])
        return train(self.model, parameters, self.clients[who], self.strategy.local, rng)

    def _stop(self, number: int, losses: Sequence[float]) -> Stop | None:
        if self.convergence is not None and self.convergence.reached(losses):
            return Stop.CONVERGED
        return Stop.ROUNDS if number == self.rounds - 1 else None


def train(model: Model, received: Arrays, examples: Examples, local: Local, rng: np.random.Generator) -> Arrays:
    """y - x after local descent from x: y <- y - rate * (gradient of F_i at y + mu (y - x)).

    Raises: Misused without examples.
    """
    own = [array.copy() for array in received]
    for _ in range(local.epochs):
        for batch in _batches(examples, local.batch_size, rng):
            for mine, slope, start in zip(own, model.gradient(own, batch), received, strict=True):
                mine -= local.rate * (slope + local.proximal * (mine - start))
    return [mine - start for mine, start in zip(own, received, strict=True)]


def plain_mean(updates: Mapping[int, Arrays], round: int) -> Aggregated:
    """The mean everybody could read: what a secure aggregate is compared with.

    Raises: Misused without updates.
    """
    if not updates:
        raise Misused("there are no updates to average")
    who = tuple(sorted(updates))
    return Aggregated([np.mean(parts, axis=0) for parts in zip(*(updates[i] for i in who), strict=True)], who)


def save_model(path: Path, parameters: Arrays) -> None:
    """The parameters, in order, as one .npz file; no pickle."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_entry(place): array for place, array in enumerate(parameters)})


def load_model(path: Path) -> Arrays:
    """What `save_model` wrote; nothing in the file is ever executed.

    Raises: Misused when the file is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            if not isinstance(found, np.lib.npyio.NpzFile) or not found.files:
                raise Misused(f"{path} holds no model")
            return [found[_entry(place)] for place in range(len(found.files))]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Misused(f"{path} is no model file: {error}") from error


def _entry(place: int) -> str:
    return f"parameter_{place:04d}"


def _batches(examples: Examples, size: int | None, rng: np.random.Generator) -> Iterator[Examples]:
    if size is None or size >= len(examples):
        yield examples
        return
    order = rng.permutation(len(examples))
    for start in range(0, len(order), size):
        yield examples.take(order[start : start + size])


def _checked(found: Aggregated, invited: tuple[int, ...]) -> Aggregated:
    strangers = sorted(set(found.survivors) - set(invited))
    if strangers:
        raise WrongUpdate(f"the mean counts clients {strangers}, who were not invited")
    return found
