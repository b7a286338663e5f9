"""What can be wrong with a name, a certificate, a key or a ticket.

    IcefloeError
    └── PKIError
        ├── CommonNameInvalid       a name no node may have
        ├── CertificateInvalid      unreadable, untrusted, or not what was asked for
        ├── SigningRequestInvalid   a PKCS#10 request that cannot be signed
        ├── RevocationListInvalid   a CRL that cannot be relied upon
        ├── KeyInvalid              a key that is unreadable, weak, or of another kind
        └── TicketInvalid           a ticket cannot be made from these values

All of them say what the *world* got wrong: a peer, a file, an operator.  A mistake of
our own (a serial number of zero, a public key of a type that cannot be) is a
`ValueError` and a bug.

A `CertificateInvalid` carries **every** reason, not the first, so that one look at it
is enough to repair a node.  Each reason is a `Reason`: a sentence for people which
also bears a `ReasonCode` for programs, metrics and tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, unique
from typing import Self

from icefloe.errors import IcefloeError

__all__ = [
    "CertificateInvalid",
    "CommonNameInvalid",
    "KeyInvalid",
    "PKIError",
    "Reason",
    "ReasonCode",
    "RevocationListInvalid",
    "SigningRequestInvalid",
    "TicketInvalid",
]


@unique
class ReasonCode(StrEnum):
    """Why a certificate is not accepted; stable, fit for logs and metrics."""

    UNREADABLE = "unreadable"
    NO_COMMON_NAME = "no_common_name"
    SEVERAL_COMMON_NAMES = "several_common_names"
    ISSUER_UNKNOWN = "issuer_unknown"
    BAD_SIGNATURE = "bad_signature"
    SIGNATURE_ALGORITHM = "signature_algorithm"
    KEY = "key"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUER_EXPIRED = "issuer_expired"
    ISSUER_NOT_YET_VALID = "issuer_not_yet_valid"
    REVOKED = "revoked"
    REVOCATION_LIST_MISSING = "revocation_list_missing"
    REVOCATION_LIST_EXPIRED = "revocation_list_expired"
    REVOCATION_LIST_NOT_YET_VALID = "revocation_list_not_yet_valid"
    IS_A_CA = "is_a_ca"
    NOT_A_CA = "not_a_ca"
    NOT_VOUCHED_FOR = "not_vouched_for"
    UNKNOWN_CRITICAL_EXTENSION = "unknown_critical_extension"
    PURPOSE = "purpose"
    OTHER_COMMON_NAME = "other_common_name"
    OTHER_HOST_NAME = "other_host_name"
    OTHER_KEY = "other_key"
    CA_KEY = "ca_key"
    SERIAL_NUMBER = "serial_number"


class Reason(str):
    """A sentence that says why, with the code a program can rely on.

    It *is* its text, so it can be shown, joined and compared like any string.

    Attributes:
        code: What kind of reason it is.
    """

    __slots__ = ("code",)

    code: ReasonCode

    def __new__(cls, code: ReasonCode, text: str) -> Self:
        """Make a reason from its code and its sentence (no final full stop)."""
        reason = super().__new__(cls, text)
        reason.code = code
        return reason


class PKIError(IcefloeError):
    """Something about names, certificates, keys or tickets is not acceptable."""


class CommonNameInvalid(PKIError):
    """A common name that no certificate of ours may bear.

    Attributes:
        common_name: The name as it was given.
        problem: What is wrong with it.
        advice: What to do about it.
    """

    def __init__(self, common_name: str, *, problem: str, advice: str) -> None:
        """Keep the facts; the message shows the name with escapes, cut to length."""
        self.common_name = common_name
        self.problem = problem
        self.advice = advice
        shown = ascii(common_name[:80]) + ("..." if len(common_name) > 80 else "")
        super().__init__(f"the common name {shown} cannot be used: {problem}; {advice}")


class CertificateInvalid(PKIError):
    """A certificate that cannot be read, trusted, or taken for what was asked.

    Attributes:
        reasons: Every reason found, in the order of the checks; at least one.
    """

    def __init__(self, reasons: Iterable[Reason]) -> None:
        """Keep the reasons; the message joins them."""
        self.reasons: tuple[Reason, ...] = tuple(reasons)
        assert self.reasons, "an invalid certificate has a reason"
        super().__init__(
            "the certificate is not acceptable: " + "; ".join(self.reasons)
        )

    @property
    def codes(self) -> frozenset[ReasonCode]:
        """The kinds of reason, for decisions and tests."""
        return frozenset(reason.code for reason in self.reasons)


class SigningRequestInvalid(PKIError):
    """A PKCS#10 request (CSR) that cannot be read or must not be signed.

    Attributes:
        problem: What is wrong with it.
    """

    def __init__(self, problem: str) -> None:
        """Keep the problem."""
        self.problem = problem
        super().__init__(
            f"the certificate signing request is not acceptable: {problem}"
        )


class RevocationListInvalid(PKIError):
    """A certificate revocation list (CRL) that cannot be relied upon.

    Attributes:
        problem: What is wrong with it.
    """

    def __init__(self, problem: str) -> None:
        """Keep the problem."""
        self.problem = problem
        super().__init__(f"the revocation list is not acceptable: {problem}")


class KeyInvalid(PKIError):
    """A key that is unreadable, too weak, or of a type this project does not use.

    The message never holds any part of the key.

    Attributes:
        problem: What is wrong with it.
    """

    def __init__(self, problem: str) -> None:
        """Keep the problem."""
        self.problem = problem
        super().__init__(f"the key is not acceptable: {problem}")


class TicketInvalid(PKIError):
    """A ticket cannot be made from the given values.

    The message never holds a salt or a ticket.

    Attributes:
        problem: What is wrong.
    """

    def __init__(self, problem: str) -> None:
        """Keep the problem."""
        self.problem = problem
        super().__init__(f"no ticket can be made: {problem}")
