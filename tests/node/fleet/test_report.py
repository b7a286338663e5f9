"""What is told of an audit, and the inventory of those to mend."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.node.fleet.rig import KINDS, Materials, Shows
from tests.node.tls.material import der, pem
from tests.source_tree import ROOT

from icefloe.doors import WallTime
from icefloe.node.fleet.reading import read_inventory
from icefloe.node.fleet.repair import (
    CURED_BY_ENROLLING,
    LOOK_GROUP,
    MEND_GROUP,
    group_of,
    ini_text,
    is_kept,
    yaml_text,
)
from icefloe.node.fleet.report import (
    CSV_COLUMNS,
    Audit,
    csv_of,
    facts_of_audit,
    issuers,
    worst_first,
)
from icefloe.node.fleet.sightings import Cause, Presented, Unreached
from icefloe.node.fleet.states import State
from icefloe.node.fleet.targets import Target, parse_target
from icefloe.node.fleet.verdicts import Measure, Verdict, judge
from icefloe.pki.trust import TrustAnchor

NOW = WallTime(time.time())
TEMPLATE = "{{ lookup('pipe', 'id') }}"


@pytest.fixture(scope="module")
def materials() -> Materials:
    return Materials()


def verdicts(
    materials: Materials, *, judged: bool = True, **variables: Any
) -> list[Verdict]:
    """One host of each kind; the last one could not be reached."""
    made = []
    sightings: list[tuple[str, Any]] = []
    for kind, row in KINDS.items():
        if isinstance(row, Shows):
            node = row.make(materials, f"{kind}.example.org")
            chain = row.chain(materials)
            chained = () if chain is None else (der(chain.certificate),)
            shown = Presented(leaf=der(node.certificate), chain=chained)
            sightings.append((kind, shown))
    sightings.append(("down", Unreached(cause=Cause.REFUSED, detail="refused")))
    anchor = TrustAnchor.from_pem(pem(materials.ca.certificate), materials.crl())
    by = Measure(at=NOW, anchor=anchor if judged else None)
    for kind, sighting in sightings:
        name = f"{kind}.example.org"
        target = Target(label=name, host=name, name=name, variables=variables)
        made.append(judge(target, sighting, by))
    return made


def audit_of(found: list[Verdict], **changes: Any) -> Audit:
    return Audit(
        **{
            "verdicts": found,
            "asked": len(found),
            "at": NOW,
            "days": 30.0,
            "judged_by": "ca.crt",
            "ca_fingerprint": "ab" * 32,
            **changes,
        }
    )


# --- Table, JSON, CSV -----------------------------------------------------------------


def test_the_worst_come_first(materials: Materials) -> None:
    ordered = worst_first(verdicts(materials))
    ranks = [each.state.rank for each in ordered]
    assert ranks == sorted(ranks)
    assert ordered[0].state is State.SELF_SIGNED
    assert ordered[-1].state is State.OK


def test_json_tells_counts_and_each_host(materials: Materials) -> None:
    found = verdicts(materials)
    audit = audit_of(found, asked=len(found) + 3)
    facts = msgspec.json.decode(
        msgspec.json.encode(facts_of_audit(audit, worst_first(found)))
    )
    assert facts["looked_at"] == len(found)
    assert facts["complete"] is False
    assert sum(facts["states"].values()) == len(found)
    assert facts["to_mend"] == len(found) - facts["states"]["ok"]
    by_name = {host["host"]: host for host in facts["hosts"]}
    stuck = by_name["stuck.example.org"]
    assert stuck["state"] == "self-signed"
    assert stuck["certificate"]["common_name"] == "stuck.example.org"
    assert stuck["next"]
    down = by_name["down.example.org"]
    assert (down["cause"], down["certificate"]) == ("refused", None)
    assert by_name["good.example.org"]["next"] is None
    ending = by_name["ending.example.org"]["certificate"]
    assert ending["days_left"] in {11, 12}
    assert ending["not_after"].endswith("Z")


def test_json_shows_only_what_was_asked_for_and_counts_all(
    materials: Materials,
) -> None:
    found = verdicts(materials)
    facts = facts_of_audit(audit_of(found), found[:1])
    assert len(facts["hosts"]) == 1  # type: ignore[arg-type]
    assert facts["asked"] == len(found)


def test_issuers_are_told_apart_by_their_certificate(materials: Materials) -> None:
    """Two CAs are called Icinga CA; the stuck node's own name is no issuer."""
    found = [
        each
        for each in verdicts(materials, judged=False)
        if each.target.label.startswith(("good", "foreign", "strange", "stuck"))
    ]
    known = {(each.name, bool(each.ca_fingerprint)) for each in issuers(found)}
    assert len(issuers(found)) == 3
    assert known == {("CN = Icinga CA", True), ("CN = Other CA", False)}


