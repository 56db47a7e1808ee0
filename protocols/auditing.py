"""What `secagg audit` runs: an audit on the systems at hand, and its findings under the names the command prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from dp.audit import (
    Canaries,
    ChosenOnHalf,
    Declared,
    Finding,
    NoisePath,
    Rule,
    across_processes,
    canary,
    examine,
    membership,
    one_run,
    production_routes,
    refuted,
    routes_of,
)
from dp.audit.canaries import Release, Told
from dp.audit.confidence import alpha_of
from dp.audit.finding import LONGEST_NAME
from dp.audit.matching import rates_for
from dp.audit.self_testing import DELTA, streams
from dp.errors import BadParameters, UndeclaredHypothesis
from dp.events import Exact, exact
from dp.ledger import Ledger
from protocols.canary_rounds import CanaryRounds
from protocols.plan import RoundPlan
from protocols.selftesting import examine_coding, plans

LENGTH = 16
LARGEST_SCORES = 1 << 26
LARGEST_CLAIM = 10**6
HEADER = ["score", "included"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All findings of one command, and which of them comes nearest to its claim."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was refuted."""
        return not refuted(self.findings)

    @property
    def nearest(self) -> Finding:
        """The finding whose bound is the largest part of its claim, the first where nothing is claimed."""
        return max(self.findings, key=_part)

    def to_dict(self) -> dict[str, object]:
        """The report under the names the command prints; checks and readings carry the subject where there are several.

        Of several findings the bound and the claim are those of the nearest one, and `subject` says so.
        """
        nearest, several = self.nearest, len(self.findings) > 1
        return {
            "ok": self.ok,
            "subject": f"nearest of {len(self.findings)} findings: {nearest.subject}" if several else nearest.subject,
            "claimed": nearest.claim,
            "lower_bound": nearest.lower_bound,
            "confidence": nearest.confidence,
            "delta": float(nearest.delta),
            "trials": sum(finding.trials for finding in self.findings),
            "checks": [
                {
                    "name": f"{finding.subject}: {check.name}" if several else check.name,
                    "passed": check.passed,
                    "value": check.value,
                }
                for finding in self.findings
                for check in finding.checks
            ],
            "readings": [
                {"name": f"{finding.subject}: {reading.name}" if several else reading.name, "value": reading.value}
                for finding in self.findings
                for reading in finding.readings
            ],
            "findings": [_summary(finding) for finding in self.findings],
        }


def _part(finding: Finding) -> float:
    if finding.claim is None or finding.lower_bound is None:
        return -1.0
    return finding.lower_bound / finding.claim if finding.claim > 0.0 else finding.lower_bound


def _summary(finding: Finding) -> dict[str, object]:
    return {
        "subject": finding.subject,
        "verdict": finding.verdict,
        "claimed": finding.claim,
        "lower_bound": finding.lower_bound,
    }


def run_selftest(path: NoisePath | None, told: Told = lambda done: None) -> AuditReport:
    """Every noise path and every coding of rounds, or one path; then the streams, here and in other processes."""
    findings: list[Finding] = []
    for test in _tests(path):
        findings.append(test())
        told(len(findings))
    return AuditReport(tuple(findings))


def steps_of_selftest(path: NoisePath | None) -> int:
    """How many findings `run_selftest` makes."""
    return len(_tests(path))


def _tests(path: NoisePath | None) -> list[Callable[[], Finding]]:
    routes = production_routes() if path is None else routes_of(path)
    codings = plans() if path is None else ()
    return [
        *(partial(examine, route, delta=DELTA) for route in routes),
        *(partial(examine_coding, subject, plan) for subject, plan in codings),
        streams,
        across_processes,
    ]


def require_ledger(path: Path | None) -> None:
    """Whether findings can go where they are to go: asked before an audit that takes long, and not after it.

    Raises: BadParameters when there is no ledger; LedgerError.
    """
    if path is not None:
        Ledger.open(path).close()


def record(path: Path, report: AuditReport) -> None:
    """All findings into the ledger at path, each an entry of its own.

    Raises: BadParameters when there is no ledger; LedgerError.
    """
    with Ledger.open(path) as ledger:
        for finding in report.findings:
            ledger.audit(finding)


def declared(guesses: str | None, choose: str | None) -> Declared | ChosenOnHalf:
    """What was typed: numbers that are all tested, or candidates of which half of the canaries choose one.

    Raises: UndeclaredHypothesis for neither or both; BadParameters.
    """
    if guesses is not None and choose is None:
        return Declared(_numbers(guesses))
    if guesses is None and choose is not None:
        return ChosenOnHalf(_numbers(choose))
    raise UndeclaredHypothesis("say beforehand how many guesses are made: either --guesses or --choose")


def _numbers(guesses: str) -> tuple[int, ...]:
    """ "400" or "100,200,400"."""
    try:
        return tuple(int(part) for part in guesses.split(","))
    except ValueError as wrong:
        raise BadParameters(f"guesses are whole numbers with commas between them, got {guesses[:40]!r}") from wrong


