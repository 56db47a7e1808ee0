"""The straight line of one round, from the clients' updates to the mean. Read this file first.

    update -> tensors.flatten -> [coding: clip, encode, noise share] -> mask or encrypt -> server adds
           -> unmask or open -> decode -> ledger commit -> tensors.unflatten -> mean

`secure_mean` runs a whole round in one process, with real endpoints and real cryptography. The order of
the ledger is reserve, run the round, mark before anybody is asked to open the sum, commit, hand out: a
crash can waste budget, never release something that was not charged.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dp.accountant import Interval
from dp.errors import DpError
from dp.ledger import Ledger
from protocols.charging import by_number, charging
from protocols.ckks.summary import Encryption
from protocols.coding import Floats, RingVector, coding_of
from protocols.countersigning import head_of
from protocols.endpoint import Client, Task
from protocols.errors import BadPlan, Misused, WrongUpdate
from protocols.messages import Aggregate, Submit
from protocols.oneshot.shape import Shape
from protocols.party import MAX_CLIENT_ID, PartyId
from protocols.plan import NOTHING, ONE_SHOT, Agreement, RoundPlan
from protocols.simulate import Cohort, Costs, FaultPlan, Seen, Simulation
from protocols.tensors import Layout
from protocols.verifying import shared_memory
from secagg.ckks.plan import CkksPlan
from secagg.ckks.wire import unpack
from secagg.errors import BadParameters, NonFinite, SecaggError
from secagg.negacyclic import PRIME_BITS, N


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What a round gave and what it cost.

    `mean` has the structure of the updates. `epsilon` bounds what the aggregator learned since the
    ledger was opened, `epsilon_released` what a reader of the released means learned; both None without
    a ledger. `exact`: the opened sum equals the sum of the survivors' vectors bit for bit.
    `clipped` counts the survivors' clipped coordinates; None with noise, where the exact count would tell
    on a client. `excluded` names peers whose frames were ignored and the error, `costs` what it took.
    `clip` is the norm that this round clipped to, `next_clip` the one for the next round: the same unless it adapts.
    `metrics` are the weighted means of the plan's metrics. `promise` is what the round may call itself, `warnings`
    what its promise does not cover and just happened. `kept` names the arrays that never travel.
    `seen_chi_square_p`: p-value of one received hidden vector under the uniform distribution. `encryption` has the
    numbers of the key, None where masks hide.
    """

    mean: Any
    metrics: Mapping[str, float]
    promise: str
    warnings: tuple[str, ...]
    survivors: tuple[PartyId, ...]
    excluded: Mapping[PartyId, str]
    clipped: int | None
    clip: Fraction
    next_clip: Fraction
    exact: bool
    seen_bytes: int
    seen_chi_square_p: float
    epsilon: Interval | None
    epsilon_released: Interval | None
    costs: Costs
    seconds: float
    deterministic: bool
    encryption: Encryption | None = None
    kept: tuple[str, ...] = ()


# Mean, survivors, and the clip of the next round.
BeforeCommit = Callable[[Any, tuple[PartyId, ...], Fraction], None]


def secure_mean(
    updates: Mapping[int, Any],
    plan: RoundPlan,
    *,
    round: int,
    ledger: Ledger | None = None,
    weights: Mapping[int, int] | None = None,
    metrics: Mapping[int, Mapping[str, float]] | None = None,
    model: bytes = NOTHING,
    clip: Fraction | None = None,
    faults: FaultPlan | None = None,
    cohort: Cohort | None = None,
    layout: Layout | None = None,
    before_commit: BeforeCommit | None = None,
) -> RoundReport:
    """sum_i w_i clip(x_i) / sum_i w_i over the clients that survive the round, plus the plan's noise.

    A clip that adapts is carried by the caller: `clip` is `next_clip` of the report before, None for the plan's own.
    `layout` is the model's, where it keeps or ties arrays; else that of the first update. `before_commit` is given
    mean, survivors and `next_clip` once they are charged and before the ledger says so: what it stores, no crash loses.

    Shapes: each update is a state_dict or a list of arrays, all of one layout.
    Guarantee: the plan's promise; with noise and a ledger, the charge is durable before the round opens.
    Raises: WrongUpdate, NonFinite, BadParameters for updates or weights that do not fit, BadPlan for a
        plan that cannot be met or a clip it does not allow, dp.BudgetExceeded before anything is sent,
        TooFewClients or ImplausibleSum when the round is lost.
    """
    started = time.perf_counter()
    layout, flat = _flatten(updates, layout)
    _check_clients("weights", updates, weights)
    _check_clients("metrics", updates, metrics)
    _check_numbers(plan, layout, flat, weights)
    if cohort is not None and cohort.server.plan != plan:
        raise BadPlan("the cohort was made for another plan: make it anew, or pass the plan it has")
    cohort = (cohort or Cohort.fresh(plan, flat, shared_memory())).invite(flat)
    task = cohort.keyed(Task(round, layout.length, layout.digest(), model, head_of(ledger), clip=clip))
    agreement = cohort.server.agree(task)
    entries = charging(ledger, agreement, by_number(cohort.clients), cohort.rng)

    def prepared(who: PartyId, client: Client) -> Submit:
        try:
            weight = 1 if weights is None else weights[who]
            return client.prepare(
                flat[who], weight=weight, model=model, metrics={} if metrics is None else metrics[who]
            )
        except (WrongUpdate, SecaggError, DpError) as error:
            raise type(error)(f"client {who}: {error}") from error

    simulation = Simulation(cohort, prepared, faults, entries.mark)
    ended = False
    try:
        costs = simulation.run(task)
        aggregate, reader = simulation.opened, simulation.reader
        mean = layout.unflatten(reader.mean())
        if before_commit is not None:
            before_commit(mean, aggregate.survivors, reader.next_clip())
        ended = True
    finally:
        if not ended:
            entries.lose()
    plan_of_key = cohort.encryption_of(task)
    warnings = cohort.warnings(aggregate)
    entries.commit(aggregate)
    return RoundReport(
        mean=mean,
        metrics=reader.metrics(),
        promise=plan.promise_of(len(flat)),
        warnings=warnings,
        survivors=aggregate.survivors,
        excluded={note.peer: note.error for note in cohort.server.excluded} | dict(aggregate.blamed),
        clipped=_clipped(cohort, aggregate),
        clip=agreement.plan.clip,
        next_clip=reader.next_clip(),
        exact=simulation.exact,
        seen_bytes=0 if simulation.seen is None else len(simulation.seen.packed),
        seen_chi_square_p=_uniformity(agreement, plan_of_key, simulation.seen),
        epsilon=None if ledger is None else ledger.interval(),
        epsilon_released=None if ledger is None else ledger.interval_released(),
        costs=costs,
        seconds=time.perf_counter() - started,
        deterministic=cohort.deterministic,
        encryption=None if plan_of_key is None else Encryption.of(plan_of_key),
        kept=layout.kept,
    )


