"""This node's own identity, between the core's orders and the files.

What is there is read with the journal of its last switch (`storage.switching`): whether
a parent has accepted it yet, what a roll-back would put back, and what was put back for
it.  What the core orders goes through the same journal.  All of it is called in threads.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.doors import Clock
from icefloe.enrollment.commands import (
    ConfirmIdentity,
    InstallIdentity,
    RollBackIdentity,
)
from icefloe.enrollment.own_status import OwnStatus
from icefloe.enrollment.settings import OwnIdentity, RefusedCertificate
from icefloe.errors import IcefloeError
from icefloe.pki.certificates import fingerprint, load_pem
from icefloe.storage.files import Owner, read_file_if_there
from icefloe.storage.identity import NodeIdentity, install_certificate
from icefloe.storage.own_status_file import write_own_status
from icefloe.storage.switching import IdentityJournal, Phase, SwitchState


def read_own_identity(
    directories: NodeDirectories, identity: NodeIdentity, ticket: str
) -> OwnIdentity:
    """Return what the core is to know about the identity in place.

    Args:
        directories: The node's.
        identity: As it was loaded from them.
        ticket: As it was loaded.

    Raises:
        FileProblem: The journal cannot be read.
    """
    state = IdentityJournal.of_node(directories, owner=None).state()
    shown = identity.certificate
    if state is None:
        return OwnIdentity(certificate=shown, ticket=ticket)
    if state.state is Phase.UNCONFIRMED and state.new == fingerprint(shown):
        return OwnIdentity(
            certificate=shown,
            ticket=ticket,
            unconfirmed=True,
            older=_older(directories.certs, identity.node_name, state),
        )
    refused = None
    if state.state is Phase.ROLLED_BACK and state.old == fingerprint(shown):
        refused = RefusedCertificate(state.new, state.at, state.reason)
    return OwnIdentity(certificate=shown, ticket=ticket, refused=refused)


def _older(certs: Path, node_name: str, state: SwitchState) -> x509.Certificate | None:
    """Find the certificate a roll-back would put back among what switches kept."""
    if not state.old:
        return None
    try:
        kept = sorted(certs.iterdir(), reverse=True)
    except OSError:
        return None
    for path in kept:
        if not path.name.startswith(f"{node_name}.crt.before-"):
            continue
        with suppress(IcefloeError):
            content = read_file_if_there(path)
            certificate = load_pem(content) if content is not None else None
            if certificate is not None and fingerprint(certificate) == state.old:
                return certificate
    return None


class RollBackImpossible(IcefloeError):
    """The journal has no older identity that works; nothing was changed."""


class OrderOutdated(IcefloeError):
    """The order was about another certificate than the one in place; nothing changed."""


class OwnIdentityFiles:
    """Carries out what the core orders about the identity."""

    def __init__(
        self,
        directories: NodeDirectories,
        node_name: str,
        *,
        owner: Owner | None,
        clock: Clock,
    ) -> None:
        """Touch nothing yet.

        Args:
            directories: The node's.
            node_name: Its name.
            owner: Who gets the files when we are root.
            clock: The real one.
        """
        self._directories = directories
        self._node_name = node_name
        self._owner = owner
        self._clock = clock
        self._journal = IdentityJournal.of_node(directories, owner=owner)

    def recover(self) -> None:
        """Finish a switch that was interrupted.

        Raises:
            FileProblem: The operating system objects.
        """
        self._journal.recover(self._clock.now().wall)

    def install(self, command: InstallIdentity) -> None:
        """Install an identity, as an unconfirmed one.

        Raises:
            IdentityProblem: It does not verify.
            FileProblem: The operating system objects; nothing is lost.
        """
        install_certificate(
            self._directories.certs,
            self._node_name,
            certificate_pem=command.certificate,
            ca_pem=command.ca,
            owner=self._owner,
            at=self._clock.now().wall,
            journal=self._journal,
        )

    def confirm(self, command: ConfirmIdentity) -> None:
        """Note that a parent has accepted it.

        Raises:
            OrderOutdated: Another one is in place.
            FileProblem: It stays unconfirmed.
        """
        new = command.fingerprint
        if not self._journal.confirm(self._clock.now().wall, new=new):
            self._see_whether_done(Phase.CONFIRMED, new)

    def roll_back(self, command: RollBackIdentity) -> None:
        """Put the older identity back.

        Raises:
            OrderOutdated: Another one is in place than the one that was refused.
            RollBackImpossible: There is none that works.
            FileProblem: The operating system objects; it is to be tried again.
        """
        at, new = self._clock.now().wall, command.fingerprint
        if not self._journal.roll_back(command.reason, at, new=new):
            if self._see_whether_done(Phase.ROLLED_BACK, new):
                return
            raise RollBackImpossible(
                "there is no older identity that works: the new one stays in place"
            )

    def _see_whether_done(self, wanted: Phase, new: str) -> bool:
        """Whether an earlier try had come that far.

        Raises:
            OrderOutdated: The journal is about another certificate.
            FileProblem: It cannot be read.
        """
        state = self._journal.state()
        if state is None or state.new != new:
            raise OrderOutdated("another certificate has been put in place since")
        return state.state is wanted

    def keep_status(self, status: OwnStatus) -> None:
        """Keep the record for commands.

        Raises:
            FileProblem: The operating system objects; the old record stays.
        """
        write_own_status(self._directories, status, owner=self._owner)
