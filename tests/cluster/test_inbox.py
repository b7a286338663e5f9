"""What becomes of the bytes a peer sends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icefloe.cluster.effects import HelloReceived, Level
from icefloe.cluster.peer import Peer
from icefloe.cluster.states import Role
from icefloe.cluster.zones import Relation
from icefloe.wire import netstring
from icefloe.wire.catalogue import (
    CONFIG_UPDATE,
    EXECUTE_COMMAND,
    HELLO,
    REQUEST_CERTIFICATE,
    SET_LOG_POSITION,
    UPDATE_CERTIFICATE,
)
from icefloe.wire.jsonrpc import Notification, Request, Response, encode_notification
from tests.cluster.helpers import (
    SETTINGS,
    WALL,
    Playbook,
    at,
    member,
    notification,
    real_hello,
    request,
    response,
    stranger,
)

CHILD, PARENT = member(Relation.CHILD, "agent1"), member(Relation.PARENT, "sat1")


def opened(peer: Peer, role: Role = Role.DIALLER) -> Playbook:
    return Playbook(peer, role).opens()


# -- messages ----------------------------------------------------------------------------


def test_messages_the_upper_layers_act_on_are_delivered_in_order() -> None:
    book = opened(PARENT)
    book.hears(
        notification(REQUEST_CERTIFICATE, {"ticket": ""}),
        request(UPDATE_CERTIFICATE, {"cert": "c"}, call=5),
        notification(EXECUTE_COMMAND, {"host": "h"}),
        response(None, call="u9"),
    )
    book.delivers(
        Notification(REQUEST_CERTIFICATE, {"ticket": ""}),
        Request(UPDATE_CERTIFICATE, {"cert": "c"}, 5),
        Notification(EXECUTE_COMMAND, {"host": "h"}),
        Response("u9", None),
    ).does_nothing_more()


def test_known_methods_that_nobody_acts_on_are_counted() -> None:
    book = opened(PARENT)
    book.hears(notification("event::CheckResult", {}) * 3, notification(CONFIG_UPDATE))
    book.does_nothing_more()
    assert book.counters["methods"] == {"event::CheckResult": 3, CONFIG_UPDATE: 1}
    assert book.reports == []


def test_unknown_methods_share_one_sum() -> None:
    book = opened(CHILD)
    book.hears(*(notification(f"made::Up{i}", {}) for i in range(1000)))
    book.does_nothing_more()
    assert book.counters["unknown"] == 1000
    assert book.counters["methods"] == {}
    assert book.times_reported("session.unknown_method") == 1


def test_name_of_an_unknown_method_is_reported_printable_and_short() -> None:
    book = opened(CHILD).hears(notification("evil\n" + "x" * 1000, {}))
    report = book.reported("session.unknown_method")
    assert report.level is Level.DEBUG
    assert report.fields["method"] == "evil\ufffd" + "x" * 95


def test_unknown_method_with_an_id_is_answered_as_a_real_node_does() -> None:
    book = opened(CHILD).hears(request("made::Up", {}, call={"any": [1]}))
    # Neither result nor error.
    book.says_bytes(netstring.encode(b'{"id":{"any":[1]},"jsonrpc":"2.0"}'))


@pytest.mark.parametrize(
    "peer,method,params",
    [
        (CHILD, "event::CheckResult", {}),
        (CHILD, UPDATE_CERTIFICATE, {"cert": "c"}),
        (CHILD, HELLO, {}),
        (CHILD, SET_LOG_POSITION, {"log_position": 1}),
        (stranger(), SET_LOG_POSITION, {"log_position": 1}),
        (stranger(), EXECUTE_COMMAND, {}),
    ],
)
def test_method_that_is_not_delivered_is_answered_with_null(
    peer: Peer, method: str, params: dict[str, object]
) -> None:
    book = opened(peer).hears(request(method, params, call=None))
    book.effects = [e for e in book.effects if not isinstance(e, HelloReceived)]
    book.says_bytes(netstring.encode(b'{"id":null,"jsonrpc":"2.0","result":null}'))
    book.does_nothing_more()


def test_denied_message_is_counted_and_reported_once_in_a_while() -> None:
    book = opened(CHILD)
    book.hears(notification(UPDATE_CERTIFICATE, {"cert": "evil"}) * 5)
    book.does_nothing_more()
    assert book.counters["denied"] == 5
    assert book.times_reported("session.denied") == 1
    book.waits(59).hears(notification(UPDATE_CERTIFICATE, {}))
    book.waits(1).hears(notification(UPDATE_CERTIFICATE, {}))
    report = book.reported("session.denied")
    assert report.level is Level.WARNING
    assert report.fields == {
        "peer": "agent1",
        "address": "192.0.2.1:5665",
        "method": UPDATE_CERTIFICATE,
        "kept_back": 5,
    }


def test_response_from_a_stranger_who_dialled_us_is_not_delivered() -> None:
    book = opened(stranger(), Role.LISTENER).hears(response({"status_code": 0}))
    book.does_nothing_more()
    assert book.counters["responses"] == 1
    assert book.counters["denied"] == 1
    assert book.times_reported("session.unexpected_response") == 1


def test_methods_of_our_own_are_delivered_when_somebody_acts_on_them() -> None:
    settings = replace(SETTINGS, delivered_methods=frozenset({"icefloe::Confirmed"}))
    book = Playbook(CHILD, Role.DIALLER, settings).opens()
    book.hears(notification("icefloe::Confirmed", {"a": 1}))
    book.delivers(Notification("icefloe::Confirmed", {"a": 1}))
    assert book.counters["methods"] == {"icefloe::Confirmed": 1}


# -- Hello and log position --------------------------------------------------------------


def test_hello_of_an_icefloe_node_shows_its_facts() -> None:
    facts = {"version": "0.0.2", "unheard": ["of"]}
    book = opened(CHILD).hears(
        notification(HELLO, {"version": 21405, "capabilities": 0, "icefloe": facts})
    )
    hello = HelloReceived(21405, 0, facts)
    assert book.session.snapshot().hello == hello
    assert book.next() == hello


def test_hello_of_an_old_node_is_empty() -> None:
    book = opened(CHILD).hears(notification(HELLO, {}))
    assert book.next() == HelloReceived(21200, 0, None)


def test_second_hello_changes_nothing() -> None:
    book = opened(CHILD).hears(real_hello(21306), real_hello(21605))
    book.hears_hello(21306).does_nothing_more()


@pytest.mark.parametrize(
    "peer,frame",
    [
        (PARENT, notification(HELLO)),
        (PARENT, notification(HELLO, [])),
        (stranger(), notification(HELLO, {"version": "two"})),
        (PARENT, notification(SET_LOG_POSITION, {"log_position": None})),
        (PARENT, notification(SET_LOG_POSITION, {"log_position": []})),
    ],
)
def test_message_of_the_session_that_makes_no_sense_is_reported(
    peer: Peer, frame: bytes
) -> None:
    book = opened(peer).hears(frame, real_hello())
    book.hears_hello().does_nothing_more()
    assert book.counters["malformed"] == 1
    report = book.reported("session.bad_params")
    assert report.fields["method"] in {HELLO, SET_LOG_POSITION}


def test_position_the_peer_acknowledges_is_recorded_and_never_lowered() -> None:
    book = opened(CHILD)
    for position in (5, 7.5, 6):
        book.hears(notification(SET_LOG_POSITION, {"log_position": position}))
    assert book.session.snapshot().acknowledged_position == 7.5


def test_position_a_stranger_acknowledges_is_ignored() -> None:
    book = opened(stranger()).hears(notification(SET_LOG_POSITION, {"log_position": 5}))
    assert book.session.snapshot().acknowledged_position == 0


# -- times of messages ---------------------------------------------------------------------


def test_stale_message_is_dropped_without_an_answer() -> None:
    book = opened(PARENT)
    book.hears(notification("event::CheckResult", {}, ts=-5))
    stale = encode_notification(EXECUTE_COMMAND, {"host": "h"}, ts=WALL - 6)
    with_id = stale.replace(b'{"jsonrpc"', b'{"id":1,"jsonrpc"')
    book.hears(netstring.encode(stale), netstring.encode(with_id)).does_nothing_more()
    assert book.counters["stale"] == 2
    book.hears(notification(EXECUTE_COMMAND, {"host": "h"}, ts=-5))
    book.delivers(Notification(EXECUTE_COMMAND, {"host": "h"}, WALL - 5))


def test_enrollment_is_never_stale() -> None:
    """A parent's clock that was set back must not stop enrollment for hours."""
    book = opened(CHILD)
    book.hears(notification("event::CheckResult", {}, ts=-5))
    book.hears(notification(REQUEST_CERTIFICATE, {"ticket": ""}, ts=-3600))
    book.delivers(Notification(REQUEST_CERTIFICATE, {"ticket": ""}, WALL - 3600))
    assert book.session.snapshot().log_position == WALL - 5


