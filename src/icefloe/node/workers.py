"""Work that takes milliseconds of CPU: signatures and ticket checks.

OpenSSL and hashlib release the GIL, so small pools use the cores and leave the
event loop and the core's thread free. Signatures have a pool of their own: they
are for those whose tickets were right, and do not wait behind everybody's guesses.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import CheckTicket, Level, Sign
from icefloe.node.logs import Logger
from icefloe.pki.errors import PKIError
from icefloe.pki.keys import PrivateKey
from icefloe.pki.profiles import sign_tbs
from icefloe.pki.tickets import ticket_matches

CHECKING_THREADS_MAX = 4
SIGNING_THREADS = 2


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """What a signer must keep to itself.

    Attributes:
        ca_key: the CA's private key; None on a relay.
        ticket_salt: the salt of tickets, or "".
    """

    ca_key: PrivateKey | None = field(default=None, repr=False)
    ticket_salt: str = field(default="", repr=False)


class Workers:
    """Carries out `Sign` and `CheckTicket`."""

    def __init__(
        self,
        secrets: SigningSecrets,
        *,
        submit: Callable[[ev.Event], bool],
        log: Logger | None = None,
    ) -> None:
        """Begin idle.

        Args:
            secrets: what to sign and compare with; may be replaced later.
            submit: takes outcomes, in the loop.
            log: is told of bugs.
        """
        self.secrets = secrets
        self._submit = submit
        self._log = log
        self._signing = ThreadPoolExecutor(
            SIGNING_THREADS, thread_name_prefix="signing"
        )
        self._checking = ThreadPoolExecutor(
            min(CHECKING_THREADS_MAX, os.cpu_count() or 1), thread_name_prefix="tickets"
        )

    def carry_out(self, command: Sign | CheckTicket) -> None:
        """Begin the work; its outcome comes as an event."""
        loop = asyncio.get_running_loop()
        pool = self._signing if isinstance(command, Sign) else self._checking
        future = pool.submit(work, command, self.secrets)

        def hand_over(done: Future[ev.Event]) -> None:
            if not done.cancelled():
                loop.call_soon_threadsafe(self._done, command, done)

        future.add_done_callback(hand_over)

    def close(self) -> None:
        """Finish what is under way and end the threads."""
        for pool in (self._signing, self._checking):
            pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, command: Sign | CheckTicket, done: Future[ev.Event]) -> None:
        error = done.exception()
        if error is None:
            self._submit(done.result())
            return
        if self._log is not None:
            kind = type(command).__name__
            self._log.log(
                Level.CRITICAL, "command failed", command_kind=kind, exc_info=error
            )
        self._submit(_crashed(command, error))


def work(command: Sign | CheckTicket, secrets: SigningSecrets) -> ev.Event:
    """Do the work and make the event; never raises for what the world can cause."""
    if isinstance(command, CheckTicket):
        valid = bool(secrets.ticket_salt) and ticket_matches(
            command.ticket, command.cn, secrets.ticket_salt
        )
        return ev.TicketChecked(command.attempt_id, valid)
    if secrets.ca_key is None:
        return ev.SigningFailed(command.request_id, "this node has no CA key")
    try:
        return ev.Signed(command.request_id, sign_tbs(secrets.ca_key, command.tbs))
    except PKIError as error:
        return ev.SigningFailed(command.request_id, str(error))


def _crashed(command: Sign | CheckTicket, error: BaseException) -> ev.Event:
    """Make the event for work that met a bug; a ticket is not wrong because of it."""
    if isinstance(command, CheckTicket):
        return ev.TicketCheckFailed(command.attempt_id)
    detail = f"internal error: {type(error).__name__}"
    return ev.SigningFailed(command.request_id, detail)
