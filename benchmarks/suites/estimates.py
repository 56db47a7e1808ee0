"""What `secagg plan` says that a one-shot round takes, beside rounds that are played on the same machine."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.rows import Effort, Row, Taken
from protocols.choices import Request
from protocols.oneshot_planning import plan_oneshot
from protocols.plan import ONE_SHOT
from protocols.trial import Trial, plan_for, run_trial

# Clients and coordinates.
CASES = ((5, 1000), (20, 200_000))
BITS = 16
ROUNDS = 3
LIMIT_APART = 3.0


def rows(effort: Effort) -> Iterator[Row]:
    for clients, length in CASES:
        yield from apart(min(clients, effort.most_clients), min(length, effort.dimension))


def apart(clients: int, length: int) -> Iterator[Row]:
    """How many times the larger of both is the smaller, of a client and of the server."""
    said = plan_oneshot(Request(clients, 0.0, dimension=length, bits=BITS)).choice
    trial = Trial(plan_for(clients, 0.0, BITS, ONE_SHOT), clients, length, 0.0)
    # Of a few rounds the fastest: what else the machine does only makes them slower.
    played = [run_trial(trial, seed) for seed in range(ROUNDS)]
    for who, seconds, took in (
        ("client", said.client_seconds, min(report.client_seconds_median for report in played)),
        ("server", said.server_seconds, min(report.server_seconds for report in played)),
    ):
        if seconds is None:
            raise RuntimeError("a one-shot plan says no seconds")
        yield Row(
            suite="estimates",
            case=f"seconds of a one-shot {who} as planned, {clients} clients, d = {length:,}",
            unit="times apart",
            ours=Taken.once(max(seconds / took, took / seconds)),
            peer_name="a round that is played",
            peer=Taken.once(1.0),
            limit=LIMIT_APART,
            judged="ours",
            note=f"planned {seconds:.3g} s, played {took:.3g} s",
        )