def test_csv_has_a_line_for_each_host_and_no_formulas(materials: Materials) -> None:
    found = verdicts(materials)
    evil = materials.issue('=cmd|"x"!A1').certificate
    target = Target(label="-evil", host="10.0.0.1")
    found.append(judge(target, Presented(leaf=der(evil)), Measure(at=NOW)))
    rows = list(csv.DictReader(io.StringIO(csv_of(audit_of(found), found))))
    assert len(rows) == len(found)
    assert tuple(rows[0]) == CSV_COLUMNS
    for row in rows:
        assert not any(cell.startswith(("=", "+", "@")) for cell in row.values())
    assert rows[-1]["common_name"].startswith("'=cmd")
    assert rows[-1]["host"] == "'-evil"
    expired = next(row for row in rows if row["state"] == "expired")
    assert int(expired["days_left"]) < 0


def test_what_strangers_say_is_printable(materials: Materials) -> None:
    cert = materials.issue("x\x1b[2Jy", names=["a\nb"]).certificate
    found = [
        judge(parse_target("10.0.0.1"), Presented(leaf=der(cert)), Measure(at=NOW))
    ]
    text = msgspec.json.encode(facts_of_audit(audit_of(found), found)).decode()
    assert "u001b" not in text
    assert "\\n" not in text
    assert "\x1b" not in csv_of(audit_of(found), found)


# --- Repair ---------------------------------------------------------------------------


def read_back(tmp_path: Path, name: str, text: str) -> dict[str, Target]:
    (tmp_path / name).write_text(text)
    found = read_inventory(tmp_path / name, port=1)
    return {each.label: each for each in found}


@pytest.mark.parametrize(
    "name, write", [("mend.yaml", yaml_text), ("mend.ini", ini_text)]
)
def test_the_inventory_has_those_to_mend_by_state(
    tmp_path: Path, materials: Materials, name: str, write: Any
) -> None:
    found = verdicts(
        materials,
        ansible_user="deploy",
        icefloe_zone="a b",
        icefloe_port=5666,
        icefloe_flag=True,
        icefloe_list=["x", {"y": "it's"}],
        icefloe_number="5665",
    )
    back = read_back(tmp_path, name, write(audit_of(found)))
    assert back.keys() == {
        each.target.label for each in found if not each.state.is_well
    }
    for verdict in found:
        if verdict.state.is_well:
            continue
        host = back[verdict.target.label]
        above = MEND_GROUP if verdict.state in CURED_BY_ENROLLING else LOOK_GROUP
        assert host.groups == (above, group_of(verdict.state))
        assert host.name == verdict.target.name
        assert host.port == verdict.target.port
        assert host.variables["icefloe_audit_state"] == verdict.state.value
        assert host.variables["ansible_user"] == "deploy"
        assert host.variables["icefloe_zone"] == "a b"
        assert host.variables["icefloe_flag"] is True
        assert host.variables["icefloe_list"] == ["x", {"y": "it's"}]
        assert host.variables["icefloe_number"] == "5665"


@pytest.mark.parametrize("write", [yaml_text, ini_text])
def test_no_secret_is_copied(materials: Materials, write: Any) -> None:
    secrets: dict[str, Any] = dict.fromkeys(
        (
            *("ansible_password", "ansible_ssh_pass", "ansible_become_password"),
            *("icefloe_ticket", "icefloe_ticket_salt", "icefloe_token", "icinga2_salt"),
            *("icefloe_key", "icefloe_private_key", "icefloe_ca_key", "my_variable"),
            *("icefloe_vaulted", "icefloe_credentials", "icefloe_PASSPHRASE"),
        ),
        "hunter2",
    )
    secrets["icefloe_pip_extra_args"] = "--index-url https://me:hunter2@pypi.example"
    secrets["icinga2_constants"] = {"TicketSalt": "hunter2"}
    secrets["icinga2_features"] = [{"name": "idopgsql", "x": "hunter2"}]
    assert not any(map(is_kept, secrets))
    secrets["icinga2_more"] = [{"name": "api", "ticket_salt": "hunter2"}]
    secrets["icefloe_source"] = ["https://me:hunter2@pypi.example/icefloe.whl"]
    assert is_kept("icefloe_key_type")
    assert "hunter2" not in write(audit_of(verdicts(materials, **secrets)))


