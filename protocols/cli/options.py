"""What options of several commands are, and where results go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from protocols.report.tables import JsonOutput, Output, TextOutput

REFUSED = 1
WRONG_USE = 2


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


class SourceName(StrEnum):
    """Pictures that gradients can be taken of."""

    DIGITS = "digits"
    GLYPHS = "glyphs"


class ScopeName(StrEnum):
    """Whose rounds a budget's limit is about."""

    EVERYONE = "everyone"
    EACH = "each"


class ViewName(StrEnum):
    """Towards whom a budget's limit holds."""

    AGGREGATOR = "aggregator"
    RELEASED = "released"
    COLLUDING = "colluding"


def below_one(fraction: float) -> float:
    """The fraction itself; typer's own ranges include their ends, and from nobody there is no sum."""
    if not fraction < 1:
        raise typer.BadParameter(f"{fraction:g} is not below 1: somebody must remain to be summed")
    return fraction


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
Dropout = Annotated[
    float, typer.Option(min=0, callback=below_one, help="fraction of clients that vanish in a round, below 1")
]
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


def require_command(context: typer.Context) -> None:
    """A group that was asked for nothing shows its help, and that was wrong use: releases of click differ in both."""
    if context.invoked_subcommand is None:
        # With rich, typer prints by itself and returns nothing.
        if text := context.get_help():
            print(text)
        raise typer.Exit(WRONG_USE)
