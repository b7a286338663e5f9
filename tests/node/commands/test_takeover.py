"""What a real Icinga 2 left is taken over, once, and left as it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.enrollment.playbook import START, issued_certificate, request_certificate
from tests.node.cluster import Logs

from icefloe.config.layout import NodeDirectories
from icefloe.doors import MonotonicTime, Now
from icefloe.enrollment.memory_ledger import MemoryLedger
from icefloe.enrollment.model import AttemptState, DecisionKind, RequestState
from icefloe.node.commands.takeover import import_icinga_requests
from icefloe.pki.certificates import fingerprint, key_id, to_pem

NOW = Now(wall=START, mono=MonotonicTime(1.0))


@pytest.fixture
def directories(tmp_path: Path) -> NodeDirectories:
    made = NodeDirectories(config_dir=tmp_path / "etc", data_dir=tmp_path / "lib")
    made.certificate_requests.mkdir(parents=True)
    return made


def leave(directories: NodeDirectories, suffix: str = "json", **entries: str) -> str:
    """Write a request file as icinga2 does; returns its fingerprint."""
    name = fingerprint(request_certificate())
    content = {"cert_request": to_pem(request_certificate()), "ticket": "", **entries}
    path = directories.certificate_requests / f"{name}.{suffix}"
    path.write_bytes(msgspec.json.encode(content))
    return name


def take_over(directories: NodeDirectories, ledger: MemoryLedger) -> int:
    return import_icinga_requests(directories, ledger, NOW, Logs("m1"))


def test_a_waiting_request_is_imported_with_its_ticket(
    directories: NodeDirectories,
) -> None:
    name = leave(directories, ticket="t" * 40)
    ledger = MemoryLedger()
    assert take_over(directories, ledger) == 1
    (attempt,) = ledger.attempts_by_fingerprint(name)
    assert attempt.ticket == "t" * 40
    request = ledger.request(attempt.request_id)
    assert request is not None
    assert (request.cn, request.state) == ("agent", RequestState.RECEIVED)


def test_it_is_imported_once_and_the_file_stays(directories: NodeDirectories) -> None:
    leave(directories)
    before = {p: p.read_bytes() for p in directories.certificate_requests.iterdir()}
    ledger = MemoryLedger()
    assert take_over(directories, ledger) == 1
    assert take_over(directories, ledger) == 0
    after = {p: p.read_bytes() for p in directories.certificate_requests.iterdir()}
    assert after == before


def test_an_answered_request_brings_its_certificate_and_a_decision(
    directories: NodeDirectories,
) -> None:
    leave(directories, cert_response=to_pem(issued_certificate()))
    ledger = MemoryLedger()
    take_over(directories, ledger)
    (request,) = ledger.requests()
    assert request.state is RequestState.ANSWERED
    certificate = ledger.certificate(request.request_id)
    assert certificate is not None
    assert certificate.source == "icinga2"
    decision = ledger.decision(request.request_id)
    assert decision is not None
    assert decision.kind is DecisionKind.APPROVAL
    assert ledger.attempts(request.request_id)[0].state is AttemptState.SIGNED


def test_an_answer_for_another_key_is_not_taken(directories: NodeDirectories) -> None:
    leave(directories, cert_response=to_pem(issued_certificate(number=2)))
    ledger = MemoryLedger()
    take_over(directories, ledger)
    assert ledger.requests()[0].state is RequestState.RECEIVED


def test_a_removed_request_stays_removed(directories: NodeDirectories) -> None:
    leave(directories, suffix="removed")
    ledger = MemoryLedger()
    take_over(directories, ledger)
    assert ledger.requests()[0].state is RequestState.REMOVED


def test_a_file_that_makes_no_sense_is_reported_and_passed_over(
    directories: NodeDirectories,
) -> None:
    (directories.certificate_requests / ("a" * 64 + ".json")).write_text("{")
    leave(directories)
    logs = Logs("m1")
    assert import_icinga_requests(directories, MemoryLedger(), NOW, logs) == 1
    assert logs.seen("request of icinga2 not imported")


def test_without_a_directory_there_is_nothing_to_import(tmp_path: Path) -> None:
    nothing = NodeDirectories(config_dir=tmp_path / "e", data_dir=tmp_path / "d")
    assert take_over(nothing, MemoryLedger()) == 0


def test_the_key_that_icinga2_signed_is_the_first_of_its_name(
    directories: NodeDirectories,
) -> None:
    """Otherwise a ticket could sign another key of a reserved name."""
    leave(directories, cert_response=to_pem(issued_certificate()))
    ledger = MemoryLedger()
    take_over(directories, ledger)
    known = ledger.known_key("agent")
    assert known is not None
    assert known.key_id == key_id(request_certificate())
