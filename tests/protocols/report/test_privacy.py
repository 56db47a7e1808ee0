"""The privacy report as files: well formed, bounded, both the same, and no name in a ledger can take them over."""

from __future__ import annotations

import copy
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Budget, Interval
from dp.events import GaussianEvent
from dp.ledger.chain import Head
from dp.ledger.records import Standing
from dp.ledger.statement import Opinion, Point
from dp.ledger.verdict import Verdict
from protocols.report.privacy import render
from protocols.report.style import STYLE
from tests.protocols.report import statement_kit as kit
from tests.protocols.report.page_kit import read
from tests.protocols.report.schema_kit import SCHEMA, faults

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PARTS = ["verdict", "claim", "views", "plots", "mechanisms", "trust", "audits", "inversion", "exceptions", "glossary"]

NOTHING = kit.statement(1, budgets=(), releases=(), clients=(), audits=(), notes=(), opinions=(), policy="")
STATEMENTS = {
    "good": kit.statement(),
    "troubled": kit.troubled(),
    "empty": NOTHING,
    "vouched": kit.statement(3, verdict=Verdict(True, 8, kit.head(7), (), 4)),
    "one round": kit.statement(1, 1),
    "unread": kit.unread(),
    "unread from the start": kit.unread(releases=(), budgets=(), audits=(), notes=(), checkpoints=()),
}


# --- the page as a file -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_page_is_well_formed_and_has_all_ten_parts_in_order(name: str) -> None:
    page, _ = render(STATEMENTS[name], kit.inversion(), NOW)
    assert page.startswith("<!DOCTYPE html>")
    met = read(page).elements
    assert [attributes["id"] for tag, attributes in met if tag == "section"] == PARTS
    ids = Counter(attributes["id"] for _, attributes in met if "id" in attributes)
    assert set(ids.values()) == {1}
    links = [attributes["href"] or "" for tag, attributes in met if tag == "a"]
    assert all(link.removeprefix("#") in ids for link in links)
    named = [key for _, attributes in met for key in (attributes.get("aria-labelledby") or "").split()]
    assert set(named) <= ids.keys()


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_page_runs_nothing_and_loads_nothing(name: str) -> None:
    page, _ = render(STATEMENTS[name], kit.inversion(), NOW)
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    met = read(page).elements
    assert {tag for tag, _ in met} & {"script", "iframe", "object", "embed", "link", "form", "base", "use"} == set()
    attributes = [(key, value or "") for _, found in met for key, value in found.items()]
    assert [key for key, _ in attributes if key.startswith("on") or key in ("style", "srcset", "xlink:href")] == []
    assert all(value.startswith("data:image/png;base64,") for key, value in attributes if key == "src")
    assert all(value.startswith("#") for key, value in attributes if key == "href")
    policies = [found["content"] for tag, found in met if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "url(" not in STYLE
    assert "@import" not in STYLE


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_same_statement_gives_the_same_bytes(name: str) -> None:
    first = render(STATEMENTS[name], kit.inversion(), NOW)
    again = render(copy.deepcopy(STATEMENTS[name]), kit.inversion(), NOW)
    assert first[0] == again[0]
    assert json.dumps(first[1]) == json.dumps(again[1])


def test_the_time_is_printed_where_it_is_given() -> None:
    page, found = render(kit.statement(), generated=NOW)
    assert "2026-01-02T03:04:05+00:00" in page
    assert found["generated"] == "2026-01-02T03:04:05+00:00"
    without, found = render(kit.statement())
    assert "generated" not in without
    assert found["generated"] is None


# --- strangers' text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [kit.HOSTILE, "</style><script>alert(1)</script>", '" onload="alert(1)', "]]>", "<!--", "&lt;b&gt;", "{{7*7}}"],
)
def test_a_hostile_name_is_text_wherever_a_ledger_may_hold_one(name: str) -> None:
    reader = read(render(kit.troubled(name))[0])
    tags = {tag for tag, _ in reader.elements}
    assert tags & {"img", "script", "b"} == set()
    assert " ".join(name.split()) in reader.text
    assert len(reader.elements) == len(read(render(kit.troubled("name"))[0]).elements)


@pytest.mark.parametrize(("hidden", "spelled"), [("\u202e", "\\u202e"), ("\0", "\\u0000"), ("\ud800", "\\ud800")])
def test_what_cannot_be_seen_is_spelled_out(hidden: str, spelled: str) -> None:
    page, _ = render(kit.statement(policy=f"a{hidden}b"))
    assert f"a{spelled}b" in page
    page.encode("utf-8")


@given(st.text(max_size=40))
def test_no_text_changes_the_structure_of_the_page(text: str) -> None:
    plain = kit.statement(1, 1, policy="p", notes=((3, "n"),))
    other = kit.statement(1, 1, policy=text or "p", notes=((3, text),))
    tags = [tag for tag, _ in read(render(plain)[0]).elements]
    assert [tag for tag, _ in read(render(other)[0]).elements] == tags


# --- both files say the same ------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])")


