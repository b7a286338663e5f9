"""What speaks against a certificate of the right CA."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.node.checks import examples

from icefloe.node.checks.certificate_check import CertificateKind
from icefloe.node.checks.plugin import PluginState

FOR_CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
OF_ANOTHER = x509.SubjectAlternativeName([x509.DNSName("sat2")])
HARMLESS = examples.DEMAND


@pytest.mark.parametrize(
    "leaf, words",
    [
        (examples.odd_leaf(examples.DEMAND, critical=True), "critical extension"),
        (examples.odd_leaf(FOR_CLIENTS), "both ends of a TLS connection"),
        (examples.odd_leaf(OF_ANOTHER), "does not hold 'sat1'"),
        (examples.odd_leaf(HARMLESS, subject=""), "no common name"),
    ],
)
def test_what_the_right_ca_signed_may_still_be_invalid(
    leaf: x509.Certificate, words: str
) -> None:
    found = examples.judge(examples.seen(leaf, name=""))
    assert (found.state, found.kind) == (
        PluginState.CRITICAL,
        CertificateKind.INVALID,
    )
    assert words in found.text


def test_an_extension_that_need_not_be_understood_is_well() -> None:
    found = examples.judge(examples.seen(examples.odd_leaf(HARMLESS)))
    assert found.state is PluginState.OK
