"""Commands that are asked of us, and how we say that they were not run."""

from __future__ import annotations

import pytest

from icefloe.wire.commands import (
    EXIT_NOT_ACCEPTED,
    STATE_UNKNOWN,
    ExecuteCommand,
    ExecutedCommand,
    UnknownCheckResult,
)
from icefloe.wire.errors import MessageError


def test_check_command_of_a_host_is_read() -> None:
    params = {"command_type": "check_command", "command": "ping", "host": "h"}
    command = ExecuteCommand.parse(params | {"macros": {"a": [1]}, "x": None})
    assert command == ExecuteCommand(
        command_type="check_command", command="ping", host="h"
    )
    assert command.to_params() == params | {"macros": {}}


def test_command_of_the_action_is_read() -> None:
    params = {
        "command_type": "event_command",
        "command": "restart",
        "host": "h",
        "service": "s",
        "source": "uuid",
        "endpoint": "agent",
        "deadline": 5.5,
        "macros": {},
    }
    command = ExecuteCommand.parse(params)
    assert command.source == "uuid"
    assert command.to_params() == params


def test_absent_and_null_are_the_same_in_a_command() -> None:
    nothing = ExecuteCommand.parse({})
    assert nothing == ExecuteCommand()
    keys = ("command_type", "host", "service", "source", "endpoint", "deadline")
    assert ExecuteCommand.parse(dict.fromkeys(keys)) == nothing


@pytest.mark.parametrize(
    "params", [None, [], {"host": 5}, {"service": []}, {"deadline": "soon"}]
)
def test_command_with_a_strange_value_is_an_error(params: object) -> None:
    with pytest.raises(MessageError):
        ExecuteCommand.parse(params)


@pytest.mark.parametrize("service", [None, "s"])
def test_answers_name_the_checkable_as_the_command_did(service: str | None) -> None:
    executed = ExecutedCommand(
        host="h",
        service=service,
        execution="uuid",
        exit=EXIT_NOT_ACCEPTED,
        output="no",
        start=1.0,
        end=2.0,
    ).to_params()
    result = UnknownCheckResult(
        host="h", service=service, output="no", check_source="node", at=1.5
    ).to_params()
    for params in (executed, result):
        assert params["host"] == "h"
        assert params.get("service") == service
        assert ("service" in params) == (service is not None)
    assert executed["exit"] == 126
    assert executed["execution"] == "uuid"


def test_unknown_check_result_has_performance_data_or_it_would_be_stored_as_ok() -> (
    None
):
    params = UnknownCheckResult(
        host="h", service=None, output="no", check_source="node", at=1.5
    ).to_params()
    result = params["cr"]
    assert isinstance(result, dict)
    assert result["performance_data"] == []
    assert result["state"] == result["exit_status"] == STATE_UNKNOWN
    assert result["type"] == "CheckResult"
    assert result["check_source"] == "node"
    assert {result[f"execution_{end}"] for end in ("start", "end")} == {1.5}
