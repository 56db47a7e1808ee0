"""The wrapper around a strategy: each round is one secure sum, and the strategy sees one reply, the mean.

    configure_train    the inner strategy's messages -> begin: committee or key, invitations, early rooms
                       -> the same messages, each with its own letters, void when nobody waits any more
    aggregate_train    replies by node -> finish: the room closes, the sum is opened, the ledger commits
                       -> received model + mean -> one reply -> the inner strategy -> the model's own dtypes

Evaluation goes the same way: a vector of one number per metric, weighted and summed under the mask.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy

from dp.errors import BudgetExceeded
from dp.ledger import Ledger
from protocols.adapters.accounted import require_ledger
from protocols.adapters.flower.inner import require_mean
from protocols.adapters.flower.nodes import Nodes
from protocols.adapters.flower.post import Post, by_node, letter
from protocols.adapters.flower.records import (
    Kind,
    Terms,
    arrays_of,
    flattened,
    instruction_digest,
    layout_of_metrics,
    restored,
    scales,
    summed,
)
from protocols.errors import BadPlan, Misused, PolicyConflict, PolicyViolation, RoundLost, TooFewClients
from protocols.exchanges import Exchanges, Finished
from protocols.home import Home
from protocols.party import PartyId
from protocols.plan import ENCRYPTED, Metric, RoundPlan
from protocols.tensors import Floats, Layout

if TYPE_CHECKING:
    from flwr.app import ConfigRecord
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import Result

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 3600.0
MAX_LOST_ROUNDS = 3
LOG = logging.getLogger("flwr.secagg")


class Evaluate(StrEnum):
    """What becomes of the inner strategy's evaluation on the nodes."""

    MASKED = "masked"  # the metrics that are named, summed like updates
    OFF = "off"
    CLEAR = "clear"  # by Flower alone, where the nodes consent


@dataclass(slots=True)
class Round:
    """One round under way: what was sent, and what its mean is added to."""

    layout: Layout
    base: Floats
    sent: list[Message] = field(default_factory=list)


