"""What holds for every command: options, streams, exit codes, help."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from tests.cli.command import Command

from icefloe import __version__
from icefloe.cli import app as cli_app
from icefloe.errors import IcefloeError

OWN_GROUPS = ("api", "ca", "daemon", "feature", "node", "pki")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command of this package with its words."""
    for name in OWN_GROUPS:
        module = importlib.import_module(cli_app.GROUPS[name].module)
        command = typer.main.get_command(module.app)
        if isinstance(command, click.Group):
            for sub_name, sub_command in command.commands.items():
                yield f"{name} {sub_name}", sub_command
        else:
            yield name, command


def helped() -> Iterator[tuple[str, str]]:
    """Yield each option's help of every command, as it is written."""

    def of(name: str, command: click.Command) -> Iterator[tuple[str, str]]:
        if isinstance(command, click.Group):
            for sub_name, sub_command in command.commands.items():
                yield from of(f"{name} {sub_name}", sub_command)
        for each in command.params:
            if isinstance(each, click.Option):
                yield f"{name} {each.opts[0]}", each.help or ""

    for name, group in cli_app.GROUPS.items():
        module = importlib.import_module(group.module)
        yield from of(name, typer.main.get_command(module.app))


# --- Versions -------------------------------------------------------------------------


def test_the_version_is_what_tools_look_for(icefloe: Command) -> None:
    """protocol: Puppet's fact, and Icinga Director's script."""
    first, *others = icefloe.bare("--version").out.splitlines()
    assert re.search(r"icinga2.+version: (v|r)?\d", first)
    puppet = re.search(r"\d+\.\d+\.\d+", first)
    assert puppet is not None
    assert puppet[0] == "2.14.5"
    director = re.search(r"\(version: [rv]?(\d+\.\d+\.\d+[^\)]*)", first)
    assert director is not None
    assert director[1] == "2.14.5"
    assert any(f"Icefloe {__version__}" in line for line in others)


@pytest.mark.parametrize(
    "words", [("-V",), ("--version",), ("pki", "ticket", "-V"), ("pki", "-V")]
)
def test_the_version_can_be_asked_anywhere(
    icefloe: Command, words: tuple[str, ...]
) -> None:
    done = icefloe.bare(*words)
    assert done.code == 0
    assert done.out.startswith("icinga2 - ")


# --- Help -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("pki",), ("--help",), ("-h",)], ids=str)
def test_without_a_command_there_is_help_and_no_error(
    icefloe: Command, words: tuple[str, ...]
) -> None:
    done = icefloe.bare(*words)
    assert done.code == 0
    assert "Usage: icefloe" in done.out


def test_the_help_names_every_group(icefloe: Command) -> None:
    text = icefloe.bare("--help").out
    assert all(re.search(rf"^  {name} ", text, re.MULTILINE) for name in OWN_GROUPS)


@pytest.mark.parametrize("words, command", list(commands()), ids=str)
def test_every_command_explains_itself_with_an_example(
    words: str, command: click.Command
) -> None:
    assert command.help
    if words != "feature list":
        assert f"icefloe {words}" in (command.epilog or ""), words
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{words} {parameter.name}"


@pytest.mark.parametrize("name", sorted(cli_app.GROUPS))
def test_no_help_steers_a_terminal(name: str) -> None:
    """A mark for Click that does not begin a paragraph is printed as it is."""
    module = importlib.import_module(cli_app.GROUPS[name].module)
    command = typer.main.get_command(module.app)
    waiting = [(name, command, click.Context(command, info_name=name))]
    for words, each, context in waiting:
        text = each.get_help(context)
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text) is None, words
        if isinstance(each, click.Group):
            waiting += [
                (f"{words} {sub}", found, click.Context(found, context, sub))
                for sub, found in each.commands.items()
            ]


def test_the_global_options_are_in_the_help_once(icefloe: Command) -> None:
    assert "--config-dir" in icefloe.bare("--help").out
    assert "--config-dir" not in icefloe.bare("pki", "ticket", "--help").out
    assert "--install-completion" not in icefloe.bare("pki", "--help").out


def test_what_holds_without_an_option_stands_before_the_full_stop() -> None:
    """Typer itself puts a default behind it; those are not written here."""
    odd = [name for name, text in helped() if re.search(r"\.\s+\[", text)]
    assert odd == []


# --- Mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, names",
    [
        (("--bogus",), "--bogus"),
        (("pki", "ticket", "--bogus", "x"), "--bogus"),
        (("pki", "ticket"), "--cn"),
        (("pki", "request", "--host", "x"), "--key"),
        (("ca", "sign"), "FINGERPRINT"),
        (("feature", "enable"), "FEATURE"),
        (("bogus",), "bogus"),
        (("pki", "bogus"), "bogus"),
        (("-x", "loud", "pki", "ticket"), "loud"),
        (("-D", "no-equals-sign", "pki", "ticket"), "NAME=VALUE"),
        (("pki", "request", "--wait", "-1"), "-1"),
    ],
    ids=str,
)
def test_a_mistake_is_critical_and_the_exit_code_is_1(
    icefloe: Command, words: tuple[str, ...], names: str
) -> None:
    """protocol: Icinga's exit code; click's own would be 2."""
    done = icefloe(*words)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("critical/cli: ")
    assert names in done.err


