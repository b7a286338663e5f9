from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.cluster.zones import Endpoint, Zone
from icefloe.config.errors import ConfigError, PlanError
from icefloe.config.features import Features
from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load
from icefloe.config.model import NodeConfiguration
from icefloe.config.plan import Plan
from icefloe.config.setup import (
    ApiUserSetup,
    CurrentFiles,
    NodeSetup,
    api_users_text,
    icinga2_text,
    plan_node_setup,
    problems_of_setup,
    read_current,
    zones_text,
)
from tests.config.helpers import ICINGA2, debian_node, evaluated, hostile_text, write

AGENT = NodeSetup(
    node_name="agent1",
    zone_name="agent1",
    parent_zone="satellite",
    parents=(Endpoint("sat1", "192.0.2.1"), Endpoint("sat2", "192.0.2.2", "5666")),
    bind_host="127.0.0.1",
    bind_port=5667,
    accept_config=True,
    disable_conf_d=True,
)

MASTER = NodeSetup(
    node_name="master1",
    zone_name="master",
    ticket_salt="the salt",
    api_user=ApiUserSetup(name="root", password="the password"),
    icefloe_endpoints=("master1",),
    disable_conf_d=True,
)

NOTE = "written by a test */\nat some time"


def carry_out(plan: Plan) -> None:
    """Do what the command line does, without its care."""
    for file in plan.files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text, encoding="utf-8")
    for link in plan.links:
        link.path.parent.mkdir(parents=True, exist_ok=True)
        link.path.symlink_to(link.target)
    for path in plan.removals:
        path.unlink()


def planned(setup: NodeSetup, directories: NodeDirectories) -> Plan:
    current = read_current(directories)
    return plan_node_setup(setup, current=current, directories=directories, note=NOTE)


def set_up(setup: NodeSetup, directories: NodeDirectories) -> NodeConfiguration:
    carry_out(planned(setup, directories))
    return load(directories.config_dir, directories.data_dir)


def empty_node(root: Path) -> NodeDirectories:
    return NodeDirectories(config_dir=root / "etc", data_dir=root / "lib")


@pytest.mark.parametrize("fresh", [True, False], ids=["nothing", "Debian's files"])
def test_agent_that_was_set_up_can_be_loaded(tmp_path: Path, *, fresh: bool) -> None:
    directories = empty_node(tmp_path) if fresh else debian_node(tmp_path)
    found = set_up(AGENT, directories)
    assert (found.node_name, found.zone_name) == ("agent1", "agent1")
    assert [(e.name, e.host, e.port) for e in found.zones.upstreams()] == [
        ("sat1", "192.0.2.1", "5665"),
        ("sat2", "192.0.2.2", "5666"),
    ]
    listener = found.listener
    assert (listener.bind_host, listener.bind_port) == ("127.0.0.1", 5667)
    assert listener.accept_config
    assert not listener.accept_commands
    assert found.ticket_salt == ""
    assert found.monitoring_objects == ()
    assert found.warnings == ()
    globals_ = {name for name, zone in found.zones.zones.items() if zone.is_global}
    assert globals_ == {"global-templates", "director-global"}


@pytest.mark.parametrize("fresh", [True, False], ids=["nothing", "Debian's files"])
def test_master_that_was_set_up_can_be_loaded(tmp_path: Path, *, fresh: bool) -> None:
    directories = empty_node(tmp_path) if fresh else debian_node(tmp_path)
    found = set_up(MASTER, directories)
    assert (found.node_name, found.zone_name) == ("master1", "master")
    assert found.ticket_salt == "the salt"
    assert found.icefloe_endpoints == {"master1"}
    assert found.zones.parent_zone is None
    assert found.monitoring_objects == ()
    assert "root" in directories.api_users_conf.read_text()


