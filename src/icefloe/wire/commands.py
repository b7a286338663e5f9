"""Messages about executing commands, as far as a node that executes none needs them.

A command that stays unanswered leaves a check without news for minutes, so it is
answered at once: with an unknown check result, or with an exit status of 126.

Source: protocol, "event::ExecuteCommand", "CheckResult object" and "Executions".
"""

from __future__ import annotations

from dataclasses import dataclass

from icefloe.wire import params as read

STATE_UNKNOWN = 3
"""State of a check result whose check could not be made."""

EXIT_NOT_ACCEPTED = 126
"""Exit status of a command that a node does not accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteCommand:
    """Asks a node to run a command (`event::ExecuteCommand`).

    Attributes:
        command_type: `check_command`, `event_command` or `notification_command`; empty
            if absent.
        command: Name of the command object; empty if absent.
        host: Host the result is for, to be returned as it came; empty if absent.
        service: Service the result is for, None for the host itself.
        source: Execution UUID if the execute-command action asked; then the answer is
            an `ExecutedCommand`.  None otherwise.
        endpoint: Name of the node that is to run it, None for the receiver.
        deadline: Unix seconds after which no answer is wanted, or None.
    """

    command_type: str = ""
    command: str = ""
    host: str = ""
    service: str | None = None
    source: str | None = None
    endpoint: str | None = None
    deadline: float | None = None

    @classmethod
    def parse(cls, params: object) -> ExecuteCommand:
        """Read `params`; raises `MessageError`."""
        given = read.as_object(params)
        return cls(
            command_type=read.text(given, "command_type"),
            command=read.text(given, "command"),
            host=read.text(given, "host"),
            service=read.text(given, "service") or None,
            source=read.text(given, "source") or None,
            endpoint=read.text(given, "endpoint") or None,
            deadline=read.number(given, "deadline"),
        )

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send, without macros."""
        optional = {
            "service": self.service,
            "source": self.source,
            "endpoint": self.endpoint,
            "deadline": self.deadline,
        }
        required: dict[str, object] = {
            "command_type": self.command_type,
            "command": self.command,
            "host": self.host,
            "macros": {},
        }
        present = {key: value for key, value in optional.items() if value is not None}
        return required | present


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedCommand:
    """Answers an `ExecuteCommand` that has a `source` (`event::ExecutedCommand`).

    Attributes:
        host: As in the command.
        service: As in the command.
        execution: The command's `source`.
        exit: Exit status.
        output: What the command printed, or why it did not run.
        start: Unix seconds.
        end: Unix seconds.
    """

    host: str
    service: str | None
    execution: str
    exit: int
    output: str
    start: float
    end: float

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send."""
        return _of_checkable(self.host, self.service) | {
            "execution": self.execution,
            "exit": self.exit,
            "output": self.output,
            "start": self.start,
            "end": self.end,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCheckResult:
    """Answers a check that was not made (`event::CheckResult`, state 3).

    Attributes:
        host: As in the command.
        service: As in the command.
        output: Why the check was not made.
        check_source: Name of the answering node.
        at: Unix seconds.
    """

    host: str
    service: str | None
    output: str
    check_source: str
    at: float

    def to_params(self) -> dict[str, object]:
        """Return the `params` to send."""
        result = {
            "type": "CheckResult",
            "schedule_start": self.at,
            "schedule_end": self.at,
            "execution_start": self.at,
            "execution_end": self.at,
            "command": None,
            "exit_status": STATE_UNKNOWN,
            "state": STATE_UNKNOWN,
            "output": self.output,
            # A receiver ignores the whole result without this key and stores OK.
            "performance_data": [],
            "active": True,
            "check_source": self.check_source,
            "vars_before": None,
            "vars_after": None,
        }
        return _of_checkable(self.host, self.service) | {"cr": result}


def _of_checkable(host: str, service: str | None) -> dict[str, object]:
    # A host's message has no key `service`, not even a null.
    checkable: dict[str, object] = {"host": host}
    return checkable if service is None else checkable | {"service": service}
