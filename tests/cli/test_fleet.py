"""`icefloe fleet`, on loopback nodes of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import typer
from tests.cli.command import Command, Done
from tests.node.fleet.rig import KINDS, Rig, rig_of
from tests.node.tls.material import pem
from tests.peers.waiting import wait_until
from tests.source_tree import ROOT

from icefloe.cli import fleet
from icefloe.node.fleet.reading import read_inventory
from icefloe.node.fleet.states import State

MUTE_SECONDS = "3"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One node of each kind; what a test adds for itself is not among `whole`."""
    with rig_of(len(KINDS)) as made:
        yield made


@pytest.fixture
def ca(rig: Rig, tmp_path: Path) -> Path:
    path = tmp_path / "given-ca.crt"
    path.write_bytes(pem(rig.materials.ca.certificate))
    return path


def whole(rig: Rig) -> list[str]:
    return [seat.target for seat in rig.seats[: len(KINDS)]]


def one(rig: Rig, *kinds: str) -> list[str]:
    return [seat.target for kind in kinds for seat in rig.seats if seat.kind == kind]


def audit(icefloe: Command, *words: object) -> Done:
    return icefloe("fleet", "audit", "--timeout", MUTE_SECONDS, *words)


def decoded(done: Done) -> Any:
    return msgspec.json.decode(done.out)


# --- audit ----------------------------------------------------------------------------


def test_each_kind_of_node_is_named(icefloe: Command, rig: Rig, tmp_path: Path) -> None:
    ca, crl = rig.write_files(tmp_path)
    done = audit(icefloe, *whole(rig), "--ca", ca, "--crl", crl, "--json")
    assert done.code == 1
    hosts = {host["host"]: host for host in decoded(done)["hosts"]}
    for seat in rig.seats[: len(KINDS)]:
        found = hosts[seat.name]
        assert (found["state"], found["cause"]) == (seat.state, seat.cause), seat


def test_the_table_names_all_of_them_the_worst_first(
    icefloe: Command, rig: Rig, tmp_path: Path
) -> None:
    ca, crl = rig.write_files(tmp_path)
    done = audit(icefloe, *whole(rig), "--ca", ca, "--crl", crl)
    first_words = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    state_of = {seat.name: seat.state for seat in rig.seats[: len(KINDS)]}
    told = [state_of[word] for word in first_words if word in state_of]
    assert len(told) == len(KINDS)
    assert told == sorted(told, key=lambda state: state.rank)
    assert f"{len(KINDS)} of {len(KINDS)} hosts looked at" in done.out
    assert "unreachable (refused)" in done.out
    assert f"Judged by the CA in '{ca}'" in done.out
    assert "self-signed: enroll it" in done.out


def test_a_list_that_does_not_tell_what_is_revoked_is_the_operators_trouble(
    icefloe: Command, rig: Rig, tmp_path: Path
) -> None:
    ca, crl = rig.write_files(tmp_path)
    with ca.open("ab") as more:
        more.write(pem(rig.materials.strange.certificate))
    words = (*one(rig, "good", "strange", "stuck"), "--ca", ca, "--crl", crl)
    done = audit(icefloe, *words, "--json")
    assert decoded(done)["states"] == {"self-signed": 1, "ok": 2}
    assert "there is no revocation list of CN = Other CA" in done.err
    assert "revocation" not in done.out


@pytest.mark.parametrize(
    "kinds, code",
    [
        (["good"], 0),
        (["good", "ending"], 1),
        (["good", "refusing"], 1),
        (["refusing"], 2),
        (["unnamed", "plain"], 2),
        (["stuck"], 1),
    ],
)
def test_the_exit_code_says_whether_something_is_to_be_mended(
    icefloe: Command, rig: Rig, ca: Path, kinds: list[str], code: int
) -> None:
    done = audit(icefloe, *one(rig, *kinds), "--ca", ca, "--only", "ok")
    assert done.code == code, done.text


def test_without_a_ca_it_says_that_it_cannot_know_and_groups(
    icefloe: Command, rig: Rig
) -> None:
    done = audit(icefloe, *one(rig, "good", "foreign", "strange"))
    assert done.code == 0
    assert "cannot be known" in done.out
    assert done.out.count("1 host: issued by CN = Icinga CA, CA certificate") == 2
    assert "issued by CN = Other CA, which does not show" in done.out


def test_this_nodes_own_ca_is_the_one_to_judge_by(
    icefloe: Command, rig: Rig, ca: Path
) -> None:
    icefloe.certs.mkdir()
    (icefloe.certs / "ca.crt").write_bytes(ca.read_bytes())
    done = audit(icefloe, *one(rig, "good", "foreign"), "--json")
    facts = decoded(done)
    assert facts["judged_by"]["file"] == str(icefloe.certs / "ca.crt")
    assert facts["states"] == {"foreign-ca": 1, "ok": 1}


