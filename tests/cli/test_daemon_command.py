"""`icefloe daemon`: what its options come to."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cli.command import Command


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Keep what the daemon would have been called with; it ends with 3."""
    made: list[tuple[str, dict[str, Any]]] = []

    def stand_in(name: str) -> Any:
        def call(**options: Any) -> int:
            made.append((name, options))
            return 3

        return call

    for name in ("run", "validate"):
        monkeypatch.setattr(f"icefloe.node.daemon.{name}", stand_in(name))
    return made


def test_it_runs_in_the_nodes_directories(icefloe: Command, calls: Any) -> None:
    assert icefloe("daemon").code == 3
    assert calls == [
        (
            "run",
            {
                "directories": icefloe.directories,
                "without_monitoring": False,
                "log_level": 20,
                "log_json": False,
            },
        )
    ]


def test_its_options_reach_it(icefloe: Command, calls: Any) -> None:
    icefloe("daemon", "--without-monitoring", "--log-format", "json", "-x", "debug")
    ((_, options),) = calls
    assert options["without_monitoring"]
    assert options["log_json"]
    assert options["log_level"] == 10


@pytest.mark.parametrize("option", ["-C", "--validate"])
def test_validation_starts_nothing(icefloe: Command, calls: Any, option: str) -> None:
    assert icefloe("daemon", option).code == 3
    expected = {"directories": icefloe.directories, "without_monitoring": False}
    assert calls == [("validate", expected)]


def test_options_of_icingas_service_files_are_accepted(
    icefloe: Command, calls: Any
) -> None:
    done = icefloe("daemon", "--close-stdio", "-e", "/dev/null", "-c", "icinga2.conf")
    assert len(calls) == 1
    assert done.err.count("warning/cli: ") == 3


@pytest.mark.parametrize("option", ["-d", "--daemonize", "-z", "--no-config"])
def test_what_cannot_be_done_is_refused(
    icefloe: Command, calls: Any, option: str
) -> None:
    done = icefloe("daemon", option)
    assert done.code == 1
    assert "service manager" in done.err
    assert calls == []
