"""One command's enrollment: from files to files.

Loads key, certificate and trust, asks until it is decided, and puts what came in
place.  What is said about it is the command's affair; what may be believed is decided
in `acceptance`, how long is asked in `enrollment.requester`, how files are replaced in
`storage.identity`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cryptography import x509

from icefloe.config.layout import NodeDirectories
from icefloe.enrollment.requester import Came, Ended, Parent, Requester
from icefloe.errors import IcefloeError
from icefloe.node.acceptance import Applicant
from icefloe.node.client import Progress, enroll
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import is_ca, load_pem_all
from icefloe.pki.errors import CertificateInvalid
from icefloe.storage.files import read_file
from icefloe.storage.identity import (
    TICKET_BYTES_MAX,
    IdentityFiles,
    IdentityProblem,
    NodeIdentity,
    install_ca,
    install_files,
    load_files,
    load_trust_anchor,
)
from icefloe.storage.switching import IdentityJournal

__all__ = [
    "TICKET_VARIABLE",
    "Enrollment",
    "Outcome",
    "TicketProblem",
    "TrustMissing",
    "choose_ticket",
    "enroll_files",
    "identity_files",
    "load_pins",
    "own_journal",
    "parse_parent",
    "pins_of_text",
    "require_trust",
]

TICKET_VARIABLE: Final = "ICEFLOE_TICKET"
"""Environment variable with a ticket: no process list shows it."""

DEFAULT_PORT: Final = 5665
_PORT_MAX: Final = 65535
_PORT_DIGITS_MAX: Final = 5


class TicketProblem(IcefloeError):
    """The ticket cannot be taken from where it was said to be."""


class TrustMissing(IdentityProblem):
    """Nothing that can be used says which parent to trust."""


class ParentInvalid(IcefloeError):
    """What names a parent is not of the form host[,port]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """What is to be enrolled, where, and how long it may take.

    Attributes:
        files: The identity.
        parents: Whom to ask, the preferred one first.
        pins: Certificates of which a parent has to show one; empty: it has to be a
            member of the CA in `files.ca`.
        names: Without pins: the names that a parent may have; empty allows any.
        ticket: The ticket, or "".
        wait: Seconds to go on after a pending answer.
        keep_ca_of_cut: Install the CA certificate also when every answer was cut off.
            Not for commands whose callers take `ca.crt` for success.
        journal: The node's, when this is the identity that its daemon runs with; None:
            `own_journal` finds out.
        before_change: Called once, before the first file is replaced.
    """

    files: IdentityFiles
    parents: Sequence[Parent]
    pins: tuple[x509.Certificate, ...]
    names: frozenset[str] = frozenset()
    ticket: str = field(default="", repr=False)
    wait: float = 0.0
    keep_ca_of_cut: bool = False
    journal: IdentityJournal | None = None
    before_change: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an enrollment ended, and what it left behind.

    Attributes:
        ended: The requester's last word.
        identity: The identity as it is now.
        wrote_ca: Whether `ca.crt` was written.
        wrote_certificate: Whether a signed certificate was put in place.
    """

    ended: Ended
    identity: NodeIdentity
    wrote_ca: bool
    wrote_certificate: bool

    @property
    def came(self) -> Came:
        """What it came to."""
        return self.ended.outcome.came

    @property
    def has_ca(self) -> bool:
        """Whether the node knows whom to trust: a daemon can go on from here."""
        return self.identity.ca_pem is not None


def enroll_files(
    enrollment: Enrollment, setting: Setting, *, progress: Progress
) -> Outcome:
    """Enroll, in an event loop of its own.

    A certificate is installed when it came; after anything else that brought a CA
    certificate to be believed, that one is, so that the daemon can go on.  A refusal
    changes no file.

    Args:
        enrollment: What to do.
        setting: What to work with.
        progress: Told what happens, as it happens.

    Raises:
        IdentityProblem: The identity cannot be used, or what came does not fit it.
        TLSConfigurationInvalid: OpenSSL does not take key or certificate.
        FileProblem: The operating system objects.
    """
    files = enrollment.files
    if enrollment.journal is None:
        enrollment = replace(enrollment, journal=own_journal(files, setting))
    applicant = Applicant(
        identity=load_files(files),
        ticket=enrollment.ticket,
        pins=enrollment.pins,
        names=enrollment.names,
        anchor=load_trust_anchor(files),
    )
    require_trust(files, enrollment.pins)
    requester = Requester(
        enrollment.parents, now=setting.clock.now(), wait=enrollment.wait
    )
    ended = asyncio.run(
        enroll(
            requester,
            applicant=applicant,
            clock=setting.clock,
            entropy=setting.entropy,
            progress=progress,
        )
    )
    return _settle(enrollment, applicant.identity, ended, setting)


def own_journal(files: IdentityFiles, setting: Setting) -> IdentityJournal | None:
    """Return the journal of the identity this node's daemon runs with.

    A switch that was interrupted is finished: call it before the files are read.

    Returns:
        None when these files are those of another identity: see `identity_files`.

    Raises:
        FileProblem: The operating system objects.
    """
    certs = setting.directories.certs
    if files.ticket is None or files.key.absolute().parent != certs:
        return None
    journal = IdentityJournal.of_node(setting.directories, owner=setting.owner)
    journal.recover(setting.clock.now().wall)
    return journal


def require_trust(files: IdentityFiles, pins: Sequence[x509.Certificate]) -> None:
    """Check that something tells whom to trust.

    Raises:
        TrustMissing: There is neither a pinned certificate nor a `ca.crt`.
        FileProblem: The operating system objects.
    """
    if not pins and load_trust_anchor(files) is None:
        raise TrustMissing(
            files.ca,
            problem="nothing tells which parent to trust",
            remedy="fetch the parent's certificate with 'pki save-cert', check its "
            "fingerprint and give it as --trustedcert",
        )


def _settle(
    enrollment: Enrollment, identity: NodeIdentity, ended: Ended, setting: Setting
) -> Outcome:
    """Put what came in place."""
    files, owner, result = enrollment.files, setting.owner, ended.outcome
    at = setting.clock.now().wall
    before = identity.ca_pem
    before_change = enrollment.before_change or (lambda: None)
    if result.came is Came.SIGNED:
        before_change()
        identity = install_files(
            files,
            node_name=identity.node_name,
            certificate_pem=result.certificate,
            ca_pem=result.ca or None,
            owner=owner,
            at=at,
            journal=enrollment.journal,
        )
    elif result.ca and (
        result.came is Came.PENDING
        or (result.came is Came.CUT_OFF and enrollment.keep_ca_of_cut)
    ):
        before_change()
        install_ca(files, ca_pem=result.ca, owner=owner, at=at)
        identity = load_files(files)
    wrote_ca = identity.ca_pem != before
    if wrote_ca:
        setting.narrator.information(f"Writing CA certificate to file '{files.ca}'.")
    if result.came is Came.SIGNED:
        setting.narrator.information(
            f"Writing signed certificate to file '{files.certificate}'."
        )
    return Outcome(
        ended=ended,
        identity=identity,
        wrote_ca=wrote_ca,
        wrote_certificate=result.came is Came.SIGNED,
    )


# --- What the options say -------------------------------------------------------------


def parse_parent(text: str) -> Parent:
    """Read `host[,port]`.

    Raises:
        ParentInvalid: It has another form, or bytes that are no UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParentInvalid(f"{text!a} has bytes that are in no host's name") from None
    host, _, port = text.partition(",")
    host, port = host.strip(), port.strip() or str(DEFAULT_PORT)
    if not host or not port.isascii() or not port.isdigit():
        raise ParentInvalid(f"'{text}' is not of the form host[,port]")
    if len(port) > _PORT_DIGITS_MAX or not 1 <= int(port) <= _PORT_MAX:
        raise ParentInvalid(f"'{text}' has no port from 1 to {_PORT_MAX}")
    return Parent(host, int(port))


