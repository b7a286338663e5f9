"""What our contexts show and accept, and what they say of material they cannot use."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL
from tests.node.tls.joined import (
    LIMITS,
    Cluster,
    RawPeer,
    client_version,
    in_loop,
    tcp_pair,
)
from tests.node.tls.material import (
    Authority,
    Node,
    der,
    key_pem,
    new_key,
    pem,
    rsa_key,
    self_signed,
)

from icefloe.node.errors import HandshakeFailed, TLSConfigurationInvalid
from icefloe.node.tls.contexts import (
    TLSIdentity,
    TLSSettings,
    client_context,
    server_context,
)
from icefloe.node.tls.handshake import accept
from icefloe.pki.profiles import assemble

# Material that cannot be used


def sound() -> TLSIdentity:
    ca = Authority()
    return ca.issue("master").identity(ca, crl=ca.revocation_list())


def encrypted_key() -> bytes:
    return new_key().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


def ed25519_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def odd_crl(old: bytes, new: bytes) -> bytes:
    """A revocation list with some bytes exchanged; the signature is not mended."""
    pem = Authority().revocation_list()
    der = x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)
    assert old in der
    body = base64.encodebytes(der.replace(old, new))
    return b"-----BEGIN X509 CRL-----\n" + body + b"-----END X509 CRL-----\n"


def weak_identity() -> TLSIdentity:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return self_signed("master", key).identity()


@pytest.mark.parametrize(
    "broken, part",
    [
        (replace(sound(), key_pem=key_pem(new_key())), "key"),
        (replace(sound(), key_pem=key_pem(rsa_key())), "key"),
        (replace(sound(), key_pem=b"no key"), "key"),
        (replace(sound(), key_pem=encrypted_key()), "key"),
        (replace(sound(), key_pem=ed25519_key()), "key"),
        (replace(sound(), certificate_pem=b""), "certificate"),
        (weak_identity(), "certificate"),
        (replace(sound(), ca_pem=b""), "ca"),
        (replace(sound(), crl_pem=b""), "crl"),
        (replace(sound(), crl_pem=b"-----BEGIN X509 CRL-----\nAA"), "crl"),
        (replace(sound(), crl_pem=odd_crl(b"\x02\x01\x01", b"\x02\x01\x02")), "crl"),
        # Our parser takes this one and OpenSSL does not.
        (replace(sound(), crl_pem=odd_crl(b"Icinga CA", b"Icin\xe9a CA")), "crl"),
    ],
)
def test_unusable_material_is_named(broken: TLSIdentity, part: str) -> None:
    for make in (server_context, client_context):
        with pytest.raises(TLSConfigurationInvalid) as caught:
            make(broken)
        assert caught.value.part == part


@pytest.mark.parametrize(
    "settings, part",
    [
        (TLSSettings(cipher_list="no such cipher"), "cipher_list"),
        (TLSSettings(cipher_list="chiffré"), "cipher_list"),
        (TLSSettings(tls_protocolmin="TLSv1.1"), "tls_protocolmin"),
    ],
)
def test_unusable_settings_are_named(settings: TLSSettings, part: str) -> None:
    with pytest.raises(TLSConfigurationInvalid) as caught:
        server_context(sound(), settings)
    assert caught.value.part == part


def test_identity_does_not_show_its_key() -> None:
    identity = sound()
    assert "PRIVATE" not in repr(identity)


# What is shown


@pytest.mark.parametrize("key", [new_key(), rsa_key()], ids=["EC", "RSA"])
@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
@in_loop
async def test_old_self_signed_identity_serves_and_dials(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, tls: str
) -> None:
    node = self_signed("node", key)
    cluster = Cluster(Authority(), server_context(node.identity()))
    client = client_version(client_context(node.identity()), tls)
    async with cluster.joined(client) as (server, dialled):
        assert server.peer.certificate == dialled.peer.certificate == node.der
        assert not server.peer.verified
        assert not dialled.peer.verified
        assert server.peer.chain == dialled.peer.chain == ()


@in_loop
async def test_chain_sent_by_both_sides_is_leaf_and_ca() -> None:
    cluster = Cluster.new()
    async with cluster.joined() as (server, client):
        assert server.peer.chain == (der(cluster.ca.certificate),)
        assert client.peer.chain == (der(cluster.ca.certificate),)


@pytest.mark.parametrize("place", [0, 1])
@in_loop
async def test_chain_sent_has_the_renewed_ca_certificate(place: int) -> None:
    ca = Authority()
    renewed = ca.renewed()
    both = [ca.certificate]
    both.insert(place, renewed)
    identity = replace(ca.issue("master").identity(ca), ca_pem=pem(*both))
    cluster = Cluster(ca, server_context(identity))
    async with cluster.joined() as (server, client):
        assert client.peer.chain == (der(renewed),)
        assert server.peer.verified


@in_loop
async def test_self_signed_identity_does_not_send_a_ca_it_is_not_under() -> None:
    """An Icinga signer would take that CA for the one the node lives under."""
    ca = Authority()
    cluster = Cluster(ca, server_context(self_signed("master").identity(ca)))
    async with cluster.joined() as (server, client):
        assert client.peer.chain == ()
        assert server.peer.verified


@in_loop
async def test_client_learns_the_names_of_our_cas() -> None:
    cluster = Cluster.new()
    async with cluster.with_raw_client(cluster.client(tls="TLSv1.2")) as (_, peer):
        names = peer.connection.get_client_ca_list(as_cryptography=True)
        assert names == [cluster.ca.name]


@in_loop
async def test_real_icinga_shape_with_21_octet_serial_is_verified() -> None:
    """SHA-1 serials have the top bit set half the time: 21 octets of DER."""
    ca = Authority()
    cluster = Cluster.new(ca=ca)
    node = ca.issue()
    huge = with_serial(ca, node, (1 << 159) + 12345)
    async with cluster.joined(cluster.client(huge)) as (server, _):
        assert server.peer.verified


def with_serial(ca: Authority, node: Node, serial: int) -> Node:
    """Rewrite the DER: the builder refuses such serials, readers must not."""
    tbs = node.certificate.tbs_certificate_bytes
    old = node.certificate.serial_number.to_bytes(20, "big")
    body = tbs[tbs.index(b"\xa0\x03\x02\x01\x02") :]
    body = body.replace(b"\x02\x14" + old, b"\x02\x15\x00" + serial.to_bytes(20, "big"))
    header = (
        b"\x30\x81" + len(body).to_bytes(1, "big")
        if len(body) < 256
        else b"\x30\x82" + len(body).to_bytes(2, "big")
    )
    changed = header + body
    assert isinstance(ca.key, ec.EllipticCurvePrivateKey)
    signature = ca.key.sign(changed, ec.ECDSA(hashes.SHA256()))
    certificate = assemble(changed, signature, ca.key.public_key())
    assert certificate.serial_number == serial
    return Node(node.key, certificate)


# What is refused


@in_loop
async def test_tls_1_1_is_refused_with_an_alert() -> None:
    cluster = Cluster.new()
    client = client_version(SSL.Context(SSL.TLS_CLIENT_METHOD), "TLSv1.1")
    error = await refused_client(cluster, client)
    assert "protocol" in str(error)


@in_loop
async def test_tls_protocolmin_keeps_tls_1_2_out() -> None:
    ca = Authority()
    settings = TLSSettings(tls_protocolmin="TLSv1.3")
    context = server_context(ca.issue("master").identity(ca), settings)
    cluster = Cluster(ca, context)
    error = await refused_client(cluster, cluster.client(tls="TLSv1.2"))
    assert "protocol" in str(error)


async def refused_client(cluster: Cluster, context: SSL.Context) -> SSL.Error:
    """The server refuses, and the client hears why: return what it hears."""
    async with tcp_pair() as (theirs, ours, address):
        peer = RawPeer(ours, context, server=False)
        results = await asyncio.gather(
            accept(theirs, address, context=cluster.server, limits=LIMITS),
            shake_and_leave(peer),
            return_exceptions=True,
        )
    assert isinstance(results[0], HandshakeFailed)
    assert isinstance(results[1], SSL.Error)
    return results[1]


async def shake_and_leave(peer: RawPeer) -> None:
    try:
        await peer.shake_hands()
    finally:
        peer.close()


@in_loop
async def test_cipher_list_can_be_set() -> None:
    ca = Authority()
    settings = TLSSettings(cipher_list="ECDHE-ECDSA-CHACHA20-POLY1305")
    identity = ca.issue("master").identity(ca)
    cluster = Cluster(ca, server_context(identity, settings))
    async with cluster.joined(cluster.client(tls="TLSv1.2")) as (server, _):
        assert server.peer.cipher == "ECDHE-ECDSA-CHACHA20-POLY1305"


@in_loop
async def test_renegotiation_is_refused() -> None:
    cluster = Cluster.new()
    async with cluster.with_raw_client(cluster.client(tls="TLSv1.2")) as (_, peer):
        with pytest.raises(SSL.Error):
            peer.connection.renegotiate()
