"""The privacy budget as an append-only, signed log that refuses before it is overspent.

    reservation = ledger.reserve(charge)          BudgetExceeded, or the charge stands, synced to disk
    ledger.mark(reservation)                      from here it may have been released: no abort any more
    value = release()
    ledger.commit(reservation, outcome)           hand the value out only after this returned

The charge stands before anything is released, and everything reserved and not aborted counts as spent: a
crash costs budget, never privacy. `spend` is these four lines. Several processes may share one ledger;
composing privacy loss takes milliseconds, so it happens outside the lock and is repeated when another
process charged something meanwhile.

Without a head kept elsewhere the holder of the key can cut or rewrite the log; see `dp.ledger.verdict`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from dp.accountant import Budget, Interval, Unit, View
from dp.canonical import Body
from dp.errors import (
    BadParameters,
    BadReservation,
    ConflictingCharge,
    Locked,
    StorageRefused,
)
from dp.events import Event
from dp.ledger.admission import Admission, require_unclosed, terms_of
from dp.ledger.chain import Entry, Head, Kind, Signer
from dp.ledger.charge import Charge, Ends, Outcome, Randomness, Terms, require_text
from dp.ledger.genesis import clock, create, software
from dp.ledger.history import History, Standing, compose
from dp.ledger.log import Log, Said
from dp.ledger.place import beside, read_key
from dp.ledger.session import Owner, Session
from dp.ledger.store import Store
from dp.ledger.verdict import Problem, Verdict, examine

__all__ = [
    "Charge",
    "Entry",
    "Head",
    "Ledger",
    "Outcome",
    "Problem",
    "Reservation",
    "Standing",
    "Terms",
    "Verdict",
    "spend",
]

ADMISSION_ATTEMPTS = 16
TIMEOUT_SECONDS = 10.0

T = TypeVar("T")
AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to release once what `charge` says; good in the session that reserved it, until it ends."""

    seq: int
    charge: Charge
    session: str


