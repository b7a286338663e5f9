"""A real icinga2 and our configuration layer agree.

What we write, icinga2 starts with; what we take, it takes; what we refuse as wrong, it
refuses; and expressions have the value that it gives them.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from icefloe.cluster.zones import Endpoint, Zone
from icefloe.config.edits import disable_conf_d
from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load
from icefloe.config.printer import print_value
from icefloe.config.setup import (
    NodeSetup,
    icinga2_text,
    plan_node_setup,
    read_current,
    zones_text,
)
from icefloe.config.syntax import Value
from tests.config.helpers import debian_node, evaluated, value_of, write
from tests.config.test_parser import ICINGA_REFUSES, ICINGA_TAKES
from tests.config.test_setup import AGENT, MASTER, carry_out
from tests.peers import PreparedPKI, RealIcinga
from tests.peers.fixtures import Nodes, nodes, prepared_pki

__all__ = ["nodes", "prepared_pki"]

pytestmark = [pytest.mark.real_peer, pytest.mark.timeout(300)]


def directories_of(node: RealIcinga) -> NodeDirectories:
    return NodeDirectories(config_dir=node.config_dir, data_dir=node.data_dir)


def validate(node: RealIcinga) -> tuple[int, str]:
    """Run `daemon -C` over the node's files: exit code and output."""
    done = node.cli("daemon", "-C", "-c", str(node.config_dir / "icinga2.conf"))
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def language(nodes: Nodes) -> RealIcinga:
    """A node whose icinga2.conf a test writes; it is in no cluster."""
    return nodes.make(RealIcinga, "node1")


def verdict(node: RealIcinga, text: str) -> tuple[int, str]:
    write(node.config_dir, {"icinga2.conf": 'const NodeName = "n"\ninclude "t.conf"\n'})
    write(node.config_dir, {"t.conf": text})
    return validate(node)


@pytest.mark.parametrize("setup", [AGENT, MASTER], ids=["agent", "master"])
@pytest.mark.parametrize("from_debian", [True, False], ids=["Debian's", "none"])
def test_icinga_starts_with_what_a_set_up_writes(
    nodes: Nodes,
    prepared_pki: PreparedPKI,
    setup: NodeSetup,
    tmp_path: Path,
    *,
    from_debian: bool,
) -> None:
    node = nodes.make(RealIcinga, setup.node_name)
    node.install_identity(prepared_pki)
    directories = directories_of(node)
    if from_debian:
        debian = debian_node(tmp_path / "debian")
        for name in ("constants.conf", "icinga2.conf", "conf.d/hosts.conf"):
            write(node.config_dir, {name: (debian.config_dir / name).read_bytes()})
    else:
        directories.constants_conf.unlink()
        write(node.config_dir, {"icinga2.conf": icinga2_text(note="by a test")})
    current = read_current(directories)
    plan = plan_node_setup(
        setup, current=current, directories=directories, note="by a test"
    )
    carry_out(plan)
    code, output = validate(node)
    assert code == 0, output
    assert "warning/" not in output
    assert load(node.config_dir, node.data_dir).node_name == setup.node_name


def test_icinga_reads_hostile_names_as_we_do(language: RealIcinga) -> None:
    names = ['"', "\\", "a\nb", "\x01" + "23", "\x7f0", "*/", "}}}", "$x$", "é☃", " "]
    zones = [Zone(f"zone {name}", (f"node {name}",)) for name in names]
    text = zones_text([Endpoint(f"node {n}", n) for n in names], zones, note="*/\n?")
    code, output = verdict(language, text)
    assert code == 0, output
    listed = language.must("object", "list", "--type", "Zone")
    assert {obj.name for obj in evaluated(text).objects} >= {z.name for z in zones}
    for zone in zones:
        assert f"Object '{zone.name}' of type 'Zone'" in listed


