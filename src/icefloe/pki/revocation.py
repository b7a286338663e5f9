"""Certificate revocation lists: reading them, and asking whether a serial is listed.

protocol: `crl_path` names a PEM file; Icinga hands it to OpenSSL with "check the leaf".
What follows from that, and is kept here:

* The list must be signed by a CA of `ca.crt`.
* A certificate whose issuer has no list is refused: its standing is not known.
* A list past its nextUpdate (or before its thisUpdate) makes every certificate of that
  issuer unacceptable.  That is harsh: a forgotten CRL stops a cluster.  But OpenSSL
  decides so in every handshake with a real peer, so a milder rule here would only hide
  the cause; the reason names the list and the date instead.

Several lists may stand in one file; of one issuer the newest counts.  Delta lists,
indirect lists and lists for some reasons only announce themselves by a critical
extension and are refused when loaded: read as plain lists they would say too little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from cryptography import x509

from icefloe.pki._decoding import DECODING_ERRORS, decoding
from icefloe.pki._openssl_text import name_text, time_text
from icefloe.pki.errors import (
    KeyInvalid,
    Reason,
    ReasonCode,
    RevocationListInvalid,
)
from icefloe.pki.keys import require_supported, signature_algorithm_problem
from icefloe.pki.spans import span_text

__all__ = ["CRL_BYTES_MAX", "RevocationList", "load_revocation_lists"]

CRL_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest PEM text: about 300,000 revoked certificates."""

_CRL_BLOCK: Final = re.compile(
    rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """One list whose signature has been checked.

    Attributes:
        issuer: The CA's name.
        this_update: When it was made, UTC.
        next_update: When a newer one is due, UTC; None when the list does not say.
        revoked: Serial number -> when it was revoked, UTC.
    """

    issuer: x509.Name
    this_update: datetime
    next_update: datetime | None
    revoked: Mapping[int, datetime] = field(repr=False)

    @classmethod
    def load(cls, pem: bytes, issuers: Sequence[x509.Certificate]) -> Self:
        """Read one list and check that one of `issuers` signed it.

        Raises:
            RevocationListInvalid: It cannot be decoded, is of a kind that is not
                supported, or none of the given CAs signed it.
        """
        try:
            with decoding():
                crl = x509.load_pem_x509_crl(pem)
                loaded = cls(
                    issuer=crl.issuer,
                    this_update=crl.last_update_utc,
                    next_update=crl.next_update_utc,
                    revoked={
                        entry.serial_number: entry.revocation_date_utc for entry in crl
                    },
                )
                _refuse_special_kinds(crl)
        except DECODING_ERRORS as error:
            raise RevocationListInvalid("it cannot be decoded") from error
        _check_signature(crl, issuers)
        return loaded

    def problem(self, serial: int, at: datetime) -> Reason | None:
        """Say why the list speaks against a certificate of its issuer, or None."""
        revoked_on = self.revoked.get(serial)
        if revoked_on is not None:
            return Reason(
                ReasonCode.REVOKED, f"it was revoked on {time_text(revoked_on)}"
            )
        whose = f"the revocation list of {name_text(self.issuer)}"
        if self.next_update is not None and self.next_update < at:
            return Reason(
                ReasonCode.REVOCATION_LIST_EXPIRED,
                f"{whose} expired on {time_text(self.next_update)}; "
                "install a current one at crl_path",
            )
        if at < self.this_update:
            ahead = (self.this_update - at).total_seconds()
            return Reason(
                ReasonCode.REVOCATION_LIST_NOT_YET_VALID,
                f"{whose} is not valid before {time_text(self.this_update)} "
                f"({span_text(ahead)} from now); check this machine's clock",
            )
        return None


def load_revocation_lists(
    pem: str | bytes, issuers: Sequence[x509.Certificate]
) -> tuple[RevocationList, ...]:
    """Read every list of a PEM text; at least one.

    Args:
        pem: The content of the file at `crl_path`.
        issuers: The CA certificates that may have signed them.

    Raises:
        RevocationListInvalid: There is none, or one of them is not acceptable.
    """
    if len(pem) > CRL_BYTES_MAX:
        raise RevocationListInvalid(f"the text is longer than {CRL_BYTES_MAX} bytes")
    data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    blocks = _CRL_BLOCK.findall(data)
    if not blocks:
        raise RevocationListInvalid("there is no PEM block `X509 CRL`")
    return tuple(RevocationList.load(block, issuers) for block in blocks)


def _refuse_special_kinds(crl: x509.CertificateRevocationList) -> None:
    """Refuse lists that mean something else than "these are revoked, no others"."""
    extensions = [*crl.extensions, *(ext for entry in crl for ext in entry.extensions)]
    for extension in extensions:
        if extension.critical:
            raise RevocationListInvalid(
                f"it bears the critical extension {extension.oid.dotted_string}: delta, "
                "indirect and partial lists are not supported"
            )


def _check_signature(
    crl: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate]
) -> None:
    """Check that a CA of the list's name signed it and may sign lists."""
    problem = signature_algorithm_problem(crl.signature_algorithm_oid)
    if problem is not None:
        raise RevocationListInvalid(problem)
    named = [ca for ca in issuers if ca.subject == crl.issuer]
    if not named:
        raise RevocationListInvalid(
            f"it was issued by {name_text(crl.issuer)}, which is not in ca.crt"
        )
    if not any(_is_signed_by(crl, ca) for ca in named):
        raise RevocationListInvalid(
            f"its signature is not by the key of {name_text(crl.issuer)} in ca.crt"
        )


def _is_signed_by(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    """Say whether this CA signed the list and its keyUsage lets it."""
    try:
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        may_sign = True  # Icinga's CAs bear no keyUsage
    else:
        may_sign = usage.value.crl_sign
    try:
        return may_sign and crl.is_signature_valid(require_supported(ca.public_key()))
    except KeyInvalid:
        return False
