"""Noise of one variance whoever drops out: through real rounds, against cheats, and what stays unknown."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from dp.accountant import Budget, Unit, View, account
from dp.ledger import Ledger
from protocols.coding import Layered, coding_of
from protocols.errors import BadPlan, TooFewClients
from protocols.messages import Inbox, Masked, Roster, Shares, Unmask, Witnesses, to_bitmap
from protocols.pairwise import client as pairwise_client
from protocols.pairwise import session as names
from protocols.party import SERVER, PartyId
from protocols.plan import Agreement, Excess, NoisePlan, Promise, RoundPlan
from protocols.round import secure_mean
from protocols.simulate import Cohort, Exchange, Fate, FaultPlan, Lost
from protocols.sizes import round_sizes
from secagg.graph import Assumption
from secagg.keys import Seed
from secagg.shamir import Share, combine
from tests.attacks.villain import Stage
from tests.contracts.company import Company, Repeated, Restarted, play, seed_of
from tests.rows import rows

CLIENTS = 12
LENGTH = 4096
PLAN = RoundPlan.recommend(
    CLIENTS,
    dropout=Fraction(5, 12),
    corrupt=Fraction(0),
    noise_multiplier=Fraction(1),
    modulus_bits=32,
    min_cohort=6,
    promise=Promise.CURIOUS,
    excess=Excess.REMOVED,
)
KEPT = replace(PLAN, noise=replace(PLAN.noise, excess=Excess.KEPT))
ZERO = [np.zeros(LENGTH)]


def lost_at(*exchanges: Exchange) -> FaultPlan:
    """The first clients vanish, one at each of these exchanges."""
    return FaultPlan({PartyId(who): Fate(exchange, Lost.REQUEST) for who, exchange in enumerate(exchanges)})


NOBODY = lost_at()
SOME = lost_at(Exchange.SHARES, Exchange.MASKED)
# Who is lost while masks are under way must leave a majority of its neighbours; before that, anybody may.
HALF = lost_at(*[Exchange.ADVERTISE] * 2, Exchange.SHARES, *[Exchange.MASKED] * 3)
COHORTS = pytest.mark.parametrize("faults", [NOBODY, SOME, HALF], ids=["nobody", "a sixth", "half"])


def opened_sums(plan: RoundPlan, faults: FaultPlan, rounds: int, ledger: Ledger | None = None) -> np.ndarray:
    """Sums of updates that are all zero: nothing but the noise of the opened sums."""
    cohort = Cohort.from_root(plan, range(CLIENTS), seed_of(plan.noise.excess, repr(faults)))
    sums = []
    for number in range(rounds):
        report = secure_mean(
            dict.fromkeys(range(CLIENTS), ZERO), plan, round=number, faults=faults, cohort=cohort, ledger=ledger
        )
        assert report.exact
        sums.append(report.mean[0] * len(report.survivors))
    return np.concatenate(sums)


def agreed(plan: RoundPlan) -> Agreement:
    company = Company(plan, CLIENTS)
    return company.server().agree(company.task(LENGTH))


def std_of(plan: RoundPlan) -> float:
    """The planned standard deviation of the sum, in units of the clip."""
    coding = coding_of(agreed(plan))
    assert isinstance(coding, Layered)
    return float(coding.layers.share.gamma) * float(coding.layers.total_variance) ** 0.5


@rows("N4")
@COHORTS
def test_the_variance_of_the_released_sum_is_the_target_whoever_drops_out(row: str, faults: FaultPlan) -> None:
    draws = opened_sums(PLAN, faults, rounds=3)
    ratio = np.mean(draws**2) / std_of(PLAN) ** 2
    assert abs(ratio - 1) < 5 * (2 / draws.size) ** 0.5
    # The target: noise multiplier 1 and clip 1, a hair more for the rounding that the sensitivity allows for.
    assert 1 < std_of(PLAN) < 1.001


@rows("N4")
def test_without_layers_the_same_round_carries_twice_the_variance(row: str) -> None:
    draws = opened_sums(KEPT, NOBODY, rounds=1)
    assert 1.8 < np.mean(draws**2) / std_of(PLAN) ** 2 < 2.2


def test_surplus_of_survivors_that_fall_silent_is_removed_all_the_same() -> None:
    draws = opened_sums(PLAN, lost_at(*[Exchange.WITNESS] * 4), rounds=3)
    assert abs(np.mean(draws**2) / std_of(PLAN) ** 2 - 1) < 5 * (2 / draws.size) ** 0.5


@COHORTS
def test_epsilon_is_not_above_the_claim_and_is_the_same_for_every_cohort(tmp_path, faults: FaultPlan) -> None:
    unit = Unit("zero-out")
    claim = account([coding_of(agreed(PLAN)).worst_event("insecure")] * 2, unit, View.AGGREGATOR, "1e-5").upper
    ledger = Ledger.open_insecure(tmp_path / "ledger", Budget(claim * 1.001, 1e-5, "zero-out"))
    opened_sums(PLAN, faults, rounds=2, ledger=ledger)
    assert ledger.interval().upper <= claim * (1 + 1e-9)
    assert ledger.interval_released().upper <= claim * (1 + 1e-9)
    assert ledger.interval_released().upper == pytest.approx(claim, rel=1e-6)


# --- on the stage: five clients, of which two may vanish


class Quiet(Stage):
    """Clients with noise in layers, each of weight one."""

    def __init__(self, clients: int = 6, promise: Promise = Promise.ACTIVE) -> None:
        super().__init__(clients, promise)
        noise = NoisePlan(Fraction(1), 0, 32, Excess.REMOVED)
        self.company.plan = replace(self.company.plan, noise=noise, max_weight=1, min_cohort=4)
        self.server = self.company.server()
        self.application = lambda who, client: client.prepare(self.update(who))


def staged(silent: int = 1) -> tuple[Quiet, dict]:
    """Everybody's answers for unmasking, on their way; the last clients dropped before their vectors."""
    stage = Quiet()
    stage.until(Inbox)
    stage.until(Witnesses, silent=stage.ids[len(stage.ids) - silent :])
    return stage, stage.answers()


