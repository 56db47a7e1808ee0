"""The report for programs: one JSON object that carries every number of the page and some it has no room for.

    rational    {"exact": "p/q", "value": nearest double, null beyond all of them}
    interval    {"lower": null where only the upper end is proved, "upper": null where unbounded, "delta", "method"}
    bytes       lowercase hexadecimal

Where the ledger could not be read to its end (`verdict.unread`), figures that rest on all entries are null, and so is a
list that would be empty; a list that is not holds what the entries before say.

Its shape is docs/privacy-report.schema.json; VERSION changes when a key changes its meaning or leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import starmap

from dp.accountant import DRAW_DISTANCE
from dp.audit.finding import Finding
from dp.audit.inverted import RECOVERED_DB, Inversion
from dp.events import Event
from dp.ledger.statement import BudgetStatement, ClientStatement, Opinion, Release
from protocols.report.privacy.facts import Facts, Histogram, Mechanism
from protocols.report.privacy.noise import deviation
from protocols.report.privacy.totals import Total
from protocols.report.privacy.values import (
    Json,
    exact,
    finite,
    head_record,
    interval_record,
    setting_record,
    span_record,
)
from protocols.report.privacy.words import float_of

SCHEMA = "secagg/privacy-report"
VERSION = 1


def record(facts: Facts, claims: tuple[str, ...], inversion: Inversion | None, generated: datetime | None) -> Json:
    """The whole object; `claims` are the sentences of the page, one for each budget."""
    statement = facts.statement
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "generated": None if generated is None else generated.isoformat(),
        "ledger": {"id": statement.ledger_id.hex(), "software": statement.software, "policy": statement.policy},
        "verdict": _verdict(facts),
        "period": _period(facts),
        "claims": _known(facts, claims),
        "budgets": _known(facts, map(_budget, statement.budgets)),
        "totals": _known(facts, map(_total, facts.totals)),
        "opinions": _known(facts, map(_opinion, statement.opinions)),
        "mechanisms": _known(facts, map(_mechanism, facts.mechanisms)),
        "sampler": {
            "distance_per_draw": exact(DRAW_DISTANCE),
            "most_draws": facts.most_draws if facts.mechanisms or facts.unread is None else None,
        },
        "releases": _known(facts, map(_release, statement.releases)),
        "clients": _clients(facts) if facts.unread is None else None,
        "audits": _known(facts, starmap(_finding, statement.audits)),
        "inversion": None if inversion is None else _inversion(inversion),
        "exceptions": _exceptions(facts),
        "notes": _known(facts, ({"seq": seq, "text": note} for seq, note in statement.notes)),
    }


def _known(facts: Facts, items: Iterable[object]) -> list[object] | None:
    """What there is; null for nothing where nobody can tell whether there was something."""
    found = list(items)
    return None if facts.unread is not None and not found else found


def _opinion(opinion: Opinion) -> Json:
    return {
        "budget": opinion.budget,
        "accountant": opinion.accountant,
        "interval": interval_record(opinion.interval),
        "agrees": opinion.agrees,
        "why": opinion.why,
    }


def _period(facts: Facts) -> Json | None:
    if facts.period is None:
        return None
    first, last = facts.period
    return {"first": first.isoformat(), "last": last.isoformat()}


def _verdict(facts: Facts) -> Json:
    statement, verdict = facts.statement, facts.statement.verdict
    return {
        "verdict": verdict.verdict,
        "ok": verdict.ok,
        "entries": verdict.entries,
        "head": head_record(verdict.head),
        "pin": head_record(statement.pin),
        "vouched": verdict.vouched,
        "unread": verdict.unread,
        "witnesses": statement.witnesses if facts.unread is None else None,
        "checkpoints": _known(facts, map(head_record, statement.checkpoints)),
        "problems": [
            {"line": problem.line, "error": problem.error, "message": problem.message} for problem in verdict.problems
        ],
    }


def _budget(budget: BudgetStatement) -> Json:
    terms = budget.terms
    return {
        "id": budget.id,
        "dataset": terms.dataset,
        "task": terms.task,
        "purpose": terms.purpose,
        "scope": terms.scope.value,
        "unit": terms.unit.of,
        "relation": terms.unit.relation.value,
        "view": terms.view.value,
        "randomness": terms.randomness.value,
        "limit": {"epsilon": exact(terms.budget.epsilon), "delta": exact(terms.budget.delta)},
        "spent": interval_record(budget.spent),
        "released": interval_record(budget.released),
        "remaining": None if budget.remaining is None else exact(budget.remaining),
        "affordable": budget.affordable,
        "closed": budget.closed,
        "points": [
            {
                "seq": point.seq,
                "round": point.round,
                "lower": None if point.ends.lower is None else exact(point.ends.lower),
                "upper": exact(point.ends.upper),
            }
            for point in budget.points
        ],
    }


def _total(total: Total) -> Json:
    return {
        "dataset": total.dataset,
        "unit": total.unit.of,
        "relation": total.unit.relation.value,
        "view": total.view.value,
        "open": total.open,
        "closed": total.closed,
        "epsilon": finite(total.epsilon),
        "uncounted": total.uncounted,
        "delta": exact(total.delta),
    }


def _mechanism(mechanism: Mechanism) -> Json:
    noise = mechanism.noise
    return {
        "name": mechanism.name,
        "event": mechanism.event.to_canonical(),
        "setting": setting_record(mechanism.setting),
        "releases": mechanism.releases,
        "rounds": span_record(mechanism.rounds),
        "cohorts": span_record(mechanism.cohorts),
        "survivors": span_record(mechanism.survivors),
        "deviation": None if noise is None else finite(noise.deviation),
        "multiplier": None if noise is None else finite(noise.multiplier),
        "mean_noise": finite(mechanism.mean_noise),
        "noise_to_clip": finite(mechanism.noise_to_clip),
    }


def _event(event: Event | None) -> object:
    return None if event is None else event.to_canonical()


def _release(release: Release) -> Json:
    setting = release.setting
    charged, released = deviation(release.event, None), deviation(release.released, None)
    step = None if setting is None else float_of(setting.lattice_step)
    return {
        "seq": release.seq,
        "task": release.task,
        "round": release.round,
        "dataset": release.dataset,
        "mechanism": release.mechanism,
        "standing": release.standing.value,
        "reason": release.reason,
        "cohort": release.cohort,
        "survivors": release.survivors,
        "event": _event(release.event),
        "released": _event(release.released),
        "setting": setting_record(setting),
        "noise": {
            "charged_steps": _scaled(charged, 1.0),
            "released_steps": _scaled(released, 1.0),
            "charged": _scaled(charged, step),
            "released": _scaled(released, step),
        },
        "budgets": list(release.budgets),
        "software": release.software,
        "code": release.code.hex(),
        "clock": release.clock,
    }


def _scaled(steps: float | None, step: float | None) -> float | None:
    return None if steps is None or step is None else finite(steps * step)


def _histogram(histogram: Histogram) -> Json:
    return {"edges": list(histogram.edges), "counts": list(histogram.counts)}


def _clients(facts: Facts) -> Json:
    clients = facts.clients
    return {
        "total": clients.total,
        "most_invited": clients.most_invited,
        "invited": _histogram(clients.invited),
        "spent": [
            {"budget": budget, "worst": finite(worst), **_histogram(histogram)}
            for (budget, histogram), (_, worst) in zip(clients.spent, clients.worst, strict=True)
        ],
        "erased": {"openings": facts.statement.erased.openings, "rounds": facts.statement.erased.rounds},
        "each": [_client(client) for client in facts.statement.clients],
    }


def _client(client: ClientStatement) -> Json:
    return {
        "pseudonym": client.pseudonym.hex(),
        "invited": client.invited,
        "survived": client.survived,
        "spent": [{"budget": budget, **(interval_record(interval) or {})} for budget, interval in client.spent],
    }


def _finding(seq: int, finding: Finding) -> Json:
    return {
        "seq": seq,
        "audit": finding.audit,
        "subject": finding.subject,
        "verdict": finding.verdict,
        "claim": finding.claim,
        "lower_bound": finding.lower_bound,
        "delta": exact(finding.delta),
        "confidence": finding.confidence,
        "trials": finding.trials,
        "hypotheses": finding.hypotheses,
        "correction": finding.correction.value,
        "seed": finding.seed,
        "checks_held": sum(check.passed for check in finding.checks),
        "checks": [{"name": check.name, "passed": check.passed, "value": check.value} for check in finding.checks],
        "readings": [{"name": reading.name, "value": reading.value} for reading in finding.readings],
    }


def _inversion(found: Inversion) -> Json:
    return {
        "source": found.source,
        "seed": found.seed,
        "delta": exact(found.delta),
        "baseline_db": found.baseline,
        "recovered_above_db": RECOVERED_DB,
        "rows": [
            {
                "clients": row.clients,
                "noise_multiplier": exact(row.noise_multiplier),
                "epsilon": row.epsilon,
                "recovered": row.recovered,
                "best_db": row.best,
                "median_db": row.median,
            }
            for row in found.rows
        ],
        "pictures": [{"title": panel.title, "psnr_db": list(panel.psnr)} for panel in found.pictures],
    }


def _exceptions(facts: Facts) -> Json:
    found = facts.exceptions
    return {
        "aborted": _known(facts, _seqs(found.aborted)),
        "settled": _known(facts, _seqs(found.settled)),
        "pending": _known(facts, _seqs(found.pending)),
        "insecure": _known(facts, _seqs(found.insecure)),
        "rehearsals": _known(facts, [budget.id for budget in found.rehearsals]),
        "unverifiable": _known(facts, [problem.line for problem in found.unverifiable]),
        "disagreeing": _known(
            facts, [{"budget": each.budget, "accountant": each.accountant} for each in found.disagreeing]
        ),
    }


def _seqs(releases: Iterable[Release]) -> list[int]:
    return [release.seq for release in releases]
