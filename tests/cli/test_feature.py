"""`icefloe feature`: two lines that tools parse, and links."""

from __future__ import annotations

import pytest
from tests.cli.command import Command


def test_features_are_listed_in_two_lines(icefloe: Command) -> None:
    """protocol: Icinga for Windows parses both."""
    assert icefloe.ok("feature", "list").splitlines() == [
        "Disabled features: api checker",
        "Enabled features: notification",
    ]


def test_enabling_links_the_file(icefloe: Command) -> None:
    out = icefloe.ok("feature", "enable", "api", "checker")
    assert out.startswith("Enabling feature api. ")
    link = icefloe.directories.feature_enabled("api")
    assert str(link.readlink()) == "../features-available/api.conf"


def test_enabling_again_is_a_warning(icefloe: Command) -> None:
    done = icefloe("feature", "enable", "notification")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("warning/cli: Feature 'notification' already enabled")


def test_an_unknown_feature_fails_after_the_others_were_enabled(
    icefloe: Command,
) -> None:
    done = icefloe("feature", "enable", "bogus", "api")
    assert done.code == 1
    assert "bogus" in done.err
    assert icefloe.directories.feature_enabled("api").is_symlink()


def test_disabling_removes_the_link(icefloe: Command) -> None:
    out = icefloe.ok("feature", "disable", "notification")
    assert out.startswith("Disabling feature notification. ")
    assert not icefloe.directories.feature_enabled("notification").is_symlink()


@pytest.mark.parametrize("name", ["notification", "bogus", "../x"])
def test_disabling_what_is_not_enabled_is_a_warning(
    icefloe: Command, name: str
) -> None:
    icefloe("feature", "disable", "notification")
    done = icefloe("feature", "disable", name)
    assert done.code == 0
    assert done.err.startswith("warning/cli: ")
