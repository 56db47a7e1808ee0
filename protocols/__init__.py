"""Who says what, and when: protocols as tables of arrows, the endpoints that run them, the round.

`secagg` knows how numbers are hidden, `dp` how much is revealed; only this package sees both.
Start reading at `round.py` (one update from the model to the mean) or `party.py` (the engine).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.certificates import Credential as Credential
    from protocols.ckks.decryptor import DecryptorPolicy as DecryptorPolicy
    from protocols.ckks.holder import HolderPolicy as HolderPolicy
    from protocols.ckks.keys import keys_for_rounds as keys_for_rounds
    from protocols.durable import DurableClient as DurableClient
    from protocols.durable import DurableDecryptor as DurableDecryptor
    from protocols.durable import DurableHolder as DurableHolder
    from protocols.durable import DurableMember as DurableMember
    from protocols.durable import DurableServer as DurableServer
    from protocols.durable import exit_on_sigterm as exit_on_sigterm
    from protocols.endpoint import Client as Client
    from protocols.endpoint import Convener as Convener
    from protocols.endpoint import Decryptor as Decryptor
    from protocols.endpoint import Holder as Holder
    from protocols.endpoint import KeyMaker as KeyMaker
    from protocols.endpoint import Member as Member
    from protocols.endpoint import Server as Server
    from protocols.endpoint import Task as Task
    from protocols.oneshot.member import MemberPolicy as MemberPolicy
    from protocols.plan import Excess as Excess
    from protocols.plan import Metric as Metric
    from protocols.plan import NoisePlan as NoisePlan
    from protocols.plan import Policy as Policy
    from protocols.plan import Promise as Promise
    from protocols.plan import RoundPlan as RoundPlan
    from protocols.private import PrivateTraining as PrivateTraining
    from protocols.private import make_private as make_private
    from protocols.round import RoundReport as RoundReport
    from protocols.round import secure_mean as secure_mean
    from protocols.simulate import FaultPlan as FaultPlan
    from protocols.tensors import Layout as Layout
    from protocols.tensors import check_model as check_model

_HOME = {
    "Client": "endpoint",
    "Convener": "endpoint",
    "Credential": "certificates",
    "Decryptor": "endpoint",
    "DecryptorPolicy": "ckks.decryptor",
    "DurableClient": "durable",
    "DurableDecryptor": "durable",
    "DurableHolder": "durable",
    "DurableMember": "durable",
    "DurableServer": "durable",
    "Excess": "plan",
    "FaultPlan": "simulate",
    "Holder": "endpoint",
    "HolderPolicy": "ckks.holder",
    "KeyMaker": "endpoint",
    "Layout": "tensors",
    "Member": "endpoint",
    "MemberPolicy": "oneshot.member",
    "Metric": "plan",
    "NoisePlan": "plan",
    "Policy": "plan",
    "PrivateTraining": "private",
    "Promise": "plan",
    "RoundPlan": "plan",
    "RoundReport": "round",
    "Server": "endpoint",
    "Task": "endpoint",
    "check_model": "tensors",
    "exit_on_sigterm": "durable",
    "keys_for_rounds": "ckks.keys",
    "make_private": "private",
    "secure_mean": "round",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'protocols' has no attribute {name!r}")
    return getattr(importlib.import_module(f"protocols.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
