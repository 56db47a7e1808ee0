"""The server shows its victim a committee in which it can open alone, or shows different clients different ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols import codec
from protocols.errors import (
    BadCommittee,
    BadSignature,
    CohortTooSmall,
    Malformed,
    OutOfTurn,
    PolicyConflict,
    ViewMismatch,
)
from protocols.oneshot import client as roles
from protocols.oneshot import epoch as names
from protocols.oneshot.epoch import Epoch
from protocols.oneshot.messages import Certificate, Concealed, Convene, Enlisted, OpenOneShot
from protocols.party import SERVER, PartyId
from protocols.plan import context_of
from secagg.box import open_box
from secagg.errors import BadCiphertext
from secagg.keys import AgreementKey, Context, Identity
from secagg.negacyclic import Integers, N
from secagg.rlwe import reveal
from secagg.shamir import combine_packed
from tests.attacks.assembly import Assembly, one_shot_plan
from tests.contracts.company import seed_of
from tests.rows import rows


@pytest.fixture
def assembly() -> Assembly:
    return Assembly()


class Puppets:
    """Members that the server made up, or bent: it knows how they sign, and their box keys."""

    def __init__(self, epoch: Epoch, identities: list[Identity]) -> None:
        self.pairs = [AgreementKey(seed_of("puppet", place)) for place in range(len(identities))]
        signed = [
            Enlisted(pair.public, identity.sign(names.enlisted_text(epoch.context, place, pair.public)))
            for place, (pair, identity) in enumerate(zip(self.pairs, identities, strict=True), start=1)
        ]
        self.certificate = Certificate(epoch, tuple(signed))

    def key_in(self, letter: Concealed, who: PartyId, context: Context) -> Integers:
        """The mask key of an upload to this committee, as the server has it alone."""
        quorum, shares = self.certificate.epoch.quorum, {}
        for place, pair in enumerate(self.pairs[: quorum.needed], start=1):
            key = names.box_key(pair.agree(letter.box_key), context, who, place)
            share = open_box(key, bytes(letter.boxes[place - 1]), names.box_binding(context, who, place))
            shares[place] = names.share_from_bytes(share)
        return combine_packed(shares, quorum, N)


def made_up(assembly: Assembly, size: int = 5) -> tuple[Epoch, list[Identity]]:
    identities = [Identity.from_seed(seed_of("made up", place)) for place in range(size)]
    epoch = assembly.certificate.epoch
    return replace(epoch, members=tuple(each.public for each in identities)), identities


# --- a committee of the server's own


@rows("M6", "M10", "M11")
def test_a_committee_that_the_server_made_up_is_refused(row: str, assembly: Assembly) -> None:
    for who in assembly.ids:
        with assembly.shuns(who, BadCommittee, "a member whom my policy does not pin"):
            assembly.invite(who, Puppets(*made_up(assembly)).certificate)


@rows("M6", "M11")
@pytest.mark.parametrize("place", range(5))
def test_one_member_that_the_server_made_up_is_one_too_many(row: str, place: int, assembly: Assembly) -> None:
    """All others are pinned and signed as they should."""
    epoch, own = assembly.certificate.epoch, Identity.from_seed(seed_of("made up", 0))
    signers = [each.identity for each in assembly.signers.values()]
    signers[place] = own
    mixed = replace(epoch, members=tuple(each.public for each in signers))
    with assembly.shuns(assembly.ids[0], BadCommittee, "does not pin"):
        assembly.invite(assembly.ids[0], Puppets(mixed, signers).certificate)


@rows("M10")
def test_keys_that_the_server_made_up_for_pinned_members_are_refused(row: str, assembly: Assembly) -> None:
    epoch, liars = assembly.certificate.epoch, made_up(assembly)[1]
    with assembly.shuns(assembly.ids[0], BadCommittee, "member 1 of its committee: the signature"):
        assembly.invite(assembly.ids[0], Puppets(epoch, liars).certificate)


@rows("M6", "M11")
def test_without_these_checks_the_server_would_open_one_client_alone(
    row: str, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the test: a client that masks for any committee is opened by one that the server made up."""
    monkeypatch.setattr(roles, "check_committee", lambda own, agreement, certificate: None)
    puppets, victim = Puppets(*made_up(assembly)), assembly.ids[0]
    agreement = replace(assembly.agreement, key=puppets.certificate.digest)
    letter = assembly.upload_of(victim, assembly.framed(OpenOneShot(agreement, puppets.certificate), SERVER))
    context = context_of(agreement)
    secret = puppets.key_in(letter, victim, context)
    values = reveal(assembly.shape.mask, assembly.summed(victim), secret, context, 1)
    assert assembly.shape.sums(values)[0].tolist() == assembly.vector_of(victim)


