from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from icefloe.node.fleet.inventory import expand, parse_ini, targets_of
from icefloe.node.fleet.reading import read_inventory, read_targets
from icefloe.node.fleet.targets import Target, TargetInvalid
from icefloe.storage.files import FileProblem

INI = """\
# who is who
lonely.example.org

[agents]
web[01:03].example.org icefloe_port=5666
db1 ansible_host=10.0.0.9 ansible_port=2222 icinga2_cn="db1.example.org"  # a comment
old.example.org:2222

[satellites]
sat1 icefloe_cn=sat1.example.org

[dmz:children]
agents

[dmz:vars]
ansible_user=deploy
icefloe_port=5700

[agents:vars]
ansible_become=True
"""

YAML = """\
all:
  vars:
    ansible_user: nobody
  children:
    dmz:
      vars:
        ansible_user: deploy
        icefloe_port: 5700
      children:
        agents:
          vars: {ansible_become: true}
          hosts:
            web[01:03].example.org: {icefloe_port: 5666}
            db1:
              ansible_host: 10.0.0.9
              ansible_password: !vault |
                $ANSIBLE_VAULT;1.1;AES256
                6162
              icinga2_cn: db1.example.org
            old.example.org:
    satellites:
      hosts:
        sat1:
          icefloe_cn: sat1.example.org
  hosts:
    lonely.example.org:
"""

JSON = """\
{"_meta": {"hostvars": {
   "db1": {"ansible_host": "10.0.0.9", "icinga2_cn": "db1.example.org",
           "icefloe_port": 5700, "ansible_user": "deploy"},
   "web01.example.org": {"icefloe_port": 5666}}},
 "all": {"children": ["ungrouped", "dmz"]},
 "dmz": {"children": ["agents"]},
 "ungrouped": {"hosts": ["lonely.example.org"]},
 "agents": {"hosts": ["db1", "web01.example.org"]}}
"""


def read(tmp_path: Path, name: str, text: str) -> dict[str, Target]:
    path = tmp_path / name
    path.write_text(text)
    return {each.label: each for each in read_inventory(path, port=5665)}


@pytest.mark.parametrize("name, text", [("hosts", INI), ("hosts.yml", YAML)])
def test_hosts_ports_names_and_variables_are_found(
    tmp_path: Path, name: str, text: str
) -> None:
    found = read(tmp_path, name, text)
    webs = [f"web{number:02}.example.org" for number in (1, 2, 3)]
    assert found.keys() == {
        *webs,
        *("db1", "old.example.org", "sat1", "lonely.example.org"),
    }
    web = found["web02.example.org"]
    assert (web.host, web.port, web.name) == (web.label, 5666, web.label)
    assert web.groups == ("dmz", "agents")
    assert web.variables["ansible_user"] == "deploy"
    assert web.variables["ansible_become"] is True
    db1 = found["db1"]
    assert (db1.host, db1.port, db1.name) == ("10.0.0.9", 5700, "db1.example.org")
    assert found["sat1"].name == "sat1.example.org"
    assert found["sat1"].port == 5665
    assert found["lonely.example.org"].groups == ()
    # The port in an inventory's host is that of SSH.
    assert found["old.example.org"].port == 5700


def test_what_ansible_inventory_prints_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, "list.json", JSON)
    assert set(found) == {"lonely.example.org", "db1", "web01.example.org"}
    assert found["db1"].port == 5700
    assert found["db1"].groups == ("dmz", "agents")
    assert found["web01.example.org"].port == 5666


@pytest.mark.parametrize(
    "pattern, hosts",
    [
        ("web1", ["web1"]),
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[08:10]", ["web08", "web09", "web10"]),
        ("web[1:9:4]", ["web1", "web5", "web9"]),
        ("db-[a:c].x", ["db-a.x", "db-b.x", "db-c.x"]),
        ("r[1:2]n[a:b]", ["r1na", "r1nb", "r2na", "r2nb"]),
        ("[2001:db8::1]", ["[2001:db8::1]"]),
        ("web[3:1]", []),
    ],
)
def test_ranges_are_expanded(pattern: str, hosts: list[str]) -> None:
    assert list(expand(pattern)) == hosts


@pytest.mark.parametrize(
    "pattern",
    [
        *("w[1:99999999]", "w[1:a]", "w[0:9999]x[0:9999]", "w[1:3:0]"),
        *(f"w[{'1' * 5000}:2]", f"w[1:2:{'1' * 5000}]"),
    ],
)
def test_ranges_that_are_none_or_too_large_are_refused(pattern: str) -> None:
    with pytest.raises(TargetInvalid):
        list(expand(pattern))


def test_an_address_in_place_of_a_name_names_nobody(tmp_path: Path) -> None:
    found = read(tmp_path, "hosts", "10.0.0.7\n[::1]\nweb1 ansible_host=::2\n")
    assert found["10.0.0.7"].name is None
    assert found["web1"].host == "::2"
    assert found["web1"].name == "web1"
    assert (found["[::1]"].host, found["[::1]"].name) == ("::1", None)


