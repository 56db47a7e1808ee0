"""From ledger files to pages: what was written is what the report says."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest

from dp.accountant import Budget, Unit, View
from dp.ledger import Ledger, Outcome
from dp.ledger.charge import Randomness, Scope, Setting, Terms
from dp.ledger.pins import Pin
from dp.ledger.vouching import Known
from protocols.report.privacy import render
from tests.dp.ledger_kit import DELTA, EVENT, charge, edit
from tests.protocols.report import statement_kit as kit
from tests.protocols.report.page_kit import read
from tests.protocols.report.schema_kit import SCHEMA, faults

SETTING = Setting(Fraction(1, 100), Fraction(1), 32, 20, 2, 0)
CLIENTS = [bytes([number]) * 32 for number in range(60)]


def terms(epsilon: int, **other: object) -> Terms:
    budget = Budget(epsilon, DELTA, "zero-out")
    return Terms(budget, Unit("zero-out"), View.AGGREGATOR, Randomness.SYSTEM, **other)  # type: ignore[arg-type]


def write(path: Path) -> None:
    """Two budgets, four rounds of 40 clients: one given back, one lost; an audit and a note."""
    with Ledger.create(path, policy="clients hold their data") as ledger:
        ledger.open_budget(terms(8, dataset="clients", purpose="study 7"))
        ledger.open_budget(terms(4, scope=Scope.EACH))
        for number in range(4):
            members = tuple(CLIENTS[(7 * number + place) % 60] for place in range(40))
            reservation = ledger.reserve(charge(number, setting=SETTING, members=members))
            if number == 1:
                ledger.abort(reservation, "nobody came")
                continue
            ledger.mark(reservation)
            if number == 2:
                ledger.forfeit(reservation, "the server fell over")
            else:
                ledger.commit(reservation, Outcome(38, EVENT, bytes(32), named=members[:38]))
        ledger.audit(kit.FINDINGS[0])
        ledger.note("the third round fell into a holiday")


def test_a_ledger_says_in_its_report_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "run.ledger")
    with Ledger.read(tmp_path / "run.ledger") as ledger:
        page, found = render(ledger.state())
    assert list(faults(json.loads(json.dumps(found)), SCHEMA, SCHEMA)) == []
    said = read(page).text
    for words in (
        "Internally consistent, not verified",
        "in the 3 releases of rounds 0 to 3 is protected with epsilon in",
        "in the rounds it was invited to, among the 3 releases of rounds 0 to 3, is protected",
        "clients hold their data",
        "nobody came",
        "the server fell over",
        "the third round fell into a holiday",
        "selftest",
        "purpose: study 7",
        "fewest survivors 20",
    ):
        assert words in said
    assert found["clients"]["total"] == 60  # type: ignore[index]  # the object is untyped JSON
    assert CLIENTS[7].hex() not in json.dumps(found)


def test_erased_openings_are_counted_and_it_is_said_for_whom_they_count(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write(path)
    with Ledger.open(path) as ledger:
        before, _ = render(ledger.state())
        erased = ledger.erase(ledger.pseudonym(CLIENTS[7]))
        page, found = render(ledger.state())
    assert list(faults(json.loads(json.dumps(found)), SCHEMA, SCHEMA)) == []
    assert found["clients"]["erased"] == {"openings": erased, "rounds": 2}  # type: ignore[index]  # untyped JSON
    assert (
        f"{erased} openings in 2 rounds were erased. Nobody can say whose, so each such round that was not"
        in read(page).text
    )
    assert "Rounds each client is listed in" in page
    assert "were erased" not in before
    assert found["clients"]["total"] == 59  # type: ignore[index]  # untyped JSON


ABSENT = (
    "No audit was written",
    "Nothing was charged",
    "None: every reservation",
    "Every release says",
    "No release is on record",
    "No amplification",
    "No second accountant was asked",
    "no accountant has a proof",
    "0 of 0",
    "is left",
    "none with a date",
    "by others than the signer",
    "neither committed nor given back",
    "is not recorded",
    "epsilon at most",
    "and releases at most",
    "epsilon 0",
)


@pytest.mark.parametrize("unread", [1, 2, 3, 4, 8])
def test_nothing_is_said_of_entries_that_could_not_be_read(tmp_path: Path, unread: int) -> None:
    """Whoever damages one entry must not thereby make the page say that the audits and charges after it never were."""
    path = tmp_path / "run.ledger"
    write(path)
    edit(path, f"UPDATE entry SET hash = zeroblob(32) WHERE seq = {unread}")
    with Ledger.read(path) as ledger:
        page, found = render(ledger.state())
    assert list(faults(json.loads(json.dumps(found)), SCHEMA, SCHEMA)) == []
    said = read(re.sub(r"<svg.*?</svg>", "", page)).text
    assert f"Entry {unread} and what follows could not be read." in said
    assert f"Could not be read: of entry {unread} and what follows nothing is known." in said
    assert [words for words in ABSENT if words in said] == []
    verdict: Any = found["verdict"]
    assert (verdict["verdict"], verdict["unread"], verdict["witnesses"]) == ("refuted", unread, None)
    assert [found[key] for key in ("audits", "clients", "totals", "opinions", "period", "notes")] == [None] * 6
    for budget in cast(list[dict[str, object]], found["budgets"] or []):
        assert [budget[key] for key in ("spent", "released", "remaining", "affordable")] == [None] * 4
    read_before: Any = found["releases"]
    assert (read_before is None) == (unread <= 3)
    exceptions: Any = found["exceptions"]
    assert exceptions["settled"] is None
    assert exceptions["pending"] == ([3] if unread == 4 else [7] if unread == 8 else None)


def test_an_empty_ledger_says_nothing_of_each_of_its_releases(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "run.ledger") as ledger:
        said = read(render(ledger.state())[0]).text
    for words in ("Every release", "every reservation", "every event", "for any release", "is not recorded", "0 of 0"):
        assert words not in said
    assert "Randomness No release is on record." in said
    assert "None: nothing was ever reserved." in said
    assert "no accountant was asked; no audit" in said


def test_an_audit_in_the_ledger_takes_back_what_its_budgets_claim(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger"
    write(path)
    with Ledger.open(path) as ledger:
        seq = ledger.audit(kit.finding("canary", 9.0, claim=4.0)).seq
        page, found = render(ledger.state())
    refuted = f"refuted by audit canary in entry {seq} (epsilon is at least 9 where 4 was claimed), so nothing is"
    claims = cast(list[str], found["claims"])
    assert len(claims) == 2
    assert all(refuted in claim for claim in claims)
    assert "is protected" not in read(page).text


def test_a_pinned_ledger_is_verified_and_a_damaged_one_refuted(tmp_path: Path) -> None:
    path, kept = tmp_path / "run.ledger", tmp_path / "kept"
    with Ledger.create(path) as ledger:
        ledger.open_budget(terms(8))
    with Ledger.open(path, pin=kept) as ledger:
        ledger.reserve(charge(0, setting=SETTING))
    known = Known(Pin.read(kept))
    with Ledger.read(path) as ledger:
        assert "What was given covers all entries up to entry 3, the last." in read(render(ledger.state(known))[0]).text
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 2")
    with Ledger.read(path) as ledger:
        said = read(render(ledger.state(known))[0]).text
    assert "Rely on no figure below." in said
    assert "Entry 2: Corrupt" in said
    assert "so nothing is claimed" in said
