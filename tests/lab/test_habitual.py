"""The habits on a real wire: what a client sees, connection by connection."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from icefloe.habits import HABITS
from icefloe.lab.asking import ParentAddress, ask
from icefloe.lab.conversation import Conversation
from icefloe.lab.crowd import Agent
from icefloe.lab.outcomes import Attempt, Outcome
from icefloe.node.tls.connecting import connect
from icefloe.wire.catalogue import REQUEST_CERTIFICATE, Hello
from icefloe.wire.jsonrpc import Message, Notification, encode_request
from icefloe.wire.netstring import encode
from tests.lab.world import ENTROPY, agents, ca_pem, cluster

VERSIONS = list(HABITS)

FIRST = dict.fromkeys(VERSIONS, Outcome.PENDING) | {"2.14.4": Outcome.CUT_OFF}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_valid_ticket_through_a_satellite_is_signed_on_the_second_connection(
    version: str, tmp_path: Path
) -> None:
    async def story() -> tuple[Attempt, Attempt]:
        async with cluster(tmp_path, version) as (satellite, _master):
            (agent,) = await agents(1)
            first = await ask(agent, satellite.parent, entropy=ENTROPY, seconds_max=30)
            await satellite.log.wait_for(event="certificate came")
            second = await ask(agent, satellite.parent, entropy=ENTROPY, seconds_max=30)
            return first, second

    first, second = asyncio.run(story())
    assert first.outcome is FIRST[version]
    assert second.outcome is Outcome.SIGNED
    assert second.ca == ca_pem()


@pytest.mark.parametrize(
    "version, heard",
    [
        ("2.14.3", ["Hello 21403", "answer", "close_notify"]),
        ("2.14.4", ["Hello 21404", "close_notify"]),
        ("2.14.5", ["Hello 21405", "answer", "answer"]),
    ],
)
def test_a_pending_request_is_answered_and_closed_as_the_release_does(
    version: str, heard: list[str], tmp_path: Path
) -> None:
    async def story() -> list[str]:
        async with cluster(tmp_path, version) as (satellite, _master):
            (agent,) = await agents(1, salt="")
            return await ask_twice_on_one_connection(agent, satellite.parent)

    assert asyncio.run(story()) == heard


async def ask_twice_on_one_connection(agent: Agent, parent: ParentAddress) -> list[str]:
    """Ask, ask again once answered, and write down all that comes until the end."""
    heard: list[str] = []
    over = asyncio.Event()
    stream = await connect(parent.host, parent.port, context=agent.context)
    question = encode(encode_request(REQUEST_CERTIFICATE, {"ticket": ""}, "id"))

    def take(message: Message) -> None:
        if isinstance(message, Notification):
            heard.append(f"Hello {Hello.parse(message.params).version}")
            return
        heard.append("answer")
        stream.write(question)
        if heard.count("answer") == 2:
            over.set()

    def finished() -> None:
        heard.append("close_notify")
        over.set()

    stream.start(
        Conversation(
            on_message=take,
            on_garbage=lambda error: heard.append(error.public),
            on_finished=finished,
            on_lost=lambda _error: over.set(),
        )
    )
    stream.write(question)
    async with asyncio.timeout(30):
        await over.wait()
    await stream.drain_close(5.0)
    return heard


def test_a_wrong_ticket_at_a_habitual_master_is_refused(tmp_path: Path) -> None:
    async def story() -> Attempt:
        async with cluster(tmp_path, "2.14.4") as (_satellite, master):
            (agent,) = await agents(1, salt="another salt")
            return await ask(agent, master.parent, entropy=ENTROPY, seconds_max=30)

    attempt = asyncio.run(story())
    assert attempt.outcome is Outcome.REFUSED
    assert "ticket" in attempt.detail


def test_a_stranger_who_speaks_http_is_let_go_without_a_word(tmp_path: Path) -> None:
    async def story() -> bytes:
        async with cluster(tmp_path, "2.14.5") as (satellite, _master):
            reader, writer = await asyncio.open_connection(
                satellite.address.host, satellite.address.port, ssl=no_verification()
            )
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(30):
                answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(story()) == b""


def no_verification() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
