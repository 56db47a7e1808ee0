"""Runs the blocks of a page: python in one namespace, commands by bash, files written where a title names them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.page import ROOT, Block, Page

PATIENCE_SECONDS = 900
EXACTLY = "# exactly"
EXIT = re.compile(r"# exit (\d+)$")
# Whatever a writer meant by it, these words after a command's output would compare nothing.
STRAY = re.compile(r"\s*#\s*(?:exit|exactly)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Command:
    """One command of a console block: the code it must end with, and its output where that is compared."""

    text: str
    code: int
    output: str | None


def commands_of(text: str) -> Iterator[Command]:
    """`$ command`, then `# exit 1` or `# exactly` if they matter, then the output.

    Raises: ValueError where something stands before the first command, a command reads its input from the block (make
        it a titled file), or a mark stands where it would mean nothing.
    """
    before, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    if before.strip() or not parts:
        raise ValueError(f"a console block begins with '$ ': {text!r}")
    for part in parts:
        lines = part.splitlines()
        last = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
        command, rest = "\n".join(lines[: last + 1]), lines[last + 1 :]
        if "<<" in command:
            raise ValueError(f"the lines after this command would be its input, not its output: {command!r}")
        code = EXIT.match(rest[0]) if rest else None
        rest = rest[1:] if code else rest
        exact = bool(rest) and rest[0] == EXACTLY
        rest = rest[1:] if exact else rest
        if any(STRAY.match(line) for line in rest):
            raise ValueError(f"a mark is written '# exit 1' or '{EXACTLY}', right after its command: {part!r}")
        yield Command(command, int(code[1]) if code else 0, "\n".join(rest).strip() if exact else None)


def parse_shell(text: str) -> None:
    """Raises: SyntaxError with what bash says of it."""
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SyntaxError(done.stderr)


@dataclass
class Run:
    """A page being read: its names, its folder, and the processes it left running."""

    page: Page
    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    started: list[int] = field(default_factory=list)

    def block(self, block: Block) -> None:
        """Run one block.

        Raises: whatever it raises, AssertionError where a command fails or says something else, TimeoutExpired.
        """
        if block.title:
            self.save(block)
        elif block.language == "python":
            self.python(block)
        elif block.language == "console":
            for command in commands_of(block.text):
                self.command(command)
        elif block.language == "bash":
            self.command(Command(f"set -eu\n{block.text}", 0, None))
        else:
            PARSED[block.language](block.text)

    def save(self, block: Block) -> None:
        target = Path(block.title)
        target.parent.mkdir(parents=True, exist_ok=True)
        PARSED.get(block.language, str)(block.text)
        target.write_text(block.text, encoding="utf-8")

    def python(self, block: Block) -> None:
        # Lines of a traceback are those of the page.
        source = "\n" * (block.line - 1) + block.text
        exec(compile(source, str(ROOT / self.page.path), "exec"), self.names)

    def command(self, command: Command) -> None:
        here, out = self.folder / ".here", self.folder / ".out"
        # A reader does not see a failure before a pipe; here it counts.
        script = f"set -o pipefail\n{command.text}\nended=$?; pwd > {here}; exit $ended"
        with out.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.started.append(process.pid)
            code = process.wait(PATIENCE_SECONDS)
        said = out.read_text("utf-8")
        assert code == command.code, f"{self.page.path}: $ {command.text}\nended with {code}:\n{said}"
        if command.output is not None:
            assert said.strip() == command.output, f"{self.page.path}: $ {command.text}"
        # A reader who changed the folder stays there, also for what comes in python.
        if here.exists():
            os.chdir(here.read_text("utf-8").strip())


PARSED = {
    "text": str,
    "json": json.loads,
    "toml": tomllib.loads,
    "python": lambda text: compile(text, "saved", "exec"),
    "bash": parse_shell,
}
RUN = {"python", "console", "bash"}


@contextmanager
def reading(page: Page, folder: Path) -> Iterator[Run]:
    """In the page's folder, with this interpreter's commands first on the path; what was left running is ended."""
    kept, before = dict(os.environ), Path.cwd()
    os.environ.update(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        PYTHONPATH=str(ROOT),
        HOME=str(folder),
        COLUMNS="120",
        NO_COLOR="1",
    )
    os.chdir(folder)
    if page.checkout:
        shutil.copytree(ROOT / "examples", folder / "examples")
    run = Run(page, folder)
    try:
        yield run
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(kept)
        for leader in run.started:
            try:
                os.killpg(leader, signal.SIGKILL)
            except ProcessLookupError:
                continue
