"""A library's probes, and how they are run: in its own environment, one line of JSON at the end.

    <env>/bin/python -m benchmarks.peers.tenseal_target '{"checks": ["T1", "T4"]}'
    last line of stdout: {"library": "tenseal", "version": "0.3.18", "findings": [...]}

Imports nothing but the standard library, as it runs in every environment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.matrix.checks import BY_ID, CHECKS
from benchmarks.matrix.finding import Answer, Finding, NotApplicable, NotInstalled, Outcome

Probe = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Target:
    """A library under test: for each check a probe, or the reason why it has none.

    `version` imports the library and says which one it is. `upstream` has the public issues of a check.

    Raises: ValueError for a check that is answered twice or not at all.
    """

    library: str
    version: Callable[[], str]
    probes: Mapping[str, Probe]
    without: Mapping[str, str]
    upstream: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        answered = [*self.probes, *self.without]
        if sorted(answered) != sorted(BY_ID):
            raise ValueError(f"{self.library}: each check has a probe or a reason, got {sorted(answered)}")

    def findings(self, checks: Iterable[str] = ()) -> list[Finding]:
        """What comes of these checks, or of all."""
        version = self.version()
        return [self.finding(check, version) for check in checks or (check.id for check in CHECKS)]

    def finding(self, check: str, version: str) -> Finding:
        if check in self.without:
            return Finding(check, self.library, version, Outcome.NOT_APPLICABLE, self.without[check])
        try:
            answer = self.probes[check]()
        except NotApplicable as reason:
            return Finding(check, self.library, version, Outcome.NOT_APPLICABLE, str(reason))
        except NotInstalled as reason:
            return Finding(check, self.library, version, Outcome.NOT_INSTALLED, str(reason))
        evidence = answer.evidence.strip()
        if not answer.fell:
            return Finding(check, self.library, version, Outcome.WITHSTOOD, evidence)
        return Finding(check, self.library, version, Outcome.FELL, evidence, self.upstream.get(check, ()))

    def main(self) -> None:
        """Run what the command line asks for."""
        wanted = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
        found = self.findings(wanted.get("checks", ()))
        answer = {
            "library": self.library,
            "version": self.version(),
            "findings": [finding.to_dict() for finding in found],
        }
        print(json.dumps(answer))


def for_all(checks: Iterable[str], why: str) -> dict[str, str]:
    """The same reason for several checks."""
    return dict.fromkeys(checks, why)