class SecAgg(Strategy):  # type: ignore[misc]  # flwr is not installed where the types are checked
    """A strategy of Flower's that is given secure means: `SecAgg(FedAvg(), plan, ledger, home="homes/server")`.

    `home` is the server's folder of keys; `plan.protocol` may be "oneshot", "pairwise" or "ckks". With a ledger each
    round is charged before it opens; when the budget is spent, training stops, `start` returns what was reached, and
    `stopped` says why.
    Evaluation by default sums `evaluate_metrics` under the mask, with two more exchanges and, with noise, another
    charge; without any it does not take place.
    A plan without noise may name the metric "secagg-clipped": the mean part of the updates that was cut to the clip.
    A round that is lost leaves the model alone; after `max_lost_rounds` in a row its error is raised.
    Guarantee: the plan's promise for each sum; single updates, weights and metrics are never seen.
    Raises: BadPlan for a strategy that needs more than a mean, or noise without a ledger; Misused for a home that is
        not the server's, or a ledger that is not open; PolicyConflict from a round that over half of the nodes refuse.
    """

    def __init__(
        self,
        strategy: Strategy,
        plan: RoundPlan,
        ledger: Ledger | None = None,
        *,
        home: str | os.PathLike[str],
        evaluate: str = Evaluate.MASKED,
        evaluate_metrics: tuple[Metric, ...] = (),
        weight_key: str | None = None,
        mean_only: bool = False,
        max_lost_rounds: int = MAX_LOST_ROUNDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        require_mean(strategy, mean_only=mean_only)
        self.evaluate = _evaluate(evaluate, evaluate_metrics, plan)
        require_ledger(plan, ledger)
        if not isinstance(ledger, Ledger | None):
            raise Misused(f"ledger is {ledger!r}, it must be an open one: Ledger.open(path, budget)")
        self.strategy, self.plan = strategy, plan
        self.stopped: str | None = None
        own = Home.at(home)
        self._exchanges = Exchanges(plan, own.roster, own.identity, ledger)
        self._nodes = Nodes(own.roster, plan.patience_seconds)
        self._metrics = evaluate_metrics
        self._weight_key = str(weight_key or getattr(strategy, "weighted_by_key", "num-examples"))
        self._max_lost, self._lost = max_lost_rounds, 0
        self._poll, self._timeout = poll_seconds, PATIENCE_SECONDS
        self._post: Post | None = None
        self._own: dict[str, Any] = {}
        self._round: Round | None = None
        self._refused: dict[int, str] = {}

    def summary(self) -> None:
        """Log the inner strategy's settings, and ours."""
        self.strategy.summary()
        LOG.info("\t└──> Secure sums: %s, at least %d clients", self.plan.protocol, self.plan.min_cohort)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = PATIENCE_SECONDS,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """`Strategy.start`, over a grid that is polled more often."""
        self._timeout = timeout
        post = Post.over(grid, self._poll)
        return super().start(post, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn)

    # --- training ---------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        post = self._gathered(grid)
        messages = list(self.strategy.configure_train(server_round, arrays, config, post))
        self._own = arrays_of(arrays)
        model = summed(self._own)
        layout = Layout.of_update(model)
        kept = sorted(self._own.keys() - model.keys())
        if kept and server_round == 1:
            LOG.info("secagg: integers have no mean, the server's own values stay: %s", ", ".join(kept))
        return self._open(Round(layout, flattened(layout, model)), Kind.TRAIN, messages)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        round = self._round
        finished = self._finish(server_round, replies)
        if round is None or finished is None:
            return None, None
        model = restored(round.layout, round.base + finished.mean, self._own)
        one = self._as_one_reply(round, finished, {getattr(self.strategy, "arrayrecord_key", "arrays"): model}, {})
        trained, metrics = self.strategy.aggregate_train(server_round, [one])
        if trained is None:
            return None, metrics
        # Of integers the strategy has made floats.
        floats = arrays_of(trained)
        flat = flattened(round.layout, {slot.name: floats[slot.name] for slot in round.layout.slots})
        return restored(round.layout, flat, self._own), self._with_figures(metrics, finished)

    # --- evaluation -------------------------------------------------------------------------------

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if self.evaluate is Evaluate.OFF:
            return []
        messages = list(self.strategy.configure_evaluate(server_round, arrays, config, self._gathered(grid)))
        if self.evaluate is Evaluate.CLEAR:
            return messages
        layout = layout_of_metrics(self._metrics)
        return self._open(Round(layout, np.zeros(layout.length)), Kind.EVALUATE, messages)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        if self.evaluate is not Evaluate.MASKED:
            found: MetricRecord | None = self.strategy.aggregate_evaluate(server_round, replies)
            return found
        round = self._round
        finished = self._finish(server_round, replies)
        if round is None or finished is None:
            return None
        means = finished.mean / scales(self._metrics, self.plan.clip)
        measured = {metric.name: float(mean) for metric, mean in zip(self._metrics, means, strict=True)}
        one = self._as_one_reply(round, finished, {}, measured)
        return self._with_figures(self.strategy.aggregate_evaluate(server_round, [one]), finished)

    # --- both -------------------------------------------------------------------------------------

    def _gathered(self, grid: Grid) -> Post:
        """The grid, whose nodes have introduced themselves."""
        self._post = Post.over(grid, self._poll)
        self._nodes.gather(self._post, self.plan.min_cohort)
        return self._post

    def _open(self, round: Round, kind: Kind, messages: list[Message]) -> list[Message]:
        """The same messages with letters in them; none where nobody is asked or the budget is spent."""
        if self._round is not None:
            # Whoever drives the strategy gave the last round up without a word.
            self._exchanges.lose()
        self._round, self._refused = None, {}
        if not messages or self.stopped is not None:
            return []
        self._nodes.bytes_down = self._nodes.bytes_up = 0
        contents = {message.metadata.dst_node_id: message.content for message in messages}
        metrics = self._metrics if kind is Kind.EVALUATE else ()
        terms = {Terms(message.metadata.message_type, self._weight_key, metrics) for message in messages}
        told = {instruction_digest(content, each) for content in _distinct(contents.values()) for each in terms}
        if len(told) != 1:
            raise BadPlan("the strategy tells nodes different things: a sum is over clients that were told the same")
        invited = self._nodes.clients_on(contents)
        try:
            if len(invited) < self.plan.min_cohort:
                raise TooFewClients(len(invited), self.plan.min_cohort, "Invited")
            letters = self._exchanges.begin(round.layout.length, round.layout.digest(), told.pop(), invited, self._ask)
        except BudgetExceeded as spent:
            self.stopped = str(spent)
            LOG.warning("secagg: training stops here, the model stays as it is: %s", spent)
            return []
        except RoundLost as lost:
            self._count(lost)
            return []
        parcels = self._nodes.parcels(letters, kind, self._weight_key, metrics)
        [asked] = terms
        round.sent = [
            letter(parcel.beside(contents[node]), node, self._timeout, asked.message_type)
            for node, parcel in parcels.items()
        ]
        self._round = round
        return list(round.sent)

    def _finish(self, server_round: int, replies: Iterable[Message]) -> Finished | None:
        """The round's sum; None where there is none, which leaves the model alone."""
        round, self._round = self._round, None
        if round is None:
            return None
        found = self._nodes.read(by_node(round.sent, replies))
        self._refused |= found.refusals
        try:
            finished = self._exchanges.finish(found.answers, self._ask)
        except RoundLost as lost:
            self._count(lost)
            return None
        self._lost = 0
        LOG.info("secagg: round %d: %s", server_round, _told(finished))
        return finished

    def _ask(self, letters: Mapping[PartyId, bytes], seconds: float) -> Mapping[PartyId, bytes]:
        assert self._post is not None
        parcels = self._nodes.parcels(letters, Kind.EXCHANGE)
        asked = {node: parcel.beside(RecordDict()) for node, parcel in parcels.items()}
        found = self._nodes.read(self._post.exchange(asked, seconds))
        self._refused |= found.refusals
        return found.answers

    def _count(self, lost: RoundLost) -> None:
        """Raises: PolicyConflict when most nodes refuse the plan; the loss itself when it is one too many in a row."""
        refusals = [why for why in self._refused.values() if why.startswith(PolicyViolation.__name__)]
        if 2 * len(refusals) > len(self._nodes):
            raise PolicyConflict(f"{len(refusals)} nodes refuse this plan, as in {refusals[0]!r}") from lost
        self._lost += 1
        LOG.warning("secagg: this round is lost (%d in a row): %s", self._lost, lost)
        if self._lost >= self._max_lost:
            raise lost

    def _as_one_reply(
        self, round: Round, finished: Finished, arrays: dict[str, ArrayRecord], measured: dict[str, float]
    ) -> Message:
        """What the inner strategy aggregates: the mean, as if one client of everybody's weight had sent it."""
        weighed: dict[str, float] = {self._weight_key: finished.weight, **(measured or finished.metrics)}
        return Message(RecordDict({**arrays, "metrics": MetricRecord(weighed)}), reply_to=round.sent[0])

    def _with_figures(self, metrics: MetricRecord | None, finished: Finished) -> MetricRecord:
        whole = MetricRecord(dict(metrics.items()) if metrics is not None else {})
        whole["secagg-survivors"] = len(finished.survivors)
        whole["secagg-dropped"] = len(finished.dropped)
        whole["secagg-excluded"] = len(finished.excluded)
        whole["secagg-exchanges"] = finished.exchanges
        whole["secagg-bytes-down"] = self._nodes.bytes_down
        whole["secagg-bytes-up"] = self._nodes.bytes_up
        if finished.epsilon is not None:
            whole["secagg-epsilon"] = finished.epsilon.upper
            whole["secagg-delta"] = float(finished.epsilon.delta)
        return whole


def _evaluate(choice: str, metrics: tuple[Metric, ...], plan: RoundPlan) -> Evaluate:
    """Raises: BadPlan for a choice that is none, or that this plan cannot mask."""
    try:
        evaluate = Evaluate(choice)
    except ValueError as error:
        raise BadPlan(f"evaluate is {choice!r}, it must be one of {', '.join(Evaluate)}") from error
    if evaluate is not Evaluate.MASKED:
        return evaluate
    if not metrics:
        LOG.warning("secagg: no evaluation on the nodes: name evaluate_metrics to have their means summed masked")
        return Evaluate.OFF
    if plan.protocol == ENCRYPTED:
        raise BadPlan("an evaluation is of another length than training, and keys are for one: evaluate='off'")
    if plan.rule is not None:
        raise BadPlan("an evaluation would move the clip that adapts: evaluate='off', and measure on the server")
    return evaluate


def _distinct(contents: Iterable[RecordDict]) -> list[RecordDict]:
    """Each object once: strategies give all nodes the same one, and to hash it takes as long as the model is large."""
    return list({id(content): content for content in contents}.values())


def _told(finished: Finished) -> str:
    """One line: who stayed, what it took, what it cost."""
    said = (
        f"{len(finished.survivors)} clients summed, {len(finished.dropped)} dropped out, {finished.exchanges} exchanges"
    )
    named = ", ".join(f"{who} ({why})" for who, why in finished.excluded.items())
    spent = "" if finished.epsilon is None else f", epsilon {finished.epsilon.upper:.3f}"
    return said + spent + (f"; excluded: {named}" if named else "")
