"""The wizard in a real terminal, as a person meets it, at real daemons.

Nobody looks at words alone here: what is on disk afterwards counts, above all where the
wizard was told no, or was interrupted.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.wizard_stage import NewNode, staged
from tests.terminal import PATIENCE_SECONDS, Terminal, require_tmux, squeezed

from icefloe.cli.wizard_questions import QUESTIONS
from icefloe.config.loading import load
from icefloe.lab.stage import Stage, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NAME = "web1.example.org"
WRONG = "0" * 40


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    require_tmux()
    with staged(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest.fixture
def node(tmp_path: Path, stage: Stage) -> NewNode:
    return NewNode.make(tmp_path / "node", stage)


def ask(what: str) -> str:
    return QUESTIONS[what].text


# --- Answers, one function for each way to go -----------------------------------------


def to_the_parent(terminal: Terminal, stage: Stage, *, name: str = NAME) -> Terminal:
    """Answer up to the parent's certificate."""
    satellite = stage.satellite
    return (
        terminal.answer(ask("agent"))
        .answer(ask("name"), name)
        .answer(ask("parent"), satellite.name)
        .answer(ask("connect"))
        .answer(ask("host"), satellite.host)
        .answer(ask("port"), str(satellite.port))
        .answer(ask("more parents"))
        .expect_prompt(ask("certificate"))
    )


def to_the_summary(terminal: Terminal, node: NewNode, *, ticket: str) -> Terminal:
    """Answer from the parent's certificate up to the summary."""
    assert node.stage is not None
    return (
        terminal.answer(ask("certificate"), "y")
        .answer(ask("ticket"), ticket)
        .answer(ask("bind host"), "127.0.0.1")
        .answer(ask("bind port"), str(node.port))
        .answer(ask("accept config"))
        .answer(ask("accept commands"))
        .answer(ask("zone"))
        .answer(ask("parent zone"), node.stage.satellite.name)
        .answer(ask("global zones"))
        .answer(ask("conf.d"))
        .expect_prompt(ask("go"))
    )


# --- The three roles ------------------------------------------------------------------


def test_an_agent_is_set_up_and_every_refused_answer_is_explained(
    node: NewNode, stage: Stage
) -> None:
    """Bad name, bad port and a wrong ticket on the way, all mended in the same run."""
    with node.wizard() as terminal:
        terminal.answer(ask("agent"))
        terminal.expect_prompt(ask("name")).type("web/1").expect("a file name")
        terminal.press("C-u").enter(NAME)
        terminal.expect_prompt(ask("parent")).type(NAME).expect("this node itself")
        terminal.press("C-u").enter(stage.satellite.name)
        terminal.answer(ask("connect"))
        terminal.expect_prompt(ask("host")).type("a b").expect("a blank cannot be")
        terminal.press("C-u").enter(stage.satellite.host)
        terminal.expect_prompt(ask("port")).type("99999").expect("from 1 to 65535")
        terminal.press("C-u").enter(str(stage.satellite.port))
        terminal.answer(ask("more parents"))
        to_the_summary(terminal, node, ticket=WRONG).expect("Preflight")
        assert node.files() == {}, "nothing is written before the summary"
        terminal.enter()
        terminal.expect("code wrong-ticket").expect_prompt("What now?")
        key = node.directories.node_key(NAME).read_bytes()
        assert not node.directories.zones_conf.exists(), "refused: not configured"
        terminal.enter("t").answer(ask("ticket"), node.ticket(NAME))
        assert terminal.expect_end() == 0
        told = squeezed(terminal.everything())
    for words in ("master1 signed", "put it in place", "What happens next"):
        assert words in told
    assert node.ticket(NAME) not in told, "a ticket is a secret"
    assert WRONG not in told
    assert node.is_signed(NAME)
    assert node.directories.node_key(NAME).read_bytes() == key, "the same key"
    read = load(node.directories.config_dir, node.directories.data_dir)
    assert read.node_name == NAME
    assert read.zones.endpoints[stage.satellite.name].port == str(stage.satellite.port)


