"""One node of a framework: a client, and on some nodes one who opens sums; a bundle of letters in, a bundle out.

bundle -> frames -> by kind to the client or the opener -> their answers, stored before they are returned -> bundle
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from protocols import codec
from protocols.bundle import pack, unpack
from protocols.coding import Floats
from protocols.durable import DurableClient, DurableOpener
from protocols.endpoint import NO_METRICS
from protocols.endpoint.images import TO_CLIENTS
from protocols.errors import Misused
from protocols.party import SERVER, PartyId
from protocols.plan import NOTHING, Agreement
from protocols.wire import Buffer


class Site:
    """A node that answers when it is asked. Whatever it says was stored before.

    Raises: from every method what the endpoints raise: Misbehaved in the server's name, Misused, StorageRefused.
    """

    def __init__(self, client: DurableClient, opener: DurableOpener | None = None) -> None:
        self._client, self._opener = client, opener

    @property
    def numbers(self) -> tuple[PartyId, ...]:
        """The client's, and the opener's where one lives here."""
        return (self._client.me,) if self._opener is None else (self._client.me, self._opener.me)

    @property
    def needs_update(self) -> bool:
        """Whether the round waits for this client's `submit`."""
        return self._client.needs_update

    @property
    def offer(self) -> Agreement:
        """What the present round is about."""
        return self._client.offer

    def hear(self, bundle: Buffer) -> bytes:
        """The answers to these letters, in their order; none where the round now waits for `submit`.

        Raises: Misused for letters to an opener where none lives.
        """
        return pack(answer for frame in unpack(bundle, SERVER) for answer in self._hear(frame))

    def _hear(self, frame: memoryview) -> list[codec.Frame]:
        header = codec.read_header(frame, SERVER, len(frame))
        if codec.KINDS[header.kind] in TO_CLIENTS:
            return self._client.receive(frame)
        if self._opener is None:
            raise Misused("a letter came for one who opens sums, and none lives on this site")
        return self._opener.receive(frame)

    def submit(
        self, update: Floats, *, weight: int = 1, model: bytes = NOTHING, metrics: Mapping[str, float] = NO_METRICS
    ) -> bytes:
        """This round's update, hidden: a flat float vector of `offer.length` coordinates; see `Client.prepare`."""
        return pack(self._client.submit(update, weight=weight, model=model, metrics=metrics))

    def close(self) -> None:
        """Gives the folders up for another process."""
        self._client.close()
        if self._opener is not None:
            self._opener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
