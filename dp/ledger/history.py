"""What the entries of a ledger mean together: one fold, used alike by the writer, a reader and `verify`.

    GENESIS ( OPEN_BUDGET | CLOSE_BUDGET | RESERVE ( COMMIT | ABORT | SETTLE ) | NOTE | AUDIT
            | ROTATE_KEY | CHECKPOINT | ERASE )*
                ROTATE_KEY only while no reservation is open
                many reservations may be open at once; each is closed at most once
                many budgets may be open at once; a charge is charged to all that match it, and to one at least

Everything RESERVEd and not ABORTed counts as spent, so `charged` grows before a release and shrinks only when
nothing was released. Events are the only truth: they are counted, never added up as epsilons, so no sum can
drift. The clock in an entry is recorded and nowhere read.
"""

from __future__ import annotations

import hmac
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace

from dp.audit.finding import Finding
from dp.canonical import Body, Value, bytes_of, decode_body, encode_body, integer_of, object_of, require_keys, text_of
from dp.errors import BadParameters, Corrupt, NoiseTooCoarse, Unverifiable
from dp.events import Event, is_insecure
from dp.ledger.budgets import BudgetState, require_names, require_one_meaning
from dp.ledger.chain import Entry, Head, Kind, Signed, check_hash, check_signature, require_content, signed_by
from dp.ledger.charge import Charge, Ends, Outcome
from dp.ledger.checkpoint import State, budgets_of, held_of, state_of
from dp.ledger.erasing import Erasures, runs_in
from dp.ledger.records import Charged, Named, Record, Standing
from dp.ledger.rotation import rotated
from dp.ledger.session import Owner
from dp.ledger.terms import Randomness, Terms, randomness_of, require_text


