"""The server that convenes a committee, behind the codec: frames of members in; a certificate out.

    convener = Convener(members, identity)
    send(convener.open(plan, number))
    send(convener.receive(data)) / deadline(room)      until convener.done;  then Task(..., certificate=...)

Nothing of it needs to survive a crash: a committee that did not come together is convened again, under the next number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.codec import Frame
from protocols.endpoint.certifier import Certifier
from protocols.endpoint.images import TO_CONVENERS, Topic
from protocols.errors import Misused
from protocols.oneshot import convener
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Certificate
from protocols.party import APP, Failed, Party, PartyId
from protocols.plan import ONE_SHOT, RoundPlan
from secagg.keys import Identity, verify
from secagg.quorum import Quorum

# A committee serves so many rounds, and members remember as many.
USUAL_ROUNDS = 1000


def require_convenable(plan: object, number: object, rounds: object) -> None:
    """Raises: Misused for what is no plan of one-shot rounds, or no counter."""
    if not isinstance(plan, RoundPlan) or plan.protocol != ONE_SHOT:
        raise Misused(f"a committee is convened for rounds of a plan with protocol={ONE_SHOT!r}")
    for name, value, least, most in (("number", number, 0, 64), ("rounds", rounds, 1, 32)):
        if type(value) is not int or not least <= value < 1 << most:
            raise Misused(f"{name} is {value!r}, it must be an integer in {least}..2^{most} - 1")


class Convener(Certifier[Certificate]):
    """One committee after the other, of members of these identities.

    Guarantee: a certificate that every member signed, or TooFewMembers naming who is missing.
    """

    told = TO_CONVENERS

    def __init__(self, members: Mapping[PartyId, bytes], identity: Identity, patience_seconds: int = 60) -> None:
        idle = Party(convener.convener, convener.Idle(convener.Known(verify)))
        super().__init__(members, identity, patience_seconds, idle)

    @property
    def done(self) -> bool:
        """Whether the ceremony is over; `certificate` is that of the committee unless it failed."""
        return isinstance(self._party.state, convener.Certified | Failed)

    def open(
        self, plan: RoundPlan, number: int, quorum: Quorum | None = None, rounds: int = USUAL_ROUNDS
    ) -> list[Frame]:
        """Convene all registered members for rounds of this plan; the invitations.

        `number` counts the committees of a task upwards: members refuse one that is not above the last. `quorum` is
        the usual one of so many members where none is given.
        Raises: BadPlan for members of one identity; NoParameters when no quorum of so few is safe; Misused for a plan
            of another protocol, a quorum of another number of members, or what counts nothing.
        """
        parties = tuple(sorted(self.holders))
        require_convenable(plan, number, rounds)
        chosen = Quorum.usual(len(parties)) if quorum is None else quorum
        if not isinstance(chosen, Quorum) or chosen.members != len(parties):
            raise Misused(f"{len(parties)} members are registered here, and the quorum given is {chosen!r}")
        identities = tuple(self.holders[who] for who in parties)
        epoch = Epoch(
            plan.task, number, identities, chosen.corrupted, chosen.offline, plan.min_cohort, plan.max_clients, rounds
        )
        party = Party(convener.convener, convener.Idle(convener.Known(verify)))
        envelopes = party.receive(APP, convener.Convoke(epoch, parties, self.patience_seconds))
        return self._convened(Topic.of_key(epoch), party, envelopes)

    def _take(self, note: Any) -> None:
        # Beside who is excluded and who is waited for, the role says this one thing.
        self._certify(note.certificate)
