"""What every mechanism must do, whatever law it adds; a new one subclasses and gives `make`."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dp.accountant import Unit, View, account
from dp.bounds import NEAREST_DIMENSION, Clip, Lattice
from dp.entropy import CHUNK_WORDS, Entropy
from dp.errors import BadParameters, NonFinite
from dp.events import is_insecure
from dp.mechanisms import Mechanism
from tests.dp.noise_kit import FALSE_ALARM, float_pmf, p_value, seeded
from tests.rows import rows

CLIP = Clip(l2=Fraction(3, 2), l1=Fraction(2))
LATTICE = Lattice(Fraction(1, 64))
UNIT = Unit("zero-out")
LARGEST = 2**63 - 1
DIMENSIONS = [1, 2, 3, 50, 1000, NEAREST_DIMENSION, NEAREST_DIMENSION + 1]

# Hypothesis sees one function called on several classes; with derandomised examples that is harmless.
inherited = settings(suppress_health_check=[HealthCheck.differing_executors])


def adversarial(d: int, step: float) -> list[NDArray[np.float64]]:
    """Vectors of d coordinates that a rounding or a clip may lift over its bound."""
    flat, signs = np.ones(d), np.where(np.arange(d) % 2, -1.0, 1.0)
    spike = np.eye(1, d, d // 2)[0]
    half = np.full(d, step / 2)
    return [
        *(size * shape for size in (1.0, 1.5, 2.0, 3e38) for shape in (flat, signs, spike)),
        *(np.nextafter(half * odd, side * np.inf) for odd in (1, 3, -5) for side in (-1, 1)),
        *(half * odd for odd in (1, 3, -5)),
        spike * (2.0 - step / 2) + half,
        flat * 1.5 / d**0.5,
        signs * 2.0 / d,
        np.random.default_rng(d).normal(size=d),
    ]


class MechanismContract:
    """Subclasses override `make`; the parameters of its noise are their own."""

    def make(self, clip: Clip = CLIP, lattice: Lattice = LATTICE, unit: Unit = UNIT) -> Mechanism:
        """A mechanism with noise of a few dozen steps."""
        raise NotImplementedError

    def norms_hold(self, mechanism: Mechanism, vector: NDArray[np.int64]) -> bool:
        """Whether the integer vector obeys every bound that the event claims, in exact integers."""
        event: Any = mechanism.event(len(vector))
        whole = [int(value) for value in vector]
        bounds = {
            "l2_squared": sum(value * value for value in whole),
            "l1": sum(abs(value) for value in whole),
        }
        claimed = {field.name for field in fields(event)} & bounds.keys()
        assert claimed
        return all(bounds[name] <= getattr(event, name) for name in claimed)

    # what is added

    def test_the_output_is_the_input_plus_the_law_exactly_once(self) -> None:
        mechanism = self.make()
        total = np.arange(-500, 500, dtype=np.int64)
        noisy = mechanism.apply(total, seeded(1))
        assert noisy.dtype == np.int64
        assert np.array_equal(noisy - total, mechanism.law.sample(1000, seeded(1)))
        assert np.array_equal(total, np.arange(-500, 500))

    @rows("N2")
    def test_the_noise_fits_the_law_and_half_of_it_does_not(self, row: str) -> None:
        mechanism = self.make()
        noise = mechanism.apply(np.zeros(10**5, dtype=np.int64), seeded(2))
        pmf = float_pmf(mechanism.law)
        assert p_value(noise, pmf) > FALSE_ALARM
        assert p_value(noise // 2, pmf) < FALSE_ALARM
        assert p_value(noise + mechanism.apply(np.zeros_like(noise), seeded(3)), pmf) < FALSE_ALARM

    @rows("N1")
    def test_the_output_lies_on_the_lattice(self, row: str) -> None:
        mechanism = self.make()
        noisy = mechanism.apply(mechanism.quantise(np.full(20, 0.1), seeded(1)), seeded(2))
        steps = mechanism.to_real(noisy) / float(mechanism.lattice.gamma)
        assert mechanism.to_real(noisy).dtype == np.float64
        assert np.array_equal(steps, noisy.astype(np.float64))

    @inherited
    @given(st.integers(0, 2**32), st.integers(1, 2000))
    def test_a_seed_repeats_the_release(self, seed: int, d: int) -> None:
        mechanism, total = self.make(), np.arange(d, dtype=np.int64)
        first, second = (mechanism.release(total, seeded(seed)) for _ in range(2))
        assert np.array_equal(first.vector, second.vector)
        assert first.event == second.event

    @rows("N7")
    def test_no_noise_is_used_twice(self, row: str) -> None:
        # Coordinates of one vector, releases of one stream, streams of two rounds or two sections.
        mechanism, total = self.make(), np.zeros(CHUNK_WORDS, dtype=np.int64)
        stream = seeded(1)
        drawn = [mechanism.apply(total, stream) for _ in range(2)]
        drawn += [
            mechanism.apply(total, seeded(1, b"test", b"round 2")),
            mechanism.apply(total, seeded(1, b"section 2")),
        ]
        halves = np.concatenate(drawn).reshape(8, -1)
        correlation = np.corrcoef(halves) - np.eye(8)
        assert np.abs(correlation).max() < 6 / (CHUNK_WORDS // 2) ** 0.5

    # what one unit can contribute

    @pytest.mark.parametrize("d", DIMENSIONS)
    @pytest.mark.parametrize("gamma", [Fraction(1, 64), Fraction(1, 3), Fraction(7, 1000)], ids=str)
    def test_the_event_bounds_every_quantised_vector(self, d: int, gamma: Fraction) -> None:
        mechanism = self.make(lattice=Lattice(gamma))
        for number, update in enumerate(adversarial(d, float(gamma))):
            vector = mechanism.quantise(update, seeded(number))
            assert vector.dtype == np.int64
            assert vector.shape == (d,)
            assert self.norms_hold(mechanism, vector), number

    @inherited
    @given(
        st.lists(st.floats(-4, 4), min_size=1, max_size=30),
        st.fractions(Fraction(1, 10**6), Fraction(3, 2), max_denominator=10**6),
    )
    def test_the_event_bounds_whatever_is_quantised(self, update: list[float], gamma: Fraction) -> None:
        mechanism = self.make(lattice=Lattice(gamma))
        assert self.norms_hold(mechanism, mechanism.quantise(np.array(update), seeded(1)))

    def test_no_rounding_of_the_division_lifts_a_vector_over_a_half_step(self) -> None:
        # The clip lies a trace below k + 1/2 steps: in floats x / gamma may come out as k + 1/2, and round up.
        for denominator in range(3, 200, 2):
            gamma = Fraction(1, denominator)
            bound = (7 + Fraction(1, 2)) * gamma * (1 - Fraction(1, 2**70))
            mechanism = self.make(clip=Clip(bound, bound), lattice=Lattice(gamma))
            for update in (np.nextafter(float(bound), 0.0), np.nextafter(float(bound), 1.0), 1.0):
                assert self.norms_hold(mechanism, mechanism.quantise(np.array([update]), seeded(1)))

    @pytest.mark.parametrize("d", [1, 50, NEAREST_DIMENSION + 1])
    def test_the_bound_is_not_met_by_a_vector_that_was_not_clipped(self, d: int) -> None:
        # The same measure must notice a vector of twice the size.
        # A fine lattice, lest rounding outweigh the clip in many coordinates.
        fine = Lattice(Fraction(1, 1 << 16))
        mechanism = self.make(lattice=fine)
        longer = self.make(clip=Clip(2 * CLIP.l2, 2 * Fraction(CLIP.l1 or 0)), lattice=fine)
        assert not self.norms_hold(mechanism, longer.quantise(np.eye(1, d, 0)[0] * 100, seeded(1)))

    def test_what_is_within_its_bounds_is_only_rounded(self) -> None:
        mechanism = self.make()
        update = np.array([0.5, -0.25, 1 / 64, 0.0])
        assert mechanism.quantise(update, seeded(1)).tolist() == [32, -16, 1, 0]

    def test_beyond_ten_thousand_coordinates_what_is_clipped_is_still_seen_in_the_mean(self) -> None:
        mechanism, d = self.make(lattice=Lattice(Fraction(1, 4096))), NEAREST_DIMENSION + 1
        update = np.zeros(d)
        update[:100] = 0.0101
        vector = mechanism.quantise(update, seeded(1))
        assert abs(vector[:100].mean() - 0.0101 * 4096) < 0.51
        assert not vector[100:].any()

    # strange vectors

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    def test_a_vector_that_is_not_finite_is_refused(self, value: float, kind: type[np.floating[Any]]) -> None:
        with pytest.raises(NonFinite):
            self.make().quantise(np.array([3.0, value], dtype=kind), seeded(1))

    def test_no_coordinate_can_be_kept_from_the_noise(self) -> None:
        """In-place addition to a masked array passes over what is masked, while the event counts every coordinate."""
        bare = np.ma.array(np.arange(5), mask=[0, 1, 1, 1, 0])
        with pytest.raises(BadParameters, match="total must be one int64 vector"):
            self.make().apply(bare, seeded(1))
        with pytest.raises(BadParameters, match="plain int64 vector"):
            self.make().law.add_into(bare, seeded(1))

    @pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, -5e-324, 1e-300])
    def test_zero_and_subnormal_vectors_are_zero(self, value: float) -> None:
        assert not self.make().quantise(np.full(9, value), seeded(1)).any()

    def test_the_largest_floats_are_clipped_like_any_other(self) -> None:
        mechanism = self.make()
        vector = mechanism.quantise(np.array([3e38, -3e38], dtype=np.float32), seeded(1))
        assert vector[0] == -vector[1] > 0
        assert self.norms_hold(mechanism, vector)

    @pytest.mark.parametrize("update", [np.zeros((2, 2)), np.zeros(3, dtype=np.int64), [1.0], None])
    def test_an_update_that_is_no_float_vector_is_refused(self, update: Any) -> None:
        with pytest.raises(BadParameters):
            self.make().quantise(update, seeded(1))

    # sums

    @pytest.mark.parametrize(
        "total",
        [np.zeros(3), np.zeros(3, dtype=np.int32), np.zeros((1, 3), dtype=np.int64), np.zeros(0, dtype=np.int64), [1]],
        ids=["float", "int32", "matrix", "empty", "list"],
    )
    def test_a_sum_that_is_no_int64_vector_is_refused(self, total: Any) -> None:
        with pytest.raises(BadParameters, match="int64"):
            self.make().apply(total, seeded(1))

    @pytest.mark.parametrize("sign", [-1, 1])
    def test_a_sum_that_noise_could_push_out_of_int64_is_refused(self, sign: int) -> None:
        mechanism = self.make()
        edge = LARGEST - mechanism.law.reach
        mechanism.apply(np.array([sign * edge], dtype=np.int64), seeded(1))
        for beyond in (edge + 1, LARGEST):
            with pytest.raises(BadParameters, match="leave int64"):
                mechanism.apply(np.array([sign * beyond], dtype=np.int64), seeded(1))

    def test_the_smallest_integer_has_no_magnitude_and_is_refused(self) -> None:
        with pytest.raises(BadParameters, match="leave int64"):
            self.make().apply(np.array([-(2**63)], dtype=np.int64), seeded(1))

    # the event

    def test_the_event_books_every_draw_and_names_the_source_of_randomness(self) -> None:
        mechanism, total = self.make(), np.zeros(7, dtype=np.int64)
        insecure: Any = mechanism.release(total, seeded(1)).event
        secure: Any = mechanism.release(total, Entropy.system(b"test", b"")).event
        assert insecure.draws == secure.draws == mechanism.law.draws(7) >= 7
        assert (insecure.d, insecure.components) == (7, 1)
        assert is_insecure(insecure)
        assert not is_insecure(secure)
        assert insecure == mechanism.event(7, "insecure") != secure == mechanism.event(7)

    def test_the_relation_changes_the_price_and_not_the_event(self) -> None:
        units = [Unit("zero-out"), Unit("add-or-remove-one"), Unit("replace-one")]
        events = {self.make(unit=unit).event(20) for unit in units}
        assert len(events) == 1
        zero_out, add_remove, replace_one = (account(events, unit, View.RELEASED, "1e-6").upper for unit in units)
        assert 0 < zero_out == add_remove < replace_one

    @pytest.mark.parametrize("dimension", [0, -1, 1.0, True, 2**32 + 1])
    def test_a_dimension_out_of_range_is_refused(self, dimension: Any) -> None:
        with pytest.raises(BadParameters, match="dimension"):
            self.make().event(dimension)

    # the mechanism itself

    def test_the_description_holds_every_exact_parameter(self) -> None:
        mechanism: Any = self.make()
        shown = mechanism.describe()
        [name] = {field.name for field in fields(mechanism)} - {"clip", "lattice", "unit"}
        assert f"{name} {getattr(mechanism, name)} " in shown
        assert f"step {LATTICE.gamma}" in shown
        assert "one client, zero-out" in shown
        others = [
            replace(mechanism, **{name: getattr(mechanism, name) * (1 + Fraction(1, 10**9))}),
            self.make(clip=Clip(CLIP.l2 + 1, CLIP.l2 + 2)),
            self.make(lattice=Lattice(Fraction(1, 65))),
            self.make(unit=Unit("replace-one")),
            self.make(unit=Unit("zero-out", "record")),
        ]
        assert len({shown, *(other.describe() for other in others)}) == 6

    @pytest.mark.parametrize("part", ["clip", "lattice", "unit"])
    def test_a_part_of_the_wrong_type_is_refused(self, part: str) -> None:
        mechanism: Any = self.make()
        with pytest.raises(BadParameters, match=part):
            replace(mechanism, **{part: Fraction(1)})

    @pytest.mark.parametrize("wrong", [0, -1, 0.5, None, True, 2**101])
    def test_noise_of_no_positive_rational_size_is_refused(self, wrong: Any) -> None:
        mechanism: Any = self.make()
        [name] = {field.name for field in fields(mechanism)} - {"clip", "lattice", "unit"}
        with pytest.raises(BadParameters, match=name):
            replace(mechanism, **{name: wrong})
