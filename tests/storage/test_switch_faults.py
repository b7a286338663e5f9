"""A switch that is killed, or finds the disk full, at each of its steps in turn.

Whatever happens, the node has wholly its old identity or wholly its new one once the
journal has recovered, and doing the same again finishes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.pki.makers import AGENT, NOW
from tests.storage.disk_steps import count_steps, die_at, full_at
from tests.storage.power_cuts import images_after, lay_out
from tests.storage.small_disks import fill
from tests.storage.switches import (
    SWITCHES,
    Places,
    Switch,
    check_done,
    check_restored,
    check_whole,
    copy_place,
    directories_in,
    files_in,
    journal_in,
)

from icefloe.errors import IcefloeError
from icefloe.storage.backups import list_backups
from icefloe.storage.identity import load_identity
from icefloe.storage.rotation import rotation_files
from icefloe.storage.switching import Phase

each_switch = pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)


def finish(root: Path, switch: Switch) -> None:
    """Do it again, and check that it is done."""
    switch.act(root)
    check_done(root, switch)
    if switch is SWITCHES["restore"]:
        check_restored(root)
        assert all(not each.damage for each in list_backups(directories_in(root)))


@each_switch
@pytest.mark.parametrize("torn", [False, True], ids=["between", "in a write"])
def test_killed_at_any_step_the_node_has_its_old_or_its_new_identity(
    memory_directory: Path, switch: Switch, *, torn: bool
) -> None:
    places = Places(memory_directory, switch)
    outcomes = set()
    number, killed = 0, True
    while killed:
        number += 1
        root = places.again()
        killed = die_at(number, lambda: switch.act(root), torn=torn)  # noqa: B023
        journal_in(root).recover(NOW)
        outcomes.add(check_whole(root, switch))
        load_identity(root / "certs", AGENT)
        finish(root, switch)
    assert number > 10
    assert outcomes == {False, True}


@each_switch
def test_the_recovery_may_be_killed_at_any_step_as_well(
    memory_directory: Path, switch: Switch
) -> None:
    places = Places(memory_directory, switch)
    steps = count_steps(lambda: switch.act(places.again()))
    interrupted = 0
    for number in range(1, steps + 1):
        begun = copy_place(places.again(), memory_directory / "begun")
        root = memory_directory / "place"
        die_at(number, lambda: switch.act(begun))  # noqa: B023
        state = journal_in(begun).state()
        if state is None or state.state is not Phase.SWITCHING:
            continue
        interrupted += 1
        second, killed = 0, True
        while killed:
            second += 1
            copy_place(begun, root)
            killed = die_at(second, lambda: journal_in(root).recover(NOW))  # noqa: B023
            recovery = journal_in(root).recover(NOW)
            # Done by the one that was killed at its very end, or by this one.
            assert (recovery is not None) or second > 1
            assert journal_in(root).recover(NOW) is None
            check_whole(root, switch)
            load_identity(root / "certs", AGENT)
    assert interrupted >= 2


@each_switch
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("all_calls", [False, True], ids=["room", "everything"])
def test_a_disk_that_is_full_at_any_step_costs_no_identity(
    memory_directory: Path, switch: Switch, *, lasting: bool, all_calls: bool
) -> None:
    places = Places(memory_directory, switch)
    steps = count_steps(lambda: switch.act(places.again()))
    refused = 0
    for number in range(1, steps + 1):
        root = places.again()
        error = full_at(
            number,
            lambda: switch.act(root),  # noqa: B023
            lasting=lasting,
            all_calls=all_calls,
        )
        assert error is None or isinstance(error, IcefloeError), repr(error)
        refused += error is not None
        if not lasting:
            # One refusal is undone on the spot, or all was in place.
            check_whole(root, switch)
        journal_in(root).recover(NOW)
        check_whole(root, switch)
        load_identity(root / "certs", AGENT)
        finish(root, switch)
    assert refused > 5


@pytest.mark.parametrize("name", sorted(SWITCHES.keys() - {"restore"}))
def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new_identity(
    memory_directory: Path, name: str
) -> None:
    """What was not synced is gone, whole or in part."""
    switch = SWITCHES[name]
    begin, root = memory_directory / "begin", memory_directory / "place"
    begin.mkdir()
    switch.begin(begin)
    images = images_after(begin, lambda: switch.act(begin), seed=4)
    assert len(images) > 10
    outcomes, lost = set(), 0
    for image in images:
        lay_out(image, root)
        journal_in(root).recover(NOW)
        outcomes.add(check_whole(root, switch))
        load_identity(root / "certs", AGENT)
        if rotation_is_lost(root):
            lost += 1
            continue
        switch.act(root)
        check_done(root, switch)
    assert outcomes == {False, True}
    assert lost <= (len(images) // 4 if name == "rotation" else 0)


def rotation_is_lost(root: Path) -> bool:
    """Say whether it is being removed: then it is prepared anew, or was done."""
    new = rotation_files(files_in(root))
    return new.key.exists() and not new.certificate.exists()


@each_switch
def test_a_real_disk_that_fills_up_costs_no_identity(
    small_disk: Path, tmp_path: Path, switch: Switch
) -> None:
    """Full from the first page on, from the second, and so on."""
    pages, refused = 0, True
    failures = 0
    begin = tmp_path / "begin"
    begin.mkdir()
    switch.begin(begin)
    root = small_disk / "place"
    while refused:
        copy_place(begin, root)
        ballast = fill(small_disk, leave=4096 * pages)
        refused = False
        try:
            switch.act(root)
        except IcefloeError:
            refused = True
            failures += 1
        check_whole(root, switch)
        ballast.unlink()
        journal_in(root).recover(NOW)
        load_identity(root / "certs", AGENT)
        finish(root, switch)
        pages += 1
    assert failures >= 2


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.slow
@pytest.mark.timeout(300)  # 20 s where nothing else runs
def test_kill_9_at_any_step_leaves_the_old_or_the_new_identity(
    memory_directory: Path, name: str
) -> None:
    """In processes that are really killed; what the kernel gives back is given back."""
    program = Path(__file__).with_name("switch_kill_points.py")
    done = subprocess.run(
        [sys.executable, str(program), name, str(memory_directory)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", *sys.path])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
