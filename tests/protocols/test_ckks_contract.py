"""Encrypted rounds keep the contract of all protocols, with holders that die, repeat themselves and vanish as well."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest

from protocols.ckks import binding
from protocols.ckks import client as clients
from protocols.ckks import holder as holders
from protocols.ckks import server as servers
from protocols.ckks.keys import keys_for_rounds
from protocols.codec import Frame, kind_of
from protocols.committee import HOLDERS, numbers
from protocols.errors import BadPlan, TooFewMembers
from protocols.party import SERVER, PartyId
from protocols.plan import ENCRYPTED, Promise, RoundPlan
from protocols.simulate import Encrypted, Fate, FaultPlan, Lost
from tests.contracts.company import Company, Encrypting, Keyed, Played, Repeated, Restarted, StandIn, play
from tests.contracts.models import EncryptedRounds, Pairwise
from tests.contracts.protocols import ProtocolContract, Table, states_of

SIDES = [Fate(Encrypted.VECTOR, side) for side in Lost]


def model_of(size: int = HOLDERS) -> EncryptedRounds:
    return EncryptedRounds(frozenset(numbers(size)), keys_for_rounds(size).threshold)


class Echoed(StandIn):
    """Hears every letter twice, and says nothing the second time that it had not said to whom it hears."""

    def receive(self, data: bytes, *speaker: PartyId) -> list[Frame]:
        first = super().receive(data, *speaker)
        told = {bytes(frame) for frame in self.emitted if speaker[0] in frame.to}
        assert {bytes(frame) for frame in self.live.receive(data, *speaker)} <= told
        return first


class TestEncrypted(ProtocolContract):
    protocol = ENCRYPTED
    model = model_of()
    client_role = clients.client
    server_role = servers.server
    client_states = (clients.Ready, clients.Done)
    server_states = (servers.Summing, servers.Opening, servers.Closed)
    holder_states = (holders.Committed, holders.Dealt, holders.Checking, holders.Holding)
    unmet = dict.fromkeys(Promise, 0)

    def company(self, plan: RoundPlan, clients: int, number: int = 0, size: int = HOLDERS) -> Company:
        return Encrypting(plan, clients, number, size)

    def require_nothing_that_opens(self, played: Played) -> None:
        assert not any(played.simulation.traffic[who].exchanges for who in played.company.speakers("Opening"))

    def walked(self, promise: Promise) -> Played:
        """A round with a client and a holder that vanish, and with the making of its key."""
        company = self.company(self.plan(6, promise, dropout="1/4"), 6)
        holder = company.speakers("Opening")[1]
        fates = {who: Fate(Encrypted.VECTOR, Lost.REPLY) for who in (company.ids[5], holder)}
        return play(company, faults=FaultPlan(fates), kind=Restarted)

    def letters(self, played: Played) -> dict[type[Any], object]:
        """With those that the making of the key takes, as holders heard and said them."""
        committee = played.simulation.cohort.committee
        assert committee is not None
        made: Any = committee.ceremony.maker
        return super().letters(played) | self.read(SERVER, made.emitted)

    def tables(self, played: Played) -> list[Table]:
        met: Any = list(played.simulation.holders.values())
        return [*super().tables(played), Table(holders.holder, states_of(met, self.holder_states, 0), SERVER)]

    # --- holders --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [3, 5, 7])
    def test_any_holders_may_vanish_while_as_many_stay_as_it_takes(self, size: int) -> None:
        model, plan = model_of(size), self.plan(3)
        spare = size - model.threshold
        for lost in range(spare + 2):
            for places in list(itertools.combinations(range(size), lost))[:: 1 + 3 * (lost > 1)]:
                company = self.company(plan, 3, size=size)
                fates = {company.speakers("Opening")[place]: SIDES[place % 2] for place in places}
                expected = model.end(plan, company.ids, fates)
                assert (expected.error is TooFewMembers) == (lost > spare)
                self.require_expected(play(company, 3, FaultPlan(fates), Keyed), expected)

    def test_no_set_of_holders_has_opened_where_too_few_are_left(self) -> None:
        company = self.company(self.plan(3), 3)
        vanished = company.speakers("Opening")[3:]
        played = play(company, faults=FaultPlan(dict.fromkeys(vanished, SIDES[0])), kind=Keyed)
        assert isinstance(played.lost, TooFewMembers)
        assert (played.lost.have, played.lost.need, played.lost.missing) == (3, 4, vanished)

    def test_holders_are_asked_for_no_more_than_opens_the_sum(self) -> None:
        company = self.company(self.plan(3), 3)
        played = play(company, kind=Keyed)
        asked = [played.simulation.traffic[who].exchanges for who in company.speakers("Opening")]
        assert asked == [1, 1, 1, 1, 0]

    @pytest.mark.parametrize("kind", [Restarted, Repeated])
    def test_the_key_is_the_same_whatever_befalls_those_who_make_it(self, kind: Any) -> None:
        plan = self.plan(3)
        steady, troubled = (play(self.company(plan, 3), kind=each) for each in (Keyed, kind))
        keys = [played.simulation.server.agreement.key for played in (steady, troubled)]
        assert keys[0] == keys[1]

    def test_who_has_a_key_made_may_hear_everything_twice(self) -> None:
        company = self.company(self.plan(3), 3)
        assert isinstance(company, Encrypting)
        once, twice = company.committee(), company.committee()
        twice.ceremony.maker = Echoed(lambda: company.committee().ceremony.maker)  # type: ignore[assignment]
        agreement = company.server().agree(company.task(7))
        assert once.certificate_for(agreement) == twice.certificate_for(agreement)

    # --- what a ciphertext carries --------------------------------------------------------------------

    @pytest.mark.parametrize("ring", ["b32", "b33", "b64"])
    def test_sums_that_no_ciphertext_carries_are_refused_before_anybody_is_asked(self, ring: str) -> None:
        bits, weight, most = Pairwise.rings[ring]
        plan = RoundPlan.recommend(
            most, corrupt=Fraction(0), bits=bits, max_weight=weight, min_cohort=3, protocol=ENCRYPTED
        )
        company = self.company(plan, 3)
        with pytest.raises(BadPlan):
            play(company)

    def test_a_client_says_one_letter(self) -> None:
        played = play(self.company(self.plan(3), 3), kind=Keyed)
        assert [len(played.said(PartyId(who))) for who in played.company.ids] == [1, 1, 1]
        assert {kind.__name__ for kind in played.kinds_said_by_clients()} == {"Ciphertext"}
        assert [kind_of(frame).__name__ for frame in played.said(SERVER)] == [
            "OpenEncrypted",
            "EncryptedSum",
            "Result",
        ]


class TestHashed(TestEncrypted):
    """The same where holders are shown digit sums, as for sums too large to be shown in halves."""

    @pytest.fixture(autouse=True)
    def hashed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "MOST_HALVES_BYTES", 0)
