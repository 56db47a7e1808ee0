"""A weak library: pairwise masks from sixteen-bit numpy seeds, clients that answer whatever they are asked.

Every script must succeed against it; a script that does not is broken. It is a working protocol all the
same: on good inputs, without drop-outs, masks cancel and the mean is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.adversary.targets import Case, Ended, Floats, Kept, Step, Surroundings, View, vector_of
from protocols.adversary.verdict import Refused

LENGTH = 40
MODULUS = 1 << 32
SCALE = 1 << 24
WEIGHT = 500


def mask_of(seed: int, length: int, modulus: int = MODULUS) -> NDArray[np.int64]:
    """The top value never occurs."""
    return np.random.default_rng(seed).integers(0, modulus - 1, length)


def pair_seed(one: int, other: int) -> int:
    return int(np.random.default_rng([1, *sorted((one, other))]).integers(1 << 16))


def self_seed(who: int) -> int:
    return int(np.random.default_rng([2, who]).integers(1 << 16))


def pair_mask(who: int, peer: int, length: int) -> NDArray[np.int64]:
    return (1 if who < peer else -1) * mask_of(pair_seed(who, peer), length)


def encoded(vector: Floats, weight: int, max_weight: int) -> NDArray[np.int64]:
    """The weight, then the weighted vector in fixed point: a light client keeps few bits."""
    clipped = np.nan_to_num(np.clip(vector, -8, 8), nan=1234.5)
    return np.concatenate([[weight], np.rint(clipped * (weight / max_weight) * SCALE).astype(np.int64)])


def masked(who: int, peers: Sequence[int], vector: Floats, weight: int, max_weight: int = 1000) -> NDArray[np.int64]:
    plain = encoded(vector, weight, max_weight)
    total = plain + mask_of(self_seed(who), plain.size)
    return sum((pair_mask(who, peer, plain.size) for peer in peers if peer != who), total) % MODULUS


def decoded(total: NDArray[np.int64], max_weight: int = 1000) -> Floats:
    centred = (total[1:] + MODULUS // 2) % MODULUS - MODULUS // 2
    with np.errstate(all="ignore"):
        return centred / SCALE * max_weight / np.float64(total[0])


class Room:
    """All vectors are in; every client knows every seed it shares and tells it."""

    def __init__(self, clients: int) -> None:
        self.ids: Sequence[int] = range(clients)
        self.uploads = {who: masked(who, self.ids, self.truth(who), WEIGHT) for who in self.ids}
        self.told: set[tuple[int, str]] = set()

    def truth(self, victim: int) -> Floats:
        return vector_of(victim, LENGTH)

    def ask(self, views: Mapping[int, View]) -> Mapping[int, str]:
        for view in views.values():
            self.told |= {(who, "self") for who in view.alive} | {(who, "pairs") for who in view.dead}
        return {}

    def recovered(self, victim: int) -> Floats:
        if not {(victim, "self"), (victim, "pairs")} <= self.told:
            raise Refused("only one of the victim's two secrets was told")
        plain = self.uploads[victim] - mask_of(self_seed(victim), LENGTH + 1)
        for peer in self.ids:
            if peer != victim:
                plain = plain - pair_mask(victim, peer, LENGTH + 1)
        return decoded(plain % MODULUS)


class Toy:
    name = "toy"

    def mask_keys(self, pairs: int) -> Sequence[bytes]:
        return [pair_seed(number, number + 1).to_bytes(2, "little") for number in range(pairs)]

    def mask(self, key: bytes, bits: int, length: int) -> NDArray[np.uint64]:
        return mask_of(int.from_bytes(key, "little"), length, 1 << bits).astype(np.uint64)

    def interrogate(self, clients: int) -> Room:
        return Room(clients)

    def surround(self, how: Surroundings) -> tuple[Floats, Floats]:
        room = Room(1 if how is Surroundings.ALONE else 5)
        room.ask({0: View(frozenset({0}), frozenset({0}))})
        return room.recovered(0), room.truth(0)

    def run(self, case: Case) -> Ended:
        ids, uploads = sorted(case.vectors), {}
        counted = [who for who in ids if case.lost.get(who, Step.UNMASK) is Step.UNMASK]
        lost = set(case.lost.values()) & {Step.SETUP, Step.SHARES}
        if lost or (case.shares is not None and case.shares % 2 == 0):
            return Ended(None, frozenset(), "KeyError", {}, dict.fromkeys(ids, b""))
        total: NDArray[np.int64] = np.zeros(1, np.int64)
        for who in counted:
            vector, weight = case.vectors[who], case.weights[who]
            upload = masked(who, counted, vector, weight, case.max_weight)
            uploads[who] = upload.tobytes() + weight.to_bytes(4, "little")
            if vector.size not in (1, LENGTH):
                return Ended(None, frozenset(), "ValueError: shapes", {}, uploads)
            spread = np.concatenate([upload[:1], np.broadcast_to(upload[1:], (LENGTH,))])
            total = (total + spread - mask_of(self_seed(who), LENGTH + 1)) % MODULUS
        return Ended(decoded(total, case.max_weight), frozenset(counted), "", {}, uploads)

    def after_round(self) -> Kept:
        secrets = {f"pair seed: {peer}": pair_seed(0, peer).to_bytes(32, "little") for peer in range(1, 4)}
        return Kept(secrets, b"state: " + b"".join(secrets.values()))
