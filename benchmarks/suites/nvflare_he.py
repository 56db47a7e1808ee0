"""Encrypted sums beside NVFlare's: seconds of clients, server and opening, and what an upload weighs.

    NVFlare   one key pair for the project, its secret half in every client's kit; a ciphertext for each tensor
    ours      a key that five holders share, of whom any four open: each row's "4 of 5 holders"
              a key that all clients share, as theirs do: "shared key"

Ten clients, 16-bit values on our side and floats on theirs; our sums are exact. What each row names is within its
seconds; frames, signatures and the ceremony here, records and messages there are not. Bytes are whole uploads: ours
with frames and signatures, as the planner states them and tests find them in rounds that are played; theirs as its
serialiser writes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

from benchmarks.encrypted import CLIENTS, STEP, Federated, Ours, Shared, error_of
from benchmarks.inputs import Floats, update_of
from benchmarks.models import Shapes, lenet5, resnet18
from benchmarks.peers import nvflare
from benchmarks.rows import Effort, Row, Taken, alternate, faster, on_cores, timed
from benchmarks.runs import together
from protocols.choices import Request
from protocols.planning import plan_round
from secagg.ckks.cipher import Fft
from secagg.ckks.plan import Keys, Mode

HOLDERS = 5
# Of the whole round, and of what clients and the server do in it.
TIMES_TOTAL, TIMES_PART = 3.0, 3.0
# Four holders each smudge a part and add it up: that takes longer than the one decryption by whoever has the key.
LIMIT_OPENING = 6.0
MOST_REPEATS = 5
# Of theirs, by what hides our vectors. Two masked values weigh less than one encrypted one.
HELD, GIVEN, ONE_SHOT, MASKED = "4 of 5 holders", "shared key", "one-shot masks", "pairwise masks"
LIMITS = {HELD: 1 / 4, GIVEN: 1 / 9, ONE_SHOT: 1 / 9, MASKED: 1 / 9}
MANY_CLIENTS, LIMIT_MANY = 100, 0.06
# The first stage of ResNet-18, and of one that small inputs are made of.
WIDTH, SMALL_WIDTH = 64, 4


def rows(effort: Effort) -> Iterator[Row]:
    peer = Peer(effort.dimension)
    for ours in (Held(effort.dimension), Given(effort.dimension)):
        with on_cores(1):
            yield from one_round(ours, peer, effort)
    flat = {"w": (effort.dimension,)}
    yield among_many(effort.dimension, peer.upload_bytes(flat))
    width = SMALL_WIDTH if effort.dimension < 1_000_000 else WIDTH
    for name, shapes in (
        ("one vector", flat),
        ("LeNet-5", lenet5()),
        (f"ResNet-18 with {width} channels", resnet18(width)),
    ):
        yield from weights(name, shapes, peer.upload_bytes(shapes))


# --- seconds --------------------------------------------------------------------------------------------------


class Side(Protocol):
    """What one side does in a round, each call the same work again."""

    name: str

    def upload(self) -> object:
        """One client: float32 to bytes."""

    def add(self) -> None:
        """The server's work for one client."""

    def open(self) -> None:
        """Whoever may, opens the sum of all clients."""

    @property
    def error(self) -> float:
        """Root mean square error of the mean that a whole round opens."""


class Held:
    """Ours, under a key that holders share: all that the four of them do is counted."""

    name = HELD

    def __init__(self, dimension: int) -> None:
        self._parties, self._engine = Ours(Federated.agreed(Keys.recommended(HOLDERS, 1), dimension)), Fft()
        self._update = update_of(0, dimension)
        self._sent = self._parties.upload(self._update, self._engine)
        self._totals = self._parties.zeros()
        self._sum = self._parties.summed(self._engine)

    def upload(self) -> object:
        return self._parties.upload(self._update, self._engine)

    def add(self) -> None:
        self._parties.add(self._totals, self._sent)

    def open(self) -> None:
        self._parties.federated.open(*self._sum)

    @property
    def error(self) -> float:
        return error_of(self._parties.mean(self._engine))


class Given:
    """Ours, under a key that clients were given: each expands every second half for itself before it opens."""

    name = GIVEN

    def __init__(self, dimension: int) -> None:
        self._parties, self._update = Shared(CLIENTS, dimension), update_of(0, dimension)
        self._sent, self._total = self._parties.upload(self._update), self._parties.zeros()
        self._sum = self._parties.summed()

    def upload(self) -> object:
        return self._parties.upload(self._update)

    def add(self) -> None:
        self._parties.add(self._total, self._sent)

    def open(self) -> None:
        self._parties.open(self._sum)

    @property
    def error(self) -> float:
        return error_of(self._parties.mean())


