"""Commands that write a privacy ledger, or carry it elsewhere: `secagg ledger init, budget, close, settle, ...`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.ledgers import ClientKey, LedgerPath, tell
from protocols.cli.options import Delta, Json, Relation, ScopeName, ViewName

Reason = Annotated[str, typer.Option(help="why; it is written down")]
Epsilon = Annotated[str, typer.Option(help="the limit", metavar="NUMBER")]
Target = Annotated[Path, typer.Option("-o", "--out", help="the file to make", metavar="FILE")]


def init(
    path: LedgerPath,
    policy: Annotated[str, typer.Option(help="who has access to the data outside the mechanism, in words")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="for rehearsals: noise from known seeds")] = False,
    json: Json = False,
) -> None:
    """A new ledger without a budget, and its key beside it."""
    from dp.ledger import Ledger
    from dp.ledger.terms import Randomness
    from protocols.bookkeeping import head_of

    randomness = Randomness.INSECURE if insecure else Randomness.SYSTEM
    with Ledger.create(path, policy=policy, randomness=randomness) as ledger:
        values = head_of(ledger, None)
    tell("init", values, json=json)


def budget(
    path: LedgerPath,
    epsilon: Epsilon,
    delta: Delta,
    relation: Relation,
    dataset: Annotated[str, typer.Option(help="only for charges on this data set")] = "",
    task: Annotated[str, typer.Option(help="only for charges of this task")] = "",
    purpose: Annotated[str, typer.Option(help="what it is for")] = "",
    scope: Annotated[ScopeName, typer.Option(help="a limit for all rounds, or for each client's own")] = (
        ScopeName.EVERYONE
    ),
    view: Annotated[ViewName, typer.Option(help="towards whom it holds")] = ViewName.AGGREGATOR,
    json: Json = False,
) -> None:
    """One more budget in the ledger; charges go to all that match them, or are refused."""
    from protocols.bookkeeping import Covers, Limit, budget_opened, opened

    with opened(path) as ledger:
        values = budget_opened(
            ledger, Limit(epsilon, delta, relation.value, scope.value, view.value), Covers(dataset, task, purpose)
        )
    tell("budget", values, json=json)


def close(
    path: LedgerPath,
    reason: Reason,
    budget: Annotated[int | None, typer.Option(help="which one; left out, the oldest open one")] = None,
    json: Json = False,
) -> None:
    """No more charges to a budget, for ever."""
    from protocols.bookkeeping import head_of, opened

    with opened(path) as ledger:
        ledger.close_budget(reason, budget)
        values = head_of(ledger, None)
    tell("close", values, json=json)


def settle(path: LedgerPath, json: Json = False) -> None:
    """Count the reservations of dead processes as spent."""
    from protocols.bookkeeping import opened, settled

    with opened(path) as ledger:
        values = settled(ledger)
    tell("settle", values, json=json)


def rotate(path: LedgerPath, json: Json = False) -> None:
    """A new signing key, named by the old one."""
    from protocols.bookkeeping import head_of, opened

    with opened(path) as ledger:
        ledger.rotate_key()
        values = head_of(ledger, None)
    tell("rotate", values, json=json)


def erase(path: LedgerPath, client: ClientKey, json: Json = False) -> None:
    """Forget in which rounds a client was; totals stay verifiable, its proofs do not."""
    from protocols.bookkeeping import erased, opened

    with opened(path) as ledger:
        values = erased(ledger, client)
    tell("erase", values, json=json)


def export(path: LedgerPath, out: Target, json: Json = False) -> None:
    """The ledger as signed lines of JSON that need no database."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import head_of

    with Ledger.read(path) as ledger:
        ledger.export(out)
        values = head_of(ledger, None)
    tell("export", values | {"file": str(out)}, json=json)


def import_(
    source: Annotated[Path, typer.Argument(help="the export", metavar="FILE")], out: Target, json: Json = False
) -> None:
    """A ledger to read and to verify, made from an export; nothing is made of one that does not hold."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import shown

    Ledger.import_lines(source, out)
    with Ledger.read(out) as ledger:
        values = shown(ledger, ledger.verify())
    tell("import", values, json=json)


def copy(path: LedgerPath, out: Target, json: Json = False) -> None:
    """A copy that has the tail as well, which a copied file may lack."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import head_of

    with Ledger.read(path) as ledger:
        ledger.copy(out)
        values = head_of(ledger, None)
    tell("copy", values | {"file": str(out)}, json=json)


# "import" is no name a function can have.
KEEPING: dict[str, Callable[..., None]] = {
    "init": init,
    "budget": budget,
    "close": close,
    "settle": settle,
    "rotate": rotate,
    "erase": erase,
    "export": export,
    "import": import_,
    "copy": copy,
}
