"""Tab, in real shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.packaging.tools import required

# What the shell is told, after the script: put the words in, and print what comes out.
ASK = {
    "bash": """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_icefloe_completion icefloe "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
""",
    # Outside of its line editor zsh has no compadd; these stand for its own.
    "zsh": """
compdef() { registered="$*" }
_describe() { print -rl -- ${(P)@[-2]} }  # the last one is -U
compadd() { print -rl -- ${(P)@[-1]} }
source "$1"; shift
[[ $registered == "_icefloe_completion icefloe" ]] || exit 3
words=("$@"); CURRENT=$#
_icefloe_completion
""",
    "fish": """
source $argv[1]
complete -C (string join ' ' -- $argv[2..-1])
""",
}


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> str:
    required(request.param)
    return str(request.param)


def completed(icefloe: Command, shell: str, root: Path, *words: str) -> str:
    """Return what a shell offers when Tab is pressed behind these words."""
    script = root / "script"
    script.write_text(icefloe.ok("completion", shell))
    ask = root / "ask"
    ask.write_text(ASK[shell])
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [required(shell), *plain, ask, script, "icefloe", *words],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(root),
            "LC_ALL": "C.UTF-8",
        },
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_tab_completes_a_group(icefloe: Command, shell: str, tmp_path: Path) -> None:
    offered = completed(icefloe, shell, tmp_path, "enr").split()
    assert offered[0].startswith("enrollment")


def test_tab_completes_a_command(icefloe: Command, shell: str, tmp_path: Path) -> None:
    offered = completed(icefloe, shell, tmp_path, "pki", "new-")
    assert {"new-ca", "new-cert"} <= {word.split(":")[0] for word in offered.split()}


def test_tab_completes_an_option(icefloe: Command, shell: str, tmp_path: Path) -> None:
    offered = completed(icefloe, shell, tmp_path, "service", "install", "--gat")
    assert "--gateway" in offered


def test_tab_completes_a_value(icefloe: Command, shell: str, tmp_path: Path) -> None:
    assert "fish" in completed(icefloe, shell, tmp_path, "completion", "f")


@pytest.mark.parametrize(
    "instruction, asked",
    [
        ("bash_complete", {}),
        ("zsh_complete", {}),
        ("fish_complete", {}),
        ("bash_complete", {"COMP_WORDS": "icefloe", "COMP_CWORD": "last"}),
        ("fish_complete", {"COMP_WORDS": "icefloe", "COMP_CWORD": " "}),
        ("tcsh_complete", {}),
    ],
)
def test_a_question_without_its_words_is_answered_with_nothing_but_a_failure(
    instruction: str, asked: dict[str, str]
) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("icefloe")],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("COMP_")},
            "_ICEFLOE_COMPLETE": instruction,
            **asked,
        },
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_another_shell_is_refused_with_those_that_there_are(icefloe: Command) -> None:
    done = icefloe("completion", "tcsh")
    assert done.code == 1
    assert "bash" in done.err
