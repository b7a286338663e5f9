"""Which names a node may have.

A node's identity in the cluster is the common name (CN) of its certificate: the name
of its Endpoint, compared byte for byte.  The same text becomes a file name
(`certs/<CN>.crt`), a DNS entry in the certificate, and the name that TLS is asked to
find there.  The rule of `check_common_name` keeps all four uses safe:

* 1 to 64 bytes in UTF-8.  RFC 5280 bounds a CN to 64 characters (ub-common-name), and
  `icinga2 pki new-cert` refuses more; counting bytes also keeps `<CN>.crt.orig` a
  legal file name.
* Printable characters only: no control, line break, invisible or direction-changing
  character.  A line break ends the entry in Icinga's SAN and in configuration files;
  the others let a name look like another one to the person who approves it.
* No blank at either end: OpenSSL's extension syntax strips it, so that Icinga would
  sign another name.
* No `/` and no backslash: the name is a file name.  No `.` at the start: that is a
  hidden file, or `..`; and OpenSSL's host check takes a wanted name with a dot in
  front as "any name below".
* No comma: Icinga builds the SAN by OpenSSL's extension syntax, where the CN
  `a,DNS:b` yields a certificate for both `a` and `b`.  (`--endpoint` and
  `--parent_host` separate their parts by commas, too.)
* No `*`: in a SAN it is a wildcard, and the certificate would answer for other hosts.

What is allowed but not a DNS name (`web_01`, `my agent`, `10.0.0.7`) works: the SAN
holds it as it is, which Icinga does as well and which OpenSSL's host check compares
literally.  Strict linters object to such a SAN; that is known and accepted.

**Names beyond ASCII** are allowed and best avoided.  A DNS entry of a SAN is an
IA5String and cannot hold them, so our certificates for them bear no SAN; OpenSSL's
`X509_check_host` then falls back to the CN, compares its UTF-8 bytes with the wanted
name, and accepts.  Icinga 2's own tools take each byte of such a name for a Latin-1
character (ran on 2.13.6: `zürich` becomes the CN `zÃ¼rich`), so a node whose
certificate was made by them does not even carry its own name.
"""

from __future__ import annotations

import re
from typing import Final

from icefloe.pki.errors import CommonNameInvalid

__all__ = ["COMMON_NAME_BYTES_MAX", "check_common_name", "is_dns_name"]

COMMON_NAME_BYTES_MAX: Final = 64
"""ub-common-name of RFC 5280 appendix A.1, counted in UTF-8 bytes."""

_DNS_NAME_BYTES_MAX: Final = 253
"""RFC 1035 section 2.3.4: 255 octets on the wire are 253 characters of text."""

_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""A host name's label: RFC 1123 section 2.1, letters, digits and inner hyphens."""

_FORBIDDEN: Final = {
    "/": ("it holds a '/'", "a name is also a file name; use a hyphen or a dot"),
    "\\": ("it holds a backslash", "a name is also a file name; use a hyphen or a dot"),
    ",": ("it holds a comma", "Icinga would sign the part behind it as a second name"),
    "*": (
        "it holds a '*'",
        "that would match other hosts; give each node its own name",
    ),
}
"""Characters that turn a name into something else: what is wrong, and what to do."""


def check_common_name(cn: str) -> str:
    """Return `cn` when a node may have this name.

    Args:
        cn: The common name as given by an operator or read from a certificate.

    Returns:
        The same text, unchanged: names are compared byte for byte.

    Raises:
        CommonNameInvalid: The name breaks the rule at the top of this module.
    """
    found = _problem(cn)
    if found is not None:
        problem, advice = found
        raise CommonNameInvalid(cn, problem=problem, advice=advice)
    return cn


def is_dns_name(cn: str) -> bool:
    """Say whether `cn` is a host name of the DNS.

    Letters, digits and hyphens in labels of 1 to 63 characters (RFC 1123).  No
    trailing dot, no underscore, no wildcard; and the last label is not a number, so
    that an IPv4 address is not mistaken for a name.
    """
    if len(cn) > _DNS_NAME_BYTES_MAX:
        return False
    labels = cn.split(".")
    return all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def _problem(cn: str) -> tuple[str, str] | None:
    """Return what is wrong with a name and what to do about it."""
    if not cn:
        return "it is empty", "give the node's name, usually its full host name"
    for character in cn:
        if not character.isprintable():
            return (
                f"it holds the unprintable character U+{ord(character):04X}",
                "remove it",
            )
        if character in _FORBIDDEN:
            return _FORBIDDEN[character]
    if cn != cn.strip():
        return "it begins or ends with a blank", "remove the blank"
    if cn.startswith("."):
        return "it begins with a dot", "remove the dot"
    size = len(cn.encode())
    if size > COMMON_NAME_BYTES_MAX:
        problem = f"it has {size} bytes, and there is room for {COMMON_NAME_BYTES_MAX}"
        return problem, "use a shorter name"
    return None
