"""One run, look or certificate for each state that the plugins tell apart."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from tests.node.cluster import Authority, unsigned

from icefloe.doors import WallTime
from icefloe.enrollment.problems import Code
from icefloe.enrollment.requester import AskResult, Came, Parent
from icefloe.node.checks.canary_run import Attempt, CanaryRun, Steps
from icefloe.node.checks.canary_verdict import CanaryThresholds, canary_outcome
from icefloe.node.checks.certificate_check import (
    CertificateKind as Kind,
)
from icefloe.node.checks.certificate_check import (
    CertificateThresholds,
    Finding,
    Seen,
    certificate_outcome,
    unreachable_outcome,
)
from icefloe.node.checks.plugin import Outcome, PluginState, Range
from icefloe.node.checks.requests_check import RequestsThresholds, requests_outcome
from icefloe.node.checks.requests_read import Lying, RequestsSeen
from icefloe.pki.certificates import to_pem
from icefloe.pki.profiles import ca_certificate
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.keys import generate_key

SAT1 = Parent("sat1", 5665)
CN = "icefloe-canary-mon1-29f2aaed"
NOW = WallTime(1_800_000_000.0)

# --- Canaries -------------------------------------------------------------------------

SIGNED = AskResult(Came.SIGNED)
PENDING = AskResult(Came.PENDING, "pending")
CUT = AskResult(Came.CUT_OFF, "the parent closed the connection before it answered")


def attempt(
    result: AskResult, *, at: float = 0.0, version: int = 0, gave_up: bool = False
) -> Attempt:
    """Make an attempt that took a tenth of a second."""
    steps = Steps(
        began=at,
        connected=at + 0.01,
        secured=at + 0.03,
        asked=at + 0.03,
        heard=at + 0.1,
    )
    return Attempt(result=result, steps=steps, version=version, gave_up=gave_up)


def unasked(result: AskResult) -> Attempt:
    """Make an attempt that did not come to asking."""
    return Attempt(result=result, steps=Steps(began=0.0))


def run(*attempts: Attempt, seconds: float = 30.0) -> CanaryRun:
    """Make a run."""
    return CanaryRun(cn=CN, parent=SAT1, attempts=attempts, seconds=seconds)


def ours(came: Came, detail: str = "", **facts: object) -> AskResult:
    """Make what an Icefloe parent answers."""
    return AskResult(came, detail, facts=dict(facts), icefloe=True)


def failed(came: Came, code: str, detail: str) -> Attempt:
    """Make an attempt that failed before or after the asking."""
    return unasked(AskResult(came, detail, code=code))


RUNS: dict[str, CanaryRun] = {
    "signed": run(attempt(ours(Came.SIGNED))),
    "slow": run(attempt(ours(Came.SIGNED), at=12.0)),
    "first-answer-cut-off": run(
        attempt(CUT, version=21404), attempt(SIGNED, at=0.6, version=21404)
    ),
    "pending-first": run(
        attempt(PENDING, version=21405), attempt(SIGNED, at=0.6, version=21405)
    ),
    "refused": run(
        attempt(
            ours(
                Came.REFUSED,
                f"master1 refused the certificate request for '{CN}': the ticket is not "
                "valid for this name.",
                hop="master1",
                reason="wrong-ticket",
            )
        )
    ),
    "told-to-come-later": run(
        attempt(
            AskResult(
                Came.REFUSED,
                "master1 could not sign the certificate because of a fault of its own.",
                facts={"hop": "master1", "reason": "signer-fault", "retry_after": 60.0},
                temporary=True,
                icefloe=True,
            )
        )
    ),
    "unreachable": run(
        failed(Came.UNREACHABLE, Code.UNREACHABLE, "10.0.0.7: Connection refused")
    ),
    "tls-failed": run(
        failed(Came.UNREACHABLE, Code.TLS_FAILED, "what answered does not speak TLS")
    ),
    "link-to-signer-down": run(
        attempt(
            ours(Came.PENDING, "kept", hop="sat1", reason="parent-unreachable"),
        )
    ),
    "awaits-approval": run(
        attempt(
            ours(
                Came.PENDING,
                "The request is pending: it awaits approval on master1.",
                hop="master1",
                reason="awaiting-approval",
            )
        )
    ),
    "pending": run(
        attempt(
            ours(
                Came.PENDING,
                "The request was forwarded to master1; there is no decision yet.",
                hop="sat1",
                reason="parent-pending",
            )
        )
    ),
    "pending-behind-icinga": run(attempt(PENDING, version=21605)),
    "cut-off": run(*[attempt(CUT, version=21404)] * 6),
    "no-answer": run(
        attempt(AskResult(Came.CUT_OFF, "no answer in 30 s"), gave_up=True)
    ),
    "wrong-ca": run(
        failed(
            Came.UNTRUSTED,
            Code.TRUST_MISMATCH,
            "sat1:5665 is not to be trusted: its issuer is no CA that is trusted here",
        )
    ),
    "bad-certificate": run(
        failed(
            Came.INVALID,
            Code.INVALID_CERTIFICATE,
            "the signature does not match the key of the CA",
        )
    ),
    "bad-answer": run(
        failed(Came.INVALID, Code.INVALID_ANSWER, "what the parent sent is no message")
    ),
    "clock-wrong": run(
        failed(
            Came.UNTRUSTED, Code.CLOCK_WRONG, "the certificate of sat1 is not yet valid"
        )
    ),
    "nothing-to-do": run(
        attempt(AskResult(Came.NOTHING_TO_DO, "valid and up to date"))
    ),
}


def canary(kind: str, *, first_connection: bool = False) -> Outcome:
    """Judge the run of that kind."""
    thresholds = CanaryThresholds(
        warning=Range.parse("10"),
        critical=Range.parse("20"),
        first_connection=first_connection,
    )
    return canary_outcome(RUNS[kind], thresholds)


# --- Requests -------------------------------------------------------------------------


def lying(cn: str, seconds: float) -> Lying:
    """Make a request of some age."""
    return Lying(cn=cn, fingerprint="ab" * 32, since=WallTime(NOW - seconds))


SEEN: dict[str, RequestsSeen] = {
    "clear": RequestsSeen(icefloe=False, signs=False, answered=3),
    "unanswered": RequestsSeen(
        icefloe=False,
        signs=False,
        unanswered=(lying("web1.example.org", 8000.0), lying("web2", 60.0)),
    ),
    "unfetched": RequestsSeen(
        icefloe=False, signs=False, unfetched=(lying("web3", 7300.0),), answered=4
    ),
    "broken-files": RequestsSeen(
        icefloe=False, signs=True, broken=("cd.json: its name is not a fingerprint",)
    ),
}


def requests(kind: str) -> Outcome:
    """Judge what lies at a node."""
    thresholds = RequestsThresholds(
        warning=Range.parse("900"),
        critical=Range.parse("3600"),
        unfetched_warning=Range.parse("3600"),
    )
    return requests_outcome(SEEN[kind], thresholds, NOW)


# --- Certificates ---------------------------------------------------------------------

CA = Authority()
KEY = generate_key()
LEAF = CA.issue("sat1", KEY)
PATH = Path("/var/lib/icinga2/certs/sat1.crt")
BEGINS = LEAF.not_valid_before_utc.timestamp()
ENDS = LEAF.not_valid_after_utc.timestamp()
DAY = 86_400.0
NOT_LONG_AGO = ENDS - 390 * DAY


def seen(
    leaf: x509.Certificate | None = LEAF,
    *,
    trusted: TrustAnchor | None = None,
    name: str = "sat1",
    findings: tuple[Finding, ...] = (),
) -> Seen:
    """Make what there is to judge."""
    if trusted is None and not findings:
        trusted = anchor()
    return Seen(
        where=str(PATH),
        certificate=leaf,
        anchor=trusted,
        wanted_name=name,
        findings=findings,
    )


def anchor(authority: Authority = CA) -> TrustAnchor:
    """Return the trust in a CA."""
    return TrustAnchor.from_pem(authority.pem)


def odd_leaf(
    extension: x509.ExtensionType, *, critical: bool = False, subject: str = "sat1"
) -> x509.Certificate:
    """Return a certificate of the CA with an extension that Icinga does not write."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateBuilder(
        issuer_name=LEAF.issuer,
        subject_name=x509.Name(names),
        public_key=KEY.public_key(),
        serial_number=7,
        not_valid_before=LEAF.not_valid_before_utc,
        not_valid_after=LEAF.not_valid_after_utc,
    )
    return builder.add_extension(extension, critical=critical).sign(CA.key, SHA256())


