"""Members in folders, and images of one-shot rounds: what comes back, what is refused, and what nobody can refuse."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dp.errors import StorageRefused, WrongVersion
from protocols import codec
from protocols.codec import Frame, kind_of
from protocols.committee import exchange
from protocols.durable import DurableClient, DurableHolder, DurableMember, DurableServer
from protocols.endpoint import Convener, Member
from protocols.errors import (
    AlreadyAnswered,
    CohortTooSmall,
    Malformed,
    Misused,
    OutOfTurn,
    PolicyConflict,
    PolicyViolation,
    Replay,
)
from protocols.oneshot.messages import Certificate, Convene, Included, Summed
from protocols.party import SERVER, PartyId
from protocols.plan import ONE_SHOT, RoundPlan
from protocols.storage import IMAGE
from secagg.errors import BadParameters
from secagg.keys import Context, Identity
from tests.contracts.company import Speaking, seed_of, update_of
from tests.contracts.folders import System, under

LENGTH, CLIENTS, MEMBERS = 5, 4, 5


@dataclass
class Hall:
    """Four clients, five members and a server; all in folders. `asked` is the last question about a sum."""

    base: Path

    def __post_init__(self) -> None:
        plan = RoundPlan.recommend(CLIENTS, dropout=Fraction(1, 4), corrupt=0, bits=12, min_cohort=3, protocol=ONE_SHOT)
        self.company = Speaking(plan, CLIENTS, members=MEMBERS)
        self.who = self.company.holder_ids[0]
        self.members = {who: self.member(who) for who in self.company.holder_ids}
        self.clients = {who: self.client(who) for who in self.company.ids}
        self.server = self.server_in_folder()
        self.asked: dict[PartyId, bytes] = {}

    def member(self, who: PartyId) -> DurableMember:
        return DurableMember(self.company.holder(who), self.folder(who))

    def client(self, who: PartyId) -> DurableClient:
        return DurableClient(self.company.client(who), self.base / f"client{who}")

    def server_in_folder(self) -> DurableServer:
        return DurableServer(self.company.server(), self.base / "server")

    def folder(self, who: PartyId) -> Path:
        return self.base / f"member{who}"

    def plain(self, who: PartyId) -> Member:
        member: Any = self.members[who]._opener
        return member  # type: ignore[no-any-return]

    @property
    def subject(self) -> Member:
        """The member that is looked at, without its folder."""
        return self.plain(self.who)

    def reborn(self, who: PartyId) -> DurableMember:
        """The member of the next process."""
        self.members[who].close()
        self.members[who] = self.member(who)
        return self.members[who]

    def convened(self, number: int = 0, rounds: int = 10) -> Certificate:
        convener = Convener(self.company.publics, self.company.identity)
        members: Any = self.members
        exchange(convener.open(self.company.plan, number, rounds=rounds), convener, members)
        return convener.certificate

    def sum(self, certificate: Certificate, round: int = 0) -> None:
        """A round up to the moment at which members are asked."""
        task = replace(self.company.task(LENGTH, round), certificate=certificate)
        [invitation] = self.server.open(task)
        asked: list[Frame] = []
        for who, client in self.clients.items():
            client.receive(bytes(invitation))
            [upload] = client.submit(update_of(self.company, who, LENGTH))
            asked += self.server.receive(bytes(upload), who)
        self.asked = {who: bytes(frame) for frame in asked for who in frame.to}

    def answers(self) -> list[bytes]:
        """What each member said to the question it was asked, after the server heard it."""
        said = {who: self.members[who].receive(question) for who, question in self.asked.items()}
        for who, [answer] in said.items():
            self.server.receive(bytes(answer), who)
        return [bytes(answer) for [answer] in said.values()]

    def another(self, who: PartyId | None = None, left_out: int = 1) -> bytes:
        """A second set of the same round, without one client, under the server's own good signature."""
        data = self.asked[self.who if who is None else who]
        header = codec.read_header(data, SERVER, len(data))
        honest = letter_in(Included, data)
        other = replace(honest, contributions=honest.contributions[left_out:])
        return b"".join(codec.encode(other, SERVER, header.task, header.round, self.company.identity.sign))

    def close(self) -> None:
        for endpoint in (self.server, *self.clients.values(), *self.members.values()):
            endpoint.close()


def letter_in(kind: type[Any], data: Any) -> Any:
    assert kind_of(data) is kind
    return codec.decode_body(kind, bytes(data)[codec.HEADER.size : -codec.SIGNATURE_BYTES], SERVER)


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path)
    yield made
    made.close()


# --- what comes back ------------------------------------------------------------------------------------


