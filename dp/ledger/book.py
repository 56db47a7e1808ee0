"""The privacy budget as an append-only, signed log that refuses before it is overspent.

    reservation = ledger.reserve(charge)          BudgetExceeded, or the charge stands in every budget it is for
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

import hmac
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from dp.accountant import Budget
from dp.canonical import Body
from dp.errors import (
    BadParameters,
    BadReservation,
    ConflictingCharge,
    Corrupt,
    Locked,
)
from dp.ledger.admission import require_unclosed
from dp.ledger.chain import Entry, Head, Kind, Signer
from dp.ledger.charge import Charge, Outcome, Setting
from dp.ledger.cohorts import Drawn, Pseudonyms, cohort_of, cohort_root
from dp.ledger.exporting import import_lines
from dp.ledger.genesis import Beginning, clock, code, create, draw, software
from dp.ledger.history import History
from dp.ledger.log import Log, Said
from dp.ledger.merkle import SALT_BYTES
from dp.ledger.opening import TIMEOUT_SECONDS, AnyPath, Check, Wanted, only_budget, real_path, require_seconds
from dp.ledger.place import beside, read_key
from dp.ledger.records import Standing
from dp.ledger.rotation import keys_of
from dp.ledger.session import Owner, Session
from dp.ledger.store import Store
from dp.ledger.terms import Randomness, Scope, Terms, require_text
from dp.ledger.upkeep import Upkeep
from dp.ledger.verdict import Problem, Verdict

__all__ = [
    "Charge",
    "Check",
    "Entry",
    "Head",
    "Ledger",
    "Outcome",
    "Problem",
    "Reservation",
    "Scope",
    "Setting",
    "Standing",
    "Terms",
    "Verdict",
    "spend",
]

ADMISSION_ATTEMPTS = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to release once what `charge` says; good in the session that reserved it, until it ends."""

    seq: int
    charge: Charge
    session: str


