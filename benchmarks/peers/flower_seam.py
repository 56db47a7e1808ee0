"""The one place where Flower is imported: its names, its pinned versions, and one of its clients by hand.

Private names are used where Flower has no public seam; when one is gone, or the version is another, every
use fails by name, so that nothing is said about a Flower that was not looked at.
Nothing of this project is imported here.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.pins import PeerChanged

# 1.42.0 has the same files byte for byte.
VERSIONS = ("1.41.0", "1.42.0")
# The defaults of SecAggPlusWorkflow.
CLIP = 8.0
LEVELS = 1 << 22
MODULUS = 1 << 32
MAX_WEIGHT = 1000.0
STAGES = ("setup", "share_keys", "collect_masked_vectors", "unmask")

SYMBOLS = {
    "flwr": ("__version__",),
    "flwr.app": ("ConfigRecord", "Context", "Error", "Message", "RecordDict"),
    "flwr.client.mod": ("secaggplus_mod",),
    "flwr.client.mod.secure_aggregation.secaggplus_mod": (
        "SecAggPlusState",
        "_collect_masked_vectors",
        "_setup",
        "_share_keys",
        "_unmask",
    ),
    "flwr.common": ("Code", "FitIns", "FitRes", "Status", "bytes_to_ndarray", "ndarrays_to_parameters"),
    "flwr.common.secure_aggregation.crypto.shamir": ("combine_shares",),
    "flwr.common.secure_aggregation.crypto.symmetric_encryption": ("decrypt", "encrypt", "generate_shared_key"),
    "flwr.common.secure_aggregation.ndarrays_arithmetic": (
        "factor_extract",
        "get_parameters_shape",
        "parameters_addition",
        "parameters_mod",
        "parameters_subtraction",
    ),
    "flwr.common.secure_aggregation.quantization": ("dequantize",),
    "flwr.common.secure_aggregation.secaggplus_constants": ("Key", "RECORD_KEY_CONFIGS", "RECORD_KEY_STATE"),
    "flwr.common.secure_aggregation.secaggplus_utils": (
        "pseudo_rand_gen",
        "share_keys_plaintext_concat",
        "share_keys_plaintext_separate",
    ),
    "flwr.common.serde": ("recorddict_to_proto",),
    "flwr.compat.common.recorddict_compat": ("fitres_to_recorddict", "parameters_to_arrayrecord"),
    "flwr.server": ("ServerConfig",),
    "flwr.server.compat.legacy_context": ("LegacyContext",),
    "flwr.server.workflow": ("SecAggPlusWorkflow",),
    "flwr.server.workflow.constant": ("MAIN_CONFIGS_RECORD", "MAIN_PARAMS_RECORD"),
    "flwr.supercore.primitives.asymmetric": (
        "bytes_to_private_key",
        "bytes_to_public_key",
        "generate_key_pairs",
        "private_key_to_bytes",
        "public_key_to_bytes",
    ),
    "flwr.supercore.task_identity": ("TaskIdentity",),
}

Floats = NDArray[Any]


@functools.cache
def flower() -> Any:
    """Every name of Flower that is used here.

    Raises: PeerChanged naming what is gone or the version that was found; ModuleNotFoundError without Flower.
    """
    found: dict[str, Any] = {}
    importlib.import_module("flwr")
    for module, symbols in SYMBOLS.items():
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise PeerChanged(f"flwr no longer has the module {module}") from error
        for symbol in symbols:
            if not hasattr(loaded, symbol):
                raise PeerChanged(f"{module} no longer has {symbol}")
            found[symbol] = getattr(loaded, symbol)
    if found["__version__"] not in VERSIONS:
        raise PeerChanged(f"flwr {found['__version__']} is installed, {' or '.join(VERSIONS)} is measured here")
    # Otherwise every message refuses to be made.
    found["TaskIdentity"].task_id = found["TaskIdentity"].run_id = found["TaskIdentity"].node_id = 1
    # A thousand warnings about weights tell no more than the figures.
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    return SimpleNamespace(**found)


def settings(clients: int, shares: int, threshold: int) -> dict[str, Any]:
    """What the server sends first."""
    key = flower().Key
    return {
        key.SAMPLE_NUMBER: clients,
        key.SHARE_NUMBER: shares,
        key.THRESHOLD: threshold,
        key.CLIPPING_RANGE: CLIP,
        key.TARGET_RANGE: LEVELS,
        key.MOD_RANGE: MODULUS,
        key.MAX_WEIGHT: MAX_WEIGHT,
    }


def pair_key(private: bytes, public: bytes) -> bytes:
    """The key two nodes share: the 44 characters that seed a pairwise mask."""
    fl = flower()
    agreed: bytes = fl.generate_shared_key(fl.bytes_to_private_key(private), fl.bytes_to_public_key(public))
    return agreed


class Node:
    """A client app with the SecAgg+ mod: real messages in, real messages out, its state in its context."""

    def __init__(self, who: int, vector: Floats, weight: int = 500) -> None:
        self.who, self.vector, self.weight = who, vector, weight
        fl = flower()
        self.context = fl.Context(1, who, {}, fl.RecordDict(), {})

    @property
    def stored(self) -> Mapping[str, Any]:
        """What the mod keeps for the next message."""
        return dict(self.context.state.config_records[flower().RECORD_KEY_STATE])

    def app(self, message: Any, context: Any) -> Any:
        """Training is over at once: the vector is the update."""
        fl = flower()
        status = fl.Status(fl.Code.OK, "")
        result = fl.FitRes(status, fl.ndarrays_to_parameters([self.vector]), self.weight, {})
        return fl.Message(fl.fitres_to_recorddict(result, False), reply_to=message)

    def receive(self, message: Any) -> Any:
        """The reply to one message of the server. Raises: what the mod does."""
        reply: Any = flower().secaggplus_mod(message, self.context, self.app)
        return reply

    def say(self, stage: str, configs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The villain's server says this; what the client answers."""
        fl = flower()
        record = fl.ConfigRecord({**configs, fl.Key.STAGE: stage})
        content = fl.RecordDict({fl.RECORD_KEY_CONFIGS: record})
        reply = self.receive(fl.Message(content, dst_node_id=self.who, message_type="train"))
        return dict(reply.content.config_records[fl.RECORD_KEY_CONFIGS])

    # The four questions of the protocol, as a server may ask them.

    def set_up(self, clients: int, shares: int, threshold: int) -> list[bytes]:
        """Its two public keys."""
        key = flower().Key
        answer = self.say(STAGES[0], settings(clients, shares, threshold))
        return [answer[key.PUBLIC_KEY_1], answer[key.PUBLIC_KEY_2]]

    def share(self, keys: Mapping[int, list[bytes]]) -> dict[int, bytes]:
        """Its encrypted shares, by destination."""
        key = flower().Key
        answer = self.say(STAGES[1], {str(who): pair for who, pair in keys.items()})
        return dict(zip(answer[key.DESTINATION_LIST], answer[key.CIPHERTEXT_LIST], strict=True))

    def masked(self, sealed: Mapping[int, bytes]) -> list[NDArray[np.int64]]:
        """Its masked weight and masked vector."""
        fl = flower()
        answer = self.say(STAGES[2], {fl.Key.CIPHERTEXT_LIST: list(sealed.values()), fl.Key.SOURCE_LIST: list(sealed)})
        return [fl.bytes_to_ndarray(data) for data in answer[fl.Key.MASKED_PARAMETERS]]

    def unmask(self, alive: Iterable[int], dead: Iterable[int]) -> dict[tuple[int, str], bytes]:
        """The shares it gives away, by owner and kind, when it is told who is in the sum and who vanished."""
        key = flower().Key
        told = {key.ACTIVE_NODE_ID_LIST: sorted(alive), key.DEAD_NODE_ID_LIST: sorted(dead)}
        answer = self.say(STAGES[3], told)
        kinds = ["seed"] * len(told[key.ACTIVE_NODE_ID_LIST]) + ["key"] * len(told[key.DEAD_NODE_ID_LIST])
        return dict(zip(zip(answer[key.NODE_ID_LIST], kinds, strict=True), answer[key.SHARE_LIST], strict=True))
