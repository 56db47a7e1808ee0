"""Which coordinates travel: each rule's set by an independent account, its edges, and rounds that refuse another's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.errors import UnsupportedEvent
from protocols import secure_mean
from protocols.endpoint import Client, Task
from protocols.errors import BadPlan, Misused, PolicyViolation, TooFewClients, WrongUpdate
from protocols.heads import NO_LEDGER
from protocols.learning import (
    Aggregated,
    FedAvg,
    FedAvgM,
    Federation,
    Latest,
    Local,
    OnlyKeys,
    PrunedMask,
    Public,
    RandomK,
    RoundRecord,
    Rounds,
    Rule,
    TopKOfLast,
    VotedBlocks,
    arrived,
    deal_iid,
    plain_mean,
    require_layout,
    softmax_regression,
    travelling,
)
from protocols.learning.data import Examples
from protocols.messages import Masked, Submit
from protocols.party import PartyId
from protocols.plan import Agreement, RoundPlan, context_of
from protocols.simulate import Cohort, Simulation
from protocols.sizes import round_sizes
from protocols.tensors import Layout
from secagg.keys import Seed
from secagg.sparse import Selection, draw

PLAN = RoundPlan.recommend(6, dropout=0.25, corrupt=0, clip=1.0)
ROOT = Seed(b"\3" * 32)
D = 20


def model_of(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((4, 4)), rng.standard_normal(4)]


def latest_of(mean: list[np.ndarray], round: int = 0, travelled: Any = None, survivors: int = 6) -> Latest:
    return Latest(round, travelled, mean, tuple(range(survivors)))


def public_of(round: int = 1, mean: list[np.ndarray] | None = None, model: list[np.ndarray] | None = None) -> Public:
    return Public(round, model_of() if model is None else model, None if mean is None else latest_of(mean, round - 1))


def flat_of(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(-1) for array in arrays])


RULES: list[Rule] = [
    TopKOfLast(7),
    TopKOfLast(7, explore=0),
    TopKOfLast(7, explore=1),
    TopKOfLast(D),
    RandomK(5),
    RandomK(D),
    VotedBlocks(PLAN, 0.5, 2, block=3),
    PrunedMask(0.3, 2),
    OnlyKeys("1"),
]


def named(rule: Rule) -> str:
    return repr(rule).partition("plan=")[0] + str(getattr(rule, "block", ""))


# Known answers


def test_the_strongest_of_the_latest_mean_travel_and_the_rest_is_drawn() -> None:
    mean = [np.zeros((4, 4)), np.array([0.5, -3.0, 2.0, 1.0])]
    mean[0][1, 2] = -4.0
    chosen = set(TopKOfLast(10, explore=0.7).choose(public_of(mean=mean)).coordinates.tolist())
    assert {6, 17, 18} <= chosen
    assert len(chosen) == 10
    assert TopKOfLast(5, explore=0).choose(public_of(mean=mean)).coordinates.tolist() == [6, 16, 17, 18, 19]


def test_what_a_mean_lacks_in_nonzero_coordinates_is_drawn_and_not_taken_in_order() -> None:
    mean = [np.zeros((4, 4)), np.array([0, 0, 0, 1.0])]
    first = [TopKOfLast(8, explore=0.1).choose(public_of(r, mean)).coordinates.tolist() for r in range(1, 20)]
    assert all(19 in chosen and len(chosen) == 8 for chosen in first)
    assert {place for chosen in first for place in chosen} == set(range(D))


@pytest.mark.parametrize("k", [1, 3, D])
def test_before_the_first_mean_all_of_a_top_k_is_drawn(k: int) -> None:
    assert TopKOfLast(k).choose(public_of(0)).size == k
    assert TopKOfLast(k).choose(public_of(0)) != TopKOfLast(k).choose(public_of(1)) or k == D


def test_ties_of_the_latest_mean_go_to_the_lower_place() -> None:
    mean = [np.ones((4, 4)), -np.ones(4)]
    assert TopKOfLast(5, explore=0).choose(public_of(mean=mean)).coordinates.tolist() == [0, 1, 2, 3, 4]


def test_random_k_is_the_draw_of_a_seed_that_everybody_derives() -> None:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    public = public_of(3)
    key = HKDF(SHA256(), 32, salt=public.context, info=b"secagg/v1/learning/selection/random-k")
    expected = draw(Seed(key.derive(public.context)), D, 6)
    assert RandomK(6).choose(public).ids.tolist() == expected.tolist()


def test_random_k_scaled_is_the_whole_update_in_expectation() -> None:
    update, rule, rounds = flat_of(model_of(5)), RandomK(5), 1500
    total = np.zeros(D)
    for number in range(rounds):
        chosen = rule.choose(public_of(number))
        total += D / 5 * chosen.scatter(chosen.gather(update))
    # Of one round a coordinate's variance is u^2 (d / k - 1).
    deviations = np.abs(total / rounds - update) / (np.abs(update) * math.sqrt((D / 5 - 1) / rounds))
    assert deviations.max() < 5


def test_a_pruned_model_is_zero_outside_its_largest_weights_and_dense_in_between() -> None:
    rule, model = PrunedMask(keep=0.2, every=5), [np.arange(-8.0, 8).reshape(4, 4), np.array([9.0, -9.5, 0, 0])]
    for number in range(11):
        received = rule.received(model, number)
        chosen = rule.choose(Public(number, received, None))
        if number % 5 == 0:
            assert received is model
            assert chosen == Selection.whole(D)
        else:
            assert chosen.coordinates.tolist() == [0, 1, 16, 17]
            assert flat_of(received).tolist() == [-8, -7, *[0] * 14, 9, -9.5, 0, 0]


def test_only_the_named_arrays_travel() -> None:
    model = {"base.w": np.ones((3, 3)), "a.lora_up": np.ones((2, 2)), "b.lora_down": np.ones(3), "bias": np.ones(2)}
    chosen = OnlyKeys("*.lora_*").choose(Public(0, model, None))  # type: ignore[arg-type]  # a state_dict
    assert chosen.coordinates.tolist() == list(range(9, 16))
    assert OnlyKeys("1").choose(public_of()).coordinates.tolist() == [16, 17, 18, 19]


def test_an_array_is_named_under_either_name_of_a_tied_pair() -> None:
    shared = np.ones(3)
    model = {"head": np.ones(2), "embed": shared, "out": shared}
    for pattern in ("embed", "out"):
        assert OnlyKeys(pattern).choose(Public(0, model, None)).coordinates.tolist() == [2, 3, 4]  # type: ignore[arg-type]  # a state_dict


# Votes


def voted(plan: RoundPlan, updates: list[np.ndarray], rule: VotedBlocks) -> np.ndarray:
    """The counts after a real round in which everybody sends all blocks and its votes."""
    model = [np.zeros_like(updates[0])]
    public = Public(0, model, None)
    chosen = rule.choose(public)
    sent = {who: rule.send(who, [update], chosen, public) for who, update in enumerate(updates)}
    report = secure_mean(sent, plan, round=0)
    assert report.exact
    latest = Latest(0, report.mean, rule.restore(report.mean, chosen, public), report.survivors)
    return rule.counts(latest, -(-updates[0].size // rule.block))


@pytest.mark.parametrize(("bits", "per_word"), [(8, 3), (12, 4), (16, 6)])
def test_votes_of_a_real_round_are_counted_exactly(bits: int, per_word: int) -> None:
    plan = RoundPlan.recommend(6, dropout=0, corrupt=0, bits=bits)
    rule = VotedBlocks(plan, tau=0.5, min_votes=3, block=4)
    assert rule.per_word == per_word
    rng = np.random.default_rng(bits)
    moved = rng.random((6, 13)) < 0.5
    updates = [np.repeat(row, 4)[:50] * 0.3 for row in moved]
    # The last block has two coordinates left: 0.3 sqrt(2) is below tau.
    expected = moved.sum(axis=0)
    expected[12] = 0
    assert voted(plan, updates, rule).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bits", [16, 24])
def test_votes_about_a_narrow_model_are_counted_exactly(dtype: type, bits: int) -> None:
    rule = VotedBlocks(RoundPlan.recommend(6, dropout=0, corrupt=0, bits=bits), tau=0.5, min_votes=3, block=4)
    moved = np.random.default_rng(bits).random((6, 50)) < 0.5
    updates = [np.repeat(row, 4).astype(dtype) * dtype(0.3) for row in moved]
    assert voted(rule.plan, updates, rule).tolist() == moved.sum(axis=0).tolist()


def test_unanimous_votes_do_not_carry_into_the_next_digit() -> None:
    for clients in (3, 7, 15, 16, 100):
        plan = RoundPlan.recommend(clients, dropout=0, corrupt=0)
        rule = VotedBlocks(plan, 0.1, 1, block=1)
        words = rule.parts(np.ones(50), Selection.whole(50))["votes"]
        assert float(np.abs(words).max()) <= float(plan.clip)
        assert rule.counts(Latest(0, {"votes@": words}, [], tuple(range(clients))), 50).tolist() == [clients] * 50


def test_a_million_votes_cost_about_seven_bits_each_for_a_hundred_clients() -> None:
    plan = RoundPlan.recommend(100, corrupt=0)
    rule, blocks = VotedBlocks(plan, 0.1, 1), -(-1_000_000 // 64)
    assert rule.per_word == 3
    assert plan.encoding.ring.packed_bytes(-(-blocks // rule.per_word)) < 15_100


@given(st.integers(3, 60), st.integers(8, 20), st.data())
@settings(max_examples=40)
def test_any_votes_are_counted_back(clients: int, bits: int, data: st.DataObject) -> None:
    plan = RoundPlan.recommend(clients, dropout=0, corrupt=0, bits=bits)
    rule = VotedBlocks(plan, 0.5, 1, block=1)
    votes = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=3, max_size=clients)))
    words = np.mean([rule.parts(row.astype(np.float64), Selection.whole(9))["votes"] for row in votes], axis=0)
    counts = rule.counts(Latest(0, {"votes@00": words}, [], tuple(range(len(votes)))), 9)
    assert counts.tolist() == votes.sum(axis=0).tolist()


def test_blocks_with_enough_votes_travel_next_and_where_there_are_none_the_votes_travel_alone() -> None:
    for moved, expected in ((0.4, [0, 1, 2]), (0.0, [])):
        rule = VotedBlocks(PLAN, tau=0.5, min_votes=6, block=3)
        public = public_of(0)
        chosen = rule.choose(public)
        update = [np.zeros((4, 4)), np.zeros(4)]
        update[0].reshape(-1)[:9] = moved
        sent = {who: rule.send(who, update, chosen, public) for who in range(6)}
        mean = mean_of(sent)
        latest = Latest(0, mean, rule.restore(mean, chosen, public), tuple(range(6)))
        nxt = replace(public_of(1), latest=latest)
        found = rule.choose(nxt)
        assert found.ids.tolist() == expected
        travels = rule.send(0, update, found, nxt)
        assert arrived(found, travels)["update"].size == 3 * len(expected)
        report = secure_mean({who: rule.send(who, update, found, nxt) for who in range(6)}, PLAN, round=1)
        assert report.exact
        assert flat_of(rule.restore(report.mean, found, nxt)) == pytest.approx(
            flat_of(update) * bool(expected), abs=1e-4
        )


def mean_of(sent: Mapping[int, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.mean([each[name] for each in sent.values()], axis=0) for name in sent[0]}


def test_votes_that_are_not_whole_are_refused() -> None:
    rule = VotedBlocks(PLAN, 0.5, 2, block=3)
    for bad in (np.array([0.3, 0.1]) * PLAN.encoding.step, np.zeros(3)):
        latest = Latest(0, {"votes@": bad}, model_of(), (0, 1, 2))
        with pytest.raises(WrongUpdate, match="no whole votes"):
            rule.choose(Public(1, model_of(), latest))


def test_votes_are_refused_where_their_counts_would_go_unaccounted() -> None:
    noisy = RoundPlan.recommend(40, noise_multiplier=1.0)
    with pytest.raises(UnsupportedEvent, match="release of their own"):
        VotedBlocks(noisy, 0.1, 2)


def test_votes_are_refused_where_a_client_would_have_more_than_one() -> None:
    with pytest.raises(BadPlan, match="max_weight is 7"):
        VotedBlocks(RoundPlan.recommend(6, dropout=0, corrupt=0, max_weight=7), 0.1, 2)


# Every rule


@pytest.mark.parametrize("rule", RULES, ids=named)
@pytest.mark.parametrize("number", [0, 1])
def test_what_is_sent_is_u_on_s_and_what_is_restored_is_zero_elsewhere(rule: Rule, number: int) -> None:
    public = public_of(number)
    update = model_of(9)
    chosen = rule.choose(public)
    sent = rule.send(3, update, chosen, public)
    assert arrived(chosen, sent)["update"].tolist() == flat_of(update)[chosen.coordinates].tolist()
    assert all(name.endswith(f"@{chosen.digest.hex()}") for name in sent)
    restored = rule.restore(sent, chosen, public)
    assert [array.shape for array in restored] == [(4, 4), (4,)]
    scale = D / rule.k if isinstance(rule, RandomK) else 1.0
    expected = np.zeros(D)
    expected[chosen.coordinates] = flat_of(update)[chosen.coordinates] * scale
    assert flat_of(restored) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_every_party_finds_the_same_set_and_it_depends_on_public_things_alone(rule: Rule) -> None:
    again = type(rule)(**{name: getattr(rule, name) for name in rule.__dataclass_fields__})  # type: ignore[attr-defined]  # each rule is one
    assert rule.choose(public_of(2)) == again.choose(public_of(2))
    rule.send(0, model_of(4), rule.choose(public_of(2)), public_of(2))
    assert rule.choose(public_of(2)) == again.choose(public_of(2))


@pytest.mark.parametrize("rule", [TopKOfLast(7), RandomK(5), PrunedMask(0.3, 2)], ids=named)
def test_another_model_gives_another_set(rule: Rule) -> None:
    assert rule.choose(public_of(1)) != rule.choose(public_of(1, model=model_of(1)))


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_client_that_works_out_another_set_sends_nothing_and_blames_the_server(rule: Rule) -> None:
    public = public_of(1)
    forged = Selection(D, np.array([0, 5], np.int64))
    with pytest.raises(PolicyViolation, match="other coordinates than my rule gives for round 1"):
        rule.send(0, model_of(2), forged, public)
    with pytest.raises(PolicyViolation):
        rule.restore(travelling(forged, {"update": np.zeros(2)}), forged, public)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_an_update_of_other_shapes_is_refused(rule: Rule) -> None:
    public = public_of(1)
    for bad in ([np.zeros((4, 4))], [np.zeros((4, 4)), np.zeros(1)], {"0": np.zeros((4, 4)), "1": np.zeros(4)}):
        with pytest.raises(WrongUpdate):
            rule.send(0, bad, rule.choose(public), public)  # type: ignore[arg-type]  # one is no list


# Edges, by name


@pytest.mark.parametrize(
    "make",
    [
        lambda: TopKOfLast(0),
        lambda: TopKOfLast(-1),
        lambda: TopKOfLast(True),
        lambda: TopKOfLast(2.0),  # type: ignore[arg-type]  # a slip of the pen
        lambda: TopKOfLast(5, explore=1.1),
        lambda: TopKOfLast(5, explore=math.nan),
        lambda: RandomK(0),
        lambda: VotedBlocks(PLAN, -0.1, 2),
        lambda: VotedBlocks(PLAN, math.inf, 2),
        lambda: VotedBlocks(PLAN, 0.1, 0),
        lambda: VotedBlocks(PLAN, 0.1, 7),
        lambda: VotedBlocks(PLAN, 0.1, 2, block=0),
        lambda: PrunedMask(keep=0),
        lambda: PrunedMask(keep=1.2),
        lambda: PrunedMask(keep=math.nan),
        lambda: PrunedMask(every=1),
        lambda: PrunedMask(every=2.5),  # type: ignore[arg-type]  # a slip of the pen
        lambda: OnlyKeys(3),  # type: ignore[arg-type]  # a slip of the pen
    ],
)
def test_numbers_that_no_rule_has_are_refused(make: Any) -> None:
    with pytest.raises(Misused):
        make()


@pytest.mark.parametrize("rule", [TopKOfLast(D + 1), RandomK(D + 1), VotedBlocks(PLAN, 0.1, 2, block=D + 1)], ids=named)
def test_more_than_the_model_has_is_refused_and_not_cut(rule: Rule) -> None:
    with pytest.raises(BadPlan, match=str(D)):
        rule.choose(public_of())


@pytest.mark.parametrize("keep", [1e-9, 1.0])
def test_a_mask_keeps_one_weight_at_least_and_all_at_most(keep: float) -> None:
    assert PrunedMask(keep, 2).choose(public_of(1)).size == (1 if keep < 1 else D)


@pytest.mark.parametrize("pattern", ["nothing", "", "0?"])
def test_a_pattern_that_names_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(BadPlan, match="names no array with numbers"):
        OnlyKeys(pattern).choose(public_of())


def test_an_array_without_numbers_is_nothing_to_send() -> None:
    with pytest.raises(BadPlan, match="names no array with numbers"):
        OnlyKeys("1").choose(Public(0, [np.ones(3), np.zeros((0, 4))], None))


def test_an_array_that_is_kept_cannot_be_chosen() -> None:
    model = {"w": np.ones(3), "batches": np.array(7)}
    with pytest.raises(BadPlan, match="'batches', which is kept"):
        OnlyKeys("b*").choose(Public(0, model, None))  # type: ignore[arg-type]  # a state_dict
    assert OnlyKeys("w").choose(Public(0, model, None)).size == 3  # type: ignore[arg-type]  # a state_dict


def test_the_short_last_block_travels_without_padding() -> None:
    rule = VotedBlocks(PLAN, 0.5, 2, block=8)
    chosen = rule.choose(public_of(0))
    assert arrived(chosen, rule.send(0, model_of(), chosen, public_of(0)))["update"].size == D


# In a real round


def played(choices: Mapping[int, Selection], checks: Any) -> Simulation:
    """A round that the server opens for the set of client 0; every client sends on its own set."""
    ids = tuple(map(PartyId, choices))
    values = {who: travelling(chosen, {"update": chosen.gather(np.full(D, 0.25))}) for who, chosen in choices.items()}
    layout = Layout.of_update(values[0])

    def train(who: PartyId, client: Client) -> Submit:
        checks(client.offer, values[who])
        return client.prepare(Layout.of_update(values[who]).flatten(values[who]))

    simulation = Simulation(Cohort.from_root(PLAN, ids, ROOT), train)
    simulation.run(Task(0, layout.length, layout.digest(), nonce=bytes(16)))
    return simulation


AGREED, OTHER = Selection(D, np.arange(0, 10, dtype=np.int64)), Selection(D, np.arange(10, 20, dtype=np.int64))


def test_a_client_with_another_set_refuses_the_round_and_the_sum_is_over_the_others() -> None:
    simulation = played({0: AGREED, 1: AGREED, 2: AGREED, 3: OTHER, 4: AGREED, 5: AGREED}, require_layout)
    assert simulation.opened.survivors == (0, 1, 2, 4, 5)
    assert simulation.exact
    [(who, refusal)] = simulation.aborted.items()
    assert who == 3
    assert isinstance(refusal, PolicyViolation)
    assert "other coordinates than I worked out" in str(refusal)
    assert not simulation.clients[PartyId(3)]._spent


def test_without_its_check_a_set_of_equal_size_would_have_been_summed() -> None:
    """The twin: what `require_layout` is for."""
    simulation = played({0: AGREED, 1: AGREED, 2: AGREED, 3: OTHER, 4: AGREED, 5: AGREED}, lambda *_: None)
    assert simulation.opened.survivors == (0, 1, 2, 3, 4, 5)


def test_a_server_that_proposes_another_set_to_everybody_loses_its_round() -> None:
    with pytest.raises(TooFewClients, match="other coordinates than I worked out"):
        played({0: OTHER} | dict.fromkeys(range(1, 6), AGREED), require_layout)


@pytest.mark.parametrize("rule", [TopKOfLast(7), RandomK(5), PrunedMask(0.3, 2)], ids=named)
def test_each_client_works_out_the_set_and_one_with_an_older_model_stays_out(rule: Rule) -> None:
    """As in processes of their own: nobody is told a set, and the server's is known by its digest alone."""
    mean = model_of(5)
    publics = dict.fromkeys(range(6), public_of(3, mean)) | {3: public_of(3, mean, model=model_of(8))}

    def values_of(who: int, chosen: Selection) -> dict[str, Any]:
        return rule.send(who, [np.full((4, 4), 0.25), np.full(4, 0.25)], chosen, publics[who])

    agreed = rule.choose(publics[0])
    layout = Layout.of_update(values_of(0, agreed))

    def train(who: PartyId, client: Client) -> Submit:
        values = values_of(who, rule.choose(publics[who]))
        require_layout(client.offer, values)
        return client.prepare(Layout.of_update(values).flatten(values))

    simulation = Simulation(Cohort.from_root(PLAN, range(6), ROOT), train)
    simulation.run(Task(0, layout.length, layout.digest(), nonce=bytes(16)))
    assert simulation.opened.survivors == (0, 1, 2, 4, 5)
    assert {who: type(error) for who, error in simulation.aborted.items()} == {3: PolicyViolation}
    restored = rule.scattered(layout.unflatten(simulation.reader.mean()), agreed, publics[0])
    assert flat_of(restored) == pytest.approx(agreed.scatter(np.full(agreed.size, 0.25)), abs=1e-4)


