"""How long the letters of a round may be: what is longer is refused before any of it is kept."""

from __future__ import annotations

from protocols.ckks.epoch import partial_width
from protocols.ckks.messages import Ciphertext, Partial
from protocols.ckks.seeded_messages import SeededCiphertext
from protocols.ckks.single_messages import Decrypted, sums_bytes
from protocols.coding import coding_of
from protocols.messages import SHARE_BYTES, Masked
from protocols.oneshot.epoch import Epoch as CommitteeEpoch
from protocols.oneshot.messages import Concealed, Summed
from protocols.oneshot.shape import Shape
from protocols.plan import Agreement, RoundPlan
from secagg.ckks.binding import HASH_BYTES
from secagg.ckks.plan import CkksPlan, Mode
from secagg.negacyclic import N

# Everything else that is said to a server is short, but for what grows with the number of clients.
VECTORS = (Masked, Ciphertext, Partial, Decrypted, SeededCiphertext, Concealed, Summed)
# Read before its sender is known: keys, commitment, signature and credential.
LARGEST_ADVERTISE = 512
# A share of one seed of removable noise, and its tag.
LINK_BYTES = SHARE_BYTES + 32


def largest_frame(agreement: Agreement, opened_by: CkksPlan | CommitteeEpoch | None) -> int:
    """Bytes that no letter to the server of this round exceeds.

    `opened_by` is the plan of its key, or the committee that opens its sum, None where the clients themselves do.
    """
    match opened_by:
        case None:
            vector = largest_masked(agreement)
        case CommitteeEpoch():
            vector = largest_concealed(agreement, opened_by)
        case CkksPlan():
            vector = largest_encrypted(opened_by)
    return largest_control(agreement.plan) + vector


def largest_concealed(agreement: Agreement, epoch: CommitteeEpoch) -> int:
    """Bytes of a vector under a one-shot mask and of the sealed shares of its key."""
    return Shape.of(agreement).mask.packed_bytes + len(epoch.members) * (epoch.box_bytes + 16)


def largest_masked(agreement: Agreement) -> int:
    """Bytes of a masked vector."""
    coding = coding_of(agreement)
    return coding.ring.packed_bytes(coding.length)


def largest_encrypted(plan: CkksPlan) -> int:
    """Bytes of an upload under this key, or of an answer that opens its sum, whichever is longer."""
    residues = plan.blocks * N
    match plan.keys.mode:
        case Mode.THRESHOLD:
            return residues * max(plan.width0 + plan.width1, partial_width(plan)) + HASH_BYTES
        case Mode.SINGLE:
            return max(residues * (plan.width0 + plan.width1), sums_bytes(plan))
        case Mode.SEEDED:
            return residues * plan.width0


def largest_control(plan: RoundPlan) -> int:
    """No letter of a client but its vector is longer: shares and ids for every other client."""
    return (256 + LINK_BYTES * plan.links) * plan.max_clients + 1024
