"""Statements made by hand, of every shape a ledger can give them; the epsilons are those of the accountants."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from dp.accountant import Budget, Interval, Unit, View, account
from dp.audit.finding import Check, Correction, Finding
from dp.audit.inverted import Inversion, InversionRow, Panel
from dp.events import Event, GaussianEvent, Poisson, Repeated, Sampled
from dp.ledger.chain import Head
from dp.ledger.charge import Ends, Randomness, Setting, Terms
from dp.ledger.records import Standing
from dp.ledger.statement import BudgetStatement, ClientStatement, Opinion, Point, Release, Statement
from dp.ledger.verdict import Problem, Verdict

DELTA = Fraction(1, 10**5)
UNIT = Unit("zero-out")
EVENT = GaussianEvent(sigma2=640_000, l2_squared=10_000, d=1_000, components=80, draws=80_000)
SAMPLED = Sampled(replace(EVENT, total="exact"), Poisson(Fraction(1, 10)))
SETTING = Setting(Fraction(1, 100), Fraction(1), 32, 80, 5, 0)
TERMS = Terms(Budget(8, DELTA, "zero-out"), UNIT, View.AGGREGATOR, Randomness.SYSTEM)
HOSTILE = "<img src=x onerror=alert(1)>"


def head(seq: int) -> Head:
    """A head as it looks, signed by nobody."""
    return Head(seq, hashlib.sha256(b"%d" % seq).digest(), bytes(64))


@functools.cache
def spent(event: Event, times: int, view: View = View.AGGREGATOR) -> Interval:
    """What the accountants say of so many of the event."""
    return account((Repeated(event, times),), UNIT, view, DELTA)


def release(number: int, **other: object) -> Release:
    """One committed release; `other` replaces single fields."""
    whole = Release(
        seq=2 + 2 * number,
        task="digits",
        round=number,
        dataset="digits",
        mechanism="distributed-discrete-gaussian",
        standing=Standing.COMMITTED,
        reason=None,
        cohort=100,
        survivors=90 + (7 * number) % 11,
        event=EVENT,
        released=replace(EVENT, sigma2=8_000 * (85 + (7 * number) % 11), components=80),
        setting=SETTING,
        budgets=(1,),
        software="0.1.0",
        code=hashlib.sha256(b"wheel").digest(),
        clock=1_760_000_000_000_000_000 + number,
    )
    return replace(whole, **other)  # type: ignore[arg-type]


def points(rounds: int, every: int = 1) -> tuple[Point, ...]:
    """The recorded ends after each round, accounted anew every so many rounds and raised by a step between."""
    found, before = [], Ends(Fraction(0), Fraction(0))
    for number in range(rounds):
        if number % every == 0:
            before = Ends.of(spent(EVENT, number + 1))
        found.append(Point(2 + 2 * number, number, before))
    return tuple(found)


def budget(rounds: int, every: int = 1, **other: object) -> BudgetStatement:
    """One budget after so many rounds."""
    now = spent(EVENT, rounds)
    limit = max(8, math.ceil(now.upper))
    whole = BudgetStatement(
        id=1,
        terms=replace(TERMS, budget=Budget(limit, DELTA, "zero-out")),
        spent=now,
        released=spent(SAMPLED, rounds, View.RELEASED),
        remaining=limit - Fraction(now.upper),
        closed=None,
        points=points(rounds, every),
        affordable=12,
    )
    return replace(whole, **other)  # type: ignore[arg-type]


def clients(many: int, most: int) -> tuple[ClientStatement, ...]:
    """Clients that were invited to 1 .. most rounds."""
    costs = {times: spent(EVENT, times) for times in range(1, most + 1)}

    def one(number: int) -> ClientStatement:
        times = 1 + (number * number + number // 3) % most
        pseudonym = hashlib.sha256(b"client %d" % number).digest()
        return ClientStatement(pseudonym, times, max(0, times - number % 2), ((1, costs[times]),))

    return tuple(map(one, range(many)))


def finding(audit: str, lower_bound: float | None, claim: float | None = 4.377, **other: object) -> Finding:
    """What one audit found."""
    checks = (Check("variance, standard errors", True, 0.41), Check("lattice, outputs off it", True, 0.0))
    whole = Finding(
        audit=audit,
        subject="central discrete Gaussian",
        claim=claim,
        delta=DELTA,
        lower_bound=lower_bound,
        confidence=0.999999,
        trials=100_000,
        hypotheses=1,
        correction=Correction.NONE,
        seed=7,
        checks=checks,
    )
    return replace(whole, **other)  # type: ignore[arg-type]


FINDINGS = (
    finding("selftest", 4.327),
    finding("canary", 3.91, subject="a client through secure aggregation", trials=2_000, confidence=0.95),
    finding("one-run", 2.28, subject="canaries in gradients", hypotheses=3, correction=Correction.BONFERRONI),
    finding("membership", None, subject="matched filter"),
)


def statement(rounds: int = 30, many: int = 60, every: int = 1, **other: object) -> Statement:
    """A ledger in good order, whose head was pinned."""
    entries = 2 + 2 * rounds
    now = spent(EVENT, rounds)
    whole = Statement(
        ledger_id=bytes(range(16)),
        software="0.1.0",
        policy="The training data lie on the clients' own disks;\nnobody but the clients reads them.",
        verdict=Verdict(True, entries, head(entries - 1), ()),
        pin=head(entries - 1),
        checkpoints=tuple(head(seq) for seq in range(1024, entries, 1024)),
        witnesses=rounds * 80,
        budgets=(budget(rounds, every),),
        releases=tuple(map(release, range(rounds))),
        clients=clients(many, min(rounds, 20)),
        audits=tuple(enumerate(FINDINGS, entries)),
        notes=((entries + 9, "the third round was announced late"),),
        opinions=(
            Opinion(1, "pld", Interval(now.lower, now.upper, DELTA, "pld"), True, ""),
            Opinion(1, "rdp", Interval(None, now.upper * 1.02, DELTA, "rdp"), True, ""),
            Opinion(1, "dp-accounting", None, False, "not asked: it knows no zero-out relation"),
        ),
    )
    return replace(whole, **other)  # type: ignore[arg-type]


def troubled(name: str = HOSTILE) -> Statement:
    """Everything that can be out of the ordinary, all of it under one name."""
    seeded = replace(EVENT, rng="insecure")
    odd = (
        release(0, task=name, dataset=name, mechanism=name),
        release(1, standing=Standing.ABORTED, reason=name, survivors=None, released=None),
        release(2, standing=Standing.SETTLED, reason=name, survivors=None, released=None),
        release(3, standing=Standing.RESERVED, survivors=None, released=None, setting=None, code=bytes(32)),
        release(4, event=seeded, released=seeded, software=name),
    )
    problems = (Problem(3, "Corrupt", name), Problem(None, "RolledBack", name), Problem(5, "Unverifiable", name))
    rehearsal = budget(3, id=7, closed=9, terms=replace(TERMS, randomness=Randomness.INSECURE))
    unbounded = budget(2, id=8, spent=Interval(None, float("inf"), DELTA, name), released=None, affordable=None)
    return statement(
        5,
        verdict=Verdict(False, 12, None, problems),
        pin=None,
        policy=name,
        budgets=(budget(5), rehearsal, unbounded),
        releases=odd,
        audits=((9, finding(name, 4.86, subject=name, checks=(Check(name, False, 12.5),))), *enumerate(FINDINGS, 10)),
        notes=((8, name),),
        opinions=(Opinion(1, name, None, False, name), *_wrong()),
        software=name,
    )


def unread(**other: object) -> Statement:
    """A ledger of which nobody can tell what followed after three rounds."""
    nothing = {"spent": None, "released": None, "remaining": None, "affordable": None}
    verdict = Verdict(False, 62, head(61), (Problem(8, "Corrupt", "entry 8 was changed"),), unread=8)
    whole = statement(3, 0, verdict=verdict, budgets=(budget(3, **nothing),), opinions=(), witnesses=0)
    return replace(whole, **other)  # type: ignore[arg-type]


def _wrong() -> Sequence[Opinion]:
    return (Opinion(1, "rdp", Interval(None, 99.0, DELTA, "rdp"), False, "recorded 2.9"),)


def inversion() -> Inversion:
    """A table of two cohorts and two noises, with pictures of waves."""
    across, down = np.meshgrid(np.arange(28), np.arange(28))
    waves = np.stack([0.5 + 0.5 * np.sin(across * (0.2 + 0.1 * k)) * np.cos(down * 0.3) for k in range(5)])
    noisy = np.clip(waves + 0.4 * np.sin(across * 7.3 + down * 3.1), 0.0, 1.0)
    rows = [
        InversionRow(1, Fraction(0), None, 1, 159.2, 159.2),
        InversionRow(1, Fraction(1, 10), 87.25, 0, 9.75, 9.75),
        InversionRow(5, Fraction(0), None, 5, 160.1, 131.5),
        InversionRow(5, Fraction(1, 10), 87.25, 0, 10.5, 8.5),
    ]
    pictures = (
        Panel("the clients' own pictures", waves, ()),
        Panel("sum of 5 clients", waves, (160.1, 151.5, 131.5, 90.5, 40.25)),
        Panel("sum of 5 clients, noise multiplier 0.1", noisy, (10.5, 9.5, 8.5, 7.5, 6.5)),
    )
    return Inversion("glyphs", 5, DELTA, 13.1, tuple(rows), pictures)
