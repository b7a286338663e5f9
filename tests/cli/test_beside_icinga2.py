"""The commands beside the real icinga2's: what tools parse, and each other's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.command import Command
from tests.peers.fixtures import Nodes, nodes, prepared_pki
from tests.peers.layout import ZoneSpec
from tests.peers.prepared import PreparedPKI
from tests.peers.real_icinga import RealIcinga

from icefloe.pki.certificates import load_pem

pytestmark = pytest.mark.real_peer

__all__ = ["nodes", "prepared_pki"]

ZONE_MASTER = ZoneSpec(name="master", endpoints=("master1",))
SALT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def icinga(nodes: Nodes) -> RealIcinga:
    """Return a node of icinga2's own, not running."""
    return nodes.make(RealIcinga, "real")


@pytest.fixture
def master(nodes: Nodes, prepared_pki: PreparedPKI) -> Iterator[RealIcinga]:
    """Return a real master that runs and signs."""
    node = nodes.make(RealIcinga, "master1")
    node.install_identity(prepared_pki, signer=True)
    node.configure([ZONE_MASTER], salt=prepared_pki.salt, icefloe_endpoints=())
    node.start()
    yield node
    node.stop()


# --- The same lines -------------------------------------------------------------------


def test_features_are_listed_in_the_same_words(
    icefloe: Command, icinga: RealIcinga
) -> None:
    for name in ("api", "checker", "notification"):
        path = icinga.config_dir / f"features-available/{name}.conf"
        path.write_text(path.read_text() if path.exists() else "")
    icinga.enable("notification")
    assert icefloe.ok("feature", "list") == icinga.must("feature", "list")


@pytest.mark.parametrize(
    "words, code",
    [
        (("feature", "enable", "api"), 0),
        (("feature", "enable", "api", "bogus"), 1),
        (("feature", "disable", "bogus"), 0),
        (("feature", "enable"), 1),
        (("pki", "ticket"), 1),
        (("pki", "ticket", "--bogus", "x"), 1),
        (("pki", "verify"), 0),
        (("pki", "verify", "--cn", "x"), 2),
        (("pki", "new-cert", "--cn", "x"), 1),
        (("ca", "list"), 0),
        (("ca", "sign", "a" * 64), 1),
        (("ca", "remove", "a" * 64), 1),
        (("ca", "restore", "a" * 64), 1),
        (("ca", "sign"), 1),
        (("node", "setup", "--cn", "a", "--zone", "a"), 1),
        (("node", "setup", "--cn", "a", "--endpoint", "b"), 1),
        (("pki",), 0),
    ],
    ids=str,
)
def test_exit_codes_are_the_same(
    icefloe: Command, icinga: RealIcinga, words: tuple[str, ...], code: int
) -> None:
    assert icinga.cli(*words).returncode == code
    assert icefloe(*words).code == code


def test_tickets_are_the_same(icefloe: Command, icinga: RealIcinga) -> None:
    ask = ("pki", "ticket", "--cn", "web1.example.org", "--salt", SALT)
    assert icefloe.ok(*ask) == icinga.must(*ask)


def test_the_first_line_of_the_version_has_the_same_form(
    icefloe: Command, icinga: RealIcinga
) -> None:
    form = re.compile(r"icinga2 - .+ \(version: r?\d+\.\d+\.\d+[^)]*\)")
    assert form.fullmatch(icinga.cli("--version").stdout.splitlines()[0])
    assert form.fullmatch(icefloe.ok("--version").splitlines()[0])


def test_files_that_are_written_are_named_in_the_same_lines(
    icefloe: Command, icinga: RealIcinga, tmp_path: Path
) -> None:
    """Tools parse `Writing private key to '...'` and the others."""
    make = ("pki", "new-cert", "--cn", "a")
    paths = {end: tmp_path / f"a.{end}" for end in ("key", "csr", "crt")}
    words = (
        *make,
        *("--key", paths["key"], "--csr", paths["csr"], "--cert", paths["crt"]),
    )
    theirs = icinga.must(*map(str, words)).splitlines()
    assert icefloe.ok(*words).splitlines() == theirs


def parsed_block(out: str) -> dict[str, str]:
    """Read a printed certificate as tools do."""
    found = re.findall(r"^ ([A-Z][A-Za-z ]+):[ ]*(.*?)[ ]*$", out, re.MULTILINE)
    return {label: value.replace(":", "").upper() for label, value in found}


