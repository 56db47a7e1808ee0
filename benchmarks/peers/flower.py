"""Flower's SecAgg+, called through its own functions: a client's four steps, and the server's unmasking.

Flower offers no public seam below a whole simulated federation, so the underscored functions of its client
mod are called as `secaggplus_mod` calls them, and the loop of `SecAggPlusWorkflow.unmask_stage` is followed
line by line without its messages. Both leave out work that Flower does in practice (records, transport);
nothing is left out that a figure of ours contains, except signatures, which Flower has none of.
Nothing of this project is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

NAME = "flower"
VERSION = "1.41.0"
PYTHON = "3.11"
# 1.42.0 has the same files byte for byte, and asks for a certifi that not every index carries.
PIP = ("flwr==1.41.0",)

# The defaults of SecAggPlusWorkflow.
CLIP = 8.0
LEVELS = 1 << 22
MODULUS = 1 << 32
MAX_WEIGHT = 1000.0

Floats = np.ndarray[Any, np.dtype[Any]]


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: ImportError naming what is missing or another version.
    """
    flower()


@cache
def flower() -> SimpleNamespace:
    """Flower's functions under their own names.

    Raises: ImportError naming the one that is gone.
    """
    import importlib
    import logging
    from importlib.metadata import version

    from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
    from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
    from flwr.common.secure_aggregation.quantization import dequantize
    from flwr.common.secure_aggregation.secaggplus_constants import Key
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
    from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

    if version("flwr") != VERSION:
        raise ImportError(f"flwr {version('flwr')} is installed; the calls below are those of {VERSION}")
    # Its warnings about weights are what the rounding suite measures; a thousand lines of them tell no more.
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    return SimpleNamespace(
        # The package names a function like this module; only the import system tells them apart.
        mod=importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod"),
        bytes_to_ndarray=bytes_to_ndarray,
        ndarrays_to_parameters=ndarrays_to_parameters,
        arithmetic=arithmetic,
        combine_shares=combine_shares,
        encrypt=encrypt,
        generate_shared_key=generate_shared_key,
        dequantize=dequantize,
        Key=Key,
        pseudo_rand_gen=pseudo_rand_gen,
        share_keys_plaintext_concat=share_keys_plaintext_concat,
        bytes_to_private_key=bytes_to_private_key,
        bytes_to_public_key=bytes_to_public_key,
    )


def settings(clients: int) -> dict[str, Any]:
    """What the server sends first: everybody masks with everybody, a majority of shares rebuilds a secret."""
    key = flower().Key
    return {
        key.SAMPLE_NUMBER: clients,
        key.SHARE_NUMBER: clients,
        key.THRESHOLD: clients // 2 + 1,
        key.CLIPPING_RANGE: CLIP,
        key.TARGET_RANGE: LEVELS,
        key.MOD_RANGE: MODULUS,
        key.MAX_WEIGHT: MAX_WEIGHT,
    }


def node(nid: int, clients: int) -> Any:
    """A client's state with its two key pairs."""
    state = flower().mod.SecAggPlusState()
    state.nid = nid
    flower().mod._setup(state, settings(clients))
    return state


def agree(private: bytes, public: bytes) -> bytes:
    """The key two nodes share."""
    f = flower()
    agreed: bytes = f.generate_shared_key(f.bytes_to_private_key(private), f.bytes_to_public_key(public))
    return agreed


class Client:
    """One of `clients` nodes; `run` is its whole round, with the same inbound messages every time.

    Setup draws new keys each time, which is timed and then undone: the others' sealed shares were made
    for the first ones. What the others share is one pair of this node's own shares, of the right size.
    """

    def __init__(self, update: Floats, clients: int, weight: int) -> None:
        f = flower()
        self._parameters = f.ndarrays_to_parameters([update])
        self._clients, self._weight, self._shape = clients, weight, update.shape
        first, *self._others = (node(nid, clients) for nid in range(1, clients + 1))
        self._keys = (first.sk1, first.pk1, first.sk2, first.pk2)
        self._roster = {str(state.nid): [state.pk1, state.pk2] for state in (first, *self._others)}
        f.mod._share_keys(first, self._roster)
        shares = first.rd_seed_share_dict[1], first.sk1_share_dict[1]
        self._inbox = {
            f.Key.CIPHERTEXT_LIST: [
                f.encrypt(agree(other.sk2, first.pk2), f.share_keys_plaintext_concat(other.nid, 1, *shares))
                for other in self._others
            ],
            f.Key.SOURCE_LIST: [other.nid for other in self._others],
        }
        self.state = first
        self.sent: list[Mapping[str, Any]] = []

    def run(self) -> None:
        """Key pairs, shares for everybody, the masked vector, and the shares that unmask."""
        f = flower()
        state = self.state = node(1, self._clients)
        state.sk1, state.pk1, state.sk2, state.pk2 = self._keys
        dealt = f.mod._share_keys(state, self._roster)
        masked = f.mod._collect_masked_vectors(state, self._inbox, self._weight, self._parameters)
        survivors = {f.Key.ACTIVE_NODE_ID_LIST: list(range(1, self._clients + 1)), f.Key.DEAD_NODE_ID_LIST: []}
        told = f.mod._unmask(state, survivors)
        self.sent = [{"keys": [state.pk1, state.pk2]}, dealt, masked, told]

    @property
    def upload_bytes(self) -> int:
        """Payload bytes of the four answers, without Flower's records around them."""
        values = (value for answer in self.sent for value in answer.values())
        return sum(len(item) if isinstance(item, bytes) else 8 for value in values for item in value)

    def opened(self) -> Floats:
        """The update under the masks, by removing those the others would know."""
        f = flower()
        masked = [f.bytes_to_ndarray(part) for part in self.sent[2][f.Key.MASKED_PARAMETERS]]
        shapes = f.arithmetic.get_parameters_shape(masked)
        for state in self._others:
            mask = f.pseudo_rand_gen(agree(state.sk1, self._keys[1]), MODULUS, shapes)
            masked = f.arithmetic.parameters_addition(masked, mask)
        return mean_of(_without(masked, self.state.rd_seed), 1)


