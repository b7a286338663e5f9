"""What a gateway stands on: options, directory, trust, and its process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.node.cluster import Authority
from tests.node.gateway.world import (
    CLOCK,
    ENTROPY,
    HOST,
    Told,
    Upstream,
    says_pending,
    signs,
)
from tests.node.tls.joined import in_loop

from icefloe.errors import IcefloeError
from icefloe.node.gateway.home import GatewayHome, default_name
from icefloe.node.gateway.options import (
    DATA_DIR_DEFAULT,
    GatewayOptions,
    GatewayProblem,
    ListenPlace,
    TrustOptions,
    UpstreamPlace,
)
from icefloe.node.gateway.trust import establish_trust
from icefloe.pki.certificates import (
    fingerprint,
    to_pem,
)
from icefloe.pki.errors import CommonNameInvalid
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.identity import IdentityProblem

PROGRAM = str(Path(sys.executable).with_name("icefloe"))


# --- Options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, host, port, name, label",
    [
        ("sat1", "sat1", 5665, "", "sat1:5665"),
        ("sat1,5667", "sat1", 5667, "", "sat1:5667"),
        ("sat1,,satellite1", "sat1", 5665, "satellite1", "sat1:5665"),
        ("::1,5667,satellite1", "::1", 5667, "satellite1", "[::1]:5667"),
    ],
)
def test_an_upstream_is_a_host_a_port_and_a_name(
    text: str, host: str, port: int, name: str, label: str
) -> None:
    place = UpstreamPlace.parse(text)
    assert place == UpstreamPlace(host=host, port=port, name=name)
    assert place.label == label


@pytest.mark.parametrize(
    "text",
    ["", ",5665", "a,b", "a,0", "a,65536", "a,-1", "a,1,x/y", "a,99999999", "a,٣"],
)
def test_an_upstream_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(IcefloeError):
        UpstreamPlace.parse(text)


def test_a_listening_place_is_a_host_and_a_port() -> None:
    assert ListenPlace.parse("0.0.0.0,5666") == ListenPlace(host="0.0.0.0", port=5666)
    assert ListenPlace.parse("::") == ListenPlace(host="::", port=5665)
    with pytest.raises(GatewayProblem):
        ListenPlace.parse(",5666")


def options_with(**given: Any) -> GatewayOptions:
    place = UpstreamPlace(host="sat1")
    listen = ListenPlace(host=HOST, port=0)
    return GatewayOptions(**{"upstreams": (place,), "listen": listen, **given})


def test_options_that_make_no_sense_together_are_refused() -> None:
    options_with().check()
    with pytest.raises(GatewayProblem, match="at least one"):
        options_with(upstreams=()).check()
    with pytest.raises(GatewayProblem, match="given twice"):
        options_with(upstreams=2 * options_with().upstreams).check()
    both = TrustOptions(ca_file=Path("ca"), trusted_cert_file=Path("crt"))
    with pytest.raises(GatewayProblem, match="one of them"):
        options_with(trust=both).check()


def test_the_ticket_is_not_in_the_options_repr() -> None:
    assert "secret" not in repr(options_with(ticket="secret"))


def test_a_gateways_directory_is_never_by_default_that_of_a_node() -> None:
    assert Path("/var/lib/icinga2") not in (DATA_DIR_DEFAULT, *DATA_DIR_DEFAULT.parents)


# --- Its directory --------------------------------------------------------------------


def home_in(root: Path, *, name: str = "", machine: str = "h.example") -> GatewayHome:
    return GatewayHome.open(root / "gateway", name=name, machine_name=machine)


def test_a_gateway_keeps_its_name_key_and_certificate(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    assert home.name == "icefloe-gateway.h.example"
    now = CLOCK.now().wall
    identity = home.identity(at=now, entropy=ENTROPY)
    assert identity.node_name == home.name
    assert home.files.key.stat().st_mode & 0o777 == 0o600
    assert home.directories.certs.stat().st_mode & 0o777 == 0o700
    again = home_in(tmp_path, machine="renamed.example")
    assert again.name == home.name
    assert again.identity(at=now, entropy=ENTROPY) == identity


def test_a_self_signed_certificate_that_is_due_is_made_anew_for_the_same_key(
    tmp_path: Path,
) -> None:
    home = home_in(tmp_path)
    now = CLOCK.now().wall
    first = home.identity(at=now, entropy=ENTROPY)
    later = type(now)(now + 380 * 86400)
    second = home.identity(at=later, entropy=ENTROPY)
    assert second.certificate != first.certificate
    assert second.key_id == first.key_id


def test_a_lost_key_is_made_anew_with_its_certificate(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    now = CLOCK.now().wall
    first = home.identity(at=now, entropy=ENTROPY)
    home.files.key.unlink()
    assert home.identity(at=now, entropy=ENTROPY).key_id != first.key_id


def test_a_gateway_takes_no_canarys_name_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CommonNameInvalid, match="canaries'"):
        home_in(tmp_path, name="icefloe-canary-x")
    assert list(tmp_path.iterdir()) == []


def test_another_name_needs_another_directory_once_a_ca_is_believed(
    tmp_path: Path,
) -> None:
    home_in(tmp_path, name="first")
    assert home_in(tmp_path, name="second").name == "second", "nothing came of it yet"
    ca_path = home_in(tmp_path).directories.trusted_ca
    ca_path.write_text(Authority().pem)
    assert home_in(tmp_path).name == "second"
    with pytest.raises(GatewayProblem, match="belongs to the gateway 'second'"):
        home_in(tmp_path, name="third")


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gateway/certs").mkdir(parents=True)
    (tmp_path / "gateway/certs/satellite1.key").touch()
    with pytest.raises(GatewayProblem, match="never that of a node"):
        home_in(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2, "name": "x"}', "\0"]
)
def test_a_damaged_directory_is_refused_with_a_reason(
    tmp_path: Path, content: str
) -> None:
    home = home_in(tmp_path)
    (home.directories.own_dir / "gateway.json").write_text(content)
    with pytest.raises(GatewayProblem):
        home_in(tmp_path)


def test_a_made_up_name_is_never_the_machines_own_and_fits() -> None:
    assert default_name("host.example") == "icefloe-gateway.host.example"
    long = "h." + 30 * "x" + "." + 30 * "y"
    assert default_name(long) == "icefloe-gateway.h"
    for impossible in (70 * "h", ""):
        with pytest.raises(GatewayProblem, match="--name"):
            default_name(impossible)


# --- Coming to a CA -------------------------------------------------------------------


class Trusting:
    """A gateway that comes to its CA."""

    def __init__(self, root: Path, *upstreams: Upstream) -> None:
        self.home = home_in(root)
        self.home.identity(at=CLOCK.now().wall, entropy=ENTROPY)
        self.places = [each.place for each in upstreams]
        self.told = Told()
        self.root = root

    async def establish(self, **options: Any) -> TrustAnchor:
        return await establish_trust(
            self.home,
            TrustOptions(**options),
            self.places,
            at=CLOCK.now().wall,
            narrator=self.told,
        )

    def file(self, text: str) -> Path:
        path = self.root / "given.crt"
        path.write_text(text)
        return path


@in_loop
async def test_with_nothing_to_believe_it_says_what_to_type(tmp_path: Path) -> None:
    upstream = Upstream(Authority(), signs)
    with pytest.raises(GatewayProblem) as caught:
        await Trusting(tmp_path, upstream).establish()
    text = caught.value.public
    assert f"icefloe pki save-cert --host {HOST} --port {upstream.port}" in text
    assert "-fingerprint -sha256" in text
    assert "--ca ca.crt" in text


@in_loop
async def test_a_given_ca_is_stored_and_needs_not_be_given_again(
    tmp_path: Path,
) -> None:
    ca = Authority()
    trusting = Trusting(tmp_path, Upstream(ca, signs))
    anchor = await trusting.establish(ca_file=trusting.file(ca.pem))
    assert anchor.ca == ca.certificate
    assert (await trusting.establish()).ca == ca.certificate


@in_loop
async def test_another_ca_than_the_stored_one_is_refused(tmp_path: Path) -> None:
    trusting = Trusting(tmp_path, Upstream(Authority(), signs))
    await trusting.establish(ca_file=trusting.file(Authority().pem))
    with pytest.raises(IdentityProblem, match="another CA"):
        await trusting.establish(ca_file=trusting.file(Authority().pem))


@in_loop
async def test_the_ca_of_a_pinned_upstream_is_believed_and_its_name_remembered(
    tmp_path: Path,
) -> None:
    ca = Authority()
    down = Upstream(ca, signs, name="satellite2")
    async with Upstream(ca, signs).running() as upstream:
        trusting = Trusting(tmp_path, down, upstream)
        pinned = trusting.file(to_pem(upstream.certificate))
        anchor = await trusting.establish(trusted_cert_file=pinned)
        assert anchor.ca == ca.certificate
        assert trusting.home.met == {upstream.place.label: "satellite1"}
        assert fingerprint(ca.certificate) in "".join(trusting.told)
        assert upstream.asks == []
    again = await trusting.establish(trusted_cert_file=pinned)
    assert again.ca == ca.certificate, "the upstream is not needed any more"


@in_loop
async def test_an_upstream_with_another_certificate_than_the_pinned_is_not_believed(
    tmp_path: Path,
) -> None:
    ca = Authority()
    pinned = Upstream(ca, signs)
    async with Upstream(ca, signs).running() as upstream:
        trusting = Trusting(tmp_path, upstream)
        with pytest.raises(GatewayProblem) as caught:
            await trusting.establish(
                trusted_cert_file=trusting.file(to_pem(pinned.certificate))
            )
        assert "shows another certificate" in caught.value.public
        assert fingerprint(upstream.certificate) in caught.value.public
        assert not trusting.home.files.ca.exists()


@in_loop
async def test_a_pinned_certificate_of_another_ca_than_the_stored_is_refused(
    tmp_path: Path,
) -> None:
    other = Upstream(Authority(), signs)
    trusting = Trusting(tmp_path, other)
    await trusting.establish(ca_file=trusting.file(Authority().pem))
    with pytest.raises(GatewayProblem, match="not from the CA"):
        await trusting.establish(
            trusted_cert_file=trusting.file(to_pem(other.certificate))
        )


@in_loop
async def test_a_pinned_upstream_that_shows_no_ca_of_its_certificate_is_no_use(
    tmp_path: Path,
) -> None:
    """Self-signed, say, or with a ca.crt that is not its issuer."""
    upstream = Upstream(Authority(), signs)
    upstream.issued_by = Authority()
    async with upstream.running():
        trusting = Trusting(tmp_path, upstream)
        with pytest.raises(GatewayProblem, match="does not show the CA"):
            await trusting.establish(
                trusted_cert_file=trusting.file(to_pem(upstream.certificate))
            )


@in_loop
async def test_the_first_contact_is_believed_only_when_told_and_tells_what_to_compare(
    tmp_path: Path,
) -> None:
    ca = Authority()
    async with Upstream(ca, signs).running() as upstream:
        trusting = Trusting(tmp_path, upstream)
        anchor = await trusting.establish(trust_first_use=True)
        assert anchor.ca == ca.certificate
        assert fingerprint(upstream.certificate) in trusting.told[0]
    again = await trusting.establish(trust_first_use=True)
    assert again.ca == ca.certificate, "the second contact is not the first"


@in_loop
async def test_with_nobody_there_it_says_whom_it_tried(tmp_path: Path) -> None:
    upstream = Upstream(Authority(), signs)
    trusting = Trusting(tmp_path, upstream)
    with pytest.raises(GatewayProblem, match=f"port {upstream.port}"):
        await trusting.establish(trust_first_use=True)


# --- The process ----------------------------------------------------------------------


class Process:
    """An `icefloe gateway` with JSON logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def wait_for(self, event: str) -> dict[str, Any]:
        """Read log events up to one of this kind."""
        assert self.process.stderr is not None
        async with asyncio.timeout(15):
            while line := await self.process.stderr.readline():
                self.events.append(msgspec.json.decode(line))
                if self.events[-1]["event"] == event:
                    return self.events[-1]
        raise AssertionError(f"it ended without '{event}': {self.events}")

    async def ended(self) -> int:
        """Read what is left and return the exit code."""
        assert self.process.stderr is not None
        async with asyncio.timeout(15):
            while line := await self.process.stderr.readline():
                self.events.append(msgspec.json.decode(line))
            return await self.process.wait()


