"""Frames and messages of one stream, with no protocol behind them.

The lab's peers imitate other programs.  They cannot stand on `cluster.Session`, which
is Icefloe's own way of speaking: its rules, its liveness and its drain would show.
"""

from __future__ import annotations

from collections.abc import Callable

from icefloe.node.errors import ConnectionLost
from icefloe.wire import jsonrpc
from icefloe.wire.errors import WireError
from icefloe.wire.jsonrpc import Message
from icefloe.wire.limits import NETSTRING_BYTES_MAX
from icefloe.wire.netstring import NetstringReader, Payload


class Conversation:
    """Turns what one stream delivers into messages; a `StreamHandler`.

    Bytes that are no frames, or frames that are no messages, end it: `on_garbage` is
    called once and nothing is delivered afterwards.
    """

    def __init__(
        self,
        *,
        on_message: Callable[[Message], None],
        on_garbage: Callable[[WireError], None],
        on_finished: Callable[[], None],
        on_lost: Callable[[ConnectionLost | None], None],
        payload_bytes_max: int = NETSTRING_BYTES_MAX,
    ) -> None:
        """Read from a frame's first byte.

        Args:
            on_message: Takes each message, in order.
            on_garbage: Told why nothing more can be read.
            on_finished: The peer sent close_notify.
            on_lost: The stream is closed; None after an orderly close.
            payload_bytes_max: Larger frames are garbage.
        """
        self._reader = NetstringReader(payload_bytes_max)
        self._on_message = on_message
        self._on_garbage = on_garbage
        self._on_finished = on_finished
        self._on_lost = on_lost
        self._failed = False

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._failed:
            return
        try:
            for frame in self._reader.feed(data):
                assert isinstance(frame, Payload), "nothing is discarded here"
                self._on_message(jsonrpc.decode(frame.data))
        except WireError as error:
            self._failed = True
            self._on_garbage(error)

    def peer_finished(self) -> None:
        """Take the peer's close_notify."""
        self._on_finished()

    def connection_lost(self, error: ConnectionLost | None) -> None:
        """Take the end."""
        self._on_lost(error)
