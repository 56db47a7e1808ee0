"""Commands that try to refute a privacy claim by attack: `secagg audit ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp.audit.routes import NoisePath
from dp.errors import DpError
from protocols.cli.options import NOISE_HELP, REFUSED, Json, output, require_command

if TYPE_CHECKING:
    from protocols.auditing import AuditReport

audits = typer.Typer(
    help="Lower bounds of what leaks, by attack: above the claim, the claim is refuted.",
    invoke_without_command=True,
    callback=require_command,
)

DeltaOfClaim = Annotated[str, typer.Option(help="delta of the claim", metavar="NUMBER")]
Confidence = Annotated[float, typer.Option(help="how sure the lower bound must be")]
LedgerOption = Annotated[Path | None, typer.Option("--ledger", help="write what was found into this ledger")]
ManyRounds = Annotated[int, typer.Option(min=2, max=1 << 24, help="rounds that are attacked")]
FewClients = Annotated[int, typer.Option(min=3, max=1024, help="clients of a round, the canary among them")]
Noise = Annotated[str, typer.Option(help=NOISE_HELP, metavar="NUMBER")]
CoinSeed = Annotated[int, typer.Option(min=0, help="the attack's own coins; never that of the noise")]


def told_of(command: str, report: AuditReport, ledger: Path | None, *, json: bool) -> None:
    """Into the ledger first: what is printed is then there. A ledger that fails loses its entry, never the finding."""
    values = report.to_dict()
    try:
        if ledger is not None:
            from protocols.auditing import record

            record(ledger, report)
    except (DpError, OSError) as wrong:
        values |= {"ok": False, "error": type(wrong).__name__, "message": str(wrong)}
    output(json).result(f"audit {command}", values)
    if not values["ok"]:
        raise typer.Exit(REFUSED)


@audits.command()
def selftest(
    mechanism: Annotated[NoisePath | None, typer.Option(help="one noise path; left out, all of them")] = None,
    ledger: LedgerOption = None,
    json: Json = False,
) -> None:
    """Every noise path through its own code, against what a ledger books for it."""
    from protocols.auditing import require_ledger, run_selftest, steps_of_selftest
    from protocols.report.progress import steps

    require_ledger(ledger)
    with steps("noise paths", steps_of_selftest(mechanism)) as told:
        report = run_selftest(mechanism, told)
    told_of("selftest", report, ledger, json=json)


@audits.command("one-run")
def one_run(
    scores: Annotated[
        Path, typer.Option(help="CSV file: `score,included`, a line for each canary", exists=True, dir_okay=False)
    ],
    guesses: Annotated[
        str | None, typer.Option(help="how many guesses are made: 400; or several, all of them tested: 100,200,400")
    ] = None,
    choose: Annotated[
        str | None, typer.Option(help="instead: the best of these on half of the canaries, tested on the others")
    ] = None,
    delta: DeltaOfClaim = "1e-5",
    claim: Annotated[str | None, typer.Option(help="the epsilon that is claimed", metavar="NUMBER")] = None,
    confidence: Confidence = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="orders equal scores, and draws the half that chooses")] = 0,
    ledger: LedgerOption = None,
    json: Json = False,
) -> None:
    """One run of training with canaries in it: how many guesses about them are right."""
    from protocols.auditing import declared, require_ledger, run_one_run

    require_ledger(ledger)
    report = run_one_run(scores, declared(guesses, choose), delta, claim, confidence, seed)
    told_of("one-run", report, ledger, json=json)


@audits.command()
def canary(
    rounds: ManyRounds = 1000,
    clients: FewClients = 3,
    noise_multiplier: Noise = "1",
    delta: DeltaOfClaim = "1e-5",
    confidence: Confidence = 0.95,
    real: Annotated[bool, typer.Option("--real", help="rounds of the real protocol instead of the ideal sum")] = False,
    seed: CoinSeed = 0,
    ledger: LedgerOption = None,
    json: Json = False,
) -> None:
    """A client in or out by a coin, a server that sees sums only: what it can tell."""
    from protocols.auditing import CanaryRequest, require_ledger, run_canary, run_real_canary
    from protocols.report.progress import steps

    require_ledger(ledger)
    request = CanaryRequest(clients, noise_multiplier, rounds, delta, seed, confidence)
    run = run_real_canary if real else run_canary
    with steps("rounds", rounds) as told:
        report = run(request, told)
    told_of("canary", report, ledger, json=json)


@audits.command()
def membership(
    rounds: ManyRounds = 4000,
    clients: FewClients = 3,
    noise_multiplier: Noise = "1",
    delta: DeltaOfClaim = "1e-5",
    confidence: Confidence = 0.95,
    seed: CoinSeed = 0,
    ledger: LedgerOption = None,
    json: Json = False,
) -> None:
    """Who was in the sum, for an attacker who knows the target's update: against the best there can be."""
    from protocols.auditing import CanaryRequest, require_ledger, run_membership
    from protocols.report.progress import steps

    require_ledger(ledger)
    request = CanaryRequest(clients, noise_multiplier, rounds, delta, seed, confidence)
    with steps("rounds", rounds) as told:
        report = run_membership(request, told)
    told_of("membership", report, ledger, json=json)
