"""How far the opened mean is from the mean, at weights from one example to sixty thousand, beside Flower.

Flower scales an update by weight / 1000 before it rounds: a light client keeps few bits, and a heavy one
leaves the range its levels were made for. Ours multiplies after rounding, in a ring that cannot wrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from benchmarks.inputs import mean_of, rms, update_of
from benchmarks.peers import flower
from benchmarks.recording import record
from benchmarks.rows import Effort, Row, Taken
from protocols.plan import RoundPlan

# Clients and the weight each of them has.
CASES = ((10, 1), (50, 5), (10, 20), (10, 1000), (10, 60_000), (20, 60_000))
MOST_WEIGHT = 60_000
# Half a step of 16 bits and clip 1, as an error of the mean: sixteen bits promise no more to anybody.
LIMIT = 2.0**-16


def rows(effort: Effort) -> Iterator[Row]:
    dimension = effort.dimension // 10
    for clients, weight in CASES:
        count = min(clients, effort.most_clients)
        expected = mean_of(list(range(count)), dimension)
        plan = RoundPlan.recommend(count, dropout=0, corrupt=Fraction(1, 10), max_weight=MOST_WEIGHT)
        recorded = record(plan, dimension, lambda who: update_of(who, dimension), weight)
        peer = flower.run(flower.Case(count, lambda nid: update_of(nid - 1, dimension), weight))
        ours_error, peer_error = rms(recorded.mean - expected), rms(peer.unmask(peer.secrets()) - expected)
        yield Row(
            suite="rounding",
            case=f"{count} clients of weight {weight:,}",
            unit="rms error of the mean",
            ours=Taken.once(ours_error),
            peer_name=flower.TITLE,
            peer=Taken.once(peer_error),
            limit=LIMIT,
            judged="ours",
            ours_error=ours_error,
            peer_error=peer_error,
            note=f"relative: ours {ours_error / rms(expected):.2g}, Flower {peer_error / rms(expected):.2g}",
        )
