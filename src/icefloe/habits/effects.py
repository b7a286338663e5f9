"""What a habitual node orders, to be carried out in order by whoever drives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from icefloe.doors import MonotonicTime
from icefloe.enrollment.events import CallId, LinkId
from icefloe.errors import IcefloeError


@dataclass(frozen=True, slots=True)
class Reply:
    """Queue the response to a call.

    Attributes:
        result: The result object; None for a null result.
    """

    link: LinkId
    call: CallId
    result: Mapping[str, object] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReplyError:
    """Queue a response whose `error` is a text: the handler threw an exception."""

    link: LinkId
    call: CallId
    error: str


@dataclass(frozen=True, slots=True)
class ReplyEmpty:
    """Queue a response with neither result nor error: the method is unknown."""

    link: LinkId
    call: CallId


@dataclass(frozen=True, slots=True)
class Notify:
    """Queue a message without an id.

    Attributes:
        ts: Unix seconds if the message is relayed, None if it is sent directly.
    """

    link: LinkId
    method: str
    params: Mapping[str, object] = field(repr=False)
    ts: float | None = None


@dataclass(frozen=True, slots=True)
class CloseFlushed:
    """Send what is queued, then close the link."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class CloseCut:
    """Drop what is queued and close the link."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class CloseAt:
    """Close the link at a time, unless it is closed by then.

    Attributes:
        mono: When.
    """

    link: LinkId
    mono: MonotonicTime


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to an endpoint.

    Ends in exactly one of `on_member_up`, `on_anonymous_up` and `on_dial_failed`.
    """

    endpoint: str


@dataclass(frozen=True, slots=True)
class InstallIdentity:
    """The node has taken a new certificate and root; TLS uses them from now on.

    Attributes:
        certificate: PEM, not checked against `ca`, as in real nodes.
        ca: PEM.
    """

    certificate: str = field(repr=False)
    ca: str = field(repr=False)


Effect: TypeAlias = (
    Reply
    | ReplyError
    | ReplyEmpty
    | Notify
    | CloseFlushed
    | CloseCut
    | CloseAt
    | Dial
    | InstallIdentity
)


def exception_reply(
    link: LinkId, call: CallId | None, error: IcefloeError
) -> list[Effect]:
    """Answer as after an exception: a text in place of a result; the link stays."""
    return [] if call is None else [ReplyError(link, call, f"Error: {error.public}")]
