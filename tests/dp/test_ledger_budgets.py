"""Several budgets in one ledger: which charges they are for, all or none, closed and reopened."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from fractions import Fraction
from importlib import metadata
from pathlib import Path

import pytest

from dp.accountant import Budget, Unit, View
from dp.errors import BadParameters, BadReservation, BudgetExceeded, UnsupportedEvent, WrongVersion
from dp.events import GaussianEvent, Poisson, PureEvent, Repeated, Sampled
from dp.ledger import Ledger, genesis
from dp.ledger.charge import Charge, Ends, Outcome, Randomness, Scope, Setting, Terms
from dp.ledger.cohorts import hidden_result
from tests.dp.ledger_kit import DELTA, EVENT, RELATION, WIDE, budget_for, charge, epsilon_of, outcome, write_rounds

SETTING = Setting(Fraction(1, 1024), Fraction(3, 2), 32, 20, 3, 2)


def terms(budget: Budget = WIDE, **other: object) -> Terms:
    """Terms of one more budget; `other` replaces single fields."""
    fields: dict[str, object] = {"view": View.AGGREGATOR, "randomness": Randomness.SYSTEM, **other}
    return Terms(budget, Unit(budget.relation), **fields)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.create(path, policy="staff may read the raw data") as made:
        yield made


def body_of(ledger: Ledger, seq: int) -> dict[str, object]:
    return json.loads(next(entry.body for entry in ledger.entries() if entry.seq == seq))  # type: ignore[no-any-return]


# --- made without a budget -----------------------------------------------------------------------


def test_a_ledger_can_be_made_without_a_budget_and_keeps_what_its_owner_declares(path: Path, ledger: Ledger) -> None:
    assert [entry.kind for entry in ledger.entries()] == ["GENESIS"]
    assert (ledger.policy, ledger.randomness) == ("staff may read the raw data", Randomness.SYSTEM)
    for asked in (ledger.interval, ledger.remaining, lambda: ledger.terms, lambda: ledger.close_budget("x")):
        with pytest.raises(BadParameters, match="has no budget"):
            asked()
    with pytest.raises(BadParameters, match="no open budget is for data set 'clients' in task 'digits'"):
        ledger.reserve(charge(0))
    assert ledger.verify().ok


def test_a_ledger_is_made_once(path: Path) -> None:
    with Ledger.create(path):
        pass
    with pytest.raises(BadParameters, match="already"):
        Ledger.create(path)
    with Ledger.open(path) as ledger:
        assert ledger.policy == ""
        assert ledger.open_budget(terms()) == 1
    with Ledger.open(path, WIDE) as ledger:
        assert ledger.reserve(charge(0)).seq == 2


def test_a_policy_is_a_text_of_bounded_length(path: Path) -> None:
    with pytest.raises(BadParameters, match="policy"):
        Ledger.create(path, policy="x" * 2001)
    assert not path.exists()


def test_every_budget_accepts_the_noise_its_ledger_accepts(ledger: Ledger, path: Path) -> None:
    with pytest.raises(BadParameters, match="another ledger"):
        ledger.open_budget(terms(randomness=Randomness.INSECURE))
    with Ledger.create(path.with_name("rehearsal"), randomness=Randomness.INSECURE) as rehearsal:
        rehearsal.open_budget(terms(randomness=Randomness.INSECURE))
        known = GaussianEvent(40_000, 100, d=10, components=20, draws=200, rng="insecure")
        rehearsal.commit(rehearsal.reserve(charge(0, known)), outcome(known))
        assert [(each.line, each.error) for each in rehearsal.verify().problems] == [(2, "Unverifiable")]


# --- which budgets a charge is for ---------------------------------------------------------------


def test_a_charge_is_charged_to_every_budget_of_its_data_set_and_task_and_to_no_other(ledger: Ledger) -> None:
    everything = ledger.open_budget(terms())
    dataset = ledger.open_budget(terms(dataset="clients"))
    task = ledger.open_budget(terms(task="digits", purpose="a study"))
    other = ledger.open_budget(terms(dataset="somebody else's"))
    seq = ledger.reserve(charge(0)).seq
    written = body_of(ledger, seq)["budgets"]
    assert [each["budget"] for each in written] == [everything, dataset, task]  # type: ignore[attr-defined,index]
    for budget in (everything, dataset, task):
        assert Fraction(ledger.interval(budget).upper) == epsilon_of(EVENT)
    assert ledger.interval(other).upper == 0
    ledger.reserve(charge(1, dataset="somebody else's", task="names"))
    assert [Fraction(ledger.interval(budget).upper) for budget in (everything, dataset, other)] == [
        epsilon_of(Repeated(EVENT, 2)),
        epsilon_of(EVENT),
        epsilon_of(EVENT),
    ]
    assert ledger.verify().ok


def test_two_budgets_are_charged_both_or_neither(ledger: Ledger) -> None:
    wide = ledger.open_budget(terms())
    narrow = ledger.open_budget(terms(budget_for(1), dataset="clients"))
    ledger.reserve(charge(0))
    before = list(ledger.entries())
    with pytest.raises(BudgetExceeded, match=rf"budget {narrow}: the limit is epsilon .* on data set 'clients'"):
        ledger.reserve(charge(1))
    assert list(ledger.entries()) == before
    assert Fraction(ledger.interval(wide).upper) == epsilon_of(EVENT)
    ledger.reserve(charge(2, dataset="others"))
    assert Fraction(ledger.interval(wide).upper) == epsilon_of(Repeated(EVENT, 2))
    assert Fraction(ledger.interval(narrow).upper) == epsilon_of(EVENT)


def test_an_abort_gives_back_to_every_budget_and_a_commit_realises_in_every_budget(ledger: Ledger) -> None:
    both = [ledger.open_budget(terms()), ledger.open_budget(terms(dataset="clients"))]
    ledger.abort(ledger.reserve(charge(0)), "nobody came")
    assert [ledger.interval(budget).upper for budget in both] == [0, 0]
    noisier = GaussianEvent(50_000, 100, d=10, components=25, draws=250)
    ledger.commit(ledger.reserve(charge(1)), outcome(noisier))
    for budget in both:
        assert Fraction(ledger.interval_released(budget).upper) == epsilon_of(noisier)
        assert Fraction(ledger.interval(budget).upper) == epsilon_of(EVENT)


def test_budgets_towards_two_viewers_are_charged_by_what_each_of_them_sees(ledger: Ledger) -> None:
    central = GaussianEvent(40_000, 10_000, d=10, components=1, draws=10)
    sampled = Sampled(central, Poisson(Fraction(1, 100)))
    server = ledger.open_budget(terms())
    reader = ledger.open_budget(terms(view=View.RELEASED))
    ledger.commit(ledger.reserve(charge(0, sampled)), outcome(sampled))
    assert Fraction(ledger.interval(server).upper) == epsilon_of(central)
    assert Fraction(ledger.interval(reader).upper) == epsilon_of(sampled, view=View.RELEASED)


def test_no_budget_pays_for_an_event_it_has_no_proof_for(ledger: Ledger) -> None:
    ledger.open_budget(terms())
    ledger.open_budget(terms(Budget(8, DELTA, "add-or-remove-one")))
    with pytest.raises(UnsupportedEvent):
        ledger.reserve(charge(0))
    assert ledger.head().seq == 2


def test_an_epsilon_stated_for_one_relation_is_not_charged_under_two(ledger: Ledger) -> None:
    ledger.open_budget(terms())
    ledger.open_budget(terms(Budget(8, DELTA, "replace-one"), dataset="clients"))
    stated = PureEvent(Fraction(1, 10))
    for event in (stated, Repeated(stated, 3), Sampled(stated, Poisson(Fraction(1, 2)))):
        with pytest.raises(BadParameters, match="stated for one relation"):
            ledger.reserve(charge(0, event))
    ledger.reserve(charge(0, stated, dataset="others"))
    ledger.reserve(charge(1, GaussianEvent(40_000, 100, d=10, components=1, draws=10)))


def test_an_outcome_must_be_covered_in_every_budget(ledger: Ledger) -> None:
    ledger.open_budget(terms(dataset="clients"))
    second = ledger.open_budget(terms())
    held = ledger.reserve(charge(0))
    with pytest.raises(BadParameters, match="do not hand it out"):
        ledger.commit(held, outcome(GaussianEvent(10_000, 100, d=10, components=20, draws=200)))
    assert ledger.interval(second).upper > 0


# --- closing and reopening -----------------------------------------------------------------------


def test_a_closed_budget_and_the_one_opened_after_it_are_two(ledger: Ledger) -> None:
    first = ledger.open_budget(terms(budget_for(1)))
    ledger.commit(ledger.reserve(charge(0)), outcome())
    ledger.close_budget("end of the study", first)
    with pytest.raises(BudgetExceeded, match=f"budget {first} .* was closed at entry 4; open a new budget"):
        ledger.reserve(charge(1))
    assert (ledger.remaining(), ledger.affords(EVENT)) == (0, False)
    second = ledger.open_budget(terms(budget_for(2)))
    ledger.reserve(charge(1))
    assert ledger.terms == ledger.budgets[second].terms
    assert Fraction(ledger.interval().upper) == Fraction(ledger.interval(first).upper) == epsilon_of(EVENT)
    assert (ledger.budgets[first].closed, ledger.budgets[second].closed) == (4, None)
    assert ledger.verify().ok


def test_one_budget_is_closed_while_others_stay_open(ledger: Ledger) -> None:
    first, second = ledger.open_budget(terms(dataset="clients")), ledger.open_budget(terms(dataset="others"))
    held = ledger.reserve(charge(0))
    with pytest.raises(BadReservation, match="open"):
        ledger.close_budget("now", first)
    ledger.close_budget("now", second)
    ledger.commit(held, outcome())
    ledger.reserve(charge(1))
    with pytest.raises(BudgetExceeded, match="closed"):
        ledger.reserve(charge(2, dataset="others"))
    with pytest.raises(BudgetExceeded, match="closed"):
        ledger.close_budget("again", second)


def test_a_budget_that_was_never_opened_is_refused_by_name(ledger: Ledger) -> None:
    ledger.open_budget(terms())
    for asked in (ledger.interval, ledger.interval_released, ledger.remaining, lambda b: ledger.close_budget("x", b)):
        with pytest.raises(BadParameters, match="entry 7 opened no budget"):
            asked(7)


def test_a_budget_opened_while_an_admission_is_computed_is_charged_too(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.open_budget(terms())
    real, opened = ledger._admission.admit, []

    def meanwhile(*arguments: object) -> object:
        prices = real(*arguments)  # type: ignore[arg-type]
        if not opened:
            with Ledger.open(path) as other:
                opened.append(other.open_budget(terms(dataset="clients")))
        return prices

    monkeypatch.setattr(ledger._admission, "admit", meanwhile)
    seq = ledger.reserve(charge(0)).seq
    assert [each["budget"] for each in body_of(ledger, seq)["budgets"]] == [1, *opened]  # type: ignore[attr-defined]


def test_everything_is_there_after_opening_again(path: Path) -> None:
    with Ledger.create(path) as ledger:
        first = ledger.open_budget(terms(purpose="one"))
        second = ledger.open_budget(terms(dataset="clients", task="digits", purpose="two"))
        ledger.commit(ledger.reserve(charge(0)), outcome())
        told = {budget: (ledger.terms, ledger.interval(budget)) for budget in (first, second)}
    with Ledger.read(path) as ledger:
        assert {budget: (ledger.terms, ledger.interval(budget)) for budget in ledger.budgets} == told


# --- what an auditor finds in the entries --------------------------------------------------------


def test_how_the_noise_is_made_stands_in_the_entry(ledger: Ledger) -> None:
    ledger.open_budget(terms())
    one = charge(0, setting=SETTING)
    seq = ledger.reserve(one).seq
    written = body_of(ledger, seq)["charge"]
    assert written["setting"] == {  # type: ignore[index]
        "lattice_step": "1/1024",
        "clip": "3/2",
        "modulus_bits": 32,
        "min_survivors": 20,
        "colluders": 3,
        "layers": 2,
    }
    assert Charge.from_body(one.to_body(), EVENT) == one
    assert ledger.charges()[0][0].setting == SETTING
    assert ledger.reserve(one).seq == seq
    assert "setting" not in charge(0).to_body()


def test_a_realised_variance_comes_back_and_a_result_is_hidden_from_whoever_guesses_it(ledger: Ledger) -> None:
    ledger.open_budget(terms())
    held = ledger.reserve(charge(0))
    digest = hashlib.sha256(b"the sum").digest()
    said = Outcome(38, EVENT, digest, Fraction(38_001, 2))
    head = ledger.commit(held, said)
    assert ledger.commit(held, said) == head
    written = body_of(ledger, head.seq)
    assert written["variance"] == "38001/2"
    assert written["digest"] != digest.hex()
    salt = ledger.result_salt(held.seq)
    assert written["digest"] == hidden_result(salt, digest).hex()
    assert ledger.result_salt(held.seq + 1) != salt


def test_the_code_that_writes_is_named_only_where_it_is_the_installed_one(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    genesis.code.cache_clear()

    class Installed:
        def __init__(self, root: Path) -> None:
            self.root = root

        def read_text(self, name: str) -> str | None:
            return "dp/ledger/genesis.py,sha256=abc,1\n" if name == "RECORD" else None

        def locate_file(self, name: str) -> Path:
            return self.root / name

    here = Path(genesis.__file__).parents[2]
    for root, expected in (
        (here, hashlib.sha256(b"dp/ledger/genesis.py,sha256=abc,1\n").digest()),
        (tmp_path, bytes(32)),
    ):
        monkeypatch.setattr(genesis, "distribution", lambda name, root=root: Installed(root))
        assert genesis.code() == expected
        genesis.code.cache_clear()

    def absent(name: str) -> Installed:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(genesis, "distribution", absent)
    assert genesis.code() == bytes(32)
    genesis.code.cache_clear()


def test_a_recorded_interval_is_that_of_its_budget(ledger: Ledger) -> None:
    ledger.open_budget(terms())
    ledger.open_budget(terms(Budget(8, Fraction(1, 10**7), RELATION)))
    written = body_of(ledger, ledger.reserve(charge(0)).seq)["budgets"]
    uppers = [Ends.from_body(each["after"]).upper for each in written]  # type: ignore[attr-defined,index]
    assert uppers == [Ends.of(ledger.interval(budget)).upper for budget in (1, 2)]
    assert uppers[0] < uppers[1]


# --- terms ---------------------------------------------------------------------------------------


def test_terms_come_back_from_their_body_and_say_what_they_are() -> None:
    said = terms(dataset="clients", task="digits", purpose="a study", scope=Scope.EACH)
    assert Terms.from_body({**said.to_body(), "clock": 0}) == said
    assert str(said) == (
        "epsilon 8 at delta 1/100000 under zero-out for each client on data set 'clients' in task 'digits' "
        "for 'a study'"
    )
    assert str(terms()) == "epsilon 8 at delta 1/100000 under zero-out"


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": "two\nlines"},
        {"task": "x" * 201},
        {"purpose": 7},
        {"scope": Scope.EACH, "view": View.RELEASED},
    ],
)
def test_terms_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadParameters):
        terms(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"lattice_step": Fraction(0)}, {"clip": Fraction(-1)}, {"clip": 0.5}, {"layers": -1}, {"colluders": True}]
)
def test_a_setting_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "lattice_step": Fraction(1),
        "clip": Fraction(1),
        "modulus_bits": 32,
        "min_survivors": 2,
        "colluders": 0,
        "layers": 0,
    }
    Setting(**fields)  # type: ignore[arg-type]
    with pytest.raises(BadParameters):
        Setting(**{**fields, **wrong})  # type: ignore[arg-type]


def test_an_older_ledger_is_refused_not_migrated(path: Path) -> None:
    write_rounds(path, 1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(WrongVersion, match=r"schema 1, expected .* and 2"):
        Ledger.open(path)
