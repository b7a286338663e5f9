"""Work that takes milliseconds of CPU: signatures and ticket checks.

OpenSSL and hashlib release the GIL, so a small pool uses the cores and leaves
the event loop and the core's thread free.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import CheckTicket, Sign
from icefloe.pki.errors import PKIError
from icefloe.pki.keys import PrivateKey
from icefloe.pki.profiles import sign_tbs
from icefloe.pki.tickets import ticket_matches

THREADS_MAX = 4


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
        self, secrets: SigningSecrets, *, submit: Callable[[ev.Event], bool]
    ) -> None:
        """Use the given secrets; report outcomes through `submit`, in the loop."""
        self.secrets = secrets
        self._submit = submit
        self._pool = ThreadPoolExecutor(
            min(THREADS_MAX, os.cpu_count() or 1), thread_name_prefix="signing"
        )

    def carry_out(self, command: Sign | CheckTicket) -> None:
        """Begin the work; its outcome comes as an event."""
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work, command, self.secrets)

        def hand_over(done: Future[ev.Event]) -> None:
            if not done.cancelled():
                loop.call_soon_threadsafe(self._submit, done.result())

        future.add_done_callback(hand_over)

    def close(self) -> None:
        """Finish what is under way and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


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
