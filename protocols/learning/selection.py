"""Which coordinates travel: rules that every party evaluates for itself on what is public, all with one result.

    TopKOfLast     the strongest of the latest released mean, and some drawn by a public seed   nothing extra is sent
    RandomK        drawn by a public seed; the mean is scaled by d / k                           nothing extra is sent
    VotedBlocks    blocks that enough clients moved by more than a threshold                     some bits a block
    PrunedMask     the largest weights of the model; the others are frozen at zero               nothing extra is sent
    OnlyKeys       the arrays that a pattern names                                               nothing extra is sent

The server proposes a set by its digest, which stands in the names of what travels, so in the layout, so in the round's
context. A client works out the set by itself and sends nothing where the digests differ; clients who are told
different sets are in different contexts, and their masks do not cancel. What is left behind is for `feedback`.
"""

from __future__ import annotations

import fnmatch
import hmac
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp.errors import UnsupportedEvent
from protocols.errors import BadPlan, Misused, PolicyViolation, WrongUpdate
from protocols.learning.arguments import require_count
from protocols.learning.models import Parameters
from protocols.learning.reduction import Chosen, Latest, Public, arrived, travelling
from protocols.party import SERVER
from protocols.plan import Agreement, RoundPlan
from protocols.tensors import Floats, Layout, Role, Slot, Update
from secagg.keys import Seed, derive
from secagg.sparse import Ids, Selection, above, block_norms, draw, top_k

LABEL_EXPLORE = b"secagg/v1/learning/selection/explore"
LABEL_RANDOM = b"secagg/v1/learning/selection/random-k"

UPDATE, VOTES = "update", "votes"


class Rule(ABC):
    """A reduction whose set is a `Selection`: S = choose(public), u_S travels, the mean is zero outside S.

    Guarantee: S is a function of public things, so it tells nothing that the released models do not; under noise the
        mean over S is clipped and noised as any vector is, and S costs nothing further.
    """

    __slots__ = ()

    @abstractmethod
    def choose(self, public: Public) -> Selection:
        """S, the same at every party."""

    def received(self, model: Parameters, round: int) -> Parameters:
        """The model itself."""
        return model

    def send(self, who: int, update: Parameters, chosen: Chosen, public: Public) -> dict[str, Any]:
        """u_S, under a name that says S.

        Raises: PolicyViolation when the server's set is not the one that this rule gives; WrongUpdate for an update
            that does not fit the model.
        """
        own = self.agreed(chosen, public)
        return travelling(own, self.parts(Layout.of(public.model).flatten(update), own))

    def parts(self, update: Floats, chosen: Selection) -> dict[str, Floats]:
        """What travels of a flat update."""
        return {UPDATE: chosen.gather(update)}

    def restore(self, mean: Mapping[str, Any], chosen: Chosen, public: Public) -> Parameters:
        """The mean update in the model's shapes."""
        return self.scattered(mean, chosen, public)

    def scattered(self, mean: Mapping[str, Any], chosen: Chosen, public: Public, scale: float = 1.0) -> Parameters:
        """scale * the mean on S, zero outside, in the model's shapes."""
        own, layout = self.agreed(chosen, public), Layout.of(public.model)
        values = np.asarray(arrived(own, mean)[UPDATE], np.float64)
        restored: Parameters = layout.unflatten(own.scatter(scale * values))
        return restored

    def agreed(self, chosen: Chosen, public: Public) -> Selection:
        """The set as this party works it out.

        Against: a server that picks coordinates for one client, or for one datum that it looks for.
        Raises: PolicyViolation when the server's is another.
        """
        own = self.choose(public)
        if not hmac.compare_digest(own.digest, chosen.digest):
            raise PolicyViolation(
                SERVER, f"proposes other coordinates than my rule gives for round {public.round}: nothing was sent"
            )
        return own


class MovingRule(Rule):
    """A rule that reaches every coordinate sooner or later, so that what is left behind is worth remembering."""

    __slots__ = ()


def require_layout(offer: Agreement, update: Update) -> None:
    """Refuse, in the server's name, a round about anything but what this client is going to send.

    The layout's digest covers the names of the arrays, which say the set. To be called before `Client.submit`.
    Raises: PolicyViolation.
    """
    layout = Layout.of_update(update)
    if offer.length != layout.length or not hmac.compare_digest(offer.layout, layout.digest()):
        raise PolicyViolation(
            SERVER, f"opens round {offer.round} for other coordinates than I worked out: nothing was sent"
        )


