"""The privacy ledger: seconds to record, admit, open, verify, replay and report, beside what has no proof to give.

two entries     reserve and commit as they are stored: linked, signed, synced; without the accountant
admission       reserve in round 1,000, which composes everything before it
open            at the newest checkpoint of a long ledger, beside reading all of it
verify, replay  of every entry; of every recorded figure, by all accountants

The peers record a round as frameworks do: a JSON file that is rewritten (Flower keeps an accountant's state_dict so),
and a list in memory (NVFlare, reset at every start). Neither survives what the note says ours survives.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from benchmarks.rows import Effort, Row, Taken, alternate, timed, wall_seconds
from dp import Budget, GaussianEvent, Interval
from dp.ledger import Charge, Ledger, Outcome
from dp.ledger.chain import Kind
from dp.ledger.genesis import clock
from dp.ledger.log import Said
from dp.ledger.statement import ClientStatement

BUDGET = Budget(50, "1e-5", "zero-out")
EVENT = GaussianEvent(sigma2=10**12, l2_squared=10**8, d=1000, components=80, draws=80_000)
BODY_BYTES = 900
# Two syncs against one, and what they cost apart from the disk.
LIMIT_SYNCS, LIMIT_TWO_ENTRIES = 2.5, 1e-3
LIMIT_ADMISSION, LIMIT_OPEN, LIMIT_REPLAY, LIMIT_REPORT = 30e-3, 0.2, 3.0, 1.0
# Of the time that the entries' signatures alone take.
LIMIT_VERIFY = 3.0
SURVIVES = "ours survives kill -9 and names an edit, a removed row and a cut tail; the peer survives none of the four"


def rows(effort: Effort) -> Iterator[Row]:
    rounds, entries = min(1000, effort.dimension // 1000), effort.dimension // 10
    with tempfile.TemporaryDirectory() as folder:
        yield from recording(Path(folder), 3 * rounds)
        spent = Path(folder) / "spent.ledger"
        yield admission(spent, rounds)
        yield verifying(spent)
        yield replaying(spent, rounds, effort)
        yield reporting(spent, rounds, effort)
        yield opening(Path(folder) / "long.ledger", entries, effort)


def recording(folder: Path, rounds: int) -> Iterator[Row]:
    """One round as two entries, beside a file that is rewritten and a list."""
    text, kept, past = "x" * BODY_BYTES, folder / "state.json", list[dict[str, object]]()
    with Ledger.open(folder / "run.ledger", BUDGET) as ledger:

        def ours() -> None:
            ledger._log.say(lambda: [Said(Kind.NOTE, {"text": text, **clock()})])
            ledger._log.say(lambda: [Said(Kind.NOTE, {"text": text, **clock()})])

        def rewritten() -> None:
            past.append({"round": len(past), "text": text})
            with kept.open("w", encoding="utf-8") as file:
                json.dump(past[-100:], file)
                file.flush()
                os.fsync(file.fileno())

        def listed() -> None:
            past.append({"round": len(past), "text": text})

        taken, peer = alternate(timed(ours, wall_seconds), timed(rewritten, wall_seconds), rounds)
        yield Row(
            suite="ledger",
            case=f"two entries of {BODY_BYTES} bytes, each synced, median of {rounds:,}",
            unit="s",
            ours=Taken(taken.median, taken.median, rounds),
            peer_name="JSON of the last 100 rounds, rewritten and synced once",
            peer=Taken(peer.median, peer.median, rounds),
            limit=LIMIT_SYNCS,
            judged="ratio",
            note=f"wall clock, as the disk decides; {SURVIVES}",
        )
        taken, peer = alternate(timed(ours), timed(listed), rounds)
        yield Row(
            suite="ledger",
            case=f"the same without the disk, of {rounds:,}",
            unit="s",
            ours=taken,
            peer_name="a list in memory",
            peer=peer,
            limit=LIMIT_TWO_ENTRIES,
            judged="ours",
            note=f"CPU seconds; {SURVIVES}",
        )


def charge_of(number: int) -> Charge:
    """One round of a training."""
    return Charge("digits", number, "clients", "sum", EVENT, 100, sha256(number.to_bytes(8, "big")).digest())


def admission(path: Path, rounds: int) -> Row:
    """The last of so many rounds; all before it lie in the ledger."""
    outcome = Outcome(80, EVENT, bytes(32))
    with Ledger.open(path, BUDGET) as ledger:
        first = timed(lambda: ledger.commit(ledger.reserve(charge_of(0)), outcome))()
        for number in range(1, rounds - 1):
            ledger.commit(ledger.reserve(charge_of(number)), outcome)
        last = timed(lambda: ledger.reserve(charge_of(rounds)))()
    case = f"reserve in round {rounds:,}"
    return by_figure(case, Taken.once(last), "the same in round 1", Taken.once(first), LIMIT_ADMISSION)


def verifying(path: Path) -> Row:
    """Every entry's hash, signature, body and transition, beside the signatures alone."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from dp.ledger.chain import LABEL_SIGN

    with Ledger.read(path) as ledger:
        pin, entries = ledger.pin(), list(ledger.entries())
        key = Ed25519PublicKey.from_public_bytes(pin.signer)

        def signatures() -> None:
            for entry in entries:
                key.verify(entry.signature, LABEL_SIGN + pin.ledger_id + entry.hash)

        taken, alone = alternate(timed(ledger.verify), timed(signatures), 3)
    return Row(
        suite="ledger",
        case=f"verify, per entry of {len(entries):,}",
        unit="s",
        ours=taken.per(len(entries)),
        peer_name="its Ed25519 signatures alone",
        peer=alone.per(len(entries)),
        limit=LIMIT_VERIFY,
        judged="ratio",
        note="CPU seconds",
    )


