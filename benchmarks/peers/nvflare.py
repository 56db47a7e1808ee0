"""NVFlare's homomorphic encryption, through its own provisioning, encryption filter, serialiser and aggregator.

    HEBuilder              one context for the whole project, with the secret key in every client's kit
    HEModelEncryptor       a ciphertext of TenSEAL for each tensor of a model
    fobs                   the bytes that travel: each ciphertext carries a copy of the context, and is loaded with it
    aggregation helper     the server's weighted sum

Its defaults throughout. What it does around these in a job (records, messages, signed files) is not counted on its
side. TenSEAL prints on stdout of every tensor longer than half the degree. Nothing of this project is imported here.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.pins import names_of

NAME = "nvflare"
VERSION = "2.9.0"
TITLE = f"NVFlare {VERSION}"
PYTHON = "3.11"
# The second is what `nvflare[he]` pins for this interpreter.
PIP = ("nvflare==2.9.0", "tenseal==0.3.15")

Floats = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Floats]

SYMBOLS = {
    "nvflare.apis.fl_context": ("FLContext",),
    "nvflare.app_common.aggregators.weighted_aggregation_helper": ("WeightedAggregationHelper",),
    "nvflare.app_opt.he.model_encryptor": ("HEModelEncryptor",),
    "nvflare.fuel.utils": ("fobs",),
    "nvflare.lighter.impl.he": ("HEBuilder",),
    "tenseal": ("context_from",),
}


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: as `names_of`.
    """
    names()


@cache
def names() -> Any:
    found = names_of("nvflare", VERSION, SYMBOLS)
    # Its filter tells each tensor's range; what printing takes is not counted.
    logging.getLogger("nvflare").setLevel(logging.ERROR)
    return found


@dataclass(frozen=True, slots=True)
class Project:
    """What the builder asks of a project and of its context: two parties, and where their kits are."""

    folder: Path

    def get_server(self) -> str:
        return "server"

    def get_clients(self) -> list[str]:
        return ["client"]

    def get_kit_dir(self, who: str) -> str:
        kit = self.folder / who
        kit.mkdir(exist_ok=True)
        return str(kit)

    def context_of(self, who: str) -> Any:
        """What the kit of this party holds."""
        [file] = (self.folder / who).iterdir()
        return names().context_from(file.read_bytes())


class Provisioned:
    """A project as its builder leaves it: the context of every client, at its defaults."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            project, builder = Project(Path(folder)), names().HEBuilder()
            builder.initialize(project, project)
            builder.build(project, project)
            self._client = project.context_of("client")
        # As the start of a run sets it up; it also registers how fobs writes ciphertexts.
        self._encryptor = names().HEModelEncryptor()
        self._encryptor.tenseal_context = self._client
        self._encryptor.encrypt_layers, self._encryptor.n_iter = [True], 1

    def encrypted(self, update: Tensors) -> dict[str, Any]:
        """Each tensor as a ciphertext."""
        made, _ = self._encryptor.encryption(dict(update), names().FLContext())
        return dict(made)

    def upload(self, update: Tensors) -> bytes:
        """One client: floats to the bytes that travel."""
        sent: bytes = names().fobs.dumps(self.encrypted(update))
        return sent

    def aggregator(self) -> Any:
        """The server's sum before anything has arrived; weights are in the ciphertexts."""
        return names().WeightedAggregationHelper(weigh_by_local_iter=False)

    def add(self, aggregator: Any, upload: bytes, who: str) -> None:
        """One client's share of the server's work: its bytes are loaded, contexts and all, and added."""
        aggregator.add(names().fobs.loads(upload), 1, who, 0)

    def opened(self, result: Mapping[str, Any]) -> dict[str, Floats]:
        """What any client opens of what the aggregator hands out, as its decryption filter does."""
        key = self._client.secret_key()
        return {name: np.array(sealed.decrypt(secret_key=key)) for name, sealed in result.items()}
