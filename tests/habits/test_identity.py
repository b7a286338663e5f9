from __future__ import annotations

from tests.habits.world import root, self_signed, signed

from icefloe.habits import Identity
from icefloe.pki import certificates

OWN = Identity(certificate=self_signed("agent1"), ca=root(), ticket="secret")


def test_a_certificate_for_our_name_and_key_is_meant_for_us() -> None:
    assert OWN.is_meant(certificates.load_pem(signed("agent1")))


def test_case_and_blanks_in_the_name_do_not_count() -> None:
    spaced = Identity(certificate=self_signed("My  Agent"), ca=root())
    assert spaced.is_meant(certificates.load_pem(signed("my agent")))


def test_another_name_or_another_key_is_not_us() -> None:
    assert not OWN.is_meant(certificates.load_pem(signed("agent2")))
    assert not OWN.is_meant(certificates.load_pem(signed("agent1", key_number=11)))


def test_a_ticket_is_not_shown() -> None:
    assert "secret" not in repr(OWN)
