"""`icefloe node setup`: answers from options, the environment and a file."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import typer
from tests.cli.command import Command, Done
from tests.cli.setup_stage import (
    AGENT,
    SECRET,
    configuration,
    facts,
    signs_for_a_year,
)
from tests.node.fake_parent import fake_parent
from tests.node.tls.material import Authority, pem

from icefloe.cli import node as cli_node
from icefloe.cli.app import run
from icefloe.node.commands.questions import QUESTIONS
from icefloe.storage.identity import load_ticket

SETUP = ("node", "setup")
REPOSITORY = Path(__file__).resolve().parents[2]

WHOLE_FILE = """\
# Everything that can be answered.
cn = "a1"
zone = "a1"
parent-zone = "dmz"
trustedcert = "pin.crt"
ticket = "{ticket}"
wait = 5
listen = {{host = "::1", port = 5667}}
accept_config = true
accept_commands = false
global_zones = ["g1", "g2"]
no_default_global_zones = true
disable_confd = true
icefloe_endpoint = "parent1"
key_type = "ec"

[[endpoint]]
name = "parent1"
host = "192.0.2.1"

[[endpoint]]
name = "parent2"
host = "192.0.2.2"
port = 5666
"""


@pytest.fixture(autouse=True)
def _no_answers_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for question in QUESTIONS.values():
        monkeypatch.delenv(question.variable, raising=False)
        monkeypatch.delenv(f"ICINGA_{question.container}", raising=False)


def written(icefloe: Command, text: str, name: str = "setup.toml") -> Path:
    path = icefloe.path(name)
    path.write_text(text)
    path.chmod(0o600)
    return path


def from_file(icefloe: Command, text: str, *more: object) -> Done:
    return icefloe(*SETUP, "--file", written(icefloe, text), *more)


# --- One table ------------------------------------------------------------------------


def test_every_question_has_its_option_and_every_option_its_question() -> None:
    command = typer.main.get_command(cli_node.app)
    assert isinstance(command, click.Group)
    options = {
        each.name: each
        for each in command.commands["setup"].params
        if isinstance(each, click.Option)
    }
    for name, question in QUESTIONS.items():
        assert question.spelled in options[name].opts
        assert not options[name].hidden
    about_the_run = {"file", "rotate_key", "verify", "dry_run", "as_json"}
    assert set(options) - set(QUESTIONS) == about_the_run | {"master_zone"}


def test_the_container_has_the_names_of_the_official_one() -> None:
    """Source: the entry point of Icinga's container."""
    assert {each.container for each in QUESTIONS.values() if each.container} == {
        *("ACCEPT_COMMANDS", "ACCEPT_CONFIG", "DISABLE_CONFD", "MASTER", "CN"),
        *("ENDPOINT", "GLOBAL_ZONES", "LISTEN", "PARENT_HOST", "PARENT_ZONE"),
        *("TICKET", "ZONE", "TRUSTEDCERT", "CACERT"),
    }


