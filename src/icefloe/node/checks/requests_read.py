"""The certificate requests that lie at a node: a real Icinga node's, or an Icefloe one's.

A real node keeps one file for each presented certificate (`storage.icinga_requests`).
It writes the file anew at each ask, so its time says when was asked *last*; a request
that waits for days and is asked for every ten seconds looks young by it.  Since when a
request waits is told by the presented certificate: a self-signed one was made for it.
Whoever asks chooses that date, so it is believed for `KEPT_DAYS` before the last ask.
Not believing it at all would be worse: an old request would look young again.

Nothing marks an answer as fetched.  But the node reads the file when the requester comes
again, and most file systems note the first reading after a write (`relatime`).  So
"not read since it was answered" is the best that can be known; a reconnect to the
parent reads all files, too, and hides one.  We read without leaving such a mark.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.model import RequestState
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import tidy
from icefloe.pki.canaries import is_canary
from icefloe.pki.certificates import common_names, is_self_issued, load_der
from icefloe.pki.errors import PKIError
from icefloe.storage.icinga_requests import (
    FILE_BYTES_MAX,
    FILES_MAX,
    IcingaRequest,
    IcingaRequestMalformed,
    parse_icinga_request,
)
from icefloe.storage.ledger_waiting import WaitingRow, read_waiting

__all__ = ["KEPT_DAYS", "Lying", "RequestsSeen", "RequestsUnreadable", "read_requests"]

KEPT_DAYS: Final = 7
"""protocol: Icinga deletes a request file that nobody has written for so long."""

_DAY: Final = 86_400.0


class RequestsUnreadable(IcefloeError):
    """The requests of a node cannot be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lying:
    """One request that lies there.

    Attributes:
        cn: The name asked for.
        fingerprint: Names it for `ca sign`.
        since: Since when it waits for what it waits for.
        note: Why, if the node knows; else "".
    """

    cn: str
    fingerprint: str
    since: WallTime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestsSeen:
    """What lies at a node, the oldest first; without canaries.

    Attributes:
        icefloe: It is an Icefloe node, and this is from its ledger.
        signs: It holds the CA key; None when that cannot be seen.
        unanswered: Without a certificate.
        unfetched: With one, which nobody has fetched, as far as can be known.
        fetching_is_known: Whether `unfetched` means anything here.
        answered: How many have a certificate.
        removed: How many an administrator declined.
        canaries: How many are canaries'.
        broken: Files that cannot be understood, with what is wrong.
    """

    icefloe: bool
    signs: bool | None
    unanswered: tuple[Lying, ...] = ()
    unfetched: tuple[Lying, ...] = ()
    fetching_is_known: bool = True
    answered: int = 0
    removed: int = 0
    canaries: int = 0
    broken: tuple[str, ...] = ()


def read_requests(directories: NodeDirectories) -> RequestsSeen:
    """Look at a node's requests.

    A node with an Icefloe ledger is asked that one: its daemon imports the files.

    Raises:
        RequestsUnreadable: There is no such node, or we may not look.
        SQLiteLedgerError: The ledger cannot be read.
    """
    try:
        # The ledger's directory is the daemon user's alone: this tells, too.
        if stat.S_ISREG(directories.ledger.stat().st_mode):
            return _of_ledger(directories)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unreadable(directories.ledger, error) from error
    return _of_files(directories)


# --- Icefloe --------------------------------------------------------------------------


def _of_ledger(directories: NodeDirectories) -> RequestsSeen:
    found = read_waiting(directories.ledger)
    rows = [row for row in found if not is_canary(row.cn)]
    fetched_by_nobody = [row for row in rows if row.state in _UNFETCHED]
    waiting = [row for row in rows if row.state not in _UNFETCHED]
    return RequestsSeen(
        icefloe=True,
        signs=_signs(directories),
        unanswered=tuple(_row(row, row.created_at) for row in waiting),
        unfetched=_sorted(_row(row, row.updated_at) for row in fetched_by_nobody),
        answered=len(fetched_by_nobody),
        canaries=len(found) - len(rows),
    )


_UNFETCHED: Final = frozenset({RequestState.ISSUED, RequestState.ANSWERED})


def _row(row: WaitingRow, since: WallTime) -> Lying:
    return Lying(cn=row.cn, fingerprint=row.fingerprint, since=since, note=row.note)


# --- Icinga ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What is needed of a file; what a stranger put there beside it may be long."""

    fingerprint: str
    cn: str
    stored_at: WallTime
    waits_since: WallTime
    removed: bool
    answered: bool
    was_read: bool


