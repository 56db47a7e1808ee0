"""share: every t holders open, t - 1 see noise; deals are secret and reconstruct; answers are smudged, or refused."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest

from secagg import shamir
from secagg.ckks import share
from secagg.ckks.cipher import CHUNK, add_into, check_opened, open_exact
from secagg.ckks.plan import CkksPlan, Keys, Mode, plan
from secagg.ckks.share import (
    Dealt,
    SecretResidues,
    combine,
    combine_deals,
    common_polynomial,
    deal,
    inner,
    lagrange,
    own_deals,
    own_key,
    own_public_share,
    partial,
    scaled,
    smudging_seed,
)
from secagg.errors import BadCiphertext, BadParameters, BadShare
from secagg.negacyclic import PRIME, N, Residues, big_product, centred, reduced
from secagg.prg import Stream
from secagg.workers import Workers
from tests.contracts.uniform import FALSE_ALARM, p_values
from tests.secagg.ckks.committee import (
    CONTEXT,
    EPOCH,
    Threshold,
    random_residues,
    random_values,
    seed_of,
    slow_product,
)

COMMITTEES = [Keys(Mode.THRESHOLD, 2, 2), *(Keys.recommended(holders, 1) for holders in (3, 5, 7))]
each_committee = pytest.mark.parametrize("keys", COMMITTEES, ids=lambda keys: f"{keys.threshold}-of-{keys.holders}")
ROOT = seed_of("holder")


def combined(committee: Threshold, c0: Residues, c1: Residues, members: tuple[int, ...]) -> Residues:
    return combine(c0, [committee.answer(holder, c1, members) for holder in members])


# --- opening


class Sum:
    """Three uploads under a committee's key."""

    def __init__(self, keys: Keys) -> None:
        self.plan: CkksPlan = plan(3, 18, N + 9, keys)
        self.committee = Threshold(self.plan)
        vectors = [random_values(self.plan, who) for who in range(3)]
        self.values = np.sum(vectors, axis=0)
        self.c0, self.c1 = self.committee.summed([self.committee.upload(v, who) for who, v in enumerate(vectors)])


@each_committee
def test_every_set_of_t_opens_exactly_in_any_order(keys: Keys) -> None:
    case = Sum(keys)
    for members in combinations(range(1, keys.holders + 1), keys.threshold):
        result = open_exact(case.plan, combined(case.committee, case.c0, case.c1, members[::-1]))
        assert np.array_equal(result.values, case.values)
        check_opened(case.plan, result)


def looks_uniform(residues: Residues) -> bool:
    return min(p_values(residues.ravel(), 54).values()) > FALSE_ALARM


@each_committee
def test_a_set_of_fewer_than_t_sees_noise(keys: Keys) -> None:
    case = Sum(keys)
    for members in combinations(range(1, keys.holders + 1), keys.threshold - 1):
        for weighted_for in (members, (*members, next(i for i in range(1, 65) if i not in members))):
            weights = lagrange(weighted_for)
            parts = [
                partial(case.committee.shares[i], case.c1, weights[i], case.plan.noise.smudging, seed_of("noise", i))
                for i in members
            ]
            plaintext = combine(case.c0, parts)
            assert looks_uniform(plaintext)
            with pytest.raises(BadCiphertext):
                check_opened(case.plan, open_exact(case.plan, plaintext))


def test_the_same_statistics_see_what_t_holders_open() -> None:
    case = Sum(COMMITTEES[1])
    assert not looks_uniform(combined(case.committee, case.c0, case.c1, (1, 3)))


def test_an_answer_for_another_set_opens_nothing() -> None:
    case = Sum(COMMITTEES[1])
    parts = [case.committee.answer(1, case.c1, (1, 2)), case.committee.answer(3, case.c1, (1, 3))]
    with pytest.raises(BadCiphertext):
        check_opened(case.plan, open_exact(case.plan, combine(case.c0, parts)))