def test_an_upload_is_as_long_as_the_set_and_not_as_the_model() -> None:
    chosen = Selection(100_000, np.arange(0, 100_000, 25, dtype=np.int64))
    sent = {who: travelling(chosen, {"update": np.full(chosen.size, 0.1, np.float32)}) for who in range(6)}
    report = secure_mean(sent, PLAN, round=0)
    agreement = Agreement(PLAN, 0, bytes(16), chosen.size, bytes(32), bytes(32), NO_LEDGER)
    sizes = round_sizes(agreement, 6)
    assert report.exact
    assert report.costs.upload_bytes_per_client == sizes.upload_bytes
    packed = chosen.size * PLAN.encoding.ring.bits / 8
    frame = sizes.bytes_of(Masked) - packed
    assert 0 < frame < 0.02 * packed


def test_updates_on_different_sets_make_no_mean() -> None:
    sent = {who: travelling(AGREED, {"update": np.ones(10)}) for who in range(5)}
    sent[5] = travelling(OTHER, {"update": np.ones(10)})
    with pytest.raises(WrongUpdate, match="client 5"):
        secure_mean(sent, PLAN, round=0)


def test_every_set_has_a_context_of_its_own() -> None:
    cohort = Cohort.from_root(PLAN, range(6), ROOT)
    contexts = set()
    for chosen in (AGREED, OTHER, Selection(D, np.arange(1, 11, dtype=np.int64))):
        layout = Layout.of_update(travelling(chosen, {"update": np.ones(10)}))
        contexts.add(context_of(cohort.server.agree(Task(0, 10, layout.digest(), nonce=bytes(16)))))
    assert len(contexts) == 3