def test_message_from_the_future_is_reported_and_mutes_nobody() -> None:
    book = opened(PARENT)
    book.hears(notification(EXECUTE_COMMAND, {"host": "h"}, ts=86_400))
    book.delivers(Notification(EXECUTE_COMMAND, {"host": "h"}, WALL + 86_400))
    book.hears(notification(EXECUTE_COMMAND, {"host": "i"}, ts=0))
    book.delivers(Notification(EXECUTE_COMMAND, {"host": "i"}, WALL))
    assert book.counters["future"] == 1
    report = book.reported("session.future_ts")
    assert report.fields["ts"] == WALL + 86_400
    assert report.fields["wall"] == at(0).wall


def test_times_of_a_stranger_mean_nothing() -> None:
    book = opened(stranger(), Role.LISTENER)
    for seconds in (86_400, -86_400):
        book.hears(notification(REQUEST_CERTIFICATE, {}, ts=seconds))
        book.delivers(Notification(REQUEST_CERTIFICATE, {}, WALL + seconds))
    assert book.session.snapshot().log_position == 0


# -- frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data,reason",
    [
        (b"01:x,", "length-leading-zero"),
        (b"5x", "length-not-decimal"),
        (b"1234567890", "length-too-long"),
        (b"2:{}x", "comma-missing"),
        (b"1048577:", "payload-too-large"),
    ],
)
def test_framing_error_ends_the_session_after_what_came_before(
    data: bytes, reason: str
) -> None:
    book = Playbook(stranger()).starts()
    book.hears(notification(REQUEST_CERTIFICATE, {}) + data)
    book.says_hello().delivers(Notification(REQUEST_CERTIFICATE, {}))
    book.finishes(reason, 2).does_nothing_more()
    report = book.reported("session.bad_bytes")
    assert report.level is Level.WARNING
    assert report.fields["reason"] == reason
    assert report.fields["peer"] == "agent1"
    assert "detail" in report.fields


