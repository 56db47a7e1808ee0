"""The server divides a holder's partial decryption by the ciphertext it was asked about: smudging is what stops it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secagg.ckks import share
from secagg.ckks.guard import keys_from
from secagg.ckks.plan import Keys, Mode, plan
from secagg.ckks.share import lagrange, partial, scaled, smudging_seed
from secagg.negacyclic import PRIME, N, Residues, centred
from tests.contracts.uniform import FALSE_ALARM, p_values
from tests.secagg.ckks.committee import CONTEXT, Threshold, random_values, seed_of

PLAN = plan(3, 18, 2 * N, Keys(Mode.THRESHOLD, 5, 4))
MEMBERS = (1, 2, 4, 5)
VICTIM = 4


class Asked:
    """A committee and the honest sum of three uploads; the villain has c1 and the victim's answer."""

    def __init__(self) -> None:
        self.committee = Threshold(PLAN)
        uploads = [self.committee.upload(random_values(PLAN, who), who) for who in range(3)]
        _, self.c1 = self.committee.summed(uploads)

    @property
    def share(self) -> Residues:
        return self.committee.shares[VICTIM]


def divided(answer: Residues, c1: Residues) -> Residues:
    """d / c1 / lambda for each block: the share, had nobody smudged."""
    quotients = keys_from(np.zeros_like(answer), c1, answer)
    back = pow(lagrange(MEMBERS)[VICTIM], -1, PRIME)
    return np.stack([scaled(row, back) for row in quotients])


def recovered(guesses: Residues, secret: Residues) -> float:
    """The largest share of residues that any guess has right."""
    return float(np.max(np.mean(guesses == secret, axis=1)))


def test_without_smudging_one_answer_gives_the_whole_share_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "rounded_gaussian", lambda stream, std, count: np.zeros(count, np.int64))
    case = Asked()
    answer = case.committee.answer(VICTIM, case.c1, MEMBERS)
    assert recovered(divided(answer, case.c1), case.share) == 1.0


def test_with_the_smudging_that_ships_the_quotient_is_noise() -> None:
    case = Asked()
    guesses = divided(case.committee.answer(VICTIM, case.c1, MEMBERS), case.c1)
    assert recovered(guesses, case.share) == 0.0
    assert min(p_values(guesses.ravel(), 54).values()) > FALSE_ALARM
    for guess in guesses:
        correlation = np.corrcoef(centred(guess), centred(case.share))[0, 1]
        assert abs(correlation) < 5 / np.sqrt(N)
    # Two blocks under one share do not agree on anything either.
    assert not (guesses[0] == guesses[1]).any()


def test_smudging_of_one_coefficient_in_each_block_already_stops_the_division(monkeypatch: pytest.MonkeyPatch) -> None:
    """Division is brittle; the width that ships is for lattices, which are not."""

    def once(stream: Any, std: float, count: int) -> Any:
        noise = np.zeros(count, np.int64)
        noise[::N] = 1
        return noise

    monkeypatch.setattr(share, "rounded_gaussian", once)
    case = Asked()
    assert recovered(divided(case.committee.answer(VICTIM, case.c1, MEMBERS), case.c1), case.share) == 0.0


NARROW, QUESTIONS = 4.6, 1500


def averaged(case: Asked, digests: list[bytes]) -> Residues:
    """The rounded mean of a holder's answers, each counted from the first; narrow smudges, so that few suffice."""
    weight, c1 = lagrange(MEMBERS)[VICTIM], case.c1[:1]
    answers = [
        partial(case.share, c1, weight, NARROW, smudging_seed(seed_of("holder"), CONTEXT, digest, MEMBERS))
        for digest in digests
    ]
    first = answers[0]
    offsets = np.mean([centred((each + np.uint64(PRIME) - first) % np.uint64(PRIME)) for each in answers], axis=0)
    return np.mod(first.astype(np.int64) + np.rint(offsets).astype(np.int64), PRIME).view(np.uint64)


def test_fresh_smudges_of_one_question_would_average_out() -> None:
    case = Asked()
    mean = averaged(case, [number.to_bytes(4, "big") for number in range(QUESTIONS)])
    assert recovered(divided(mean, case.c1[:1]), case.share) == 1.0


def test_the_same_question_gets_the_same_smudge_and_nothing_averages_out() -> None:
    case = Asked()
    mean = averaged(case, [b"sum"] * 50)
    assert recovered(divided(mean, case.c1[:1]), case.share) == 0.0
