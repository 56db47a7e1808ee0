"""What runs in an NVFlare job whose training script is unchanged: made from JSON there, around tasks instead of calls.

    server   SecureFedAvg   FedAvg whose round is ours: a "secagg" task for each exchange, the "train" task with letters
    site     SecureSite     who lives there; found by its component id by the three below
             TakeLetters    input filter of "train": letters out, model on to the script
             Mask           output filter of "train": whatever the script made, only a reply leaves (`steps.py`)
             Letters        executor of "secagg"

Only constructor arguments that an attribute of the same name holds reach the place where a component runs.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from protocols.adapters.demands import policy_at
from protocols.adapters.nvflare_parties import MOST_LOST, NOTE, exchanges_of, ledger_at, record
from protocols.adapters.steps import ANSWER, REFUSAL, Asked, Named, Rounds, Speaker, TrainingFailed
from protocols.errors import MissingExtra, Misused, RoundLost
from protocols.exchanges import Finished
from protocols.home import Home
from protocols.plan import Agreement
from protocols.tensors import Update

try:
    from nvflare.apis.controller_spec import Task
    from nvflare.apis.dxo import DataKind, MetaKey, from_shareable
    from nvflare.apis.event_type import EventType
    from nvflare.apis.executor import Executor
    from nvflare.apis.filter import ContentBlockedException, Filter
    from nvflare.apis.fl_component import FLComponent
    from nvflare.apis.fl_constant import ReturnCode
    from nvflare.apis.shareable import Shareable
    from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
    from nvflare.app_common.workflows.fedavg import FedAvg
except ModuleNotFoundError as error:
    raise MissingExtra("nvflare") from error

TASK, FIELD, SITE = "secagg", "secagg", "secagg_site"
POLL_SECONDS = 0.1


class SecureSite(FLComponent):  # type: ignore[misc]  # nvflare is not typed
    """Who lives on this site. `home` is the folder of its keys, where "{site}" stands for the site's name."""

    def __init__(self, home: str, demands: dict[str, Any]) -> None:
        super().__init__()
        self.home, self.demands = home, demands
        self.asked: Asked | None = None
        self._answers = b""
        self._opening = threading.Lock()
        self._speaker: Speaker | None = None

    def folder(self, fl_ctx: Any) -> Path:
        """Where this site's keys lie."""
        return Path(self.home.replace("{site}", fl_ctx.get_identity_name()))

    def named(self, fl_ctx: Any) -> Named:
        """Keeps what goes wrong here."""
        return Named(self.folder(fl_ctx) / NOTE)

    def speaker(self, fl_ctx: Any) -> Speaker:
        """Opened at the first letter: a site without keys must not end the job of all others."""
        with self._opening:
            if self._speaker is None:
                home = Home.at(self.folder(fl_ctx))
                self._speaker = Speaker(fl_ctx.get_identity_name(), home, policy_at(home, self.demands))
            return self._speaker

    def take(self, letters: bytes, model: Update, fl_ctx: Any) -> None:
        """Hear the letters that came with a model.  Raises: Misused where they ask for no update."""
        self.asked = None
        _, self.asked = self.speaker(fl_ctx).hear(letters, model)
        if self.asked is None:
            raise Misused("these letters ask for no update: there is nothing to train for")

    def masked(self, result: Any, fl_ctx: Any) -> bytes:
        """The update of a script's result, hidden, with its weight and metrics.

        Raises: TrainingFailed; Misused for a result that no letters asked for, or another kind; as `Speaker.submit`.
        """
        asked, self.asked = self.asked, None
        if result.get_return_code(ReturnCode.OK) != ReturnCode.OK:
            raise TrainingFailed(f"the script ended with {result.get_return_code()}")
        if asked is None:
            raise Misused("a result came that no letters asked for")
        dxo = from_shareable(result)
        if dxo.data_kind == DataKind.WEIGHTS:
            change = asked.change(dxo.data)
        elif dxo.data_kind == DataKind.WEIGHT_DIFF:
            change = asked.layout.flatten(dxo.data)
        else:
            raise Misused(f"the script sent {dxo.data_kind}, and only weights and their differences have a mean")
        weight, metrics = measured(asked.offer, dxo.meta)
        return self.speaker(fl_ctx).submit(asked, change, weight, metrics)

    def handle_event(self, event_type: str, fl_ctx: Any) -> None:
        """Gives the site's folders up for another job."""
        if event_type == EventType.END_RUN and self._speaker is not None:
            self._speaker.close()


