"""One holder of a part of a key behind the codec: frames of the server in, signed frames for it out."""

from __future__ import annotations

from protocols.ckks import holder as roles
from protocols.ckks.epoch import largest_question
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.messages import EncryptedSum, Probe
from protocols.endpoint.images import HOLDER_STATES, TO_HOLDERS
from protocols.endpoint.opener import LABEL_ROOT as LABEL_ROOT
from protocols.endpoint.opener import Opener, Part
from protocols.errors import Misused, PolicyConflict
from protocols.verifying import Verifier


class Holder(Opener[HolderPolicy]):
    """One of those who must open together.

    Raises: Misused where the policy does not pin this holder itself; PolicyConflict where it pins the server.
    """

    part = Part(
        role=roles.holder,
        states=HOLDER_STATES,
        uninvited=roles.Uninvited,
        holding=roles.Holding,
        told=TO_HOLDERS,
        question=EncryptedSum,
        openings=frozenset({EncryptedSum, Probe}),
        largest_question=lambda state: largest_question(state.certificate.epoch.plan),
    )

    def _owned(self, verifier: Verifier) -> roles.Own:
        if self.public not in self.policy.holders:
            raise Misused("this identity is not among those the policy pins, and a holder pins at least its own key")
        if self.server_key in self.policy.holders:
            raise PolicyConflict("the server is pinned as a holder, and it adds up what holders open: take it out")
        return roles.Own(self.public, self.policy, self._identity.sign, verifier)
