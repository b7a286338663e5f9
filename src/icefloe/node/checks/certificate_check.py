"""`icefloe check certificate`: does a certificate serve, and for how long?

Of this node's files: name, key, chain, dates, rights and owners.  Of a port: name,
chain and dates of what is shown there.  Everything that is wrong is told, the worst
decides.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.node.acceptance import tidy
from icefloe.node.checks.plugin import Outcome, Perf, PluginState, Range, worst
from icefloe.pki.certificates import (
    common_names,
    fingerprint,
    is_self_issued,
    key_id,
)
from icefloe.pki.errors import CertificateInvalid, Reason, ReasonCode
from icefloe.pki.trust import TrustAnchor, moment_for, verify_issued
from icefloe.storage.files import FileProblem, read_file_if_there
from icefloe.storage.identity_files import (
    IdentityFiles,
    IdentityProblem,
    certificate_in,
    key_in,
    load_trust_anchor,
)

__all__ = [
    "NAME",
    "CertificateKind",
    "CertificateThresholds",
    "Seen",
    "certificate_outcome",
    "see_files",
    "see_peer",
    "unreachable_outcome",
]

NAME: Final = "CERTIFICATE"

_DAY: Final = 86_400.0
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WRITE_FOR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class CertificateKind(enum.StrEnum):
    """What was found. The values never change their meaning."""

    VALID = "valid"
    NOT_VERIFIED = "not-verified"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    NOT_SIGNED = "not-signed"
    NO_CA = "no-ca"
    WRONG_CA = "wrong-ca"
    INVALID = "invalid"
    WRONG_NAME = "wrong-name"
    WRONG_KEY = "wrong-key"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    EXPIRES = "expires"
    CA_EXPIRES = "ca-expires"
    RIGHTS = "rights"
    OWNER = "owner"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    state: PluginState
    kind: CertificateKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateThresholds:
    """What is well: days left, of the certificate and of its CA."""

    warning: Range
    critical: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is to judge.

    Attributes:
        where: For people.
        certificate: None when there is none that can be read.
        anchor: The CA that it has to be from; None: there is none.
        wanted_name: Its name has to be this; "" allows any.
        findings: What is wrong beside the certificate itself.
    """

    where: str
    certificate: x509.Certificate | None
    anchor: TrustAnchor | None = field(repr=False)
    wanted_name: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def unverified(self) -> bool:
        """Nobody gave a CA, so that whose certificate it is stays unknown.

        A CA that has to be there and is not is a finding, which says it.
        """
        told = {CertificateKind.NO_CA, CertificateKind.UNREADABLE}
        return (
            self.certificate is not None
            and self.anchor is None
            and told.isdisjoint(each.kind for each in self.findings)
        )


def certificate_outcome(
    seen: Seen, thresholds: CertificateThresholds, at: WallTime
) -> Outcome:
    """Judge a certificate."""
    certificate = seen.certificate
    findings = list(seen.findings)
    perf: list[Perf] = []
    if certificate is not None:
        perf = list(_days(seen, certificate, thresholds, at))
        findings += _judged(seen, certificate, at)
        findings += _running_out(perf)
    state = worst(each.state for each in findings)
    # The worst first, then as they were found.
    findings.sort(key=lambda each: each.state is not state)
    kind = CertificateKind.NOT_VERIFIED if seen.unverified else CertificateKind.VALID
    if findings:
        kind = findings[0].kind
    about = _about(seen, certificate, perf) if certificate is not None else ()
    text = "; ".join((*(each.text for each in findings), *about)) or seen.where
    return Outcome(
        name=NAME,
        state=state,
        kind=kind.value,
        text=text,
        perf=tuple(perf),
        details=tuple(_details(seen, findings)),
        facts=_facts(seen, findings),
    )


def unreachable_outcome(where: str, why: str) -> Outcome:
    """Say that nothing could be seen at a port."""
    return Outcome(
        name=NAME,
        state=PluginState.CRITICAL,
        kind=CertificateKind.UNREACHABLE.value,
        text=f"no certificate can be seen at {where}: {tidy(why)}",
    )


# --- Seeing ---------------------------------------------------------------------------


def see_peer(
    where: str,
    leaf: x509.Certificate,
    *,
    anchor: TrustAnchor | None,
    wanted_name: str,
) -> Seen:
    """Return what a peer showed, to be judged."""
    return Seen(where=where, certificate=leaf, anchor=anchor, wanted_name=wanted_name)


