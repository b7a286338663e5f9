"""pkilint (RFC 5280 and its kin) finds nothing to complain about in what we issue."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from icefloe.doors import WallTime
from icefloe.pki import profiles
from icefloe.pki.certificates import load_pem, to_pem
from icefloe.pki.keys import PrivateKey
from tests.pki.makers import (
    AGENT,
    NOW,
    ca_made_by_us,
    data,
    ec_key,
    leaf_made_by_us,
    rsa_key,
)

CA_RSA = rsa_key("icinga-ca")


def findings(cert: x509.Certificate, directory: Path) -> str:
    """Return what pkilint says from a notice upwards; nothing when all is well."""
    path = directory / "certificate.crt"
    path.write_text(to_pem(cert))
    linter = Path(sys.executable).with_name("lint_pkix_cert")
    done = subprocess.run(
        [linter, "lint", "-s", "NOTICE", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def self_signed(key: PrivateKey) -> x509.Certificate:
    end = WallTime(NOW + profiles.LEAF_LIFETIME)
    return profiles.self_signed(AGENT, key, serial=5, not_before=NOW, not_after=end)


CERTIFICATES = {
    "ca-ec": ca_made_by_us(ec_key(11)),
    "ca-rsa": ca_made_by_us(CA_RSA),
    "leaf-ec": leaf_made_by_us(ca_made_by_us(ec_key(11)), ec_key(11)),
    "leaf-rsa": leaf_made_by_us(ca_made_by_us(CA_RSA), CA_RSA, key=rsa_key()),
    "leaf-under-icingas-ca": leaf_made_by_us(load_pem(data("icinga-ca.crt")), CA_RSA),
    "self-signed-ec": self_signed(ec_key()),
    "self-signed-rsa": self_signed(rsa_key()),
}


@pytest.mark.parametrize("which", CERTIFICATES)
def test_what_we_issue_is_clean(which: str, tmp_path: Path) -> None:
    assert findings(CERTIFICATES[which], tmp_path) == ""


@pytest.mark.parametrize("cn", ["web_01", "10.0.0.7"])
def test_a_name_that_is_no_dns_name_has_the_one_finding_we_know(
    cn: str, tmp_path: Path
) -> None:
    """OpenSSL looks for the name in the SAN, so it has to be there; see `names`."""
    cert = leaf_made_by_us(ca_made_by_us(), ec_key(11), cn=cn)
    found = findings(cert, tmp_path)
    assert "pkix.invalid_domain_name_syntax" in found
    assert found.count("(ERROR)") == 1


def test_the_linter_sees_what_icinga_leaves_out(tmp_path: Path) -> None:
    """The test above can fail."""
    assert "(ERROR)" in findings(load_pem(data("agent1.crt")), tmp_path)