def test_a_printed_certificate_says_the_same(
    icefloe: Command, icinga: RealIcinga, prepared_pki: PreparedPKI
) -> None:
    for path in (
        prepared_pki.ca_dir / "ca.crt",
        prepared_pki.identity("web1") / "node.crt",
    ):
        ask = ("pki", "verify", "--cert", str(path))
        ours, theirs = parsed_block(icefloe.ok(*ask)), parsed_block(icinga.must(*ask))
        # 2.13 prints another line between this one and the next.
        assert ours.pop("Serial") == theirs.pop("Serial").strip()
        assert ours == theirs


VERIFICATIONS = {
    "name": ("--cn", "web1", "--cert", "CERT"),
    "other name": ("--cn", "web2", "--cert", "CERT"),
    "signed": ("--cert", "CERT", "--cacert", "CA"),
    "not signed": ("--cert", "OTHER", "--cacert", "CA"),
    "CA": ("--cacert", "CA"),
    "no CA": ("--cacert", "CERT"),
    "print": ("--cert", "CERT"),
}


@pytest.mark.parametrize("options", VERIFICATIONS.values(), ids=VERIFICATIONS)
def test_verification_comes_to_the_same(
    icefloe: Command,
    icinga: RealIcinga,
    prepared_pki: PreparedPKI,
    options: tuple[str, ...],
) -> None:
    other = icefloe.path("other.crt")
    key = icefloe.path("other.key")
    icefloe.ok("pki", "new-cert", "--cn", "web1", "--key", key, "--cert", other)
    places = {
        "CERT": str(prepared_pki.identity("web1") / "node.crt"),
        "CA": str(prepared_pki.ca_dir / "ca.crt"),
        "OTHER": str(other),
    }
    words = ("pki", "verify", *(places.get(word, word) for word in options))
    assert icefloe(*words).code == icinga.cli(*words).returncode


# --- Each other's files ---------------------------------------------------------------


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_icinga2_reads_what_we_make(
    icefloe: Command, icinga: RealIcinga, prepared_pki: PreparedPKI, key_type: str
) -> None:
    """Its CA signs our request; its verification takes our CA and certificates."""
    icinga.install_identity(prepared_pki, signer=True)
    key, csr, cert = (icefloe.path(f"a.{end}") for end in ("key", "csr", "crt"))
    make = ("pki", "new-cert", "--cn", "a", "--key-type", key_type)
    icefloe.ok(*make, "--key", key, "--csr", csr, "--cert", cert)
    icinga.must("pki", "verify", "--cn", "a", "--cert", str(cert))
    icinga.must("pki", "sign-csr", "--csr", str(csr), "--cert", str(cert))
    ca = icinga.ca_dir / "ca.crt"
    assert icefloe("pki", "verify", "--cert", cert, "--cacert", ca).code == 0

    icefloe.ok("pki", "new-ca", "--key-type", key_type)
    icefloe.ok("pki", "sign-csr", "--csr", csr, "--cert", cert)
    ours = str(icefloe.directories.ca_certificate)
    icinga.must("pki", "verify", "--cacert", ours)
    icinga.must("pki", "verify", "--cert", str(cert), "--cacert", ours)


def test_we_sign_with_icinga2s_ca(
    icefloe: Command, icinga: RealIcinga, prepared_pki: PreparedPKI
) -> None:
    """A node set up by icinga2 is taken over: RSA, no key identifiers."""
    key, csr, cert = (icefloe.path(f"a.{end}") for end in ("key", "csr", "crt"))
    icinga.must(*("pki", "new-cert", "--cn", "a", "--key", str(key), "--csr", str(csr)))
    target = icefloe.directories.ca_dir
    target.mkdir()
    for name in ("ca.crt", "ca.key"):
        (target / name).write_bytes((prepared_pki.ca_dir / name).read_bytes())
    icefloe.ok("pki", "sign-csr", "--csr", csr, "--cert", cert)
    ca = str(target / "ca.crt")
    icinga.must("pki", "verify", "--cert", str(cert), "--cacert", ca)