def load_pins(paths: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """Read the certificates that parents have to show, one or more a file.

    Raises:
        TrustMissing: One holds no certificate, or that of a CA: anybody may have
            it, so it proves nothing about who answers.
        FileProblem: The operating system objects.
    """
    return tuple(pin for path in paths for pin in _pins(read_file(path), path))


def pins_of_text(text: str, *, source: str) -> tuple[x509.Certificate, ...]:
    """Do the same for PEM text, as a variable or a file of answers holds it.

    Raises:
        TrustMissing: As for `load_pins`; it names `source`.
    """
    return _pins(text.encode(), Path(source))


def _pins(content: bytes, path: Path) -> tuple[x509.Certificate, ...]:
    try:
        found = load_pem_all(content)
    except CertificateInvalid as error:
        raise TrustMissing(
            path,
            problem="the trusted certificate cannot be read: "
            + "; ".join(error.reasons),
            remedy="fetch it anew with 'pki save-cert'",
        ) from error
    if any(map(is_ca, found)):
        raise TrustMissing(
            path,
            problem="this is the certificate of a CA, not of a parent",
            remedy="--trustedcert takes what 'pki save-cert' fetches from the parent",
        )
    return found


def choose_ticket(option: str | None, file: Path | None, variable: str | None) -> str:
    """Return the ticket: the option's, else the file's, else the environment's.

    Args:
        option: `--ticket`.
        file: `--ticket-file`; `-` is standard input.
        variable: The value of `TICKET_VARIABLE`.

    Raises:
        TicketProblem: Option and file are both given, or the file holds no ticket or
            cannot be read.
    """
    if option is not None and file is not None:
        raise TicketProblem("--ticket and --ticket-file exclude each other")
    if option is not None:
        return option
    if file is None:
        return (variable or "").strip()
    text = _read_ticket(file).strip()
    if not text:
        raise TicketProblem(f"'{file}' is empty")
    return text


def _read_ticket(file: Path) -> str:
    """Read a ticket from a file, a pipe, or standard input (`-`)."""
    try:
        if file == Path("-"):
            content = sys.stdin.buffer.read(TICKET_BYTES_MAX + 1)
        else:
            with file.open("rb") as source:
                content = source.read(TICKET_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TicketProblem(f"cannot read the ticket in '{file}': {reason}") from error
    if len(content) > TICKET_BYTES_MAX:
        raise TicketProblem(f"'{file}' is too long for a ticket")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise TicketProblem(f"'{file}' does not hold a ticket") from None


def identity_files(
    *, key: Path, certificate: Path, ca: Path, directories: NodeDirectories
) -> IdentityFiles:
    """Say what an identity in these files is: this node's own, or one for elsewhere.

    Only this node's has a place for a ticket, which a command leaves there for the
    daemon.  It is this node's when the files have the names and the place where the
    daemon looks for them, and no key of another name lies beside them.  (Automation
    enrolls a node before it writes NodeName down, so the configuration cannot be
    asked.)

    Args:
        key: The key's file.
        certificate: The certificate's file.
        ca: Where the CA's certificate is, or goes.
        directories: The node's.
    """
    own = IdentityFiles.of_node(directories.certs, certificate.stem)
    given = (key.absolute(), certificate.absolute(), ca.absolute())
    ticket = None
    if given == (own.key, own.certificate, own.ca):
        with suppress(OSError):
            keys = {each.name for each in directories.certs.glob("*.key")}
            ticket = own.ticket if keys <= {own.key.name} else None
    return IdentityFiles(key=key, certificate=certificate, ca=ca, ticket=ticket)
