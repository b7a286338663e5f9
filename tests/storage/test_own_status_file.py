"""The record of a node's own certificate, in its file."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.enrollment.own_status import OwnStatus
from icefloe.storage.own_status_file import (
    OWN_STATUS_NAME,
    read_own_status,
    write_own_status,
)

STATUS = OwnStatus(
    state="rolled-back",
    since=WallTime(1_700_000_000.5),
    parent="m1",
    next_attempt=WallTime(1_700_003_600.0),
    code="rolled-back",
    detail='m1 said: "no"\n\x1b[31m',
    certificate_ends=WallTime(1_710_000_000.0),
    renew_at=WallTime(1_705_000_000.0),
)


@pytest.fixture
def directories(tmp_path: Path) -> NodeDirectories:
    made = NodeDirectories(config_dir=tmp_path / "etc", data_dir=tmp_path / "lib")
    made.own_dir.mkdir(parents=True)
    return made


def path_of(directories: NodeDirectories) -> Path:
    return directories.own_dir / OWN_STATUS_NAME


def test_what_is_written_is_read(directories: NodeDirectories) -> None:
    assert read_own_status(directories) is None
    assert write_own_status(directories, STATUS, owner=None)
    assert read_own_status(directories) == STATUS
    assert stat.S_IMODE(path_of(directories).stat().st_mode) == 0o600


def test_the_same_is_not_written_again(directories: NodeDirectories) -> None:
    write_own_status(directories, STATUS, owner=None)
    before = path_of(directories).stat().st_ino
    assert not write_own_status(directories, STATUS, owner=None)
    assert path_of(directories).stat().st_ino == before


def test_a_state_that_goes_on_in_another_life_keeps_its_beginning(
    directories: NodeDirectories,
) -> None:
    write_own_status(directories, STATUS, owner=None)
    later = replace(STATUS, since=WallTime(1_800_000_000.0), detail="still")
    write_own_status(directories, later, owner=None)
    assert read_own_status(directories) == replace(later, since=STATUS.since)
    other = replace(later, state="healthy", code="")
    write_own_status(directories, other, owner=None)
    assert read_own_status(directories) == other


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"state": "healthy"}',
        b'{"state": "fine", "since": 1}',
        b'{"state": "healthy", "since": true}',
        b"[" * 10_000,
    ],
)
def test_a_file_that_is_no_record_says_nothing_and_is_replaced(
    directories: NodeDirectories, content: bytes
) -> None:
    path_of(directories).write_bytes(content)
    assert read_own_status(directories) is None
    assert write_own_status(directories, STATUS, owner=None)
    assert read_own_status(directories) == STATUS


def test_fields_of_another_kind_are_as_if_absent(directories: NodeDirectories) -> None:
    path_of(directories).write_bytes(
        b'{"state": "healthy", "since": 5, "parent": 7, "renew_at": "soon"}'
    )
    assert read_own_status(directories) == OwnStatus("healthy", WallTime(5.0))
