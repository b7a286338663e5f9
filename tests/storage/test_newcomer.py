"""A newcomer's key is made once; its request is remade only when it no longer serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from tests.pki.makers import AGENT, DAY, NOW, certificate, ec_key
from tests.storage.material import (
    CA,
    FOREIGN_CA,
    ISSUED,
    NODE_KEY,
    CountingEntropy,
    Lines,
    certs_dir,
)

from icefloe.pki.certificates import is_self_signed, load_pem
from icefloe.pki.errors import CommonNameInvalid
from icefloe.pki.requests import check_request_certificate
from icefloe.storage.identity import IdentityFiles, IdentityProblem, NodeIdentity
from icefloe.storage.keys import KeyType
from icefloe.storage.newcomer import prepare_newcomer


def prepare(directory: Path, cn: str = AGENT) -> tuple[NodeIdentity, list[str]]:
    lines = Lines()
    identity = prepare_newcomer(
        IdentityFiles.of_node(directory, cn),
        cn=cn,
        key_type=KeyType.EC,
        entropy=CountingEntropy(),
        at=NOW,
        owner=None,
        narrator=lines,
    )
    return identity, lines.told


def long_lived(subject: str = AGENT) -> x509.Certificate:
    return certificate(subject=subject, key=NODE_KEY, end=NOW + 300 * DAY)


def test_a_new_node_gets_a_key_and_a_request(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, key=None, certificate=None)
    identity, told = prepare(directory)
    key = directory / f"{AGENT}.key"
    assert told == [
        f"information/base: Writing private key to '{key}'.",
        f"information/base: Writing X509 certificate to '{directory / AGENT}.crt'.",
    ]
    assert key.stat().st_mode & 0o7777 == 0o600
    assert check_request_certificate(identity.certificate).cn == AGENT


def test_the_second_run_asks_for_the_same_certificate(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, key=None, certificate=None)
    first, _ = prepare(directory)
    second, told = prepare(directory)
    assert second == first
    assert told == [
        f"information/cli: Using the private key in '{directory / AGENT}.key'."
    ]


def test_a_valid_issued_certificate_stays(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, certificate=ISSUED, ca=CA)
    assert prepare(directory)[0].certificate == ISSUED


@pytest.mark.parametrize(
    "present, ca",
    [
        (None, None),
        (certificate(key=NODE_KEY, end=NOW + DAY), None),
        (certificate(key=ec_key(77), end=NOW + 300 * DAY), None),
        (long_lived("other"), None),
        (ISSUED, None),
        (ISSUED, FOREIGN_CA),
    ],
    ids=["missing", "ending", "other key", "other name", "no CA", "other CA"],
)
def test_a_request_that_no_longer_serves_is_remade_for_the_same_key(
    tmp_path: Path, present: x509.Certificate | None, ca: x509.Certificate | None
) -> None:
    directory = certs_dir(tmp_path, certificate=present, ca=ca)
    identity, _ = prepare(directory)
    assert is_self_signed(identity.certificate)
    assert identity.certificate.public_key() == NODE_KEY.public_key()
    orig = directory / f"{AGENT}.crt.orig"
    assert orig.exists() == (present is not None)


def test_a_certificate_of_garbage_is_remade_and_kept(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    (directory / f"{AGENT}.crt").write_text("garbage")
    prepare(directory)
    assert (directory / f"{AGENT}.crt.orig").read_text() == "garbage"


def test_what_is_replaced_twice_is_kept_twice(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, certificate=long_lived("one"))
    prepare(directory)
    (directory / f"{AGENT}.crt").write_text("garbage")
    prepare(directory)
    (kept,) = directory.glob("*.before-*")
    assert kept.read_text() == "garbage"
    assert is_self_signed(load_pem((directory / f"{AGENT}.crt").read_bytes()))


def test_a_key_that_cannot_be_used_is_not_overwritten(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path)
    (directory / f"{AGENT}.key").write_text("garbage")
    with pytest.raises(IdentityProblem, match="move it away"):
        prepare(directory)
    assert (directory / f"{AGENT}.key").read_text() == "garbage"


def test_a_name_that_no_node_may_have_is_refused(tmp_path: Path) -> None:
    directory = certs_dir(tmp_path, key=None, certificate=None)
    with pytest.raises(CommonNameInvalid):
        prepare(directory, cn="a,DNS:b")
