"""Room for requests: what a flood of strangers may take, and what makes room.

A refused attempt is worth keeping for whoever asks why; not when the room is
needed by others. Nothing here ever makes room at the cost of a request that
is still waited for or undecided.
"""

from __future__ import annotations

from icefloe.enrollment.model import AttemptState, RequestRecord
from icefloe.enrollment.settings import EnrollmentLimits
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.waiters import Waiters

# Above this share of the room, requests that were only ever refused go at once.
CROWDED = 0.25
# Members, and askers with a ticket, find room when strangers do not any more.
RESERVE = 1.25


def forget_if_crowded(
    turn: Turn, request: RequestRecord, waiters: Waiters, limits: EnrollmentLimits
) -> None:
    """Forget a request whose every attempt was refused, when room is short."""
    if turn.ledger.open_request_count() < limits.open_requests_max * CROWDED:
        return
    if waiters.of_request(request.request_id):
        return
    attempts = turn.attempts(request.request_id)
    if all(attempt.state is AttemptState.REFUSED for attempt in attempts):
        turn.forget_request(request.request_id)


def is_full(turn: Turn, limits: EnrollmentLimits, *, preferred: bool) -> bool:
    """Whether there is no room for one more request.

    Args:
        turn: whose ledger counts.
        limits: how much room there is.
        preferred: a member asks, or someone with a ticket.
    """
    room = limits.open_requests_max * (RESERVE if preferred else 1.0)
    return turn.ledger.open_request_count() >= room
