"""`icefloe node setup` in trouble: it ends as documented, and the node works.

After a refusal, a wrong parent, a wrong clock, missing rights or a full disk the node
is as it was; the same command, run again, completes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.cli.setup_stage import (
    AGENT,
    SECRET,
    acting_as,
    configuration,
    facts,
    place_for_everybody,
    set_up,
    signs_for_a_year,
    touched,
    words_for,
)
from tests.node.fake_parent import fake_parent, pends, refuses
from tests.node.tls.material import Authority, pem

from icefloe.cli import setting as cli_setting
from icefloe.doors import Now, WallTime
from icefloe.lab.small_disk import SmallDisk, why_no_small_disk
from icefloe.node.doors import RealClock
from icefloe.pki.certificates import is_self_signed, key_id
from icefloe.storage.carrying_out import StagedPlan
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import load_identity

NOBODY = 65534
DAEMON = 12345
PAGE = 4096

wrong_ticket = partial(refuses, ca=True, hop="master1", reason="wrong-ticket")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to act as others")


def clock_off_by(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> None:
    """Set the clock of this machine, as far as a command sees it."""

    class WrongClock(RealClock):
        def now(self) -> Now:
            right = super().now()
            return replace(right, wall=WallTime(right.wall + off.total_seconds()))

    monkeypatch.setattr(cli_setting, "RealClock", WrongClock)


@pytest.fixture
def shared(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Return the program, on directories that every user may pass into."""
    with place_for_everybody() as place:
        yield Command(place, capsys)


# --- The ticket -----------------------------------------------------------------------


def test_a_corrected_ticket_ends_signed_with_the_same_key(icefloe: Command) -> None:
    with fake_parent(wrong_ticket, signs_for_a_year) as parent:
        refused = set_up(icefloe, parent, "--ticket", "wrong", "--json")
        key = icefloe.directories.node_key("a1").read_bytes()
        signed = set_up(icefloe, parent, "--ticket", SECRET, "--json")
    assert (refused.code, signed.code) == (1, 0)
    found = facts(refused)
    assert (found["ok"], found["code"], found["hop"]) == (
        False,
        "wrong-ticket",
        "master1",
    )
    assert found["next"]
    assert found["state"] == "refused"
    assert found["files"] == []
    assert icefloe.directories.node_key("a1").read_bytes() == key
    assert configuration(icefloe).node_name == "a1"