def test_the_documentation_names_every_way_to_answer_every_question() -> None:
    text = (REPOSITORY / "docs/node-setup.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, question in QUESTIONS.items():
        (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
        assert f"`{question.spelled}`" in row
        assert f"`{question.variable}`" in row
        assert (f"`ICINGA_{question.container}`" in row) == bool(question.container)


# --- The file -------------------------------------------------------------------------


def test_a_file_answers_everything(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        icefloe.path("pin.crt").write_bytes(parent.pin)
        text = f'parent_host = "{parent.address}"\n' + WHOLE_FILE.format(ticket=SECRET)
        done = from_file(icefloe, text)
    assert done.code == 0
    assert parent.asked[0].ticket == SECRET
    found = configuration(icefloe)
    assert (found.node_name, found.zone_name) == ("a1", "a1")
    assert (found.listener.bind_host, found.listener.bind_port) == ("::1", 5667)
    assert found.listener.accept_config
    assert not found.listener.accept_commands
    assert found.icefloe_endpoints == {"parent1"}
    assert found.zones.parent_zone is not None
    assert found.zones.parent_zone.name == "dmz"
    globals_ = {name for name, zone in found.zones.zones.items() if zone.is_global}
    assert globals_ == {"g1", "g2"}
    upstreams = {(each.name, each.host, each.port) for each in found.zones.upstreams()}
    assert upstreams == {
        ("parent1", "192.0.2.1", "5665"),
        ("parent2", "192.0.2.2", "5666"),
    }
    assert SECRET not in done.text


def test_paths_in_a_file_are_seen_from_its_directory(icefloe: Command) -> None:
    elsewhere = icefloe.path("answers")
    elsewhere.mkdir()
    (elsewhere / "ticket").write_text(SECRET + "\n")
    file = elsewhere / "setup.toml"
    file.write_text('cn="a1"\nzone="a1"\nendpoint="p1"\nticket_file="ticket"\n')
    icefloe.ok(*SETUP, "--file", file)
    assert load_ticket(icefloe.certs) == SECRET


def test_standard_input_is_a_file_of_answers(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(icefloe, 'cn = "a1"\nzone = "a1"\nendpoint = ["p1"]\n')
    with path.open() as source:
        monkeypatch.setattr("sys.stdin", source)
        icefloe.ok(*SETUP, "--file", "-")
    assert configuration(icefloe).node_name == "a1"


@pytest.mark.parametrize("role", [("--master",), ("--zone", "a1", "--endpoint", "p1")])
@pytest.mark.parametrize("where", ["option", "environment", "file"])
def test_a_canarys_name_is_refused_with_what_else_is_wrong(
    icefloe: Command,
    monkeypatch: pytest.MonkeyPatch,
    role: tuple[str, ...],
    where: str,
) -> None:
    words: tuple[object, ...] = ("--cn", "icefloe-canary-a1")
    if where == "environment":
        monkeypatch.setenv("ICINGA_CN", "icefloe-canary-a1")
        words = ()
    elif where == "file":
        words = ("--file", written(icefloe, 'cn = "icefloe-canary-a1"\n'))
    before = icefloe.files()
    done = icefloe(*SETUP, *role, *words, "--listen", "::1,99999")
    assert done.code == 1
    assert "2 things have to be corrected" in done.err
    assert "'icefloe-canary-' are canaries'" in done.err
    assert "'::1,99999'" in done.err
    assert icefloe.files() == before


def test_every_problem_is_told_with_its_line_and_nothing_is_touched(
    icefloe: Command,
) -> None:
    text = """\
cn = "a,b"
parnet_host = "x"
acccept_config = true
accept_commands = "yes"
dry_run = true
listen = "::1,99999"
endpoint = [{name = "p1", adress = "x"}]
wait = -1
key_type = "dsa"
trustedcert = "nowhere.crt"
"""
    file = written(icefloe, text)
    before = icefloe.files()
    done = icefloe(*SETUP, "--file", file, "--json")
    assert done.code == 1
    assert icefloe.files() == before
    for line, words in (
        (2, "did you mean 'parent_host'"),
        (3, "did you mean 'accept_config'"),
        (4, "accept_commands has to be true or false"),
        (5, "the option --dry-run"),
        (6, "'::1,99999' is not of the form HOST[,PORT]"),
        (7, "endpoint has to be a table with name, host, port"),
        (8, "0 or more seconds"),
        (9, "it is ec or rsa"),
        (10, "nowhere.crt"),
    ):
        (found,) = [each for each in done.err.splitlines() if f"{file}:{line}:" in each]
        assert words in found
    assert "the node's own zone is needed" in done.err
    assert "holds a comma" in done.err
    assert facts(done)["code"] == "configuration-invalid"


@pytest.mark.parametrize(
    "text, problem",
    [
        ("cn = \n", "not TOML: Invalid value (at line 1, column 6)"),
        ('cn = "a"\ncn = "b"\n', "not TOML"),
        ('cn = "a"\ncommon_name = "b"\n', "answers 'cn' a second time"),
        ("cn = 7\n", "cn has to be a text"),
        ("wait = true\n", "wait has to be a number of seconds"),
        ('endpoint = ["a", 7]\n', "endpoint has to be a text or a list of texts"),
        ('cn = {name = "a"}\n', "cn has to be a text, not a table"),
        ('endpoint = {name = "a,b"}\n', "without commas"),
        ('endpoint = {host = "a"}\n', "'name' is needed"),
        ("x = 1\n", "known are master, cn,"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    icefloe: Command, text: str, problem: str
) -> None:
    done = from_file(icefloe, text, *AGENT[2:])
    assert done.code == 1
    assert problem in done.err
    assert not icefloe.certs.exists()


def test_a_file_that_is_not_there_or_no_text_is_refused(icefloe: Command) -> None:
    missing = icefloe(*SETUP, "--file", icefloe.path("none"))
    assert "cannot be read: No such file" in missing.err
    path = icefloe.path("binary")
    path.write_bytes(b'cn = "a"\nzone = "\xff"\n')
    assert f"{path}:2: it is not UTF-8" in icefloe(*SETUP, "--file", path).err
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "longer than" in icefloe(*SETUP, "--file", path).err


def test_a_ticket_in_a_file_that_everybody_can_read_is_warned_about(
    icefloe: Command,
) -> None:
    text = f'cn="a1"\nzone="a1"\nendpoint="p1"\nticket="{SECRET}"\n'
    file = written(icefloe, text)
    assert "everybody can read" not in icefloe(*SETUP, "--file", file).err
    file.chmod(0o644)
    done = icefloe(*SETUP, "--file", file)
    assert done.code == 0
    assert f"{file}:4" in done.err
    assert "chmod 0600" in done.err
    assert SECRET not in done.text


def test_a_ticket_file_that_everybody_can_read_is_warned_about(
    icefloe: Command,
) -> None:
    path = written(icefloe, SECRET, "ticket")
    assert "everybody" not in icefloe(*AGENT, "--ticket-file", path).err
    path.chmod(0o644)
    done = icefloe(*AGENT, "--ticket-file", path)
    assert done.code == 0
    assert f"chmod 0600 '{path}'" in done.err
    assert SECRET not in done.text


YAML = """\
cn: a1
zone: a1
endpoint:
  - name: p1
    host: 192.0.2.1
accept_commands: true
"""


def test_yaml_needs_a_reader_that_says_how_to_get_it(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    done = icefloe(*SETUP, "--file", written(icefloe, YAML, "setup.yaml"))
    assert done.code == 1
    assert "icefloe[yaml]" in done.err
    assert "TOML" in done.err


def test_a_yaml_file_answers_as_well(icefloe: Command) -> None:
    icefloe.ok(*SETUP, "--file", written(icefloe, YAML, "setup.yaml"))
    found = configuration(icefloe)
    assert found.node_name == "a1"
    assert found.listener.accept_commands
    done = icefloe(*SETUP, "--file", written(icefloe, "cn: a1\nzoen: x\n", "b.yml"))
    assert "b.yml:2: there is no answer 'zoen'; did you mean 'zone'?" in done.err
    done = icefloe(*SETUP, "--file", written(icefloe, "cn: [\n", "c.yml"))
    assert "it is not YAML" in done.err
    done = icefloe(*SETUP, "--file", written(icefloe, "- a\n", "d.yml"))
    assert "no keys" in done.err


# --- The environment ------------------------------------------------------------------


def test_the_variables_of_the_official_container_set_an_agent_up(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_parent(signs_for_a_year) as parent:
        for name, value in {
            "CN": "a1",
            "ZONE": "a1",
            "ENDPOINT": "parent1,192.0.2.1,5665",
            "PARENT_HOST": parent.address,
            "PARENT_ZONE": "dmz",
            "TICKET": SECRET,
            "TRUSTEDCERT": parent.pin.decode(),
            "CACERT": pem(parent.ca.certificate).decode(),
            "LISTEN": "::1,5667",
            "GLOBAL_ZONES": "g1\ng2",
            "ACCEPT_COMMANDS": "1",
            "ACCEPT_CONFIG": "0",
            "DISABLE_CONFD": "1",
        }.items():
            monkeypatch.setenv(f"ICINGA_{name}", value)
        done = icefloe(*SETUP)
        again = icefloe(*SETUP)
    assert done.code == 0
    assert "Nothing to do" in again.out
    assert parent.asked[0].ticket == SECRET
    found = configuration(icefloe)
    assert found.listener.accept_commands
    assert not found.listener.accept_config
    assert found.listener.bind_port == 5667
    assert {"g1", "g2"} <= set(found.zones.zones)
    assert "\ninclude_recursive" not in icefloe.directories.icinga2_conf.read_text()


def test_a_variable_makes_a_master(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICINGA_MASTER", "1")
    monkeypatch.setenv("ICINGA_CN", "m1")
    monkeypatch.setenv("ICINGA_TICKET", SECRET)
    done = icefloe(*SETUP)
    assert done.code == 0
    assert "ICINGA_TICKET means nothing for a master" in done.err
    assert icefloe.directories.ca_key.exists()


def test_a_variable_that_cannot_be_understood_is_named(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICINGA_ACCEPT_CONFIG", "perhaps")
    monkeypatch.setenv("ICEFLOE_WAIT", "long")
    monkeypatch.setenv("ICINGA_TRUSTEDCERT", pem(Authority().certificate).decode())
    done = icefloe(*AGENT)
    assert done.code == 1
    assert "ICINGA_ACCEPT_CONFIG: it has to be 1 or 0" in done.err
    assert "ICEFLOE_WAIT: it has to be a number" in done.err
    assert "ICINGA_TRUSTEDCERT" in done.err
    assert "certificate of a CA" in done.err


def test_an_option_goes_before_a_variable_and_a_variable_before_the_file(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """\
cn = "of-the-file"
zone = "of-the-file"
endpoint = "p1"
parent_zone = "of-the-file"
accept_config = true
accept_commands = true
ticket = "of-the-file"
"""
    monkeypatch.setenv("ICINGA_CN", "of-the-container")
    monkeypatch.setenv("ICEFLOE_ZONE", "of-icefloe")
    monkeypatch.setenv("ICINGA_ZONE", "of-the-container")
    monkeypatch.setenv("ICEFLOE_ACCEPT_COMMANDS", "no")
    icefloe.path("ticket").write_text(SECRET)
    done = from_file(
        icefloe,
        text,
        *("--cn", "of-the-option", "--no-accept-config", "-x", "debug"),
        *("--ticket-file", icefloe.path("ticket")),
    )
    assert done.code == 0
    found = configuration(icefloe)
    assert found.node_name == "of-the-option"
    assert found.zone_name == "of-icefloe"
    assert found.zones.parent_zone is not None
    assert found.zones.parent_zone.name == "of-the-file"
    assert not found.listener.accept_config
    assert not found.listener.accept_commands
    assert load_ticket(icefloe.certs) == SECRET
    assert "cn = of-the-option (from --cn)" in done.out
    assert "zone = of-icefloe (from ICEFLOE_ZONE)" in done.out
    assert (
        f"parent_zone = of-the-file (from {icefloe.path('setup.toml')}:4)" in done.out
    )


def test_a_ticket_is_given_once(icefloe: Command) -> None:
    done = icefloe(*AGENT, "--ticket", SECRET, "--ticket-file", "x")
    assert done.code == 1
    assert "--ticket and --ticket-file exclude each other" in done.err
    assert SECRET not in done.text


# --- The options ----------------------------------------------------------------------


def test_options_are_accepted_as_tools_and_people_spell_them(icefloe: Command) -> None:
    icefloe.path("ca.crt").write_bytes(pem(Authority().certificate))
    with fake_parent(signs_for_a_year) as parent:
        icefloe.path("pin.crt").write_bytes(parent.pin)
        done = icefloe(
            *AGENT,
            *("--parent-host", parent.address, "--trusted-cert"),
            *(icefloe.path("pin.crt"), "--parent-zone", "dmz", "--master-zone", "x"),
            *("--global-zones", "g1", "--no_default_global_zones", "--disable_confd"),
            *("--accept_config", "--accept_commands", "--log_level", "debug"),
            "--ticket=" + SECRET,
        )
    assert done.code == 0
    assert len(parent.asked) == 1
    found = configuration(icefloe)
    assert found.listener.accept_config
    assert found.listener.accept_commands
    assert set(found.zones.zones) == {"dmz", "a1", "g1"}


def test_an_unknown_option_names_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["node", "setup", "--parent-hots", "x"]) == 1
    assert "--parent-host" in capsys.readouterr().err


def test_the_help_teaches_with_a_file_that_works(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = icefloe.ok("node", "setup", "--help")
    _, _, rest = text.partition("<<END\n")
    lines = [line.strip() for line in rest.splitlines()]
    file = written(icefloe, "\n".join(lines[: lines.index("END")]))
    icefloe.path("ticket").write_text(SECRET)
    icefloe.path("sat1.crt").write_bytes(pem(Authority().issue("sat1").certificate))
    # Nobody is to be looked for in the real world's DNS.
    monkeypatch.setattr("icefloe.cli.node_setup.preflight", lambda *_: iter(()))
    found = facts(icefloe(*SETUP, "--file", file, "--dry-run", "--json"))
    assert found["node"] == "web1"
    assert "sat1.example.org" in found["diff"]
