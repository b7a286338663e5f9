"""What becomes of turns that the ledger did not keep.

Nothing of them was sent. Whoever asked is told that nothing was kept and asks again;
whoever cannot be told is let go, and comes again; what concerns no record goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from icefloe.enrollment.answers import Responder
from icefloe.enrollment.commands import (
    Answer,
    Ask,
    Command,
    ConfirmIdentity,
    Hold,
    InstallIdentity,
    Log,
    Release,
    RollBackIdentity,
    Shun,
    TellOwnStatus,
)
from icefloe.enrollment.events import CallId, CertificateAsked, Event, LinkId
from icefloe.enrollment.links import Links
from icefloe.enrollment.model import Refusal
from icefloe.enrollment.own import CALL_PREFIX
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.settings import EnrollmentSettings
from icefloe.enrollment.turn import Turn
from icefloe.enrollment.waiters import Waiters

RETRY_AFTER = 5.0


class UnrecordedTurns:
    """Tells those who asked in turns that were not recorded."""

    def __init__(
        self,
        *,
        responder: Responder,
        waiters: Waiters,
        links: Links,
    ) -> None:
        """Speak through `responder`."""
        self._responder = responder
        self._waiters = waiters
        self._links = links
        self.settings: EnrollmentSettings

    def put_right(
        self, turn: Turn, events: Sequence[Event], commands: Iterable[Command]
    ) -> None:
        """Order what is to be said and done instead of the turns' commands.

        Args:
            turn: to order in; it is not committed.
            events: that the turns began with, or that had no turn at all.
            commands: of the turns; they were not carried out.
        """
        told: set[tuple[LinkId, int]] = set()
        unkept = {id(e.call) for e in events if isinstance(e, CertificateAsked)}
        for command in commands:
            if isinstance(command, Answer):
                if _is_parked(command) and id(command.call) not in unkept:
                    turn.order(command)  # it is in the ledger, from an earlier turn
                    continue
                self._tell_fault(turn, command.link, command.call, told)
            elif _needs_no_ledger(command):
                turn.order(command)
        for event in events:
            if isinstance(event, CertificateAsked):
                self._forget_asking(turn, event, told)
        self._end_due_holds(turn, told)

    def _forget_asking(
        self, turn: Turn, event: CertificateAsked, told: set[tuple[LinkId, int]]
    ) -> None:
        """Undo the waiting of an asker whose asking was not recorded."""
        for waiter in self._waiters.of_link(event.link):
            if waiter.source is event:
                self._waiters.remove(waiter)
        if event.call is not None:
            self._tell_fault(turn, event.link, event.call, told)
        link = self._links.get(event.link)
        if link is not None and link.held and not self._waiters.count_on(link.link):
            # A daemon cannot be told: let go, it comes again and asks again.
            self._links.let_go(link)
            turn.order(Release(link.link))

    def _end_due_holds(self, turn: Turn, told: set[tuple[LinkId, int]]) -> None:
        """Whoever was held long enough hears of the fault: it waits no longer.

        The turn that was to say "pending" may have failed half-way.
        """
        self._waiters.remind_again()
        for waiter in self._waiters.expired(turn.now.mono):
            self._waiters.remove(waiter)
            if waiter.call is not None:
                self._tell_fault(turn, waiter.link, waiter.call, told)

    def _tell_fault(
        self, turn: Turn, link: LinkId, call: CallId, told: set[tuple[LinkId, int]]
    ) -> None:
        if (link, id(call)) in told:
            return
        told.add((link, id(call)))
        refusal = ledger_fault(self.settings.node_name)
        self._responder.refuse_call(turn, link, call, refusal)


def ledger_fault(node_name: str) -> Refusal:
    """Word the refusal of a request that could not be recorded."""
    return Refusal(
        reason=Reason.LEDGER_FAULT.value,
        text=(
            f"{node_name} could not record the request (disk full or ledger not "
            "writable; see its log). Nothing was kept: ask again later."
        ),
        hop=node_name,
        retry_after=RETRY_AFTER,
    )


def _is_parked(answer: Answer) -> bool:
    facts = answer.result.get("icefloe")
    return isinstance(facts, Mapping) and facts.get("reason") == Reason.NODE_STOPS.value


def _needs_no_ledger(command: Command) -> bool:
    """Whether a command may be carried out although its turn was not recorded.

    What concerns our own certificate stands in no ledger; nobody would order it again.
    """
    if isinstance(command, Ask):
        return command.call.startswith(CALL_PREFIX)
    return isinstance(
        command,
        Log
        | Hold
        | Release
        | InstallIdentity
        | ConfirmIdentity
        | RollBackIdentity
        | TellOwnStatus
        | Shun,
    )
