"""`icefloe enrollment`: how this node stands, what a name waits for, the catalogue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.cli.command import Command, Done
from tests.cli.provoking import CN, HERE, SECRET, WRONG, RealNode, Stage, switched
from tests.node.cluster import SALT
from tests.node.tls.material import key_pem, self_signed

from icefloe.doors import WallTime
from icefloe.enrollment.own_status import OwnStatus
from icefloe.enrollment.problems import PROBLEMS, Code, codes
from icefloe.node.gateway.home import GatewayHome
from icefloe.pki.certificates import fingerprint, load_pem
from icefloe.pki.tickets import ticket

WIDTH = 80
HOUR = 3600.0


@pytest.fixture
def stage(icefloe: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Return where nodes are brought into their states."""
    found = Stage(icefloe, monkeypatch)
    with found.undo:
        yield found


def fits(text: str) -> bool:
    """Say whether nothing is wider than a screen, and no blanks are left behind."""
    lines = text.splitlines()
    return all(len(line) <= WIDTH and line == line.rstrip() for line in lines)


def ends_of(stage: Stage) -> WallTime:
    certificate = load_pem((stage.icefloe.certs / f"{HERE}.crt").read_bytes())
    return WallTime(certificate.not_valid_after_utc.timestamp())


# --- status ---------------------------------------------------------------------------


def test_a_healthy_node_with_its_daemon_has_nothing_to_do(stage: Stage) -> None:
    stage.own_identity()
    stage.daemon_runs()
    done = stage.icefloe("enrollment", "status")
    assert done.code == 0
    assert "healthy" in done.out
    assert "Nothing is to be done." in done.out
    assert "(in 29" in done.out, "days to the end"
    assert fits(done.out)


def test_what_the_daemon_said_is_told_with_the_next_attempt(stage: Stage) -> None:
    stage.own_identity(signed=False)
    stage.daemon_runs()
    now = time.time()
    stage.daemon_said(
        OwnStatus(
            state="pending",
            since=WallTime(now - HOUR),
            parent="sat1",
            next_attempt=WallTime(now + 1000),
            code="awaiting-approval",
            detail="It awaits approval on master1.",
        )
    )
    done = stage.icefloe("enrollment", "status")
    assert done.code == 2
    assert "pending since" in done.out
    assert "sat1" in done.out
    assert "(in 16 minutes)" in done.out
    assert "awaiting-approval: Awaiting approval" in done.out
    assert "It awaits approval on master1." in done.out
    assert fits(done.out)


def test_who_waits_for_another_try_goes_on_by_itself(stage: Stage) -> None:
    stage.own_identity(signed=False)
    stage.daemon_runs()
    since = WallTime(time.time())
    stage.daemon_said(
        OwnStatus(state="unreachable", since=since, code=Code.UNREACHABLE)
    )
    done = stage.icefloe("enrollment", "status", "--json")
    assert done.code == 3
    facts = msgspec.json.decode(done.out)
    assert (facts["state"], facts["answer"]) == ("unreachable", "waits")
    assert facts["since"] == since


def test_a_daemon_that_ended_makes_no_attempt(stage: Stage) -> None:
    stage.own_identity(signed=False)
    now = time.time()
    stage.daemon_said(
        OwnStatus(
            state="pending",
            since=WallTime(now - HOUR),
            next_attempt=WallTime(now + HOUR),
            code=Code.PENDING,
        )
    )
    done = stage.icefloe("enrollment", "status", "--json")
    facts = msgspec.json.decode(done.out)
    assert (done.code, facts["code"]) == (2, Code.DAEMON_NOT_RUNNING)
    assert facts["next_attempt"] is None
    assert facts["state"] == "pending"


def test_a_certificate_that_a_command_put_in_place_counts_more_than_old_words(
    stage: Stage,
) -> None:
    stage.own_identity(signed=False)
    stage.daemon_said(
        OwnStatus(state="pending", since=WallTime(0.0), code="awaiting-approval")
    )
    stage.own_identity()
    stage.daemon_runs()
    done = stage.icefloe("enrollment", "status", "--json")
    assert done.code == 0
    assert msgspec.json.decode(done.out)["state"] == "healthy"


def test_a_renewal_that_goes_as_it_should_is_no_problem(stage: Stage) -> None:
    stage.own_identity()
    stage.daemon_runs()
    stage.daemon_said(
        OwnStatus(
            state="due",
            since=WallTime(time.time()),
            certificate_ends=ends_of(stage),
            renew_at=WallTime(time.time() - 60),
        )
    )
    done = stage.icefloe("enrollment", "status", "--json")
    assert done.code == 0
    facts = msgspec.json.decode(done.out)
    assert (facts["state"], facts["code"]) == ("due", None)


def test_a_key_without_its_certificate_is_broken_and_not_new(stage: Stage) -> None:
    stage.own_identity()
    (stage.icefloe.certs / f"{HERE}.crt").unlink()
    done = stage.icefloe("enrollment", "status", "--json")
    assert done.code == 2
    assert msgspec.json.decode(done.out)["code"] == Code.IDENTITY_BROKEN