def see_files(
    files: IdentityFiles, *, wanted_name: str, owner: tuple[int, int] | None
) -> Seen:
    """Look at the files of an identity.

    Args:
        files: Where they are.
        wanted_name: Whom the certificate has to be for; "" allows any.
        owner: The daemon's user and group; None: nobody says who that is.
    """
    findings: list[Finding] = []
    certificate = None
    try:
        pem = read_file_if_there(files.certificate)
        if pem is None:
            findings.append(
                _critical(CertificateKind.MISSING, f"there is no '{files.certificate}'")
            )
        else:
            certificate = certificate_in(files.certificate, pem)
    except (IdentityProblem, FileProblem) as error:
        findings.append(_unreadable(error))
    anchor = None
    try:
        anchor = load_trust_anchor(files)
    except (IdentityProblem, FileProblem) as error:
        findings.append(_unreadable(error))
    else:
        if anchor is None and certificate is not None:
            findings.append(
                _critical(CertificateKind.NO_CA, f"there is no '{files.ca}'")
            )
    if certificate is not None:
        findings += _key_findings(files.key, certificate)
    findings += _rights(files, owner)
    return Seen(
        where=str(files.certificate),
        certificate=certificate,
        anchor=anchor,
        wanted_name=wanted_name,
        findings=tuple(findings),
    )


def _unreadable(error: IdentityProblem | FileProblem) -> Finding:
    if isinstance(error, FileProblem):
        # It may be well; we are not let in.
        return Finding(PluginState.UNKNOWN, CertificateKind.UNREADABLE, str(error))
    return _critical(CertificateKind.UNREADABLE, str(error))


def _key_findings(path: Path, certificate: x509.Certificate) -> Iterator[Finding]:
    try:
        _, key = key_in(path)
    except (IdentityProblem, FileProblem) as error:
        yield _unreadable(error)
        return
    if key_id(key.public_key()) != key_id(certificate):
        text = f"the certificate is not for the key in '{path}'"
        yield _critical(CertificateKind.WRONG_KEY, text)


def _rights(files: IdentityFiles, owner: tuple[int, int] | None) -> Iterator[Finding]:
    """Look at who may read the key, who may write, and whose the files are."""
    for path, forbidden, harm in (
        (files.key, _OTHERS, "others may read the key"),
        (files.certificate, _WRITE_FOR_OTHERS, "others may replace it"),
        (files.ca, _WRITE_FOR_OTHERS, "others may replace it"),
        (files.certificate.parent, _WRITE_FOR_OTHERS, "others may replace its files"),
    ):
        try:
            status = path.stat()
        except OSError:
            continue  # what is not there, or may not be seen, is told elsewhere
        mode = stat.S_IMODE(status.st_mode)
        if mode & forbidden:
            text = f"'{path}' has mode {mode:04o}: {harm}"
            yield _critical(CertificateKind.RIGHTS, text)
        if owner is not None and status.st_uid != owner[0]:
            yield Finding(
                PluginState.WARNING,
                CertificateKind.OWNER,
                f"'{path}' belongs to uid {status.st_uid}, not to the daemon's uid "
                f"{owner[0]}: a renewal could not be installed",
            )


# --- Judging --------------------------------------------------------------------------


_ENDED: Final = frozenset({ReasonCode.EXPIRED, ReasonCode.ISSUER_EXPIRED})
"""Told by `_running_out`, with the days."""

_OF_THE_CA: Final = frozenset({ReasonCode.ISSUER_UNKNOWN, ReasonCode.BAD_SIGNATURE})
"""Another CA issued it; whatever else speaks against it is its own fault."""

_TO_BEGIN: Final = {
    ReasonCode.NOT_YET_VALID: "it",
    ReasonCode.ISSUER_NOT_YET_VALID: "the CA's certificate",
}


