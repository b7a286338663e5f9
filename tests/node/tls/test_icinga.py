"""Truth from outside: the real icinga2 command as the peer."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.node.tls.joined import Cluster, Recorder, in_loop, started
from tests.peers.real_icinga import RealIcinga

from icefloe.node.tls.listener import Admission, Listener
from icefloe.node.tls.transport import TLSStream
from icefloe.pki.certificates import load_pem

pytestmark = pytest.mark.real_peer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@in_loop
async def test_pki_save_cert_gets_our_certificate_and_its_close_answered(
    host: str, tmp_path: Path
) -> None:
    """It has no time limit: a close_notify that is not answered hangs it for ever."""
    cluster = Cluster.new()
    taken: asyncio.Queue[tuple[TLSStream, Recorder]] = asyncio.Queue()

    def on_stream(stream: TLSStream, _admission: Admission) -> None:
        taken.put_nowait((stream, started(stream)))

    listener = Listener(host="::", port=0, context=cluster.server, on_stream=on_stream)
    listener.bind()
    saved = tmp_path / "trusted.crt"
    icinga = RealIcinga("cli", tmp_path, port=0)
    words = ("pki", "save-cert", "--host", host, "--port", str(listener.address[1]))
    async with asyncio.TaskGroup() as group:
        group.create_task(listener.serve())
        process = await asyncio.create_subprocess_exec(
            *icinga.argv(*words, "--trustedcert", str(saved)),
            env=icinga.environment(),
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            stream, recorder = await taken.get()
            report = await stream.wait_closed()
            await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            listener.stop()
    assert process.returncode == 0
    assert report.clean
    assert recorder.finished.is_set()
    assert recorder.error is None
    assert stream.peer.server_name == host, "SNI even for an IP literal"
    assert stream.peer.certificate is None
    assert load_pem(saved.read_bytes()) == cluster.server_certificate
