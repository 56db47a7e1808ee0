"""Tables against their laws: exact where they are sound, and apart by what a planted fault makes of them."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from dp.alias import AliasTable
from dp.audit.tables import EXACTNESS, lattice, law_of_tables, samples_of_tables
from dp.errors import BadParameters
from dp.noise import GaussianLaw, LaplaceLaw, Law, SkellamLaw, Term
from dp.weights import gaussian_weights
from tests.dp.audit.audit_kit import seeded

LAWS: list[Law] = [
    GaussianLaw(Fraction(9)),
    GaussianLaw(Fraction(20_000)),
    GaussianLaw(Fraction(9000**2)),
    GaussianLaw(Fraction(1 << 50)),
    LaplaceLaw(Fraction(3)),
    LaplaceLaw(Fraction(200)),
    LaplaceLaw(Fraction(10_000)),
    SkellamLaw(Fraction(9)),
    SkellamLaw(Fraction(5000)),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_sound_tables_are_their_law(law: Law) -> None:
    assert law_of_tables((law,)).value < EXACTNESS / 1000
    assert samples_of_tables((law,), seeded(1)).passed


@pytest.mark.parametrize("factor", [Fraction(999_999, 1_000_000), Fraction(1, 4), Fraction(4)])
def test_a_table_of_another_width_is_apart(factor: Fraction, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = GaussianLaw.terms
    monkeypatch.setattr(GaussianLaw, "terms", lambda law: whole(replace(law, sigma2=law.sigma2 * factor)))
    assert not law_of_tables((GaussianLaw(Fraction(20_000)),)).passed


@pytest.mark.parametrize("place", [0, 1])
def test_the_fine_table_or_the_coarse_one_alone_is_not_the_law(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, wide = GaussianLaw.terms, GaussianLaw(Fraction(9000**2))
    monkeypatch.setattr(GaussianLaw, "terms", lambda law: whole(law)[place : place + 1])
    found = law_of_tables((wide,))
    assert not found.passed
    # On multiples of the factor the cosine is 1 where it ought to be 0; without them the width is missing.
    assert found.value == pytest.approx(1.0 if place == 0 else 1 - math.exp(-0.5), abs=0.01)


def test_a_threshold_that_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One column of a table in memory, as a flipped bit would leave it."""
    law = GaussianLaw(Fraction(20_000))
    [term] = law.terms()
    sound = term.table()
    heads = sound.heads.copy()
    heads[7] ^= np.uint64(1 << 50)
    monkeypatch.setattr(Term, "table", lambda term: replace(sound, heads=heads))
    assert not law_of_tables((law,)).passed


def test_samples_that_are_not_their_tables_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = AliasTable._choose
    monkeypatch.setattr(AliasTable, "_choose", lambda table, words, entropy: whole(table, words, entropy) * 9 // 10)
    assert not samples_of_tables((GaussianLaw(Fraction(20_000)),), seeded(1)).passed


def test_every_class_of_every_factor_is_looked_for() -> None:
    law, generator = GaussianLaw(Fraction(9000**2)), np.random.default_rng(1)
    [coarse, _] = law.terms()
    noise = generator.normal(0, 9000, 1 << 16).astype(np.int64)
    assert lattice((law,), noise, noise).value == 0.0
    gaps = noise // coarse.factor * coarse.factor
    assert lattice((law,), gaps, gaps + 1).value == 2 * (coarse.factor - 1)
    # Too few draws to expect every class of 8, let alone of a factor: nothing is said about the factor.
    assert lattice((law,), noise[:1000], noise[:1000]).value == 0.0


def test_a_law_without_terms_is_not_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GaussianLaw, "terms", lambda law: ())
    assert law_of_tables((GaussianLaw(Fraction(9)),)).value == pytest.approx(1 - math.exp(-0.5))


def test_a_law_nobody_knows_is_refused() -> None:
    class Odd(Law):
        @property
        def variance(self) -> Fraction:
            return Fraction(9)

        def terms(self) -> tuple[Term, ...]:
            return (Term(1, gaussian_weights, (Fraction(9),)),)

    with pytest.raises(BadParameters, match="Odd"):
        law_of_tables((Odd(),))
