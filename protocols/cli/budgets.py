"""Commands that answer questions about budgets: `epsilon`, `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dp.events import Sampling
from protocols.cli.options import (
    LEAVE_OUT_ONE,
    NO_SAMPLING,
    NOISE_HELP,
    CohortSize,
    Delta,
    Json,
    Mechanism,
    MechanismName,
    Population,
    Relation,
    RelationName,
    SamplingRate,
    output,
)


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
