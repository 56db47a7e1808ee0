"""What did not travel is not lost: each client adds it to its next update.

    u = update + residual;   u_S travels;   residual <- u - what travelled      (zero on S, unless rounding is kept too)

The residual is a sum of a client's own updates: it lives at the client and is in no message. With noise u_S is clipped
*after* the residual was added, so a sum's sensitivity is the clip, whatever residuals hold.
Follows Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory" (NeurIPS 2018), and Karimireddy et al. (ICML 2019).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.errors import Misused
from protocols.learning.models import Parameters
from protocols.learning.reduction import Chosen, Public, travelling
from protocols.learning.selection import MovingRule
from protocols.tensors import Floats, Layout
from secagg.sparse import Selection

USUAL_PATIENCE = 5


@dataclass(frozen=True, slots=True)
class Residual:
    """What a client's updates held and no round has carried yet; for models of one layout.

    `round` is the latest that the client took part in. Private to the client: no representation shows a number of it.
    """

    layout: bytes
    round: int
    vector: Floats = field(repr=False)

    @classmethod
    def left(cls, whole: Floats, chosen: Selection, sent: Floats, layout: bytes, round: int) -> Residual:
        """whole - scatter(sent): what is left of u once these values have travelled.

        With sent = u_S the rounding errors are forgotten; with sent = the decoded ring integers of this client's own
        upload, they and what the clip took off are kept as well. Not so with noise: an upload decoded is noise.
        """
        return cls(layout, round, whole - chosen.scatter(sent.astype(whole.dtype)))

    def added_to(self, update: Floats, layout: bytes, round: int, patience: int = USUAL_PATIENCE) -> Floats:
        """update + residual; the update alone for another layout, or after more than `patience` missed rounds.

        A residual as old as that is of another model: it would push where nobody is any more. So is one of a later
        round: it is of another run.
        """
        missed = round - self.round - 1
        if not 0 <= missed <= patience or not hmac.compare_digest(self.layout, layout):
            return update
        return np.asarray(update + self.vector)


@dataclass(frozen=True, slots=True)
class _Pending:
    """What a client sent in a round whose end it does not know yet."""

    whole: Floats = field(repr=False)
    chosen: Selection
    sent: Floats = field(repr=False)
    layout: bytes
    round: int


class ErrorFeedback:
    """A rule whose clients remember what they left behind: the reduction of a run, one object per run.

    Of a client that survived, what travelled is spent. One that vanished keeps all it wanted to send; and where the
    round was lost, its update is trained anew from the same model, so that the residual stays what it was.
    A run that is taken up again starts without residuals.
    Raises: Misused for a rule that never reaches some coordinates: their residual would only grow.
    """

    def __init__(self, rule: MovingRule, patience: int = USUAL_PATIENCE) -> None:
        if not isinstance(rule, MovingRule):
            raise Misused(f"{type(rule).__name__} never sends some coordinates: nothing of them is worth remembering")
        if type(patience) is not int or patience < 0:
            raise Misused(f"patience is {patience!r} rounds, it must be an integer of at least 0")
        self.rule = rule
        self.patience = patience
        self._residuals: dict[int, Residual] = {}
        self._pending: dict[int, _Pending] = {}

    def __repr__(self) -> str:
        return f"ErrorFeedback({self.rule!r}, patience={self.patience})"

    def received(self, model: Parameters, round: int) -> Parameters:
        """As the rule's."""
        return self.rule.received(model, round)

    def choose(self, public: Public) -> Selection:
        """As the rule's: no residual decides what travels."""
        return self.rule.choose(public)

    def send(self, who: int, update: Parameters, chosen: Chosen, public: Public) -> dict[str, Any]:
        """The rule's part of update + residual.

        Raises: as `Rule.send`; then the residual is what it was.
        """
        self._settle(public)
        layout = Layout.of(public.model)
        whole, residual = layout.flatten(update), self._residuals.get(who)
        if residual is not None:
            whole = residual.added_to(whole, layout.digest(), public.round, self.patience)
        own = self.rule.agreed(chosen, public)
        self._pending[who] = _Pending(whole, own, own.gather(whole), layout.digest(), public.round)
        return travelling(own, self.rule.parts(whole, own))

    def restore(self, mean: Mapping[str, Any], chosen: Chosen, public: Public) -> Parameters:
        """The mean on S as it is: scaled, what travels later would count twice."""
        return self.rule.scattered(mean, chosen, public)

    def residual_of(self, who: int) -> Residual | None:
        """What the client remembers, once its latest round is known to be over."""
        return self._residuals.get(who)

    def _settle(self, public: Public) -> None:
        """Each client learns how its latest round ended."""
        over = [who for who, pending in self._pending.items() if pending.round < public.round]
        for who in over:
            pending = self._pending.pop(who)
            if public.latest is None or public.latest.round != pending.round:
                continue
            sent = pending.sent if who in public.latest.survivors else np.zeros_like(pending.sent)
            self._residuals[who] = Residual.left(pending.whole, pending.chosen, sent, pending.layout, pending.round)
