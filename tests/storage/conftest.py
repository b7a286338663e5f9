"""Fixtures: real nodes, and a place in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.peers.fixtures import nodes, prepared_pki
from tests.storage.small_disks import small_disk

__all__ = ["nodes", "prepared_pki", "small_disk"]


@pytest.fixture
def memory_directory() -> Iterator[Path]:
    """A directory in memory where there is one, for tests that cut power themselves."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="icefloe-test-", dir=parent) as made:
        yield Path(made)
