"""The mod on a node: hears letters, lets the app train, and hands over nothing of it that is not masked.

    unmarked train          refused: an update would leave in the clear
    unmarked evaluate       refused unless the node lists it in `clear`
    marked                  hear; where the round waits for an update: the app's function, then submit

It fails closed: whatever goes wrong becomes an error reply with a name of ours, and never an exception, whose text
Flower would send to the server.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict

from dp.errors import DpError
from protocols.adapters.demands import FILE, policy_at
from protocols.adapters.flower.records import (
    Kind,
    Parcel,
    Terms,
    arrays_of,
    flattened,
    instruction_digest,
    layout_of_metrics,
    only_record,
    scalar,
    scales,
    summed,
    weight,
    without_ours,
)
from protocols.bundle import EMPTY, pack, unpack
from protocols.coding import Floats
from protocols.errors import Misused, PolicyViolation, ProtocolError, Replay, ViewMismatch
from protocols.home import Home
from protocols.party import SERVER, PartyId
from protocols.plan import ONE_SHOT, Agreement, Policy
from protocols.tensors import Layout, check_model
from secagg.errors import SecaggError

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.clientapp.typing import ClientAppCallable, Mod

HOME = "secagg-home"
PARTITION = "partition-id"
# Flower's code for a mod whose conditions are not met; an app that failed has its own.
REFUSED, APP_FAILED = 6, 2
CLEAR_KINDS = frozenset({"evaluate", "query"})
# A metric that a plan may name, and that the mod measures itself: which part of an update was cut to the clip.
CLIPPED = "secagg-clipped"
LOG = logging.getLogger("flwr.secagg")


def client_mod(
    policy: Policy | None = None,
    *,
    home: str | os.PathLike[str] | None = None,
    clear: Iterable[str] = (),
) -> Mod:
    """The mod that masks what a node's app has trained: `ClientApp(mods=[client_mod(...)])`, first in the list.

    A node finds its keys in the folder that its own configuration names (`--node-config "secagg-home='/path'"`), or,
    in a simulation, in `home`/site-i by its partition i. A `policy.json` in its home (`adapters.demands`) decides what
    it takes part in; without one `policy` does; without both it takes part in one-shot rounds, and pins everybody in
    the roster of its home.
    `clear` lists the kinds of messages, "evaluate" or "query", that are answered unmasked; training never is.
    Guarantee: no update leaves unless the policy accepts the round and the frames are the server's; weights and
        metrics are summed under the mask. It holds against the operator of the SuperLink only where the node chooses
        which apps it runs: whoever ships the app ships this mod.
    Raises: Misused for another kind in `clear`.
    """
    if not frozenset(clear) <= CLEAR_KINDS:
        raise Misused(f"clear may list {sorted(CLEAR_KINDS)}, got {sorted(clear)}: updates never leave in the clear")
    # A simulation pickles the app, and a roster's mappings, which nobody may write into, are refused there.
    plain = None if policy is None else replace(policy, identities=dict(policy.identities))
    return Guard(plain, None if home is None else Path(home), frozenset(clear))


@dataclass(frozen=True, slots=True)
class Guard:
    """A node's mod; it keeps nothing between messages, whose processes may differ."""

    policy: Policy | None
    homes: Path | None
    clear: frozenset[str]

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        try:
            return self._answer(message, context, call_next)
        except (ProtocolError, SecaggError, DpError) as refusal:
            LOG.warning("secagg: refused: %s", refusal)
            return Message(Error(REFUSED, reason_of(refusal)), reply_to=message)
        except Exception:
            # Let out, Flower sends its text and the traceback to the server: they may quote data.
            LOG.exception("secagg: the message was not answered; nothing of this was sent")
            return Message(Error(APP_FAILED, "secagg:Failed"), reply_to=message)

    def _answer(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        category = message.metadata.message_type.partition(".")[0]
        parcel = Parcel.taken_from(message.content, SERVER)
        if parcel is None:
            if category in self.clear:
                return call_next(message, context)
            raise PolicyViolation(SERVER, f"asks for a plain {category!r}, and this node masks what it answers")
        home = Home.at(self._folder(context))
        policy = self._policy_at(home)
        match parcel.kind:
            case Kind.INTRODUCE:
                here = home.introductions(str(message.metadata.dst_node_id))
                return reply_with(message, Parcel(Kind.INTRODUCE, here))
            case Kind.EXCHANGE:
                with home.site(policy) as site:
                    return reply_with(message, Parcel(Kind.EXCHANGE, heard(site, parcel)))
        return Turn(home, policy, parcel, message, context).answered(call_next)

    def _policy_at(self, home: Home) -> Policy:
        # What the node wrote down counts before the app's word, which somebody else may have shipped.
        if self.policy is not None and not (home.path / FILE).exists():
            return self.policy
        return policy_at(home, {"protocols": [ONE_SHOT]})

    def _folder(self, context: Context) -> Path:
        # So does where its keys lie.
        own = context.node_config.get(HOME)
        if isinstance(own, str) and own:
            return Path(own)
        partition = context.node_config.get(PARTITION)
        if self.homes is None or not isinstance(partition, int):
            raise Misused(
                f"this node has no home: start it with --node-config \"{HOME}='/path'\", or, simulated, give home="
            )
        return self.homes / f"site-{partition}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message that asks for an update, or for metrics."""

    home: Home
    policy: Policy
    parcel: Parcel
    message: Message
    context: Context

    def answered(self, call_next: ClientAppCallable) -> Message:
        """Hear; if the round waits for this client, check what it was told, run the app, submit.

        The folders are given up while the app runs: an opener that lives here may be asked meanwhile.
        """
        with self.home.site(self.policy) as site:
            me = site.numbers[0]
            answers = heard(site, self.parcel)
            offer = site.offer if site.needs_update else None
        if offer is None:
            return reply_with(self.message, Parcel(self.parcel.kind, answers))
        told = without_ours(self.message.content)
        layout, received = self._checked(told, offer)
        digest = offer.model
        self.message.content = told
        reply = call_next(self.message, self.context)
        if reply.has_error():
            # The app's own words stay here; it may have quoted data in them.
            return Message(Error(reply.error.code, "secagg:AppFailed"), reply_to=self.message)
        update = self._update(reply.content, layout, received, offer)
        record = only_record(reply.content, MetricRecord)
        counted = 1 if offer.plan.max_weight == 1 else weight(record, self.parcel.weight_key)
        clip = float(offer.plan.clip)
        known = {CLIPPED: float(np.mean(np.abs(update) > clip))}
        metrics = {m.name: self._metric(record, m.name, known) for m in offer.plan.metrics}
        with self.home.site(self.policy) as site:
            if not site.needs_update or site.offer != offer:
                raise Replay(SERVER, "went on to another round while this node trained: its update is dropped")
            said = site.submit(update, weight=counted, model=digest, metrics=metrics)
        answers[me] = pack([*unpack(answers.get(me, EMPTY), me), *unpack(said, me)])
        return reply_with(self.message, Parcel(self.parcel.kind, answers))

    def _checked(self, told: RecordDict, offer: Agreement) -> tuple[Layout, Floats]:
        """The layout of this round's vector, and what an update is the difference to.

        Raises: ViewMismatch when this node was told other than what the round's clients agree on.
        """
        terms = Terms(self.message.metadata.message_type, self.parcel.weight_key, self.parcel.metrics)
        if not hmac.compare_digest(instruction_digest(told, terms), offer.model):
            raise ViewMismatch(SERVER, "told this node another model, or other settings, than the round is about")
        model = summed(arrays_of(only_record(told, ArrayRecord)))
        check_model(model, self.policy)
        if self.parcel.kind is Kind.EVALUATE:
            layout, received = layout_of_metrics(self.parcel.metrics), np.zeros(len(self.parcel.metrics))
        else:
            layout = Layout.of_update(model)
            received = flattened(layout, model)
        if not hmac.compare_digest(layout.digest(), offer.layout):
            raise ViewMismatch(SERVER, "sums vectors of another layout than what this node was sent")
        return layout, received

    def _update(self, content: RecordDict, layout: Layout, received: Floats, offer: Agreement) -> Floats:
        if self.parcel.kind is Kind.EVALUATE:
            record = only_record(content, MetricRecord)
            values = np.array([scalar(record, metric.name) for metric in self.parcel.metrics])
            update: Floats = values * scales(self.parcel.metrics, offer.plan.clip)
            return update
        trained = flattened(layout, arrays_of(only_record(content, ArrayRecord)))
        trained -= received
        return trained

    def _metric(self, record: MetricRecord, name: str, known: Mapping[str, float]) -> float:
        # An evaluation has a vector of its own; the plan's metrics are those of training.
        if self.parcel.kind is Kind.EVALUATE:
            return 0.0
        return known[name] if name in known else scalar(record, name)


def heard(site: Any, parcel: Parcel) -> dict[PartyId, bytes]:
    """What each party of this node answers to its letters.  Raises: Misused for letters to a party of another node."""
    strangers = parcel.letters.keys() - set(site.numbers)
    if strangers:
        raise Misused(f"letters came for parties {sorted(strangers)}, and here live {sorted(site.numbers)}")
    return {who: site.hear(bundle) for who, bundle in parcel.letters.items()}


def reply_with(message: Message, parcel: Parcel) -> Message:
    """A reply that carries our records and no others."""
    return Message(parcel.beside(RecordDict()), reply_to=message)


def reason_of(refusal: Exception) -> str:
    """The name of a refusal, and of a refused plan why: that quotes nothing but the plan and the policy."""
    name = type(refusal).__name__
    return (
        f"secagg:{name}: {refusal}" if type(refusal) is PolicyViolation and refusal.peer == SERVER else f"secagg:{name}"
    )
