"""`icefloe check`, as Icinga calls it: exit codes, one line, and no secret."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.command import Command
from tests.node.cluster import Authority, free_port
from tests.node.fake_parent import fake_parent, signs
from tests.node.slow_names import SLOW_NAMES

from icefloe.cli import check_certificate, check_enrollment, check_requests
from icefloe.cli.check_plugin import CANNOT_CHECK
from icefloe.cli.invocation import Invocation
from icefloe.pki.certificates import fingerprint
from icefloe.pki.tickets import ticket
from icefloe.storage.keys import encode_private_key, generate_key

CA = Authority()
SALT = "5b4b4d5e"


def canary(icefloe: Command, *options: object) -> list[object]:
    """Return a canary to a port where nobody is."""
    icefloe.path("ticket").write_text(ticket("icefloe-canary-x", SALT) + "\n")
    icefloe.path("ca.crt").write_text(CA.pem)
    return [
        *("check", "enrollment", "--via", f"127.0.0.1,{free_port()}", "--name", "x"),
        *("--ticket-file", icefloe.path("ticket"), "--ca", icefloe.path("ca.crt")),
        *options,
    ]


def test_an_unreachable_parent_is_critical_in_one_line(icefloe: Command) -> None:
    done = icefloe(*canary(icefloe))
    assert done.code == 2, done.text
    (line,) = done.out.splitlines()
    assert line.startswith("ENROLLMENT CRITICAL - cannot reach 127.0.0.1:")
    assert line.endswith(" | attempts=1;;;0")
    assert done.err == ""


def test_a_second_run_is_held_back_and_an_unbound_one_is_not(icefloe: Command) -> None:
    words = canary(icefloe)
    assert "held back" not in icefloe(*words).out
    again = icefloe(*words)
    assert again.code == 2
    assert "(held back: this was 0 s ago; at most one run in 300 s)" in again.out
    assert "held back" not in icefloe(*words, "--interval", "0").out
    assert (icefloe.directories.data_dir / "icefloe-canary").is_dir()


@pytest.mark.parametrize(
    "options, becomes",
    [([], 1), (["--interval", "0"], 0), (["--state-dir", "STATE"], 0)],
)
def test_the_memory_in_the_data_directory_is_its_owners(
    icefloe: Command,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    becomes: int,
) -> None:
    """Made by root, the daemon user could not use it the next time."""
    became: list[Path] = []

    def become_owner(given: Invocation) -> None:
        # What only root may read has been read, and nothing is made.
        icefloe.path("ticket").unlink()
        icefloe.path("ca.crt").unlink()
        assert list(given.directories.data_dir.iterdir()) == []
        became.append(given.directories.data_dir)

    monkeypatch.setattr(check_enrollment, "become_owner", become_owner)
    state = [icefloe.path("state") if each == "STATE" else each for each in options]
    done = icefloe(*canary(icefloe, *state))
    assert done.code == 2, done.text
    assert became == [icefloe.directories.data_dir] * becomes


def test_details_and_json_tell_more_and_no_secret(icefloe: Command) -> None:
    words = canary(icefloe, "--interval", "0")
    secret = icefloe.path("ticket").read_text().strip()
    verbose = icefloe(*words, "-v")
    assert "Left behind: nothing, no request was sent" in verbose.out.splitlines()
    done = icefloe(*words, "--json")
    found: dict[str, Any] = msgspec.json.decode(done.out)
    assert (done.code, found["exit_code"], found["kind"]) == (2, 2, "unreachable")
    assert found["common_name"] == "icefloe-canary-x"
    assert secret not in verbose.text + done.text


def test_the_name_is_shown_so_that_a_ticket_can_be_made(icefloe: Command) -> None:
    shown = icefloe.ok("check", "enrollment", "--via", "sat1", "--show-name").strip()
    assert shown.startswith("icefloe-canary-")
    given = icefloe.ok(
        *("check", "enrollment", "--via", "sat1", "--name", "mon1", "--show-name")
    )
    assert given == "icefloe-canary-mon1\n"


def test_a_salt_on_a_master_stands_for_tickets(icefloe: Command) -> None:
    words = canary(icefloe)
    words[words.index("--ticket-file") : words.index("--ca")] = []
    icefloe.path("salt").write_text(SALT + "\n")
    done = icefloe(*words, "--salt-file", icefloe.path("salt"), "--json")
    assert msgspec.json.decode(done.out)["kind"] == "unreachable"
    assert SALT not in done.text


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["enrollment", "--via", "sat1"], 3, "there is no ticket for 'icefloe-canary-"),
        (["enrollment", "--via", "a,b"], 3, "is not of the form host[,port]"),
        (["enrollment", "--via", "a", "-w", "x"], 3, "is no range"),
        (["enrollment", "--via", "a", "--name", "a/b"], 3, "a/b"),
        (["certificate", "--file", "/nowhere/x.crt"], 2, "there is no"),
        (["certificate", "-w", "x"], 3, "is no range"),
        (["requests", "-c", "5:1"], 3, "is no range"),
    ],
)
def test_what_cannot_be_checked_is_no_traceback(
    icefloe: Command, words: list[str], code: int, said: str
) -> None:
    done = icefloe("check", *words)
    assert done.code == code, done.text
    assert said in done.out
    assert len(done.out.splitlines()) == 1


def test_what_cannot_be_checked_has_a_kind_of_its_own(icefloe: Command) -> None:
    done = icefloe("check", "requests", "-c", "5:1", "--json")
    assert msgspec.json.decode(done.out)["kind"] == CANNOT_CHECK


@pytest.mark.parametrize(
    "words, name",
    [
        (["check", "enrollment"], "ENROLLMENT"),
        (["check", "requests", "--no-such-option"], "REQUESTS"),
        (["check", "requests", "-D", "x"], "REQUESTS"),
        (["-D", "x", "check", "certificate"], "CERTIFICATE"),
        (["--no-such-option", "check", "certificate"], "CERTIFICATE"),
        (["check", "enrolment"], "CHECK"),
        (["check", "--no-such-option"], "CHECK"),
        (["check", "\udcff"], "CHECK"),
    ],
)
def test_a_wrong_option_is_unknown_to_icinga_and_told_where_it_looks(
    icefloe: Command, words: list[str], name: str
) -> None:
    done = icefloe(*words)
    assert (done.code, done.err) == (3, "")
    (line,) = done.out.splitlines()
    assert line.startswith(f"{name} UNKNOWN - ")
    assert "--help' shows what is possible" in line
    found = msgspec.json.decode(icefloe(*words, "--json").out)
    assert (found["kind"], found["exit_code"]) == (CANNOT_CHECK, 3)


def test_without_a_plugin_the_help_is_shown_and_nothing_is_well(
    icefloe: Command,
) -> None:
    done = icefloe("check")
    assert done.code == 3
    assert done.out.startswith("Usage: icefloe check")
    assert icefloe("check", "--help").code == 0


def test_definitions_are_no_plugin(icefloe: Command) -> None:
    """What is printed there goes to a file of Icinga's configuration."""
    done = icefloe("check", "definitions", "--no-such-option")
    assert (done.code, done.out) == (1, "")


