"""The server has two halves of a cohort train from different models, and would open the sum of both, or of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import BadMaskKey, BadSignature, CohortTooSmall, ViewMismatch
from protocols.oneshot.messages import OpenOneShot
from protocols.party import SERVER, PartyId
from protocols.plan import context_of
from secagg.errors import BadCiphertext
from secagg.keys import Context
from secagg.negacyclic import Integers, N
from secagg.rlwe import reveal
from tests.attacks.assembly import Assembly
from tests.contracts.company import update_of
from tests.contracts.uniform import FALSE_ALARM, byte_planes, p_values
from tests.rows import rows

ONE, OTHER = b"\1" * 32, b"\2" * 32


class TwoModels(Assembly):
    """The first three clients are invited to train from one model, the others from another."""

    def __init__(self, length: int = 5) -> None:
        super().__init__(length=length)
        self.agreements = {model: replace(self.agreement, model=model) for model in (ONE, OTHER)}
        self.model_of = {who: ONE if place < 3 else OTHER for place, who in enumerate(self.ids)}
        for who, model in self.model_of.items():
            letter = OpenOneShot(self.agreements[model], self.certificate)
            self.upload_of(who, self.framed(letter, SERVER), model)

    def context_for(self, model: bytes) -> Context:
        return context_of(self.agreements[model])


@pytest.fixture(scope="module")
def assembly() -> TwoModels:
    return TwoModels()


@rows("M19")
def test_a_client_that_trained_from_another_model_than_the_round_s_says_nothing(row: str) -> None:
    assembly = Assembly()
    who = assembly.ids[0]
    client = assembly.clients[who]
    client.receive(assembly.framed(OpenOneShot(replace(assembly.agreement, model=ONE), assembly.certificate), SERVER))
    submission = client.prepare(update_of(assembly.company, who, 5), weight=2, model=OTHER)
    with assembly.shuns(who, ViewMismatch, "another model than the one this update was trained from"):
        client.send(submission)


@rows("M19")
def test_what_was_said_about_one_model_is_no_word_about_another(row: str, assembly: TwoModels) -> None:
    """The server's own checks, were it honest."""
    honest = Assembly()
    honest.task = replace(honest.task, model=ONE)
    [honest.invitation] = map(bytes, honest.server.open(honest.task))
    for who, model in assembly.model_of.items():
        expected = [] if model == ONE else [(who, "BadSignature")]
        assert honest.speak(who, assembly.uploads[who]) == expected


@rows("M19")
def test_no_member_helps_to_open_a_sum_over_both(row: str, assembly: TwoModels) -> None:
    for model in (ONE, OTHER):
        for who in assembly.members:
            asked = replace(assembly.question(who, assembly.ids), context=assembly.context_for(model))
            with assembly.refuses(who, BadSignature):
                assembly.ask(who, asked)


@rows("M19")
def test_nor_one_over_the_smaller_half(row: str, assembly: TwoModels) -> None:
    half = [who for who, model in assembly.model_of.items() if model == OTHER]
    for who in assembly.members:
        asked = replace(assembly.question(who, half), context=assembly.context_for(OTHER))
        with assembly.refuses(who, CohortTooSmall, "over 2 clients; 3 are required"):
            assembly.ask(who, asked)


# --- were all members to give away all keys


@pytest.fixture(scope="module")
def long() -> TwoModels:
    return TwoModels(20_000)


def keys_of(assembly: TwoModels, whose: tuple[PartyId, ...]) -> Integers:
    total = np.zeros(N, np.int64)
    for who in whose:
        total += assembly.key_of(who, assembly.context_for(assembly.model_of[who]))
    return total


@rows("M19", "K7")
@pytest.mark.parametrize("model", [ONE, OTHER], ids=["one", "other"])
def test_the_sum_over_both_opens_to_noise_in_every_byte(row: str, long: TwoModels, model: bytes) -> None:
    secret, total, mask = keys_of(long, long.ids), long.summed(*long.ids), long.shape.mask
    with pytest.raises(BadCiphertext, match="low bits"):
        reveal(mask, total, secret, long.context_for(model), len(long.ids))
    left = long.unmasked(total, secret, long.context_for(model))
    assert min(byte_planes(left, mask.modulus_bits).values()) > FALSE_ALARM
    assert min(p_values(left, mask.modulus_bits).values()) > FALSE_ALARM


@rows("M19", "K7")
def test_a_sum_over_those_of_one_model_does_not(row: str, long: TwoModels) -> None:
    """The test of the test: of the right clients in the right context, high bytes are the small sums of updates."""
    those = tuple(who for who, model in long.model_of.items() if model == ONE)
    secret, total, mask = keys_of(long, those), long.summed(*those), long.shape.mask
    values = reveal(mask, total, secret, long.context_for(ONE), len(those))
    assert long.shape.sums(values)[0].tolist() == long.sum_of(*those)
    planes = byte_planes(long.unmasked(total, secret, long.context_for(ONE)), mask.modulus_bits)
    assert planes["bits 0 to 7"] < FALSE_ALARM
    assert planes[f"bits {mask.modulus_bits - 8} to {mask.modulus_bits - 1}"] < FALSE_ALARM


# --- were clients to sign what they did not mask for


@rows("M19", "C1")
def test_a_client_that_masked_for_another_model_and_signs_for_this_one_spoils_no_model(row: str) -> None:
    """It helps the server, or computed its model's digest wrongly: nothing is opened rather than something wrong."""
    honest, lying = Assembly(), TwoModels()
    for who in honest.ids[1:]:
        assert honest.speak(who, honest.upload_of(who)) == []
    villain = honest.ids[0]
    honest.upload_of(villain)
    bent = replace(honest.uploads[villain], vector=lying.uploads[villain].vector)
    assert honest.speak(villain, bent) == []
    with pytest.raises(BadMaskKey, match="did not mask as agreed"):
        honest.open()
    assert honest.server.aggregate is None
