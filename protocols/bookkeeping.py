"""What the ledger commands say: values for a table and for one JSON object, from a ledger that is open.

    ok, entries, head, epsilon_lower, epsilon_upper, problems        of every command that judges
    randomness                                                       "insecure": noise from known seeds, for rehearsals
    erased                                                           openings that were taken out
    budgets                                                          a record for each, both views beside each other

The epsilon at the top is that of the budget that was charged most, open or closed; where a ledger cannot be computed,
it is missing and `problems` says why. What several budgets of one data set bound together is on the report.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dp.accountant import Budget, Interval, Unit, View
from dp.errors import AccountantDisagreement, LedgerError, NoiseTooCoarse, UnsupportedEvent
from dp.ledger import Head, Ledger, MerkleProof, Scope, Standing, Terms, Verdict, check_proof
from dp.ledger.pins import Pin
from dp.ledger.terms import Randomness
from dp.ledger.vouching import Known
from dp.place import open_regular
from protocols.errors import Misused
from protocols.foreign import foreign_epsilon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dp.events import Event
    from dp.ledger.budgets import BudgetState
    from dp.ledger.replay import ReplayReport

Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a budget limits, as it was typed."""

    epsilon: str
    delta: str
    relation: str
    scope: str
    view: str


@dataclass(frozen=True, slots=True)
class Covers:
    """Which charges a budget is for, "" for all, and what it is for."""

    dataset: str
    task: str
    purpose: str


# How the names of accountants begin that are not ours.
FOREIGN = "dp-accounting"
MOST_PROOF_BYTES = 256 << 20
NO_FIGURE = (LedgerError, UnsupportedEvent, NoiseTooCoarse, AccountantDisagreement)


# --- reading -----------------------------------------------------------------------------------------------


def shown(ledger: Ledger, verdict: Verdict) -> Values:
    """Entries, head, every budget."""
    return judged(ledger, verdict) | {"budgets": budgets_of(ledger)}


def verified(ledger: Ledger, known: Known) -> Values:
    """The same, and what the examiner makes of it; `vouched` is the last entry that somebody outside vouches for."""
    verdict = ledger.verify(known)
    return shown(ledger, verdict) | {
        "verdict": verdict.verdict,
        "vouched": verdict.vouched,
        "witnesses": verdict.witnesses,
        "audits_refuted": refuting(verdict),
        "reasons": [problem.message for problem in verdict.problems],
    }


def replayed(ledger: Ledger, *, foreign: bool) -> Values:
    """The same, and for every budget what was recorded, what follows from its events, and what others say."""
    verdict, report = ledger.verify(), ledger.replay(foreign_opinion if foreign else None)
    values = judged(ledger, verdict)
    problems = [*verdict.problems, *(each for each in report.problems if each not in verdict.problems)]
    return values | {
        "ok": not problems,
        "problems": [{"line": each.line, "error": each.error} for each in problems],
        "compared": report.compared,
        "budgets": opinions_of(report),
        "reasons": [each.message for each in problems],
    }


def judged(ledger: Ledger, verdict: Verdict) -> Values:
    """What every judging command says."""
    spent = _spent(ledger)
    return {
        "ok": verdict.ok,
        "entries": verdict.entries,
        "head": None if verdict.head is None else verdict.head.hash.hex(),
        "randomness": _randomness(ledger),
        "erased": verdict.erased,
        "epsilon_lower": None if spent is None else spent.lower,
        "epsilon_upper": None if spent is None else spent.upper,
        "problems": [{"line": each.line, "error": each.error} for each in verdict.problems],
    }


def refuting(verdict: Verdict) -> int | None:
    """How many audits in the ledger refute a claim; None where that is not known, for not all could be read."""
    return verdict.audits_refuted if verdict.unread is None else verdict.audits_refuted or None


def head_of(ledger: Ledger, pin: Path | None) -> Values:
    """Where it ends and under which key; kept at `pin` where one is given."""
    head = ledger.head()
    kept = ledger.pin()
    if pin is not None:
        kept.keep(pin)
    return _ended(head) | {
        "ledger_id": kept.ledger_id.hex(),
        "signer": kept.signer.hex(),
        "signature": head.signature.hex(),
        "pin": None if pin is None else str(pin),
    }


def proved(ledger: Ledger, seq: int, client: str) -> Values:
    """A proof that the client was in the cohort an entry names, which was checked against the head of now."""
    proof = ledger.prove(seq, client_named(client))
    check_proof(proof, ledger.head())
    return _ended(ledger.head()) | {"position": proof.position, "proof": dict(proof.to_body())}


def checked(file: Path, pin: Path) -> Values:
    """That a proof somebody was handed, as `prove` prints it, holds against a head they kept themselves.

    Raises: Misused for a file that is no proof; dp.errors.Corrupt, BadParameters for one that does not hold;
        StorageRefused for a pipe or a device; OSError.
    """
    with os.fdopen(open_regular(file), "rb") as read:
        raw = read.read(MOST_PROOF_BYTES + 1)
    try:
        said = json.loads(raw) if len(raw) <= MOST_PROOF_BYTES else None
    except (ValueError, RecursionError) as wrong:
        raise Misused(f"{file} is no proof: it is not JSON") from wrong
    body = said.get("proof", said) if isinstance(said, dict) else None
    if not isinstance(body, dict):
        raise Misused(f"{file} is no proof: take the JSON that `secagg ledger prove --json` prints")
    proof, kept = MerkleProof.from_body(body), Pin.read(pin)
    if not hmac.compare_digest(proof.ledger_id, kept.ledger_id):
        raise Misused(f"the proof is of ledger {proof.ledger_id.hex()}, the pin of {kept.ledger_id.hex()}")
    check_proof(proof, kept.head)
    return _ended(kept.head) | {"seq": proof.seq, "position": proof.position, "pseudonym": proof.pseudonym.hex()}


