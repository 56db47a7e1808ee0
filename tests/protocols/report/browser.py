"""A headless Chromium that shows one page, asked through its debugging pipe: no port is opened, nothing is installed.

The pipe carries the DevTools protocol: JSON messages, each ended by a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

PATIENCE = 30.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TROUBLE = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded")

Scheme = Literal["light", "dark"]


def chromium() -> str | None:
    """Where one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Page:
    """One open page; `complaints` are everything the browser logged about it."""

    commands: int
    answers: int
    session: str = ""
    buffer: bytes = b""
    sent: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """The result of one command; events that come before it are kept."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.sent:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def wait_for(self, event: str) -> None:
        """Until such an event has come."""
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self._next())

    def evaluate(self, expression: str) -> Any:
        """What an expression is in the page, asked from outside: the page's own policy forbids it every script."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"]["value"]

    def resize(self, width: int, height: int = 800) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: Scheme, on: Literal["", "print"] = "") -> None:
        wish = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=on, features=[wish])

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(picture["data"])

    def print_out(self) -> bytes:
        """The page on paper, as PDF."""
        return base64.b64decode(self.call("Page.printToPDF")["data"])

    @property
    def complaints(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("method") in TROUBLE]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser said nothing for {PATIENCE} s"
            more = os.read(self.answers, 1 << 20)
            assert more, "the browser closed its pipe"
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def opened(path: Path, profile: Path) -> Iterator[Page]:
    """The page at a path, loaded, with all its complaints on record; a page in a browser of its own."""
    binary = chromium()
    assert binary is not None
    child_reads, commands = os.pipe()
    answers, child_writes = os.pipe()
    # As root Chromium runs without a sandbox only; what it shows here is a file of ours.
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe --hide-scrollbars"
    )
    command = f'exec "$0" {flags} --user-data-dir="$1" about:blank 3<&{child_reads} 4>&{child_writes}'
    browser = subprocess.Popen(
        ["bash", "-c", command, binary, str(profile)],
        pass_fds=(child_reads, child_writes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(child_reads)
    os.close(child_writes)
    page = Page(commands, answers)
    try:
        _attach(page)
        page.call("Page.navigate", url=path.as_uri())
        page.wait_for("Page.loadEventFired")
        yield page
        page.session = ""
        page.call("Browser.close")
        browser.wait(PATIENCE)
    finally:
        browser.kill()
        browser.wait()
        os.close(commands)
        os.close(answers)


def _attach(page: Page) -> None:
    target = page.call("Target.createTarget", url="about:blank")["targetId"]
    page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
        page.call(f"{domain}.enable")