def test_framing_error_at_the_first_digit_still_shows_our_hello() -> None:
    book = Playbook(stranger()).starts().hears(b"00")
    book.says_hello().finishes("length-leading-zero").does_nothing_more()


BAD_MESSAGES = {
    b"": "json-malformed",
    b"[]": "not-an-object",
    b'"x"': "not-an-object",
    b"{": "json-malformed",
    b"{}": "method-missing",
    b'{"method":5}': "method-not-text",
    b'{"method":"m","params":' + b"[" * 40 + b"]" * 40 + b"}": "json-too-deep",
}


@pytest.mark.parametrize("payload,reason", BAD_MESSAGES.items())
def test_bad_message_of_a_stranger_ends_the_session(
    payload: bytes, reason: str
) -> None:
    book = opened(stranger(), Role.LISTENER)
    book.hears(netstring.encode(payload) + notification(REQUEST_CERTIFICATE, {}))
    book.finishes(reason, 2).does_nothing_more()
    report = book.reported("session.bad_bytes")
    assert report.fields["reason"] == reason
    assert report.fields["size"] == len(payload)


@pytest.mark.parametrize("payload,reason", BAD_MESSAGES.items())
def test_bad_message_of_a_member_is_skipped(payload: bytes, reason: str) -> None:
    book = opened(CHILD)
    book.hears(netstring.encode(payload) + notification(REQUEST_CERTIFICATE, {}))
    book.delivers(Notification(REQUEST_CERTIFICATE, {})).does_nothing_more()
    assert book.counters["malformed"] == 1
    assert book.reported("session.bad_message").fields["reason"] == reason


