"""One member of a committee behind the codec: frames of the server in, signed frames for it out."""

from __future__ import annotations

from protocols.endpoint.images import MEMBER_STATES, TO_MEMBERS
from protocols.endpoint.opener import Opener, Part
from protocols.errors import Misused, PolicyConflict
from protocols.oneshot import member as roles
from protocols.oneshot.member import MemberPolicy
from protocols.oneshot.messages import Included
from protocols.verifying import Verifier


class Member(Opener[MemberPolicy]):
    """One of the committee that opens the sums of one-shot rounds.

    Raises: Misused where the policy does not pin this member itself; PolicyConflict where it pins the server.
    """

    part = Part(
        role=roles.member,
        states=MEMBER_STATES,
        uninvited=roles.Uninvited,
        holding=roles.Serving,
        told=TO_MEMBERS,
        question=Included,
        openings=frozenset({Included}),
        largest_question=lambda state: state.largest_question,
    )

    def _owned(self, verifier: Verifier) -> roles.Own:
        if self.public not in self.policy.members:
            raise Misused("this identity is not among those the policy pins, and a member pins at least its own key")
        if self.server_key in self.policy.members:
            raise PolicyConflict("the server is pinned as a member, and it adds up what members open: take it out")
        return roles.Own(self.public, self.policy, self._identity.sign, verifier)
