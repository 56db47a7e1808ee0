"""All scripts, by name."""

from __future__ import annotations

from protocols.adversary import inputs, passive, server
from protocols.adversary.targets import Target
from protocols.adversary.verdict import Script, Verdict

SCRIPTS = {script.name: script for script in (*passive.SCRIPTS, *server.SCRIPTS, *inputs.SCRIPTS)}


def verdicts(target: Target, names: tuple[str, ...] = ()) -> list[Verdict]:
    """Every script, or those named, against one target."""
    return [SCRIPTS[name].against(target) for name in names or SCRIPTS]


__all__ = ["SCRIPTS", "Script", "verdicts"]
