"""What a set-up would do about the identity that is there; looks, and changes nothing.

A node whose certificate is from its CA, bears its name, fits its key and is not due is
healthy: it keeps everything, and no parent is asked.  A certificate that begins in the
future was signed by somebody whose clock is right: then ours is wrong, and whatever
was done by it would be wrong as well, so nothing is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.errors import IcefloeError
from icefloe.node.commands.changes import AgentSetup, Fate, IdentityChange, TicketFate
from icefloe.node.commands.own_certificate import signer_state
from icefloe.node.commands.own_request import rotation_begun
from icefloe.node.commands.setting import Setting
from icefloe.pki.certificates import common_names, is_self_signed, key_id, load_pem
from icefloe.pki.errors import CertificateInvalid, KeyInvalid
from icefloe.pki.names import check_common_name
from icefloe.pki.trust import TrustAnchor, moment_for, up_to_date
from icefloe.storage.authority import has_authority
from icefloe.storage.files import read_file_if_there
from icefloe.storage.identity import (
    IdentityFiles,
    IdentityProblem,
    NodeIdentity,
    load_ticket,
    load_trust_anchor,
)
from icefloe.storage.keys import decode_private_key

__all__ = [
    "ClockWrong",
    "RotationNeedsParent",
    "agent_identity",
    "signer_identity",
    "ticket_fate",
]


class RotationNeedsParent(IcefloeError):
    """A new key was asked for, and nobody to sign it was named; nothing was changed."""


class ClockWrong(IcefloeError):
    """This machine's clock cannot be right; nothing was changed."""


def agent_identity(wanted: AgentSetup, setting: Setting) -> IdentityChange:
    """Say what would happen to the identity of an agent or a satellite.

    Raises:
        CommonNameInvalid: No node may have this name.
        IdentityProblem: The key that is there, or `ca.crt`, cannot be used.
        ClockWrong: The present certificate begins in the future.
        FileProblem: The operating system objects.
    """
    cn = check_common_name(wanted.node.node_name)
    files = IdentityFiles.of_node(setting.directories.certs, cn)
    at = setting.clock.now().wall
    _check_ca(wanted, files)
    key_pem = read_file_if_there(files.key)
    if key_pem is None:
        return IdentityChange(
            fate=Fate.MADE,
            detail=_made(wanted),
            acts=True,
            replaces=files.certificate.exists(),
        )
    own_key_id = _key_id(files.key, key_pem)
    certificate = _certificate_in(files.certificate)
    if wanted.rotate_key or (wanted.parents and rotation_begun(files)):
        return _rotated(wanted, certificate)
    anchor = load_trust_anchor(files)
    if (
        certificate is None
        or common_names(certificate)[:1] != (cn,)
        or key_id(certificate) != own_key_id
    ):
        problem = "there is no certificate for the present key and name"
        there = files.certificate.exists()
        return _asked(wanted, certificate, problem, replaces=there)
    if anchor is None or anchor.issuer_of(certificate) is None:
        return _unsigned(wanted, certificate, at)
    return _signed(wanted, certificate, anchor, at)


def signer_identity(
    cn: str, setting: Setting, *, rotate_key: bool = False
) -> IdentityChange:
    """Say what would happen to the identity of a master.

    Raises:
        ClockWrong: Its certificate, or the CA's, begins in the future.
        IcefloeError: As for `certify_signer`.
    """
    _check_clock_of_signer(cn, setting)
    state = signer_state(setting, cn=cn)
    if state.identity is not None and not state.is_due:
        if rotate_key:
            return _rotated_signer(cn, state.identity, setting)
        text = f"key and certificate of '{cn}' stay as they are"
        certificate = state.identity.certificate
        return IdentityChange(
            fate=Fate.KEPT, detail=text, certificate=certificate, acts=False
        )
    has_key = IdentityFiles.of_node(setting.directories.certs, cn).key.exists()
    who = "a new CA" if state.new_ca else "the CA that is here"
    key = "the present key" if has_key else "a new key"
    return IdentityChange(
        fate=Fate.ASKED if has_key else Fate.MADE,
        detail=f"{who} signs a certificate for {key} of '{cn}'",
        certificate=state.identity.certificate if state.identity else None,
        acts=True,
        new_ca=state.new_ca,
        # What is there does not serve any more; it is somebody's identity all the same.
        replaces=IdentityFiles.of_node(
            setting.directories.certs, cn
        ).certificate.exists(),
    )


