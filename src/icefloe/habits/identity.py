"""A node's own certificate, and what it does with one that is sent to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from icefloe.pki import certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The files of `certs/`.

    Attributes:
        certificate: The own certificate, PEM, self-signed or signed.
        ca: The trusted root, PEM.
        ticket: What the file `ticket` holds, sent as it is; empty without a file.
    """

    certificate: str
    ca: str
    ticket: str = field(default="", repr=False)

    def is_meant(self, offered: x509.Certificate) -> bool:
        """Say whether a certificate is for us: our subject and our key.

        A subject is compared as OpenSSL does, without regard to case and to the
        number of blanks; the issuer is not looked at.
        """
        own = certificates.load_pem(self.certificate)
        return certificates.key_id(own) == certificates.key_id(offered) and _canonical(
            own
        ) == _canonical(offered)


def _canonical(certificate: x509.Certificate) -> list[tuple[str, str]]:
    return [
        (attribute.oid.dotted_string, " ".join(str(attribute.value).lower().split()))
        for attribute in certificate.subject
    ]
