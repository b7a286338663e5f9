"""Icinga's stored requests: as real nodes write them, and whatever else is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from hypothesis.strategies import SearchStrategy
from tests.peers import PreparedPKI, RealIcinga, three_levels, wait_until
from tests.peers.fixtures import Nodes
from tests.pki.makers import data

from icefloe.doors import WallTime
from icefloe.pki.certificates import common_name, fingerprint, load_der, load_pem
from icefloe.storage import icinga_requests
from icefloe.storage.icinga_requests import (
    FILE_BYTES_MAX,
    IcingaRequest,
    IcingaRequestMalformed,
    parse_icinga_request,
    read_icinga_requests,
)

ASKED = data("agent1-self-signed.crt").decode("ascii")
ANSWER = data("agent1.crt").decode("ascii")
ROOT = data("icinga-ca.crt").decode("ascii")
FINGERPRINT = fingerprint(load_pem(ASKED))
NAME = f"{FINGERPRINT}.json"
TICKET = "5ec7e7" * 6
WHEN = WallTime(1000.0)


def content(**keys: object) -> bytes:
    return msgspec.json.encode({"cert_request": ASKED, "ticket": TICKET, **keys})


def parse(stored: bytes, name: str = NAME) -> IcingaRequest:
    return parse_icinga_request(stored, name=name, stored_at=WHEN)


def put(
    directory: Path,
    name: str = NAME,
    stored: bytes | None = None,
    *,
    when: float = WHEN,
) -> Path:
    path = directory / name
    path.write_bytes(content() if stored is None else stored)
    os.utime(path, (when, when))
    return path


# -- one file -------------------------------------------------------------------------


def test_a_waiting_request_is_read() -> None:
    request = parse(content())
    assert request.fingerprint == FINGERPRINT
    assert load_der(request.certificate) == load_pem(ASKED)
    assert request.ticket == TICKET
    assert request.requestor_ca == ""
    assert request.answer is None
    assert not request.removed
    assert request.stored_at == WHEN


def test_everything_that_icinga_may_add_is_read() -> None:
    request = parse(
        content(requestor_ca=ROOT, cert_response=ANSWER, later={"than": "us"})
    )
    assert request.requestor_ca == ROOT
    assert request.answer is not None
    assert load_der(request.answer) == load_pem(ANSWER)


def test_a_removed_request_is_read() -> None:
    assert parse(content(), f"{FINGERPRINT}.removed").removed


@pytest.mark.parametrize("ticket", ["", None])
def test_a_request_without_ticket_is_read(ticket: str | None) -> None:
    assert parse(content(ticket=ticket)).ticket == ""
    assert parse(msgspec.json.encode({"cert_request": ASKED})).ticket == ""


@pytest.mark.parametrize("key", ["requestor_ca", "cert_response"])
@pytest.mark.parametrize("nothing", ["", None])
def test_empty_and_null_are_nothing(key: str, nothing: str | None) -> None:
    request = parse(content(**{key: nothing}))
    assert request.requestor_ca == ""
    assert request.answer is None


MALFORMED = {
    "empty": b"",
    "no-json": b"certificate",
    "cut": content()[:-1],
    "list": b"[]",
    "deep": b"[" * 500_000,
    "no-utf-8": content().replace(b"5ec7", b"\xff\xfe00"),
    "no-certificate": b"{}",
    "certificate-null": content(cert_request=None),
    "certificate-empty": content(cert_request=""),
    "certificate-broken": content(cert_request=ASKED.replace("M", "N")),
    "certificate-number": content(cert_request=1),
    "ticket-number": content(ticket=1),
    "root-list": content(requestor_ca=[]),
    "answer-number": content(cert_response=5),
    "answer-broken": content(cert_response="no certificate"),
    "other-certificate": content(cert_request=ANSWER),
}


@pytest.mark.parametrize("stored", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_told_by_name_and_without_secrets(stored: bytes) -> None:
    with pytest.raises(IcingaRequestMalformed, match=FINGERPRINT) as failed:
        parse(stored)
    assert failed.value.name == NAME
    assert failed.value.reason in str(failed.value)
    assert TICKET not in str(failed.value) + repr(failed.value)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd.json",
        ".json",
        "ABCDEF.json",
        f"{FINGERPRINT}.json.removed",
        f"{FINGERPRINT.upper()}.json",
        f"{FINGERPRINT}.json\n",
    ],
)
def test_a_file_not_named_by_a_fingerprint_is_malformed(name: str) -> None:
    with pytest.raises(IcingaRequestMalformed, match="its name") as failed:
        parse(content(), name)
    assert "\n" not in str(failed.value)


def test_the_ticket_is_in_no_repr() -> None:
    assert TICKET not in repr(parse(content()))


def json_objects() -> SearchStrategy[Any]:
    keys = st.sampled_from(["cert_request", "ticket", "requestor_ca", "cert_response"])
    values = st.none() | st.integers() | st.text() | st.sampled_from([ASKED, ANSWER])
    return st.dictionaries(keys, values).map(msgspec.json.encode)


@given(st.binary() | json_objects())
def test_only_the_declared_error_escapes(stored: bytes) -> None:
    try:
        request = parse(stored)
    except IcingaRequestMalformed:
        return
    assert request.fingerprint == FINGERPRINT


# -- the directory --------------------------------------------------------------------


def test_a_missing_directory_holds_nothing(tmp_path: Path) -> None:
    found = read_icinga_requests(tmp_path / "none")
    assert (found.requests, found.problems) == ((), ())


def test_requests_come_oldest_first_and_problems_beside_them(tmp_path: Path) -> None:
    other = fingerprint(load_pem(ANSWER))
    put(tmp_path, when=50.0)
    put(tmp_path, f"{other}.removed", content(cert_request=ANSWER), when=40.0)
    put(tmp_path, f"{'0' * 64}.json")
    put(tmp_path, "strange.json")
    found = read_icinga_requests(tmp_path)
    assert [(r.fingerprint, r.removed, r.stored_at) for r in found.requests] == [
        (other, True, 40.0),
        (FINGERPRINT, False, 50.0),
    ]
    assert [p.name for p in found.problems] == [f"{'0' * 64}.json", "strange.json"]


@pytest.mark.parametrize("later", ["json", "removed"])
def test_a_removed_request_that_came_again_is_not_removed(
    tmp_path: Path, later: str
) -> None:
    put(tmp_path, f"{FINGERPRINT}.json", when=20.0 if later == "json" else 10.0)
    put(tmp_path, f"{FINGERPRINT}.removed", when=15.0)
    found = read_icinga_requests(tmp_path)
    assert [r.removed for r in found.requests] == [False]


def test_files_that_icinga_was_writing_are_passed_over(tmp_path: Path) -> None:
    for name in (f"{NAME}.tmp.a8Xk2s", f"{NAME}.a8Xk2s", "README"):
        put(tmp_path, name, b"half of")
    found = read_icinga_requests(tmp_path)
    assert (found.requests, found.problems) == ((), ())


@pytest.mark.parametrize("there", ["link", "pipe", "directory", "huge"])
def test_what_is_no_plain_file_of_sensible_size_is_told(
    tmp_path: Path, there: str
) -> None:
    directory = tmp_path / "certificate-requests"
    directory.mkdir()
    path = directory / NAME
    if there == "link":
        path.symlink_to(put(tmp_path, "elsewhere"))
    elif there == "pipe":
        os.mkfifo(path)
    elif there == "directory":
        path.mkdir()
    else:
        path.write_bytes(content(later="x" * FILE_BYTES_MAX))
    found = read_icinga_requests(directory)
    assert found.requests == ()
    assert [problem.name for problem in found.problems] == [NAME]


def test_a_directory_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "certificate-requests").touch()
    found = read_icinga_requests(tmp_path / "certificate-requests")
    assert [problem.name for problem in found.problems] == ["certificate-requests"]


def test_of_too_many_files_the_newest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icinga_requests, "FILES_MAX", 1)
    put(tmp_path, when=50.0)
    put(tmp_path, f"{'0' * 64}.json", when=40.0)
    put(tmp_path, f"{'1' * 64}.json", when=30.0)
    found = read_icinga_requests(tmp_path)
    assert [r.fingerprint for r in found.requests] == [FINGERPRINT]
    assert [p.name for p in found.problems] == [tmp_path.name]
    assert "the 2 oldest" in found.problems[0].reason


# -- truth from outside ---------------------------------------------------------------


@pytest.mark.real_peer
@pytest.mark.timeout(300)
def test_what_a_real_signer_stores_removes_restores_and_answers_is_read(
    nodes: Nodes, prepared_pki: PreparedPKI
) -> None:
    master = nodes.make(RealIcinga, "master1")
    master.install_identity(prepared_pki, signer=True)
    master.configure(three_levels(), salt=prepared_pki.salt)
    master.start()
    agent = nodes.make(RealIcinga, "agent1")
    agent.new_certificate()
    agent.save_parent_certificate(master)
    agent.request_certificate(master, "")
    fingerprints = wait_until(lambda: master.pending_of(agent.name), what="the request")
    (asked,) = fingerprints

    def read() -> IcingaRequest:
        found = read_icinga_requests(master.requests_dir)
        assert found.problems == ()
        (request,) = found.requests
        assert request.fingerprint == asked
        assert common_name(load_der(request.certificate)) == agent.name
        return request

    waiting = read()
    assert (waiting.ticket, waiting.answer, waiting.removed) == ("", None, False)
    master.must("ca", "remove", asked)
    assert read().removed
    master.must("ca", "restore", asked)
    assert not read().removed
    master.ca_sign(asked)
    answer = read().answer
    assert answer is not None
    assert load_der(answer).issuer == load_pem(master.ca_path.read_bytes()).subject
