"""Tickets, the salt and keys: where an attacker would look for them."""

from __future__ import annotations

import hmac
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.attacker import attack, cluster, nobody
from tests.cli.command import Command
from tests.cli.conftest import icefloe
from tests.enrollment.playbook import (
    DAY,
    Bench,
    asks,
    issued_certificate,
    only,
    relay,
    request_certificate,
    signed_result,
    signer,
    ticket_for,
)
from tests.node.cluster import SALT
from tests.node.tls.joined import in_loop
from tests.source_tree import ROOT

from icefloe.config.model import NodeConfiguration
from icefloe.config.printer import print_value
from icefloe.enrollment import commands as cmd
from icefloe.pki import tickets
from icefloe.pki.profiles import LEAF_LIFETIME
from icefloe.pki.tickets import ticket, ticket_matches

__all__ = ["icefloe"]


@in_loop
async def test_10960_no_ticket_and_no_salt_in_any_log_or_answer(tmp_path: Path) -> None:
    """2.15.6 #10960, #10987-#10989: tickets in logs; before, the *expected* ticket.

    And CVE-2021-32739, #7863: the salt, which makes every ticket. Levels do not count
    here: all events are looked at, those for debugging too.
    """
    async with cluster(tmp_path) as victims:
        good = ticket("agent-1", SALT)
        wrong = "5ec7e7" * 6 + "aaaa"
        odd = "an odd \N{SNOWMAN} ticket, 5ec7e7"
        heard = []
        for port in (victims.master.port, victims.satellite.port):
            for given in (wrong, odd, good):
                async with attack(port, nobody("agent-1")) as attacker:
                    heard.append(await attacker.ask(ticket=given))
        expected = {ticket(name, SALT) for name in ("agent-1", "m1", "s1")}
        said = repr(heard) + "".join(repr(node.logs.events) for node in victims.nodes)
        for secret in (*expected, wrong, "5ec7e7", SALT):
            assert secret not in said
        assert any(answer["status_code"] == 0 for answer in heard)
        assert any(answer["status_code"] == 1 for answer in heard)


@in_loop
async def test_a_used_ticket_is_in_no_ledger(tmp_path: Path) -> None:
    """Not fixed in Icinga: request files with the ticket inside, readable by all."""
    async with cluster(tmp_path) as victims:
        good = ticket("agent-1", SALT)
        async with attack(victims.satellite.port, nobody("agent-1")) as attacker:
            assert (await attacker.ask(ticket=good))["status_code"] == 0
        for node in victims.nodes:
            assert node.ledger.checkpoint()
            directory = node.directories.ledger.parent
            for path in directory.iterdir():
                if path.is_file():
                    assert good.encode() not in path.read_bytes()
                    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("kind", ["cve-2018-6535", "2.12.7-9333"])