class Ledger(Upkeep):
    """Privacy budgets and everything charged to them, for the process and thread that opened the file.

    Guarantee: no reservation is granted that takes the interval of all charges to a budget, as its viewer sees
        them, above its limit; a granted one is charged to every budget it is for and survives any crash.
    Raises: Corrupt, RolledBack, Forked, Unverifiable when the file cannot be believed; Locked,
        StorageRefused when it cannot be reached. Every method may raise these.
    """

    def __init__(self, log: Log, names: Pseudonyms | None, session: Session | None) -> None:
        super().__init__(log, names, session)
        self._marked: set[int] = set()

    # --- opening and closing ---------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: AnyPath,
        budget: Budget | None = None,
        *,
        pin: AnyPath | None = None,
        check: Check | str = Check.TAIL,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """The ledger at path, made when absent; reservations of dead processes become spent.

        `pin` is a file elsewhere that keeps the newest head: it is renewed with every entry, and a ledger that does
        not hold the head kept there is refused. The first time it is made, and vouches for nothing before.
        `check` says whether reading begins at the newest checkpoint ("tail": what lies before it is not looked at
        until it is asked about or verified) or at the first entry ("full").
        Raises: BadParameters when budget is missing for a new ledger or differs from the stored limit.
        """
        return cls._open(path, Wanted(budget, Randomness.SYSTEM, pin, check), timeout_seconds)

    @classmethod
    def open_insecure(
        cls,
        path: AnyPath,
        budget: Budget | None = None,
        *,
        pin: AnyPath | None = None,
        check: Check | str = Check.TAIL,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """As `open`, for rehearsals: accepts noise from known seeds, so its figures protect nobody."""
        return cls._open(path, Wanted(budget, Randomness.INSECURE, pin, check), timeout_seconds)

    @classmethod
    def create(
        cls,
        path: AnyPath,
        *,
        policy: str = "",
        randomness: Randomness = Randomness.SYSTEM,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """A new ledger at path without any budget, and its key beside it: budgets come by `open_budget`.

        `policy` declares access to the data outside the mechanism; it is kept, not checked.
        Raises: BadParameters when there is a ledger already.
        """
        real = real_path(path)
        require_seconds(timeout_seconds)
        if os.path.lexists(real) or not create(real, Beginning(randomness, policy), timeout_seconds):
            raise BadParameters(f"there is a ledger at {real} already; open it")
        return cls._open(real, Wanted(None, randomness, None, Check.TAIL), timeout_seconds)

    @classmethod
    def read(cls, path: AnyPath, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Self:
        """The ledger at path without its key, to show and to verify; entries are judged when asked for."""
        require_seconds(timeout_seconds)
        return cls(Log(Store.read(real_path(path), timeout_seconds), None), None, None)

    @classmethod
    def import_lines(cls, source: AnyPath, path: AnyPath, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Makes a ledger at path, to read and to verify, from what `export` wrote.

        Raises: Corrupt when the export does not hold, and then nothing is made; StorageRefused.
        """
        import_lines(Path(source), real_path(path), timeout_seconds)

    @classmethod
    def _open(cls, path: AnyPath, wanted: Wanted, seconds: float) -> Self:
        real, budget = real_path(path), wanted.budget
        require_seconds(seconds)
        if not os.path.lexists(real):
            first = (
                None if budget is None else Beginning(wanted.randomness, terms=only_budget(budget, wanted.randomness))
            )
            create(real, first, seconds)
        store = Store.open(real, seconds)
        try:
            log = Log(store, Signer(read_key(beside(real, ".key")).seed), wanted.pin)
            if wanted.check is Check.TAIL:
                log.resume()
            keys = keys_of(real, log.signer_now, seconds)
            log.take_key(Signer(keys.seed))
            ledger = cls(log, Pseudonyms(keys.secret), Session(beside(real, ".key")))
            ledger._take_over(budget, wanted.randomness)
        except BaseException:
            store.close()
            raise
        return ledger

    def _take_over(self, budget: Budget | None, randomness: Randomness) -> None:
        history = self._log.catch_up()
        if not hmac.compare_digest(self._named().fingerprint, history.names):
            raise Corrupt(
                f"the key beside {self._log.store.path} holds another ledger's secret; restore it from a copy"
            )
        if budget is not None and budget != self.terms.budget:
            given = only_budget(budget, randomness)
            raise BadParameters(
                f"the ledger's limit is {self.terms}, the one given is {given}; another limit needs another ledger"
            )
        if history.randomness is not randomness:
            raise BadParameters(
                f"the ledger was opened for {history.randomness.value} randomness, not for "
                f"{randomness.value}: use open for real data, open_insecure for rehearsals"
            )
        self._log.keep_pin()
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
            history = self._log.knowing(charge)
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
            survivors than the cohort, names somebody who was not invited, or provably costs more than was charged:
            then do not hand it out.
        """
        history = self._log.catch_up()
        record = history.records.get(reservation.seq)
        hidden = replace(outcome, digest=self._named().hide(reservation.seq, outcome.digest))
        if (
            record is not None
            and record.ended is not None
            and (record.charge, record.outcome) == (reservation.charge, hidden)
            and self._same_names(record.ended, outcome.named)
        ):
            return self._log.entry(record.ended).head
        self._require_held(history, reservation)
        self._admission.require_covered(history, reservation.seq, outcome)
        survivors = self._survivors(reservation, outcome)
        named: Body = {"named": cohort_root(survivors).hex()} if survivors else {}
        return self._end(reservation, Kind.COMMIT, {**hidden.to_body(), **named}, survivors)

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

    def open_budget(self, terms: Terms) -> int:
        """One more budget, for every later charge it covers; its name is the number of the entry.

        Raises: BadParameters for other randomness than the ledger's.
        """

        def decide() -> list[Said]:
            self._log.history.require_own(terms)
            return [Said(Kind.OPEN_BUDGET, {**terms.to_body(), **clock()})]

        return self._log.say(decide)[-1].seq

    def close_budget(self, reason: str, budget: int | None = None) -> Head:
        """No more charges to this budget, for ever.

        Raises: BudgetExceeded when it is closed already; BadReservation while a reservation on it is open.
        """
        text = require_text("reason", reason)

        def decide() -> list[Said]:
            closing = require_unclosed(self._budget(budget))
            if held := self._log.history.held_on(closing.id):
                raise BadReservation(f"reservations {held[:5]} are open; end them first")
            return [Said(Kind.CLOSE_BUDGET, {"budget": closing.id, "reason": text, **clock()})]

        return self._log.say(decide)[-1].head

    # --- one admission ---------------------------------------------------------------------------

    def _held(self, history: History, charge: Charge, owner: Owner) -> Reservation | None:
        """The reservation this session already has for the charge; None when its id is free."""
        seq = history.find(charge)
        if seq is None:
            return None
        record = history.records[seq]
        name = f"round {charge.round} of task {charge.task!r}"
        other = ConflictingCharge(
            f"{name} was reserved with another event, cohort or context; give this release its own round, "
            "and a run that begins anew its own task or another ledger",
            seq=seq,
        )
        if record.charge != charge:
            raise other
        if record.standing is not Standing.RESERVED:
            raise BadReservation(
                f"{name} is already {record.standing.value}; another release needs its own round", seq=seq
            )
        if record.owner != owner:
            raise BadReservation(f"{name} is held by another session, of process {record.owner.pid}", seq=seq)
        if not self._same_names(seq, charge.members):
            raise other
        return Reservation(seq, charge, owner.session)

    def _try_reserve(self, history: History, charge: Charge, owner: Owner) -> Reservation | None:
        """Admits and writes; None when the charges changed while the admission was being computed."""
        members = tuple(map(self._named().of, charge.members))
        prices = self._admission.admit(history, charge, members)
        openings = _draw(members)
        named: Body = {"members": cohort_root(openings).hex()} if openings else {}
        body: Body = {
            "charge": charge.to_body(),
            "charge_id": charge.id.hex(),
            "owner": owner.to_body(),
            "budgets": [price.to_body() for price in prices],
            "software": software(),
            "code": code().hex(),
            **named,
            **clock(),
        }
        known = [(price.budget, price.version) for price in prices]

        def decide() -> list[Said]:
            unchanged = known == [(budget.id, budget.version) for budget in history.matching(charge)]
            return [Said(Kind.RESERVE, body, openings)] if unchanged else []

        said = self._log.say(decide)
        if not said:
            return None
        self._admission.admitted(history, prices)
        return Reservation(said[-1].seq, charge, owner.session)

    def _same_names(self, seq: int, members: tuple[bytes, ...]) -> bool:
        """Whether these are the ones named at an entry."""
        stored = [opening.pseudonym for opening in self._log.store.openings_of(seq)]
        return stored == sorted(map(self._named().of, members))

    def result_salt(self, seq: int) -> bytes:
        """32 bytes that show, to whoever gets them and the result, that it is the one committed for a reservation.

        See `dp.ledger.cohorts.hidden_result`.  Raises: StorageRefused without the key.
        """
        return self._named().result_salt(seq)

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

    def _survivors(self, reservation: Reservation, outcome: Outcome) -> tuple[Drawn, ...]:
        """Openings of the survivors, all of whom were invited.  Raises: BadParameters."""
        if not outcome.named:
            return ()
        survivors = tuple(map(self._named().of, outcome.named))
        invited = {opening.pseudonym for opening in self._log.store.openings_of(reservation.seq)}
        if not invited.issuperset(survivors):
            raise BadParameters("the outcome names somebody who was not invited, or nobody was named by the charge")
        return _draw(survivors)

    def _end(self, reservation: Reservation, kind: Kind, body: Body, survivors: tuple[Drawn, ...] = ()) -> Head:
        def decide() -> list[Said]:
            self._require_held(self._log.history, reservation)
            return [Said(kind, {"reserve": reservation.seq, **body, **clock()}, survivors)]

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


def _draw(pseudonyms: tuple[bytes, ...]) -> tuple[Drawn, ...]:
    """Openings with fresh salts."""
    return cohort_of(pseudonyms, draw(SALT_BYTES * len(pseudonyms))) if pseudonyms else ()


def _settled(seq: int, reason: str) -> Said:
    return Said(Kind.SETTLE, {"reserve": seq, "reason": reason, **clock()})


def _back_off(attempt: int) -> None:
    """A random pause that doubles, so that processes which collided once do not collide again."""
    longest = 0.001 * 2 ** min(attempt, 6)
    time.sleep(longest * int.from_bytes(os.urandom(2), "big") / 2**16)
