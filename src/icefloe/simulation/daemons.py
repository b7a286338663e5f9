"""Those who want a certificate and keep their connection: daemons, and a forger.

`WaitingDaemon` has the habits of a real Icinga daemon that stands behind an Icefloe
parent without a certificate: it asks at the start of each session, without an id, then
waits on the connection, takes `pki::UpdateCertificate`, and connects anew 10 s later.
`IcefloeAgent` watches a whole node of ours get its own certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from icefloe.cluster.effects import HelloReceived, Report
from icefloe.cluster.peer import identify
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.enrollment.events import LinkId
from icefloe.enrollment.model import serial_text
from icefloe.pki.certificates import fingerprint, load_pem
from icefloe.pki.errors import PKIError
from icefloe.pki.trust import verify_issued
from icefloe.simulation.identities import (
    Identity,
    authority,
    self_signed_identity,
    signed_identity,
)
from icefloe.simulation.issued import Signature
from icefloe.simulation.link import Link
from icefloe.simulation.machine import Machine
from icefloe.simulation.network import End, Face
from icefloe.simulation.requesters import CommandPlan, Requesting
from icefloe.simulation.timeline import Action
from icefloe.simulation.world import World
from icefloe.wire.catalogue import (
    REQUEST_CERTIFICATE,
    UPDATE_CERTIFICATE,
    RequestCertificate,
    UpdateCertificate,
)
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Message, Notification

REDIAL_SECONDS: Final = 10.0
"""Icinga's reconnect timer."""

LONG_REST_SECONDS: Final = 300.0
"""A node that rests so long has been told something about its certificate."""

REINSTALLS_MAX: Final = 1
"""More than one certificate pushed to a daemon that has one is flapping."""


class Visitor(Requesting):
    """Somebody with one connection at a time and a session on it."""

    def __init__(self, world: World, name: str, parents: Sequence[str]) -> None:
        """Stand ready.

        Args:
            world: where.
            name: its address.
            parents: nodes to connect to, in turn.
        """
        self.name = name
        self._world = world
        self._parents = list(parents)
        self._clock = world.clock(skewed=False)
        self._link: Link | None = None

    def shown(self) -> Identity:
        """Return what is shown in the handshake."""
        raise NotImplementedError

    def begin(self) -> None:
        """Connect."""
        if self.began_at is None:
            self.began_at = self._world.timeline.seconds
            self.ended = "waits"
        self.asks += 1
        parent = self._parents[self.asks % len(self._parents)]
        self._world.network.dial(
            self.name, parent, Face(self.shown().der), self._dialled
        )

    def again(self) -> None:
        """Connect once more, later."""
        self._world.timeline.after(REDIAL_SECONDS, self.begin)

    def _dialled(self, end: End | None, face: Face) -> None:
        if end is None:
            self.again()
            return
        peer = identify(
            tree=None, certificate_der=face.certificate, verified=True, address="parent"
        )
        self._link = Link(
            link_id=LinkId(0),
            end=end,
            session=Session(
                role=Role.DIALLER,
                peer=peer,
                settings=SessionSettings(node_name=self.name),
                now=self._clock.now(),
            ),
            peer=peer,
            role=Role.DIALLER,
            owner=self,
            clock=self._clock,
            timeline=self._world.timeline,
        )
        self._link.start()

    # -- from the link --------------------------------------------------------------------

    def enter(self, action: Action) -> None:
        """Take an action."""
        action()

    def effect_boundary(self) -> None:
        """It does not crash; it connects again."""

    def link_opened(self, link: Link) -> None:
        """Say what is to be said."""
        raise NotImplementedError

    def link_hello(self, link: Link, hello: HelloReceived) -> None:
        """It does the same whatever its parent is."""

    def link_message(self, link: Link, message: Message) -> None:
        """Hear what is said."""

    def link_report(self, link: Link, report: Report) -> None:
        """Its log is its own."""

    def link_ending(self, link: Link) -> None:
        """Wait for the end of it."""

    def link_closed(self, link: Link, *, clean: bool) -> None:
        """Connect again."""
        del link, clean
        self.again()