@contextlib.asynccontextmanager
async def gateway_process(
    root: Path, upstream: Upstream, *more: str, listen: str = f"{HOST},0"
) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "gateway", "--json", "--name", "gateway.example"),
        *("--upstream", f"{upstream.place.host},{upstream.port}"),
        *("--listen", listen, "--data-dir", str(root / "gateway"), *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("ICEFLOE_")},
    )
    running = Process(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await running.ended()
        # The pipe's transport is closed in the loop's next turns.
        await asyncio.sleep(0)
        getattr(process, "_transport").close()  # noqa: B009 - private, on purpose
        await asyncio.sleep(0)


@in_loop
async def test_the_process_tells_clients_where_to_go_and_ends_with_0(
    tmp_path: Path,
) -> None:
    ca = Authority()
    ca_file = tmp_path / "ca.crt"
    ca_file.write_text(ca.pem)
    async with (
        Upstream(ca, signs, own=says_pending).running() as upstream,
        gateway_process(tmp_path, upstream, "--ca", str(ca_file)) as process,
    ):
        ready = await process.wait_for("ready")
        assert ready["gateway"] == "gateway.example"
        assert ready["upstreams"] == [upstream.place.label]
        assert not ready["signed"]
        port = ready["address"].rpartition(":")[2]
        told = await process.wait_for(
            "clients enroll here: parent host only, --endpoint stays what it was"
        )
        assert told["parent_host"] == f"--parent_host {HOST},{port}"
        process.process.send_signal(signal.SIGHUP)
        shown = await process.wait_for("certificate shown to clients")
        assert shown["sha256"] == ready["sha256"]
        async with gateway_process(tmp_path, upstream) as second:
            assert await second.ended() == 1
            assert "running already" in second.events[-1]["detail"]
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert process.events[-1]["event"] == "stopped"


@in_loop
async def test_the_process_refuses_to_believe_just_anybody(tmp_path: Path) -> None:
    upstream = Upstream(Authority(), signs)
    async with gateway_process(tmp_path, upstream) as process:
        assert await process.ended() == 1
        assert "nothing says whom to believe" in process.events[-1]["detail"]


@in_loop
async def test_an_address_that_is_taken_is_named_with_the_option_to_change(
    tmp_path: Path,
) -> None:
    ca = Authority()
    ca_file = tmp_path / "ca.crt"
    ca_file.write_text(ca.pem)
    async with Upstream(ca, signs).running() as upstream:
        listen = f"{HOST},{upstream.port}"
        async with gateway_process(
            tmp_path, upstream, "--ca", str(ca_file), listen=listen
        ) as process:
            assert await process.ended() == 1
            detail = process.events[-1]["detail"]
            assert str(upstream.port) in detail
            assert "--listen" in detail
