"""`icefloe node setup` run again: nothing to do, a changed wish, another key."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from tests.cli.command import Command
from tests.cli.setup_stage import (
    AGENT,
    SECRET,
    configuration,
    facts,
    set_up,
    signs_for_a_year,
    touched,
    words_for,
)
from tests.node.fake_parent import fake_parent, pends, refuses, signs
from tests.node.tls.material import Authority, pem

from icefloe.doors import WallTime
from icefloe.pki.certificates import is_self_signed, key_id
from icefloe.storage.backups import list_backups
from icefloe.storage.identity import load_identity
from icefloe.storage.switching import IdentityJournal

MASTER = ("node", "setup", "--master", "--cn", "m1")


def own_key(icefloe: Command) -> str:
    return load_identity(icefloe.certs, "a1").key_id


# --- Nothing to do --------------------------------------------------------------------


def test_a_healthy_agent_is_not_touched_and_nobody_is_asked(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        assert set_up(icefloe, parent, "--ticket", SECRET).code == 0
        before = touched(icefloe)
        done = set_up(icefloe, parent, "--ticket", SECRET)
    assert done.code == 0
    assert "Nothing to do" in done.out
    assert touched(icefloe) == before
    assert len(parent.asked) == 1


def test_nothing_to_do_is_said_in_json(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        first = facts(set_up(icefloe, parent, "--json"))
        second = facts(set_up(icefloe, parent, "--json"))
        journal = IdentityJournal.of_node(icefloe.directories, owner=None)
        assert journal.confirm(WallTime(time.time()))
        third = facts(set_up(icefloe, parent, "--json"))
    assert third == {**second, "state": "healthy"}
    assert (first["ok"], first["changed"], first["code"]) == (True, True, "signed")
    assert (second["ok"], second["changed"]) == (True, False)
    # No daemon has connected with it yet.
    assert (second["code"], second["state"]) == ("nothing-to-do", "unconfirmed")
    assert second["certificate"] == first["certificate"]
    assert second["files"] == []
    assert second["backup"] is None


def test_verify_asks_the_parent_of_a_healthy_agent(icefloe: Command) -> None:
    done_before = partial(refuses, reason="nothing-to-do")
    with fake_parent(signs_for_a_year, done_before) as parent:
        set_up(icefloe, parent)
        before = touched(icefloe)
        done = set_up(icefloe, parent, "--verify")
    assert done.code == 0
    assert len(parent.asked) == 2
    assert "Nothing to do" in done.out
    assert touched(icefloe) == before


def test_a_master_that_is_set_up_is_not_touched(icefloe: Command) -> None:
    first = facts(icefloe(*MASTER, "--json"))
    before = touched(icefloe)
    second = facts(icefloe(*MASTER, "--json"))
    assert (first["ok"], first["changed"], first["new_ca"]) == (True, True, True)
    assert (second["ok"], second["changed"], second["new_ca"]) == (True, False, False)
    assert second["state"] == "signer"
    assert touched(icefloe) == before
    assert "Nothing to do" in icefloe.ok(*MASTER)


def test_an_agent_that_nobody_was_asked_for_is_not_touched_again(
    icefloe: Command,
) -> None:
    first = facts(icefloe(*AGENT, "--ticket", SECRET, "--json"))
    before = touched(icefloe)
    second = facts(icefloe(*AGENT, "--ticket", SECRET, "--json"))
    assert (first["changed"], second["changed"]) == (True, False)
    assert second["state"] == "no-certificate"
    assert touched(icefloe) == before


def test_a_changed_wish_changes_that_file_alone_and_asks_nobody(
    icefloe: Command,
) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        before = icefloe.files()
        done = facts(set_up(icefloe, parent, "--accept-commands", "--json"))
    assert len(parent.asked) == 1
    # The second is the link to the first.
    api = {"etc/features-available/api.conf", "etc/features-enabled/api.conf"}
    after = icefloe.files()
    own = {name for name in after if not name.startswith("data/icefloe/")}
    assert {name for name in own if after[name] != before.get(name)} == api
    assert [each["change"] for each in done["files"]] == ["changed"]
    assert configuration(icefloe).listener.accept_commands


def test_what_is_replaced_is_kept_as_a_backup_that_can_be_restored(
    icefloe: Command,
) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        before = icefloe.files()
        done = facts(set_up(icefloe, parent, "--accept-commands", "--json"))
    assert done["backup"] in {each.name for each in list_backups(icefloe.directories)}
    icefloe.ok("node", "restore", done["backup"])
    after = icefloe.files()
    api = "etc/features-available/api.conf"
    assert after[api] == before[api]
    assert not configuration(icefloe).listener.accept_commands


def test_the_command_says_how_to_go_back(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        out = set_up(icefloe, parent, "--accept-commands").out
    (name,) = {each.name for each in list_backups(icefloe.directories)[-1:]}
    assert f"icefloe node restore {name}" in out


# --- The dry run ----------------------------------------------------------------------


def test_a_dry_run_changes_nothing_and_shows_a_diff(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        words = words_for(icefloe, parent, "--ticket", SECRET, "--dry-run")
        before = touched(icefloe)
        done = icefloe(*words)
    assert done.code == 0
    assert touched(icefloe) == before
    assert parent.asked == []
    assert '+const NodeName = "a1"' in done.out
    assert "+++ " in done.out
    assert "Identity: made: there is no key of 'a1' yet" in done.out
    assert "ok    trust:" in done.out
    assert "nothing was changed" in done.out
    assert SECRET not in done.text


def test_a_dry_run_of_a_healthy_agent_says_nothing_to_do(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        done = set_up(icefloe, parent, "--dry-run")
        as_json = facts(set_up(icefloe, parent, "--dry-run", "--json"))
    assert done.code == 0
    assert "Nothing to do" in done.out
    assert as_json["changed"] is False
    assert as_json["diff"] == ""


def test_a_dry_run_says_in_json_what_would_change(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        done = facts(set_up(icefloe, parent, "--dry-run", "--json", "--accept-config"))
    assert (done["ok"], done["changed"], done["dry_run"]) == (True, True, True)
    assert done["identity"] == "kept"
    assert "+\taccept_config = true" in done["diff"]
    assert {check["name"] for check in done["checks"]} >= {"files", "identity"}


def test_a_dry_run_that_would_fail_says_so(icefloe: Command) -> None:
    with (
        fake_parent(signs) as parent,
        fake_parent(signs, name="parent1") as impostor,
    ):
        pin = icefloe.path("pin.crt")
        pin.write_bytes(parent.pin)
        words = (*AGENT, "--parent_host", impostor.address, "--trustedcert", pin)
        done = icefloe(*words, "--dry-run", "--json")
    assert done.code == 1
    found = facts(done)
    assert (found["ok"], found["code"]) == (False, "trust-mismatch")


def test_no_secret_of_a_master_is_in_a_dry_run(icefloe: Command) -> None:
    done = icefloe(*MASTER, "--dry-run", "--disable-confd")
    assert done.code == 0
    assert "a new CA signs a certificate for a new key of 'm1'" in done.out
    assert 'ApiUser "root"' in done.out
    assert "password =" in done.out
    out = icefloe.ok(*MASTER)
    users = icefloe.directories.api_users_conf.read_text()
    password = users.split('password = "')[1].split('"')[0]
    salt = configuration(icefloe).ticket_salt
    again = icefloe(*MASTER, "--dry-run", "--accept-config", "--listen", "::1").text
    for secret in (password, salt):
        assert secret not in done.text + out + again


# --- Another key ----------------------------------------------------------------------


def test_a_rotated_key_is_in_place_when_it_is_signed(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        old = own_key(icefloe)
        done = facts(set_up(icefloe, parent, "--rotate-key", "--json"))
    assert (done["ok"], done["changed"], done["code"]) == (True, True, "signed")
    new = load_identity(icefloe.certs, "a1")
    assert new.key_id != old
    assert not is_self_signed(new.certificate)
    assert done["certificate"]["key_id"] == new.key_id
    assert not (icefloe.certs / ".rotation").exists()
    assert [key_id(asked.presented) for asked in parent.asked] == [old, new.key_id]


def test_a_pending_rotation_leaves_the_old_identity_and_is_taken_up_again(
    icefloe: Command,
) -> None:
    with fake_parent(signs_for_a_year, pends, signs_for_a_year) as parent:
        set_up(icefloe, parent)
        before = {
            name: content
            for name, content in icefloe.files().items()
            if name.startswith("data/certs/a1.")
        }
        pending = set_up(icefloe, parent, "--rotate-key", "--wait", "0")
        assert pending.code == 0
        assert "PENDING" in pending.out
        assert "The present key and certificate stay in place" in pending.out
        now = icefloe.files()
        assert {name: now[name] for name in before} == before
        # Without --rotate-key: what was begun is finished, and not begun anew.
        done = set_up(icefloe, parent)
    assert done.code == 0
    first, second, third = (key_id(asked.presented) for asked in parent.asked)
    assert second == third != first
    assert own_key(icefloe) == second


def test_a_refused_rotation_leaves_the_old_identity(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year, refuses) as parent:
        set_up(icefloe, parent)
        old = load_identity(icefloe.certs, "a1")
        done = set_up(icefloe, parent, "--rotate-key", "--ticket", SECRET)
    assert done.code == 1
    assert "is untouched" in done.err
    assert load_identity(icefloe.certs, "a1") == old
    assert not icefloe.directories.ticket.exists()


def test_a_rotation_needs_somebody_to_sign(icefloe: Command) -> None:
    icefloe.ok(*AGENT)
    before = icefloe.files()
    done = icefloe(*AGENT, "--rotate-key")
    assert done.code == 1
    assert "--parent_host" in done.err
    assert icefloe.files() == before


def test_a_master_rotates_its_own_key_and_keeps_the_ca(icefloe: Command) -> None:
    icefloe.ok(*MASTER)
    ca = icefloe.directories.ca_key.read_bytes()
    old = load_identity(icefloe.certs, "m1").key_id
    planned = facts(icefloe(*MASTER, "--rotate-key", "--dry-run", "--json"))
    done = facts(icefloe(*MASTER, "--rotate-key", "--json"))
    assert (planned["identity"], planned["changed"]) == ("rotated", True)
    assert (done["ok"], done["changed"], done["new_ca"]) == (True, True, False)
    assert load_identity(icefloe.certs, "m1").key_id not in {old, None}
    assert icefloe.directories.ca_key.read_bytes() == ca
    own = icefloe.directories.node_certificate("m1")
    verified = icefloe(
        "pki", "verify", "--cert", own, "--cacert", icefloe.certs / "ca.crt"
    )
    assert verified.code == 0
    assert not (icefloe.certs / ".rotation").exists()
    assert "Nothing to do" in icefloe.ok(*MASTER)


# --- The CA's certificate -------------------------------------------------------------


def test_a_given_ca_is_put_in_place_and_makes_a_pin_unnecessary(
    icefloe: Command,
) -> None:
    with fake_parent(signs_for_a_year) as parent:
        ca = icefloe.path("given.crt")
        ca.write_bytes(pem(parent.ca.certificate))
        words: tuple[Any, ...] = (*AGENT, "--parent_host", parent.address)
        done = icefloe(*words, "--cacert", ca)
        again = icefloe(*words, "--cacert", ca)
    assert done.code == 0
    assert icefloe.directories.trusted_ca.read_bytes() == ca.read_bytes()
    assert "Nothing to do" in again.out


def test_who_gave_the_ca_is_not_told_to_copy_it(icefloe: Command) -> None:
    """The parent connects to this node, so nobody is asked now."""
    without = icefloe(*AGENT)
    assert f"Copy the CA's certificate to '{icefloe.directories.trusted_ca}'" in (
        without.out
    )
    ca = icefloe.path("given.crt")
    ca.write_bytes(pem(Authority().certificate))
    done = icefloe(*AGENT, "--cacert", ca)
    assert done.code == 0
    assert "Nobody was asked for a certificate. Start the daemon" in done.out
    assert "Copy the CA's certificate" not in done.out


def test_another_ca_than_the_trusted_one_is_refused(icefloe: Command) -> None:
    with fake_parent(signs_for_a_year) as parent:
        set_up(icefloe, parent)
        before = icefloe.files()
        other = icefloe.path("other.crt")
        other.write_bytes(pem(Authority().certificate))
        done = set_up(icefloe, parent, "--cacert", other)
    assert done.code == 1
    assert "another CA" in done.err
    after = icefloe.files()
    assert {name: after[name] for name in before} == before