def test_a_host_asked_by_address_is_not_compared_with_it(
    icefloe: Command, rig: Rig, ca: Path
) -> None:
    (seat,) = [seat for seat in rig.seats if seat.kind == "good"]
    done = audit(icefloe, seat.place, "--ca", ca)
    assert done.code == 0
    assert "its name was not" in " ".join(done.out.split())


def test_only_shows_what_was_asked_for_and_counts_all(
    icefloe: Command, rig: Rig, ca: Path
) -> None:
    words = one(rig, "good", "stuck", "refusing")
    done = audit(icefloe, *words, "--ca", ca, "--only", "self-signed", "--json")
    facts = decoded(done)
    assert [host["state"] for host in facts["hosts"]] == ["self-signed"]
    assert facts["states"] == {"self-signed": 1, "unreachable": 1, "ok": 1}
    assert done.code == 1


def test_csv_is_alone_on_standard_output(
    icefloe: Command, rig: Rig, ca: Path, tmp_path: Path
) -> None:
    mend = tmp_path / "mend.ini"
    words = one(rig, "good", "stuck")
    done = audit(icefloe, *words, "--ca", ca, "--csv", "--repair", mend)
    lines = done.out.splitlines()
    assert lines[0].startswith("host,address,state")
    assert len(lines) == 3
    assert "Wrote an inventory of 1 hosts" in done.err


def test_hosts_come_from_files_and_inventories_too(
    icefloe: Command, rig: Rig, ca: Path, tmp_path: Path
) -> None:
    good, stuck, ending = one(rig, "good", "stuck", "ending")
    (tmp_path / "list").write_text(f"{good}  # a comment\n")
    (tmp_path / "more").write_text(f"{stuck}\n{good}\n")
    name, _, place = ending.partition("=")
    host, _, port = place.partition(":")
    (tmp_path / "hosts").write_text(f"{name} ansible_host={host} icefloe_port={port}\n")
    done = audit(
        icefloe,
        f"@{tmp_path}/list",
        *("--file", tmp_path / "more"),
        *("-i", tmp_path / "hosts"),
        *("--ca", ca, "--json"),
    )
    assert decoded(done)["states"] == {"self-signed": 1, "expiring": 1, "ok": 1}


@pytest.mark.parametrize("name", ["mend.yaml", "mend.ini"])
def test_repair_writes_an_inventory_once(
    icefloe: Command, rig: Rig, ca: Path, tmp_path: Path, name: str
) -> None:
    mend = tmp_path / name
    words = (*one(rig, "good", "stuck", "cloned"), "--ca", ca, "--repair", mend)
    assert audit(icefloe, *words).code == 1
    assert mend.stat().st_mode & 0o777 == 0o600
    found = {each.label: each.groups for each in read_inventory(mend, port=5665)}
    assert sorted(groups for groups in found.values()) == [
        ("icefloe_look", "icefloe_wrong_name"),
        ("icefloe_mend", "icefloe_self_signed"),
    ]
    mend.write_text("mine")
    again = audit(icefloe, *words)
    assert (again.code, again.out) == (2, "")
    assert "--force" in again.err
    assert mend.read_text() == "mine"
    assert audit(icefloe, *words, "--force").code == 1
    assert "icefloe_self_signed" in mend.read_text()
    assert [path.name for path in tmp_path.glob(".mend*")] == []