EXPRESSIONS = [
    r'"\" \\ \n\t\r\b\f \101\1"',
    '{{{a\n\\n " }}}',
    "007",
    "1.50",
    "5ms",
    "1.5m",
    "2h",
    "1d",
    '"a" + 1',
    '1 + "a"',
    '"a" + 1.5',
    '"a" + 0.1ms',
    '"a" + 12345678901234567890',
    '"a" + 1 + 2',
    '1 + 2 + "a"',
    "null + 1",
    '"a" + null',
    "null + [ 1 ]",
    "[ 1 ] + [ 2 ]",
    "{ a = 1 } + { a = 2, b = 3 }",
    '{ a.b.c = 1, a["x"] = 3, @object = 4 }',
    "{ a = 1, a += 2 }",
    "-5 + 3",
    "-(5 + 3)",
    "--3",
    '"p" + -2',
    "[ 1,\n2,\n ]",
    "(1\n+ 2)",
    "[ { }, [ ], true, false, null ]",
]

PRINTED: list[Value] = [
    "\x01" + '23\x7f0 " \\ \n\t\r\b\f é☃',
    [1.0, -1.5, 1e-7, 1e15],
    {"a b": [{"c": {}}], "": None, "d": True},
]


def test_icinga_gives_expressions_the_values_that_we_give_them(
    language: RealIcinga,
) -> None:
    expressions = [*EXPRESSIONS, *map(print_value, PRINTED)]
    text = "".join(
        f"const X{n} = {expression}\nlog(Json.encode({{ value = X{n}, n = {n} }}))\n"
        for n, expression in enumerate(expressions)
    )
    code, output = verdict(language, text)
    assert code == 0, output
    found = {
        item["n"]: item["value"]
        for item in map(
            json.loads, re.findall(r"/config: (\{.*\})$", output, re.MULTILINE)
        )
    }
    for number, expression in enumerate(expressions):
        assert found[number] == value_of(expression), expression


def test_icinga_takes_what_we_take(language: RealIcinga) -> None:
    for text in ICINGA_TAKES:
        code, output = verdict(language, text)
        assert code == 0, f"{text!r}\n{output}"
        assert evaluated(text).problems == (), text


def test_icinga_refuses_what_we_call_wrong(language: RealIcinga) -> None:
    for text in ICINGA_REFUSES:
        code, output = verdict(language, text)
        assert code != 0, f"{text!r}\n{output}"


def test_icinga_no_longer_reads_conf_d_once_it_is_disabled(
    language: RealIcinga,
) -> None:
    write(language.config_dir, {"conf.d/a.conf": 'log("conf.d was read")\n'})
    text = 'include_recursive "conf.d"\n'
    file = str(language.config_dir / "icinga2.conf")
    for content, is_read in (
        (text, True),
        (disable_conf_d(text, note="by a test", file=file), False),
    ):
        write(language.config_dir, {"icinga2.conf": content})
        code, output = validate(language)
        assert code == 0, output
        assert ("conf.d was read" in output) is is_read


def test_icinga_enables_the_features_that_we_say_are_enabled(
    language: RealIcinga,
) -> None:
    directories = directories_of(language)
    for words in (["enable", "checker", "api"], ["disable", "api"]):
        language.cli("feature", *words)
        listed = language.must("feature", "list")
        ours = read_current(directories).features.lines()
        assert [line.strip() for line in listed.splitlines()] == [
            line.strip() for line in ours
        ]


def test_deeper_set_ups_start_too(nodes: Nodes, prepared_pki: PreparedPKI) -> None:
    """A satellite that listens everywhere and declares Icefloe nodes."""
    node = nodes.make(RealIcinga, "sat1")
    node.install_identity(prepared_pki)
    directories = directories_of(node)
    setup = replace(
        AGENT,
        node_name="sat1",
        zone_name="satellite",
        parent_zone="master",
        parents=(Endpoint("master1"),),
        bind_host=None,
        icefloe_endpoints=("sat1", "sat2"),
    )
    plan = plan_node_setup(
        setup, current=read_current(directories), directories=directories, note="t"
    )
    carry_out(plan)
    code, output = validate(node)
    assert code == 0, output
    assert load(node.config_dir, node.data_dir).icefloe_endpoints == {"sat1", "sat2"}