def measured(offer: Agreement, meta: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """A result's weight, its number of steps where the plan weighs clients, and its values of the plan's metrics.

    Raises: Misused where a metric of the plan is missing, or the steps of a plan that weighs clients.
    """
    plan, found = offer.plan, meta.get(MetaKey.INITIAL_METRICS) or {}
    missing = [metric.name for metric in plan.metrics if metric.name not in found]
    if missing:
        raise Misused(f"this plan has the metrics {missing}, and the script sent none of that name")
    return weight_of(offer, meta), {metric.name: float(found[metric.name]) for metric in plan.metrics}


def weight_of(offer: Agreement, meta: Mapping[str, Any]) -> int:
    """Raises: Misused where clients are weighed and this result does not say by what."""
    if offer.plan.max_weight == 1:
        return 1
    steps = meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND)
    if type(steps) is not int:
        raise Misused(
            f"this plan weighs clients by {MetaKey.NUM_STEPS_CURRENT_ROUND}, a whole number, and the script sent "
            f"{steps!r}: send it in the meta of its result, or plan with max_weight=1"
        )
    return steps


def site_of(component: FLComponent, fl_ctx: Any) -> SecureSite:
    """The site that filters and executor share."""
    found = fl_ctx.get_engine().get_component(component.site)
    if not isinstance(found, SecureSite):
        raise Misused(f"this job has no {component.site}: `secure(recipe, plan)` adds all parts together")
    return found


class TakeLetters(Filter):  # type: ignore[misc]  # nvflare is not typed
    """Lets nobody train but for letters that this site's policy accepts."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site = site

    def process(self, shareable: Any, fl_ctx: Any) -> Any:
        """The task without its letters.  Raises: ContentBlockedException, with the name of the refusal alone."""
        site = site_of(self, fl_ctx)
        named = site.named(fl_ctx)
        with named:
            letters = shareable.pop(FIELD, None)
            if not isinstance(letters, bytes):
                raise Misused("a task to train came without letters: this site takes part in secure rounds alone")
            site.take(letters, from_shareable(shareable).data, fl_ctx)
            return shareable
        raise ContentBlockedException(named.name)


class Mask(Filter):  # type: ignore[misc]  # nvflare is not typed
    """Lets nothing of a result out but a reply: masked, or the name of why not."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site = site

    def process(self, shareable: Any, fl_ctx: Any) -> Any:
        """A result with one field, that of the reply."""
        site = site_of(self, fl_ctx)
        named = site.named(fl_ctx)
        reply = b""
        with named:
            reply = ANSWER + site.masked(shareable, fl_ctx)
        return Shareable({FIELD: reply or named.said})


class Letters(Executor):  # type: ignore[misc]  # nvflare is not typed
    """Answers the exchanges in which nobody trains."""

    def __init__(self, site: str) -> None:
        super().__init__()
        self.site = site

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """A result with one field, that of the reply."""
        site = site_of(self, fl_ctx)
        named = site.named(fl_ctx)
        reply = b""
        with named:
            letters, speaker = shareable.get(FIELD), site.speaker(fl_ctx)
            reply = speaker.introduced if letters == b"" else ANSWER + speaker.hear(letters, None)[0]
        return Shareable({FIELD: reply or named.said})


