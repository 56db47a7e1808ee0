"""`python -m benchmarks.learning`: how server rules learn where clients differ; into docs/explanation/learning.md.

20 clients share real digits, dealt evenly or by Dirichlet(0.1) labels; two fixed groups of 10, one of them at random in
each round. Every mean goes through the ideal functionality, which no protocol differs from in a bit: one run is made
again with real masks and must end in the very same model. Rates were chosen on seeds 11 and 12, which are not measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import pages
from benchmarks.pages import write_between
from protocols.learning import (
    Aggregate,
    Dealt,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    Federation,
    FedProx,
    FedSGD,
    FedYogi,
    FixedGroups,
    IdealRounds,
    Local,
    Parameters,
    Rounds,
    Run,
    SecureRounds,
    Strategy,
    deal_dirichlet,
    deal_iid,
    digits,
    mlp,
)
from protocols.learning.loop import Released
from protocols.plan import RoundPlan

CLIENTS, GROUP, ROUNDS = 20, 10, 30
SEEDS = (0, 1, 2)
GOAL = 0.90
LOCAL = Local(rate=0.3, epochs=5, batch_size=16)
RULES: dict[str, Strategy] = {
    "FedSGD(1.0)": FedSGD(1.0),
    "FedAvg": FedAvg(LOCAL),
    "FedProx(mu=0.01)": FedProx(LOCAL, mu=0.01),
    "FedAvgM(1.0, 0.7)": FedAvgM(LOCAL, rate=1.0, momentum=0.7),
    "FedAdagrad(0.1)": FedAdagrad(LOCAL, rate=0.1),
    "FedAdam(0.1)": FedAdam(LOCAL, rate=0.1),
    "FedYogi(0.1)": FedYogi(LOCAL, rate=0.1),
}
SPLITS = ("Dirichlet(0.1)", "IID")
# The one that is also made with masks.
SECURE = ("FedAdam(0.1)", "Dirichlet(0.1)", SEEDS[0])
# A mean accuracy that differs by less is the same: it is seven of the 1347 images that three runs are tested on.
MATCH = 0.005
RESULT = pages.RESULTS / "learning.json"
DOCS = pages.DOCS / "explanation/learning.md"
COMMAND = "python -m benchmarks.learning"
PLAN = RoundPlan.recommend(GROUP, dropout=0.2, corrupt=0.1, clip=4, task="learning")


@dataclass(frozen=True, slots=True)
class Row:
    """One rule on one split. `reached` has for each seed the first round at the goal, None where there is none."""

    rule: str
    split: str
    reached: list[int | None]
    accuracy: list[float]

    @property
    def mean(self) -> float:
        return sum(self.accuracy) / len(self.accuracy)


def dealt(split: str, seed: int) -> Dealt:
    """The split of this name."""
    return deal_iid(digits(), CLIENTS, seed) if split == "IID" else deal_dirichlet(digits(), CLIENTS, seed, alpha=0.1)


def on_the_lattice(aggregate: Aggregate) -> Aggregate:
    """Updates rounded to what the plan can send, so that its own random rounding has nothing left to do."""
    step = PLAN.encoding.step

    def act(updates: Mapping[int, Parameters], number: int) -> Released:
        return aggregate({who: [np.round(a / step) * step for a in update] for who, update in updates.items()}, number)

    return act


def run_of(rule: str, split: str, seed: int, aggregate: Aggregate, rounds: int = ROUNDS) -> Run:
    """One training."""
    federation = Federation(
        mlp(64, 32, 10), RULES[rule], dealt(split, seed), (Rounds(rounds),), seed=seed, selection=FixedGroups(GROUP)
    )
    return federation.run(on_the_lattice(aggregate))


def measured(rule: str, split: str) -> Row:
    """One row, over all seeds."""
    series = [[record.accuracy for record in run_of(rule, split, seed, IdealRounds(PLAN, seed))] for seed in SEEDS]
    reached = [next((n for n, accuracy in enumerate(one, start=1) if accuracy >= GOAL), None) for one in series]
    return Row(rule, split, reached, [one[-1] for one in series])


def secure_equals_ideal(rounds: int = ROUNDS) -> bool:
    """Whether the run with masks ends in the model of the ideal one, bit for bit."""
    rule, split, seed = SECURE
    runs = [run_of(rule, split, seed, how, rounds) for how in (SecureRounds(PLAN, range(CLIENTS)), IdealRounds(PLAN))]
    for run in runs:
        list(run)
    return all(np.array_equal(*pair) for pair in zip(runs[0].parameters, runs[1].parameters, strict=True))


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    """The rows of a stored result."""
    return [Row(**row) for row in result["rows"]]


def verdict(row: Row, rows: list[Row]) -> str:
    """How the row stands against FedAvg on the same split."""
    (fedavg,) = (other for other in rows if (other.rule, other.split) == ("FedAvg", row.split))
    if row == fedavg:
        return ""
    gap = row.mean - fedavg.mean
    return "matches" if abs(gap) < MATCH else "beats" if gap > 0 else "below"


def table_of(result: Mapping[str, Any]) -> str:
    """The table of the docs."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in _cells(rows_of(result)))


def _cells(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    yield "rule", "split", f"rounds to {GOAL:.2f}", f"accuracy after {ROUNDS}", "least, most", "against FedAvg"
    yield "---", "---", "--:", "--:", "--:", "---"
    for row in rows:
        reached = [count for count in row.reached if count is not None]
        rounds = f"{sum(reached) / len(reached):.1f}" if len(reached) == len(row.reached) else "not in all"
        span = f"{min(row.accuracy):.3f}, {max(row.accuracy):.3f}"
        yield row.rule, row.split, rounds, f"{row.mean:.3f}", span, verdict(row, rows)


def main() -> None:
    rows = [measured(rule, split) for split in SPLITS for rule in RULES]
    setting = {"clients": CLIENTS, "group": GROUP, "rounds": ROUNDS, "seeds": SEEDS, "local": asdict(LOCAL)}
    secure = {"run": SECURE, "equal": secure_equals_ideal()}
    result = {"setting": setting, "rows": [asdict(row) for row in rows], "secure": secure}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    write_between(DOCS, COMMAND, table_of(result))
    print(table_of(result) + f"with masks, bit for bit the same model: {secure['equal']}")


if __name__ == "__main__":
    main()
