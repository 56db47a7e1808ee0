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
class Charged:
    """What was recorded of one budget at a reservation: its interval, and what it became."""

    budget: int
    before: Ends
    after: Ends


@dataclass(frozen=True, slots=True)
class Record:
    """One reservation: the charge, who holds it, what it was charged to, and how it ended.

    The digest of `outcome` is the hidden one.
    """

    charge: Charge
    owner: Owner
    charged: tuple[Charged, ...]
    standing: Standing = Standing.RESERVED
    ended: int | None = None
    outcome: Outcome | None = None

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets it was charged to."""
        return tuple(each.budget for each in self.charged)

    @property
    def after(self) -> tuple[tuple[int, Ends], ...]:
        """The interval of each budget it was charged to, as it became."""
        return tuple((each.budget, each.after) for each in self.charged)


@dataclass(frozen=True, slots=True)
class Named:
    """An entry with openings beside it: those a reservation invited (seq = reserve), or its survivors.

    `root` is over `size` openings, in the order of their pseudonyms.
    """

    seq: int
    reserve: int
    root: bytes
    size: int
