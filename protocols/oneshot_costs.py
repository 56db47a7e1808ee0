"""How long a one-shot round keeps a client and the server busy: an estimate from steps counted and steps timed.

As `costs`, and with what `costs` counts and times: signatures, digests, rounding. Beside these come steps on masks,
timed on a part of the vector at hand and on a committee of the size at hand.

    client      it checks the certificate, masks, and deals its key to C members
    server      every upload arrives, the dearest case for it; so many members answer as it takes

What a member does is not estimated: see `secagg simulate --protocol oneshot`. Nor is what convenes the committee, which
costs everybody one signature.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from protocols.costs import NO_STEPS, Priced, Steps, best_of
from protocols.oneshot.client import bound_to
from protocols.oneshot_sizes import OneShotSizes
from protocols.sizes import NO_CONTEXT
from secagg.keys import Seed
from secagg.negacyclic import N
from secagg.prg import Stream
from secagg.quorum import Quorum
from secagg.ring import Ring
from secagg.rlwe import KahePlan, check_opens, conceal, draw_secret, reveal
from secagg.shamir import combine_packed, deal_packed

# Sums of long vectors do not stay in a core's cache, and neither does this.
SAMPLE_BLOCKS = 256


@dataclass(frozen=True, slots=True)
class MaskSteps(Priced):
    """One number per kind of step on masks: how often a party takes it, or how many seconds it takes.

    deal      a mask key drawn and shared among all members
    rebuild   the key of a sum interpolated, and tried on one polynomial

    Of one polynomial:

    bind      its values hashed into the key               add       an upload's read and added
    conceal   its values masked                            reveal    the sum's, its mask taken off
    pack      written to the wire's bits
    """

    deal: float
    rebuild: float
    bind: float
    conceal: float
    pack: float
    add: float
    reveal: float


@dataclass(frozen=True, slots=True)
class OneShotSteps:
    """What a party does with letters and vectors, and with masks."""

    common: Steps
    masks: MaskSteps

    def seconds(self, each: OneShotSteps) -> float:
        """These counts at so many seconds each."""
        return self.common.seconds(each.common) + self.masks.seconds(each.masks)


@dataclass(frozen=True, slots=True)
class OneShotRound:
    """What the counts depend on: n clients, d coordinates, their mask, the committee, and the letters."""

    clients: int
    length: int
    mask: KahePlan
    quorum: Quorum
    sizes: OneShotSizes


def masking_client(shape: OneShotRound) -> OneShotSteps:
    """What one client does in a round."""
    members, sizes = shape.quorum.members, shape.sizes.client
    common = replace(
        NO_STEPS,
        # Its own key pair, and a secret with each member.
        agreement=1 + members,
        # The frame, and the word for the box key.
        signature=2,
        verification=len(sizes.received) + members,
        box=members,
        item=2 * members,
        digest=sizes.upload_bytes + sizes.download_bytes,
        encode=shape.length,
    )
    blocks = shape.mask.blocks
    masks = MaskSteps(deal=1, rebuild=0, bind=blocks, conceal=blocks, pack=blocks, add=0, reveal=0)
    return OneShotSteps(common, masks)


def opening_server(shape: OneShotRound) -> OneShotSteps:
    """What the server does in a round in which everybody answers."""
    n, quorum, blocks = shape.clients, shape.quorum, shape.mask.blocks
    client, member = shape.sizes.client, shape.sizes.member
    common = replace(
        NO_STEPS,
        # What clients are told is signed once for all, each member is shown shares of its own.
        signature=len(client.received) + quorum.members,
        verification=2 * n + quorum.needed,
        # Each share is read with the upload, and written into a question.
        item=2 * n * quorum.members,
        # Uploads and answers, questions, and the sum for the result that is published.
        digest=n * client.upload_bytes
        + quorum.members * member.download_bytes
        + quorum.needed * member.upload_bytes
        + shape.length * Ring(shape.mask.bits).word_bits // 8,
    )
    # The key is rebuilt when the last answer arrives that it takes, and once more when the room closes.
    masks = MaskSteps(deal=0, rebuild=2, bind=0, conceal=0, pack=0, add=n * blocks, reveal=blocks)
    return OneShotSteps(common, masks)


def sample_of(mask: KahePlan, blocks: int = SAMPLE_BLOCKS) -> KahePlan:
    """The same mask of so many polynomials at most; its guard may be a bit narrower, which costs the same."""
    return replace(mask, length=min(mask.length, blocks * N * mask.per_coefficient))


@functools.lru_cache(maxsize=16)
def timed_mask_steps(sample: KahePlan, quorum: Quorum) -> MaskSteps:
    """Seconds of each step on this machine, the best of a few tries."""
    blocks, seed = sample.blocks, Seed(bytes(range(32)))
    values = Ring(sample.bits).zeros(sample.length)
    secret = draw_secret(seed)
    masked = conceal(sample, values, secret, seed, NO_CONTEXT)
    packed, total = sample.ring.pack(masked), sample.ring.zeros(sample.coefficients)
    answers = dict(enumerate(deal_packed(secret, quorum, Stream(seed))[: quorum.needed], start=1))

    def bind() -> None:
        # They are put behind each other first, as the vector and its extras are.
        bound_to(seed, NO_CONTEXT, np.concatenate([values, values[:0]]))

    def rebuild() -> None:
        check_opens(sample, masked, combine_packed(answers, quorum, N), NO_CONTEXT, 1)

    return MaskSteps(
        deal=best_of(lambda: deal_packed(draw_secret(seed), quorum, Stream(seed))),
        rebuild=best_of(rebuild),
        bind=best_of(bind) / blocks,
        conceal=best_of(lambda: conceal(sample, values, secret, seed, NO_CONTEXT)) / blocks,
        pack=best_of(lambda: sample.ring.pack(masked)) / blocks,
        add=best_of(lambda: sample.ring.add_packed_into(total, packed)) / blocks,
        reveal=best_of(lambda: reveal(sample, masked, secret, NO_CONTEXT, 1)) / blocks,
    )