def numbers_in(value: object) -> Iterator[Fraction]:
    """Every number that a JSON value holds, exact rationals too."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers_in(inner)
    elif isinstance(value, list | tuple):
        yield Fraction(len(value))
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, str) and re.fullmatch(r"-?\d+/\d+", value):
        yield Fraction(value)
        yield from map(Fraction, value.split("/"))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield Fraction(value)
        yield Fraction(round(value))


def tokens(page: str) -> set[str]:
    """The numbers a reader sees: not those of scales, of parts, or within names and hashes."""
    visible = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    visible = re.sub(r'<text[^>]*class="tick[^>]*>[^<]*</text>', "", visible)
    visible = re.sub(r'<span class="number">\d+</span>|>part \d+<|<dl class="facts glossary">.*?</dl>', "", visible)
    visible = re.sub(r'<code class="hex">[^<]*</code>|NIST SP 800-226|L[12]\b', "", visible)
    return set(NUMBER.findall(re.sub(r"<[^>]*>", " ", visible)))


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_number_of_the_page_is_in_the_json_file(name: str) -> None:
    statement = STATEMENTS[name]
    page, found = render(statement, kit.inversion())
    del found["claims"], found["version"]
    known = set(numbers_in(found))
    # Names and versions are repeated as they stand.
    words = json.dumps(found)
    seen = {token for token in tokens(page) if token not in words}
    assert len(tokens(page)) >= 20
    for token in seen:
        value = Fraction(token.replace(",", ""))
        assert any(abs(value - each) <= abs(each) / 10**5 for each in known), token


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("pictures", [kit.inversion(), None])
def test_the_json_file_has_the_shape_that_its_schema_gives(name: str, pictures: Any) -> None:
    found = json.loads(json.dumps(render(STATEMENTS[name], pictures, NOW)[1], allow_nan=False))
    assert list(faults(found, SCHEMA, SCHEMA)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("version", 2), ("extra", 1), ("notes", [{"seq": -1, "text": "x"}]), ("verdict", {}), ("claims", 3)],
)
def test_the_check_of_the_schema_finds_a_planted_fault(key: str, value: object) -> None:
    found = json.loads(json.dumps(render(kit.statement())[1]))
    found[key] = value
    assert list(faults(found, SCHEMA, SCHEMA))
    del found[key]
    assert list(faults(found, SCHEMA, SCHEMA)) or key == "extra"


def test_rationals_are_strings_beside_their_doubles() -> None:
    _, found = render(kit.statement())
    [one] = found["budgets"]  # type: ignore[misc]  # the object is untyped JSON
    assert one["limit"] == {"epsilon": {"exact": "8/1", "value": 8.0}, "delta": {"exact": "1/100000", "value": 1e-5}}


# --- bounds -----------------------------------------------------------------------------------------


def test_numbers_beyond_all_doubles_are_shown_and_stay_json() -> None:
    huge = 10**1000
    event = GaussianEvent(sigma2=Fraction(huge), l2_squared=Fraction(1, huge), d=huge, components=1, draws=huge)
    setting = replace(kit.SETTING, clip=Fraction(1, huge), lattice_step=Fraction(huge))
    terms = replace(kit.TERMS, budget=Budget(Fraction(huge), kit.DELTA, "zero-out"))
    late = tuple(Point(seq, 2**62 + seq, kit.points(1)[0].ends) for seq in range(2))
    odd = kit.release(2**62, event=event, released=event, setting=setting, cohort=2**62, survivors=2**62)
    bounds = (kit.finding("high", 1e308, 1e308), kit.finding("low", 5e-324, 0.0), kit.finding("none", None, None))
    endless = Interval(None, math.inf, kit.DELTA, "pld")
    extreme = kit.statement(
        2,
        releases=(odd,),
        budgets=(kit.budget(2, terms=terms, points=late, remaining=Fraction(-1, huge)),),
        audits=tuple(enumerate(bounds)),
        clients=(kit.ClientStatement(b"", 2**62, None, ((1, endless), (2, Interval(0.0, 5e-324, kit.DELTA, "pld")))),),
        opinions=(Opinion(1, "pld", endless, False, ""),),
    )
    for audits in ((), ((1, bounds[1]),), ((1, bounds[0]),), ((1, bounds[2]),)):
        read(render(replace(extreme, audits=audits))[0])
    page, found = render(extreme)
    read(page)
    assert "nan" not in page.lower().replace("finance", "")
    json.dumps(found, allow_nan=False)


def test_many_of_everything_are_cut_and_it_is_said_how_many_are_left_out() -> None:
    many = kit.statement(
        2,
        budgets=tuple(kit.budget(2, id=number) for number in range(1, 301)),
        releases=tuple(
            kit.release(number, mechanism=f"m{number}", standing=Standing.ABORTED, survivors=None)
            for number in range(300)
        ),
        audits=tuple((number, kit.FINDINGS[0]) for number in range(300)),
        notes=tuple((number, "n" * 2000) for number in range(300)),
        opinions=(Opinion(1, "pld", None, False, "why"),) * 300,
        checkpoints=tuple(Head(number, bytes(32), bytes(64)) for number in range(300)),
    )
    page, found = render(many)
    assert len(page) < 1_000_000
    said = read(page).text
    for words in (
        "276 more budgets",
        "276 more mechanisms",
        "200 more releases",
        "200 more findings",
        "200 more notes",
    ):
        assert words in said
    assert len(found["budgets"]) == 300  # type: ignore[arg-type]  # the object is untyped JSON


def test_a_thousand_rounds_of_ten_thousand_clients_fit_in_a_megabyte() -> None:
    large = kit.statement(1000, 10_000, every=50)
    page, found = render(large, kit.inversion(), NOW)
    assert len(page.encode()) <= 1_000_000
    assert len(found["clients"]["each"]) == 10_000  # type: ignore[index]  # the object is untyped JSON
