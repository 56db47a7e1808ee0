"""Optimisation against sums of gradients: what DLG reads out of bare sums, and out of sums with noise.

    attack      random pictures x'; L-BFGS on |sum_c clip(grad(x'_c)) - what the server saw|^2; labels known
    network     a small convolutional one with sigmoids, weights uniform within +-0.5, as in the paper
    ours, peer  best PSNR in dB over the clients, with the noise of a private round and without any

`dp.audit.invert` divides instead, which needs a dense first layer and takes no time; its seconds are the last row.
Source: Zhu, Liu, Han, NeurIPS 2019 (the attack); Zhao, Mopuri, Bilen, 2020 (labels follow from the gradient).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.rows import Effort, Row, Taken, cpu_seconds, timed
from dp.audit import Pictures, glyphs, invert
from dp.audit.inversion import COHORTS, match
from dp.audit.inverted import RECOVERED_DB
from dp.entropy import Entropy
from protocols.errors import MissingExtra

SEED = 0
CLIENTS = (1, 4, 16)
NOISE_MULTIPLIER = 1.0
STALLED = 0.999
ITERATIONS, ITERATIONS_OF_SMOKE = 60, 2
MOST_SECONDS_OF_TABLE = 5.0


@dataclass(frozen=True, slots=True)
class Read:
    """What one attack found, and what it took: best PSNR in dB, clients above RECOVERED_DB, seconds."""

    best: float
    recovered: int
    seconds: float


def rows(effort: Effort) -> Iterator[Row]:
    """One row for each cohort, and one for the table of the analytic attack.

    Raises: MissingExtra without torch.
    """
    iterations = ITERATIONS if effort.repeats > 1 else ITERATIONS_OF_SMOKE
    alone: Read | None = None
    for clients in CLIENTS:
        bare = dlg(glyphs(clients, SEED), 0.0, iterations)
        noisy = dlg(glyphs(clients, SEED), NOISE_MULTIPLIER, iterations)
        alone = alone or bare
        yield Row(
            suite="inversion",
            case=f"DLG, {clients} client{'s' * (clients > 1)}",
            unit="dB",
            ours=Taken.once(noisy.best),
            peer_name="bare sum",
            peer=Taken.once(bare.best),
            limit=RECOVERED_DB,
            judged="ours",
            note=f"best PSNR; recovered {noisy.recovered} of {clients} at noise multiplier 1, {bare.recovered} without",
        )
    if alone is not None:
        taken = [timed(table)() for _ in range(1 + effort.repeats)][1:]
        yield Row(
            suite="inversion",
            case="the whole table by division",
            unit="s",
            ours=Taken.of(taken),
            peer_name="DLG, 1 client",
            peer=Taken.once(alone.seconds),
            limit=MOST_SECONDS_OF_TABLE,
            judged="ours",
            note="CPU seconds",
        )


def table() -> None:
    """What `secagg audit invert` computes, without its rounds."""
    with Entropy.system(b"benchmarks", b"inversion") as noise:
        invert(glyphs(COHORTS[-1], SEED), noise, SEED)


def dlg(pictures: Pictures, noise_multiplier: float, iterations: int) -> Read:
    """Attack the sum of these clients' clipped gradients.  Raises: MissingExtra without torch."""
    torch = _torch()
    generator = torch.Generator().manual_seed(SEED)
    model = _network(torch, pictures.classes, generator)
    wanted, labels = torch.tensor(pictures.pixels[:, None].copy()), torch.tensor(pictures.labels.copy())
    seen = _sum(torch, model, wanted, labels)
    seen = seen + noise_multiplier * torch.randn(seen.shape, generator=generator, dtype=torch.float64)
    guess = torch.rand(wanted.shape, generator=generator, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.LBFGS([guess])

    def distance() -> Any:
        optimiser.zero_grad()
        apart = ((_sum(torch, model, guess, labels) - seen) ** 2).sum()
        apart.backward()
        return apart

    started = cpu_seconds()
    last = math.inf
    for _ in range(iterations):
        apart = float(optimiser.step(distance).detach())
        # Against noise there is nothing to find, and nothing more to be gained.
        if not apart < STALLED * last:
            break
        last = apart
    seconds = cpu_seconds() - started
    # A guess that ran away is no picture.
    guessed = guess.detach().nan_to_num(0.0).clamp(0, 1).numpy().reshape(len(pictures), -1)
    found = match(guessed, pictures.pixels)
    return Read(float(found.psnr.max()), found.recovered, seconds)


def _network(torch: Any, classes: int, generator: Any) -> Any:
    """1 -> 12 -> 12 -> 12 channels of 5 x 5, strides 2, 2, 1, sigmoids, one dense layer; 28 x 28 pixels in."""
    layers, channels = [], 1
    for stride in (2, 2, 1):
        layers += [torch.nn.Conv2d(channels, 12, 5, stride, padding=2), torch.nn.Sigmoid()]
        channels = 12
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(12 * 7 * 7, classes)).double()
    for weights in model.parameters():
        torch.nn.init.uniform_(weights, -0.5, 0.5, generator=generator)
        weights.requires_grad_(False)
    return model


def _sum(torch: Any, model: Any, pictures: Any, labels: Any) -> Any:
    """The sum of every picture's own gradient, each clipped to norm 1; differentiable in the pictures."""
    weights = dict(model.named_parameters())

    def loss(weights: Any, picture: Any, label: Any) -> Any:
        logits = torch.func.functional_call(model, weights, (picture[None],))
        return torch.nn.functional.cross_entropy(logits, label[None])

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, pictures, labels)
    flat = torch.cat([part.reshape(len(pictures), -1) for part in gradients.values()], dim=1)
    return (flat * torch.clamp(1 / flat.norm(dim=1, keepdim=True), max=1)).sum(dim=0)


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingExtra("torch") from error
