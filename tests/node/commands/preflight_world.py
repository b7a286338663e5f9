"""A machine to look at before a set-up, and what a preflight says about it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from tests.node.cluster import (
    free_port,
)

from icefloe.cluster.zones import Endpoint
from icefloe.config.layout import NodeDirectories
from icefloe.config.setup import NodeSetup
from icefloe.doors import MonotonicTime, Now, WallTime
from icefloe.enrollment.problems import PROBLEMS
from icefloe.enrollment.requester import Parent
from icefloe.node.commands.changes import AgentSetup
from icefloe.node.commands.checks import Check
from icefloe.node.commands.preflight import preflight
from icefloe.node.commands.setting import Setting
from icefloe.node.doors import RealEntropy
from icefloe.storage.files import Owner

NAME = "web1.example.org"
HOUR = 3600.0
NOBODY = 65534


class Shifted:
    """A clock that is wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> Now:
        return Now(
            wall=WallTime(time.time() + self._seconds),
            mono=MonotonicTime(time.monotonic()),
        )


class Silent:
    def information(self, text: str, *, facility: str = "cli") -> None:
        raise AssertionError(f"a preflight tells nobody: {facility}: {text}")

    warning = information


@pytest.fixture
def directories(tmp_path: Path) -> NodeDirectories:
    made = NodeDirectories(config_dir=tmp_path / "etc", data_dir=tmp_path / "lib")
    made.config_dir.mkdir()
    made.certs.mkdir(parents=True)
    return made


def setting_for(
    directories: NodeDirectories, *, owner: Owner | None = None, wrong: float = 0.0
) -> Setting:
    return Setting(
        directories=directories,
        clock=Shifted(wrong),
        entropy=RealEntropy(),
        owner=owner,
        narrator=Silent(),
    )


def master(name: str = NAME) -> NodeSetup:
    return NodeSetup(node_name=name, zone_name="master", bind_port=free_port())


def agent(*parents: Parent, pins: tuple[x509.Certificate, ...] = ()) -> AgentSetup:
    node = NodeSetup(
        node_name=NAME,
        zone_name=NAME,
        parent_zone="master",
        parents=(Endpoint("master1"),),
        bind_port=free_port(),
    )
    return AgentSetup(node=node, parents=parents, pins=pins)


def found(wanted: AgentSetup | NodeSetup, setting: Setting, name: str) -> list[Check]:
    return [each for each in preflight(wanted, setting) if each.name == name]


def the(wanted: AgentSetup | NodeSetup, setting: Setting, name: str) -> Check:
    (only,) = found(wanted, setting, name)
    return only


def assert_told(check: Check, code: str, *words: str) -> None:
    """A failed check has a known code, and says what is wrong and what to do."""
    assert check.ok is False, check
    assert check.code == code
    assert check.code in PROBLEMS
    assert check.fix
    for word in words:
        assert word in check.detail, check
