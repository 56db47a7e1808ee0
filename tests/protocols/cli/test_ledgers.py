"""`secagg ledger ...`: both faces, exit codes, each problem by its name, and files that are no ledgers."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dp.ledger import Ledger
from dp.ledger.chain import Signer, link, witness_statement
from dp.ledger.pins import Pin
from dp.ledger.place import beside, read_key
from dp.ledger.store import Store
from tests.command import Ran, in_this_process
from tests.dp.ledger_kit import EVENT, WIDE, budget_for, charge, edit, finish, outcome, start
from tests.dp.test_ledger_replay import recording, rewritten
from tests.dp.test_ledger_vouching import PARTY, PUBLIC
from tests.protocols.report.statement_kit import finding
from tools.site_pages.keys import KEYS, unlisted_in

JUDGING = ("show", "verify", "replay", "report")

Call = Callable[..., Ran]


@pytest.fixture
def secagg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """`secagg ledger ARGUMENTS`."""
    run = in_this_process(monkeypatch, capsys, tmp_path)
    return lambda *arguments: run("ledger", *arguments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three rounds, one of them with members."""
    made = tmp_path / "run.ledger"
    with Ledger.open(made, WIDE) as ledger:
        ledger.commit(ledger.reserve(charge(1)), outcome())
        ledger.commit(ledger.reserve(charge(2, cohort=2, members=(b"\xaa", b"\xbb"))), outcome(survivors=2))
        ledger.commit(ledger.reserve(charge(3)), outcome())
    return made


def arguments_of(command: str) -> list[object]:
    return ["-o", "out.html"] if command == "report" else []


# --- both faces ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", JUDGING)
def test_json_is_one_object_with_the_promised_keys(command: str, secagg: Call, path: Path) -> None:
    ran = secagg(command, path, *arguments_of(command), "--json")
    assert (ran.code, ran.err) == (0, "")
    assert unlisted_in(ran.json) == []
    with Ledger.read(path) as ledger:
        spent, head = ledger.interval(), ledger.head()
    assert (ran.json["version"], ran.json["command"], ran.json["ok"]) == (1, f"ledger {command}", True)
    assert (ran.json["entries"], ran.json["head"]) == (8, head.hash.hex())
    assert (ran.json["epsilon_lower"], ran.json["epsilon_upper"]) == (spent.lower, spent.upper)
    assert ran.json["problems"] == []


@pytest.mark.parametrize("command", JUDGING)
def test_the_table_shows_every_scalar(command: str, secagg: Call, path: Path) -> None:
    ran = secagg(command, path, *arguments_of(command))
    assert ran.code == 0
    assert f"secagg ledger {command}" in ran.out
    for key in ("ok", "entries", "epsilon upper"):
        assert key in ran.out


def test_show_has_a_record_for_each_budget(secagg: Call, path: Path) -> None:
    secagg("budget", path, "--epsilon", "2", "--delta", "1e-6", "--relation", "zero-out", "--task", "other")
    first, second = secagg("show", path, "--json").json["budgets"]
    with Ledger.read(path) as ledger:
        assert first["epsilon_upper"] == ledger.interval(first["budget"]).upper
        assert first["epsilon_released_upper"] == ledger.interval_released(first["budget"]).upper
    assert second["epsilon_upper"] == 0
    assert second["terms"] == "epsilon 2 at delta 1/1000000 under zero-out in task 'other'"


def test_a_report_is_written_with_every_number_beside_it(secagg: Call, path: Path, tmp_path: Path) -> None:
    ran = secagg("report", path, "-o", "out.html", "--json-out", "out.json", "--json")
    assert (ran.json["out"], ran.json["json_out"]) == ("out.html", "out.json")
    assert "<html" in (tmp_path / "out.html").read_text("utf-8")
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert secagg("report", path, "-o", "no/such/place.html").code == 1


