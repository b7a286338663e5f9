"""Fixtures of the tests that paste guides."""

from __future__ import annotations

from tests.peers.fixtures import nodes, prepared_pki

__all__ = ["nodes", "prepared_pki"]