class Ledger:
    """One privacy budget and everything charged to it, for the process and thread that opened it.

    Guarantee: no reservation is granted that takes the interval of all charges, as the aggregator sees
        them, above the limit; a granted one survives any crash.
    Raises: Corrupt, RolledBack, Forked, Unverifiable when the file cannot be believed; Locked,
        StorageRefused when it cannot be reached. Every method may raise these.
    """

    def __init__(self, log: Log, session: Session | None) -> None:
        self._log = log
        self._session = session
        self._marked: set[int] = set()
        self._admission = Admission()

    # --- opening and closing ---------------------------------------------------------------------

    @classmethod
    def open(cls, path: AnyPath, budget: Budget | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """The ledger at path, made when absent; reservations of dead processes become spent.

        Raises: BadParameters when budget is missing for a new ledger or differs from the stored limit.
        """
        return cls._open(path, budget, Randomness.SYSTEM, timeout_seconds)

    @classmethod
    def open_insecure(
        cls, path: AnyPath, budget: Budget | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Self:
        """As `open`, for rehearsals: accepts noise from known seeds, so its figures protect nobody."""
        return cls._open(path, budget, Randomness.INSECURE, timeout_seconds)

    @classmethod
    def read(cls, path: AnyPath, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """The ledger at path without its key, to show and to verify; entries are judged when asked for."""
        _require_seconds(timeout_seconds)
        return cls(Log(Store.read(_real(path), timeout_seconds), None), None)

    @classmethod
    def _open(cls, path: AnyPath, budget: Budget | None, randomness: Randomness, seconds: float) -> Self:
        real = _real(path)
        _require_seconds(seconds)
        if budget is not None and not isinstance(budget, Budget):
            raise BadParameters(f"budget must be a Budget, got {type(budget).__name__}")
        if not os.path.lexists(real):
            create(real, None if budget is None else _terms(budget, randomness), seconds)
        store = Store.open(real, seconds)
        try:
            key = beside(real, ".key")
            ledger = cls(Log(store, Signer(read_key(key))), Session(key))
            ledger._take_over(budget, randomness)
        except BaseException:
            store.close()
            raise
        return ledger

    def _take_over(self, budget: Budget | None, randomness: Randomness) -> None:
        self._log.require_own_key()
        terms = self.terms
        if budget is not None and budget != terms.budget:
            given = _terms(budget, randomness)
            raise BadParameters(
                f"the ledger's limit is {terms}, the one given is {given}; another limit needs another ledger"
            )
        if terms.randomness is not randomness:
            raise BadParameters(
                f"the ledger was opened for {terms.randomness.value} randomness, not for "
                f"{randomness.value}: use open for real data, open_insecure for rehearsals"
            )
        self.settle()

    def close(self) -> None:
        """Gives up the file; reservations still held become spent, since nobody will answer for them."""
        try:
            if self._log.store.is_usable and self._log.broken is None and self._mine():
                self._log.say(lambda: [_settled(seq, "closed while reserved") for seq in self._mine()])
        finally:
            self._log.store.close()
            if self._session is not None:
                self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- spending --------------------------------------------------------------------------------

    def reserve(self, charge: Charge) -> Reservation:
        """Charges the release before it happens; the same charge again is the same reservation.

        Raises: BudgetExceeded, with nothing written; ConflictingCharge when its id holds another charge;
            BadReservation when it was released before or another session holds it; InsecureEntropy;
            UnsupportedEvent or NoiseTooCoarse when no accountant has a proof for the event; Locked when
            other processes won every attempt.
        """
        owner = self._owner()
        for attempt in range(ADMISSION_ATTEMPTS):
            history = self._log.catch_up()
            reservation = self._held(history, charge, owner) or self._try_reserve(history, charge, owner)
            if reservation is not None:
                return reservation
            _back_off(attempt)
        raise Locked(f"other processes charged this ledger during all {ADMISSION_ATTEMPTS} attempts; try again")

    def mark(self, reservation: Reservation) -> None:
        """From here on the release may have been seen: it can be committed or forfeited, never aborted.

        Raises: BadReservation when it is marked already: one reservation covers one release.
        """
        self._require_held(self._log.catch_up(), reservation)
        if reservation.seq in self._marked:
            raise BadReservation(
                f"reservation {reservation.seq} was already used for a release; reserve another", seq=reservation.seq
            )
        self._marked.add(reservation.seq)

    def commit(self, reservation: Reservation, outcome: Outcome) -> Head:
        """Records what came out; the same outcome again is the same head.

        Raises: BadReservation when it is not open; InsecureEntropy; BadParameters when the outcome has more
            survivors than the cohort or provably costs more than was charged: then do not hand it out.
        """
        history = self._log.catch_up()
        record = history.records.get(reservation.seq)
        if (
            record is not None
            and record.ended is not None
            and ((record.charge, record.outcome) == (reservation.charge, outcome))
        ):
            return self._log.entry(record.ended).head
        self._admission.require_covered(history, reservation.charge, outcome)
        return self._end(reservation, Kind.COMMIT, outcome.to_body())

    def abort(self, reservation: Reservation, reason: str) -> Head:
        """Gives the charge back. Only the caller can know that nothing was released, not even to a server.

        Raises: BadReservation when it is not open, or marked: then forfeit it.
        """
        if reservation.seq in self._marked:
            raise BadReservation(
                f"reservation {reservation.seq} may have been released; forfeit it instead", seq=reservation.seq
            )
        return self._end(reservation, Kind.ABORT, {"reason": require_text("reason", reason)})

    def forfeit(self, reservation: Reservation, reason: str) -> Head:
        """Gives the reservation up as spent, without an outcome. Raises: BadReservation."""
        return self._end(reservation, Kind.SETTLE, {"reason": require_text("reason", reason)})

    def settle(self) -> int:
        """Closes the reservations of dead processes as spent; how many there were."""
        if not self._orphans(self._log.catch_up()):
            return 0
        return len(self._log.say(self._settle_orphans))

    def close_budget(self, reason: str) -> Head:
        """No more charges, for ever.

        Raises: BudgetExceeded when it is closed already; BadReservation while a reservation is open.
        """
        text, history = require_text("reason", reason), self._log.history

        def decide() -> list[Said]:
            require_unclosed(history)
            if history.open:
                raise BadReservation(f"reservations {sorted(history.open)[:5]} are open; end them first")
            return [(Kind.CLOSE_BUDGET, {"reason": text, **clock()})]

        return self._log.say(decide)[-1].head

    def note(self, text: str) -> Head:
        """A remark, signed like everything else."""
        body: Body = {"text": require_text("text", text), **clock()}
        return self._log.say(lambda: [(Kind.NOTE, body)])[-1].head

    # --- reading ---------------------------------------------------------------------------------

    @property
    def terms(self) -> Terms:
        """What the budget promises."""
        return terms_of(self._log.catch_up())

    def interval(self) -> Interval:
        """The aggregator's guarantee: all charges together, at the budget's delta."""
        return self._admission.charged(self._log.catch_up())

    def interval_released(self) -> Interval:
        """What a reader of the model learns: realised events of commits, charges of everything unfinished.

        Raises: UnsupportedEvent when no accountant has a proof for this view.
        """
        history = self._log.catch_up()
        return compose(history.realised, terms_of(history), View.RELEASED)

    def remaining(self) -> Fraction:
        """Epsilon left: the limit minus the upper end, exactly; 0 once the budget is closed."""
        history = self._log.catch_up()
        if history.closed is not None:
            return Fraction(0)
        spent = Fraction(self._admission.charged(history).upper)
        return max(Fraction(0), terms_of(history).budget.epsilon - spent)

    def affords(self, event: Event) -> bool:
        """Whether a charge of this event would be granted now; nothing is written, so another may be faster.

        Raises: InsecureEntropy; UnsupportedEvent or NoiseTooCoarse when no accountant has a proof for the event.
        """
        return self._admission.affords(self._log.catch_up(), event)

    def standing(self, charge: Charge) -> Standing | None:
        """How the latest reservation of this charge's id stands; None when there never was one."""
        history = self._log.catch_up()
        seq = history.latest.get(charge.id)
        return None if seq is None else history.records[seq].standing

    def charges(self) -> list[tuple[Charge, Standing]]:
        """All that was ever reserved, in that order, and how it stands; what is not ABORTED counts as spent."""
        records = self._log.catch_up().records
        return [(records[seq].charge, records[seq].standing) for seq in sorted(records)]

    def entries(self) -> Iterator[Entry]:
        """All entries as stored, unjudged."""
        return self._log.store.entries()

    def head(self) -> Head:
        """Where the ledger ends now: keep it elsewhere to notice later that something was cut off."""
        return self._log.head()

    def verify(self) -> Verdict:
        """Every page, hash, signature, transition and limit, computed again from the file."""
        return examine(self._log.store.checked_entries())

    # --- one admission ---------------------------------------------------------------------------

    def _held(self, history: History, charge: Charge, owner: Owner) -> Reservation | None:
        """The reservation this session already has for the charge; None when its id is free."""
        seq = history.find(charge)
        if seq is None:
            return None
        record = history.records[seq]
        name = f"round {charge.round} of task {charge.task!r}"
        if record.charge != charge:
            raise ConflictingCharge(
                f"{name} was reserved with another event, cohort or context; give this release its own round", seq=seq
            )
        if record.standing is not Standing.RESERVED:
            raise BadReservation(
                f"{name} is already {record.standing.value}; another release needs its own round", seq=seq
            )
        if record.owner != owner:
            raise BadReservation(f"{name} is held by another session, of process {record.owner.pid}", seq=seq)
        return Reservation(seq, charge, owner.session)

    def _try_reserve(self, history: History, charge: Charge, owner: Owner) -> Reservation | None:
        """Admits and writes; None when the charges changed while the admission was being computed."""
        version, before = history.version, self._admission.charged(history)
        after = self._admission.admit(history, charge)
        body: Body = {
            "charge": charge.to_body(),
            "charge_id": charge.id.hex(),
            "owner": owner.to_body(),
            "before": Ends.of(before).to_body(),
            "after": Ends.of(after).to_body(),
            "software": software(),
            **clock(),
        }

        def decide() -> list[Said]:
            unchanged = history.version == version and history.closed is None
            return [(Kind.RESERVE, body)] if unchanged else []

        said = self._log.say(decide)
        if not said:
            return None
        self._admission.admitted(history, after)
        return Reservation(said[-1].seq, charge, owner.session)

    # --- one ending ------------------------------------------------------------------------------

    def _require_held(self, history: History, reservation: Reservation) -> None:
        record = history.records.get(reservation.seq)
        if record is None or record.charge != reservation.charge:
            raise BadReservation(f"entry {reservation.seq} does not reserve this charge in this ledger")
        if record.standing is not Standing.RESERVED:
            raise BadReservation(
                f"reservation {reservation.seq} is already {record.standing.value} at entry {record.ended}",
                seq=reservation.seq,
            )
        if not record.owner.session == reservation.session == self._owner().session:
            raise BadReservation(f"reservation {reservation.seq} belongs to another session", seq=reservation.seq)

    def _end(self, reservation: Reservation, kind: Kind, body: Body) -> Head:
        def decide() -> list[Said]:
            self._require_held(self._log.history, reservation)
            return [(kind, {"reserve": reservation.seq, **body, **clock()})]

        said = self._log.say(decide)
        self._marked.discard(reservation.seq)
        return said[-1].head

    def _owner(self) -> Owner:
        if self._session is None:
            raise self._log.read_only()
        return self._session.owner

    def _mine(self) -> list[int]:
        mine = None if self._session is None else self._session.owner
        return [seq for seq, record in self._log.history.open.items() if record.owner == mine]

    def _orphans(self, history: History) -> list[int]:
        if self._session is None:
            raise self._log.read_only()
        return [seq for seq, record in history.open.items() if self._session.is_dead(record.owner)]

    def _settle_orphans(self) -> list[Said]:
        return [_settled(seq, "its process died") for seq in self._orphans(self._log.history)]


def spend(ledger: Ledger, charge: Charge, release: Callable[[], T], outcome: Callable[[T], Outcome]) -> T:
    """reserve -> mark -> release -> commit; the value is returned only after its commit is on disk.

    Guarantee: `release` is called at most once per charge, and only while the charge stands. Whatever it
        or `outcome` raises, the charge stays spent: something may have been seen.
    Raises: what `Ledger.reserve` and `commit` raise, and what the two callables raise.
    """
    reservation = ledger.reserve(charge)
    ledger.mark(reservation)
    try:
        value = release()
        ledger.commit(reservation, outcome(value))
    except BaseException as stopped:
        if ledger.standing(charge) is Standing.RESERVED:
            ledger.forfeit(reservation, f"release ended in {type(stopped).__name__}")
        raise
    return value


def _terms(budget: Budget, randomness: Randomness) -> Terms:
    return Terms(budget, Unit(budget.relation), View.AGGREGATOR, randomness)


def _settled(seq: int, reason: str) -> Said:
    return Kind.SETTLE, {"reserve": seq, "reason": reason, **clock()}


def _back_off(attempt: int) -> None:
    """A random pause that doubles, so that processes which collided once do not collide again."""
    longest = 0.001 * 2 ** min(attempt, 6)
    time.sleep(longest * int.from_bytes(os.urandom(2), "big") / 2**16)


def _require_seconds(timeout_seconds: float) -> None:
    if not 0 <= timeout_seconds <= 3600:
        raise BadParameters(f"timeout_seconds must be from 0 to 3600, got {timeout_seconds!r}")


def _real(path: AnyPath) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (TypeError, ValueError) as wrong:
        raise StorageRefused(f"{str(path)[:80]!r} is not a path") from wrong
