"""What the entries of a ledger mean together: one fold, used alike by the writer, a reader and `verify`.

    GENESIS  OPEN_BUDGET  ( RESERVE ( COMMIT | ABORT | SETTLE ) | NOTE )*  CLOSE_BUDGET  NOTE*
                            many reservations may be open at once; each is closed at most once

Everything RESERVEd and not ABORTed counts as spent, so `charged` grows before a release and shrinks only when
nothing was released. Events are the only truth: they are counted, never added up as epsilons, so no sum can
drift. The clock in an entry is recorded and nowhere read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from dp.accountant import Interval, View, account
from dp.canonical import Body, bytes_of, decode_body, integer_of, object_of, require_keys, text_of
from dp.errors import BadParameters, Corrupt, NoiseTooCoarse, Unverifiable
from dp.events import Event, Repeated, is_insecure
from dp.ledger.chain import Entry, Head, Kind, Signed, check_hash, signed_by
from dp.ledger.charge import Charge, Ends, Outcome, Randomness, Terms
from dp.ledger.session import Owner


class Standing(Enum):
    """Where a reservation stands; every standing but ABORTED counts as spent."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    ABORTED = "aborted"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Record:
    """One reservation: the charge, who holds it, what the interval became, and how it ended."""

    charge: Charge
    owner: Owner
    after: Ends
    standing: Standing = Standing.RESERVED
    ended: int | None = None
    outcome: Outcome | None = None