def _uniformity(agreement: Agreement, plan: CkksPlan | None, seen: Seen | None) -> float:
    """Chi-square p-value of the hidden residues' top bits; uniform residues give uniform p-values.

    Source: Pearson's test with at least 16 residues expected in each of 2^k bins.
    """
    from scipy.stats import chisquare

    if seen is None:
        raise Misused("no hidden vector reached the server")
    residues, bits = _residues(agreement, plan, seen)
    bin_bits = min(8, bits, max(1, (residues.size // 16).bit_length() - 1))
    counts = np.bincount((residues >> (bits - bin_bits)).astype(np.int64), minlength=1 << bin_bits)
    return float(chisquare(counts).pvalue)


def _residues(agreement: Agreement, plan: CkksPlan | None, seen: Seen) -> tuple[RingVector, int]:
    """What was seen, as numbers below 2^bits; the modulus of encrypted sums is all but 2^54."""
    if agreement.plan.protocol == ONE_SHOT:
        mask = Shape.of(agreement).mask
        return mask.ring.unpack(seen.packed, mask.coefficients), mask.modulus_bits
    if plan is None:
        coding = coding_of(agreement)
        return coding.ring.unpack(seen.packed, coding.length), coding.ring.bits
    return unpack(seen.packed, plan.blocks * N, plan.width0), PRIME_BITS


def client_numbers(updates: Mapping[int, Any]) -> tuple[PartyId, ...]:
    """Whose updates these are.  Raises: WrongUpdate when there is none, or a key is no client's number."""
    if not isinstance(updates, Mapping) or not updates:
        raise WrongUpdate("updates are a mapping of client number to update, with at least one in it")
    for who in updates:
        if isinstance(who, bool) or not hasattr(who, "__index__") or not 0 <= who <= MAX_CLIENT_ID:
            raise WrongUpdate(f"clients are numbered 0..{MAX_CLIENT_ID}, got {who!r}")
    return tuple(PartyId(operator.index(who)) for who in updates)


def _flatten(updates: Mapping[int, Any], layout: Layout | None) -> tuple[Layout, dict[PartyId, Floats]]:
    """Every update as one flat vector, and the layout they all have: the one given, or that of the first.

    Raises: WrongUpdate when there is none, or one differs from the first.
    """
    numbers = client_numbers(updates)
    layout = layout or Layout.of_update(next(iter(updates.values())))
    flat: dict[PartyId, Floats] = {}
    for who, update in zip(numbers, updates.values(), strict=True):
        try:
            flat[who] = layout.flatten(update)
        except WrongUpdate as error:
            raise WrongUpdate(f"client {who}: {error}") from error
    return layout, flat


def _check_clients(what: str, updates: Mapping[int, Any], given: Mapping[int, Any] | None) -> None:
    if given is not None and set(given) != set(updates):
        raise WrongUpdate(f"{what} are given for {sorted(given)}, updates for {sorted(updates)}")


def _check_numbers(
    plan: RoundPlan, layout: Layout, flat: Mapping[PartyId, Floats], weights: Mapping[int, int] | None
) -> None:
    """What each encoder would refuse, before anybody is invited: endpoints run no number twice."""
    for who, vector in flat.items():
        bad = layout.not_finite(vector)
        if bad:
            where = ", ".join(f"{count} in {name!r}" for name, count in bad.items())
            raise NonFinite(f"client {who}: nothing was sent, for what is not finite: {where}")
        weight = 1 if weights is None else weights[who]
        if not hasattr(weight, "__index__") or not 1 <= weight <= plan.max_weight:
            raise BadParameters(f"client {who}: weight is 1 to {plan.max_weight}, not {weight}; nothing was sent")


def _clipped(cohort: Cohort, aggregate: Aggregate) -> int | None:
    """How many coordinates were clipped; with noise nobody may know, for the exact count would tell on a client."""
    if cohort.server.plan.noise is not None:
        return None
    return sum(cohort.clients[who].clipped for who in aggregate.survivors)
