"""The terminal of the tests: a missing tmux is noticed, an exit code is told."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.peer_gate import REQUIRE_VARIABLE
from tests.terminal import Terminal, require_tmux, squeezed


def test_a_missing_tmux_is_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv(REQUIRE_VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install tmux"):
        require_tmux()


def test_a_missing_tmux_is_a_failure_where_peers_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv(REQUIRE_VARIABLE, "1")
    with pytest.raises(pytest.fail.Exception, match="forbids to skip"):
        require_tmux()


def test_what_is_typed_is_heard_and_the_exit_code_is_told() -> None:
    script = 'printf "Name: "; read name; echo "Hello $name"; exit 7'
    with Terminal(["sh", "-c", script], environment=os.environ) as terminal:
        terminal.answer("Name", "you").expect("Hello you")
        assert terminal.expect_end() == 7


def test_ctrl_c_ends_the_program_and_its_code_is_still_told() -> None:
    script = "echo ready; exec sleep 1000"
    with Terminal(["sh", "-c", script], environment=os.environ) as terminal:
        terminal.expect("ready").press("C-c")
        assert terminal.expect_end() == 130


def test_line_breaks_of_the_terminal_do_not_count() -> None:
    assert squeezed("a  b\n   c") == "a b c"
