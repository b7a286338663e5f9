"""Programs of the system that a test needs: skipped without them, unless forbidden."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest
from tests.peer_gate import REQUIRE_VARIABLE, peers_are_required


def required(program: str) -> str:
    """Return where a program is; without it the test is skipped, or fails in CI."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        missing(f"there is no '{program}' here")
    return found


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where it must not be skipped."""
    if peers_are_required():
        pytest.fail(f"{reason}; {REQUIRE_VARIABLE} forbids to skip it", pytrace=False)
    pytest.skip(reason)
