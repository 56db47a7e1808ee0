"""The least degree of a sparse graph that is still safe: (degree, threshold, window) by search.

    Clients stand on a ring in an order nobody chose; each has the k / 2 before and after it as neighbours.
    X(K, m) is how many of m clients are among K marked ones, drawn from n; A corrupted, D lost, S = n - D.

    1  connected     n (n - k - 1) / 2 * P[X(A + D, k) = k] < 2^-(sigma + 1)     a cut removes two runs of k / 2
    2  secret        a = min{x: P[X(A, k) > x] < 2^-(sigma + 1) / n}             most corrupted neighbours
    3  threshold     t = a + 1 against CURIOUS, otherwise floor((k + a) / 2) + 1, and at least 2
    4  completes     P[X(S, k) < t] < 2^-eta / n                                 a secret can be rebuilt
    5  window        w = min{x: P[X(A, k / 2) > x] < 2^-(sigma + 1) / n},
       ACTIVE only   P[X(S, k / 2) <= w] < 2^-eta / n                            every half neighbourhood

Why n, where a victim has only n - 1 others: neighbourhoods are fixed places and the marks fall on all n, so
the expected number of places with too many (or too few) marks around them is n * P[X(K, k) ...] exactly.

Why 5: a server that sees the ring before it says who dropped needs only k chosen losses to cut it. When each
run of k / 2 places holds w + 1 survivors, one of them is honest, honest survivors next to each other on the
ring are neighbours, and so all of them are connected: no smaller sum is free of unknown masks. Against CURIOUS
and SEMI losses fall without regard to the graph, and condition 1 bounds the chance that they cut it.

Source: Bell et al., CCS 2020, sections 3 and 4; the search without 5 follows the graph parameter finder of
google-parfait/federated-compute. Condition 5 is ours.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from secagg.errors import NoParameters
from secagg.hypergeometric import Draw, Population
from secagg.parameters import Against, Assumption, Parameters, check_clients

MIN_SPARSE = 4
MAX_SPARSE = 1_000_000
# Up to here the complete graph costs little, and A and D are too small for chance to be worth anything.
ALWAYS_COMPLETE = 64

# corrupt + dropout against CURIOUS, corrupt + 2 * dropout otherwise. Beyond, a ring has to be nearly complete,
# and the published search answers nothing either. From 20 clients on it also leaves n - D >= q signers.
MOST_BAD = Fraction(9, 10)

EXHAUSTIVE_UP_TO = 10_000
STRIDE = 64

NO_WINDOW = -1
LEAST_THRESHOLD = 2  # a single share would be the secret itself


def find_sparse_parameters(n: int, assumption: Assumption) -> Parameters:
    """The least degree a ring of n clients may have, with its threshold and window; the same for everybody.

    Guarantee: when positions on the ring are independent of who is corrupted (and, below ACTIVE, of who is
        lost), then but for probability 2^privacy_failure_log2 < 2^-sigma no victim has both secrets rebuilt
        and honest survivors stay connected; with D losses that do not depend on the ring, but for
        2^completion_failure_log2 every secret can be rebuilt (below 2^-eta) and the survivors pass the
        window rule (again below 2^-eta). Up to 64 clients the threshold 2 may miss the bound on completion,
        as in the published pairs; `choose_parameters` never asks there.
    Raises: NoParameters naming the largest feasible drop-out; BadParameters when n is no integer.
    """
    check_clients(n, MIN_SPARSE, MAX_SPARSE, "sparse")
    found = _search(Population(n), assumption)
    if found is None:
        feasible = largest_feasible_sparse_dropout(n, assumption)
        raise NoParameters(
            f"no sparse graph of {n} clients bears corruption {float(assumption.corrupt):.4f} and "
            f"drop-out {float(assumption.dropout):.4f} against {assumption.against.name}; "
            f"the largest feasible drop-out is {feasible} ({float(feasible):.4f})"
        )
    return found


def largest_feasible_sparse_dropout(n: int, assumption: Assumption) -> Fraction:
    """The largest D / n for which a sparse graph has parameters under the rest of the assumption.

    Raises: NoParameters where even without drop-outs there are none; BadParameters when n is no integer.
    """
    check_clients(n, MIN_SPARSE, MAX_SPARSE, "sparse")
    clients = Population(n)
    most = math.floor((MOST_BAD - assumption.corrupt) / _losses_count(assumption) * n)

    def infeasible(lost: int) -> bool:
        return _search(clients, replace(assumption, dropout=Fraction(lost, n))) is None

    # What more losses cannot break, fewer cannot either, so the feasible ones come first.
    feasible = bisect_right(range(max(0, min(n, most + 1))), False, key=infeasible)
    if feasible == 0:
        raise NoParameters(
            f"no sparse graph of {n} clients bears corruption {float(assumption.corrupt):.4f} against "
            f"{assumption.against.name} even without drop-out; assume less, or mask with everybody"
        )
    return Fraction(feasible - 1, n)


def _losses_count(assumption: Assumption) -> int:
    """How often a loss counts beside a corruption: a lying server invents as many again."""
    return 1 if assumption.against is Against.CURIOUS else 2


def _search(clients: Population, assumption: Assumption) -> Parameters | None:
    """The first degree that passes; nearly every larger one then does, but for steps of whole clients."""
    if assumption.corrupt + _losses_count(assumption) * assumption.dropout > MOST_BAD:
        return None
    n, conditions = clients.size, _Conditions.of(clients, assumption)
    if n <= EXHAUSTIVE_UP_TO:
        return _first(conditions, range(2, n - 1, 2))
    bracket = _first(conditions, range(2, n - 1, STRIDE))
    if bracket is None:
        return None
    return _first(conditions, range(max(2, bracket.degree - 2 * STRIDE), bracket.degree, 2)) or bracket


def _first(conditions: _Conditions, degrees: range) -> Parameters | None:
    return next(filter(None, map(conditions.parameters, degrees)), None)


@dataclass(frozen=True, slots=True)
class _Conditions:
    """The five conditions on a degree, for one number of clients under one assumption."""

    clients: Population
    assumption: Assumption
    corrupted: int
    survivors: int

    @classmethod
    def of(cls, clients: Population, assumption: Assumption) -> _Conditions:
        n = clients.size
        return cls(clients, assumption, assumption.corrupted(n), n - assumption.lost(n))

    @property
    def rare(self) -> float:
        """What may happen around one client at the cost of privacy: half of 2^-sigma over all n."""
        return 2.0 ** -(self.assumption.sigma + 1) / self.clients.size

    @property
    def seldom(self) -> float:
        """What may happen around one client at the cost of completion."""
        return 2.0**-self.assumption.eta / self.clients.size

    def parameters(self, degree: int) -> Parameters | None:
        """Threshold and window of this degree, or None where a condition fails; the cheapest comes first."""
        cut = self._cut_log2(degree)
        if cut >= -(self.assumption.sigma + 1):
            return None
        corrupted = self.clients.draw(self.corrupted, degree)
        surviving = self.clients.draw(self.survivors, degree)
        threshold = self._threshold(degree, corrupted.exceeded_below(self.rare))
        if surviving.reached_from(self.seldom) < threshold:
            return None
        threshold = max(threshold, LEAST_THRESHOLD)
        secrecy = self._anywhere(corrupted.log2_above(self._harmless(degree, threshold)))
        completion = self._anywhere(surviving.log2_up_to(threshold - 1))
        quorum = self.assumption.quorum(self.clients.size)
        if self.assumption.against is not Against.ACTIVE:
            return Parameters(degree, threshold, NO_WINDOW, quorum, _either(secrecy, cut), completion)
        held, left = self._half(self.corrupted, degree), self._half(self.survivors, degree)
        window = held.exceeded_below(self.rare)
        if left.reached_from(self.seldom) <= window:
            return None
        hidden, thin = self._anywhere(held.log2_above(window)), self._anywhere(left.log2_up_to(window))
        return Parameters(degree, threshold, window, quorum, _either(secrecy, hidden), _either(completion, thin))

    def _threshold(self, degree: int, corrupted: int) -> int:
        """The least t that `corrupted` neighbours and a server as assumed cannot reach for both secrets."""
        least = corrupted + 1 if self.assumption.against is Against.CURIOUS else (degree + corrupted) // 2 + 1
        # The published pairs of ten clients raise the threshold to 2 only after the test of completion, which
        # some then miss. No round uses so small a ring, so only there are they followed.
        return least if self.clients.size <= ALWAYS_COMPLETE else max(least, LEAST_THRESHOLD)

    def _harmless(self, degree: int, threshold: int) -> int:
        """The most corrupted neighbours that do no harm: c < t against CURIOUS, otherwise 2 t > k + c."""
        return threshold - 1 if self.assumption.against is Against.CURIOUS else 2 * threshold - degree - 1

    def _half(self, marked: int, degree: int) -> Draw:
        return self.clients.draw(marked, degree // 2)

    def _cut_log2(self, degree: int) -> float:
        n = self.clients.size
        bad = self.corrupted + n - self.survivors
        return math.log2(n * (n - degree - 1) / 2) + self.clients.log2_all_marked(bad, degree)

    def _anywhere(self, at_one_place_log2: float) -> float:
        return math.log2(self.clients.size) + at_one_place_log2


def _either(first_log2: float, second_log2: float) -> float:
    return float(np.logaddexp2(first_log2, second_log2))
