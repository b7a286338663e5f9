"""An established TLS connection under asyncio: bytes in by callback, bytes out by queue.

`TLSStream` drives a `TLSChannel` with `loop.add_reader` and `loop.add_writer`.  There
is no task behind it, so nothing can be left over and nothing can be cancelled half-way;
timers are the only thing that fires on its own.

Life of a stream:

    OPEN ──start_drain, or the peer's close_notify──▶ DRAINING ──▶ CLOSED
      └──────────────── abort, or the connection is lost ───────────▶┘

**Draining** is how nothing promised is cut off.  Delivery stops, everything queued is
flushed, close_notify and FIN are sent once, and then input is read *and thrown away*
until the peer's close_notify or end of file, or the deadline.  Closing earlier, with
input unread, would make the kernel answer with a reset, and a reset destroys what the
peer has not read yet.  The peer's close_notify is always answered the same way: real
`icinga2 pki` commands wait for the answer without a limit.

OpenSSL may hold data of which the poller knows nothing.  So reading goes on until
OpenSSL wants the socket; where it is broken off (to be fair to other connections, or
by `pause_reading`) it is taken up again by `call_soon`, not by the next event.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Final

from icefloe.node.errors import Aborted, ConnectionLost, PeerClosed, ReaderTooSlow
from icefloe.node.tls.channel import CLOSE_NOTIFY, TLSChannel, Wait
from icefloe.node.tls.outbound import OutboundQueue
from icefloe.node.tls.stream_interface import (
    CloseReport,
    StreamHandler,
    TransportLimits,
)
from icefloe.node.tls.verdict import PeerFacts

RECORDS_PER_TURN: Final = 16
"""Records read or written before other connections have their turn."""


class _Phase(enum.Enum):
    OPEN = enum.auto()
    DRAINING = enum.auto()
    CLOSED = enum.auto()


class TLSStream:
    """One connection whose handshake is done.

    Nothing is delivered before `start`.  All methods are for the event loop's thread.

    Attributes:
        peer: What the handshake showed.
        opened: Loop time (seconds) when the TCP connection was made.
        last_received: Loop time when bytes last came in, of whatever kind.
        last_sent: Loop time when bytes last went out, or room for them appeared.
        outbound_bytes_max: The limit on what may wait; the owner may change it.
    """

    __slots__ = (
        "_answer_seconds",
        "_channel",
        "_deadline",
        "_flushing",
        "_handler",
        "_loop",
        "_lost_error",
        "_notify_sent",
        "_outbound",
        "_paused",
        "_peer_done",
        "_phase",
        "_read_wants_write",
        "_reader_on",
        "_reading",
        "_report",
        "_write_blocked",
        "_write_wants_read",
        "_writer_on",
        "last_received",
        "last_sent",
        "opened",
        "outbound_bytes_max",
        "peer",
    )

    def __init__(
        self,
        *,
        channel: TLSChannel,
        peer: PeerFacts,
        limits: TransportLimits,
        opened: float,
    ) -> None:
        self.peer = peer
        self.opened = opened
        self.outbound_bytes_max = limits.outbound_bytes_max
        self._answer_seconds = limits.answer_seconds_max
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self.last_received = self.last_sent = self._loop.time()
        self._phase = _Phase.OPEN
        self._handler: StreamHandler | None = None
        self._outbound = OutboundQueue()
        self._paused = False
        self._peer_done = False
        self._notify_sent = False
        # What keeps a call from going on, and what is registered because of it.
        self._write_blocked = False
        self._read_wants_write = False
        self._write_wants_read = False
        self._reader_on = False
        self._writer_on = False
        # Work that is due in the loop's next turn.
        self._reading: asyncio.Handle | None = None
        self._flushing: asyncio.Handle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._lost_error: ConnectionLost | None = None
        self._report: asyncio.Future[CloseReport] = self._loop.create_future()

    def __repr__(self) -> str:
        return f"<TLSStream {self.peer.address} {self._phase.name}>"

    # For the owner

    @property
    def is_open(self) -> bool:
        """Whether `write` still takes bytes."""
        return self._phase is _Phase.OPEN

    @property
    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        return self._phase is _Phase.CLOSED

    @property
    def buffered_bytes(self) -> int:
        """Bytes written and not yet handed to the system."""
        return len(self._outbound)

    def start(self, handler: StreamHandler) -> None:
        """Begin delivery to `handler`, from the loop's next turn on; once."""
        assert self._handler is None, "a stream is started once"
        self._handler = handler
        if self._phase is _Phase.CLOSED:
            self._loop.call_soon(handler.connection_lost, self._lost_error)
        self._read_soon()

    def write(self, data: bytes) -> bool:
        """Queue bytes; they leave in the loop's next turn, joined with others.

        Returns:
            Whether they were taken.  `False` after the stream began to close, or if
            they exceed `outbound_bytes_max`, which aborts it as `ReaderTooSlow`.
        """
        if self._phase is not _Phase.OPEN:
            return False
        waiting = len(self._outbound) + len(data)
        if waiting > self.outbound_bytes_max:
            self._channel.discard_unsent()
            self.abort(
                ReaderTooSlow(
                    buffered_bytes=waiting, outbound_bytes_max=self.outbound_bytes_max
                )
            )
            return False
        self._outbound.put(data)
        self._flush_soon()
        return True

    def poll(self) -> None:
        """Deliver what has come already, without waiting for the loop's next turn."""
        if self._wants_data():
            self._read()

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`; the peer feels it by TCP."""
        self._paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        self._read_soon()

    def start_drain(self, deadline_s: float) -> None:
        """Begin the orderly close, to be over in at most `deadline_s` seconds.

        Delivery stops at once.  On a draining stream an earlier deadline replaces a
        later one; on a closed one nothing happens.
        """
        if self._phase is _Phase.CLOSED:
            return
        due = self._loop.time() + deadline_s
        if self._deadline is not None:
            if self._deadline.when() <= due:
                return
            self._deadline.cancel()
        self._deadline = self._loop.call_at(due, self._drain_expired)
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.DRAINING
            self._flush_soon()
            self._read_soon()

    async def drain_close(self, deadline_s: float) -> CloseReport:
        """`start_drain`, and wait for the end of it.

        Cancelling the wait aborts the stream.
        """
        self.start_drain(deadline_s)
        try:
            return await asyncio.shield(self._report)
        except asyncio.CancelledError:
            self.abort(Aborted("the close was cancelled"))
            raise

    def abort(self, error: ConnectionLost | None = None) -> None:
        """Close at once; what is queued is dropped, unread input resets the peer."""
        error = error or Aborted()
        self._close(error, CloseReport(flushed=False, clean=False, error=error))

    async def wait_closed(self) -> CloseReport:
        """Wait for the end, however it comes; cancelling touches only the wait."""
        return await asyncio.shield(self._report)

    def on_closed(self, callback: Callable[[CloseReport], None]) -> None:
        """Have `callback` called once the stream is closed, also if it is by now."""
        self._report.add_done_callback(lambda report: callback(report.result()))

    # Reading

    def _wants_data(self) -> bool:
        if self._peer_done or self._phase is _Phase.CLOSED:
            return False
        if self._phase is _Phase.DRAINING:
            return True
        return self._handler is not None and not self._paused

    def _read_soon(self) -> None:
        if self._reading is None and self._wants_data():
            self._reading = self._loop.call_soon(self._read)

    def _on_readable(self) -> None:
        self.last_received = self._loop.time()
        if self._write_wants_read:
            self._write_wants_read = False
            self._flush_soon()
        if self._reading is None:
            self._read()

    def _read(self) -> None:
        self._reading = None
        for _ in range(RECORDS_PER_TURN):
            if not self._wants_data():
                break
            try:
                got = self._channel.receive()
            except ConnectionLost as error:
                self._lost(error)
                return
            if isinstance(got, Wait):
                self._read_wants_write = got is Wait.WRITABLE
                break
            if got is CLOSE_NOTIFY:
                self._peer_closed()
                break
            self._deliver(got)
        else:
            self._read_soon()
        self._watch()

    def _deliver(self, data: bytes) -> None:
        if self._phase is _Phase.OPEN and self._handler is not None:
            self._call(self._handler.data_received, data)

    def _peer_closed(self) -> None:
        self._peer_done = True
        if self._phase is _Phase.OPEN and self._handler is not None:
            self._call(self._handler.peer_finished)
        self.start_drain(self._answer_seconds)
        self._finish_if_done()

    def _call(self, method: Callable[..., None], *arguments: object) -> None:
        try:
            method(*arguments)
        except Exception as error:  # noqa: BLE001 - a bug in a handler: see its class
            self._loop.call_exception_handler(
                {
                    "message": f"handler of {self!r} failed; connection aborted",
                    "exception": error,
                }
            )
            self.abort(Aborted("internal error"))

    # Writing

    def _flush_soon(self) -> None:
        if self._flushing is None and not self._write_blocked:
            self._flushing = self._loop.call_soon(self._flush)

    def _on_writable(self) -> None:
        self._write_blocked = False
        self.last_sent = self._loop.time()
        if self._read_wants_write:
            self._read_wants_write = False
            self._read_soon()
        self._flush()

    def _flush(self) -> None:
        self._flushing = None
        if self._phase is _Phase.CLOSED or self._notify_sent:
            return
        if self._channel.peer_has_reset() and not self._peer_done:
            # A write would fail and take unread input with it: read that first.  If
            # reading is paused, both wait for the owner.
            self._read_soon()
            self._watch()
            return
        try:
            self._write_blocked = self._send_queued() or self._finish_sending()
        except ConnectionLost as error:
            self._lost(error)
            return
        self._finish_if_done()
        self._watch()

    def _send_queued(self) -> bool:
        """Send; whether there is more to send when the socket is ready."""
        for _ in range(RECORDS_PER_TURN):
            chunk = self._outbound.head()
            if not chunk:
                return False
            sent = self._channel.send(chunk)
            if isinstance(sent, Wait):
                self._write_wants_read = sent is Wait.READABLE
                return sent is Wait.WRITABLE
            self.last_sent = self._loop.time()
            self._outbound.consume(sent)
        return True

    def _finish_sending(self) -> bool:
        """Send close_notify if it is time; whether to try again when writable."""
        if self._phase is not _Phase.DRAINING or self._outbound:
            return False
        wait = self._channel.send_close_notify()
        self._notify_sent = wait is None
        return wait is not None

    # The end

    def _finish_if_done(self) -> None:
        if self._notify_sent and self._peer_done:
            self._close(None, CloseReport(flushed=True, clean=True, error=None))

    def _lost(self, error: ConnectionLost) -> None:
        """The channel is dead.  While draining that may well be the expected end."""
        if self._phase is _Phase.DRAINING:
            ended = isinstance(error, PeerClosed) and not error.reset
            clean = self._notify_sent and ended
            self._close(
                None,
                CloseReport(
                    flushed=self._notify_sent,
                    clean=clean,
                    error=None if clean else error,
                ),
            )
        else:
            self._close(error, CloseReport(flushed=False, clean=False, error=error))

    def _drain_expired(self) -> None:
        error = Aborted("the peer did not close in time")
        self._close(
            None, CloseReport(flushed=self._notify_sent, clean=False, error=error)
        )

    def _close(self, error: ConnectionLost | None, report: CloseReport) -> None:
        if self._phase is _Phase.CLOSED:
            return
        self._phase = _Phase.CLOSED
        self._lost_error = error
        self._watch()
        for handle in (self._reading, self._flushing, self._deadline):
            if handle is not None:
                handle.cancel()
        self._reading = self._flushing = self._deadline = None
        self._channel.close()
        self._outbound.clear()
        self._report.set_result(report)
        if self._handler is not None:
            self._loop.call_soon(self._handler.connection_lost, error)

    # Poller

    def _watch(self) -> None:
        """Bring what the poller watches in line with what we wait for."""
        alive = self._phase is not _Phase.CLOSED
        reader = alive and (self._wants_data() or self._write_wants_read)
        writer = alive and (self._write_blocked or self._read_wants_write)
        fd = self._channel.socket
        if reader != self._reader_on:
            self._reader_on = reader
            if reader:
                self._loop.add_reader(fd, self._on_readable)
            else:
                self._loop.remove_reader(fd)
        if writer != self._writer_on:
            self._writer_on = writer
            if writer:
                self._loop.add_writer(fd, self._on_writable)
            else:
                self._loop.remove_writer(fd)
