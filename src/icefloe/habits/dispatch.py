"""Handing any decoded message to a habitual node, the strange ones included.

    message                            answer if it has an id
    a method of no release             a response with neither result nor error
    no `params`                        a null result
    `params` of a wrong shape          an `error`, which is a text
    `pki::RequestCertificate`          see `HabitualNode.on_request`
    `pki::UpdateCertificate`           a null result
    any other method                   a null result
    a response                         none: it is logged as unexpected

Source: protocol, "JSON-RPC layer".
"""

from __future__ import annotations

from icefloe.doors import Now
from icefloe.enrollment.events import CallId, LinkId
from icefloe.habits.effects import Effect, Reply, ReplyEmpty, exception_reply
from icefloe.habits.node import HabitualNode
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    UPDATE_CERTIFICATE,
    RequestCertificate,
    UpdateCertificate,
    is_known,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Notification, Request, Response


def deliver(
    node: HabitualNode,
    link: LinkId,
    message: Message,
    *,
    now: Now,
    presented: str = "",
    presented_root: str = "",
) -> list[Effect]:
    """Let a node take a message.

    Args:
        node: The receiver.
        link: Where the message came in.
        message: What came in.
        now: When.
        presented: The certificate the peer presented in TLS, PEM, or empty.
        presented_root: The self-signed certificate in its chain, PEM, or empty.
    """
    if isinstance(message, Response) or not node.takes(link, message.ts):
        return []
    call = CallId(message.id) if isinstance(message, Request) else None
    if not is_known(message.method):
        return [] if call is None else [ReplyEmpty(link, call)]
    if message.params is None:
        return _null(link, call)
    try:
        if message.method == REQUEST_CERTIFICATE:
            return node.on_request(
                link,
                call=call,
                params=RequestCertificate.parse(message.params),
                presented=presented,
                presented_root=presented_root,
                now=now,
            )
        taken = _other(node, link, message, now=now)
    except MessageError as error:
        return exception_reply(link, call, error)
    return [*_null(link, call), *taken]


def _other(
    node: HabitualNode, link: LinkId, message: Notification | Request, *, now: Now
) -> list[Effect]:
    if message.method != UPDATE_CERTIFICATE:
        return []
    params = UpdateCertificate.parse(message.params)
    return node.on_update(link, params=params, now=now)


def _null(link: LinkId, call: CallId | None) -> list[Effect]:
    return [] if call is None else [Reply(link, call, None)]