def test_a_weight_applied_after_the_smudge_blows_it_up() -> None:
    case = Sum(COMMITTEES[2])
    members = (1, 2, 3, 5)
    weights = lagrange(members)
    late = []
    for i in members:
        unweighted = partial(case.committee.shares[i], case.c1, 1, case.plan.noise.smudging, seed_of("noise", i))
        late.append(np.stack([scaled(row, weights[i]) for row in unweighted]))
    with pytest.raises(BadCiphertext):
        check_opened(case.plan, open_exact(case.plan, combine(case.c0, late)))
    # Without noise the order would not matter: it is the smudge that breaks.
    exact = [
        np.stack([scaled(row, weights[i]) for row in big_product(case.c1, case.committee.shares[i])]) for i in members
    ]
    assert np.array_equal(open_exact(case.plan, combine(case.c0, exact)).values, case.values)


def test_two_holders_that_swap_their_weights_open_nothing() -> None:
    case = Sum(COMMITTEES[1])
    weights = lagrange((1, 2))
    swapped = [
        partial(case.committee.shares[i], case.c1, weights[3 - i], case.plan.noise.smudging, seed_of("noise", i))
        for i in (1, 2)
    ]
    with pytest.raises(BadCiphertext):
        check_opened(case.plan, open_exact(case.plan, combine(case.c0, swapped)))


def test_a_holder_may_shift_a_sum_within_its_range_and_nobody_sees_it() -> None:
    """A documented limit: t parts prove nothing about the sum; only another set's opening would differ."""
    case = Sum(COMMITTEES[2])
    parts = [case.committee.answer(i, case.c1, (1, 2, 3, 4)) for i in (1, 2, 3, 4)]
    parts[0][0, 0] = (int(parts[0][0, 0]) + (5 << case.plan.guard)) % PRIME
    result = open_exact(case.plan, combine(case.c0, parts))
    check_opened(case.plan, result)
    assert np.flatnonzero(result.values - case.values).tolist() == [0]
    assert result.values[0] == case.values[0] + 5
    other = open_exact(case.plan, combined(case.committee, case.c0, case.c1, (2, 3, 4, 5)))
    assert np.array_equal(other.values, case.values)


def test_nothing_is_broadcast_when_parts_are_added() -> None:
    c0 = random_residues("c0", rows=2)
    for bad in (c0[0], c0[:1], np.vstack([c0, c0]), c0.astype(np.int64)):
        with pytest.raises(BadParameters, match="shape"):
            combine(c0, [bad])
    assert np.array_equal(combine(c0, []), c0)


# --- partial decryption


def test_an_answer_is_the_product_and_a_smudge_of_the_stated_width() -> None:
    c1, key, std = random_residues("c1", rows=2 * CHUNK), random_residues("share", rows=1)[0], 2.0**21
    answer = partial(key, c1, 12345, std, seed_of("noise"))
    expected = np.array(slow_product(c1[-1], scaled(key, 12345)), np.uint64)
    assert np.abs(centred_difference(answer[-1], expected)).max() < 8.6 * std
    smudge = centred_difference(answer, big_product(c1, scaled(key, 12345)))
    assert smudge.std() == pytest.approx(std, rel=0.01)
    assert abs(smudge.mean()) < 5 * std / math.sqrt(smudge.size)
    # Chunks draw from streams of their own: equal ones would give differences of rows away.
    assert len({row.tobytes() for row in smudge}) == len(smudge)
    assert abs(np.corrcoef(smudge[0], smudge[CHUNK])[0, 1]) < 5 / math.sqrt(N)


def centred_difference(one: Residues, other: Residues) -> Any:
    return centred((one + np.uint64(PRIME) - other) % np.uint64(PRIME))


def test_the_same_question_gets_the_same_answer_from_any_number_of_threads() -> None:
    c1, key = random_residues("c1", rows=2 * CHUNK + 5), random_residues("share", rows=1)[0]
    noise = smudging_seed(ROOT, CONTEXT, b"sum", (3, 1))
    alone = partial(key, c1, 7, 1e6, noise)
    assert np.array_equal(alone, partial(key, c1, 7, 1e6, smudging_seed(ROOT, CONTEXT, b"sum", (1, 3))))
    with ThreadPoolExecutor(2) as executor:
        assert np.array_equal(alone, partial(key, c1, 7, 1e6, noise, Workers(executor, 2)))


