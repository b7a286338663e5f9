"""Icefloe: a node of a monitoring cluster that speaks Icinga 2's wire protocol."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
