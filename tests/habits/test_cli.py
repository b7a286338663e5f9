"""The rows of the table in `icefloe.habits.cli`."""

from __future__ import annotations

import pytest
from tests.habits.world import root, signed

from icefloe.habits import Exit, HabitualCLI, Saw, WriteCA, WriteCertificate
from icefloe.wire.catalogue import REQUEST_CERTIFICATE
from icefloe.wire.jsonrpc import Message, Notification, Request, Response


@pytest.fixture
def cli() -> HabitualCLI:
    made = HabitualCLI(call="uuid", ticket="t")
    assert made.on_connected() == [
        Request(REQUEST_CERTIFICATE, {"ticket": "t"}, "uuid")
    ]
    return made


def test_a_ticket_is_always_sent_even_if_there_is_none() -> None:
    (request,) = HabitualCLI(call="uuid").on_connected()
    assert request == Request(REQUEST_CERTIFICATE, {"ticket": ""}, "uuid")


@pytest.mark.parametrize(
    "message",
    [
        Notification("icinga::Hello", {}),
        Notification("pki::UpdateCertificate", {"cert": "x"}),
        Request("icinga::Hello", {}, "another"),
        Response("another", {"cert": "x"}),
    ],
)
def test_everything_but_the_answer_is_skipped(
    cli: HabitualCLI, message: Message
) -> None:
    assert cli.on_message(message) == []


def test_signed_writes_the_root_and_the_certificate(cli: HabitualCLI) -> None:
    result = {"status_code": 0, "ca": root(), "cert": signed("agent1")}
    assert cli.on_message(Response("uuid", result)) == [
        WriteCA(root()),
        WriteCertificate(signed("agent1")),
        Exit(0, Saw.SIGNED),
    ]
    assert cli.on_message(Response("uuid", result)) == []
    assert cli.on_closed() == []


def test_pending_writes_the_root_and_ends_well(cli: HabitualCLI) -> None:
    result = {"status_code": 2, "ca": root(), "error": "wait"}
    assert cli.on_message(Response("uuid", result)) == [
        WriteCA(root()),
        Exit(0, Saw.PENDING, "wait"),
    ]


@pytest.mark.parametrize("code", [{}, {"status_code": 1}])
def test_a_refusal_replaces_the_root_all_the_same(
    cli: HabitualCLI, code: dict[str, int]
) -> None:
    result = {"ca": root(), "error": "no", **code}
    assert cli.on_message(Response("uuid", result)) == [
        WriteCA(root()),
        Exit(1, Saw.REFUSED, "no"),
    ]


def test_a_refusal_without_a_root_writes_nothing(cli: HabitualCLI) -> None:
    result = {"status_code": 1, "error": "no"}
    assert cli.on_message(Response("uuid", result)) == [Exit(1, Saw.REFUSED, "no")]


def test_any_other_code_with_an_error_ends_well(cli: HabitualCLI) -> None:
    """Checked by running with 7."""
    result = {"status_code": 7, "error": "what?"}
    assert cli.on_message(Response("uuid", result)) == [Exit(0, Saw.PENDING, "what?")]


@pytest.mark.parametrize(
    "status, end",
    [
        (1.4, Exit(1, Saw.REFUSED, "e")),
        ("1.5", Exit(1, Saw.REFUSED, "e")),
        (True, Exit(1, Saw.REFUSED, "e")),
        (2.6, Exit(0, Saw.PENDING, "e")),
        (None, Exit(0, Saw.PENDING, "e")),
        ("", Exit(0, Saw.PENDING, "e")),
        (0, Exit(0, Saw.PENDING, "e")),
        ("x", Exit(134, Saw.CRASHED)),
        ("1 ", Exit(134, Saw.CRASHED)),
        ([], Exit(134, Saw.CRASHED)),
        ([1], Exit(134, Saw.CRASHED)),
        ({}, Exit(134, Saw.CRASHED)),
    ],
)
def test_an_odd_code_is_converted_or_a_crash(
    cli: HabitualCLI, status: object, end: Exit
) -> None:
    """Checked by running."""
    result = {"status_code": status, "error": "e"}
    assert cli.on_message(Response("uuid", result)) == [end]


def test_an_empty_error_is_an_error(cli: HabitualCLI) -> None:
    """Checked by running: exit 0, and no certificate is written."""
    result = {"status_code": 0, "ca": root(), "cert": signed("a"), "error": ""}
    assert cli.on_message(Response("uuid", result)) == [
        WriteCA(root()),
        Exit(0, Saw.PENDING),
    ]


def test_a_request_of_the_peer_with_our_id_is_a_crash(cli: HabitualCLI) -> None:
    message = Request("icinga::Hello", {}, "uuid")
    assert cli.on_message(message) == [Exit(134, Saw.CRASHED)]


def test_a_root_that_cannot_be_read_fails(cli: HabitualCLI) -> None:
    result = {"status_code": 0, "ca": "rubbish", "cert": signed("agent1")}
    assert cli.on_message(Response("uuid", result)) == [Exit(1, Saw.FAILED)]


def test_a_certificate_that_cannot_be_read_fails(cli: HabitualCLI) -> None:
    result = {"status_code": 0, "ca": root()}
    assert cli.on_message(Response("uuid", result)) == [
        WriteCA(root()),
        Exit(1, Saw.FAILED),
    ]


def test_a_top_level_error_fails_whatever_its_id(cli: HabitualCLI) -> None:
    assert cli.on_message(Response("another", None, error="stack")) == [
        Exit(1, Saw.FAILED, "stack")
    ]


def test_an_answer_without_a_result_is_a_crash(cli: HabitualCLI) -> None:
    assert cli.on_message(Response("uuid", None)) == [Exit(134, Saw.CRASHED)]


def test_the_end_of_the_connection_fails_once(cli: HabitualCLI) -> None:
    assert cli.on_closed() == [Exit(1, Saw.CUT)]
    assert cli.on_closed() == []
