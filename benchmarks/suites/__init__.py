"""One file per subject; each offers `rows(effort)`. The suites that are asked for by name are groups of them.

A module of BESIDE runs in the environment it names, beside the peer that is installed there.
"""

from __future__ import annotations

SUITES: dict[str, tuple[str, ...]] = {
    "masks": ("masking", "unmasking", "memory", "encoding", "clients", "servers", "rounding"),
    "rounds": ("rounds", "scaling", "estimates", "faults", "oneshot", "flower_loop"),
    "ckks": ("ckks", "nvflare_he", "openfhe"),
    "noise": ("noise",),
    "accounting": ("accounting", "calibration", "ledger", "audits", "jax_privacy"),
    "bytes": ("sizes", "sparse", "compression"),
    "utility": ("utility", "pfl"),
    "attacks": ("attacks",),
}
BESIDE = {
    **dict.fromkeys(("clients", "servers", "rounding", "faults", "oneshot", "flower_loop", "sizes"), "flower"),
    **dict.fromkeys(("noise", "accounting", "calibration"), "dp"),
    "ckks": "tenseal",
    "nvflare_he": "nvflare",
    "openfhe": "openfhe",
    "jax_privacy": "jax_privacy",
    "pfl": "pfl",
}
# Attacks go to the peers by themselves, so they are beside peers as well.
NEEDS_PEERS = frozenset({*BESIDE, "attacks"})
# Only where they are named: they need torch, or train for minutes to tell what a page has told.
ON_DEMAND = ("membership", "inversion")


def modules_of(wanted: list[str], peers: bool) -> list[tuple[str, str]]:
    """(suite, module) of everything to run, in order; a suite gives what needs no peer unless peers are wanted.

    A module may be named itself: it runs wherever it belongs.
    """
    found: list[tuple[str, str]] = []
    for name in wanted or list(SUITES):
        modules = SUITES.get(name, ())
        found += [(name, module) for module in modules if peers or module not in NEEDS_PEERS]
        if name not in SUITES or not (peers or set(modules) - NEEDS_PEERS or not wanted):
            # A suite that is nothing but peers is asked for by its name.
            found += [(name, module) for module in modules or (name,)]
    return list(dict.fromkeys(found))


def suite_of(module: str) -> str:
    """The suite that a module's rows belong to; one that is only run on demand is its own."""
    return next((suite for suite, modules in SUITES.items() if module in modules), module)


def names() -> tuple[str, ...]:
    """Everything that may be asked for."""
    modules = (module for within in SUITES.values() for module in within)
    return tuple(dict.fromkeys((*SUITES, *modules, *ON_DEMAND)))
