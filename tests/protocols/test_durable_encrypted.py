"""Holders in folders, and images of encrypted rounds: what comes back, what is refused, and what nobody can refuse."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dp.errors import WrongVersion
from protocols import codec
from protocols.ckks.messages import Certificate, EncryptedSum, Invite, Partial
from protocols.codec import Frame, kind_of
from protocols.durable import DurableClient, DurableHolder, DurableServer
from protocols.endpoint import Holder, KeyMaker, Task
from protocols.errors import AlreadyAnswered, Malformed, Misused, OutOfTurn, PolicyViolation, Replay
from protocols.party import SERVER, PartyId
from protocols.plan import ENCRYPTED, RoundPlan
from protocols.storage import IMAGE
from secagg.keys import Identity
from tests.contracts.company import Encrypting, seed_of, update_of
from tests.contracts.folders import System, under

LENGTH = 5


@dataclass
class Hall:
    """Four clients, three holders and a server; all in folders. `asked` is the last question about a sum."""

    base: Path

    def __post_init__(self) -> None:
        plan = RoundPlan.recommend(4, dropout=Fraction(1, 4), corrupt=0, bits=12, min_cohort=3, protocol=ENCRYPTED)
        self.company = Encrypting(plan, 4, holders=3)
        self.who = self.company.holder_ids[0]
        self.holders = {who: self.holder(who) for who in self.company.holder_ids}
        self.clients = {who: self.client(who) for who in self.company.ids}
        self.server = DurableServer(self.company.server(), self.base / "server")
        self.asked: dict[PartyId, bytes] = {}
        self.answers: list[bytes] = []

    def holder(self, who: PartyId) -> DurableHolder:
        return DurableHolder(self.company.holder(who), self.base / f"holder{who}")

    def client(self, who: PartyId) -> DurableClient:
        return DurableClient(self.company.client(who), self.base / f"client{who}")

    def folder(self, who: PartyId) -> Path:
        return self.base / f"holder{who}"

    def reborn(self, who: PartyId) -> DurableHolder:
        """The holder of the next process."""
        self.holders[who].close()
        self.holders[who] = self.holder(who)
        return self.holders[who]

    def key(self, number: int = 0) -> Certificate:
        maker = KeyMaker(self.company.publics, self.company.identity)
        agreement = self.company.server().agree(self.company.task(LENGTH))
        queue = list(maker.open(agreement, self.company.keys, number))
        while queue:
            frame = queue.pop(0)
            for who in frame.to:
                for answer in self.holders[who].receive(bytes(frame)):
                    queue += maker.receive(bytes(answer), who)
        return maker.certificate

    def sum(self, certificate: Certificate, round: int = 0) -> None:
        """A round up to the moment at which holders are asked."""
        task = replace(self.company.task(LENGTH, round), certificate=certificate)
        [invitation] = self.server.open(task)
        asked: list[Frame] = []
        for who, client in self.clients.items():
            client.receive(bytes(invitation))
            [upload] = client.submit(update_of(self.company, who, LENGTH))
            asked += self.server.receive(bytes(upload), who)
        self.asked = {who: bytes(frame) for frame in asked for who in frame.to}

    def answer(self) -> None:
        for who, question in self.asked.items():
            [part] = self.holders[who].receive(question)
            self.answers.append(bytes(part))
            self.server.receive(bytes(part), who)

    def another(self) -> bytes:
        """A second sum of the same round, without one client, under the server's own good signature."""
        data = self.asked[self.who]
        header = codec.read_header(data, SERVER, len(data))
        honest: Any = codec.decode_body(EncryptedSum, data[codec.HEADER.size : -codec.SIGNATURE_BYTES], SERVER)
        other = replace(honest, contributions=honest.contributions[1:], halves=honest.halves[1:])
        return b"".join(codec.encode(other, SERVER, header.task, header.round, self.company.identity.sign))

    def close(self) -> None:
        for endpoint in (self.server, *self.clients.values(), *self.holders.values()):
            endpoint.close()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path)
    yield made
    made.close()


# --- what comes back ------------------------------------------------------------------------------------


def test_a_whole_encrypted_round_between_endpoints_in_folders_is_exact(hall: Hall) -> None:
    hall.sum(hall.key())
    hall.answer()
    opened = hall.server.aggregate
    assert opened is not None
    assert opened.survivors == hall.company.ids
    hall.server.close()
    again = DurableServer(hall.company.server(), hall.base / "server")
    assert (again.done, again.opening) == (True, True)
    assert again.mean().tolist() == hall.server.mean().tolist()
    again.close()


