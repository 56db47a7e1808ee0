"""The federated loop: start -> select -> distribute -> train -> aggregate -> update -> evaluate -> again.

`Federation.run(aggregate)` gives one `RoundRecord` per round. How updates become their mean is for the caller to say:
`aggregate` is a secure round (`SecureRounds`), the ideal functionality, or a plain mean to compare with. The loop
itself never prints and never looks at one client's update beside its own training.

Cohorts, batches and the first model are drawn from the operating system; with a seed they are functions of it, so that
two aggregates can be compared on equal cohorts and data, and the run is marked deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from dp.entropy import Entropy
from protocols.errors import Misused, RoundLost, TooFewClients, WrongUpdate
from protocols.learning.arguments import require_count, require_made
from protocols.learning.checkpoint import Checkpoint
from protocols.learning.cohorts import CohortRule, Draws, Everyone
from protocols.learning.data import Dealt, Examples
from protocols.learning.folders import RunFolder, described
from protocols.learning.models import Model, Parameters, Score
from protocols.learning.reduction import Everything, Latest, Public, Reduction
from protocols.learning.stopping import Progress, StopRule
from protocols.learning.strategies import Local, Strategy, require_rule

# First words of the generators' seeds: one purpose never repeats another's draws.
_START, _TRAIN = 1, 3
LABEL_SELECT = b"secagg/v1/learning/select"
LABEL_BASE = b"secagg/v1/learning/base"


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


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round as the server knows it: everything here is public once the mean is, but for who was asked.

    `failed` says why a round was lost: survivors are then empty, `update_norm` is 0 and the model is the one
    before. `loss` and `accuracy` are those of `parameters` on the server's examples, `update_norm` is the L2
    norm of the mean update, `stop` is the rule that ended the run, set in the last record. `deterministic`: cohorts
    and batches came from a public seed, and no amplification may be claimed.
    """

    round: int
    invited: tuple[int, ...]
    survivors: tuple[int, ...]
    failed: str | None
    loss: float
    accuracy: float
    update_norm: float
    parameters: Parameters = field(repr=False)
    stop: StopRule | None
    deterministic: bool


@dataclass(frozen=True, slots=True)
class Federation:
    """Everything a run depends on except how updates become their mean.

    The run ends with the first of `stops` that is reached, or with the error of the last of `max_lost_rounds` rounds
    that were lost one after the other.
    Raises: Misused for numbers no run can have.
    """

    model: Model
    strategy: Strategy
    data: Dealt = field(repr=False)
    stops: tuple[StopRule, ...]
    seed: int | None = None
    selection: CohortRule = field(default_factory=Everyone)
    reduction: Reduction = field(default_factory=Everything)
    max_lost_rounds: int = 3

    def __post_init__(self) -> None:
        if not self.stops:
            raise Misused("a run needs a rule that ends it: Rounds(30), for one")
        if self.seed is not None and self.seed < 0:
            raise Misused(f"seed is {self.seed}, expected a number >= 0")
        require_count("max_lost_rounds", self.max_lost_rounds)
        require_rule(self.strategy)
        require_made(
            "reduction", self.reduction, ("received", "choose", "send", "restore"), "TopKOfLast(k=100), for one"
        )

    @property
    def deterministic(self) -> bool:
        """Whether cohorts and batches are functions of a public seed."""
        return self.seed is not None

    def first_model(self) -> Parameters:
        """The model a run of this federation starts from."""
        return self.model.start(np.random.default_rng([_START, _base(self.seed)]))

    def run(self, aggregate: Aggregate, folder: RunFolder | None = None) -> Run:
        """Train, one round for each `next`. With a folder, a run that was killed goes on where it was.

        Raises: Misused when the folder is another federation's, or `aggregate` cannot be called.
        """
        if not callable(aggregate):
            raise Misused(
                f"aggregate is a {type(aggregate).__name__}, expected a function of updates and round: "
                "SecureRounds(plan, clients), for one"
            )
        return Run(self, aggregate, folder)

    def describe(self) -> str:
        """What a folder must be resumed with.

        Raises: Misused for a rule without a `repr` of its own.
        """
        return described(self.strategy, self.selection, self.reduction, f"seed {self.seed}")