def test_an_error_of_the_world_is_one_line_and_no_traceback(icefloe: Command) -> None:
    done = icefloe("pki", "sign-csr", "--csr", icefloe.path("no"), "--cert", "x")
    assert done.code == 1
    assert done.err.startswith("critical/cli: cannot read")
    assert "Traceback" not in done.err


def test_a_directory_that_may_not_be_looked_into_is_named(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", refuse)
    done = icefloe("ca", "list")
    assert done.code == 1
    assert "Permission denied" in done.err
    assert str(icefloe.directories.ledger) in done.err


def test_control_c_ends_a_command_quietly(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icefloe.cli.feature.read_features", interrupted)
    done = icefloe("feature", "list")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_every_error_of_ours_is_caught(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise IcefloeError("the world is so")

    monkeypatch.setattr("icefloe.cli.feature.read_features", fails)
    done = icefloe("feature", "list")
    assert (done.code, done.err) == (1, "critical/cli: the world is so\n")


# --- Global options -------------------------------------------------------------------


@pytest.fixture
def salted(tmp_path: Path) -> dict[str, Path]:
    """Return configuration directories whose salts tell them apart."""
    made = {}
    for name in ("a", "b"):
        made[name] = tmp_path / name
        made[name].mkdir()
        (made[name] / "constants.conf").write_text(f'const TicketSalt = "{name}"\n')
    return made


def ticket_of(icefloe: Command, salt: str) -> str:
    return icefloe.ok("pki", "ticket", "--cn", "x", "--salt", salt)


@pytest.mark.parametrize("place", ["before", "between", "behind"])
@pytest.mark.parametrize("form", ["option", "definition"])
def test_directories_can_be_given_anywhere(
    icefloe: Command, salted: dict[str, Path], place: str, form: str
) -> None:
    given: tuple[object, ...] = ("--config-dir", salted["a"])
    if form == "definition":
        given = ("-D", f"Configuration.ConfigDir={salted['a']}")
    words: dict[str, tuple[object, ...]] = {
        "before": (*given, "pki", "ticket", "--cn", "x"),
        "between": ("pki", *given, "ticket", "--cn", "x"),
        "behind": ("pki", "ticket", "--cn", "x", *given),
    }
    assert icefloe.bare(*words[place]).out == ticket_of(icefloe, "a")


def test_an_option_counts_more_than_the_environment(
    icefloe: Command, salted: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICEFLOE_CONFIG_DIR", str(salted["b"]))
    ask = ("pki", "ticket", "--cn", "x")
    assert icefloe.bare(*ask).out == ticket_of(icefloe, "b")
    given = icefloe.bare("--config-dir", salted["a"], *ask)
    assert given.out == ticket_of(icefloe, "a")


def test_definitions_of_other_names_are_accepted(icefloe: Command) -> None:
    """Tools pass whole sets of them."""
    done = icefloe("-D", "Configuration.LogDir=/tmp/x", "feature", "list")
    assert done.code == 0


def test_the_log_level_silences_lines_and_never_results(icefloe: Command) -> None:
    key = icefloe.path("a.key")
    made = icefloe("-x", "critical", "pki", "new-cert", "--cn", "a", "--key", key)
    assert (made.code, made.text) == (0, "")
    assert len(icefloe("-x", "critical", "feature", "list").out.splitlines()) == 2
    warned = icefloe("feature", "disable", "checker", "-x", "warning")
    assert warned.err.startswith("warning/cli: ")


def test_colors_are_only_where_they_are_wanted(icefloe: Command) -> None:
    ask = ("pki", "new-cert", "--cn", "a", "--key", icefloe.path("a.key"))
    assert "\x1b[" not in icefloe(*ask).out
    assert "\x1b[" in icefloe("--color", *ask).out
    assert "\x1b[" not in icefloe("--no-color", *ask).out


# --- The process ----------------------------------------------------------------------


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "icefloe", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_program_is_also_a_module() -> None:
    done = process("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("icinga2 - ")
    assert done.stderr == ""


def test_exit_codes_reach_the_shell() -> None:
    assert process("--bogus").returncode == 1
    assert process("pki", "verify", "--cn", "x").returncode == 2


def test_a_reader_that_has_seen_enough_is_no_error_to_shout_about() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "icefloe", "--version"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


def test_asking_for_the_version_imports_little() -> None:
    """A quarter of a second for TLS and certificates, at every `--version`."""
    code = (
        "import sys; sys.argv = ['icefloe', '--version']\n"
        "from icefloe.cli.app import run\n"
        "run(sys.argv[1:])\n"
        "print([n for n in sys.modules if n.startswith(('cryptography', 'OpenSSL',"
        " 'icefloe.node', 'icefloe.pki', 'asyncio', 'rich'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_mistyped_command_is_told_what_was_meant_once(icefloe: Command) -> None:
    done = icefloe("pki", "verfy")
    assert done.code == 1
    assert done.err.count("Did you mean 'verify'?") == 1