def test_what_was_written_can_be_audited_again(
    icefloe: Command, rig: Rig, ca: Path, tmp_path: Path
) -> None:
    mend = tmp_path / "mend.yaml"
    words = (*one(rig, "stuck", "cloned", "expired", "good"), "--ca", ca)
    first = decoded(audit(icefloe, *words, "--json", "--repair", mend))
    second = decoded(audit(icefloe, "-i", mend, "--ca", ca, "--json"))
    del first["states"]["ok"]
    assert first["states"] == second["states"]


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "name hosts"),
        (["web1:x"], "a port is a number"),
        (["@/nowhere/hosts"], "/nowhere/hosts"),
        (["-i", "/nowhere/hosts"], "/nowhere/hosts"),
        (["web1", "--only", "sad"], "sad"),
        (["web1", "--at-once", "0"], "--at-once"),
        (["web1", "--json", "--csv"], "not both"),
        (["web1", "--ca", "/nowhere/ca.crt"], "/nowhere/ca.crt"),
        (["web1", "--crl", "/dev/null"], "/dev/null"),
        (["web1", "--repair", "/nowhere/mend.yaml"], "directory does not exist"),
        (["web1", "--shout"], "--shout"),
        (["--file", "/dev/null"], "/dev/null"),
    ],
)
def test_what_cannot_be_understood_ends_with_2_and_asks_nobody(
    icefloe: Command, words: list[str], told: str
) -> None:
    done = audit(icefloe, *words)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_an_empty_list_is_told(icefloe: Command, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# nobody\n")
    done = audit(icefloe, "--file", tmp_path / "list")
    assert done.code == 2
    assert "no host" in done.err


def test_interrupted_it_tells_what_it_knows(rig: Rig, ca: Path, tmp_path: Path) -> None:
    """One at a time: when the second one was reached, the first one is known."""
    second = rig.add("good", "second")
    mute = rig.add("mute", "mute")
    words = [*one(rig, "stuck"), second.target, mute.target, "never.invalid"]
    mend = tmp_path / "mend.yaml"
    before = rig.accepted
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "icefloe", "fleet", "audit", *words),
            *("--at-once", "1", "--timeout", "100", "--json"),
            *("--ca", str(ca), "--repair", str(mend)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ICEFLOE_DATA_DIR": str(tmp_path)},
    )
    try:
        wait_until(lambda: rig.accepted >= before + 2, what="the second node's turn")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    facts = msgspec.json.decode(out)
    assert process.returncode == 130, err
    assert facts["complete"] is False
    assert facts["hosts"][0]["state"] == "self-signed"
    assert facts["looked_at"] < facts["asked"] == 4
    assert "was not written" in err
    assert not mend.exists()
    assert "Traceback" not in err


def test_states_are_completed_and_in_the_help(icefloe: Command) -> None:
    text = " ".join(icefloe.ok("fleet", "audit", "--help").split())
    for state in State:
        assert state in text
    assert "130 interrupted" in text


@pytest.mark.parametrize("name", ["audit", "advisories"])
def test_the_document_names_every_option_and_exit_code(name: str) -> None:
    command = typer.main.get_command(fleet.app)
    assert isinstance(command, click.Group)
    text = (ROOT / "docs/fleet.md").read_text(encoding="utf-8")
    options = {
        option
        for parameter in command.commands[name].params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--") and option not in {"--help", "--json"}
    }
    assert len(options) > 5
    assert [option for option in sorted(options) if option not in text] == []
    for code in (0, 1, 2, 130):
        assert f"| {code} |" in text


