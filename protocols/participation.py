"""Who was in which round, written into the privacy ledger itself and read from nowhere else.

    NOTE     "task x round 7 invites 0,1,4,..."      before the round, as many as the list needs
    RESERVE  the round's charge                      it counts, and with it all it invited
    ABORT    nothing was released                    it does not count after all

Whoever was invited is counted, whether or not its vector reached the sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dp.canonical import integer_of, object_of, text_of
from dp.errors import Corrupt
from dp.events import Event
from dp.ledger import Ledger
from dp.ledger.chain import Entry, Kind
from protocols.errors import Misused
from protocols.party import PartyId

CLIENTS_PER_NOTE = 128


@dataclass(frozen=True, slots=True)
class Attendance:
    """Of one training: how many rounds are charged, how many each client was invited to, and which number is free.

    `unlisted` of the charged rounds have no list: they count for everybody.
    """

    charged: int
    unlisted: int
    invitations: Counter[PartyId]
    next_round: int

    def of(self, who: PartyId) -> int:
        """How many charged rounds this client may have been in."""
        return self.unlisted + self.invitations[who]

    def most(self) -> int:
        """How many charged rounds any client may have been in."""
        return self.unlisted + max(self.invitations.values(), default=0)


def invite(ledger: Ledger, task: str, number: int, clients: Iterable[PartyId]) -> None:
    """Writes down, durably and before the round, whom it invites."""
    ids = sorted(clients)
    for start in range(0, len(ids), CLIENTS_PER_NOTE):
        part = ",".join(map(str, ids[start : start + CLIENTS_PER_NOTE]))
        ledger.note(f"{_opening(task)}{number} invites {part}")


def attendance(ledger: Ledger, task: str, event: Event) -> Attendance:
    """What the ledger's entries say of a training whose every round charges this event.

    Raises: Misused when the ledger holds another charge; Corrupt for a list that is none.
    """
    lists: dict[int, list[PartyId]] = {}
    rounds: dict[int, int] = {}
    for entry in ledger.entries():
        if entry.kind == Kind.NOTE:
            for number, clients in _invitation(entry, task):
                lists.setdefault(number, []).extend(clients)
        elif entry.kind == Kind.RESERVE:
            rounds[entry.seq] = _round_of(entry, task, event)
        elif entry.kind == Kind.ABORT:
            del rounds[integer_of(entry.fields, "reserve")]
    return Attendance(
        charged=len(rounds),
        unlisted=sum(number not in lists for number in rounds.values()),
        invitations=Counter(who for number in rounds.values() for who in lists.get(number, ())),
        next_round=max((*lists, *rounds.values()), default=-1) + 1,
    )


def _round_of(entry: Entry, task: str, event: Event) -> int:
    charge = object_of(entry.fields, "charge")
    if text_of(charge, "task") != task or Event.from_canonical(charge["event"]) != event:
        raise Misused(
            f"entry {entry.seq} of the ledger charges something else than a round of {task!r}: what a client has "
            "spent cannot be told by counting rounds; keep one ledger for one training"
        )
    return integer_of(charge, "round")


def _opening(task: str) -> str:
    return f"task {task!r} round "


def _invitation(entry: Entry, task: str) -> Iterator[tuple[int, list[PartyId]]]:
    text = text_of(entry.fields, "text")
    if not text.startswith(_opening(task)):
        return
    number, _, clients = text.removeprefix(_opening(task)).partition(" invites ")
    try:
        yield int(number), [PartyId(int(who)) for who in clients.split(",")]
    except ValueError as wrong:
        raise Corrupt(f"entry {entry.seq} invites nobody one could count: {text[:80]!r}", seq=entry.seq) from wrong