def test_a_whole_one_shot_round_between_endpoints_in_folders_is_exact(hall: Hall) -> None:
    hall.sum(hall.convened())
    hall.answers()
    opened = hall.server.aggregate
    assert opened is not None
    assert opened.survivors == hall.company.ids
    updates = [update_of(hall.company, who, LENGTH) for who in hall.company.ids]
    clip = float(hall.company.plan.clip)
    step = 2 * clip / (2**12 - 1)
    expected = sum(update.clip(-clip, clip) for update in updates) / CLIENTS
    assert abs(hall.server.mean() - expected).max() <= step
    hall.server.close()
    again = hall.server_in_folder()
    assert (again.done, again.opening) == (True, True)
    assert again.mean().tolist() == hall.server.mean().tolist()
    again.close()


def test_a_member_killed_between_storing_and_answering_answers_the_same_after_restart(hall: Hall) -> None:
    hall.sum(hall.convened())
    question = hall.asked[hall.who]
    # The answer is lost: nobody but the store has seen that there was a question.
    [lost] = hall.members[hall.who].receive(question)
    image = hall.subject.freeze()
    again = hall.reborn(hall.who)
    assert again.holding
    assert hall.subject.freeze() == image
    assert [bytes(frame) for frame in again.receive(question)] == [bytes(lost)]


def test_a_member_killed_before_it_stored_has_not_answered_and_may_be_asked_about_another_set(hall: Hall) -> None:
    hall.sum(hall.convened())
    before = hall.subject.freeze()
    hall.members[hall.who].close()
    shutil.copytree(hall.folder(hall.who), hall.base / "before")
    hall.members[hall.who] = DurableMember(hall.company.holder(hall.who), hall.base / "before")
    assert hall.subject.freeze() == before
    [answer] = hall.members[hall.who].receive(hall.another())
    assert letter_in(Summed, answer).shares is not None


def test_a_round_costs_a_member_one_store_and_a_repeated_question_none(hall: Hall) -> None:
    hall.sum(hall.convened())
    with under(System()) as system:
        hall.members[hall.who].receive(hall.asked[hall.who])
        assert system.calls.count("rename") == 1
        hall.members[hall.who].receive(hall.asked[hall.who])
    assert system.calls.count("rename") == 1


def test_an_answer_that_cannot_be_stored_does_not_leave_and_comes_later(hall: Hall) -> None:
    hall.sum(hall.convened())
    member, question = hall.members[hall.who], hall.asked[hall.who]
    with under(System("rename")), pytest.raises(StorageRefused):
        member.receive(question)
    [answer] = member.receive(question)
    with pytest.raises(AlreadyAnswered):
        hall.reborn(hall.who).receive(hall.another())
    assert [bytes(frame) for frame in hall.members[hall.who].receive(question)] == [bytes(answer)]


def test_the_word_of_a_member_is_said_again_after_a_restart(hall: Hall) -> None:
    convener = Convener(hall.company.publics, hall.company.identity)
    [invitation] = convener.open(hall.company.plan, 0)
    for who in hall.company.holder_ids:
        [said] = hall.members[who].receive(bytes(invitation))
        again = hall.reborn(who)
        assert again.holding
        assert [bytes(frame) for frame in again.resend()] == [bytes(said)]
        assert [bytes(frame) for frame in again.receive(bytes(invitation))] == [bytes(said)]
        convener.receive(bytes(said), who)
    assert convener.certificate.epoch.number == 0


def test_a_member_serves_many_rounds_across_restarts(hall: Hall) -> None:
    certificate = hall.convened()
    for round in range(3):
        hall.sum(certificate, round)
        hall.reborn(hall.who)
        hall.answers()
        assert hall.server.aggregate is not None
    assert hall.subject._party.state.answered == 3


def test_a_server_stored_while_members_open_asks_them_the_same_again(hall: Hall) -> None:
    hall.sum(hall.convened())
    hall.server.close()
    hall.server = hall.server_in_folder()
    assert hall.server.wait is not None
    assert hall.server.wait.room == "Opening"
    assert {who: bytes(frame) for frame in hall.server.resend() for who in frame.to} == hall.asked
    hall.answers()
    assert hall.server.aggregate is not None


def test_a_late_answer_is_no_offence_to_a_server_that_came_back(hall: Hall) -> None:
    """Four of five open the sum; the fifth did nothing wrong, whoever hears it."""
    hall.sum(hall.convened())
    late = hall.company.holder_ids[-1]
    [answer] = hall.members[late].receive(hall.asked.pop(late))
    hall.answers()
    assert hall.server.aggregate is not None
    for _ in range(2):
        hall.server.receive(bytes(answer), late)
        assert hall.server.excluded == []
        hall.server.close()
        hall.server = hall.server_in_folder()


