"""One-shot rounds beside Flower's SecAgg+ with ten neighbours, and beside our pairwise protocol.

    client     hiding alone: ring integers -> checksum, mask, packing, ten shares, their boxes, one signature
               whole round: invitation, certificate, float32 update -> encoding, hiding, signed frame
               Flower's four answers; our pairwise client's five
    server     one upload: frame -> signature, hash, unpacking, addition; opening: ten answers -> mean
               Flower's loop for one vector; its unmasking from shares to mean
    member     one client's share: signature, agreement, box, addition

The committee is the usual ten, of whom nine answer. Flower's server and our pairwise one pay for who is lost; this one
should not: opening is timed with none, a tenth and three tenths lost, and with ten times as many clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from benchmarks import recording
from benchmarks.inputs import Floats, mean_of, rms, update_of
from benchmarks.oneshot import Played, play
from benchmarks.peers import flower
from benchmarks.recording import FIRST, ROOT, Recorded, hear, record
from benchmarks.rows import Effort, Row, Taken, Threads, alternate, cpu_seconds, faster, on_cores, timed
from protocols.oneshot.client import Own, Ready, upload
from protocols.oneshot.messages import Certificate
from protocols.party import APP, PartyId
from protocols.simulate import identity_from
from secagg.keys import AgreementKey, Seed, verify
from secagg.workers import ALONE, Workers

NEIGHBOURS = 10
WEIGHT = 1000
# Of the mean, at 16 bits.
LIMIT_ERROR = 1e-4
LIMIT_CLIENT_NS = 25.0
TIMES_CLIENT, TIMES_SERVER = 2.0, 5.0
LIMIT_FLAT = 1.1
# A tenth is less than what a shared machine adds to one run in seven.
FLAT_REPEATS = 3
# Flower has no signatures and no hashes of what arrives.
LIMIT_ARRIVAL_NS = 10.0
LIMIT_UPLOAD_BYTES, LIMIT_SHARES_BYTES = 4.2, 24 << 10
# The public-key operations take most of a member's time.
LIMIT_MEMBER = 2.0
PAIRWISE = "our pairwise protocol"


def rows(effort: Effort) -> Iterator[Row]:
    sides = Sides.of(effort)
    with on_cores(1):
        yield hiding(sides, ALONE)
    with on_cores(2), ThreadPoolExecutor(2) as pool:
        yield hiding(sides, Workers(pool, 2))
    with on_cores(1):
        yield from whole_rounds(sides)
        yield upload_bytes(sides)
        yield arrival(sides)
        yield from opening(sides)
        yield from flat(sides)
        yield member(sides)


@dataclass(frozen=True, slots=True)
class Sides:
    """The same round by all: every tenth client is lost, from the sixth on."""

    effort: Effort
    ours: Played
    pairwise: Recorded
    peer: flower.Round
    node: flower.Client

    @classmethod
    def of(cls, effort: Effort) -> Sides:
        count, dimension = effort.most_clients, effort.dimension
        gone = frozenset(range(5, count, 10))
        case = flower.Case(
            clients=count,
            update_of=lambda nid: update_of(nid - 1, dimension),
            weight=WEIGHT,
            lost=frozenset(who + 1 for who in gone),
            neighbours=NEIGHBOURS,
        )
        with on_cores(1):
            pairwise = record(recording.plan_of(count), dimension, lambda who: update_of(who, dimension), lost=gone)
            node = flower.Client(update_of(FIRST, dimension), NEIGHBOURS + 1, WEIGHT)
            node.run()
            return cls(effort, play(count, dimension, gone), pairwise, flower.run(case), node)

    @property
    def size(self) -> str:
        return f"{self.effort.most_clients} clients, d = {self.effort.dimension:,}"

    @property
    def lost(self) -> int:
        return len(self.peer.lost)

    @property
    def expected(self) -> Floats:
        """The mean of those who are not lost."""
        there = set(range(self.effort.most_clients)) - {nid - 1 for nid in self.peer.lost}
        return mean_of(sorted(there), self.effort.dimension)

    def per_parameter(self, taken: Taken) -> Taken:
        """Seconds as nanoseconds for each parameter."""
        return taken.per(self.effort.dimension * 1e-9)


# --- clients ----------------------------------------------------------------------------------------------------


def hiding(sides: Sides, workers: Workers) -> Row:
    threads = Threads(workers.count)
    taken, whole_peer = alternate(
        timed(hide(sides.ours, workers), threads.clock), timed(sides.node.run, threads.clock), sides.effort.repeats
    )
    return Row(
        suite="oneshot",
        case=f"client hides ring integers, {sides.size}, {threads}",
        unit="ns per parameter",
        ours=sides.per_parameter(taken),
        peer_name=f"{flower.TITLE}: whole client, {NEIGHBOURS} neighbours",
        peer=sides.per_parameter(whole_peer),
        limit=LIMIT_CLIENT_NS,
        judged="ours",
        note=f"{threads.note}; checksum, mask, packing, ten shares and boxes, one signature; no encoding, no frame",
    )


def whole_rounds(sides: Sides) -> Iterator[Row]:
    update = update_of(FIRST, sides.effort.dimension)
    whole, whole_peer = alternate(whole_round(sides.ours, update), timed(sides.node.run), sides.effort.repeats)
    row = Row(
        suite="oneshot",
        case=f"client's whole round, {sides.size}",
        unit="ns per parameter",
        ours=sides.per_parameter(whole),
        peer_name=f"{flower.TITLE}, {NEIGHBOURS} neighbours",
        peer=sides.per_parameter(whole_peer),
        limit=faster(TIMES_CLIENT),
        judged="ratio",
        ours_error=rms(sides.ours.mean - sides.expected),
        peer_error=rms(sides.node.opened() - update),
        error_limit=LIMIT_ERROR,
        note="CPU seconds; from the invitation to the signed frame",
    )
    yield row
    yield beside_pairwise(row, sides, whole_round(sides.ours, update), pairwise_round(sides.pairwise, update))


def hide(played: Played, workers: Workers) -> Callable[[], object]:
    """The very arrow of an invited client that is given its ring integers."""
    submission = played.ready().prepare(update_of(FIRST, played.task.length))
    state = ready_state(played, workers)
    return lambda: upload(state, APP, submission)


def ready_state(played: Played, workers: Workers) -> Ready:
    """An invited client's state, under secrets that nobody else has."""
    client, certificate = played.client(), played.task.certificate
    assert isinstance(certificate, Certificate)
    own = Own(client.me, client.policy, identity_from(ROOT, FIRST).sign, verify, client.server_key, workers)
    return Ready(own, Seed(bytes(32)), Seed(bytes(32)), played.cohort.server.agree(played.task), certificate)