@dataclass(frozen=True, slots=True)
class Case:
    """A whole round: each node's update and weight; nodes in `lost` share keys and send no vector."""

    clients: int
    update_of: Callable[[int], Floats]
    weight: int
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Round:
    """What the server holds when the last share has arrived."""

    masked: list[Any]
    shares: Mapping[int, list[bytes]]
    keys: Mapping[int, bytes] = field(repr=False)
    lost: frozenset[int]

    def secrets(self) -> dict[int, bytes]:
        """What the shares rebuild: the mask seed of a survivor, the private key of a lost node."""
        return {nid: flower().combine_shares(shares) for nid, shares in self.shares.items()}

    def unmask(self, secrets: Mapping[int, bytes]) -> Floats:
        """The weighted mean of the survivors. With `secrets`, the loop of `SecAggPlusWorkflow.unmask_stage`."""
        f = flower()
        vector = self.masked
        for nid, secret in secrets.items():
            if nid not in self.lost:
                vector = _without(vector, secret)
                continue
            for neighbour, public in self.keys.items():
                if neighbour == nid:
                    continue
                mask = f.pseudo_rand_gen(agree(secret, public), MODULUS, f.arithmetic.get_parameters_shape(vector))
                combine = f.arithmetic.parameters_addition if nid > neighbour else f.arithmetic.parameters_subtraction
                vector = combine(vector, mask)
        return mean_of(vector, len(self.shares) - len(self.lost))


def run(case: Case) -> Round:
    """Play a round up to the server's unmasking."""
    f = flower()
    states = {nid: node(nid, case.clients) for nid in range(1, case.clients + 1)}
    roster = {str(nid): [state.pk1, state.pk2] for nid, state in states.items()}
    inboxes: dict[int, tuple[list[int], list[bytes]]] = {nid: ([], []) for nid in states}
    for nid, state in states.items():
        dealt = f.mod._share_keys(state, roster)
        for to, sealed in zip(dealt[f.Key.DESTINATION_LIST], dealt[f.Key.CIPHERTEXT_LIST], strict=True):
            inboxes[to][0].append(nid)
            inboxes[to][1].append(sealed)
    active = [nid for nid in states if nid not in case.lost]
    total: list[Any] = []
    for nid in active:
        inbox = {f.Key.SOURCE_LIST: inboxes[nid][0], f.Key.CIPHERTEXT_LIST: inboxes[nid][1]}
        parameters = f.ndarrays_to_parameters([case.update_of(nid)])
        answer = f.mod._collect_masked_vectors(states[nid], inbox, case.weight, parameters)
        vector = [f.bytes_to_ndarray(part) for part in answer[f.Key.MASKED_PARAMETERS]]
        total = f.arithmetic.parameters_addition(total, vector) if total else vector
    shares: dict[int, list[bytes]] = {nid: [] for nid in states}
    asked = {f.Key.ACTIVE_NODE_ID_LIST: active, f.Key.DEAD_NODE_ID_LIST: sorted(case.lost)}
    for nid in active:
        told = f.mod._unmask(states[nid], asked)
        for owner, share in zip(told[f.Key.NODE_ID_LIST], told[f.Key.SHARE_LIST], strict=True):
            shares[owner].append(share)
    publics = {nid: state.pk1 for nid, state in states.items()}
    return Round(f.arithmetic.parameters_mod(total, MODULUS), shares, publics, case.lost)


def mean_of(vector: list[Any], survivors: int) -> Floats:
    """The weighted mean that an unmasked sum over `survivors` nodes stands for."""
    f = flower()
    total, levels = f.arithmetic.factor_extract(f.arithmetic.parameters_mod(vector, MODULUS))
    (mean,) = f.dequantize(levels, CLIP, LEVELS)
    mean -= (survivors - 1) * CLIP
    mean *= LEVELS / total
    floats: Floats = mean
    return floats


def _without(vector: list[Any], seed: bytes) -> list[Any]:
    """The vector less a node's own mask."""
    f = flower()
    mask = f.pseudo_rand_gen(seed, MODULUS, f.arithmetic.get_parameters_shape(vector))
    less: list[Any] = f.arithmetic.parameters_subtraction(vector, mask)
    return less