class History:
    """The state after some prefix of a ledger; `apply` checks an entry wholly before it changes anything."""

    def __init__(self) -> None:
        self.signed: Signed | None = None
        self.head: Head | None = None
        # The key of the newest entry: after a ROTATE_KEY not the one that signs what follows.
        self.head_signed: Signed | None = None
        # Which secret makes its pseudonyms, as a hash; none before GENESIS.
        self.names = b""
        self.policy = ""
        self.randomness = Randomness.SYSTEM
        # The first entry with noise from a known seed, which only a ledger for rehearsals takes.
        self.rehearsed: int | None = None
        self.budgets: dict[int, BudgetState] = {}
        self.records: dict[int, Record] = {}
        self.open: dict[int, Record] = {}
        self.latest: dict[bytes, int] = {}
        # The reservation that was ended last.
        self.ended: int | None = None
        self.named: list[Named] = []
        self.erased = Erasures()
        self.audits: dict[int, Finding] = {}
        self.checkpoints: list[Head] = []
        # The first entry that was read after GENESIS: above 1, what is older is known by a checkpoint only.
        self.since = 1
        self._genesis = b""
        self._held: dict[int, bytes] = {}
        self._events: dict[str, Event] = {}
        self._arrows: dict[str, Callable[[int, Body], None]] = {
            Kind.OPEN_BUDGET: self._open_budget,
            Kind.RESERVE: self._reserve,
            Kind.COMMIT: self._commit,
            Kind.ABORT: self._abort,
            Kind.SETTLE: self._settle,
            Kind.CLOSE_BUDGET: self._close_budget,
            Kind.ROTATE_KEY: self._rotate_key,
            Kind.CHECKPOINT: self._checkpoint,
            Kind.AUDIT: self._audit,
            Kind.NOTE: self._note,
            Kind.ERASE: self._erase,
        }

    def apply(self, entry: Entry) -> None:
        """Appends the entry, if it continues the chain and is legal here.

        Raises: Corrupt when it does not or is not; Unverifiable when it says something unknown.
        """
        signed = signed_by(entry) if self.signed is None else self.signed
        check_hash(signed, self.head, entry)
        if entry.kind == Kind.ROTATE_KEY:
            # The one entry whose own signature decides what later ones are worth.
            check_signature(signed, entry)
        try:
            self._understand(entry)
        except BadParameters as wrong:
            raise Corrupt(f"entry {entry.seq} ({entry.kind}): {wrong}", seq=entry.seq) from wrong
        self._follow(entry, signed)

    def replace_by(self, other: History) -> None:
        """Goes on as the other one, which has read what this one skipped; whoever holds this one holds that now."""
        vars(self).update({name: value for name, value in vars(other).items() if name != "_arrows"})

    def _understand(self, entry: Entry) -> None:
        body = decode_body(entry.body)
        if entry.seq == 0:
            self._begin(body)
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

    def _follow(self, entry: Entry, signed: Signed) -> None:
        """Remembers where the ledger ends, and the entries a checkpoint names by their hash."""
        self.head, self.head_signed = entry.head, signed
        if entry.seq == 0:
            self.signed, self._genesis = signed, entry.hash
        elif entry.kind == Kind.RESERVE:
            self._held[entry.seq] = entry.hash
        elif entry.kind == Kind.CHECKPOINT:
            self.checkpoints.append(entry.head)

    # --- one arrow per kind ----------------------------------------------------------------------

    def _begin(self, body: Body) -> None:
        require_keys(body, "ledger_id", "signer", "names", "policy", "randomness", "software", "clock")
        text_of(body, "software")
        integer_of(body, "clock")
        self.names = bytes_of(body, "names", 32)
        self.policy = require_text("policy", body["policy"], least=0)
        self.randomness = randomness_of(body)

    def _open_budget(self, seq: int, body: Body) -> None:
        terms = Terms.from_body(body)
        self.require_own(terms)
        self.budgets[seq] = BudgetState(seq, terms)

    def _reserve(self, seq: int, body: Body) -> None:
        record, root = self._reservation(seq, body)
        charge = record.charge
        # The record's own id was just computed, and is the one the entry states.
        charge_id = bytes_of(body, "charge_id", 32)
        if self._find(charge_id) is not None:
            raise BadParameters("this charge id is already in use")
        self._require_secure(seq, charge.event)
        matching = self.require_matching(charge)
        if tuple(budget.id for budget in matching) != record.budgets:
            raise BadParameters(f"it is charged to other budgets than {[budget.id for budget in matching]}")
        require_names(matching, named=root is not None)
        self._hold(seq, record, root, charge_id)
        for budget in matching:
            budget.charge(charge.event)

    def _reservation(self, seq: int, body: Body) -> tuple[Record, bytes | None]:
        """What a RESERVE says by itself: the record, and the root of those it names."""
        root = bytes_of(body, "members", 32) if "members" in body else None
        said = () if root is None else ("members",)
        require_keys(body, "charge", "charge_id", "owner", "budgets", "software", "code", "clock", *said)
        text_of(body, "software")
        bytes_of(body, "code", 32)
        charged = object_of(body, "charge")
        charge = Charge.from_body(charged, self._event(seq, charged, "event"))
        if bytes_of(body, "charge_id", 32) != charge.id:
            raise BadParameters("charge_id is not the hash of the charge")
        return Record(charge, Owner.from_body(object_of(body, "owner")), _charged(body)), root

    def _hold(self, seq: int, record: Record, root: bytes | None, charge_id: bytes) -> None:
        self.records[seq] = self.open[seq] = record
        self.latest[charge_id] = seq
        if root is not None:
            self.named.append(Named(seq, seq, root, record.charge.cohort))

    def _commit(self, seq: int, body: Body) -> None:
        optional = [key for key in ("variance", "named") if key in body]
        require_keys(body, "reserve", "survivors", "released", "digest", "clock", *optional)
        at, record = self._ending(body)
        outcome = Outcome.from_body(body, self._event(seq, body, "released"))
        root = bytes_of(body, "named", 32) if "named" in body else None
        record.charge.require_survivors(outcome.survivors)
        if root is not None and self.named_at(at) is None:
            raise BadParameters("it names survivors, but nobody was named when they were invited")
        self._require_secure(seq, outcome.released)
        for budget in record.budgets:
            self.budgets[budget].realise(record.charge.event, outcome.released)
        if root is not None:
            self.named.append(Named(seq, at, root, outcome.survivors))
        self._end(at, replace(record, standing=Standing.COMMITTED, ended=seq, outcome=outcome))

    def _abort(self, seq: int, body: Body) -> None:
        require_keys(body, "reserve", "reason", "clock")
        text_of(body, "reason")
        at, record = self._ending(body)
        for budget in record.budgets:
            self.budgets[budget].give_back(record.charge.event)
        self._end(at, replace(record, standing=Standing.ABORTED, ended=seq))

    def _settle(self, seq: int, body: Body) -> None:
        require_keys(body, "reserve", "reason", "clock")
        text_of(body, "reason")
        at, record = self._ending(body)
        self._end(at, replace(record, standing=Standing.SETTLED, ended=seq))

    def _close_budget(self, seq: int, body: Body) -> None:
        require_keys(body, "budget", "reason", "clock")
        text_of(body, "reason")
        at = integer_of(body, "budget")
        budget = self.budgets.get(at)
        if budget is None or budget.closed is not None:
            raise BadParameters(f"entry {at} opened no budget that could be closed")
        if held := self.held_on(at):
            raise BadParameters(f"reservations {held[:5]} are still open")
        budget.closed = seq

    def _rotate_key(self, seq: int, body: Body) -> None:
        if self.signed is None or self.head is None:
            raise BadParameters("no key was in use that could be followed by another")
        if self.open:
            raise BadParameters(f"reservations {sorted(self.open)[:5]} are still open")
        self.signed = rotated(self.signed, self.head, body)

    def _checkpoint(self, seq: int, body: Body) -> None:
        stated = {key: value for key, value in body.items() if key != "clock"}
        if stated and encode_body(stated) != encode_body(self.state()):
            raise BadParameters("it states something else than the entries before it amount to")

    def _audit(self, seq: int, body: Body) -> None:
        self.audits[seq] = Finding.from_body({key: value for key, value in body.items() if key != "clock"})

    def _note(self, seq: int, body: Body) -> None:
        require_keys(body, "text", "clock")
        text_of(body, "text")

    def _erase(self, seq: int, body: Body) -> None:
        for run in runs_in(body):
            named = self.named_at(run.seq)
            # What a checkpoint skipped is known by `whole` only.
            if named is None and run.seq >= self.since:
                raise BadParameters(f"entry {run.seq} has no openings that could be erased")
            if named is not None and (run.last >= named.size or named.reserve in self.open):
                raise BadParameters(f"opening {run.last} of entry {run.seq} is none, or its round is still open")
            self.erased.add(run)

    # --- beginning at a checkpoint ---------------------------------------------------------------

    def state(self) -> State:
        """What a CHECKPOINT says here; nothing where it does not fit."""
        signer = b"" if self.signed is None else self.signed.public
        return state_of(self._genesis, signer, self.budgets.values(), self._held)

    def resume(self, checkpoint: Entry, held: Callable[[int], Entry]) -> None:
        """Goes on from a checkpoint as if everything before it had been read; so far only GENESIS was.

        `held` gives the entry of a reservation that was open then.  Raises: BadParameters; Unverifiable.
        """
        body = checkpoint.fields
        require_keys(body, "genesis", "signer", "budgets", "open", "clock")
        if self.signed is None or not hmac.compare_digest(bytes_of(body, "genesis", 32), self._genesis):
            raise BadParameters("the checkpoint belongs to another first entry")
        signed = Signed(self.signed.ledger_id, bytes_of(body, "signer", 32))
        require_content(signed, checkpoint)
        check_signature(signed, checkpoint)
        self.signed, self.budgets, self._held = signed, budgets_of(body), held_of(body)
        for seq, digest in self._held.items():
            entry = held(seq)
            if entry.seq != seq or not hmac.compare_digest(entry.hash, digest):
                raise BadParameters(f"entry {seq} is not the reservation that was open")
            require_content(signed, entry)
            record, root = self._reservation(seq, entry.fields)
            self._hold(seq, record, root, record.charge.id)
        self.since = checkpoint.seq
        self._follow(checkpoint, signed)

    # --- questions -------------------------------------------------------------------------------

    def matching(self, charge: Charge) -> tuple[BudgetState, ...]:
        """The open budgets a charge would be charged to, in the order they were opened."""
        budgets = self.budgets.values()
        return tuple(b for b in budgets if b.closed is None and b.terms.covers(charge.dataset, charge.task))

    def require_matching(self, charge: Charge) -> tuple[BudgetState, ...]:
        """The same, one at least, under which the event means the same.  Raises: BadParameters."""
        matching = self.matching(charge)
        if not matching:
            raise BadParameters(
                f"no open budget is for data set {charge.dataset!r} in task {charge.task!r}; open one for it first"
            )
        require_one_meaning(charge.event, matching)
        return matching

    def require_own(self, terms: Terms) -> None:
        """Terms that this ledger may hold.  Raises: BadParameters."""
        if terms.randomness is not self.randomness:
            raise BadParameters(
                f"the ledger was made for {self.randomness.value} randomness and cannot hold a budget for "
                f"{terms.randomness.value}: make another ledger"
            )

    def require_unrehearsed(self) -> None:
        """No noise came from a known seed so far.  Raises: Unverifiable."""
        if self.rehearsed is not None:
            raise Unverifiable(
                f"this is a rehearsal: from entry {self.rehearsed} on its noise comes from known seeds, so nothing "
                "about privacy follows from it",
                seq=self.rehearsed,
            )

    def held_on(self, budget: int) -> list[int]:
        """Reservations that are charged to the budget and not ended."""
        return sorted(seq for seq, record in self.open.items() if budget in record.budgets)

    def named_at(self, seq: int) -> Named | None:
        """What openings lie beside this entry, if any."""
        at = bisect_left(self.named, seq, key=lambda each: each.seq)
        return self.named[at] if at < len(self.named) and self.named[at].seq == seq else None

    def find(self, charge: Charge) -> int | None:
        """The seq of the RESERVE that holds this charge's id; an aborted one has given it back."""
        return self._find(charge.id)

    def _find(self, charge_id: bytes) -> int | None:
        seq = self.latest.get(charge_id)
        return None if seq is None or self.records[seq].standing is Standing.ABORTED else seq

    def _ending(self, body: Body) -> tuple[int, Record]:
        seq = integer_of(body, "reserve")
        record = self.open.get(seq)
        if record is None:
            raise BadParameters(f"entry {seq} is no open reservation")
        return seq, record

    def _end(self, seq: int, record: Record) -> None:
        del self.open[seq], self._held[seq]
        self.records[seq] = record
        self.ended = seq

    def _event(self, seq: int, body: Body, key: str) -> Event:
        # The same event comes back every round: reading it once also lets equal events share memory.
        text = repr(body.get(key))
        if text not in self._events:
            try:
                self._events[text] = Event.from_canonical(body.get(key))
            except (BadParameters, NoiseTooCoarse) as wrong:
                raise Unverifiable(f"entry {seq} holds an event this version cannot judge: {wrong}", seq=seq) from wrong
        return self._events[text]

    def _require_secure(self, seq: int, event: Event) -> None:
        if not is_insecure(event):
            return
        if self.randomness is Randomness.SYSTEM:
            raise Unverifiable(f"entry {seq} charges noise from a known seed where that is forbidden", seq=seq)
        if self.rehearsed is None:
            self.rehearsed = seq


def _charged(body: Body) -> tuple[Charged, ...]:
    """What a RESERVE says each budget was and became."""
    listed = body.get("budgets")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise BadParameters("budgets is not a list")
    return tuple(_one_charged(each) for each in listed)


def _one_charged(each: Value) -> Charged:
    if not isinstance(each, dict):
        raise BadParameters("budgets lists something else than objects")
    require_keys(each, "budget", "before", "after")
    before, after = (Ends.from_body(object_of(each, key)) for key in ("before", "after"))
    return Charged(integer_of(each, "budget"), before, after)