def test_setting_up_again_changes_nothing(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    carry_out(planned(MASTER, directories))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.conf")}
    again = planned(MASTER, directories)
    assert (again.links, again.removals) == ((), ())
    carry_out(again)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.conf")} == before


def test_conf_d_stays_included_unless_told(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    found = set_up(replace(MASTER, disable_conf_d=False), directories)
    assert directories.icinga2_conf.read_text() == ICINGA2
    assert len(found.monitoring_objects) == 3


def test_api_users_that_exist_are_left_alone(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    write(directories.conf_d, {"api-users.conf": "// mine\n"})
    set_up(MASTER, directories)
    assert directories.api_users_conf.read_text() == "// mine\n"
    assert 'include "conf.d/api-users.conf"' in directories.icinga2_conf.read_text()


def test_notifications_are_left_to_masters(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    link = directories.feature_enabled("notification")
    link.symlink_to("../features-available/notification.conf")
    assert planned(MASTER, directories).removals == ()
    assert planned(AGENT, directories).removals == (link,)


def test_files_with_secrets_are_not_open_to_all(tmp_path: Path) -> None:
    modes = {f.path.name: f.mode for f in planned(MASTER, debian_node(tmp_path)).files}
    assert modes == {
        "zones.conf": 0o644,
        "api.conf": 0o644,
        "icinga2.conf": 0o644,
        "constants.conf": 0o640,
        "api-users.conf": 0o640,
    }


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    shown = repr(MASTER) + repr(planned(MASTER, directories))
    carry_out(planned(MASTER, directories))
    shown += repr(read_current(directories))
    assert "the salt" not in shown
    assert "the password" not in shown


def test_salt_stands_in_constants_conf_only(tmp_path: Path) -> None:
    plan = planned(MASTER, debian_node(tmp_path))
    holders = [file.path.name for file in plan.files if "the salt" in file.text]
    assert holders == ["constants.conf"]


def test_zones_conf_has_icingas_form() -> None:
    text = zones_text(
        [Endpoint("p", "192.0.2.1", "5666"), Endpoint("n")],
        [
            Zone("master", ("p",)),
            Zone("n", ("n",), "master"),
            Zone("g", is_global=True),
        ],
        note="n",
    )
    assert (
        text
        == """\
// n

object Endpoint "p" {
\thost = "192.0.2.1"
\tport = "5666"
}

object Endpoint "n" {
}

object Zone "master" {
\tendpoints = [ "p" ]
}

object Zone "n" {
\tendpoints = [ "n" ]
\tparent = "master"
}

object Zone "g" {
\tglobal = true
}
"""
    )


def test_icinga2_conf_for_an_empty_machine_includes_what_we_write(
    tmp_path: Path,
) -> None:
    directories = empty_node(tmp_path)
    write(directories.config_dir, {"icinga2.conf": icinga2_text(note=NOTE)})
    assert set_up(AGENT, directories).monitoring_objects == ()


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"node_name": "a,b"}, "comma"),
        ({"node_name": ""}, "empty"),
        ({"parents": (Endpoint("../x"),)}, "/"),
        ({"parents": (Endpoint("agent1"),)}, "more than once"),
        ({"parents": (Endpoint("p"), Endpoint("p"))}, "more than once"),
        ({"zone_name": "satellite"}, "more than once"),
        ({"parent_zone": "global-templates"}, "more than once"),
        ({"global_zones": ("g", "g")}, "more than once"),
        ({"global_zones": ("a!b",)}, "'!'"),
        ({"zone_name": ""}, "empty"),
        ({"bind_port": 65536}, "port"),
        ({"bind_port": -1}, "port"),
        ({"bind_host": "a\udcff"}, "UTF-8"),
    ],
)
def test_set_up_that_icinga_would_not_start_with_is_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    directories = debian_node(tmp_path)
    with pytest.raises(PlanError, match=reason):
        planned(replace(AGENT, **change), directories)  # type: ignore[arg-type]


