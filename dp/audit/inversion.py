"""Gradient inversion as pictures: what a server reads out of the sum of its clients' gradients.

    clients' pictures --network--> gradients, clipped --summed (+ noise)--> candidates dW_i / db_i --> best match

One client, one picture, one step of gradient descent (FedSGD). The outcome is a table of cohort sizes against noise
multipliers, and pictures that belong to it. It demonstrates and bounds nothing: a bare sum is not differentially
private, and what this attack does not find another may.

Noise is that of production: the exact law on a lattice 2^40 times finer than the clip, from the entropy in the
arguments. Pictures and network come from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dp.accountant import Relation, Unit
from dp.audit.finding import Check, Correction, Finding
from dp.audit.glyphs import Pictures
from dp.audit.inverted import MOST_DB, RECOVERED_DB, Inversion, InversionRow, Panel
from dp.audit.network import Network
from dp.clip import clip_l2
from dp.entropy import Entropy
from dp.errors import BadParameters
from dp.events import GaussianEvent
from dp.gaussian import GaussianAccountant
from dp.noise import GaussianLaw

Floats = NDArray[np.float64]

COHORTS = (1, 5, 10, 20, 50)
MULTIPLIERS = (Fraction(0), Fraction(1, 1000), Fraction(1, 100), Fraction(1, 10), Fraction(1))
DELTA = Fraction(1, 10**5)
# From here on nobody was ever recovered, in any cohort, from any seed that was tried.
ENOUGH_NOISE = Fraction(1, 10)
CLIP = Fraction(1)
SHOWN = 5
MOST_CELLS = 256
_STEPS = 1 << 40  # of the lattice in one clip: below what a double says of a pixel
_MOST_MULTIPLIER = 1000  # keeps noise of 2^40 steps within int64


@dataclass(frozen=True, slots=True)
class Matches:
    """For every client the candidate that is nearest to its picture, and its PSNR in dB.

    Generous to the attacker, who would have to choose among the candidates without the originals.
    Shapes: pixels (n, side, side), psnr (n,).
    """

    pixels: Floats = field(repr=False)
    psnr: Floats = field(repr=False)

    @property
    def recovered(self) -> int:
        """How many are above RECOVERED_DB."""
        return int((self.psnr > RECOVERED_DB).sum())


def match(candidates: Floats, originals: Floats) -> Matches:
    """The nearest candidate of every original; black where there is none.

    Shapes: candidates (m, side * side), originals (n, side, side).
    """
    flat = originals.reshape(len(originals), -1)
    choices = candidates if len(candidates) else np.zeros((1, flat.shape[1]))
    # |c|^2 - 2 c.x orders the candidates; too coarse for the distance itself, which is taken anew.
    nearest = ((choices**2).sum(axis=1) - 2 * flat @ choices.T).argmin(axis=1)
    return Matches(choices[nearest].reshape(originals.shape), psnr(choices[nearest], flat))


def psnr(found: Floats, wanted: Floats) -> Floats:
    """-10 log10 of the mean square error, at most MOST_DB; shapes (n, pixels) in, (n,) out, pixels in [0, 1]."""
    errors = ((found - wanted) ** 2).mean(axis=1)
    return np.asarray(-10 * np.log10(np.clip(errors, 10 ** (-MOST_DB / 10), 1)))


def clipped_gradients(network: Network, pictures: Pictures) -> Iterator[Floats]:
    """What each client would send: the gradient at its own picture, of L2 norm at most CLIP; one at a time."""
    for here in range(len(pictures)):
        [gradient] = network.gradients(pictures.only(here))
        yield clip_l2(gradient, CLIP).vector


def invert(
    pictures: Pictures,
    noise: Entropy,
    seed: int,
    cohorts: Sequence[int] = COHORTS,
    multipliers: Sequence[Fraction] = MULTIPLIERS,
) -> Inversion:
    """The table over all cohorts and multipliers; a cohort of n are the first n pictures.

    Raises: BadParameters for cohorts that do not rise or need more pictures than there are, multipliers that do not
        rise or lie outside 0..1000, or a negative seed; EntropyUnavailable.
    """
    _require_grid(len(pictures), cohorts, multipliers)
    network = Network.fresh(pictures.pixels[0].size, pictures.classes, seed)
    shown = min(SHOWN, next((clients for clients in cohorts if clients > 1), 1))
    sums, alone = _sums(network, pictures, cohorts, shown)
    cells = {
        (clients, z): match(network.candidates(_released(total, z, noise)), pictures.pixels[:clients])
        for clients, total in sums.items()
        for z in multipliers
    }
    flat = pictures.pixels.reshape(len(pictures), -1)
    return Inversion(
        source=pictures.source,
        seed=seed,
        delta=DELTA,
        baseline=float(np.median(psnr(np.broadcast_to(flat.mean(axis=0), flat.shape), flat))),
        rows=tuple(_row(clients, z, found) for (clients, z), found in cells.items()),
        pictures=(
            Panel("the clients' own pictures", pictures.pixels[:shown], ()),
            _panel("read from each client's gradient by itself", alone, shown),
            *(_panel(_title(*cell), cells[cell], shown) for cell in _worth_showing(cohorts, multipliers, shown)),
        ),
    )


def finding_of(inversion: Inversion, more: tuple[Check, ...] = ()) -> Finding:
    """The audit's finding: the attack works where it must, and finds nobody under noise of ENOUGH_NOISE or more.

    No epsilon is claimed and none is bounded. The checks guard the demonstration: the first fails when the attack has
    become blind, the others when noise is missing; `more` are those of other sums, such as real rounds.
    """
    checks = [
        Check(f"the attack works: {_title(1, row.noise_multiplier)}, best PSNR in dB", row.recovered > 0, row.best)
        for row in inversion.rows
        if row.clients == 1 and row.noise_multiplier == 0
    ]
    for z in sorted({row.noise_multiplier for row in inversion.rows if row.noise_multiplier >= ENOUGH_NOISE}):
        found = sum(row.recovered for row in inversion.rows if row.noise_multiplier == z)
        name = f"noise stops the attack: all cohorts, noise multiplier {float(z):g}, clients recovered"
        checks.append(Check(name, found == 0, found))
    return Finding(
        audit="invert",
        subject=f"gradients of {inversion.source}, one picture each",
        claim=None,
        delta=Fraction(0),
        lower_bound=None,
        # A finding has one; of a bound that is not there it says nothing.
        confidence=0.5,
        trials=sum(row.clients for row in inversion.rows),
        hypotheses=1,
        correction=Correction.NONE,
        seed=inversion.seed,
        checks=(*checks, *more),
    )


def _sums(
    network: Network, pictures: Pictures, cohorts: Sequence[int], shown: int
) -> tuple[Mapping[int, NDArray[np.int64]], Matches]:
    """The sum of every cohort in lattice steps, and what each of the first clients' gradients shows by itself."""
    sums: dict[int, NDArray[np.int64]] = {}
    alone: list[Matches] = []
    total = np.zeros(network.length, dtype=np.int64)
    for clients, gradient in enumerate(clipped_gradients(network, pictures.first(cohorts[-1])), start=1):
        if clients <= shown:
            alone.append(match(network.candidates(gradient), pictures.pixels[clients - 1 : clients]))
        total += np.rint(gradient * (_STEPS / float(CLIP))).astype(np.int64)
        if clients in cohorts:
            sums[clients] = total.copy()
    pixels, found = (np.concatenate([getattr(one, name) for one in alone]) for name in ("pixels", "psnr"))
    return sums, Matches(pixels, found)


