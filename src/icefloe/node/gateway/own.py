"""The gateway's own certificate, asked for as any client of the gateway asks.

The gateway is its own client: it opens a link to its core on which it presents its own
certificate, and asks.  So its request is in the ledger, goes up, and is repeated until
it is answered, like all others.

Clients compare the certificate that a parent shows byte for byte between two commands
(`pki save-cert`, `pki request`), and a person may sit between the two.  So what comes
while clients are served is stored and not shown: **a running gateway shows the same
certificate from its start to its end**, or until an operator sends SIGHUP.  Nobody is
harmed by that: no client looks at the dates of what it has pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.cluster.peer import Peer, Standing
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.commands import Level
from icefloe.errors import IcefloeError
from icefloe.node.gateway.home import GatewayHome
from icefloe.node.gateway.trust import UpstreamTrust
from icefloe.node.hub import Hub, LinkCommand
from icefloe.node.logs import Logger
from icefloe.pki.certificates import is_self_issued, key_id, load_pem
from icefloe.pki.trust import up_to_date
from icefloe.storage.identity import install_files
from icefloe.wire.catalogue import (
    STATUS_PENDING,
    STATUS_SIGNED,
    CertificateResult,
    RequestCertificate,
)

__all__ = ["OwnCertificate"]

LOOK_EVERY_SECONDS: Final = 3600.0
"""How often a certificate is looked at that is not due."""

PENDING_PAUSE_FIRST: Final = 2.0
PENDING_PAUSE_MAX: Final = 300.0
"""Between two looks at a pending request.  The core asks upstream by itself, more often
than that; a look costs no connection."""

REFUSED_PAUSE: Final = 900.0
"""After a refusal only a person can help, who will start the gateway anew."""

ANSWER_SECONDS_MAX: Final = 30.0
"""The core answers within its hold of 15 s, if its ledger works."""


class OwnCertificate:
    """Gets the gateway's certificate signed, and renewed when it is due.

    Attributes:
        settled: Set once the first ask has ended, whatever it brought, or none was
            needed.
    """

    def __init__(
        self,
        *,
        home: GatewayHome,
        trust: UpstreamTrust,
        ticket: str,
        hub: Hub,
        submit: Callable[[ev.Event], bool],
        clock: Clock,
        entropy: Entropy,
        log: Logger,
        on_stored: Callable[[], None],
    ) -> None:
        """Ask nothing until `run`.

        Args:
            home: Where key and certificate are.
            trust: Holds the CA.
            ticket: For the gateway's name, or "".
            hub: Names the link, and brings what the core says on it.
            submit: Takes the core's events.
            clock: The real one.
            entropy: For serial numbers.
            log: Where log events go.
            on_stored: Called when another certificate is on disk.
        """
        self._home = home
        self._trust = trust
        self._ticket = ticket
        self._hub = hub
        self._submit = submit
        self._clock = clock
        self._entropy = entropy
        self._log = log
        self._on_stored = on_stored
        self._pending_pause = PENDING_PAUSE_FIRST
        self._asks_as_new = False
        self.settled = asyncio.Event()

    async def run(self) -> None:
        """Look after the certificate until cancelled."""
        while True:
            try:
                pause = await self._look()
            except IcefloeError as error:
                self._log.log(
                    Level.ERROR, "own certificate not looked after", detail=str(error)
                )
                pause = REFUSED_PAUSE
            self.settled.set()
            await asyncio.sleep(pause)

    async def _look(self) -> float:
        """Ask if it is needed; return when to look again, in seconds."""
        at = self._clock.now().wall
        identity = self._home.identity(at=at, entropy=self._entropy)
        own = identity.certificate
        if self._trust.anchor.is_signed(own, at) and up_to_date(own, at):
            return LOOK_EVERY_SECONDS
        shown = own
        if self._asks_as_new:
            shown = load_pem(self._home.self_signed(at=at, entropy=self._entropy))
        result = await self._ask(shown)
        if result is None:
            return PENDING_PAUSE_FIRST
        if result.status_code == STATUS_SIGNED:
            self._install(result)
            return LOOK_EVERY_SECONDS
        if result.status_code == STATUS_PENDING:
            return self._pending(result)
        return self._refused(result, shown)

    async def _ask(self, shown: x509.Certificate) -> CertificateResult | None:
        """Ask the core, as a client with this certificate."""
        answer: asyncio.Future[CertificateResult]
        answer = asyncio.get_running_loop().create_future()

        def hear(command: LinkCommand) -> None:
            if isinstance(command, cmd.Answer) and not answer.done():
                answer.set_result(CertificateResult.parse(command.result))

        link = self._hub.add_carrier(hear)
        peer = Peer(
            standing=Standing.ANONYMOUS,
            common_name=self._home.name,
            certificate=shown.public_bytes(Encoding.DER),
            key_id=key_id(shown),
            address="this gateway",
        )
        self._submit(ev.LinkUp(link, peer))
        params = RequestCertificate(ticket=self._ticket)
        self._submit(ev.CertificateAsked(link, ev.CallId("own"), params))
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._hub.remove_carrier(link)
            self._submit(ev.LinkDown(link, clean=answer.done()))

    def _install(self, result: CertificateResult) -> None:
        install_files(
            self._home.files,
            node_name=self._home.name,
            certificate_pem=result.cert,
            ca_pem=None,
            owner=None,
            at=self._clock.now().wall,
        )
        self._pending_pause = PENDING_PAUSE_FIRST
        self._asks_as_new = False
        self._log.log(Level.INFO, "own certificate stored", name=self._home.name)
        self._on_stored()

    def _pending(self, result: CertificateResult) -> float:
        pause = self._pending_pause
        self._pending_pause = min(2 * pause, PENDING_PAUSE_MAX)
        self._log.log(
            Level.INFO if pause == PENDING_PAUSE_FIRST else Level.DEBUG,
            "own certificate pending; clients are served all the same",
            name=self._home.name,
            detail=result.error,
            next="approve it on the signer, or start with --ticket-file",
        )
        return pause

    def _refused(self, result: CertificateResult, shown: x509.Certificate) -> float:
        if not is_self_issued(shown) and self._ticket:
            # An Icefloe signer renews only for who shows the old certificate in TLS,
            # and we show nobody a certificate.  With a ticket the same key may ask
            # as if for the first time.
            self._asks_as_new = True
            return 1.0
        self._log.log(
            Level.ERROR,
            "own certificate refused; clients are served all the same",
            name=self._home.name,
            hop=result.hop,
            reason=result.reason,
            detail=result.error,
            next="correct the ticket, or remove --ticket-file and have it approved",
        )
        return REFUSED_PAUSE