class SecureFedAvg(FedAvg):  # type: ignore[misc]  # nvflare is not typed
    """NVFlare's FedAvg, of which a round is a secure one; stop conditions, persistors and events are unchanged.

    A lost round is played again with the same model; after three in a row the job ends with the error of the last.
    """

    def __init__(
        self,
        plan: str,
        home: str,
        train_seconds: float,
        ledger: str,
        budget: list[str],
        num_clients: int,
        num_rounds: int,
        start_round: int,
        persistor_id: str,
        model: Any,
        save_filename: str,
        stop_cond: str | None,
        patience: int | None,
        task_name: str,
    ) -> None:
        super().__init__(
            num_clients=num_clients,
            num_rounds=num_rounds,
            start_round=start_round,
            persistor_id=persistor_id,
            model=model,
            save_filename=save_filename,
            stop_cond=stop_cond,
            patience=patience,
            task_name=task_name,
        )
        self.plan, self.home, self.train_seconds = plan, home, train_seconds
        self.ledger, self.budget, self.persistor_id = ledger, budget, persistor_id
        self._log: list[dict[str, Any]] = []

    def run(self) -> None:
        """All rounds; `rounds.json` in the folder of the run is written after each."""
        with ledger_at(self.ledger, self.budget) as ledger:
            sites = self.sample_clients(None)
            self._secure = Rounds(exchanges_of(self.plan, self.home, ledger), self._call, sites, self.train_seconds)
            super().run()

    def sample_clients(self, num_clients: int | None = None) -> list[str]:
        """Every site: whom a round invites is for its plan to say."""
        return [client.name for client in self.engine.get_clients()]

    def send_model(self, *args: Any, data: Any = None, **kwargs: Any) -> None:
        """A whole secure round, in place of the task that FedAvg sends.

        Raises: RoundLost of three rounds in a row.
        """
        self._sent = data
        for _ in range(MOST_LOST - 1):
            try:
                return self._play()
            except RoundLost as error:
                self.warning(f"a round was lost: {type(error).__name__}; it is played again")
        return self._play()

    def _play(self) -> None:
        self._made, self._finished = self._secure.round(self._sent.params)
        self._log.append(record(self._finished, self._secure.refusals))
        folder = Path(self.engine.get_workspace().get_run_dir(self.fl_ctx.get_job_id()))
        (folder / "rounds.json").write_text(json.dumps(self._log, indent=1), encoding="utf-8")

    def _get_aggregated_result(self) -> Any:
        finished: Finished = self._finished
        return FLModel(
            params=self._made,
            params_type=ParamsType.FULL,
            metrics=dict(finished.metrics) or None,
            current_round=self.current_round,
            meta={"nr_aggregated": len(finished.survivors), "current_round": self.current_round},
        )

    def _call(self, requests: Mapping[str, bytes], model: Update | None, seconds: float) -> dict[str, object]:
        """A task for each site with its own letters, all at once; who is late is absent."""
        replies: dict[str, object] = {}
        tasks = [self._task(letters, model, seconds, partial(self._keep, replies)) for letters in requests.values()]
        for site, task in zip(requests, tasks, strict=True):
            self.broadcast(task=task, fl_ctx=self.fl_ctx, targets=[site], min_responses=1)
        while any(task.completion_status is None for task in tasks) and not self.abort_signal.triggered:
            time.sleep(POLL_SECONDS)
        # A late result may still come in while the next exchange runs, and must not enter this one.
        return dict(replies)

    def _task(self, letters: bytes, model: Update | None, seconds: float, keep: Any) -> Any:
        if model is None:
            return Task(
                name=TASK, data=Shareable({FIELD: letters}), timeout=math.ceil(seconds), result_received_cb=keep
            )
        data = self._build_shareable(self._sent)
        data[FIELD] = letters
        sent = self._prepare_task_data
        return Task(self.task_name, data, None, math.ceil(seconds), sent, None, keep)

    def _keep(self, replies: dict[str, object], client_task: Any, fl_ctx: Any) -> None:
        result, client_task.result = client_task.result, None
        fine = result.get_return_code(ReturnCode.OK) == ReturnCode.OK
        replies[client_task.client.name] = result.get(FIELD) if fine else REFUSAL + b"TaskFailed"

    def process_result_of_unknown_task(
        self, client: Any, task_name: str, client_task_id: str, result: Any, fl_ctx: Any
    ) -> None:
        """A reply that is too late is forgotten."""
        self.info(f"{client.name} was too late with {task_name}")
