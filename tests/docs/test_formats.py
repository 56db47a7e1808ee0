"""`docs/reference/formats.md` against the code: no number, name or size on it but those that bytes really have."""

from __future__ import annotations

import ast
import importlib
import json
import re
import struct
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest

from dp.accountant import Unit, View
from dp.ledger import Ledger, Terms
from dp.ledger import log as log_file
from dp.ledger.chain import Kind
from dp.ledger.connection import SCHEMA
from dp.ledger.place import beside
from dp.ledger.store import Store
from dp.ledger.terms import Randomness
from protocols import bundle, codec, storage, wire
from protocols.endpoint import images
from protocols.party import PartyId
from protocols.roster import Roster
from protocols.wire import U8, U32, Bytes16, Payload, Text
from secagg.ckks.plan import Mode
from tests.dp.ledger_kit import RELATION, WIDE, charge, outcome
from tests.dp.test_ledger_stating import FINDING
from tests.dp.test_ledger_vouching import PUBLIC, seen_by_party

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "formats.md").read_text("utf-8")
SOURCES = [path for package in ("secagg", "dp", "protocols") for path in sorted((ROOT / package).rglob("*.py"))]
# What says to a reader which format lies before it.
MARK = re.compile(r"^((?:[A-Z]+_)*(?:MAGIC|VERSION|FORMAT)|KEY_HEADER|APPLICATION_ID) = (.+)$", re.MULTILINE)

HEARERS = {
    "client": images.TO_CLIENTS,
    "server": images.TO_SERVERS,
    "holder": images.TO_HOLDERS,
    "decryptor": images.TO_DECRYPTORS,
    "member": images.TO_MEMBERS,
    "key maker": images.TO_KEY_MAKERS,
    "convener": images.TO_CONVENERS,
}
STATES = {
    storage.Kind.CLIENT: images.CLIENT_STATES,
    storage.Kind.SERVER: images.SERVER_STATES,
    storage.Kind.HOLDER: images.HOLDER_STATES,
    storage.Kind.DECRYPTOR: images.DECRYPTOR_STATES,
    storage.Kind.MEMBER: images.MEMBER_STATES,
}