def _released(total: NDArray[np.int64], multiplier: Fraction, noise: Entropy) -> Floats:
    """The sum as the server sees it, in units of the gradient."""
    seen = total.copy()
    if multiplier:
        GaussianLaw((multiplier * _STEPS) ** 2).add_into(seen, noise)
    return np.asarray(seen * (float(CLIP) / _STEPS), dtype=np.float64)


def _row(clients: int, multiplier: Fraction, found: Matches) -> InversionRow:
    best, median = float(found.psnr.max()), float(np.median(found.psnr))
    return InversionRow(clients, multiplier, _epsilon(multiplier), found.recovered, best, median)


def _epsilon(multiplier: Fraction) -> float | None:
    if not multiplier:
        return None
    accountant = GaussianAccountant(Unit(Relation.ZERO_OUT))
    accountant.compose(GaussianEvent.for_multiplier(multiplier))
    return accountant.epsilon(DELTA)


def _worth_showing(
    cohorts: Sequence[int], multipliers: Sequence[Fraction], shown: int
) -> Iterator[tuple[int, Fraction]]:
    """Bare sums of every cohort that has all clients shown; then the smallest of them, with noise."""
    large_enough = [clients for clients in cohorts if clients >= shown]
    if multipliers[0] == 0:
        yield from ((clients, multipliers[0]) for clients in large_enough if clients > 1)
    yield from ((large_enough[0], z) for z in multipliers if z)


def _title(clients: int, multiplier: Fraction) -> str:
    who = "1 client" if clients == 1 else f"sum of {clients} clients"
    return f"{who}, no noise" if not multiplier else f"{who}, noise multiplier {float(multiplier):g}"


def _panel(title: str, found: Matches, shown: int) -> Panel:
    return Panel(title, found.pixels[:shown], tuple(map(float, found.psnr[:shown])))


def _require_grid(pictures: int, cohorts: Sequence[int], multipliers: Sequence[Fraction]) -> None:
    if not cohorts or list(cohorts) != sorted(set(cohorts)) or cohorts[0] < 1 or cohorts[-1] > pictures:
        raise BadParameters(f"cohorts must rise from at least 1 to at most {pictures} clients, got {list(cohorts)[:8]}")
    rising = list(multipliers) == sorted(set(multipliers))
    if not multipliers or not rising or multipliers[0] < 0 or multipliers[-1] > _MOST_MULTIPLIER:
        raise BadParameters(
            f"noise multipliers must rise within 0..{_MOST_MULTIPLIER}, got {[float(z) for z in multipliers[:8]]}"
        )
    if len(cohorts) * len(multipliers) > MOST_CELLS:
        raise BadParameters(f"{len(cohorts)} cohorts with {len(multipliers)} multipliers: at most {MOST_CELLS} cells")