def test_secrets_are_compared_in_constant_time(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2018-6535, and #9333: time told how many characters were right."""
    compared: list[tuple[Any, Any]] = []

    def compare(given: Any, expected: Any) -> bool:
        compared.append((given, expected))
        return hmac.compare_digest(given, expected)

    class Spy:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(tickets, "hmac", Spy)
    good = ticket("agent", SALT)
    assert ticket_matches(good, "agent", SALT)
    assert not ticket_matches("0" * 40, "agent", SALT)
    assert len(compared) == 2, kind


def test_cve_2021_32743_what_programs_are_told_holds_no_secret(
    icefloe: Command,
) -> None:
    """CVE-2021-32739, CVE-2021-32743: secrets readable where only state was meant."""
    icefloe.ok("node", "setup", "--master", "--cn", "m1")
    salt = re.search(
        r'TicketSalt = "(\w+)"', icefloe.path("etc/constants.conf").read_text()
    )
    assert salt is not None
    given = icefloe.ok("pki", "ticket", "--cn", "a").strip()
    for words in (
        ("ca", "list", "--all", "--json"),
        ("ledger", "status", "--json"),
        ("ledger", "status"),
        ("daemon", "-C"),
    ):
        done = icefloe(*words)
        assert salt[1] not in done.text
        assert given not in done.text


def test_cve_2026_24413_what_holds_secrets_is_readable_by_its_owner_only(
    icefloe: Command,
) -> None:
    """CVE-2026-24413 was Windows ACLs; the same question asked of modes here."""
    icefloe.ok("node", "setup", "--master", "--cn", "m1")
    copy = icefloe.path("copy")
    icefloe.ok("ledger", "copy", copy)
    secret = [
        icefloe.directories.node_key("m1"),
        icefloe.directories.ca_key,
        icefloe.directories.ledger,
        copy,
    ]
    for path in secret:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_configuration_shows_no_salt_in_its_repr() -> None:
    """CVE-2021-32739: a dump of an object is where secrets are found."""
    source = Path(NodeConfiguration.__module__.replace(".", "/"))
    text = (ROOT / "src" / source).with_suffix(".py").read_text(encoding="utf-8")
    salts = re.findall(r"ticket_salt: str.*", text)
    assert salts
    assert all("repr=False" in salt for salt in salts)


@pytest.mark.parametrize(
    "name",
    [
        'x"\nobject ApiUser "root" { password = "" }\n//',
        "x\\",
        "$(touch /tmp/x)",
        "{{{x}}}",
        "a\x00b",
    ],
)
def test_ghsa_jgqj_a_name_becomes_no_configuration(name: str) -> None:
    """GHSA-jgqj-x5j9-vgcm: names were written into configuration as they came."""
    text = print_value(name)
    assert text.startswith('"')
    assert text.endswith('"')
    inside = re.sub(r"\\(?:[0-7]{1,3}|.)", "", text[1:-1], flags=re.DOTALL)
    assert '"' not in inside
    assert "\n" not in inside


def test_ghsa_jgqj_a_command_takes_no_name_that_is_configuration(
    icefloe: Command,
) -> None:
    """GHSA-jgqj-x5j9-vgcm, as an operator's tool would be misled."""
    evil = 'm1" {} object ApiUser "evil'
    done = icefloe("node", "setup", "--master", "--cn", evil)
    for path in icefloe.path("etc").rglob("*.conf"):
        for line in path.read_text().splitlines():
            assert not line.lstrip().startswith('object ApiUser "evil"'), done.text


# -- certificates that live too long --------------------------------------------------------


def test_9337_no_certificate_lives_longer_than_397_days() -> None:
    """2.12.7 #9337: certificates for 15 years, whose thief had 15 years."""
    assert LEAF_LIFETIME <= 397 * DAY
    bench = signer()
    bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    record = bench.ledger.certificate(bench.request().request_id)
    assert record is not None
    from icefloe.pki.certificates import load_der

    certificate = load_der(record.certificate)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.total_seconds() <= 397 * DAY + 600


def test_a_ticket_is_forgotten_with_the_final_answer() -> None:
    """At a relay, too, which kept it to ask again."""
    bench = relay()
    bench.parent()
    ask = only(
        cmd.Ask, bench.ask(bench.stranger(request_certificate()), given=ticket_for())
    )
    assert [a.ticket for a in bench.attempts()] == [ticket_for()]
    bench.answer_ask(ask, signed_result(issued_certificate()))
    assert [a.ticket for a in bench.attempts()] == [""]
    assert ticket_for() not in repr(everything_said(bench))


def everything_said(bench: Bench) -> list[object]:
    return [c for c in bench.said if c not in asks(bench.said)]


# -- the machine it runs on --------------------------------------------------------------------


def test_cve_2025_61909_no_process_is_signalled_by_a_number_in_a_file() -> None:
    """CVE-2025-61909, CVE-2018-6533: root signalled the process id of a daemon's file.

    Icefloe signals nobody. What shows `kill` below starts the processes itself.
    """
    for package in ("cli", "node", "storage", "config"):
        for path in (ROOT / "src/icefloe" / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "os.kill" not in text, path
            assert "killpg" not in text, path
            assert "send_signal" not in text, path