def test_a_holder_comes_back_as_it_was_stored_and_says_the_same(hall: Hall) -> None:
    hall.sum(hall.key())
    question = hall.asked[hall.who]
    [first] = hall.holders[hall.who].receive(question)
    image = hall.holders[hall.who]._opener.freeze()
    again = hall.reborn(hall.who)
    assert again.holding
    assert again._opener.freeze() == image
    assert [bytes(frame) for frame in again.receive(question)] == [bytes(first)]


def test_a_round_costs_a_holder_one_store_and_a_repeated_question_none(hall: Hall) -> None:
    hall.sum(hall.key())
    with under(System()) as system:
        hall.holders[hall.who].receive(hall.asked[hall.who])
        assert system.calls.count("rename") == 1
        hall.holders[hall.who].receive(hall.asked[hall.who])
    assert system.calls.count("rename") == 1


def test_each_word_of_a_ceremony_is_said_again_after_a_restart(hall: Hall) -> None:
    maker = KeyMaker(hall.company.publics, hall.company.identity)
    agreement = hall.company.server().agree(hall.company.task(LENGTH))
    queue = list(maker.open(agreement, hall.company.keys, 0))
    while queue:
        frame = queue.pop(0)
        for who in frame.to:
            said = [bytes(answer) for answer in hall.holders[who].receive(bytes(frame))]
            again = [bytes(answer) for answer in hall.reborn(who).resend()]
            # Once it holds its part it answers what it is asked.
            assert again == ([] if hall.holders[who].holding else said)
            assert [bytes(answer) for answer in hall.holders[who].receive(bytes(frame))] == said
            for answer in said:
                queue += maker.receive(answer, who)
    assert maker.certificate.epoch.number == 0


def test_a_server_stored_while_holders_open_asks_them_the_same_again(hall: Hall) -> None:
    hall.sum(hall.key())
    hall.server.close()
    again = DurableServer(hall.company.server(), hall.base / "server")
    assert again.wait is not None
    assert again.wait.room == "Opening"
    assert {who: bytes(frame) for frame in again.resend() for who in frame.to} == hall.asked
    hall.server = again
    hall.answer()
    assert again.aggregate is not None


def test_a_server_is_not_restored_without_the_holders_of_its_round(hall: Hall) -> None:
    hall.sum(hall.key())
    image = hall.server._server.freeze()
    hall.company.publics = dict(list(hall.company.publics.items())[:1])
    with pytest.raises(Misused, match="holders are not registered"):
        hall.company.server().thaw(image)


def test_a_holders_folder_is_for_this_holder_alone(hall: Hall) -> None:
    first, second = hall.company.holder_ids[:2]
    hall.key()
    for who in (first, second):
        hall.holders[who].close()
    with pytest.raises(WrongVersion, match="another version, role or identity"):
        DurableHolder(hall.company.holder(second), hall.folder(first))


# --- what is refused ------------------------------------------------------------------------------------


def test_a_second_sum_of_a_round_is_refused_after_a_restart_too(hall: Hall) -> None:
    hall.sum(hall.key())
    hall.answer()
    again = hall.reborn(hall.who)
    with pytest.raises(AlreadyAnswered):
        again.receive(hall.another())


def test_an_older_image_is_refused_by_the_holder_that_has_gone_on(hall: Hall) -> None:
    plain = hall.holders[hall.who]._opener
    images = [plain.freeze()]
    hall.sum(hall.key())
    images.append(plain.freeze())
    hall.answer()
    for image in images:
        with pytest.raises(Misused, match="older"):
            plain.thaw(image)
    assert plain.holding
    plain.thaw(plain.freeze())


def test_an_image_of_an_earlier_step_of_the_ceremony_is_refused(hall: Hall) -> None:
    maker = KeyMaker(hall.company.publics, hall.company.identity)
    agreement = hall.company.server().agree(hall.company.task(LENGTH))
    [invitation] = maker.open(agreement, hall.company.keys, 0)
    heard = []
    for who in hall.company.holder_ids:
        [commit] = hall.holders[who].receive(bytes(invitation))
        heard += maker.receive(bytes(commit), who)
    plain = hall.holders[hall.who]._opener
    before = plain.freeze()
    [reveal] = plain.receive(bytes(heard[0]))
    with pytest.raises(Misused, match="older"):
        plain.thaw(before)
    assert [bytes(frame) for frame in plain.repeat()] == [bytes(reveal)]


def test_bytes_that_are_no_image_are_refused(hall: Hall) -> None:
    plain = hall.holders[hall.who]._opener
    for wrong in (b"", b"\0" * 100, hall.server._server.freeze(), plain.freeze()[:-1]):
        with pytest.raises(Misused, match="no frozen holder"):
            plain.thaw(wrong)


def test_a_spent_number_makes_no_second_key_after_a_restart(hall: Hall) -> None:
    hall.key(3)
    hall.reborn(hall.who)
    with pytest.raises(Replay, match="make one of a higher number"):
        hall.key(3)
    assert hall.holders[hall.who].holding
    hall.key(4)


