"""What a node's certificate says about how the node stands.

Pure: a sighting, what to judge it by, and a moment go in; a verdict comes out.  A node
may have several troubles; the worst one, in the order of `State`, names its state.

Without a CA to judge by nobody can say whether a certificate is one of the cluster's:
every Icinga CA is called "Icinga CA".  Then the state is UNJUDGED, not OK; `report`
groups such certificates by the CA that signed them, as far as nodes show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from icefloe.doors import WallTime
from icefloe.node.fleet.sightings import Cause, Sighting, Unreached
from icefloe.node.fleet.states import DAYS_DEFAULT, Names, State
from icefloe.node.fleet.targets import Target
from icefloe.pki import certificates
from icefloe.pki.errors import PKIError, ReasonCode
from icefloe.pki.spans import span_text
from icefloe.pki.trust import TrustAnchor

__all__ = ["Facts", "Finding", "Measure", "Verdict", "judge"]

DNS_NAMES_SHOWN_MAX: Final = 4
_DAY: Final = 86_400.0

_STATE_OF: Final = {
    ReasonCode.ISSUER_UNKNOWN: State.FOREIGN_CA,
    ReasonCode.BAD_SIGNATURE: State.FOREIGN_CA,
    ReasonCode.ISSUER_EXPIRED: State.EXPIRED,
    ReasonCode.ISSUER_NOT_YET_VALID: State.NOT_YET_VALID,
    ReasonCode.REVOKED: State.REVOKED,
}
"""Reasons of `pki.trust`; any other makes a certificate INVALID."""

_SKIPPED: Final = frozenset(
    {
        # Found here, with a CA and without.
        *(ReasonCode.EXPIRED, ReasonCode.NOT_YET_VALID),
        # The operator's list is no trouble of a node's; who gave it is told.
        ReasonCode.REVOCATION_LIST_MISSING,
        ReasonCode.REVOCATION_LIST_EXPIRED,
        ReasonCode.REVOCATION_LIST_NOT_YET_VALID,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What to judge by.

    Attributes:
        at: The moment.
        anchor: The cluster's CA; None when nobody gave it.
        days: A certificate that ends in fewer days is EXPIRING.
        names: How names are compared.
    """

    at: WallTime
    anchor: TrustAnchor | None = None
    days: float = DAYS_DEFAULT
    names: Names = Names.EXACT


@dataclass(frozen=True, slots=True)
class Finding:
    """One trouble: its state, and a sentence about this node."""

    state: State
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a certificate says.

    Attributes:
        cn: Its first common name; "" without one.
        dns_names: Of its subjectAltName, as they are.
        issuer: Issuer's name, as OpenSSL writes it.
        ca_fingerprint: SHA-256 (hex) of the CA certificate that the node sent along and
            that did sign; "" when it sent none.
        fingerprint: SHA-256 (hex) of the certificate.
        serial: Serial number, hex.
        begins: When it begins, unix seconds.
        ends: When it ends, unix seconds.
    """

    cn: str
    dns_names: tuple[str, ...]
    issuer: str
    ca_fingerprint: str
    fingerprint: str
    serial: str
    begins: float
    ends: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a node stands.

    Attributes:
        target: Which node.
        state: The worst of its findings; OK or UNJUDGED without any.
        findings: All of them, the worst first.
        facts: Of its certificate; None when none could be read.
        cause: Why it is UNREACHABLE; None otherwise.
    """

    target: Target
    state: State
    findings: tuple[Finding, ...] = ()
    facts: Facts | None = None
    cause: Cause | None = None

    @property
    def detail(self) -> str:
        """All sentences in one line."""
        return "; ".join(finding.text for finding in self.findings)


def judge(target: Target, sighting: Sighting, measure: Measure) -> Verdict:
    """Say how a node stands."""
    if isinstance(sighting, Unreached):
        return Verdict(
            target=target,
            state=State.UNREACHABLE,
            findings=(Finding(State.UNREACHABLE, sighting.detail),),
            cause=sighting.cause,
        )
    if sighting.leaf is None:
        return _unusable(target, "it shows no certificate")
    try:
        leaf = certificates.load_der(sighting.leaf)
    except PKIError as error:
        return _unusable(target, f"its certificate cannot be read: {error}")
    facts = _facts(leaf, sighting.chain)
    found = sorted(
        _findings(leaf, facts, target.name, measure), key=lambda each: each.state.rank
    )
    if found:
        state = found[0].state
    else:
        state = State.UNJUDGED if measure.anchor is None else State.OK
    return Verdict(target=target, state=state, findings=tuple(found), facts=facts)


