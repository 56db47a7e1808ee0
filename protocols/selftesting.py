"""The self-test of a server that is about to run private rounds: noise that fails it starts none."""

from __future__ import annotations

from functools import cache

from dp.audit import Finding, NoisePath, refuted, routes_of, selftest
from dp.errors import UnsoundNoise

# What clients add to sums that are opened, and what the clip is chosen by.
OF_ROUNDS = (NoisePath.SHARES, NoisePath.LAYERS, NoisePath.CLIP_BIT)


@cache
def require_sound_noise() -> tuple[Finding, ...]:
    """What the self-test found about the noise of rounds, by this machine and this installation, in half a second.

    Asked again, a process that passed says what it found the first time; one that failed is tested again. It is about
    the code here: clients draw their shares on machines of their own, and may run it there.
    Raises: UnsoundNoise naming the routes and the checks that failed; EntropyUnavailable.
    """
    found = selftest(route for path in OF_ROUNDS for route in routes_of(path))
    if refuted(found):
        raise UnsoundNoise(f"the self-test refuted {'; '.join(_why(each) for each in found if each.refuted)}")
    return found


def _why(finding: Finding) -> str:
    reasons = [f"{check.name} is {check.value:.6g}" for check in finding.checks if not check.passed]
    if finding.claim is not None and finding.lower_bound is not None and finding.lower_bound > finding.claim:
        reasons.append(f"epsilon {finding.claim:.6g} is claimed and {finding.lower_bound:.6g} leaks")
    return f"{finding.subject} ({', '.join(reasons)})"