def test_a_satellite_without_a_ticket_waits_for_the_approval_before_your_eyes(
    node: NewNode, stage: Stage
) -> None:
    master, name = stage.master, "sat9.example.org"
    with node.wizard(columns=120, rows=40) as terminal:
        terminal.answer(ask("agent")).answer(ask("name"), name)
        terminal.answer(ask("parent"), master.name).answer(ask("connect"), "y")
        terminal.answer(ask("host"), master.host)
        terminal.answer(ask("port"), str(master.port))
        terminal.answer(ask("more parents"), "n").answer(ask("certificate"), "y")
        terminal.answer(ask("ticket")).answer(ask("bind host"), "127.0.0.1")
        terminal.answer(ask("bind port"), str(node.port))
        terminal.answer(ask("accept config"), "y").answer(ask("accept commands"))
        terminal.answer(ask("zone"), "dmz").answer(ask("parent zone"))
        terminal.answer(ask("global zones"), "y")
        terminal.expect_prompt(ask("global zone")).type("director-global")
        terminal.expect("there by default").press("C-u").enter("linux-commands")
        terminal.answer(ask("another global zone")).answer(ask("conf.d"), "n")
        terminal.answer(ask("go"), "y")
        terminal.expect("its certificate is not signed yet").expect_prompt("What now?")
        waits = re.search(r"ca sign ([0-9a-f]{64})", squeezed(terminal.everything()))
        assert waits is not None, terminal.everything()
        terminal.enter("w").expect("Setting up")
        approved = subprocess.run(
            master.argv("ca", "sign", waits[1]),
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert approved.returncode == 0, approved.stdout + approved.stderr
        assert terminal.expect_end() == 0
        assert "approved" in terminal.everything()
    assert node.is_signed(name)
    read = load(node.directories.config_dir, node.directories.data_dir)
    assert read.zones.local_zone.name == "dmz"
    assert read.zones.zones["linux-commands"].is_global
    assert read.listener.accept_config


def test_a_master_is_set_up(tmp_path: Path) -> None:
    require_tmux()
    node = NewNode.make(tmp_path)
    with node.wizard() as terminal:
        terminal.answer(ask("agent"), "n").answer(ask("name"), "master9")
        terminal.expect_prompt(ask("master zone")).type("a!b").expect("takes no '!'")
        terminal.press("C-u").enter().answer(ask("global zones"))
        terminal.answer(ask("bind host"), "127.0.0.1")
        terminal.answer(ask("bind port"), str(node.port)).answer(ask("conf.d"))
        terminal.expect_prompt(ask("go"))
        assert node.files() == {}
        terminal.enter()
        assert terminal.expect_end() == 0
        assert "icefloe pki ticket --cn NAME" in squeezed(terminal.everything())
    assert node.is_signed("master9")
    assert node.directories.ca_key.exists()


# --- No, and Ctrl-C -------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["n", ""])
def test_no_at_the_certificate_ends_it_and_changes_nothing(
    node: NewNode, stage: Stage, answer: str
) -> None:
    with node.wizard() as terminal:
        to_the_parent(terminal, stage).enter(answer)
        assert terminal.expect_end() == 1
        assert "Nothing was changed." in squeezed(terminal.everything())
    assert node.files() == {}


def test_no_at_the_summary_ends_it_and_changes_nothing(
    node: NewNode, stage: Stage
) -> None:
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=node.ticket(NAME)).enter("n")
        assert terminal.expect_end() == 1
        assert "Nothing was changed." in squeezed(terminal.everything())
    assert node.files() == {}


def at_the_first_question(terminal: Terminal, _node: NewNode) -> None:
    terminal.expect_prompt(ask("agent"))


def at_half_an_answer(terminal: Terminal, _node: NewNode) -> None:
    terminal.answer(ask("agent")).expect_prompt(ask("name")).type("web")


