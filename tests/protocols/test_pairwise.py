"""The pairwise protocol keeps the contract of all protocols, and what only it can promise."""

from __future__ import annotations

from protocols.endpoint import CLIENT_STATES, SERVER_STATES
from protocols.pairwise.client import client
from protocols.pairwise.server import server
from tests.contracts.protocols import ProtocolContract


class TestPairwise(ProtocolContract):
    protocol = "pairwise"
    client_role = client
    server_role = server
    client_states = CLIENT_STATES
    server_states = SERVER_STATES
