"""Canaries through real nodes in this process: Icefloe's, and each release's habits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab import world
from tests.node.cluster import (
    SALT,
    Authority,
    Running,
    Zones,
    free_port,
    running,
    unsigned,
    until,
    write_node,
)
from tests.peers.layout import three_levels

from icefloe.enrollment import expiry
from icefloe.enrollment.problems import Code
from icefloe.enrollment.requester import AskResult, Came, Parent
from icefloe.habits import HABITS
from icefloe.node import material
from icefloe.node.checks import canary_run
from icefloe.node.checks.canary_run import (
    CanaryPlan,
    CanaryRun,
    anchor_by_fingerprint,
    canary_name,
    run_canary,
)
from icefloe.node.checks.canary_verdict import (
    CanaryKind,
    CanaryThresholds,
    canary_outcome,
)
from icefloe.node.checks.plugin import Outcome, PluginState, Range
from icefloe.node.checks.requests_read import read_requests
from icefloe.node.doors import RealClock, RealEntropy
from icefloe.pki.certificates import fingerprint
from icefloe.pki.tickets import ticket
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.keys import encode_private_key, generate_key
from icefloe.storage.ledger import SQLiteLedger

HOST = "127.0.0.1"
CN = "icefloe-canary-test"
GENEROUS = Range.parse("60")
WRONG = "0" * 40


def thresholds(*, first_connection: bool = False) -> CanaryThresholds:
    return CanaryThresholds(
        warning=GENEROUS, critical=GENEROUS, first_connection=first_connection
    )


async def send(
    port: int,
    ca_pem: str,
    *,
    given: str,
    seconds_max: float = 30.0,
    names: frozenset[str] = frozenset(),
) -> CanaryRun:
    plan = CanaryPlan(
        parent=Parent(HOST, port),
        cn=CN,
        ticket=given,
        anchor=TrustAnchor.from_pem(ca_pem),
        names=names,
        seconds_max=seconds_max,
    )
    return await run_canary(plan, clock=RealClock(), entropy=RealEntropy())


def judged(run: CanaryRun, **changes: bool) -> tuple[str, PluginState, str]:
    outcome: Outcome = canary_outcome(run, thresholds(**changes))
    return outcome.kind, outcome.state, outcome.text


# --- Through the habits of each release -----------------------------------------------


def through_release(
    tmp_path: Path, version: str, *, given: str, seconds_max: float = 30.0
) -> CanaryRun:
    async def story() -> CanaryRun:
        async with world.cluster(tmp_path, version) as (satellite, _master):
            return await send(
                satellite.address.port,
                world.ca_pem(),
                given=given,
                seconds_max=seconds_max,
            )

    return asyncio.run(story())


@pytest.mark.parametrize("version", [each for each in HABITS if each != "2.14.4"])
def test_a_release_that_answers_pending_first_is_well_and_says_so(
    version: str, tmp_path: Path
) -> None:
    run = through_release(tmp_path, version, given=ticket(CN, world.SALT))
    kind, state, text = judged(run)
    assert (kind, state) == (CanaryKind.PENDING_FIRST, PluginState.OK), text
    assert f"(Icinga {version})" in text
    assert len(run.attempts) >= 2
    kind, state, text = judged(run, first_connection=True)
    assert (kind, state) == (CanaryKind.PENDING_FIRST, PluginState.WARNING)
    assert "not on the first" in text


def test_the_habits_of_2_14_4_are_warned_of_by_name(tmp_path: Path) -> None:
    run = through_release(tmp_path, "2.14.4", given=ticket(CN, world.SALT))
    kind, state, text = judged(run)
    assert (kind, state) == (CanaryKind.CUT_OFF_FIRST, PluginState.WARNING), text
    assert "first attempts are lost" in text
    assert "the defect of Icinga 2.14.4 (#10330)" in text
    assert "signed on attempt" in text


@pytest.mark.parametrize(
    "version, kind",
    [
        ("2.14.4", CanaryKind.CUT_OFF),
        ("2.14.5", CanaryKind.PENDING_AT_ICINGA),
    ],
)
def test_a_wrong_ticket_behind_icinga_is_told_as_far_as_it_is_known(
    version: str, kind: CanaryKind, tmp_path: Path
) -> None:
    run = through_release(tmp_path, version, given=WRONG, seconds_max=3.0)
    found, state, text = judged(run)
    assert (found, state) == (kind, PluginState.CRITICAL), text
    assert "or the ticket is wrong" in text


def test_a_habitual_master_refuses_a_wrong_ticket_with_its_words(
    tmp_path: Path,
) -> None:
    async def story() -> CanaryRun:
        async with world.cluster(tmp_path, "2.14.5") as (_satellite, master):
            return await send(master.address.port, world.ca_pem(), given=WRONG)

    kind, state, text = judged(asyncio.run(story()))
    assert (kind, state) == (CanaryKind.REFUSED, PluginState.CRITICAL)
    assert "ticket is not valid" in text


# --- Through Icefloe ------------------------------------------------------------------


@contextlib.asynccontextmanager
async def icefloe(
    root: Path, *, with_master: bool = True
) -> AsyncIterator[tuple[Authority, Running, Running | None]]:
    """Run a satellite of ours and, unless it is cut off, its master."""
    ca = Authority()
    tree = Zones(
        {"master": (None, {"m1": free_port()}), "sat": ("master", {"s1": free_port()})}
    )
    below = write_node(root, "s1", tree, dialled={"m1"}, ca=ca)
    above = write_node(root, "m1", tree, dialled=set(), ca=ca, signer=True)
    async with running(*([above] if with_master else []), below) as nodes:
        if with_master:
            for node in nodes:
                await until(functools.partial(node.logs.seen, "connected"), "connected")
        yield ca, nodes[-1], nodes[0] if with_master else None


def test_icefloe_signs_on_the_first_connection(tmp_path: Path) -> None:
    async def story() -> CanaryRun:
        async with icefloe(tmp_path) as (ca, satellite, _master):
            return await send(satellite.port, ca.pem, given=ticket(CN, SALT))

    run = asyncio.run(story())
    kind, state, text = judged(run, first_connection=True)
    assert (kind, state) == (CanaryKind.SIGNED, PluginState.OK), text
    (only,) = run.attempts
    steps = only.steps
    order = (steps.began, steps.connected, steps.secured, steps.asked, steps.heard)
    moments = [at for at in order if at is not None]
    assert len(moments) == 5
    assert moments == sorted(moments)
    hasty = CanaryThresholds(warning=Range.parse("0"), critical=GENEROUS)
    slow = canary_outcome(run, hasty)
    assert (slow.kind, slow.state) == (CanaryKind.SLOW, PluginState.WARNING)
    details = canary_outcome(run, thresholds()).details
    assert any("m1 signed" in line for line in details)
    assert any("forget it after 15 minutes" in line for line in details)


def test_nodes_of_ours_forget_it_and_look_at_it_in_the_meantime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with icefloe(tmp_path) as (ca, satellite, master):
            assert master is not None
            await send(satellite.port, ca.pem, given=WRONG)
            seen = read_requests(satellite.directories)
            # It was refused: it waits for nothing.
            assert (seen.icefloe, seen.canaries, seen.unanswered) == (True, 0, ())
            assert rows_of(satellite) == rows_of(master) == 1
            # From here on time is short; the next one makes them look.
            monkeypatch.setattr(expiry, "CANARY_LIFETIME", 0.1)
            monkeypatch.setattr(expiry, "CANARY_LOOK_AFTER", 0.2)
            await send(satellite.port, ca.pem, given=ticket(CN, SALT))
            for node in (satellite, master):
                await until(functools.partial(has_forgotten, node, 2), "forgotten")
                assert rows_of(node) == 0

    asyncio.run(story())


def has_forgotten(node: Running, number: int) -> bool:
    """Whether so many canaries are gone."""
    told = (
        fields["count"]
        for _, event, fields in node.logs.events
        if event == "canaries forgotten"
    )
    return sum(map(int, told)) >= number


def rows_of(node: Running) -> int:
    """Return how many requests another process sees in a node's ledger."""
    with SQLiteLedger.open(node.directories.ledger) as ledger:
        return len(ledger.requests())


