"""NVFlare's homomorphic encryption under the checks of `benchmarks.matrix`; run in the environment of the peer.

    <env>/bin/python -m benchmarks.peers.nvflare_target '{"checks": ["N1"]}'

Its own builder provisions two clients, its own encryptor and serialiser make their uploads.
"""

from __future__ import annotations

import io
import logging
import tempfile
from functools import cache
from importlib.metadata import version as distribution
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.matrix import ciphertexts
from benchmarks.matrix.checks import ids
from benchmarks.matrix.child import ending_of
from benchmarks.matrix.ciphertexts import HOLLOW, LENET, Floats
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.target import Target, for_all
from benchmarks.peers.pins import names_of

VERSION = "2.9.0"
SLOTS = 4096
SYMBOLS = {
    "nvflare.apis.fl_context": ("FLContext",),
    "nvflare.app_common.aggregators.weighted_aggregation_helper": ("WeightedAggregationHelper",),
    "nvflare.app_opt.he.homomorphic_encrypt": ("deserialize_nested_dict", "serialize_nested_dict"),
    "nvflare.app_opt.he.model_encryptor": ("HEModelEncryptor",),
    "nvflare.fuel.utils": ("fobs",),
    "nvflare.lighter.impl.he": ("HEBuilder",),
    "tenseal": ("context_from",),
}


@cache
def names() -> Any:
    return names_of("nvflare", VERSION, SYMBOLS)


def version() -> str:
    names()
    return VERSION


class Project:
    """The two questions that the builder asks of a project, and where it writes the kits."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        for who in ("server", "A", "B"):
            (self.folder / who).mkdir()

    def get_server(self) -> str:
        return "server"

    def get_clients(self) -> list[str]:
        return ["A", "B"]

    def get_kit_dir(self, who: str) -> str:
        return str(self.folder / who)

    def context_of(self, who: str) -> Any:
        """What the kit of this party holds."""
        [file] = (self.folder / who).iterdir()
        return names().context_from(file.read_bytes())


def provisioned(folder: str) -> Project:
    project, builder = Project(folder), names().HEBuilder()
    builder.initialize(project, project)
    builder.build(project, project)
    return project


def encrypted(context: Any, parameters: dict[str, Floats]) -> dict[str, Any]:
    """What its filter makes of an update, set up as the start of a run does."""
    encryptor = names().HEModelEncryptor()
    encryptor.tenseal_context, encryptor.encrypt_layers, encryptor.n_iter = context, [True], 1
    made, _ = encryptor.encryption({name: values.copy() for name, values in parameters.items()}, names().FLContext())
    return dict(made)


def shared_key() -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        project, update = provisioned(folder), np.linspace(-1, 1, 100)
        upload = names().serialize_nested_dict(encrypted(project.context_of("A"), {"w": update}))
        opened = names().deserialize_nested_dict(upload, project.context_of("B"))["w"].decrypt()
        files = list((project.folder / "B").iterdir())
        return ciphertexts.opens_anothers(np.array(opened), update, files, "what the kit of client B has")


def add_up(message: str) -> None:
    """The server's aggregation of one honest upload and these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        project = provisioned(folder)
        server = project.context_of("server")
        honest = names().serialize_nested_dict(encrypted(project.context_of("A"), {"w": np.zeros(SLOTS)}))
        helper = names().WeightedAggregationHelper(weigh_by_local_iter=False)
        for who, upload in (("A", honest), ("B", {"w": bytes.fromhex(message)})):
            helper.add(names().deserialize_nested_dict(dict(upload), server), 1, who, 0)
        helper.get_result()


def hollow() -> Answer:
    """Its ciphertexts are those of the tenseal beside it, whose version is told."""
    ending = ending_of(__spec__.name, "add_up", HOLLOW.hex())
    return ciphertexts.survives([(f"three bytes from one client, with tenseal {distribution('tenseal')}", ending)])


def layers() -> Answer:
    sizes = [int(np.prod(shape)) for shape in LENET]
    with tempfile.TemporaryDirectory() as folder:
        context = provisioned(folder).context_of("A")
        flat, cut = (
            len(names().fobs.dumps(encrypted(context, parameters)))
            for parameters in (
                {"w": np.zeros(sum(sizes))},
                {f"w{place}": np.zeros(size) for place, size in enumerate(sizes)},
            )
        )
    return ciphertexts.layered(flat, cut, sum(sizes))


def poisoned() -> Answer:
    """Its plain aggregation: under encryption the server cannot look at all."""
    helper = names().WeightedAggregationHelper()
    for who in range(4):
        helper.add({"w": np.full(2, 0.5)}, 1, str(who), 0)
    helper.add({"w": np.array([np.nan, 1e300])}, 1, "4", 0)
    return ciphertexts.poisoned(
        helper.get_result()["w"], "its plain aggregation of five clients, one of whom sends [nan, 1e300]"
    )


def logs() -> Answer:
    text, update = io.StringIO(), np.linspace(-0.7123456, 0.6543211, 100)
    handler, root = logging.StreamHandler(text), logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        encrypted(provisioned(folder).context_of("A"), {"w": update})
    root.removeHandler(handler)
    return ciphertexts.told_in_logs(text.getvalue(), update)


PROBES = {
    "N1": shared_key,
    "N2": hollow,
    "N3": layers,
    "N4": poisoned,
    "N5": logs,
}
TARGET = Target(
    "nvflare",
    version,
    PROBES,
    for_all(ids("F"), "it has no masks")
    | for_all(ids("T"), "its ciphertexts are TenSEAL's: see there")
    | for_all(ids("D"), "its encrypted sums carry no noise for privacy and no account of it"),
    {},
)

if __name__ == "__main__":
    TARGET.main()
