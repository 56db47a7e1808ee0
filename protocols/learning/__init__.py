"""Federated learning in numpy: data, models, strategies and the loop; the aggregate is the caller's."""

from __future__ import annotations

from protocols.learning.cohorts import CohortRule, CohortsTooClose, Everyone, FixedGroups, PoissonCohort, UniformCohort
from protocols.learning.data import (
    Dealt,
    Examples,
    Holdout,
    breast_cancer,
    deal_dirichlet,
    deal_iid,
    digits,
    holdout,
    orientation_features,
    split_dirichlet,
    split_iid,
    standardised,
)
from protocols.learning.folders import RunFolder, load_model, save_model
from protocols.learning.loop import Aggregate, Aggregated, Federation, RoundRecord, Run, plain_mean, train
from protocols.learning.models import Dense, Model, Parameters, Score, TorchDense, mlp, softmax_regression
from protocols.learning.reduction import Everything, Public, Reduction
from protocols.learning.secure import IdealRounds, RoundInterrupted, SecureRounds
from protocols.learning.session import Session
from protocols.learning.stopping import Attempts, BudgetSpent, Converged, Progress, Quantity, Rounds, StopRule
from protocols.learning.strategies import (
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedOpt,
    FedProx,
    FedSGD,
    FedYogi,
    Local,
    ServerRule,
    Strategy,
)
from protocols.learning.torch_trainer import TorchTrainer

__all__ = [
    "Aggregate",
    "Aggregated",
    "Attempts",
    "BudgetSpent",
    "CohortRule",
    "CohortsTooClose",
    "Converged",
    "Dealt",
    "Dense",
    "Everyone",
    "Everything",
    "Examples",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedOpt",
    "FedProx",
    "FedSGD",
    "FedYogi",
    "Federation",
    "FixedGroups",
    "Holdout",
    "IdealRounds",
    "Local",
    "Model",
    "Parameters",
    "PoissonCohort",
    "Progress",
    "Public",
    "Quantity",
    "Reduction",
    "RoundInterrupted",
    "RoundRecord",
    "Rounds",
    "Run",
    "RunFolder",
    "Score",
    "SecureRounds",
    "ServerRule",
    "Session",
    "StopRule",
    "Strategy",
    "TorchDense",
    "TorchTrainer",
    "UniformCohort",
    "breast_cancer",
    "deal_dirichlet",
    "deal_iid",
    "digits",
    "holdout",
    "load_model",
    "mlp",
    "orientation_features",
    "plain_mean",
    "save_model",
    "softmax_regression",
    "split_dirichlet",
    "split_iid",
    "standardised",
    "train",
]
