"""A path is not canaried more often than is good for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from icefloe.doors import WallTime
from icefloe.enrollment.requester import Parent
from icefloe.node.checks.canary_cap import CanaryMemory
from icefloe.node.checks.canary_run import CanaryProblem
from icefloe.node.checks.plugin import Outcome, PluginState

NOBODY = 65534
AT = WallTime(1_800_000_000.0)
REFUSED = Outcome(
    name="ENROLLMENT",
    state=PluginState.CRITICAL,
    kind="refused",
    text="refused by master1",
)


@pytest.fixture
def memory(tmp_path: Path) -> CanaryMemory:
    return CanaryMemory(tmp_path / "state", Parent("sat1", 5665), "c", 300.0)


def later(seconds: float) -> WallTime:
    return WallTime(AT + seconds)


def test_the_last_result_is_given_again_with_its_age(memory: CanaryMemory) -> None:
    assert memory.begin(AT) is None
    memory.end(REFUSED, AT)
    again = memory.begin(later(299.0))
    assert again is not None
    assert (again.state, again.kind) == (REFUSED.state, REFUSED.kind)
    assert again.text.startswith("refused by master1 (held back: this was 299 s ago")
    assert memory.begin(later(300.0)) is None


def test_a_run_that_has_not_ended_is_unknown(memory: CanaryMemory) -> None:
    assert memory.begin(AT) is None
    again = memory.begin(later(2.0))
    assert again is not None
    assert (again.state, again.kind) == (PluginState.UNKNOWN, "held-back")


def test_each_path_has_its_own_bound(memory: CanaryMemory) -> None:
    assert memory.begin(AT) is None
    other = replace(memory, parent=Parent("sat2", 5665))
    assert other.begin(AT) is None


def test_a_clock_that_was_set_back_blocks_nothing(memory: CanaryMemory) -> None:
    assert memory.begin(AT) is None
    assert memory.begin(later(-1000.0)) is None


@pytest.mark.parametrize(
    "content", [b"", b"not json", b'{"began_at": 1, "exit_code": 9}']
)
def test_a_memory_that_nobody_can_read_is_begun_anew(
    memory: CanaryMemory, content: bytes
) -> None:
    memory.directory.mkdir()
    memory.path.write_bytes(content)
    assert memory.begin(AT) is None


def test_without_a_bound_nothing_is_remembered(memory: CanaryMemory) -> None:
    unbound = replace(memory, interval=0.0)
    assert unbound.begin(AT) is None
    unbound.end(REFUSED, AT)
    assert not memory.directory.exists()


def test_what_cannot_be_remembered_is_told(memory: CanaryMemory) -> None:
    memory.directory.write_text("a file in its place")
    with pytest.raises(CanaryProblem, match="--state-dir"):
        memory.begin(AT)


def test_the_files_are_for_their_owner_alone(memory: CanaryMemory) -> None:
    memory.begin(AT)
    assert memory.directory.stat().st_mode & 0o777 == 0o700
    assert memory.path.stat().st_mode & 0o777 == 0o600


def test_a_run_that_came_to_nothing_holds_nobody_back(memory: CanaryMemory) -> None:
    assert memory.begin(AT) is None
    memory.forget()
    assert memory.begin(later(1.0)) is None


def test_a_run_without_a_bound_forgets_nothing_of_the_bound_ones(
    memory: CanaryMemory,
) -> None:
    assert memory.begin(AT) is None
    memory.end(REFUSED, AT)
    unbound = replace(memory, interval=0.0)
    assert unbound.begin(later(1.0)) is None
    unbound.forget()
    again = memory.begin(later(2.0))
    assert again is not None
    assert again.kind == REFUSED.kind


def test_no_directory_is_made_but_the_last(memory: CanaryMemory) -> None:
    deeper = replace(memory, directory=memory.directory / "deeper")
    with pytest.raises(CanaryProblem, match="No such file or directory"):
        deeper.begin(AT)
    assert not memory.directory.exists()


def test_another_name_of_a_file_is_not_written_to(
    memory: CanaryMemory, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    memory.directory.mkdir()
    memory.path.hardlink_to(victim)
    with pytest.raises(CanaryProblem, match="another file's name"):
        memory.begin(AT)
    assert victim.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="it is about root")
def test_root_follows_no_link_of_the_daemon_user(
    memory: CanaryMemory, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    memory.directory.symlink_to(victim)
    os.chown(memory.directory, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(CanaryProblem, match="made by the user id 65534"):
        memory.begin(AT)
    (victim / memory.path.name).write_text("kept")
    memory.forget()
    assert [each.read_text() for each in victim.iterdir()] == ["kept"]
