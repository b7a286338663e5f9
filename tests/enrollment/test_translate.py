"""Messages become events, commands become messages."""

from __future__ import annotations

import msgspec
import pytest

from icefloe.cluster.effects import Transmit
from icefloe.cluster.peer import Peer, Standing
from icefloe.cluster.session import Session
from icefloe.cluster.settings import SessionSettings
from icefloe.cluster.states import Role
from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment import commands as cmd
from icefloe.enrollment import events as ev
from icefloe.enrollment.translate import event_of, malformed_answer, session_effects
from icefloe.wire.catalogue import RequestCertificate, UpdateCertificate
from icefloe.wire.errors import MessageError
from icefloe.wire.jsonrpc import Notification, Request, Response
from icefloe.wire.netstring import NetstringReader, Payload

LINK = ev.LinkId(1)
NOW = Now(wall=WallTime(0.0), mono=MonotonicTime(0.0))
ASK = "pki::RequestCertificate"


def notification(method: str, params: object) -> Notification:
    return Notification(method=method, params=params, ts=None, origin_zone=None)


def request(method: str, params: object, call: object) -> Request:
    return Request(method=method, params=params, id=call, ts=None, origin_zone=None)


def test_a_request_with_an_id_is_an_asking_with_a_call() -> None:
    event = event_of(LINK, request(ASK, {"ticket": "t"}, None))
    assert event == ev.CertificateAsked(
        LINK, ev.CallId(None), RequestCertificate(ticket="t")
    )


def test_a_notification_is_an_asking_without_a_call() -> None:
    event = event_of(LINK, notification(ASK, {"ticket": ""}))
    assert isinstance(event, ev.CertificateAsked)
    assert event.call is None


def test_an_asking_without_params_is_an_asking() -> None:
    event = event_of(LINK, request(ASK, None, "x"))
    assert isinstance(event, ev.CertificateAsked)


def test_params_of_the_wrong_form_are_an_error_with_an_answer() -> None:
    with pytest.raises(MessageError) as caught:
        event_of(LINK, request(ASK, [], "x"))
    answer = malformed_answer("s1", caught.value)
    assert answer["status_code"] == 1
    assert "s1" in str(answer["error"])


def test_an_update_is_an_event_only_as_a_notification() -> None:
    params = {"cert": "PEM", "fingerprint_request": "ab"}
    assert event_of(
        LINK, notification("pki::UpdateCertificate", params)
    ) == ev.CertificateUpdated(
        LINK,
        UpdateCertificate(
            cert="PEM", ca="", fingerprint_request="ab", status_code=None
        ),
    )
    assert event_of(LINK, request("pki::UpdateCertificate", params, 1)) is None


def test_other_methods_are_no_business_of_enrollment() -> None:
    assert event_of(LINK, notification("event::CheckResult", {})) is None


def test_an_answer_to_our_ask_is_read() -> None:
    result = {"status_code": 2, "error": "pending"}
    event = event_of(LINK, Response(id="a.1", result=result, error=None))
    assert isinstance(event, ev.ParentAnswered)
    assert event.result.status_code == 2


@pytest.mark.parametrize(
    "response",
    [
        Response(id="a.1", result=None, error="Exception: boom"),
        Response(id="a.1", result="text", error=None),
        Response(id="a.1", result=None, error=None),
    ],
)
def test_an_answer_that_is_none_is_a_failure(response: Response) -> None:
    assert isinstance(event_of(LINK, response), ev.ParentFailed)


def test_an_answer_with_a_strange_id_is_nobodys() -> None:
    assert event_of(LINK, Response(id=7, result={}, error=None)) is None


@pytest.fixture
def session() -> Session:
    peer = Peer(standing=Standing.ANONYMOUS, common_name=None, address="192.0.2.1:1")
    made = Session(
        role=Role.DIALLER,
        peer=peer,
        settings=SessionSettings(node_name="s1"),
        now=NOW,
    )
    made.start(NOW)
    return made


def sent(command: cmd.Command, session: Session) -> dict[str, object]:
    (effect,) = session_effects(command, session, NOW)
    assert isinstance(effect, Transmit)
    (frame,) = NetstringReader(100_000).feed(effect.data)
    assert isinstance(frame, Payload)
    decoded = msgspec.json.decode(frame.data)
    assert isinstance(decoded, dict)
    return decoded


def test_an_answer_carries_the_callers_id(session: Session) -> None:
    message = sent(cmd.Answer(LINK, ev.CallId({"odd": 1}), {"status_code": 1}), session)
    assert message["id"] == {"odd": 1}
    assert message["result"] == {"status_code": 1}


def test_an_ask_is_a_request_with_our_call(session: Session) -> None:
    message = sent(cmd.Ask(LINK, "a.1", RequestCertificate(ticket="t")), session)
    assert (message["id"], message["method"]) == ("a.1", ASK)


def test_a_push_is_a_notification(session: Session) -> None:
    params = UpdateCertificate(cert="C", ca="A", fingerprint_request="ab")
    message = sent(cmd.Push(LINK, params), session)
    assert message["method"] == "pki::UpdateCertificate"
    assert "id" not in message


def test_hold_and_release_move_the_end_of_the_session(session: Session) -> None:
    before = session.next_deadline
    assert session_effects(cmd.Hold(LINK), session, NOW) == []
    assert session_effects(cmd.Release(LINK), session, NOW) == []
    assert session.next_deadline == before


def test_a_drain_finishes_the_session(session: Session) -> None:
    kinds = [
        type(e).__name__
        for e in session_effects(cmd.Drain(LINK, "answered"), session, NOW)
    ]
    assert "Finish" in kinds


def test_a_command_that_concerns_no_session_is_a_bug(session: Session) -> None:
    with pytest.raises(TypeError):
        session_effects(cmd.Sign("r", b""), session, NOW)