def links_of(stage: Quiet, who: PartyId) -> list[bytes]:
    """A client's chain, computed again from its root."""
    agreement = stage.server.agreement
    state = stage.roots[who]
    return [link.expose() for link in names.links_of(state, agreement, stage.context)]


def links_told(stage: Quiet, dealer: PartyId) -> list[Share]:
    """All shares of one dealer's chain that left its holders."""
    session = stage.session(stage.roster)
    told = []
    for who in stage.ids:
        if (answer := stage.heard.get((who, Unmask))) is None:
            continue
        place = session.neighbours(who).index(dealer) if who != dealer else None
        if place is not None and answer.links[place] is not None:
            told.append(Share.from_bytes(session.point(dealer, who), answer.links[place]))
    return told


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_the_server_learns_the_one_seed_that_the_number_of_survivors_opens_and_none_before_it(silent: int) -> None:
    stage = Quiet()
    stage.roster = stage.until(Roster)[stage.ids[0]]
    stage.context = stage.roster.context
    stage.roots = {who: stage.clients[who]._party.state.root for who in stage.ids}
    chains = {who: links_of(stage, who) for who in stage.ids}
    gone = stage.ids[len(stage.ids) - silent :]
    stage.until(Inbox)
    stage.until(None, silent=gone)
    opened = stage.server.aggregate
    assert list(opened.surplus) == [chains[who][silent] for who in opened.survivors]
    threshold = stage.session(stage.roster).parameters.threshold
    for who in opened.survivors:
        assert combine(links_told(stage, who)[:threshold], threshold) == Seed(chains[who][silent])
    assert not any(links_told(stage, who) for who in gone)
    everything = b"".join(stage.frames.values()) + stage.server.freeze()
    unknown = [link for who in stage.ids for link in chains[who][: silent if who in opened.survivors else None]]
    assert not any(link in everything for link in unknown)


@rows("C8")
def test_a_withheld_or_foreign_share_of_a_seed_is_excluded_by_name(row: str) -> None:
    stage, replies = staged()
    villain = stage.ids[0]
    honest = stage.heard[villain, Unmask]
    bent = (bytes(32) + honest.links[0][-1:], *honest.links[1:])
    cases = {
        "ShapeMismatch": [
            replace(honest, links=()),
            replace(honest, links=(*honest.links, None)),
            replace(honest, links=(None, *honest.links[1:])),
            replace(honest, links=(*honest.links[:-1], honest.links[0])),
            replace(honest, shares=(None, *honest.shares[1:])),
        ],
        "BadShare": [replace(honest, links=bent), replace(honest, links=honest.links[1:2] + honest.links[1:])],
    }
    for error, letters in cases.items():
        for letter in letters:
            [note] = stage.speak(villain, letter)
            assert (note.peer, note.error) == (villain, error)
    assert not any(stage.server._party.state.recovery.shares.values())
    stage.hand({who: reply for who, reply in replies.items() if who != villain})
    stage.until(None)
    assert len(stage.server.aggregate.surplus) == len(stage.ids) - 1


@rows("C8")
def test_links_in_a_round_that_removes_nothing_are_excluded_by_name(row: str) -> None:
    stage = Stage(6)
    stage.until(Inbox)
    stage.until(Witnesses)
    stage.answers()
    villain = stage.ids[0]
    honest = stage.heard[villain, Unmask]
    [note] = stage.speak(villain, replace(honest, links=honest.shares))
    assert (note.peer, note.error) == (villain, "ShapeMismatch")


