"""The server's unmasking beside Flower's: from the clients' shares to the mean of the survivors.

    ours     Server.receive of every letter with shares, and Server.mean: signatures, tags, Shamir, the check
             of every rebuilt secret against its commitment or key, masks, checksum, decoding
    Flower   the loop of SecAggPlusWorkflow.unmask_stage: Shamir, masks, dequantising

A client lost after it shared its keys costs both one mask for each survivor. Flower rebuilds every secret from
all its shares in pure Python (pycryptodome), which soon takes longer than all masks. It is timed once, on one
thread, as a second one does not help it; for each row, another leaves it out on Flower's side alone, and asks
half as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from benchmarks.inputs import mean_of, rms, update_of
from benchmarks.peers import flower
from benchmarks.recording import Recorded, hear, plan_of, record
from benchmarks.rows import Effort, Row, Threads, alternate, cpu_seconds, faster, on_cores, timed
from secagg.workers import ALONE, Workers

# Clients, lost ones, times faster.
CASES = ((10, 0, 4.0), (10, 1, 6.0), (50, 5, 6.0))


def rows(effort: Effort) -> Iterator[Row]:
    for clients, lost, target in CASES:
        count = min(clients, effort.most_clients)
        gone = frozenset(range(1, 1 + min(lost, count // 10)))
        with on_cores(1):
            recorded = record(plan_of(count), effort.dimension, lambda who: update_of(who, effort.dimension), lost=gone)
            peer = flower.run(case_of(count, gone, effort))
            secrets, shamir = rebuilt(peer)
            alone = beside(recorded, peer, secrets, ALONE, effort, target)
        with on_cores(2), ThreadPoolExecutor(2) as pool:
            together = beside(recorded, peer, secrets, Workers(pool, 2), effort, target)
        for row in (alone, together):
            yield replace(row, peer=row.peer.plus(shamir))
            yield replace(row, case=f"{row.case}, Flower's Shamir left out", limit=2 * row.limit)


def case_of(clients: int, gone: frozenset[int], effort: Effort) -> flower.Case:
    """The same round for Flower, whose nodes are numbered from one."""
    return flower.Case(
        clients=clients,
        update_of=lambda nid: update_of(nid - 1, effort.dimension),
        weight=1000,
        lost=frozenset(who + 1 for who in gone),
    )


def rebuilt(peer: flower.Round) -> tuple[Mapping[int, bytes], float]:
    """What Flower's Shamir gives, and the CPU seconds it took."""
    started = cpu_seconds()
    secrets = peer.secrets()
    return secrets, cpu_seconds() - started


def beside(
    recorded: Recorded,
    peer: flower.Round,
    secrets: Mapping[int, bytes],
    workers: Workers,
    effort: Effort,
    target: float,
) -> Row:
    """Flower starts from rebuilt secrets, ours from the clients' letters."""
    image, letters = recorded.before_unmasking(), recorded.unmasking
    survivors = sorted(set(range(len(recorded.cohort.clients))) - {nid - 1 for nid in peer.lost})
    expected = mean_of(survivors, effort.dimension)
    threads = Threads(workers.count)
    means = []

    def ours() -> float:
        server = recorded.server(workers)
        server.thaw(image)
        seconds = timed(lambda: hear(server, letters), threads.clock)()
        return seconds + timed(lambda: means.append(server.mean()), threads.clock)()

    taken, taken_peer = alternate(
        ours, timed(lambda: means.append(peer.unmask(secrets)), threads.clock), effort.repeats
    )
    *_, mean, mean_peer = means
    return Row(
        suite="servers",
        case=f"{len(survivors)} clients and {len(peer.lost)} lost, d = {effort.dimension:,}, {threads}",
        unit="s",
        ours=taken,
        peer_name=flower.TITLE,
        peer=taken_peer,
        limit=faster(target),
        judged="ratio",
        ours_error=rms(mean - expected),
        peer_error=rms(mean_peer - expected),
        note=threads.note,
    )