def replaying(path: Path, rounds: int, effort: Effort) -> Row:
    """Every recorded figure once more, by all accountants."""
    with Ledger.read(path) as ledger:
        taken, verified = alternate(timed(ledger.replay), timed(ledger.verify), min(2, effort.repeats))
        wrong = 0.0 if ledger.replay().ok else 1.0
    return Row(
        suite="ledger",
        case=f"replay of {rounds:,} rounds",
        unit="s",
        ours=taken,
        peer_name="verify of the same",
        peer=verified,
        limit=LIMIT_REPLAY,
        judged="ours",
        ours_error=wrong,
        error_limit=0.0,
        note="CPU seconds; error: 1 where a figure was not reproduced",
    )


def reporting(path: Path, rounds: int, effort: Effort) -> Row:
    """The page of a statement with as many clients as a large training has, beside making the statement."""
    from protocols.report.privacy import render

    with Ledger.read(path) as ledger:
        large = replace(ledger.state(), clients=clients_of(min(10_000, effort.dimension // 100)))
        taken, stated = alternate(timed(lambda: render(large)), timed(ledger.state), min(2, effort.repeats))
    case = f"report of {rounds:,} rounds, {len(large.clients):,} clients"
    return by_figure(case, taken, "stating the ledger: verify, replay", stated, LIMIT_REPORT)


def clients_of(count: int) -> tuple[ClientStatement, ...]:
    """Clients that were in one to a thousand rounds."""
    own = [Interval(epsilon, epsilon, BUDGET.delta, "made up") for epsilon in (1.0, 2.0, 3.0)]
    return tuple(
        ClientStatement(sha256(b"%d" % number).digest(), 1 + number % 1000, number % 500, ((1, own[number % 3]),))
        for number in range(count)
    )


def opening(path: Path, entries: int, effort: Effort) -> Row:
    """At the newest checkpoint, beside the first entry."""
    with Ledger.open(path, BUDGET) as ledger:
        for _ in range(0, entries, 400):
            ledger._log.say(lambda: [Said(Kind.NOTE, {"text": "x" * BODY_BYTES, **clock()}) for _ in range(400)])
    tail, full = alternate(
        timed(lambda: Ledger.open(path, check="tail").close()),
        timed(lambda: Ledger.open(path, check="full").close()),
        min(2, effort.repeats),
    )
    case = f"open at a checkpoint, {entries:,} entries"
    return by_figure(case, tail, "open from the first entry", full, LIMIT_OPEN)


def by_figure(case: str, ours: Taken, peer_name: str, peer: Taken, limit: float) -> Row:
    """A row of CPU seconds that is judged by ours alone."""
    return Row(
        suite="ledger",
        case=case,
        unit="s",
        ours=ours,
        peer_name=peer_name,
        peer=peer,
        limit=limit,
        judged="ours",
        note="CPU seconds",
    )
