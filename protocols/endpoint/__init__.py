"""A party behind the codec: bytes in, bytes out.

`Client` and `Server` are what a transport or an adapter drives. Where sums are encrypted, so are `Holder`, who has a
part of the key, or `Decryptor`, who has it whole, and `KeyMaker`, with which a server has them make one; where clients
speak once, `Member`, one of the committee that opens their sums, and `Convener`. They check and sign frames, answer a
repeated frame with the stored bytes, remember which rounds are spent, and turn into bytes (`freeze`) whenever the
process may die. The order that keeps a crash harmless: store `freeze()`, then send.

    server = Server(plan, identities, identity)        client = Client(policy, identity, server_key)
    send(server.open(Task(...)))                       out = client.receive(data)
    send(server.receive(data)) / deadline(room)        if client.needs_update: out = client.submit(...)
"""

from __future__ import annotations

from protocols.endpoint.client import LABEL_ROOT as LABEL_ROOT
from protocols.endpoint.client import NO_METRICS as NO_METRICS
from protocols.endpoint.client import Client as Client
from protocols.endpoint.convener import Convener as Convener
from protocols.endpoint.decryptor import Decryptor as Decryptor
from protocols.endpoint.holder import Holder as Holder
from protocols.endpoint.hub import NOBODY as NOBODY
from protocols.endpoint.images import CKKS_CLIENT_STATES as CKKS_CLIENT_STATES
from protocols.endpoint.images import CKKS_SERVER_STATES as CKKS_SERVER_STATES
from protocols.endpoint.images import CLIENT_STATES as CLIENT_STATES
from protocols.endpoint.images import DECRYPTOR_STATES as DECRYPTOR_STATES
from protocols.endpoint.images import HOLDER_STATES as HOLDER_STATES
from protocols.endpoint.images import IMAGE_VERSION as IMAGE_VERSION
from protocols.endpoint.images import MEMBER_STATES as MEMBER_STATES
from protocols.endpoint.images import ONESHOT_CLIENT_STATES as ONESHOT_CLIENT_STATES
from protocols.endpoint.images import ONESHOT_SERVER_STATES as ONESHOT_SERVER_STATES
from protocols.endpoint.images import PAIRWISE_CLIENT_STATES as PAIRWISE_CLIENT_STATES
from protocols.endpoint.images import PAIRWISE_SERVER_STATES as PAIRWISE_SERVER_STATES
from protocols.endpoint.images import SEEDED_CLIENT_STATES as SEEDED_CLIENT_STATES
from protocols.endpoint.images import SEEDED_SERVER_STATES as SEEDED_SERVER_STATES
from protocols.endpoint.images import SERVER_STATES as SERVER_STATES
from protocols.endpoint.images import SINGLE_SERVER_STATES as SINGLE_SERVER_STATES
from protocols.endpoint.images import ClientImage as ClientImage
from protocols.endpoint.images import HolderImage as HolderImage
from protocols.endpoint.images import ServerImage as ServerImage
from protocols.endpoint.keymaker import KeyMaker as KeyMaker
from protocols.endpoint.member import Member as Member
from protocols.endpoint.opener import Opener as Opener
from protocols.endpoint.reader import Reader as Reader
from protocols.endpoint.server import Server as Server
from protocols.endpoint.server import Task as Task
