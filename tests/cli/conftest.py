"""A node's directories, and the commands on them, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.command import Command


@pytest.fixture
def icefloe(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Return the program, on directories of this test."""
    for name in (
        "ICEFLOE_CONFIG_DIR",
        "ICEFLOE_DATA_DIR",
        "ICEFLOE_TICKET",
        "ICINGA2_USER",
        "ICINGA2_GROUP",
    ):
        monkeypatch.delenv(name, raising=False)
    return Command(tmp_path, capsys)
