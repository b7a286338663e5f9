"""One ask of one parent, over a connection of its own, as a command does it.

Dial, show a certificate, say Hello, send `pki::RequestCertificate` with an id, wait for
the result, close in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from icefloe.cluster.effects import HelloReceived, Report
from icefloe.cluster.peer import identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.doors import WallTime
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.model import serial_text
from icefloe.enrollment.reasons import TEMPORARY, Reason
from icefloe.enrollment.requester import ASK_TIMEOUT, AskResult, Came
from icefloe.pki.certificates import load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.simulation.link import Link
from icefloe.simulation.network import End, Face
from icefloe.simulation.timeline import Action, Timer
from icefloe.simulation.world import World, ticket_is_valid
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    CertificateResult,
    RequestCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Response

_CALL = "ask"
_LINK = LinkId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for.

    Attributes:
        cn: the name.
        key_id: the key.
        shown: DER of the certificate shown in the handshake.
        cert_request: PEM of another one, or "".
        ticket: or "".
        member: the asker has a certificate already.
    """

    cn: str
    key_id: str
    shown: bytes = field(repr=False)
    cert_request: str = field(default="", repr=False)
    ticket: str = field(default="", repr=False)
    member: bool = False


class Ask:
    """One ask; reports exactly once."""

    def __init__(
        self,
        *,
        world: World,
        who: str,
        parent: str,
        wish: Wish,
        anchor: TrustAnchor,
        timeout: float,
        report: Callable[[AskResult], None],
    ) -> None:
        """Begin the ask.

        Args:
            world: where.
            who: the asker's address.
            parent: the node to ask.
            wish: what for.
            anchor: what the asker trusts.
            timeout: seconds until it gives up.
            report: told what came.
        """
        self._world = world
        self._who = who
        self._parent = parent
        self._wish = wish
        self._anchor = anchor
        self._clock = world.clock(skewed=False)
        self._report: Callable[[AskResult], None] | None = report
        self._link: Link | None = None
        # Shorter ones are the asker's own deadline, which no parent knows; and a
        # member is held for longer than a command waits.
        self._patient = timeout >= ASK_TIMEOUT and not wish.member
        self._timer: Timer | None = world.timeline.after(timeout, self._timed_out)
        if wish.ticket and not ticket_is_valid(wish.cn, wish.ticket):
            world.brought_wrong_tickets.add(who)
        world.network.dial(who, parent, Face(wish.shown), self._dialled)

    # -- the connection -----------------------------------------------------------------

    def _dialled(self, end: End | None, face: Face) -> None:
        if end is None:
            self._tell(AskResult(Came.UNREACHABLE, "no connection"))
            return
        if self._report is None:
            end.start_drain(1.0)
            return
        peer = identify(
            tree=None,
            certificate_der=face.certificate,
            verified=True,  # pinned
            address=self._parent,
        )
        link = Link(
            link_id=_LINK,
            end=end,
            session=Session(
                role=Role.DIALLER,
                peer=peer,
                settings=SessionSettings(node_name=""),
                now=self._clock.now(),
            ),
            peer=peer,
            role=Role.DIALLER,
            owner=self,
            clock=self._clock,
            timeline=self._world.timeline,
        )
        self._link = link
        link.start()

    def _timed_out(self) -> None:
        self._timer = None
        if self._link is None:
            self._tell(AskResult(Came.UNREACHABLE, "no connection in time"))
            return
        faulted = self._link.end.connection.faulted
        if self._patient and self._link.announced and not faulted and self._is_ours:
            self._world.promises.no_answer_is_cut_off(
                self._who, f"{self._parent} gave no answer in time"
            )
        self._tell(AskResult(Came.CUT_OFF, "no answer in time"))
        self._link.drain("timeout")

    def _tell(self, result: AskResult) -> None:
        report, self._report = self._report, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if report is not None:
            report(result)

    # -- from the link --------------------------------------------------------------------

    def enter(self, action: Action) -> None:
        """Take an action."""
        action()

    def effect_boundary(self) -> None:
        """Askers do not crash; they ask again."""

    def link_opened(self, link: Link) -> None:
        """Ask."""
        link.announced = True
        params = RequestCertificate(
            ticket=self._wish.ticket, cert_request=self._wish.cert_request
        )
        link.step(
            lambda _now: link.session.send_request(
                REQUEST_CERTIFICATE, params.to_params(), call=_CALL
            )
        )

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """An asker does the same whatever its parent is."""

    def link_message(self, link: Link, message: Message) -> None:
        """The answer came."""
        if not isinstance(message, Response):
            return
        if message.error is not None:
            # As the command does: an error with any id is the answer.
            self._tell(AskResult(Came.INVALID, message.error))
        elif message.id == _CALL:
            self._tell(self._judge(message))
        else:
            return
        link.drain("answered")

    def link_report(self, link: Link, report: Report) -> None:
        """Nobody reads an asker's log."""

    def link_ending(self, link: Link) -> None:
        """Wait for the end of it."""

    def link_closed(self, link: Link, *, clean: bool) -> None:
        """The connection is gone, perhaps without an answer."""
        if self._report is None:
            return
        connection = link.end.connection
        if clean and not connection.faulted:
            # One of a member's two connections gives way (see `Connections`).
            if self._wish.member and self._world.promises.gave_way(connection):
                self._world.counts["exempt.a-member-s-second-connection"] += 1
            elif self._is_ours:
                self._world.promises.no_answer_is_cut_off(
                    self._who, f"{self._parent} closed in order without an answer"
                )
            else:
                self._world.counts["exempt.a-parent-not-ours-cuts-an-answer-off"] += 1
        self._tell(AskResult(Came.CUT_OFF, "the connection ended"))

    # -- the answer -------------------------------------------------------------------------

    def _judge(self, message: Response) -> AskResult:
        try:
            result = CertificateResult.parse(message.result)
        except MessageError as error:
            return AskResult(Came.INVALID, str(error))
        came = AskResult(
            Came.PENDING,
            result.error,
            certificate=result.cert,
            ca=result.ca,
            facts=dict(result.icefloe),
            icefloe=bool(result.icefloe),
        )
        if result.status_code == 0:
            return replace(came, came=self._judge_certificate(result.cert))
        if result.status_code == 2:
            return came
        if result.reason == Reason.NOTHING_TO_DO.value:
            return replace(came, came=Came.NOTHING_TO_DO)
        if result.reason == Reason.TOO_MANY_WRONG_TICKETS.value and self._is_ours:
            innocent = self._who not in self._world.brought_wrong_tickets
            self._world.promises.a_flood_refuses_only_itself(
                self._who, innocent=innocent
            )
        return replace(came, came=Came.REFUSED, temporary=result.reason in TEMPORARY)

    @property
    def _is_ours(self) -> bool:
        return self._parent not in self._world.promises.not_ours

    def _judge_certificate(self, pem: str) -> Came:
        promises = self._world.promises
        try:
            certificate = load_pem(pem)
            verify_issued(
                certificate,
                cn=self._wish.cn,
                key_id=self._wish.key_id,
                anchor=self._anchor,
                at=WallTime(self._clock.now().wall),
            )
        except PKIError as error:
            if self._is_ours and not self._world.is_early(pem):
                promises.a_certificate_fits(self._who, f"received: {error}")
            else:
                self._world.counts["wrong-certificate-not-taken"] += 1
            return Came.INVALID
        serial = serial_text(certificate.serial_number)
        promises.a_signer_signed(self._who, self._wish.cn, self._wish.key_id, serial)
        return Came.SIGNED
