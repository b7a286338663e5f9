"""How it stands with this node's own certificate, for `icefloe enrollment status`.

Three things tell it: the files of the identity, what the daemon last said about itself
(`storage.own_status_file`), and the journal of the last switch.  The files count most:
a certificate that a command has put in place since is there, whatever the daemon said.
Nothing is changed, and no daemon is needed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.own_status import OwnStatus
from icefloe.enrollment.problems import (
    PROBLEMS,
    Code,
    Outlook,
    Problem,
    fill,
    problem_for,
)
from icefloe.enrollment.renewal import RenewalPolicy, window_of
from icefloe.errors import IcefloeError
from icefloe.node.commands.error_codes import problem_of_error
from icefloe.node.commands.explaining import where_we_are
from icefloe.pki.certificates import fingerprint, is_self_issued
from icefloe.pki.trust import TrustAnchor, moment_for
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import (
    IdentityFiles,
    NodeIdentity,
    load_files,
    load_trust_anchor,
)
from icefloe.storage.own_status_file import read_own_status
from icefloe.storage.switching import IdentityJournal, Phase, SwitchState

__all__ = ["Answer", "NodeStatus", "look_at_node"]


class Answer(enum.IntEnum):
    """Whether somebody has to act; the exit code of the command."""

    WELL = 0
    UNKNOWN = 1
    PERSON = 2
    WAITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """How a node stands.

    Attributes:
        node_name: Its name; "" when the configuration does not tell.
        state: A state of `OwnStatus`, or "unknown".
        since: When it began; None when nobody noted it.
        parent: Whom it is about; may be "".
        next_attempt: When a parent is asked next; None: nobody knows, or never.
        certificate_ends: None without a certificate of the cluster.
        renew_at: When it is due.
        fingerprint: Of the certificate in place, hex SHA-256; "" without one.
        daemon_runs: None when it cannot be seen.
        switch: The last switch of the identity; None before the first.
        problem: None when all is well.
        detail: The same for a person; may be "".
        next_step: What to do; "" when all is well.
    """

    node_name: str
    state: str
    since: WallTime | None = None
    parent: str = ""
    next_attempt: WallTime | None = None
    certificate_ends: WallTime | None = None
    renew_at: WallTime | None = None
    fingerprint: str = ""
    daemon_runs: bool | None = None
    switch: SwitchState | None = None
    problem: Problem | None = None
    detail: str = ""
    next_step: str = ""

    @property
    def answer(self) -> Answer:
        """Whether somebody has to act."""
        if self.state == UNKNOWN:
            return Answer.UNKNOWN
        if self.problem is None or self.problem.outlook is Outlook.WELL:
            return Answer.WELL
        waits = self.problem.outlook is Outlook.WAITS
        return Answer.WAITS if waits else Answer.PERSON

    def facts(self) -> dict[str, object]:
        """Return what `--json` says; times are seconds since 1970."""
        switch = self.switch
        return {
            "node": self.node_name or None,
            "state": self.state,
            "answer": self.answer.name.lower(),
            "since": self.since,
            "parent": self.parent or None,
            "next_attempt": self.next_attempt,
            "certificate_ends": self.certificate_ends,
            "renew_at": self.renew_at,
            "fingerprint": self.fingerprint or None,
            "daemon_runs": self.daemon_runs,
            "switch": None
            if switch is None
            else {
                "state": switch.state.value,
                "at": switch.at,
                "reason": switch.reason,
            },
            "code": None if self.problem is None else self.problem.code,
            "detail": self.detail or None,
            "next": self.next_step or None,
        }


UNKNOWN: Final = "unknown"

_ONLY_WITHOUT_CERTIFICATE: Final = frozenset(
    {"no-certificate", "pending", "refused", "unreachable"}
)


def look_at_node(directories: NodeDirectories, at: WallTime) -> NodeStatus:
    """Say how a node stands.

    Args:
        directories: The node's, or a gateway's.
        at: Now.

    Returns:
        Always something: what cannot be read is a problem of its own.
    """
    try:
        here = where_we_are(directories)
    except IcefloeError as error:
        return _unreadable(NodeStatus(node_name="", state=UNKNOWN), error)
    base = NodeStatus(
        node_name=here.node_name, state=UNKNOWN, daemon_runs=here.daemon_runs
    )
    files = IdentityFiles.of_node(directories.certs, here.node_name or "-")
    try:
        told = read_own_status(directories)
        if not (_is_there(files) and here.node_name):
            return _concluded(_without_files(base, told))
        switch = IdentityJournal.of_node(directories, owner=None).state()
        base = replace(base, switch=switch)
        identity, anchor = load_files(files), load_trust_anchor(files)
        base = replace(base, fingerprint=fingerprint(identity.certificate))
    except IcefloeError as error:
        if base.switch is not None and base.switch.state is Phase.SWITCHING:
            return _concluded(_with_daemon(_interrupted(base), None))
        return _unreadable(base, error)
    is_signer = here.role == "signer"
    found = _of_files(base, identity, anchor, at, is_signer=is_signer)
    return _concluded(_with_daemon(found, told), is_signer=is_signer)


def _is_there(files: IdentityFiles) -> bool:
    """Say whether there is a key or a certificate; one without the other is broken."""
    return files.key.exists() or files.certificate.exists()


def _unreadable(base: NodeStatus, error: IcefloeError) -> NodeStatus:
    problem = problem_of_error(error)
    # What this user may not read says nothing about the node.
    cannot_tell = isinstance(error, FileProblem) or problem.code in {
        Code.FILE_RIGHTS,
        Code.FILE_TROUBLE,
    }
    state = UNKNOWN if cannot_tell else "no-certificate"
    status = replace(base, state=state, problem=problem, detail=error.public)
    return _concluded(status)


def _interrupted(base: NodeStatus) -> NodeStatus:
    """A switch that is under way, or was interrupted: key and certificate may not fit."""
    detail = "The switch to a new certificate is not finished; the daemon's start does."
    problem = PROBLEMS[Code.UNCONFIRMED]
    return replace(base, state="unconfirmed", problem=problem, detail=detail)


def _without_files(base: NodeStatus, told: OwnStatus | None) -> NodeStatus:
    """No key and no certificate: never set up, or lost."""
    detail = "There is neither a key nor a certificate in DataDir/certs."
    return replace(
        base,
        state="no-certificate",
        since=told.since
        if told is not None and told.state == "no-certificate"
        else None,
        problem=PROBLEMS[Code.NOT_ENROLLED],
        detail=detail,
    )


def _of_files(
    base: NodeStatus,
    identity: NodeIdentity,
    anchor: TrustAnchor | None,
    at: WallTime,
    *,
    is_signer: bool,
) -> NodeStatus:
    """Say what the files alone tell."""
    certificate = identity.certificate
    if is_self_issued(certificate) or anchor is None:
        return replace(
            base, state="no-certificate", problem=PROBLEMS[Code.NOT_ENROLLED]
        )
    window = window_of(certificate, RenewalPolicy())
    base = replace(base, certificate_ends=window.ends, renew_at=window.due)
    if window.ends <= at:
        problem = PROBLEMS[Code.CERTIFICATE_EXPIRED]
        return replace(base, state="expired", problem=problem)
    reasons = anchor.problems(certificate, moment_for(certificate, at))
    if reasons:
        early = certificate.not_valid_before_utc.timestamp() > at
        code = Code.CLOCK_WRONG if early else Code.IDENTITY_BROKEN
        return replace(
            base,
            state="no-certificate",
            problem=PROBLEMS[code],
            detail="; ".join(reasons),
        )
    return _of_switch(base) or replace(base, state="signer" if is_signer else "healthy")


def _of_switch(base: NodeStatus) -> NodeStatus | None:
    """Say what the last switch tells about the certificate in place, if anything."""
    switch, in_place = base.switch, base.fingerprint
    if switch is None:
        return None
    if switch.state is Phase.ROLLED_BACK and switch.old == in_place:
        state, code = "rolled-back", Code.ROLLED_BACK
    elif switch.state is Phase.UNCONFIRMED and switch.new == in_place:
        state, code = "unconfirmed", Code.UNCONFIRMED
    else:
        return None
    return replace(
        base,
        state=state,
        since=switch.at,
        problem=PROBLEMS[code],
        detail=switch.reason,
    )


def _with_daemon(found: NodeStatus, told: OwnStatus | None) -> NodeStatus:
    """Add what the daemon last said, where the files do not say otherwise."""
    if told is not None and _still_holds(found, told):
        # Of a daemon that has ended, what it was about to do is not to be expected.
        upcoming = told.next_attempt if found.daemon_runs is not False else None
        found = replace(
            found,
            state=told.state,
            since=told.since,
            parent=told.parent,
            next_attempt=upcoming,
            certificate_ends=told.certificate_ends or found.certificate_ends,
            renew_at=told.renew_at or found.renew_at,
            problem=problem_for(told.code),
            detail=told.detail,
        )
    elif found.daemon_runs and found.problem is PROBLEMS[Code.NOT_ENROLLED]:
        return replace(
            found, state=UNKNOWN, problem=PROBLEMS[Code.STATUS_UNKNOWN], detail=""
        )
    if found.daemon_runs is False:
        # Whatever it waits for, nobody goes on until a daemon runs.
        waits = found.problem is None or found.problem.outlook is not Outlook.PERSON
        if waits or found.problem is PROBLEMS[Code.NOT_ENROLLED]:
            return replace(found, problem=PROBLEMS[Code.DAEMON_NOT_RUNNING])
    return found


def _still_holds(found: NodeStatus, told: OwnStatus) -> bool:
    """Say whether what the daemon said is about the files that are there now."""
    if told.certificate_ends is not None or found.certificate_ends is not None:
        ends, said = found.certificate_ends, told.certificate_ends
        if ends is None or said is None or abs(ends - said) > 1.0:
            return False
    if told.state in _ONLY_WITHOUT_CERTIFICATE and told.code == "":
        return found.state == told.state
    return found.state != "expired" or told.state == "expired"


def _concluded(status: NodeStatus, *, is_signer: bool = False) -> NodeStatus:
    """Add the next step."""
    if status.problem is None:
        return status
    parent = status.parent or "the parent"
    step = fill(
        status.problem.next_step,
        hop=parent,
        parent=parent,
        cn=status.node_name,
        fingerprint=status.fingerprint[:16],
    )
    if is_signer and status.problem.code == Code.CERTIFICATE_EXPIRED:
        # Nobody is above it: its own CA signs.
        step = (
            "Run 'icefloe node setup --master' again, with the options that it was set "
            "up with: its own CA signs anew, and the key stays."
        )
    return replace(status, next_step=step)
