"""Certificate requests that Icinga 2 left behind, read when its node is taken over.

Icinga keeps one file per presented certificate in its data directory under
``certificate-requests``, named by the SHA-256 of the certificate's DER:

* ``<fingerprint>.json`` waits, or is answered when it holds ``cert_response``,
* ``<fingerprint>.removed`` was declined by an administrator and can be restored.
  It does not count while there is a ``.json`` of the same name.

Both are one JSON object with ``cert_request`` (PEM of the presented certificate),
``ticket`` (text, "" or null) and perhaps ``requestor_ca`` and ``cert_response`` (PEM).
Source: behaviour of Icinga 2.13 to 2.16. The files are read and left as they are.

Strangers caused these files, so one that cannot be understood is reported and the
others are read all the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.doors import WallTime
from icefloe.errors import IcefloeError
from icefloe.pki.certificates import fingerprint, load_pem
from icefloe.pki.errors import PKIError

FILE_BYTES_MAX = 1_048_576
"""The largest file that is read: as large as a stranger's message may be."""

FILES_MAX = 50_000
"""The most files that are read, the newest ones: more than any fleet waits with."""

_NAME = re.compile(r"([0-9a-f]{64})\.(json|removed)")
_SUFFIXES = (".json", ".removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class IcingaRequest:
    """One file of Icinga's, understood.

    Attributes:
        fingerprint: Hex SHA-256 of the certificate's DER, and the file's name.
        certificate: The presented certificate, DER. Its signature is not checked.
        ticket: The ticket, or "". Never in a repr.
        requestor_ca: PEM of the root the requester uses, or "". Not checked.
        answer: The signed certificate, DER, or None while it waits. Not verified.
        removed: An administrator declined it.
        stored_at: When the file was written: each time the requester asked.
    """

    fingerprint: str
    certificate: bytes = field(repr=False)
    ticket: str = field(repr=False)
    requestor_ca: str = field(repr=False)
    answer: bytes | None = field(repr=False)
    removed: bool
    stored_at: WallTime


class IcingaRequestMalformed(IcefloeError):
    """A file that cannot be imported.

    Attributes:
        name: The file's name; of the directory, when that could not be read.
        reason: What is wrong. Never holds what stands in the file.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"Certificate request {self.name!a} was not imported: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IcingaRequests:
    """What stands in the directory.

    Attributes:
        requests: The oldest first.
        problems: Files that were left out, by name.
    """

    requests: tuple[IcingaRequest, ...]
    problems: tuple[IcingaRequestMalformed, ...]


class _Stored(msgspec.Struct):
    """The JSON object; keys we do not know do no harm."""

    cert_request: str
    ticket: str | None = None
    requestor_ca: str | None = None
    cert_response: str | None = None


def parse_icinga_request(
    content: bytes, *, name: str, stored_at: WallTime
) -> IcingaRequest:
    """Understand one file.

    Args:
        content: What stands in it.
        name: Its name, without directory.
        stored_at: When it was written.

    Raises:
        IcingaRequestMalformed: it is not what Icinga writes.
    """
    named = _NAME.fullmatch(name)
    if named is None:
        raise IcingaRequestMalformed(name, "its name is not a fingerprint")
    try:
        stored = msgspec.json.decode(content, type=_Stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IcingaRequestMalformed(
            name, "it is not the JSON object that Icinga writes"
        ) from error
    certificate, found = _decode_certificate(stored.cert_request, "cert_request", name)
    if found != named[1]:
        raise IcingaRequestMalformed(
            name, f"it holds a certificate of another fingerprint ({found})"
        )
    answer = None
    if stored.cert_response:
        answer, _ = _decode_certificate(stored.cert_response, "cert_response", name)
    return IcingaRequest(
        fingerprint=found,
        certificate=certificate,
        ticket=stored.ticket or "",
        requestor_ca=stored.requestor_ca or "",
        answer=answer,
        removed=named[2] == "removed",
        stored_at=stored_at,
    )


def read_icinga_requests(directory: Path) -> IcingaRequests:
    """Read all files of a directory; a missing one holds none.

    Never raises for what stands in the directory, nor when it cannot be read:
    that is one of the problems.
    """
    problems: list[IcingaRequestMalformed] = []
    requests: dict[str, IcingaRequest] = {}
    for stored_at, name in _list_files(directory, problems):
        try:
            content = _read_file(directory / name, name)
            request = parse_icinga_request(content, name=name, stored_at=stored_at)
        except IcingaRequestMalformed as problem:
            problems.append(problem)
            continue
        other = requests.get(request.fingerprint)
        if other is None or other.removed:
            requests[request.fingerprint] = request
    return IcingaRequests(
        requests=tuple(
            sorted(requests.values(), key=lambda r: (r.stored_at, r.fingerprint))
        ),
        problems=tuple(sorted(problems, key=lambda p: p.name)),
    )


def _decode_certificate(pem: str, key: str, name: str) -> tuple[bytes, str]:
    """Return DER and fingerprint of the first certificate."""
    try:
        certificate = load_pem(pem)
        return certificate.public_bytes(Encoding.DER), fingerprint(certificate)
    except PKIError as error:
        raise IcingaRequestMalformed(name, f"{key} is no certificate") from error


def _list_files(
    directory: Path, problems: list[IcingaRequestMalformed]
) -> list[tuple[WallTime, str]]:
    """List time and name of the files that may be requests, the newest ones."""
    found: list[tuple[WallTime, str]] = []
    try:
        with os.scandir(directory) as entries:
            # Others are files that Icinga was writing when it ended.
            for entry in entries:
                if entry.name.endswith(_SUFFIXES):
                    with contextlib.suppress(FileNotFoundError):
                        seen = entry.stat(follow_symlinks=False)
                        found.append((WallTime(seen.st_mtime), entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(_unreadable(directory.name, error))
        return []
    found.sort(reverse=True)
    if len(found) > FILES_MAX:
        left = len(found) - FILES_MAX
        problems.append(
            IcingaRequestMalformed(
                directory.name, f"of its files the {left} oldest were not read"
            )
        )
    return found[:FILES_MAX]


def _read_file(path: Path, name: str) -> bytes:
    # The directory is the daemon user's, and root may be reading: no links, no pipes.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise IcingaRequestMalformed(name, "it is not a plain file")
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(name, error) from error
    if len(content) > FILE_BYTES_MAX:
        raise IcingaRequestMalformed(name, f"it is larger than {FILE_BYTES_MAX} bytes")
    return content


def _unreadable(name: str, error: OSError) -> IcingaRequestMalformed:
    return IcingaRequestMalformed(name, f"it cannot be read: {error.strerror}")
