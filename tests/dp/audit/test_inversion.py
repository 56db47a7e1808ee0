"""Pictures out of sums of gradients: the table holds, noise is what stops it, and a better attack needs more of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.audit import Finding, Inversion, InversionRow, Panel, Pictures, glyphs, invert
from dp.audit.imprint import Imprint
from dp.audit.inversion import (
    COHORTS,
    MULTIPLIERS,
    clipped_gradients,
    finding_of,
    match,
    psnr,
)
from dp.audit.inverted import MOST_DB, RECOVERED_DB
from dp.audit.network import HIDDEN, Network
from dp.clip import clip_l2
from dp.entropy import Entropy
from dp.errors import BadParameters
from dp.gaussian import gaussian_epsilon
from dp.noise import GaussianLaw

ZERO = Fraction(0)


def noise(seed: int = 0) -> Entropy:
    return Entropy.insecure(seed, b"test", b"inversion")


def bare_sum(network: Network, pictures: Pictures) -> np.ndarray:
    total: np.ndarray = np.sum(list(clipped_gradients(network, pictures)), axis=0)
    return total


@pytest.fixture(scope="module")
def table() -> Inversion:
    return invert(glyphs(50, 0), noise(), 0)


def cell(table: Inversion, clients: int, multiplier: Fraction) -> InversionRow:
    [row] = [row for row in table.rows if (row.clients, row.noise_multiplier) == (clients, multiplier)]
    return row


# --- the gradient and the division, against formulas that are not ours


@pytest.mark.parametrize("seed", range(3))
def test_a_gradient_is_the_slope_of_the_loss(seed: int) -> None:
    """Central differences of the cross-entropy, written out here once more."""
    pictures = glyphs(2, seed)
    network = Network.fresh(784, 10, seed)
    shapes = [network.first, network.first_bias, network.second, network.second_bias]

    def loss(flat: np.ndarray, here: int) -> float:
        parts, rest = [], flat
        for shape in shapes:
            parts.append(rest[: shape.size].reshape(shape.shape))
            rest = rest[shape.size :]
        w1, b1, w2, b2 = parts
        logits = w2 @ np.maximum(w1 @ pictures.pixels[here].ravel() + b1, 0) + b2
        return float(np.log(np.exp(logits).sum()) - logits[pictures.labels[here]])

    weights = np.concatenate([part.ravel() for part in shapes])
    rng = np.random.default_rng(seed)
    for here, gradient in enumerate(network.gradients(pictures)):
        assert gradient.shape == weights.shape == (network.length,)
        for direction in (rng.standard_normal(weights.size) for _ in range(5)):
            step = 1e-6 * direction / np.linalg.norm(direction)
            slope = (loss(weights + step, here) - loss(weights - step, here)) / 2
            assert slope == pytest.approx(float(gradient @ step), rel=1e-4, abs=1e-11)


def test_every_row_of_one_gradient_holds_the_picture() -> None:
    pictures, network = glyphs(1, 5), Network.fresh(784, 10, 5)
    [gradient] = network.gradients(pictures)
    candidates = network.candidates(gradient)
    assert HIDDEN // 4 < len(candidates) < HIDDEN
    assert np.abs(candidates - pictures.pixels.ravel()).max() < 1e-12


def test_weights_are_uniform_within_the_root_of_the_fan_in() -> None:
    network = Network.fresh(784, 10, 1)
    for weights, fan_in in ((network.first, 784), (network.second, HIDDEN)):
        reach = fan_in**-0.5
        assert np.abs(weights).max() <= reach
        assert weights.std() == pytest.approx(reach / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(("error", "decibels"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0), (1e-9, 180.0), (0.0, MOST_DB)])
def test_psnr_of_known_errors(error: float, decibels: float) -> None:
    wanted = np.zeros((1, 4))
    assert psnr(wanted + error, wanted) == pytest.approx(decibels)


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 1000))
def test_every_client_gets_its_nearest_candidate(clients: int, candidates: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    originals, choices = rng.random((clients, 3, 3)), rng.random((candidates, 9))
    found = match(choices, originals)
    for original, chosen, decibels in zip(originals, found.pixels, found.psnr, strict=True):
        errors = [float(((one - original.ravel()) ** 2).mean()) for one in choices] or [float((original**2).mean())]
        assert float(((chosen - original) ** 2).mean()) == pytest.approx(min(errors))
        assert decibels == pytest.approx(-10 * math.log10(min(errors)))


# --- the table

# Recovered clients and best PSNR in dB, measured once; others may round another way.
MEASURED = {
    (1, "0"): (1, 200),
    (1, "1/1000"): (1, 30),
    (1, "1/100"): (0, 14),
    (5, "0"): (5, 200),
    (5, "1/1000"): (4, 29),
    (5, "1/100"): (0, 14),
    (10, "0"): (9, 200),
    (10, "1/1000"): (4, 29),
    (10, "1/100"): (0, 14),
    (20, "0"): (6, 200),
    (20, "1/1000"): (2, 26),
    (20, "1/100"): (0, 17),
    (50, "1/1000"): (2, 28),
    (50, "1/100"): (0, 17),
}


@pytest.mark.parametrize(("clients", "multiplier"), MEASURED)
def test_the_table_is_as_measured(table: Inversion, clients: int, multiplier: str) -> None:
    recovered, best = MEASURED[clients, multiplier]
    row = cell(table, clients, Fraction(multiplier))
    assert abs(row.recovered - recovered) <= 2
    assert abs(row.best - best) <= 3


def test_the_table_has_every_cell_once_and_in_order(table: Inversion) -> None:
    expected = [(clients, z) for clients in COHORTS for z in MULTIPLIERS]
    assert [(row.clients, row.noise_multiplier) for row in table.rows] == expected


def test_fewer_are_recovered_in_larger_cohorts(table: Inversion) -> None:
    shares = [cell(table, clients, ZERO).recovered / clients for clients in COHORTS]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == shares[1] == 1
    assert shares[-1] < 0.1


def test_the_epsilon_of_a_row_is_that_of_one_gaussian_release(table: Inversion) -> None:
    for row in table.rows:
        if row.noise_multiplier == 0:
            assert row.epsilon is None
        else:
            assert row.epsilon == pytest.approx(gaussian_epsilon(1e-5, float(row.noise_multiplier)), rel=1e-9)


@pytest.mark.slow
def test_over_many_seeds_the_table_keeps_its_shape() -> None:
    counts: dict[tuple[int, Fraction], list[int]] = {}
    for seed in range(20):
        for row in invert(glyphs(50, seed), noise(seed), seed).rows:
            counts.setdefault((row.clients, row.noise_multiplier), []).append(row.recovered)
    means = {at: float(np.mean(found)) for at, found in counts.items()}
    assert min(counts[1, ZERO]) == 1
    assert means[5, ZERO] > 4.5
    assert 5 < means[10, ZERO] < 9
    assert 3 < means[20, ZERO] < 8
    assert means[50, ZERO] < 4
    assert all(not any(found) for (_, z), found in counts.items() if z >= Fraction(1, 100))


def test_panels_show_the_first_clients_in_one_order(table: Inversion) -> None:
    originals, alone, *others = table.pictures
    assert np.array_equal(originals.pixels, glyphs(5, 0).pixels)
    assert originals.psnr == ()
    assert min(alone.psnr) > 150
    assert [panel.title for panel in others] == [
        *(f"sum of {clients} clients, no noise" for clients in (5, 10, 20, 50)),
        *(f"sum of 5 clients, noise multiplier {z}" for z in ("0.001", "0.01", "0.1", "1")),
    ]
    for panel in others:
        again = psnr(panel.pixels.reshape(5, -1), originals.pixels.reshape(5, -1))
        assert panel.psnr == pytest.approx(tuple(again))


def test_a_cell_says_what_its_panel_shows(table: Inversion) -> None:
    [panel] = [panel for panel in table.pictures if panel.title == "sum of 5 clients, no noise"]
    row = cell(table, 5, ZERO)
    assert row.recovered == sum(value > RECOVERED_DB for value in panel.psnr)
    assert (row.best, row.median) == (max(panel.psnr), float(np.median(panel.psnr)))


@pytest.mark.parametrize(
    ("cohorts", "shown", "titles"),
    [
        ((1,), 1, ["1 client, noise multiplier 1"]),
        (
            (2, 7),
            2,
            ["sum of 2 clients, no noise", "sum of 7 clients, no noise", "sum of 2 clients, noise multiplier 1"],
        ),
        ((7,), 5, ["sum of 7 clients, no noise", "sum of 7 clients, noise multiplier 1"]),
    ],
)
def test_small_tables_show_what_they_have(cohorts: tuple[int, ...], shown: int, titles: list[str]) -> None:
    found = invert(glyphs(7, 0), noise(), 0, cohorts, (ZERO, Fraction(1)))
    assert [panel.title for panel in found.pictures[2:]] == titles
    assert {len(panel.pixels) for panel in found.pictures} == {shown}


def test_same_arguments_same_result() -> None:
    one, other = (invert(glyphs(5, 3), noise(7), 3, (1, 5)) for _ in range(2))
    assert (one.rows, one.baseline) == (other.rows, other.baseline)
    for mine, yours in zip(one.pictures, other.pictures, strict=True):
        assert np.array_equal(mine.pixels, yours.pixels)


def test_the_noise_is_of_the_size_that_is_said() -> None:
    """Recomputed from the sum: at multiplier 1 the release is far from it by 1 in every coordinate, on average."""
    from dp.audit import inversion

    total = np.zeros(20_000, dtype=np.int64)
    for multiplier in (Fraction(1), Fraction(1, 100), Fraction(3)):
        seen = inversion._released(total, multiplier, noise())
        assert seen.std() == pytest.approx(float(multiplier), rel=0.03)
    assert not total.any()
    assert not inversion._released(total, ZERO, noise()).any()


# --- what neither the table nor noise against it proves


def test_noise_that_stops_the_division_does_not_stop_a_better_attack() -> None:
    """At 0.003 each division fails, and the best rank-one fit to all of them at once succeeds."""
    divided, fitted = [], []
    for seed in range(6):
        pictures, network = glyphs(1, seed), Network.fresh(784, 10, seed)
        gradient = bare_sum(network, pictures)
        steps = GaussianLaw(Fraction(3 << 30, 1000) ** 2).sample(gradient.size, noise(seed))
        seen = gradient + steps / (1 << 30)
        divided.append(match(network.candidates(seen), pictures.pixels).recovered)
        fitted.append(match(network.strongest(seen), pictures.pixels).recovered)
    assert divided == [0] * 6
    assert fitted == [1] * 6


def test_the_strongest_mixture_of_one_gradient_is_the_picture_and_of_none_nothing() -> None:
    pictures, network = glyphs(1, 2), Network.fresh(784, 10, 2)
    found = match(network.strongest(bare_sum(network, pictures)), pictures.pixels)
    assert found.psnr[0] > 150
    assert len(network.strongest(np.zeros(network.length))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_chooses_the_weights_reads_most_pictures_of_a_large_sum(seed: int) -> None:
    pictures = glyphs(50, seed)
    chosen, usual = Imprint.from_public(glyphs(500, seed + 1000)), Network.fresh(784, 10, seed)
    read = match(chosen.candidates(bare_sum(chosen, pictures)), pictures.pixels).recovered
    assert read >= 20
    assert match(usual.candidates(bare_sum(usual, pictures)), pictures.pixels).recovered <= 5


def test_noise_of_a_private_round_stops_that_server_too() -> None:
    pictures = glyphs(50, 0)
    chosen = Imprint.from_public(glyphs(500, 1000))
    steps = GaussianLaw(Fraction(1 << 20) ** 2).sample(chosen.length, noise())
    seen = bare_sum(chosen, pictures) + steps / (1 << 20)
    assert match(chosen.candidates(seen), pictures.pixels).recovered == 0


def test_chosen_weights_give_a_gap_to_each_picture_between_two_thresholds() -> None:
    """One picture: the only gap is its own, whatever is above or below."""
    chosen = Imprint.from_public(glyphs(500, 1000))
    pictures = glyphs(1, 0)
    candidates = chosen.candidates(bare_sum(chosen, pictures))
    assert len(candidates) == 1
    assert match(candidates, pictures.pixels).psnr[0] > 100


# --- as a finding


def test_the_finding_claims_nothing_bounds_nothing_and_can_be_written_down(table: Inversion) -> None:
    finding = finding_of(table)
    assert (finding.claim, finding.lower_bound, finding.refuted, finding.seed) == (None, None, False, 0)
    assert [check.passed for check in finding.checks] == [True, True, True]
    assert finding.checks[0].value > 150
    assert Finding.from_body(finding.to_body()) == finding


def test_missing_noise_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianLaw, "add_into", lambda law, total, entropy: None)
    finding = finding_of(invert(glyphs(5, 0), noise(), 0, (1, 5)))
    assert finding.refuted
    assert [check.value for check in finding.checks if not check.passed] == [6, 6]


def test_an_attack_that_has_become_blind_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "candidates", lambda network, gradient: np.zeros((0, 784)))
    finding = finding_of(invert(glyphs(5, 0), noise(), 0, (1, 5)))
    assert [check.passed for check in finding.checks] == [False, True, True]


# --- what is refused


@pytest.mark.parametrize("cohorts", [(), (0, 1), (5, 1), (1, 1), (1, 6)])
def test_cohorts_that_are_none_are_refused(cohorts: tuple[int, ...]) -> None:
    with pytest.raises(BadParameters, match="cohorts must rise"):
        invert(glyphs(5, 0), noise(), 0, cohorts)


@pytest.mark.parametrize("multipliers", [(), (-1,), (1, 0), (1, 1), (0, 1001)])
def test_multipliers_that_are_none_are_refused(multipliers: tuple[int, ...]) -> None:
    with pytest.raises(BadParameters, match="multipliers must rise"):
        invert(glyphs(5, 0), noise(), 0, (1, 5), tuple(map(Fraction, multipliers)))


def test_a_table_without_end_is_refused() -> None:
    with pytest.raises(BadParameters, match="at most 256 cells"):
        invert(glyphs(5, 0), noise(), 0, (1,), tuple(Fraction(n, 500) for n in range(300)))


@pytest.mark.parametrize(
    "act",
    [
        lambda: glyphs(0, 0),
        lambda: glyphs(5000, 0),
        lambda: glyphs(1, -1),
        lambda: glyphs(3, 0).after(3),
        lambda: Network.fresh(784, 10, -1),
        lambda: Network.fresh(784, 10, 0).candidates(np.zeros(3)),
        lambda: Network.fresh(784, 10, 0).strongest(np.zeros(3)),
        lambda: Imprint.from_public(glyphs(5, 0)).candidates(np.zeros(3)),
        lambda: Pictures("x", np.zeros((1, 2, 3)), np.zeros(1, np.int64), 10),
        lambda: Pictures("x", np.full((1, 2, 2), math.nan), np.zeros(1, np.int64), 10),
        lambda: Pictures("x", np.zeros((1, 2, 2)), np.array([10]), 10),
        lambda: Pictures("x", np.zeros((1, 2, 2)), np.zeros(2, np.int64), 10),
        lambda: Panel("x", np.full((1, 2, 2), 1.5), ()),
        lambda: Panel("x", np.zeros((1, 2, 2)), (1.0, 2.0)),
        lambda: Panel("x", np.zeros((2, 2)), ()),
        lambda: Panel("x", np.zeros((1, 2, 2)), (math.nan,)),
        lambda: InversionRow(1, ZERO, None, 2, 1.0, 1.0),
        lambda: InversionRow(1, ZERO, 1.0, 1, 1.0, 1.0),
        lambda: InversionRow(1, Fraction(1), None, 1, 1.0, 1.0),
        lambda: InversionRow(1, Fraction(1), math.inf, 1, 1.0, 1.0),
        lambda: InversionRow(1, ZERO, None, 1, 1.0, 2.0),
        lambda: InversionRow(1, ZERO, None, 1, math.nan, math.nan),
    ],
)
def test_what_is_no_picture_row_or_gradient_is_refused(act: Callable[[], object]) -> None:
    with pytest.raises(BadParameters):
        act()


def test_an_inversion_holds_together(table: Inversion) -> None:
    other = Panel("of another size", np.zeros((1, 2, 2)), ())
    for change in ({"rows": ()}, {"pictures": ()}, {"pictures": (other, *table.pictures)}, {"delta": ZERO}):
        with pytest.raises(BadParameters):
            replace(table, **change)
    with pytest.raises(BadParameters):
        replace(table, baseline=math.nan)


def test_pictures_are_read_only_copies() -> None:
    pixels = np.zeros((1, 2, 2))
    panel, pictures = Panel("x", pixels, ()), Pictures("x", pixels, np.zeros(1, np.int64), 1)
    pixels[:] = 1
    assert not panel.pixels.any()
    assert not pictures.pixels.any()
    for array in (panel.pixels, pictures.pixels):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


# --- the pictures themselves


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_the_first_pictures_are_the_same_however_many_are_asked_for(few: int, more: int, seed: int) -> None:
    small, large = glyphs(few, seed), glyphs(few + more, seed)
    assert np.array_equal(small.pixels, large.first(few).pixels)
    assert np.array_equal(small.labels, large.first(few).labels)
    assert len(large.after(few)) == more


def test_ten_digits_are_drawn_and_can_be_told_apart() -> None:
    """The mean picture of each label, shifts and all, is nearer to its own digits than those of others are."""
    pictures = glyphs(1000, 0)
    assert set(pictures.labels) == set(range(10))
    assert pictures.pixels.shape == (1000, 28, 28)
    assert 0 <= pictures.pixels.min() < pictures.pixels.max() <= 1
    means = np.array([pictures.pixels[pictures.labels == digit].mean(axis=0) for digit in range(10)])
    apart = [np.abs(one - other).mean() for here, one in enumerate(means) for other in means[:here]]
    assert min(apart) > 0.01


def test_a_gradient_is_clipped_to_the_norm_that_epsilon_is_about() -> None:
    pictures, network = glyphs(3, 0), Network.fresh(784, 10, 0)
    for raw, clipped in zip(network.gradients(pictures), clipped_gradients(network, pictures), strict=True):
        assert np.linalg.norm(raw) > 1 >= np.linalg.norm(clipped)
        assert np.allclose(clipped, clip_l2(raw, Fraction(1)).vector, rtol=1e-12)


def test_the_snippet_on_the_page_about_audits_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/how-to/audits.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.+?)^```", page, flags=re.MULTILINE | re.DOTALL)
    [snippet] = [snippet for snippet in snippets if "inversion = invert(" in snippet]
    exec(snippet, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(COHORTS) * len(MULTIPLIERS)
    assert lines[5].startswith("5 0 5 ")
