"""An operator decides: `ca sign`, `ca remove`, `ca restore`.

A command and the daemon meet in the ledger.  The command records the decision; a
running daemon sees it within a moment and signs, and the command waits for that.
Without a daemon the command runs the same core itself: the way of a certificate, intent
before signature, is the same.  Should a daemon start in between, both sign the same
bytes with the same key and arrive at the same certificate.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from icefloe.config.loading import load
from icefloe.config.model import NodeConfiguration
from icefloe.enrollment import administration
from icefloe.enrollment import events as ev
from icefloe.enrollment.administration import DecisionError, find_request
from icefloe.enrollment.batch import BatchRunner
from icefloe.enrollment.commands import CheckTicket, Level, Log, Sign
from icefloe.enrollment.core import EnrollmentCore
from icefloe.enrollment.ledger import Ledger, Write
from icefloe.enrollment.model import RequestRecord
from icefloe.errors import IcefloeError
from icefloe.node.commands.setting import Setting
from icefloe.node.commands.takeover import import_icinga_requests
from icefloe.node.material import Material, read_material
from icefloe.node.workers import work
from icefloe.storage.authority import has_authority
from icefloe.storage.files import ensure_directory
from icefloe.storage.identity import IdentityProblem
from icefloe.storage.ledger import SQLiteLedger
from icefloe.storage.lock import is_held

__all__ = ["NotSigned", "remove_request", "restore_request", "sign_request"]

DAEMON_SECONDS_MAX: Final = 10.0
"""How long a running daemon is waited for; it looks every 0.2 s."""

_LOOK_SECONDS: Final = 0.05
_SHORTEST: Final = 8
_NAME: Final = re.compile(rf"[0-9a-f]{{{_SHORTEST},64}}")
_OWN_DIRECTORY_MODE: Final = 0o700


class NotSigned(IcefloeError):
    """The decision is recorded, but there is no certificate yet."""


def sign_request(
    name: str, setting: Setting, *, actor: str, reserved: bool
) -> RequestRecord:
    """Approve a request, and see it signed.

    Args:
        name: Fingerprint of a presented certificate, or the beginning of one.
        setting: What to work with.
        actor: Who decides, for the record.
        reserved: The approval holds for a reserved name's other key.

    Returns:
        The request, which has a certificate now; one that had it is no error.

    Raises:
        DecisionError: There is no such request, or it cannot be approved.
        NotSigned: It was approved, and no certificate came of it.
        IdentityProblem: There is no CA key on this node.
        IcefloeError: Configuration, ledger or CA cannot be used.
    """
    directories = setting.directories
    if not has_authority(directories):
        raise IdentityProblem(
            directories.ca_key,
            problem="there is no CA key on this node, so it cannot sign",
            remedy="run this on the node that signs, usually the master",
        )
    material = None
    if is_held(directories.lock):
        configuration = load(directories.config_dir, directories.data_dir)
    else:
        # Before anything is recorded: what cannot sign is not to be asked to.
        material = read_material(directories)
        configuration = material.configuration
    with _opened(setting) as ledger:

        def approve(request: RequestRecord) -> Sequence[Write]:
            return administration.approve(
                ledger,
                request,
                actor=actor,
                at=setting.clock.now().wall,
                reserved=reserved,
                reserved_names=_reserved_names(configuration),
                node_name=configuration.node_name,
            )

        request = _decide(ledger, name, setting, approve)
        _see_signed(ledger, request, setting, material)
    return request


def remove_request(name: str, setting: Setting, *, actor: str) -> RequestRecord:
    """Decline a request.

    Raises:
        DecisionError: There is no such request, or it is signed.
        LedgerUnavailableError: It could not be recorded.
    """
    at = setting.clock.now().wall
    with _opened(setting) as ledger:
        return _decide(
            ledger,
            name,
            setting,
            lambda request: administration.remove(request, actor=actor, at=at),
        )


def restore_request(name: str, setting: Setting) -> RequestRecord:
    """Take a removal back.

    Raises:
        DecisionError: There is no such request, or it was not removed.
        LedgerUnavailableError: It could not be recorded.
    """
    at = setting.clock.now().wall
    with _opened(setting) as ledger:
        return _decide(
            ledger,
            name,
            setting,
            lambda request: administration.restore(request, at=at),
        )


# --- The decision ---------------------------------------------------------------------


def _opened(setting: Setting) -> SQLiteLedger:
    directories, owner = setting.directories, setting.owner
    ensure_directory(directories.own_dir, mode=_OWN_DIRECTORY_MODE, owner=owner)
    return SQLiteLedger.open(directories.ledger, owner=owner)


def _reserved_names(configuration: NodeConfiguration) -> frozenset[str]:
    return configuration.zones.reserved_names() | configuration.api_client_names


def _decide(
    ledger: SQLiteLedger,
    name: str,
    setting: Setting,
    decide: Callable[[RequestRecord], Sequence[Write]],
) -> RequestRecord:
    """Find a request and record what is decided about it, in one transaction."""
    if not _NAME.fullmatch(name.lower()):
        raise DecisionError(
            f"'{name[:80]}' is not the fingerprint of a request, nor the first "
            f"{_SHORTEST} or more hex digits of one."
        )
    if not _is_known(ledger, name):
        # It may be one that icinga2 has left and no daemon of ours has seen yet.
        import_icinga_requests(
            setting.directories, ledger, setting.clock.now(), _Notes()
        )
    ledger.begin()
    try:
        request = find_request(ledger, _completed(ledger, name.lower()))
        writes = decide(request)
        if writes:
            ledger.apply(writes)
            ledger.commit()
    finally:
        ledger.rollback()
    return request


def _is_known(ledger: Ledger, name: str) -> bool:
    try:
        find_request(ledger, _completed(ledger, name.lower()))
    except DecisionError:
        return False
    return True


def _completed(ledger: Ledger, name: str) -> str:
    """Complete the beginning of a fingerprint.

    Raises:
        DecisionError: It is the beginning of several.
    """
    if len(name) in _WHOLE:
        return name
    found = {
        listed.attempt.fingerprint
        for listed in administration.list_requests(ledger, None)
        if listed.attempt.fingerprint.startswith(name)
    }
    if len(found) > 1:
        raise DecisionError(
            f"'{name}' is the beginning of {len(found)} fingerprints; give more of it."
        )
    return next(iter(found), name)


_WHOLE: Final = (32, 64)
"""Hex digits of a request's id and of a fingerprint."""


