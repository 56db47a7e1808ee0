"""Flower's SecAgg+ as a target of `protocols.adversary`; imported in the environment of the peer.

Clients are real `secaggplus_mod`s that are handed real messages; whole rounds are driven by the real
`SecAggPlusWorkflow`. Nothing of Flower is replaced or patched. Its settings are its defaults, every client is
everybody's neighbour, and the threshold is half of the shares where a script does not choose it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.flower_rounds import Round
from benchmarks.peers.flower_seam import CLIP, LEVELS, MODULUS, Node, flower, pair_key
from benchmarks.peers.pins import PeerChanged
from protocols.adversary.targets import Case, Ended, Floats, Kept, Surroundings, View, vector_of
from protocols.adversary.verdict import Refused

LENGTH = 40
# What a client of Flower raises when a message does not fit; its runtime answers with an error message.
CLIENT_ERRORS = (LookupError, ValueError, TypeError, ArithmeticError, AssertionError)

# --- what a server computes -------------------------------------------------------------------------------


def folded(seed: bytes) -> bytes:
    """The 32 bits that `pseudo_rand_gen` makes of a seed: the XOR of its words.

    Raises: PeerChanged when the mask of the folded seed is not that of the seed.
    """
    words = np.frombuffer(seed, "<u4")
    key = np.bitwise_xor.reduce(words).astype("<u4").tobytes()
    if not np.array_equal(expanded(seed, [(4,)])[0], expanded(key, [(4,)])[0]):
        raise PeerChanged("pseudo_rand_gen no longer folds its seed to 32 bits")
    return bytes(key)


def expanded(seed: bytes, shapes: Sequence[tuple[int, ...]], modulus: int = MODULUS) -> list[NDArray[np.int64]]:
    masks: list[NDArray[np.int64]] = flower().pseudo_rand_gen(seed, modulus, list(shapes))
    return masks


def without_masks(
    who: int, masked: Sequence[NDArray[np.int64]], self_seed: bytes, pair_seeds: Mapping[int, bytes]
) -> list[NDArray[np.int64]]:
    """One client's quantised weight and vector, its self mask and its pairwise masks taken away."""
    shapes = [part.shape for part in masked]
    total = [part - mask for part, mask in zip(masked, expanded(self_seed, shapes), strict=True)]
    for peer, seed in pair_seeds.items():
        sign = -1 if who > peer else 1
        total = [part + sign * mask for part, mask in zip(total, expanded(seed, shapes), strict=True)]
    return [part & (MODULUS - 1) for part in total]


def decoded(parts: Sequence[NDArray[np.int64]]) -> Floats:
    """One client's vector from its quantised weight and weighted vector."""
    weight = int(parts[0][0])
    [vector] = flower().dequantize(list(parts[1:]), CLIP, LEVELS)
    return np.asarray(vector * (LEVELS / weight), dtype=np.float64)


class Questioned:
    """A round whose vectors are all in; everybody is everybody's neighbour."""

    def __init__(self, clients: int, shares: int, threshold: int) -> None:
        self.threshold = threshold
        self.nodes = {who: Node(who, vector_of(who, LENGTH)) for who in range(1, clients + 1)}
        self.keys = {who: node.set_up(clients, shares, threshold) for who, node in self.nodes.items()}
        sealed = {who: node.share(self.keys) for who, node in self.nodes.items()}
        self.masked = {
            who: node.masked({source: boxes[who] for source, boxes in sealed.items() if source != who})
            for who, node in self.nodes.items()
        }
        self.answers: dict[int, dict[tuple[int, str], bytes]] = {}

    @property
    def ids(self) -> Sequence[int]:
        return tuple(self.nodes)

    def truth(self, victim: int) -> Floats:
        return self.nodes[victim].vector

    def ask(self, views: Mapping[int, View]) -> Mapping[int, str]:
        refusals: dict[int, str] = {}
        for who, view in views.items():
            try:
                self.answers[who] = self.nodes[who].unmask(view.alive, view.dead)
            except CLIENT_ERRORS as error:
                refusals[who] = type(error).__name__
        return refusals

    def recovered(self, victim: int) -> Floats:
        seed = self.secret(victim, "seed")
        private = self.secret(victim, "key")
        pairs = {peer: pair_key(private, keys[0]) for peer, keys in self.keys.items() if peer != victim}
        return decoded(without_masks(victim, self.masked[victim], seed, pairs))

    def secret(self, victim: int, kind: str) -> bytes:
        shares = [given[victim, kind] for given in self.answers.values() if (victim, kind) in given]
        if len(shares) < self.threshold:
            raise Refused(f"{len(shares)} shares of the victim's {kind}, {self.threshold} are needed")
        rebuilt: bytes = flower().combine_shares(shares[: self.threshold])
        return rebuilt


# --- the target -------------------------------------------------------------------------------------------


