"""Tests of Icinga's configuration files."""