# --- The signature --------------------------------------------------------------------


def _see_signed(
    ledger: SQLiteLedger,
    request: RequestRecord,
    setting: Setting,
    material: Material | None,
) -> None:
    """Wait for the daemon's signature, or sign here.

    Args:
        ledger: Outside a transaction.
        request: What was approved.
        setting: What to work with.
        material: The node's files; None when they were not read.

    Raises:
        NotSigned: No certificate came of it.
    """
    name, lock = request.request_id, setting.directories.lock
    deadline = setting.clock.now().mono + DAEMON_SECONDS_MAX
    while ledger.certificate(name) is None and is_held(lock):
        if setting.clock.now().mono > deadline:
            raise NotSigned(
                f"The request of '{request.cn}' is approved, but the running daemon "
                f"has not signed it within {DAEMON_SECONDS_MAX:g} s; see its log."
            )
        time.sleep(_LOOK_SECONDS)
    if ledger.certificate(name) is not None:
        return
    notes = _Notes()
    material = material or read_material(setting.directories)
    for event in (ev.LedgerChanged(), ev.Started()):
        # The second one takes up what a crash has left intended and unsigned.
        _run_core(ledger, material, event, setting, notes)
        if ledger.certificate(name) is not None:
            return
    why = "; ".join(notes.faults) or "nothing tells why"
    raise NotSigned(f"The request of '{request.cn}' is approved, but not signed: {why}")


def _run_core(
    ledger: SQLiteLedger,
    material: Material,
    first: ev.Event,
    setting: Setting,
    notes: _Notes,
) -> None:
    """Take an event and all that follows from it through a core of our own."""
    settings = material.enrollment_settings()
    core = EnrollmentCore(settings=settings, ledger=ledger)
    runner = BatchRunner(core=core, ledger=ledger)
    events: list[ev.Event] = [first]
    while events and not runner.failing:
        batch = runner.run(events, setting.clock.now(), setting.entropy)
        events = [
            work(command, material.secrets)
            for command in batch.commands
            if isinstance(command, Sign | CheckTicket)
        ]
        for command in batch.commands:
            if isinstance(command, Log):
                notes.log(command.level, command.event, **command.fields)


@dataclass(slots=True)
class _Notes:
    """A log that keeps what went wrong."""

    faults: list[str] = field(default_factory=list)

    def log(self, level: int, event: str, **fields: Any) -> None:
        """Keep an error's words."""
        if level >= Level.ERROR:
            detail = fields.get("detail")
            self.faults.append(f"{event}: {detail}" if detail else event)
