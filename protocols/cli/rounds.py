"""Commands that run rounds or plan them: `demo`, `simulate`, `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocols.cli.options import (
    REFUSED,
    Bits,
    Clients,
    Dropout,
    EngineChoice,
    EngineName,
    Json,
    ManyClients,
    ModeChoice,
    ModeName,
    PromiseName,
    Protocol,
    output,
)
from secagg.ckks.cipher import Engine
from secagg.ckks.plan import Mode


def engine_named(name: EngineName | None, protocol: Protocol, seed: int | None = None) -> Engine:
    """What was asked for, and else SEAL, which draws by itself: a run that must repeat has the other."""
    from secagg.ckks.cipher import Fft
    from secagg.ckks.seal import SealEngine

    if name is not None and protocol is not Protocol.CKKS:
        raise typer.BadParameter("--engine says what encrypts: add --protocol ckks, or leave it out")
    if name is EngineName.SEAL and seed is not None:
        raise typer.BadParameter("SEAL draws its own randomness, so --seed cannot repeat it: take --engine fft")
    return Fft() if name is EngineName.FFT or seed is not None else SealEngine()


def mode_named(name: ModeName | None, protocol: Protocol, engine: EngineName | None) -> Mode:
    """What was asked for, and else threshold."""
    if name is not None and protocol is not Protocol.CKKS:
        raise typer.BadParameter("--mode says who can open encrypted sums: add --protocol ckks, or leave it out")
    if name is ModeName.SEEDED and engine is not None:
        raise typer.BadParameter("no engine encrypts under a key that the clients share: leave --engine out")
    return Mode.THRESHOLD if name is None else Mode(name.value)


def demo(
    protocol: Annotated[Protocol, typer.Option(help="how updates are hidden")] = Protocol.PAIRWISE,
    rounds: Annotated[int, typer.Option(min=1, help="rounds of training")] = 30,
    clients: Clients = 100,
    dropout: Dropout = 0.1,
    no_dp: Annotated[bool, typer.Option("--no-dp", help="train without noise")] = False,
    iid: Annotated[bool, typer.Option("--iid", help="give every client the same mix of digits")] = False,
    seed: Annotated[int, typer.Option(min=0, help="data split, selection and drop-outs; never a secret")] = 0,
    engine: EngineChoice = None,
    runs: Annotated[Path, typer.Option(help="folder that receives model, ledger and report")] = Path("runs"),
    ledger: Annotated[Path | None, typer.Option(help="continue this ledger instead of opening a new one")] = None,
    json: Json = False,
) -> None:
    """Federated training on real digits: masked sums, drop-outs, exact noise, an accounted budget."""
    from protocols.learning.demo import LEDGER, Demo, run_demo
    from protocols.publishing import closed
    from protocols.report.live import follow

    settings = Demo(
        protocol=protocol.value,
        rounds=rounds,
        clients=clients,
        dropout=dropout,
        private=not no_dp,
        iid=iid,
        seed=seed,
        folder=runs,
        ledger=ledger,
        engine=engine_named(engine, protocol),
    )
    result = follow(run_demo(settings), settings)
    values, held = result.to_dict(), True
    if settings.private:
        folder = Path(result.folder)
        page = closed(ledger or folder / LEDGER, folder)
        held = bool(page.pop("ok"))
        values |= page
    output(json).result("demo", values)
    if not (result.exact and held):
        raise typer.Exit(REFUSED)


def simulate(
    clients: ManyClients,
    dim: Annotated[int, typer.Option(min=1, max=1 << 27, help="coordinates of the vector")],
    protocol: Annotated[Protocol, typer.Option(help="how vectors are hidden")] = Protocol.PAIRWISE,
    mode: ModeChoice = None,
    dropout: Dropout = 0.0,
    bits: Bits = 16,
    engine: EngineChoice = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="repeatable and therefore insecure; encrypts in numpy")
    ] = None,
    json: Json = False,
) -> None:
    """One real cryptographic round on random vectors, compared with the ideal sum."""
    from protocols.report.progress import counted
    from protocols.trial import Trial, plan_for, run_trial

    opened = mode_named(mode, protocol, engine)
    chosen = plan_for(clients, dropout, bits, protocol.value)
    trial = Trial(chosen, clients, dim, dropout, engine_named(engine, protocol, seed), opened)
    with counted(clients) as told:
        report = run_trial(trial, seed, told)
    output(json).result("simulate", {"protocol": protocol.value, **report.to_dict()})
    if not report.exact:
        raise typer.Exit(REFUSED)


def plan(
    clients: Annotated[int, typer.Option(min=3, max=1_000_000, help="number of clients")],
    dropout: Dropout,
    corrupt: Annotated[float, typer.Option(min=0, max=1, help="fraction of clients that may help the server")],
    dim: Annotated[int, typer.Option(min=1, help="coordinates of the vector")] = 1_000_000,
    bits: Bits = 16,
    promise: Annotated[PromiseName, typer.Option(help="the server to be safe against")] = PromiseName.ACTIVE,
    exchange_seconds: Annotated[
        float,
        typer.Option(
            min=0, help="how long one exchange of the server with others takes: then the shortest round is recommended"
        ),
    ] = 0.0,
    json: Json = False,
) -> None:
    """Protocol, parameters, exact bytes and estimated seconds of a round; refuses what cannot be met."""
    from protocols.choices import Request
    from protocols.plan import Promise
    from protocols.planning import plan_round

    report = plan_round(Request(clients, dropout, corrupt, dim, bits, Promise(promise.value), exchange_seconds))
    output(json).result("plan", report.to_dict())