def at_the_certificate(terminal: Terminal, node: NewNode) -> None:
    assert node.stage is not None
    to_the_parent(terminal, node.stage)


def at_the_ticket(terminal: Terminal, node: NewNode) -> None:
    at_the_certificate(terminal, node)
    terminal.enter("y").expect_prompt(ask("ticket"))


def at_the_summary(terminal: Terminal, node: NewNode) -> None:
    at_the_certificate(terminal, node)
    to_the_summary(terminal, node, ticket=WRONG)


@pytest.mark.parametrize(
    "point",
    [
        at_the_first_question,
        at_half_an_answer,
        at_the_certificate,
        at_the_ticket,
        at_the_summary,
    ],
)
def test_ctrl_c_before_the_summary_is_confirmed_changes_nothing(
    node: NewNode, point: Callable[[Terminal, NewNode], None]
) -> None:
    with node.wizard() as terminal:
        point(terminal, node)
        terminal.press("C-c")
        assert terminal.expect_end() == 130
        assert "Nothing was changed." in squeezed(terminal.everything())
    assert node.files() == {}


def test_ctrl_c_while_a_parent_is_looked_at_changes_nothing(node: NewNode) -> None:
    """Somebody takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent, node.wizard() as terminal:
        terminal.answer(ask("agent")).answer(ask("name"), NAME)
        terminal.answer(ask("parent"), "silent").answer(ask("connect"))
        terminal.answer(ask("host"), "127.0.0.1")
        terminal.answer(ask("port"), str(silent.getsockname()[1]))
        terminal.answer(ask("more parents")).expect("Looking at 127.0.0.1")
        terminal.press("C-c")
        assert terminal.expect_end() == 130
        assert "Nothing was changed." in squeezed(terminal.everything())
    assert node.files() == {}


def test_the_end_of_the_input_changes_nothing_either(node: NewNode) -> None:
    with node.wizard() as terminal:
        terminal.expect_prompt(ask("agent")).press("C-d")
        assert terminal.expect_end() == 1
        assert "Nothing was changed." in squeezed(terminal.everything())
    assert node.files() == {}


def test_ctrl_c_after_a_refusal_leaves_the_key_and_the_next_run_goes_on_with_it(
    node: NewNode, stage: Stage
) -> None:
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=WRONG).enter()
        terminal.expect_prompt("What now?").press("C-c")
        assert terminal.expect_end() == 130
        told = squeezed(terminal.everything())
    key = node.directories.node_key(NAME)
    assert f"written {key}" in told
    assert "goes on with the same key" in told
    assert node.directories.node_key(NAME).exists()
    assert not node.directories.zones_conf.exists()
    content = key.read_bytes()
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=node.ticket(NAME)).enter()
        assert terminal.expect_end() == 0
        assert "the same key is used again" in squeezed(terminal.everything())
    assert node.is_signed(NAME)
    assert key.read_bytes() == content


def test_ctrl_c_while_a_parent_is_asked_leaves_the_key_alone(
    node: NewNode, stage: Stage
) -> None:
    """The master stands still, so that the satellite holds the request."""
    (master, _) = stage.daemons
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=node.ticket(NAME))
        master.send(signal.SIGSTOP)
        try:
            terminal.enter().expect("is being asked; Ctrl-C stops")
            # Only now are there a key and a request; before, nothing was changed.
            asked = f"asks {stage.satellite.host}:{stage.satellite.port}"
            terminal.expect(asked).press("C-c")
            assert terminal.expect_end() == 130
        finally:
            master.send(signal.SIGCONT)
        told = squeezed(terminal.everything())
    assert "goes on with the same key" in told
    assert node.directories.node_key(NAME).exists()
    assert not node.directories.zones_conf.exists()
    assert not node.is_signed(NAME)


def test_ctrl_c_while_waiting_for_an_approval_leaves_a_node_that_is_set_up(
    node: NewNode, stage: Stage
) -> None:
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket="").enter()
        terminal.answer("What now?", "w").expect("is being asked; Ctrl-C stops")
        terminal.press("C-c")
        assert terminal.expect_end() == 130
        assert "This node is set up" in squeezed(terminal.everything())
    read = load(node.directories.config_dir, node.directories.data_dir)
    assert read.node_name == NAME


def test_stopping_after_a_refusal_is_a_failure_that_keeps_the_key(
    node: NewNode, stage: Stage
) -> None:
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=WRONG).enter()
        terminal.answer("What now?", "s")
        assert terminal.expect_end() == 1
        assert "The key stays" in squeezed(terminal.everything())
    assert node.directories.node_key(NAME).exists()


def test_a_parent_that_is_not_there_can_be_looked_for_elsewhere(
    node: NewNode, stage: Stage
) -> None:
    with node.wizard() as terminal:
        terminal.answer(ask("agent")).answer(ask("name"), NAME)
        terminal.answer(ask("parent"), stage.satellite.name).answer(ask("connect"))
        terminal.answer(ask("host"), "127.0.0.1").answer(ask("port"), str(node.port))
        terminal.answer(ask("more parents")).expect("Connection refused")
        terminal.answer("What now?", "c").answer(ask("host"), "127.0.0.1")
        terminal.answer(ask("port"), str(stage.satellite.port))
        terminal.expect_prompt(ask("certificate")).enter("n")
        assert terminal.expect_end() == 1
    assert node.files() == {}


# --- The preflight --------------------------------------------------------------------


def test_what_the_preflight_finds_can_be_mended_and_looked_at_again(
    node: NewNode, stage: Stage
) -> None:
    """A directory in the place of `zones.conf`: it could not be written."""
    in_the_way = node.directories.zones_conf
    in_the_way.mkdir()
    with node.wizard() as terminal:
        to_the_parent(terminal, stage).enter("y")
        terminal.answer(ask("ticket"), node.ticket(NAME))
        terminal.answer(ask("bind host"), "127.0.0.1")
        terminal.answer(ask("bind port"), str(node.port))
        terminal.answer(ask("accept config")).answer(ask("accept commands"))
        terminal.answer(ask("zone")).answer(ask("parent zone"), "sat1")
        terminal.answer(ask("global zones")).answer(ask("conf.d"))
        terminal.expect("is not a regular file").expect("(file-rights)")
        terminal.expect_prompt("What now?")
        assert "go on all the same" not in terminal.everything()
        in_the_way.rmdir()
        terminal.enter("a").answer(ask("go"))
        assert terminal.expect_end() == 0
    assert node.is_signed(NAME)


# --- Terminals ------------------------------------------------------------------------


def test_a_dumb_terminal_is_asked_again_after_a_wrong_answer(node: NewNode) -> None:
    with node.wizard(term="dumb") as terminal:
        terminal.expect_prompt(ask("agent")).enter("perhaps")
        terminal.expect("not possible: y or n").enter("y")
        terminal.answer(ask("name"), "web/1").expect("not possible: it holds a '/'")
        terminal.expect_prompt(ask("name")).press("C-c")
        assert terminal.expect_end() == 130
        assert "Nothing was changed." in squeezed(terminal.everything())
    assert node.files() == {}


def test_no_color_is_heeded(node: NewNode) -> None:
    with node.wizard(color=False) as terminal:
        terminal.expect_prompt(ask("agent"))
        assert not re.search(r"\x1b\[[0-9;]*3[1-7]", terminal.screen(styled=True))
        terminal.press("C-c")
        assert terminal.expect_end() == 130


@pytest.mark.parametrize("columns,rows", [(80, 24), (120, 40)])
def test_nothing_is_wider_than_the_terminal(
    node: NewNode, stage: Stage, columns: int, rows: int
) -> None:
    with node.wizard(columns=columns, rows=rows) as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=node.ticket(NAME)).enter()
        assert terminal.expect_end() == 0
        lines = terminal.everything().splitlines()
    # A path is not broken: somebody may want to copy it.
    assert [line for line in lines if len(line) > columns and "/" not in line] == []


def test_tab_completes_what_this_machine_knows(node: NewNode, stage: Stage) -> None:
    """The second run knows the endpoints of the first one's zones.conf."""
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=node.ticket(NAME)).enter()
        assert terminal.expect_end() == 0
    with node.wizard() as terminal:
        terminal.answer(ask("agent")).answer(ask("name"), NAME)
        terminal.expect_prompt(ask("parent")).type("sa").press("Tab")
        terminal.expect(f"{ask('parent')}: {stage.satellite.name}")
        terminal.press("C-c")
        assert terminal.expect_end() == 130


