"""ceremony: commitments bind, wrong degrees and wrong shares are found and named, the probe opens to its pattern."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secagg.ckks.ceremony import (
    LABEL_COMMIT,
    Reveal,
    challenge,
    check_commitment,
    check_probe,
    commitment_of,
    covering_sets,
    false_dealers,
    pattern,
    probe,
    probe_plan,
    summand,
    transcript_of,
)
from secagg.ckks.cipher import PublicKey, add_into, largest_value
from secagg.ckks.plan import Keys, Mode, plan
from secagg.ckks.share import (
    Dealt,
    SecretResidues,
    check_degree,
    combine_deals,
    deal,
    inner,
    lagrange,
    own_deals,
    own_key,
)
from secagg.errors import BadParameters, BadShare
from secagg.negacyclic import PRIME, N, Residues
from secagg.prg import Stream
from tests.contracts.uniform import FALSE_ALARM, p_values
from tests.secagg.ckks.committee import CONTEXT, EPOCH, Threshold, random_residues, seed_of, summed

TRANSCRIPT = hashlib.sha256(b"transcript").digest()
GAMMA = challenge(EPOCH, TRANSCRIPT)
each_size = pytest.mark.parametrize("holders", [3, 5, 7, 10])

Deals = dict[int, list[Dealt]]


def honest(holders: int, threshold: int) -> Deals:
    """By dealer: what holders 1, 2, ... get."""
    roots = {j: seed_of("dealer", j) for j in range(1, holders + 1)}
    return {j: own_deals(own_key(root, EPOCH), threshold, holders, root, EPOCH) for j, root in roots.items()}


def values_of(deals: Deals, gamma: Residues = GAMMA) -> dict[int, int]:
    return {i: sum(summand(gamma, deals[j][i - 1]) for j in deals) % PRIME for i in deals}


def summands_of(deals: Deals) -> dict[int, dict[int, int]]:
    return {i: {j: summand(GAMMA, deals[j][i - 1]) for j in deals} for i in deals}


def spoilt(dealt: Dealt, place: int, by: int) -> Dealt:
    row = np.append(dealt.share.residues, dealt.mask.residues)
    row[place] = (int(row[place]) + by) % PRIME
    return Dealt.of(row)


# --- the check of degrees


@each_size
def test_honest_deals_fit_and_nobody_is_named(holders: int) -> None:
    threshold = Keys.recommended(holders, 1).threshold
    deals = honest(holders, threshold)
    check_degree(values_of(deals), threshold)
    assert false_dealers(summands_of(deals), threshold) == ()


@each_size
def test_a_dealer_of_degree_t_is_found_and_named(holders: int) -> None:
    threshold = Keys.recommended(holders, 1).threshold
    for villain in (1, holders):
        deals = honest(holders, threshold)
        rows = deal(random_residues("villain", rows=1)[0], threshold + 1, holders, Stream(seed_of("villain")))
        deals[villain] = [
            Dealt(SecretResidues(row), honest_deal.mask) for row, honest_deal in zip(rows, deals[villain], strict=True)
        ]
        with pytest.raises(BadShare, match=f"degree {threshold - 1}"):
            check_degree(values_of(deals), threshold)
        assert false_dealers(summands_of(deals), threshold) == (villain,)


@each_size
def test_one_wrong_residue_of_one_share_of_anybody_is_found_and_its_dealer_named(holders: int) -> None:
    threshold = Keys.recommended(holders, 1).threshold
    deals = honest(holders, threshold)
    summands = summands_of(deals)
    for holder in range(1, holders + 1):
        for villain in {1, holder, holders}:
            for place, by in ((0, 1), (N - 1, PRIME - 1), (N, 1)):
                wrong = summand(GAMMA, spoilt(deals[villain][holder - 1], place, by))
                bad = {**summands, holder: {**summands[holder], villain: wrong}}
                with pytest.raises(BadShare):
                    check_degree({i: sum(row.values()) % PRIME for i, row in bad.items()}, threshold)
                assert false_dealers(bad, threshold) == (villain,)


def test_several_false_dealers_are_all_named() -> None:
    deals = honest(5, 4)
    for villain, holder in ((2, 1), (5, 5)):
        deals[villain][holder - 1] = spoilt(deals[villain][holder - 1], 3, 17)
    assert false_dealers(summands_of(deals), 4) == (2, 5)


def test_a_holder_that_lies_about_a_summand_gets_an_honest_dealer_named() -> None:
    """The documented limit: the box that the holder was sent settles it."""
    summands = summands_of(honest(5, 4))
    summands[3][2] = (summands[3][2] + 1) % PRIME
    assert false_dealers(summands, 4) == (2,)


def test_as_many_values_as_the_threshold_always_fit_and_fewer_say_nothing() -> None:
    check_degree({1: 5, 2: 7}, 2)
    for values, threshold in (({1: 5}, 2), ({}, 1), ({1: 5}, 0)):
        with pytest.raises(BadParameters, match="say nothing"):
            check_degree(values, threshold)


def test_any_points_in_any_order_are_checked() -> None:
    line = {9: 29, 2: 8, 64: 194, 5: 17}
    check_degree(line, 2)
    check_degree(dict(reversed(line.items())), 3)
    for point in line:
        with pytest.raises(BadShare):
            check_degree({**line, point: line[point] + 1}, 2)


def test_a_value_beyond_the_modulus_does_not_fit() -> None:
    with pytest.raises(BadShare):
        check_degree({1: 1, 2: 2, 3: 3 + PRIME}, 2)


def test_a_challenge_known_before_the_deals_is_escaped() -> None:
    """Why the challenge comes from the transcript: against a known one a wrong share hides in its mask."""
    deals = honest(5, 4)
    wrong = spoilt(deals[1][1], 7, 99)
    deals[1][1] = spoilt(wrong, N, -99 * int(GAMMA[7]))
    check_degree(values_of(deals), 4)
    with pytest.raises(BadShare):
        check_degree(values_of(deals, challenge(EPOCH, bytes(32))), 4)


def test_summands_hide_the_product_of_challenge_and_key() -> None:
    """All C of them determine <gamma, s_j> + mu_j(0), and mu_j(0) is drawn for nothing else."""
    seen = []
    key = own_key(seed_of("dealer"), EPOCH)
    for attempt in range(2):
        deals = own_deals(key, 2, 3, seed_of("attempt", attempt), EPOCH)
        masked, masks = (
            sum(weight * values[i - 1] for i, weight in lagrange((1, 3)).items()) % PRIME
            for values in ([summand(GAMMA, d) for d in deals], [int(d.mask.residues[0]) for d in deals])
        )
        assert masked == (inner(GAMMA, key.residues) + masks) % PRIME
        seen.append(masks)
    assert seen[0] != seen[1]


def test_the_challenge_is_uniform_and_of_its_transcript() -> None:
    assert min(p_values(GAMMA, 54).values()) > FALSE_ALARM
    assert not np.array_equal(GAMMA, challenge(EPOCH, bytes(32)))
    assert not np.array_equal(GAMMA, challenge(CONTEXT, TRANSCRIPT))


@pytest.mark.parametrize("summands", [{1: {1: 0, 2: 0}, 2: {1: 0}}, {1: {1: 0}, 2: {2: 0}}])
def test_every_holder_publishes_a_summand_of_every_dealer(summands: dict[int, dict[int, int]]) -> None:
    with pytest.raises(BadParameters, match="every dealer"):
        false_dealers(summands, 2)


# --- commitments


def reveal(dealer: int = 1, **changed: Any) -> Reveal:
    share = random_residues("b", dealer, rows=1)[0]
    return replace(Reveal(dealer, bytes([dealer]) * 32, share, hashlib.sha256(bytes([dealer])).digest()), **changed)


def test_a_commitment_is_the_hash_that_the_docstring_says() -> None:
    one = reveal(3)
    body = LABEL_COMMIT + EPOCH + b"\x03" + one.nonce + one.deals + one.public_share.astype("<u8").tobytes()
    assert commitment_of(EPOCH, one) == hashlib.sha256(body).digest()
    check_commitment(EPOCH, one, commitment_of(EPOCH, one))


def test_a_commitment_binds_every_field() -> None:
    committed = commitment_of(EPOCH, reveal())
    other = reveal().public_share.copy()
    other[-1] = (int(other[-1]) + 1) % PRIME
    for context, changed in (
        (CONTEXT, reveal()),
        (EPOCH, reveal(dealer=2)),
        (EPOCH, reveal(nonce=bytes(32))),
        (EPOCH, reveal(deals=bytes(32))),
        (EPOCH, reveal(public_share=other)),
    ):
        with pytest.raises(BadShare, match="another share of the key"):
            check_commitment(context, changed, committed)


@pytest.mark.parametrize(
    "changed",
    [
        {"dealer": 0},
        {"dealer": 65},
        {"dealer": True},
        {"nonce": bytes(31)},
        {"deals": b""},
        {"public_share": np.zeros(N - 1, np.uint64)},
        {"public_share": np.zeros(N, np.int64)},
        {"public_share": np.full(N, PRIME, np.uint64)},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_a_reveal_has_one_shape(changed: dict[str, Any]) -> None:
    with pytest.raises(BadParameters, match=r"dealer"):
        reveal(**changed)


def test_a_commitment_is_made_for_one_epoch() -> None:
    with pytest.raises(BadParameters, match="context"):
        commitment_of(b"", reveal())


def test_the_transcript_is_of_all_reveals_in_any_order() -> None:
    reveals = [reveal(dealer) for dealer in (1, 2, 3)]
    transcript = transcript_of(EPOCH, reveals)
    assert transcript == transcript_of(EPOCH, reveals[::-1])
    others = [
        transcript_of(CONTEXT, reveals),
        transcript_of(EPOCH, reveals[:2]),
        *(transcript_of(EPOCH, [*reveals[:k], reveal(k + 1, nonce=bytes(32)), *reveals[k + 1 :]]) for k in range(3)),
    ]
    assert len({transcript, *others}) == 6


@pytest.mark.parametrize("dealers", [(), (2,), (1, 1), (1, 3), (1, 2, 2)])
def test_a_transcript_lacks_nobody_and_counts_nobody_twice(dealers: Iterable[int]) -> None:
    with pytest.raises(BadParameters, match="every dealer"):
        transcript_of(EPOCH, [reveal(dealer) for dealer in dealers])


def test_the_last_to_choose_would_own_the_key() -> None:
    """Why commitments come before reveals."""
    honest_sum = random_residues("b", 1, rows=1)[0]
    target = random_residues("target", rows=1)[0]
    last = (target + np.uint64(PRIME) - honest_sum) % np.uint64(PRIME)
    add_into(honest_sum, last)
    assert np.array_equal(honest_sum, target)
    with pytest.raises(BadShare):
        check_commitment(EPOCH, reveal(2, public_share=last), commitment_of(EPOCH, reveal(2)))


# --- the probe

PLAN = plan(10, 20, 5 * N, Keys(Mode.THRESHOLD, 5, 4, 3))


def probed(committee: Threshold, key: PublicKey, members: tuple[int, ...]) -> Residues:
    c0, c1 = summed([probe(PLAN, key, EPOCH, TRANSCRIPT)], probe_plan(PLAN))
    committee.members = members
    return committee.plaintext(c0, c1)


@each_size
def test_sets_that_cover_all_holders(holders: int) -> None:
    threshold = Keys.recommended(holders, 1).threshold
    sets = covering_sets(holders, threshold)
    assert len(sets) == -(-holders // threshold)
    assert {i for members in sets for i in members} == set(range(1, holders + 1))
    assert all(len(set(members)) == threshold for members in sets)


def test_the_probe_opens_to_its_pattern() -> None:
    committee = Threshold(PLAN)
    for members in covering_sets(5, 4):
        check_probe(PLAN, EPOCH, TRANSCRIPT, probed(committee, committee.key, members))
    values = pattern(PLAN, EPOCH, TRANSCRIPT)
    bound = largest_value(PLAN)
    assert values.size == probe_plan(PLAN).dimension
    assert -bound <= values.min() < -0.9 * bound
    assert 0.9 * bound < values.max() <= bound


def test_the_probe_is_a_function_of_public_bytes() -> None:
    key = Threshold(PLAN).key
    one, again, other = (probe(PLAN, key, EPOCH, transcript) for transcript in (TRANSCRIPT, TRANSCRIPT, bytes(32)))
    assert one.c0 == again.c0
    assert one.c1 == again.c1
    assert one.c1 != other.c1
    assert not np.array_equal(pattern(PLAN, EPOCH, TRANSCRIPT), pattern(PLAN, EPOCH, bytes(32)))


def test_a_dealer_of_another_secret_than_its_public_share_passes_the_degrees_and_fails_the_probe() -> None:
    committee = Threshold(PLAN)
    deals = {j: own_deals(own_key(committee.roots[j], EPOCH), 4, 5, committee.roots[j], EPOCH) for j in range(1, 6)}
    deals[2] = own_deals(own_key(seed_of("another"), EPOCH), 4, 5, committee.roots[2], EPOCH)
    check_degree(values_of(deals), 4)
    committee.shares = {i: combine_deals(deals[j][i - 1] for j in deals).residues for i in deals}
    for members in covering_sets(5, 4):
        with pytest.raises(BadShare, match="pattern"):
            check_probe(PLAN, EPOCH, TRANSCRIPT, probed(committee, committee.key, members))


def test_a_holder_of_a_wrong_share_fails_every_set_that_it_is_in() -> None:
    committee = Threshold(PLAN)
    committee.shares[5] = random_residues("wrong", rows=1)[0]
    check_probe(PLAN, EPOCH, TRANSCRIPT, probed(committee, committee.key, (1, 2, 3, 4)))
    with pytest.raises(BadShare):
        check_probe(PLAN, EPOCH, TRANSCRIPT, probed(committee, committee.key, (2, 3, 4, 5)))


def test_a_small_offset_of_every_coefficient_is_seen_in_the_residual() -> None:
    committee = Threshold(PLAN)
    plaintext = probed(committee, committee.key, (1, 2, 3, 4))
    offset = np.full(plaintext.shape, int(1.5 * PLAN.noise.std), np.uint64)
    add_into(plaintext, offset)
    with pytest.raises(BadShare):
        check_probe(PLAN, EPOCH, TRANSCRIPT, plaintext)
