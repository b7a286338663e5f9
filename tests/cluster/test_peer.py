"""Who is at the other end."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from icefloe.cluster.peer import (
    LABEL_CHARACTERS_MAX,
    Peer,
    PeerRejected,
    Standing,
    identify,
    printable,
)
from icefloe.cluster.zones import Endpoint, Relation, Zone, ZoneTree
from icefloe.doors import WallTime
from icefloe.pki.certificates import key_id
from icefloe.pki.profiles import ca_certificate, self_signed

TREE = ZoneTree(
    zones=[Zone("master", ("m1",)), Zone("eu", ("sat1",), parent="master")],
    endpoints=[Endpoint("m1"), Endpoint("sat1")],
    node_name="sat1",
)
KEY = ec.derive_private_key(5, ec.SECP256R1())
TIMES: dict[str, Any] = {
    "serial": 1,
    "not_before": WallTime(1.7e9),
    "not_after": WallTime(1.8e9),
}


def der(cn: str) -> bytes:
    return self_signed(cn, KEY, **TIMES).public_bytes(Encoding.DER)


def seen(**changes: Any) -> Peer:
    given: dict[str, Any] = {
        "tree": TREE,
        "certificate_der": der("m1"),
        "verified": True,
        "address": "192.0.2.1:5665",
    }
    return identify(**{**given, **changes})


def rejection(**changes: Any) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        seen(**changes)
    assert caught.value.public == caught.value.detail
    return caught.value


def test_verified_certificate_of_a_known_endpoint_makes_a_member() -> None:
    assert seen() == Peer(
        standing=Standing.MEMBER,
        common_name="m1",
        certificate=der("m1"),
        key_id=key_id(KEY.public_key()),
        verified=True,
        relation=Relation.PARENT,
        zone="master",
        address="192.0.2.1:5665",
    )
    assert seen().is_member


@pytest.mark.parametrize(
    "changes,verified",
    [
        # Not verified, whatever it claims to be.
        ({"verified": False}, False),
        # Verified, but no endpoint of exactly that name.
        ({"certificate_der": der("agent7")}, True),
        ({"certificate_der": der("M1")}, True),
        # Our own certificate: a command on this machine, or a thief.
        ({"certificate_der": der("sat1")}, True),
        # A node that is in no tree.
        ({"tree": None}, True),
    ],
)
def test_everybody_else_is_anonymous(
    changes: dict[str, Any], *, verified: bool
) -> None:
    peer = seen(**changes)
    assert not peer.is_member
    assert peer.standing is Standing.ANONYMOUS
    assert (peer.relation, peer.zone) == (None, None)
    assert peer.verified is verified
    assert peer.key_id == key_id(KEY.public_key())


def test_a_canary_is_no_member_whatever_the_configuration_says() -> None:
    canary = "icefloe-canary-1"
    tree = ZoneTree(
        zones=[Zone("master", (canary,)), Zone("eu", ("sat1",), parent="master")],
        endpoints=[Endpoint(canary), Endpoint("sat1")],
        node_name="sat1",
    )
    peer = seen(tree=tree, certificate_der=der(canary))
    assert (peer.standing, peer.zone) == (Standing.ANONYMOUS, None)


def test_no_certificate_makes_an_anonymous_peer_without_a_name() -> None:
    peer = seen(certificate_der=None, verified=True)
    assert peer == Peer(
        standing=Standing.ANONYMOUS, common_name=None, address="192.0.2.1:5665"
    )
    assert not peer.verified
    assert peer.label == "anonymous"


def test_dialled_peer_must_bear_the_expected_name() -> None:
    assert seen(expected_name="m1").is_member
    assert not seen(expected_name="m1", verified=False).is_member
    error = rejection(expected_name="m2")
    assert error.reason == "wrong-name"
    assert error.detail == "expected 'm2', found 'm1'"


def test_dialled_peer_must_show_a_certificate() -> None:
    error = rejection(expected_name="m2", certificate_der=None)
    assert error.reason == "no-certificate"
    assert error.detail == "expected 'm2', got no certificate"


def test_unreadable_certificate_is_rejected() -> None:
    error = rejection(certificate_der=b"no DER")
    assert error.reason == "certificate-invalid"


def test_root_that_the_peer_sent_along_is_kept() -> None:
    root = ca_certificate(KEY, **TIMES).public_bytes(Encoding.DER)
    assert seen(presented_root_der=root).presented_root == root


def test_strangers_text_is_printable_and_short() -> None:
    assert printable("a\nb\x1b[31mc\u202e") == "a\ufffdb\ufffd[31mc\ufffd"
    assert len(printable("x" * 10_000)) == LABEL_CHARACTERS_MAX
    peer = Peer(standing=Standing.ANONYMOUS, common_name="evil\r\nline")
    assert peer.label == "evil\ufffd\ufffdline"


def test_certificates_are_not_in_the_repr() -> None:
    assert "certificate" not in repr(seen(presented_root_der=b"root"))
