"""`icefloe ca`: what waits, and an operator's decisions."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.command import Command
from tests.node.tls.material import self_signed

from icefloe.enrollment import administration
from icefloe.enrollment.events import SigningFailed
from icefloe.enrollment.model import DecisionKind
from icefloe.node.commands import deciding
from icefloe.pki.certificates import fingerprint, load_pem, to_pem
from icefloe.storage.ledger import SQLiteLedger

HEADER = (
    "Fingerprint                                                      "
    "| Timestamp                | Signed | Subject"
)


def waiting(icefloe: Command, cn: str = "web1", *, removed: bool = False) -> str:
    """Leave a request as icinga2 leaves it; return its fingerprint."""
    presented = self_signed(cn).certificate
    name = fingerprint(presented)
    stored = {"cert_request": to_pem(presented), "ticket": ""}
    directory = icefloe.directories.certificate_requests
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.{'removed' if removed else 'json'}"
    path.write_bytes(msgspec.json.encode(stored))
    return name


@pytest.fixture
def master(icefloe: Command) -> Command:
    """Return a node that signs."""
    icefloe.ok("node", "setup", "--master", "--cn", "m1", "--disable-confd")
    return icefloe


def certificate_of(master: Command, name: str) -> Any:
    entry: Any = master.json("ca", "list")
    return load_pem(entry[name]["cert_response"])


# --- list -----------------------------------------------------------------------------


def test_nothing_waits_in_an_empty_node(icefloe: Command) -> None:
    """protocol: the table's head alone; JSON without a line end."""
    assert icefloe.ok("ca", "list").splitlines()[0] == HEADER
    assert len(icefloe.ok("ca", "list").splitlines()) == 2
    assert icefloe.ok("ca", "list", "--json") == "{}"
    assert not icefloe.directories.ledger.exists()


def test_requests_that_icinga2_left_are_listed_before_any_daemon_ran(
    icefloe: Command,
) -> None:
    name = waiting(icefloe)
    line = icefloe.ok("ca", "list").splitlines()[2]
    assert line.startswith(f"{name} | ")
    assert line.endswith(" |        | CN = web1")
    assert not icefloe.directories.ledger.exists()


def test_json_has_icingas_keys_and_ours_apart(icefloe: Command) -> None:
    name = waiting(icefloe)
    listed: Any = icefloe.json("ca", "list")
    assert list(listed) == [name]
    entry = listed[name]
    assert set(entry) == {"cert_request", "subject", "timestamp", "icefloe"}
    assert entry["subject"] == "CN = web1"
    assert entry["timestamp"].endswith(" GMT")
    assert fingerprint(load_pem(entry["cert_request"])) == name
    assert entry["icefloe"]["via"] == "icinga2"


def test_a_signed_request_leaves_the_list_and_stays_in_all_and_json(
    master: Command,
) -> None:
    name = waiting(master)
    master.ok("ca", "sign", name)
    assert name not in master.ok("ca", "list")
    assert f"{name} | " in master.ok("ca", "list", "--all")
    assert "| *      | CN = web1" in master.ok("ca", "list", "--all")
    listed: Any = master.json("ca", "list")
    assert "cert_response" in listed[name]


def test_removed_requests_are_listed_alone(master: Command) -> None:
    gone, open_ = waiting(master, "web1"), waiting(master, "web2")
    left = waiting(master, "web3", removed=True)
    master.ok("ca", "remove", gone)
    removed = master.ok("ca", "list", "--removed")
    assert gone in removed
    assert left in removed
    assert open_ not in removed
    assert gone not in master.ok("ca", "list", "--all")
    assert set(msgspec.json.decode(master.ok("ca", "list", "--removed", "--json"))) == {
        gone,
        left,
    }


# --- sign -----------------------------------------------------------------------------


