"""The `secagg` command: parse, call, show. No logic lives here.

Results go to stdout (`--json`: exactly one object), progress and notes to stderr. Exit codes: 0 fine,
1 a check or a budget refused, 2 wrong use.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dp.errors import (
    AccountantDisagreement,
    BudgetExceeded,
    ClipExceeded,
    DpError,
    EntropyUnavailable,
    LedgerError,
)
from dp.events import Sampling
from protocols.errors import Misused, ProtocolError
from protocols.report.tables import JsonOutput, Output, TextOutput
from secagg.ckks.cipher import Engine
from secagg.ckks.plan import Mode
from secagg.errors import EntropyUnavailable as NoEntropy
from secagg.errors import SecaggError

app = typer.Typer(
    help="Secure aggregation and exact differential privacy for federated learning.",
    no_args_is_help=True,
    add_completion=False,
    # Locals in a traceback would print keys.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)

REFUSED = 1
WRONG_USE = 2
# None of these is wrong use: a limit was reached, or the machine or this package failed a check of its own.
REFUSALS = BudgetExceeded | LedgerError | EntropyUnavailable | NoEntropy | AccountantDisagreement | ClipExceeded
# What newer releases of typer return for KeyboardInterrupt; older ones raise Abort.
INTERRUPTED = 130

# The classes of a usage error differ between typer's releases; these two are its public name's parents.
_USAGE_ERROR, _CLICK_ERROR = typer.BadParameter.__mro__[1:3]


class Protocol(StrEnum):
    """Protocols the command can run."""

    PAIRWISE = "pairwise"
    ONESHOT = "oneshot"
    CKKS = "ckks"


class EngineName(StrEnum):
    """What encrypts: SEAL, or the same ring in numpy."""

    SEAL = "seal"
    FFT = "fft"


class ModeName(StrEnum):
    """Who can open an encrypted sum: t of the holders, one decryptor, or every client."""

    THRESHOLD = "threshold"
    SINGLE = "single"
    SEEDED = "seeded"


class PromiseName(StrEnum):
    """Servers a round can be safe against."""

    ACTIVE = "active"
    CURIOUS = "curious"


class MechanismName(StrEnum):
    """Mechanisms `epsilon` and `calibrate` know."""

    GAUSSIAN = "gaussian"
    LAPLACE = "laplace"
    DISCRETE_GAUSSIAN = "discrete-gaussian"
    SKELLAM = "skellam"


class RelationName(StrEnum):
    """Neighbouring relations."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    ZERO_OUT = "zero-out"
    REPLACE_ONE = "replace-one"


EngineChoice = Annotated[
    EngineName | None, typer.Option(help="with ckks: what encrypts, seal unless said; fft is the faster one")
]
ModeChoice = Annotated[
    ModeName | None,
    typer.Option(help="with ckks: who can open, threshold unless said; the report names what the mode is weak against"),
]
Json = Annotated[bool, typer.Option("--json", help="print exactly one JSON object on stdout")]
Clients = Annotated[int, typer.Option(min=3, max=1024, help="number of clients")]
ManyClients = Annotated[int, typer.Option(min=3, max=100_000, help="number of clients")]
Dropout = Annotated[float, typer.Option(min=0, max=1, help="fraction of clients that vanish in a round")]
Bits = Annotated[int, typer.Option(min=2, max=24, help="precision of one coordinate")]
Delta = Annotated[str, typer.Option(help="failure probability of the guarantee", metavar="NUMBER")]
SamplingRate = Annotated[
    str | None,
    typer.Option(help="Poisson sampling rate of the cohort, such as 0.01 or 1/100; 1 for everybody", metavar="NUMBER"),
]
CohortSize = Annotated[
    int | None, typer.Option(help="instead of a rate: exactly so many of --population, under replace-one")
]
Population = Annotated[int | None, typer.Option(help="how many clients a cohort is drawn from")]
Relation = Annotated[RelationName, typer.Option(help="what one neighbouring step changes")]
Mechanism = Annotated[
    MechanismName,
    typer.Option(help="law of the noise; the two on integers with a sensitivity of 1024 lattice steps, any dimension"),
]
NOISE_HELP = "standard deviation / L2 sensitivity (Laplace: scale / L1 sensitivity)"
NO_SAMPLING = "give --sampling-rate (1 for everybody), or both --cohort and --population"
LEAVE_OUT_ONE = (
    "of --noise-multiplier, --steps and --sampling-rate leave out exactly one, the one to solve for; "
    "--cohort and --population stand for a sampling rate"
)


def output(as_json: bool) -> Output:
    return JsonOutput() if as_json else TextOutput()


def sampling_of(rate: str | None, cohort: int | None, population: int | None) -> Sampling | None:
    """How cohorts are drawn, None where nothing was said about it."""
    from protocols.budgets import fixed_size, poisson

    match rate, cohort, population:
        case None, None, None:
            return None
        case str(), None, None:
            return poisson(rate)
        case None, int(), int():
            return fixed_size(cohort, population)
    raise typer.BadParameter(NO_SAMPLING)


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


@app.command()
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
    from protocols.learning.demo import Demo, run_demo
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
    output(json).result("demo", result.to_dict())
    if not result.exact:
        raise typer.Exit(REFUSED)


@app.command()
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


@app.command()
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