class Run(Iterator[RoundRecord]):
    """One training: an iterator over its rounds. `parameters` is the model so far, `stop` the rule that ended the run.

    A lost round keeps model and strategy state, and is tried again under the next number with a fresh cohort.
    Raises, from `next`: the last RoundLost after `max_lost_rounds` in a row; what else `aggregate` raises (a spent
        budget among them), at the round it concerns; WrongUpdate when its mean does not fit the model or names an
        uninvited survivor.
    """

    def __init__(self, federation: Federation, aggregate: Aggregate, folder: RunFolder | None) -> None:
        self.federation = federation
        self.stop: StopRule | None = None
        self._aggregate, self._folder = aggregate, folder
        self._base = _base(federation.seed)
        self._here = self._resumed() or self._first()
        self._lost: list[RoundLost] = []

    @property
    def parameters(self) -> Parameters:
        """The model after the latest round."""
        return self._here.parameters

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        return self._here.progress

    def __next__(self) -> RoundRecord:
        self.stop = self._reached()
        if self.stop is not None:
            raise StopIteration
        if len(self._lost) >= self.federation.max_lost_rounds:
            last = self._lost[-1]
            last.add_note(f"{len(self._lost)} rounds in a row were lost; the model is the one before them")
            raise last
        return self._round()

    def _round(self) -> RoundRecord:
        number = self._here.number
        invited = self._invited()
        public = Public(number, self.federation.reduction.received(self.parameters, number), self._here.latest)
        survivors: tuple[int, ...] = ()
        failed, norm = None, 0.0
        try:
            released, mean = self._mean(public, invited)
        except RoundLost as lost:
            self._lost.append(lost)
            failed = f"{type(lost).__name__}: {lost}"
            score = self._score(self.parameters)
            self._move(replace(self._here, progress=self._attempted(), invited=None))
        else:
            self._lost.clear()
            parameters, state = self.federation.strategy.step(public.model, mean, self._here.state)
            survivors, norm, score = released.survivors, _norm(mean), self._score(parameters)
            latest = Latest(number, released.mean, mean, survivors)
            self._move(Checkpoint(parameters, state, self._attempted(score.loss, norm), latest))
        self.stop = self._reached()
        return RoundRecord(
            number,
            invited,
            survivors,
            failed,
            score.loss,
            score.accuracy,
            norm,
            self.parameters,
            self.stop,
            self.federation.deterministic,
        )

    def _mean(self, public: Public, invited: tuple[int, ...]) -> tuple[Released, Parameters]:
        """What was released, and the mean update it stands for."""
        if not invited:
            raise TooFewClients(0, 1, "Selecting")
        reduction = self.federation.reduction
        chosen = reduction.choose(public)
        updates = {who: reduction.send(who, self._train(public, who), chosen, public) for who in invited}
        released = _checked(self._aggregate(updates, public.round), invited)
        return released, reduction.restore(released.mean, chosen, public)

    def _invited(self) -> tuple[int, ...]:
        """This round's cohort: drawn once, and written down before anybody is asked."""
        drawn = self._here.invited
        if drawn is None:
            with _entropy(self.federation.seed, self._here.number) as entropy:
                drawn = self.federation.selection.choose(sorted(self.federation.data.clients), Draws(entropy))
            self._move(replace(self._here, invited=drawn))
        return drawn

    def _train(self, public: Public, who: int) -> Parameters:
        # Seeded per round and client: an update does not depend on who else was asked, or in which order.
        rng = np.random.default_rng([_TRAIN, self._base, public.round, who])
        federation = self.federation
        return train(federation.model, public.model, federation.data.clients[who], federation.strategy.local, rng)

    def _score(self, parameters: Parameters) -> Score:
        return self.federation.model.score(parameters, self.federation.data.public)

    def _reached(self) -> StopRule | None:
        return next((rule for rule in self.federation.stops if rule.reached(self.progress)), None)

    def _attempted(self, *results: float) -> Progress:
        """The progress with one more attempt, and with loss and norm of its model if it gave one."""
        before = self.progress
        losses, norms = results[:1], results[1:]
        return Progress(before.attempts + 1, before.losses + losses, before.norms + norms)

    def _first(self) -> Checkpoint:
        parameters = self.federation.model.start(np.random.default_rng([_START, self._base]))
        state = self.federation.strategy.start(parameters)
        return Checkpoint(parameters, state, Progress(losses=(self._score(parameters).loss,)))

    def _resumed(self) -> Checkpoint | None:
        return None if self._folder is None else Checkpoint.load(self._folder, self.federation.describe())

    def _move(self, to: Checkpoint) -> None:
        """Afterwards the run is there, also for whoever resumes it."""
        if self._folder is not None:
            to.save(self._folder, self.federation.describe())
        self._here = to


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


def _base(seed: int | None) -> int:
    """What batches and the first model are drawn from: the seed, or 128 bits of the operating system."""
    if seed is not None:
        return seed
    with Entropy.system(LABEL_BASE, b"") as entropy:
        low, high = (int(word) for word in entropy.borrow(2, LABEL_BASE))
    return (high << 64) | low


def _entropy(seed: int | None, number: int) -> Entropy:
    """Where the cohort of this round is drawn from."""
    round = number.to_bytes(8, "little")
    return Entropy.system(LABEL_SELECT, round) if seed is None else Entropy.insecure(seed, LABEL_SELECT, round)


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
