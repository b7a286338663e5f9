"""Taking DER apart and joining it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.pki._der import SEQUENCE, DERError, TBSCertificate, encode, split
from icefloe.pki.keys import PrivateKey
from tests.pki.makers import ca_made_by_us, certificate, ec_key, rsa_key, with_fields


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_what_is_joined_can_be_split(size: int) -> None:
    part = encode(0x04, b"x" * size)
    assert split(encode(SEQUENCE, part, part)) == [part, part]


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "header is cut short"),
        (b"\x30", "header is cut short"),
        (b"\x30\x01", "is cut short"),
        (b"\x30\x80\x00\x00", "length is not DER"),
        (b"\x30\x85\x00\x00\x00\x00\x00", "length is not DER"),
        (b"\x30\x82\x01", "length is not DER"),
        (b"\x30\x00\x00", "bytes follow"),
        (b"\x30\x02\x04\x01\x00", "bytes follow"),
        (b"\x30\x03\x04\x02\x00", "is cut short"),
    ],
)
def test_what_is_not_der_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(DERError, match=says):
        split(data)


@given(st.binary(max_size=40))
def test_only_the_declared_error_escapes(data: bytes) -> None:
    try:
        parts = split(data)
    except DERError:
        return
    assert data.endswith(b"".join(parts))


@pytest.mark.parametrize("key", [ec_key(), rsa_key()], ids=["ec", "rsa"])
def test_a_certificate_taken_apart_joins_to_itself(key: PrivateKey) -> None:
    tbs = ca_made_by_us(key).tbs_certificate_bytes
    assert TBSCertificate.parse(tbs).encode() == tbs


def test_an_old_certificate_without_version_joins_to_itself() -> None:
    old = with_fields(certificate(), ec_key(), version=b"", rest=b"")
    fields = TBSCertificate.parse(old.tbs_certificate_bytes)
    assert fields.version == b""
    assert fields.encode() == old.tbs_certificate_bytes


@pytest.mark.parametrize("data", [b"\x30\x00", b"\x30\x02\x05\x00"])
def test_too_few_fields_are_no_certificate(data: bytes) -> None:
    with pytest.raises(DERError, match="six fields"):
        TBSCertificate.parse(data)
