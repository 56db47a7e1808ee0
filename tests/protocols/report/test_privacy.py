"""The privacy report: what it says, that both files say the same, and that no name in a ledger can take it over."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.accountant import Budget, Interval, Relation, Unit, View
from dp.audit.finding import Check
from dp.events import ApproxEvent, Composed, FixedSize, GaussianEvent, LaplaceEvent, Poisson, Repeated, Sampled
from dp.ledger.chain import Head
from dp.ledger.history import Standing
from dp.ledger.statement import Opinion, Point, Statement
from dp.ledger.verdict import Problem, Verdict
from protocols.report.privacy import render
from protocols.report.privacy.facts import Facts, spread
from protocols.report.privacy.noise import laws_of, noise_of
from protocols.report.privacy.style import STYLE
from tests.protocols.report import statement_kit as kit
from tests.protocols.report.schema_kit import faults

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs/privacy-report.schema.json").read_text("utf-8"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EMPTY = {"meta", "img", "br"}
PARTS = ["verdict", "claim", "views", "plots", "mechanisms", "trust", "audits", "inversion", "exceptions", "glossary"]

NOTHING = kit.statement(1, budgets=(), releases=(), clients=(), audits=(), notes=(), opinions=(), policy="")
STATEMENTS = {
    "good": kit.statement(),
    "troubled": kit.troubled(),
    "empty": NOTHING,
    "one round": kit.statement(1, 1),
}


class Reader(HTMLParser):
    """A strict reader: every element is closed in its order; what is met is kept."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def shown(statement: Statement) -> str:
    return read(render(statement)[0]).text


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


# --- what is said -----------------------------------------------------------------------------------


class Vouched(Verdict):
    """A verdict as it is once a head that was kept elsewhere agrees."""

    @property
    def verdict(self) -> str:
        return "verified"


def test_the_three_verdicts_are_told_apart_in_words() -> None:
    entries, head = 62, kit.head(61)
    assert "Internally consistent, not verified" in shown(kit.statement())
    assert "without any pin or witness the holder of the signing key can rewrite everything" in shown(kit.statement())
    refuted = kit.statement(verdict=Verdict(False, entries, head, (Problem(7, "Corrupt", "entry 7 was changed"),)))
    assert "Rely on no figure below" in shown(refuted)
    assert "Entry 7: Corrupt entry 7 was changed" in shown(refuted)
    assert "vouches for them" in shown(kit.statement(verdict=Vouched(True, entries, head, ())))


def test_the_claim_is_one_sentence_with_bounds_rounded_outwards() -> None:
    [said] = render(kit.statement())[1]["claims"]  # type: ignore[misc]  # the object is untyped JSON
    spent = kit.spent(kit.EVENT, 30)
    assert said == (
        "Each client's entire contribution (zero-out) in the 30 releases of rounds 0 to 29 is protected with epsilon "
        "in [2.83755, 2.83758] at delta 1e-5 against the server, which knows every cohort."
    )
    assert (spent.lower or 0) >= 2.83755
    assert spent.upper <= 2.83758
    assert spent.upper - 2.83757 > 0
    assert said in shown(kit.statement())


def claim(**other: object) -> str:
    [said] = render(kit.statement(budgets=(kit.budget(2, **other),)))[1]["claims"]  # type: ignore[misc]  # as above
    return str(said)


def test_nothing_is_claimed_where_nothing_holds() -> None:
    whole = kit.TERMS
    assert "nothing was charged" in claim(points=())
    assert "no finite epsilon" in claim(spent=Interval(None, math.inf, kit.DELTA, "pld"))
    rehearsal = replace(whole, randomness=kit.Randomness.INSECURE)
    assert "protects nobody" in claim(terms=rehearsal)
    assert "so nothing is claimed" in str(render(kit.troubled())[1]["claims"])
    assert "No budget was ever opened" in shown(NOTHING)


@pytest.mark.parametrize(
    ("relation", "of", "words"),
    [
        ("replace-one", "client", "differ by one client exchanged for any other (bounded"),
        ("add-or-remove-one", "record", "differ by one record of a client that is there or not (unbounded"),
        ("zero-out", "client", "differ by one client that is there with its contribution or with the zero vector"),
    ],
)
def test_the_relation_is_written_out(relation: str, of: str, words: str) -> None:
    terms = replace(kit.TERMS, budget=Budget(8, kit.DELTA, relation), unit=Unit(relation, of))
    assert words in shown(kit.statement(budgets=(kit.budget(2, terms=terms),)))