def test_another_sum_set_context_or_holder_gets_a_smudge_of_its_own() -> None:
    questions = [
        smudging_seed(ROOT, CONTEXT, b"sum", (1, 2)),
        smudging_seed(ROOT, CONTEXT, b"sum", (1, 3)),
        smudging_seed(ROOT, CONTEXT, b"other", (1, 2)),
        smudging_seed(ROOT, EPOCH, b"sum", (1, 2)),
        smudging_seed(seed_of("other"), CONTEXT, b"sum", (1, 2)),
    ]
    assert len({seed.expose() for seed in questions}) == len(questions)


@pytest.mark.parametrize("smudging", [0.0, -1.0, 1e-9, 1.0, 4.5, math.nan, math.inf, 2.0**54])
def test_without_smudging_there_is_no_answer(smudging: float) -> None:
    with pytest.raises(BadParameters, match="gives the share away"):
        partial(random_residues("share", rows=1)[0], random_residues("c1", rows=1), 1, smudging, ROOT)


@pytest.mark.parametrize("keys", [Keys(Mode.SINGLE), Keys(Mode.SEEDED)], ids=["single", "seeded"])
def test_the_plan_of_one_opener_smudges_nothing_and_so_answers_nothing_in_parts(keys: Keys) -> None:
    with pytest.raises(BadParameters, match="gives the share away"):
        partial(
            random_residues("share", rows=1)[0],
            random_residues("c1", rows=1),
            1,
            plan(3, 12, N, keys).noise.smudging,
            ROOT,
        )


def test_an_answer_is_about_rows_of_residues() -> None:
    good, key = random_residues("c1", rows=2), random_residues("share", rows=1)[0]
    for bad in (good[0], good[:, :-1], good.astype(np.int64), good + np.uint64(PRIME)):
        with pytest.raises(BadParameters):
            partial(key, bad, 1, 1e6, ROOT)


# --- interpolation


@pytest.mark.parametrize("points", [(1,), (1, 2), (2, 5, 1), (7, 3, 64, 11, 5)])
def test_weights_are_those_of_the_other_implementation(points: tuple[int, ...]) -> None:
    for order in permutations(points):
        weights = lagrange(order)
        assert tuple(weights[point] for point in order) == shamir.lagrange_at_zero(order, PRIME)


def test_weights_give_the_value_at_zero_of_every_polynomial_of_lower_degree_and_of_no_higher() -> None:
    points = (1, 4, 5, 9)
    weights = lagrange(points)
    for degree in range(6):
        total = sum(weights[x] * x**degree for x in points) % PRIME
        assert (total == (degree == 0)) == (degree < 4)


@pytest.mark.parametrize("points", [(1, 1), (0, 1), (-1, 2), (PRIME, 1)])
def test_points_are_distinct_holders(points: tuple[int, ...]) -> None:
    with pytest.raises(BadParameters, match="distinct"):
        lagrange(points)


