"""The privacy budget as an append-only, signed log that refuses before it is overspent.

    reservation = ledger.reserve(charge)          BudgetExceeded, or the charge stands, synced to disk
    ledger.mark(reservation)                      from here it may have been released: no abort any more
    value = release()
    ledger.commit(reservation, outcome)           hand the value out only after this returned

The charge stands before anything is released, and everything reserved and not aborted counts as spent: a
crash costs budget, never privacy. `spend` is these four lines. Several processes may share one ledger;
composing privacy loss takes milliseconds, so it happens outside the lock and is repeated when another
process charged something meanwhile.

Without a head kept elsewhere the holder of the key can cut or rewrite the log; see `dp.verdict`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from dp.accountant import Budget, Interval, Unit, View
from dp.chain import Body, Entry, Head, Kind, Signer, check_signature, link
from dp.charge import Charge, Ends, Outcome, Randomness, Terms
from dp.errors import (
    BadParameters,
    BadReservation,
    BudgetExceeded,
    ConflictingCharge,
    Corrupt,
    Forked,
    InsecureEntropy,
    LedgerError,
    Locked,
    RolledBack,
    StorageRefused,
    Unverifiable,
)
from dp.events import Event, is_insecure
from dp.genesis import clock, create
from dp.history import History, Record, Standing, compose
from dp.place import beside, read_key
from dp.process import Owner
from dp.store import FIRST_SEQ, Store
from dp.verdict import Problem, Verdict, examine

__all__ = ["Charge", "Entry", "Head", "Ledger", "Outcome", "Problem", "Reservation", "Standing", "Verdict",
           "spend"]

LONGEST_REASON = 1000
ADMISSION_ATTEMPTS = 16
TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to release once what `charge` says; good in the session that reserved it, until it ends."""

    seq: int
    charge: Charge
    session: str