# --- a weaker committee of pinned members


def bent(assembly: Assembly, **changes: object) -> Puppets:
    """Another epoch of the same members, who all signed for it."""
    epoch = replace(assembly.certificate.epoch, **changes)  # type: ignore[arg-type]
    known = {each.identity.public: each.identity for each in assembly.signers.values()}
    return Puppets(epoch, [known[public] for public in epoch.members])


def weakened(assembly: Assembly, **changes: object) -> Certificate:
    return bent(assembly, **changes).certificate


@rows("M6")
@pytest.mark.parametrize("size", [2, 3, 4, 9])
def test_a_committee_of_few_of_the_pinned_members_is_refused(row: str, size: int) -> None:
    """Of ten whom the policy pins two may be corrupt, and the server picks the committee: they would be most of it."""
    assembly = Assembly(10)
    members = assembly.certificate.epoch.members[:size]
    small = weakened(assembly, members=members, corrupted=1, offline=0)
    with assembly.shuns(assembly.ids[0], BadCommittee, "fewer than a fifth of the 10"):
        assembly.invite(assembly.ids[0], small)


@rows("M6")
def test_a_committee_safe_against_fewer_than_a_fifth_is_refused(row: str) -> None:
    """The very same members, with the number lowered that fixes how many shares say nothing."""
    assembly = Assembly(10)
    lowered = weakened(assembly, corrupted=1, offline=2)
    assert lowered.epoch.quorum.needed < assembly.quorum.needed
    with assembly.shuns(assembly.ids[0], BadCommittee, "safe with 1 corrupt members, fewer than a fifth"):
        assembly.invite(assembly.ids[0], lowered)


@rows("M6")
def test_a_client_that_asks_for_more_gets_it_or_says_nothing(row: str, assembly: Assembly) -> None:
    who = assembly.ids[0]
    assembly.pinning(who, min_opening_threshold=3)
    with assembly.shuns(who, BadCommittee, "may be opened by 2 corrupt members; I ask for 3"):
        assembly.invite(who, assembly.certificate)


@rows("M6")
@pytest.mark.parametrize("kept", range(5))
def test_a_certificate_with_fewer_signatures_is_refused(row: str, kept: int, assembly: Assembly) -> None:
    few = replace(assembly.certificate, members=assembly.certificate.members[:kept])
    with assembly.shuns(assembly.ids[0], BadCommittee, f"{kept} signatures of 5 members"):
        assembly.invite(assembly.ids[0], few)


@rows("M6")
def test_a_certificate_with_one_signature_many_times_is_refused(row: str, assembly: Assembly) -> None:
    one = assembly.certificate.members[0]
    with assembly.shuns(assembly.ids[0], BadCommittee, "two members with one key"):
        assembly.invite(assembly.ids[0], replace(assembly.certificate, members=(one,) * 5))


@rows("M6", "M13")
def test_a_committee_for_another_task_is_refused(row: str, assembly: Assembly) -> None:
    """What one task's members may open, with whatever floor, is nothing to another's."""
    with assembly.shuns(assembly.ids[0], BadCommittee, "serves task 'other'"):
        assembly.invite(assembly.ids[0], weakened(assembly, task="other"))


@rows("M6", "M4")
def test_a_committee_with_a_lower_floor_than_the_round_is_refused(row: str) -> None:
    """Its members would open sums over three where the plan's noise is sized for four."""
    assembly = Assembly(plan=one_shot_plan(min_cohort=4))
    with assembly.shuns(assembly.ids[0], BadCommittee, "opens sums over 3 clients, this round is for 4"):
        assembly.invite(assembly.ids[0], weakened(assembly, min_cohort=3))


@rows("M6")
def test_a_server_that_is_a_member_is_refused_whatever_the_policy_pins(row: str, assembly: Assembly) -> None:
    who, server = assembly.ids[0], assembly.company.identity
    assert isinstance(server, Identity)
    pinned = assembly.company.policy.holders | {server.public}
    with pytest.raises(PolicyConflict, match="pins the server"):
        assembly.pinning(who, holders=pinned)
    signers = [each.identity for each in assembly.signers.values()]
    signers[4] = server
    epoch = replace(assembly.certificate.epoch, members=tuple(each.public for each in signers))
    with assembly.shuns(who, BadCommittee, "has the server itself as a member"):
        assembly.invite(who, Puppets(epoch, signers).certificate)


