"""Conversations of one session, and of two joined in memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.effects import (
    Effect,
    Finish,
    HelloReceived,
    Level,
    Opened,
    Report,
    Transmit,
)
from icefloe.cluster.peer import Peer
from icefloe.cluster.refusal import HTTP_REFUSAL
from icefloe.cluster.session import Session, SessionMisused
from icefloe.cluster.states import TRANSITIONS, Role, Signal, State
from icefloe.cluster.zones import Relation
from icefloe.wire import netstring
from icefloe.wire.catalogue import (
    HEARTBEAT,
    REQUEST_CERTIFICATE,
    SET_LOG_POSITION,
    UPDATE_CERTIFICATE,
)
from icefloe.wire.jsonrpc import Notification, Request, Response
from tests.cluster.helpers import (
    SETTINGS,
    WALL,
    ConnectionPair,
    Playbook,
    at,
    member,
    mono,
    notification,
    our_facts,
    real_hello,
    request,
    response,
    stranger,
)

OUR_HEARTBEAT = Notification(HEARTBEAT, {})
TICKET = {"ticket": "s3cret"}
ASKED = Request(REQUEST_CERTIFICATE, TICKET, "u1")


# -- the beginning ---------------------------------------------------------------------


def test_dialler_says_hello_at_once() -> None:
    book = Playbook(member(), Role.DIALLER)
    book.starts().says_hello().does_nothing_more()
    book.hears(real_hello()).hears_hello().does_nothing_more()


def test_listener_says_hello_at_the_first_byte_and_before_anything_is_handled() -> None:
    book = Playbook(stranger())
    book.starts().does_nothing_more()
    asked = request(REQUEST_CERTIFICATE, TICKET)
    book.hears(asked[:1]).says_hello().does_nothing_more()
    book.hears(asked[1:]).delivers(ASKED).does_nothing_more()


def test_tool_that_says_no_hello_is_served() -> None:
    book = Playbook(stranger())
    book.starts().hears(request(REQUEST_CERTIFICATE, TICKET))
    book.says_hello().delivers(ASKED).does_nothing_more()
    book.is_told(lambda s: s.send_response({"status_code": 2}, call="u1"))
    book.says(Response("u1", {"status_code": 2})).does_nothing_more()


def test_listener_that_hears_nothing_closes_15_seconds_after_accepting() -> None:
    book = Playbook(stranger())
    # The TLS handshake took four of them.
    book.waits(4).starts()
    assert book.session.next_deadline == mono(15)
    book.passes(10.9).does_nothing_more()
    book.passes(0.1).finishes("setup-deadline", 2).does_nothing_more()
    assert book.session.next_deadline is None


def test_no_bytes_are_no_first_byte() -> None:
    book = Playbook(stranger()).starts().hears(b"").does_nothing_more()
    assert book.session.snapshot().state == "awaiting"


@pytest.mark.parametrize(
    "first", [byte for byte in range(256) if byte not in range(48, 58)]
)
def test_whoever_does_not_begin_with_a_digit_speaks_http(first: int) -> None:
    book = (
        Playbook(stranger()).starts().hears(bytes([first]) + b"ET / HTTP/1.1\r\n\r\n")
    )
    book.says_bytes(HTTP_REFUSAL).finishes("speaks-http", 2).does_nothing_more()
    book.hears(b"more").does_nothing_more()


@pytest.mark.parametrize("first", range(48, 58))
def test_whoever_begins_with_a_digit_speaks_json_rpc(first: int) -> None:
    Playbook(stranger()).starts().hears(bytes([first])).says_hello().does_nothing_more()


def test_session_starts_once_and_before_it_hears_anything() -> None:
    session = Playbook(stranger()).session
    with pytest.raises(SessionMisused, match="bytes in state new"):
        session.receive(b"1", at(0))
    session.start(at(0))
    with pytest.raises(SessionMisused, match="start-listener in state awaiting"):
        session.start(at(0))


# -- heartbeat and liveness --------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_heartbeat_comes_every_20_seconds_from_20_seconds_on(role: Role) -> None:
    book = Playbook(member(), role).opens()
    for _ in range(4):
        book.passes(19.9).does_nothing_more()
        book.hears(notification(HEARTBEAT, {}))
        book.passes(0.1).says(OUR_HEARTBEAT).does_nothing_more()
    assert book.counters["methods"] == {
        HEARTBEAT: 4,
        **({"icinga::Hello": 1} if role is Role.LISTENER else {}),
    }


def test_late_tick_sends_one_heartbeat() -> None:
    book = Playbook(member(), Role.DIALLER).opens()
    book.waits(50).passes(0).says(OUR_HEARTBEAT).does_nothing_more()
    assert book.session.next_deadline == mono(60)


@pytest.mark.parametrize("peer", [member(Relation.CHILD), stranger(verified=True)])
def test_silent_peer_is_dropped_after_60_seconds(peer: Peer) -> None:
    book = Playbook(peer, Role.DIALLER).opens()
    book.passes(59.9).says(OUR_HEARTBEAT, OUR_HEARTBEAT).does_nothing_more()
    # At 60 s the third heartbeat would be due as well.
    book.passes(0.1).finishes("silence-deadline", 2).does_nothing_more()


def test_single_bytes_of_a_slow_frame_count_as_life() -> None:
    book = Playbook(member(), Role.DIALLER).opens()
    for byte in notification("config::Update", {})[:5]:
        book.passes(50).hears(bytes([byte]))
    assert book.session.last_seen == mono(250)
    assert not [effect for effect in book.effects if isinstance(effect, Finish)]


@pytest.mark.parametrize("role", Role)
def test_stranger_is_dropped_after_10_seconds_whatever_it_sends(role: Role) -> None:
    book = Playbook(stranger(), role).opens()
    book.passes(9).hears(notification(HEARTBEAT, {})).passes(0.9).does_nothing_more()
    book.passes(0.1).finishes("lifetime-deadline", 10).does_nothing_more()


def test_held_stranger_stays_with_heartbeats_while_it_is_alive() -> None:
    book = Playbook(stranger()).opens()
    book.session.hold()
    for _ in range(3):
        book.passes(20).hears(notification(HEARTBEAT, {}))
        book.says(OUR_HEARTBEAT).does_nothing_more()
    book.passes(59).says(OUR_HEARTBEAT, OUR_HEARTBEAT).does_nothing_more()
    book.passes(1).finishes("silence-deadline", 2).does_nothing_more()


def test_stranger_held_until_a_moment_is_dropped_then() -> None:
    book = Playbook(stranger()).opens()
    book.session.hold(mono(15))
    assert book.session.next_deadline == mono(15)
    book.passes(15).finishes("lifetime-deadline").does_nothing_more()


def test_released_stranger_gets_one_more_lifetime() -> None:
    book = Playbook(stranger()).opens()
    book.session.hold()
    book.waits(15)
    book.session.release(at(book.seconds))
    book.passes(9.9).says(OUR_HEARTBEAT).does_nothing_more()
    book.passes(0.1).finishes("lifetime-deadline").does_nothing_more()


# -- log positions -------------------------------------------------------------------------


@pytest.mark.parametrize("relation", Relation)
def test_position_goes_every_5_seconds_to_parents_and_peers_only(
    relation: Relation,
) -> None:
    book = Playbook(member(relation), Role.DIALLER).opens()
    book.passes(12).does_nothing_more()
    book.hears(notification("event::CheckResult", {}, ts=11)).passes(0)
    if relation in {Relation.PARENT, Relation.SAME_ZONE}:
        position = Notification(SET_LOG_POSITION, {"log_position": WALL + 11})
        # The first one at once: five seconds have gone since the last chance.
        book.says(position).passes(5).says(position)
    book.passes(2.9).does_nothing_more()


def test_position_of_an_earlier_session_is_acknowledged_too() -> None:
    book = Playbook(member(), Role.DIALLER, log_position=WALL - 3).opens().passes(5)
    book.says(Notification(SET_LOG_POSITION, {"log_position": WALL - 3}))


# -- the end ---------------------------------------------------------------------------------


def test_drain_comes_after_what_was_sent_and_nothing_is_handled_any_more() -> None:
    book = Playbook(stranger()).opens()
    book.hears(request(REQUEST_CERTIFICATE, TICKET)).delivers(ASKED)
    book.is_told(lambda s: s.send_response({"status_code": 0}, call="u1"))
    book.drains("answered")
    book.says(Response("u1", {"status_code": 0})).finishes("answered", 10)
    book.hears(request(REQUEST_CERTIFICATE, TICKET), b"garbage").does_nothing_more()
    book.is_told(lambda s: s.send_notification(HEARTBEAT, {})).does_nothing_more()
    book.drains().sees_peer_finish().passes(1000).does_nothing_more()
    assert book.reported("session.send_refused").level is Level.DEBUG
    assert book.session.next_deadline is None


def test_peer_that_finishes_is_finished_with() -> None:
    book = Playbook(member()).opens()
    book.hears(b"5:he").sees_peer_finish().finishes("peer-finished", 10)
    report = book.reported("session.ended")
    assert report.fields["reason"] == "peer-finished"
    assert report.fields["inside_frame"] is True


def test_peer_that_finishes_without_a_word_is_finished_with() -> None:
    book = Playbook(stranger()).starts().sees_peer_finish()
    book.finishes("peer-finished").does_nothing_more()


def test_session_that_never_started_can_be_ended() -> None:
    Playbook(stranger()).drains("stopping").finishes("stopping").does_nothing_more()
    book = Playbook(stranger()).is_told(lambda s: s.lost("handshake-failed"))
    book.does_nothing_more()
    assert book.reported("session.ended").fields["reason"] == "handshake-failed"


def test_lost_connection_ends_the_session_with_its_summary() -> None:
    book = Playbook(member(Relation.CHILD, "agent1")).opens()
    book.passes(3).is_told(lambda s: s.lost("reset")).does_nothing_more()
    assert book.reports == [
        Report(
            Level.INFO,
            "session.ended",
            {
                "peer": "agent1",
                "address": "192.0.2.1:5665",
                "reason": "reset",
                "seconds": 3.0,
                "role": "listener",
                "standing": "member",
                "inside_frame": False,
                "bytes_in": len(real_hello()),
                "bytes_out": book.session.snapshot().counters.bytes_out,
                "frames_in": 1,
                "messages_out": 1,
            },
        )
    ]


def test_session_is_summed_up_once() -> None:
    book = Playbook(member()).opens().drains().sees_peer_finish()
    book.is_told(lambda s: s.lost("closed"))
    assert book.times_reported("session.ended") == 1
    book.hears(b"x").drains().sees_peer_finish().passes(99)
    assert book.times_reported("session.ended") == 1


def test_stranger_that_floods_a_drain_is_cut_off() -> None:
    settings = replace(SETTINGS, drain_discard_bytes_max=10)
    book = Playbook(stranger(), settings=settings).opens().drains().finishes("test")
    book.hears(b"x" * 10).does_nothing_more()
    book.hears(b"x").aborts("flooded-drain").does_nothing_more()
    assert book.reported("session.flooded").fields["bytes"] == 11
    book.hears(b"x").does_nothing_more()


def test_member_may_finish_what_it_was_sending_into_a_drain() -> None:
    settings = replace(SETTINGS, drain_discard_bytes_max=10)
    book = Playbook(member(), settings=settings).opens().drains().finishes("test")
    book.hears(b"x" * 1000).does_nothing_more()


# -- sending ---------------------------------------------------------------------------------


def test_three_kinds_of_messages_are_sent() -> None:
    book = Playbook(member(), Role.DIALLER).opens()
    book.is_told(lambda s: s.send_request("m", {"a": 1}, call=7))
    book.says(Request("m", {"a": 1}, 7))
    book.is_told(lambda s: s.send_response(None, call=None))
    book.says(Response(None, None))
    book.is_told(lambda s: s.send_notification("m", {}, ts=5.5, origin_zone="z"))
    book.says(Notification("m", {}, 5.5, "z"))


def test_nothing_is_sent_before_the_session_opens() -> None:
    book = Playbook(stranger())
    book.is_told(lambda s: s.send_notification("m", {}))
    book.starts().is_told(lambda s: s.send_notification("m", {})).does_nothing_more()
    assert book.counters["refused_sends"] == 2
    # One report in a while is enough.
    assert book.reported("session.send_refused").fields["state"] == "new"
    assert book.times_reported("session.send_refused") == 1


def test_message_larger_than_the_peer_accepts_is_not_sent() -> None:
    for peer, limit in ((stranger(), 1_048_576), (member(), 16_777_216)):
        book = Playbook(peer, Role.DIALLER).opens()
        room = limit - len(b'{"jsonrpc":"2.0","method":"m","params":""}')
        largest = "x" * room
        book.is_told(lambda s, text=largest: s.send_notification("m", text))  # type: ignore[misc]
        book.says(Notification("m", largest))
        too_large = largest + "x"
        book.is_told(lambda s, text=too_large: s.send_notification("m", text))  # type: ignore[misc]
        book.does_nothing_more()
        report = book.reported("session.send_too_large")
        assert report.level is Level.ERROR
        assert report.fields["size"] == limit + 1


# -- looking at it -----------------------------------------------------------------------------


def test_snapshot_shows_the_session_and_is_independent_of_it() -> None:
    book = Playbook(member()).waits(2).starts().waits(1).hears(real_hello(21306))
    book.hears(notification(SET_LOG_POSITION, {"log_position": 9}))
    book.hears(notification("event::CheckResult", {}, ts=-1))
    snapshot = book.session.snapshot()
    assert snapshot.role is Role.LISTENER
    assert snapshot.peer == member()
    assert snapshot.state == "open"
    assert snapshot.began_at == mono(0)
    assert snapshot.last_seen == mono(3)
    assert snapshot.hello == HelloReceived(21306, 7, None)
    assert snapshot.log_position == WALL - 1
    assert snapshot.acknowledged_position == 9
    snapshot.counters.methods.clear()
    assert book.session.snapshot().counters.methods


def test_session_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        session = Playbook(stranger()).starts().session
        alive = weakref.ref(session)
        del session
        assert alive() is None
    finally:
        gc.enable()


# -- two of them ---------------------------------------------------------------------------------


def member_pair(**changes: Any) -> ConnectionPair:
    return ConnectionPair(
        dialler_sees=member(Relation.PARENT, "sat"),
        listener_sees=member(Relation.CHILD, "agent"),
        **changes,
    )


@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_two_sessions_greet_each_other(piece: int) -> None:
    pair = member_pair(piece=piece)
    for side in pair.sides:
        assert side.of(Opened) == [Opened()]
        assert side.of(HelloReceived) == [HelloReceived(21405, 0, our_facts())]


def test_two_sessions_keep_each_other_alive() -> None:
    pair = member_pair()
    pair.pass_seconds(3600)
    for side in pair.sides:
        assert not side.finishing
        assert side.session.snapshot().counters.methods[HEARTBEAT] == 180


@pytest.mark.parametrize("piece", [1, 1_000_000])
def test_request_is_answered_and_drained_between_two_sessions(piece: int) -> None:
    pair = ConnectionPair(
        dialler_sees=stranger(verified=True), listener_sees=stranger(), piece=piece
    )
    pair.do(
        pair.dialler, lambda s, _: s.send_request(REQUEST_CERTIFICATE, TICKET, call=1)
    )
    assert pair.listener.delivered == [Request(REQUEST_CERTIFICATE, TICKET, 1)]
    big = {"status_code": 0, "cert": "c" * 100_000}

    def answer(session: Session, now: Any) -> list[Effect]:
        return [
            *session.send_response(big, call=1),
            *session.send_notification(UPDATE_CERTIFICATE, big),
            *session.drain("answered", now),
        ]

    pair.do(pair.listener, answer)
    assert pair.dialler.delivered == [
        Response(1, big),
        Notification(UPDATE_CERTIFICATE, big),
    ]
    assert all(side.gone for side in pair.sides)


def test_two_sessions_that_drain_at_once_both_end() -> None:
    pair = member_pair()
    effects = [side.session.drain("stop", at(1)) for side in pair.sides]
    for side, orders in zip(pair.sides, effects, strict=True):
        pair.carry_out(side, orders)
    pair.settle()
    assert all(side.gone for side in pair.sides)


# -- every state with every input -------------------------------------------------------------


def in_state(state: State, role: Role, peer: Peer) -> Session:
    book = Playbook(peer, role, replace(SETTINGS, drain_discard_bytes_max=10))
    match state:
        case State.NEW:
            pass
        case State.AWAITING:
            book.starts()
        case State.OPEN:
            book.opens()
        case State.FINISHING:
            book.opens().drains()
        case State.CLOSED:
            book.opens().is_told(lambda s: s.lost("test"))
    assert book.session.snapshot().state == state.value
    return book.session


def hold(session: Session) -> list[Effect]:
    session.hold()
    return []


def release(session: Session) -> list[Effect]:
    session.release(at(1))
    return []


INPUTS: dict[str, tuple[Callable[[Session], list[Effect]], frozenset[Signal]]] = {
    "start": (
        lambda s: s.start(at(1)),
        frozenset({Signal.START_DIALLER, Signal.START_LISTENER}),
    ),
    "digit": (lambda s: s.receive(b"1", at(1)), frozenset({Signal.BYTES})),
    "frame": (lambda s: s.receive(real_hello(), at(1)), frozenset({Signal.BYTES})),
    "other": (lambda s: s.receive(b"GET /", at(1)), frozenset({Signal.BYTES})),
    "nothing": (lambda s: s.receive(b"", at(1)), frozenset()),
    "tick": (lambda s: s.tick(at(1)), frozenset()),
    "late tick": (lambda s: s.tick(at(1000)), frozenset()),
    "send": (lambda s: s.send_notification("m", {}), frozenset({Signal.SEND})),
    "drain": (lambda s: s.drain("d", at(1)), frozenset({Signal.DRAIN})),
    "peer finished": (
        lambda s: s.peer_finished(at(1)),
        frozenset({Signal.PEER_FINISHED}),
    ),
    "lost": (lambda s: s.lost("l"), frozenset({Signal.LOST})),
    "hold": (hold, frozenset()),
    "release": (release, frozenset()),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("peer", [member(), stranger()], ids=["member", "stranger"])
@pytest.mark.parametrize(
    "state,role",
    [
        (state, role)
        for state in State
        for role in Role
        if (state, role) != (State.AWAITING, Role.DIALLER)  # never awaits
    ],
)
def test_every_input_in_every_state_is_handled_or_a_bug_of_the_owner(
    state: State, role: Role, peer: Peer, name: str
) -> None:
    session = in_state(state, role, peer)
    call, signals = INPUTS[name]
    before = session.snapshot()
    legal = not signals or any((state, signal) in TRANSITIONS for signal in signals)
    if state is State.AWAITING and Signal.BYTES in signals:
        legal = True  # the first byte is classified, then handled
    if not legal:
        assert name in {"start", "digit", "frame", "other"}
        with pytest.raises(SessionMisused):
            call(session)
        assert session.snapshot().state == before.state
        return
    effects = call(session)
    after = session.snapshot().state
    finished = any(isinstance(effect, Finish) for effect in effects)
    assert finished == (before.state != "finishing" and after == "finishing")
    if state in {State.FINISHING, State.CLOSED}:
        assert not any(isinstance(effect, Transmit) for effect in effects)
    assert (session.next_deadline is None) == (after in {"new", "finishing", "closed"})


# -- whatever a peer and a clock may do ----------------------------------------------------------

FRAMES = st.sampled_from(
    [
        real_hello(),
        notification(HEARTBEAT, {}),
        notification("event::CheckResult", {}, ts=1),
        notification("event::CheckResult", {}, ts=-1),
        notification("config::Update", {"x": "y" * 70_000}, ts=2),
        notification(SET_LOG_POSITION, {"log_position": 3}),
        notification(SET_LOG_POSITION, {"log_position": "x"}),
        request(REQUEST_CERTIFICATE, TICKET),
        request("made::Up", {}),
        request("config::Update", None, call=None),
        response({"a": 1}),
        netstring.encode(b"[]"),
        netstring.encode(b""),
        b"01:x,",
        b"GET / HTTP/1.1\r\n",
    ]
)
STEPS = st.one_of(
    st.tuples(st.just("hears"), FRAMES),
    st.tuples(st.just("hears"), st.binary(max_size=20)),
    st.tuples(st.just("passes"), st.floats(0, 70)),
    st.tuples(st.just("waits"), st.floats(0, 70)),
    st.tuples(st.just("sends"), st.just(0)),
    st.tuples(st.just("holds"), st.none() | st.floats(0, 100)),
    st.tuples(st.just("releases"), st.just(0)),
    st.tuples(st.just("drains"), st.just(0)),
    st.tuples(st.just("peer finishes"), st.just(0)),
    st.tuples(st.just("loses"), st.just(0)),
)
PEERS = st.sampled_from(
    [stranger(), stranger(verified=True), *(member(relation) for relation in Relation)]
)


def carry_out(book: Playbook, step: str, value: Any) -> None:
    match step:
        case "hears":
            book.hears(value)
        case "passes":
            book.passes(value)
        case "waits":
            book.waits(value)
        case "sends":
            book.is_told(lambda s: s.send_notification("m", {}))
        case "holds":
            book.session.hold(None if value is None else mono(value))
        case "releases":
            book.session.release(at(book.seconds))
        case "drains":
            book.drains()
        case "peer finishes":
            book.sees_peer_finish()
        case "loses":
            book.is_told(lambda s: s.lost("test"))


@given(peer=PEERS, role=st.sampled_from(Role), steps=st.lists(STEPS, max_size=30))
def test_whatever_happens_gives_effects_in_good_order(
    peer: Peer, role: Role, steps: list[tuple[str, Any]]
) -> None:
    book = Playbook(peer, role).starts()
    for step, value in steps:
        carry_out(book, step, value)
    kinds = [type(effect) for effect in book.effects]
    assert kinds.count(Finish) <= 1
    assert kinds.count(Opened) <= 1
    assert kinds.count(HelloReceived) <= 1
    if Finish in kinds:
        assert not {Transmit, Opened} & set(kinds[kinds.index(Finish) :])
    assert book.times_reported("session.ended") <= 1
    deadline = book.session.next_deadline
    assert deadline is None or book.session.snapshot().state in {"awaiting", "open"}


@given(
    peer=PEERS,
    role=st.sampled_from(Role),
    pieces=st.lists(FRAMES | st.binary(max_size=9), max_size=8),
    cut=st.integers(1, 5),
)
def test_cuts_between_bytes_change_nothing(
    peer: Peer, role: Role, pieces: list[bytes], cut: int
) -> None:
    data = b"".join(pieces)
    whole = Playbook(peer, role).starts().hears(data)
    parts = Playbook(peer, role).starts()
    step = cut if len(data) < 1000 else 997 * cut
    for start in range(0, len(data), step):
        parts.hears(data[start : start + step])
    assert parts.effects == whole.effects
    if not any(isinstance(effect, Finish) for effect in whole.effects):
        assert parts.reports == whole.reports
        assert parts.session.snapshot() == whole.session.snapshot()


def test_no_effect_shows_a_ticket_in_its_repr() -> None:
    book = Playbook(stranger()).starts().hears(request(REQUEST_CERTIFICATE, TICKET))
    book.is_told(lambda s: s.send_request(REQUEST_CERTIFICATE, TICKET, call=1))
    assert "s3cret" not in repr(book.effects)
