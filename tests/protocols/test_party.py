"""The engine: legality is a table, refusal changes nothing, blame decides what misbehaviour costs, secrets die."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from protocols.errors import Duplicate, Malformed, Misused, OutOfTurn, TooFewClients
from protocols.party import (
    APP,
    MAX_CLIENT_ID,
    SELF,
    SERVER,
    Blame,
    Deadline,
    Envelope,
    Excluded,
    Failed,
    Party,
    PartyId,
    Role,
    Wait,
    name_of_place,
    name_of_type,
    report,
    secrets_in,
)
from secagg.errors import BadParameters
from secagg.keys import Secret, Seed

ANN, BOB, EVE = PartyId(1), PartyId(2), PartyId(3)


@dataclass(frozen=True)
class Say:
    word: str


@dataclass(frozen=True)
class Unheard:
    pass


@dataclass(frozen=True)
class Start:
    root: Seed
    others: tuple[Seed, ...] = ()
    boxes: Mapping[int, Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class Holding:
    root: Seed


@dataclass(frozen=True)
class End:
    pass


@dataclass(frozen=True)
class Table:
    """A room for two."""

    invited: frozenset[PartyId]
    arrived: dict[PartyId, str]


@dataclass(frozen=True)
class Deep:
    starts: tuple[Start, ...]
    by_name: dict[int, Holding]
    name: str = "x"
    number: int = 3


class Broken(Exception):
    pass


def talker(blame: Blame) -> Role:
    role = Role("talker", blame)

    @role.on(Start, Say)
    def begin(state: Start, sender: PartyId, message: Say):
        if message.word == "lie":
            raise Malformed(sender, "lies")
        if message.word == "short":
            raise TooFewClients(1, 2, "Start")
        if message.word == "bug":
            raise Broken
        if message.word == "mine":
            raise Misused("not now")
        return Holding(state.root), [Envelope((sender,), Say("hello"))]

    @role.on(Holding, Say)
    def finish(state: Holding, sender: PartyId, message: Say):
        return End(), []

    return role


def fresh() -> Start:
    return Start(Seed(b"\1" * 32), (Seed(b"\2" * 32),), {7: Secret(b"box")})


def erased(secret: Secret) -> bool:
    try:
        secret.expose()
    except BadParameters:
        return True
    return False


# --- arrows


@pytest.mark.parametrize("blame", Blame)
def test_a_listed_pair_moves_the_state_and_returns_what_to_send(blame: Blame) -> None:
    party = Party(talker(blame), fresh())
    assert party.receive(ANN, Say("hi")) == [Envelope((ANN,), Say("hello"))]
    assert isinstance(party.state, Holding)


def test_an_unlisted_pair_from_a_peer_is_out_of_turn_and_the_state_object_stays() -> None:
    state = fresh()
    party = Party(talker(Blame.ABORT), state)
    with pytest.raises(OutOfTurn, match="Unheard does not fit talker in Start") as caught:
        party.receive(ANN, Unheard())
    assert caught.value.peer == ANN
    assert party.state is state
    assert not any(erased(secret) for secret in secrets_in(state))


def test_an_unlisted_pair_from_a_peer_is_reported_where_peers_are_excluded() -> None:
    state = fresh()
    party = Party(talker(Blame.EXCLUDE), state)
    [note] = party.receive(ANN, Unheard())
    assert note == Envelope((APP,), Excluded(ANN, "OutOfTurn", "Unheard does not fit talker in Start"))
    assert party.state is state


@pytest.mark.parametrize("blame", Blame)
@pytest.mark.parametrize("sender", [APP, SELF])
def test_an_unlisted_pair_from_the_application_is_misuse(blame: Blame, sender: PartyId) -> None:
    state = fresh()
    party = Party(talker(blame), state)
    with pytest.raises(Misused, match="does not fit"):
        party.receive(sender, Unheard())
    assert party.state is state


@pytest.mark.parametrize("blame", Blame)
def test_a_deadline_where_no_room_waits_is_nothing(blame: Blame) -> None:
    state = fresh()
    party = Party(talker(blame), state)
    assert party.receive(SELF, Deadline("Table")) == []
    assert party.state is state


def test_misbehaviour_ends_the_round_of_a_party_that_aborts() -> None:
    state = fresh()
    party = Party(talker(Blame.ABORT), state)
    with pytest.raises(Malformed, match="party 3: lies"):
        party.receive(EVE, Say("lie"))
    assert party.state == Failed("Malformed", "party 3: lies")
    assert all(erased(secret) for secret in secrets_in(state))


def test_misbehaviour_is_silence_with_a_name_for_a_party_that_excludes() -> None:
    state = fresh()
    party = Party(talker(Blame.EXCLUDE), state)
    assert party.receive(EVE, Say("lie")) == [Envelope((APP,), Excluded(EVE, "Malformed", "lies"))]
    assert party.state is state
    assert not any(erased(secret) for secret in secrets_in(state))


@pytest.mark.parametrize("blame", Blame)
def test_a_lost_round_ends_either_role_and_is_raised(blame: Blame) -> None:
    party = Party(talker(blame), fresh())
    with pytest.raises(TooFewClients):
        party.receive(ANN, Say("short"))
    assert party.state == Failed("TooFewClients", "Start: 1 clients remain, 2 are needed; open a new round")


@pytest.mark.parametrize("blame", Blame)
@pytest.mark.parametrize(("word", "error"), [("bug", Broken), ("mine", Misused)])
def test_our_bugs_and_the_callers_mistakes_pass_through_and_change_nothing(
    blame: Blame, word: str, error: type[Exception]
) -> None:
    state = fresh()
    party = Party(talker(blame), state)
    with pytest.raises(error):
        party.receive(ANN, Say(word))
    assert party.state is state
    assert not any(erased(secret) for secret in secrets_in(state))


def test_one_pair_has_one_arrow() -> None:
    role = talker(Blame.ABORT)
    with pytest.raises(Misused, match="talker: two arrows for Start and Say"):
        role.on(Start, Say)(lambda state, sender, message: (state, []))


# --- secrets


def test_what_the_next_state_no_longer_holds_is_overwritten_and_the_rest_is_kept() -> None:
    state = fresh()
    party = Party(talker(Blame.ABORT), state)
    party.receive(ANN, Say("hi"))
    assert party.state.root is state.root
    assert not erased(state.root)
    assert erased(state.others[0])
    assert erased(state.boxes[7])
    party.receive(ANN, Say("bye"))
    assert erased(state.root)


def test_giving_up_overwrites_everything() -> None:
    state = fresh()
    party = Party(talker(Blame.ABORT), state)
    party.abandon("enough")
    assert party.state == Failed("Abandoned", "enough")
    assert all(erased(secret) for secret in secrets_in(state))


def test_secrets_are_found_through_tuples_mappings_and_values() -> None:
    one, two, three = fresh(), fresh(), Holding(Seed(bytes(32)))
    found = list(secrets_in(Deep((one, two), {1: three})))
    assert len(found) == 7
    assert {id(secret) for secret in found} >= {id(one.root), id(two.others[0]), id(one.boxes[7]), id(three.root)}


def test_values_without_secrets_hold_none() -> None:
    assert list(secrets_in((b"x", 1, None, "s", {1: b"x"}, Table(frozenset(), {})))) == []


# --- rooms


def dinner(blame: Blame = Blame.EXCLUDE) -> tuple[Role, list[str]]:
    role, closed = Role("host", blame), []

    def keep(room: Table, who: PartyId, message: Say) -> Table:
        if message.word == "lie":
            raise Malformed(who, "lies")
        room.arrived[who] = message.word
        return room

    def close(room: Table):
        closed.append("+".join(room.arrived.values()))
        if not room.arrived:
            raise TooFewClients(0, 1, "Table")
        return End(), [Envelope((APP,), Wait("End", 1))]

    role.room(Table, Say, keep=keep, complete=lambda room: len(room.arrived) == len(room.invited), close=close)
    role.ignore(End, Say)
    return role, closed


def seated(blame: Blame = Blame.EXCLUDE) -> tuple[Party, list[str]]:
    role, closed = dinner(blame)
    return Party(role, Table(frozenset({ANN, BOB}), {})), closed


def test_a_room_closes_when_the_last_one_arrives() -> None:
    party, closed = seated()
    assert party.receive(BOB, Say("b")) == []
    assert isinstance(party.state, Table)
    assert party.receive(ANN, Say("a")) == [Envelope((APP,), Wait("End", 1))]
    assert (party.state, closed) == (End(), ["b+a"])


def test_a_room_closes_at_its_deadline_by_the_same_road() -> None:
    party, closed = seated()
    party.receive(ANN, Say("a"))
    assert party.receive(SELF, Deadline("Table")) == [Envelope((APP,), Wait("End", 1))]
    assert (party.state, closed) == (End(), ["a"])


def test_the_deadline_of_another_room_closes_nothing() -> None:
    party, closed = seated()
    state = party.state
    assert party.receive(SELF, Deadline("Kitchen")) == []
    assert (party.state, closed) == (state, [])
    party.receive(ANN, Say("a"))
    party.receive(SELF, Deadline("Table"))
    assert party.receive(SELF, Deadline("Table")) == []
    assert closed == ["a"]


def test_of_rooms_of_one_type_a_deadline_closes_the_one_it_names() -> None:
    role = Role("host", Blame.EXCLUDE)

    def keep(room: Table, who: PartyId, message: Say) -> Table:
        return room

    def name(room: Table) -> str:
        return name_of_place(Table, 3 - len(room.invited))

    def close(room: Table):
        left = frozenset(sorted(room.invited)[1:])
        return Table(left, {}) if left else End(), []

    role.room(Table, Say, keep=keep, complete=lambda _: False, close=close, name=name)
    party = Party(role, Table(frozenset({ANN, BOB}), {}))
    assert name(party.state) == name_of_type(party.state) == "Table"
    for room, invited in (("Table 2", 2), ("Table", 1), ("Table", 1), ("Table 3", 1)):
        party.receive(SELF, Deadline(room))
        assert len(party.state.invited) == invited
    party.receive(SELF, Deadline("Table 2"))
    assert party.state == End()


@pytest.mark.parametrize(
    ("who", "word", "error"), [(EVE, "a", "OutOfTurn"), (ANN, "again", "Duplicate"), (BOB, "lie", "Malformed")]
)
def test_strangers_second_words_and_lies_leave_the_room_as_it_is(who: PartyId, word: str, error: str) -> None:
    party, closed = seated()
    party.receive(ANN, Say("a"))
    [note] = party.receive(who, Say(word))
    assert (note.message.peer, note.message.error) == (who, error)
    assert party.state.arrived == {ANN: "a"}
    party.receive(BOB, Say("b"))
    assert closed == ["a+b"]


def test_in_a_role_that_aborts_a_room_raises_what_it_refuses() -> None:
    party, _ = seated(Blame.ABORT)
    party.receive(ANN, Say("a"))
    with pytest.raises(Duplicate):
        party.receive(ANN, Say("a"))
    assert isinstance(party.state, Failed)


def test_an_empty_room_ends_in_a_shortage_at_its_deadline() -> None:
    party, closed = seated()
    with pytest.raises(TooFewClients):
        party.receive(SELF, Deadline("Table"))
    assert isinstance(party.state, Failed)
    assert closed == [""]


def test_late_words_that_are_expected_are_ignored_unread() -> None:
    party, _ = seated()
    party.receive(ANN, Say("a"))
    party.receive(BOB, Say("b"))
    state = party.state
    assert party.receive(EVE, Say("lie")) == []
    assert party.state is state


# --- names


def test_nobody_who_is_no_client_can_be_taken_for_one() -> None:
    assert len({SERVER, APP, SELF}) == 3
    assert min(SERVER, APP, SELF) > MAX_CLIENT_ID


def test_a_report_carries_name_peer_and_reason() -> None:
    assert report(OutOfTurn(4, "late")) == Envelope((APP,), Excluded(PartyId(4), "OutOfTurn", "late"))
    assert replace(report(OutOfTurn(4, "late")), to=(SELF,)).to == (SELF,)


TYPED = """
from dataclasses import dataclass
from protocols.party import Blame, PartyId, Role, Step

@dataclass(frozen=True)
class Here: ...
@dataclass(frozen=True)
class There: ...
@dataclass(frozen=True)
class Word: ...

role = Role("typed", Blame.ABORT)

@role.on(Here, Word)
def good(state: Here, sender: PartyId, message: Word) -> Step:
    return There(), []
"""
WRONG = {
    "state": "role.on(There, Word)(good)\n",
    "message": "role.on(Here, There)(good)\n",
    "party": "good(Here(), 3, Word())\n",
}


@pytest.mark.slow
def test_the_type_checker_accepts_a_fitting_arrow_and_rejects_others(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]

    def errors_in(text: str) -> int:
        (tmp_path / "arrows.py").write_text(text)
        command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "arrows.py")]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.count("error:")

    assert errors_in(TYPED) == 0
    for name, wrong in WRONG.items():
        assert errors_in(TYPED + wrong) == 1, name
