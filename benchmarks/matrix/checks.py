"""What is checked, each with its idea in one sentence. Imports nothing but the standard library.

The letter says against what:  F masks and their rounds   N encryption as it is deployed   T ciphertexts and their
parser   D noise and its accounting
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`idea` says what goes wrong where a library falls."""

    id: str
    idea: str

    def __str__(self) -> str:
        return f"{self.id} {self.idea}"


CHECKS = (
    Check("F1", "the key of a mask has fewer bits than a key needs"),
    Check("F2", "clients answer a question that names one of them alive and dead, and its update is read"),
    Check("F3", "a client sums with nobody, with the server's own, or under a threshold of one"),
    Check("F4", "clients that are told different survivors give away one update"),
    Check("F5", "clients that drop out early end the round though enough are left"),
    Check("F6", "some numbers of shares break undisturbed rounds"),
    Check("F7", "one client's NaN reaches everybody's mean"),
    Check("F8", "weights that are zero, tiny or beyond the declared maximum spoil the mean"),
    Check("F9", "a vector of another shape is broadcast over the sum, or ends the round"),
    Check("F10", "a client's weight is readable beside its masked vector"),
    Check("F11", "a client stores secrets of a round that is over"),
    Check("F12", "a mask never takes some residue"),
    Check("N1", "what one client is given opens what another client sends"),
    Check("N2", "a few bytes from one client end the process that adds up"),
    Check("N3", "an update in layers costs a multiple of the same numbers in one vector"),
    Check("N4", "one client's NaN or 1e300 becomes the model"),
    Check("N5", "a log tells the extremes of one client's update"),
    Check("T1", "bytes that are no ciphertext end the process that reads them"),
    Check("T2", "a size that a message claims is believed"),
    Check("T3", "a bit flipped on the way is summed unnoticed"),
    Check("T4", "what is released still carries the ciphertext's noise, from which a key can follow"),
    Check("T5", "a sum wraps around without a word"),
    Check("T6", "standard output carries a library's own notes"),
    Check("D1", "replace-one is accounted like add-or-remove-one"),
    Check("D2", "an epsilon depends on a grid that nobody chose and does not say by how much"),
    Check("D3", "an epsilon lies below what is known to be lost"),
    Check("D4", "ordinary or extreme settings give an infinite epsilon or none"),
    Check("D5", "the scale of Laplace noise is accounted the wrong way round"),
    Check("D6", "noise has another mean or deviation than was asked for"),
    Check("D8", "an output proves which of two neighbours it came from, by its bits"),
    Check("D9", "forked processes draw the same noise"),
    Check("D10", "an edited record of what was spent is believed"),
)

BY_ID = {check.id: check for check in CHECKS}


def ids(*prefixes: str) -> tuple[str, ...]:
    """The ids that begin with one of these letters, in order."""
    return tuple(check.id for check in CHECKS if check.id.startswith(prefixes))