def _of_files(directories: NodeDirectories) -> RequestsSeen:
    directory = directories.certificate_requests
    broken: list[str] = []
    stored: list[_Stored] = []
    for path in _paths(directories):
        try:
            stored.append(_read(path))
        except FileNotFoundError:
            continue  # it was renamed or has expired meanwhile
        except OSError as error:
            raise _unreadable(path, error) from error
        except IcingaRequestMalformed as problem:
            broken.append(tidy(f"{problem.name}: {problem.reason}"))
    lying = [each for each in stored if not is_canary(each.cn)]
    kept = [each for each in lying if not each.removed]
    answered = [each for each in kept if each.answered]
    known = _notes_reading(directory)
    return RequestsSeen(
        icefloe=False,
        signs=_signs(directories),
        unanswered=_sorted(
            _lying(each, each.waits_since) for each in kept if not each.answered
        ),
        unfetched=_sorted(
            _lying(each, each.stored_at)
            for each in answered
            if known and not each.was_read
        ),
        fetching_is_known=known,
        answered=len(answered),
        removed=len(lying) - len(kept),
        canaries=len(stored) - len(lying),
        broken=tuple(sorted(broken)),
    )


def _paths(directories: NodeDirectories) -> list[Path]:
    directory = directories.certificate_requests
    try:
        with os.scandir(directory) as entries:
            # Others are files that are being written.
            found = sorted(
                entry.path
                for entry in entries
                if entry.name.endswith((".json", ".removed"))
            )
    except FileNotFoundError:
        if not directories.data_dir.is_dir():
            raise RequestsUnreadable(
                f"there is no '{directories.data_dir}'; give the node's --data-dir"
            ) from None
        return []  # nobody has ever asked here
    except OSError as error:
        raise _unreadable(directory, error) from error
    if len(found) > FILES_MAX:
        raise RequestsUnreadable(
            f"there are {len(found)} files in '{directory}', more than are looked at "
            f"({FILES_MAX}): somebody floods this node, or nothing is ever answered"
        )
    json = {path for path in found if path.endswith(".json")}
    # protocol: a declined one does not count while there is a newer one.
    return [
        Path(path)
        for path in found
        if path in json or f"{path.removesuffix('.removed')}.json" not in json
    ]


def _read(path: Path) -> _Stored:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # Only the owner, and root, may read without leaving a mark.
        descriptor = os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise IcingaRequestMalformed(path.name, "it is not a plain file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise IcingaRequestMalformed(path.name, "it is too large for a request")
    stored_at = WallTime(status.st_mtime)
    request = parse_icinga_request(content, name=path.name, stored_at=stored_at)
    names: tuple[str, ...] = ()
    with suppress(PKIError):
        names = common_names(load_der(request.certificate))
    return _Stored(
        fingerprint=request.fingerprint,
        cn=names[0] if names else "?",
        stored_at=stored_at,
        waits_since=_waits_since(request),
        removed=request.removed,
        answered=request.answer is not None,
        was_read=status.st_atime_ns > status.st_mtime_ns,
    )


def _waits_since(request: IcingaRequest) -> WallTime:
    with suppress(PKIError):
        certificate = load_der(request.certificate)
        made = WallTime(certificate.not_valid_before_utc.timestamp())
        if is_self_issued(certificate):
            earliest = WallTime(request.stored_at - KEPT_DAYS * _DAY)
            return max(min(made, request.stored_at), earliest)
    return request.stored_at


def _notes_reading(directory: Path) -> bool:
    """Say whether the file system notes when a file was read."""
    with suppress(OSError):
        return not os.statvfs(directory).f_flag & os.ST_NOATIME
    return True


def _lying(stored: _Stored, since: WallTime) -> Lying:
    return Lying(cn=stored.cn, fingerprint=stored.fingerprint, since=since)


# --- Both -----------------------------------------------------------------------------


def _signs(directories: NodeDirectories) -> bool | None:
    try:
        return stat.S_ISREG(directories.ca_key.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError:
        return None


def _sorted(requests: Iterator[Lying]) -> tuple[Lying, ...]:
    return tuple(sorted(requests, key=lambda each: (each.since, each.fingerprint)))


def _unreadable(path: Path, error: OSError) -> RequestsUnreadable:
    return RequestsUnreadable(
        f"cannot look into '{tidy(str(path))}': {error.strerror or error}; run this as "
        "the user of the node's daemon, or as root"
    )
