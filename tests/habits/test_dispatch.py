"""The rows of the table in `icefloe.habits.dispatch`."""

from __future__ import annotations

import pytest
from tests.habits.world import (
    DOWN,
    NOW,
    UP,
    root,
    satellite,
    self_signed,
    signed,
)

from icefloe.cluster.zones import Relation
from icefloe.enrollment.events import CallId
from icefloe.habits import (
    Effect,
    HabitualSatellite,
    InstallIdentity,
    Notify,
    Reply,
    ReplyEmpty,
    ReplyError,
    deliver,
)
from icefloe.wire.catalogue import (
    HEARTBEAT,
    REQUEST_CERTIFICATE,
    UPDATE_CERTIFICATE,
    UpdateCertificate,
)
from icefloe.wire.jsonrpc import Message, Notification, Request, Response

CALL = CallId(None)  # a null id is an id


@pytest.fixture
def node() -> HabitualSatellite:
    made = satellite("2.14.5")
    made.on_member_up(UP, name="master1", relation=Relation.PARENT)
    made.on_anonymous_up(DOWN, now=NOW)
    return made


@pytest.mark.parametrize(
    "method, params, answer",
    [
        ("no::Such", {}, ReplyEmpty(DOWN, CALL)),
        ("no::Such", None, ReplyEmpty(DOWN, CALL)),
        (HEARTBEAT, {}, Reply(DOWN, CALL, None)),
        (REQUEST_CERTIFICATE, None, Reply(DOWN, CALL, None)),
        (UPDATE_CERTIFICATE, None, Reply(DOWN, CALL, None)),
    ],
)
def test_a_message_is_answered_only_if_it_has_an_id(
    node: HabitualSatellite, method: str, params: object, answer: Effect
) -> None:
    assert deliver(node, DOWN, Request(method, params, None), now=NOW) == [answer]
    assert deliver(node, DOWN, Notification(method, params), now=NOW) == []


@pytest.mark.parametrize("method", [REQUEST_CERTIFICATE, UPDATE_CERTIFICATE])
def test_params_of_a_wrong_shape_are_an_exception(
    node: HabitualSatellite, method: str
) -> None:
    (reply,) = deliver(node, DOWN, Request(method, [], None), now=NOW)
    assert isinstance(reply, ReplyError)
    assert deliver(node, DOWN, Notification(method, []), now=NOW) == []


def test_a_request_reaches_the_node(node: HabitualSatellite) -> None:
    forwarded, reply = deliver(
        node,
        DOWN,
        Request(REQUEST_CERTIFICATE, {"ticket": "t"}, "id"),
        now=NOW,
        presented=self_signed("agent1"),
    )
    assert isinstance(forwarded, Notify)
    assert isinstance(reply, Reply)
    assert reply.call == CallId("id")


def test_an_update_reaches_the_node(node: HabitualSatellite) -> None:
    update = UpdateCertificate(cert=signed("satellite1", key_number=20), ca=root())
    first, second, *_closes = deliver(
        node, UP, Request(UPDATE_CERTIFICATE, update.to_params(), None), now=NOW
    )
    assert first == Reply(UP, CALL, None)
    assert isinstance(second, InstallIdentity)


@pytest.mark.parametrize(
    "message", [Response("id", {}), Response("id", None, error="stack")]
)
def test_a_response_is_dropped(node: HabitualSatellite, message: Message) -> None:
    assert deliver(node, UP, message, now=NOW) == []


def test_an_outdated_message_is_dropped_without_an_answer(
    node: HabitualSatellite,
) -> None:
    deliver(node, UP, Notification(HEARTBEAT, {}, ts=100.0), now=NOW)
    late = Request(HEARTBEAT, {}, "id", ts=99.0)
    assert deliver(node, UP, late, now=NOW) == []
