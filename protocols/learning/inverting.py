"""Gradient inversion against real rounds: pictures of clients, a secure sum of their gradients, and what it shows.

    clients' pictures --> gradients --> secure_mean: masked, added, opened (+ noise shares) --> dp.audit's attack

The masks hide each client's vector perfectly and change nothing in the sum: what the table of `dp.audit` reads out of
a bare sum, it reads out of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np

from dp.audit import Check, Finding, Inversion, Pictures, glyphs, invert
from dp.audit.imprint import Imprint
from dp.audit.inversion import CLIP, COHORTS, MULTIPLIERS, Matches, clipped_gradients, finding_of, match
from dp.audit.network import Network
from dp.entropy import Entropy
from protocols.errors import MissingExtra, Misused
from protocols.learning.data import digits
from protocols.plan import PAIRWISE, RoundPlan
from protocols.round import secure_mean

# Of the real rounds: the smallest cohort of the table, and one where only a server that chooses weights reads much.
FEW, MANY = 5, 20
NOISE_OF_A_ROUND = Fraction(1)
# Like the clients', and none of them: what a server that chooses weights looks at.
PUBLIC_PICTURES = 500
MEANING = (
    "A sum without noise is not differentially private: secure aggregation hides who sent what, not what was sent.",
    "Noise that stops this attack is no proof of privacy: another attack may succeed, and only epsilon bounds all.",
)
_LABEL = b"secagg/v1/audit/inversion"
_SCALE, _FRAME = 3, 2  # 8 x 8 digits on the 28 x 28 of the glyphs


class Source(StrEnum):
    """Where the pictures come from."""

    DIGITS = "digits"  # handwritten, bundled with scikit-learn
    GLYPHS = "glyphs"  # our own


def pictures_of(source: Source | None, count: int, seed: int) -> Pictures:
    """So many pictures; with no source, digits where scikit-learn is installed and else glyphs: `source` says which.

    Raises: MissingExtra for digits without scikit-learn; Misused for more than it has, or a negative seed.
    """
    if seed < 0:
        raise Misused(f"seed is {seed}, expected a number >= 0")
    if source is Source.GLYPHS:
        return glyphs(count, seed)
    try:
        return _digit_pictures(count, seed)
    except MissingExtra:
        if source is Source.DIGITS:
            raise
        return glyphs(count, seed)


def _digit_pictures(count: int, seed: int) -> Pictures:
    examples = digits()
    if not 1 <= count <= len(examples):
        raise Misused(f"there are {len(examples)} digits and {count} are needed: ask for fewer clients, or for glyphs")
    chosen = examples.take(np.random.default_rng(seed).permutation(len(examples))[:count])
    side = round(chosen.features.shape[1] ** 0.5)
    large = chosen.features.reshape(-1, side, side).repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)
    framed = np.pad(large, ((0, 0), (_FRAME, _FRAME), (_FRAME, _FRAME)))
    return Pictures("scikit-learn digits", framed, chosen.labels, chosen.classes)


class Server(StrEnum):
    """What a server does before it looks at the sum."""

    CURIOUS = "curious"  # nothing: it sends the weights that training begins with
    CHOOSING = "chooses the weights"  # it sends weights that keep pictures apart in the sum


@dataclass(frozen=True, slots=True)
class SecureRound:
    """One real round over clients with one picture each, and what the server reads out of its sum.

    `noise_multiplier` is 0 for the bare sum; `exact` says that the sum is that of the trusted party, bit for bit.
    """

    server: Server
    protocol: str
    noise_multiplier: Fraction
    exact: bool
    found: Matches

    def check(self) -> Check:
        """Passed when the sum is right, and shows pictures where there is no noise and none where there is."""
        noise = f"noise multiplier {float(self.noise_multiplier):g}" if self.noise_multiplier else "no noise"
        round_ = f"a real {self.protocol} round of {len(self.found.psnr)} clients, {noise}, server {self.server}"
        expected = "noise stops the attack" if self.noise_multiplier else "the attack works"
        passed = self.exact and (self.found.recovered == 0) == (self.noise_multiplier > 0)
        return Check(f"{expected}: {round_}, clients recovered", passed, self.found.recovered)

    def to_dict(self) -> dict[str, object]:
        """One line of a result."""
        return {
            "server": self.server.value,
            "protocol": self.protocol,
            "clients": len(self.found.psnr),
            "noise_multiplier": float(self.noise_multiplier),
            "exact": self.exact,
            "recovered": self.found.recovered,
            "best_psnr": float(self.found.psnr.max()),
        }


def server_network(server: Server, public: Pictures, seed: int) -> Network:
    """The weights a server sends; one that chooses them has pictures like the clients', and none of theirs."""
    if server is Server.CHOOSING:
        return Imprint.from_public(public)
    return Network.fresh(public.pixels[0].size, public.classes, seed)