def ticket_fate(
    wanted: AgentSetup, identity: IdentityChange, setting: Setting
) -> TicketFate:
    """Say what would happen to the file with the ticket, if nobody were asked.

    Raises:
        IdentityProblem: The file holds no ticket.
        FileProblem: The operating system objects.
    """
    certs = setting.directories.certs
    present = load_ticket(certs)
    signed = identity.certificate is not None and not is_self_signed(
        identity.certificate
    )
    if identity.fate is Fate.KEPT and signed:
        there = setting.directories.ticket.exists()
        return TicketFate.REMOVED if there else TicketFate.STAYS
    if wanted.ticket and not wanted.parents and present != wanted.ticket:
        return TicketFate.STORED
    return TicketFate.STAYS


# --- Masters --------------------------------------------------------------------------


def _rotated_signer(
    cn: str, identity: NodeIdentity, setting: Setting
) -> IdentityChange:
    if not has_authority(setting.directories):
        raise RotationNeedsParent(
            "the key of the CA is not here, so nobody here can sign a new key: rotate "
            "it with --parent_host, as an agent does. Nothing was changed"
        )
    return IdentityChange(
        fate=Fate.ROTATED,
        detail=f"the CA that is here signs a new key of '{cn}', which takes the place "
        "of the present one; the CA's own key stays",
        certificate=identity.certificate,
        acts=True,
    )


def _check_clock_of_signer(cn: str, setting: Setting) -> None:
    directories = setting.directories
    own = IdentityFiles.of_node(directories.certs, cn).certificate
    for path in (directories.ca_certificate, directories.trusted_ca, own):
        certificate = _certificate_in(path)
        if certificate is not None:
            _check_clock(certificate, f"'{path}'", setting.clock.now().wall)


def _check_clock(certificate: x509.Certificate, what: str, at: WallTime) -> None:
    begins = certificate.not_valid_before_utc
    if begins.timestamp() > moment_for(certificate, at):
        raise ClockWrong(
            f"the clock of this machine says {_day(at)}, but {what} was signed on "
            f"{begins:%Y-%m-%d %H:%M} UTC; set the clock and run this command again. "
            "(If the clock is right now, that was signed while it was wrong: 'icefloe "
            "node restore' goes back to an earlier one.) Nothing was changed"
        )


# --- Agents and satellites ------------------------------------------------------------


def _signed(
    wanted: AgentSetup, certificate: x509.Certificate, anchor: TrustAnchor, at: WallTime
) -> IdentityChange:
    """Judge a certificate that is from our CA."""
    _check_clock(certificate, "this node's certificate", at)
    moment = moment_for(certificate, at)
    if certificate.not_valid_after_utc.timestamp() <= at:
        return _asked(
            wanted,
            certificate,
            f"its certificate ran out on {certificate.not_valid_after_utc:%Y-%m-%d} "
            f"by this machine's clock, which says {_day(at)}",
            beside=True,
        )
    if not anchor.is_signed(certificate, moment):
        reasons = "; ".join(map(str, anchor.problems(certificate, moment)))
        why = f"its certificate is not valid: {reasons}"
        return _asked(wanted, certificate, why, beside=True)
    name = wanted.node.node_name
    if wanted.parents and not up_to_date(certificate, at):
        ends = certificate.not_valid_after_utc
        return _asked(
            wanted, certificate, f"its certificate ends on {ends:%Y-%m-%d} and is due"
        )
    return IdentityChange(
        fate=Fate.KEPT,
        detail=f"key and certificate of '{name}' are valid and stay as they are",
        certificate=certificate,
        acts=wanted.verify and bool(wanted.parents),
    )


