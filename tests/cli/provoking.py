"""Every problem of the catalogue, brought about as really as a test can.

`PROVOKED` has one function for each code; it is given a `Stage` and returns what a
command told.  Real nodes, closed ports, resetting servers and full disks are used where
they can be had; where a code is a signer's word alone, a parent over real TLS says it as
the signer does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import pytest
import typer
from tests.cli.command import Command, Done
from tests.lab.world import cluster as habitual_cluster
from tests.node.cluster import (
    SALT,
    Authority,
    Running,
    Zones,
    free_port,
    start_node,
    until,
)
from tests.node.cluster import write_node as write_cluster_node
from tests.node.fake_parent import (
    Asked,
    FakeParent,
    fails,
    fake_parent,
    pends,
    refuses,
    signs,
)
from tests.node.tls import material

from icefloe.cli import setting as cli_setting
from icefloe.cli.output import Output
from icefloe.cli.problem_words import telling_problems
from icefloe.config.layout import NodeDirectories
from icefloe.doors import Now, WallTime
from icefloe.enrollment.own_status import OwnStatus
from icefloe.enrollment.problems import Code
from icefloe.enrollment.reasons import Reason
from icefloe.enrollment.requester import Requester
from icefloe.lab.small_disk import SmallDisk, why_no_small_disk
from icefloe.node.doors import RealClock
from icefloe.node.tls.contexts import server_context
from icefloe.node.tls.listener import Listener
from icefloe.pki.certificates import fingerprint, load_pem, to_pem
from icefloe.pki.tickets import ticket
from icefloe.storage.identity import IdentityFiles
from icefloe.storage.lock import DaemonLock
from icefloe.storage.own_status_file import write_own_status
from icefloe.storage.switching import IdentityJournal

T = TypeVar("T")

SECRET: Final = "0123456789abcdef0123456789abcdef01234567"
WRONG: Final = "0" * 40
CN: Final = "a1"
HERE: Final = "here1"
READY_SECONDS: Final = 60.0
YEAR: Final = 365 * 86_400.0


@dataclass(frozen=True)
class Told:
    """What a command told.

    Attributes:
        text: In words.
        facts: With `--json`.
        hop: What its words have to name.
    """

    text: str
    facts: dict[str, Any]
    hop: str


@dataclass
class Stage:
    """A node's directories, what is undone at the end, and how time passes."""

    icefloe: Command
    patch: pytest.MonkeyPatch
    undo: ExitStack = field(default_factory=ExitStack)
    _made: int = 0
    _is_patient: bool = False

    def __post_init__(self) -> None:
        constants = self.icefloe.directories.constants_conf
        constants.write_text(f'const NodeName = "{HERE}"\n')

    @property
    def root(self) -> Path:
        return self.icefloe.root

    # Asking.

    def brief(self) -> None:
        """Do not go on for half a minute where there is no answer at all."""
        if self._is_patient:
            return
        self.patch.setitem(
            Requester.__init__.__kwdefaults__ or {}, "answer_deadline", 0.1
        )

    def newcomer(self, cn: str = CN) -> tuple[Path, Path]:
        """Return a new key and its self-signed certificate."""
        self._made += 1
        key = self.root / f"{cn}.{self._made}.key"
        cert = key.with_suffix(".crt")
        self.icefloe.ok("pki", "new-cert", "--cn", cn, "--key", key, "--cert", cert)
        return key, cert

    def pin(self, certificate_pem: bytes | str) -> Path:
        path = self.root / "pin.crt"
        content = certificate_pem
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def request(
        self,
        port: int,
        *more: object,
        pin: Path | None,
        host: str = "127.0.0.1",
        own: tuple[Path, Path] | None = None,
        ca: Path | None = None,
        hop: str = "",
    ) -> Told:
        """Run `pki request --json`, whose words go to standard error."""
        self.brief()
        key, cert = own or self.newcomer()
        trusted = ("--trustedcert", pin) if pin is not None else ()
        done = self.icefloe(
            *("pki", "request", "--host", host, "--port", port, "--json"),
            *("--key", key, "--cert", cert, "--ca", ca or self.root / "ca.crt"),
            *(*trusted, "--wait", "0", *more),
        )
        return told(done, hop or f"{host}:{port}")

    def fake(self, *behaviours: Any, **options: Any) -> FakeParent:
        return self.undo.enter_context(fake_parent(*behaviours, **options))

    def said_by_fake(self, *behaviours: Any, hop: str = "", **options: Any) -> Told:
        """Ask a parent that behaves so."""
        parent = self.fake(*behaviours, **options)
        return self.request(parent.port, pin=self.pin(parent.pin), hop=hop)

    # Real nodes.

    def signer(self, **limits: int) -> RealNode:
        """Return a real signer, m1, running."""
        ca = Authority()
        zones = Zones({"master": (None, {"m1": free_port(), "m2": None})})
        directories = write_cluster_node(
            self.root / "nodes", "m1", zones, dialled=set(), ca=ca, signer=True
        )
        return self._running(directories, limits)

    def lonely_relay(self) -> RealNode:
        """Return a real satellite whose parent is down, running; it holds askers."""
        self._is_patient = True
        zones = Zones(
            {
                "master": (None, {"m1": closed_port()}),
                "s": ("master", {"s1": free_port()}),
            }
        )
        directories = write_cluster_node(
            self.root / "nodes", "s1", zones, dialled={"m1"}, ca=Authority()
        )
        return self._running(directories, {})

    def signer_and_relay(self) -> tuple[RealNode, RealNode]:
        """Return m1, and s1 below it, connected; r1 is in a zone beside that of s1."""
        self._is_patient = True
        ca = Authority()
        zones = Zones(
            {
                "master": (None, {"m1": free_port()}),
                "left": ("master", {"s1": free_port()}),
                "right": ("master", {"r1": None}),
            },
            icefloe=("m1", "s1"),
        )
        root = self.root / "nodes"
        signer = write_cluster_node(
            root, "m1", zones, dialled=set(), ca=ca, signer=True
        )
        relay = write_cluster_node(root, "s1", zones, dialled={"m1"}, ca=ca)
        both = self.undo.enter_context(in_thread(lambda: _connected(signer, relay)))
        above, below = (RealNode(each, self.icefloe) for each in both)
        return above, below

    def _running(
        self, directories: NodeDirectories, limits: dict[str, int]
    ) -> RealNode:
        if limits:
            entries = "; ".join(f"{name} = {number}" for name, number in limits.items())
            with directories.constants_conf.open("a") as constants:
                constants.write(f"const IcefloeLimits = {{ {entries} }}\n")
        running = self.undo.enter_context(in_thread(lambda: _locked_node(directories)))
        return RealNode(running, self.icefloe)

    # This node's own state.

    def own_identity(
        self, *, signed: bool = True, ends: float | None = None
    ) -> material.Authority:
        """Give the node HERE an identity in its place; return its CA."""
        ca, node = material.Authority(), material.self_signed(HERE)
        if signed:
            node = material.Node(
                node.key,
                material.build(
                    subject=material.common_name(HERE),
                    key=node.key,
                    issuer=ca.name,
                    signer=ca.key,
                    starts=-400 * material.DAY,
                    ends=material.DAY * (300 if ends is None else ends),
                    extensions=[material.dns(HERE)],
                ),
            )
        certs = self.icefloe.certs
        certs.mkdir(exist_ok=True)
        (certs / f"{HERE}.key").write_bytes(material.key_pem(node.key))
        (certs / f"{HERE}.crt").write_bytes(material.pem(node.certificate))
        (certs / "ca.crt").write_bytes(material.pem(ca.certificate))
        return ca

    def daemon_runs(self) -> None:
        """Hold the daemon's lock, as a daemon does."""
        directories = self.icefloe.directories
        directories.own_dir.mkdir(exist_ok=True, mode=0o700)
        self.undo.enter_context(DaemonLock.acquire(directories.lock))

    def daemon_said(self, status: OwnStatus) -> None:
        """Leave what the daemon last said."""
        self.icefloe.directories.own_dir.mkdir(exist_ok=True, mode=0o700)
        write_own_status(self.icefloe.directories, status, owner=None)

    def status(self, hop: str = HERE) -> Told:
        """Run `enrollment status`, in words and as JSON."""
        words, facts = (
            self.icefloe("enrollment", "status", *more) for more in ((), ("--json",))
        )
        return Told(words.text, msgspec.json.decode(facts.out), hop)


