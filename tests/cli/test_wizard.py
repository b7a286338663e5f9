"""The wizard without a terminal and without a cluster: answers from a pipe."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import Command, Done
from tests.node.tls.material import Authority, pem

from icefloe.config.loading import load
from icefloe.lab.stage import free_ports

NAME = "master1.example.org"


def feed(
    icefloe: Command,
    monkeypatch: pytest.MonkeyPatch,
    *answers: str,
    verbose: bool = False,
) -> Done:
    text = "".join(f"{each}\n" for each in answers)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    words = ["node", "wizard", *(["--verbose"] if verbose else [])]
    return icefloe(*words)


def test_a_master_is_set_up_from_one_answer_and_defaults(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """protocol: in Icinga's wizard an answer that is not there is an empty one."""
    done = feed(
        *(icefloe, monkeypatch, "n", NAME, "", "n", "127.0.0.1"), str(free_ports(1)[0])
    )
    assert done.code == 0, done.text
    where = icefloe.directories
    read = load(where.config_dir, where.data_dir)
    assert read.node_name == NAME
    assert read.zones.local_zone.name == "master"
    assert where.ca_key.exists()
    assert "//" in where.icinga2_conf.read_text(), "conf.d is left out"


def test_the_same_answers_again_find_nothing_to_do(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_ports(1)[0])
    answers = ("n", NAME, "", "n", "127.0.0.1", port, "y")
    assert feed(icefloe, monkeypatch, *answers).code == 0
    before = icefloe.files()
    done = feed(icefloe, monkeypatch, *answers)
    assert done.code == 0, done.text
    assert "Nothing to do" in done.out
    assert icefloe.files() == before


def test_files_that_are_written_are_told_only_when_asked_for(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_ports(1)[0])
    answers = ("n", NAME, "", "n", "127.0.0.1", port, "y")
    assert "information/" not in feed(icefloe, monkeypatch, *answers).text
    again = ("n", NAME, "top", "n", "127.0.0.1", port, "y")
    assert "information/" in feed(icefloe, monkeypatch, *again, verbose=True).text


CONNECTED_TO = ("y", "web1", "sat1", "n", "n", "127.0.0.1")
"""Answers of an agent that its parent connects to, up to its address; then the port."""


def test_an_agent_that_the_parent_connects_to_is_told_to_copy_the_ca(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_ports(1)[0])
    answers = (*CONNECTED_TO, port, "n", "n", "", "dmz", "n", "y")
    done = feed(icefloe, monkeypatch, *answers)
    assert done.code == 0, done.text
    assert "Copy the CA's certificate" in done.out
    assert str(icefloe.directories.trusted_ca) in done.out
    assert 'object Endpoint "web1" { }' in done.out
    where = icefloe.directories
    assert load(where.config_dir, where.data_dir).zones.parent_zone is not None


def test_an_agent_that_has_the_ca_is_not_told_to_copy_it(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = icefloe.directories.trusted_ca
    ca.parent.mkdir(parents=True)
    ca.write_bytes(pem(Authority().certificate))
    port = str(free_ports(1)[0])
    answers = (*CONNECTED_TO, port, "n", "n", "", "dmz", "n", "y")
    done = feed(icefloe, monkeypatch, *answers)
    assert done.code == 0, done.text
    assert "What happens next" in done.out
    assert "Copy the CA's certificate" not in done.out


@pytest.mark.parametrize(
    "answers",
    [(), ("y",), ("y", "web1"), ("y", "web1", "", "", ""), ("y", "web1", "sat1", "y")],
)
def test_answers_that_end_before_a_required_one_end_the_wizard(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch, answers: tuple[str, ...]
) -> None:
    """Icinga's asks for ever."""
    before = icefloe.files()
    done = feed(icefloe, monkeypatch, *answers)
    assert done.code == 1
    assert "standard input has ended" in done.err
    assert "Nothing was changed" in done.err
    assert icefloe.files() == before


@pytest.mark.parametrize(
    "answers,why",
    [
        (("n", "a/b"), "a file name"),
        (("y", "web1", "web1"), "this node itself"),
        (("y", "web1", "sat1", "y", "a b"), "a blank"),
        (("y", "web1", "sat1", "y", "sat1", "http"), "a number"),
        (("n", NAME, "a!b"), "'!'"),
        (("n", NAME, "", "y", "director-global"), "by default"),
    ],
)
def test_an_answer_that_cannot_be_used_ends_the_wizard(
    icefloe: Command,
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[str, ...],
    why: str,
) -> None:
    """What follows would answer other questions."""
    before = icefloe.files()
    done = feed(icefloe, monkeypatch, *answers)
    assert done.code == 1
    assert why in done.err
    assert icefloe.files() == before


def test_a_parent_that_is_not_there_ends_the_wizard(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = icefloe.files()
    port = str(free_ports(1)[0])
    done = feed(icefloe, monkeypatch, "y", "web1", "s", "y", "127.0.0.1", port, "n")
    assert done.code == 1
    assert "Connection refused" in done.out
    assert "Nothing was changed" in done.err
    assert icefloe.files() == before


def test_a_preflight_that_the_set_up_would_fail_at_ends_the_wizard(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    icefloe.directories.zones_conf.mkdir()
    before = icefloe.files()
    done = feed(icefloe, monkeypatch, "n", NAME)
    assert done.code == 1
    assert "(file-rights)" in done.out
    assert "Nothing was changed" in done.err
    assert icefloe.files() == before


def test_no_other_command_loads_the_library_for_terminals() -> None:
    """An agent's daemon stays as light as it was."""
    script = (
        "import sys; import icefloe.cli.node, icefloe.cli.daemon, icefloe.cli.wizard; "
        "print([each for each in sys.modules if each.startswith('prompt_toolkit')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_guide_is_where_the_help_says(icefloe: Command) -> None:
    said = re.search(r"docs/\S+\.md", icefloe.ok("node", "wizard", "--help"))
    assert said is not None
    assert (Path(__file__).parents[2] / said[0]).exists()