def test_what_cannot_be_read_is_not_judged(stage: Stage) -> None:
    stage.own_identity()
    key = stage.icefloe.certs / f"{HERE}.key"
    key.unlink()
    key.mkdir()
    done = stage.icefloe("enrollment", "status", "--json")
    assert done.code == 1
    facts = msgspec.json.decode(done.out)
    assert (facts["state"], facts["code"]) == ("unknown", Code.FILE_TROUBLE)


def test_a_switch_that_was_interrupted_is_no_broken_identity(stage: Stage) -> None:
    """The new certificate is there and its key is not, yet: the daemon finishes it."""
    switched(stage)
    journal = stage.icefloe.directories.identity_journal / "switch.json"
    record = msgspec.json.decode(journal.read_bytes())
    journal.write_bytes(msgspec.json.encode({**record, "state": "switching"}))
    other = self_signed(HERE)
    (stage.icefloe.certs / f"{HERE}.key").write_bytes(key_pem(other.key))
    before = stage.icefloe.files()
    done = stage.icefloe("enrollment", "status", "--json")
    facts = msgspec.json.decode(done.out)
    assert (done.code, facts["state"]) == (2, "unconfirmed")
    assert facts["code"] == Code.DAEMON_NOT_RUNNING
    assert "not finished" in facts["detail"]
    assert stage.icefloe.files() == before


def test_a_signer_says_that_it_is_one(icefloe: Command) -> None:
    icefloe.ok("node", "setup", "--master", "--cn", "m1", "--disable-confd")
    done = icefloe("enrollment", "status", "--json")
    facts = msgspec.json.decode(done.out)
    assert (facts["node"], facts["state"]) == ("m1", "signer")
    assert facts["code"] == Code.DAEMON_NOT_RUNNING


def test_status_changes_no_file(stage: Stage) -> None:
    stage.own_identity()
    before = stage.icefloe.files()
    stage.icefloe("enrollment", "status")
    assert stage.icefloe.files() == before


def test_colors_are_switched_on_and_off(stage: Stage) -> None:
    stage.own_identity()
    assert "\x1b[" in stage.icefloe("enrollment", "status", "--color").out
    assert "\x1b[" not in stage.icefloe("enrollment", "status", "--no-color").out
    assert "\x1b[" not in stage.icefloe("enrollment", "status").out


# --- explain --------------------------------------------------------------------------


def explained(node: RealNode, cn: str = CN) -> tuple[Done, dict[str, Any]]:
    words = node.run("enrollment", "explain", cn)
    facts = node.run("enrollment", "explain", cn, "--json")
    assert fits(words.out), words.out
    assert SECRET not in words.text + facts.text
    return words, msgspec.json.decode(facts.out)


def test_a_signer_explains_what_awaits_approval_and_which_command_gives_it(
    stage: Stage,
) -> None:
    node, own = stage.signer(), stage.newcomer()
    stage.request(node.port, pin=stage.pin(node.certificate_pem), own=own)
    done, facts = explained(node)
    name = fingerprint(load_pem(own[1].read_bytes()))
    assert done.code == 0
    assert "awaiting-approval at m1" in done.out
    assert f"on m1: icefloe ca sign {name[:16]}" in done.out
    assert "asked here itself, from 127.0.0.1" in done.out
    assert "with no ticket" in done.out
    (request,) = facts["requests"]
    assert request["fingerprint"] == name
    assert request["commands"][-1] == {
        "node": "m1",
        "command": f"icefloe ca sign {name[:16]}",
    }
    assert [hop["did"] for hop in request["hops"]] == ["received", "pending"]
    # And it is the command that helps.
    assert node.run("ca", "sign", name[:16]).code == 0
    done, facts = explained(node)
    assert facts["requests"][0]["code"] == Code.SIGNED
    assert "approval, by" in done.out


def test_a_signer_explains_a_refusal_with_what_it_said(stage: Stage) -> None:
    node = stage.signer()
    pin = stage.pin(node.certificate_pem)
    stage.request(node.port, "--ticket", WRONG, pin=pin)
    done, facts = explained(node)
    assert "with a ticket: refused by m1, wrong-ticket" in " ".join(done.out.split())
    assert f"on m1: icefloe pki ticket --cn {CN}" in done.out
    (request,) = facts["requests"]
    assert request["code"] == "wrong-ticket"
    assert request["attempts"][0]["said"]["reason"] == "wrong-ticket"
    assert WRONG not in msgspec.json.encode(facts).decode()


def test_a_signer_explains_a_reserved_name(stage: Stage) -> None:
    node = stage.signer()
    pin, given = stage.pin(node.certificate_pem), ticket("m2", SALT)
    for number in range(2):
        ca = stage.root / f"{number}.ca"
        own = stage.newcomer("m2")
        stage.request(node.port, "--ticket", given, pin=pin, own=own, ca=ca)
    done, facts = explained(node, "m2")
    assert [each["code"] for each in facts["requests"]] == ["signed", "reserved-name"]
    assert "icefloe ca sign --reserved " in done.out