class Flower:
    """SecAgg+ under every capability."""

    def __init__(self) -> None:
        self.name = f"flower {flower().__version__}"

    def mask_keys(self, pairs: int) -> Sequence[bytes]:
        return [folded(seed) for seed in agreed_seeds(pairs)]

    def mask(self, key: bytes, bits: int, length: int) -> NDArray[np.uint64]:
        return expanded(key, [(length,)], 1 << bits)[0].astype(np.uint64)

    def interrogate(self, clients: int) -> Questioned:
        return Questioned(clients, clients, clients // 2)

    def surround(self, how: Surroundings) -> tuple[Floats, Floats]:
        victim = Node(1, vector_of(1, LENGTH))
        try:
            match how:
                case Surroundings.ALONE:
                    return alone(victim), victim.vector
                case Surroundings.SYBILS:
                    return among_sybils(victim), victim.vector
                case Surroundings.ONE_SHARE:
                    return threshold_of_one()
        except CLIENT_ERRORS as error:
            raise Refused(type(error).__name__) from error

    def run(self, case: Case) -> Ended:
        nodes = {who + 1: Node(who + 1, case.vectors[who], case.weights[who]) for who in case.vectors}
        return played(nodes, case)

    def after_round(self) -> Kept:
        nodes = {who: Node(who, vector_of(who, LENGTH)) for who in range(1, 6)}
        case = Case({who - 1: node.vector for who, node in nodes.items()}, {who - 1: 500 for who in nodes})
        played(nodes, case)
        stored = nodes[1].stored
        secrets = {"private key 1": stored["sk1"], "private key 2": stored["sk2"], "self seed": stored["rd_seed"]}
        owned = zip(stored["sk1_share_dict:K"], stored["sk1_share_dict:V"], strict=True)
        secrets |= {f"share of a neighbour: {who}": share for who, share in owned if who != 1}
        state = flower().recorddict_to_proto(nodes[1].context.state).SerializeToString()
        return Kept(secrets, state)


def played(nodes: Mapping[int, Node], case: Case) -> Ended:
    """One round of Flower's own workflow; node w of Flower is client w - 1 of the case."""
    round = Round(nodes, {who + 1: step for who, step in case.lost.items()}, CLIENT_ERRORS)
    why = ""
    try:
        with np.errstate(all="ignore"):
            round.play(1.0 if case.shares is None else case.shares, 0.5, float(case.max_weight))
    except (*CLIENT_ERRORS, RuntimeError, AttributeError) as error:
        why = f"the workflow raises {type(error).__name__}: {error}"
    if round.mean is None and not why:
        reasons = sorted(set(round.errors.values()))
        why = f"{', '.join(reasons)} in the clients" if reasons else "the workflow halts without a result"
    return Ended(
        mean=round.mean,
        counted=frozenset(who - 1 for who in round.counted),
        why=why,
        refusals={who - 1: error for who, error in round.errors.items()},
        uploads={who - 1: data for who, data in round.uploads.items()},
    )


def agreed_seeds(pairs: int) -> list[bytes]:
    """Pairwise seeds of so many pairs of fresh keys."""
    fl = flower()
    made = (fl.generate_key_pairs() for _ in range(pairs + 1))
    keys = [(fl.private_key_to_bytes(private), fl.public_key_to_bytes(public)) for private, public in made]
    return [pair_key(keys[place][0], keys[place + 1][1]) for place in range(pairs)]


def alone(victim: Node) -> Floats:
    """A cohort of one and a threshold of one: the victim itself holds the only share."""
    keys = victim.set_up(1, 1, 1)
    victim.share({1: keys})
    masked = victim.masked({})
    given = victim.unmask({1}, ())
    return decoded(without_masks(1, masked, flower().combine_shares([given[1, "seed"]]), {}))


def among_sybils(victim: Node) -> Floats:
    """Four neighbours whose keys the server made: it opens the boxes meant for them and shares every mask."""
    fl = flower()
    made = {who: (fl.generate_key_pairs(), fl.generate_key_pairs()) for who in range(2, 6)}
    public = {who: [fl.public_key_to_bytes(pair[1]) for pair in pairs] for who, pairs in made.items()}
    private = {who: [fl.private_key_to_bytes(pair[0]) for pair in pairs] for who, pairs in made.items()}
    own = victim.set_up(5, 5, 3)
    boxes = victim.share({1: own, **public})
    opened = [
        fl.share_keys_plaintext_separate(fl.decrypt(pair_key(private[who][1], own[1]), box))
        for who, box in boxes.items()
    ]
    # The server never dealt shares of its own, so each box it forwards carries rubbish of the right form.
    sealed = {who: forwarded(who, pair_key(private[who][1], own[1])) for who in made}
    masked = victim.masked(sealed)
    seed = fl.combine_shares([seed_share for _, _, seed_share, _ in opened][:3])
    pairs = {who: pair_key(keys[0], own[0]) for who, keys in private.items()}
    return decoded(without_masks(1, masked, seed, pairs))


def forwarded(source: int, key: bytes) -> bytes:
    """A box from the server's own client `source` to client 1."""
    fl = flower()
    sealed: bytes = fl.encrypt(key, fl.share_keys_plaintext_concat(source, 1, b"share", b"share"))
    return sealed


def threshold_of_one() -> tuple[Floats, Floats]:
    """Ten honest clients under a threshold of one: one neighbour is told of a survivor, another of a loss."""
    room = Questioned(10, 10, 1)
    victim, believer, doubter, *_ = room.ids
    room.ask({believer: View(frozenset(room.ids)), doubter: View(frozenset(room.ids) - {victim}, frozenset({victim}))})
    return room.recovered(victim), room.truth(victim)