@pytest.mark.parametrize("name, write", [("m.yaml", yaml_text), ("m.ini", ini_text)])
def test_a_strangers_words_are_no_template(
    tmp_path: Path, materials: Materials, name: str, write: Any
) -> None:
    cert = materials.issue(TEMPLATE).certificate
    target = parse_target("web1=10.0.0.1")
    verdict = judge(target, Presented(leaf=der(cert)), Measure(at=NOW))
    assert verdict.state is State.WRONG_NAME
    text = write(audit_of([verdict]))
    assert "{{" not in text
    assert read_back(tmp_path, name, text)["web1"].host == "10.0.0.1"


def test_a_name_with_quotation_marks_spoils_no_ini(tmp_path: Path) -> None:
    down = Unreached(cause=Cause.TIMEOUT, detail="no answer")
    words = [
        "it's=10.0.0.1",
        ";a=10.0.0.2",
        'x"y=10.0.0.3',
        "z\\=10.0.0.4",
        "it's.b",
        ";c",
    ]
    found = [judge(parse_target(word), down, Measure(at=NOW)) for word in words]
    back = read_back(tmp_path, "m.ini", ini_text(audit_of(found)))
    assert {each.host for each in back.values()} == {each.target.host for each in found}


@pytest.mark.parametrize("name, write", [("m.yaml", yaml_text), ("m.ini", ini_text)])
def test_hosts_of_the_command_line_are_found_again(
    tmp_path: Path, name: str, write: Any
) -> None:
    words = ["web1", "web2:5666", "10.0.0.7", "::1", "a=h1:1", "a=h1:2", "b c=h3"]
    found = [
        judge(
            parse_target(word),
            Unreached(cause=Cause.TIMEOUT, detail="no answer"),
            Measure(at=NOW),
        )
        for word in words
    ]
    back = read_back(tmp_path, name, write(audit_of(found)))
    places = {(each.host, each.port, each.name) for each in back.values()}
    assert places == {
        (each.target.host, each.target.port, each.target.name) for each in found
    }


@pytest.mark.parametrize("name, write", [("m.yaml", yaml_text), ("m.ini", ini_text)])
def test_ansible_reads_the_same_from_it(
    tmp_path: Path, materials: Materials, name: str, write: Any
) -> None:
    """What is read back above is read by our own reader; this is the reader it is for."""
    program = Path(sys.executable).with_name("ansible-inventory")
    if not program.exists():
        pytest.skip("ansible-core is not installed here")
    found = verdicts(materials, ansible_user="a b", icefloe_list=["it's", 1])
    quoted = parse_target('odd name="10.0.0.1')
    found.append(
        judge(quoted, Unreached(cause=Cause.TIMEOUT, detail="\"'"), Measure(at=NOW))
    )
    (tmp_path / name).write_text(write(audit_of(found)))
    done = subprocess.run(
        [str(program), "-i", str(tmp_path / name), "--list"],
        capture_output=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path), "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
    )
    assert b"WARNING" not in done.stderr
    listed = tmp_path / "list.json"
    listed.write_bytes(done.stdout)
    theirs = {each.label: each for each in read_inventory(listed, port=5665)}
    ours = {each.label: each for each in read_inventory(tmp_path / name, port=5665)}
    assert theirs.keys() == ours.keys()
    for label, target in theirs.items():
        assert target.variables == ours[label].variables
        assert (target.name, target.groups) == (ours[label].name, ours[label].groups)


@pytest.mark.parametrize("write", [yaml_text, ini_text])
def test_a_healthy_fleet_has_an_empty_inventory(tmp_path: Path, write: Any) -> None:
    text = write(audit_of([]))
    assert read_back(tmp_path, "m.yaml" if write is yaml_text else "m", text) == {}


def test_yaml_is_what_a_yaml_reader_makes_of_it(materials: Materials) -> None:
    yaml = pytest.importorskip("yaml")
    parsed = yaml.safe_load(yaml_text(audit_of(verdicts(materials))))
    mend = parsed["all"]["children"][MEND_GROUP]["children"]
    assert "stuck.example.org" in mend[group_of(State.SELF_SIGNED)]["hosts"]


def test_the_document_names_every_state_cause_and_column() -> None:
    text = (ROOT / "docs/fleet.md").read_text(encoding="utf-8")
    for word in (*State, *Cause, *CSV_COLUMNS, MEND_GROUP, LOOK_GROUP):
        assert f"`{word}`" in text, word
    for state in State:
        if not state.is_well:
            assert f"`{group_of(state)}`" in text, state
