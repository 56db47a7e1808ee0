"""What a ledger amounts to at some entry, written into its chain, so that opening it need not begin at the first.

    CHECKPOINT   {"budgets": [...], "genesis":..., "open": [...], "signer":...}          every 1,024 entries

The budgets with all their counted events, the hash of the first entry, the reservations still open by the hash of
theirs, and the signer. It is signed by the ledger's own key after that key's holder had read everything before it,
and `verify` computes it anew: a wrong one is `Corrupt`. A state that does not fit into an entry is left out, and
opening then begins at the first one.

What an opening by checkpoint skips: the hashes, signatures and meaning of the entries before it. Whoever edits
those is found by `verify`, and as soon as a question about an old reservation makes the ledger read all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dp.canonical import MAX_BODY_BYTES, Body, Value, bytes_of, encode_body, integer_of, object_of, require_keys
from dp.errors import BadParameters
from dp.events import Event
from dp.ledger.budgets import BudgetState
from dp.ledger.terms import Terms

EVERY = 1024
# Room in an entry for its clock.
_MOST_BYTES = MAX_BODY_BYTES - 256

State = dict[str, Value]


def state_of(genesis: bytes, signer: bytes, budgets: Iterable[BudgetState], held: Mapping[int, bytes]) -> State:
    """The state as a CHECKPOINT entry says it, nothing where it does not fit; `held` is seq -> hash of its entry."""
    state: State = {
        "genesis": genesis.hex(),
        "signer": signer.hex(),
        "budgets": [_budget_body(budget) for budget in budgets],
        "open": [{"seq": seq, "hash": held[seq].hex()} for seq in sorted(held)],
    }
    try:
        encode_body(state, _MOST_BYTES)
    except BadParameters:
        return {}
    return state


def budgets_of(body: Body) -> dict[int, BudgetState]:
    """The budgets of a state, by their ids.  Raises: BadParameters."""
    budgets = [_budget_of(each) for each in _objects(body, "budgets")]
    return {budget.id: budget for budget in budgets}


def held_of(body: Body) -> dict[int, bytes]:
    """The open reservations of a state: the hash of each one's entry by its number.  Raises: BadParameters."""
    return {integer_of(each, "seq"): bytes_of(each, "hash", 32) for each in _objects(body, "open")}


def _budget_body(budget: BudgetState) -> Body:
    closed: Body = {} if budget.closed is None else {"closed": budget.closed}
    return {
        "id": budget.id,
        "terms": budget.terms.to_body(),
        "charged": _counts_body(budget.charged),
        "realised": _counts_body(budget.realised),
        "version": budget.version,
        **closed,
    }


def _budget_of(body: Body) -> BudgetState:
    closed = ("closed",) if "closed" in body else ()
    require_keys(body, "id", "terms", "charged", "realised", "version", *closed)
    return BudgetState(
        integer_of(body, "id"),
        Terms.from_body({**object_of(body, "terms"), "clock": 0}),
        integer_of(body, "closed") if closed else None,
        _counts_of(body, "charged"),
        _counts_of(body, "realised"),
        integer_of(body, "version"),
    )


def _counts_body(counts: Counter[Event]) -> list[Body]:
    items = [(event.to_canonical(), times) for event, times in counts.items()]
    return [{"event": event, "times": times} for event, times in sorted(items, key=repr)]


def _counts_of(body: Body, key: str) -> Counter[Event]:
    counts: Counter[Event] = Counter()
    for each in _objects(body, key):
        require_keys(each, "event", "times")
        counts[Event.from_canonical(each["event"])] = integer_of(each, "times")
    return counts


def _objects(body: Body, key: str) -> Sequence[Body]:
    listed = body.get(key)
    if not isinstance(listed, Sequence) or not all(isinstance(each, dict) for each in listed):
        raise BadParameters(f"{key} is not a list of objects")
    return [each for each in listed if isinstance(each, dict)]
