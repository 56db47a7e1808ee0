"""The server asks members about a cohort and about the same without its victim: the same member, or different ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protocols.errors import AlreadyAnswered
from protocols.oneshot import member as roles
from protocols.party import SERVER, PartyId
from secagg.keys import Context
from secagg.negacyclic import Integers
from secagg.rlwe import reveal
from secagg.shamir import PackedShare
from tests.attacks.assembly import Assembly
from tests.attacks.hall import body_of
from tests.rows import rows

Answers = dict[int, PackedShare]


@pytest.fixture
def assembly() -> Assembly:
    made = Assembly()
    for who in made.ids:
        made.upload_of(who)
    return made


def cohorts(assembly: Assembly) -> tuple[tuple[PartyId, ...], tuple[PartyId, ...]]:
    """Everybody, and everybody but the victim."""
    return assembly.ids, assembly.ids[1:]


@rows("M21", "M23", "M3")
@pytest.mark.parametrize("first", [0, 1], ids=["everybody first", "everybody last"])
def test_no_member_answers_about_a_second_set(row: str, first: int, assembly: Assembly) -> None:
    one, other = cohorts(assembly)[first], cohorts(assembly)[1 - first]
    for who in assembly.members:
        answer = assembly.ask(who, assembly.question(who, one))
        with assembly.refuses(who, AlreadyAnswered, "the difference would tell"):
            assembly.ask(who, assembly.question(who, other))
        assert assembly.ask(who, assembly.question(who, one)) == answer


def opened(assembly: Assembly, secret: Integers, whose: tuple[PartyId, ...]) -> list[int]:
    """The sum that a sum of keys opens."""
    shape = assembly.shape
    values = reveal(shape.mask, assembly.summed(*whose), secret, Context(assembly.context), len(whose))
    return [int(value) for value in shape.sums(values)[0]]


@rows("M21", "M23", "M3")
def test_without_that_refusal_the_victim_s_vector_is_the_difference(
    row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test."""
    monkeypatch.setattr(roles, "next_question", lambda state, context, question: state.asked)
    sums = []
    for cohort in cohorts(assembly):
        answers = {
            place: assembly.share_in(assembly.ask(who, assembly.question(who, cohort)))
            for who, place in assembly.places.items()
        }
        secret = assembly.rebuilt(answers, len(cohort))
        assert secret is not None
        sums.append(opened(assembly, secret, cohort))
    modulus = assembly.shape.coding.ring.modulus
    difference = [(one - other) % modulus for one, other in zip(*sums, strict=True)]
    assert difference == assembly.vector_of(assembly.ids[0])


def answers_of(assembly: Assembly, split: tuple[int, ...], corrupted: tuple[PartyId, ...]) -> tuple[Answers, Answers]:
    """What real members answer who were asked about one of two sets each; corrupted ones answer about both."""
    found: tuple[Answers, Answers] = ({}, {})
    honest = [who for who in assembly.members if who not in corrupted]
    asked = [(who, which) for who, which in zip(honest, split, strict=True)]
    asked += [(who, which) for who in corrupted for which in (0, 1)]
    for who, which in asked:
        member = assembly.company.holder(who)
        member.thaw(assembly.members[who].freeze())
        [frame] = member.receive(assembly.framed(assembly.question(who, cohorts(assembly)[which]), SERVER))
        found[which][assembly.places[who]] = assembly.share_in(body_of(bytes(frame), who))
    return found


@rows("M2", "M21", "M23")
def test_however_members_are_told_two_sets_at_most_one_is_opened(row: str, assembly: Assembly) -> None:
    """All ways to split the honest members of five, with each single member corrupted."""
    both = [len(cohort) for cohort in cohorts(assembly)]
    opened_by = []
    for corrupted, split in itertools.product(assembly.members, itertools.product((0, 1), repeat=4)):
        answers = answers_of(assembly, split, (corrupted,))
        opens = [assembly.rebuilt(said, size) is not None for said, size in zip(answers, both, strict=True)]
        assert sum(opens) <= 1, (corrupted, split)
        opened_by.append((sum(split), tuple(opens)))
    # Three of four honest members and the corrupted one are enough; two of each are for none.
    assert set(opened_by) == {
        (0, (True, False)),
        (1, (True, False)),
        (2, (False, False)),
        (3, (False, True)),
        (4, (False, True)),
    }


@rows("M2", "M23")
def test_what_the_others_say_of_another_set_is_no_answer_about_this_one(row: str, assembly: Assembly) -> None:
    """Mixed, the answers of two sets rebuild nothing that looks like a sum of keys of either size."""
    split = (0, 0, 1, 1)
    corrupted = next(iter(assembly.members))
    first, second = answers_of(assembly, split, (corrupted,))
    for mixed in ({**first, **second}, {**second, **first}):
        assert len(mixed) == 5
        for size in (1, 4, 5):
            for base in itertools.combinations(mixed, 4):
                assert assembly.rebuilt({place: mixed[place] for place in base}, size) is None


@rows("M2", "M21", "M23")
def test_so_it_is_for_ten_members_two_of_them_corrupted(row: str) -> None:
    """Answers are asked for once, of members that are told either set; then all 256 ways to split them."""
    assembly = Assembly(10)
    for who in assembly.ids:
        assembly.upload_of(who)
    everyone, honest = tuple(assembly.members), tuple(assembly.members)[2:]
    told = [answers_of(assembly, (which,) * 8, everyone[:2]) for which in (0, 1)]
    counts = set()
    for split in itertools.product((0, 1), repeat=8):
        opens = []
        for which, cohort in enumerate(cohorts(assembly)):
            places = [1, 2, *(assembly.places[who] for who, asked in zip(honest, split, strict=True) if asked == which)]
            shares = {place: told[which][which][place] for place in places}
            opens.append(assembly.rebuilt(shares, len(cohort)) is not None)
        assert sum(opens) <= 1
        counts.add((sum(split), tuple(opens)))
    assert {split for split, opens in counts if any(opens)} == {0, 1, 7, 8}


@rows("M2", "M23")
def test_one_key_of_two_sets_is_the_difference_that_is_never_had(row: str, assembly: Assembly) -> None:
    """What two opened sets would give away is the key itself; the one opened set says nothing else."""
    cohort, others = cohorts(assembly)
    first = answers_of(assembly, (0, 0, 0, 0), (next(iter(assembly.members)),))[0]
    second = answers_of(assembly, (1, 1, 1, 1), (next(iter(assembly.members)),))[1]
    one, other = assembly.rebuilt(first, len(cohort)), assembly.rebuilt(second, len(others))
    assert one is not None
    assert other is not None
    key = one - other
    assert np.abs(key).max() <= 65
    assert opened(assembly, key, cohort[:1]) == assembly.vector_of(cohort[0])