def test_an_upper_bound_alone_is_said_as_such() -> None:
    assert "epsilon at most 3.125" in claim(spent=Interval(None, 3.125, kit.DELTA, "rdp"))


def test_the_server_and_the_reader_stand_side_by_side() -> None:
    said = shown(kit.statement())
    assert "In the eyes of the server epsilon 2.83755 to 2.83758" in said
    assert "In the eyes of a reader epsilon 0.23" in said
    unknown = shown(kit.statement(budgets=(kit.budget(2, released=None),)))
    assert "no accountant has a proof for this view" in unknown


def test_closed_budgets_count_in_the_sum_of_their_data_set() -> None:
    before, now = kit.budget(3, id=1, closed=9), kit.budget(5, id=10)
    facts = Facts.of(kit.statement(budgets=(before, now)))
    [total] = facts.totals
    assert (total.open, total.closed, total.delta) == (1, 1, 2 * kit.DELTA)
    assert Fraction(total.epsilon) >= Fraction(before.spent.upper) + Fraction(now.spent.upper)
    assert total.epsilon == pytest.approx(before.spent.upper + now.spent.upper, rel=1e-12)
    other = replace(kit.TERMS, view=View.RELEASED)
    assert len(Facts.of(kit.statement(budgets=(before, kit.budget(5, id=10, terms=other)))).totals) == 2


def test_an_accountant_that_contradicts_the_record_is_in_the_verdict() -> None:
    wrong = Opinion(1, "pld", Interval(5.0, 5.5, kit.DELTA, "pld"), False, "recorded 2.8")
    assert "An accountant does not confirm what was recorded" in shown(kit.statement(opinions=(wrong,)))
    assert "An accountant does not confirm" not in shown(kit.statement())
    assert "No second accountant was asked" in shown(kit.statement(opinions=()))


def test_a_refuting_audit_is_in_the_verdict_and_the_failed_check_is_named() -> None:
    broken = kit.finding("selftest", 9.5, checks=(Check("variance, standard errors", False, 99.5),))
    said = shown(kit.statement(audits=((62, broken),)))
    assert "1 audit of 1 refuted what was claimed" in said
    assert "failed : variance, standard errors, 99.5" in said
    assert "refuted what was claimed" not in shown(kit.statement())


