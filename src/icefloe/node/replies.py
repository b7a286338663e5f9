"""What the hub answers by itself: messages that never reach the core."""

from __future__ import annotations

from icefloe.cluster.duties import decline_command
from icefloe.cluster.zones import ZoneTree
from icefloe.doors import Clock
from icefloe.enrollment import commands as cmd
from icefloe.enrollment.translate import malformed_answer
from icefloe.node.link import Link
from icefloe.node.logs import Logger
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Request, Response


class Replies:
    """Turns messages away, with an answer where one is waited for."""

    def __init__(self, node_name: str, *, clock: Clock, log: Logger) -> None:
        """Speak for a node.

        Args:
            node_name: its endpoint name.
            clock: the real one, or a test's.
            log: where log events go.
        """
        self._node_name = node_name
        self._clock = clock
        self._log = log

    def decline(self, link: Link, message: Message, tree: ZoneTree | None) -> None:
        """Decline a command; answer what it needs to be answered."""
        if tree is None or isinstance(message, Response):
            return
        declined = decline_command(
            message, peer=link.peer, tree=tree, now=self._clock.now().wall
        )
        self._log.log(
            cmd.Level.WARNING,
            "command not executed",
            peer=link.peer.label,
            reason=declined.reason,
        )
        reply = declined.reply
        if reply is not None:
            link.step(
                lambda _now: link.session.send_notification(reply.method, reply.params)
            )
        if isinstance(message, Request):
            call = message.id
            link.step(lambda _now: link.session.send_response(None, call=call))

    def malformed(self, link: Link, message: Message, error: MessageError) -> None:
        """Say that a message cannot be read."""
        self._log.log(
            cmd.Level.WARNING,
            "unreadable message",
            peer=link.peer.label,
            address=link.peer.address,
            reason=error.reason.value,
            detail=str(error),
        )
        if isinstance(message, Request):
            result = malformed_answer(self._node_name, error)
            call = message.id
            link.step(lambda _now: link.session.send_response(result, call=call))
            if not link.peer.is_member:
                link.drain("answered")

    def unanswerable(self, link: Link, message: Request) -> None:
        """Pass over a call whose id cannot go back."""
        self._log.log(
            cmd.Level.WARNING,
            "call with an unusable id ignored",
            peer=link.peer.label,
            address=link.peer.address,
            method=message.method[:64],
        )
        if not link.peer.is_member:
            link.drain("unusable-id")

    def overloaded(self, link: Link, message: Message) -> None:
        """Say that there is no room for a request."""
        self._log.log(
            cmd.Level.WARNING,
            "too many requests wait",
            peer=link.peer.label,
            address=link.peer.address,
        )
        if isinstance(message, Request):
            name = self._node_name
            result = {
                "status_code": 1,
                "error": f"{name} has too many requests waiting; ask again later.",
                "icefloe": {"hop": name, "reason": "limit", "retry_after": 10},
            }
            call = message.id
            link.step(lambda _now: link.session.send_response(result, call=call))
        if not link.peer.is_member:
            link.drain("overloaded")