def whole_round(played: Played, update: Floats) -> Callable[[], float]:
    def seconds() -> float:
        client = played.client()

        def act() -> None:
            client.receive(played.invitation)
            client.submit(update)

        return timed(act)()

    return seconds


def pairwise_round(recorded: Recorded, update: Floats) -> Callable[[], float]:
    def seconds() -> float:
        client = recorded.client()
        return timed(lambda: recorded.play(client, update))()

    return seconds


def beside_pairwise(row: Row, sides: Sides, ours: Callable[[], float], peer: Callable[[], float]) -> Row:
    """The same figure beside our other protocol, which must at least not be faster."""
    taken, taken_peer = alternate(ours, peer, sides.effort.repeats)
    scale = sides.effort.dimension * 1e-9 if row.unit == "ns per parameter" else 1.0
    return replace(
        row,
        ours=taken.per(scale),
        peer_name=f"{PAIRWISE}, everybody masks with everybody",
        peer=taken_peer.per(scale),
        limit=1.0,
        judged="ratio",
        peer_error=rms(sides.pairwise.mean - sides.expected),
    )


def upload_bytes(sides: Sides) -> Row:
    dimension = sides.effort.dimension
    return Row(
        suite="oneshot",
        case=f"upload, 16 bits, {sides.size}",
        unit="bytes per parameter",
        ours=Taken.once(len(sides.ours.upload()) / dimension),
        peer_name=flower.TITLE,
        peer=Taken.once(sides.node.upload_bytes / dimension),
        limit=LIMIT_UPLOAD_BYTES + LIMIT_SHARES_BYTES / dimension,
        judged="ours",
        note="the one frame with ten sealed shares",
    )


# --- server -----------------------------------------------------------------------------------------------------


