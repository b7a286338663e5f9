from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icefloe.cluster.zones import Relation
from icefloe.config import schema
from icefloe.config.errors import ConfigError
from icefloe.config.layout import NodeDirectories
from icefloe.config.loading import load, load_constants
from icefloe.config.model import ListenerSettings, NodeConfiguration, NodeConstants
from tests.config.helpers import API, NODE, configuration_text, debian_node, write

DEBIAN = Path("/etc/icinga2")

CLUSTER_CONSTANTS = """\
const NodeName = "sat1"
const ZoneName = "satellite"
const TicketSalt = "a salt"
const IcefloeEndpoints = [ "sat1", "sat2" ]
"""

CLUSTER_ZONES = """\
object Endpoint "master1" { host = "192.0.2.1", port = 5666 }
object Endpoint "master2" { host = "192.0.2.2"; port = "5667" }
object Zone "master" { endpoints = [ "master1", "master2" ] }
object Endpoint NodeName { log_duration = 0 }
object Endpoint "sat2" { }
object Zone ZoneName { endpoints = [ NodeName, "sat2" ], parent = "master" }
object Endpoint "agent1" { }
object Zone "agent1" { endpoints = [ "agent1" ], parent = ZoneName }
object Zone "global-templates" { global = true }
"""


def never_asked() -> str:
    raise AssertionError("nobody needs the machine's name")


def loaded(directories: NodeDirectories) -> NodeConfiguration:
    return load(
        directories.config_dir, directories.data_dir, default_node_name=lambda: NODE
    )


def problems(root: Path, **changes: str) -> list[str]:
    """What is wrong with a node, as `file:line: message`."""
    directories = debian_node(root, **changes)
    with pytest.raises(ConfigError) as caught:
        loaded(directories)
    assert str(caught.value)
    return [
        f"{Path(each.file).name}:"
        f"{each.position.line if each.position else '-'}: {each.message}"
        for each in caught.value.problems
    ]


def listener(root: Path, attributes: str) -> ListenerSettings:
    api = f'object ApiListener "api" {{\n{attributes}\n}}\n'
    return loaded(debian_node(root, api=api)).listener


def listener_problems(root: Path, attributes: str) -> list[str]:
    api = f'object ApiListener "api" {{\n{attributes}\n}}\n'
    return problems(root, api=api)


def test_fresh_debian_node_is_loaded(tmp_path: Path) -> None:
    found = loaded(debian_node(tmp_path))
    assert (found.node_name, found.zone_name) == (NODE, NODE)
    assert found.zones.endpoints[NODE].host == NODE
    assert found.zones.zones["global-templates"].is_global
    assert set(found.zones.zones) == {NODE, "global-templates"}
    assert found.listener == ListenerSettings(
        bind_host="::",
        bind_port=5665,
        accept_config=False,
        accept_commands=False,
        max_anonymous_clients=None,
        crl_path=None,
        cipher_list=None,
        tls_protocolmin="TLSv1.2",
        tls_handshake_timeout=10.0,
        connect_timeout=15.0,
    )
    assert found.ticket_salt == ""
    assert found.api_client_names == frozenset()
    assert found.icefloe_endpoints == frozenset()
    assert found.warnings == ()
    assert [each.type_name for each in found.monitoring_objects] == [
        "Host",
        "Service",
        "Service",
    ]


def is_debians_own() -> bool:
    """Whether Debian's files are installed, open to us and still its own."""
    zones = DEBIAN / "zones.conf"
    return os.access(zones, os.R_OK) and "object Endpoint NodeName" in zones.read_text()


@pytest.mark.skipif(
    not is_debians_own(), reason="Debian's icinga2-common is not there, or was changed"
)
def test_files_as_debian_ships_them_are_loaded(tmp_path: Path) -> None:
    config = tmp_path / "etc"
    available = "features-available/api.conf"
    names = ["constants.conf", "zones.conf", "icinga2.conf", available]
    write(config, {name: (DEBIAN / name).read_bytes() for name in names})
    write(config, {"features-enabled/api.conf": (DEBIAN / available).read_bytes()})
    found = load(config, tmp_path / "lib", default_node_name=lambda: NODE)
    assert found.node_name
    assert found.zone_name