# --- dealing


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_fewer_than_t_rows_fit_every_secret_equally_often(threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exhaustive in the field of seven elements: each column is one choice of secret and coefficients."""
    every = np.array(list(product(range(7), repeat=threshold)), np.uint64).T
    monkeypatch.setattr(share, "PRIME", 7)
    monkeypatch.setattr(share, "uniform_mod_q", lambda stream, count: every[1:].ravel()[:count])
    rows = deal(every[0], threshold, 5, Stream(ROOT))
    for seen in combinations(range(5), threshold - 1):
        counts: dict[tuple[int, ...], list[int]] = {}
        for column, secret in enumerate(every[0]):
            view = tuple(int(rows[i, column]) for i in seen)
            counts.setdefault(view, [0] * 7)[int(secret)] += 1
        assert len(counts) == 7 ** (threshold - 1)
        assert all(count == [1] * 7 for count in counts.values())


@each_committee
def test_rows_of_a_secret_of_zeros_look_uniform_and_any_t_of_them_give_it_back(keys: Keys) -> None:
    t, holders = keys.threshold, keys.holders
    secret = np.zeros(N, np.uint64)
    secret[:3] = (1, PRIME - 1, PRIME // 2)
    rows = deal(secret, t, holders, Stream(seed_of("deal")))
    assert all(looks_uniform(row) for row in rows)
    for members in combinations(range(1, holders + 1), t):
        weights = lagrange(members)
        total = np.zeros(N, np.uint64)
        for i in members:
            add_into(total, scaled(rows[i - 1], weights[i]))
        assert np.array_equal(total, secret)
    for members in combinations(range(1, holders + 1), t - 1):
        weights = lagrange(members)
        total = np.zeros(N, np.uint64)
        for i in members:
            add_into(total, scaled(rows[i - 1], weights[i]))
        assert looks_uniform(total)


def test_rows_are_values_of_the_polynomial_by_python_integers() -> None:
    secret = random_residues("secret", rows=1)[0]
    rows = deal(secret, 64, 64, Stream(ROOT))
    coefficients = share.uniform_mod_q(Stream(ROOT), 63 * N).reshape(63, N)
    for j in (0, N - 1):
        high_to_low = [int(row[j]) for row in coefficients] + [int(secret[j])]
        for x in (1, 33, 64):
            expected = 0
            for coefficient in high_to_low:
                expected = (expected * x + coefficient) % PRIME
            assert int(rows[x - 1, j]) == expected


@pytest.mark.parametrize(("threshold", "holders"), [(0, 3), (4, 3), (-1, 3), (2, 65)])
def test_impossible_sharings_are_refused(threshold: int, holders: int) -> None:
    with pytest.raises(BadParameters, match="cannot share a key"):
        deal(np.zeros(N, np.uint64), threshold, holders, Stream(ROOT))


def test_shares_of_all_dealers_add_up_to_a_share_of_the_sum() -> None:
    holders, t = 3, 2
    secrets = {j: own_key(seed_of(j), EPOCH) for j in range(1, 4)}
    deals = {j: own_deals(secrets[j], t, holders, seed_of(j), EPOCH) for j in secrets}
    kept = {i: combine_deals(deals[j][i - 1] for j in secrets) for i in range(1, 4)}
    total, expected = np.zeros(N, np.uint64), np.zeros(N, np.uint64)
    for i, weight in lagrange((3, 2)).items():
        add_into(total, scaled(kept[i].residues, weight))
    for secret in secrets.values():
        add_into(expected, secret.residues)
    assert np.array_equal(total, expected)


# --- keys


def test_a_key_is_short_of_the_stated_width_and_a_function_of_root_and_epoch() -> None:
    keys = [centred(own_key(seed_of("key", i), EPOCH).residues) for i in range(40)]
    assert np.std(keys) == pytest.approx(4.6, rel=0.01)
    assert own_key(ROOT, EPOCH) == own_key(ROOT, EPOCH)
    assert own_key(ROOT, EPOCH) != own_key(ROOT, CONTEXT)
    assert own_key(ROOT, EPOCH) != own_key(seed_of("other"), EPOCH)


def test_a_public_share_hides_its_key_behind_an_error_of_the_same_width() -> None:
    secret = own_key(ROOT, EPOCH)
    b = own_public_share(secret, ROOT, EPOCH)
    product = np.array(slow_product(secret.residues, common_polynomial(EPOCH)), np.uint64)
    add_into(product, b)
    error = centred(product)
    assert error.std() == pytest.approx(4.6, rel=0.06)
    assert looks_uniform(b)
    assert abs(np.corrcoef(error, centred(secret.residues))[0, 1]) < 5 / math.sqrt(N)


def test_deals_of_another_epoch_or_root_share_neither_rows_nor_masks() -> None:
    secret, rows, masks = own_key(ROOT, EPOCH), set(), set()
    for root, epoch in ((ROOT, EPOCH), (ROOT, CONTEXT), (seed_of("other"), EPOCH)):
        deals = own_deals(secret, 2, 3, root, epoch)
        rows.add(deals[0].share.expose())
        masks.add(sum(w * int(deals[i - 1].mask.residues[0]) for i, w in lagrange((1, 2)).items()) % PRIME)
    assert len(rows) == len(masks) == 3


def test_the_common_polynomial_is_uniform_and_of_its_epoch() -> None:
    assert looks_uniform(common_polynomial(EPOCH))
    assert np.array_equal(common_polynomial(EPOCH), common_polynomial(EPOCH))
    assert not np.array_equal(common_polynomial(EPOCH), common_polynomial(CONTEXT))


def test_the_collective_key_is_one_key() -> None:
    committee = Threshold(plan(3, 12, N, COMMITTEES[2]))
    product = np.array(slow_product(committee.secret, committee.key.a), np.uint64)
    add_into(product, committee.key.b)
    assert centred(product).std() == pytest.approx(4.6 * math.sqrt(5), rel=0.06)


def test_inner_products_are_modulo_q() -> None:
    top = np.full(N, PRIME - 1, np.uint64)
    assert inner(top, top) == N
    assert inner(top, np.arange(N, dtype=np.uint64)) == (-N * (N - 1) // 2) % PRIME


# --- what a secret refuses

RECOGNISABLE = np.full(N, 1234567890123, np.uint64)


def dealt_of(residues: Residues) -> Dealt:
    return Dealt(SecretResidues(residues), SecretResidues(residues[:1]))


def test_secret_residues_show_nothing_and_are_never_duplicated() -> None:
    for secret in (SecretResidues(RECOGNISABLE), dealt_of(RECOGNISABLE)):
        shown = f"{secret!r} {secret!s} {[secret]}"
        for spelling in ("1234567890123", RECOGNISABLE[:1].tobytes().hex()[:10], "array"):
            assert spelling not in shown
        for duplicate in (pickle.dumps, copy.deepcopy):
            with pytest.raises(BadParameters, match="never pickled or copied"):
                duplicate(secret)


def test_erased_residues_are_overwritten_and_unusable() -> None:
    secret = SecretResidues(RECOGNISABLE)
    memory = secret._secret
    assert memory is not None
    assert any(memory)
    secret.erase()
    secret.erase()
    assert memory == bytes(8 * N)
    with pytest.raises(BadParameters, match="erased"):
        _ = secret.residues


def test_an_erased_deal_erases_share_and_mask() -> None:
    dealt = dealt_of(RECOGNISABLE)
    dealt.erase()
    dealt.erase()
    for secret in (dealt.share, dealt.mask):
        with pytest.raises(BadParameters, match="erased"):
            _ = secret.residues


def test_secret_residues_copy_what_they_are_given_and_what_they_give() -> None:
    given = RECOGNISABLE.copy()
    secret = SecretResidues(given)
    given[0] = 1
    taken = secret.residues
    taken[1] = 1
    assert np.array_equal(secret.residues, RECOGNISABLE)
    assert secret == SecretResidues(RECOGNISABLE)


BAD_SECRETS: dict[str, Callable[[Residues], Any]] = {
    "signed": lambda good: good.astype(np.int64),
    "rows": lambda good: good.reshape(2, -1),
    "q": lambda good: np.append(good, np.uint64(PRIME)),
}


@pytest.mark.parametrize("bad", BAD_SECRETS.values(), ids=BAD_SECRETS)
def test_a_secret_is_one_row_of_residues(bad: Callable[[Residues], Any]) -> None:
    with pytest.raises(BadShare) as caught:
        SecretResidues(bad(RECOGNISABLE))
    assert "1234567890123" not in str(caught.value)


@pytest.mark.parametrize("size", [0, N - 1, N, N + 2])
def test_a_deal_is_a_polynomial_and_one_residue(size: int) -> None:
    row = np.zeros(size, np.uint64)
    with pytest.raises(BadShare, match="one more"):
        Dealt.of(row)
    assert np.array_equal(Dealt.of(reduced(np.arange(N + 1))).mask.residues, [N])
