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
from typing import Any

from benchmarks.peers import flower_seam
from benchmarks.peers.flower_seam import CLIP, LEVELS, MODULUS, Floats, pair_key, settings
from benchmarks.peers.pins import PeerChanged

NAME = "flower"
# The one that figures are told of, of those the seam knows; 1.42.0 asks for a certifi that not every index carries.
VERSION = "1.41.0"
TITLE = f"Flower {VERSION}"
PYTHON = "3.11"
PIP = ("flwr[simulation]==1.41.0",)


def check() -> None:
    """Whether the calls below are there to be made.

    Raises: PeerChanged naming what is missing or another version; ModuleNotFoundError without Flower.
    """
    flower()


@cache
def flower() -> Any:
    """Flower's names, of the version that the figures name.

    Raises: as `check`.
    """
    names = flower_seam.flower()
    if names.__version__ != VERSION:
        raise PeerChanged(f"flwr {names.__version__} is installed; the figures here are of {VERSION}")
    return names


def node(nid: int, clients: int, shares: int) -> Any:
    """A client's state with its two key pairs: `shares - 1` neighbours and itself, a majority of shares rebuilds."""
    state = flower().SecAggPlusState()
    state.nid = nid
    flower()._setup(state, settings(clients, shares, shares // 2 + 1))
    return state


class Client:
    """One of `clients` nodes, all neighbours; `run` is its whole round, with the same inbound messages every time.

    Setup draws new keys each time, which is timed and then undone: the others' sealed shares were made
    for the first ones. What the others share is one pair of this node's own shares, of the right size.
    """

    def __init__(self, update: Floats, clients: int, weight: int) -> None:
        f = flower()
        self._parameters = f.ndarrays_to_parameters([update])
        self._clients, self._weight, self._shape = clients, weight, update.shape
        first, *self._others = (node(nid, clients, clients) for nid in range(1, clients + 1))
        self._keys = (first.sk1, first.pk1, first.sk2, first.pk2)
        self._roster = {str(state.nid): [state.pk1, state.pk2] for state in (first, *self._others)}
        f._share_keys(first, self._roster)
        shares = first.rd_seed_share_dict[1], first.sk1_share_dict[1]
        self._inbox = {
            f.Key.CIPHERTEXT_LIST: [
                f.encrypt(pair_key(other.sk2, first.pk2), f.share_keys_plaintext_concat(other.nid, 1, *shares))
                for other in self._others
            ],
            f.Key.SOURCE_LIST: [other.nid for other in self._others],
        }
        self.state = first
        self.sent: list[Mapping[str, Any]] = []

    def run(self) -> None:
        """Key pairs, shares for everybody, the masked vector, and the shares that unmask."""
        f = flower()
        state = self.state = node(1, self._clients, self._clients)
        state.sk1, state.pk1, state.sk2, state.pk2 = self._keys
        dealt = f._share_keys(state, self._roster)
        masked = f._collect_masked_vectors(state, self._inbox, self._weight, self._parameters)
        survivors = {f.Key.ACTIVE_NODE_ID_LIST: list(range(1, self._clients + 1)), f.Key.DEAD_NODE_ID_LIST: []}
        told = f._unmask(state, survivors)
        self.sent = [{"keys": [state.pk1, state.pk2]}, dealt, masked, told]

    @property
    def masked(self) -> Mapping[str, Any]:
        """The answer with the masked vector."""
        return self.sent[2]

    @property
    def upload_bytes(self) -> int:
        """Payload bytes of the four answers, without Flower's records around them."""
        values = (value for answer in self.sent for value in answer.values())
        return sum(len(item) if isinstance(item, bytes) else 8 for value in values for item in value)

    def opened(self) -> Floats:
        """The update under the masks, by removing those the others would know."""
        f = flower()
        masked = [f.bytes_to_ndarray(part) for part in self.masked[f.Key.MASKED_PARAMETERS]]
        shapes = f.get_parameters_shape(masked)
        for state in self._others:
            mask = f.pseudo_rand_gen(pair_key(state.sk1, self._keys[1]), MODULUS, shapes)
            masked = f.parameters_addition(masked, mask)
        return mean_of(_without(masked, self.state.rd_seed), 1)


@dataclass(frozen=True, slots=True)
class Case:
    """A whole round: each node's update and weight; nodes in `lost` share keys and send no vector.

    With `neighbours` each node masks with the nearest so many on a ring, an even number, as the workflow arranges
    them; without, everybody with everybody.
    """

    clients: int
    update_of: Callable[[int], Floats]
    weight: int
    lost: frozenset[int] = frozenset()
    neighbours: int | None = None

    def around(self, nid: int) -> list[int]:
        """The node itself and those it masks with."""
        if self.neighbours is None:
            return list(range(1, self.clients + 1))
        half = self.neighbours // 2
        return [(nid - 1 + offset) % self.clients + 1 for offset in range(-half, half + 1)]


@dataclass(frozen=True, slots=True)
class Round:
    """What the server holds when the last share has arrived."""

    masked: list[Any]
    shares: Mapping[int, list[bytes]]
    keys: Mapping[int, bytes] = field(repr=False)
    lost: frozenset[int]
    around: Callable[[int], list[int]]

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
            for neighbour in self.around(nid):
                if neighbour == nid:
                    continue
                key = pair_key(secret, self.keys[neighbour])
                mask = f.pseudo_rand_gen(key, MODULUS, f.get_parameters_shape(vector))
                combine = f.parameters_addition if nid > neighbour else f.parameters_subtraction
                vector = combine(vector, mask)
        return mean_of(vector, len(self.shares) - len(self.lost))


def run(case: Case) -> Round:
    """Play a round up to the server's unmasking."""
    f = flower()
    states = {nid: node(nid, case.clients, len(case.around(nid))) for nid in range(1, case.clients + 1)}
    inboxes: dict[int, tuple[list[int], list[bytes]]] = {nid: ([], []) for nid in states}
    for nid, state in states.items():
        roster = {str(other): [states[other].pk1, states[other].pk2] for other in case.around(nid)}
        dealt = f._share_keys(state, roster)
        for to, sealed in zip(dealt[f.Key.DESTINATION_LIST], dealt[f.Key.CIPHERTEXT_LIST], strict=True):
            inboxes[to][0].append(nid)
            inboxes[to][1].append(sealed)
    active = [nid for nid in states if nid not in case.lost]
    total: list[Any] = []
    for nid in active:
        inbox = {f.Key.SOURCE_LIST: inboxes[nid][0], f.Key.CIPHERTEXT_LIST: inboxes[nid][1]}
        parameters = f.ndarrays_to_parameters([case.update_of(nid)])
        total = added(total, f._collect_masked_vectors(states[nid], inbox, case.weight, parameters))
    shares: dict[int, list[bytes]] = {nid: [] for nid in states}
    for nid in active:
        around = set(case.around(nid))
        asked = {
            f.Key.ACTIVE_NODE_ID_LIST: sorted(around - case.lost),
            f.Key.DEAD_NODE_ID_LIST: sorted(around & case.lost),
        }
        told = f._unmask(states[nid], asked)
        for owner, share in zip(told[f.Key.NODE_ID_LIST], told[f.Key.SHARE_LIST], strict=True):
            shares[owner].append(share)
    publics = {nid: state.pk1 for nid, state in states.items()}
    return Round(f.parameters_mod(total, MODULUS), shares, publics, case.lost, case.around)


def added(total: list[Any], answer: Mapping[str, Any]) -> list[Any]:
    """The running sum with one more client's masked vector, as the workflow's loop adds it."""
    f = flower()
    vector = [f.bytes_to_ndarray(part) for part in answer[f.Key.MASKED_PARAMETERS]]
    return f.parameters_addition(total, vector) if total else vector


def mean_of(vector: list[Any], survivors: int) -> Floats:
    """The weighted mean that an unmasked sum over `survivors` nodes stands for."""
    f = flower()
    total, levels = f.factor_extract(f.parameters_mod(vector, MODULUS))
    (mean,) = f.dequantize(levels, CLIP, LEVELS)
    mean -= (survivors - 1) * CLIP
    mean *= LEVELS / total
    floats: Floats = mean
    return floats


def _without(vector: list[Any], seed: bytes) -> list[Any]:
    """The vector less a node's own mask."""
    f = flower()
    mask = f.pseudo_rand_gen(seed, MODULUS, f.get_parameters_shape(vector))
    less: list[Any] = f.parameters_subtraction(vector, mask)
    return less