def attack_round(
    pictures: Pictures,
    public: Pictures,
    seed: int,
    server: Server = Server.CURIOUS,
    noise_multiplier: Fraction = Fraction(0),
    protocol: str = PAIRWISE,
) -> SecureRound:
    """One real round, and the attack on its sum: weights as `dp.audit.invert` draws them from this seed, or chosen.

    Raises: BadPlan for fewer than three clients, or noise that no lattice has.
    """
    network = server_network(server, public, seed)
    plan = RoundPlan.recommend(
        len(pictures),
        dropout=0,
        corrupt=0,
        clip=CLIP,
        noise_multiplier=noise_multiplier or None,
        task="gradient inversion",
        protocol=protocol,
    )
    updates = {who: [gradient] for who, gradient in enumerate(clipped_gradients(network, pictures))}
    report = secure_mean(updates, plan, round=0)
    [mean] = report.mean
    found = match(network.candidates(len(pictures) * mean), pictures.pixels)
    return SecureRound(server, protocol, noise_multiplier, report.exact, found)


@dataclass(frozen=True, slots=True)
class InversionAudit:
    """The table over exact sums, the same attack against real rounds, and what both say as a finding."""

    inversion: Inversion
    rounds: tuple[SecureRound, ...]
    finding: Finding

    def to_dict(self) -> dict[str, object]:
        """The result under the names the command prints; nothing is claimed, so nothing is bounded."""
        return {
            "ok": not self.finding.refuted,
            "claimed": None,
            "lower_bound": None,
            "confidence": None,
            "checks": [
                {"name": check.name, "passed": check.passed, "value": check.value} for check in self.finding.checks
            ],
            "reasons": list(MEANING),
            "source": self.inversion.source,
            "seed": self.inversion.seed,
            "delta": float(self.inversion.delta),
            "baseline_psnr": self.inversion.baseline,
            "rows": [
                {
                    "clients": row.clients,
                    "noise_multiplier": float(row.noise_multiplier),
                    "epsilon": row.epsilon,
                    "recovered": row.recovered,
                    "best_psnr": row.best,
                    "median_psnr": row.median,
                }
                for row in self.inversion.rows
            ],
            "rounds": [real.to_dict() for real in self.rounds],
        }


def table_of_sums(
    pictures: Pictures, seed: int, cohorts: Sequence[int] = COHORTS, multipliers: Sequence[Fraction] = MULTIPLIERS
) -> Inversion:
    """What is read out of exact sums of so many of these clients' gradients, with noise of the operating system.

    Raises: as `dp.audit.invert`.
    """
    with Entropy.system(_LABEL, b"") as noise:
        return invert(pictures, noise, seed, cohorts, multipliers)


def audit_inversion(
    source: Source | None,
    seed: int,
    cohorts: Sequence[int] = COHORTS,
    multipliers: Sequence[Fraction] = MULTIPLIERS,
) -> InversionAudit:
    """The table, and real rounds: small and bare; larger, with weights the server chose, bare and with noise.

    Raises: as `dp.audit.invert` and `pictures_of`.
    """
    clients = max([*cohorts, MANY])
    drawn = pictures_of(source, clients + PUBLIC_PICTURES, seed)
    pictures, public = drawn.first(clients), drawn.after(clients)
    inversion = table_of_sums(pictures, seed, cohorts, multipliers)
    rounds = tuple(
        attack_round(pictures.first(count), public, seed, server, z)
        for count, server, z in (
            (FEW, Server.CURIOUS, Fraction(0)),
            (MANY, Server.CHOOSING, Fraction(0)),
            (MANY, Server.CHOOSING, NOISE_OF_A_ROUND),
        )
    )
    return InversionAudit(inversion, rounds, finding_of(inversion, tuple(real.check() for real in rounds)))
