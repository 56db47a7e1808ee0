"""Every error of `dp`, one tree; nothing in here ever blames a peer.

    DpError
      BadParameters  NonFinite  ClipExceeded  NoiseTooCoarse  Infeasible  UnsupportedEvent
      EntropyUnavailable  InsecureEntropy  AccountantDisagreement  UnsoundNoise  BudgetExceeded
      LedgerError    Corrupt  RolledBack  Forked  WrongVersion  Locked  StorageRefused
                     ConflictingCharge  BadReservation  Erased  Unverifiable
      AuditError     NotEnoughTrials  UndeclaredHypothesis

A message names the parameter, its value and the bound it broke, and says what to do. No message holds
a secret, a coordinate of somebody's update, or a drawn noise value.
"""

from __future__ import annotations


class DpError(Exception):
    """Root of everything `dp` raises on purpose; any other exception that escapes is our bug."""


class BadParameters(DpError):
    """The caller's: an argument is outside its stated range or type. Correct the call."""


class NonFinite(DpError):
    """The caller's: a vector holds NaN or infinity. Repair the training step; nothing was sent."""


class ClipExceeded(DpError):
    """Ours, or a caller who built a `Clipped` by hand: an integer norm lies above the bound that the
    privacy claim rests on. The release is blocked; report it, do not widen the bound."""


class NoiseTooCoarse(DpError):
    """The caller's plan: a separately drawn component has lattice variance below what the accounting
    of integer noise needs. Take a finer lattice: more modulus bits, or fewer or stronger shares."""


class Infeasible(DpError):
    """The caller's plan: no parameters meet all demands at once. The message names the nearest demand
    that could be met (more bits, more survivors, a larger epsilon)."""


class UnsupportedEvent(DpError):
    """The caller's: no accountant here has a proof for this event under this relation and view. Choose
    another mechanism, sampling or relation; there is deliberately no fallback."""


class EntropyUnavailable(DpError):
    """The machine's, or a stream used after its end: no trustworthy randomness is at hand (the operating
    system refused, or the stream was closed or crossed a fork). Open a new stream; never substitute one."""


class InsecureEntropy(DpError):
    """The caller's: noise from a known seed was offered where only the operating system's randomness
    counts. Use `Entropy.system`, or open a budget that says it is a rehearsal."""


class AccountantDisagreement(DpError):
    """Ours: two independent accountants contradict each other. The release is blocked; report it with
    both intervals."""


class UnsoundNoise(DpError):
    """Ours, or the machine's: the self-test refuted what is claimed of the noise that would be added here. Start no
    round on this machine; report the named check, and try another build of numpy."""


class BudgetExceeded(DpError):
    """Nobody's: the next release would cost more than the budget holds. Nothing was released or written;
    stop, or ask the owner of the data for a new budget."""


class LedgerError(DpError):
    """Something about a file that keeps state, a ledger or the image of an endpoint; `seq` is the entry of the
    ledger it was noticed at, when there is one."""

    def __init__(self, message: str, *, seq: int | None = None) -> None:
        super().__init__(message)
        self.seq = seq


class Corrupt(LedgerError):
    """The storage's, or a forger's: an entry of a ledger breaks the chain, its signature, its canonical form or
    the order of events, or a state file is not what was stored. Stop using the file: compare a ledger with a
    pinned head and an export; remove a state file and join the next round, without an older copy."""


class RolledBack(LedgerError):
    """The storage's, or a forger's: the ledger ends before a head somebody has already seen. Restore the
    newer copy; spending on this one would spend twice."""


class Forked(LedgerError):
    """The key holder's: two different histories were signed for one sequence number. Neither can be
    believed; keep both as evidence."""


class WrongVersion(LedgerError):
    """The caller's: the file is of another schema or is no ledger, or a state file is another version's, role's
    or identity's. Open it with the version and the owner that wrote it; it is never migrated silently."""


class Locked(LedgerError):
    """Nobody's: other writers held the ledger for every attempt, or another endpoint has the folder open.
    Nothing was written; try again when they have ended."""


class StorageRefused(LedgerError):
    """The caller's: the place cannot keep a ledger or a state file durable, locked and private (network file
    system, read-only or full directory, no write-ahead log, open to others). Choose a local directory of your own."""


class ConflictingCharge(LedgerError):
    """The caller's: one charge id was used for two different charges. Give each release its own round."""


class BadReservation(LedgerError):
    """The caller's: a reservation is unknown, already settled, or belongs to another ledger. Reserve anew."""


class Erased(LedgerError):
    """Nobody's: the opening asked for was erased on request. The total stays verifiable, this proof does
    not."""


class Unverifiable(LedgerError):
    """The writer's: an entry is of an unknown kind, or its noise came from a known seed, so no statement
    about privacy follows from it."""


class AuditError(DpError):
    """An empirical audit was asked for something it cannot honestly answer."""


class NotEnoughTrials(AuditError):
    """The caller's: too few trials for the confidence that was asked for. Run more, or ask for less."""


class UndeclaredHypothesis(AuditError):
    """The caller's: a threshold or hypothesis was chosen after looking at the data. Declare it first, on
    other data."""