@pytest.mark.parametrize("plugin", ["certificate", "requests"])
def test_a_fault_of_ours_is_unknown_with_a_traceback_elsewhere(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch, plugin: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("as if")

    for module in (check_certificate, check_requests):
        monkeypatch.setattr(module, "finish", fail)
    done = icefloe("check", plugin, "-w", "1")
    assert done.code == 3
    (line,) = done.out.splitlines()
    assert line.startswith(f"{plugin.upper()} UNKNOWN - a fault of Icefloe's own")
    assert line.endswith("ZeroDivisionError: as if")
    assert "Traceback" in done.err


@pytest.mark.parametrize(
    "words, code",
    [
        (["enrollment", "--via", "\udcff"], 3),
        (["enrollment", "--via", "a", "--name", "\udcff"], 3),
        (["enrollment", "--via", "a", "--ticket-file", "/\udcff"], 3),
        (["enrollment", "--via", "a", "--salt-file", "/\udcff"], 3),
        (["certificate", "--connect", "\udcff"], 3),
        (["certificate", "--file", "/\udcff"], 2),
        (["certificate", "-w", "\udcff"], 3),
        (["requests", "--data-dir", "/\udcff"], 3),
    ],
)
def test_words_that_are_no_text_are_told_in_letters(
    icefloe: Command, words: list[str], code: int
) -> None:
    """Python keeps bytes that are no UTF-8 as what no output takes."""
    for more in ([], ["--json"]):
        done = icefloe("check", *words, *more)
        assert (done.code, done.err) == (code, "")
        assert "udcff" in done.out.lower() or "U+DCFF" in done.out


def test_a_ticket_is_never_an_argument(icefloe: Command) -> None:
    """Other users see arguments."""
    done = icefloe("check", "enrollment", "--via", "a", "--ticket", "secret")
    assert done.code == 3


def test_a_fingerprint_stands_for_the_file(icefloe: Command) -> None:
    words = canary(icefloe, "--interval", "0")
    words[words.index("--ca") : words.index("--interval")] = []
    digits = fingerprint(CA.certificate).upper()
    spaced = ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    assert icefloe(*words, "--ca-fingerprint", spaced).code == 2
    odd = icefloe(*words, "--ca-fingerprint", "abc")
    assert (odd.code, "64 hex digits" in odd.out) == (3, True)


def test_this_nodes_certificate_is_looked_at_by_default(icefloe: Command) -> None:
    key, certs = generate_key(), icefloe.certs
    certs.mkdir(mode=0o700)
    (certs / "web1.key").write_bytes(encode_private_key(key))
    (certs / "web1.key").chmod(0o600)
    icefloe.directories.constants_conf.write_text('const NodeName = "web1"\n')
    assert icefloe("check", "certificate").code == 2
    from icefloe.pki.certificates import to_pem

    (certs / "web1.crt").write_text(to_pem(CA.issue("web1", key)))
    (certs / "ca.crt").write_text(CA.pem)
    done = icefloe("check", "certificate")
    assert done.code == 0, done.text
    assert done.out.startswith("CERTIFICATE OK - 'web1', valid until")
    assert icefloe("check", "certificate", "-w", "396.9").code == 0
    assert icefloe("check", "certificate", "-w", "398").code == 1
    assert icefloe("check", "certificate", "-c", "398").code == 2
    assert icefloe("check", "certificate", "--node", "web2").code == 2


def test_a_chain_that_nobody_verified_is_told_in_the_line(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        words = ("check", "certificate", "--connect", f"127.0.0.1,{parent.port}")
        done = icefloe(*words)
        found = msgspec.json.decode(icefloe(*words, "--json").out)
    assert done.code == 0, done.text
    assert ", chain not verified |" in done.out
    assert (found["kind"], found["chain_verified"]) == ("not-verified", False)


def test_requests_of_a_new_node_are_clear(icefloe: Command) -> None:
    done = icefloe("check", "requests")
    assert done.code == 0, done.text
    assert done.out.startswith("REQUESTS OK - no request unanswered | unanswered=0")


def test_definitions_are_printed_as_they_are_in_the_package(icefloe: Command) -> None:
    commands = icefloe.ok("check", "definitions")
    services = icefloe.ok("check", "definitions", "--services")
    for name in ("icefloe-enrollment", "icefloe-certificate", "icefloe-requests"):
        assert f'object CheckCommand "{name}"' in commands
        assert f'check_command = "{name}"' in services
    # Only what the plugins take.
    assert "--ticket-file" in commands
    assert '"--ticket"' not in commands


def test_options_in_the_definitions_are_options_of_the_plugins(
    icefloe: Command,
) -> None:
    text = icefloe.ok("check", "definitions")
    for part in text.split("object CheckCommand")[1:]:
        plugin = part.split('"')[1].removeprefix("icefloe-")
        told = icefloe.ok("check", plugin, "--help").partition("\nOptions:\n")[2]
        known = {"--data-dir", *re.findall(r"(?<![\w-])--?[a-z][a-z-]*", told)}
        options = [word for word in part.split('"') if word.startswith("-")]
        assert options
        assert [word for word in options if word not in known] == []


def test_the_state_directory_can_be_elsewhere(icefloe: Command, tmp_path: Path) -> None:
    words = canary(icefloe, "--state-dir", tmp_path / "here")
    assert icefloe(*words).code == 2
    assert len(list((tmp_path / "here").iterdir())) == 1


SLOWLY = f"""{SLOW_NAMES}
import sys
from icefloe.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "words, code, said",
    [
        ([*("--via", "a", "--name", "x", "-t", "1")], 2, "given up after 1 s"),
        ([*("--via", "a", "-t", "1")], 3, "give --name"),
    ],
)
def test_a_resolver_that_is_silent_keeps_no_plugin(
    icefloe: Command, words: list[str], code: int, said: str
) -> None:
    given = canary(icefloe, "--interval", "0", *words)
    given[given.index("--via") : given.index("--ticket-file")] = []
    done = subprocess.run(
        [sys.executable, "-c", SLOWLY, *map(str, given)],
        check=False,
        timeout=40,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout
