"""Between the session's messages and the core's events and commands.

The daemon and the simulator both use these functions, so that what runs in the
simulator is what runs.
"""

from __future__ import annotations

from icefloe.cluster.effects import Effect
from icefloe.cluster.session import Session
from icefloe.doors import Now
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    UPDATE_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
    UpdateCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Notification, Request, Response


def event_of(link: ev.LinkId, message: Message) -> ev.Event | None:
    """Read a delivered message as an event.

    Returns:
        None for a message that is no business of enrollment, or that nobody
        waits an answer for.

    Raises:
        MessageError: its parameters have the wrong form. A `Request` must then
            be answered with `malformed_answer`.
    """
    if isinstance(message, Response):
        return _answer_of(link, message)
    if message.method == REQUEST_CERTIFICATE:
        call = ev.CallId(message.id) if isinstance(message, Request) else None
        # Icinga calls no handler without params; asking for nothing in
        # particular is still asking, and a real client dies without a result.
        params = RequestCertificate.parse(
            message.params if message.params is not None else {}
        )
        return ev.CertificateAsked(link, call, params)
    if message.method == UPDATE_CERTIFICATE and isinstance(message, Notification):
        return ev.CertificateUpdated(link, UpdateCertificate.parse(message.params))
    return None


def _answer_of(link: ev.LinkId, message: Response) -> ev.Event | None:
    call = message.id
    if not isinstance(call, str):
        return None
    if message.error is not None:
        return ev.ParentFailed(link, call, message.error[:500])
    try:
        result = CertificateResult.parse(message.result)
    except MessageError as error:
        return ev.ParentFailed(link, call, f"unusable answer: {error}")
    return ev.ParentAnswered(link, call, result)


def malformed_answer(node_name: str, error: MessageError) -> dict[str, object]:
    """Make the result object that answers a request of the wrong form."""
    return CertificateResult(
        status_code=1,
        error=f"{node_name} cannot read the certificate request: {error}",
        icefloe={"hop": node_name, "reason": "bad-request"},
    ).to_params()


def session_effects(command: cmd.Command, session: Session, now: Now) -> list[Effect]:
    """Carry out a command that concerns a session.

    Raises:
        TypeError: the command concerns no session.
    """
    match command:
        case cmd.Answer():
            return session.send_response(command.result, call=command.call.value)
        case cmd.Push():
            return session.send_notification(
                UPDATE_CERTIFICATE, command.params.to_params()
            )
        case cmd.Ask():
            return session.send_request(
                REQUEST_CERTIFICATE, command.params.to_params(), call=command.call
            )
        case cmd.Hold():
            session.hold()
            return []
        case cmd.Release():
            session.release(now)
            return []
        case cmd.Drain():
            return session.drain(command.reason, now)
        case _:
            raise TypeError(f"{type(command).__name__} concerns no session")
