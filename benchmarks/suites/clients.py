"""A client's whole round beside Flower's: keys, shares, float32 update to masked bytes, shares told.

    ours     Client.receive and submit, from the invitation to the last answer, bytes in and bytes out
    Flower   _setup, _share_keys, _collect_masked_vectors, _unmask

Both expand the same number of masks: one for each neighbour and one of their own. What only ours does is
counted with it: the codec, Ed25519 signatures under every frame, the roster and the survivors' list, and
the checks of all of them. A second row leaves out the signatures alone, for those who compare protocols.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from benchmarks.inputs import mean_of, rms, update_of
from benchmarks.peers import flower
from benchmarks.recording import FIRST, ROOT, Recorded, plan_of, record
from benchmarks.rows import Effort, Row, Threads, alternate, faster, on_cores, timed
from protocols.simulate import identity_from
from secagg.keys import verify
from secagg.workers import ALONE, Workers

# Masks, largest weight, times faster on one thread, times faster on two. Flower always carries weights up to
# 1000, for which ours needs a wider ring.
TARGETS = ((3, 1, 8.0, 10.0), (11, 1, 7.0, 10.0), (11, 1000, 7.0, 10.0), (51, 1, 10.0, 10.0))
SIGNED_TEXT = bytes(250)


def rows(effort: Effort) -> Iterator[Row]:
    for masks, heaviest, one_thread, two_threads in TARGETS:
        clients = min(masks, effort.most_clients)
        with on_cores(1):
            plan = plan_of(clients, heaviest)
            recorded = record(plan, effort.dimension, lambda who: update_of(who, effort.dimension), heaviest)
            peer = flower.Client(update_of(FIRST, effort.dimension), clients, weight=1000)
            alone = beside(recorded, peer, ALONE, effort, one_thread)
            unsigned = without_signatures(alone, signatures(recorded, clients, effort))
        with on_cores(2), ThreadPoolExecutor(2) as pool:
            together = beside(recorded, peer, Workers(pool, 2), effort, two_threads)
        yield from (alone, unsigned, together)


def beside(recorded: Recorded, peer: flower.Client, workers: Workers, effort: Effort, target: float) -> Row:
    clients = len(recorded.cohort.clients)
    update = update_of(FIRST, effort.dimension)
    threads = Threads(workers.count)

    def ours() -> float:
        client = recorded.client(workers)
        return timed(lambda: recorded.play(client, update), threads.clock)()

    taken, taken_peer = alternate(ours, timed(peer.run, threads.clock), effort.repeats)
    return Row(
        suite="clients",
        case=f"{clients} masks, weights up to {recorded.weight:,}, d = {effort.dimension:,}, {threads}",
        unit="s",
        ours=taken,
        peer_name=flower.TITLE,
        peer=taken_peer,
        limit=faster(target),
        judged="ratio",
        ours_error=rms(recorded.mean - mean_of(list(range(clients)), effort.dimension)),
        peer_error=rms(peer.opened() - update),
        note=threads.note,
    )


def without_signatures(whole: Row, seconds: float) -> Row:
    """The same row less what signatures cost."""
    return replace(
        whole,
        case=f"{whole.case}, signatures left out",
        ours=whole.ours.plus(-seconds),
        note=f"less {seconds * 1e3:.2f} ms of Ed25519 and SHA-256, measured alone",
    )


def signatures(recorded: Recorded, clients: int, effort: Effort) -> float:
    """Least CPU seconds of a round's signatures at a client: checked ones, made ones, and the hashes of frames."""
    identity = identity_from(ROOT, FIRST)
    signature = identity.sign(SIGNED_TEXT)
    frames = [bytes(frame) for frame in recorded.play(recorded.client(), update_of(FIRST, effort.dimension))]
    # The roster's advertisements, a quorum of witnesses, the server's frames.
    checked = clients + recorded.cohort.server.plan.parameters(clients).quorum + len(recorded.to_client)
    # Its own frames, its advertisement, its witness.
    made = len(frames) + 2

    def sign_and_verify() -> None:
        for _ in range(checked):
            verify(identity.public, SIGNED_TEXT, signature)
        for _ in range(made):
            identity.sign(SIGNED_TEXT)
        for frame in (*frames, *recorded.to_client):
            hashlib.sha256(frame).digest()

    return min(timed(sign_and_verify)() for _ in range(effort.repeats))