def test_an_offer_of_another_length_is_refused() -> None:
    values = travelling(AGREED, {"update": np.ones(10)})
    cohort = Cohort.from_root(PLAN, range(6), ROOT)
    offer = cohort.server.agree(Task(0, 11, Layout.of_update(values).digest()))
    with pytest.raises(PolicyViolation, match="other coordinates"):
        require_layout(offer, values)
    require_layout(replace(offer, length=10), values)


# In the loop


def toy() -> Any:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 240)
    centres = np.array([[2.0, 0, 0.3, -0.3], [-1.0, 1.7, 0, 0], [-1.0, -1.7, 0, 0]])
    return deal_iid(Examples(centres[labels] + rng.normal(size=(240, 4)), labels, 3), 6, 1)


def run_of(rule: Any, aggregate: Any = plain_mean, **changes: Any) -> list[RoundRecord]:
    federation = Federation(
        softmax_regression(4, 3), FedAvg(Local(0.5, 2)), toy(), stops=(Rounds(8),), seed=1, reduction=rule
    )
    return list(replace(federation, **changes).run(aggregate))


def secure(updates: Mapping[int, Any], number: int) -> Any:
    return secure_mean(updates, RoundPlan.recommend(6, dropout=0, corrupt=0, clip=2.0, bits=20), round=number)