class History:
    """The state after some prefix of a ledger; `apply` checks an entry wholly before it changes anything."""

    def __init__(self) -> None:
        self.signed: Signed | None = None
        self.head: Head | None = None
        self.terms: Terms | None = None
        self.closed: int | None = None
        self.records: dict[int, Record] = {}
        self.open: dict[int, Record] = {}
        self.latest: dict[bytes, int] = {}
        self.charged: Counter[Event] = Counter()
        self.realised: Counter[Event] = Counter()
        # Changes whenever `charged` does: an admission computed for one version holds only in that version.
        self.version = 0
        self._events: dict[str, Event] = {}
        self._arrows: dict[str, Callable[[int, Body], None]] = {
            Kind.OPEN_BUDGET: self._open_budget,
            Kind.RESERVE: self._reserve,
            Kind.COMMIT: self._commit,
            Kind.ABORT: self._abort,
            Kind.SETTLE: self._settle,
            Kind.CLOSE_BUDGET: self._close_budget,
            Kind.NOTE: self._note,
        }

    def apply(self, entry: Entry) -> None:
        """Appends the entry, if it continues the chain and is legal here.

        Raises: Corrupt when it does not or is not; Unverifiable when it says something unknown.
        """
        signed = signed_by(entry) if self.signed is None else self.signed
        check_hash(signed, self.head, entry)
        try:
            self._understand(entry)
        except BadParameters as wrong:
            raise Corrupt(f"entry {entry.seq} ({entry.kind}): {wrong}", seq=entry.seq) from wrong
        self.signed, self.head = signed, entry.head

    def _understand(self, entry: Entry) -> None:
        body = decode_body(entry.body)
        if entry.seq == 0:
            require_keys(body, "ledger_id", "signer", "software", "clock")
            return
        if entry.kind == Kind.GENESIS:
            raise BadParameters("a ledger begins once")
        if entry.kind not in self._arrows:
            raise Unverifiable(
                f"entry {entry.seq} is of unknown kind {entry.kind[:40]!r}; it needs a newer version",
                seq=entry.seq,
            )
        integer_of(body, "clock")
        self._arrows[entry.kind](entry.seq, body)

    # --- one arrow per kind ----------------------------------------------------------------------

    def _open_budget(self, seq: int, body: Body) -> None:
        if self.terms is not None:
            raise BadParameters("a budget is open already; a ledger of this version holds one")
        self.terms = Terms.from_body(body)

    def _reserve(self, seq: int, body: Body) -> None:
        require_keys(body, "charge", "charge_id", "owner", "before", "after", "software", "clock")
        text_of(body, "software")
        terms = self.require_open()
        charged = object_of(body, "charge")
        charge = Charge.from_body(charged, self._event(seq, charged, "event"))
        owner, after = Owner.from_body(object_of(body, "owner")), Ends.from_body(object_of(body, "after"))
        Ends.from_body(object_of(body, "before"))
        if bytes_of(body, "charge_id", 32) != charge.id:
            raise BadParameters("charge_id is not the hash of the charge")
        if self.find(charge) is not None:
            raise BadParameters("this charge id is already in use")
        _require_secure(seq, charge.event, terms)
        self.records[seq] = self.open[seq] = Record(charge, owner, after)
        self.latest[charge.id] = seq
        self.charged[charge.event] += 1
        self.realised[charge.event] += 1
        self.version += 1

    def _commit(self, seq: int, body: Body) -> None:
        require_keys(body, "reserve", "survivors", "released", "digest", "clock")
        at, record = self._ending(body)
        outcome = Outcome(
            integer_of(body, "survivors"), self._event(seq, body, "released"), bytes_of(body, "digest", 32)
        )
        if outcome.survivors > record.charge.cohort:
            raise BadParameters(f"{outcome.survivors} survivors of a cohort of {record.charge.cohort}")
        _require_secure(seq, outcome.released, self.require_open())
        self._end(at, Record(record.charge, record.owner, record.after, Standing.COMMITTED, seq, outcome))
        _remove(self.realised, record.charge.event)
        self.realised[outcome.released] += 1

    def _abort(self, seq: int, body: Body) -> None:
        require_keys(body, "reserve", "reason", "clock")
        text_of(body, "reason")
        at, record = self._ending(body)
        self._end(at, Record(record.charge, record.owner, record.after, Standing.ABORTED, seq))
        _remove(self.charged, record.charge.event)
        _remove(self.realised, record.charge.event)
        self.version += 1

    def _settle(self, seq: int, body: Body) -> None:
        require_keys(body, "reserve", "reason", "clock")
        text_of(body, "reason")
        at, record = self._ending(body)
        self._end(at, Record(record.charge, record.owner, record.after, Standing.SETTLED, seq))

    def _close_budget(self, seq: int, body: Body) -> None:
        require_keys(body, "reason", "clock")
        text_of(body, "reason")
        self.require_open()
        if self.open:
            raise BadParameters(f"reservations {sorted(self.open)[:5]} are still open")
        self.closed = seq

    def _note(self, seq: int, body: Body) -> None:
        require_keys(body, "text", "clock")
        text_of(body, "text")

    # --- questions -------------------------------------------------------------------------------

    def require_open(self) -> Terms:
        """The terms of the open budget. Raises: BadParameters when there is none or it was closed."""
        if self.terms is None:
            raise BadParameters("no budget is open")
        if self.closed is not None:
            raise BadParameters(f"the budget was closed at entry {self.closed}")
        return self.terms

    def find(self, charge: Charge) -> int | None:
        """The seq of the RESERVE that holds this charge's id; an aborted one has given it back."""
        seq = self.latest.get(charge.id)
        return None if seq is None or self.records[seq].standing is Standing.ABORTED else seq

    def _ending(self, body: Body) -> tuple[int, Record]:
        seq = integer_of(body, "reserve")
        record = self.open.get(seq)
        if record is None:
            raise BadParameters(f"entry {seq} is no open reservation")
        return seq, record

    def _end(self, seq: int, record: Record) -> None:
        del self.open[seq]
        self.records[seq] = record

    def _event(self, seq: int, body: Body, key: str) -> Event:
        # The same event comes back every round: reading it once also lets equal events share memory.
        text = repr(body.get(key))
        if text not in self._events:
            try:
                self._events[text] = Event.from_canonical(body.get(key))
            except (BadParameters, NoiseTooCoarse) as wrong:
                raise Unverifiable(f"entry {seq} holds an event this version cannot judge: {wrong}", seq=seq) from wrong
        return self._events[text]


def compose(counts: Counter[Event], terms: Terms, view: View) -> Interval:
    """The interval of all counted events together, at the budget's delta, for one viewer.

    Raises: UnsupportedEvent, NoiseTooCoarse, AccountantDisagreement.
    """
    if not counts:
        return Interval(0.0, 0.0, terms.budget.delta, "nothing released")
    events = [Repeated(event, times) for event, times in counts.items()]
    return account(events, terms.unit, view, terms.budget.delta)


def _remove(counts: Counter[Event], event: Event) -> None:
    counts[event] -= 1
    if counts[event] == 0:
        del counts[event]


def _require_secure(seq: int, event: Event, terms: Terms) -> None:
    if terms.randomness is Randomness.SYSTEM and is_insecure(event):
        raise Unverifiable(f"entry {seq} charges noise from a known seed where that is forbidden", seq=seq)
