"""What can end or delay an enrollment: Icefloe's codes, and words for each.

The codes are those of Icefloe's `docs/problems.md`.  `icefloe_node` gets code and words
from the program; for a plain icinga2, which knows no codes, they are made here.
"""

from typing import Optional

PASSES_BY_ITSELF = frozenset(
    {
        "pending",
        "parent-pending",
        "parent-unreachable",
        "node-stops",
        "limit",
        "too-many-wrong-tickets",
        "signer-fault",
        "ledger-fault",
        "unreachable",
        "cut-off",
        "unconfirmed",
    }
)
"""Codes of which asking again may be the cure; the rest waits for a person."""

NEXT_STEPS = {
    "pending": (
        "Approve it on the signer ('ca list', 'ca sign FINGERPRINT') and run this again."
        " With a ticket: check it there ('pki ticket --cn {cn}'); an Icinga 2 satellite"
        " cannot pass a refusal on, and says 'pending' for a wrong ticket, too."
    ),
    "wrong-ticket": (
        "Get a ticket for exactly this name on the signer ('pki ticket --cn {cn}') and "
        "run this again; the key stays."
    ),
    "declined": (
        "Ask an administrator to restore the request on the signer ('ca list --removed',"
        " 'ca restore FINGERPRINT'), then run this again."
    ),
    "refused-by-parent": (
        "Correct what the parent says and run this again; the key stays."
    ),
    "name-not-resolved": (
        "Check the spelling of the parent's host, and the resolver of this machine, or "
        "give its address."
    ),
    "unreachable": (
        "Check that a node listens there and that no firewall is between; then run this "
        "again."
    ),
    "tls-failed": (
        "Check that an Icinga or Icefloe node listens there, and that what stands "
        "between passes TLS through."
    ),
    "cut-off": (
        "Run this again, with a longer 'deadline' if need be: asking again is safe. If "
        "it stays so, look at the log of the parent and of the signer, and check the "
        "ticket: Icinga 2.14.4 cuts off every answer but a certificate."
    ),
    "trust-mismatch": (
        "Nothing was sent to it. Compare the fingerprint on the parent ('pki verify "
        "--cert FILE') and correct 'ca_certificate', 'parent_fingerprints' or the "
        "parent's name."
    ),
    "trust-missing": (
        "Give 'ca_certificate' (the signer's ca.crt), 'parent_fingerprints' or "
        "'trusted_certificates'."
    ),
    "invalid-certificate": (
        "It was not installed. Look at the CA of the signer: its ca.crt and its key "
        "must belong together, and be the CA of this node."
    ),
    "identity-broken": (
        "Put back the pair that worked, or run this with 'replace_unusable: true': a new"
        " key is made then, and the old files are kept."
    ),
    "file-trouble": "Correct what is said about the file, then run this again.",
    "other-trouble": "See what icinga2 said, then run this again.",
}
"""What to do about each, where a plain icinga2 met it."""


class Problem(Exception):
    """An enrollment cannot go on, or one attempt failed.

    Attributes:
        code: One of Icefloe's codes.
        detail: What was said or what failed, for a person.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def next_step(self, cn: str) -> str:
        """Return what to do about it."""
        return NEXT_STEPS[self.code].format(cn=cn)


def sentence(code: str, detail: str, next_step: str, hop: Optional[str] = None) -> str:
    """Return what a failed task says: the reason, its code, and what to do."""
    where = f" on {hop}" if hop else ""
    said = detail.strip().rstrip(".") or "The enrollment failed"
    return f"{said}. (problem: {code}{where}) Next: {next_step}"