def told(done: Done, hop: str) -> Told:
    return Told(done.err, msgspec.json.decode(done.out), hop)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- Real nodes in a thread of their own ----------------------------------------------


@dataclass
class RealNode:
    """A node that runs, and `icefloe` on its files."""

    running: Running
    icefloe: Command

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def name(self) -> str:
        return self.running.logs.name

    @property
    def certificate_pem(self) -> str:
        certs = self.running.directories.certs
        return next(certs.glob(f"{self.name}.crt")).read_text()

    def run(self, *words: object) -> Done:
        directories = self.running.directories
        return self.icefloe.bare(
            *("--config-dir", directories.config_dir),
            *("--data-dir", directories.data_dir, *words),
        )


@asynccontextmanager
async def _connected(
    signer: NodeDirectories, relay: NodeDirectories
) -> AsyncIterator[list[Running]]:
    async with _locked_node(signer) as above, _locked_node(relay) as below:
        await until(lambda: below.logs.seen("connected"), "connected")
        yield [above, below]


@asynccontextmanager
async def _locked_node(directories: NodeDirectories) -> AsyncIterator[Running]:
    directories.own_dir.mkdir(exist_ok=True, mode=0o700)
    with DaemonLock.acquire(directories.lock):
        running = await start_node(directories)
        try:
            yield running
        finally:
            await running.stop()


