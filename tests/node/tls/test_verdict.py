"""Who a peer has shown itself to be: every kind of certificate, both TLS versions.

Handshakes are real, over loopback, against OpenSSL on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from tests.node.tls.joined import (
    Cluster,
    RawPeer,
    client_version,
    in_loop,
    ready,
    started,
    tcp_pair,
)
from tests.node.tls.material import (
    DAY,
    Authority,
    Node,
    build,
    common_name,
    new_key,
    pem,
    rsa_key,
    self_signed,
)

from icefloe.node.tls.channel import TLSChannel, Wait
from icefloe.node.tls.contexts import client_context, server_context
from icefloe.node.tls.verdict import (
    ERRORS_KEPT_MAX,
    CertificatePinned,
    EndpointExpected,
    Verdict,
    judge,
    record_and_accept,
)

BOTH = pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])


def foreign(name: str) -> Authority:
    return Authority(common_name(name))


STRANGERS: dict[str, Callable[[Authority], Node]] = {
    "self-signed": lambda _ca: self_signed(),
    "expired": lambda ca: ca.issue(starts=-2 * DAY, ends=-DAY),
    "not yet valid": lambda ca: ca.issue(starts=DAY),
    "for servers only": lambda ca: ca.issue_server_only(),
    "of a foreign CA": lambda _ca: foreign("Other CA").issue(),
    "of another CA with the same name": lambda _ca: Authority().issue(),
    # Only a key of the same kind gets as far as the signature, and leaves errors.
    "naming our CA, signed by another key": lambda ca: ca.issue(signer=new_key()),
    "naming our CA, signed by a key of another kind": lambda ca: ca.issue(
        signer=rsa_key()
    ),
}


@BOTH
@in_loop
async def test_peer_with_a_certificate_of_our_ca_is_verified(tls: str) -> None:
    cluster = Cluster.new()
    node = cluster.ca.issue("agent-1")
    async with cluster.joined(cluster.client(node, tls)) as (server, client):
        assert server.peer.verified
        assert server.peer.certificate == node.der
        assert server.peer.errors == ()
        assert server.peer.objections == ()
        assert server.peer.tls_version == client.peer.tls_version == tls
        assert server.peer.address == client.peer.address == "127.0.0.1"
        assert client.peer.verified


@BOTH
@pytest.mark.parametrize("kind", STRANGERS)
@in_loop
async def test_stranger_completes_the_handshake_unverified(kind: str, tls: str) -> None:
    cluster = Cluster.new()
    node = STRANGERS[kind](cluster.ca)
    async with cluster.joined(cluster.client(node, tls)) as (server, client):
        assert not server.peer.verified
        assert server.peer.certificate == node.der
        assert server.peer.errors != ()
        assert server.peer.objections != ()
        # And the connection works: after an overridden failure OpenSSL before 4.0
        # mistook the errors left in its queue for its own.
        at_server, at_client = started(server), started(client)
        server.write(b"are you there?")
        assert await at_client.received(14) == b"are you there?"
        client.write(b"yes")
        assert await at_server.received(3) == b"yes"


@BOTH
@in_loop
async def test_peer_without_a_certificate_is_unverified(tls: str) -> None:
    cluster = Cluster.new()
    context = client_version(client_context(None), tls)
    async with cluster.joined(context) as (server, client):
        assert not server.peer.verified
        assert server.peer.certificate is None
        assert server.peer.objections == ("no certificate",)
        assert not client.peer.verified, "it trusts nobody"


@BOTH
@in_loop
async def test_revoked_peer_is_unverified_and_others_are_not(tls: str) -> None:
    ca = Authority()
    bad, good = ca.issue("bad"), ca.issue("good")
    cluster = Cluster.new(ca=ca, crl=ca.revocation_list(bad.certificate))
    for node, verified in ((bad, False), (good, True)):
        async with cluster.joined(cluster.client(node, tls)) as (server, _):
            assert server.peer.verified is verified


@in_loop
async def test_self_signed_peer_is_unverified_where_a_crl_is_loaded() -> None:
    ca = Authority()
    cluster = Cluster.new(ca=ca, crl=ca.revocation_list())
    async with cluster.joined(cluster.client(self_signed())) as (server, _):
        assert not server.peer.verified


@in_loop
async def test_peer_below_an_intermediate_it_sends_is_verified() -> None:
    cluster = Cluster.new()
    lower = cluster.ca.intermediate()
    node = lower.issue()
    identity = node.identity(cluster.ca)
    with_chain = type(identity)(
        certificate_pem=identity.certificate_pem + lower_pem(lower),
        key_pem=identity.key_pem,
        ca_pem=identity.ca_pem,
    )
    async with cluster.joined(client_context(with_chain)) as (server, _):
        assert server.peer.verified
        assert len(server.peer.chain) == 2


def lower_pem(authority: Authority) -> bytes:
    return pem(authority.certificate)


@in_loop
async def test_stale_errors_of_one_peer_do_not_harm_the_next() -> None:
    """The error queue belongs to the thread, and so to every connection of it."""
    cluster = Cluster.new()
    bad = cluster.client(cluster.ca.issue(signer=new_key()))
    good = cluster.client()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            stranger, _ = await stack.enter_async_context(cluster.joined(bad))
            member, _ = await stack.enter_async_context(cluster.joined(good))
            assert not stranger.peer.verified
            assert member.peer.verified


@in_loop
async def test_overridden_failure_leaves_no_error_behind() -> None:
    """OpenSSL 4.0 hardly minds; 3.5 takes what is left for the next failure."""
    cluster = Cluster.new()
    stranger = cluster.client(cluster.ca.issue(signer=new_key()))
    async with tcp_pair() as (theirs, ours, address):
        theirs.settimeout(0)
        peer = RawPeer(ours, stranger, server=False)
        channel = TLSChannel.server(
            context=cluster.server, sock=theirs, address=address.host
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(peer.shake_hands())
            while (wait := channel.handshake()) is not None:
                assert lib.ERR_peek_error() == 0
                await ready(theirs, write=wait is Wait.WRITABLE)
            assert lib.ERR_peek_error() == 0
        assert channel.verdict.errors


# Resumption


@BOTH
@in_loop
async def test_sessions_are_not_resumed(tls: str) -> None:
    cluster = Cluster.new()
    context = cluster.client(tls=tls)
    async with cluster.with_raw_client(context) as (server, peer):
        server.write(b"x")  # brings TLS 1.3's tickets with it
        assert await peer.receive() == b"x"
        session = peer.connection.get_session()
    async with cluster.with_raw_client(context, session=session) as (server, peer):
        assert not reused(peer.connection)
        assert server.peer.verified, "by a full handshake"


@BOTH
@in_loop
async def test_resumed_session_comes_out_unverified(tls: str) -> None:
    """Were sessions resumed after all, verification would not run: deny."""
    cluster = Cluster.new()
    cluster.server = resuming_server(cluster.ca)
    context = cluster.client(tls=tls)
    async with cluster.with_raw_client(context) as (server, peer):
        assert server.peer.verified
        server.write(b"x")
        assert await peer.receive() == b"x"
        session = peer.connection.get_session()
    async with cluster.with_raw_client(context, session=session) as (server, peer):
        assert reused(peer.connection), "or this test shows nothing"
        assert not server.peer.verified
        assert server.peer.errors == ()
        assert server.peer.objections != ()


def resuming_server(ca: Authority) -> SSL.Context:
    """A server like ours, but with OpenSSL's default session tickets."""
    node = ca.issue("master")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(node.certificate)
    context.use_privatekey(node.key)
    context.set_session_id(b"Icinga 2")
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, record_and_accept)
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(ca.certificate))
    return context