class Ledger:
    """One privacy budget and everything charged to it, for the process and thread that opened it.

    Guarantee: no reservation is ever granted that takes the interval of all charges, as the aggregator sees
        them, above the limit; a granted one survives any crash. See the module for what tampering shows.
    Raises: Corrupt, RolledBack, Forked, Unverifiable when the file cannot be believed; Locked,
        StorageRefused when it cannot be reached. Every method may raise these.
    """

    def __init__(self, store: Store, signer: Signer | None) -> None:
        self._store = store
        self._signer = signer
        self._owner = Owner.here()
        self._history = History()
        self._broken: LedgerError | None = None
        self._marked: set[int] = set()
        self._composed: tuple[int, Interval] | None = None
        self._single_costs: dict[Event, Interval] = {}

    # --- opening and closing ---------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | os.PathLike[str], budget: Budget | None = None, *,
             timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """The ledger at path, made when absent; reservations of dead processes become spent.

        Raises: BadParameters when budget is missing for a new ledger or differs from the stored limit.
        """
        return cls._open(path, budget, Randomness.SYSTEM, timeout_seconds)

    @classmethod
    def open_insecure(cls, path: str | os.PathLike[str], budget: Budget | None = None, *,
                      timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """As `open`, for rehearsals: accepts noise from known seeds, so its figures protect nobody."""
        return cls._open(path, budget, Randomness.INSECURE, timeout_seconds)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """The ledger at path without its key: to show and to verify. Entries are checked when asked for."""
        return cls(Store.read(_real(path), timeout_seconds), None)

    @classmethod
    def _open(cls, path: str | os.PathLike[str], budget: Budget | None, randomness: Randomness,
              timeout_seconds: float) -> Self:
        real = _real(path)
        if budget is not None and not isinstance(budget, Budget):
            raise BadParameters(f"budget must be a Budget, got {type(budget).__name__}")
        if not real.exists():
            if budget is None and not beside(real, ".key").exists():
                raise BadParameters(f"there is no ledger at {real}; give a Budget to make one")
            terms = None if budget is None else Terms(budget, Unit(budget.relation), View.AGGREGATOR, randomness)
            create(real, terms, timeout_seconds)
        signer = Signer(read_key(beside(real, ".key")))
        ledger = cls(Store.open(real, timeout_seconds), signer)
        try:
            ledger._take_over(budget, randomness)
        except BaseException:
            ledger._store.close()
            raise
        return ledger

    def _take_over(self, budget: Budget | None, randomness: Randomness) -> None:
        terms = self.terms
        if self._history.signed is None or self._signer is None or (
                self._history.signed.public != self._signer.public):
            raise Corrupt(f"{self._store.path} is signed by another key than the one beside it")
        if budget is not None and budget != terms.budget:
            given = Terms(budget, Unit(budget.relation), terms.view, randomness)
            raise BadParameters(f"the ledger's limit is {terms}, the one given is {given}; open a new ledger "
                                "for another limit")
        if terms.randomness is not randomness:
            raise BadParameters(f"the ledger was opened for {terms.randomness.value} randomness, not for "
                                f"{randomness.value}; use open for real data, open_insecure for rehearsals")
        self.settle()

    def close(self) -> None:
        """Gives up the file; reservations still held become spent, since nobody will answer for them."""
        try:
            if self._signer is not None and self._store.is_usable and self._own():
                self._say(lambda: [_settled(seq, "ledger closed while reserved") for seq in self._own()])
        finally:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # --- spending --------------------------------------------------------------------------------

    def reserve(self, charge: Charge) -> Reservation:
        """Charges the release before it happens; the same charge again is the same reservation.

        Raises: BudgetExceeded, with nothing written; ConflictingCharge when its id holds another charge;
            BadReservation when it was released before or another session holds it; InsecureEntropy;
            UnsupportedEvent or NoiseTooCoarse when no accountant has a proof for the event; Locked when
            other processes won every attempt.
        """
        self._require_writer()
        for attempt in range(ADMISSION_ATTEMPTS):
            self._catch_up()
            held = self._held(charge)
            if held is not None:
                return held
            before, after = self._charged(), self._admit(charge)
            if self._try_reserve(charge, before, after):
                return Reservation(self.head().seq, charge, self._owner.session)
            _back_off(attempt)
        raise Locked(f"other processes charged {self._store.path} {ADMISSION_ATTEMPTS} times meanwhile; try again")

    def mark(self, reservation: Reservation) -> None:
        """From here on the release may have been seen: it can be committed or forfeited, never aborted.

        Raises: BadReservation when it is marked already: one reservation covers one release.
        """
        self._catch_up()
        self._require_held(reservation)
        if reservation.seq in self._marked:
            raise BadReservation(f"reservation {reservation.seq} was already used for a release; reserve another")
        self._marked.add(reservation.seq)

    def commit(self, reservation: Reservation, outcome: Outcome) -> Head:
        """Records what came out; the same outcome again is the same head.

        Raises: BadReservation when it is not open; BadParameters when the outcome has more survivors than
            the cohort or provably costs more than was charged: do not hand it out, forfeit.
        """
        self._require_writer()
        self._catch_up()
        record = self._history.records.get(reservation.seq)
        if record is not None and record.outcome == outcome and record.charge == reservation.charge:
            return self._entry(record.ended).head
        self._require_held(reservation)
        self._require_covered(reservation.charge, outcome)
        return self._end(reservation, Kind.COMMIT, outcome.to_body())

    def abort(self, reservation: Reservation, reason: str) -> Head:
        """Gives the charge back. Only the caller knows that nothing was released, not even to the server.

        Raises: BadReservation when it is not open, or marked: then `forfeit`.
        """
        if reservation.seq in self._marked:
            raise BadReservation(f"reservation {reservation.seq} may have been released; forfeit it instead")
        return self._end(reservation, Kind.ABORT, {"reason": _text("reason", reason)})

    def forfeit(self, reservation: Reservation, reason: str) -> Head:
        """Gives the reservation up as spent, without an outcome. Raises: BadReservation."""
        return self._end(reservation, Kind.SETTLE, {"reason": _text("reason", reason)})

    def settle(self) -> int:
        """Closes the reservations of dead processes as spent; how many there were."""
        self._require_writer()
        self._catch_up()
        if not self._orphans():
            return 0
        before = self.head().seq
        return self._say(lambda: [_settled(seq, "its process died") for seq in self._orphans()]).seq - before

    def close_budget(self, reason: str) -> Head:
        """No more charges, for ever. Raises: BadReservation while any is open."""
        def decide() -> list[tuple[Kind, Body]]:
            self._require_unclosed()
            if self._history.open:
                raise BadReservation(f"reservations {sorted(self._history.open)[:5]} are open; end them first")
            return [(Kind.CLOSE_BUDGET, {"reason": _text("reason", reason)})]
        return self._say(decide)

    def note(self, text: str) -> Head:
        """A remark, signed like everything else."""
        return self._say(lambda: [(Kind.NOTE, {"text": _text("text", text)})])

    # --- reading ---------------------------------------------------------------------------------

    @property
    def terms(self) -> Terms:
        """What the budget promises."""
        self._catch_up()
        if self._history.terms is None:
            raise Corrupt("the ledger has no budget; it was cut after its first entry", seq=0)
        return self._history.terms

    def interval(self) -> Interval:
        """The aggregator's guarantee: all charges together, at the budget's delta."""
        self._catch_up()
        return self._charged()

    def interval_released(self) -> Interval:
        """What a reader of the model learns: realised events of commits, charges of everything unfinished.

        Raises: UnsupportedEvent when no accountant has a proof for this view.
        """
        terms = self.terms
        return compose(self._history.realised, terms, View.RELEASED)

    def remaining(self) -> Fraction:
        """Epsilon left: the limit minus the upper end, exactly; 0 once the budget is closed."""
        terms = self.terms
        if self._history.closed is not None:
            return Fraction(0)
        return max(Fraction(0), terms.budget.epsilon - Fraction(self._charged().upper))

    def standing(self, charge: Charge) -> Standing | None:
        """How the latest reservation of this charge's id stands; None when there never was one."""
        self._catch_up()
        seq = self._history.latest.get(charge.id)
        return None if seq is None else self._history.records[seq].standing

    def entries(self) -> Iterator[Entry]:
        """All entries as stored, unjudged, from one consistent snapshot."""
        return self._store.entries()

    def head(self) -> Head:
        """Where the ledger ends now: keep it elsewhere to notice later that something was cut off."""
        self._catch_up()
        if self._history.head is None:
            raise Corrupt("the ledger has no entries", seq=0)
        return self._history.head

    def verify(self) -> Verdict:
        """Every page, hash, signature, transition and limit, computed again from the file."""
        return examine(self._store)

    # --- one admission ---------------------------------------------------------------------------

    def _held(self, charge: Charge) -> Reservation | None:
        seq = self._history.find(charge)
        if seq is None:
            return None
        record = self._history.records[seq]
        name = f"task {charge.task!r} round {charge.round}"
        if record.charge != charge:
            raise ConflictingCharge(f"{name} was reserved at entry {seq} with another event, cohort or context; "
                                    "give this release its own round", seq=seq)
        if record.standing is not Standing.RESERVED:
            raise BadReservation(f"{name} was already {record.standing.value} at entry {record.ended}; another "
                                 "release needs its own round", seq=seq)
        if record.owner != self._owner:
            raise BadReservation(f"{name} is reserved by another session (process {record.owner.pid}) at entry "
                                 f"{seq}", seq=seq)
        return Reservation(seq, charge, self._owner.session)

    def _admit(self, charge: Charge) -> Interval:
        """The interval with the candidate, which must be within the limit."""
        terms = self._require_unclosed()
        _require_secure(charge.event, terms)
        after = compose(self._history.charged + Counter([charge.event]), terms, terms.view)
        if not terms.budget.holds(after):
            raise BudgetExceeded(f"the limit is {terms}; with round {charge.round} of task {charge.task!r} it "
                                 f"would be {after.upper:.6g}, now it is {self._charged().upper:.6g}")
        return after

    def _try_reserve(self, charge: Charge, before: Interval, after: Interval) -> bool:
        """Writes the RESERVE, unless the charges changed since the admission was computed."""
        version = self._history.version

        def decide() -> list[tuple[Kind, Body]]:
            if self._history.version != version or self._history.closed is not None:
                return []
            return [(Kind.RESERVE, {
                "charge": charge.to_body(), "charge_id": charge.id.hex(), "owner": self._owner.to_body(),
                "before": Ends.of(before).to_body(), "after": Ends.of(after).to_body()})]
        self._say(decide)
        if self._history.version != version + 1 or self._history.find(charge) is None:
            return False
        self._composed = (self._history.version, after)
        return True

    def _require_covered(self, charge: Charge, outcome: Outcome) -> None:
        terms = self._require_unclosed()
        _require_secure(outcome.released, terms)
        if outcome.survivors > charge.cohort:
            raise BadParameters(f"survivors is {outcome.survivors}, but only {charge.cohort} were invited")
        if outcome.released == charge.event:
            return
        paid, realised = self._cost(charge.event, terms), self._cost(outcome.released, terms)
        proven = realised.upper if realised.lower is None else realised.lower
        if proven > paid.upper:
            raise BadParameters(f"the outcome costs epsilon {proven:.6g} by itself, {paid.upper:.6g} was charged; "
                                "do not hand it out, forfeit the reservation")

    def _cost(self, event: Event, terms: Terms) -> Interval:
        if event not in self._single_costs:
            if len(self._single_costs) >= 256:
                self._single_costs.clear()
            self._single_costs[event] = compose(Counter([event]), terms, terms.view)
        return self._single_costs[event]

    def _charged(self) -> Interval:
        terms = self.terms
        if self._composed is None or self._composed[0] != self._history.version:
            self._composed = (self._history.version, compose(self._history.charged, terms, terms.view))
        return self._composed[1]