@rows("C2")
@pytest.mark.parametrize("links", [0, 1, 4])
def test_boxes_with_another_number_of_shares_are_excluded_by_name(row: str, links: int) -> None:
    stage = Quiet()
    stage.until(Roster)
    stage.answers()
    villain = stage.ids[0]
    [first, *others] = stage.heard[villain, Shares].sealed
    assert len(first.link_tags) == 3
    short = replace(first, box=bytes(33 * (2 + links) + 16), link_tags=(bytes(32),) * links)
    for letter in (short, replace(first, link_tags=first.link_tags[1:]), replace(first, box=first.box[:-33])):
        [note] = stage.speak(villain, Shares((letter, *others)))
        assert (note.peer, note.error) == (villain, "ShapeMismatch")


@rows("C2")
def test_a_relayed_box_of_another_shape_is_complained_about_and_the_round_goes_on(row: str) -> None:
    stage = Quiet()
    letters = stage.until(Inbox)
    who = stage.ids[0]
    first, *others = letters[who].sealed
    cut = replace(first, box=first.box[:-33], link_tags=first.link_tags[:-1])
    [masked] = stage.say(who, replace(letters[who], sealed=(cut, *others)))
    assert isinstance(masked, Masked)
    assert masked.complaints == (stage.ids[1],)


@rows("C2")
@pytest.mark.parametrize("dealt", [0, 2, 4])
def test_a_box_sealed_for_another_plan_is_complained_about(
    row: str, dealt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dealer and server are in league: the server relays what it should have refused."""
    stage = Quiet()
    letters = stage.until(Roster)
    who, villain = stage.ids[:2]
    with monkeypatch.context() as lie:
        lie.setattr(pairwise_client.names, "links_of", lambda *_: tuple(seed_of(place) for place in range(dealt)))
        stage.deliver(villain, stage.framed(SERVER, letters[villain]))
    false = stage.heard[villain, Shares].sealed[0]
    assert len(false.link_tags) == dealt
    stage.pending = [(to, frame) for to, frame in stage.pending if to != villain]
    letters = stage.until(Inbox, silent=[villain])
    everybody = to_bitmap(frozenset(stage.ids), stage.ids)
    [masked] = stage.say(who, Inbox(who, everybody, (false, *letters[who].sealed)))
    assert masked.complaints == (villain,)


@rows("C10")
def test_a_dealer_of_another_chain_than_it_committed_to_is_named(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Quiet()
    letters = stage.until(Roster)
    villain = stage.ids[1]
    with monkeypatch.context() as lie:
        other = tuple(seed_of("other link", place) for place in range(3))
        lie.setattr(pairwise_client.names, "links_of", lambda *_: other)
        false = stage.deliver(villain, stage.framed(SERVER, letters[villain]))
    stage.pending = [(who, frame) for who, frame in stage.pending if who != villain]
    replies = stage.answers()
    stage.hand(replies | {villain: false[0]})
    with pytest.raises(TooFewClients) as caught:
        stage.until(None)
    assert (caught.value.room, caught.value.culprits) == ("Unmasking", (villain,))


@pytest.mark.parametrize("kind", [Restarted, Repeated])
@pytest.mark.parametrize("exchange", [Exchange.ADVERTISE, Exchange.MASKED, Exchange.UNMASK])
def test_endpoints_may_die_between_any_two_messages_and_hear_each_twice(kind, exchange: Exchange) -> None:
    plan = replace(PLAN, promise=Promise.ACTIVE, assumption=Assumption(Fraction(0), Fraction(1, 4)), min_cohort=9)
    company = Company(plan, CLIENTS)
    faults = FaultPlan({who: Fate(exchange, Lost.REPLY) for who in company.ids[:2]})
    steady, troubled = play(company, LENGTH, faults), play(company, LENGTH, faults, kind)
    survivors = company.ids if exchange is Exchange.UNMASK else company.ids[2:]
    assert troubled.opened.survivors == survivors
    assert len(set(troubled.opened.surplus)) == len(survivors)
    assert troubled.opened.surplus == steady.opened.surplus
    assert np.array_equal(troubled.opened.total, steady.opened.total)
    assert np.array_equal(troubled.simulation.server.mean(), steady.simulation.server.mean())


def test_the_sizes_that_are_planned_are_the_sizes_that_are_sent() -> None:
    plan = replace(PLAN, noise=replace(PLAN.noise, modulus_bits=33))
    company = Company(plan, CLIENTS)
    played = play(company, 100)
    planned = round_sizes(played.simulation.server.agreement, CLIENTS)
    assert planned.upload_bytes == sum(map(len, played.said(company.ids[0])))


def test_a_plan_says_what_becomes_of_excess() -> None:
    assert (KEPT.links, PLAN.links, replace(PLAN, noise=None).links) == (0, 7, 0)
    with pytest.raises(BadPlan, match="excess"):
        replace(PLAN.noise, excess="removed")
    narrow = replace(PLAN, noise=replace(PLAN.noise, noise_multiplier=Fraction(1, 10), modulus_bits=8))
    with pytest.raises(BadPlan, match="smallest modulus_bits"):
        coding_of(agreed(narrow))
