"""Hearing a node's Hello on an anonymous connection.

A listener waits for the first byte before it says anything, so we say Hello first; that
is the only message sent.  protocol: Icinga 2.13 and later put their version into theirs,
for strangers too; older ones say Hello without it.  A Hello from a stranger changes
nothing at a node: it is accepted and forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from icefloe import __version__
from icefloe.node.acceptance import tidy
from icefloe.node.errors import ConnectionLost
from icefloe.node.fleet.sightings import Greeting
from icefloe.node.tls.transport import TLSStream
from icefloe.wire import jsonrpc
from icefloe.wire.catalogue import HELLO, Hello
from icefloe.wire.errors import WireError
from icefloe.wire.netstring import NetstringReader, Payload, encode

__all__ = ["hear_greeting", "our_greeting"]

GREETING_BYTES_MAX: Final = 64 * 1024
"""Of one message; a Hello has a hundred bytes."""

MESSAGES_MAX: Final = 16
"""A node says Hello first; who says so much else is something else."""

_VERSION_CHARACTERS_MAX: Final = 40


def our_greeting() -> bytes:
    """Return the one frame that is sent: our Hello."""
    params = Hello(icefloe={"version": __version__}).to_params()
    return encode(jsonrpc.encode_notification(HELLO, params))


async def hear_greeting(stream: TLSStream) -> Greeting | str:
    """Say Hello and wait for the other side's.

    Args:
        stream: Not yet started; the caller closes it, and sets the deadline.

    Returns:
        The Hello, or why none came.
    """
    ear = _Ear()
    stream.start(ear)
    stream.write(our_greeting())
    return await ear.heard


class _Ear:
    """A `StreamHandler` that waits for one message."""

    def __init__(self) -> None:
        self._reader = NetstringReader(GREETING_BYTES_MAX)
        self._messages = 0
        self.heard: asyncio.Future[Greeting | str] = (
            asyncio.get_running_loop().create_future()
        )

    def data_received(self, data: bytes) -> None:
        """Look for a Hello in it."""
        if self.heard.done():
            return
        try:
            for frame in self._reader.feed(data):
                assert isinstance(frame, Payload), "nothing is discarded here"
                self._take(jsonrpc.decode(frame.data))
        except WireError as error:
            self._end(f"what it says is no message: {error}")

    def peer_finished(self) -> None:
        """It closed."""
        self._end("it closed the connection without a Hello")

    def connection_lost(self, error: ConnectionLost | None) -> None:
        """The connection is gone."""
        why = f": {error}" if error is not None else ""
        self._end(f"it ended the connection without a Hello{why}")

    def _take(self, message: jsonrpc.Message) -> None:
        if isinstance(message, jsonrpc.Notification) and message.method == HELLO:
            self._end(_greeting(message.params))
        self._messages += 1
        if self._messages >= MESSAGES_MAX:
            self._end("it says much, but no Hello")

    def _end(self, heard: Greeting | str) -> None:
        if not self.heard.done():
            self.heard.set_result(heard)


def _greeting(params: object) -> Greeting:
    """Read a Hello; what is not as it must be was not told."""
    given = params if isinstance(params, Mapping) else {}
    version = given.get("version")
    if isinstance(version, float) and version.is_integer():
        version = int(version)
    if not isinstance(version, int) or isinstance(version, bool) or version <= 0:
        version = None
    facts = given.get("icefloe")
    icefloe = None
    if isinstance(facts, Mapping):
        told = facts.get("version")
        icefloe = tidy(told)[:_VERSION_CHARACTERS_MAX] if isinstance(told, str) else ""
    return Greeting(version=version, icefloe=icefloe)
