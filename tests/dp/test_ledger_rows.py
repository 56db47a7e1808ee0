"""rows: every column of a stored row that is of another type or length is corruption, named by the entry it stands in.

And what stands in them: outcomes, ends of intervals, counts of events.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import pytest

from dp.accountant import Interval
from dp.errors import BadParameters, Corrupt
from dp.ledger import budgets
from dp.ledger.charge import Ends, Outcome
from dp.ledger.cohorts import Opening, Pseudonyms
from dp.ledger.erasing import Run, runs_of
from dp.ledger.rows import entry_of, opening_of, require_further, witness_of
from dp.ledger.terms import LONGEST_TEXT, require_text
from tests.dp.ledger_kit import EVENT

ENTRY = (7, b"COMMIT", b"{}", bytes(32), bytes(32), bytes(64), bytes(16))
OPENING = (7, 1, bytes(32), bytes(16))
DELTA = Fraction(1, 10**6)
WITNESS = (7, bytes(32), bytes(64))
KINDS = [
    (entry_of, ENTRY, "entry"),
    (opening_of, OPENING, "an opening of entry"),
    (witness_of, WITNESS, "a witness of"),
]


@pytest.mark.parametrize(("read", "row", "named"), KINDS, ids=["entry", "opening", "witness"])
def test_a_column_of_another_type_names_its_entry(
    read: Callable[[tuple[object, ...]], object], row: tuple[object, ...], named: str
) -> None:
    read(row)
    for column in range(len(row)):
        for wrong in ("text", None, 1.5):
            with pytest.raises(Corrupt, match=f"^{named}.*wrong type") as caught:
                read((*row[:column], wrong, *row[column + 1 :]))
            assert caught.value.seq == (7 if column else None)


@pytest.mark.parametrize("column", [3, 4, 5, 6])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_hash_signature_or_key_id_of_another_length_is_corrupt(column: int, change: int) -> None:
    wrong = bytes(len(ENTRY[column]) + change)  # type: ignore[arg-type]  # these columns are bytes
    with pytest.raises(Corrupt, match=r"entry 7 holds .* wrong length"):
        entry_of((*ENTRY[:column], wrong, *ENTRY[column + 1 :]))


def test_a_kind_that_is_no_word_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="entry 7 has a kind that is no word"):
        entry_of((7, b"\xff", *ENTRY[2:]))


def test_rows_that_do_not_lead_on_are_corrupt() -> None:
    require_further([], (7,))
    require_further([(1, "x"), (8, "x")], (7,))
    for end in (6, 7):
        with pytest.raises(Corrupt, match="behind entry 7"):
            require_further([(8, "x"), (end, "x")], (7,))


@pytest.mark.parametrize("variance", [Fraction(0), Fraction(7, 2), None])
def test_a_variance_of_at_least_zero_is_written_and_read_back(variance: Fraction | None) -> None:
    outcome = Outcome(3, EVENT, bytes(32), variance)
    body = outcome.to_body()
    assert ("variance" in body) is (variance is not None)
    assert Outcome.from_body(body, EVENT) == outcome


@pytest.mark.parametrize("variance", [Fraction(-1), 1, 0.5, "1/2"])
def test_any_other_variance_is_refused(variance: object) -> None:
    with pytest.raises(BadParameters, match="variance must be"):
        Outcome(3, EVENT, bytes(32), variance)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("lower", [None, Fraction(1, 4)])
def test_ends_are_read_as_they_were_written(lower: Fraction | None) -> None:
    ends = Ends(lower, Fraction(3, 4))
    assert ("lower" in ends.to_body()) is (lower is not None)
    assert Ends.from_body(ends.to_body()) == ends


def test_of_equal_events_one_at_a_time_is_taken_away() -> None:
    counts = Counter({EVENT: 3})
    for left in ({EVENT: 2}, {EVENT: 1}, {}):
        budgets._remove(counts, EVENT)
        assert dict(counts) == left


def test_the_salt_of_a_result_is_what_the_format_says() -> None:
    secret = bytes(range(32))
    said = hmac.digest(secret, b"secagg/v1/ledger/salt" + (258).to_bytes(8, "little"), hashlib.sha256)
    assert Pseudonyms(secret).result_salt(258) == said


def test_neighbouring_places_of_one_entry_are_one_run() -> None:
    places = [(4, 0), (4, 1), (4, 2), (4, 4), (5, 5), (5, 6)]
    openings = [Opening(seq, at, bytes(32), b"") for seq, at in places]
    assert runs_of(openings) == [Run(4, 0, 2), Run(4, 4, 4), Run(5, 5, 6)]


def test_a_text_has_at_most_2000_characters() -> None:
    assert LONGEST_TEXT == 2000
    assert require_text("why", "x" * 2000) == "x" * 2000
    for wrong in ("", "x" * 2001, 7):
        with pytest.raises(BadParameters, match="why must be 1 to 2000"):
            require_text("why", wrong)


def test_an_outcome_is_unpaid_only_beyond_rounding() -> None:
    def found(upper: float, paid: float) -> str:
        return budgets.unpaid(Interval(0.0, paid, DELTA, "paid"), Interval(None, upper, DELTA, "realised"), 2.0**-20)

    assert found(1 + 2.0**-20, 1.0) == ""
    assert "but 1 was charged" in found(1 + 2.0**-19, 1.0)
    assert found(2.0**-20, 0.0) == ""
    assert "but 0 was charged" in found(2.0**-19, 0.0)
