"""What the server holds before members answer: every byte of one masked vector, and of sums of some, is noise."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.oneshot import client as roles
from secagg.negacyclic import N
from secagg.ring import RingVector
from tests.attacks.assembly import Assembly, one_shot_plan
from tests.contracts.uniform import FALSE_ALARM, byte_planes, p_values
from tests.rows import rows

LENGTH = 60_000
PLANS = {"several elements in a coefficient": one_shot_plan(), "one element": one_shot_plan(bits=20)}


@pytest.fixture(scope="module", params=list(PLANS))
def assembly(request: pytest.FixtureRequest) -> Assembly:
    made = Assembly(length=LENGTH, plan=PLANS[request.param])
    for who in made.ids:
        made.upload_of(who)
    return made


@rows("K7")
def test_the_two_plans_are_what_they_are_called(row: str, assembly: Assembly) -> None:
    several = assembly.company.plan == PLANS["several elements in a coefficient"]
    assert (assembly.shape.mask.per_coefficient > 1) == several
    assert assembly.shape.mask.coefficients >= 5 * 256


@rows("K7")
def test_one_masked_vector_is_uniform_in_every_byte(row: str, assembly: Assembly) -> None:
    mask = assembly.shape.mask
    for who in assembly.ids:
        words = assembly.summed(who)
        mask.ring.reduce_in_place(words)
        assert min(byte_planes(words, mask.modulus_bits).values()) > FALSE_ALARM
        assert min(p_values(words, mask.modulus_bits).values()) > FALSE_ALARM


@rows("K7")
def test_so_are_sums_and_differences_of_some(row: str, assembly: Assembly) -> None:
    """Public parts are the same for all; secrets are not."""
    mask = assembly.shape.mask
    one, other = assembly.summed(assembly.ids[0]), assembly.summed(assembly.ids[1])
    for words in (one - other, one + other, assembly.summed(*assembly.ids)):
        mask.ring.reduce_in_place(words)
        assert min(byte_planes(words, mask.modulus_bits).values()) > FALSE_ALARM
        assert min(p_values(words, mask.modulus_bits).values()) > FALSE_ALARM


@rows("K7")
def test_so_are_boxes_and_a_member_s_share_of_small_numbers(row: str, assembly: Assembly) -> None:
    member = next(iter(assembly.members))
    share = assembly.share_in(assembly.ask(member, assembly.question(member, assembly.ids)))
    assert share.size == N // assembly.quorum.packed
    assert min(p_values(share, 31).values()) > FALSE_ALARM
    sealed = b"".join(bytes(box) for who in assembly.ids for box in assembly.uploads[who].boxes)
    assert min(p_values(np.frombuffer(sealed, np.uint8), 8).values()) > FALSE_ALARM


# --- the same figures see what is not hidden


def least(assembly: Assembly, words: RingVector) -> float:
    mask = assembly.shape.mask
    mask.ring.reduce_in_place(words)
    return min(byte_planes(words, mask.modulus_bits).values())


@rows("K7")
def test_a_vector_masked_without_a_secret(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "draw_secret", lambda seed: np.zeros(N, np.int64))
    assembly = Assembly(length=LENGTH)
    who = assembly.ids[0]
    assembly.upload_of(who)
    assert least(assembly, assembly.summed(who)) < FALSE_ALARM


@rows("K7")
def test_the_difference_of_two_vectors_under_one_secret(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "bound_to", lambda root, context, elements: root)
    one, other = Assembly(length=LENGTH), Assembly(length=LENGTH)
    # The same root, and another update.
    other.company.number = 1
    who = one.ids[0]
    one.upload_of(who)
    other.upload_of(who)
    assert one.submitted[who].vector.tolist() != other.submitted[who].vector.tolist()
    assert least(one, one.summed(who)) > FALSE_ALARM
    assert least(one, one.summed(who) - other.summed(who)) < FALSE_ALARM