def test_audits_that_refute_a_claim_are_counted_beside_the_verdict(secagg: Call, path: Path) -> None:
    """The file holds, so `ok` is true: a program must be able to see that its claims do not."""
    calls = {"verify": ["verify", path, "--json"], "report": ["report", path, "-o", "out.html", "--json"]}
    assert [secagg(*call).json["audits_refuted"] for call in calls.values()] == [0, 0]
    with Ledger.open(path) as ledger:
        ledger.audit(finding("canary", 9.0, claim=4.0))
        ledger.audit(finding("canary", 3.0, claim=4.0))
    for call in calls.values():
        assert (secagg(*call).json["ok"], secagg(*call).json["audits_refuted"]) == (True, 1)
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 10")
    assert [secagg(*call).json["audits_refuted"] for call in calls.values()] == [1, 1]
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 4")
    assert [secagg(*call).json["audits_refuted"] for call in calls.values()] == [None, None]


def test_a_report_without_pictures_names_the_attack_that_is_on_record(secagg: Call, path: Path) -> None:
    silent = finding("invert", None, None)
    with Ledger.open(path) as ledger:
        seq = ledger.audit(silent).seq
    assert secagg("report", path, "-o", "out.html").code == 0
    without = Path("out.html").read_text("utf-8")
    assert "data:image/png" not in without
    assert f"The audit in entry {seq} read pictures out of gradients" in without


@pytest.mark.slow
def test_pictures_of_a_report_are_those_of_an_attack_made_now(secagg: Call, path: Path) -> None:
    assert secagg("report", path, "-o", "out.html", "--json-out", "out.json", "--pictures").code == 0
    assert "data:image/png" in Path("out.html").read_text("utf-8")
    assert json.loads(Path("out.json").read_text("utf-8"))["inversion"]["rows"]


def test_replay_asks_a_foreign_accountant_when_told_to(secagg: Call, path: Path) -> None:
    pytest.importorskip("dp_accounting", reason="extra [verify] is not installed")
    [budget] = secagg("replay", path, "--foreign", "--json").json["budgets"]
    assert budget["own_lower"] <= budget["foreign"] <= 1.01 * budget["own"]
    assert budget["recorded"] == pytest.approx(budget["own"], abs=1e-6)
    assert budget["agrees"] is True


# --- pins and witnesses ----------------------------------------------------------------------------------------


def test_a_kept_head_verifies_what_came_before_it(secagg: Call, path: Path) -> None:
    kept = secagg("head", path, "--pin", "run.pin", "--json")
    assert unlisted_in(kept.json) == []
    assert Pin.read(Path("run.pin")).head.hash.hex() == kept.json["head"]
    with Ledger.open(path) as ledger:
        ledger.note("later")
    ran = secagg("verify", path, "--pin", "run.pin", "--require-pin", "--json")
    assert (ran.code, ran.json["verdict"], ran.json["vouched"], ran.json["entries"]) == (0, "verified", 7, 9)


def test_without_a_pin_nobody_vouches_and_that_fails_where_it_is_asked_for(secagg: Call, path: Path) -> None:
    ran = secagg("verify", path, "--json")
    assert (ran.code, ran.json["verdict"], ran.json["vouched"]) == (0, "internally-consistent", None)
    asked = secagg("verify", path, "--require-pin", "--json")
    assert (asked.code, asked.json["ok"]) == (1, False)
    assert asked.json["problems"] == [{"line": None, "error": "Unverifiable"}]


def test_a_witness_counts_for_whoever_knows_its_key(secagg: Call, path: Path) -> None:
    with Ledger.open(path) as ledger:
        head = ledger.head()
        ledger.witness(head, PUBLIC, PARTY.sign(witness_statement(ledger.pin().ledger_id, head)))
    assert secagg("verify", path, "--require-pin").code == 1
    ran = secagg("verify", path, "--require-pin", "--witness", PUBLIC.hex(), "--json")
    assert (ran.code, ran.json["verdict"], ran.json["witnesses"]) == (0, "verified", 1)
    wrong = secagg("verify", path, "--witness", "0x12", "--json")
    assert (wrong.code, wrong.json["error"]) == (2, "Misused")


def test_a_pin_never_goes_back_here_either(secagg: Call, path: Path) -> None:
    shutil.copy(path, "old.ledger")
    with Ledger.open(path) as ledger:
        ledger.note("later")
    assert secagg("head", path, "--pin", "run.pin").code == 0
    ran = secagg("head", "old.ledger", "--pin", "run.pin", "--json")
    assert (ran.code, ran.json["error"]) == (1, "RolledBack")


# --- each problem by its name -------------------------------------------------------------------------------------


