"""What is written into a ledger beside spending: remarks, audits, what others sign, a new key."""

from __future__ import annotations

from collections.abc import Mapping

from dp.audit.finding import Finding
from dp.canonical import Body
from dp.errors import BadParameters, BadReservation, Forked, RolledBack
from dp.ledger.admission import Admission
from dp.ledger.attendance import Attendance
from dp.ledger.chain import Head, Kind, Signer, check_witness
from dp.ledger.cohorts import PSEUDONYM_BYTES, Opening, Pseudonyms
from dp.ledger.erasing import bodies_of, runs_of
from dp.ledger.genesis import clock, draw
from dp.ledger.log import Log, Said
from dp.ledger.opening import TIMEOUT_SECONDS
from dp.ledger.place import Keys, beside, directory_lock, read_key
from dp.ledger.reading import Reading
from dp.ledger.rotation import prepare, rotation_body, take_over
from dp.ledger.session import Session
from dp.ledger.terms import require_text
from dp.ledger.vouching import Witness


class Upkeep(Reading):
    """The part of `dp.ledger.book.Ledger` that writes, but spends nothing.  Raises: what `Ledger` says."""

    def __init__(self, log: Log, names: Pseudonyms | None, session: Session | None) -> None:
        super().__init__(log, names)
        self._session = session

    def note(self, text: str) -> Head:
        """A remark, signed like everything else."""
        body: Body = {"text": require_text("text", text), **clock()}
        return self._log.say(lambda: [Said(Kind.NOTE, body)])[-1].head

    def audit(self, finding: Finding) -> Head:
        """What an audit found out, as it stands: with its trials, hypotheses and confidence."""
        body: Body = {**finding.to_body(), **clock()}
        return self._log.say(lambda: [Said(Kind.AUDIT, body)])[-1].head

    def erase(self, of: int | bytes) -> int:
        """Takes out the openings of one entry (its number) or of one client (its pseudonym); how many there were.

        The total stays verifiable and so do the proofs of all others. What was erased is overwritten on disk; copies
        made before are not reached. Under a limit for each client, a round with erased openings counts from then on
        for everybody who is not listed in it.
        Raises: BadReservation for a reservation that is still open; Locked while another process reads the tail.
        """
        if not (_is_number(of) or (isinstance(of, bytes) and len(of) == PSEUDONYM_BYTES)):
            raise BadParameters("give the number of an entry, or the pseudonym of a client, to erase")
        store = self._log.store
        erased: list[Opening] = []

        def decide() -> list[Said]:
            openings = store.openings_of(of) if isinstance(of, int) else store.openings()
            erased.extend(each for each in openings if not each.is_erased and of in (each.seq, each.pseudonym))
            if held := sorted({each.seq for each in erased} & set(self._log.history.open)):
                raise BadReservation(f"reservations {held[:5]} are open; end them before erasing who is in them")
            store.erase(erased)
            return [Said(Kind.ERASE, {**body, **clock()}) for body in bodies_of(runs_of(erased))]

        self._log.say(decide)
        store.forget()
        self._attendance, self._admission = Attendance(), Admission(self._attended)
        return len(erased)

    def witness(self, head: Head, party: bytes, signature: bytes) -> None:
        """`witness_all` of one party."""
        self.witness_all(head, {party: signature})

    def witness_all(self, head: Head, signatures: Mapping[bytes, bytes]) -> None:
        """Keeps that parties have seen this head: their Ed25519 signatures of `chain.witness_statement`, all or none.

        Each vouches for the ledger towards whoever knows that party's public key, and to nobody else. Kept once,
        however often it is given; one sync for all of them.
        Raises: BadParameters when a party did not sign this head; RolledBack when it is not reached here;
            Forked when the entry of its number is another one.
        """
        history = self._log.begun()
        if history.signed is None or history.head is None or head.seq > history.head.seq:
            raise RolledBack(f"entry {head.seq} was seen by a witness and is not in this ledger", seq=head.seq)
        for party, signature in signatures.items():
            check_witness(history.signed.ledger_id, head, party, signature)
        if self._log.entry(head.seq).hash != head.hash:
            raise Forked(f"a witness has seen another entry {head.seq}; keep both as evidence", seq=head.seq)
        self._log.writer()
        with self._log.store.writing():
            for party, signature in signatures.items():
                self._log.store.add_witness(Witness(head.seq, party, signature))

    def rotate_key(self) -> Head:
        """A new signing key, named by the old one; other processes must open the ledger again.

        Raises: BadReservation while a reservation is open, wherever it is held.
        """
        path = self._log.store.path
        if self._session is None:
            raise self._log.read_only()
        with directory_lock(path.parent, TIMEOUT_SECONDS):
            following = Keys(draw(32), read_key(beside(path, ".key")).secret)
            new = Signer(following.seed)
            prepare(path, following)
            head = self._log.append(lambda: [self._rotation(new)])[-1].head
            take_over(path)
            self._log.take_key(new)
            # Its lock lay on the file that was replaced, where nobody looks any more.
            self._session.close()
            self._session = Session(beside(path, ".key"))
        self._log.keep_pin()
        return head

    def _rotation(self, new: Signer) -> Said:
        history = self._log.history
        if history.open:
            raise BadReservation(f"reservations {sorted(history.open)[:5]} are open; end them before the key changes")
        signed, head = self._log.known()
        return Said(Kind.ROTATE_KEY, {**rotation_body(signed.ledger_id, head, new), **clock()})


def _is_number(of: int | bytes) -> bool:
    return isinstance(of, int) and not isinstance(of, bool) and 0 <= of < 2**63
