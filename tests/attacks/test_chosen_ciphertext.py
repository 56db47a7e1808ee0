"""A client adds a multiple of the key to the sum, and the server reads it off: the limit of encrypted rounds.

Nothing that the two say is refused, because nothing of it is wrong to see: (0, 2^k) is a ciphertext like any other.
Therefore a plan that assumes clients who help an active server is no plan of encrypted rounds.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from protocols.ckks import epoch as names
from protocols.ckks.messages import Ciphertext
from protocols.errors import BadPlan, ImplausibleSum
from protocols.plan import ENCRYPTED, Promise, RoundPlan
from secagg.ckks.cipher import add_into, open_exact
from secagg.ckks.wire import pack_into, packed_bytes, unpack
from secagg.negacyclic import N, big_product, centred, reduced
from tests.attacks.hall import Hall, encrypted_plan
from tests.rows import rows

POWER = 47


def poison(hall: Hall) -> Ciphertext:
    """(0, 2^k) in every block, signed by a client that takes part."""
    plan, count = hall.plan, hall.plan.blocks * N
    c0, c1 = bytearray(packed_bytes(count, plan.width0)), bytearray(packed_bytes(count, plan.width1))
    residues = np.zeros((plan.blocks, N), np.uint64)
    residues[:, 0] = 1 << POWER
    pack_into(c1, residues, plan.width1)
    key, digests = hall.server.agreement.key, (names.digest(c0), names.digest(c1))
    text = names.upload_text(hall.context, key, hall.villain, *digests)
    return Ciphertext(bytes(c0), bytes(c1), hall.company.identities[hall.villain].sign(text))


@pytest.fixture
def poisoned() -> Hall:
    hall = Hall(encrypted_plan(bits=16))
    assert hall.plan.digits == 1
    hall.everybody(hall.villain)
    assert hall.speak(hall.villain, poison(hall)) == []
    return hall


@rows("M24")
def test_a_client_and_the_server_together_read_the_key_and_then_every_upload(row: str, poisoned: Hall) -> None:
    hall, plan = poisoned, poisoned.plan
    c0 = hall.server._party.state.summed.sum0.copy()
    answers = [bytes(frame) for who, asked in hall.asked.items() for frame in hall.holders[who].receive(asked)]
    read = reduced((centred(hall.plaintext(c0, answers)[0]) + (1 << (POWER - 1))) >> POWER)
    victim = hall.ids[2]
    upload, count = hall.uploads[victim], plan.blocks * N
    opened = big_product(unpack(upload.c1, count, plan.width1).reshape(plan.blocks, N), read)
    add_into(opened, unpack(upload.c0, count, plan.width0).reshape(plan.blocks, N))
    values = open_exact(plan, opened).values
    assert np.array_equal(hall.ring.reduce(values[: hall.length]), hall.vector_of(victim))


def test_an_honest_server_sees_that_this_is_no_sum_and_publishes_nothing(poisoned: Hall) -> None:
    """A key that leaves the range of the sum; within it, published sums carry it (`test_key_recovery`)."""
    with pytest.raises(ImplausibleSum, match="is no sum"):
        poisoned.open()
    assert poisoned.server.aggregate is None


def test_so_a_plan_against_clients_that_help_an_active_server_is_refused() -> None:
    with pytest.raises(BadPlan, match="enough to open every encrypted upload"):
        RoundPlan.recommend(20, corrupt=Fraction(1, 10), promise=Promise.ACTIVE, bits=12, protocol=ENCRYPTED)
