"""Systemd's files: what is in them, and what systemd's own tools say of them.

No systemd is booted here.  One that is given a namespace of its own still sees this
machine's files, and what it starts by itself may clean them up.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from tests.packaging.tools import required
from tests.source_tree import ROOT

from icefloe.node import stopping
from icefloe.node.gateway.gateway import STOP_ANSWER_SECONDS
from icefloe.node.service_units import (
    GATEWAY_STOP_SECONDS,
    NODE_STOP_SECONDS,
    SIGNER_DROP_IN,
    NodeService,
    ServiceProblem,
    package_files,
)

UNIT = PurePosixPath("/etc/systemd/system/icefloe.service")
GATEWAY_UNIT = PurePosixPath("/etc/systemd/system/icefloe-gateway.service")
BOTH = package_files()
NODE = NodeService(
    program=("/usr/bin/icefloe",),
    user="icinga",
    group="icinga",
    config_dir=Path("/etc/icinga2"),
    data_dir=Path("/var/lib/icinga2"),
)

KEPT = ROOT / "packaging" / "systemd"

EXPOSURE_MAX = 14
"""In tenths; what it is exactly stands in docs/install.md."""


def settings(text: str) -> dict[str, list[str]]:
    """Return the values of each setting, in their order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def kept_at(path: PurePosixPath) -> Path:
    return KEPT / str(path.relative_to("/etc")).removeprefix("systemd/system/")


def written(files: Mapping[PurePosixPath, str], root: Path) -> Path:
    """Write units with a program that exists; return their directory."""
    for path, text in files.items():
        place = root / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.replace("/usr/bin/icefloe", "/bin/true"))
    return root / "etc/systemd/system"


# --- The package's files --------------------------------------------------------------


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.name)
def test_the_files_of_the_package_are_those_that_install_writes(
    path: PurePosixPath,
) -> None:
    """`scripts/units` writes them anew."""
    assert kept_at(path).read_text() == BOTH[path]


def test_the_package_has_no_other_files() -> None:
    there = {path for path in KEPT.rglob("*") if path.is_file()}
    assert there == {kept_at(path) for path in BOTH}


