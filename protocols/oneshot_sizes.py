"""How many bytes a one-shot round moves for one client and for one member of its committee: as `sizes`, exactly.

    client      OpenOneShot -> Concealed    Result
    member      Included -> Summed          for the one set of clients that it is asked about

What convenes the committee is left out: that is once for many rounds, and clients take no part in it. The shape is
that of a round in which every one of n clients speaks in time, and every member reads every share: a lost client only
makes the members' question shorter, a complaint takes the place of the longer answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols import messages
from protocols.endpoint.convener import USUAL_ROUNDS
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Certificate, Concealed, Contribution, Enlisted, Included, OpenOneShot, Summed
from protocols.oneshot.shape import Shape
from protocols.party import PartyId
from protocols.plan import NOTHING, Agreement, RoundPlan
from protocols.sizes import NO_CONTEXT, SIGNATURE, RoundSizes, series, single
from secagg.quorum import Quorum


@dataclass(frozen=True, slots=True)
class OneShotSizes:
    """The frames of one client of a one-shot round, and those of one member of its committee."""

    client: RoundSizes
    member: RoundSizes


def oneshot_sizes(agreement: Agreement, quorum: Quorum, clients: int) -> OneShotSizes:
    """The letters of a one-shot round of which `clients` uploads arrive, under such a committee.

    Raises: BadPlan when no mask carries such a round.
    """
    epoch, shape = epoch_of(agreement.plan, quorum), Shape.of(agreement)
    certificate = Certificate(epoch, (Enlisted(NOTHING, SIGNATURE),) * quorum.members)
    box = bytes(epoch.box_bytes)

    def upload(size: int) -> Concealed:
        return Concealed(bytes(size), NOTHING, SIGNATURE, (box,) * quorum.members)

    def question(count: int) -> Included:
        said = (Contribution(PartyId(who), NOTHING, SIGNATURE, box) for who in range(count))
        return Included(NO_CONTEXT, NO_CONTEXT, tuple(said))

    invited, published = single(OpenOneShot(agreement, certificate)), single(messages.Result(NO_CONTEXT, NOTHING))
    answer = single(Summed(NO_CONTEXT, NOTHING, bytes(epoch.share_bytes)))
    return OneShotSizes(
        client=RoundSizes(sent=(series(upload, shape.mask.packed_bytes),), received=(invited, published)),
        member=RoundSizes(sent=(answer,), received=(series(question, clients),)),
    )


def epoch_of(plan: RoundPlan, quorum: Quorum) -> Epoch:
    """One committee for rounds of this plan; whose it is does not matter here."""
    members = tuple(place.to_bytes(32, "little") for place in range(quorum.members))
    return Epoch(
        task=plan.task,
        number=0,
        members=members,
        corrupted=quorum.corrupted,
        offline=quorum.offline,
        min_cohort=plan.min_cohort,
        clients=plan.max_clients,
        rounds=USUAL_ROUNDS,
    )
