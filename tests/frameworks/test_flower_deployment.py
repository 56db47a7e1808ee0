"""A SuperLink and four SuperNodes as processes of their own, one of which is killed while it trains.

Runs in the environment of Flower (`make test-flower`) and is skipped by name elsewhere.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here: run `make test-flower`")

from protocols.home import make_homes

APP = Path(__file__).with_name("flower_nodes")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 300.0
# One step of 16 bits over [-1, 1].
STEP = 2.0 / (2**16 - 1)


def known() -> Any:
    spec = spec_from_file_location("known", APP / "flower_nodes" / "known.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {PATIENCE_SECONDS:.0f} s"
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Tap:
    """Carries connections to `target` and keeps what goes up and what comes down, until both ends are gone."""

    def __init__(self, target: int) -> None:
        self.target, self.up, self.down = target, bytearray(), bytearray()
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *given: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=given, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._start(self._carry, self._server.accept()[0])

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as far:
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    kept, sink = (self.up, far) if ready is near else (self.down, near)
                    kept += data
                    sink.sendall(data)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def process(folder: Path, name: str, *command: str, **more: str) -> Iterator[subprocess.Popen]:
    """A process in a group of its own, which ends with the test, its children too."""
    env = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FLWR_HOME": str(folder / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        **more,
    }
    with open(folder / f"{name}.log", "wb") as log:
        started = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], env=env, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        yield started
    finally:
        kill(started)


def kill(started: subprocess.Popen) -> None:
    """kill -9 for the process and the group it leads."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def logs(folder: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}" for path in folder.glob("*.log"))


@dataclass
class Ended:
    model: np.ndarray
    figures: dict[str, dict[str, float]]
    tap: Tap


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One round, in which the victim's SuperNode and its app die in the middle of the training."""
    folder, right = tmp_path_factory.mktemp("deployment"), known()
    homes, link = folder / "homes", free_port()
    make_homes(homes, right.CLIENTS, openers=3)
    (folder / "flwr").mkdir()
    (folder / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    training = folder / "training"
    tap, nodes = Tap(link), []
    with ExitStack() as stack:
        # Called last, when both ends of what it carries are gone.
        stack.callback(tap.close)
        stack.enter_context(process(folder, "superlink", "flower-superlink", "--insecure", "--port", str(link)))
        until(lambda: listens(link), "the SuperLink's start")
        for who in range(right.CLIENTS):
            config = f"partition-id={who} secagg-home='{homes / f'site-{who}'}' training='{training}'"
            port = tap.port if who == 0 else link
            command = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
            nodes.append(
                stack.enter_context(
                    process(folder, f"node-{who}", "flower-supernode", *command, "--node-config", config)
                )
            )
        settings = f'home="{homes / "server"}" out="{folder}"'
        run = stack.enter_context(process(folder, "run", "flwr", "run", str(APP), "here", "-c", settings))
        until(lambda: run.poll() is not None, "the start of the run")
        assert run.returncode == 0, logs(folder)
        try:
            until(training.exists, "the victim's training")
            kill(nodes[right.VICTIM])
            until((folder / "figures.json").exists, "the end of the run")
        except AssertionError as slow:
            raise AssertionError(f"{slow}\n{logs(folder)}") from slow
    return Ended(np.load(folder / "model.npy"), json.loads((folder / "figures.json").read_text()), tap)


def test_the_model_is_the_plain_weighted_mean_without_the_killed_node(ended: Ended) -> None:
    right = known()
    left = [who for who in range(right.CLIENTS) if who != right.VICTIM]
    assert np.abs(ended.model - (right.start() + right.mean_over(left))).max() <= STEP
    assert (ended.figures["1"]["secagg-survivors"], ended.figures["1"]["secagg-dropped"]) == (len(left), 1)


def test_the_round_takes_two_exchanges_and_one_to_convene_the_committee(ended: Ended) -> None:
    assert ended.figures["1"]["secagg-exchanges"] == 3


def test_a_node_sends_nothing_of_its_own_in_the_clear(ended: Ended) -> None:
    right = known()
    up = bytes(ended.tap.up)
    trained = right.start() + right.delta_of(0)
    for numbers in (trained, right.delta_of(0)):
        for dtype in (np.float64, np.float32):
            plain = numbers.astype(dtype)
            assert not any(plain[at : at + 2].tobytes() in up for at in range(0, right.LENGTH, 10))
    assert str(right.weight_of(0)).encode() not in up
    assert b"num-examples" not in up


def test_the_tap_would_have_seen_it(ended: Ended) -> None:
    """What the server sends in the clear, the model it trains from, is found in what came down."""
    assert known().start()[10:12].tobytes() in bytes(ended.tap.down)