def keys_in(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys_in, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set()


def test_the_document_names_every_key_of_the_json(
    icefloe: Command, rig: Rig, ca: Path
) -> None:
    text = (ROOT / "docs/fleet.md").read_text(encoding="utf-8")
    words = one(rig, "good", "stuck", "refusing")
    keys = keys_in(decoded(audit(icefloe, *words, "--ca", ca, "--json")))
    keys |= keys_in(
        decoded(icefloe("fleet", "advisories", "--release", "2.14.4", "--json"))
    )
    keys |= keys_in(decoded(icefloe("fleet", "advisories", "--list", "--json")))
    keys -= set(State)  # of `states`: named in their own table
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


@pytest.mark.parametrize("option", ["--timeout", "--days"])
def test_a_number_is_one(icefloe: Command, option: str) -> None:
    for word in ("nan", "inf", "-1"):
        done = icefloe("fleet", "audit", "web1", option, word)
        assert done.code == 2, word


# --- advisories -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree() -> Iterator[Rig]:
    """A master, two satellites and an agent, of which one satellite cuts answers off."""
    with rig_of() as made:
        made.add("good", "master", version=21410)
        made.add("good", "sat1", version=21604)
        made.add("good", "sat2", version=21404)
        made.add("stuck", "agent", version=21306)
        yield made


ROLES = ("--role", "master=master", "--role", "satellite=sat*", "--role", "agent=agent")


def test_the_satellite_that_cuts_answers_off_is_to_be_upgraded_first(
    icefloe: Command, tree: Rig
) -> None:
    words = [seat.target for seat in tree.seats[:4]]
    done = icefloe("fleet", "advisories", *words, *ROLES, "--json")
    facts = decoded(done)
    assert done.code == 1
    assert [step["host"] for step in facts["upgrade"]] == [
        "sat2",
        "master",
        "sat1",
        "agent",
    ]
    assert facts["upgrade"][0]["within_branch"] == "2.14.10"
    nodes = {node["host"]: node for node in facts["nodes"]}
    assert nodes["agent"]["release"] == "2.13.6"
    assert {"id": "icinga2-10330", "certain": True, "only_if": []} in nodes["sat2"][
        "concerns"
    ]


def test_the_order_and_its_reasons_are_told_in_words(
    icefloe: Command, tree: Rig
) -> None:
    words = [seat.target for seat in tree.seats[:4]]
    out = icefloe("fleet", "advisories", *words, *ROLES).out
    assert "1. sat2: to 2.14.10" in out
    assert "every new node behind it fails" in out
    assert "icinga2-10330 (high, stops enrollment, 2025-01-29)" in out
    assert "https://github.com/Icinga/icinga2/issues/10330" in out
    assert "A distribution may have mended" in out
    assert "Advisories as of" in out


def test_roles_come_from_groups_and_variables_of_an_inventory(
    icefloe: Command, tree: Rig, tmp_path: Path
) -> None:
    lines = []
    for seat in tree.seats[:4]:
        port = seat.place.rpartition(":")[2]
        lines.append(f"{seat.name} ansible_host=127.0.0.1 icefloe_port={port}")
    (tmp_path / "hosts").write_text(
        f"{lines[0]} icefloe_role=master\n[sats]\n{lines[1]}\n{lines[2]}\n[x]\n{lines[3]}\n"
    )
    words = ("-i", tmp_path / "hosts", "--role", "satellite=group:sats", "--json")
    facts = decoded(icefloe("fleet", "advisories", *words))
    assert {node["host"]: node["role"] for node in facts["nodes"]} == {
        "master": "master",
        "sat1": "satellite",
        "sat2": "satellite",
        "agent": None,
    }


def test_a_node_that_tells_no_version_is_told_as_such(icefloe: Command) -> None:
    with rig_of(version=None) as rig:
        old = rig.add("good", "old")
        gone = rig.add("refusing", "gone")
        done = icefloe("fleet", "advisories", old.target, gone.target, "--json")
    assert done.code == 1
    nodes = {node["host"]: node for node in decoded(done)["nodes"]}
    assert "2.12 or older" in nodes["old"]["runs"]
    assert not any(each["certain"] for each in nodes["old"]["concerns"])
    assert "nothing listens" in nodes["gone"]["unknown"]


def test_when_nobody_tells_anything_nothing_can_be_said(
    icefloe: Command, rig: Rig
) -> None:
    done = icefloe("fleet", "advisories", *one(rig, "refusing", "unnamed"))
    assert done.code == 2
    assert "unknown" in done.out


def test_the_newest_release_is_well(icefloe: Command, rig: Rig) -> None:
    done = icefloe("fleet", "advisories", *one(rig, "good"), "--role", "master=*")
    assert done.code == 0, done.out
    assert "No advisory known here concerns" in done.out


def test_a_release_can_be_asked_about_before_it_is_installed(icefloe: Command) -> None:
    done = icefloe("fleet", "advisories", "--release", "r2.13.6-1", "--json")
    assert done.code == 1
    (node,) = decoded(done)["nodes"]
    assert node["release"] == "2.13.6"
    assert node["runs"] == "Icinga 2.13.6-1"
    assert icefloe("fleet", "advisories", "--release", "2.16.5").code == 0
    before = decoded(
        icefloe("fleet", "advisories", "--release", "2.14.5~rc1-1", "--json")
    )
    (node,) = before["nodes"]
    assert (node["release"], node["runs"]) == ("2.14.5-rc1", "Icinga 2.14.5~rc1-1")
    assert "icinga2-10330" in {each["id"] for each in node["concerns"]}
    newer = icefloe("fleet", "advisories", "--release", "2.99.0")
    assert "newer than these advisories" in newer.out


@pytest.mark.parametrize("pattern", ["r2.14.4-1", "2.14.*"])
def test_a_release_is_asked_about_in_a_role(icefloe: Command, pattern: str) -> None:
    def concerns(role: str) -> dict[str, bool]:
        words = ("--release", "r2.14.4-1", "--role", f"{role}={pattern}", "--json")
        (node,) = decoded(icefloe("fleet", "advisories", *words))["nodes"]
        assert node["role"] == role
        return {each["id"]: each["certain"] for each in node["concerns"]}

    assert concerns("satellite")["icinga2-10330"]
    assert "icinga2-10330" not in concerns("agent")


def test_all_that_is_known_can_be_listed_with_sources(icefloe: Command) -> None:
    facts = decoded(icefloe("fleet", "advisories", "--list", "--json"))
    assert all(each["sources"] for each in facts["advisories"])
    assert facts["left_out"]
    text = icefloe.ok("fleet", "advisories", "--list")
    for each in facts["advisories"]:
        assert each["id"] in text


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "name hosts"),
        (["--release", "two"], "no release"),
        (["web1", "--release", "2.14.4"], "asks nobody"),
        (["web1", "--role", "boss=web1"], "ROLE=HOSTS"),
        (["web1", "--role", "master"], "ROLE=HOSTS"),
    ],
)
def test_wrong_words_end_with_2(icefloe: Command, words: list[str], told: str) -> None:
    done = icefloe("fleet", "advisories", *words)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