def arrival(sides: Sides) -> Row:
    """One upload into a sum that is there already; the server's own memory is then warm."""
    first, second = sides.ours.upload(), sides.ours.upload(PartyId(1))
    total = flower.added([], sides.node.masked)

    def ours() -> float:
        server = sides.ours.listening()
        server.receive(first)
        return timed(lambda: server.receive(second))()

    taken, taken_peer = alternate(ours, timed(lambda: flower.added(total, sides.node.masked)), sides.effort.repeats)
    return Row(
        suite="oneshot",
        case=f"server takes one upload, {sides.size}",
        unit="ns per parameter",
        ours=sides.per_parameter(taken),
        peer_name=flower.TITLE,
        peer=sides.per_parameter(taken_peer),
        limit=LIMIT_ARRIVAL_NS,
        judged="ours",
        note="CPU seconds; signature, SHA-256, unpacking, addition against load and addition",
    )


def opening(sides: Sides) -> Iterator[Row]:
    """From the last letters to the mean. Flower's Shamir is in Python: it is timed once, and left out once."""
    started = cpu_seconds()
    secrets = sides.peer.secrets()
    shamir = cpu_seconds() - started
    means: list[Floats] = []
    taken, taken_peer = alternate(
        opens(sides.ours), timed(lambda: means.append(sides.peer.unmask(secrets))), sides.effort.repeats
    )
    row = Row(
        suite="oneshot",
        case=f"server opens, {sides.lost} lost, {sides.size}, Flower's Shamir left out",
        unit="s",
        ours=taken,
        peer_name=f"{flower.TITLE}, {NEIGHBOURS} neighbours",
        peer=taken_peer,
        limit=faster(TIMES_SERVER),
        judged="ratio",
        ours_error=rms(sides.ours.mean - sides.expected),
        peer_error=rms(means[-1] - sides.expected),
        error_limit=LIMIT_ERROR,
        note="CPU seconds; nine answers to the mean",
    )
    yield row
    whole = replace(row, case=f"server opens, {sides.lost} lost, {sides.size}")
    yield replace(whole, peer=taken_peer.plus(shamir))
    yield beside_pairwise(whole, sides, opens(sides.ours), pairwise_unmasks(sides.pairwise))


def opens(played: Played) -> Callable[[], float]:
    def seconds() -> float:
        server = played.before_opening()
        return timed(lambda: played.open(server))()

    return seconds


def pairwise_unmasks(recorded: Recorded) -> Callable[[], float]:
    image, letters = recorded.before_unmasking(), recorded.unmasking

    def seconds() -> float:
        server = recorded.server()
        server.thaw(image)

        def act() -> None:
            hear(server, letters)
            server.mean()

        return timed(act)()

    return seconds


def flat(sides: Sides) -> Iterator[Row]:
    """The same opening after other rounds, beside the one of a full cohort."""
    count, dimension = sides.effort.most_clients, sides.effort.dimension
    full, many_lost = play(count, dimension), 3 * count // 10
    for clients, lost, played in (
        (count, sides.lost, sides.ours),
        (count, many_lost, play(count, dimension, frozenset(range(many_lost)))),
        (10 * count, 0, play(10 * count, dimension)),
    ):
        taken, taken_peer = alternate(opens(played), opens(full), FLAT_REPEATS * sides.effort.repeats)
        yield Row(
            suite="oneshot",
            case=f"server opens, {clients:,} clients and {lost} of them lost, d = {dimension:,}",
            unit="s",
            ours=taken,
            peer_name=f"the same, {count} clients and none lost",
            peer=taken_peer,
            limit=LIMIT_FLAT,
            judged="ratio",
            note="CPU seconds",
        )


# --- committee --------------------------------------------------------------------------------------------------


def member(sides: Sides) -> Row:
    """One answer, beside the public-key operations in it."""
    counted = sides.effort.most_clients - sides.lost
    mine, other, identity = AgreementKey(Seed(bytes(32))), AgreementKey(ROOT), identity_from(ROOT, FIRST)
    signature = identity.sign(bytes(100))

    def bare() -> None:
        for _ in range(counted):
            verify(identity.public, bytes(100), signature)
            mine.agree(other.public)

    asked = sides.ours.member()
    taken, taken_peer = alternate(timed(lambda: asked.receive(sides.ours.question)), timed(bare), sides.effort.repeats)
    return Row(
        suite="oneshot",
        case=f"member adds up its shares, {counted} clients",
        unit="us per client",
        ours=taken.per(counted * 1e-6),
        peer_name="Ed25519 check and X25519 agreement alone",
        peer=taken_peer.per(counted * 1e-6),
        limit=LIMIT_MEMBER,
        judged="ratio",
        note="CPU seconds",
    )
