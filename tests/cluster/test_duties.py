"""What a node owes that runs no checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.duties import (
    ChildAlarm,
    Declined,
    Reply,
    child_alarm,
    decline_command,
)
from icefloe.cluster.effects import HelloReceived
from icefloe.cluster.peer import Peer
from icefloe.cluster.zones import Endpoint, Relation, Zone, ZoneTree
from icefloe.wire.jsonrpc import Notification, Request
from tests.cluster.helpers import WALL, at, member, stranger

TREE = ZoneTree(
    zones=[
        Zone("master", ("m1",)),
        Zone("eu", ("sat1", "sat2"), parent="master"),
        Zone("a1", ("agent1",), parent="eu"),
        Zone("us", ("sat3",), parent="master"),
    ],
    endpoints=[Endpoint(n) for n in ("m1", "sat1", "sat2", "sat3", "agent1")],
    node_name="sat1",
)
MASTER = replace(member(Relation.PARENT, "m1"), zone="master")
TWIN = replace(member(Relation.SAME_ZONE, "sat2"), zone="eu")
CHECK = {
    "command_type": "check_command",
    "command": "disk",
    "host": "web 1",
    "service": "disk /",
    "macros": {"disk_wfree": "1%"},
}
EXECUTION = {**CHECK, "source": "uuid-1", "deadline": WALL + 60}


def declined(
    params: object = CHECK, *, peer: Peer = MASTER, origin_zone: str | None = None
) -> Declined:
    message = Notification("event::ExecuteCommand", params, None, origin_zone)
    return decline_command(message, peer=peer, tree=TREE, now=at(0).wall)


def reply(params: object, **given: Any) -> Reply:
    outcome = declined(params, **given)
    assert outcome.reason == "answered"
    assert outcome.reply is not None
    return outcome.reply


@pytest.mark.parametrize("peer", [MASTER, TWIN])
def test_check_is_answered_unknown_with_the_reason(peer: Peer) -> None:
    answer = reply(CHECK, peer=peer)
    assert answer.method == "event::CheckResult"
    assert answer.params["host"] == "web 1"
    assert answer.params["service"] == "disk /"
    result = answer.params["cr"]
    assert isinstance(result, dict)
    assert result["type"] == "CheckResult"
    assert result["state"] == 3
    assert result["output"] == (
        "'sat1' is an Icefloe node, which enrolls certificates and does not execute"
        " checks. The check was not made."
    )
    # Without this key a receiver stores OK.
    assert result["performance_data"] == []
    assert result["check_source"] == "sat1"
    # A receiver takes 0 for its own now; ours might be behind and so be discarded.
    assert result["execution_start"] == result["execution_end"] == 0


def test_check_of_a_host_is_answered_without_a_service() -> None:
    params = {key: value for key, value in CHECK.items() if key != "service"}
    assert "service" not in reply(params).params


def test_request_with_an_id_is_answered_too() -> None:
    message = Request("event::ExecuteCommand", CHECK, 1)
    outcome = decline_command(message, peer=MASTER, tree=TREE, now=at(0).wall)
    assert outcome.reason == "answered"


@pytest.mark.parametrize("kind", ["event_command", "notification_command", ""])
def test_other_commands_without_a_source_are_not_answered(kind: str) -> None:
    """A check result for them would be stored as if the check had been made."""
    assert declined({**CHECK, "command_type": kind}) == Declined("not-a-check")


@pytest.mark.parametrize("kind", ["check_command", "event_command"])
def test_execution_is_answered_with_exit_126(kind: str) -> None:
    answer = reply({**EXECUTION, "command_type": kind})
    assert answer.method == "event::ExecutedCommand"
    assert answer.params == {
        "host": "web 1",
        "service": "disk /",
        "execution": "uuid-1",
        "exit": 126,
        "output": (
            "'sat1' is an Icefloe node, which enrolls certificates and does not"
            " execute checks. The command was not run."
        ),
        "start": WALL,
        "end": WALL,
    }


def test_execution_for_a_node_below_us_is_not_passed_on() -> None:
    answer = reply({**EXECUTION, "endpoint": "agent1"})
    assert "not passed on to 'agent1'" in str(answer.params["output"])
    assert "was not run" in str(reply({**EXECUTION, "endpoint": "sat1"}).params)


@pytest.mark.parametrize("endpoint", ["m1", "sat3", "nobody"])
def test_execution_for_a_node_not_below_us_is_not_answered(endpoint: str) -> None:
    assert declined({**EXECUTION, "endpoint": endpoint}) == Declined("not-for-us")


def test_execution_whose_deadline_has_passed_is_not_answered() -> None:
    late = {**EXECUTION, "deadline": WALL - 1}
    assert declined(late) == Declined("deadline-passed")
    for deadline in (WALL, None):
        assert declined({**EXECUTION, "deadline": deadline}).reason == "answered"


@pytest.mark.parametrize(
    "peer",
    [
        stranger(),
        stranger(verified=True),
        *(
            member(relation)
            for relation in Relation
            if relation not in {Relation.PARENT, Relation.SAME_ZONE}
        ),
    ],
)
def test_only_own_zone_and_direct_parent_are_answered(peer: Peer) -> None:
    assert declined(peer=peer) == Declined("not-a-parent")


@pytest.mark.parametrize(
    "peer,origin_zone,answered",
    [
        (TWIN, None, True),
        (TWIN, "master", True),
        (TWIN, "eu", True),
        (TWIN, "a1", False),
        (TWIN, "us", False),
        # From another zone it is not believed, and its sender's zone counts.
        (MASTER, "a1", True),
    ],
)
def test_peer_of_our_zone_passes_on_what_came_from_above(
    peer: Peer, origin_zone: str, *, answered: bool
) -> None:
    outcome = declined(peer=peer, origin_zone=origin_zone)
    assert outcome.reason == ("answered" if answered else "not-a-parent")


@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        "x",
        {},
        {**CHECK, "host": ""},
        {**CHECK, "host": 5},
        {**CHECK, "host": "h" * 4097},
        {**CHECK, "service": "s" * 4097},
        {**CHECK, "service": {}},
        {**EXECUTION, "source": "u" * 4097},
        {**EXECUTION, "deadline": "soon"},
    ],
)
def test_malformed_command_is_not_answered(params: object) -> None:
    assert declined(params) == Declined("malformed")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*EXECUTION, "endpoint"]),
        JSON | st.sampled_from(["check_command", "agent1", "h"]),
    )
)
def test_whatever_is_asked_is_answered_or_declined(params: dict[str, object]) -> None:
    outcome = declined(params)
    assert (outcome.reply is not None) == (outcome.reason == "answered")


# -- real children -----------------------------------------------------------------------

REAL = HelloReceived(21605, 7, None)


def test_real_icinga_node_below_us_is_an_alarm() -> None:
    child = replace(member(Relation.CHILD, "agent1"), zone="a1")
    alarm = child_alarm(child, REAL)
    assert alarm == ChildAlarm("agent1", "a1", "2.16.5", alarm.text if alarm else "")
    assert alarm.text.startswith(
        "'agent1' in the child zone 'a1' is a real Icinga 2.16.5 node."
    )
    assert child_alarm(member(Relation.DESCENDANT), REAL) is not None


@pytest.mark.parametrize(
    "peer,hello",
    [
        (member(Relation.CHILD), None),
        (member(Relation.CHILD), HelloReceived(21405, 0, {})),
        (member(Relation.PARENT), REAL),
        (member(Relation.SAME_ZONE), REAL),
        (member(Relation.UNRELATED), REAL),
        (stranger(verified=True), REAL),
    ],
)
def test_everybody_else_is_no_alarm(peer: Peer, hello: HelloReceived | None) -> None:
    assert child_alarm(peer, hello) is None
