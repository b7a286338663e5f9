"""OpenSSL accepts our certificates at both ends of a connection, joined in memory.

Strictly (X509_V_FLAG_X509_STRICT, which newer Pythons set) when the CA is ours; an
Icinga CA does not pass that, whoever signs below it.  OpenSSL reads the clock, so these
certificates are valid for ages.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from icefloe.pki.certificates import load_pem, to_pem
from icefloe.pki.keys import PrivateKey
from icefloe.storage.keys import encode_private_key
from tests.pki.makers import (
    AGENT,
    ca_made_by_us,
    data,
    ec_key,
    leaf_made_by_us,
    rsa_key,
)

START = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
END = datetime(2049, 1, 1, tzinfo=UTC).timestamp()
CA_EC = ca_made_by_us(ec_key(11), start=START, end=END)
CA_RSA = ca_made_by_us(rsa_key("icinga-ca"), start=START, end=END)
ICINGAS = load_pem(data("icinga-ca.crt"))


@dataclass
class Node:
    """A node's files, as `ssl` wants them."""

    ca: Path
    chain: Path

    def context(
        self, protocol: int, *, strict: bool, version: ssl.TLSVersion
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.chain)
        context.minimum_version = context.maximum_version = version
        if strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        else:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def node(
    directory: Path,
    ca: x509.Certificate,
    ca_key: PrivateKey,
    *,
    cn: str,
    key: PrivateKey,
    start: float = START,
) -> Node:
    cert = leaf_made_by_us(ca, ca_key, cn=cn, key=key, start=start, end=END)
    chain = directory / f"{cn}.pem"
    chain.write_bytes(to_pem(cert).encode() + encode_private_key(key))
    ca_path = directory / "ca.crt"
    ca_path.write_text(to_pem(ca))
    return Node(ca_path, chain)


def shake_hands(
    server: Node, client: Node, *, name: str, strict: bool, version: ssl.TLSVersion
) -> None:
    """Connect both in memory, each verifying the other; raise when one objects."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_server = server.context(
        ssl.PROTOCOL_TLS_SERVER, strict=strict, version=version
    ).wrap_bio(to_server, to_client, server_side=True)
    at_client = client.context(
        ssl.PROTOCOL_TLS_CLIENT, strict=strict, version=version
    ).wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [at_client, at_server]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
    assert not waiting
    assert at_server.getpeercert()
    assert at_client.getpeercert()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("cn", [AGENT, "web_01", "UPPER.example.org"])
@pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ec", "rsa"])
@pytest.mark.parametrize(
    "ca, ca_key",
    [(CA_EC, ec_key(11)), (CA_RSA, rsa_key("icinga-ca"))],
    ids=["ca-ec", "ca-rsa"],
)
def test_a_node_is_accepted_as_server_and_as_client(
    ca: x509.Certificate,
    ca_key: PrivateKey,
    key: PrivateKey,
    *,
    cn: str,
    version: ssl.TLSVersion,
    tmp_path: Path,
) -> None:
    one = node(tmp_path, ca, ca_key, cn=cn, key=key)
    other = node(tmp_path, ca, ca_key, cn="other", key=ec_key(9))
    shake_hands(one, other, name=cn, strict=True, version=version)
    shake_hands(other, one, name="other", strict=True, version=version)


def test_another_name_is_not_accepted(tmp_path: Path) -> None:
    """The test above can fail."""
    one = node(tmp_path, CA_EC, ec_key(11), cn=AGENT, key=ec_key())
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(one, one, name="other", strict=True, version=ssl.TLSVersion.TLSv1_3)


def test_a_node_under_icingas_ca_is_accepted(tmp_path: Path) -> None:
    """Its AKI is computed, and there is no SKI it could contradict."""
    key = rsa_key("icinga-ca")
    one = node(tmp_path, ICINGAS, key, cn=AGENT, key=ec_key())
    shake_hands(one, one, name=AGENT, strict=False, version=ssl.TLSVersion.TLSv1_3)


def test_a_node_outlives_the_renewal_of_icingas_ca_by_one_with_an_ski(
    tmp_path: Path,
) -> None:
    """Same key and name, so the AKI that was computed is the SKI that is made."""
    key = rsa_key("icinga-ca")
    one = node(tmp_path, ICINGAS, key, cn=AGENT, key=ec_key())
    one.ca.write_text(to_pem(CA_RSA))
    shake_hands(one, one, name=AGENT, strict=True, version=ssl.TLSVersion.TLSv1_3)