DEMAND = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"")


def older_anchor(*, days: float) -> TrustAnchor:
    """Return the trust in an older certificate of the CA's key, with its days left."""
    older = ca_certificate(
        CA.key,
        serial=2,
        not_before=WallTime(NOT_LONG_AGO - 900 * DAY),
        not_after=WallTime(NOT_LONG_AGO + days * DAY),
    )
    return TrustAnchor.from_pem(to_pem(older))


def found(kind: Kind, text: str, state: PluginState = PluginState.CRITICAL) -> Finding:
    """Make what looking at the files found."""
    return Finding(state, kind, text)


FOUND: dict[Kind, Finding] = {
    finding.kind: finding
    for finding in (
        found(Kind.MISSING, f"there is no '{PATH}'"),
        found(
            Kind.UNREADABLE,
            f"cannot read '{PATH}': Permission denied",
            PluginState.UNKNOWN,
        ),
        found(Kind.NO_CA, f"there is no '{PATH.with_name('ca.crt')}'"),
        found(
            Kind.WRONG_KEY,
            f"the certificate is not for the key in '{PATH.with_suffix('.key')}'",
        ),
        found(
            Kind.RIGHTS,
            f"'{PATH.with_suffix('.key')}' has mode 0644: others may read the key",
        ),
        found(
            Kind.OWNER,
            f"'{PATH}' belongs to uid 0, not to the daemon's uid 110: a renewal could "
            "not be installed",
            PluginState.WARNING,
        ),
    )
}