def test_without_a_daemon_the_command_signs(master: Command) -> None:
    name = waiting(master)
    out = master.ok("ca", "sign", name)
    assert out == "information/cli: Signed certificate for 'CN = web1'.\n"
    certificate = certificate_of(master, name)
    cert = master.path("web1.crt")
    cert.write_text(to_pem(certificate))
    ca = master.directories.ca_certificate
    assert master("pki", "verify", "--cert", cert, "--cacert", ca).code == 0


def test_the_decision_is_recorded_with_who_made_it(
    master: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    name = waiting(master)
    master.ok("ca", "sign", name)
    with SQLiteLedger.open(master.directories.ledger, create=False) as ledger:
        request = administration.find_request(ledger, name)
        decision = ledger.decision(request.request_id)
    assert decision is not None
    assert (decision.kind, decision.actor) == (DecisionKind.APPROVAL, "alice")


def test_the_user_decides_where_there_is_no_sudo(
    master: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    name = waiting(master)
    master.ok("ca", "remove", name)
    with SQLiteLedger.open(master.directories.ledger, create=False) as ledger:
        request = administration.find_request(ledger, name)
        decision = ledger.decision(request.request_id)
    assert decision is not None
    assert decision.actor == pwd.getpwuid(os.getuid()).pw_name


def test_signing_again_gives_the_same_certificate(master: Command) -> None:
    name = waiting(master)
    master.ok("ca", "sign", name)
    first = certificate_of(master, name)
    master.ok("ca", "sign", name)
    assert certificate_of(master, name) == first


def test_the_beginning_of_a_fingerprint_is_enough(master: Command) -> None:
    name = waiting(master)
    waiting(master, "web2")
    master.ok("ca", "sign", name[:8].upper())
    assert certificate_of(master, name)


@pytest.mark.parametrize("name", ["abc", "../../etc/passwd", "zz" * 32, "a" * 64])
@pytest.mark.parametrize("command", ["sign", "remove", "restore"])
def test_what_is_no_request_is_named(master: Command, command: str, name: str) -> None:
    done = master("ca", command, name)
    assert done.code == 1
    assert done.err.startswith("critical/cli: ")
    assert name in done.err


def test_one_that_fails_does_not_stop_the_others(master: Command) -> None:
    name = waiting(master)
    done = master("ca", "sign", "a" * 64, name)
    assert done.code == 1
    assert "Signed certificate for 'CN = web1'" in done.out


def test_a_node_without_a_ca_key_says_where_to_sign(icefloe: Command) -> None:
    icefloe.ok("node", "setup", "--cn", "s1", "--zone", "s1", "--endpoint", "m1")
    done = icefloe("ca", "sign", waiting(icefloe))
    assert done.code == 1
    assert "usually the master" in done.err


def test_a_reserved_name_with_another_key_needs_the_option(master: Command) -> None:
    """The master's own name has a key already: its own."""
    name = waiting(master, "m1")
    done = master("ca", "sign", name)
    assert done.code == 1
    assert "--reserved" in done.err
    master.ok("ca", "sign", "--reserved", name)
    assert certificate_of(master, name)


def test_a_removed_request_is_not_signed(master: Command) -> None:
    name = waiting(master)
    master.ok("ca", "remove", name)
    done = master("ca", "sign", name)
    assert done.code == 1
    assert "restore it first" in done.err


def test_a_broken_configuration_signs_nothing(master: Command) -> None:
    """Without the zones nobody knows which names are reserved."""
    name = waiting(master)
    master.directories.zones_conf.write_text("object Zone {")
    done = master("ca", "sign", name)
    assert done.code == 1
    assert "zones.conf:1" in done.err


def test_a_certificate_that_was_intended_before_a_crash_is_signed(
    master: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = waiting(master)

    def dies(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(deciding, "work", dies)
        assert master("ca", "sign", name).code == 130
    with SQLiteLedger.open(master.directories.ledger, create=False) as ledger:
        request = administration.find_request(ledger, name)
        intent = ledger.intent(request.request_id)
    assert intent is not None
    master.ok("ca", "sign", name)
    assert certificate_of(master, name).tbs_certificate_bytes == intent.tbs


def test_a_ca_that_this_node_does_not_trust_decides_nothing(master: Command) -> None:
    name = waiting(master)
    other = master.path("other")
    other.mkdir()
    master.bare("--data-dir", other, "pki", "new-ca")
    trusted = master.directories.trusted_ca
    trusted.write_bytes((other / "ca/ca.crt").read_bytes())
    done = master("ca", "sign", name)
    assert done.code == 1
    assert "ca.crt" in done.err
    assert name in master.ok("ca", "list")


def test_a_key_that_fails_to_sign_is_told(
    master: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(command: Any, _secrets: object) -> SigningFailed:
        return SigningFailed(command.request_id, "the token is gone")

    name = waiting(master)
    monkeypatch.setattr(deciding, "work", fails)
    done = master("ca", "sign", name)
    assert done.code == 1
    assert "is approved, but not signed" in done.err
    assert "the token is gone" in done.err


# --- Beside a daemon ------------------------------------------------------------------


@pytest.fixture
def held_lock(master: Command) -> Iterator[Command]:
    """Hold the lock as a daemon does; flock needs another process to be seen."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from icefloe.storage.lock import DaemonLock\n"
        "with DaemonLock.acquire(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(master.directories.lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield master
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait(10)


def test_a_running_daemon_is_waited_for_and_not_for_ever(
    held_lock: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding, "DAEMON_SECONDS_MAX", 0.2)
    name = waiting(held_lock)
    done = held_lock("ca", "sign", name)
    assert done.code == 1
    assert "is approved, but the running daemon has not signed it" in done.err


def test_the_daemons_certificate_is_what_is_waited_for(
    held_lock: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process signs while this one sleeps."""
    name = waiting(held_lock)
    slept: list[float] = []

    def daemon_signs(seconds: float) -> None:
        slept.append(seconds)
        monkeypatch.setattr(deciding, "is_held", lambda _path: False)
        assert held_lock("ca", "sign", name).code == 0
        monkeypatch.undo()

    monkeypatch.setattr(time, "sleep", daemon_signs)
    assert held_lock("ca", "sign", name).code == 0
    assert len(slept) == 1


def test_a_daemon_that_ends_leaves_the_signing_to_the_command(
    master: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [True, True, False]
    monkeypatch.setattr(deciding, "is_held", lambda _path: held.pop(0))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    name = waiting(master)
    master.ok("ca", "sign", name)
    assert held == []


# --- remove, restore ------------------------------------------------------------------


def test_a_removal_is_taken_back(master: Command) -> None:
    name = waiting(master)
    assert master.ok("ca", "remove", name).endswith("CN 'web1' removed.\n")
    assert "Restored certificate request for CN 'web1'" in master.ok(
        "ca", "restore", name
    )
    assert name in master.ok("ca", "list")


def test_a_request_that_icinga2_removed_is_restored(master: Command) -> None:
    name = waiting(master, removed=True)
    master.ok("ca", "restore", name)
    master.ok("ca", "sign", name)


def test_a_signed_request_is_not_removed(master: Command) -> None:
    name = waiting(master)
    master.ok("ca", "sign", name)
    done = master("ca", "remove", name)
    assert done.code == 1
    assert "signed" in done.err


def test_what_was_not_removed_is_not_restored(master: Command) -> None:
    done = master("ca", "restore", waiting(master))
    assert done.code == 1
    assert "not removed" in done.err


def test_the_ledger_is_private(master: Command) -> None:
    master.ok("ca", "remove", waiting(master))
    own: Path = master.directories.own_dir
    assert own.stat().st_mode & 0o777 == 0o700
    assert master.directories.ledger.stat().st_mode & 0o777 == 0o600