@dataclass(frozen=True, slots=True)
class TopKOfLast(MovingRule):
    """The (1 - explore) k largest magnitudes of the latest released mean, ties by place, and k minus that many drawn.

    What is drawn is uniform over the other coordinates, by a public seed of the round. Before the first mean, and
    where the mean has fewer that are not zero, all that are missing are drawn. With explore = 0 the set of the first
    round stays for ever.
    Raises: Misused for numbers no set has; BadPlan, when it chooses, for k above the model's d.
    """

    k: int
    explore: float = 0.1

    def __post_init__(self) -> None:
        require_count("k", self.k)
        if not 0 <= self.explore <= 1:
            raise Misused(f"explore is {self.explore}, it must be a fraction of k")

    def choose(self, public: Public) -> Selection:
        """The strongest and the drawn, k together."""
        layout = Layout.of(public.model)
        _require_fits(self.k, layout)
        strongest = _none() if public.latest is None else self._strongest(layout.flatten(public.latest.mean))
        others = _others(strongest, layout.length)
        drawn = others[draw(_seed(public, LABEL_EXPLORE), others.size, self.k - strongest.size)]
        return Selection(layout.length, np.sort(np.concatenate([strongest, drawn])))

    def _strongest(self, mean: Floats) -> Ids:
        return top_k(mean, min(round((1 - self.explore) * self.k), int(np.count_nonzero(mean))))


@dataclass(frozen=True, slots=True)
class RandomK(MovingRule):
    """k coordinates drawn anew each round, uniformly, by a public seed; the mean is scaled by d / k.

    Scaled, its expectation over the draws is the mean of the whole updates; it errs by sqrt(d / k - 1) times their
    norm. With error feedback it is not scaled: what is left behind then travels later, and would count twice.
    Raises: Misused for a k no set has; BadPlan, when it chooses, for k above the model's d.
    """

    k: int

    def __post_init__(self) -> None:
        require_count("k", self.k)

    def choose(self, public: Public) -> Selection:
        """The first k of a permutation under this round's public seed."""
        layout = Layout.of(public.model)
        _require_fits(self.k, layout)
        return Selection(layout.length, draw(_seed(public, LABEL_RANDOM), layout.length, self.k))

    def restore(self, mean: Mapping[str, Any], chosen: Chosen, public: Public) -> Parameters:
        """d / k times the mean on S."""
        return self.scattered(mean, chosen, public, Layout.of(public.model).length / self.k)


