"""`secagg audit ...`: both faces, exit codes, findings in a ledger, and files of scores that strangers made."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dp.accountant import Budget
from dp.audit import Canaries, Check, Correction, Finding, NoisePath, one_run
from dp.canonical import decode_body
from dp.errors import BadParameters, DpError, NonFinite
from dp.ledger import Ledger
from dp.ledger.chain import Kind
from protocols import auditing
from protocols.auditing import AuditReport, read_scores
from protocols.report import progress
from tests.command import Secagg, in_this_process
from tests.dp.audit.audit_kit import gaussian_canaries
from tools.site_pages.keys import unlisted_in

FINDING = Finding(
    audit="canary",
    subject="a sum",
    claim=2.0,
    delta=Fraction(1, 100_000),
    lower_bound=1.0,
    confidence=0.95,
    trials=100,
    hypotheses=1,
    correction=Correction.NONE,
    seed=0,
    checks=(Check("threshold", True, 0.5),),
)


@pytest.fixture
def secagg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Secagg:
    return in_this_process(monkeypatch, capsys, tmp_path)


def written(path: Path, canaries: Canaries) -> Path:
    rows = zip(canaries.scores.tolist(), canaries.included.tolist(), strict=True)
    path.write_text("score,included\n" + "".join(f"{score!r},{int(kept)}\n" for score, kept in rows))
    return path


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return written(tmp_path / "scores.csv", gaussian_canaries(1000, 0.1, 1))


# --- every command, both faces ----------------------------------------------------------------------------------

FINE = {
    "selftest": ["--mechanism", "laplace"],
    "one-run": ["--scores", "scores.csv", "--guesses", "400"],
    "canary": ["--rounds", "60", "--noise-multiplier", "0.5"],
    "membership": ["--rounds", "400"],
}


@pytest.mark.parametrize("command", FINE)
def test_json_has_the_promised_keys_and_nothing_else(command: str, secagg: Secagg, scores: Path) -> None:
    ran = secagg("audit", command, *FINE[command], "--json")
    assert (ran.code, ran.err) == (0, "")
    assert unlisted_in(ran.json) == []
    assert (ran.json["command"], ran.json["ok"]) == (f"audit {command}", True)


@pytest.mark.parametrize("command", FINE)
def test_tables_show_the_same(command: str, secagg: Secagg, scores: Path) -> None:
    ran = secagg("audit", command, *FINE[command])
    assert (ran.code, ran.err) == (0, "")
    for words in (f"secagg audit {command}", "lower bound", "verdict", "not refuted"):
        assert words in ran.out


def test_the_whole_selftest_covers_every_path(secagg: Secagg) -> None:
    ran = secagg("audit", "selftest", "--json")
    assert ran.code == 0
    assert len(ran.json["findings"]) == 17
    assert ran.json["lower_bound"] < ran.json["claimed"]
    assert len({check["name"] for check in ran.json["checks"]}) == len(ran.json["checks"]) == 12 * 8 + 3 * 4 + 2 + 1


def test_the_head_of_several_findings_does_not_look_like_the_whole_result() -> None:
    near, far = replace(FINDING, subject="near", lower_bound=1.9), replace(FINDING, lower_bound=0.1)
    assert AuditReport((far, near, far)).to_dict()["subject"] == "nearest of 3 findings: near"
    assert AuditReport((near,)).to_dict()["subject"] == "near"


@pytest.mark.parametrize("path", list(NoisePath))
def test_the_selftest_of_one_path_names_it(path: NoisePath, secagg: Secagg, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NoisePath | None] = []

    def run(chosen: NoisePath | None, told: object) -> AuditReport:
        asked.append(chosen)
        return AuditReport((FINDING,))

    monkeypatch.setattr(auditing, "run_selftest", run)
    assert secagg("audit", "selftest", f"--mechanism={path.value}", "--json").code == 0
    assert asked == [path]


@pytest.mark.parametrize(
    ("call", "done"),
    [
        (["canary", "--rounds", "30", "--noise-multiplier", "1/4"], "30/30"),
        (["membership", "--rounds", "400"], "400/400"),
    ],
)
def test_progress_is_counted_on_a_terminal_and_not_on_stdout(
    call: list[str], done: str, secagg: Secagg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    monkeypatch.setattr(progress, "NOTES", Console(file=terminal, force_terminal=True))
    ran = secagg("audit", *call, "--json")
    assert f"{ran.json['trials']}/{ran.json['trials']}" == done
    assert done in terminal.getvalue()


def test_rounds_of_the_real_protocol_are_attacked_alike(secagg: Secagg) -> None:
    ran = secagg("audit", "canary", "--real", "--rounds", "24", "--noise-multiplier", "1/4", "--json")
    assert (ran.code, ran.json["subject"], ran.json["trials"]) == (0, "real protocol", 24)
    assert 0.0 < ran.json["lower_bound"] < ran.json["claimed"]


# --- a refuted claim ------------------------------------------------------------------------------------------------


def test_one_run_above_its_claim_is_refuted(secagg: Secagg, scores: Path) -> None:
    call = ["audit", "one-run", "--scores", "scores.csv", "--guesses", "400"]
    ran = secagg(*call, "--claim", "4.377", "--json")
    assert (ran.code, ran.json["ok"], ran.json["claimed"]) == (1, False, 4.377)
    assert ran.json["lower_bound"] == pytest.approx(4.86, abs=0.01)
    assert "refuted" in secagg(*call, "--claim", "4.377").out
    assert secagg(*call, "--claim", "4.9").code == 0


def test_a_file_may_be_called_anything(secagg: Secagg, scores: Path, tmp_path: Path) -> None:
    odd = scores.rename(tmp_path / ("a\nb\x1b[31m" + "c" * 200 + ".csv"))
    ran = secagg("audit", "one-run", "--scores", str(odd), "--guesses", "400", "--json")
    assert (ran.code, ran.json["subject"]) == (0, "a?b?[31m" + "c" * 192)


def test_several_numbers_of_guesses_are_declared_or_chosen(secagg: Secagg, scores: Path) -> None:
    call = ["audit", "one-run", "--scores", "scores.csv", "--json"]
    all_tested = secagg(*call, "--guesses", "100,400").json
    chosen = secagg(*call, "--choose", "100,400").json
    assert len(all_tested["readings"]) == 4
    assert (len(chosen["readings"]), chosen["trials"]) == (2, 500)


def test_noise_that_fails_the_selftest_ends_by_1(secagg: Secagg, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = replace(FINDING, checks=(Check("variance", False, -30.0),))
    monkeypatch.setattr(auditing, "run_selftest", lambda chosen, told: AuditReport((FINDING, failed)))
    ran = secagg("audit", "selftest", "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert [each["verdict"] for each in ran.json["findings"]] == ["not refuted", "refuted"]


def test_the_finding_that_is_shown_first_is_the_nearest_to_its_claim() -> None:
    near, far = replace(FINDING, lower_bound=1.9), replace(FINDING, lower_bound=0.1)
    silent = replace(FINDING, claim=None, lower_bound=None)
    assert AuditReport((silent, far, near)).nearest is near
    assert AuditReport((silent,)).nearest is silent
    nothing = replace(FINDING, claim=0.0, lower_bound=0.5)
    assert AuditReport((far, nothing)).nearest is nothing


# --- the ledger -----------------------------------------------------------------------------------------------------


def test_findings_are_written_into_the_ledger(secagg: Secagg, scores: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(path, Budget(3, 1e-5, "zero-out")).close()
    call = ["audit", "one-run", "--scores", "scores.csv", "--guesses", "400", "--ledger", str(path)]
    # What refutes a claim is written before the command fails.
    assert secagg(*call, "--claim", "1").code == 1
    assert secagg("audit", "canary", "--rounds", "40", "--noise-multiplier", "1/2", f"--ledger={path}").code == 0
    with Ledger.read(path) as ledger:
        assert ledger.verify().ok
        bodies = [decode_body(entry.body) for entry in ledger.entries() if entry.kind == Kind.AUDIT]
    assert [body["audit"] for body in bodies] == ["one-run", "canary"]
    kept = Finding.from_body({key: value for key, value in bodies[0].items() if key != "clock"})
    assert kept == one_run(read_scores(scores), 400, delta="1e-5", claim=1.0, subject="scores.csv")


def test_a_ledger_that_is_not_there_is_not_made(secagg: Secagg, scores: Path, tmp_path: Path) -> None:
    call = ["audit", "one-run", "--scores", "scores.csv", "--guesses", "400", "--json"]
    ran = secagg(*call, "--ledger", str(tmp_path / "none.db"))
    assert ran.code == 2
    assert ran.json["error"] == "BadParameters"
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("command", FINE)
def test_a_ledger_that_is_not_there_is_missed_before_anything_runs(
    command: str, secagg: Secagg, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> AuditReport:
        raise AssertionError("an audit was run whose finding could go nowhere")

    for name in ("run_selftest", "run_one_run", "run_canary", "run_membership"):
        monkeypatch.setattr(auditing, name, run)
    ran = secagg("audit", command, *FINE[command], "--ledger", str(tmp_path / "none.db"), "--json")
    assert (ran.code, ran.json["error"]) == (2, "BadParameters")


def test_a_finding_that_cannot_be_written_is_still_printed(
    secagg: Secagg, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(path, Budget(3, 1e-5, "zero-out")).close()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(auditing, "record", full)
    call = ["audit", "one-run", "--scores", "scores.csv", "--guesses", "400", "--ledger", str(path), "--json"]
    ran = secagg(*call)
    found = ran.json
    assert (ran.code, found["ok"]) == (1, False)
    assert found["lower_bound"] == pytest.approx(4.86, abs=0.01)
    assert (found["error"], found["message"]) == ("OSError", "no space left on device")


@pytest.mark.parametrize("confidence", ["0", "1", "1e-17", "nan"])
@pytest.mark.parametrize("command", ["canary", "membership"])
def test_a_confidence_that_is_none_is_refused_before_any_round(
    command: str, confidence: str, secagg: Secagg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> AuditReport:
        raise AssertionError("rounds were run")

    for name in ("run_canary", "run_membership"):
        monkeypatch.setattr(auditing, name, run)
    ran = secagg("audit", command, "--confidence", confidence, "--json")
    assert (ran.code, ran.json["error"]) == (2, "BadParameters")


# --- wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["one-run", "--scores", "scores.csv"], "UndeclaredHypothesis"),
        (["one-run", "--scores", "scores.csv", "--guesses", "4", "--choose", "4"], "UndeclaredHypothesis"),
        (["one-run", "--scores", "scores.csv", "--guesses", "many"], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "1" * 5000], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "2"], "NotEnoughTrials"),
        (["one-run", "--scores", "scores.csv", "--guesses", "1001"], "NotEnoughTrials"),
        (["one-run", "--scores", "scores.csv", "--guesses", "400", "--delta", "1"], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "400", "--claim", "-1"], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "400", "--claim", "1e400"], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "400", "--confidence", "1"], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "400", "--confidence", "1e-17"], "BadParameters"),
        (["one-run", "--scores", "scores.csv", "--guesses", "1,2"], "NotEnoughTrials"),
        (["one-run", "--scores", "nowhere.csv", "--guesses", "400"], "UsageError"),
        (["one-run", "--scores", ".", "--guesses", "400"], "UsageError"),
        (["canary", "--rounds", "1"], "UsageError"),
        (["canary", "--rounds", "10"], "NotEnoughTrials"),
        (["canary", "--noise-multiplier", "0"], "BadPlan"),
        (["canary", "--noise-multiplier", "none"], "BadParameters"),
        (["canary", "--noise-multiplier", "1/20"], "Misused"),
        (["membership", "--rounds", "399"], "NotEnoughTrials"),
        (["selftest", "--mechanism", "noise"], "UsageError"),
        (["selftest", "--mechanism", ""], "UsageError"),
    ],
)
def test_wrong_use_ends_by_2_and_its_name(arguments: list[str], error: str, secagg: Secagg, scores: Path) -> None:
    ran = secagg("audit", *arguments, "--json")
    assert (ran.code, ran.json["error"]) == (2, error)
    assert error.replace("UsageError", "") in secagg("audit", *arguments).err


# --- files of scores ----------------------------------------------------------------------------------------------


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    canaries = gaussian_canaries(50, 1.0, 2)
    read = read_scores(written(tmp_path / "scores.csv", canaries))
    assert np.array_equal(read.scores, canaries.scores)
    assert np.array_equal(read.included, canaries.included)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(b"\xef\xbb\xbfscore,included\r\n0.5,1\r\n")
    assert read_scores(path).scores.tolist() == [0.5]


def test_a_file_in_the_order_of_its_coins_is_refuted_by_no_seed(secagg: Secagg, tmp_path: Path) -> None:
    canaries = Canaries(np.zeros(1000), np.arange(1000) >= 500)
    written(tmp_path / "sorted.csv", canaries)
    for seed in range(3):
        call = ["audit", "one-run", "--scores", "sorted.csv", "--guesses", "400", f"--seed={seed}", "--json"]
        assert secagg(*call, "--claim", "1").json["lower_bound"] < 0.6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "begin with the line"),
        (b"included,score\n1,0.5\n", "begin with the line"),
        (b"score,included\n", "0 canaries"),
        (b"score,included\n0.5,1\n0.5\n", "line 3"),
        (b"score,included\n0.5,1,1\n", "line 2"),
        (b"score,included\nhigh,1\n", "line 2"),
        (b"score,included\n0.5,yes\n", "line 2"),
        (b"score,included\n0.5,2\n", "line 2"),
        (b'score,included\n"0.5,1\n', "no CSV file"),
        (b"score,included\n\xff,1\n", "no CSV file"),
        (b"score,included\n" + b"5" * 200_000 + b",1\n", "no CSV file"),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_first_bad_line(text: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(text)
    with pytest.raises(BadParameters, match=said):
        read_scores(path)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("score,included\nnan,1\n")
    with pytest.raises(NonFinite):
        read_scores(path)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "LARGEST_SCORES", 20)
    with pytest.raises(BadParameters, match="larger than"):
        read_scores(written(tmp_path / "scores.csv", gaussian_canaries(50, 1.0, 2)))


def test_random_files_are_refused_by_name(tmp_path: Path) -> None:
    generator, path = np.random.default_rng(3), tmp_path / "scores.csv"
    for trial in range(300):
        noise = generator.bytes(int(generator.integers(0, 200)))
        path.write_bytes(noise if trial % 2 else b"score,included\n" + noise)
        with pytest.raises(DpError):
            read_scores(path)