def edited(path: Path) -> list[object]:
    edit(path, "UPDATE entry SET hash = zeroblob(32) WHERE seq = 4")
    return []


def cut(path: Path) -> list[object]:
    with Ledger.read(path) as ledger:
        ledger.pin().keep(path.with_name("run.pin"))
    edit(path, "DELETE FROM entry WHERE seq > 5")
    return ["--pin", "run.pin"]


def forked(path: Path) -> list[object]:
    shutil.copy(path, path.with_name("a.ledger"))
    shutil.copy(f"{path}.key", path.with_name("a.ledger.key"))
    with Ledger.open(path.with_name("a.ledger")) as ledger:
        ledger.note("one")
        ledger.pin().keep(path.with_name("run.pin"))
    with Ledger.open(path) as ledger:
        ledger.note("other")
    return ["--pin", "run.pin"]


def another_signer(path: Path) -> list[object]:
    return ["--signer", "ab" * 32]


def unknown_kind(path: Path) -> list[object]:
    with Ledger.read(path) as ledger:
        pin = ledger.pin()
    store, signer = Store.open(path, 1.0), Signer(read_key(beside(path, ".key")).seed)
    with store.writing():
        store.append(link(pin.ledger_id, signer, pin.head, "DREAM", {"clock": 0}))  # type: ignore[arg-type]  # a stranger's
    store.close()
    return []


def overspent(path: Path) -> list[object]:
    limit = budget_for(1).epsilon

    def change(entry: Any, body: dict[str, Any]) -> dict[str, Any]:
        return body | {"epsilon": f"{limit.numerator}/{limit.denominator}"} if entry.seq == 1 else body

    rewritten(path, change, None)
    return []


@pytest.mark.parametrize(
    ("damage", "line", "name"),
    [
        (edited, 4, "Corrupt"),
        (cut, 5, "RolledBack"),
        (forked, 8, "Forked"),
        (another_signer, 0, "Forked"),
        (unknown_kind, 8, "Unverifiable"),
        (overspent, 4, "BudgetExceeded"),
    ],
    ids=["edited", "cut", "forked", "signer", "kind", "overspent"],
)
def test_what_is_wrong_is_told_by_entry_and_name(
    secagg: Call, path: Path, damage: Callable[[Path], list[object]], line: int, name: str
) -> None:
    arguments = damage(path)
    ran = secagg("verify", path, *arguments, "--json")
    assert (ran.code, ran.json["ok"], ran.json["verdict"]) == (1, False, "refuted")
    assert {"line": line, "error": name} in ran.json["problems"]
    assert len(ran.json["reasons"]) == len(ran.json["problems"])
    shown = secagg("verify", path, *arguments)
    assert shown.code == 1
    assert "refuted" in shown.out
    assert name in shown.out


def test_a_replay_that_finds_less_recorded_than_it_cost_fails(secagg: Call, path: Path) -> None:
    rewritten(path, recording("1/1000"), None)
    assert secagg("verify", path).code == 0
    ran = secagg("replay", path, "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert {"line": 4, "error": "Corrupt"} in ran.json["problems"]


@pytest.mark.parametrize("command", JUDGING)
def test_a_refuted_ledger_is_still_shown(command: str, secagg: Call, path: Path) -> None:
    edited(path)
    ran = secagg(command, path, *arguments_of(command), "--json")
    assert (ran.code, ran.json["ok"], ran.json["epsilon_upper"]) == (1, False, None)
    assert {"line": 4, "error": "Corrupt"} in ran.json["problems"]


@pytest.mark.parametrize("command", JUDGING)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda path: None, "StorageRefused"),
        (lambda path: path.mkdir(), "StorageRefused"),
        (lambda path: path.write_bytes(b""), "Corrupt"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00" + bytes(2000)), "Corrupt"),
        (lambda path: path.write_bytes(os.urandom(5000)), "Corrupt"),
    ],
    ids=["absent", "directory", "empty", "header", "noise"],
)
def test_what_is_no_ledger_fails_by_name(
    command: str, make: Callable[[Path], object], name: str, secagg: Call, tmp_path: Path
) -> None:
    make(tmp_path / "x.ledger")
    ran = secagg(command, "x.ledger", *arguments_of(command), "--json")
    assert (ran.code, ran.json["error"], ran.json["command"]) == (1, name, f"ledger {command}")
    assert not (tmp_path / "out.html").exists()
    shown = secagg(command, "x.ledger", *arguments_of(command))
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith(f"{name}: ")


