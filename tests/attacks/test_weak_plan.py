"""The server proposes a plan weaker than the client's policy, an impossible one, or changes it half-way."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from protocols import codec, wire
from protocols.errors import BadPlan, Malformed, PolicyViolation, ViewMismatch
from protocols.heads import LedgerHead
from protocols.messages import Advertise, Inbox, Open, Roster, Shares, to_bitmap
from protocols.pairwise import client as pairwise_client
from protocols.party import SERVER
from protocols.plan import Excess, NoisePlan, Policy, Promise, context_of
from secagg.graph import Against, Assumption
from tests.attacks.villain import Stage, rows

STRICT = {
    "min_cohort": 4,
    "assumption": Assumption(Fraction(1, 5), Fraction(0)),
    "min_clip": Fraction(1, 2),
    "max_clip": Fraction(1),
    "max_weight": 8,
    "max_length": 5,
}
FAIR = {"min_cohort": 4, "assumption": Assumption(Fraction(1, 5), Fraction(0))}


def opening(stage: Stage, **changes):
    """The server's Open with other particulars, as a client whose policy is STRICT would get it."""
    in_agreement = {name: changes.pop(name) for name in ("length", "model") if name in changes}
    agreement = stage.server.agree(replace(stage.company.task(5)))
    return Open(replace(agreement, plan=replace(agreement.plan, **FAIR | changes), **in_agreement))


def strict_stage(**policy) -> Stage:
    probe = Stage(5)
    return Stage(5, policy=Policy(probe.company.known, **STRICT | policy))


@rows("M6")
def test_a_plan_that_just_meets_the_policy_is_accepted(row: str) -> None:
    stage = strict_stage()
    [answer] = stage.say(stage.ids[0], opening(stage))
    assert isinstance(answer, Advertise)


CURIOUS = Assumption(Fraction(1, 5), Fraction(0), against=Against.CURIOUS)


@rows("M6", "M25")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"min_cohort": 3}, "min_cohort 3 is below 4"),
        ({"promise": Promise.CURIOUS}, "promise curious is too weak"),
        ({"promise": Promise.CURIOUS, "assumption": CURIOUS}, "promise curious is too weak"),
        ({"assumption": Assumption(Fraction(1, 6), Fraction(0))}, "fewer corrupt clients"),
        ({"clip": Fraction(3, 2)}, "clip 3/2 is above 1"),
        ({"clip": Fraction(1, 3)}, "clip 1/3 is below 1/2"),
        ({"max_weight": 9}, "max_weight 9 is above 8"),
        ({"protocol": "plain"}, "protocol 'plain' is not allowed"),
        ({"length": 6}, "6 coordinates, at most 5"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else value.split()[0],
)
def test_each_bound_of_the_policy_is_kept(row: str, changes: dict, named: str) -> None:
    stage = strict_stage()
    with stage.refuses(stage.ids[0], PolicyViolation, match=named):
        stage.say(stage.ids[0], opening(stage, **changes))


@rows("M6")
@pytest.mark.parametrize("noise", [None, NoisePlan(Fraction(1, 2), 1, 24)], ids=["none", "half"])
def test_less_noise_than_the_policy_wants_is_refused(row: str, noise: NoisePlan | None) -> None:
    stage = strict_stage(min_noise_multiplier=Fraction(3, 4))
    with stage.refuses(stage.ids[0], PolicyViolation):
        stage.say(stage.ids[0], opening(stage, noise=noise, max_weight=1))


@rows("M6")
def test_more_layers_of_noise_than_the_policy_makes_tables_for_are_refused(row: str) -> None:
    stage = strict_stage(max_removable=1)
    noise = NoisePlan(Fraction(1), 1, 40, Excess.REMOVED)
    with stage.refuses(stage.ids[0], PolicyViolation, match="seeds of removable noise are over 1"):
        stage.say(stage.ids[0], opening(stage, noise=noise, max_weight=1))


@rows("M6")
def test_noise_that_nobody_can_make_is_the_servers_fault(row: str) -> None:
    stage = strict_stage()
    with stage.refuses(stage.ids[0], PolicyViolation, match="smallest modulus_bits that would do"):
        stage.say(stage.ids[0], opening(stage, noise=NoisePlan(Fraction(1 << 30), 1, 8), max_weight=1))


@rows("M6")
def test_the_word_active_cannot_hide_parameters_without_a_quorum(row: str) -> None:
    stage = strict_stage()
    message = opening(stage)
    with pytest.raises(BadPlan, match="active"):
        replace(message.agreement.plan, assumption=CURIOUS)
    fair, weak = wire.encode(FAIR["assumption"]), wire.encode(CURIOUS)
    body = wire.encode(message)
    assert body.count(fair) == 1
    header = codec.Header(1, SERVER, stage.task, 0, len(body)).to_bytes()
    forged = body.replace(fair, weak)
    signature = stage.company.identity.sign(codec._signed_text(header, [forged]))
    with pytest.raises(Malformed, match="active"):
        stage.clients[stage.ids[0]].receive(header + forged + signature)
    assert stage.signers[stage.ids[0]].signed == 0


