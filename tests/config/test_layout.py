from __future__ import annotations

from pathlib import Path

import pytest

from icefloe.config.errors import LayoutError
from icefloe.config.layout import NodeDirectories, resolve_directories

NODE = NodeDirectories(config_dir=Path("/c"), data_dir=Path("/d"))


def test_option_wins_over_environment_over_default() -> None:
    environment = {"ICEFLOE_CONFIG_DIR": "/env/c", "ICEFLOE_DATA_DIR": "/env/d"}

    def resolved(**options: Path | None) -> tuple[str, str]:
        given: dict[str, Path | None] = {"config_dir": None, "data_dir": None}
        found = resolve_directories(**(given | options), environment=environment)
        return str(found.config_dir), str(found.data_dir)

    assert resolved() == ("/env/c", "/env/d")
    assert resolved(config_dir=Path("/o")) == ("/o", "/env/d")
    assert resolved(data_dir=Path("/o")) == ("/env/c", "/o")
    environment.clear()
    assert resolved() == ("/etc/icinga2", "/var/lib/icinga2")
    environment["ICEFLOE_DATA_DIR"] = ""
    assert resolved() == ("/etc/icinga2", "/var/lib/icinga2")


def test_relative_directories_become_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = resolve_directories(
        config_dir=Path("c"), data_dir=None, environment={"ICEFLOE_DATA_DIR": "d"}
    )
    assert (found.config_dir, found.data_dir) == (tmp_path / "c", tmp_path / "d")


def test_directory_with_a_nul_is_refused() -> None:
    with pytest.raises(LayoutError):
        resolve_directories(config_dir=Path("a\0b"), data_dir=None, environment={})


def test_files_have_icingas_names() -> None:
    names = {
        NODE.icinga2_conf: "/c/icinga2.conf",
        NODE.constants_conf: "/c/constants.conf",
        NODE.zones_conf: "/c/zones.conf",
        NODE.zones_d: "/c/zones.d",
        NODE.conf_d: "/c/conf.d",
        NODE.api_users_conf: "/c/conf.d/api-users.conf",
        NODE.feature_available("api"): "/c/features-available/api.conf",
        NODE.feature_enabled("api"): "/c/features-enabled/api.conf",
        NODE.trusted_ca: "/d/certs/ca.crt",
        NODE.ticket: "/d/certs/ticket",
        NODE.node_certificate("n.org"): "/d/certs/n.org.crt",
        NODE.node_key("n.org"): "/d/certs/n.org.key",
        NODE.node_csr("n.org"): "/d/certs/n.org.csr",
        NODE.ca_certificate: "/d/ca/ca.crt",
        NODE.ca_key: "/d/ca/ca.key",
        NODE.certificate_requests: "/d/certificate-requests",
        NODE.api_zones: "/d/api/zones",
        NODE.api_packages: "/d/api/packages",
    }
    assert {path: str(path) for path in names} == names


def test_our_own_files_lie_in_one_directory() -> None:
    own = [NODE.ledger, NODE.lock]
    assert {path.parent for path in own} == {NODE.own_dir}
    assert NODE.own_dir == Path("/d/icefloe")


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "..", ".", ".hidden", "a\0b", "/etc/passwd", "é" * 128]
)
def test_name_that_leads_elsewhere_is_no_file_name(name: str) -> None:
    for path_of in (
        NODE.node_certificate,
        NODE.node_key,
        NODE.node_csr,
        NODE.feature_available,
        NODE.feature_enabled,
    ):
        with pytest.raises(LayoutError):
            path_of(name)


def test_lone_surrogate_in_a_refused_name_can_be_shown() -> None:
    with pytest.raises(LayoutError) as caught:
        NODE.node_key("../\udcff")
    str(caught.value).encode()