@pytest.mark.parametrize("files", [36, pytest.param(480, marks=pytest.mark.slow)])
def test_no_file_makes_a_traceback(secagg: Call, path: Path, tmp_path: Path, files: int) -> None:
    raw, draw = path.read_bytes(), random.Random(files)
    for number in range(files):
        target = tmp_path / f"{number}.ledger"
        match number % 4:
            case 0:
                target.write_bytes(draw.randbytes(draw.randrange(3000)))
            case 1:
                target.write_bytes(raw[: draw.randrange(len(raw))])
            case 2:
                spoiled = bytearray(raw)
                spoiled[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
                target.write_bytes(bytes(spoiled))
            case _:
                at = draw.randrange(len(raw))
                target.write_bytes(raw[:at] + draw.randbytes(draw.randrange(200)) + raw[at:])
        command = ("show", "verify", "replay", "head", "export", "report")[number % 6]
        extra = ["-o", f"{number}.out"] if command in ("export", "report") else []
        ran = secagg(command, target, *extra, "--json")
        assert ran.code in (0, 1), ran
        assert ran.err == ""
        assert ("error" in ran.json) or (ran.json["ok"] is (ran.code == 0))


# --- keeping -----------------------------------------------------------------------------------------------------


def test_a_ledger_is_made_filled_closed_and_settled(secagg: Call) -> None:
    made = secagg("init", "new.ledger", "--policy", "nobody else reads the data", "--json")
    assert (made.code, unlisted_in(made.json)) == (0, [])
    again = secagg("init", "new.ledger", "--json")
    assert (again.code, again.json["error"]) == (2, "BadParameters")
    limits = ["--epsilon", "8", "--delta", "1e-5", "--relation", "zero-out"]
    ran = secagg("budget", "new.ledger", *limits, "--dataset", "clients", "--scope", "each", "--json")
    assert (ran.code, ran.json["budget"]) == (0, 1)
    with Ledger.open("new.ledger") as ledger:
        assert (ledger.policy, ledger.terms.dataset, ledger.terms.scope.value) == (
            "nobody else reads the data",
            "clients",
            "each",
        )
    closed = secagg("close", "new.ledger", "--reason", "over", "--json")
    assert (closed.code, closed.json["entries"]) == (0, 3)
    twice = secagg("close", "new.ledger", "--reason", "over", "--json")
    assert (twice.code, twice.json["error"]) == (1, "BudgetExceeded")
    wrong = secagg("budget", "new.ledger", "--epsilon", "-1", "--delta", "1e-5", "--relation", "zero-out", "--json")
    assert (wrong.code, wrong.json["error"]) == (2, "BadParameters")


def test_a_ledger_for_rehearsals_is_written_to_as_one(secagg: Call) -> None:
    assert secagg("init", "new.ledger", "--insecure").code == 0
    limits = ["--epsilon", "8", "--delta", "1e-5", "--relation", "zero-out"]
    assert secagg("budget", "new.ledger", *limits).code == 0
    with Ledger.open_insecure("new.ledger") as ledger:
        assert ledger.terms.randomness.value == "insecure"
        seeded = replace(EVENT, rng="insecure")
        ledger.commit(ledger.reserve(charge(0, seeded)), outcome(seeded))
        ledger.pin().keep(Path("new.pin").absolute())
    for command in (["show"], ["verify", "--pin", "new.pin", "--require-pin"], ["replay"]):
        ran = secagg(command[0], "new.ledger", *command[1:], "--json")
        assert (ran.code, ran.json["ok"], ran.json["randomness"]) == (1, False, "insecure")
        assert ran.json["problems"] == [{"line": 2, "error": "Unverifiable"}]


def test_what_dead_processes_held_is_settled_as_spent(secagg: Call, path: Path) -> None:
    def reserve_and_die() -> None:
        Ledger.open(path).reserve(charge(9))
        os._exit(0)

    assert finish(start(reserve_and_die)) == 0
    ran = secagg("settle", path, "--json")
    assert (ran.code, ran.json["open"], ran.json["entries"]) == (0, 0, 10)


def test_a_new_key_is_named_by_the_old_one(secagg: Call, path: Path) -> None:
    before = secagg("head", path, "--json").json["signer"]
    assert secagg("rotate", path, "--json").json["entries"] == 9
    with Ledger.open(path) as ledger:
        ledger.note("by the new one")
    assert secagg("head", path, "--json").json["signer"] != before
    assert secagg("verify", path).code == 0


def test_a_client_is_proved_and_forgotten(secagg: Call, path: Path) -> None:
    ran = secagg("prove", path, "--seq", "4", "--client", "aa", "--json")
    assert (ran.code, ran.json["proof"]["seq"]) == (0, 4)
    stranger = secagg("prove", path, "--seq", "4", "--client", "cc", "--json")
    assert (stranger.code, stranger.json["error"]) == (2, "BadParameters")
    assert secagg("erase", path, "--client", "aa", "--json").json["erased"] == 1
    gone = secagg("prove", path, "--seq", "4", "--client", "aa", "--json")
    assert (gone.code, gone.json["error"]) == (1, "Erased")
    assert secagg("verify", path).code == 0
    wrong = secagg("prove", path, "--seq", "4", "--client", "xyz", "--json")
    assert (wrong.code, wrong.json["error"]) == (2, "Misused")


def test_a_client_checks_the_proof_it_was_handed_by_itself(secagg: Call, path: Path) -> None:
    secagg("head", path, "--pin", "kept.pin")
    printed = secagg("prove", path, "--seq", "4", "--client", "aa", "--json").json
    Path("proof.json").write_text(json.dumps(printed), encoding="utf-8")
    ran = secagg("check", "proof.json", "--pin", "kept.pin", "--json")
    assert (ran.code, ran.json["ok"], ran.json["seq"]) == (0, True, 4)
    for key, value, code, error in (
        ("pseudonym", "00" * 32, 1, "Corrupt"),
        ("seq", 5, 1, "Corrupt"),
        ("seq", 1 << 70, 1, "Corrupt"),
        ("path", [{"side": "up", "hash": "00" * 32}], 2, "BadParameters"),
        ("path", 7, 2, "BadParameters"),
        ("body", "\ud800", 2, "BadParameters"),
        ("after", [], 2, "BadParameters"),
        ("ledger_id", "00" * 16, 2, "Misused"),
    ):
        Path("proof.json").write_text(json.dumps({**printed["proof"], key: value}), encoding="utf-8")
        bent = secagg("check", "proof.json", "--pin", "kept.pin", "--json")
        assert (bent.code, bent.json["error"]) == (code, error), key
    os.mkfifo("pipe")
    assert secagg("check", "pipe", "--pin", "kept.pin", "--json").json["error"] == "StorageRefused"
    for rubbish in ("[]", "{", "[" * 100_000, '{"proof": 3}'):
        Path("proof.json").write_text(rubbish, encoding="utf-8")
        assert secagg("check", "proof.json", "--pin", "kept.pin", "--json").json["error"] == "Misused"


def test_a_request_that_forgets_nobody_does_not_look_fulfilled(secagg: Call, path: Path) -> None:
    ran = secagg("erase", path, "--client", "cc", "--json")
    assert (ran.code, ran.json["ok"], ran.json["erased"]) == (1, False, 0)


def test_the_epsilon_at_the_top_stays_when_its_budget_is_closed(secagg: Call, path: Path) -> None:
    before = secagg("show", path, "--json").json["epsilon_upper"]
    secagg("budget", path, "--epsilon", "8", "--delta", "1e-5", "--relation", "zero-out", "--task", "other")
    secagg("close", path, "--budget", "1", "--reason", "done")
    assert secagg("show", path, "--json").json["epsilon_upper"] == before > 0
    assert secagg("verify", path, "--json").json["epsilon_upper"] == before


def test_a_client_of_a_rehearsal_is_proved_as_well(secagg: Call) -> None:
    with Ledger.open_insecure("new.ledger", WIDE) as ledger:
        seq = ledger.reserve(charge(0, cohort=2, members=(b"\xaa", b"\xbb"))).seq
    ran = secagg("prove", "new.ledger", "--seq", seq, "--client", "aa", "--json")
    assert (ran.code, ran.json["ok"]) == (0, True)


@pytest.mark.parametrize("suffix", ["", ".key", "-wal", "-shm", ".training"])
def test_no_output_takes_the_place_of_a_file_of_the_ledger(suffix: str, secagg: Call, path: Path) -> None:
    out = beside(path, suffix)
    before = {file: file.read_bytes() for file in (path, beside(path, ".key"))}
    for command in (
        ["export", path, "-o", out],
        ["copy", path, "-o", out],
        ["head", path, "--pin", out],
        ["report", path, "-o", out],
        ["report", path, "-o", "page.html", "--json-out", out],
    ):
        ran = secagg(*command, "--json")
        assert (ran.code, ran.json["error"]) == (1, "StorageRefused"), command
    assert not path.with_name("page.html").exists()
    assert {file: file.read_bytes() for file in before} == before


def test_a_ledger_travels_as_text_and_as_a_file(secagg: Call, path: Path) -> None:
    head = secagg("head", path, "--json").json["head"]
    assert secagg("export", path, "-o", "run.jsonl", "--json").json["file"] == "run.jsonl"
    back = secagg("import", "run.jsonl", "-o", "back.ledger", "--json")
    assert (back.code, back.json["head"], back.json["ok"]) == (0, head, True)
    assert secagg("copy", path, "-o", "copy.ledger", "--json").json["head"] == head
    assert secagg("verify", "copy.ledger").code == 0
    taken = secagg("import", "run.jsonl", "-o", "back.ledger", "--json")
    assert (taken.code, taken.json["error"]) == (1, "StorageRefused")
    Path("run.jsonl").write_bytes(Path("run.jsonl").read_bytes()[:-50])
    broken = secagg("import", "run.jsonl", "-o", "other.ledger", "--json")
    assert (broken.code, broken.json["error"]) == (1, "Corrupt")


@pytest.mark.parametrize("command", ["budget", "close", "settle", "rotate", "erase", "prove"])
def test_writing_needs_a_ledger_and_its_key(command: str, secagg: Call, path: Path) -> None:
    extra = {
        "budget": ["--epsilon", "8", "--delta", "1e-5", "--relation", "zero-out"],
        "close": ["--reason", "over"],
        "erase": ["--client", "aa"],
        "prove": ["--seq", "4", "--client", "aa"],
    }.get(command, [])
    path.with_name("run.ledger.key").unlink()
    for target in (path, "nowhere"):
        ran = secagg(command, target, *extra, "--json")
        assert (ran.code, ran.json["error"]) == (1, "StorageRefused")


# --- keys of every other command -------------------------------------------------------------------------------

LIMITS = ["--epsilon", "8", "--delta", "1e-5", "--relation", "zero-out"]
WRITING: dict[str, list[str]] = {
    "init": ["new.ledger"],
    "budget": ["run.ledger", *LIMITS, "--task", "other"],
    "close": ["run.ledger", "--reason", "over"],
    "settle": ["run.ledger"],
    "rotate": ["run.ledger"],
    "head": ["run.ledger", "--pin", "run.pin"],
    "prove": ["run.ledger", "--seq", "4", "--client", "aa"],
    "check": ["proof.json", "--pin", "kept.pin"],
    "erase": ["run.ledger", "--client", "aa"],
    "export": ["run.ledger", "-o", "out.jsonl"],
    "import": ["run.jsonl", "-o", "read.ledger"],
    "copy": ["run.ledger", "-o", "copied.ledger"],
}


def test_every_ledger_command_is_called_in_this_file() -> None:
    named = {name.removeprefix("secagg ledger ") for name in KEYS if name.startswith("secagg ledger ")}
    assert named == {*JUDGING, *WRITING}


@pytest.mark.parametrize("command", WRITING)
def test_json_of_what_writes_hands_out_or_checks_has_the_listed_keys(command: str, secagg: Call, path: Path) -> None:
    with Ledger.read(path) as ledger:
        ledger.export("run.jsonl")
        ledger.pin().keep(Path("kept.pin").absolute())
    printed = secagg("prove", path, "--seq", "4", "--client", "aa", "--json").out
    Path("proof.json").write_text(printed, encoding="utf-8")
    ran = secagg(command, *WRITING[command], "--json")
    assert (ran.code, ran.err) == (0, "")
    assert (ran.json["command"], unlisted_in(ran.json)) == (f"ledger {command}", [])