def test_cluster_of_three_levels_is_loaded(tmp_path: Path) -> None:
    directories = debian_node(
        tmp_path, constants=CLUSTER_CONSTANTS, zones=CLUSTER_ZONES
    )
    found = load(
        directories.config_dir, directories.data_dir, default_node_name=never_asked
    )
    assert (found.node_name, found.zone_name) == ("sat1", "satellite")
    assert found.ticket_salt == "a salt"
    assert found.icefloe_endpoints == {"sat1", "sat2"}
    assert [(e.name, e.host, e.port) for e in found.zones.upstreams()] == [
        ("master1", "192.0.2.1", "5666"),
        ("master2", "192.0.2.2", "5667"),
    ]
    assert found.zones.relation("agent1") is Relation.CHILD
    assert found.directories == directories


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    directories = debian_node(
        tmp_path, constants=CLUSTER_CONSTANTS, zones=CLUSTER_ZONES
    )
    constants = load_constants(directories.config_dir, directories.data_dir)
    assert "a salt" not in repr(loaded(directories))
    assert "a salt" not in repr(constants)


def test_zones_may_be_spread_over_included_files(tmp_path: Path) -> None:
    directories = debian_node(
        tmp_path,
        zones='include "local-zones.conf"\ninclude_recursive "more"\n',
        icinga2="",
    )
    write(
        directories.config_dir,
        {
            "local-zones.conf": "object Endpoint NodeName { }\n",
            "more/own.conf": "object Zone ZoneName { endpoints = [ NodeName ] }\n",
        },
    )
    assert loaded(directories).zone_name == NODE


def test_feature_may_be_a_file_instead_of_a_link(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    link = directories.feature_enabled("api")
    link.unlink()
    link.write_text(API)
    loaded(directories)


# Constants alone


def test_constants_are_read_without_the_rest(tmp_path: Path) -> None:
    write(tmp_path, {"constants.conf": CLUSTER_CONSTANTS})
    assert load_constants(tmp_path, tmp_path) == NodeConstants(
        node_name="sat1",
        zone_name="satellite",
        ticket_salt="a salt",
        icefloe_endpoints=frozenset({"sat1", "sat2"}),
    )


def test_constants_have_defaults(tmp_path: Path) -> None:
    write(tmp_path, {"constants.conf": ""})
    found = load_constants(tmp_path, tmp_path, default_node_name=lambda: NODE)
    assert found == NodeConstants(
        node_name=NODE,
        zone_name=NODE,
        ticket_salt="",
        icefloe_endpoints=frozenset(),
    )


def test_wrong_constants_are_all_reported(tmp_path: Path) -> None:
    text = "const NodeName = 1\nconst TicketSalt = [ ]\nconst IcefloeEndpoints = 2\n"
    write(tmp_path, {"constants.conf": text})
    with pytest.raises(ConfigError) as caught:
        load_constants(tmp_path, tmp_path)
    assert [each.message for each in caught.value.problems] == [
        "NodeName must be a string",
        "NodeName cannot be the name of a node",
        "TicketSalt must be a string",
        'IcefloeEndpoints must be an array such as [ "a" ]',
    ]


# What keeps a node from running


def test_missing_files_are_problems_that_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "etc", tmp_path / "lib")
    remedies = [each.remedy for each in caught.value.problems]
    assert len(remedies) == 3
    assert "node setup" in remedies[0]
    assert "feature enable api" in remedies[2]


def test_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    assert problems(
        tmp_path, constants="const A = *\n", zones="object Zone ZoneName { }\n", api="x"
    ) == [
        "constants.conf:1: expected a value, found '*'",
        "zones.conf:1: 'ZoneName' is not defined here",
        "api.conf:1: expected '=' or '+=', found the end of file",
    ]


@pytest.mark.parametrize(
    "zones, reason",
    [
        ('object Zone "z" { }\n', "-: there is no Endpoint of this node's own name"),
        ("object Endpoint NodeName { }\n", f"1: Endpoint '{NODE}' is in no zone"),
        (
            (
                "object Endpoint NodeName { }\n"
                'object Zone "a" { endpoints = [ NodeName, "x" ] }\n'
            ),
            "2: Zone 'a' names the Endpoint 'x', which does not exist",
        ),
        (
            (
                "object Endpoint NodeName { }\n"
                'object Zone "a" { endpoints = [ NodeName ], parent = "b" }\n'
            ),
            "2: Zone 'a' has the parent 'b', which does not exist",
        ),
    ],
)
def test_zones_that_make_no_tree_are_a_problem(
    tmp_path: Path, zones: str, reason: str
) -> None:
    (found,) = problems(tmp_path, zones=zones)
    assert found.startswith(f"zones.conf:{reason}")


@pytest.mark.parametrize("name", ["a/b", "", "a,DNS:b", "x" * 65])
def test_node_name_must_be_a_possible_common_name(tmp_path: Path, name: str) -> None:
    constants = f'const NodeName = "{name}"\nconst ZoneName = "z"\n'
    zones = 'object Endpoint "e" { }\nobject Zone "z" { endpoints = [ "e" ] }\n'
    assert problems(tmp_path, constants=constants, zones=zones, api=API) != []