@pytest.mark.parametrize("kind", ["master", "agent"])
def test_icinga2_starts_with_the_configuration_that_we_write(
    icefloe: Command, icinga: RealIcinga, kind: str
) -> None:
    words: tuple[object, ...] = ("--master", "--zone", "top", "--key-type", "rsa")
    if kind == "agent":
        words = ("--zone", "real", "--endpoint", "m1,10.0.0.1,5666")
    icefloe.bare(
        *("--config-dir", icinga.config_dir, "--data-dir", icinga.data_dir),
        *("node", "setup", "--cn", "real", "--listen", str(icinga.address), *words),
    )
    if kind == "agent":
        # Icinga wants a CA; it is copied by hand here.
        icefloe.ok("pki", "new-ca", "--key-type", "rsa")
        ca = icefloe.directories.ca_certificate.read_bytes()
        icinga.ca_path.write_bytes(ca)
    done = icinga.cli("daemon", "-C")
    assert done.returncode == 0, done.stdout


# --- Against a real master ------------------------------------------------------------


def request(icefloe: Command, master: RealIcinga, *more: object) -> Any:
    pin = icefloe.path("pin.crt")
    where = ("--host", master.host, "--port", master.port)
    icefloe.ok("pki", "save-cert", *where, "--trustedcert", pin)
    key, cert = icefloe.path("web1.key"), icefloe.path("web1.crt")
    if not key.exists():
        icefloe.ok("pki", "new-cert", "--cn", "web1", "--key", key, "--cert", cert)
    return icefloe(
        *("pki", "request", *where, "--key", key, "--cert", cert),
        *("--ca", icefloe.path("ca.crt"), "--trustedcert", pin, *more),
    )


def test_save_cert_prints_and_saves_the_same(
    icefloe: Command, master: RealIcinga, icinga: RealIcinga, tmp_path: Path
) -> None:
    where = ("pki", "save-cert", "--host", master.host, "--port", str(master.port))
    ours, theirs = tmp_path / "ours.crt", tmp_path / "theirs.crt"
    printed = icefloe.ok(*where, "--trustedcert", ours)
    expected = icinga.must(*where, "--trustedcert", str(theirs))
    assert load_pem(ours.read_bytes()) == load_pem(theirs.read_bytes())
    leaf = printed.partition("It is signed by this CA")[0]
    block, expected_block = parsed_block(leaf), parsed_block(expected)
    assert block.pop("Serial") == expected_block.pop("Serial").strip()
    assert block == expected_block


def test_a_real_master_signs_refuses_and_keeps_waiting(
    icefloe: Command, master: RealIcinga
) -> None:
    refused = request(icefloe, master, "--ticket", "wrong")
    assert refused.code == 1
    assert "Next: Get a ticket" in refused.err
    assert not icefloe.path("ca.crt").exists()

    pending = request(icefloe, master)
    assert pending.code == 0
    assert "PENDING" in pending.out
    (name,) = master.pending_of("web1")
    assert name in pending.out

    signed = request(icefloe, master, "--ticket", master.ticket_for("web1"))
    assert signed.code == 0
    ca, cert = icefloe.path("ca.crt"), icefloe.path("web1.crt")
    assert icefloe("pki", "verify", "--cert", cert, "--cacert", ca).code == 0
    assert "up" in request(icefloe, master).err


def test_node_setup_below_a_real_master_needs_one_command(
    icefloe: Command, master: RealIcinga
) -> None:
    pin = icefloe.path("pin.crt")
    icefloe.ok(
        *("pki", "save-cert", "--host", master.host, "--port", master.port),
        *("--trustedcert", pin),
    )
    ticket = icefloe.path("ticket-of-web1")
    ticket.write_text(master.ticket_for("web1"))
    out = icefloe.ok(
        *("node", "setup", "--cn", "web1", "--zone", "web1"),
        *("--endpoint", f"master1,{master.address}", "--parent_host", master.address),
        *("--trustedcert", pin, "--ticket-file", ticket),
    )
    assert "Writing signed certificate to file" in out
    assert icefloe("ca", "list").code == 0


def test_ca_list_shows_what_a_real_master_left(
    icefloe: Command, master: RealIcinga
) -> None:
    """The same table and the same JSON, from its own files."""
    request(icefloe, master)
    theirs = master.must("ca", "list")
    listed = master.must("ca", "list", "--json")
    where = ("--config-dir", master.config_dir, "--data-dir", master.data_dir)
    ours = icefloe.bare(*where, "ca", "list")
    assert ours.out == theirs
    found: Any = msgspec.json.decode(icefloe.bare(*where, "ca", "list", "--json").out)
    for entry in found.values():
        del entry["icefloe"]
    assert found == msgspec.json.decode(listed)