def plain(updates: Mapping[int, Any], number: int) -> Aggregated:
    return Aggregated(mean_of(updates), tuple(sorted(updates)))


LOOP_RULES = [
    TopKOfLast(6),
    RandomK(6),
    VotedBlocks(RoundPlan.recommend(6, dropout=0, corrupt=0, clip=2.0, bits=20), 0.2, 4, block=4),
    PrunedMask(0.4, 3),
]


@pytest.mark.parametrize("rule", LOOP_RULES, ids=named)
def test_every_round_of_a_secure_run_releases_the_mean_of_what_was_sent(rule: Rule) -> None:
    # Not compared as whole runs: a model that differs in its last bit draws other coordinates.
    def compared(updates: Mapping[int, Any], number: int) -> Any:
        report, expected = secure(updates, number), mean_of(updates)
        assert report.exact
        assert report.mean.keys() == expected.keys()
        assert all(np.abs(report.mean[name] - expected[name]).max(initial=0) < 1e-5 for name in expected)
        return report

    assert [record.failed for record in run_of(rule, compared, stops=(Rounds(4),))] == [None] * 4


@pytest.mark.parametrize("rule", LOOP_RULES, ids=named)
def test_each_step_moves_chosen_coordinates_only(rule: Rule) -> None:
    before = np.zeros(15)
    sizes = []

    def watched(updates: Mapping[int, Any], number: int) -> Aggregated:
        sizes.append(next(array.size for name, array in updates[0].items() if name.startswith("update")))
        return plain(updates, number)

    for record, size in zip(run_of(rule, watched), sizes, strict=True):
        after = flat_of(record.parameters)
        # Pruning moves the others too, to zero.
        assert np.count_nonzero((after != before) & (after != 0)) <= size
        before = after
    assert min(sizes) < 15


