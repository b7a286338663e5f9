"""The agents of `scale`: many, and so each of them small."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from icefloe.cluster.peer import identify
from icefloe.doors import Clock, Entropy
from icefloe.enrollment import events as ev
from icefloe.enrollment.reasons import TEMPORARY
from icefloe.enrollment.requester import (
    AskParent,
    AskResult,
    Came,
    Parent,
    Pause,
    Requester,
)
from icefloe.pki.certificates import key_id, load_der, load_pem
from icefloe.pki.trust import verify_issued
from icefloe.simulation.identities import authority
from icefloe.simulation.timeline import Timeline
from icefloe.simulation.world import right_ticket
from icefloe.wire.catalogue import CertificateResult, RequestCertificate

if TYPE_CHECKING:
    from icefloe.simulation.scale import Node, Wire

DAEMON_REDIAL_SECONDS: Final = 10.0
TOOL_SECONDS: Final = 60.0
COMMAND_WAIT_SECONDS: Final = 7_200.0
_CALL: Final = ev.CallId("ask")


class Agent:
    """One that wants a certificate through one relay.

    Attributes:
        cn: its name.
        node: its relay.
        asks: how often it asked.
        began_at: virtual seconds of the first time.
        signed_at: when it had its certificate; None before.
    """

    __slots__ = (
        "_address",
        "_certificate",
        "_clock",
        "_entropy",
        "_on_signed",
        "_timeline",
        "_wire",
        "asks",
        "began_at",
        "cn",
        "node",
        "signed_at",
    )
    call: ev.CallId | None = _CALL

    def __init__(
        self,
        *,
        cn: str,
        certificate: bytes,
        address: str,
        node: Node,
        timeline: Timeline,
        clock: Clock,
        entropy: Entropy,
        on_signed: Callable[[], None],
    ) -> None:
        """Stand ready.

        Args:
            cn: its name.
            certificate: DER of the self-signed one it shows.
            address: where it comes from.
            node: where it asks.
            timeline: virtual time.
            clock: its clock.
            entropy: chance.
            on_signed: called once.
        """
        self.cn = cn
        self.node = node
        self.asks = 0
        self.began_at = 0.0
        self.signed_at: float | None = None
        self._certificate = certificate
        self._address = address
        self._timeline = timeline
        self._clock = clock
        self._entropy = entropy
        self._on_signed = on_signed
        self._wire: Wire | None = None

    def begin(self) -> None:
        """Ask for the first time."""
        self.began_at = self._timeline.seconds
        self.ask()

    def ask(self) -> None:
        """Connect and ask."""
        self.asks += 1
        peer = identify(
            tree=self.node.tree,
            certificate_der=self._certificate,
            verified=False,
            address=self._address,
        )
        wire = self._wire = self.node.accept(self, peer)
        params = RequestCertificate(ticket=right_ticket(self.cn))
        self.node.tell(ev.CertificateAsked(wire.link, self.call, params))
        if self.call is None:
            self.node.end_unheld(wire, DAEMON_REDIAL_SECONDS)

    def answered(self, result: CertificateResult) -> None:
        """The answer came."""
        if result.status_code == 0:
            self._take(result.cert)
        else:
            self.undecided(result)

    def pushed(self, pem: str) -> None:
        """A certificate was pushed."""
        self._take(pem)

    def undecided(self, result: CertificateResult) -> None:
        """There is no certificate yet."""
        raise NotImplementedError

    def closed(self) -> None:
        """The connection ended."""
        self._wire = None

    def again(self, seconds: float) -> None:
        """Ask again, about so many seconds later."""
        pause = seconds * self._entropy.uniform(0.75, 1.25)
        self._timeline.after(pause, self._ask_if_unsigned)

    def _ask_if_unsigned(self) -> None:
        if self.signed_at is None:
            self.ask()

    def _take(self, pem: str) -> None:
        if self.signed_at is not None:
            return
        verify_issued(
            load_pem(pem),
            cn=self.cn,
            key_id=key_id(load_der(self._certificate)),
            anchor=authority().anchor,
            at=self._clock.now().wall,
        )
        self.signed_at = self._timeline.seconds
        self._certificate = b""
        self._on_signed()
        if self._wire is not None:
            self.node.close(self._wire)


class CommandAgent(Agent):
    """Runs `icefloe node setup --wait`."""

    __slots__ = ("_requester",)

    def begin(self) -> None:
        """Run the command."""
        self.began_at = self._timeline.seconds
        self._requester: Requester | None = Requester(
            [Parent(self.node.name, 5665)],
            now=self._clock.now(),
            wait=COMMAND_WAIT_SECONDS,
        )
        self._next()

    def _next(self) -> None:
        if self._requester is None or self.signed_at is not None:
            return
        step = self._requester.next_step(self._clock.now())
        if isinstance(step, AskParent):
            self.ask()
        elif isinstance(step, Pause):
            self._timeline.at(step.until, self._next)

    def undecided(self, result: CertificateResult) -> None:
        """Tell the requester, which knows what to do."""
        if self._requester is None:
            return
        refused = result.status_code == 1
        came = AskResult(
            Came.REFUSED if refused else Came.PENDING,
            result.error,
            facts=dict(result.icefloe),
            temporary=refused and result.reason in TEMPORARY,
            icefloe=True,
        )
        self._requester.report(came, self._clock.now(), self._entropy)
        self._next()

    def _take(self, pem: str) -> None:
        super()._take(pem)
        self._requester = None


class ToolAgent(Agent):
    """Icinga's `pki request`, which a tool runs again every minute."""

    __slots__ = ()

    def undecided(self, result: CertificateResult) -> None:
        """Come again."""
        del result
        self.again(TOOL_SECONDS)


class DaemonAgent(Agent):
    """A daemon: asks without an id, waits, and connects anew when it must."""

    __slots__ = ()
    call = None

    def undecided(self, result: CertificateResult) -> None:
        """Wait on; it has no call that could be answered."""

    def closed(self) -> None:
        """Connect again."""
        super().closed()
        if self.signed_at is None:
            self.again(DAEMON_REDIAL_SECONDS)
