"""The one JSON object that `node setup --json` prints.

The keys are the same for every role and every end: `ok`, `changed`, `code`, `state`,
`node`, `certificate`, `files`, `backup`, and what is known of the enrollment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from icefloe.cli.enrollment_words import outcome_facts
from icefloe.enrollment.problem import Code
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import Came
from icefloe.node.commands.changes import Changes, FileChange
from icefloe.node.commands.checks import Check
from icefloe.node.commands.own_request import waits
from icefloe.node.commands.setup import AgentReport, MasterReport
from icefloe.pki.certificates import (
    common_names,
    fingerprint,
    is_self_signed,
    key_id,
    serial_hex,
)

__all__ = ["facts_of_agent", "facts_of_dry_run", "facts_of_master"]

Facts = dict[str, object]


def facts_of_agent(report: AgentReport, *, at: float) -> Facts:
    """Return how setting up an agent or a satellite ended."""
    certificate = report.identity.certificate
    outcome = report.outcome
    facts: Facts = {}
    if outcome is not None:
        facts = outcome_facts(outcome)
    elif is_self_signed(certificate):
        facts = {"code": Code.NOT_ENROLLED}
    elif report.changed:
        facts = {"code": Code.SIGNED}
    else:
        facts = {"code": Reason.NOTHING_TO_DO.value}
    return {
        **facts,
        **_common(report.changes, certificate, at),
        "ok": report.configured,
        "changed": report.changed,
        "state": _state(report, at),
        "files": [_file(each) for each in report.changes.files]
        if report.configured
        else [],
        "backup": report.backup or None,
    }


def facts_of_master(report: MasterReport, *, at: float) -> Facts:
    """Return how setting up a master ended."""
    certificate = report.identity.certificate
    signed = report.changes.identity.acts
    return {
        **_common(report.changes, certificate, at),
        "ok": True,
        "changed": report.changed,
        "code": Code.SIGNED if signed else Reason.NOTHING_TO_DO.value,
        "state": "healthy" if report.ca_key_type is None else "signer",
        "files": [_file(each) for each in report.changes.files],
        "backup": report.backup or None,
        "new_ca": report.new_ca,
        "ca_key_type": report.ca_key_type and report.ca_key_type.value,
    }


def facts_of_dry_run(changes: Changes, checks: Sequence[Check], *, at: float) -> Facts:
    """Return what a run would change, and whether it could.

    `changed` says what a run would come to, as tools that know a check mode expect it.
    """
    failed = next((check for check in checks if check.ok is False), None)
    would_change = not changes.nothing_to_do
    code = "" if would_change else Reason.NOTHING_TO_DO.value
    if failed is not None and would_change:
        code = failed.code
    return {
        **_common(changes, changes.identity.certificate, at),
        "ok": failed is None or not would_change,
        "changed": would_change,
        "code": code,
        "state": None,
        "dry_run": True,
        "detail": changes.identity.detail,
        "files": [_file(each) for each in changes.files],
        "links": [str(each.path) for each in changes.links],
        "removals": [str(each) for each in changes.removals],
        "diff": changes.diff(),
        "backup": None,
        "checks": [
            {
                "name": check.name,
                "ok": check.ok,
                "detail": check.detail,
                "code": check.code,
                "fix": check.fix,
            }
            for check in checks
        ],
    }


# --- Parts ----------------------------------------------------------------------------


def _common(changes: Changes, certificate: x509.Certificate | None, at: float) -> Facts:
    return {
        "node": changes.node_name,
        "identity": changes.identity.fate.value,
        "certificate": None if certificate is None else _certificate(certificate, at),
        "dry_run": False,
    }


def _certificate(certificate: x509.Certificate, at: float) -> Facts:
    return {
        "common_name": next(iter(common_names(certificate)), None),
        "self_signed": is_self_signed(certificate),
        "issuer": certificate.issuer.rfc4514_string(),
        "fingerprint": fingerprint(certificate),
        "key_id": key_id(certificate),
        "serial": serial_hex(certificate),
        "not_valid_before": _moment(certificate.not_valid_before_utc),
        "not_valid_after": _moment(certificate.not_valid_after_utc),
        "expired": certificate.not_valid_after_utc.timestamp() <= at,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _file(change: FileChange) -> Facts:
    what = "made" if change.is_new else "changed"
    return {"path": str(change.path), "change": what}


_NOBODY_SAID_NO: Final = frozenset({Came.UNREACHABLE, Came.UNTRUSTED})
"""Whoever is not believed is not asked."""


def _state(report: AgentReport, at: float) -> str:
    """Return the state of the node's own identity, in the words of its own status."""
    certificate, outcome = report.identity.certificate, report.outcome
    if not is_self_signed(certificate):
        if certificate.not_valid_after_utc.timestamp() <= at:
            return "expired"
        return "healthy" if report.confirmed else "unconfirmed"
    if outcome is None:
        return "no-certificate"
    if waits(outcome):
        return "pending"
    if outcome.came in _NOBODY_SAID_NO:
        return "unreachable"
    return "refused"
