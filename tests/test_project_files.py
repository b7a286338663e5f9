"""The files around the code: locks, documents, scripts."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import icefloe
from tests.source_tree import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "ansible/README.md",
    "docs/ansible.md",
    "docs/architecture.md",
    "docs/checks.md",
    "docs/differences.md",
    "docs/first-node.md",
    "docs/fleet.md",
    "docs/glossary.md",
    "docs/install.md",
    "docs/limits.md",
    "docs/node-setup.md",
    "docs/problems.md",
    "docs/security.md",
    "docs/simulator.md",
    "docs/testing.md",
    "docs/tools.md",
)
TEXT_SUFFIXES = {".md", ".py", ".toml", ".txt", ".in", ".sh", ".conf", ".json", ""}
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pinned(lock: Path) -> dict[str, str]:
    """Return the version of each package that a lock installs on POSIX systems."""
    found = re.findall(r"^([a-z0-9-]+)==(\S+)(.*)", lock.read_text(), re.MULTILINE)
    return {name: version for name, version, when in found if "win32" not in when}


def committed_files() -> list[Path]:
    """Return the files that are, or are about to be, part of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    names = listed.stdout.decode().split("\0")
    paths = [ROOT / name for name in names if name]
    return [p for p in paths if p.suffix in TEXT_SUFFIXES and p.is_file()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_pins_with_hashes_and_names_no_place(lock: Path) -> None:
    """It must install from whichever index the reader's machine uses."""
    text = re.sub(r"^\s*#.*$", "", lock.read_text(), flags=re.MULTILINE)
    requirements = [r for r in text.replace("\\\n", " ").splitlines() if r.strip()]
    assert requirements
    assert [r for r in requirements if "==" not in r or "--hash=sha256:" not in r] == []
    assert [r for r in requirements if "://" in r or " @ " in r] == []
    assert [r for r in requirements if r.lstrip().startswith("-")] == []


def test_locks_agree_with_each_other_and_hold_the_declared_dependencies() -> None:
    core, dev = (pinned(ROOT / "requirements" / f"{n}.txt") for n in ("core", "dev"))
    assert core.items() <= dev.items()
    project = tomllib.loads(read("pyproject.toml"))["project"]
    for group, lock in (
        (project["dependencies"], core),
        (project["optional-dependencies"]["dev"], dev),
    ):
        names = {re.split(r"[\[<>=~! ]", wanted, maxsplit=1)[0] for wanted in group}
        assert names <= lock.keys()


def test_an_agent_stays_light() -> None:
    """A dependency of the core goes onto every machine of a fleet: argue for it."""
    core = pinned(ROOT / "requirements" / "core.txt")
    assert core.keys() == {
        *("cryptography", "cffi", "pycparser", "pyopenssl", "typing-extensions"),
        *("msgspec", "structlog"),
        *("typer", "click", "shellingham", "annotated-doc"),
        *("rich", "markdown-it-py", "mdurl", "pygments"),
        *("prompt-toolkit", "wcwidth"),  # node wizard alone loads them
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_there_and_its_links_lead_somewhere(name: str) -> None:
    text = read(name)
    assert len(text) > 200
    here = (ROOT / name).parent
    assert [link for link in LINK.findall(text) if not (here / link).exists()] == []


@pytest.mark.parametrize("verb", ["make demo", "make test", "make lint"])
def test_readme_and_makefile_name_the_same_verbs(verb: str) -> None:
    assert verb in read("README.md")
    assert re.search(rf"^{verb.split()[1]}:", read("Makefile"), re.MULTILINE)


def test_ci_runs_what_the_readme_names_and_requires_real_peers() -> None:
    script = read(".ci/run")
    assert re.search(r"^make .*test$", script, re.MULTILINE)
    assert "ICEFLOE_REQUIRE_PEERS=1" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_changelog_has_a_place_for_what_comes_next() -> None:
    assert "## [Unreleased]" in read("CHANGELOG.md")


def test_version_is_one_that_packaging_takes() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", icefloe.__version__)


def test_nothing_in_the_tree_points_outside_of_it() -> None:
    """Neither to a sibling of the repository nor to the machine it was written on."""
    outside = [f"{os.sep}shared{os.sep}".join(["..", ""]), f"{ROOT.parent}{os.sep}"]
    if ROOT.parent in {Path("/"), Path("/tmp"), Path("/home")}:  # too common a word
        outside.pop()
    found = [
        f"{path.relative_to(ROOT)}: {place}"
        for path in committed_files()
        for place in outside
        if place in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


@pytest.mark.parametrize(
    "verb",
    [
        *("venv", "demo", "test", "chaos", "fuzz", "ansible-full"),
        *("lint", "format", "lock", "clean"),
    ],
)
def test_make_help_names_every_verb(verb: str) -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    )
    assert re.search(rf"^{verb} ", shown.stdout, re.MULTILINE)