def _unsigned(
    wanted: AgentSetup, certificate: x509.Certificate, at: WallTime
) -> IdentityChange:
    """Judge a certificate that is a request, or from a CA we do not know."""
    serves = is_self_signed(certificate) and up_to_date(certificate, at)
    if serves and not wanted.parents:
        text = "key and request stay as they are; the daemon asks its parents"
        return IdentityChange(
            fate=Fate.KEPT, detail=text, certificate=certificate, acts=False
        )
    if is_self_signed(certificate):
        stale = not up_to_date(certificate, at)
        why = "its certificate is not signed yet"
        return _asked(wanted, certificate, why, replaces=stale)
    why = "its certificate is from a CA that this node does not know"
    return _asked(wanted, certificate, why, beside=True)


def _asked(
    wanted: AgentSetup,
    certificate: x509.Certificate | None,
    why: str,
    *,
    beside: bool = False,
    replaces: bool = False,
) -> IdentityChange:
    asks = _asks(wanted)
    if beside and not wanted.parents:
        # Somebody signed it; only an answer is worth more than that.
        return IdentityChange(
            fate=Fate.KEPT,
            detail=f"key and certificate stay as they are; but {why}; {asks}",
            certificate=certificate,
            acts=False,
        )
    return IdentityChange(
        fate=Fate.ASKED,
        detail=f"the key of '{wanted.node.node_name}' is kept; {why}; {asks}",
        certificate=certificate,
        acts=True,
        beside=beside,
        replaces=replaces,
    )


def _rotated(
    wanted: AgentSetup, certificate: x509.Certificate | None
) -> IdentityChange:
    if not wanted.parents:
        raise RotationNeedsParent(
            "a new key needs somebody to sign it: say whom to ask with --parent_host. "
            "Nothing was changed"
        )
    return IdentityChange(
        fate=Fate.ROTATED,
        detail=f"a new key of '{wanted.node.node_name}' takes the place of the present "
        f"one when its certificate is there; until then the present identity works; "
        f"{_asks(wanted)}",
        certificate=certificate,
        acts=True,
    )


def _check_ca(wanted: AgentSetup, files: IdentityFiles) -> None:
    """See that the CA that was given is not another one than is trusted already."""
    anchor = load_trust_anchor(files)
    if anchor is None or wanted.ca_pem is None:
        return
    offered = TrustAnchor.from_pem(wanted.ca_pem).ca
    if key_id(offered) in map(key_id, anchor.all_cas):
        return
    raise IdentityProblem(
        files.ca,
        problem="this node trusts another CA than the one that was given",
        remedy="leave the option out to keep this one; or, if the CA was replaced on "
        "purpose, move this file away",
    )


def _made(wanted: AgentSetup) -> str:
    return (
        f"there is no key of '{wanted.node.node_name}' yet: a new one "
        f"({wanted.key_type.value}) is made; {_asks(wanted)}"
    )


def _asks(wanted: AgentSetup) -> str:
    if not wanted.parents:
        return "nobody is asked for a certificate here, the daemon asks its parents"
    parents = ", ".join(map(str, wanted.parents))
    with_ticket = " with the ticket" if wanted.ticket else " without a ticket"
    return f"{parents} {'is' if len(wanted.parents) == 1 else 'are'} asked{with_ticket}"


def _key_id(path: Path, pem: bytes) -> str:
    try:
        return key_id(decode_private_key(pem).public_key())
    except KeyInvalid as error:
        raise IdentityProblem(
            path,
            problem=f"the key that is there cannot be used: {error.problem}",
            remedy="move it away, and a new one is made",
        ) from error


def _certificate_in(path: Path) -> x509.Certificate | None:
    pem = read_file_if_there(path)
    try:
        return None if pem is None else load_pem(pem)
    except CertificateInvalid:
        return None


def _day(at: WallTime) -> str:
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%d %H:%M} UTC"
