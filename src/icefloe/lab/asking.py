"""One ask for a certificate, as an unmodified `icinga2 pki request` makes it.

What the client does with a connection is `icefloe.habits.HabitualCLI`; here are the
socket, TLS and the stopwatch.  Where the real client would wait for ever, this one
gives up after a while and says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from icefloe.doors import Entropy
from icefloe.habits import Exit, HabitualCLI, WriteCA, WriteCertificate
from icefloe.habits.cli import CLIEffect
from icefloe.lab.conversation import Conversation
from icefloe.lab.crowd import Agent
from icefloe.lab.outcomes import OUTCOME_OF, Attempt, Outcome
from icefloe.node.errors import (
    Aborted,
    ConnectFailed,
    ConnectionLost,
    HandshakeFailed,
    PeerClosed,
)
from icefloe.node.tls.connecting import connect
from icefloe.node.tls.stream_interface import TransportLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.wire.catalogue import HELLO, CertificateResult, Hello
from icefloe.wire.errors import MessageError, WireError
from icefloe.wire.jsonrpc import (
    Message,
    Notification,
    Request,
    Response,
    encode_request,
)
from icefloe.wire.netstring import encode

CLOSE_SECONDS_MAX = 5.0
"""How long the parent may take to answer our close; the real client waits for ever."""

CONNECT_SECONDS_MAX = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentAddress:
    """Where to ask."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


async def ask(
    agent: Agent,
    parent: ParentAddress,
    *,
    entropy: Entropy,
    seconds_max: float,
) -> Attempt:
    """Connect once, ask once, and take what comes.

    Args:
        agent: Who asks.
        parent: Where.
        entropy: For the id of the call.
        seconds_max: How long the whole may take.

    Returns:
        The outcome.  The connection is closed by then, in order if the parent lets us.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    limits = TransportLimits(connect_seconds_max=min(CONNECT_SECONDS_MAX, seconds_max))
    try:
        stream = await connect(
            parent.host, parent.port, context=agent.context, limits=limits
        )
    except (ConnectFailed, HandshakeFailed) as error:
        unreachable = isinstance(error, ConnectFailed)
        outcome = Outcome.UNREACHABLE if unreachable else Outcome.TLS_FAILED
        return Attempt(
            outcome=outcome, began=began, ended=loop.time(), detail=error.public
        )
    asking = _Asking(
        stream, ticket=agent.ticket, call=entropy.bytes(16).hex(), began=began
    )
    try:
        async with asyncio.timeout_at(began + seconds_max):
            return await asking.outcome
    except TimeoutError:
        return asking.gave_up()
    finally:
        await _close(stream)


async def _close(stream: TLSStream) -> None:
    """Say goodbye, as the real client does when it has what it wanted."""
    try:
        await stream.drain_close(CLOSE_SECONDS_MAX)
    finally:
        stream.abort()


class _Asking:
    """One run of the client on one stream."""

    def __init__(
        self, stream: TLSStream, *, ticket: str, call: str, began: float
    ) -> None:
        self._stream = stream
        self._call = call
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._client = HabitualCLI(call=call, ticket=ticket)
        self._heard: list[str] = []
        self._ca = ""
        self._certificate = ""
        self._facts: dict[str, object] = {}
        self.outcome: asyncio.Future[Attempt] = self._loop.create_future()
        conversation = Conversation(
            on_message=self._message,
            on_garbage=self._garbage,
            on_finished=self._finished,
            on_lost=self._lost,
        )
        self._carry_out(self._client.on_connected())
        stream.start(conversation)

    def gave_up(self) -> Attempt:
        """Make the attempt of a client that waits no longer."""
        return self._attempt(Outcome.TIMED_OUT, "no answer in time")

    # From the stream.

    def _message(self, message: Message) -> None:
        self._heard.append(_word_for(message, self._call))
        if isinstance(message, Response) and message.id == self._call:
            self._facts = _facts_in(message)
        self._carry_out(self._client.on_message(message))

    def _garbage(self, error: WireError) -> None:
        self._heard.append("garbage")
        self._end(self._client.on_closed(), Outcome.FAILED, error.public)

    def _finished(self) -> None:
        self._heard.append("close_notify")
        self._end(self._client.on_closed(), Outcome.CUT_OFF, "closed without an answer")

    def _lost(self, error: ConnectionLost | None) -> None:
        if error is None or isinstance(error, Aborted):
            return
        broken = isinstance(error, PeerClosed) and error.reset
        outcome = Outcome.RESET if broken else Outcome.CUT_OFF
        self._heard.append("reset" if broken else "end of file")
        self._end(self._client.on_closed(), outcome, error.public)

    # Effects.

    def _end(self, effects: list[CLIEffect], outcome: Outcome, detail: str) -> None:
        """The client ended without an answer; `outcome` knows better why."""
        if effects:
            self._settle(self._attempt(outcome, detail))

    def _carry_out(self, effects: list[CLIEffect]) -> None:
        for effect in effects:
            match effect:
                case Request():
                    frame = encode_request(effect.method, effect.params, effect.id)
                    self._stream.write(encode(frame))
                case WriteCA():
                    self._ca = effect.ca
                case WriteCertificate():
                    self._certificate = effect.certificate
                case Exit():
                    self._settle(self._attempt(OUTCOME_OF[effect.saw], effect.error))

    def _attempt(self, outcome: Outcome, detail: str) -> Attempt:
        return Attempt(
            outcome=outcome,
            began=self._began,
            ended=self._loop.time(),
            detail=detail,
            certificate=self._certificate,
            ca=self._ca,
            facts=self._facts,
            heard=tuple(self._heard),
        )

    def _settle(self, attempt: Attempt) -> None:
        if not self.outcome.done():
            self.outcome.set_result(attempt)


def _word_for(message: Message, call: str) -> str:
    """Name a message for people."""
    if isinstance(message, Response):
        return "answer" if message.id == call else "stray answer"
    if isinstance(message, Notification) and message.method == HELLO:
        try:
            return f"Hello {Hello.parse(message.params).version}"
        except MessageError:
            return "Hello"
    return message.method


def _facts_in(answer: Response) -> dict[str, object]:
    """Return what Icefloe nodes added; nothing from others."""
    try:
        return dict(CertificateResult.parse(answer.result).icefloe)
    except MessageError:
        return {}
