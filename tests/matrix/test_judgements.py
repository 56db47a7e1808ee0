"""Each check tells a library that falls from one that withstands, and says of either what was seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.matrix import ciphertexts, privacy
from benchmarks.matrix.checks import BY_ID, CHECKS, ids
from benchmarks.matrix.child import ending_of
from benchmarks.matrix.finding import Outcome
from benchmarks.matrix.masks import SCRIPTS_OF
from benchmarks.matrix.privacy import Run
from benchmarks.matrix.target import Target
from dp.accountant import Unit, View, account
from dp.gaussian import gaussian_epsilon
from protocols.adversary.scripts import SCRIPTS
from tests.matrix import weak

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

each_check = pytest.mark.parametrize("check", [check.id for check in CHECKS])


@each_check
def test_a_weak_library_falls(check: str) -> None:
    finding = weak.FALLS.finding(check, "1")
    assert finding.outcome is Outcome.FELL, finding.evidence
    assert finding.upstream == weak.FALLS.upstream.get(check, ())


@each_check
def test_a_strong_library_withstands(check: str) -> None:
    finding = weak.WITHSTANDS.finding(check, "2")
    assert finding.outcome is Outcome.WITHSTOOD, finding.evidence
    assert finding.upstream == ()


def test_every_script_of_the_kit_is_a_check_or_part_of_one() -> None:
    assert tuple(SCRIPTS_OF) == ids("F")
    assert sorted(script for scripts in SCRIPTS_OF.values() for script in scripts) == sorted(SCRIPTS)


def test_ids_are_in_order_and_ideas_are_sentences_of_their_own() -> None:
    assert len(BY_ID) == len(CHECKS) == len({check.idea for check in CHECKS}) == 32
    assert ids("N", "T") == ("N1", "N2", "N3", "N4", "N5", "T1", "T2", "T3", "T4", "T5", "T6")


def test_each_check_is_answered_once() -> None:
    probes = {check.id: weak.FALLS.probes["T6"] for check in CHECKS}
    Target("x", lambda: "1", probes, {}, {})
    with pytest.raises(ValueError, match="x: each check has a probe or a reason"):
        Target("x", lambda: "1", {}, {}, {})
    with pytest.raises(ValueError, match="x: each check has a probe or a reason"):
        Target("x", lambda: "1", probes, {"F1": "it has no masks"}, {})


# --- how a process ended -----------------------------------------------------------------------------


def test_a_process_that_is_killed_is_reported_by_its_signal() -> None:
    ending = ending_of("tests.matrix.weak", "dies", "")
    assert ending.killed
    assert str(ending) == "the process ends by SIGSEGV"


def test_a_process_that_gives_up_is_reported_by_its_last_words() -> None:
    ending = ending_of("tests.matrix.weak", "refuses", "00ff")
    assert not ending.killed
    assert str(ending) == "the process ends with status 1: Malformed: 00ff"


def test_a_process_that_ends_well_has_nothing_to_say() -> None:
    ending = ending_of("benchmarks.matrix.checks", "ids", "F")
    assert (ending.status, ending.stdout, str(ending)) == (0, "", "the process ends with status 0")


# --- the judgements' own figures ----------------------------------------------------------------------


@pytest.mark.parametrize(("mu", "delta"), [(1.58, 1e-5), (3.16, 1e-5), (0.5, 1e-9)])
def test_the_closed_form_is_that_of_the_accountant(mu: float, delta: float) -> None:
    assert privacy.gaussian_epsilon(mu, delta) == pytest.approx(gaussian_epsilon(delta, 1 / mu), rel=1e-9)


@pytest.mark.parametrize(("run", "least"), privacy.KNOWN, ids=str)
def test_what_is_known_to_be_lost_is_in_our_interval_and_close_to_it(run: Run, least: float) -> None:
    from benchmarks.matrix.ours_privacy import event

    interval = account([event(run)], Unit("add-or-remove-one"), View.RELEASED, run.delta)
    assert interval.lower is not None
    assert 0.97 * interval.lower < least <= interval.lower


def test_a_relation_that_is_refused_is_not_answered_wrongly() -> None:
    def refusal() -> float:
        raise ValueError("no such\n relation")

    assert privacy.refused_in(refusal) == "refuses (no such relation)"
    assert privacy.refused_in(lambda: 1.0) == 1.0


def test_no_number_is_below_every_number() -> None:
    assert privacy.never_below({"nan": lambda run: math.nan}).fell


def test_a_forked_process_that_draws_nothing_is_no_answer() -> None:
    with pytest.raises(RuntimeError, match="drew nothing"):
        privacy.forked(lambda: b"")


def test_a_flip_that_changes_nothing_is_no_fault() -> None:
    answer = ciphertexts.flipped(lambda upload: weak.TRUTH, weak.TRUTH.tobytes(), weak.TRUTH)
    assert (answer.fell, answer.evidence) == (False, "100 flips: 100 accepted, 0 of them with a wrong sum")


def test_an_update_that_is_not_opened_has_no_error() -> None:
    answer = ciphertexts.opens_anothers(None, np.zeros(3), [], "a client's own key opens nothing")
    assert (answer.fell, answer.evidence) == (False, "a client's own key opens nothing")
