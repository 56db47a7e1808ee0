"""The site is whole: pages in the menu, arrows drawn, names on a page, commands that exist, links that hold."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.cli.bench import SuiteName
from protocols.party import Role
from tools.site_pages.arrows import ROLES, moves_of, roles_of
from tools.site_pages.checking import main as checked
from tools.site_pages.checking import problems_of, well_formed
from tools.site_pages.commands import commands, kind_in, options_of
from tools.site_pages.commands import page as page_of_commands
from tools.site_pages.docstrings import as_markdown
from tools.site_pages.drawing import drawn
from tools.site_pages.keys import KEYS, unlisted_in
from tools.site_pages.navigation import navigation
from tools.site_pages.protocols import with_diagrams
from tools.site_pages.reference import PAGES, home_of, public_names, reference

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md")]
EVERY_ROLE = [role for protocol in ROLES for role in roles_of(protocol)]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- navigation ---------------------------------------------------------------------------------------


def flat(entries: object) -> Iterator[str]:
    match entries:
        case str():
            yield entries
        case list():
            for entry in entries:
                yield from flat(entry)
        case dict():
            for entry in entries.values():
                yield from flat(entry)


def test_every_page_is_in_the_menu_once() -> None:
    pages = [(path.relative_to(ROOT / "docs").as_posix(), path.read_text("utf-8")) for path in DOCS]
    assert sorted(flat(navigation(pages))) == sorted(path for path, _ in pages)


def test_the_menu_follows_the_order_that_pages_give_and_then_their_names() -> None:
    pages = [("index.md", ""), ("how-to/b.md", ""), ("how-to/a.md", ""), ("how-to/z.md", "---\norder: 3\n---\n")]
    assert navigation(pages) == ["index.md", {"How to": ["how-to/z.md", "how-to/a.md", "how-to/b.md"]}]


def test_a_page_outside_the_sections_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lost/page\.md"):
        navigation([("lost/page.md", "")])


# --- diagrams -----------------------------------------------------------------------------------------


def roles_of_the_house() -> set[int]:
    """Every role that a module of the protocols defines."""
    found = set()
    for path in sorted((ROOT / "protocols").rglob("*.py")):
        if re.search(r"^\w+ = Role\(", path.read_text("utf-8"), re.MULTILINE):
            module = importlib.import_module(named(path).removesuffix(".py").replace("/", "."))
            found |= {id(value) for value in vars(module).values() if isinstance(value, Role)}
    return found


def test_every_role_has_its_diagram() -> None:
    assert {id(role) for role in EVERY_ROLE} == roles_of_the_house()


@pytest.mark.parametrize("role", EVERY_ROLE, ids=lambda role: role.name)
def test_every_arrow_of_the_role_is_drawn(role: Role) -> None:
    moves = moves_of(role)
    assert {(move.state, move.message) for move in moves} == {(s.__name__, m.__name__) for s, m in role.arrows}
    picture = drawn(role.name, moves)
    for move in moves:
        assert f">{move.state}</text>" in picture
        assert f">{'deadline of the room' if move.message == 'Deadline' else move.message}<" in picture
    assert picture.count('font-style="italic"') == len(moves)


@pytest.mark.parametrize("role", EVERY_ROLE, ids=lambda role: role.name)
def test_every_state_but_the_first_is_led_to(role: Role) -> None:
    moves = moves_of(role)
    led_to = {target for move in moves for target in move.targets}
    assert len({move.state for move in moves} - led_to) == 1


@pytest.mark.parametrize("protocol", ROLES)
def test_a_page_shows_the_diagrams_of_the_protocol(protocol: str) -> None:
    text = (ROOT / f"docs/explanation/{protocol}.md").read_text("utf-8")
    shown = with_diagrams(text)
    assert shown.count("<svg") == len(ROLES[protocol])
    assert "<!-- states" not in shown


@pytest.mark.parametrize("role", EVERY_ROLE, ids=lambda role: role.name)
def test_every_state_says_what_it_is(role: Role) -> None:
    for state, _ in role.arrows:
        assert not (state.__doc__ or "").startswith(f"{state.__name__}("), f"{state.__name__} has no docstring"


# --- reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", sorted({module for listing in PAGES.values() for module in listing.modules}))
def test_every_public_name_stands_on_a_page_under_the_name_it_is_defined_by(module: str) -> None:
    pages = "".join(reference().values())
    for name in public_names(module):
        assert f"\n::: {home_of(module, name)}\n" in pages


@pytest.mark.parametrize("package", ["secagg", "dp", "protocols", "protocols.learning", "dp.ledger", "dp.audit"])
def test_the_names_read_from_the_source_are_those_that_python_has(package: str) -> None:
    loaded = importlib.import_module(package)
    assert sorted(public_names(package)) == sorted(loaded.__all__)
    for name in loaded.__all__:
        home, _, last = home_of(package, name).rpartition(".")
        assert getattr(importlib.import_module(home), last) is getattr(loaded, name)


@pytest.mark.parametrize("package", ["secagg", "dp", "protocols", "protocols.learning", "dp.ledger", "dp.audit"])
def test_every_public_class_and_function_says_what_it_is(package: str) -> None:
    loaded = importlib.import_module(package)
    for name in loaded.__all__:
        value = getattr(loaded, name)
        if getattr(value, "__module__", "").partition(".")[0] in ("secagg", "dp", "protocols"):
            assert (value.__doc__ or "").strip(), name
            assert not value.__doc__.startswith(f"{name}("), name


def test_sections_of_a_docstring_become_paragraphs() -> None:
    assert as_markdown("Adds.\n\nShapes: d words.\nRaises: Overflow.") == (
        "Adds.\n\n\n\n**Shapes** d words.\n\n\n**Raises** Overflow."
    )


# --- commands -----------------------------------------------------------------------------------------

COMMAND = re.compile(r"secagg ((?:ledger|audit) [a-z-]+|[a-z-]+)([^`\n#]*)")


def commands_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `secagg ...` inside a code span or a fenced block, with its options; files and modules are none."""
    spans = [*re.findall(r"```\w*[^\n]*\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    for span in spans:
        for line in span.splitlines():
            match = COMMAND.match(re.sub(r"^(\$ |\S*bin/)", "", line.strip()))
            if match:
                yield match[1], re.findall(r"(?<!\S)\[?(--[a-z-]+)", match[2])


@pytest.mark.parametrize("path", [*DOCS, *TOP], ids=named)
def test_documents_name_no_command_or_option_that_does_not_exist(path: Path) -> None:
    known = commands()
    for command, options in commands_in(path.read_text("utf-8")):
        if "," in command or f"secagg {command}" in {"secagg ledger", "secagg audit"}:
            continue
        assert f"secagg {command}" in known, command
        assert set(options) <= options_of(known[f"secagg {command}"]), (command, options)


def test_a_command_that_does_not_exist_is_seen() -> None:
    assert list(commands_in("run `secagg plan --nothing 3` and\n```console\n$ secagg audit magic --x\n```")) == [
        ("audit magic", ["--x"]),
        ("plan", ["--nothing"]),
    ]


def test_keys_are_listed_of_every_command_that_has_json_and_of_no_other() -> None:
    assert set(KEYS) == {name for name, command in commands().items() if "--json" in options_of(command)}


def test_every_key_stands_on_the_page_below_its_command() -> None:
    _, *sections = re.split(r"^## `", page_of_commands(), flags=re.MULTILINE)
    assert [section.partition("`")[0] for section in sections] == list(commands())
    for section in sections:
        answer = KEYS[section.partition("`")[0]]
        listed = set(re.findall(r"^- (?:with[^,]*, )?`(\w+)`: ", section, re.MULTILINE))
        assert listed == {key.name for keys in (answer.always, *(case.keys for case in answer.cases)) for key in keys}


@pytest.mark.parametrize("hint", [SuiteName, SuiteName | None, list[SuiteName], list[SuiteName] | None])
def test_an_option_that_may_be_left_out_or_given_again_shows_what_it_takes(hint: object) -> None:
    assert kind_in(hint) is SuiteName
    assert "| `--suite masks or rounds or " in page_of_commands()


FINE = {"version": 1, "command": "calibrate", "epsilon": 1.5, "steps": 3}


@pytest.mark.parametrize(
    "changes", [{"steps": 3.5}, {"steps": True}, {"epsilon": None}, {"more": 1}, {"sampling_rate": 0.5}]
)
def test_an_object_that_is_not_as_the_page_says_is_seen(changes: dict[str, object]) -> None:
    assert unlisted_in(FINE) == []
    assert unlisted_in(FINE | changes) != []


def test_an_object_within_an_object_has_the_listed_keys_only() -> None:
    values = {**FINE, "command": "ledger check"}
    assert unlisted_in(values) != []
    [problems] = [key for key in KEYS["secagg ledger show"].always if key.name == "problems"]
    assert list(problems.problems([{"line": 1, "error": "Corrupt"}])) == []
    assert list(problems.problems([{"line": 1}])) != []
    assert list(problems.problems({"line": 1, "error": "Corrupt"})) != []


# --- links and files ----------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", TOP, ids=named)
def test_links_of_the_documents_beside_the_code_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    for link in links(text):
        file, _, anchor = link.partition("#")
        target = path if not file else path.parent / file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@pytest.mark.parametrize("path", TOP, ids=named)
def test_links_to_elsewhere_have_a_form(path: Path) -> None:
    for link in re.findall(r"\]\((\w+://[^)]*)\)", path.read_text("utf-8")):
        assert well_formed(link), link


FILES = re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:toml|md)|Makefile)`", (ROOT / "ARCHITECTURE.md").read_text("utf-8"))


def test_the_map_names_files() -> None:
    assert len(FILES) > 50


@pytest.mark.parametrize("name", sorted(set(FILES)))
def test_what_the_map_names_is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("path", [*DOCS, *TOP], ids=named)
def test_extras_that_documents_install_exist(path: Path) -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    for listed in re.findall(r"(?:secagg|'?\.)\[([\w,-]+)\]", path.read_text("utf-8")):
        assert set(listed.split(",")) <= extras, listed


# --- what a built page loads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/x.css">',
        '<img src="http://example.org/x.png">',
        '<img srcset="x.png 1x, https://example.org/x.png 2x">',
        '<video poster="//example.org/x.png"></video>',
        '<svg><use xlink:href="https://example.org/x.svg#a"/></svg>',
        '<p style="background: URL( https://example.org/x.png )">x</p>',
        '<style>@import "https://example.org/x.css";</style>',
        "<style>p { background: url('//example.org/x.png') }</style>",
        '<a href="http://example.org/">plain http</a>',
        '<a href="https://example">no host</a>',
        '<a href="two words.html">spaces</a>',
    ],
)
def test_a_page_that_loads_from_elsewhere_or_links_badly_is_found(element: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f"<p>{element}</p>", encoding="utf-8")
    assert len(list(problems_of(tmp_path))) == 1


def test_a_style_sheet_that_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>fine</p>", encoding="utf-8")
    (tmp_path / "x.css").write_text("p { src: url(data:a/b,c) url(//fonts.example.org/x.woff2) }", encoding="utf-8")
    assert list(problems_of(tmp_path)) == ["x.css loads //fonts.example.org/x.woff2"]


def test_a_page_that_holds_all_it_needs_is_fine(tmp_path: Path) -> None:
    body = (
        '<link rel="canonical" href="https://a.example.org/"><script src="x.js"></script><a href="https://a.b/c">x</a>'
        '<img srcset="x.png 1x, y.png 2x"><style>p { background: url("x.png") }</style>'
        "<p>url(https://example.org) is only words</p>"
    )
    (tmp_path / "page.html").write_text(body, encoding="utf-8")
    assert list(problems_of(tmp_path)) == []


def test_no_site_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no page"):
        list(problems_of(tmp_path))


def test_the_check_ends_well_where_nothing_is_wrong_and_names_what_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").write_text('<a href="other.html">fine</a>', encoding="utf-8")
    assert (checked(tmp_path), capsys.readouterr().out) == (0, "")
    (tmp_path / "page.html").write_text('<script src="https://elsewhere.example/a.js"></script>', encoding="utf-8")
    assert (checked(tmp_path), capsys.readouterr().out) == (1, "page.html loads https://elsewhere.example/a.js\n")