class WaitingDaemon(Visitor):
    """Waits on its connection until a certificate is pushed to it."""

    def __init__(
        self, world: World, *, cn: str, key_number: int, ticket: str, parents: list[str]
    ) -> None:
        """Stand ready.

        Args:
            world: where.
            cn: its name.
            key_number: its key.
            ticket: from its ticket file, or "".
            parents: nodes to connect to.
        """
        super().__init__(world, cn, parents)
        # Parents that are not ours close on it, and it comes again.
        self._is_held = not world.promises.not_ours.intersection(parents)
        self._first = self_signed_identity(cn, key_number)
        self._identity = self._first
        self._ticket = ticket
        self._installed = 0

    def shown(self) -> Identity:
        """Return the certificate it runs with."""
        return self._identity

    def link_opened(self, link: Link) -> None:
        """Ask, without an id."""
        self._world.note(self.name, "asks without an id and waits")
        params = RequestCertificate(ticket=self._ticket).to_params()
        link.step(
            lambda _now: link.session.send_notification(REQUEST_CERTIFICATE, params)
        )

    def link_message(self, link: Link, message: Message) -> None:
        """Install what is pushed."""
        if (
            not isinstance(message, Notification)
            or message.method != UPDATE_CERTIFICATE
        ):
            return
        early = False
        try:
            update = UpdateCertificate.parse(message.params)
            early = self._world.is_early(update.cert)
            certificate = load_pem(update.cert)
            verify_issued(
                certificate,
                cn=self._first.cn,
                key_id=self._first.key_id,
                anchor=authority().anchor,
                at=self._clock.now().wall,
            )
        except (MessageError, PKIError) as error:
            if self._is_held and not early:
                self._world.promises.a_certificate_fits(
                    self.name, f"was pushed: {error}"
                )
            return
        self._world.promises.a_signer_signed(
            self.name,
            self._first.cn,
            self._first.key_id,
            serial_text(certificate.serial_number),
        )
        if link.end.connection.between[1] in self._world.promises.not_ours:
            # A real signer dates from now: to another one, whose clock is behind, the
            # certificate has not begun, and it signs anew.
            self._world.counts["exempt.a-real-signer-signs-anew"] += 1
        else:
            self._installed += 1
        self._install(Identity(self._first.cn, self._first.key_number, certificate))
        link.drain("identity changed")

    def _install(self, identity: Identity) -> None:
        self._world.note(self.name, "installs")
        if self._installed > REINSTALLS_MAX + self._world.reasons_to_sign_again:
            self._world.promises.broken(
                "nothing_to_do_is_left_alone", self.name, "was made to install again"
            )
        self._identity = identity
        harmless = self._world.promises.nothing_goes_wrong
        if not self.finished and harmless and self._is_held:
            self._world.promises.a_waiting_daemon_is_held(self.name, self.asks)
        self.finished = True
        self.ended = "signed"
        self.finished_at = self.finished_at or self._world.timeline.seconds


class Forger(Visitor):
    """A stranger that sends nodes a certificate nobody asked it for.

    The certificate is the best a forger could have: for the victim's own key, signed by
    the true CA, under another serial number.  It must not enter any ledger.
    """

    def __init__(
        self, world: World, *, victim: CommandPlan, number: int, times: int
    ) -> None:
        """Stand ready.

        Args:
            world: where.
            victim: whose request is to be answered falsely.
            number: tells forgers apart.
            times: how often it tries.
        """
        super().__init__(world, f"forger-{number}", victim.parents)
        self._victim = victim
        self._left = times

    def shown(self) -> Identity:
        """Return a self-signed certificate."""
        return self_signed_identity(self.name, 990)

    def link_opened(self, link: Link) -> None:
        """Push, and be gone."""
        victim = self_signed_identity(self._victim.cn, self._victim.key_number)
        forged = signed_identity(victim.cn, victim.key_number, variant=7)
        parent = link.end.connection.between[1]
        if parent in self._world.promises.not_ours:
            # Many releases take a certificate from anybody (GHSA-vj39-ww8j-vvx5), and
            # hand it out: it cannot be told from a signer's.
            self._world.counts["exempt.a-real-node-takes-a-stranger-s-update"] += 1
            self._world.promises.issued.add(
                victim.cn,
                victim.key_id,
                Signature(self.name, "", serial_text(forged.certificate.serial_number)),
            )
        update = UpdateCertificate(
            cert=forged.pem,
            ca=authority().anchor.pem,
            fingerprint_request=fingerprint(victim.certificate),
        )
        link.step(
            lambda _now: link.session.send_notification(
                UPDATE_CERTIFICATE, update.to_params()
            )
        )
        self._world.timeline.after(0.5, lambda: link.drain("done"))

    def again(self) -> None:
        """Try once more, as often as planned."""
        self._left -= 1
        if self._left > 0:
            self._world.timeline.after(1.0, self.begin)
            return
        self.finished = True


class IcefloeAgent(Requesting):
    """A node of ours that is to get its own certificate."""

    def __init__(self, world: World, machine: Machine) -> None:
        """Watch a machine, which is off."""
        self.name = machine.name
        self._machine = machine
        self._world = world

    def begin(self) -> None:
        """Switch it on, and look whether it has its certificate."""
        self.began_at = self._world.timeline.seconds
        self.ended = "not installed"
        self._machine.start()
        self._look()

    def _look(self) -> None:
        self.asks = self._machine.lives
        if self._machine.installed and self._machine.is_settled and self._is_back():
            self.finished = True
            rolled_back = self._machine.was_rolled_back
            self.ended = "rolled back" if rolled_back else "signed"
            self.finished_at = self._world.timeline.seconds
            return
        if self._is_told_to_wait():
            self.finished = True
            self.ended = "comes back later"
            self.finished_at = self._world.timeline.seconds
            return
        self._world.timeline.after(0.25, self._look)

    def _is_back(self) -> bool:
        """Whether a node whose new certificate was refused is connected again."""
        process = self._machine.process
        if not self._machine.was_rolled_back:
            return True
        return process is not None and any(
            link.upstream and not link.ended for link in process.links.values()
        )

    def _is_told_to_wait(self) -> bool:
        """Whether a node that renews was sent away by a node that is not ours.

        A real signer has nothing to do yet; a rude one refuses, or lies. As long as the
        present certificate is good there is no hurry, and it is asked again in an hour.
        """
        status, promises = self._machine.own_status, self._world.promises
        if status is None or status.state != "due" or not status.parent:
            return False
        if not promises.not_ours or status.next_attempt is None:
            return False
        rest = status.next_attempt - self._machine.clock.now().wall
        if rest < LONG_REST_SECONDS:
            return False
        early = "exempt.a-real-signer-renews-nothing-early"
        sent_away = "exempt.a-renewal-near-a-rude-node-waits"
        self._world.counts[sent_away if status.code else early] += 1
        return True