def test_a_client_that_spoke_says_the_same_again_and_nothing_else(hall: Hall) -> None:
    hall.sum(hall.convened())
    who = hall.company.ids[0]
    said = [bytes(frame) for frame in hall.clients[who].resend()]
    hall.clients[who].close()
    hall.clients[who] = hall.client(who)
    assert [bytes(frame) for frame in hall.clients[who].resend()] == said
    assert not hall.clients[who].needs_update
    with pytest.raises(Misused):
        hall.clients[who].submit(update_of(hall.company, who, LENGTH))


# --- what is refused ------------------------------------------------------------------------------------


def test_a_member_that_comes_back_answers_about_no_second_set(hall: Hall) -> None:
    hall.sum(hall.convened())
    hall.answers()
    again = hall.reborn(hall.who)
    image = hall.subject.freeze()
    with pytest.raises(AlreadyAnswered):
        again.receive(hall.another())
    assert hall.subject.freeze() == image


def test_a_set_that_is_too_small_costs_the_committee_nothing(hall: Hall) -> None:
    hall.sum(hall.convened())
    image = hall.subject.freeze()
    with pytest.raises(CohortTooSmall):
        hall.members[hall.who].receive(hall.another(left_out=2))
    assert hall.subject.freeze() == image
    hall.answers()
    assert hall.server.aggregate is not None


def test_an_older_image_is_refused_by_the_member_that_has_gone_on(hall: Hall) -> None:
    images = [hall.subject.freeze()]
    certificate = hall.convened()
    images.append(hall.subject.freeze())
    for round in range(2):
        hall.sum(certificate, round)
        hall.answers()
        if not round:
            images.append(hall.subject.freeze())
    for image in images:
        with pytest.raises(Misused, match="older"):
            hall.subject.thaw(image)
    assert hall.subject.holding
    hall.subject.thaw(hall.subject.freeze())


def test_an_image_of_an_earlier_committee_is_refused(hall: Hall) -> None:
    hall.convened(0)
    before = hall.subject.freeze()
    hall.convened(1)
    with pytest.raises(Misused, match="older"):
        hall.subject.thaw(before)


def test_bytes_that_are_no_image_are_refused(hall: Hall) -> None:
    hall.convened()
    image = hall.subject.freeze()
    for wrong in (b"", b"\0" * 100, hall.server._server.freeze(), image[:-1]):
        with pytest.raises(Misused, match="no frozen holder"):
            hall.subject.thaw(wrong)
    assert hall.subject.freeze() == image


def test_the_image_of_another_identity_is_refused(hall: Hall) -> None:
    """Whoever took another's key for its own would open that one's boxes as well."""
    hall.convened()
    one, other = (hall.plain(who) for who in hall.company.holder_ids[:2])
    with pytest.raises(Misused, match="another identity"):
        other.thaw(one.freeze())
    assert other.holding


def test_the_folder_of_a_member_is_no_holders(hall: Hall) -> None:
    """What opens sums of one protocol is not taken for what opens those of another."""
    hall.convened()
    member: Any = hall.subject
    hall.members[hall.who].close()
    with pytest.raises(WrongVersion):
        DurableHolder(member, hall.folder(hall.who))


def test_a_spent_number_convenes_no_second_committee_after_a_restart(hall: Hall) -> None:
    first = hall.convened(3)
    hall.reborn(hall.who)
    with pytest.raises(Replay, match="make one of a higher number"):
        hall.convened(3, rounds=11)
    assert hall.members[hall.who].holding
    assert hall.convened(4) != first


def test_a_committee_that_is_convened_twice_is_one_and_remembers_what_it_was_asked(hall: Hall) -> None:
    certificate = hall.convened()
    hall.sum(certificate)
    hall.answers()
    hall.reborn(hall.who)
    assert hall.convened() == certificate
    with pytest.raises(AlreadyAnswered):
        hall.members[hall.who].receive(hall.another())


def test_letters_that_are_not_for_members_change_nothing(hall: Hall) -> None:
    hall.sum(hall.convened())
    sign, question = hall.company.identity.sign, hall.asked[hall.who]
    header = codec.read_header(question, SERVER, len(question))
    answer = Summed(Context(bytes(32)), bytes(32), b"")
    image = hall.subject.freeze()
    from_member = b"".join(codec.encode(answer, hall.who, header.task, header.round, sign))
    with pytest.raises(Malformed, match="as its sender"):
        hall.subject.receive(from_member)
    with pytest.raises(OutOfTurn, match="not said to members"):
        hall.subject.receive(b"".join(codec.encode(answer, SERVER, header.task, header.round, sign)))
    assert hall.subject.freeze() == image