def test_a_refused_agent_that_worked_works_on(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate has run out by the clock; the request is made beside it."""
    with fake_parent(signs_for_a_year, wrong_ticket) as parent:
        set_up(icefloe, parent)
        before = icefloe.files()
        clock_off_by(monkeypatch, timedelta(days=400))
        done = set_up(icefloe, parent, "--ticket", "wrong", "--accept-commands")
    assert done.code == 1
    assert "is untouched" in done.err
    after = icefloe.files()
    assert {name: after[name] for name in before} == before


def test_a_pending_agent_whose_certificate_ran_out_goes_on_with_its_request(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_parent(signs_for_a_year, pends, signs_for_a_year) as parent:
        set_up(icefloe, parent)
        key = load_identity(icefloe.certs, "a1").key_id
        clock_off_by(monkeypatch, timedelta(days=398))
        done = facts(set_up(icefloe, parent, "--wait", "0", "--json"))
        assert (done["state"], done["code"]) == ("pending", "pending")
        waiting = load_identity(icefloe.certs, "a1")
        monkeypatch.undo()
        set_up(icefloe, parent)
    assert is_self_signed(waiting.certificate)
    assert waiting.certificate == parent.asked[1].presented
    assert waiting.key_id == key
    assert not list(icefloe.certs.glob(".*"))
    assert not is_self_signed(load_identity(icefloe.certs, "a1").certificate)


# --- The parent -----------------------------------------------------------------------


def test_a_parent_with_another_certificate_is_not_asked(icefloe: Command) -> None:
    before = icefloe.files()
    with (
        fake_parent(signs_for_a_year) as parent,
        fake_parent(signs_for_a_year, name="parent1") as impostor,
    ):
        pin = icefloe.path("pin.crt")
        pin.write_bytes(parent.pin)
        words = (*AGENT, "--parent_host", impostor.address, "--trustedcert", pin)
        done = icefloe(*words, "--ticket", SECRET, "--json")
    assert done.code == 1
    assert impostor.asked == []
    assert facts(done)["code"] == "trust-mismatch"
    assert SECRET not in done.text
    made = {"data/certs/a1.key", "data/certs/a1.crt", "pin.crt"}
    assert set(icefloe.files()) - set(before) == made


def test_an_agent_that_works_is_not_harmed_by_a_parent_with_another_certificate(
    icefloe: Command,
) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
    before = touched(icefloe)
    with fake_parent(signs_for_a_year, name="parent1") as impostor:
        pin = icefloe.path("pin.crt")
        words = (*AGENT, "--parent_host", impostor.address, "--trustedcert", pin)
        done = icefloe(*words, "--verify", "--accept-commands")
    assert done.code == 1
    assert impostor.asked == []
    assert "is untouched" in done.err
    changed = {name for name, at in touched(icefloe).items() if before.get(name) != at}
    # Beside the files there was work, and none of them was touched.
    assert all((icefloe.root / name).is_dir() for name in changed)


# --- The clock ------------------------------------------------------------------------


def test_a_clock_a_year_behind_is_told_before_anything_is_done(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        before = touched(icefloe)
        clock_off_by(monkeypatch, timedelta(days=-365))
        done = set_up(icefloe, parent, "--accept-commands", "--json")
    assert done.code == 1
    assert facts(done)["code"] == "clock-wrong"
    assert "set the clock" in done.err
    assert "PARENT" not in done.text
    assert len(parent.asked) == 1
    assert touched(icefloe) == before


def test_a_new_agent_with_its_clock_a_year_behind_configures_nothing(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_off_by(monkeypatch, timedelta(days=-365))
    monkeypatch.setattr("icefloe.enrollment.requester.PAUSE_FIRST", 0.01)
    before = icefloe.files()
    with fake_parent(signs_for_a_year) as parent:
        done = set_up(icefloe, parent, "--wait", "0", "--json")
        assert done.code == 1
        assert facts(done)["code"] == "clock-wrong"
        after = icefloe.files()
        assert {name: after[name] for name in before} == before
        assert not icefloe.directories.trusted_ca.exists()
        monkeypatch.undo()
        assert set_up(icefloe, parent).code == 0


def test_an_agent_that_works_survives_a_clock_a_year_ahead(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = Authority()
    with fake_parent(signs_for_a_year, ca=ca) as parent:
        set_up(icefloe, parent)
        before = load_identity(icefloe.certs, "a1")
        clock_off_by(monkeypatch, timedelta(days=398))
        # The signer's clock is right: its certificate has ended by ours.
        done = set_up(icefloe, parent, "--wait", "0", "--json")
    assert done.code == 1
    assert facts(done)["code"] == "clock-wrong"
    assert load_identity(icefloe.certs, "a1") == before


@pytest.mark.parametrize("days", [-365, 365])
def test_a_master_with_its_clock_a_year_off_keeps_what_it_has(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Behind, it is told so; ahead, its certificate is due, and it signs another."""
    master = ("node", "setup", "--master", "--cn", "m1")
    icefloe.ok(*master)
    before = icefloe.files()
    clock_off_by(monkeypatch, timedelta(days=days))
    done = icefloe(*master, "--json")
    after = icefloe.files()
    keys = {name for name in before if name.endswith(".key")}
    assert {name: after[name] for name in keys} == {name: before[name] for name in keys}
    if days < 0:
        assert (done.code, facts(done)["code"]) == (1, "clock-wrong")
        assert after == before
        return
    assert (done.code, facts(done)["state"]) == (0, "signer")
    monkeypatch.undo()
    own = load_identity(icefloe.certs, "m1")
    assert not is_self_signed(own.certificate)


def test_a_master_whose_certificate_ran_out_keeps_it_in_a_backup(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = ("node", "setup", "--master", "--cn", "m1")
    icefloe.ok(*master)
    before = load_identity(icefloe.certs, "m1")
    clock_off_by(monkeypatch, timedelta(days=3 * 365))
    done = facts(icefloe(*master, "--json"))
    assert done["changed"]
    assert done["backup"]
    assert load_identity(icefloe.certs, "m1") != before
    icefloe.ok("node", "restore", done["backup"])
    assert load_identity(icefloe.certs, "m1") == before


# --- Rights ---------------------------------------------------------------------------


@as_root
def test_a_file_it_may_not_write_is_named_before_anybody_is_asked(
    shared: Command,
) -> None:
    for path in (shared.root, *shared.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    available = shared.directories.features_available
    os.chown(available, 0, 0)
    available.chmod(0o755)
    with fake_parent(signs_for_a_year) as parent:
        words = words_for(shared, parent, "--json")
        before = touched(shared)
        with acting_as(NOBODY):
            done = shared(*words)
    assert done.code == 1
    assert facts(done)["code"] == "file-rights"
    assert str(available) in done.err
    assert "root" in done.err
    assert parent.asked == []
    assert touched(shared) == before


@as_root
def test_a_stranger_to_the_node_is_told_whom_to_be(shared: Command) -> None:
    os.chown(shared.directories.data_dir, DAEMON, DAEMON)
    for path in (shared.root, *shared.root.rglob("*")):
        path.chmod(0o777)
    with fake_parent(signs_for_a_year) as parent:
        words = words_for(shared, parent)
        before = touched(shared)
        with acting_as(NOBODY):
            done = shared(*words)
    assert done.code == 1
    assert str(DAEMON) in done.err
    assert parent.asked == []
    assert touched(shared) == before


@as_root
def test_root_does_not_leave_a_daemon_with_files_it_cannot_use(
    icefloe: Command,
) -> None:
    """pytest's directories are for root alone."""
    os.chown(icefloe.directories.data_dir, DAEMON, DAEMON)
    with fake_parent(signs_for_a_year) as parent:
        words = words_for(icefloe, parent)
        before = touched(icefloe)
        done = icefloe(*words)
    assert done.code == 1
    assert f"{DAEMON} may not pass" in done.err
    assert parent.asked == []
    assert touched(icefloe) == before


@as_root
def test_a_daemon_has_to_be_able_to_renew_where_its_certificate_is(
    shared: Command,
) -> None:
    os.chown(shared.directories.data_dir, DAEMON, DAEMON)
    shared.certs.mkdir(mode=0o755)
    with fake_parent(signs_for_a_year) as parent:
        words = words_for(shared, parent)
        before = touched(shared)
        done = shared(*words)
        assert done.code == 1
        assert f"chown {DAEMON}:{DAEMON} '{shared.certs}'" in done.err
        assert "mode 0755" in done.err
        assert parent.asked == []
        assert touched(shared) == before
        os.chown(shared.certs, DAEMON, DAEMON)
        assert shared(*words).code == 0


def test_a_directory_in_a_files_place_is_named(icefloe: Command) -> None:
    icefloe.directories.zones_conf.mkdir()
    with fake_parent(signs_for_a_year) as parent:
        words = words_for(icefloe, parent)
        before = touched(icefloe)
        done = icefloe(*words)
    assert done.code == 1
    assert str(icefloe.directories.zones_conf) in done.err
    assert parent.asked == []
    assert touched(icefloe) == before


# --- A full disk ----------------------------------------------------------------------


def leave_pages(disk: SmallDisk, pages: int) -> None:
    """Leave so much room, and no more."""
    disk.free()
    disk.fill()
    filling = disk.path / "filling"
    os.truncate(filling, max(0, filling.stat().st_size - pages * PAGE))


def settings_of(icefloe: Command) -> tuple[bool, bool]:
    """Return what the two files say that the command would change together."""
    found = configuration(icefloe)
    names = {name for name, zone in found.zones.zones.items() if zone.is_global}
    return found.listener.accept_commands, "more" in names


@pytest.mark.skipif(why_no_small_disk() is not None, reason=str(why_no_small_disk()))
@pytest.mark.parametrize("wish", ["configuration", "rotation"])
@pytest.mark.timeout(300)
def test_at_a_full_disk_the_node_is_as_before_or_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wish: str
) -> None:
    """With every amount of room, page by page, until there is enough."""
    place = tmp_path / "disk"
    place.mkdir()
    more = ["--accept-commands", "--global_zones", "more"]
    if wish == "rotation":
        more.append("--rotate-key")
    with (
        SmallDisk.mounted(place, kilobytes=2048) as disk,
        fake_parent(signs_for_a_year) as parent,
    ):
        icefloe = Command(place, capsys)
        assert set_up(icefloe, parent).code == 0
        old = load_identity(icefloe.certs, "a1")
        words = words_for(icefloe, parent, *more)
        failures = 0
        for pages in range(200):
            leave_pages(disk, pages)
            done = icefloe(*words)
            disk.free()
            identity = load_identity(icefloe.certs, "a1")
            assert not is_self_signed(identity.certificate)
            assert settings_of(icefloe) in {(False, False), (True, True)}
            assert not list(icefloe.directories.config_dir.rglob(".*"))
            if done.code == 0:
                break
            failures += 1
            assert "disk-full" in done.err
            assert settings_of(icefloe) == (False, False)
        else:
            pytest.fail("it never ended well")
        assert failures > 0
        assert settings_of(icefloe) == (True, True)
        assert (identity.key_id != old.key_id) == (wish == "rotation")


@pytest.mark.skipif(why_no_small_disk() is not None, reason=str(why_no_small_disk()))
@pytest.mark.timeout(300)
def test_a_new_agent_at_a_full_disk_is_completed_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    with (
        SmallDisk.mounted(place, kilobytes=2048) as disk,
        fake_parent(signs_for_a_year) as parent,
    ):
        icefloe = Command(place, capsys)
        words = words_for(icefloe, parent)
        for pages in range(200):
            leave_pages(disk, pages)
            done = icefloe(*words)
            disk.free()
            if done.code == 0:
                break
            assert "disk-full" in done.err
            assert not icefloe.directories.zones_conf.exists()
            assert not list(icefloe.directories.config_dir.rglob(".*"))
        else:
            pytest.fail("it never ended well")
        assert pages > 0
        assert configuration(icefloe).node_name == "a1"
        assert not is_self_signed(load_identity(icefloe.certs, "a1").certificate)
        assert len({key_id(asked.presented) for asked in parent.asked}) == 1


@pytest.mark.parametrize("content", [b"garbage", None], ids=["garbage", "of another"])
def test_a_certificate_that_does_not_fit_is_kept_before_it_is_replaced(
    icefloe: Command, content: bytes | None
) -> None:
    own = icefloe.directories.node_certificate("a1")
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        content = content or pem(Authority().issue("a1").certificate)
        own.write_bytes(content)
        done = set_up(icefloe, parent, "--json")
    assert done.code == 0
    assert facts(done)["backup"]
    assert not is_self_signed(load_identity(icefloe.certs, "a1").certificate)
    kept = icefloe.directories.backups.rglob("*")
    assert content in {path.read_bytes() for path in kept if path.is_file()}


def test_a_run_that_ended_between_certificate_and_configuration_is_completed(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: StagedPlan) -> None:
        raise FileProblem(
            icefloe.directories.zones_conf, action="write", reason="it is mounted"
        )

    monkeypatch.setattr(StagedPlan, "commit", busy)
    before = icefloe.files()
    with fake_parent(signs_for_a_year) as parent:
        broken = set_up(icefloe, parent, "--ticket", SECRET, "--json")
        now = icefloe.files()
        monkeypatch.undo()
        done = set_up(icefloe, parent, "--ticket", SECRET)
    assert broken.code == 1
    assert facts(broken)["changed"] is True
    assert {name: now[name] for name in before} == before
    assert done.code == 0
    assert len(parent.asked) == 1
    assert configuration(icefloe).node_name == "a1"


def test_interrupted_by_a_signal_it_says_so_and_changes_nothing(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_words: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icefloe.node.commands.enrolling.enroll", interrupted)
    before = icefloe.files()
    with fake_parent(signs_for_a_year) as parent:
        done = set_up(icefloe, parent, "--json")
    assert done.code == 130
    assert facts(done)["code"] == "interrupted"
    after = icefloe.files()
    assert {name: after[name] for name in before} == before