def test_a_declined_request_is_explained_with_the_way_back(stage: Stage) -> None:
    node, own = stage.signer(), stage.newcomer()
    pin = stage.pin(node.certificate_pem)
    stage.request(node.port, pin=pin, own=own)
    name = fingerprint(load_pem(own[1].read_bytes()))
    assert node.run("ca", "remove", name).code == 0
    done, _ = explained(node)
    assert "declined at m1" in done.out
    assert f"icefloe ca restore {name[:16]}" in done.out


def test_a_relay_without_its_parent_says_so(stage: Stage) -> None:
    node = stage.lonely_relay()
    pin = stage.pin(node.certificate_pem)
    stage.request(node.port, "--ticket", SECRET, pin=pin)
    done, facts = explained(node)
    assert "parent-unreachable at s1" in done.out
    assert (facts["node"], facts["parents"]) == ("s1", ["m1"])


def test_a_relay_and_the_signer_above_it_tell_the_same_story(stage: Stage) -> None:
    signer, relay = stage.signer_and_relay()
    own = stage.newcomer()
    stage.request(relay.port, pin=stage.pin(relay.certificate_pem), own=own)
    done, facts = explained(relay)
    assert "in the ledger of s1 (relay below m1)" in done.out
    assert "parent-pending at m1" in done.out
    assert f"on m1: icefloe enrollment explain {CN}" in done.out
    (below,) = facts["requests"]
    assert below["state"] == "forwarded"
    assert below["attempts"][0]["came"] == "direct"
    done, facts = explained(signer)
    assert "forwarded by s1" in done.out
    (above,) = facts["requests"]
    assert above["fingerprint"] == below["fingerprint"]
    assert above["attempts"][0]["from"] == "s1"
    assert above["code"] == "awaiting-approval"


def test_a_gateways_directory_is_explained_like_a_nodes(stage: Stage) -> None:
    node = stage.signer()
    stage.request(node.port, pin=stage.pin(node.certificate_pem))
    home = GatewayHome.open(stage.root / "gateway", name="gw1", machine_name="x")
    home.remember("sat1:5665", "sat1")
    ledger = home.directories.ledger
    assert node.run("ledger", "copy", ledger).code == 0
    data_dir = ("--data-dir", home.directories.data_dir)
    done = stage.icefloe.bare(*data_dir, "enrollment", "explain", CN)
    assert "in the ledger of gw1 (gateway below sat1:5665)" in done.out
    done = stage.icefloe.bare(*data_dir, "enrollment", "status", "--json")
    assert msgspec.json.decode(done.out)["node"] == "gw1"


def test_a_name_that_never_came_is_told_where_to_look(stage: Stage) -> None:
    node = stage.signer()
    done = node.run("enrollment", "explain", "nobody")
    assert done.code == 1
    assert "No request for 'nobody' has come to m1." in done.out
    assert "on nobody: icefloe enrollment status" in done.out


def test_an_agent_explains_itself_by_its_status(icefloe: Command) -> None:
    icefloe.directories.constants_conf.write_text('const NodeName = "web1"\n')
    done = icefloe("enrollment", "explain", "web1")
    assert "'web1' is this node; its parents keep its request." in done.out
    assert "icefloe enrollment status" in done.out


def test_without_a_ledger_nothing_is_made(stage: Stage) -> None:
    before = stage.icefloe.files()
    assert stage.icefloe("enrollment", "explain", CN).code == 1
    assert stage.icefloe.files() == before


# --- problems -------------------------------------------------------------------------


def test_the_catalogue_fits_the_screen_and_has_every_code(icefloe: Command) -> None:
    out = icefloe.ok("enrollment", "problems")
    assert fits(out)
    words = out.split()
    assert all(code in words for code in codes())


def test_the_catalogue_is_there_for_programs(icefloe: Command) -> None:
    found: Any = icefloe.json("enrollment", "problems")
    assert [each["code"] for each in found] == list(codes())
    assert {"code", "title", "meaning", "next", "outlook"} <= set(found[0])


@pytest.mark.parametrize("code", codes())
def test_one_entry_tells_all_there_is(icefloe: Command, code: str) -> None:
    out = icefloe.ok("enrollment", "problems", code)
    assert fits(out)
    text = " ".join(out.split())
    assert PROBLEMS[code].meaning in text
    assert PROBLEMS[code].next_step in text
    one: Any = icefloe.json("enrollment", "problems", code)
    assert one["code"] == code


def test_a_code_that_does_not_exist_is_told(icefloe: Command) -> None:
    done = icefloe("enrollment", "problems", "no-such-code")
    assert (done.code, done.out) == (1, "")
    assert "no-such-code" in done.err
