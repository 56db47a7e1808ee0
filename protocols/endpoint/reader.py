"""Whoever ends a round with its sum, the server or clients who share a key, and what the sum says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction

from protocols.coding import Counted, Extras, Floats, coding_of
from protocols.errors import Misused
from protocols.messages import Aggregate
from protocols.plan import Agreement, context_of


@dataclass(frozen=True, slots=True)
class OpenedSum:
    """A sum, and the round that it is of."""

    agreement: Agreement
    aggregate: Aggregate


class Reader(ABC):
    """One end of a round that has the sum once it is over."""

    @abstractmethod
    def _opened_sum(self) -> OpenedSum:
        """Raises: Misused while there is none here, or where there never is one."""

    def mean(self) -> Floats:
        """The weighted mean of the survivors' updates, float64, after the round is done."""
        opened = self._opened_sum()
        found, context = opened.aggregate, context_of(opened.agreement)
        return coding_of(opened.agreement).decode(found.total, found.weight_sum, context, found.surplus)

    def metrics(self) -> dict[str, float]:
        """The weighted means of the survivors' metrics, after the round is done."""
        opened = self._opened_sum()
        return Extras.of(opened.agreement.plan).means(opened.aggregate.metrics, opened.aggregate.weight_sum)

    def fraction_within_clip(self) -> Fraction:
        """The noisy fraction of the survivors whose norm was within the clip, after the round is done.

        Raises: Misused where the clip is fixed: then nobody was asked.
        """
        opened = self._opened_sum()
        coding = coding_of(opened.agreement)
        if not isinstance(coding, Counted):
            raise Misused("this plan's clip is fixed: give its noise an AdaptiveClip")
        return coding.fraction(opened.aggregate.total, len(opened.aggregate.survivors))

    def next_clip(self) -> Fraction:
        """The clip of the next round's `Task`, after the round is done; the same again where it is fixed."""
        opened = self._opened_sum()
        coding = coding_of(opened.agreement)
        if not isinstance(coding, Counted):
            return opened.agreement.plan.clip
        return coding.next_clip(opened.aggregate.total, len(opened.aggregate.survivors))
