"""What a ledger can be asked: the part of `dp.ledger.book.Ledger` that writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from dp.accountant import Interval, View
from dp.errors import BadParameters
from dp.events import Event
from dp.ledger.admission import Admission, remaining
from dp.ledger.attendance import Attendance, require_openings
from dp.ledger.budgets import BudgetState, compose
from dp.ledger.chain import Entry, Head
from dp.ledger.charge import Charge
from dp.ledger.clients import ClientRecord, MerkleProof, make_proof
from dp.ledger.cohorts import Pseudonyms
from dp.ledger.exporting import copy_file, export_lines
from dp.ledger.history import History
from dp.ledger.log import Log
from dp.ledger.opening import AnyPath
from dp.ledger.pins import Pin
from dp.ledger.records import Standing
from dp.ledger.replay import Foreign, ReplayReport, replay
from dp.ledger.statement import Statement
from dp.ledger.stating import state
from dp.ledger.terms import Randomness, Scope, Terms
from dp.ledger.verdict import Verdict, examine
from dp.ledger.vouching import NOTHING_KNOWN, Known

_SPENT = (Standing.RESERVED, Standing.COMMITTED, Standing.SETTLED)


class Reading:
    """A ledger as it stands. Where a budget is asked for and none is named, it is the oldest open one, or, once all
    are closed, the newest.

    Raises: BadParameters for a budget the ledger does not have; what `Ledger` says.
    """

    def __init__(self, log: Log, names: Pseudonyms | None) -> None:
        self._log = log
        self._names = names
        self._attendance = Attendance()
        self._admission = Admission(self._attended)

    @property
    def policy(self) -> str:
        """What the owner declared about access to the data outside the mechanism when the ledger was made."""
        return self._log.begun().policy

    @property
    def randomness(self) -> Randomness:
        """Which noise every budget of this ledger accepts."""
        return self._log.begun().randomness

    @property
    def terms(self) -> Terms:
        """What the budget promises."""
        return self._budget(None).terms

    @property
    def budgets(self) -> MappingProxyType[int, BudgetState]:
        """Every budget ever opened, by the entry that opened it: to look at, not to change."""
        return MappingProxyType(self._log.catch_up().budgets)

    def interval(self, budget: int | None = None) -> Interval:
        """The guarantee of one budget towards its viewer: all its charges together, at its delta.

        Under a limit for each client it is that of the client that has spent most.
        """
        state = self._budget(budget)
        return self._admission.charged(self._log.history, state)

    def interval_released(self, budget: int | None = None) -> Interval:
        """What a reader of the model learns: realised events of commits, charges of everything unfinished.

        Raises: UnsupportedEvent when no accountant has a proof for this view.
        """
        state = self._budget(budget)
        return compose(state.realised, state.terms, View.RELEASED)

    def remaining(self, budget: int | None = None) -> Fraction:
        """Epsilon left: the limit minus the upper end, exactly; 0 once the budget is closed."""
        state = self._budget(budget)
        return Fraction(0) if state.closed is not None else remaining(state, self.interval(state.id))

    def affords(self, event: Event, budget: int | None = None) -> bool:
        """Whether a charge of this event would be granted now; nothing is written, so another may be faster.

        Under a limit for each client: whether to a client that was never invited; `eligible` tells for others.
        Raises: InsecureEntropy; UnsupportedEvent or NoiseTooCoarse when no accountant has a proof for the event.
        """
        state = self._budget(budget)
        return self._admission.affords(self._log.history, state, event)

    def eligible(self, budget: int | None, identities: Iterable[bytes], event: Event) -> tuple[bytes, ...]:
        """Those of the identity keys that may be invited to one more release of this event, in their order.

        Raises: StorageRefused without the key; what `affords` raises.
        """
        state = self._budget(budget)
        asked = [(identity, self._named().of(identity)) for identity in identities]
        able = self._admission.affords_client
        return tuple(identity for identity, name in asked if able(self._log.history, state, event, name))

    # --- clients ---------------------------------------------------------------------------------

    def pseudonym(self, identity: bytes) -> bytes:
        """The 32 bytes an identity key is known by in this ledger.  Raises: StorageRefused without the key."""
        return self._named().of(identity)

    def client(self, identity: bytes) -> ClientRecord:
        """What stands here of one client.  Raises: StorageRefused without the key."""
        name = self._named().of(identity)
        history = self._log.begun()
        return self._client(history, self._attended(history), name)

    def clients(self) -> tuple[ClientRecord, ...]:
        """Everybody who was ever named and not erased, in the order of their pseudonyms."""
        history = self._log.begun()
        attendance = self._attended(history)
        return tuple(self._client(history, attendance, name) for name in sorted(attendance.invited))

    def prove(self, seq: int, identity: bytes) -> MerkleProof:
        """That a client was invited (seq of the reservation) or survived (of its commit), up to the head of now.

        Raises: Erased; BadParameters when it was not, or the entry names nobody; StorageRefused without the key.
        """
        self._log.begun()
        name, history = self._named().of(identity), self._log.whole()
        named = history.named_at(seq)
        if named is None or history.signed is None:
            raise BadParameters(f"entry {seq} names nobody; give the number of a reservation or commit that does")
        openings = self._log.store.openings_of(seq)
        require_openings(named, openings)
        return make_proof(history.signed.ledger_id, self._log.store.entries(seq), named, openings, name)

    def _client(self, history: History, attendance: Attendance, name: bytes) -> ClientRecord:
        invited = [seq for seq in attendance.invited.get(name, []) if history.records[seq].standing in _SPENT]
        records, told = history.records, attendance.told
        unsaid = any(records[seq].standing is Standing.COMMITTED and seq not in told for seq in invited)
        spent, left = [], []
        for budget in history.budgets.values():
            if counts := attendance.possible(history, budget, name):
                own = self._admission.towards_server(budget, counts)
                spent.append((budget.id, own))
                charged = own if budget.terms.scope is Scope.EACH else self._admission.charged(history, budget)
                left.append((budget.id, remaining(budget, charged)))
        survived = None if unsaid else tuple(attendance.survived.get(name, []))
        return ClientRecord(name, tuple(invited), survived, tuple(spent), tuple(left))

    # --- the log ---------------------------------------------------------------------------------

    def standing(self, charge: Charge) -> Standing | None:
        """How the latest reservation of this charge's id stands; None when there never was one."""
        history = self._log.knowing(charge)
        seq = history.latest.get(charge.id)
        return None if seq is None else history.records[seq].standing

    def charges(self) -> list[tuple[Charge, Standing]]:
        """All that was ever reserved, in that order, and how it stands; what is not ABORTED counts as spent."""
        records = self._log.whole().records
        return [(records[seq].charge, records[seq].standing) for seq in sorted(records)]

    def entries(self) -> Iterator[Entry]:
        """All entries as stored, unjudged."""
        return self._log.store.entries()

    def head(self) -> Head:
        """Where the ledger ends now: keep it elsewhere to notice later that something was cut off."""
        return self._log.head()

    def pin(self) -> Pin:
        """The same with all it takes to recognise it later: `Pin.keep` puts it where this ledger's writer is not."""
        self._log.begun()
        return self._log.pin()

    def verify(self, known: Known = NOTHING_KNOWN) -> Verdict:
        """Every page, hash, signature, transition, cohort, witness and limit, computed again from the file.

        `known` is what the caller has from elsewhere; without it the best verdict is "internally-consistent".
        """
        store = self._log.store
        with store.one_moment():
            return examine(store.checked_entries(), store.openings(), store.witnesses(), known)

    def replay(self, foreign: Foreign | None = None) -> ReplayReport:
        """Every recorded figure computed anew from its events, by all accountants, and a foreign one where given."""
        return replay(self._log.store.entries(), self._log.store.openings(), foreign)

    def state(self, known: Known = NOTHING_KNOWN, foreign: Foreign | None = None) -> Statement:
        """Everything the ledger says, as values: verdict, budgets, releases, clients, audits, opinions."""
        with self._log.store.one_moment():
            return state(self._log.store, known, foreign)

    def export(self, path: AnyPath) -> None:
        """Writes the ledger as signed lines of JSON (`dp.ledger.exporting`).  Raises: StorageRefused."""
        with self._log.store.one_moment():
            export_lines(self._log.store, self._log.head(), Path(path))

    def copy(self, path: AnyPath) -> None:
        """Makes another file of everything committed, tail included, without its key.  Raises: StorageRefused."""
        self._log.catch_up()
        copy_file(self._log.store, Path(path))

    def _budget(self, budget: int | None) -> BudgetState:
        budgets = self._log.begun().budgets
        if budget is not None:
            if budget not in budgets:
                raise BadParameters(
                    f"entry {budget} opened no budget of this ledger; its budgets are {sorted(budgets)}"
                )
            return budgets[budget]
        if not budgets:
            raise BadParameters(
                "the ledger has no budget: open one, or, where it had one, restore a copy that was not cut"
            )
        still = [state for state in budgets.values() if state.closed is None]
        return still[0] if still else budgets[max(budgets)]

    def _named(self) -> Pseudonyms:
        if self._names is None:
            raise self._log.read_only()
        return self._names

    def _attended(self, history: History) -> Attendance:
        """Who was in which round, up to the history's end."""
        self._log.whole()
        if history.head is not None and self._attendance.next <= history.head.seq:
            self._attendance.learn(history, self._log.store.openings(self._attendance.next))
        return self._attendance