UNANCHORED = Seen(where="sat1:5665", certificate=LEAF, anchor=None)

SEEN_AT: dict[Kind, tuple[Seen, float]] = {
    Kind.NOT_VERIFIED: (UNANCHORED, NOT_LONG_AGO),
    Kind.INVALID: (seen(odd_leaf(DEMAND, critical=True)), NOT_LONG_AGO),
    Kind.NOT_SIGNED: (seen(unsigned("sat1", KEY)), NOT_LONG_AGO),
    Kind.WRONG_CA: (seen(trusted=anchor(Authority())), NOT_LONG_AGO),
    Kind.WRONG_NAME: (seen(name="sat2"), NOT_LONG_AGO),
    Kind.NOT_YET_VALID: (seen(trusted=older_anchor(days=900)), BEGINS - DAY),
    Kind.EXPIRED: (seen(), ENDS + 1.5 * DAY),
    Kind.EXPIRES: (seen(), ENDS - 10 * DAY),
    Kind.CA_EXPIRES: (seen(trusted=older_anchor(days=5)), NOT_LONG_AGO),
}


def certificate(kind: Kind) -> Outcome:
    """Judge a certificate of that kind."""
    if kind is Kind.UNREACHABLE:
        return unreachable_outcome("sat1:5665", "Connection refused")
    there = None if kind in {Kind.MISSING, Kind.UNREADABLE} else LEAF
    trusted = None if kind is Kind.NO_CA else anchor()
    findings = (FOUND[kind],) if kind in FOUND else ()
    plain = (seen(there, trusted=trusted, findings=findings), NOT_LONG_AGO)
    judged, at = SEEN_AT.get(kind, plain)
    return judge(judged, at)


def judge(judged: Seen, at: float = NOT_LONG_AGO) -> Outcome:
    """Judge what was seen, with the usual thresholds."""
    thresholds = CertificateThresholds(
        warning=Range.parse("25:"), critical=Range.parse("7:")
    )
    return certificate_outcome(judged, thresholds, WallTime(at))