# --- writing -----------------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    """The ledger to write to, for the randomness it was made for."""
    with Ledger.read(path) as ledger:
        randomness = ledger.randomness
    with Ledger.open(path) if randomness is Randomness.SYSTEM else Ledger.open_insecure(path) as ledger:
        yield ledger


def budget_opened(ledger: Ledger, limit: Limit, covers: Covers) -> Values:
    """One more budget.  Raises: BadParameters."""
    budget = Budget(limit.epsilon, limit.delta, limit.relation)
    terms = Terms(
        budget,
        Unit(budget.relation),
        View(limit.view),
        ledger.randomness,
        covers.dataset,
        covers.task,
        covers.purpose,
        Scope(limit.scope),
    )
    opened = ledger.open_budget(terms)
    return head_of(ledger, None) | {"budget": opened, "terms": str(terms)}


def settled(ledger: Ledger) -> Values:
    """How many reservations of dead processes count as spent from now on; opening the ledger settles them already."""
    ledger.settle()
    open_still = sum(standing is Standing.RESERVED for _, standing in ledger.charges())
    return head_of(ledger, None) | {"open": open_still}


def erased(ledger: Ledger, client: str) -> Values:
    """How many openings of one client were taken out; not ok where there was none, as for a name mistyped."""
    count = ledger.erase(ledger.pseudonym(client_named(client)))
    return head_of(ledger, None) | {"ok": count > 0, "erased": count}


def key_of(text: str, length: int | None = 32) -> bytes:
    """A key typed in hex, of this length where there is one.  Raises: Misused."""
    if re.fullmatch(r"([0-9a-fA-F]{2})+", text) is None or length not in (None, len(text) // 2):
        raise Misused(f"{text[:80]!r} is no key in hex{'' if length is None else f' of {length} bytes'}")
    return bytes.fromhex(text)


def client_named(text: str) -> bytes:
    """What a ledger knows a client by: "#7" for its number (`charging.by_number`), else its key in hex, of any length.

    Raises: Misused.
    """
    if re.fullmatch(r"#(0|[1-9][0-9]{0,9})", text) is not None:
        return text[1:].encode("ascii")
    return key_of(text, None)


# --- parts -------------------------------------------------------------------------------------------------


def budgets_of(ledger: Ledger) -> list[Values]:
    """A record for each budget, both views beside each other; none where the entries cannot be understood."""
    try:
        budgets = list(ledger.budgets.values())
    except LedgerError:
        return []
    return [_budget_record(ledger, budget) for budget in budgets]


def opinions_of(report: ReplayReport) -> list[Values]:
    """A record for each budget: the recorded end, our own, each accountant's, and whether they agree."""
    records: list[Values] = []
    for each in report.budgets:
        foreign = {one.accountant: one.interval for one in each.opinions if one.accountant.startswith(FOREIGN)}
        own = {one.accountant: one.interval for one in each.opinions if one.accountant not in foreign}
        records.append(
            {
                "budget": each.budget,
                "recorded": None if each.recorded is None else float(each.recorded.upper),
                "own": None if each.own is None else each.own.upper,
                "own_lower": None if each.own is None else each.own.lower,
                **{name: None if found is None else found.upper for name, found in own.items()},
                "foreign": next((found.upper for found in foreign.values() if found is not None), None),
                "agrees": all(opinion.agrees for opinion in each.opinions),
                "why": "; ".join(f"{one.accountant} {one.why}" for one in each.opinions if one.why),
            }
        )
    return records


def foreign_opinion(counts: Counter[Event], terms: Terms) -> Interval:
    """dp-accounting's opinion, as `dp.ledger.replay` asks for one."""
    return foreign_epsilon(counts, terms.unit, terms.view, terms.budget.delta)


def _budget_record(ledger: Ledger, budget: BudgetState) -> Values:
    spent = _figure(lambda: ledger.interval(budget.id))
    released = _figure(lambda: ledger.interval_released(budget.id))
    return {
        "budget": budget.id,
        "terms": str(budget.terms),
        "view": budget.terms.view.value,
        "epsilon_lower": None if spent is None else spent.lower,
        "epsilon_upper": None if spent is None else spent.upper,
        "epsilon_released_upper": None if released is None else released.upper,
        "closed": budget.closed,
    }


def _randomness(ledger: Ledger) -> str | None:
    """Which noise it takes: "system", or "insecure" for a rehearsal, which protects nobody."""
    try:
        return ledger.randomness.value
    except LedgerError:
        return None


def _spent(ledger: Ledger) -> Interval | None:
    try:
        return max((ledger.interval(budget) for budget in ledger.budgets), key=lambda each: each.upper, default=None)
    except NO_FIGURE:
        return None


def _figure(ask: Callable[[], Interval]) -> Interval | None:
    try:
        return ask()
    except NO_FIGURE:
        return None


def _ended(head: Head) -> Values:
    return {"ok": True, "entries": head.seq + 1, "head": head.hash.hex()}
