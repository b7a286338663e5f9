"""Fixtures of the tests that break real nodes."""

from __future__ import annotations

from tests.peers.fixtures import nodes

__all__ = ["nodes"]
