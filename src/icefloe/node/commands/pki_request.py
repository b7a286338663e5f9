"""`pki request`: one enrollment of a tool or a person, which can always be repeated.

protocol: Icinga's command leaves the self-signed certificate where it is after a
failure.  Tools take that file for a job done, and never ask again; so here a request
without an answer is set aside (`storage.set_aside`), and taken up by the next command.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from icefloe.enrollment.requester import Came
from icefloe.node.client import Progress
from icefloe.node.commands.enrolling import (
    Enrollment,
    Outcome,
    enroll_files,
    own_journal,
)
from icefloe.node.commands.setting import Setting
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import IdentityFiles, load_files
from icefloe.storage.set_aside import set_aside, take_up

__all__ = ["begin_request", "request_certificate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What came of a request.

    Attributes:
        outcome: How it ended.
        set_aside: Where the request is now, when it is not in its place any more.
    """

    outcome: Outcome
    set_aside: Path | None


def begin_request(enrollment: Enrollment, setting: Setting) -> tuple[Enrollment, str]:
    """Finish what was interrupted, and take up a request that was set aside.

    Returns:
        The enrollment, with the journal of this node's own identity when it is that;
        and the name that is asked for.

    Raises:
        IdentityProblem: The identity cannot be used.
        FileProblem: The operating system objects.
    """
    files = enrollment.files
    journal = own_journal(files, setting)
    if take_up(files, at=setting.clock.now().wall):
        setting.narrator.information(
            f"Taking up the request in '{files.unsigned}' again."
        )
    return replace(enrollment, journal=journal), load_files(files).node_name


def request_certificate(
    enrollment: Enrollment, setting: Setting, *, progress: Progress
) -> Requested:
    """Ask until it is decided; after a failure, make room for asking again.

    Raises:
        IcefloeError: As for `enroll_files`; the request is set aside as after a
            refusal.
    """
    with _room_for_asking_again(enrollment.files, setting):
        outcome = enroll_files(enrollment, setting, progress=progress)
    if outcome.wrote_certificate or outcome.came is Came.PENDING:
        return Requested(outcome=outcome, set_aside=None)
    return Requested(outcome=outcome, set_aside=_set_aside(enrollment.files, setting))


@contextmanager
def _room_for_asking_again(files: IdentityFiles, setting: Setting) -> Iterator[None]:
    """Set the request aside when the command ends by an error or a signal, too."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _leave) if is_main else None
    try:
        yield
    except BaseException:
        _set_aside(files, setting)
        raise
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: object) -> NoReturn:
    """A tool whose patience is over ends us with SIGTERM."""
    raise SystemExit(128 + number)


def _set_aside(files: IdentityFiles, setting: Setting) -> Path | None:
    """Set the request aside and say so; where that cannot be, say what to do."""
    try:
        place = set_aside(files, at=setting.clock.now().wall)
    except FileProblem as error:
        setting.narrator.warning(
            f"The request stays in '{files.certificate}' ({error.public}). A tool that "
            "skips when that file exists does not ask again: remove it, not the key."
        )
        return None
    if place is not None:
        setting.narrator.information(
            f"The request is set aside as '{place}', so that a tool that skips when "
            f"'{files.certificate.name}' exists asks again. The key stays; 'pki "
            "request', 'pki new-cert' and 'node setup' go on with both."
        )
    return place
