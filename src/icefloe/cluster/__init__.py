"""Zones, endpoints, peers and their sessions (no IO)."""
