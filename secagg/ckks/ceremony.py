"""A key ceremony's pure mathematics: nobody chooses the key, everybody's deals lie on polynomials of degree t - 1.

    commit    H(epoch, j, nonce, b_j, H(deals))            fixed before anybody sees another's b_j
    reveal    nonce, b_j, H(deals)                         each against its commitment; transcript = H(all reveals)
    check     gamma from the transcript;  y_i = sum_j (<gamma, f_j(i)> + mu_j(i))        all on one polynomial
    probe     a public pattern encrypted with coins from the transcript, opened by sets that cover all holders

Without the commitment the last holder would take b_C = target - sum of the others and own the key. Without the check
two sets of holders could open one sum to two results. The probe finds who dealt another secret than b_j's, which no
check of degrees sees. Who says what to whom, and what a failure costs, is decided in `protocols`.

Source: Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, PoPETs 2021 (the key); Bellare, Garay, Rabin, PODC 1996 (many
sharings checked by one random combination).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from secagg.ckks.cipher import RESIDUAL_MARGIN, Fft, PublicKey, Upload, encrypt, largest_value, open_exact
from secagg.ckks.plan import MOST_HOLDERS, CkksPlan
from secagg.ckks.sample import uniform_mod_q
from secagg.ckks.share import WORD, Dealt, fits_degree, inner
from secagg.errors import BadParameters, BadShare
from secagg.keys import CONTEXT_BYTES, HASH_BYTES, SEED_BYTES, Seed, derive
from secagg.negacyclic import PRIME, Integers, N, Residues
from secagg.prg import Stream

LABEL_COMMIT = b"secagg/v1/ckks/commit"
LABEL_REVEALS = b"secagg/v1/ckks/reveals"
LABEL_CHALLENGE = b"secagg/v1/ckks/challenge"
LABEL_PATTERN = b"secagg/v1/ckks/pattern"
LABEL_PROBE = b"secagg/v1/ckks/probe"


@dataclass(frozen=True, slots=True, eq=False)
class Reveal:
    """What dealer j committed to: b_j, and the digest of all boxes it dealt, in the order of holders.

    Raises: BadParameters for anything of another shape.
    """

    dealer: int
    nonce: bytes
    public_share: Residues
    deals: bytes

    def __post_init__(self) -> None:
        if type(self.dealer) is not int or not 1 <= self.dealer <= MOST_HOLDERS:
            raise BadParameters(f"a dealer is one of 1 to {MOST_HOLDERS}, not {self.dealer!r}")
        if len(self.nonce) != SEED_BYTES or len(self.deals) != HASH_BYTES:
            raise BadParameters(f"dealer {self.dealer} reveals a nonce or a digest of another length")
        share = self.public_share
        if share.dtype != np.uint64 or share.shape != (N,) or int(share.max()) >= PRIME:
            raise BadParameters(f"dealer {self.dealer} reveals no {N} residues")


def commitment_of(context: bytes, reveal: Reveal) -> bytes:
    """SHA-256 over the epoch and all that is revealed, every field of one length.

    Guarantee: binding by collision resistance; hiding while the nonce's 32 bytes are secret.
    Raises: BadParameters for a context of another length.
    """
    if len(context) != CONTEXT_BYTES:
        raise BadParameters(f"a context is {CONTEXT_BYTES} bytes, not {len(context)}")
    digest = hashlib.sha256(LABEL_COMMIT + context + bytes([reveal.dealer]) + reveal.nonce + reveal.deals)
    digest.update(reveal.public_share.astype(WORD).tobytes())
    return digest.digest()


def check_commitment(context: bytes, reveal: Reveal, committed: bytes) -> None:
    """Whether a reveal is what was committed to.  Raises: BadShare."""
    if not hmac.compare_digest(commitment_of(context, reveal), committed):
        raise BadShare(f"dealer {reveal.dealer} reveals another share of the key than it committed to")


def transcript_of(context: bytes, reveals: Iterable[Reveal]) -> bytes:
    """H(all reveals): 32 public bytes that nobody chose, the same for every order of arrival.

    Raises: BadParameters unless the dealers are 1, ..., C.
    """
    ordered = sorted(reveals, key=lambda reveal: reveal.dealer)
    if not ordered or [reveal.dealer for reveal in ordered] != list(range(1, len(ordered) + 1)):
        raise BadParameters("a transcript is of one reveal by every dealer")
    commitments = [commitment_of(context, reveal) for reveal in ordered]
    return hashlib.sha256(LABEL_REVEALS + context + b"".join(commitments)).digest()


def challenge(context: bytes, transcript: bytes) -> Residues:
    """gamma: N uniform residues, known to nobody before all deals were fixed."""
    return uniform_mod_q(Stream(derive(Seed(transcript), LABEL_CHALLENGE, context)), N)


def summand(gamma: Residues, dealt: Dealt) -> int:
    """<gamma, f_j(i)> + mu_j(i) mod q.

    Guarantee: all C of them say nothing about s_j: the random mu_j(0) hides <gamma, s_j>.
    """
    return (inner(gamma, dealt.share.residues) + int(dealt.mask.residues[0])) % PRIME


def false_dealers(summands: Mapping[int, Mapping[int, int]], threshold: int) -> tuple[int, ...]:
    """Dealers whose summands, by holder and dealer, lie on no polynomial of degree t - 1.

    When the y_i do not fit and every holder's summands add up to its y_i, at least one dealer is named. Whether all
    y_i fit is `share.check_degree`: a sum of deals on no polynomial of degree t - 1 fits with probability 1/q. A holder
    that lies about one summand gets an honest dealer named: the box that it was sent settles which of the two it is.
    Raises: BadParameters for fewer holders than t, or holders that name other dealers.
    """
    dealers = sorted({dealer for row in summands.values() for dealer in row})
    if any(sorted(row) != dealers for row in summands.values()):
        raise BadParameters("every holder publishes a summand of every dealer")
    columns = {dealer: {holder: row[dealer] for holder, row in summands.items()} for dealer in dealers}
    return tuple(dealer for dealer, column in columns.items() if not fits_degree(column, threshold))


def probe_plan(plan: CkksPlan) -> CkksPlan:
    """The plan with one block: it needs no more guard bits, and is smudged as the whole."""
    return replace(plan, dimension=plan.digits * N)


def pattern(plan: CkksPlan, context: bytes, transcript: bytes) -> Integers:
    """What the probe opens to: values all over the range of one client."""
    bound = largest_value(plan)
    words = Stream(derive(Seed(transcript), LABEL_PATTERN, context)).words(0, probe_plan(plan).dimension)
    return (words % np.uint64(2 * bound + 1)).astype(np.int64) - bound


def probe(plan: CkksPlan, key: PublicKey, context: bytes, transcript: bytes) -> Upload:
    """The pattern under the collective key, with u, e0 and e1 from the transcript: a function of public bytes.

    Guarantee: none, everybody knows its plaintext; and nobody chose it, so that opening it tells a holder's share
        no more than the smudged answer to any honest upload does.
    """
    coins = derive(Seed(transcript), LABEL_PROBE, context)
    return encrypt(probe_plan(plan), key, pattern(plan, context, transcript), coins, context, Fft())


def check_probe(plan: CkksPlan, context: bytes, transcript: bytes, plaintext: Residues) -> None:
    """Whether one set's parts, smudged as in the whole plan, open the probe to its pattern.

    Raises: BadShare when somebody in the set answers garbage, or somebody at all dealt another secret than b_j's.
    """
    opened = open_exact(probe_plan(plan), plaintext)
    narrow = opened.worst_residual <= RESIDUAL_MARGIN * plan.noise.std
    if not (narrow and np.array_equal(opened.values, pattern(plan, context, transcript))):
        raise BadShare("the probe does not open to its pattern: a share does not belong to the collective key")


def covering_sets(holders: int, threshold: int) -> list[tuple[int, ...]]:
    """ceil(C / t) sets of t holders that leave nobody out."""
    starts = [min(start, holders - threshold) for start in range(0, holders, threshold)]
    return [tuple(range(start + 1, start + threshold + 1)) for start in starts]