def rows(*head: str) -> list[list[str]]:
    """The cells of the one table with this head."""
    [body] = re.findall(rf"^\| {re.escape(' | '.join(head))} \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def marks() -> Iterator[tuple[str, object]]:
    """Every constant of the sources that marks a format; read, since a framework may be missing here."""
    for path in SOURCES:
        for name, value in MARK.findall(path.read_text("utf-8")):
            yield f"{module_of(path)}.{name}", ast.literal_eval(value)


# --- versions and sizes -------------------------------------------------------------------------------


def test_every_version_and_mark_is_on_the_page_with_its_value() -> None:
    shown = rows("stands in", "name in the code", "value")
    assert [(spans(name)[0], ast.literal_eval(spans(value)[0])) for _, name, value in shown] == [
        (name, found) for name, found in sorted(marks(), key=lambda mark: order_on_page(mark[0]))
    ]


def order_on_page(name: str) -> int:
    """Where the name stands; what is missing fails here, by its name."""
    return PAGE.index(f"`{name}`")


def test_every_size_on_the_page_is_that_of_the_code() -> None:
    sizes = re.findall(r"`([\w.]+)\.(\w+)` = `(\d+)`", PAGE)
    assert [name for _, name, _ in sizes] == ["MAX_CONTROL_BYTES", "MOST_FRAMES", "MAX_BODY_BYTES"]
    for module, name, value in sizes:
        assert getattr(importlib.import_module(module), name) == int(value), name


def test_every_label_on_the_page_is_one_of_the_code() -> None:
    labels = set(re.findall(r'^LABEL_\w+ = b"([^"]+)"$', "".join(map(Path.read_text, SOURCES)), re.MULTILINE))
    shown = set(re.findall(r"secagg/v1/[\w/-]+", PAGE))
    assert len(shown) == 6
    assert shown <= labels


def test_every_file_of_code_on_the_page_is_there() -> None:
    for module in re.findall(r"`((?:secagg|dp|protocols)(?:\.[a-z_]+)+)`", PAGE):
        importlib.import_module(module)
    for path in re.findall(r"`((?:secagg|dp|protocols)/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).is_file(), path


# --- frames -------------------------------------------------------------------------------------------


def pieces_of(layout: struct.Struct) -> list[tuple[int, int]]:
    """Where each field begins and how long it is; such a layout has no padding."""
    order, sizes = layout.format[0], [struct.calcsize(f"<{each}") for each in re.findall(r"\d*\w", layout.format[1:])]
    assert order == "<"
    return [(sum(sizes[:at]), size) for at, size in enumerate(sizes)]


def layouts() -> list[list[tuple[str, str, str]]]:
    """The tables of bytes, one after the other: where, how many, which field."""
    found = re.findall(r"^\| at \| bytes \| field \| is \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [re.findall(r"^\| (\d+) \| (\w+) \| (\w+) \|", body, re.MULTILINE) for body in found]


def test_the_header_of_a_frame_has_these_fields_at_these_places() -> None:
    header, _ = layouts()
    assert [(int(at), int(size)) for at, size, _ in header] == pieces_of(codec.HEADER)
    names = [name for _, _, name in header]
    assert names == ["magic", "version", *codec.Header.__dataclass_fields__]
    assert f"at byte {codec.HEADER.size}, the signature takes the last {codec.SIGNATURE_BYTES} bytes" in PAGE


def test_a_number_is_written_with_its_smallest_byte_first() -> None:
    raw = codec.Header(1, PartyId(2), b"t" * 16, 3, 5).to_bytes()
    [(at, size)] = [(int(at), int(size)) for at, size, name in layouts()[0] if name == "sender"]
    assert raw[at : at + size] == b"\x02\x00\x00\x00"
    assert bundle.pack([b"abc"]) == b"\x00\x00\x00\x01" + b"\x00\x00\x00\x03" + b"abc"


def test_every_letter_is_on_the_page_with_its_number_its_place_and_who_hears_it() -> None:
    expected = [
        [str(kind), f"`{letter.__name__}`", f"`{letter.__module__}`", ", ".join(hearers_of(letter))]
        for kind, letter in codec.KINDS.items()
    ]
    assert rows("kind", "letter", "defined in", "heard by") == expected


def hearers_of(letter: type) -> list[str]:
    return [name for name, heard in HEARERS.items() if letter in heard]


def test_the_letters_that_carry_the_task_are_those_that_are_named() -> None:
    topic = images.Topic("digits", b"n" * 16, 1)
    [named] = re.findall(r"The task of ([^.]+?) is the first half", PAGE)
    inviting = {kind.__name__ for kind in codec.KINDS.values() if topic.named_in(kind) == codec.task_id("digits")}
    assert set(spans(named)) == inviting


EXAMPLES = {
    "`U32` 7": (U32, 7),
    "`I64` -1": (wire.I64, -1),
    "`Bytes16` of zeros": (Bytes16, bytes(16)),
    "`Payload` ab": (Payload, b"ab"),
    "`Text` é": (Text, "é"),
    "`Fraction` 1/2": (Fraction, Fraction(1, 2)),
    "`Mode` threshold": (Mode, Mode.THRESHOLD),
    "`U8` none": (U8 | None, None),
    "`tuple` 1, 2 of `U8`": (tuple[U8, ...], (1, 2)),
    "`dict` 1: 2 of `U8`": (dict[U8, U8], {1: 2}),
}


def test_every_example_of_a_type_is_what_the_code_writes() -> None:
    shown = dict(row[2].split(" is ") for row in rows("type", "bytes", "for example"))
    written = {}
    for words, (hint, value) in EXAMPLES.items():
        out: wire.Pieces = []
        wire.coder(hint).write(value, out)
        written[words] = f"`{b''.join(map(bytes, out)).hex()}`"
    assert shown == written


# --- images and rosters -------------------------------------------------------------------------------


def test_the_file_of_an_image_has_these_fields_at_these_places() -> None:
    _, file = layouts()
    inner = [(storage.ENVELOPE.size + at, size) for at, size in pieces_of(storage.OWNER)]
    end = storage.ENVELOPE.size + storage.OWNER.size
    assert [(int(at), size) for at, size, _ in file] == [
        *((at, str(size)) for at, size in (*pieces_of(storage.ENVELOPE), *inner)),
        (end, "rest"),
    ]


def test_every_image_is_on_the_page_with_its_fields_in_order() -> None:
    expected = {
        kind.__name__: [name for name, _ in wire.fields_of(kind)]
        for kind in (images.ClientImage, images.ServerImage, images.HolderImage)
    }
    assert {spans(name)[0]: spans(fields) for name, fields in rows("class", "fields")} == expected


def test_every_state_stands_at_its_number() -> None:
    shown = [(whose, int(number), spans(states)) for whose, number, states in rows("whose", "number", "states, from 0")]
    assert shown == [
        (kind.name.lower(), kind.value, [state.__name__ for state in STATES[kind]]) for kind in storage.Kind
    ]


def test_a_roster_has_these_names() -> None:
    made = json.loads(Roster(b"s" * 32, {PartyId(0): b"c" * 32}, {}).to_json())
    assert [spans(name)[0] for name, _ in rows("name", "is")] == list(made)


# --- ledgers ------------------------------------------------------------------------------------------


def columns_of(table: str) -> list[str]:
    """Names of a table's columns, as its statement declares them."""
    return re.findall(r"(\w+) (?:INTEGER|TEXT|BLOB)", SCHEMA[table])


def test_every_table_is_on_the_page_with_its_columns() -> None:
    tables = [name for name, statement in SCHEMA.items() if statement.startswith("CREATE TABLE")]
    shown = {spans(name)[0]: spans(columns) for name, columns in rows("table", "columns")}
    assert shown == {table: columns_of(table) for table in tables}


def test_only_openings_may_be_deleted() -> None:
    guarded = {statement.split(" ON ")[1].split()[0] for statement in SCHEMA.values() if "BEFORE DELETE" in statement}
    assert guarded == {spans(name)[0] for name, _ in rows("table", "columns")} - {"opening"}


def entries_on_page() -> dict[str, tuple[set[str], set[str]]]:
    """Kind -> the names that its body always has, and those it may have."""
    shown = rows("kind", "says", "names in its body", "where it applies")
    return {spans(kind)[0]: (set(spans(always)), set(spans(maybe))) for kind, _, always, maybe in shown}


def test_every_kind_of_entry_is_on_the_page_in_order() -> None:
    assert list(entries_on_page()) == [kind.value for kind in Kind]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with an entry of every kind, and a witness."""
    monkeypatch.setattr(log_file, "EVERY", 8)
    made = tmp_path / "run.ledger"
    with Ledger.open(made, WIDE) as ledger:
        named = ledger.reserve(charge(1, cohort=2, members=(b"\xaa", b"\xbb")))
        ledger.commit(named, outcome(survivors=2))
        ledger.abort(ledger.reserve(charge(2)), "nobody came")
        ledger.forfeit(ledger.reserve(charge(3)), "nobody knows")
        ledger.note("so it was")
        ledger.audit(FINDING)
        ledger.erase(ledger.pseudonym(b"\xaa"))
        ledger.rotate_key()
        ledger.close_budget("it is over", ledger.open_budget(other_terms()))
        head = ledger.head()
        ledger.witness(head, PUBLIC, seen_by_party(ledger, head))
    return made


def other_terms() -> Terms:
    return Terms(WIDE, Unit(RELATION), View.AGGREGATOR, Randomness.SYSTEM, task="other")


def test_bodies_have_the_names_on_the_page_and_no_others(path: Path) -> None:
    with closing(Store.open(path, 1.0)) as store:
        bodies = [(entry.kind, set(entry.fields) - {"clock"}) for entry in store.entries()]
    assert {kind for kind, _ in bodies} == {kind.value for kind in Kind}
    for kind, names in bodies:
        always, maybe = entries_on_page()[kind]
        assert always <= names <= always | maybe, kind


def test_lines_of_an_export_have_the_names_on_the_page(path: Path, tmp_path: Path) -> None:
    with Ledger.read(path) as ledger:
        ledger.export(tmp_path / "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_text("utf-8").splitlines()
    shown = {tuple(spans(names)) for _, names in rows("line of an export", "names")}
    assert {tuple(json.loads(line)) for line in lines} == shown


def test_a_pin_has_the_names_on_the_page(path: Path) -> None:
    with Ledger.read(path) as ledger:
        kept = json.loads(ledger.pin().to_bytes())
    [shown] = [holds for file, holds in rows("file", "holds") if file == "a pin"]
    assert spans(shown) == list(kept)


def test_a_key_file_is_two_lines_of_hexadecimal_digits_behind_its_header(path: Path) -> None:
    [shown] = [holds for file, holds in rows("file", "holds") if file == "`run.ledger.key`"]
    assert "64 hexadecimal digits on a line; mode 0600" in shown
    key = beside(path, ".key")
    assert [len(line) for line in key.read_bytes().splitlines()[1:]] == [64, 64]
    assert key.stat().st_mode & 0o777 == 0o600
