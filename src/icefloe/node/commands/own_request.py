"""This node's request for a certificate, and what becomes of it.

There are three ways, and in each the identity that works goes on working:

* in place: the node has no certificate that anybody signed; the request, a self-signed
  certificate, stands where the certificate will.  So does a certificate that is asked
  to be renewed.
* beside: a certificate is there that does not serve (it ran out, by a clock that may be
  wrong, or is from another CA).  The request is made beside it and takes its place only
  when a parent has it.
* rotation: a new key; key and request grow in `certs/.rotation` until they are signed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from icefloe.doors import WallTime
from icefloe.enrollment.requester import Came
from icefloe.node.client import Progress
from icefloe.node.commands.changes import AgentSetup, Changes, Fate
from icefloe.node.commands.enrolling import Enrollment, Outcome, enroll_files
from icefloe.node.commands.safekeeping import Safekeeper
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import is_self_signed
from icefloe.storage.files import read_file, read_file_if_there, remove_file
from icefloe.storage.identity import (
    CERTIFICATE_MODE,
    IdentityFiles,
    NodeIdentity,
    install_ca,
    install_files,
    load_files,
)
from icefloe.storage.newcomer import prepare_newcomer, put
from icefloe.storage.rotation import finish_rotation, prepare_rotation, rotation_files
from icefloe.storage.switching import IdentityJournal

__all__ = ["Identities", "rotation_begun", "waits"]


class _Way(enum.Enum):
    IN_PLACE = "in place"
    BESIDE = "beside"
    ROTATION = "rotation"


def rotation_begun(files: IdentityFiles) -> bool:
    """Say whether a new key waits for its certificate."""
    key = read_file_if_there(rotation_files(files).key)
    # Where it is the node's key already, only the tidying up was cut short.
    return key is not None and key != read_file_if_there(files.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """The identity of a node, and the one that is asked for.

    Attributes:
        files: The node's own.
        wanted: What the node is to become.
        changes: What is to be changed.
        setting: What to work with.
        keeper: Keeps what was there.
        journal: The identity's.
    """

    files: IdentityFiles
    wanted: AgentSetup
    changes: Changes
    setting: Setting
    keeper: Safekeeper
    journal: IdentityJournal

    def settle(self, progress: Progress) -> tuple[NodeIdentity, Outcome | None]:
        """See that there is a key, and a certificate if somebody is to be asked.

        Returns:
            The identity the node has now, and how the enrollment ended; None when
            nobody was asked.

        Raises:
            IcefloeError: As for `set_up_agent`.
        """
        change = self.changes.identity
        if not change.acts and not self.changes.writes_ca:
            return self._present(), None
        if change.fate is not Fate.MADE:
            self._install_given_ca()
        begun = self._begin()
        if change.fate is Fate.MADE:
            self._install_given_ca()  # it belongs to whom the key belongs to
        if not change.acts or not self.wanted.parents:
            return self._present(), None
        outcome = None
        if self._way is _Way.IN_PLACE or is_self_signed(begun.certificate):
            outcome = self._ask(progress)
        self._finish(outcome)
        return self._present(), outcome

    # Parts.

    @property
    def _way(self) -> _Way:
        if self.changes.identity.fate is Fate.ROTATED:
            return _Way.ROTATION
        return _Way.BESIDE if self.changes.identity.beside else _Way.IN_PLACE

    @property
    def _asking(self) -> IdentityFiles:
        """Where the identity is that is asked for."""
        match self._way:
            case _Way.ROTATION:
                return rotation_files(self.files)
            case _Way.BESIDE:
                own = self.files.certificate
                beside = own.with_name(f".{own.stem}.request.crt")
                return replace(self.files, certificate=beside, ticket=None)
            case _Way.IN_PLACE:
                return self.files

    def _begin(self) -> NodeIdentity:
        """See that there is a key, and a request."""
        setting, wanted = self.setting, self.wanted
        cn = wanted.node.node_name
        if self._way is _Way.ROTATION:
            return prepare_rotation(
                self.files,
                node_name=cn,
                key_type=wanted.key_type,
                entropy=setting.entropy,
                at=self._now(),
                owner=setting.owner,
                narrator=setting.narrator,
            )
        if self._way is _Way.IN_PLACE and self.changes.identity.replaces:
            self.keeper.keep()
        return prepare_newcomer(
            self._asking,
            cn=cn,
            key_type=wanted.key_type,
            entropy=setting.entropy,
            at=self._now(),
            owner=setting.owner,
            narrator=setting.narrator,
        )

    def _install_given_ca(self) -> None:
        ca_pem, owner = self.wanted.ca_pem, self.setting.owner
        if self.changes.writes_ca and ca_pem is not None:
            install_ca(self.files, ca_pem=ca_pem, owner=owner, at=self._now())

    def _ask(self, progress: Progress) -> Outcome:
        in_place = self._way is _Way.IN_PLACE
        enrollment = Enrollment(
            files=self._asking,
            parents=self.wanted.parents,
            pins=self.wanted.pins,
            names=frozenset(each.name for each in self.wanted.node.parents),
            ticket=self.wanted.ticket,
            wait=self.wanted.wait,
            keep_ca_of_cut=True,
            journal=self.journal if in_place else None,
            before_change=self.keeper.keep,
        )
        return enroll_files(enrollment, self.setting, progress=progress)

    def _finish(self, outcome: Outcome | None) -> None:
        """Put what was asked for elsewhere in place, as far as it has come."""
        signed = outcome is None or outcome.came is Came.SIGNED
        if self._way is _Way.IN_PLACE:
            return
        if self._way is _Way.ROTATION:
            if signed:
                self._finish_rotation()
            return
        if signed:
            self._install()
        elif outcome is not None and waits(outcome):
            self._put_request_in_place()

    def _finish_rotation(self) -> None:
        setting = self.setting
        self.keeper.keep()
        finish_rotation(
            self.files,
            node_name=self.wanted.node.node_name,
            owner=setting.owner,
            at=self._now(),
            journal=self.journal,
        )
        setting.narrator.information(
            f"The new key is in place in '{self.files.key}', with its certificate."
        )

    def _install(self) -> None:
        """Put the certificate that came beside the present one in its place."""
        self.keeper.keep()
        beside = self._asking
        install_files(
            self.files,
            node_name=self.wanted.node.node_name,
            certificate_pem=read_file(beside.certificate),
            ca_pem=None,
            owner=self.setting.owner,
            at=self._now(),
            journal=self.journal,
        )
        remove_file(beside.certificate)

    def _put_request_in_place(self) -> None:
        """Let the daemon go on with the request that a parent has."""
        self.keeper.keep()
        beside = self._asking.certificate
        put(
            self.files.certificate,
            read_file(beside),
            mode=CERTIFICATE_MODE,
            owner=self.setting.owner,
            at=self._now(),
        )
        remove_file(beside)

    def _present(self) -> NodeIdentity:
        return load_files(self.files, node_name=self.wanted.node.node_name)

    def _now(self) -> WallTime:
        return self.setting.clock.now().wall


def waits(outcome: Outcome) -> bool:
    """Say whether a parent has the request, and a daemon can go on asking."""
    if outcome.came is Came.PENDING:
        return True
    # Every answer was cut off, as Icinga 2.14.4 does while a request is pending: it
    # has the request, and we have its CA.
    return outcome.came is Came.CUT_OFF and outcome.has_ca