class Peer:
    """NVFlare's."""

    name = f"{nvflare.TITLE}, its defaults"

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._project = nvflare.Provisioned()
        self._update = {"w": update_of(0, dimension)}
        self._aggregator = self._project.aggregator()

    @cached_property
    def _sent(self) -> bytes:
        return self._project.upload(self._update)

    @cached_property
    def _summed(self) -> dict[str, Any]:
        aggregator = self._project.aggregator()
        for who in range(CLIENTS):
            update = {"w": update_of(who, self.dimension)}
            self._project.add(aggregator, self._project.upload(update), str(who))
        return dict(aggregator.get_result())

    def upload(self) -> object:
        return self._project.upload(self._update)

    def add(self) -> None:
        self._project.add(self._aggregator, self._sent, "client")

    def open(self) -> None:
        self._project.opened(self._summed)

    @cached_property
    def error(self) -> float:
        return error_of(self._project.opened(self._summed)["w"])

    def upload_bytes(self, shapes: Shapes) -> int:
        """A tensor at a time, for their ciphertexts together take a gigabyte of memory."""
        return sum(len(self._project.upload({name: tensor_of(shape)})) for name, shape in shapes.items())


def tensor_of(shape: tuple[int, ...]) -> Floats:
    return update_of(0, math.prod(shape)).reshape(shape)


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of work in a round, and how often a round takes it."""

    name: str
    times: int
    limit: float
    ours: Taken
    peer: Taken


def one_round(ours: Side, peer: Side, effort: Effort) -> Iterator[Row]:
    repeats = min(effort.repeats, MOST_REPEATS)
    acts: tuple[tuple[str, int, float, Callable[[], object], Callable[[], object]], ...] = (
        ("client, float32 to bytes", CLIENTS, faster(TIMES_PART), ours.upload, peer.upload),
        ("server per client, bytes into the sum", CLIENTS, faster(TIMES_PART), ours.add, peer.add),
        ("opening, all that it takes", 1, LIMIT_OPENING, ours.open, peer.open),
    )
    parts = [
        Part(name, times, limit, *alternate(timed(mine), timed(theirs), repeats))
        for name, times, limit, mine, theirs in acts
    ]
    whole = Part(
        f"the three together, {CLIENTS} clients",
        1,
        faster(TIMES_TOTAL),
        together([part.ours.per(1 / part.times) for part in parts]),
        together([part.peer.per(1 / part.times) for part in parts]),
    )
    for part in (*parts, whole):
        yield Row(
            suite="nvflare_he",
            case=f"{part.name}; {ours.name}, d = {effort.dimension:,}",
            unit="s",
            ours=part.ours,
            peer_name=peer.name,
            peer=part.peer,
            limit=part.limit,
            judged="ratio",
            ours_error=ours.error if part is whole else None,
            peer_error=peer.error if part is whole else None,
            error_limit=STEP if part is whole else None,
            note="CPU seconds",
        )


# --- bytes ----------------------------------------------------------------------------------------------------


def weights(name: str, shapes: Shapes, peer_bytes: int) -> Iterator[Row]:
    """An upload of each kind beside NVFlare's, which weighs the same however many clients there are."""
    dimension = sum(map(math.prod, shapes.values()))
    for way, size in our_bytes(dimension, CLIENTS).items():
        case = f"upload, {name}, {dimension:,} parameters, tensors: {len(shapes)}; {way}"
        yield weight(case, CLIENTS, Sent(dimension, size, peer_bytes), LIMITS[way])


def among_many(dimension: int, peer_bytes: int) -> Row:
    """Masked values are the wider, the more of them are added."""
    case = f"upload, 16 bits, {MANY_CLIENTS} clients, {dimension:,} parameters; {MASKED}"
    size = our_bytes(dimension, MANY_CLIENTS)[MASKED]
    return weight(case, MANY_CLIENTS, Sent(dimension, size, peer_bytes), LIMIT_MANY)


@dataclass(frozen=True, slots=True)
class Sent:
    """Parameters, and the bytes that carry them on either side."""

    dimension: int
    ours: int
    peer: int


def weight(case: str, clients: int, sent: Sent, limit: float) -> Row:
    """In bytes per parameter; float32 in the clear is 4."""
    return Row(
        suite="nvflare_he",
        case=case,
        unit="bytes per parameter",
        ours=Taken.once(sent.ours / sent.dimension),
        peer_name=f"{nvflare.TITLE}: {sent.peer / 1e6:,.1f} MB",
        peer=Taken.once(sent.peer / sent.dimension),
        limit=limit,
        judged="ratio",
        note=f"16 bits, {clients} clients; ours is {sent.ours / 1e6:,.2f} MB",
    )


def our_bytes(dimension: int, clients: int) -> dict[str, int]:
    """Whole uploads of one client, by what hides them, where it can: no client is assumed to help the server."""
    protocols = plan_round(Request(clients, Fraction(1, 10), Fraction(0), dimension)).protocols
    encrypted = protocols["ckks"]
    [shared] = [choice for choice in encrypted.variants if choice.mode == Mode.SEEDED.value]
    chosen = {
        HELD: encrypted.choice,
        GIVEN: shared,
        ONE_SHOT: protocols["oneshot"].choice,
        MASKED: protocols["pairwise"].choice,
    }
    found = {way: choice.upload_bytes_per_client for way, choice in chosen.items()}
    return {way: size for way, size in found.items() if size is not None}
