"""Tests of `icefloe.pki`."""