def test_a_refusal_names_the_node_and_the_reason(tmp_path: Path) -> None:
    async def story() -> CanaryRun:
        async with icefloe(tmp_path) as (ca, satellite, _master):
            return await send(satellite.port, ca.pem, given=WRONG)

    run = asyncio.run(story())
    kind, state, text = judged(run)
    assert (kind, state) == (CanaryKind.REFUSED, PluginState.CRITICAL)
    assert "refused by m1, reason wrong-ticket" in text
    assert len(run.attempts) == 1


def test_a_satellite_without_its_link_is_told_apart(tmp_path: Path) -> None:
    async def story() -> CanaryRun:
        async with icefloe(tmp_path, with_master=False) as (ca, satellite, _none):
            return await send(
                satellite.port, ca.pem, given=ticket(CN, SALT), seconds_max=4.0
            )

    kind, state, text = judged(asyncio.run(story()))
    assert (kind, state) == (CanaryKind.LINK_DOWN, PluginState.CRITICAL), text
    assert text.startswith("s1 has no connection to its parent")


@pytest.mark.parametrize("seconds_max", [1.31, 1.34, 1.37, 1.40])
def test_an_ask_that_our_own_end_cut_short_hides_no_answer(
    monkeypatch: pytest.MonkeyPatch, seconds_max: float
) -> None:
    """TLS that needs a second, begun half a second before the end."""

    async def ask(*_: object, timeout_s: float, **__: object) -> AskResult:
        if timeout_s > 1.0:
            return AskResult(Came.PENDING, "wait")
        await asyncio.sleep(timeout_s)
        return AskResult(Came.UNREACHABLE, "given up", code=Code.TLS_FAILED)

    monkeypatch.setattr(canary_run, "ask", ask)
    ca = Authority()
    run = asyncio.run(send(1, ca.pem, given="x", seconds_max=seconds_max))
    assert [each.result.came for each in run.attempts] == [
        Came.PENDING,
        Came.UNREACHABLE,
    ]
    assert judged(run)[0] == CanaryKind.PENDING_AT_ICINGA


