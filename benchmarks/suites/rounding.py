"""How far the opened mean is from the mean, at weights from one example to sixty thousand, beside Flower.

Flower scales an update by weight / 1000 before it rounds: a light client keeps few bits, and a heavy one
leaves the range its levels were made for. Ours multiplies after rounding, in a ring that cannot wrap. Flower sends 64
bits a coordinate to keep 22; with 24 of ours, which still travel in fewer, the goals of the scoreboard are judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from benchmarks.inputs import mean_of, rms, update_of
from benchmarks.peers import flower
from benchmarks.recording import record
from benchmarks.rows import Effort, Row, Taken
from protocols.plan import RoundPlan

# Bits, clients and the weight each of them has.
CASES = (
    (16, 10, 1),
    (16, 50, 5),
    (16, 10, 20),
    (16, 10, 1000),
    (16, 10, 60_000),
    (16, 20, 60_000),
    (24, 50, 5),
    (24, 10, 60_000),
)
MOST_WEIGHT = 60_000


def rows(effort: Effort) -> Iterator[Row]:
    dimension = effort.dimension // 10
    for bits, clients, weight in CASES:
        count = min(clients, effort.most_clients)
        expected = mean_of(list(range(count)), dimension)
        plan = RoundPlan.recommend(count, dropout=0, corrupt=Fraction(1, 10), max_weight=MOST_WEIGHT, bits=bits)
        recorded = record(plan, dimension, lambda who: update_of(who, dimension), weight)
        peer = flower.run(flower.Case(count, lambda nid: update_of(nid - 1, dimension), weight))
        ours_error, peer_error = rms(recorded.mean - expected), rms(peer.unmask(peer.secrets()) - expected)
        yield Row(
            suite="rounding",
            case=f"{bits} bits, {count} clients of weight {weight:,}",
            unit="rms error of the mean",
            ours=Taken.once(ours_error),
            peer_name=flower.TITLE,
            peer=Taken.once(peer_error),
            # Half a step at clip 1, as an error of the mean: so many bits promise no more to anybody.
            limit=2.0**-bits,
            judged="ours",
            ours_error=ours_error,
            peer_error=peer_error,
            note=f"relative: ours {ours_error / rms(expected):.2g}, Flower {peer_error / rms(expected):.2g}; bits a "
            f"coordinate on the wire: ours {plan.encoding.ring.bits}, Flower 64",
        )
