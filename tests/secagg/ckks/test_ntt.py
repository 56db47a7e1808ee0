"""ntt: products equal those of Python's integers and of the FFT, quotients undo them."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.ckks.ntt import inverses, polynomials, times, values
from secagg.negacyclic import PRIME, N, Residues, big_product
from tests.secagg.ckks.committee import random_residues, slow_product

EXTREMES = {
    "zeros": np.zeros(N, np.uint64),
    "ones": np.ones(N, np.uint64),
    "q-1": np.full(N, PRIME - 1, np.uint64),
    "q/2": np.full(N, PRIME // 2, np.uint64),
    "random": random_residues("x", rows=1)[0],
}


@pytest.mark.parametrize("one", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("other", EXTREMES.values(), ids=EXTREMES)
def test_a_product_of_values_is_the_product_of_polynomials(one: Residues, other: Residues) -> None:
    product = polynomials(times(values(one), values(other)))
    assert product.tolist() == slow_product(one, other)


def test_rows_are_transformed_one_by_one() -> None:
    rows, other = random_residues("rows", rows=3), random_residues("y", rows=1)[0]
    assert np.array_equal(polynomials(values(rows)), rows)
    assert np.array_equal(np.stack([values(row) for row in rows]), values(rows))
    assert np.array_equal(polynomials(times(values(rows), values(other))), big_product(rows, other))


def test_products_of_residues_are_exact() -> None:
    edges = [0, 1, 2, 2**27, PRIME // 2, PRIME // 2 + 1, 2**53, PRIME - 2, PRIME - 1]
    left = np.array([x for x in edges for _ in edges] + random_residues("left", rows=1)[0].tolist(), np.uint64)
    right = np.array([y for _ in edges for y in edges] + random_residues("right", rows=1)[0].tolist(), np.uint64)
    assert times(left, right).tolist() == [int(x) * int(y) % PRIME for x, y in zip(left, right, strict=True)]


def test_inverses() -> None:
    some = np.append(random_residues("x", rows=1)[0][:50], np.array([0, 1, 2, PRIME - 1], np.uint64))
    assert inverses(some).tolist() == [pow(int(x), PRIME - 2, PRIME) for x in some]
    assert (times(inverses(some), some) == (some != 0)).all()