def test_another_ca_is_seen_before_anything_is_told(tmp_path: Path) -> None:
    other = Authority()

    async def story() -> CanaryRun:
        async with icefloe(tmp_path) as (_ca, satellite, _master):
            return await send(satellite.port, other.pem, given=ticket(CN, SALT))

    run = asyncio.run(story())
    kind, state, _ = judged(run)
    assert (kind, state) == (CanaryKind.WRONG_CA, PluginState.CRITICAL)
    assert run.last.steps.asked is None


def test_another_name_than_the_expected_one_is_not_told_either(tmp_path: Path) -> None:
    async def story() -> CanaryRun:
        async with icefloe(tmp_path) as (ca, satellite, _master):
            return await send(
                satellite.port, ca.pem, given="x", names=frozenset({"sat1"})
            )

    run = asyncio.run(story())
    assert judged(run)[0] == CanaryKind.WRONG_CA
    assert run.last.steps.asked is None


def test_a_signer_with_another_ca_than_it_shows_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Icinga issue 10351: what is handed out verifies nowhere."""
    monkeypatch.setattr(material, "_check_trusted", lambda *_: None)

    async def story() -> CanaryRun:
        ca, other = world.ca(), world.ca(2)
        assert ca != other
        zones = three_levels()
        files = world.write_node(tmp_path, "master1", zones, signs=True)
        files.ca_certificate.write_text(world.ca_pem(2))
        files.ca_key.write_bytes(encode_private_key(other[1]))
        async with world.running(files, "2.14.5") as master:
            given = ticket(CN, world.SALT)
            return await send(master.address.port, world.ca_pem(), given=given)

    kind, state, text = judged(asyncio.run(story()))
    assert (kind, state) == (CanaryKind.BAD_CERTIFICATE, PluginState.CRITICAL), text


# --- Nobody there ---------------------------------------------------------------------


def test_a_closed_port_is_unreachable_at_once() -> None:
    run = asyncio.run(send(free_port(), Authority().pem, given="x"))
    assert judged(run)[:2] == (CanaryKind.UNREACHABLE, PluginState.CRITICAL)
    assert len(run.attempts) == 1


def test_a_port_that_does_not_speak_tls_is_told_apart() -> None:
    async def story() -> CanaryRun:
        async def chat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.org ready\r\n")
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(chat, HOST, 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await send(port, Authority().pem, given="x")

    kind, state, _ = judged(asyncio.run(story()))
    assert (kind, state) == (CanaryKind.TLS_FAILED, PluginState.CRITICAL)


def test_a_fingerprint_stands_for_the_ca(tmp_path: Path) -> None:
    async def story() -> tuple[CanaryRun, CanaryRun]:
        async with icefloe(tmp_path) as (ca, satellite, _master):
            right = plan_to(satellite.port, fingerprint(ca.certificate))
            return await run(right), await run(replace(right, anchor="0" * 64))

    right, other = asyncio.run(story())
    assert judged(right)[0] == CanaryKind.SIGNED
    assert judged(other)[:2] == (CanaryKind.WRONG_CA, PluginState.CRITICAL)
    nobody = asyncio.run(run(plan_to(free_port(), "0" * 64)))
    assert judged(nobody)[0] == CanaryKind.UNREACHABLE


def test_the_look_for_the_ca_ends_with_the_run() -> None:
    """TCP answers, and nothing else does."""

    async def story() -> CanaryRun:
        silent = asyncio.Event()

        async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await silent.wait()
            writer.close()

        server = await asyncio.start_server(mute, HOST, 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            found = await run(replace(plan_to(port, "0" * 64), seconds_max=1.0))
            silent.set()
            return found

    found = asyncio.run(story())
    kind, state, text = judged(found)
    assert (kind, state) == (CanaryKind.UNREACHABLE, PluginState.CRITICAL)
    assert text.endswith("it showed no certificate in 1 s")
    assert found.seconds >= 1.0


def test_the_look_for_the_ca_is_part_of_the_steps_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[float] = []

    async def timed(parent: Parent, digits: str) -> TrustAnchor | None:
        time = asyncio.get_running_loop().time
        began = time()
        shown = await anchor_by_fingerprint(parent, digits)
        took.append(time() - began)
        return shown

    async def story() -> CanaryRun:
        async with icefloe(tmp_path) as (ca, satellite, _master):
            return await run(plan_to(satellite.port, fingerprint(ca.certificate)))

    monkeypatch.setattr(canary_run, "anchor_by_fingerprint", timed)
    found = asyncio.run(story())
    assert judged(found)[0] == CanaryKind.SIGNED
    assert found.last.steps.began >= took[0]


def test_a_pinned_parent_may_show_what_nobody_signed(tmp_path: Path) -> None:
    """As a gateway does that has no ticket for itself."""
    ca, key = Authority(), generate_key()
    tree = Zones({"master": (None, {"m1": free_port()})})
    own = unsigned("m1", key)
    alone = write_node(
        tmp_path,
        "m1",
        tree,
        dialled=set(),
        ca=ca,
        signer=True,
        certificate=own,
        key=key,
    )

    async def story() -> tuple[CanaryRun, CanaryRun]:
        async with running(alone) as (master,):
            plan = plan_to(master.port, TrustAnchor.from_pem(ca.pem))
            return await run(plan), await run(replace(plan, pins=(own,)))

    stranger, pinned = asyncio.run(story())
    assert judged(stranger)[0] == CanaryKind.WRONG_CA
    assert judged(pinned)[0] == CanaryKind.SIGNED


def plan_to(port: int, trust: TrustAnchor | str) -> CanaryPlan:
    return CanaryPlan(
        parent=Parent(HOST, port), cn=CN, ticket=ticket(CN, SALT), anchor=trust
    )


async def run(plan: CanaryPlan) -> CanaryRun:
    return await run_canary(plan, clock=RealClock(), entropy=RealEntropy())


def test_a_name_stays_the_same_for_a_path_and_fits_a_certificate() -> None:
    parent = Parent("sat1.example.org", 5665)
    name = canary_name(parent, "Mon_1.Example.org")
    assert name == canary_name(parent, "Mon_1.Example.org")
    assert name.startswith("icefloe-canary-mon-1-")
    assert name != canary_name(Parent("sat2.example.org", 5665), "Mon_1.Example.org")
    assert len(canary_name(parent, "x" * 300)) <= 64
    assert canary_name(parent, "\u00e4\u00f6").startswith("icefloe-canary-")
