"""`pki verify`: which check, and its words.

protocol: the first of these that the options allow: name of a certificate, certificate
under a CA, a CA by itself, a certificate printed.  Exit codes are those of a check
plugin, 0 and 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography import x509

from icefloe.cli.output import Output
from icefloe.doors import WallTime
from icefloe.errors import IcefloeError
from icefloe.pki.certificates import common_name, describe_text, is_ca, load_pem
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import read_file

EXIT_OK: Final = 0
EXIT_CRITICAL: Final = 2


def verify_files(
    output: Output,
    *,
    cn: str | None,
    cert: Path | None,
    cacert: Path | None,
    crl: Path | None,
    at: WallTime,
) -> int:
    """Do the check that the options ask for; return the exit code."""
    try:
        if cn is not None and cert is not None:
            return _verify_name(output, cn, cert)
        if cert is not None and cacert is not None:
            return _verify_signed(output, cert, cacert, crl, at)
        if cacert is not None:
            return _verify_ca(output, cacert)
        if cert is not None:
            _load(output, f"Printing certificate '{cert}'", cert)
            return EXIT_OK
    except IcefloeError as error:
        output.critical(f"CRITICAL: {error}")
        return EXIT_CRITICAL
    if cn is not None:
        output.critical("The option --cn is about a certificate: give --cert as well.")
        return EXIT_CRITICAL
    output.information("Nothing to verify; '--help' shows what is possible.")
    return EXIT_OK


def _verify_name(output: Output, cn: str, path: Path) -> int:
    head = f"Verifying common name (CN) '{cn}' in certificate '{path}'."
    found = common_name(_load(output, head, path))
    if found == cn:
        output.information(f"OK: CN '{cn}' matches certificate CN '{found}'.")
        return EXIT_OK
    output.critical(f"CRITICAL: CN '{cn}' does NOT match certificate CN '{found}'.")
    return EXIT_CRITICAL


def _verify_signed(
    output: Output, path: Path, ca_path: Path, crl_path: Path | None, at: WallTime
) -> int:
    cert = _load(output, f"Verifying certificate '{path}'", path)
    _load(output, f" with CA certificate '{ca_path}'.", ca_path)
    crl = None if crl_path is None else read_file(crl_path)
    anchor = TrustAnchor.from_pem(read_file(ca_path), crl)
    reasons = anchor.problems(cert, at)
    name = common_name(cert)
    if not reasons:
        output.information(f"OK: Certificate with CN '{name}' is signed by CA.")
        return EXIT_OK
    output.critical(
        f"CRITICAL: Certificate with CN '{name}' is NOT signed by CA: "
        + "; ".join(reasons)
    )
    return EXIT_CRITICAL


def _verify_ca(output: Output, path: Path) -> int:
    head = f"Checking whether certificate '{path}' is a valid CA certificate."
    if is_ca(_load(output, head, path)):
        output.information(f"OK: '{path}' is the certificate of a CA.")
        return EXIT_OK
    output.critical(f"CRITICAL: '{path}' is not the certificate of a CA.")
    return EXIT_CRITICAL


def _load(output: Output, head: str, path: Path) -> x509.Certificate:
    output.information(head)
    cert = load_pem(read_file(path))
    output.result(describe_text(cert), newline=False)
    return cert