def test_machine_whose_name_is_no_common_name_has_to_be_given_one(
    tmp_path: Path,
) -> None:
    directories = debian_node(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(
            directories.config_dir,
            directories.data_dir,
            default_node_name=lambda: "a/b",
        )
    assert caught.value.problems[0].file == str(directories.constants_conf)


def test_two_listeners_are_a_problem(tmp_path: Path) -> None:
    text = 'object ApiListener "a" { }\nobject ApiListener "b" { }\n'
    assert problems(tmp_path, api=text) == [
        "api.conf:2: there is more than one ApiListener"
    ]


def test_feature_without_a_listener_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, api="") == ["api.conf:-: it declares no ApiListener"]


@pytest.mark.parametrize(
    "zones, message",
    [
        (
            'object Endpoint "e" { hots = "x" }',
            "zones.conf:1: Endpoint has no attribute 'hots'",
        ),
        (
            'object Endpoint "e" {\n\tvars.x = 1\n}',
            "zones.conf:2: Endpoint has no attribute 'vars'",
        ),
        ('object Endpoint "e" { host = 5 }', "zones.conf:1: 'host' must be a string"),
        (
            'object Endpoint "e" { host = "a\\000" }',
            "zones.conf:1: 'host' must be a string",
        ),
        (
            'object Endpoint "e" { port = "x" }',
            "zones.conf:1: 'port' must be a port from 1 to 65535",
        ),
        (
            'object Endpoint "e" { port = 0 }',
            "zones.conf:1: 'port' must be a port from 1 to 65535",
        ),
        (
            'object Endpoint "e" { port = "' + "9" * 5000 + '" }',
            "zones.conf:1: 'port' must be a port from 1 to 65535",
        ),
        (
            'object Zone "z" { endpoints = "e" }',
            'zones.conf:1: \'endpoints\' must be an array such as [ "a", "b" ]',
        ),
        (
            'object Zone "z" { endpoints = [ "e", 5 ] }',
            'zones.conf:1: \'endpoints\' must be an array such as [ "a", "b" ]',
        ),
        (
            'object Zone "z" { global = "no" }',
            "zones.conf:1: 'global' must be true or false",
        ),
        (
            'object Host "h" { }',
            "zones.conf:1: objects of type Host do not belong here",
        ),
    ],
)
def test_wrong_attribute_is_a_problem_at_its_line(
    tmp_path: Path, zones: str, message: str
) -> None:
    assert message in problems(tmp_path, zones=zones)


# The listener


def test_listener_attributes_are_read(tmp_path: Path) -> None:
    found = listener(
        tmp_path,
        """\
        bind_host = "192.0.2.7"
        bind_port = "5666"
        accept_config = true
        accept_commands = 1
        max_anonymous_clients = 50
        crl_path = "/var/lib/icinga2/certs/crl.pem"
        cipher_list = "ECDHE+AESGCM"
        tls_protocolmin = "TLSv1.3"
        tls_handshake_timeout = 1m
        connect_timeout = 2.5s
        """,
    )
    assert found == ListenerSettings(
        bind_host="192.0.2.7",
        bind_port=5666,
        accept_config=True,
        accept_commands=True,
        max_anonymous_clients=50,
        crl_path=Path("/var/lib/icinga2/certs/crl.pem"),
        cipher_list="ECDHE+AESGCM",
        tls_protocolmin="TLSv1.3",
        tls_handshake_timeout=60.0,
        connect_timeout=2.5,
    )


def test_null_and_minus_one_are_as_if_not_set(tmp_path: Path) -> None:
    found = listener(
        tmp_path, "bind_host = null\nmax_anonymous_clients = -1\ncrl_path = null"
    )
    assert (found.bind_host, found.max_anonymous_clients) == ("::", None)
    assert found.crl_path is None


def test_port_zero_lets_the_system_choose(tmp_path: Path) -> None:
    assert listener(tmp_path, "bind_port = 0").bind_port == 0


def test_constants_of_icinga_are_defaults(tmp_path: Path) -> None:
    constants = (
        f'const NodeName = "{NODE}"\nconst ZoneName = NodeName\n'
        'const ApiBindHost = "127.0.0.1"\nconst ApiBindPort = "7000"\n'
        "const TlsHandshakeTimeout = 3s\n"
    )
    api = 'object ApiListener "api" { }'
    found = loaded(debian_node(tmp_path, constants=constants, api=api)).listener
    assert (found.bind_host, found.bind_port) == ("127.0.0.1", 7000)
    assert found.tls_handshake_timeout == 3.0