@rows("M13", "M19")
def test_another_committee_than_the_agreement_names_is_refused(row: str, assembly: Assembly) -> None:
    who, later = assembly.ids[0], weakened(assembly, number=1)
    with assembly.shuns(who, ViewMismatch, "another committee than the round names"):
        assembly.clients[who].receive(assembly.framed(OpenOneShot(assembly.agreement, later), SERVER))


@rows("M25")
@pytest.mark.parametrize("protocol", ["pairwise", "ckks"])
def test_the_plan_of_another_protocol_is_not_opened_by_this_letter(row: str, protocol: str, assembly: Assembly) -> None:
    who = assembly.ids[0]
    assembly.pinning(who, protocols=frozenset({"pairwise", "ckks", "oneshot"}))
    plan = replace(assembly.agreement.plan, protocol=protocol)
    with assembly.shuns(who, Malformed, "by the letter of another protocol"):
        assembly.invite(who, assembly.certificate, plan=plan)


# --- different committees for different clients


class Halves(Assembly):
    """Three clients are shown one committee and two another, of the same members and with all their signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.puppets = bent(self, number=1)
        self.second = self.puppets.certificate
        self.agreements = {
            who: replace(self.agreement, key=(self.certificate if place < 3 else self.second).digest)
            for place, who in enumerate(self.ids)
        }
        for who, agreement in self.agreements.items():
            shown = self.certificate if agreement.key == self.certificate.digest else self.second
            self.upload_of(who, self.framed(OpenOneShot(agreement, shown), SERVER))


@rows("M2", "M8")
def test_halves_with_different_committees_are_in_different_rounds(row: str) -> None:
    halves = Halves()
    contexts = {context_of(agreement) for agreement in halves.agreements.values()}
    assert len(contexts) == 2
    for who in halves.ids:
        expected = [] if who in halves.ids[:3] else [(who, "BadSignature")]
        assert halves.speak(who, halves.uploads[who]) == expected


@rows("M2", "M8")
def test_no_member_of_either_opens_a_sum_over_both_or_over_the_smaller(row: str) -> None:
    halves = Halves()
    small = halves.ids[3:]
    for member in halves.members:
        with halves.refuses(member, BadSignature):
            halves.ask(member, halves.question(member, halves.ids))
        with halves.refuses(member, CohortTooSmall, "over 2 clients; 3 are required"):
            halves.ask(member, halves.question(member, small))


@rows("M2", "M8")
def test_a_member_serves_in_one_committee_at_a_time(row: str) -> None:
    """Convened anew it has another key; what was sealed for its first one, nobody opens any more."""
    halves = Halves()
    member = next(iter(halves.members))
    asked = halves.question(member, halves.ids[:3])
    before = AgreementKey(halves.members[member]._party.state.key).public
    frame = convening(halves, halves.second.epoch)
    halves.members[member].receive(frame)
    assert AgreementKey(halves.members[member]._party.state.key).public != before
    state = halves.members[member]._party.state
    with pytest.raises(OutOfTurn, match="do not serve in now"):
        halves.ask(member, asked)
    assert halves.members[member]._party.state is state


def convening(assembly: Assembly, epoch: Epoch) -> bytes:
    topic = codec.task_id(epoch.task)
    return b"".join(codec.encode(Convene(epoch), SERVER, topic, epoch.number, assembly.company.identity.sign))


@rows("M2", "M8")
def test_were_keys_of_both_added_up_no_context_takes_both_masks_off(row: str) -> None:
    """The server has all keys: those of the second committee by itself, and the others' say what they should not."""
    halves = Halves()
    contexts = {who: context_of(agreement) for who, agreement in halves.agreements.items()}
    total = np.zeros(N, np.int64)
    for who in halves.ids[:3]:
        total += halves.key_of(who)
    first = reveal(halves.shape.mask, halves.summed(*halves.ids[:3]), total, contexts[halves.ids[0]], 3)
    assert halves.shape.sums(first)[0].tolist() == halves.sum_of(*halves.ids[:3])
    for who in halves.ids[3:]:
        total += halves.puppets.key_in(halves.uploads[who], who, contexts[who])
    for context in contexts.values():
        with pytest.raises(BadCiphertext, match="low bits"):
            reveal(halves.shape.mask, halves.summed(*halves.ids), total, context, 5)
