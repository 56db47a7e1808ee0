"""Secure aggregation inside Flower: a mod on the nodes, a wrapper around the strategy.

    app = ClientApp(mods=[client_mod(home="homes")])                       # in client_app.py
    SecAgg(FedAvg(), plan, ledger, home="homes/server").start(grid, ...)   # in server_app.py

    strategy.configure_train -> instruction + letters -> mod: hear, train, mask -> answers -> finish -> one reply of the
    mean -> strategy.aggregate_train

    records    what travels: bundles of signed frames in one ArrayRecord, a marker for dispatch
    post       messages to nodes and their replies, whoever answers for whom
    client     the mod: fails closed, and no exception leaves it
    server     the wrapper: each round, its ledger, its figures
    accountant Flower's own accountant interface in front of a ledger

The mod stands first in the list: it is then the outermost, and masks what clipping and noise mods have done.
"""

from __future__ import annotations

from protocols.errors import MissingExtra

try:
    import flwr  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "flwr":
        raise
    raise MissingExtra("flower") from error

from protocols.adapters.flower.accountant import FlowerAccountant
from protocols.adapters.flower.client import client_mod
from protocols.adapters.flower.server import SecAgg

__all__ = ["FlowerAccountant", "SecAgg", "client_mod"]
