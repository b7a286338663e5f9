"""Requester, relay and signer of certificate requests (no IO)."""