@dataclass(frozen=True, slots=True)
class VotedBlocks(MovingRule):
    """Blocks for which at least `min_votes` clients of the latest round voted; all of them before the first.

    A client votes for a block whose L2 norm in its own update, residual included, exceeds tau. Its votes travel beside
    u_S under the same mask, several to a word:

        word = step * sum over j of vote_j (n + 1)^j      step of the plan's encoding, n = max_clients

    as many j as the clip leaves room for: such a word is rounded exactly, no digit of the sum can carry, and a vote
    costs about log2(n + 1) bits. A client that lies may vote more than once: it moves S, and nothing else.
    Guarantee: of the votes only their *counts* are released, over the clients of the sum. They are a release beside
        the mean that no event accounts for: with noise this rule is refused.
    Raises: UnsupportedEvent for a plan with noise; BadPlan for one with weights, which would weigh votes as well, or
        for blocks longer than the model; Misused for numbers no vote has.
    """

    plan: RoundPlan
    tau: float
    min_votes: int
    block: int = 64

    def __post_init__(self) -> None:
        if self.plan.noise is not None:
            raise UnsupportedEvent(
                "counts of votes are a release of their own, which the noise of this plan is not made for: choose by "
                "TopKOfLast, RandomK or PrunedMask, whose sets cost nothing"
            )
        if self.plan.max_weight != 1:
            raise BadPlan(f"max_weight is {self.plan.max_weight}: a client has one vote, so its weight must be 1")
        require_count("block", self.block)
        require_count("min_votes", self.min_votes)
        if self.min_votes > self.plan.max_clients:
            raise Misused(f"min_votes is {self.min_votes}, and only {self.plan.max_clients} clients vote")
        if not 0 <= self.tau < math.inf:
            raise Misused(f"tau is {self.tau}, it must be a number >= 0")

    @property
    def base(self) -> int:
        """One more than a count can be."""
        return self.plan.max_clients + 1

    @property
    def per_word(self) -> int:
        """m: how many votes a word carries; the largest with 1 + B + ... + B^(m - 1) <= the levels of the encoding."""
        levels, largest, votes = self.plan.encoding.levels, 1, 1
        while largest * self.base + 1 <= levels:
            largest, votes = largest * self.base + 1, votes + 1
        return votes

    def choose(self, public: Public) -> Selection:
        """The blocks with enough votes; none of them is a set too, and the votes then travel alone."""
        length = Layout.of(public.model).length
        if self.block > length:
            raise BadPlan(f"blocks of {self.block} are longer than the model of {length} parameters")
        if public.latest is None:
            return Selection.whole(length, self.block)
        counts = self.counts(public.latest, -(-length // self.block))
        return Selection(length, np.flatnonzero(counts >= self.min_votes), self.block)

    def parts(self, update: Floats, chosen: Selection) -> dict[str, Floats]:
        """u_S, and one word for every m blocks of the whole update."""
        votes = np.zeros(self._words(-(-chosen.length // self.block)) * self.per_word)
        votes[above(block_norms(update, self.block), self.tau)] = 1.0
        powers = float(self.base) ** np.arange(self.per_word)
        words = votes.reshape(-1, self.per_word) @ powers * self.plan.encoding.step
        # float64 whatever the model is: float32 has fewer digits than a sum of words.
        return {UPDATE: chosen.gather(update), VOTES: words}

    def counts(self, latest: Latest, blocks: int) -> Ids:
        """How many of the survivors voted for each block.

        Raises: WrongUpdate for a mean that no whole votes make.
        """
        [mean] = [array for name, array in latest.travelled.items() if name.partition("@")[0] == VOTES]
        totals = np.asarray(mean, np.float64) * len(latest.survivors) / self.plan.encoding.step
        whole = np.rint(totals)
        if whole.shape != (self._words(blocks),) or not np.allclose(totals, whole, rtol=0, atol=1e-3):
            raise WrongUpdate("the latest mean holds no whole votes: its clients must each have had weight 1")
        digits = whole.astype(np.int64)[:, np.newaxis] // np.array([self.base**j for j in range(self.per_word)])
        counts: Ids = (digits % self.base).reshape(-1)[:blocks]
        return counts

    def _words(self, blocks: int) -> int:
        return -(-blocks // self.per_word)


@dataclass(frozen=True, slots=True)
class PrunedMask(Rule):
    """The keep * d largest weights of the model; all others are zero and stay so. Every `every` rounds is dense.

    In rounds 0, every, 2 every, ... all coordinates travel and every weight may grow back; in those between, the
    model that clients receive is zero outside S. S follows from that model alone, so nobody has to remember a bitmap.
    A strategy with momentum goes on moving frozen weights; they are set to zero again before anybody receives them.
    Raises: Misused for numbers no mask has.
    """

    keep: float = 0.2
    every: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise Misused(f"keep is {self.keep}, it must be a fraction above 0")
        if type(self.every) is not int or self.every < 2:
            raise Misused(f"every is {self.every!r}: of two rounds at least one has to be pruned")

    def received(self, model: Parameters, round: int) -> Parameters:
        """The model, zero outside S in a pruned round."""
        if self._dense(round):
            return model
        layout = Layout.of(model)
        flat = layout.flatten(model)
        chosen = self._largest(flat)
        pruned: Parameters = layout.unflatten(chosen.scatter(chosen.gather(flat)), like=model)
        return pruned

    def choose(self, public: Public) -> Selection:
        """All coordinates in a dense round, the largest weights in any other."""
        flat = Layout.of(public.model).flatten(public.model)
        return Selection.whole(flat.size) if self._dense(public.round) else self._largest(flat)

    def _dense(self, round: int) -> bool:
        return round % self.every == 0

    def _largest(self, flat: Floats) -> Selection:
        return Selection(flat.size, top_k(flat, max(1, round(self.keep * flat.size))))


@dataclass(frozen=True, slots=True)
class OnlyKeys(Rule):
    """The arrays whose name matches a pattern, as file names do: `"*.lora_*"`. Of a list, names are places: "0", "1".

    An array that the model ties to another one is chosen under either name.
    Raises: Misused for a pattern that is no text; BadPlan, when it chooses, for one that matches nothing, or an array
        that never travels.
    """

    pattern: str

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise Misused(f'pattern is {self.pattern!r}, expected text; the arrays of a list are named "0", "1"')

    def choose(self, public: Public) -> Selection:
        """All coordinates of these arrays."""
        layout = Layout.of(public.model)
        owners = {slot.tied or slot.name for slot in layout.slots if self._names(slot)}
        starts, end = {}, 0
        for slot in layout.slots:
            starts[slot.name], end = end, end + slot.size
        spans = [np.arange(starts[s.name], starts[s.name] + s.size) for s in layout.slots if s.name in owners]
        if sum(span.size for span in spans) == 0:
            names = [slot.name for slot in layout.slots][:8]
            raise BadPlan(f"{self.pattern!r} names no array with numbers in it; the model has {names}")
        return Selection(layout.length, np.concatenate(spans))

    def _names(self, slot: Slot) -> bool:
        named = fnmatch.fnmatchcase(slot.name, self.pattern)
        if named and slot.role is Role.KEEP:
            raise BadPlan(f"{self.pattern!r} names {slot.name!r}, which is kept and never travels")
        return named


def _seed(public: Public, label: bytes) -> Seed:
    # Public on purpose: everybody draws the same places.
    context = public.context
    return derive(Seed(context), label, context)


def _others(chosen: Ids, length: int) -> Ids:
    """The places that are not chosen, ascending."""
    left = np.ones(length, np.bool_)
    left[chosen] = False
    return np.flatnonzero(left)


def _none() -> Ids:
    return np.zeros(0, np.int64)


def _require_fits(k: int, layout: Layout) -> None:
    if k > layout.length:
        raise BadPlan(f"k is {k}, and the model has {layout.length} parameters: without a rule, all of them travel")