def _judged(
    seen: Seen, certificate: x509.Certificate, at: WallTime
) -> Iterator[Finding]:
    names = common_names(certificate)
    if seen.wanted_name and names[:1] != (seen.wanted_name,):
        found = tidy(names[0]) if names else "nobody"
        text = f"it is for '{found}', not for '{tidy(seen.wanted_name)}'"
        yield _critical(CertificateKind.WRONG_NAME, text)
    if is_self_issued(certificate):
        text = "it is self-signed: no CA has signed it yet, the enrollment is stuck"
        yield _critical(CertificateKind.NOT_SIGNED, text)
        return
    if seen.anchor is None:
        return
    problems = _problems(certificate, seen.anchor, at)
    told_apart = _ENDED | _TO_BEGIN.keys()
    foreign = [reason for reason in problems if reason.code in _OF_THE_CA]
    if foreign:
        yield _critical(CertificateKind.WRONG_CA, "; ".join(foreign))
    invalid = [
        reason for reason in problems if reason.code not in told_apart | _OF_THE_CA
    ]
    if invalid:
        yield _critical(CertificateKind.INVALID, "; ".join(invalid))
    for reason in problems:
        if reason.code in _TO_BEGIN:
            what = _TO_BEGIN[reason.code]
            text = f"{what} is not yet valid: compare the clocks of this machine and of"
            yield _critical(CertificateKind.NOT_YET_VALID, f"{text} the signer")


def _problems(
    certificate: x509.Certificate, anchor: TrustAnchor, at: WallTime
) -> tuple[Reason, ...]:
    """Return what its owner would not accept it for, if it came just now."""
    names = common_names(certificate)
    if not names:
        nobody = Reason(ReasonCode.NO_COMMON_NAME, "its subject has no common name")
        return (*anchor.problems(certificate, moment_for(certificate, at)), nobody)
    own = key_id(certificate)
    try:
        verify_issued(certificate, cn=names[0], key_id=own, anchor=anchor, at=at)
    except CertificateInvalid as error:
        return error.reasons
    return ()


def _days(
    seen: Seen,
    certificate: x509.Certificate,
    thresholds: CertificateThresholds,
    at: WallTime,
) -> Iterator[Perf]:
    found = {"days_left": certificate}
    if seen.anchor is not None:
        found["ca_days_left"] = seen.anchor.ca
    for label, each in found.items():
        left = (each.not_valid_after_utc.timestamp() - at) / _DAY
        yield Perf(
            label=label,
            value=round(left, 2),
            warning=thresholds.warning,
            critical=thresholds.critical,
        )


def _running_out(perf: list[Perf]) -> Iterator[Finding]:
    for each in perf:
        is_ca = each.label != "days_left"
        what = "the CA's certificate" if is_ca else "it"
        if each.value <= 0:
            kind = CertificateKind.CA_EXPIRES if is_ca else CertificateKind.EXPIRED
            yield _critical(kind, f"{what} expired {-each.value:.1f} days ago")
        elif each.state is not PluginState.OK:
            kind = CertificateKind.CA_EXPIRES if is_ca else CertificateKind.EXPIRES
            renewal = "" if is_ca else ", its renewal is overdue"
            text = f"{what} ends in {each.value:.1f} days{renewal}"
            yield Finding(each.state, kind, text)


def _about(
    seen: Seen, certificate: x509.Certificate, perf: list[Perf]
) -> Iterator[str]:
    names = common_names(certificate)
    name = tidy(names[0]) if names else "nobody"
    ends = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    days = int(perf[0].value)
    left = f" ({days} days)" if days > 0 else ""
    verified = ", chain not verified" if seen.unverified else ""
    yield f"'{name}', valid until {ends}{left}{verified}"


def _details(seen: Seen, findings: list[Finding]) -> Iterator[str]:
    yield f"Certificate: {seen.where}"
    certificate = seen.certificate
    if certificate is not None:
        yield f"Fingerprint: {fingerprint(certificate)}"
        yield f"Issuer: {tidy(certificate.issuer.rfc4514_string())}"
        if seen.anchor is None:
            yield "Chain: not verified, there is no CA to verify it by (--ca)"
        else:
            yield f"CA: {fingerprint(seen.anchor.ca)}"
    yield from (f"{each.state.name}: {each.text}" for each in findings)


def _facts(seen: Seen, findings: list[Finding]) -> dict[str, object]:
    certificate = seen.certificate
    facts: dict[str, object] = {
        "where": seen.where,
        "chain_verified": certificate is not None and seen.anchor is not None,
        "findings": [
            {"state": each.state.name, "kind": each.kind.value, "text": each.text}
            for each in findings
        ],
    }
    if certificate is not None:
        names = common_names(certificate)
        facts["common_name"] = names[0] if names else None
        facts["fingerprint"] = fingerprint(certificate)
        facts["not_after"] = certificate.not_valid_after_utc.isoformat()
    return facts


def _critical(kind: CertificateKind, text: str) -> Finding:
    return Finding(PluginState.CRITICAL, kind, text)