def test_lower_bounds_and_claims_share_one_axis() -> None:
    page, _ = render(kit.statement(audits=((62, kit.finding("one", 2.0, 4.0)), (63, kit.finding("two", 4.0, 8.0)))))
    chart = page[page.index('aria-labelledby="bounds-title') :]
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', chart)[:2]]
    marks = [float(x) - 6.0 for x in re.findall(r'<path d="M([\d.]+) [^"]*" class="line mark"', chart)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert marks == pytest.approx([2 * width for width in widths], abs=0.2)


def test_exceptions_are_listed_each_with_its_reason() -> None:
    said = shown(kit.troubled("why"))
    for words in (
        "Aborted: 1.",
        "Settled: 1.",
        "Never closed: 1.",
        "Insecure: 1.",
        "budget 7",
        "took noise from a known seed",
    ):
        assert words in said
    assert "None: every reservation was committed" in shown(kit.statement())


def test_mechanisms_are_given_in_exact_numbers() -> None:
    said = shown(kit.statement())
    for words in ("squared 640000", "bound 10000", "step 1/100", "fewest survivors 80", "multiplier 8", "bits 32"):
        assert words in said
    setting = replace(kit.SETTING, lattice_step=Fraction(1, 3**200))
    long = shown(kit.statement(2, releases=(kit.release(0, setting=setting),)))
    assert "…" in long
    assert str(3**200)[-20:] in long


def test_sampling_is_named_with_who_knows_the_cohort() -> None:
    for scheme, words in (
        (Poisson(Fraction(1, 10)), "Poisson, each with probability 1/10"),
        (FixedSize(20, 1000), "20 of 1,000, without replacement"),
    ):
        said = shown(kit.statement(2, releases=(kit.release(0, event=Sampled(kit.EVENT, scheme)),)))
        assert said.count(words) == 2
        assert "The server knows each of them" in said


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("view", View)
def test_every_relation_and_view_has_its_words(relation: Relation, view: View) -> None:
    terms = replace(kit.TERMS, budget=Budget(8, kit.DELTA, relation), unit=Unit(relation), view=view)
    page, found = render(kit.statement(budgets=(kit.budget(2, terms=terms),)))
    assert list(faults(json.loads(json.dumps(found)), SCHEMA, SCHEMA)) == []
    assert relation.value in page


def test_the_inversion_says_what_it_does_not_prove() -> None:
    said = read(render(kit.statement(), kit.inversion())[0])
    assert "Secure aggregation alone is not differential privacy" in said.text
    assert "no proof of privacy" in said.text
    assert "5 of 5 160 dB" in said.text
    assert len([tag for tag, _ in said.elements if tag == "img"]) == 15
    assert "No inversion was handed to this report" in shown(kit.statement())


# --- what is derived --------------------------------------------------------------------------------


def test_noise_is_that_of_the_law_with_most_coordinates() -> None:
    bit = GaussianEvent(sigma2=9, l2_squared=1, d=1, components=1, draws=1)
    noise = noise_of(Composed((bit, Repeated(kit.SAMPLED, 2))))
    assert noise is not None
    assert (noise.deviation, noise.multiplier, noise.coordinates) == (800.0, 8.0, 1000)
    assert noise_of(ApproxEvent(1, kit.DELTA)) is None


def test_the_deviation_of_the_discrete_laplace_is_that_of_its_sum() -> None:
    noise = noise_of(LaplaceEvent(scale=Fraction(5, 2), l1=1, d=1, draws=1))
    weights = {k: math.exp(-abs(k) / 2.5) for k in range(-200, 201)}
    variance = sum(k * k * w for k, w in weights.items()) / sum(weights.values())
    assert noise is not None
    assert noise.deviation == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_parts_of_an_event_are_counted_through_what_repeats_them() -> None:
    assert laws_of(Repeated(Composed((kit.EVENT, Repeated(kit.SAMPLED, 3))), 2)) == [(kit.EVENT, 2), (kit.SAMPLED, 6)]


@given(st.lists(st.floats(0, 1e6) | st.integers(0, 2**60).map(float) | st.just(math.inf), max_size=50))
def test_a_histogram_counts_every_finite_value_once(values: list[float]) -> None:
    histogram = spread(values)
    finite = [value for value in values if math.isfinite(value)]
    assert sum(histogram.counts) == len(finite)
    assert len(histogram.edges) == len(histogram.counts) + bool(finite)
    assert (
        all(low < high for low, high in zip(histogram.edges, histogram.edges[1:], strict=False)) or max(finite) > 2**50
    )


# --- bounds -----------------------------------------------------------------------------------------


def test_numbers_beyond_all_doubles_are_shown_and_stay_json() -> None:
    huge = 10**1000
    event = GaussianEvent(sigma2=Fraction(huge), l2_squared=Fraction(1, huge), d=huge, components=1, draws=huge)
    setting = replace(kit.SETTING, clip=Fraction(1, huge), lattice_step=Fraction(huge))
    terms = replace(kit.TERMS, budget=Budget(Fraction(huge), kit.DELTA, "zero-out"))
    late = tuple(Point(seq, 2**62 + seq, kit.points(1)[0].ends) for seq in range(2))
    odd = kit.release(2**62, event=event, released=event, setting=setting, cohort=2**62, survivors=2**62)
    extreme = kit.statement(2, releases=(odd,), budgets=(kit.budget(2, terms=terms, points=late),))
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
    started = time.process_time()
    page, found = render(large, kit.inversion(), NOW)
    seconds = time.process_time() - started
    assert len(page.encode()) <= 1_000_000
    # Beside everything else a machine does, a test asserts five times the second that the benchmark measures.
    assert seconds < 5
    assert len(found["clients"]["each"]) == 10_000  # type: ignore[index]  # the object is untyped JSON
