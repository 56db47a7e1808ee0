"""The accountant of privacy loss distributions: certified on both sides."""

from __future__ import annotations

from fractions import Fraction

from dp.accountant import Accountant, Unit
from dp.events import Poisson, Sampled, SkellamEvent
from dp.pld import PldAccountant
from tests.contracts.accountants import AccountantContract


class TestPldAccountant(AccountantContract):
    """The contract."""

    refused = Sampled(SkellamEvent(900, 1, 1, 1, 0), Poisson(Fraction(1, 2)))

    def make(self, unit: Unit) -> Accountant:
        """An accountant of privacy loss distributions."""
        return PldAccountant(unit)
