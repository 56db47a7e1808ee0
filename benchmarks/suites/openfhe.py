"""Sums under a key that three parties share, beside OpenFHE's threshold CKKS: client, server, opening, bytes.

    OpenFHE   all of three parties open; lists of floats in and out
    ours      all of three holders open, with smudging; 16-bit values, sums exact

OpenFHE's wheel holds no extension for our interpreter, so it answers from a process of its own, on the same core and
in turns with ours; each side's seconds are those of its own process. Updates are the same on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from benchmarks.encrypted import CLIENTS, STEP, Federated, Ours, error_of
from benchmarks.inputs import update_of
from benchmarks.peers import openfhe
from benchmarks.peers.standing import Standing
from benchmarks.rows import Effort, Row, Taken, alternate, faster, on_cores, timed
from secagg.ckks.cipher import Fft, Upload
from secagg.ckks.plan import Keys, Mode

HOLDERS = openfhe.PARTIES
TIMES_CLIENT, TIMES_SERVER, TIMES_OPENING = 2.5, 2.5, 3.0
LIMIT_BYTES = 1 / 2
MOST_REPEATS = 3
# How much shorter the vectors are of which a whole round is played on the peer's side for its error.
SHORTER = 10

Errors = tuple[float | None, float | None]


def rows(effort: Effort) -> Iterator[Row]:
    with on_cores(1), Standing("openfhe", openfhe.__name__) as peer:
        ours = Ours(Federated.agreed(Keys(Mode.THRESHOLD, HOLDERS, HOLDERS), effort.dimension))
        yield from Round(ours, peer, effort).rows()


class Round:
    """Both sides of one round."""

    def __init__(self, ours: Ours, peer: Standing, effort: Effort) -> None:
        self._ours, self._peer, self._engine = ours, peer, Fft()
        self._dimension, self._repeats = effort.dimension, min(effort.repeats, MOST_REPEATS)
        self._update = update_of(0, self._dimension)
        self._sent: Upload = ours.upload(self._update, self._engine)
        self._sum = ours.summed(self._engine)
        self._totals = ours.zeros()

    def rows(self) -> Iterator[Row]:
        error = error_of(self._ours.mean(self._engine))
        theirs: float = self._peer.ask("error", clients=CLIENTS, dimension=self._dimension // SHORTER).value
        self._given_the_same()
        self._peer.ask("encrypt")
        self._peer.ask("begin")
        yield self._row(
            "client, float32 to bytes", TIMES_CLIENT, *self._turns(self._encrypt, "encrypt"), (error, theirs)
        )
        yield self._row("server per client, bytes into the sum", TIMES_SERVER, *self._turns(self._add, "add"))
        yield self._row(
            f"opening by {HOLDERS} of {HOLDERS} holders, all parts added up",
            TIMES_OPENING,
            *self._turns(self._open, "open_together"),
            (error, theirs),
        )
        yield self._bytes()

    def _encrypt(self) -> None:
        self._ours.upload(self._update, self._engine)

    def _add(self) -> None:
        self._ours.add(self._totals, self._sent)

    def _open(self) -> None:
        self._ours.federated.open(*self._sum)

    def _turns(self, mine: Callable[[], None], act: str) -> tuple[Taken, Taken]:
        return alternate(timed(mine), lambda: self._peer.seconds(act), self._repeats)

    def _given_the_same(self) -> None:
        """Raises: AssertionError when the peer's process draws another update than ours."""
        digest = self._peer.ask("hold", who=0, dimension=self._dimension).value
        if digest != hashlib.sha256(self._update.tobytes()).hexdigest():
            raise AssertionError("the two processes were not given the same update")

    def _row(self, part: str, times: float, ours: Taken, peer: Taken, errors: Errors = (None, None)) -> Row:
        nanoseconds = self._dimension * 1e-9
        return Row(
            suite="openfhe",
            case=f"{part}, d = {self._dimension:,}",
            unit="ns per value",
            ours=ours.per(nanoseconds),
            peer_name=f"{openfhe.TITLE}, {HOLDERS} parties",
            peer=peer.per(nanoseconds),
            limit=faster(times),
            judged="ratio",
            ours_error=errors[0],
            peer_error=errors[1],
            error_limit=None if errors[0] is None else STEP,
            note="CPU seconds, each of its own process",
        )

    def _bytes(self) -> Row:
        size = len(self._sent.c0) + len(self._sent.c1)
        return Row(
            suite="openfhe",
            case=f"upload, {HOLDERS} of {HOLDERS} holders, d = {self._dimension:,}",
            unit="bytes per value",
            ours=Taken.once(size / self._dimension),
            peer_name=f"{openfhe.TITLE}, ring of {self._peer.ask('ring').value:,}",
            peer=Taken.once(self._peer.ask("encrypt").value / self._dimension),
            limit=LIMIT_BYTES,
            judged="ratio",
            note="16-bit values here, doubles there; without frames",
        )