# --- What systemd says ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relay", "signer"])
@pytest.mark.parametrize("unit", [UNIT, GATEWAY_UNIT], ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong_with_a_unit(
    unit: PurePosixPath, kind: str, tmp_path: Path
) -> None:
    analyze = required("systemd-analyze")
    files = {**BOTH, **NODE.files()}
    if kind == "relay":
        del files[SIGNER_DROP_IN]
    where = written(files, tmp_path)
    done = subprocess.run(
        [
            analyze,
            "verify",
            "--man=no",
            "--recursive-errors=no",
            str(where / unit.name),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", [UNIT, GATEWAY_UNIT], ids=lambda unit: unit.stem)
def test_a_unit_is_as_little_exposed_as_the_document_says(
    unit: PurePosixPath, tmp_path: Path
) -> None:
    analyze = required("systemd-analyze")
    where = written(BOTH, tmp_path)
    done = subprocess.run(
        [
            *(analyze, "security", "--offline=true", "--no-pager"),
            *(f"--threshold={EXPOSURE_MAX}", str(where / unit.name)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    level = re.search(r"Overall exposure level for \S+: (\d\.\d)", done.stdout)
    assert level is not None
    assert f"**{level[1]}**" in (ROOT / "docs" / "install.md").read_text()


@pytest.mark.parametrize("name", ["icefloe", "icefloe-gateway"])
def test_the_user_can_be_made(name: str, tmp_path: Path) -> None:
    sysusers = required("systemd-sysusers")
    place = tmp_path / f"{name}.conf"
    place.write_text(BOTH[PurePosixPath(f"/etc/sysusers.d/{name}.conf")])
    (tmp_path / "root" / "etc").mkdir(parents=True)
    done = subprocess.run(
        [sysusers, "--dry-run", f"--root={tmp_path / 'root'}", str(place)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    user = "icinga" if name == "icefloe" else name
    assert done.returncode == 0, done.stderr
    assert f"Creating user '{user}'" in done.stdout + done.stderr
    assert not (tmp_path / "root" / "etc" / "passwd").exists()


# --- What is in them ------------------------------------------------------------------


def test_systemd_waits_longer_than_an_orderly_end_takes() -> None:
    assert stopping.seconds_max() + 5 <= NODE_STOP_SECONDS
    assert stopping.seconds_max(STOP_ANSWER_SECONDS) + 5 <= GATEWAY_STOP_SECONDS
    assert settings(BOTH[UNIT])["TimeoutStopSec"] == [str(NODE_STOP_SECONDS)]
    assert settings(BOTH[GATEWAY_UNIT])["TimeoutStopSec"] == [str(GATEWAY_STOP_SECONDS)]


@pytest.mark.parametrize("unit", [UNIT, GATEWAY_UNIT], ids=lambda unit: unit.stem)
def test_a_unit_holds_what_keeps_the_rest_of_the_machine_from_it(
    unit: PurePosixPath,
) -> None:
    found = settings(BOTH[unit])
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found["ProtectSystem"] == ["strict"]
    assert found["LimitCORE"] == ["0"]  # keys are in the memory
    assert found["Type"] == ["notify"]
    assert found["KillMode"] == ["mixed"]  # a second SIGTERM would hurry the end
    assert found["Restart"] == ["on-failure"]
    # pyOpenSSL makes its callbacks' code at run time: the daemon would not start.
    assert "MemoryDenyWriteExecute" not in found


def test_the_ca_can_be_read_only_where_it_signs_and_written_nowhere() -> None:
    assert settings(BOTH[UNIT])["InaccessiblePaths"] == ["-/var/lib/icinga2/ca"]
    drop_in = settings(BOTH[SIGNER_DROP_IN])
    assert drop_in["InaccessiblePaths"] == [""]
    assert drop_in["ReadOnlyPaths"] == ["/var/lib/icinga2/ca"]
    assert SIGNER_DROP_IN not in NODE.files()


def test_the_gateway_cannot_look_into_the_node_beside_it() -> None:
    assert settings(BOTH[GATEWAY_UNIT])["InaccessiblePaths"] == ["-/var/lib/icinga2"]


def test_an_odd_path_is_one_word_for_systemd_and_expands_to_nothing() -> None:
    odd = replace(NODE, data_dir=Path('/srv/a b/100%/"$HOME"'))
    unit = settings(odd.files()[UNIT])
    assert unit["ReadWritePaths"] == ['"/srv/a b/100%%/\\"$HOME\\""']
    assert unit["ExecStart"][0].endswith('--data-dir "/srv/a b/100%%/\\"$$HOME\\""')


@pytest.mark.parametrize(
    "change, said",
    [
        ({"program": ("/root/.local/bin/icefloe",)}, "/opt/icefloe"),
        ({"program": ("/home/joe/venv/bin/icefloe",)}, "/opt/icefloe"),
        ({"program": ("/home/joe/venv/bin/icefloe",)}, "icefloe-*.whl"),
        ({"program": ("icefloe",)}, "no absolute path"),
        ({"config_dir": Path("/home/joe/icinga2")}, "--config-dir"),
        ({"data_dir": Path("/run/user/0/icinga2")}, "--data-dir"),
        ({"data_dir": Path("/home")}, "homes and /tmp"),
        ({"user": "joe\nExecStart=/bin/sh"}, "no name of a user"),
        ({"data_dir": Path("/srv/a\nb")}, "cannot stand in a unit"),
    ],
)
def test_what_no_unit_can_be_made_of_is_refused(
    change: dict[str, object], said: str
) -> None:
    with pytest.raises(ServiceProblem, match=re.escape(said)):
        replace(NODE, **change).files()  # type: ignore[arg-type]


def test_all_that_a_service_would_not_see_is_told_at_once() -> None:
    hidden = replace(NODE, config_dir=Path("/root/etc"), data_dir=Path("/tmp/lib"))
    with pytest.raises(ServiceProblem) as caught:
        hidden.files()
    told = str(caught.value).splitlines()
    assert ["--config-dir" in line for line in told] == [True, False]
    assert ["--data-dir" in line for line in told] == [False, True]


def test_what_only_begins_like_a_hidden_place_is_seen() -> None:
    assert replace(NODE, data_dir=Path("/homes/icinga2")).files()