# --- Without a terminal ---------------------------------------------------------------


def test_a_script_feeds_the_answers_in_the_order_of_icingas_wizard(
    node: NewNode, stage: Stage
) -> None:
    """What is not answered takes its default, as there; no summary is confirmed."""
    satellite = stage.satellite
    done = node.piped(
        *("y", NAME, satellite.name, "y", satellite.host, str(satellite.port), "n"),
        *("y", node.ticket(NAME), "127.0.0.1", str(node.port), "y", "y"),
        *("", satellite.name, "n", "y"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert node.is_signed(NAME)
    assert node.ticket(NAME) not in done.stdout + done.stderr
    read = load(node.directories.config_dir, node.directories.data_dir)
    assert read.listener.accept_config
    assert read.listener.accept_commands


def test_a_script_with_a_wrong_ticket_is_told_so_and_ends(
    node: NewNode, stage: Stage
) -> None:
    """Icinga's asks for another one for ever."""
    satellite = stage.satellite
    done = node.piped(
        *("y", NAME, satellite.name, "y", satellite.host, str(satellite.port), "n"),
        *("y", WRONG, "127.0.0.1", str(node.port)),
    )
    assert done.returncode == 1
    assert "wrong-ticket" in done.stdout
    assert not node.directories.zones_conf.exists()


@pytest.mark.parametrize("answer", ["n", "", "yes please"])
def test_a_script_that_does_not_say_yes_to_the_certificate_changes_nothing(
    node: NewNode, stage: Stage, answer: str
) -> None:
    satellite = stage.satellite
    done = node.piped(
        *("y", NAME, satellite.name, "y", satellite.host, str(satellite.port), "n"),
        answer,
    )
    assert done.returncode == 1
    assert "Nothing was changed" in done.stderr
    assert node.files() == {}


# --- The guide ------------------------------------------------------------------------

GUIDE = Path(__file__).parents[2] / "docs" / "first-node.md"


def questions_in(text: str) -> list[str]:
    """Return which questions a transcript has, in its order."""
    found = []
    for line in text.splitlines():
        for name, question in QUESTIONS.items():
            if re.match(re.escape(question.text) + r"( \[[^]]*\])?:", line):
                found.append(name)
    return found


def test_the_transcript_of_the_guide_asks_what_the_wizard_asks(
    node: NewNode, stage: Stage
) -> None:
    with node.wizard() as terminal:
        to_the_parent(terminal, stage)
        to_the_summary(terminal, node, ticket=WRONG).enter()
        terminal.answer("What now?", "t").answer(ask("ticket"), node.ticket(NAME))
        assert terminal.expect_end() == 0
        told = terminal.everything()
    guide = GUIDE.read_text()
    transcript = guide.partition("<!-- transcript -->")[2]
    asked = questions_in(told)
    assert asked[0] == "agent"
    assert asked.count("ticket") == 2, "the wrong one, and the right one"
    assert questions_in(transcript) == asked
    for name in asked:
        assert QUESTIONS[name].why in transcript
    for line in told.splitlines():
        if line and line.istitle() and len(line.split()) == 1:
            assert line in transcript.splitlines()  # a heading
