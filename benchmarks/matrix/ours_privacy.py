"""Checks D1 to D10 against this library."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.matrix import privacy
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.privacy import DELTA, DEVIATION, DRAWS, FINE, REPEATED, Floats, Run
from dp.accountant import Budget, Interval, Unit, View, account
from dp.bounds import Clip, Lattice
from dp.entropy import Entropy
from dp.errors import DpError, EntropyUnavailable, LedgerError
from dp.events import Event, GaussianEvent, LaplaceEvent, Poisson, Repeated, Sampled
from dp.ledger import Charge, Ledger, Outcome
from dp.mechanisms import DiscreteGaussian

LABEL = b"secagg/v1/matrix"
ADD_OR_REMOVE, REPLACE = Unit("add-or-remove-one"), Unit("replace-one")
STEP = Lattice(Fraction(1, 16))
MECHANISM = DiscreteGaussian(
    (Fraction(DEVIATION) / STEP.gamma) ** 2, Clip(Fraction(2), Fraction(2)), STEP, ADD_OR_REMOVE
)
CLIENTS = 10
BUDGET = Budget(1_000, DELTA, "zero-out")


def event(run: Run) -> Event:
    """The continuous Gaussian of the literature, as every library is asked about it."""
    once: Event = GaussianEvent(Fraction(run.noise) ** 2, 1, 1, 0, 0)
    if run.rate < 1:
        once = Sampled(once, Poisson(Fraction(str(run.rate))))
    return Repeated(once, run.steps)


def interval(run: Run, unit: Unit = ADD_OR_REMOVE) -> Interval:
    return account([event(run)], unit, View.RELEASED, run.delta)


def upper(run: Run) -> float:
    return interval(run).upper


def grid() -> Answer:
    """The interval states its own error, and its lower end stands for the finest grid."""
    found = interval(FINE)
    lower = found.lower or 0.0
    return privacy.grid(found.upper, lower, told=found.upper - lower)


def laplace(scale: float) -> float:
    event = LaplaceEvent(Fraction(scale), 1, 1, 0, components=0)
    return account([event], ADD_OR_REMOVE, View.RELEASED, DELTA).upper


def noisy(value: float, count: int, entropy: Entropy | None = None) -> Floats:
    """Integer noise on integer steps, in the units of the update."""
    source = entropy or Entropy.system(LABEL, b"noisy")
    steps = np.full(count, round(value / float(STEP.gamma)), dtype=np.int64)
    return MECHANISM.to_real(MECHANISM.apply(steps, source))


def forked() -> Answer:
    """A stream that was open before the fork, as others' generators are; a child whose stream is gone opens its own."""
    inherited = Entropy.system(LABEL, b"inherited")

    def draw() -> bytes:
        try:
            return noisy(0.0, 8, inherited).tobytes()
        except EntropyUnavailable:
            return noisy(0.0, 8).tobytes()

    return privacy.forked(draw)


def edited() -> Answer:
    """The ledger's file by whoever has the disk: rounds out of its middle, and all after the first."""
    found = [less(first, last, pinned) for first, last, pinned in ((5, 8, False), (5, 2**31, True))]
    words = "; ".join(answer.evidence for answer in found)
    return Answer(any(answer.fell for answer in found), words)


def less(first: int, last: int, pinned: bool) -> Answer:
    """Without these entries. A file that ends early is a shorter ledger, unless its head is kept elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        path, pin = Path(folder) / "run.ledger", Path(folder) / "pin" if pinned else None
        with Ledger.open(path, BUDGET, pin=pin) as ledger:
            spend(ledger, REPEATED.steps)
            before = ledger.interval().upper
        take_out(path, first, last)
        try:
            with Ledger.open(path, pin=pin, check="full") as ledger:
                return privacy.edited_record(before, ledger.interval().upper, f"entries from {first} on are gone")
        except LedgerError as refusal:
            return privacy.edited_record(before, None, type(refusal).__name__ + " against its pin" * pinned)


def spend(ledger: Ledger, rounds: int) -> None:
    spent = GaussianEvent(Fraction(REPEATED.noise) ** 2, 1, 1, 0, 0)
    for number in range(rounds):
        context = hashlib.sha256(bytes([number])).digest()
        charge = Charge("matrix", number, "clients", "sum", spent, CLIENTS, context)
        ledger.commit(ledger.reserve(charge), Outcome(CLIENTS, spent, context))


def take_out(path: Path, first: int, last: int) -> None:
    """The rows are gone, and before them what would have forbidden it."""
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    taken = connection.execute("DELETE FROM entry WHERE seq BETWEEN ? AND ?", (first, last)).rowcount
    connection.close()
    if not taken:
        raise RuntimeError("no entry was taken out")


PROBES = {
    "D1": lambda: privacy.replace_one({"account": interval(REPEATED, REPLACE).upper}),
    "D2": grid,
    "D3": lambda: privacy.never_below({"account": upper}),
    "D4": lambda: privacy.finite({"account": upper}, (DpError,)),
    "D5": lambda: privacy.laplace_scale({"account": laplace}),
    "D6": lambda: privacy.noise_as_asked(noisy(0.0, DRAWS), DEVIATION),
    "D8": lambda: privacy.granularity(noisy),
    "D9": forked,
    "D10": edited,
}