def test_every_problem_of_a_set_up_is_told_at_once() -> None:
    wrong = replace(
        AGENT,
        node_name="a,b",
        parents=(Endpoint("../x"),),
        global_zones=("a!b", ""),
        bind_port=70000,
    )
    problems = problems_of_setup(wrong)
    for word in ("comma", "'/'", "'a!b'", "''", "70000"):
        assert any(word in problem for problem in problems), word
    assert problems_of_setup(AGENT) == problems_of_setup(MASTER) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"node_name": "icefloe-canary-mon1"},
        {"parents": (Endpoint("sat1"), Endpoint("icefloe-canary-mon1"))},
    ],
    ids=["node", "parent"],
)
def test_a_canarys_name_is_no_nodes_and_no_parents(
    change: dict[str, object],
) -> None:
    wrong = replace(AGENT, bind_port=70000, **change)  # type: ignore[arg-type]
    canary, port = problems_of_setup(wrong)
    assert "'icefloe-canary-' are canaries'" in canary
    assert "70000" in port
    master = replace(MASTER, node_name="icefloe-canary-")
    assert len(problems_of_setup(master)) == 1
    assert problems_of_setup(replace(AGENT, node_name="icefloe-canary")) == ()


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    directories = empty_node(tmp_path)
    directories.constants_conf.mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_current(directories)


EMPTY = CurrentFiles(
    constants_conf=None,
    icinga2_conf="",
    has_api_users=False,
    features=Features(available=frozenset(), enabled=frozenset()),
)
SOMEWHERE = NodeDirectories(config_dir=Path("/c"), data_dir=Path("/d"))


def setup_of(names: list[str]) -> NodeSetup:
    """A set-up in which everything that can be named has a name of these."""
    zone, parent_zone, global_zone, host, bind_host, salt = names
    return NodeSetup(
        node_name="node1",
        zone_name=zone,
        parent_zone=parent_zone,
        parents=(Endpoint("parent1", host),),
        global_zones=(global_zone,),
        bind_host=bind_host,
        ticket_salt=salt,
        icefloe_endpoints=(zone, host),
    )


@given(names=st.lists(hostile_text, min_size=6, max_size=6), note=hostile_text)
def test_hostile_names_stay_names_in_every_file(names: list[str], note: str) -> None:
    """GHSA-jgqj-x5j9-vgcm, for the files of a set-up."""
    zone, parent_zone, global_zone, host, bind_host, salt = names
    setup = setup_of(names)
    try:
        plan = plan_node_setup(setup, current=EMPTY, directories=SOMEWHERE, note=note)
    except PlanError:
        zones = {zone, parent_zone, global_zone}
        assert "" in zones or len(zones) < 3 or any("!" in name for name in zones)
        return
    text = {file.path.name: file.text for file in plan.files}
    found = evaluated(text["constants.conf"] + text["zones.conf"] + text["api.conf"])
    assert found.problems == ()
    assert found.constants == {
        "NodeName": "node1",
        "ZoneName": zone,
        "TicketSalt": salt,
        "IcefloeEndpoints": [zone, host],
    }
    objects = {
        (obj.type_name, obj.name): {k: a.value for k, a in obj.attributes.items()}
        for obj in found.objects
    }
    assert objects == {
        ("Endpoint", "parent1"): {"host": host} if host else {},
        ("Endpoint", "node1"): {},
        ("Zone", parent_zone): {"endpoints": ["parent1"]},
        ("Zone", zone): {"endpoints": ["node1"], "parent": parent_zone},
        ("Zone", global_zone): {"global": True},
        ("ApiListener", "api"): {
            "bind_host": bind_host,
            "accept_config": False,
            "accept_commands": False,
            "ticket_salt": salt,
        },
    }


@given(name=st.one_of(hostile_text, st.just("root")), password=hostile_text)
def test_hostile_api_user_stays_one_user(name: str, password: str) -> None:
    try:
        text = api_users_text(ApiUserSetup(name=name, password=password), note=NOTE)
    except PlanError:
        assert not name or "!" in name
        return
    (obj,) = evaluated(text).objects
    assert (obj.type_name, obj.name) == ("ApiUser", name)
    assert obj.attributes["password"].value == password
    assert obj.attributes["permissions"].value == ["*"]