def test_a_pruned_run_ends_with_a_pruned_model_also_with_momentum() -> None:
    for strategy in (FedAvg(Local(0.5, 2)), FedAvgM(Local(0.5, 2), 0.5, 0.5)):
        rule = PrunedMask(0.4, 3)
        records = run_of(rule, plain, strategy=strategy)
        received = flat_of(rule.received(records[-1].parameters, 8))
        assert np.count_nonzero(received) == 6
        if isinstance(strategy, FedAvg):
            assert np.count_nonzero(flat_of(records[-1].parameters)) == 6


def test_a_noisy_round_sums_what_was_chosen() -> None:
    plan = RoundPlan.recommend(10, dropout=0, corrupt=0, clip=Fraction(1), noise_multiplier=Fraction(1, 100))
    public = public_of(1)
    rule = RandomK(8)
    chosen = rule.choose(public)
    update = [array / 100 for array in model_of(2)]
    report = secure_mean({who: rule.send(who, update, chosen, public) for who in range(10)}, plan, round=1)
    found = flat_of(rule.scattered(report.mean, chosen, public))
    expected = chosen.scatter(chosen.gather(flat_of(update)))
    assert np.abs(found - expected).max() < 0.02
    assert not found[np.setdiff1d(np.arange(D), chosen.coordinates)].any()