def test_a_template_stands_for_what_only_ansible_knows(tmp_path: Path) -> None:
    text = (
        'web1 ansible_host="{{ lookup(x) }}" icefloe_cn="{{ inventory_hostname }}" '
        'icefloe_port="{{ p }}"\n'
    )
    (web1,) = read(tmp_path, "hosts", text).values()
    assert (web1.host, web1.name, web1.port) == ("web1", "web1", 5665)


def test_strangers_words_in_ansibles_json_become_no_templates(tmp_path: Path) -> None:
    """Labels of a cloud: marked up to 2.18, and plain text since."""
    run = "{{ lookup('pipe', 'id') }}"
    variables = {
        "ansible_host": {"__ansible_unsafe": "10.0.0.1"},
        "icefloe_marked": {"__ansible_unsafe": run},
        "icefloe_plain": run,
        "icefloe_deep": [{"x": run}],
    }
    parsed = {
        "web": {"hosts": ["web1"], "vars": {"icefloe_all": run}},
        "_meta": {"hostvars": {"web1": variables}},
    }
    (web1,) = read(tmp_path, "hosts", json.dumps(parsed)).values()
    assert web1.host == "10.0.0.1"
    assert web1.variables == {"ansible_host": "10.0.0.1"}


def test_the_collections_own_variables_count(tmp_path: Path) -> None:
    text = (
        "web1 icefloe_listen_port=5670\nweb2 icefloe_listen_port=0\n"
        "web3 icefloe_port=1 icefloe_listen_port=2\nweb4 icefloe_port=''\n"
        "web5 icefloe_port=[1]\n"
    )
    with pytest.raises(TargetInvalid, match="'web5'"):
        read(tmp_path, "hosts", text)
    found = read(tmp_path, "hosts", text.replace("=[1]", "="))
    assert [each.port for each in found.values()] == [5670, 5665, 1, 5665, 5665]


@pytest.mark.parametrize(
    "text, where",
    [
        ("web1 x", ":1: "),
        ("web1\n[a:b]\n", ":2: "),
        ("[a]\nweb1 x='hunter2\n", ":2: "),
        ("[a:vars]\nhunter2\n", ":2: "),
        ("web1 icefloe_port=99999\n", "'web1'"),
        ("[a:children]\nb\n[b:children]\na\n[b]\nweb1\n", "inside itself"),
    ],
)
def test_a_broken_ini_is_told_with_its_line_and_without_values(
    text: str, where: str
) -> None:
    with pytest.raises(TargetInvalid) as caught:
        targets_of(parse_ini(text, source="hosts"), port=5665, source="hosts")
    assert where in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: hunter2",
        "all:\n  hosts: [web1]",
        "all:\n  hosts: web1",
        "all:\n  vars: [hunter2]",
        "- web1",
        "a: {hosts: {b: hunter2}}",
        "a: 2001-99-99",
    ],
)
def test_a_broken_yaml_is_told_without_values(tmp_path: Path, text: str) -> None:
    with pytest.raises(TargetInvalid) as caught:
        read(tmp_path, "hosts.yaml", text)
    assert "hosts.yaml" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["{", '{"a": 1}', '{"a": {"hosts": "x"}}', '{"_meta": {"hostvars": [1]}}']
)
def test_a_broken_json_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(TargetInvalid, match=r"list\.json"):
        read(tmp_path, "list.json", text)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    text = "a:\n  hosts:\n    web1: {x: !!python/object/apply:os.getpid []}\n"
    with pytest.raises(TargetInvalid):
        read(tmp_path, "hosts.yaml", text)


def test_programs_and_directories_are_referred_to_ansible(tmp_path: Path) -> None:
    (tmp_path / "dynamic").write_text("#!/bin/sh\necho hello\n")
    for path in (tmp_path, tmp_path / "dynamic"):
        with pytest.raises(TargetInvalid, match=r"ansible-inventory -i .* --list"):
            read_inventory(path, port=5665)


def test_without_a_yaml_reader_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(TargetInvalid, match=r"icefloe\[yaml\]"):
        read(tmp_path, "hosts.yaml", YAML)


def test_all_sources_are_joined_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list").write_text("b\nc:1\n")
    (tmp_path / "hosts").write_text("d\n")
    monkeypatch.chdir(tmp_path)
    found = read_targets(["a", "@list"], [Path("list")], [Path("hosts")], port=5665)
    assert [each.label for each in found] == ["a", "b", "c,1", "b", "c,1", "d"]


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="missing"):
        read_targets([f"@{tmp_path}/missing"], [], [], port=5665)
    (tmp_path / "binary").write_bytes(b"web1\n\xff\xfe")
    with pytest.raises(TargetInvalid, match=r"binary:2: it is not UTF-8"):
        read_targets([], [tmp_path / "binary"], [], port=5665)