def reused(connection: SSL.Connection) -> bool:
    return bool(lib.SSL_session_reused(connection._ssl))


# The dialling side


@pytest.mark.parametrize(
    "names, verified",
    [
        (["master"], True),
        (["MASTER", "other"], True),
        (["other"], False),
        (["*"], False),
        ([], True),
    ],
)
@in_loop
async def test_expected_endpoint_must_be_among_the_dns_names(
    names: list[str],
    verified: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    ca = Authority()
    node = ca.issue("master", names=names) if names else without_names(ca, "master")
    cluster = Cluster(ca, server_context(node.identity(ca)))
    expected = EndpointExpected("master")
    async with cluster.joined(expectation=expected) as (server, client):
        assert client.peer.verified is verified
        assert bool(client.peer.objections) is not verified
        assert server.peer.server_name == "master", "SNI is the endpoint's name"


def without_names(ca: Authority, name: str) -> Node:
    key = new_key()
    certificate = build(
        subject=common_name(name), key=key, issuer=ca.name, signer=ca.key
    )
    return Node(key, certificate)


@pytest.mark.parametrize("found", ["Master", "master2", "maste", "other"])
@in_loop
async def test_expected_endpoint_must_be_the_common_name_byte_for_byte(
    found: str,
) -> None:
    ca = Authority()
    node = ca.issue(found, names=["master"])
    cluster = Cluster(ca, server_context(node.identity(ca)))
    expected = EndpointExpected("master")
    async with cluster.joined(expectation=expected) as (_, client):
        assert not client.peer.verified
        assert any("common name" in text for text in client.peer.objections)


@in_loop
async def test_expected_endpoint_of_a_foreign_ca_is_unverified() -> None:
    cluster = Cluster.new()
    stranger = Authority()
    context = client_context(stranger.issue().identity(stranger))
    expected = EndpointExpected("master")
    async with cluster.joined(context, expectation=expected) as (_, client):
        assert not client.peer.verified
        assert client.peer.certificate is not None


@in_loop
async def test_pinned_peer_is_verified_without_any_trust_store() -> None:
    ca = Authority()
    node = ca.issue("master")
    cluster = Cluster(ca, server_context(node.identity(ca)))
    context = client_context(self_signed("agent").identity())
    pinned = CertificatePinned(node.der)
    async with cluster.joined(context, expectation=pinned) as (server, client):
        assert client.peer.verified
        assert client.peer.objections == ()
        assert not server.peer.verified
        assert server.peer.server_name == "127.0.0.1", "SNI is the host as given"


# The verdict alone


def test_verdict_denies_what_was_never_verified() -> None:
    assert not Verdict().chain_verified


def test_verdict_denies_after_success_at_the_ca_only() -> None:
    verdict = Verdict()
    verdict.record(accepted=True, error=0, depth=1)
    assert not verdict.chain_verified


@pytest.mark.parametrize("errors", [(0, 10), (10, 0), (0, 10, 0)])
def test_verdict_denies_after_any_error_in_whatever_order(
    errors: tuple[int, ...],
) -> None:
    verdict = Verdict()
    for error in errors:
        verdict.record(accepted=not error, error=error, depth=0)
    assert not verdict.chain_verified
    assert verdict.errors == (10,)


def test_verdict_keeps_few_of_many_errors() -> None:
    verdict = Verdict()
    for error in range(1, 100):
        verdict.record(accepted=False, error=error, depth=error)
    assert len(verdict.errors) == ERRORS_KEPT_MAX


def test_judge_denies_a_certificate_that_cannot_be_read() -> None:
    verdict = Verdict()
    verdict.record(accepted=True, error=0, depth=0)
    verified, objections = judge(verdict, b"\x30\x00", EndpointExpected("master"))
    assert not verified
    assert objections


def test_verify_callback_survives_a_connection_without_a_verdict() -> None:
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD))
    assert record_and_accept(connection, None, 18, 0, 0)