@app.command()
def epsilon(
    noise_multiplier: Annotated[str, typer.Option(help=NOISE_HELP, metavar="NUMBER")],
    steps: Annotated[int, typer.Option(help="number of releases")],
    delta: Delta,
    sampling_rate: SamplingRate = None,
    cohort: CohortSize = None,
    population: Population = None,
    participations: Annotated[
        int | None, typer.Option(help="most releases one client is in, for the aggregator's view; left out, all")
    ] = None,
    relation: Relation = RelationName.ADD_OR_REMOVE_ONE,
    mechanism: Mechanism = MechanismName.GAUSSIAN,
    plot: Annotated[Path | None, typer.Option(help="draw epsilon over the releases: .png, .svg or .pdf")] = None,
    json: Json = False,
) -> None:
    """The privacy loss of a schedule, for a reader of the model and for the aggregator."""
    from protocols.budgets import Schedule, epsilon_of, release_of
    from protocols.curves import epsilon_over_steps
    from protocols.report.plots import Plot

    sampling = sampling_of(sampling_rate, cohort, population)
    if sampling is None:
        raise typer.BadParameter(NO_SAMPLING)
    schedule = Schedule.of(release_of(mechanism.value, noise_multiplier), sampling, steps, participations)
    canvas = None if plot is None else Plot.at(plot)
    values = epsilon_of(schedule, delta, relation.value).to_dict()
    if canvas is not None:
        values["plot"] = canvas.draw_epsilon(epsilon_over_steps(schedule, delta, relation.value))
    output(json).result("epsilon", values)


@app.command()
def calibrate(
    epsilon: Annotated[str, typer.Option(help="the budget", metavar="NUMBER")],
    delta: Delta,
    sampling_rate: SamplingRate = None,
    steps: Annotated[int | None, typer.Option(help="number of releases; left out, the most that fit")] = None,
    noise_multiplier: Annotated[
        str | None, typer.Option(help=f"{NOISE_HELP}; left out, the least that is enough", metavar="NUMBER")
    ] = None,
    cohort: CohortSize = None,
    population: Population = None,
    relation: Relation = RelationName.ADD_OR_REMOVE_ONE,
    mechanism: Mechanism = MechanismName.GAUSSIAN,
    plot: Annotated[Path | None, typer.Option(help="draw noise against epsilon: .png, .svg or .pdf")] = None,
    json: Json = False,
) -> None:
    """The best a budget allows: of noise multiplier, steps and sampling, the one that is left out."""
    from protocols.budgets import budget_of, noise_within, poisson, rate_within, release_of, steps_within
    from protocols.curves import noise_against_epsilon
    from protocols.report.plots import Plot

    budget, law = budget_of(epsilon, delta, relation.value), mechanism.value
    sampling = sampling_of(sampling_rate, cohort, population)
    canvas = None if plot is None else Plot.at(plot)
    if noise_multiplier is None and sampling is not None and steps is not None:
        values = noise_within(budget, law, sampling, steps).to_dict()
    elif noise_multiplier is not None and sampling is not None and steps is None:
        most = steps_within(budget, release_of(law, noise_multiplier), sampling)
        values, steps = most.to_dict(), most.steps
    elif noise_multiplier is not None and sampling is None and steps is not None:
        largest = rate_within(budget, release_of(law, noise_multiplier), steps)
        values, sampling = largest.to_dict(), poisson(largest.sampling_rate)
    else:
        raise typer.BadParameter(LEAVE_OUT_ONE)
    if canvas is not None:
        values["plot"] = canvas.draw_noise(noise_against_epsilon(budget, law, sampling, steps))
    output(json).result("calibrate", values)


def exit_code(error: Exception) -> int:
    """1 when something was refused or failed on the way, 2 when the request itself was wrong."""
    if isinstance(error, REFUSALS):
        return REFUSED
    return WRONG_USE if isinstance(error, Misused | DpError | SecaggError) else REFUSED


def asked_for() -> str | None:
    """The command that was typed, None when there is none or it is unknown."""
    known = {info.callback.__name__ for info in app.registered_commands if info.callback is not None}
    return next((word for word in sys.argv[1:] if word in known), None)


def fail_despite_stdout(show: Output, command: str | None, error: OSError) -> None:
    """Say what failed, on stderr where stdout itself is what failed."""
    try:
        show.failure(command, type(error).__name__, str(error))
        sys.stdout.flush()
    except OSError:
        # What is still buffered can go nowhere; left open, it would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        TextOutput().failure(command, type(error).__name__, str(error))


def main() -> None:
    """Run the command; every expected failure ends in its name and what to do, never in a traceback."""
    show, command = output("--json" in sys.argv), asked_for()
    try:
        code = app(standalone_mode=False)
        # Here and not at the end of the process: a full disk behind stdout is a failure with a name.
        sys.stdout.flush()
        if code == INTERRUPTED:
            raise typer.Abort
    except (ProtocolError, DpError, SecaggError) as error:
        show.failure(command, type(error).__name__, str(error))
        code = exit_code(error)
    except _CLICK_ERROR as error:  # type: ignore[misc]  # typer's own copy of click is found while it runs
        # Without any command the help was already shown, and there is nothing to add.
        if message := error.format_message():
            show.failure(command, "UsageError", message)
        code = WRONG_USE
    except OSError as error:
        fail_despite_stdout(show, command, error)
        code = REFUSED
    except typer.Abort:
        show.failure(command, "Aborted", "stopped by the user; rounds already charged stay charged")
        code = REFUSED
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
