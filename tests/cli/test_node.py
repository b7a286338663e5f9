"""`icefloe node setup`, against a parent that does what it is told."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Any

import pytest
from tests.cli.command import Command
from tests.cli.setup_stage import place_for_everybody
from tests.cli.test_pki import BRIEFLY, closed_port, mode_of
from tests.node.fake_parent import FakeParent, cuts, fake_parent, pends, refuses, signs
from tests.node.tls.material import Authority, pem, self_signed

from icefloe.config.loading import load
from icefloe.config.model import NodeConfiguration
from icefloe.pki.certificates import is_self_signed, load_pem_all
from icefloe.storage.identity import load_identity, load_ticket

SECRET = "0123456789abcdef0123456789abcdef01234567"
AGENT = ("node", "setup", "--cn", "a1", "--zone", "a1", "--endpoint", "parent1")


def set_up(icefloe: Command, parent: FakeParent, *more: object) -> Any:
    pin = icefloe.path("pin.crt")
    pin.write_bytes(parent.pin)
    return icefloe(*AGENT, "--parent_host", parent.address, "--trustedcert", pin, *more)


def configuration(icefloe: Command) -> NodeConfiguration:
    directories = icefloe.directories
    return load(directories.config_dir, directories.data_dir)


def is_configured(icefloe: Command) -> bool:
    return icefloe.directories.zones_conf.exists()


# --- Agents and satellites ------------------------------------------------------------


def test_an_agent_is_signed_and_configured(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        done = set_up(icefloe, parent, "--ticket", SECRET, "--accept-config")
    assert done.code == 0
    identity = load_identity(icefloe.certs, "a1")
    assert not is_self_signed(identity.certificate)
    assert load_pem_all(identity.ca_pem or b"") == (parent.ca.certificate,)
    found = configuration(icefloe)
    assert found.node_name == "a1"
    assert found.zone_name == "a1"
    assert found.zones.parent_zone is not None
    assert found.listener.accept_config
    assert not found.listener.accept_commands
    assert not icefloe.directories.feature_enabled("notification").is_symlink()
    assert load_ticket(icefloe.certs) == ""
    assert parent.asked[0].ticket == SECRET
    assert SECRET not in done.text
    assert mode_of(icefloe.certs) == 0o700


def test_one_command_ends_signed_behind_a_parent_that_cuts_and_pends(
    icefloe: Command,
) -> None:
    with fake_parent(cuts, pends, signs) as parent:
        done = set_up(icefloe, parent)
    assert done.code == 0
    assert len({asked.presented for asked in parent.asked}) == 1
    assert "Writing signed certificate to file" in done.out


def test_a_pending_agent_is_configured_and_says_what_happens_next(
    icefloe: Command,
) -> None:
    with fake_parent(pends) as parent:
        done = set_up(icefloe, parent, "--ticket", SECRET, "--wait", "0")
    assert done.code == 0
    assert re.search("PENDING.* ca sign [0-9a-f]{64}", done.out)
    assert "daemon goes on asking" in done.out
    assert "check the ticket on the signer" in done.out
    assert configuration(icefloe).node_name == "a1"
    assert icefloe.directories.ticket.read_text() == SECRET
    assert mode_of(icefloe.directories.ticket) == 0o600
    assert load_identity(icefloe.certs, "a1").ca_pem
    assert SECRET not in done.text


def test_a_refused_agent_has_a_key_and_nothing_else(icefloe: Command) -> None:
    before = icefloe.files()
    refuse = partial(refuses, ca=True, hop="master1", reason="wrong-ticket")
    with fake_parent(refuse) as parent:
        done = set_up(icefloe, parent, "--ticket", SECRET)
    assert done.code == 1
    assert "Refused by master1, reason: wrong-ticket." in done.err
    assert "Next: " in done.err
    made = {"data/certs/a1.key", "data/certs/a1.crt", "pin.crt"}
    assert set(icefloe.files()) - set(before) == made
    assert all(icefloe.files()[name] == content for name, content in before.items())


def test_a_corrected_ticket_is_signed_with_the_same_key(icefloe: Command) -> None:
    with fake_parent(refuses, signs) as parent:
        assert set_up(icefloe, parent, "--ticket", "wrong").code == 1
        assert set_up(icefloe, parent, "--ticket", SECRET).code == 0
    first, second = (asked.presented for asked in parent.asked)
    assert first == second


def test_a_pending_agent_is_completed_by_the_same_command(icefloe: Command) -> None:
    with fake_parent(pends, signs) as parent:
        set_up(icefloe, parent, "--ticket", SECRET, "--wait", "0")
        done = set_up(icefloe, parent, "--ticket", SECRET)
    assert done.code == 0
    assert not icefloe.directories.ticket.exists()
    assert not is_self_signed(load_identity(icefloe.certs, "a1").certificate)


def test_a_node_with_a_valid_certificate_is_only_configured(icefloe: Command) -> None:
    with fake_parent(signs, partial(refuses, reason="nothing-to-do")) as parent:
        set_up(icefloe, parent)
        done = set_up(icefloe, parent, "--accept-commands", "--ticket", SECRET)
    assert done.code == 0
    assert configuration(icefloe).listener.accept_commands
    assert not icefloe.directories.ticket.exists()


def test_a_parent_that_only_cuts_leaves_a_daemon_that_can_go_on(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Icinga 2.14.4 without a ticket; it has the request, and showed its CA."""
    monkeypatch.setitem(BRIEFLY, "answer_deadline", 0.1)
    with fake_parent(cuts) as parent:
        done = set_up(icefloe, parent, "--wait", "0")
    assert done.code == 0
    assert "PENDING" in done.out
    assert is_configured(icefloe)
    assert load_identity(icefloe.certs, "a1").ca_pem == pem(parent.ca.certificate)