def _unusable(target: Target, text: str) -> Verdict:
    finding = Finding(State.INVALID, text)
    return Verdict(target=target, state=State.INVALID, findings=(finding,))


def _findings(
    leaf: x509.Certificate, facts: Facts, name: str | None, measure: Measure
) -> Iterator[Finding]:
    yield from _issuer_findings(leaf, measure)
    yield from _time_findings(facts, measure)
    if not facts.cn:
        yield Finding(State.INVALID, "its subject has no common name")
    elif name is not None and measure.names is not Names.ANY:
        text = _name_objection(facts, name, measure.names)
        if text:
            yield Finding(State.WRONG_NAME, text)


def _issuer_findings(leaf: x509.Certificate, measure: Measure) -> Iterator[Finding]:
    own = certificates.is_self_issued(leaf)
    if measure.anchor is None:
        if own:
            yield _of_self_issued(leaf)
        return
    for reason in measure.anchor.problems(leaf, measure.at):
        state = _STATE_OF.get(reason.code, State.INVALID)
        if reason.code in _SKIPPED or (own and state is State.FOREIGN_CA):
            continue
        yield Finding(state, str(reason))
    if own and measure.anchor.issuer_of(leaf) is None:
        yield _of_self_issued(leaf)


def _of_self_issued(leaf: x509.Certificate) -> Finding:
    if certificates.is_ca(leaf):
        text = "it shows the certificate of a CA in place of its own"
        return Finding(State.INVALID, text)
    return Finding(State.SELF_SIGNED, "its certificate is self-signed")


def _time_findings(facts: Facts, measure: Measure) -> Iterator[Finding]:
    left = facts.ends - measure.at
    if left < 0:
        text = f"it expired on {_date(facts.ends)}, {span_text(-left)} ago"
        yield Finding(State.EXPIRED, text)
    elif measure.at < facts.begins:
        ahead = span_text(facts.begins - measure.at)
        text = f"it begins on {_date(facts.begins)}, in {ahead}"
        yield Finding(State.NOT_YET_VALID, text)
    elif left < measure.days * _DAY:
        text = f"it ends on {_date(facts.ends)}, in {span_text(left)}"
        yield Finding(State.EXPIRING, text)


def _name_objection(facts: Facts, name: str, names: Names) -> str:
    """Say how the certificate's names differ from the one asked for; "" if not."""
    if names is Names.SHORT:
        if _short(facts.cn) == _short(name):
            return ""
        return f"its common name is {facts.cn!r}, not {name!r}"
    if facts.cn != name:
        hint = ""
        if facts.cn.lower() == name.lower():
            hint = " (the case differs, and Icinga counts it)"
        elif _short(facts.cn) == _short(name):
            hint = " (one is the short form of the other; see --names)"
        return f"its common name is {facts.cn!r}, not {name!r}{hint}"
    found = facts.dns_names
    if found and name.lower() not in {each.lower() for each in found}:
        shown = ", ".join(repr(each) for each in found[:DNS_NAMES_SHOWN_MAX])
        return f"its DNS names are {shown}, not {name!r}"
    return ""


def _short(name: str) -> str:
    return name.partition(".")[0].lower()


def _facts(leaf: x509.Certificate, chain: tuple[bytes, ...]) -> Facts:
    described = dict(certificates.describe(leaf))
    names = certificates.common_names(leaf)
    return Facts(
        cn=names[0] if names else "",
        dns_names=certificates.dns_names(leaf),
        issuer=described["Issuer"],
        ca_fingerprint=_ca_fingerprint(leaf, chain),
        fingerprint=certificates.fingerprint(leaf),
        serial=certificates.serial_hex(leaf),
        begins=leaf.not_valid_before_utc.timestamp(),
        ends=leaf.not_valid_after_utc.timestamp(),
    )


def _ca_fingerprint(leaf: x509.Certificate, chain: tuple[bytes, ...]) -> str:
    """Find the CA among what was sent along: it counts only if it signed the leaf."""
    for der in chain:
        try:
            candidate = certificates.load_der(der)
            anchor = TrustAnchor.from_pem(certificates.to_pem(candidate))
            if anchor.issuer_of(leaf) is not None:
                return certificates.fingerprint(candidate)
        except PKIError:
            continue
    return ""


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, tz=UTC):%Y-%m-%d}"
