"""Every block of the site runs as it stands, from top to bottom of its page."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.docs.page import ENVIRONMENTS, ROOT, Page, blocks_of, page_of, pages, unread
from tests.docs.running import PARSED, RUN, Command, commands_of, reading

PAGES = pages()
READINGS = [reading for page in PAGES for reading in page.readings()]
RUNNING = [page for page in READINGS if any(block.language in RUN for block in page.blocks)]


def marked(page: Page) -> object:
    return pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.slow else [])


@pytest.mark.parametrize("page", [marked(page) for page in RUNNING])
def test_the_blocks_of_the_page_run(page: Page, tmp_path: Path) -> None:
    needed = ENVIRONMENTS.get(page.environment)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"NOT CHECKED: {page.path} is run by `make test-{page.environment}`")
    with reading(page, tmp_path) as run:
        for block in page.blocks:
            run.block(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_block_is_of_a_kind_that_is_run_or_read(page: Page) -> None:
    for block in page.blocks:
        known = block.language in RUN or block.language in PARSED
        assert known, f"{page.path}, line {block.line}: {block.language!r}; what is not run is ```text"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_no_block_is_fenced_in_a_way_that_is_not_read(page: Page) -> None:
    assert unread((ROOT / page.path).read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_page_asks_for_an_environment_there_is(page: Page) -> None:
    assert {page.environment, *(block.environment for block in page.blocks)} <= {"", *ENVIRONMENTS}


# --- the harness itself -----------------------------------------------------------------------------


def played(text: str, folder: Path) -> dict[str, object]:
    page = page_of("planted.md", text)
    with reading(page, folder) as run:
        for block in page.blocks:
            run.block(block)
    return run.names


def test_python_blocks_share_names_and_commands_share_their_folder(tmp_path: Path) -> None:
    first, second = "```python\nx = 1\n```\n", "```console\n$ mkdir in && cd in\n```\n"
    page = f"{first}{second}```python\nfrom pathlib import Path\ny = Path.cwd().name\nx += 1\n```\n"
    names = played(page, tmp_path)
    assert (names["x"], names["y"]) == (2, "in")


def test_a_block_of_another_environment_is_read_there_alone() -> None:
    marked = "<!-- environment: flower -->\n```console\n$ flwr --version\n```\n"
    page = page_of("planted.md", f"```python\nx = 1\n```\n\n{marked}")
    assert [(one.name, [block.language for block in one.blocks]) for one in page.readings()] == [
        ("planted.md", ["python"]),
        ("planted.md-flower", ["python", "console"]),
    ]
    assert unread(marked) == []
    assert unread(f"<!-- environment: flower -->\n\n{marked}") == [1]


def test_a_page_of_a_checkout_has_its_examples(tmp_path: Path) -> None:
    played("---\ncheckout: true\n---\n```console\n$ test -f examples/loop.py\n```\n", tmp_path)


def test_a_titled_block_becomes_a_file(tmp_path: Path) -> None:
    page = '```python title="sub/two.py"\nprint(2)\n```\n\n```console\n$ python sub/two.py\n# exactly\n2\n```\n'
    played(page, tmp_path)
    assert (tmp_path / "sub/two.py").read_text("utf-8") == "print(2)\n"


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("```python\nraise KeyError\n```\n", KeyError),
        ("```console\n$ false\n```\n", AssertionError),
        ("```console\n$ true\n# exit 1\n```\n", AssertionError),
        ("```console\n$ echo one\n# exactly\ntwo\n```\n", AssertionError),
        ("```console\n$ false | cat\n```\n", AssertionError),
        ("```console\n$ echo one\n# exactly \ntwo\n```\n", ValueError),
        ("```console\n$ echo one\n# exactly\none\n# exit 0\n```\n", ValueError),
        ("```console\n$ cat << END\none\nEND\n```\n", ValueError),
        ("```console\necho one\n```\n", ValueError),
        ("```bash\nfalse\ntrue\n```\n", AssertionError),
        ("```json\n{\n```\n", ValueError),
        ('```python title="x.py"\n)\n```\n', SyntaxError),
        ('```bash title="x.sh"\nif true\n```\n', SyntaxError),
        ("```yaml\nx\n```\n", KeyError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value.partition("\n")[0],
)
def test_what_does_not_hold_is_found(page: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        played(page, tmp_path)


def test_a_process_left_running_ends_with_the_page(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    played("```console\n$ sleep 600 > pipe &\n```\n", tmp_path)
    # Blocks for as long as somebody holds the other end.
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_commands_keep_their_continuation_lines() -> None:
    assert list(commands_of("$ a \\\n    b\n# exit 2\n# exactly\nout\n$ c\nanything\n")) == [
        Command("a \\\n    b", 2, "out"),
        Command("c", 0, None),
    ]


@pytest.mark.parametrize(
    "page",
    [
        "````python\nx\n````\n",
        "~~~python\nx\n~~~\n",
        "> ```python\n> x\n> ```\n",
        "- ```python\n  x\n  ```\n",
        "\t```python\n\tx\n\t```\n",
        "```python\nx\n  ```\n",
        "```python\nx\n",
    ],
)
def test_a_block_that_is_fenced_in_another_way_is_found_unread(page: str) -> None:
    fine = "```text\nx\n```\n\n"
    assert unread(fine) == []
    assert unread(fine + page)[0] == 5


@pytest.mark.parametrize("end", ["``` ", "````", "```\t"])
def test_a_block_ends_at_whatever_markdown_ends_it(end: str) -> None:
    assert [block.text for block in blocks_of(f"```text\none\n{end}\n\n```python\ntwo\n```\n")] == ["one\n", "two\n"]


def test_indented_blocks_lose_their_indent() -> None:
    (block,) = blocks_of("1. so\n\n    ```python\n    if x:\n        y\n    ```\n")
    assert block.text == "if x:\n    y\n"
    assert block.line == 4