def test_a_convocation_that_is_refused_costs_no_committee(hall: Hall) -> None:
    """One with a member that the policy does not pin, and one that this member is not in, both rightly signed."""
    epoch, sign = hall.convened().epoch, hall.company.identity.sign
    later = replace(epoch, number=epoch.number + 1)
    strange = replace(later, members=(*epoch.members[:-1], bytes(31) + b"x"))
    without = replace(later, members=(*epoch.members[1:], bytes(31) + b"x"))
    image = hall.subject.freeze()
    for refused in (strange, without, replace(later, rounds=1 << 20)):
        frame = codec.encode(Convene(refused), SERVER, codec.task_id(refused.task), refused.number, sign)
        with pytest.raises(PolicyViolation):
            hall.subject.receive(b"".join(frame))
        assert hall.subject.freeze() == image


def test_a_member_is_never_copied(hall: Hall) -> None:
    hall.convened()
    with pytest.raises(Misused, match="a member is never copied"):
        copy.copy(hall.subject)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"me": -1}, "numbered"), ({"stranger": True}, "at least its own key"), ({"server": b"x"}, "32 bytes")],
)
def test_a_member_is_built_from_what_fits_together(changes: dict[str, Any], match: str, hall: Hall) -> None:
    mine = Identity.from_seed(seed_of("nobody")) if "stranger" in changes else hall.company.holder_identities[hall.who]
    with pytest.raises(Misused, match=match):
        Member(
            changes.get("me", hall.who),
            hall.subject.policy,
            mine,
            changes.get("server", hall.company.identity.public),
        )


def test_a_server_that_is_pinned_as_a_member_is_refused(hall: Hall) -> None:
    mine = hall.company.holder_identities[hall.who]
    other = hall.company.publics[hall.company.holder_ids[1]]
    with pytest.raises(PolicyConflict, match="the server is pinned as a member"):
        Member(hall.who, hall.subject.policy, mine, other)


# --- what is erased, and what nobody can refuse ---------------------------------------------------------


def test_a_retired_key_is_in_no_folder_any_more(hall: Hall) -> None:
    hall.convened()
    member, file = hall.members[hall.who], hall.folder(hall.who) / IMAGE
    secret = hall.subject._party.state.key
    key = bytes(secret.expose())
    assert key in file.read_bytes()
    member.retire()
    assert not member.holding
    assert key not in file.read_bytes()
    with pytest.raises(BadParameters, match="was erased"):
        secret.expose()
    assert [path.name for path in hall.folder(hall.who).iterdir()] == [IMAGE]
    assert member.resend() == []


def test_a_retired_member_stays_retired_and_opens_nothing(hall: Hall) -> None:
    hall.sum(hall.convened())
    before = hall.subject.freeze()
    hall.members[hall.who].retire()
    with pytest.raises(Misused, match="older"):
        hall.subject.thaw(before)
    again = hall.reborn(hall.who)
    assert not again.holding
    with pytest.raises(OutOfTurn):
        again.receive(hall.asked[hall.who])
    with pytest.raises(Replay):
        hall.convened(0)
    hall.convened(1)
    assert again.holding


def test_a_committee_that_follows_erases_the_key_of_the_one_before(hall: Hall) -> None:
    hall.convened(0)
    secret = hall.subject._party.state.key
    key = bytes(secret.expose())
    hall.convened(1)
    with pytest.raises(BadParameters, match="was erased"):
        secret.expose()
    assert key not in (hall.folder(hall.who) / IMAGE).read_bytes()


def test_a_folder_put_back_from_a_copy_is_believed_and_opens_a_second_set(hall: Hall, tmp_path: Path) -> None:
    """The limit that `DurableOpener` states. It takes a quorum of such members; nothing that is signed is forged."""
    hall.sum(hall.convened())
    for who in hall.asked:
        hall.members[who].close()
        shutil.copy(hall.folder(who) / IMAGE, tmp_path / f"copy{who}")
        hall.members[who] = hall.member(who)
    [first] = {letter_in(Summed, data).question for data in hall.answers()}
    with pytest.raises(AlreadyAnswered):
        hall.members[hall.who].receive(hall.another())
    for who in hall.asked:
        hall.members[who].close()
        shutil.copy(tmp_path / f"copy{who}", hall.folder(who) / IMAGE)
        hall.members[who] = hall.member(who)
    answers = [bytes(hall.members[who].receive(hall.another(who))[0]) for who in hall.asked]
    [second] = {letter_in(Summed, data).question for data in answers}
    assert first != second