def sized(method: str, size: int, *, ts: float | None = None) -> bytes:
    """A frame whose payload has exactly that many bytes."""
    moment = None if ts is None else WALL + ts
    empty = len(encode_notification(method, {"x": ""}, ts=moment))
    filler = "y" * (size - empty)
    payload = encode_notification(method, {"x": filler}, ts=moment)
    assert len(payload) == size
    return netstring.encode(payload)


@pytest.mark.parametrize(
    "peer,limit",
    [
        (stranger(), 1_048_576),
        (stranger(verified=True), 1_048_576),
        (CHILD, 16_777_216),
        (member(Relation.DESCENDANT), 16_777_216),
        (member(Relation.UNRELATED), 16_777_216),
    ],
)
def test_frame_may_be_as_large_as_icinga_allows_and_no_larger(
    peer: Peer, limit: int
) -> None:
    book = opened(peer).hears(sized(CONFIG_UPDATE, limit)).does_nothing_more()
    book.hears(b"%d:" % (limit + 1)).finishes("payload-too-large", 2)


@pytest.mark.parametrize(
    "relation", [Relation.PARENT, Relation.SAME_ZONE, Relation.ANCESTOR]
)
def test_frame_from_above_may_be_of_any_size_and_is_never_held(
    relation: Relation,
) -> None:
    book = opened(member(relation)).hears(
        b'999999999:{"method":"config::Update","params":'
    )
    for _ in range(100):
        book.hears(b"y" * 100_000)
        assert book.session._inbox._reader.bytes_held < 10_000
    book.does_nothing_more()
    assert book.session._inbox.is_inside_frame


@pytest.mark.parametrize("peer", [PARENT, CHILD])
def test_large_frame_of_no_concern_is_read_past_counted_and_moves_the_position(
    peer: Peer,
) -> None:
    book = opened(peer).hears(sized(CONFIG_UPDATE, 65_537, ts=-7))
    book.does_nothing_more()
    assert book.counters["discarded_frames"] == 1
    assert book.counters["discarded_bytes"] == 65_537
    assert book.counters["methods"] == {CONFIG_UPDATE: 1}
    assert book.session.snapshot().log_position == WALL - 7
    assert book.reports == []


def test_large_frame_from_the_future_is_reported() -> None:
    book = opened(PARENT).hears(sized(CONFIG_UPDATE, 65_537, ts=86_400))
    assert book.times_reported("session.future_ts") == 1


def test_large_frame_without_a_method_is_counted_as_unknown() -> None:
    payload = b'{"id":1,"result":"' + b"y" * 70_000 + b'"}'
    book = opened(PARENT).hears(netstring.encode(payload)).does_nothing_more()
    assert book.counters["unknown"] == 1


def test_frame_of_the_usual_size_is_held_whatever_its_kind() -> None:
    book = opened(PARENT).hears(sized(CONFIG_UPDATE, 65_536, ts=-7))
    assert "discarded_frames" not in book.counters
    assert book.session.snapshot().log_position == WALL - 7


@pytest.mark.parametrize("method", [UPDATE_CERTIFICATE, EXECUTE_COMMAND])
def test_large_frame_that_we_act_on_is_held(method: str) -> None:
    book = opened(PARENT).hears(sized(method, 1_048_576))
    book.delivers(Notification(method, {"x": book_filler(method, 1_048_576)}))


def book_filler(method: str, size: int) -> str:
    return "y" * (size - len(encode_notification(method, {"x": ""})))


def test_frame_that_we_act_on_is_not_held_beyond_all_measure() -> None:
    book = opened(PARENT).hears(sized(UPDATE_CERTIFICATE, 1_048_577))
    book.does_nothing_more()
    report = book.reported("session.oversized")
    assert report.fields["method"] == UPDATE_CERTIFICATE
    assert report.fields["size"] == 1_048_577
