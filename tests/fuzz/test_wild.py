"""An `Open` of extreme numbers: malformed, against the policy, or a round that a client can begin; never a crash."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest

from protocols import codec, wire
from protocols.codec import KINDS
from protocols.messages import Open
from protocols.pairwise.client import Idle, Own
from protocols.party import SERVER
from protocols.plan import Agreement, Policy, Promise
from secagg.graph import GraphMode
from secagg.parameters import Assumption
from tests.attacks.villain import rows
from tests.fuzz import loops, targets
from tests.fuzz.corpus import Recording, recordings
from tests.fuzz.wild import damaged

OPENS = 600
OPEN = next(kind for kind, message in KINDS.items() if message is Open)
NAMES = [recording.name for recording in recordings()]
Tell = Callable[[str], None]


def honest(recording: Recording) -> Agreement:
    return next(codec.decode_body(kind, body, SERVER) for kind, body in recording.bodies if kind is Open).agreement


def idle(recording: Recording, policy: Policy) -> targets.Scene:
    [scene] = [targets.Scene(recording, pose) for pose in recording.poses if pose.kind is Idle]
    scene.supplied[Own] = Own(scene.pose.who, policy, targets.no_signature, targets.believe)
    scene.reset()
    return scene


def lax(recording: Recording) -> Policy:
    """A policy that lets the most extreme proposals through to what comes after it."""
    return Policy(
        recording.company.known,
        promise=Promise.CURIOUS,
        graphs=frozenset(GraphMode),
        assumption=Assumption(Fraction(0), Fraction(0), sigma=1, eta=1),
        max_clip=Fraction(10**300),
        max_weight=1 << 64,
        max_length=1 << 64,
    )


def judged(data: bytes, scene: targets.Scene) -> str:
    """What a client that waits for a round makes of this frame."""
    outcome = targets.open_any(data)
    if outcome == targets.ACCEPTED:
        [(*_, outcome)] = loops.say(data, [scene], lambda _: 0)
    return outcome


def judge(scene: targets.Scene) -> Counter[str]:
    bodies = itertools.islice(damaged(honest(scene.recording), 3), OPENS)
    with targets.trusting():
        return Counter(loops.shot(partial(judged, scene=scene), targets.framed(OPEN, body)) for body in bodies)


def strict(recording: Recording) -> Policy:
    return recording.company.policy


@rows("D16", "D17", "M25")
@pytest.mark.parametrize("recording", recordings(), ids=NAMES)
@pytest.mark.parametrize("policy", [lax, strict], ids=["lax", "strict"])
def test_a_client_takes_extreme_proposals_or_refuses_them_by_name(
    row: str, recording: Recording, policy: Callable[[Recording], Policy], tell: Tell
) -> None:
    tally = judge(idle(recording, policy(recording)))
    tell(f"{recording.name}: {tally.total():,} extreme proposals: {dict(tally)}")
    assert set(tally) == {"Malformed", "PolicyViolation", targets.ACCEPTED}
    assert min(tally.values()) > OPENS // 100


def test_proposals_are_a_function_of_their_number_and_the_honest_one_is_among_them() -> None:
    agreement = honest(recordings()[0])
    first, again, other = (list(itertools.islice(damaged(agreement, number), 200)) for number in (1, 1, 2))
    assert first == again != other
    assert wire.encode(agreement) in first


def test_an_overflow_behind_the_policy_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a coding that computes with floats before it has looked at the numbers."""
    scene = idle(recordings()[0], lax(recordings()[0]))
    monkeypatch.setattr("protocols.pairwise.client.coding_of", lambda agreement: math.exp(300 * agreement.plan.clip))
    with pytest.raises(AssertionError, match="OverflowError: math range error"):
        judge(scene)
