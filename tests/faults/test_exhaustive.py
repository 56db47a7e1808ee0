"""Every way four clients can vanish, alone and with every crash of the server, against a model of sets.

Every message passes the codec and every endpoint is frozen and thawed before it (`protocols.faults`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from protocols.errors import TooFewClients
from protocols.faults.schedule import Arrow, Crash, Fault, Letter, Moment, Schedule, ServerCrash, Vanish
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost
from secagg.graph import GraphMode
from tests.attacks.villain import rows
from tests.faults.sweeps import (
    Tally,
    exchanges,
    multisets_of_fates,
    places,
    report,
    schedule_of,
    tally,
    vectors_of_fates,
)
from tests.faults.world import world

CLIENTS = 4
EVERYBODY = list(range(CLIENTS))


pytestmark = pytest.mark.usefixtures("staged")


def survivors_of(schedule: Schedule) -> list[int]:
    """Who is in the sum, after the sum itself was compared."""
    kind = world(schedule.clients, schedule.promise)
    played = kind.play(schedule)
    assert kind.judge(schedule, played) is None
    assert played.aggregate is not None, played.lost
    return [kind.ids.index(who) for who in played.aggregate.survivors]


# --- one client lost, said without the model


@pytest.mark.parametrize("victim", EVERYBODY)
@pytest.mark.parametrize(
    ("exchange", "side", "counts"),
    [
        pytest.param(exchange, side, exchange > Exchange.MASKED, id=row)
        for row, (exchange, side) in zip(
            ["D1", "D2", "D3", "D4", "D5", "D6", "D7-WITNESS", "D8-WITNESS", "D7-UNMASK", "D8-UNMASK"],
            itertools.product(Exchange, Lost),
            strict=True,
        )
    ],
)
def test_one_client_lost(exchange: Exchange, side: Lost, counts: bool, victim: int) -> None:
    fates = [(exchange, side) if client == victim else None for client in EVERYBODY]
    others = [client for client in EVERYBODY if client != victim]
    assert survivors_of(schedule_of(fates)) == (EVERYBODY if counts else others)


@rows("D23")
@pytest.mark.parametrize("first", Exchange, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("second", Exchange, ids=lambda exchange: exchange.name)
def test_both_ends_of_an_edge_lost_at_equal_and_different_exchanges(
    row: str, first: Exchange, second: Exchange
) -> None:
    """Six clients bear two losses anywhere."""
    fates = [(first, Lost.REPLY), (second, Lost.REQUEST), None, None, None, None]
    in_the_sum = [client for client, exchange in enumerate((first, second)) if exchange > Exchange.MASKED]
    assert survivors_of(schedule_of(fates)) == [*in_the_sum, 2, 3, 4, 5]


@rows("D9", "C16")
@pytest.mark.parametrize("clients", [4, 5, 6])
@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_every_subset_lost_at_every_exchange(row: str, clients: int, promise: Promise, record_property: object) -> None:
    most = clients - ((clients - 1) // 2 + 1)

    def schedules() -> Iterator[Schedule]:
        for exchange, side in itertools.product(exchanges(promise), Lost):
            for size in range(most + 1):
                for lost in itertools.combinations(range(clients), size):
                    yield schedule_of(
                        [(exchange, side) if client in lost else None for client in range(clients)], promise
                    )

    result = tally(schedules())
    report(record_property, result)
    assert result.wrong == ()


# The fewest losses at each exchange that end the round of four, five and six clients in that very room.
TOO_MANY = {4: (2, 2, 2, 2, 2), 5: (3, 2, 2, 3, 2), 6: (4, 3, 3, 3, 3)}


@rows("D10")
@pytest.mark.parametrize("clients", TOO_MANY)
@pytest.mark.parametrize("exchange", Exchange, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("side", Lost, ids=lambda side: side.value)
def test_one_more_than_allowed_ends_the_round_in_its_room(
    row: str, clients: int, exchange: Exchange, side: Lost
) -> None:
    room = ["Gathering", "Relaying", "Summing", "Witnessing", "Unmasking"][exchange]
    too_many = TOO_MANY[clients][exchange]
    kind = world(clients, Promise.ACTIVE)
    for losses in (too_many - 1, too_many):
        schedule = schedule_of([(exchange, side)] * losses + [None] * (clients - losses))
        played = kind.play(schedule)
        assert kind.judge(schedule, played) is None
        ended_here = isinstance(played.lost, TooFewClients) and played.lost.room == room
        assert ended_here == (losses == too_many)


# --- every vector of fates


@rows("D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D10", "D23", "C16")
@pytest.mark.parametrize(
    ("promise", "count"), [(Promise.ACTIVE, 14_641), (Promise.CURIOUS, 6_561)], ids=["active", "curious"]
)
def test_every_vector_of_fates(row: str, promise: Promise, count: int, record_property: object) -> None:
    result = tally(vectors_of_fates(CLIENTS, promise))
    report(record_property, result)
    assert result.wrong == ()
    assert result.played == count


CLOSES = [
    pytest.param(Exchange.ADVERTISE, Moment.BEFORE, id="S1"),
    pytest.param(Exchange.ADVERTISE, Moment.AFTER, id="S2"),
    pytest.param(Exchange.SHARES, Moment.BEFORE, id="S3"),
    pytest.param(Exchange.SHARES, Moment.AFTER, id="S4"),
    pytest.param(Exchange.MASKED, Moment.BEFORE, id="S7-Summing"),
    pytest.param(Exchange.MASKED, Moment.AFTER, id="S8-Summing"),
    pytest.param(Exchange.WITNESS, Moment.BEFORE, id="S7-Witnessing"),
    pytest.param(Exchange.WITNESS, Moment.AFTER, id="S8-Witnessing"),
    pytest.param(Exchange.UNMASK, Moment.BEFORE, id="S9"),
    pytest.param(Exchange.UNMASK, Moment.AFTER, id="S10"),
]


@pytest.mark.parametrize(("room", "moment"), CLOSES)
def test_the_server_dies_closing_a_room(room: Exchange, moment: Moment, record_property: object) -> None:
    result = tally(multisets_of_fates(CLIENTS, Promise.ACTIVE, ServerCrash(room, moment)))
    report(record_property, result)
    assert result.wrong == ()
    assert result.played == 1_001


@pytest.mark.parametrize("moment", [pytest.param(Moment.BEFORE, id="S5"), pytest.param(Moment.AFTER, id="S6")])
def test_the_server_dies_at_the_arrival_of_a_vector(moment: Moment, record_property: object) -> None:
    result = tally(multisets_of_fates(CLIENTS, Promise.ACTIVE, ServerCrash(Exchange.MASKED, moment, arrival=1)))
    report(record_property, result)
    assert result.wrong == ()
    assert result.played == 1_001


# --- nightly


@pytest.mark.slow
@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_every_vector_of_fates_with_every_crash_of_the_server(promise: Promise, record_property: object) -> None:
    crashes: list[tuple[Fault, ...]] = [()]
    crashes += [(ServerCrash(room, moment),) for room in exchanges(promise) for moment in Moment]
    result = sum((tally(vectors_of_fates(CLIENTS, promise, *crash)) for crash in crashes), Tally())
    report(record_property, result)
    assert result.wrong == ()
    assert result.played == len(places(promise)) ** CLIENTS * len(crashes)


@pytest.mark.slow
def test_five_clients_with_every_two_faults(record_property: object) -> None:
    clients = 5
    faults: list[Fault] = [
        Vanish(Letter(client, exchange, side))
        for client, exchange, side in itertools.product(range(clients), Exchange, Lost)
    ]
    faults += [
        Crash(client, arrow, moment) for client, arrow, moment in itertools.product(range(clients), Arrow, Moment)
    ]
    faults += [ServerCrash(room, moment) for room, moment in itertools.product(Exchange, Moment)]
    result = tally(
        Schedule(0, clients, Promise.ACTIVE, GraphMode.COMPLETE, pair) for pair in itertools.combinations(faults, 2)
    )
    report(record_property, result)
    assert result.wrong == ()
    assert result.played == 7_140
