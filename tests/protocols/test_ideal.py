"""The trusted party adds: against Python integers, for every ring, and refuses a cohort that is too small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.coding import coding_of
from protocols.errors import TooFewClients
from protocols.heads import NO_LEDGER
from protocols.ideal import Ideal, aggregate
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import Agreement, RoundPlan
from tests.contracts.models import Pairwise


def agreement(ring: str = "b17", length: int = 3) -> Agreement:
    bits, weight, most = Pairwise.rings[ring]
    plan = replace(
        RoundPlan.recommend(8, bits=bits, max_weight=weight, min_cohort=3, dropout=0, corrupt=0), max_clients=most
    )
    return Agreement(plan, 0, bytes(16), length, bytes(32), bytes(32), NO_LEDGER)


def test_three_vectors_added_by_hand() -> None:
    agreed = agreement()
    vectors = {1: [1, 2, 3], 2: [2**17 - 1, 10, 0], 5: [5, 2**17 - 20, 7]}
    submitted = {PartyId(who): Submit(np.array(v, np.uint32), who) for who, v in vectors.items()}
    opened = aggregate(agreed, submitted)
    assert opened.total.tolist() == [5, 2**17 - 8, 10]
    assert (opened.weight_sum, opened.survivors, opened.blamed) == (8, (1, 2, 5), {})


@pytest.mark.parametrize("ring", Pairwise.rings)
@given(data=st.data())
def test_the_sum_is_that_of_python_integers(ring: str, data: st.DataObject) -> None:
    agreed = agreement(ring)
    words = coding_of(agreed).ring
    elements = st.lists(st.integers(0, words.modulus - 1), min_size=3, max_size=3)
    vectors = data.draw(st.dictionaries(st.integers(0, 99), elements, min_size=3, max_size=6))
    opened = aggregate(agreed, {PartyId(who): Submit(np.array(vector, words.dtype)) for who, vector in vectors.items()})
    assert opened.total.tolist() == [sum(column) % words.modulus for column in zip(*vectors.values(), strict=True)]
    assert opened.survivors == tuple(sorted(vectors))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_sum_over_fewer_than_the_cohort_is_refused_as_a_real_protocol_would(count: int) -> None:
    agreed = agreement()
    with pytest.raises(TooFewClients) as caught:
        aggregate(agreed, {PartyId(who): Submit(np.zeros(3, np.uint32)) for who in range(count)})
    assert (caught.value.have, caught.value.need, caught.value.room) == (count, 3, "Summing")


def test_adding_changes_no_submission_and_an_aggregate_no_later_sum() -> None:
    ideal = Ideal(agreement())
    vector = np.array([1, 2, 3], np.uint32)
    for who in range(3):
        ideal.add(PartyId(who), Submit(vector))
    opened = ideal.aggregate()
    ideal.add(PartyId(3), Submit(vector))
    assert vector.tolist() == [1, 2, 3]
    assert opened.total.tolist() == [3, 6, 9]
    assert ideal.aggregate().total.tolist() == [4, 8, 12]
