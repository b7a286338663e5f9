"""The wheel, in a fresh environment that holds what an agent's machine would, no more.

Nothing is fetched: the locked packages of `requirements/core.txt` are copied from the
environment that runs this test, where they are of these very versions.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.source_tree import ROOT

import icefloe

pytestmark = pytest.mark.timeout(240)

MEGABYTES_MAX = 50
"""On disk, with all its needs and without byte code; docs/install.md says how much."""

NOT_FOR_AN_AGENT = (
    *("pytest", "hypothesis", "yaml", "prompt_toolkit", "tlslite", "mypy"),
    *("icefloe.lab", "icefloe.simulation", "icefloe.node.gateway"),
    "icefloe.node.commands.wizard",
)


def locked() -> Iterator[str]:
    text = (ROOT / "requirements" / "core.txt").read_text()
    for name, _, when in re.findall(r"^([a-z0-9-]+)==(\S+)(.*)", text, re.MULTILINE):
        if "win32" not in when:
            yield name


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel."""

    wheel: Path
    python: Path
    packages: Path

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def icefloe(self, *words: str) -> str:
        return self.run(self.python.with_name("icefloe"), *words)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    ours = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *ours, "-w", root, ROOT], check=True, timeout=100)
    (wheel,) = root.glob("*.whl")
    place = root / "environment"
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(place)}, scheme="venv")
    )
    for name in locked():
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(distribution.locate_file(file)), packages / file)
    subprocess.run(
        [*pip, "--python", python, "install", "--no-index", "--no-compile", wheel],
        check=True,
        timeout=100,
    )
    return Installed(wheel, python, packages)


def test_the_wheel_is_the_package_and_nothing_beside_it(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"icefloe", f"icefloe-{icefloe.__version__}.dist-info"}
    assert "icefloe/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_its_needs_are_met_by_what_is_locked(installed: Installed) -> None:
    """pip itself has looked (`--no-index`): nothing is missing."""
    there = {
        each.metadata["Name"].lower().replace("_", "-")
        for each in importlib.metadata.distributions(path=[str(installed.packages)])
    }
    assert there == {*locked(), "icefloe"}


@pytest.mark.parametrize(
    "words, said",
    [
        ("--version", f"Icefloe {icefloe.__version__}"),
        ("node setup --help", "--parent_host"),
        ("node wizard --help", "answering questions"),
        ("daemon --help", "SIGTERM"),
        ("gateway --help", "--upstream"),
        ("enrollment problems", "wrong-ticket"),
        ("completion bash", "_ICEFLOE_COMPLETE"),
        ("service show --program /usr/bin/icefloe --user icinga", "Type=notify"),
    ],
)
def test_it_runs_without_anything_else(
    installed: Installed, words: str, said: str
) -> None:
    assert said in installed.icefloe(*words.split())


def test_the_daemon_of_an_agent_loads_what_it_needs(installed: Installed) -> None:
    code = "import icefloe.cli.daemon, sys; print(*sys.modules, sep='\\n')"
    loaded = installed.run(installed.python, "-c", code).splitlines()
    found = {
        name
        for name in loaded
        for other in NOT_FOR_AN_AGENT
        if name == other or name.startswith(f"{other}.")
    }
    assert found == set()


def test_it_is_as_small_as_the_document_says(installed: Installed) -> None:
    files = [path for path in installed.packages.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files if path.suffix != ".pyc")
    assert size <= MEGABYTES_MAX * 1_000_000
    said = re.search(r"\*\*(\d+) MB\*\*", (ROOT / "docs" / "install.md").read_text())
    assert said is not None
    assert abs(size / 1_000_000 - int(said[1])) < 3, size