def read_scores(path: Path) -> Canaries:
    """A CSV file with the header `score,included` and a line `0.25,1` or `0.25,0` for each canary; a BOM is left out.

    Raises: BadParameters naming the first line that is none, or a file above 64 MiB; NonFinite; OSError.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_SCORES + 1)
    if len(content) > LARGEST_SCORES:
        raise BadParameters(f"{path} is larger than {LARGEST_SCORES >> 20} MiB")
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [row for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as wrong:
        raise BadParameters(f"{path} is no CSV file of text: {wrong}") from wrong
    if not rows or rows[0] != HEADER:
        raise BadParameters(f"{path} must begin with the line {','.join(HEADER)}")
    pairs = [_canary(place, row) for place, row in enumerate(rows[1:], start=2)]
    return Canaries(
        np.array([score for score, _ in pairs], dtype=np.float64), np.array([kept for _, kept in pairs], dtype=np.bool_)
    )


def _canary(line: int, row: list[str]) -> tuple[float, bool]:
    try:
        score, included = row
        return float(score), {"0": False, "1": True}[included.strip()]
    except (ValueError, KeyError) as wrong:
        raise BadParameters(f"line {line}: expected a score and 0 or 1, got {','.join(row)[:60]!r}") from wrong


def run_one_run(
    scores: Path,
    hypothesis: Declared | ChosenOnHalf,
    delta: Exact,
    claim: Exact | None,
    confidence: float,
    seed: int = 0,
) -> AuditReport:
    """The one-run audit of a file of scores; the seed orders equal ones, and draws the half that chooses."""
    finding = one_run(
        read_scores(scores),
        hypothesis,
        delta=delta,
        claim=None if claim is None else _claim(claim),
        confidence=confidence,
        subject=_printable(scores.name),
        seed=seed,
    )
    return AuditReport((finding,))


def _claim(claim: Exact) -> float:
    number = exact("claim", claim)
    if not 0 <= number <= LARGEST_CLAIM:
        raise BadParameters(f"a claim is an epsilon from 0 to {LARGEST_CLAIM}, got {claim}")
    return float(number)


def _printable(name: str) -> str:
    """The name of a file as a finding may hold it."""
    return "".join(each if each.isprintable() else "?" for each in name[:LONGEST_NAME])


@dataclass(frozen=True, slots=True)
class CanaryRequest:
    """Which rounds are attacked, and how often; the seed is that of the attack's coins.

    Raises: BadParameters for a confidence that is none; `system` as `CanaryRounds`, BadPlan.
    """

    clients: int
    noise_multiplier: Exact
    rounds: int
    delta: Exact
    seed: int
    confidence: float

    def __post_init__(self) -> None:
        alpha_of(self.confidence)

    @property
    def system(self) -> CanaryRounds:
        """Rounds in which nobody drops out and nobody colludes, so that their noise is exactly the claimed one."""
        z: Fraction = exact("noise_multiplier", self.noise_multiplier)
        plan = RoundPlan.recommend(
            self.clients, dropout=0, corrupt=0, noise_multiplier=z, min_cohort=self.clients, task="audit"
        )
        return CanaryRounds(plan, LENGTH)


def run_canary(request: CanaryRequest, told: Told = lambda done: None) -> AuditReport:
    """A canary client in rounds of the ideal sum, which the real protocol equals bit for bit."""
    system = request.system
    return _canary_in(system.through_ideal(), "ideal sum", request, system, told)


def run_real_canary(request: CanaryRequest, told: Told = lambda done: None) -> AuditReport:
    """The same in rounds of the real protocol."""
    system = request.system
    return _canary_in(system.through_protocol(), "real protocol", request, system, told)


def _canary_in(release: Release, subject: str, request: CanaryRequest, system: CanaryRounds, told: Told) -> AuditReport:
    finding = canary(
        release,
        system.direction,
        system.clip,
        claim=system.claim(request.delta),
        delta=request.delta,
        rounds=request.rounds,
        seed=request.seed,
        # These rounds claim discrete Gaussian noise, by its own curve.
        rule=Rule.SHIFT,
        confidence=request.confidence,
        subject=subject,
        told=told,
    )
    return AuditReport((finding,))


def run_membership(request: CanaryRequest, told: Told = lambda done: None) -> AuditReport:
    """The matched filter on rounds of the ideal sum, against the best there can be."""
    system = request.system
    finding = membership(
        system.through_ideal(),
        system.direction,
        system.clip,
        noise_multiplier=system.noise_multiplier,
        claim=system.claim(request.delta),
        delta=request.delta,
        rounds=request.rounds,
        seed=request.seed,
        rule=Rule.SHIFT,
        rates=rates_for(request.rounds),
        confidence=request.confidence,
        subject="ideal sum",
        told=told,
    )
    return AuditReport((finding,))
