"""How much is revealed: vectors in, noise and epsilon out.

    x --clip--> bounded --mechanism--> integers + noise        what happens to a vector    clip mechanisms noise
    x --clip--> bounded --share--> integers + their part       where clients make noise    distributed
    event --accountants--> Interval(lower, upper)              what that release costs     events accountant
    charge --ledger--> admitted or BudgetExceeded              what has been spent         ledger
    event --filter--> admitted or BudgetExceeded               chosen on the way           filters odometer individual
    system --attack--> lower bound of its epsilon              whether it leaks more       audit

Nothing here knows of parties, messages or secure sums (`protocols`, `secagg`). Names load their module on
first use: importing the package loads neither scipy nor any accountant. The function `calibrate` is found
in the module of that name, `dp.calibrate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp.accountant import Accountant as Accountant
    from dp.accountant import Budget as Budget
    from dp.accountant import Interval as Interval
    from dp.accountant import Relation as Relation
    from dp.accountant import Unit as Unit
    from dp.accountant import View as View
    from dp.accountant import account as account
    from dp.adaptive import AdaptiveClip as AdaptiveClip
    from dp.bounds import Clip as Clip
    from dp.bounds import Lattice as Lattice
    from dp.calibrate import Calibrated as Calibrated
    from dp.calibrate import Schedule as Schedule
    from dp.calibrate import calibrate_gaussian as calibrate_gaussian
    from dp.clip import Clipped as Clipped
    from dp.clip import clip_l1 as clip_l1
    from dp.clip import clip_l2 as clip_l2
    from dp.clip import clip_layers as clip_layers
    from dp.distributed import EncodedShare as EncodedShare
    from dp.distributed import NoiseShare as NoiseShare
    from dp.distributed import Quantised as Quantised
    from dp.errors import AccountantDisagreement as AccountantDisagreement
    from dp.errors import AuditError as AuditError
    from dp.errors import BadParameters as BadParameters
    from dp.errors import BadReservation as BadReservation
    from dp.errors import BudgetExceeded as BudgetExceeded
    from dp.errors import ClipExceeded as ClipExceeded
    from dp.errors import ConflictingCharge as ConflictingCharge
    from dp.errors import Corrupt as Corrupt
    from dp.errors import DpError as DpError
    from dp.errors import EntropyUnavailable as EntropyUnavailable
    from dp.errors import Erased as Erased
    from dp.errors import Forked as Forked
    from dp.errors import Infeasible as Infeasible
    from dp.errors import InsecureEntropy as InsecureEntropy
    from dp.errors import LedgerError as LedgerError
    from dp.errors import Locked as Locked
    from dp.errors import NoiseTooCoarse as NoiseTooCoarse
    from dp.errors import NonFinite as NonFinite
    from dp.errors import NotEnoughTrials as NotEnoughTrials
    from dp.errors import RolledBack as RolledBack
    from dp.errors import StorageRefused as StorageRefused
    from dp.errors import UndeclaredHypothesis as UndeclaredHypothesis
    from dp.errors import UnsoundNoise as UnsoundNoise
    from dp.errors import UnsupportedEvent as UnsupportedEvent
    from dp.errors import Unverifiable as Unverifiable
    from dp.errors import WrongVersion as WrongVersion
    from dp.events import ApproxEvent as ApproxEvent
    from dp.events import Composed as Composed
    from dp.events import Event as Event
    from dp.events import FixedSize as FixedSize
    from dp.events import GaussianEvent as GaussianEvent
    from dp.events import LaplaceEvent as LaplaceEvent
    from dp.events import NonPrivate as NonPrivate
    from dp.events import Poisson as Poisson
    from dp.events import PureEvent as PureEvent
    from dp.events import Repeated as Repeated
    from dp.events import Sampled as Sampled
    from dp.events import SkellamEvent as SkellamEvent
    from dp.events import ZcdpEvent as ZcdpEvent
    from dp.filters import Filter as Filter
    from dp.filters import GdpFilter as GdpFilter
    from dp.filters import PureFilter as PureFilter
    from dp.filters import RenyiFamily as RenyiFamily
    from dp.filters import RenyiFilter as RenyiFilter
    from dp.filters import filter_from_state as filter_from_state
    from dp.gaussian import GaussianAccountant as GaussianAccountant
    from dp.individual import Admission as Admission
    from dp.individual import IndividualFilters as IndividualFilters
    from dp.layers import Layers as Layers
    from dp.ledger import Ledger as Ledger
    from dp.ledger import Reservation as Reservation
    from dp.ledger import spend as spend
    from dp.ledger.chain import Entry as Entry
    from dp.ledger.chain import Head as Head
    from dp.ledger.chain import Signer as Signer
    from dp.ledger.charge import Charge as Charge
    from dp.ledger.charge import Outcome as Outcome
    from dp.ledger.charge import Randomness as Randomness
    from dp.ledger.charge import Scope as Scope
    from dp.ledger.charge import Setting as Setting
    from dp.ledger.charge import Terms as Terms
    from dp.ledger.clients import ClientRecord as ClientRecord
    from dp.ledger.clients import MerkleProof as MerkleProof
    from dp.ledger.clients import check_proof as check_proof
    from dp.ledger.verdict import Problem as Problem
    from dp.ledger.verdict import Verdict as Verdict
    from dp.mechanisms import DiscreteGaussian as DiscreteGaussian
    from dp.mechanisms import DiscreteLaplace as DiscreteLaplace
    from dp.mechanisms import Gaussian as Gaussian
    from dp.mechanisms import Laplace as Laplace
    from dp.mechanisms import LocalMechanism as LocalMechanism
    from dp.mechanisms import Mechanism as Mechanism
    from dp.mechanisms import Release as Release
    from dp.mechanisms import Skellam as Skellam
    from dp.noise import Entropy as Entropy
    from dp.noise import GaussianLaw as GaussianLaw
    from dp.noise import LaplaceLaw as LaplaceLaw
    from dp.noise import Law as Law
    from dp.noise import SkellamLaw as SkellamLaw
    from dp.noise import discrete_gaussian as discrete_gaussian
    from dp.noise import discrete_laplace as discrete_laplace
    from dp.noise import skellam as skellam
    from dp.odometer import GdpOdometer as GdpOdometer
    from dp.odometer import Odometer as Odometer
    from dp.odometer import RenyiOdometer as RenyiOdometer
    from dp.pld import PldAccountant as PldAccountant
    from dp.rdp import RdpAccountant as RdpAccountant
    from dp.skellam_share import SkellamShare as SkellamShare
    from dp.views import Coalition as Coalition
    from dp.views import KnownCohorts as KnownCohorts
    from dp.views import Participations as Participations
    from dp.views import SeenTimes as SeenTimes
    from dp.views import Views as Views

_HOME = {
    "Accountant": "accountant",
    "AccountantDisagreement": "errors",
    "AdaptiveClip": "adaptive",
    "Admission": "individual",
    "ApproxEvent": "events",
    "AuditError": "errors",
    "BadParameters": "errors",
    "BadReservation": "errors",
    "Budget": "accountant",
    "BudgetExceeded": "errors",
    "Calibrated": "calibrate",
    "Charge": "ledger.charge",
    "ClientRecord": "ledger.clients",
    "Clip": "bounds",
    "ClipExceeded": "errors",
    "Clipped": "clip",
    "Coalition": "views",
    "Composed": "events",
    "ConflictingCharge": "errors",
    "Corrupt": "errors",
    "DiscreteGaussian": "mechanisms",
    "DiscreteLaplace": "mechanisms",
    "DpError": "errors",
    "EncodedShare": "distributed",
    "Entropy": "noise",
    "EntropyUnavailable": "errors",
    "Entry": "ledger.chain",
    "Erased": "errors",
    "Event": "events",
    "Filter": "filters",
    "FixedSize": "events",
    "Forked": "errors",
    "Gaussian": "mechanisms",
    "GaussianAccountant": "gaussian",
    "GaussianEvent": "events",
    "GaussianLaw": "noise",
    "GdpFilter": "filters",
    "GdpOdometer": "odometer",
    "Head": "ledger.chain",
    "IndividualFilters": "individual",
    "Infeasible": "errors",
    "InsecureEntropy": "errors",
    "Interval": "accountant",
    "KnownCohorts": "views",
    "Laplace": "mechanisms",
    "LaplaceEvent": "events",
    "LaplaceLaw": "noise",
    "Lattice": "bounds",
    "Law": "noise",
    "Layers": "layers",
    "Ledger": "ledger",
    "LedgerError": "errors",
    "LocalMechanism": "mechanisms",
    "Locked": "errors",
    "Mechanism": "mechanisms",
    "MerkleProof": "ledger.clients",
    "NoiseShare": "distributed",
    "NoiseTooCoarse": "errors",
    "NonFinite": "errors",
    "NonPrivate": "events",
    "NotEnoughTrials": "errors",
    "Odometer": "odometer",
    "Outcome": "ledger.charge",
    "Participations": "views",
    "PldAccountant": "pld",
    "Poisson": "events",
    "Problem": "ledger.verdict",
    "PureEvent": "events",
    "PureFilter": "filters",
    "Quantised": "distributed",
    "Randomness": "ledger.charge",
    "RdpAccountant": "rdp",
    "Relation": "accountant",
    "Release": "mechanisms",
    "RenyiFamily": "filters",
    "RenyiFilter": "filters",
    "RenyiOdometer": "odometer",
    "Repeated": "events",
    "Reservation": "ledger",
    "RolledBack": "errors",
    "Sampled": "events",
    "Schedule": "calibrate",
    "Scope": "ledger.charge",
    "SeenTimes": "views",
    "Setting": "ledger.charge",
    "Signer": "ledger.chain",
    "Skellam": "mechanisms",
    "SkellamEvent": "events",
    "SkellamLaw": "noise",
    "SkellamShare": "skellam_share",
    "StorageRefused": "errors",
    "Terms": "ledger.charge",
    "UndeclaredHypothesis": "errors",
    "Unit": "accountant",
    "UnsoundNoise": "errors",
    "UnsupportedEvent": "errors",
    "Unverifiable": "errors",
    "Verdict": "ledger.verdict",
    "View": "accountant",
    "Views": "views",
    "WrongVersion": "errors",
    "ZcdpEvent": "events",
    "account": "accountant",
    "calibrate_gaussian": "calibrate",
    "check_proof": "ledger.clients",
    "clip_l1": "clip",
    "clip_l2": "clip",
    "clip_layers": "clip",
    "discrete_gaussian": "noise",
    "discrete_laplace": "noise",
    "filter_from_state": "filters",
    "skellam": "noise",
    "spend": "ledger",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dp' has no attribute {name!r}")
    return getattr(import_module(f"dp.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
