"""A real icinga2 reads our keys, accepts our certificates and agrees on tickets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from icefloe.doors import WallTime
from icefloe.pki import profiles
from icefloe.pki.certificates import describe, describe_text, key_id, load_pem, to_pem
from icefloe.pki.keys import PrivateKey
from icefloe.pki.tickets import ticket
from icefloe.pki.trust import TrustAnchor, verify_issued
from icefloe.storage.keys import encode_private_key, write_private_key
from tests.peers import RealIcinga, ZoneSpec
from tests.peers.fixtures import Nodes
from tests.pki.makers import AGENT, ca_made_by_us, ec_key, leaf_made_by_us, rsa_key

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(300)]

# icinga2 reads the clock, so these certificates are valid for ages.
START = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
END = datetime(2045, 1, 1, tzinfo=UTC).timestamp()

CAS: dict[str, PrivateKey] = {"ec": ec_key(11), "rsa": rsa_key("icinga-ca")}
BOTH_CAS = pytest.mark.parametrize("ca_key", CAS.values(), ids=CAS)


def made_ca(ca_key: PrivateKey) -> x509.Certificate:
    return ca_made_by_us(ca_key, start=START, end=END)


def made_leaf(
    ca_key: PrivateKey, *, cn: str = AGENT, key: PrivateKey | None = None
) -> x509.Certificate:
    return leaf_made_by_us(
        made_ca(ca_key), ca_key, cn=cn, key=key, start=START, end=END
    )


@pytest.fixture
def icinga(nodes: Nodes) -> RealIcinga:
    """Return a real node whose commands are run; its daemon is not."""
    return nodes.make(RealIcinga, "real")


@BOTH_CAS
def test_it_verifies_our_certificate(
    ca_key: PrivateKey, icinga: RealIcinga, tmp_path: Path
) -> None:
    cert, ca = tmp_path / "node.crt", tmp_path / "ca.crt"
    cert.write_text(to_pem(made_leaf(ca_key)))
    ca.write_text(to_pem(made_ca(ca_key)))
    signed = icinga.must("pki", "verify", "--cert", str(cert), "--cacert", str(ca))
    assert f"OK: Certificate with CN '{AGENT}' is signed by CA" in signed
    assert "OK" in icinga.must("pki", "verify", "--cacert", str(ca))
    assert "OK" in icinga.must("pki", "verify", "--cert", str(cert), "--cn", AGENT)


@BOTH_CAS
def test_it_describes_our_certificate_as_we_do(
    ca_key: PrivateKey, icinga: RealIcinga, tmp_path: Path
) -> None:
    path = tmp_path / "node.crt"
    cert = made_leaf(ca_key)
    path.write_text(to_pem(cert))
    printed = icinga.must("pki", "verify", "--cert", str(path))
    theirs = dict(re.findall(r"^ ([A-Z][A-Za-z ]+): +(.*?) *$", printed, re.MULTILINE))
    ours = dict(describe(cert))
    # Versions before 2.16.4 print the serial number in another style.
    theirs["Serial"] = theirs["Serial"].replace(":", "").upper()
    assert theirs == ours
    without_serial = [
        line for line in describe_text(cert).splitlines() if "Serial" not in line
    ]
    assert set(without_serial) <= {line.rstrip() for line in printed.splitlines()}


@pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ec", "rsa"])
def test_it_signs_our_request_with_our_rsa_ca(
    key: PrivateKey, icinga: RealIcinga, tmp_path: Path
) -> None:
    """So it has read our CA's key and certificate, and our PKCS#10."""
    ca_key = CAS["rsa"]
    icinga.ca_dir.mkdir()
    write_private_key(icinga.ca_dir / "ca.key", ca_key)
    (icinga.ca_dir / "ca.crt").write_text(to_pem(made_ca(ca_key)))
    request, answer = tmp_path / "node.csr", tmp_path / "node.crt"
    request.write_bytes(
        profiles.csr(AGENT, key).public_bytes(serialization.Encoding.PEM)
    )
    icinga.must("pki", "sign-csr", "--csr", str(request), "--cert", str(answer))
    cert = load_pem(answer.read_bytes())
    verify_issued(
        cert,
        cn=AGENT,
        key_id=key_id(key.public_key()),
        anchor=TrustAnchor.from_pem(to_pem(made_ca(ca_key))),
        at=WallTime(cert.not_valid_before_utc.timestamp()),
    )


@pytest.mark.parametrize(
    "cn, salt", [(AGENT, "0123456789abcdef"), ("zürich", "sälz"), ("a b", " x ")]
)
def test_it_computes_the_same_ticket(cn: str, salt: str, icinga: RealIcinga) -> None:
    printed = icinga.must("pki", "ticket", "--cn", cn, "--salt", salt)
    assert printed == ticket(cn, salt) + "\n"


def install(node: RealIcinga, ca_key: PrivateKey, key: PrivateKey) -> None:
    """Give a real node an identity that we made."""
    cert = made_leaf(ca_key, cn=node.name, key=key)
    node.key_path.write_bytes(encode_private_key(key))
    node.certificate_path.write_text(to_pem(cert))
    node.ca_path.write_text(to_pem(made_ca(ca_key)))


@BOTH_CAS
@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_real_daemons_connect_with_our_certificates(
    ca_key: PrivateKey, key_type: str, nodes: Nodes
) -> None:
    """One dials, one listens, and each takes the other for its endpoint."""
    keys: dict[str, tuple[PrivateKey, PrivateKey]] = {
        "ec": (ec_key(21), ec_key(22)),
        "rsa": (rsa_key(), rsa_key("icinga-ca")),
    }
    parent = nodes.make(RealIcinga, "parent.example.org")
    child = nodes.make(RealIcinga, "child_1")
    tree = (
        ZoneSpec(name="master", endpoints=(parent.name,)),
        ZoneSpec(name="child", endpoints=(child.name,), parent="master"),
    )
    for node, key in zip((parent, child), keys[key_type], strict=True):
        install(node, ca_key, key)
    parent.configure(tree)
    child.configure(tree, dials={parent.name: parent.address})
    parent.start()
    child.start()
    parent.wait_until_connected(child)
    child.wait_until_connected(parent)