def test_letters_that_are_not_for_holders_change_nothing(hall: Hall) -> None:
    hall.sum(hall.key())
    plain, sign = hall.holders[hall.who]._opener, hall.company.identity.sign
    question = hall.asked[hall.who]
    header = codec.read_header(question, SERVER, len(question))
    image = plain.freeze()
    part = Partial(header.task * 2, header.task * 2, (1, 2), b"")
    from_holder = b"".join(codec.encode(part, hall.who, header.task, header.round, sign))
    with pytest.raises(Malformed, match="as its sender"):
        plain.receive(from_holder)
    with pytest.raises(OutOfTurn, match="not said to holders"):
        plain.receive(b"".join(codec.encode(part, SERVER, header.task, header.round, sign)))
    assert plain.freeze() == image


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"me": -1}, "numbered"), ({"stranger": True}, "at least its own key"), ({"server": b"x"}, "32 bytes")],
)
def test_a_holder_is_built_from_what_fits_together(changes: dict[str, Any], match: str, hall: Hall) -> None:
    policy = hall.holders[hall.who]._opener.policy
    mine = Identity.from_seed(seed_of("nobody")) if "stranger" in changes else hall.company.holder_identities[hall.who]
    with pytest.raises(Misused, match=match):
        Holder(changes.get("me", hall.who), policy, mine, changes.get("server", hall.company.identity.public))


def test_an_encrypted_round_takes_a_key_of_holders_that_are_known(hall: Hall) -> None:
    certificate = hall.key()
    with pytest.raises(Misused, match="the task names no key"):
        hall.server.open(hall.company.task(LENGTH))
    hall.company.publics = {}
    with pytest.raises(Misused, match="not registered here"):
        hall.company.server().open(Task(0, LENGTH, certificate=certificate))


# --- what nobody can refuse -----------------------------------------------------------------------------


def test_a_folder_put_back_from_a_copy_is_believed_and_opens_a_second_sum(hall: Hall, tmp_path: Path) -> None:
    """The limit that `DurableHolder` states. It takes t such holders, and nothing that is signed has been forged."""
    hall.sum(hall.key())
    for who in hall.asked:
        hall.holders[who].close()
        shutil.copy(hall.folder(who) / IMAGE, tmp_path / f"copy{who}")
        hall.holders[who] = hall.holder(who)
    hall.answer()
    [first] = {question_in(data) for data in hall.answers}
    with pytest.raises(AlreadyAnswered):
        hall.holders[hall.who].receive(hall.another())
    for who in hall.asked:
        hall.holders[who].close()
        shutil.copy(tmp_path / f"copy{who}", hall.folder(who) / IMAGE)
        hall.holders[who] = hall.holder(who)
    [second] = {question_in(hall.holders[who].receive(hall.another())[0]) for who in hall.asked}
    assert first != second


def question_in(data: Any) -> bytes:
    assert kind_of(data) is Partial
    body = bytes(data)[codec.HEADER.size : -codec.SIGNATURE_BYTES]
    return bytes(codec.decode_body(Partial, body, SERVER).question)


def test_a_retired_key_is_in_no_folder_any_more(hall: Hall) -> None:
    hall.key()
    holder = hall.holders[hall.who]
    share = holder._opener._party.state.share.expose()
    assert share in holder._opener.freeze()
    holder.retire()
    assert not holder.holding
    assert share not in holder._opener.freeze()
    assert share not in holder._opener._party.state.__repr__().encode()


def test_the_image_of_another_identity_is_refused(hall: Hall) -> None:
    """Whoever took another's part of the key for its own would be blamed for what it opens."""
    hall.key()
    one, other = (hall.holders[who]._opener for who in sorted(hall.holders)[:2])
    with pytest.raises(Misused, match="another identity"):
        other.thaw(one.freeze())
    assert other.holding


def test_a_holder_is_never_copied(hall: Hall) -> None:
    hall.key()
    with pytest.raises(Misused, match="never copied"):
        copy.copy(hall.holders[hall.who]._opener)


def test_an_invitation_that_is_refused_costs_no_key(hall: Hall) -> None:
    """A key of other holders, rightly signed by the server, that was meant for others or for nobody."""
    certificate = hall.key()
    opener, sign = hall.holders[hall.who]._opener, hall.company.identity.sign
    epoch = replace(certificate.epoch, number=certificate.epoch.number + 1, min_cohort=3)
    strange = replace(epoch, holders=(bytes(31) + b"x", *epoch.holders[1:]))
    task = codec.task_id(epoch.task)
    frame = b"".join(codec.encode(Invite(strange), SERVER, task, strange.number, sign))
    image = opener.freeze()
    with pytest.raises(PolicyViolation):
        opener.receive(frame)
    assert opener.freeze() == image
