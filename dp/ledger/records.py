"""What stands in a ledger of one reservation: whom it was charged to, how it ended, and which cohorts it names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dp.ledger.charge import Charge, Ends, Outcome
from dp.ledger.session import Owner


class Standing(Enum):
    """Where a reservation stands; every standing but ABORTED counts as spent."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    ABORTED = "aborted"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Record:
    """One reservation: the charge, who holds it, what it was charged to, and how it ended.

    `after` is the interval of each budget it was charged to, as it became; the digest of `outcome` is the hidden one.
    """

    charge: Charge
    owner: Owner
    after: tuple[tuple[int, Ends], ...]
    standing: Standing = Standing.RESERVED
    ended: int | None = None
    outcome: Outcome | None = None

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets it was charged to."""
        return tuple(budget for budget, _ in self.after)


@dataclass(frozen=True, slots=True)
class Named:
    """An entry with openings beside it: those a reservation invited (seq = reserve), or its survivors.

    `root` is over `size` openings, in the order of their pseudonyms.
    """

    seq: int
    reserve: int
    root: bytes
    size: int
