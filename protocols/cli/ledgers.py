"""Commands that read a privacy ledger: `secagg ledger show, verify, replay, report, head, prove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocols.cli.options import REFUSED, Json, output, require_command

if TYPE_CHECKING:
    from dp.ledger.vouching import Known

ledgers = typer.Typer(
    help="What was spent, by whom it can be checked, and whether it holds.",
    invoke_without_command=True,
    callback=require_command,
)

LedgerPath = Annotated[Path, typer.Argument(help="the ledger file", metavar="PATH")]
PinPath = Annotated[Path | None, typer.Option(help="a head that was kept elsewhere", metavar="FILE")]
PartyKeys = Annotated[
    list[str] | None,
    typer.Option("--witness", help="public key of a party whose signatures of heads count, in hex", metavar="KEY"),
]
SignerKey = Annotated[
    str | None, typer.Option("--signer", help="the public key the ledger must begin under, in hex", metavar="KEY")
]
ClientKey = Annotated[
    str,
    typer.Option(
        "--client", help="the client's identity key in hex, or #7: its number in runs of one process", metavar="KEY"
    ),
]


def known_of(pin: Path | None, parties: list[str] | None, signer: str | None) -> Known:
    """What the user has from elsewhere, read."""
    from dp.ledger.pins import Pin
    from dp.ledger.vouching import Known
    from protocols.bookkeeping import key_of

    return Known(
        None if pin is None else Pin.read(pin),
        frozenset(map(key_of, parties or ())),
        None if signer is None else key_of(signer),
    )


def tell(command: str, values: dict[str, object], *, json: bool) -> None:
    """The result, and the exit code of its `ok`."""
    output(json).result(f"ledger {command}", values)
    if not values["ok"]:
        raise typer.Exit(REFUSED)


@ledgers.command()
def show(path: LedgerPath, json: Json = False) -> None:
    """Entries, head, every budget, and what was spent in both views."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import shown

    with Ledger.read(path) as ledger:
        values = shown(ledger, ledger.verify())
    tell("show", values, json=json)


@ledgers.command()
def verify(
    path: LedgerPath,
    pin: PinPath = None,
    witness: PartyKeys = None,
    signer: SignerKey = None,
    require_pin: Annotated[bool, typer.Option(help="fail unless a pin or a witness vouches for it")] = False,
    json: Json = False,
) -> None:
    """Every page, hash, signature, transition, cohort and limit, computed again."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import verified

    known = known_of(pin, witness, signer)
    with Ledger.read(path) as ledger:
        values = verified(ledger, known)
    if require_pin and values["vouched"] is None:
        values["ok"] = False
        values["problems"] = [*_list(values["problems"]), {"line": None, "error": "Unverifiable"}]
    tell("verify", values, json=json)


@ledgers.command()
def replay(
    path: LedgerPath,
    foreign: Annotated[bool, typer.Option("--foreign", help="ask dp-accounting as well (extra verify)")] = False,
    json: Json = False,
) -> None:
    """Every recorded figure computed anew from its events, by all accountants."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import replayed

    with Ledger.read(path) as ledger:
        values = replayed(ledger, foreign=foreign)
    tell("replay", values, json=json)


@ledgers.command()
def report(
    path: LedgerPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="the page to write, HTML", metavar="FILE")],
    json_out: Annotated[Path | None, typer.Option(help="every number of it as JSON", metavar="FILE")] = None,
    pin: PinPath = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="attack sums of gradients now, and show what was read out of them")
    ] = False,
    json: Json = False,
) -> None:
    """One page that says what was promised, what was spent, and how both can be checked."""
    from dp.ledger import Ledger
    from protocols.publishing import pictures as attacked
    from protocols.publishing import reported

    with Ledger.read(path) as ledger:
        values = reported(ledger, known_of(pin, None, None).pin, out, json_out, attacked() if pictures else None)
    tell("report", values, json=json)


@ledgers.command()
def head(
    path: LedgerPath,
    pin: Annotated[Path | None, typer.Option(help="keep it there: never back, never another", metavar="FILE")] = None,
    json: Json = False,
) -> None:
    """Where the ledger ends: what to keep elsewhere, so that nobody can cut it unseen."""
    from dp.ledger import Ledger
    from protocols.bookkeeping import head_of

    with Ledger.read(path) as ledger:
        values = head_of(ledger, pin)
    tell("head", values, json=json)


@ledgers.command()
def prove(
    path: LedgerPath,
    seq: Annotated[int, typer.Option(help="entry of the reservation, or of its commit for survivors")],
    client: ClientKey,
    json: Json = False,
) -> None:
    """That a client was in a round: a path to the root in the entry, checked before it is shown."""
    from protocols.bookkeeping import opened, proved

    with opened(path) as ledger:
        values = proved(ledger, seq, client)
    tell("prove", values, json=json)


@ledgers.command()
def check(
    proof: Annotated[Path, typer.Argument(help="what `prove --json` printed", metavar="FILE")],
    pin: Annotated[Path, typer.Option(help="a head you kept yourself, at or behind the entry", metavar="FILE")],
    json: Json = False,
) -> None:
    """For the client: that a proof it was handed leads to a head that it has seen."""
    from protocols.bookkeeping import checked

    tell("check", checked(proof, pin), json=json)


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
