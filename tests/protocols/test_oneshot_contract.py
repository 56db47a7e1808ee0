"""One-shot rounds keep the contract of all protocols, with members that die, repeat themselves and vanish as well."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest

from protocols.codec import kind_of
from protocols.committee import MEMBERS, numbers
from protocols.errors import BadPlan, TooFewMembers
from protocols.oneshot import client as clients
from protocols.oneshot import member as members
from protocols.oneshot import server as servers
from protocols.oneshot.messages import Concealed
from protocols.party import SERVER
from protocols.plan import ONE_SHOT, Promise, RoundPlan
from protocols.simulate import Encrypted, Fate, FaultPlan, Lost
from secagg.quorum import Quorum
from tests.contracts.company import Company, Keyed, Played, Restarted, Speaking, play
from tests.contracts.models import OneShotRounds, Pairwise
from tests.contracts.protocols import ProtocolContract, Table, states_of

SIDES = [Fate(Encrypted.VECTOR, side) for side in Lost]


def model_of(size: int = MEMBERS) -> OneShotRounds:
    return OneShotRounds(frozenset(numbers(size)), Quorum.usual(size).needed)


class TestOneShot(ProtocolContract):
    protocol = ONE_SHOT
    model = model_of()
    client_role = clients.client
    server_role = servers.server
    client_states = (clients.Ready, clients.Done)
    server_states = (servers.Summing, servers.Opening, servers.Closed)
    unmet = dict.fromkeys(Promise, 0)

    def company(self, plan: RoundPlan, clients: int, number: int = 0, size: int = MEMBERS) -> Company:
        return Speaking(plan, clients, number, size)

    def require_nothing_that_opens(self, played: Played) -> None:
        assert not any(played.simulation.traffic[who].exchanges for who in played.company.speakers("Opening"))

    def walked(self, promise: Promise) -> Played:
        """A round with a client and a member that vanish, and with the convening of the committee."""
        company = self.company(self.plan(6, promise, dropout="1/4"), 6)
        fates = {who: Fate(Encrypted.VECTOR, Lost.REPLY) for who in (company.ids[5], company.speakers("Opening")[1])}
        return play(company, faults=FaultPlan(fates), kind=Restarted)

    def letters(self, played: Played) -> dict[type[Any], object]:
        """With those by which the committee was convened."""
        committee = played.simulation.cohort.committee
        assert committee is not None
        made: Any = committee
        return super().letters(played) | self.read(SERVER, made.ceremony.maker.emitted)

    def tables(self, played: Played) -> list[Table]:
        met: Any = list(played.simulation.holders.values())
        return [*super().tables(played), Table(members.member, states_of(met, (members.Serving,), 0), SERVER)]

    # --- members --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [2, 5, 8, 10])
    def test_any_members_may_vanish_while_as_many_stay_as_it_takes(self, size: int) -> None:
        model, plan = model_of(size), self.plan(3)
        spare = size - model.needed
        for lost in range(spare + 2):
            for places in itertools.combinations(range(size), lost):
                company = self.company(plan, 3, size=size)
                fates = {company.speakers("Opening")[place]: SIDES[place % 2] for place in places}
                expected = model.end(plan, company.ids, fates)
                assert (expected.error is TooFewMembers) == (lost > spare)
                self.require_expected(play(company, 3, FaultPlan(fates), Keyed), expected)

    def test_who_is_silent_is_named(self) -> None:
        company = self.company(self.plan(3), 3)
        vanished = company.speakers("Opening")[3:5]
        played = play(company, faults=FaultPlan(dict.fromkeys(vanished, SIDES[0])))
        assert isinstance(played.lost, TooFewMembers)
        assert (played.lost.have, played.lost.need, played.lost.missing) == (8, 9, vanished)

    # --- what a mask carries --------------------------------------------------------------------------

    def test_a_client_says_one_thing(self) -> None:
        played = play(self.company(self.plan(5), 5))
        assert played.kinds_said_by_clients() == {Concealed}
        assert played.simulation.costs().exchanges == 1
        for who in played.company.ids:
            assert [kind_of(frame) for frame in played.said(who)] == [Concealed]

    @pytest.mark.parametrize("ring", ["b64"])
    def test_sums_that_no_mask_carries_are_refused_before_anybody_is_asked(self, ring: str) -> None:
        bits, weight, most = Pairwise.rings[ring]
        plan = RoundPlan.recommend(
            most, corrupt=Fraction(0), bits=bits, max_weight=weight, min_cohort=3, protocol=ONE_SHOT
        )
        with pytest.raises(BadPlan, match="lower the bits or the clients"):
            play(self.company(plan, 3))
