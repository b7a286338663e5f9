from __future__ import annotations

import pytest
from tests.habits.world import NOW, Counting, key, root, self_signed

from icefloe.habits import IcingaAuthority
from icefloe.pki import certificates
from icefloe.pki.tickets import ticket
from icefloe.pki.trust import TrustAnchor


@pytest.fixture
def authority() -> IcingaAuthority:
    return IcingaAuthority(ca=root(), key=key(1), salt="bar", entropy=Counting())


def test_each_signature_is_a_new_certificate(authority: IcingaAuthority) -> None:
    """Protocol: a real signer signs anew at each ask (two serials)."""
    request = certificates.load_pem(self_signed("agent1"))
    first, second = (
        certificates.load_pem(authority.sign(request, NOW.wall)) for _ in range(2)
    )
    assert first.serial_number != second.serial_number
    for made in (first, second):
        assert TrustAnchor.from_pem(root()).is_signed(made, NOW.wall)
        assert certificates.key_id(made) == certificates.key_id(request)
        assert certificates.common_name(made) == "agent1"


def test_a_ticket_is_icingas(authority: IcingaAuthority) -> None:
    assert authority.has_salt
    assert authority.ticket_is_valid("foo", ticket("foo", "bar"))
    assert not authority.ticket_is_valid("foo2", ticket("foo", "bar"))


def test_without_a_salt_there_are_no_tickets() -> None:
    bare = IcingaAuthority(ca=root(), key=key(1), salt="", entropy=Counting())
    assert not bare.has_salt