@pytest.mark.parametrize(
    "attribute, message",
    [
        ('accept_config = "yes"', "'accept_config' must be true or false"),
        ("bind_port = 65536", "'bind_port' must be a port from 0 to 65535"),
        ("bind_port = 1.5", "'bind_port' must be a port from 0 to 65535"),
        (
            "max_anonymous_clients = 1.5",
            "'max_anonymous_clients' must be a whole number",
        ),
        ("connect_timeout = -1", "'connect_timeout' must be a time such as 15s"),
        ('connect_timeout = "15s"', "'connect_timeout' must be a time such as 15s"),
        (
            'tls_protocolmin = "TLSv1.1"',
            "'tls_protocolmin' must be one of TLSv1.2, TLSv1.3",
        ),
        ("ticket_salt = 5", "'ticket_salt' must be a string"),
    ],
)
def test_wrong_listener_attribute_is_a_problem(
    tmp_path: Path, attribute: str, message: str
) -> None:
    assert listener_problems(tmp_path, attribute) == [f"api.conf:2: {message}"]


def test_every_attribute_that_icinga_knows_is_accepted(tmp_path: Path) -> None:
    used = {"bind_port": "5665", "max_anonymous_clients": "5"}
    used |= dict.fromkeys(("accept_config", "accept_commands"), "true")
    used |= dict.fromkeys(("connect_timeout", "tls_handshake_timeout"), "5s")
    used["tls_protocolmin"] = '"TLSv1.2"'
    known = sorted(schema.KNOWN_ATTRIBUTES[schema.API_LISTENER])
    lines = [f"{name} = {used.get(name, chr(34) + 'x' + chr(34))}" for name in known]
    api = 'object ApiListener "api" {\n' + "\n".join(lines) + "\n}\n"
    found = loaded(debian_node(tmp_path, api=api))
    assert {each.message.split("'")[1] for each in found.warnings} == {
        name
        for type_name, name in schema.DEPRECATED_ATTRIBUTES
        if type_name == schema.API_LISTENER
    }
    assert all(each.remedy and each.position for each in found.warnings)


def test_paths_of_the_time_before_2_8_are_warned_about(tmp_path: Path) -> None:
    api = (
        'object ApiListener "api" {\n'
        '  cert_path = SysconfDir + "/icinga2/pki/" + NodeName + ".crt"\n'
        "}\n"
    )
    (warning,) = loaded(debian_node(tmp_path, api=api)).warnings
    assert warning.position is not None
    assert warning.position.line == 2
    assert "data directory" in warning.remedy


def test_deprecated_and_known_attributes_agree() -> None:
    for type_name, name in schema.DEPRECATED_ATTRIBUTES:
        assert name in schema.KNOWN_ATTRIBUTES[type_name]


# What is declared elsewhere


def test_names_of_api_users_are_reserved_wherever_they_are(tmp_path: Path) -> None:
    api = API + 'object ApiUser "a" { client_cn = "one" }\nobject ApiUser "b" { }\n'
    directories = debian_node(tmp_path, api=api)
    write(
        directories.config_dir,
        {"conf.d/api-users.conf": 'object ApiUser "c" { client_cn = NodeName }'},
    )
    assert loaded(directories).api_client_names == {"one", NODE}


def test_unreadable_name_of_an_api_user_is_a_problem(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    write(
        directories.config_dir,
        {"conf.d/api-users.conf": 'object ApiUser "c" { client_cn = f() }'},
    )
    with pytest.raises(ConfigError, match="api-users"):
        loaded(directories)


def test_zones_in_files_that_are_not_evaluated_are_warned_about(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    text = 'object Endpoint "e" { }\nobject Zone "z" { }\n'
    write(directories.config_dir, {"zones.d/master/agents.conf": text})
    (warning,) = loaded(directories).warnings
    assert warning.file.endswith("zones.d/master/agents.conf")
    assert warning.message.startswith("2 Endpoint and Zone objects")


@settings(max_examples=60)
@given(data=st.data())
def test_only_a_config_error_escapes_from_arbitrary_files(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    parts = [
        st.sampled_from(
            ["", '\nobject Zone "a" { }\n', "\nobject Endpoint NodeName { }\n"]
        ),
        configuration_text,
    ]
    text = st.tuples(*parts).map("".join)
    directories = debian_node(
        tmp_path_factory.mktemp("node"),
        constants=data.draw(text).replace("\udcff", ""),
        zones=data.draw(text),
        api=data.draw(st.sampled_from([API, ""])) + data.draw(text),
        icinga2=data.draw(text),
    )
    with contextlib.suppress(ConfigError):
        loaded(directories)
