"""The ideal functionality: a trusted party that adds up. What every protocol must equal.

Given the clients' ring vectors and who survived, it says the sum modulo 2^b, or the same named error
a real protocol raises when too few remain. Simulations of thousands of clients use it honestly: the
contract tests assert that real protocols differ from it in no bit.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.coding import coding_of
from protocols.errors import TooFewClients
from protocols.messages import Aggregate, Submit
from protocols.party import PartyId
from protocols.plan import Agreement


class Ideal:
    """The trusted party itself: it adds each vector on arrival and keeps only the sum and the names."""

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        coding = coding_of(agreement)
        self.ring = coding.ring
        self.total = self.ring.zeros(coding.length)
        self.weights: dict[PartyId, int] = {}
        self.metrics = [0] * len(agreement.plan.metrics)

    def add(self, who: PartyId, submission: Submit) -> None:
        """Client `who` is in the sum."""
        self.ring.add_into(self.total, submission.vector)
        self.weights[who] = submission.weight
        weighted = (submission.weight * metric for metric in submission.metrics)
        self.metrics = [total + more for total, more in zip(self.metrics, weighted, strict=True)]

    def aggregate(self) -> Aggregate:
        """The sum (mod 2^b) of all vectors, and of their weights.

        Raises: TooFewClients when fewer than the plan's smallest cohort have spoken.
        """
        need = self.agreement.plan.min_cohort
        if len(self.weights) < need:
            raise TooFewClients(len(self.weights), need, "Summing")
        survivors = tuple(sorted(self.weights))
        return Aggregate(self.ring.reduce(self.total), sum(self.weights.values()), survivors, {}, tuple(self.metrics))


def aggregate(agreement: Agreement, submitted: Mapping[PartyId, Submit]) -> Aggregate:
    """The ideal result of exactly these survivors' submissions."""
    ideal = Ideal(agreement)
    for who, submission in submitted.items():
        ideal.add(who, submission)
    return ideal.aggregate()
