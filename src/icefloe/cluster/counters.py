"""What a session counts.

Bounded whatever a peer sends: a method is counted by name only when the name is one of
ours or of Icinga's, all others share one sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace


@dataclass(slots=True)
class Counters:
    """The sums of one session.

    Attributes:
        bytes_in: bytes received, those after the end included.
        bytes_out: bytes handed to the transport.
        frames_in: whole frames received, of any kind.
        messages_out: messages sent.
        methods: notifications and requests received, by method; only the methods that
            Icinga knows or that the upper layers act on.
        unknown: those with another method.
        responses: responses received.
        denied: messages that this peer may not send.
        stale: messages dropped because of their `ts`.
        future: messages with a `ts` too far ahead of our clock.
        malformed: frames that hold no message, or known messages that make no sense.
        discarded_frames: large frames read past.
        discarded_bytes: their payloads.
        refused_sends: messages of ours that came too late to be sent, or were too
            large.
    """

    bytes_in: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    messages_out: int = 0
    methods: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    responses: int = 0
    denied: int = 0
    stale: int = 0
    future: int = 0
    malformed: int = 0
    discarded_frames: int = 0
    discarded_bytes: int = 0
    refused_sends: int = 0

    def count_method(self, method: str, *, known: bool) -> None:
        """Count a notification or request; `known` keeps the names few."""
        if known:
            self.methods[method] = self.methods.get(method, 0) + 1
        else:
            self.unknown += 1

    def copy(self) -> Counters:
        """Return an independent copy."""
        return replace(self, methods=dict(self.methods))

    def summary(self) -> Mapping[str, int]:
        """Return the sums that are not zero, without the methods, as log fields."""
        sums = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in sums if name != "methods" and value}
