"""Clients that break TLS: each gets the alert that fits, and nobody else notices.

The same as tlsfuzzer's scripts look at, in our own words: tlsfuzzer is neither on PyPI
nor in Debian, so CI could not have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.node.tls.joined import Cluster, in_loop, started, until
from tests.peers.figures import Figures
from tests.peers.fixtures import Nodes
from tests.peers.icefloe_node import IcefloeNode
from tests.peers.layout import ZoneSpec
from tests.peers.prepared import PreparedPKI
from tests.peers.real_icinga import RealIcinga
from tests.tls_behaviour import deviants
from tests.tls_behaviour.playing import PARTS, objection, play

from icefloe.node.tls.listener import Admission, Listener, ListenerLimits
from icefloe.node.tls.transport import TLSStream
from icefloe.wire.netstring import encode

TRACES = ("Traceback", "Exception", "never retrieved", "internal error")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IcefloeNode]:
    """A master that runs `icefloe daemon`."""
    node = IcefloeNode("m1", tmp_path_factory.mktemp("victim"))
    made = node.node_setup_master()
    assert made.returncode == 0, made.stderr
    node.start()
    try:
        yield node
    finally:
        node.kill()


@pytest.mark.parametrize("part", PARTS)
def test_daemon_sends_the_alert_that_fits_and_lives_on(
    daemon: IcefloeNode, part: str
) -> None:
    mark = daemon.log_mark()
    seen = [(case, play(case, daemon.address)) for case in PARTS[part]]
    assert [o for case, what in seen if (o := objection(case, what))] == []
    assert daemon.is_running
    assert [word for word in TRACES if word in daemon.log(mark)] == []
    good = play(deviants.GOOD_CLIENT, daemon.address)
    assert objection(deviants.GOOD_CLIENT, good) is None


@pytest.mark.parametrize("part", PARTS)
@in_loop
async def test_whoever_fails_gives_back_its_place(part: str) -> None:
    """With a place for one handshake at a time, the next one would wait for ever."""
    cluster = Cluster.new()

    def on_stream(stream: TLSStream, _admission: Admission) -> None:
        recorder = started(stream)
        recorder.on_data = lambda _data: _say_hello(stream)

    listener = Listener(
        host="127.0.0.1",
        port=0,
        context=cluster.server,
        on_stream=on_stream,
        limits=ListenerLimits(handshake_threads=1),
    )
    listener.bind()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.serve())
        try:
            for case in [*PARTS[part], deviants.GOOD_CLIENT]:
                what = await asyncio.to_thread(play, case, listener.address)
                assert objection(case, what) is None
                await until(lambda: listener.strangers == 0)
        finally:
            listener.stop()


def _say_hello(stream: TLSStream) -> None:
    stream.write(encode(deviants.HELLO))


@pytest.mark.real_peer
@pytest.mark.slow
@pytest.mark.timeout(240)  # Icinga lets some wait for its ten seconds
def test_a_real_icinga2_beside_us_for_information(
    daemon: IcefloeNode, nodes: Nodes, prepared_pki: PreparedPKI, figures: Figures
) -> None:
    """Where the two differ is printed (`pytest -rP`); the difference is no verdict."""
    real = nodes.make(RealIcinga, "real1")
    real.install_identity(prepared_pki)
    real.configure([ZoneSpec(name="master", endpoints=("real1",))])
    real.start()
    rows = [
        (case, play(case, daemon.address), play(case, real.address))
        for cases in PARTS.values()
        for case in cases
    ]
    figures.note("misbehaviour", f"{'':<40} {'icefloe':<35} icinga2")
    for case, ours, theirs in rows:
        sign = " " if str(ours) == str(theirs) else "*"
        figures.note(f"{sign} {case.name:<50}", f"{ours!s:<35} {theirs}")
    # Whoever gets through there gets through here, but for one: Debian's icinga2 2.13
    # still offers suites without forward secrecy; later ones do not.
    stricter = {
        c.name for c, ours, theirs in rows if theirs.answered and not ours.answered
    }
    assert stricter <= {"static RSA only"}
    assert real.is_running