@rows("M6")
def test_a_roster_for_which_no_parameters_exist_is_refused(row: str) -> None:
    stage = Stage(5)
    stage.until(Roster)
    who = stage.ids[0]
    agreement = stage.server.agreement
    hopeless = replace(agreement.plan, assumption=Assumption(Fraction(1, 2), Fraction(1, 2)), min_cohort=4)
    greedy = replace(agreement, round=1, plan=hopeless)
    stage.round = 1
    entries = []
    for member in stage.ids:
        [letter] = stage.say(member, Open(greedy))
        entries.append(stage.clients[member]._party.state.said)
        assert letter.context == context_of(greedy)
    with stage.refuses(who, PolicyViolation):
        stage.say(who, Roster(context_of(greedy), tuple(entries)))


@rows("M19")
@pytest.mark.parametrize(
    "name", ["length", "clip", "max_weight", "min_cohort", "model", "layout", "ledger_head", "nonce"]
)
def test_a_roster_of_another_agreement_is_another_view(row: str, name: str) -> None:
    stage = Stage(5)
    letters = stage.until(Roster)
    agreement = stage.server.agreement
    in_plan = {"clip": Fraction(2), "max_weight": 7, "min_cohort": 4}
    head = LedgerHead(b"\1" * 16, 1, b"\1" * 32)
    in_round = {"length": 6, "model": b"\1" * 32, "layout": b"\1" * 32, "ledger_head": head, "nonce": b"\1" * 16}
    if name in in_plan:
        other = replace(agreement, plan=replace(agreement.plan, **{name: in_plan[name]}))
    else:
        other = replace(agreement, **{name: in_round[name]})
    who = stage.ids[0]
    with stage.refuses(who, ViewMismatch):
        stage.say(who, replace(letters[who], context=context_of(other)))


@rows("M6", "M7")
@pytest.mark.parametrize(
    ("floor", "named"),
    [({"min_threshold": 4}, "threshold 3 is below my 4"), ({"min_degree": 5}, "degree 4 is below my 5")],
    ids=["threshold", "degree"],
)
def test_a_roster_below_the_floors_of_the_policy_gets_no_shares(row: str, floor: dict, named: str) -> None:
    probe = Stage(5)
    stage = Stage(5, policy=replace(probe.company.policy, **floor))
    letters = stage.until(Roster)
    with stage.refuses(stage.ids[0], PolicyViolation, match=named):
        stage.say(stage.ids[0], letters[stage.ids[0]])
    just = Stage(5, policy=replace(probe.company.policy, min_threshold=3, min_degree=4))
    just.until(None)
    assert just.server.aggregate.total.tolist() == just.encoded(just.ids)


@rows("M25")
def test_a_suite_the_policy_does_not_trust_is_refused(row: str) -> None:
    stage = strict_stage(suites=frozenset())
    with stage.refuses(stage.ids[0], PolicyViolation, match="suite X25519"):
        stage.say(stage.ids[0], opening(stage))


@rows("M25")
def test_a_suite_nobody_knows_is_malformed(row: str) -> None:
    stage = strict_stage()
    body = bytearray(wire.encode(opening(stage)))
    # The suite is the last byte of the plan, and the plan the first part of the letter.
    body[len(wire.encode(opening(stage).agreement.plan)) - 1] = 1
    with pytest.raises(Malformed, match="Suite has no member 1"):
        codec.decode_body(Open, bytes(body), SERVER)


@rows("M6")
def test_without_the_policy_a_sum_over_fewer_than_it_insists_on_is_opened(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(Stage(4).company.known, min_cohort=4)
    strict = Stage(4, policy=policy)
    strict.open()
    for who, frame in strict.pending:
        with strict.refuses(who, PolicyViolation, match="min_cohort 3 is below 4"):
            strict.deliver(who, frame)
    monkeypatch.setattr(Policy, "check", lambda policy, agreement: None)
    stage = Stage(4, policy=policy)
    stage.until(None, silent=stage.ids[3:])
    assert stage.server.aggregate.survivors == stage.ids[:3]
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids[:3])


@rows("M19")
def test_without_the_check_the_boxes_of_whoever_has_another_view_open_nowhere(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disagreement is inert before it is detected: here no attack succeeds even with the check removed."""
    monkeypatch.setattr(pairwise_client, "check_roster", lambda state, message: None)
    stage = Stage(6)
    letters = stage.until(Roster)
    victim = stage.ids[0]
    stage.say(victim, Open(replace(stage.server.agreement, model=b"\1" * 32)))
    odd = stage.clients[victim]._party.state.said
    for who in stage.ids:
        stage.say(who, replace(letters[who], entries=(odd, *letters[who].entries[1:])))
    dealt = {who: stage.heard[who, Shares].sealed for who in stage.ids}
    everybody = to_bitmap(frozenset(stage.ids), stage.ids)
    for place, who in enumerate(stage.ids[1:], 1):
        # In a dealer's list of neighbours a holder stands one place earlier if it comes after the dealer.
        sealed = [dealt[peer][place - (index < place)] for index, peer in enumerate(stage.ids) if peer != who]
        [masked] = stage.say(who, Inbox(who, everybody, tuple(sealed)))
        assert masked.complaints == (victim,)