def test_a_parent_that_only_cuts_and_shows_no_ca_configures_nothing(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BRIEFLY, "answer_deadline", 0.1)
    with fake_parent(cuts, sends_ca=False) as parent:
        done = set_up(icefloe, parent, "--wait", "0")
    assert done.code == 1
    assert "No answer from" in done.err
    assert not is_configured(icefloe)


def test_a_parent_without_a_ca_of_its_own_is_told(icefloe: Command) -> None:
    with fake_parent(partial(pends, ca=False), node=self_signed("parent1")) as parent:
        done = set_up(icefloe, parent, "--wait", "0")
    assert done.code == 0
    assert "No CA certificate has come yet" in done.err


def test_nobody_to_ask_configures_nothing(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BRIEFLY, "answer_deadline", 0.1)
    pin = icefloe.path("pin.crt")
    pin.write_bytes(pem(self_signed("parent1").certificate))
    where = f"127.0.0.1,{closed_port()}"
    done = icefloe(*AGENT, "--parent_host", where, "--trustedcert", pin, "--wait", "0")
    assert done.code == 1
    assert "Cannot reach" in done.err
    assert not is_configured(icefloe)


def test_the_second_parent_signs_when_the_first_is_down(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        pin = icefloe.path("pin.crt")
        pin.write_bytes(parent.pin)
        done = icefloe(
            *AGENT,
            *("--parent_host", f"127.0.0.1,{closed_port()}"),
            *("--parent_host", parent.address, "--trustedcert", pin),
        )
    assert done.code == 0
    assert "unreachable" in done.out


def test_without_a_parent_to_ask_it_says_what_to_copy(icefloe: Command) -> None:
    done = icefloe(*AGENT, "--ticket", SECRET)
    assert done.code == 0
    assert str(icefloe.directories.trusted_ca) in done.out
    assert configuration(icefloe).node_name == "a1"
    assert load_ticket(icefloe.certs) == SECRET


def test_a_copied_ca_and_the_parents_name_make_a_pin_unnecessary(
    icefloe: Command,
) -> None:
    with fake_parent(signs) as parent:
        icefloe.certs.mkdir()
        icefloe.directories.trusted_ca.write_bytes(pem(parent.ca.certificate))
        done = icefloe(*AGENT, "--parent_host", parent.address)
    assert done.code == 0
    with fake_parent(signs, ca=parent.ca, name="agent7") as other:
        done = icefloe(*AGENT, "--parent_host", other.address)
    assert done.code == 1
    assert "agent7" in done.err
    assert other.asked == []


NOTHING_TOUCHED = {
    "no endpoint": ("--zone", "a1"),
    "no zone": ("--endpoint", "parent1"),
    "no trusted certificate": (*AGENT[2:], "--parent_host", "127.0.0.1,1"),
    "bad endpoint": ("--zone", "a1", "--endpoint", "a,b,c,d"),
    "bad endpoint port": ("--zone", "a1", "--endpoint", "a,b,x"),
    "bad parent": (*AGENT[2:], "--parent_host", "x,99999"),
    "bad listen": (*AGENT[2:], "--listen", "x,y"),
    "default global zone": (*AGENT[2:], "--global_zones", "global-templates"),
    "global zone twice": (*AGENT[2:], "--global_zones", "g", "--global_zones", "g"),
    "zone is its own parent": (*AGENT[2:], "--parent_zone", "a1"),
    "bad name": ("--cn", "a,b", *AGENT[4:]),
}


@pytest.mark.parametrize("words", NOTHING_TOUCHED.values(), ids=NOTHING_TOUCHED)
def test_what_cannot_work_is_refused_before_anything_is_touched(
    icefloe: Command, words: tuple[str, ...]
) -> None:
    before = icefloe.files()
    done = icefloe("node", "setup", *words)
    assert done.code == 1
    assert done.err.startswith("critical/cli: ")
    assert icefloe.files() == before


def test_a_ca_as_trusted_certificate_is_refused(icefloe: Command) -> None:
    pin = icefloe.path("pin.crt")
    pin.write_bytes(pem(Authority().certificate))
    before = icefloe.files()
    done = icefloe(*AGENT, "--parent_host", "127.0.0.1", "--trustedcert", pin)
    assert done.code == 1
    assert "of a CA, not of a parent" in done.err
    assert icefloe.files() == before


def test_deprecated_options_still_work(icefloe: Command) -> None:
    """protocol: Salt's module and old documentation use them."""
    with fake_parent(signs) as parent:
        pin = icefloe.path("pin.crt")
        pin.write_bytes(parent.pin)
        done = icefloe(
            *AGENT,
            *("--master_host", parent.address, "--master_zone", "x"),
            *("--trustedcert", pin),
        )
    assert done.code == 0
    assert len(parent.asked) == 1


def test_files_are_as_icinga_writes_them(icefloe: Command) -> None:
    icefloe.ok(
        *AGENT,
        *("--endpoint", "parent2,10.0.0.2,5666", "--parent_zone", "dmz"),
        *("--listen", "10.0.0.9,5667", "--global_zones", "g1", "--disable-confd"),
        *("--icefloe-endpoint", "parent2", "--no-default-global-zones"),
    )
    found = configuration(icefloe)
    assert found.listener.bind_host == "10.0.0.9"
    assert found.listener.bind_port == 5667
    assert found.icefloe_endpoints == {"parent2"}
    zones = icefloe.directories.zones_conf.read_text()
    assert 'host = "10.0.0.2"' in zones
    assert '"g1"' in zones
    assert "director-global" not in zones
    assert "\ninclude_recursive" not in icefloe.directories.icinga2_conf.read_text()
    originals = {path.name for path in icefloe.root.rglob("*.orig")}
    assert originals == {"constants.conf.orig", "api.conf.orig", "icinga2.conf.orig"}


def test_the_outcome_as_json_stands_alone(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        pin = icefloe.path("pin.crt")
        pin.write_bytes(parent.pin)
        outcome = icefloe.json(
            *AGENT, "--parent_host", parent.address, "--trustedcert", pin
        )
    assert isinstance(outcome, dict)
    assert outcome["outcome"] == "signed"


# --- Masters --------------------------------------------------------------------------

MASTER = ("node", "setup", "--master", "--cn", "m1")


def test_a_master_gets_a_ca_a_certificate_and_a_salt(icefloe: Command) -> None:
    out = icefloe.ok(*MASTER, "--listen", "127.0.0.1,5668")
    directories = icefloe.directories
    assert "P-256" in out
    assert "--key-type rsa" in out
    ca = directories.ca_certificate
    own = directories.node_certificate("m1")
    assert icefloe("pki", "verify", "--cert", own, "--cacert", ca).code == 0
    assert directories.trusted_ca.read_bytes() == ca.read_bytes()
    assert directories.node_csr("m1").exists()
    found = configuration(icefloe)
    assert found.zone_name == "master"
    assert found.zones.parent_zone is None
    assert re.fullmatch("[0-9a-f]{32}", found.ticket_salt)
    assert found.ticket_salt not in out
    users = directories.api_users_conf.read_text()
    password = re.search('password = "([0-9a-f]{16})"', users)
    assert password is not None
    assert password[1] not in out
    assert mode_of(directories.api_users_conf) == 0o640
    assert mode_of(directories.constants_conf) == 0o640


def test_a_second_run_keeps_ca_certificate_salt_and_password(icefloe: Command) -> None:
    """protocol: Icinga makes a new salt, which voids every ticket given out."""
    icefloe.ok(*MASTER)
    before = icefloe.files()
    out = icefloe.ok(*MASTER, "--accept-config")
    after = icefloe.files()
    stay = {"etc/constants.conf", "etc/conf.d/api-users.conf"} | {
        name for name in before if name.startswith(("data/ca/", "data/certs/"))
    }
    assert len(stay) == 8
    assert {name: after[name] for name in stay} == {name: before[name] for name in stay}
    assert configuration(icefloe).listener.accept_config
    assert "P-256" not in out


def test_an_interrupted_set_up_is_completed(icefloe: Command) -> None:
    icefloe.ok("pki", "new-ca")
    icefloe.ok(*MASTER)
    assert load_identity(icefloe.certs, "m1").ca_pem


def test_a_ca_that_is_there_is_used(icefloe: Command) -> None:
    icefloe.ok("pki", "new-ca")
    ca = icefloe.directories.ca_certificate.read_bytes()
    out = icefloe.ok(*MASTER)
    assert icefloe.directories.ca_certificate.read_bytes() == ca
    assert "Using the CA" in out


def test_options_of_an_agent_are_ignored_with_a_warning(icefloe: Command) -> None:
    done = icefloe(*MASTER, "--ticket", SECRET, "--endpoint", "x", "--trustedcert", "y")
    assert done.code == 0
    assert done.err.count("ignored") == 3
    assert SECRET not in done.text
    assert not icefloe.directories.ticket.exists()


def test_a_second_master_with_a_certificate_gets_no_ca(icefloe: Command) -> None:
    """Two CAs of one name would split the cluster."""
    with fake_parent(signs, name="m1") as parent:
        pin = icefloe.path("pin.crt")
        pin.write_bytes(parent.pin)
        icefloe.ok(
            *("node", "setup", "--cn", "m2", "--zone", "m2", "--endpoint", "m1"),
            *("--parent_host", parent.address, "--trustedcert", pin),
        )
    before = icefloe.directories.node_certificate("m2").read_bytes()
    done = icefloe("node", "setup", "--master", "--cn", "m2")
    assert done.code == 0
    assert "no new CA is made" in done.err
    assert not icefloe.directories.ca_dir.exists()
    assert icefloe.directories.node_certificate("m2").read_bytes() == before


def test_a_node_with_only_somebody_elses_ca_is_not_made_a_master(
    icefloe: Command,
) -> None:
    icefloe.certs.mkdir()
    icefloe.directories.trusted_ca.write_bytes(pem(Authority().certificate))
    before = icefloe.files()
    done = icefloe(*MASTER)
    assert done.code == 1
    assert "move this file away" in done.err
    assert icefloe.files() == before


def test_the_machines_name_is_the_default(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "icefloe.cli.node_setup.fully_qualified_name", lambda: "host.example.org"
    )
    icefloe.ok("node", "setup", "--master", "--zone", "top")
    found = configuration(icefloe)
    assert (found.node_name, found.zone_name) == ("host.example.org", "top")


# --- api setup ------------------------------------------------------------------------


def test_api_setup_takes_no_canarys_name(icefloe: Command) -> None:
    before = icefloe.files()
    done = icefloe("api", "setup", "--cn", "icefloe-canary-m1")
    assert done.code == 1
    assert "are canaries'" in done.err
    assert icefloe.files() == before


def test_api_setup_leaves_zones_and_salt_alone(icefloe: Command) -> None:
    icefloe.directories.zones_conf.write_text('object Zone "mine" { }\n')
    out = icefloe.ok("api", "setup", "--cn", "m1")
    directories = icefloe.directories
    assert "P-256" in out
    constants = directories.constants_conf.read_text()
    assert 'const NodeName = "m1"' in constants
    assert 'const ZoneName = "m1"' in constants
    assert 'const TicketSalt = ""' in constants
    assert directories.zones_conf.read_text() == 'object Zone "mine" { }\n'
    assert directories.feature_enabled("api").is_symlink()
    assert directories.api_users_conf.exists()
    own, ca = directories.node_certificate("m1"), directories.trusted_ca
    assert icefloe("pki", "verify", "--cert", own, "--cacert", ca).code == 0


def test_api_setup_takes_the_name_of_the_configuration(icefloe: Command) -> None:
    icefloe.directories.constants_conf.write_text('const NodeName = "m9"\n')
    icefloe.ok("api", "setup")
    assert icefloe.directories.node_key("m9").exists()


def test_api_setup_writes_what_is_not_there(icefloe: Command) -> None:
    directories = icefloe.directories
    for path in (directories.constants_conf, directories.feature_available("api")):
        path.unlink()
    icefloe.ok("api", "setup", "--cn", "m1")
    assert "ApiListener" in directories.feature_enabled("api").read_text()


def test_files_belong_to_the_owner_of_the_data_directory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with place_for_everybody() as place:
        see_that_files_belong_to_the_owner(Command(place, capsys))


def see_that_files_belong_to_the_owner(icefloe: Command) -> None:
    os.chown(icefloe.directories.data_dir, 12345, 54321)
    icefloe.ok(*MASTER)
    directories = icefloe.directories
    for path in (
        directories.ca_key,
        directories.node_key("m1"),
        directories.trusted_ca,
        directories.ledger,
        directories.own_dir,
        directories.certs,
        directories.constants_conf,
        directories.feature_enabled("api"),
    ):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (12345, 54321), path