@contextmanager
def in_thread(node: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Let nodes run in a thread: the commands under test have loops of their own."""
    ready, found, failed = threading.Event(), list[T](), list[BaseException]()
    over: list[Callable[[], object]] = []

    async def serve() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        over.append(lambda: loop.call_soon_threadsafe(end.set))
        async with node() as running:
            found.append(running)
            ready.set()
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - shown in the test's thread
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="real-node")
    thread.start()
    try:
        assert ready.wait(READY_SECONDS)
        assert not failed, failed
        yield found[0]
    finally:
        if found:
            for each in over:
                each()
        thread.join(READY_SECONDS)
    assert not thread.is_alive()
    assert not failed, failed


# --- All is well ----------------------------------------------------------------------


def signed(stage: Stage) -> Told:
    node = stage.signer()
    given = ticket(CN, SALT)
    pin = stage.pin(node.certificate_pem)
    return stage.request(node.port, "--ticket", given, pin=pin, hop="m1")


def nothing_to_do(stage: Stage) -> Told:
    node, own = stage.signer(), stage.newcomer()
    pin, given = stage.pin(node.certificate_pem), ticket(CN, SALT)
    asked = partial(stage.request, node.port, "--ticket", given)
    asked(pin=pin, own=own)
    return asked(pin=pin, own=own, hop="m1")


# --- It waits -------------------------------------------------------------------------


def pending(stage: Stage) -> Told:
    return stage.said_by_fake(pends)


def awaiting_approval(stage: Stage) -> Told:
    node = stage.signer()
    return stage.request(node.port, pin=stage.pin(node.certificate_pem), hop="m1")


def reserved_name(stage: Stage) -> Told:
    """An endpoint of the signer's own zone, with a second key."""
    node = stage.signer()
    pin, given = stage.pin(node.certificate_pem), ticket("m2", SALT)
    asked = partial(stage.request, node.port, "--ticket", given, pin=pin, hop="m1")
    asked(own=stage.newcomer("m2"), ca=stage.root / "first.ca")
    return asked(own=stage.newcomer("m2"))


def too_many_certificates(stage: Stage) -> Told:
    node = stage.signer(certificates_per_name_and_day=1)
    pin, given = stage.pin(node.certificate_pem), ticket(CN, SALT)
    asked = partial(stage.request, node.port, "--ticket", given, pin=pin, hop="m1")
    asked(own=stage.newcomer(), ca=stage.root / "first.ca")
    return asked(own=stage.newcomer())


def outside_subtree(stage: Stage) -> Told:
    """A satellite forwards a name of the zone beside its own: two hops."""
    _, relay = stage.signer_and_relay()
    given, own = ticket("r1", SALT), stage.newcomer("r1")
    pin = stage.pin(relay.certificate_pem)
    return stage.request(relay.port, "--ticket", given, pin=pin, own=own, hop="m1")


def parent_unreachable(stage: Stage) -> Told:
    node = stage.lonely_relay()
    pin = stage.pin(node.certificate_pem)
    return stage.request(node.port, "--ticket", SECRET, pin=pin, hop="s1")


def waits(reason: Reason) -> Callable[[Stage], Told]:
    """A parent says what it waits for, with the words of a node above."""

    def provoke(stage: Stage) -> Told:
        return stage.said_by_fake(
            partial(pends, hop="master1", reason=reason.value), hop="master1"
        )

    return provoke


# --- It was refused -------------------------------------------------------------------


def wrong_ticket(stage: Stage) -> Told:
    node = stage.signer()
    pin = stage.pin(node.certificate_pem)
    return stage.request(node.port, "--ticket", WRONG, pin=pin, hop="m1")


def too_many_wrong_tickets(stage: Stage) -> Told:
    node = stage.signer(wrong_tickets_per_minute=1)
    pin = stage.pin(node.certificate_pem)
    asked = partial(stage.request, node.port, "--ticket", WRONG, pin=pin, hop="m1")
    asked()
    found = asked()
    assert found.facts["retry_after"] > 0
    return found


def declined(stage: Stage) -> Told:
    node, own = stage.signer(), stage.newcomer()
    pin = stage.pin(node.certificate_pem)
    stage.request(node.port, pin=pin, own=own, hop="m1")
    name = fingerprint(load_pem(own[1].read_bytes()))
    assert node.run("ca", "remove", name).code == 0
    return stage.request(node.port, pin=pin, own=own, hop="m1")


def limit(stage: Stage) -> Told:
    node = stage.signer(open_requests_per_source=1)
    pin = stage.pin(node.certificate_pem)
    stage.request(node.port, pin=pin, own=stage.newcomer("a0"))
    found = stage.request(node.port, pin=pin, hop="m1")
    assert found.facts["retry_after"] > 0
    return found


def bad_name(stage: Stage) -> Told:
    """The name of the CA itself."""
    node = stage.signer()
    own = stage.newcomer("Icinga CA")
    pin = stage.pin(node.certificate_pem)
    return stage.request(node.port, pin=pin, own=own, hop="m1")


def refused(reason: Reason) -> Callable[[Stage], Told]:
    """A parent refuses with this reason of a node above."""

    def provoke(stage: Stage) -> Told:
        return stage.said_by_fake(
            partial(refuses, hop="master1", reason=reason.value), hop="master1"
        )

    return provoke


def refused_in_words(stage: Stage) -> Told:
    def behave(asked: Asked) -> None:
        asked.answer(status_code=1, error="So so.")
        asked.close()

    return stage.said_by_fake(behave)


# --- Between this node and its parent -------------------------------------------------


def some_pin(stage: Stage) -> Path:
    return stage.pin(material.pem(material.self_signed("parent1").certificate))


def name_not_resolved(stage: Stage) -> Told:
    return stage.request(5665, pin=some_pin(stage), host="no-such-host.invalid")


def unreachable(stage: Stage) -> Told:
    return stage.request(closed_port(), pin=some_pin(stage))


def tls_failed(stage: Stage) -> Told:
    """Somebody takes the connection, hears what TLS says, and resets it."""
    server = stage.undo.enter_context(socket.create_server(("127.0.0.1", 0)))
    server.settimeout(0.2)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            connection.settimeout(READY_SECONDS)
            connection.recv(1)
            linger = struct.pack("ii", 1, 0)  # closing is a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    stage.undo.callback(thread.join)
    stage.undo.callback(over.set)
    return stage.request(server.getsockname()[1], pin=some_pin(stage))


def cut_off(stage: Stage) -> Told:
    """A satellite with the habits of Icinga 2.14.4, which cuts "pending" off."""
    nodes = stage.root / "habitual"
    nodes.mkdir()
    satellite, _ = stage.undo.enter_context(
        in_thread(lambda: habitual_cluster(nodes, "2.14.4"))
    )
    host, port = satellite.parent.host, satellite.parent.port
    pin = stage.root / "pin.crt"
    stage.icefloe.ok(
        *("pki", "save-cert", "--host", host, "--port", port, "--trustedcert", pin)
    )
    return stage.request(port, host=host, pin=pin)


def trust_mismatch(stage: Stage) -> Told:
    parent = stage.fake(signs)
    told_ = stage.request(parent.port, "--ticket", SECRET, pin=some_pin(stage))
    assert not parent.asked, "it has not seen the ticket"
    return told_


def trust_missing(stage: Stage) -> Told:
    return stage.request(closed_port(), pin=None, hop="this node")


def invalid_certificate(stage: Stage) -> Told:
    return stage.said_by_fake(partial(signs, by=material.Authority()))


def invalid_answer(stage: Stage) -> Told:
    return stage.said_by_fake(fails)


class Behind:
    """A clock that is two years behind."""

    def now(self) -> Now:
        real = RealClock().now()
        return Now(wall=WallTime(real.wall - 2 * YEAR), mono=real.mono)


def clock_wrong(stage: Stage) -> Told:
    parent = stage.fake(signs)
    pin, own = stage.pin(parent.pin), stage.newcomer()
    stage.patch.setattr(cli_setting, "RealClock", Behind)
    return stage.request(parent.port, pin=pin, own=own)


# --- On this machine ------------------------------------------------------------------


def file_rights(stage: Stage) -> Told:
    """The command is run by a user who may not read the key."""
    key, cert = stage.newcomer()
    words: list[object] = ["pki", "request", "--host", "127.0.0.1", "--json"]
    words += ["--key", key, "--cert", cert, "--ca", stage.root / "ca.crt"]
    words += ["--trustedcert", cert]
    if os.geteuid() != 0:
        key.chmod(0)
        return told(stage.icefloe(*words), "this node")
    code = f"import os; os.setuid(65534); from icefloe.cli.app import run; run({[*map(str, words)]!r})"
    done = subprocess.run(
        # Imported while it still may: the nobody of a test cannot read everything.
        [sys.executable, "-c", f"import icefloe.cli.pki; {code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return told(Done(done.returncode, done.stdout, done.stderr), "this node")


def disk_full(stage: Stage) -> Told:
    """The certificate comes, and there is no room for it."""
    if why_no_small_disk() is not None:
        pytest.skip(str(why_no_small_disk()))
    parent, where = stage.fake(signs), stage.root / "small"
    where.mkdir()
    disk = stage.undo.enter_context(SmallDisk.mounted(where, kilobytes=64))
    pin, (key, cert) = stage.pin(parent.pin), stage.newcomer()
    key = Path(shutil.move(key, where / "a1.key"))
    cert = Path(shutil.move(cert, where / "a1.crt"))
    before = cert.read_bytes()
    disk.fill()
    found = stage.request(
        parent.port, pin=pin, own=(key, cert), ca=where / "ca.crt", hop="this node"
    )
    # Set aside, which takes no room.
    assert cert.with_name("a1.crt.unsigned").read_bytes() == before
    return found


def file_trouble(stage: Stage) -> Told:
    missing = stage.root / "missing.crt"
    return stage.request(closed_port(), pin=missing, hop="this node")


def identity_broken(stage: Stage) -> Told:
    own = stage.newcomer()
    own[1].write_text("no certificate")
    pin = some_pin(stage)
    return stage.request(closed_port(), pin=pin, own=own, hop="this node")


def configuration_invalid(stage: Stage) -> Told:
    return stage.request(
        closed_port(), "--host", "x,y", pin=some_pin(stage), hop="this node"
    )


def port_in_use(stage: Stage) -> Told:
    """What a daemon or a gateway meets that cannot listen."""
    server = stage.undo.enter_context(socket.create_server(("127.0.0.1", 0)))
    output = Output().for_one_result()
    with pytest.raises(typer.Exit), telling_problems(output, as_json=True):
        Listener(
            host="127.0.0.1",
            port=server.getsockname()[1],
            context=server_context(material.self_signed(HERE).identity()),
            on_stream=lambda _stream, _admission: None,
        ).bind()
    out, err = stage.icefloe._capsys.readouterr()
    return told(Done(1, out, err), "this node")


def ticket_unreadable(stage: Stage) -> Told:
    words = ("--ticket-file", stage.root / "no-ticket")
    return stage.request(closed_port(), *words, pin=some_pin(stage), hop="this node")


def interrupted(stage: Stage) -> Told:
    """Ctrl-C while the parent holds the connection."""

    def behave(_asked: Asked) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    return stage.said_by_fake(behave, hop="this node")


def other_trouble(stage: Stage) -> Told:
    """The directory belongs to a user whom the machine does not know."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(stage.icefloe.directories.data_dir, 54321, 54321)
    done = stage.icefloe("enrollment", "status", "--json")
    return told(done, "this node")


# --- Told by the daemon ---------------------------------------------------------------


def not_enrolled(stage: Stage) -> Told:
    return stage.status()


def daemon_not_running(stage: Stage) -> Told:
    stage.own_identity()
    return stage.status()


def status_unknown(stage: Stage) -> Told:
    stage.own_identity(signed=False)
    stage.daemon_runs()
    return stage.status()


def switched(stage: Stage) -> IdentityJournal:
    """Put another certificate in place, through the journal."""
    ca, directories = stage.own_identity(), stage.icefloe.directories
    files = IdentityFiles.of_node(directories.certs, HERE)
    present = load_pem(files.certificate.read_bytes())
    key: Any = present
    newer = material.build(
        subject=material.common_name(HERE),
        key=key,  # of which only the public half is asked for
        issuer=ca.name,
        signer=ca.key,
        ends=200 * material.DAY,
        extensions=[material.dns(HERE)],
    )
    journal = IdentityJournal.of_node(directories, owner=None)
    assert journal.switch(
        [(files.certificate, to_pem(newer).encode(), 0o644)],
        files=files,
        node_name=HERE,
        at=WallTime(time.time()),
        reason="a test",
    )
    return journal


def unconfirmed(stage: Stage) -> Told:
    switched(stage)
    stage.daemon_runs()
    return stage.status()


def rolled_back(stage: Stage) -> Told:
    journal = switched(stage)
    assert journal.roll_back("sat1 refused it", WallTime(time.time()))
    stage.daemon_runs()
    found = stage.status()
    assert "sat1 refused it" in found.text
    return found


def said_by_daemon(code: str, **facts: Any) -> Callable[[Stage], Told]:
    """The daemon runs and has said this about itself."""

    def provoke(stage: Stage) -> Told:
        stage.own_identity()
        stage.daemon_runs()
        certificate = load_pem((stage.icefloe.certs / f"{HERE}.crt").read_bytes())
        stage.daemon_said(
            OwnStatus(
                since=WallTime(time.time() - 60),
                parent="sat1",
                code=code,
                certificate_ends=WallTime(certificate.not_valid_after_utc.timestamp()),
                **facts,
            )
        )
        return stage.status(hop="sat1")

    return provoke


def certificate_expired(stage: Stage) -> Told:
    stage.own_identity(ends=-1)
    stage.daemon_runs()
    return stage.status()


PROVOKED: Final[dict[str, Callable[[Stage], Told]]] = {
    Code.SIGNED: signed,
    Reason.NOTHING_TO_DO: nothing_to_do,
    Code.PENDING: pending,
    Reason.AWAITING_APPROVAL: awaiting_approval,
    Reason.RESERVED_NAME: reserved_name,
    Reason.OUTSIDE_SUBTREE: outside_subtree,
    Reason.REVOKED_KEY: waits(Reason.REVOKED_KEY),
    Reason.TOO_MANY_CERTIFICATES: too_many_certificates,
    Reason.PARENT_PENDING: waits(Reason.PARENT_PENDING),
    Reason.PARENT_UNREACHABLE: parent_unreachable,
    Reason.NODE_STOPS: waits(Reason.NODE_STOPS),
    Reason.WRONG_TICKET: wrong_ticket,
    Reason.DECLINED: declined,
    Reason.NO_CERTIFICATE: refused(Reason.NO_CERTIFICATE),
    Reason.BAD_CERTIFICATE: refused(Reason.BAD_CERTIFICATE),
    Reason.BAD_NAME: bad_name,
    Reason.NO_POSSESSION: refused(Reason.NO_POSSESSION),
    Reason.LIMIT: limit,
    Reason.TOO_MANY_WRONG_TICKETS: too_many_wrong_tickets,
    Reason.SIGNER_FAULT: refused(Reason.SIGNER_FAULT),
    Reason.LEDGER_FAULT: waits(Reason.LEDGER_FAULT),
    Reason.REFUSED_BY_PARENT: refused_in_words,
    Code.NAME_NOT_RESOLVED: name_not_resolved,
    Code.UNREACHABLE: unreachable,
    Code.TLS_FAILED: tls_failed,
    Code.CUT_OFF: cut_off,
    Code.TRUST_MISMATCH: trust_mismatch,
    Code.TRUST_MISSING: trust_missing,
    Code.INVALID_CERTIFICATE: invalid_certificate,
    Code.INVALID_ANSWER: invalid_answer,
    Code.CLOCK_WRONG: clock_wrong,
    Code.FILE_RIGHTS: file_rights,
    Code.DISK_FULL: disk_full,
    Code.FILE_TROUBLE: file_trouble,
    Code.IDENTITY_BROKEN: identity_broken,
    Code.CONFIGURATION_INVALID: configuration_invalid,
    Code.PORT_IN_USE: port_in_use,
    Code.TICKET_UNREADABLE: ticket_unreadable,
    Code.INTERRUPTED: interrupted,
    Code.OTHER_TROUBLE: other_trouble,
    Code.NOT_ENROLLED: not_enrolled,
    Code.DAEMON_NOT_RUNNING: daemon_not_running,
    Code.STATUS_UNKNOWN: status_unknown,
    Code.UNCONFIRMED: unconfirmed,
    Code.ROLLED_BACK: rolled_back,
    Code.CERTIFICATE_REFUSED: said_by_daemon(
        Code.CERTIFICATE_REFUSED, state="refused", detail="sat1 does not take it."
    ),
    Code.RENEWAL_FAILING: said_by_daemon(
        Code.RENEWAL_FAILING, state="due", detail="No parent is connected."
    ),
    Code.CERTIFICATE_EXPIRED: certificate_expired,
}
"""By code."""
