"""Whether a certificate is to be believed, and every reason why not."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from icefloe.doors import WallTime
from icefloe.pki import profiles
from icefloe.pki.certificates import key_id, load_pem, serial_number, to_pem
from icefloe.pki.errors import (
    CertificateInvalid,
    Reason,
    ReasonCode,
    RevocationListInvalid,
)
from icefloe.pki.keys import PrivateKey
from icefloe.pki.trust import (
    TrustAnchor,
    ca_due_for,
    ca_up_to_date,
    moment_for,
    up_to_date,
    verify_issued,
)
from tests.pki.makers import (
    AGENT,
    DAY,
    NOW,
    SHA1_WITH_RSA,
    AnyKey,
    ca_made_by_us,
    certificate,
    data,
    ec_key,
    flipped,
    leaf_made_by_us,
    name,
    revocation_list,
    rsa_key,
    small_rsa_key,
    with_fields,
)

CA_KEY = ec_key(11)
CA = ca_made_by_us()
ANCHOR = TrustAnchor.from_pem(to_pem(CA))
LEAF = leaf_made_by_us(CA, CA_KEY)
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
ODD = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"")


def at(seconds: float) -> WallTime:
    return WallTime(NOW + seconds)


def reasons(
    cert: x509.Certificate, anchor: TrustAnchor = ANCHOR, seconds: float = 0
) -> tuple[Reason, ...]:
    """Return why a certificate is not believed, seen by every way of asking."""
    found = anchor.problems(cert, at(seconds))
    assert anchor.is_signed(cert, at(seconds)) is not bool(found)
    if not found:
        anchor.verify(cert, at(seconds))
        return ()
    with pytest.raises(CertificateInvalid) as caught:
        anchor.verify(cert, at(seconds))
    assert caught.value.reasons == found
    return found


def codes(
    cert: x509.Certificate, anchor: TrustAnchor = ANCHOR, seconds: float = 0
) -> list[ReasonCode]:
    return [reason.code for reason in reasons(cert, anchor, seconds)]


def odd_leaf(
    *,
    subject: x509.Name | str = AGENT,
    issuer: str = "Icinga CA",
    key: AnyKey | None = None,
    signed_by: AnyKey = CA_KEY,
    ca: bool | None = False,
    extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
) -> x509.Certificate:
    return certificate(
        subject=subject,
        issuer=issuer,
        key=key,
        signed_by=signed_by,
        ca=ca,
        extensions=extensions or [],
    )


# --- The anchor -----------------------------------------------------------------------


def test_the_first_certificate_is_the_ca() -> None:
    text = to_pem(CA) + data("icinga-ca.crt").decode()
    anchor = TrustAnchor.from_pem(text)
    assert anchor.ca == CA
    assert anchor.pem == to_pem(CA)
    assert anchor.all_cas == (CA, load_pem(data("icinga-ca.crt")))
    assert TrustAnchor.from_pem(text.encode()) == anchor


def test_further_certificates_that_are_no_ca_are_passed_over() -> None:
    anchor = TrustAnchor.from_pem(to_pem(CA) + to_pem(LEAF))
    assert anchor.all_cas == (CA,)
    assert ReasonCode.ISSUER_UNKNOWN in codes(
        certificate(issuer=AGENT, signed_by=ec_key()), anchor
    )


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.mark.parametrize(
    "cert, code, says",
    [
        (LEAF, ReasonCode.NOT_A_CA, f"CN = {AGENT} is not a CA certificate"),
        (certificate(ca=None), ReasonCode.NOT_A_CA, "is not a CA certificate"),
        (
            certificate(ca=True, extensions=[(usage(sign=False), True)]),
            ReasonCode.NOT_A_CA,
            "its keyUsage does not allow signing",
        ),
        (certificate(ca=True, key=small_rsa_key()), ReasonCode.KEY, "1024 bits"),
        (certificate(ca=True, key=ED25519), ReasonCode.KEY, "Ed25519"),
        (
            certificate(
                ca=True,
                extensions=[
                    (x509.NameConstraints([x509.DNSName("a")], None), True),
                    (usage(sign=True), True),
                ],
            ),
            ReasonCode.UNKNOWN_CRITICAL_EXTENSION,
            "critical extension 2.5.29.30 is not supported",
        ),
    ],
)
def test_what_is_not_fit_to_be_a_ca_is_no_anchor(
    cert: x509.Certificate, code: ReasonCode, says: str
) -> None:
    with pytest.raises(CertificateInvalid, match=says) as caught:
        TrustAnchor.from_pem(to_pem(cert))
    assert code in caught.value.codes


def test_a_self_signed_certificate_of_version_1_is_an_anchor() -> None:
    """Icinga before 2.4 made its CA so."""
    modern = certificate(subject="Icinga CA", key=CA_KEY, ca=None)
    old = with_fields(modern, CA_KEY, version=b"", serial=b"\x02\x01\x00", rest=b"")
    assert codes(LEAF, TrustAnchor.from_pem(to_pem(old))) == []


def test_a_version_1_certificate_of_another_is_no_anchor() -> None:
    old = with_fields(odd_leaf(ca=None), CA_KEY, version=b"", rest=b"")
    with pytest.raises(CertificateInvalid, match="is not a CA"):
        TrustAnchor.from_pem(to_pem(old))


@pytest.mark.parametrize("pem", ["", data("agent1.key"), to_pem(CA)[:300]])
def test_what_is_no_certificate_is_no_anchor(pem: str | bytes) -> None:
    with pytest.raises(CertificateInvalid):
        TrustAnchor.from_pem(pem)


def test_a_list_that_cannot_be_relied_upon_makes_no_anchor() -> None:
    with pytest.raises(RevocationListInvalid):
        TrustAnchor.from_pem(to_pem(CA), "")


def test_an_anchor_is_shown_without_its_lists() -> None:
    assert len(repr(ANCHOR)) < 120


# --- Believing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["agent1.crt", "agent1-serial-of-21-octets.crt"], ids=["20", "21"]
)
def test_a_real_certificate_is_believed(file: str) -> None:
    assert (
        codes(load_pem(data(file)), TrustAnchor.from_pem(data("icinga-ca.crt"))) == []
    )


@pytest.mark.parametrize("key", [CA_KEY, rsa_key("icinga-ca")], ids=["ec", "rsa"])
def test_our_certificate_is_believed(key: PrivateKey) -> None:
    ca = ca_made_by_us(key)
    assert codes(leaf_made_by_us(ca, key), TrustAnchor.from_pem(to_pem(ca))) == []


def test_our_certificate_under_icingas_ca_is_believed() -> None:
    anchor = TrustAnchor.from_pem(data("icinga-ca.crt"))
    assert codes(leaf_made_by_us(anchor.ca, rsa_key("icinga-ca")), anchor) == []


def test_a_certificate_of_any_ca_in_the_file_is_believed() -> None:
    icingas = load_pem(data("icinga-ca.crt"))
    both = TrustAnchor.from_pem(to_pem(CA) + to_pem(icingas))
    assert codes(LEAF, both) == []
    assert codes(load_pem(data("agent1.crt")), both) == []
    assert both.issuer_of(LEAF) == CA
    assert both.issuer_of(load_pem(data("agent1.crt"))) == icingas
    assert both.issuer_of(certificate()) is None


def test_a_self_signed_certificate_is_not_believed() -> None:
    first, second = reasons(certificate())
    assert first.code is ReasonCode.ISSUER_UNKNOWN
    assert first == (
        f"it was issued by CN = {AGENT}, but this node trusts CN = Icinga CA"
    )
    assert second.code is ReasonCode.BAD_SIGNATURE


def test_another_ca_of_the_same_name_is_not_believed() -> None:
    """Every Icinga CA is called Icinga CA."""
    (reason,) = reasons(load_pem(data("agent1.crt")))
    assert reason.code is ReasonCode.BAD_SIGNATURE
    assert "another CA of the same name" in reason


def test_our_key_under_another_name_is_not_believed() -> None:
    assert codes(odd_leaf(issuer="Other CA")) == [ReasonCode.ISSUER_UNKNOWN]


def test_name_and_key_have_to_be_of_one_ca() -> None:
    other = certificate(subject="Other CA", key=ec_key(3), ca=True)
    both = TrustAnchor.from_pem(to_pem(CA) + to_pem(other))
    assert codes(odd_leaf(issuer="Other CA"), both) == [ReasonCode.BAD_SIGNATURE]


def test_a_changed_certificate_is_not_believed() -> None:
    assert codes(flipped(LEAF)) == [ReasonCode.BAD_SIGNATURE]


@pytest.mark.parametrize(
    "seconds, code, says",
    [
        (
            profiles.LEAF_LIFETIME + 1,
            ReasonCode.EXPIRED,
            "it expired on Feb 16 12:00:00 2028 GMT (1 s ago)",
        ),
        (
            -profiles.BACKDATE - 7500,
            ReasonCode.NOT_YET_VALID,
            "it is not valid before Jan 15 11:55:00 2027 GMT (2 h 5 min from now); ",
        ),
    ],
)
def test_a_certificate_out_of_its_time_is_not_believed(
    seconds: float, code: ReasonCode, says: str
) -> None:
    (reason,) = reasons(LEAF, seconds=seconds)
    assert reason.code is code
    assert reason.startswith(says)


@pytest.mark.parametrize("seconds", [-profiles.BACKDATE, profiles.LEAF_LIFETIME])
def test_both_ends_of_validity_belong_to_it(seconds: float) -> None:
    assert codes(LEAF, seconds=seconds) == []


@pytest.mark.parametrize(
    "start, end, code",
    [
        (-2 * DAY, -DAY, ReasonCode.ISSUER_EXPIRED),
        (DAY, 2 * DAY, ReasonCode.ISSUER_NOT_YET_VALID),
    ],
)
def test_a_ca_out_of_its_time_is_not_believed(
    start: float, end: float, code: ReasonCode
) -> None:
    ca = ca_made_by_us(start=NOW + start, end=NOW + end)
    anchor = TrustAnchor.from_pem(to_pem(ca))
    (reason,) = reasons(odd_leaf(), anchor)
    assert reason.code is code
    assert reason.startswith("its CA's certificate cannot be used: it ")


def test_an_expired_ca_does_no_harm_beside_its_renewal() -> None:
    old = ca_made_by_us(start=NOW - 2 * DAY, end=NOW - DAY)
    both = TrustAnchor.from_pem(to_pem(old) + to_pem(CA))
    assert codes(LEAF, both) == []


def test_a_ca_is_no_node() -> None:
    assert codes(CA) == [ReasonCode.IS_A_CA]


@pytest.mark.parametrize("key", [small_rsa_key(), ED25519], ids=["rsa1024", "ed25519"])
def test_a_key_that_does_not_count_is_not_believed(key: AnyKey) -> None:
    assert codes(odd_leaf(key=key)) == [ReasonCode.KEY]


def test_a_forgeable_signature_is_not_believed() -> None:
    anchor = TrustAnchor.from_pem(data("icinga-ca.crt"))
    forged = with_fields(
        load_pem(data("agent1.crt")), rsa_key("icinga-ca"), algorithm=SHA1_WITH_RSA
    )
    assert codes(forged, anchor) == [
        ReasonCode.BAD_SIGNATURE,
        ReasonCode.SIGNATURE_ALGORITHM,
    ]


def test_a_critical_extension_nobody_knows_is_not_passed_over() -> None:
    assert codes(odd_leaf(extensions=[(ODD, True)])) == [
        ReasonCode.UNKNOWN_CRITICAL_EXTENSION
    ]
    assert codes(odd_leaf(extensions=[(ODD, False)])) == []


def test_every_reason_is_given() -> None:
    cert = certificate(
        key=small_rsa_key(), ca=True, end=NOW - 1, extensions=[(ODD, True)]
    )
    anchor = TrustAnchor.from_pem(to_pem(CA), revocation_list())
    assert codes(cert, anchor) == [
        ReasonCode.ISSUER_UNKNOWN,
        ReasonCode.BAD_SIGNATURE,
        ReasonCode.EXPIRED,
        ReasonCode.REVOCATION_LIST_MISSING,
        ReasonCode.IS_A_CA,
        ReasonCode.KEY,
        ReasonCode.UNKNOWN_CRITICAL_EXTENSION,
    ]


# --- Revocation -----------------------------------------------------------------------


def test_a_revoked_certificate_is_not_believed() -> None:
    anchor = TrustAnchor.from_pem(to_pem(CA), revocation_list(serials=[4711]))
    assert codes(LEAF, anchor) == [ReasonCode.REVOKED]
    assert codes(leaf_made_by_us(CA, CA_KEY, serial=4712), anchor) == []


def test_the_newest_list_counts() -> None:
    older = revocation_list(serials=[4711], made=NOW - 2 * DAY)
    newer = revocation_list(serials=[])
    for text in (older + newer, newer + older):
        assert codes(LEAF, TrustAnchor.from_pem(to_pem(CA), text)) == []


def test_a_ca_without_a_list_vouches_for_nobody_when_there_are_lists() -> None:
    other = certificate(subject="Other CA", key=ec_key(3), ca=True)
    text = revocation_list(issuer="Other CA", key=ec_key(3))
    anchor = TrustAnchor.from_pem(to_pem(CA) + to_pem(other), text)
    (reason,) = reasons(LEAF, anchor)
    assert reason.code is ReasonCode.REVOCATION_LIST_MISSING
    assert reason == "crl_path holds no revocation list of CN = Icinga CA"


def test_an_expired_list_is_its_own_reason() -> None:
    anchor = TrustAnchor.from_pem(to_pem(CA), revocation_list(due=NOW - 1))
    assert codes(LEAF, anchor) == [ReasonCode.REVOCATION_LIST_EXPIRED]


# --- A new CA -------------------------------------------------------------------------


def successor_codes(
    new: x509.Certificate, anchor: TrustAnchor = ANCHOR
) -> list[ReasonCode]:
    try:
        anchor.check_successor(new, NOW)
    except CertificateInvalid as error:
        return [reason.code for reason in error.reasons]
    return []


def test_the_same_ca_or_its_renewal_may_take_its_place() -> None:
    assert successor_codes(CA) == []
    assert successor_codes(ca_made_by_us(end=NOW + 2 * profiles.CA_LIFETIME)) == []


def test_a_new_key_that_the_old_one_signed_may_take_its_place() -> None:
    new = certificate(
        subject="New CA", issuer="Icinga CA", key=ec_key(3), signed_by=CA_KEY, ca=True
    )
    assert successor_codes(new) == []


def test_a_stranger_may_not_take_its_place() -> None:
    assert successor_codes(load_pem(data("icinga-ca.crt"))) == [
        ReasonCode.NOT_VOUCHED_FOR
    ]


def test_a_node_may_not_take_its_place() -> None:
    assert successor_codes(LEAF) == [ReasonCode.NOT_A_CA, ReasonCode.NOT_A_CA]


def test_an_expired_renewal_may_not_take_its_place() -> None:
    old = ca_made_by_us(start=NOW - 2 * DAY, end=NOW - DAY)
    assert successor_codes(old) == [ReasonCode.EXPIRED]


# --- What was issued ------------------------------------------------------------------

BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def issued_codes(
    cert: x509.Certificate,
    cn: str = AGENT,
    key: PrivateKey | None = None,
    anchor: TrustAnchor = ANCHOR,
) -> list[ReasonCode]:
    wanted = key_id((key or ec_key()).public_key())
    try:
        verify_issued(cert, cn=cn, key_id=wanted, anchor=anchor, at=NOW)
    except CertificateInvalid as error:
        return [reason.code for reason in error.reasons]
    return []


@pytest.mark.parametrize("cn", [AGENT, "web_01", "zürich"])
def test_what_was_asked_for_is_accepted(cn: str) -> None:
    assert issued_codes(leaf_made_by_us(CA, CA_KEY, cn=cn), cn) == []


def test_what_a_real_signer_issued_is_accepted() -> None:
    anchor = TrustAnchor.from_pem(data("icinga-ca.crt"))
    cert = load_pem(data("agent1-serial-of-21-octets.crt"))
    assert issued_codes(cert, AGENT, rsa_key(), anchor) == []


def test_the_reasons_of_trust_come_first() -> None:
    assert issued_codes(certificate(), "other")[0] is ReasonCode.ISSUER_UNKNOWN


@pytest.mark.parametrize(
    "cert, code",
    [
        (odd_leaf(subject="other"), ReasonCode.OTHER_COMMON_NAME),
        (odd_leaf(subject=AGENT.upper()), ReasonCode.OTHER_COMMON_NAME),
        (odd_leaf(subject=name(AGENT, "b")), ReasonCode.OTHER_COMMON_NAME),
        (odd_leaf(subject=x509.Name([])), ReasonCode.OTHER_COMMON_NAME),
        (odd_leaf(key=ec_key(5)), ReasonCode.OTHER_KEY),
        (
            with_fields(odd_leaf(), CA_KEY, serial=b"\x02\x01\x00"),
            ReasonCode.SERIAL_NUMBER,
        ),
        (
            with_fields(odd_leaf(), CA_KEY, serial=b"\x02\x01\xff"),
            ReasonCode.SERIAL_NUMBER,
        ),
        (
            odd_leaf(
                extensions=[(x509.SubjectAlternativeName([x509.DNSName("b")]), False)]
            ),
            ReasonCode.OTHER_HOST_NAME,
        ),
        (odd_leaf(extensions=[(usage(sign=True), True)]), ReasonCode.PURPOSE),
        (
            odd_leaf(extensions=[(x509.ExtendedKeyUsage(BOTH[:1]), False)]),
            ReasonCode.PURPOSE,
        ),
        (
            odd_leaf(extensions=[(x509.ExtendedKeyUsage(BOTH[1:]), False)]),
            ReasonCode.PURPOSE,
        ),
    ],
)
def test_anything_else_is_refused_with_its_reason(
    cert: x509.Certificate, code: ReasonCode
) -> None:
    assert issued_codes(cert) == [code]


def test_further_host_names_are_no_objection() -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("b"), x509.DNSName(AGENT)])
    assert issued_codes(odd_leaf(extensions=[(names, False)])) == []


def test_a_certificate_for_the_cas_own_key_is_refused() -> None:
    cert = odd_leaf(key=CA_KEY)
    assert issued_codes(cert, key=CA_KEY) == [ReasonCode.CA_KEY]
    assert serial_number(cert) == 99


def test_names_from_strangers_are_shown_escaped() -> None:
    with pytest.raises(CertificateInvalid) as caught:
        verify_issued(
            odd_leaf(subject="a\x1bb"),
            cn=AGENT,
            key_id=key_id(ec_key().public_key()),
            anchor=ANCHOR,
            at=NOW,
        )
    assert "its common name is 'a\\x1bb', and 'agent1" in str(caught.value)


@pytest.mark.parametrize("seconds", [0, 1, 300])
def test_a_signers_clock_may_be_five_minutes_ahead(seconds: float) -> None:
    """A real signer dates from the second it signs, and signs anew at each ask."""
    new = leaf_made_by_us(CA, CA_KEY, start=NOW + seconds)
    wanted = key_id(ec_key().public_key())
    verify_issued(new, cn=AGENT, key_id=wanted, anchor=ANCHOR, at=NOW)


def test_a_certificate_that_begins_later_than_that_is_not_taken() -> None:
    new = leaf_made_by_us(CA, CA_KEY, start=NOW + 301)
    assert issued_codes(new) == [ReasonCode.NOT_YET_VALID]


def test_only_a_new_certificate_is_judged_by_its_beginning() -> None:
    new = leaf_made_by_us(CA, CA_KEY, start=NOW + 100)
    assert moment_for(new, NOW) == NOW + 100
    assert moment_for(LEAF, at(50)) == at(50)
    assert not ANCHOR.is_signed(new, NOW)


# --- Renewal --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left, is_up_to_date", [(30 * DAY, True), (30 * DAY - 1, False), (0, False)]
)
def test_a_leaf_is_due_30_days_before_its_end(
    left: float, *, is_up_to_date: bool
) -> None:
    cert = certificate(end=NOW + left)
    assert up_to_date(cert, NOW) is is_up_to_date


@pytest.mark.parametrize(
    "start, is_up_to_date", [(1483228800, True), (1483228799, False)]
)
def test_what_was_issued_before_2017_is_due(
    start: float, *, is_up_to_date: bool
) -> None:
    cert = certificate(start=start, end=NOW + 900 * DAY)
    assert up_to_date(cert, NOW) is is_up_to_date


@pytest.mark.parametrize(
    "left, is_up_to_date", [(397 * DAY, True), (397 * DAY - 1, False)]
)
def test_a_ca_is_due_397_days_before_its_end(
    left: float, *, is_up_to_date: bool
) -> None:
    assert ca_up_to_date(ca_made_by_us(end=NOW + left), NOW) is is_up_to_date


@pytest.mark.parametrize(
    "theirs, ours, due",
    [
        (396 * DAY, 397 * DAY, True),
        (396 * DAY, 397 * DAY - 1, False),
        (396 * DAY, 396 * DAY, False),
        (397 * DAY, 900 * DAY, False),
        (-DAY / 2, 900 * DAY, True),
    ],
)
def test_a_requester_is_given_our_ca_when_its_own_ends_soon_and_ours_later(
    theirs: float, ours: float, *, due: bool
) -> None:
    requestors = ca_made_by_us(end=NOW + theirs)
    own = ca_made_by_us(end=NOW + ours)
    assert ca_due_for(requestors, own, NOW) is due


def test_a_requester_whose_ca_is_not_known_is_given_none() -> None:
    assert not ca_due_for(None, CA, NOW)
