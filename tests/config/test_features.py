from __future__ import annotations

from pathlib import Path

import pytest

from icefloe.config.errors import ConfigError, FeatureUnknown
from icefloe.config.features import (
    Features,
    plan_disable,
    plan_enable,
    read_features,
)
from icefloe.config.layout import NodeDirectories
from tests.config.helpers import write

NODE = NodeDirectories(config_dir=Path("/c"), data_dir=Path("/d"))
THREE = Features(available=frozenset({"a", "b", "c"}), enabled=frozenset({"b", "own"}))


def test_features_are_read_from_the_two_directories(tmp_path: Path) -> None:
    directories = NodeDirectories(config_dir=tmp_path, data_dir=tmp_path)
    write(
        tmp_path,
        {
            "features-available/api.conf": "",
            "features-available/checker.conf": "",
            "features-available/README": "",
            "features-available/.swap.conf": "",
            "features-enabled/own.conf": "",
        },
    )
    (tmp_path / "features-enabled/api.conf").symlink_to(
        "../features-available/api.conf"
    )
    (tmp_path / "features-enabled/gone.conf").symlink_to("nowhere")
    found = read_features(directories)
    assert found == Features(
        available=frozenset({"api", "checker"}),
        enabled=frozenset({"api", "gone", "own"}),
    )


def test_missing_directories_hold_no_features(tmp_path: Path) -> None:
    directories = NodeDirectories(config_dir=tmp_path / "x", data_dir=tmp_path)
    assert read_features(directories).lines() == (
        "Disabled features: ",
        "Enabled features: ",
    )


def test_closed_directory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refusing)
    (tmp_path / "features-available").mkdir()
    with pytest.raises(ConfigError, match="Permission denied"):
        read_features(NodeDirectories(config_dir=tmp_path, data_dir=tmp_path))


def test_list_is_printed_as_tools_parse_it() -> None:
    assert THREE.lines() == ("Disabled features: a c", "Enabled features: b own")


def test_enabling_links_to_the_available_file() -> None:
    change = plan_enable(THREE, ["c", "b", "nope", "c", "../x"], NODE)
    (link,) = change.plan.links
    assert (str(link.path), link.target) == (
        "/c/features-enabled/c.conf",
        "../features-available/c.conf",
    )
    assert change.changed == ("c",)
    assert change.unchanged == ("b", "c")
    assert change.unknown == ("nope", "../x")
    with pytest.raises(FeatureUnknown, match=r"nope \.\./x"):
        change.check()


def test_disabling_removes_the_link_and_knows_no_unknown_feature() -> None:
    change = plan_disable(THREE, ["b", "a", "nope", "b", "own"], NODE)
    assert [str(path) for path in change.plan.removals] == [
        "/c/features-enabled/b.conf",
        "/c/features-enabled/own.conf",
    ]
    assert change.changed == ("b", "own")
    assert change.unchanged == ("a", "nope", "b")
    change.check()
