"""Storms against habitual clusters: what 20 agents see at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from icefloe.habits import HABITS
from icefloe.lab.asking import ParentAddress
from icefloe.lab.cpu import NoSuchProcess
from icefloe.lab.enrolling import ByHand, Enrollment, enroll
from icefloe.lab.outcomes import Attempt, Outcome
from icefloe.lab.storm import Storm, StormPlan, run_storm
from icefloe.lab.storm_report import StormReport
from icefloe.lab.verifying import doubled, objections
from icefloe.pki.trust import TrustAnchor
from tests.lab.world import CLOCK, ENTROPY, SALT, agents, ca_pem, cluster, free_address

COUNT = 20
VERSIONS = list(HABITS)
FIRST = dict.fromkeys(VERSIONS, "pending") | {"2.14.4": "cut-off"}


async def storm_at(
    parent: ParentAddress,
    *,
    salt: str = SALT,
    until_signed: bool = False,
    ask_again: bool = False,
    seconds_max: float = 60.0,
    pids: tuple[int, ...] = (),
) -> Storm:
    return await run_storm(
        StormPlan(
            parent=parent,
            at_once=COUNT,
            until_signed=until_signed,
            ask_again=ask_again,
            seconds_max=seconds_max,
            pids=pids,
        ),
        await agents(COUNT, salt=salt),
        clock=CLOCK,
        entropy=ENTROPY,
    )


def trust() -> TrustAnchor:
    return TrustAnchor.from_pem(ca_pem())


def report_of(storm: Storm) -> StormReport:
    return StormReport.of(storm, trust=trust(), at=CLOCK.now().wall)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_first_connection_through_a_satellite_is_what_the_release_makes_of_it(
    version: str, tmp_path: Path
) -> None:
    async def story() -> Storm:
        async with cluster(tmp_path, version) as (satellite, _master):
            return await storm_at(satellite.parent)

    report = report_of(asyncio.run(story()))
    assert report.first_connection == {FIRST[version]: COUNT}
    assert report.signed == 0
    assert report.attempts == COUNT
    assert report.to_certificate is None
    assert report.in_time
    assert report.complaints() == []


@pytest.mark.parametrize("version", ["2.14.3", "2.14.4"])
def test_agents_that_ask_again_are_all_signed_behind_any_release(
    version: str, tmp_path: Path
) -> None:
    async def story() -> Storm:
        async with cluster(tmp_path, version) as (satellite, _master):
            return await storm_at(satellite.parent, until_signed=True)

    report = report_of(asyncio.run(story()))
    assert report.last_connection == {"signed": COUNT}
    assert report.attempts_until_signed is not None
    assert report.attempts_until_signed >= 2
    assert report.to_certificate is not None
    assert report.to_certificate.count == COUNT
    assert report.wrong == []


def test_tickets_straight_at_a_master_are_signed_on_the_first_connection(
    tmp_path: Path,
) -> None:
    async def story() -> Storm:
        async with cluster(tmp_path, "2.14.4") as (_satellite, master):
            return await storm_at(master.parent, pids=(os.getpid(),))

    report = report_of(asyncio.run(story()))
    assert report.first_connection == {"signed": COUNT}
    assert report.attempts_until_signed == 1
    assert report.complaints(expected=Outcome.SIGNED) == []
    assert report.server_cpu_per_certificate is not None


def test_a_signer_that_signs_anew_at_each_ask_is_found_out(tmp_path: Path) -> None:
    """Real ones do: one agent, two certificates."""

    async def story() -> Storm:
        async with cluster(tmp_path, "2.14.5") as (_satellite, master):
            return await storm_at(master.parent, ask_again=True)

    report = report_of(asyncio.run(story()))
    assert report.asked_again == COUNT
    assert len(report.doubled) == COUNT
    assert "two different certificates" in report.complaints()[0]


def test_wrong_tickets_are_refused_by_a_master(tmp_path: Path) -> None:
    async def story() -> Storm:
        async with cluster(tmp_path, "2.14.4") as (_satellite, master):
            return await storm_at(master.parent, salt="another")

    report = report_of(asyncio.run(story()))
    assert report.first_connection == {"refused": COUNT}
    assert list(report.details.values()) == [COUNT]
    assert "expected 20 signed" in report.complaints(expected=Outcome.SIGNED)[0]


def test_a_parent_that_is_not_there_is_unreachable() -> None:
    async def story() -> Storm:
        return await storm_at(free_address())

    assert report_of(asyncio.run(story())).first_connection == {"unreachable": COUNT}


def test_a_parent_that_speaks_no_tls_is_told_apart() -> None:
    async def story() -> Storm:
        async def babble(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.read(1)
            writer.write(b"220 mail.example.org\r\n")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            return await storm_at(ParentAddress(host=host, port=port))

    assert report_of(asyncio.run(story())).first_connection == {"tls-failed": COUNT}


def test_the_deadline_ends_a_storm_that_does_not_end_by_itself(tmp_path: Path) -> None:
    async def story() -> Storm:
        async with cluster(tmp_path, "2.14.5") as (satellite, _master):
            return await storm_at(
                satellite.parent, salt="", until_signed=True, seconds_max=1.0
            )

    report = report_of(asyncio.run(story()))
    assert not report.in_time
    assert report.complaints() == ["the deadline came before the end"]
    assert report.first_connection == {"pending": COUNT}


def test_a_server_process_that_is_not_there_is_said_before_anybody_asks() -> None:
    with pytest.raises(NoSuchProcess):
        asyncio.run(storm_at(free_address(), pids=(2**22 + 1,)))


def test_an_operator_repeats_by_hand_until_it_is_signed(tmp_path: Path) -> None:
    async def story() -> Enrollment:
        async with cluster(tmp_path, "2.14.4") as (satellite, _master):
            (agent,) = await agents(1)
            enrollment = Enrollment(agent)
            await enroll(
                enrollment,
                satellite.parent,
                ByHand(pause_seconds=0.2, attempts_max=50),
                entropy=ENTROPY,
                attempt_seconds_max=30,
            )
            return enrollment

    enrollment = asyncio.run(story())
    assert enrollment.attempts[0].outcome is Outcome.CUT_OFF
    assert enrollment.is_signed
    assert enrollment.seconds >= 0.2


# Judging certificates.


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> list[Enrollment]:
    """Two agents that a habitual master has signed."""

    async def story() -> Storm:
        root = tmp_path_factory.mktemp("signed")
        async with cluster(root, "2.14.5") as (_satellite, master):
            return await storm_at(master.parent)

    return asyncio.run(story()).enrollments[:2]


def swapped(one: Enrollment, other: Enrollment) -> Enrollment:
    return Enrollment(one.agent, attempts=list(other.attempts))


def test_good_certificates_meet_no_objection(signed: list[Enrollment]) -> None:
    assert list(objections(signed, trust=trust(), at=CLOCK.now().wall)) == []
    assert list(objections(signed, trust=None, at=CLOCK.now().wall)) == []
    assert doubled(signed) == []


def test_a_certificate_for_another_key_and_name_is_wrong(
    signed: list[Enrollment],
) -> None:
    mixed = swapped(*signed)
    found = list(objections([mixed], trust=trust(), at=CLOCK.now().wall))
    assert [name for name, _ in found] == [mixed.agent.name]
    assert "another key" in found[0][1]


def test_an_answer_that_names_another_ca_is_wrong(signed: list[Enrollment]) -> None:
    foreign = TrustAnchor.from_pem(ca_pem(2))
    found = list(objections(signed[:1], trust=foreign, at=CLOCK.now().wall))
    assert "its answer names another CA" in [reason for _, reason in found]


# The report.


def test_the_report_is_a_json_object_and_a_table(signed: list[Enrollment]) -> None:
    plan = StormPlan(parent=free_address(), at_once=1)
    storm = Storm(plan=plan, enrollments=signed, seconds=2.0, in_time=True)
    storm.server_cpu = {4711: 0.5}
    report = report_of(storm)
    read = msgspec.json.decode(report.to_json(), type=StormReport)
    assert read == report
    assert read.rate == 1.0
    console = Console(width=200)
    with console.capture() as capture:
        console.print(report.table())
    shown = capture.get()
    assert "2 signed" in shown
    assert "4711" in shown
    assert "every key, name and CA is right" in shown


def test_an_agent_that_never_asked_is_counted_as_such(
    signed: list[Enrollment],
) -> None:
    plan = StormPlan(parent=free_address(), at_once=1)
    waiting = Enrollment(signed[0].agent)
    report = report_of(Storm(plan=plan, enrollments=[waiting]))
    assert report.first_connection == {"not asked": 1}
    assert report.rate == 0


def test_an_attempt_hides_its_certificate() -> None:
    attempt = Attempt(outcome=Outcome.SIGNED, began=1, ended=3.5, certificate="PEM")
    assert "PEM" not in repr(attempt)
    assert attempt.seconds == 2.5
