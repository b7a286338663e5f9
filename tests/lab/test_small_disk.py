from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from icefloe.lab import small_disk
from icefloe.lab.small_disk import NoSmallDisk, SmallDisk, why_no_small_disk
from tests.peer_gate import peers_are_required

needs_root = pytest.mark.skipif(
    why_no_small_disk() is not None and not peers_are_required(),
    reason=str(why_no_small_disk()),
)


@needs_root
def test_a_small_disk_fills_up_and_has_room_again(tmp_path: Path) -> None:
    with SmallDisk.mounted(tmp_path, kilobytes=256) as disk:
        disk.fill()
        assert os.statvfs(tmp_path).f_bavail == 0
        with pytest.raises(OSError, match=r".*") as caught:
            (tmp_path / "more").write_bytes(bytes(5000))
        assert caught.value.errno == errno.ENOSPC
        disk.free()
        (tmp_path / "more").write_bytes(bytes(5000))
        disk.fill()
        disk.fill()
        disk.free()
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_children_see_it_and_the_rest_of_the_machine_does_not(tmp_path: Path) -> None:
    """So nothing is left mounted, however this process ends."""
    with SmallDisk.mounted(tmp_path, kilobytes=256):
        (tmp_path / "here").touch()
        seen = subprocess.run(["ls", tmp_path], capture_output=True, check=True)
        assert seen.stdout == b"here\n"
        outside = Path("/proc/1/mountinfo").read_text()
        assert str(tmp_path) not in outside


@needs_root
def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(NoSmallDisk, match=r"mount: .*missing"),
        SmallDisk.mounted(tmp_path / "missing", kilobytes=256),
    ):
        pass


def test_without_root_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(small_disk, "_CAP_SYS_ADMIN", 63)  # nobody has that one
    monkeypatch.setattr(small_disk, "_is_alone", False)
    with (
        pytest.raises(NoSmallDisk, match="needs root"),
        SmallDisk.mounted(tmp_path, kilobytes=256),
    ):
        pass
