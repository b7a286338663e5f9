"""What every node under test can do, whichever product runs it.

Both products take the same commands and keep the same files, so nearly everything is
here.  A product says only how a command line is made and which line of its log means
"connected".
"""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from cryptography import x509

from tests.peers import layout
from tests.peers.layout import Address, ZoneSpec
from tests.peers.process import OwnProcess
from tests.peers.waiting import GENEROUS_SECONDS, free_port, is_listening, wait_until

if TYPE_CHECKING:
    from tests.peers.prepared import PreparedPKI

COMMAND_SECONDS = 90.0
"""How long one command may take.

A real client has no timeout of its own, and makes RSA-4096 keys on a shared core.
"""


class CommandFailed(AssertionError):
    """A command that a test needs ended with another exit code than 0."""

    def __init__(self, node: str, result: subprocess.CompletedProcess[str]) -> None:
        """Keep the command's output for the failure's text."""
        self.result = result
        words = " ".join(str(word) for word in result.args[:4])
        super().__init__(
            f"{node}: {words}... ended with {result.returncode}\n"
            f"{result.stdout}{result.stderr}"
        )


class NodeUnderTest(ABC):
    """One private node: its directories, its port, its commands, its daemon."""

    product: ClassVar[str]
    """`icinga` or `icefloe`; also what tests are named after."""

    def __init__(
        self,
        name: str,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        daemon_options: Sequence[str] = (),
        existing: bool = False,
    ) -> None:
        """Make the node's empty directories.

        Args:
            name: Common name, node name and endpoint name in one.
            root: A directory for tests; the node lives in `root/name`.
            host: Loopback address to listen on.
            port: Port to listen on; one that nobody else has when None.
            daemon_options: Further options for `daemon`.
            existing: The directories are there, from another product or process, and
                stay as they are.
        """
        self.name = name
        self.root = root / name
        self.address = Address(host, free_port() if port is None else port)
        self.daemon_options = tuple(daemon_options)
        self._process: OwnProcess | None = None
        self._log_before_start = 0
        if not existing:
            self._make_directories()

    def _make_directories(self) -> None:
        self.config_dir.mkdir(parents=True)
        self.certs_dir.mkdir(parents=True, mode=0o700)
        for part in ("features-available", "features-enabled", "zones.d", "local.d"):
            (self.config_dir / part).mkdir()
        (self.config_dir / "icinga2.conf").write_text(layout.ICINGA2_CONF)
        (self.config_dir / "zones.conf").write_text("")
        (self.config_dir / "constants.conf").write_text(
            layout.constants_conf(
                node=self.name, zone=self.name, salt="", icefloe_endpoints=()
            )
        )
        (self.config_dir / "features-available/api.conf").write_text("")
        (self.config_dir / "features-available/checker.conf").write_text(
            'object CheckerComponent "checker" { }\n'
        )
        (self.config_dir / "features-available/notification.conf").write_text(
            'object NotificationComponent "notification" { }\n'
        )

    def __repr__(self) -> str:
        return f"<{self.product} {self.name} at {self.address}>"

    # Paths, in Icinga's layout.

    @property
    def host(self) -> str:
        """Loopback address the node listens on."""
        return self.address.host

    @property
    def port(self) -> int:
        """Port the node listens on."""
        return self.address.port

    @property
    def config_dir(self) -> Path:
        """Stands for `/etc/icinga2`."""
        return self.root / "etc"

    @property
    def data_dir(self) -> Path:
        """Stands for `/var/lib/icinga2`."""
        return self.root / "data"

    @property
    def certs_dir(self) -> Path:
        """Certificates, key and ticket."""
        return self.data_dir / "certs"

    @property
    def ca_dir(self) -> Path:
        """CA certificate and key, on a signer."""
        return self.data_dir / "ca"

    @property
    def requests_dir(self) -> Path:
        """Stored certificate requests of an Icinga node."""
        return self.data_dir / "certificate-requests"

    @property
    def certificate_path(self) -> Path:
        """The node's own certificate, self-signed or signed."""
        return self.certs_dir / f"{self.name}.crt"

    @property
    def key_path(self) -> Path:
        """The node's own key."""
        return self.certs_dir / f"{self.name}.key"

    @property
    def ca_path(self) -> Path:
        """The trust anchor; tools take its existence for success."""
        return self.certs_dir / "ca.crt"

    @property
    def ticket_path(self) -> Path:
        """The ticket a daemon sends with its requests."""
        return self.certs_dir / "ticket"

    @property
    def trusted_parent_path(self) -> Path:
        """Where `save_parent_certificate` puts the pinned certificate."""
        return self.certs_dir / "trusted-parent.crt"

    @property
    def log_path(self) -> Path:
        """What all runs of the daemon printed."""
        return self.root / "daemon.log"

    # Commands.

    @abstractmethod
    def argv(self, *words: str) -> list[str]:
        """Return the whole command line for this node and these words."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return the environment of commands and daemon."""

    def cli(
        self, *words: str, timeout_seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; the caller looks at `returncode`.

        Raises:
            subprocess.TimeoutExpired: It did not end in time, and was killed.
        """
        return subprocess.run(
            self.argv(*words),
            env=dict(self.environment()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def must(self, *words: str) -> str:
        """Run one command that has to succeed; return what it printed.

        Raises:
            CommandFailed: It ended with another exit code than 0.
        """
        result = self.cli(*words)
        if result.returncode != 0:
            raise CommandFailed(self.name, result)
        return result.stdout

    # Enrolling this node.

    def new_certificate(self) -> None:
        """Make a key and a self-signed certificate, which is the request."""
        self.must(
            *("pki", "new-cert", "--cn", self.name),
            *("--key", str(self.key_path), "--cert", str(self.certificate_path)),
        )

    def install_newcomer(self, pki: PreparedPKI) -> None:
        """Give this node a key and certificate as icinga2's `pki new-cert` makes them.

        Ready-made, once for each name: an RSA-4096 key costs a second of CPU.
        """
        made = pki.newcomer(self.name)
        shutil.copy(made / "node.key", self.key_path)
        shutil.copy(made / "node.crt", self.certificate_path)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that the node has now."""
        return x509.load_pem_x509_certificate(self.certificate_path.read_bytes())

    @property
    def is_signed(self) -> bool:
        """Whether that certificate is one of a CA, no longer self-signed.

        There is none after a refusal: Icefloe sets its request aside (docs/tools.md).
        """
        if not self.certificate_path.exists():
            return False
        certificate = self.certificate
        return certificate.issuer != certificate.subject

    def save_parent_certificate(self, parent: NodeUnderTest) -> None:
        """Fetch and pin the parent's certificate."""
        self.must(
            *("pki", "save-cert", "--host", parent.host, "--port", str(parent.port)),
            *("--trustedcert", str(self.trusted_parent_path)),
        )

    def request_certificate(
        self, parent: NodeUnderTest, ticket: str = "", *, options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Ask the parent once with `pki request`; key and pin must be there."""
        given = ("--ticket", ticket) if ticket else ()
        return self.cli(
            *("pki", "request", "--host", parent.host, "--port", str(parent.port)),
            *("--key", str(self.key_path), "--cert", str(self.certificate_path)),
            *("--trustedcert", str(self.trusted_parent_path)),
            *("--ca", str(self.ca_path), *given, *options),
        )

    def node_setup_master(
        self, zone: str = "master"
    ) -> subprocess.CompletedProcess[str]:
        """Make this node a master with a CA and a random salt of its own."""
        return self.cli(
            *("node", "setup", "--master", "--cn", self.name, "--zone", zone),
            *("--listen", str(self.address)),
        )

    def node_setup_satellite(
        self,
        parent: NodeUnderTest,
        *,
        ticket: str = "",
        zone: str = "satellite",
        parent_zone: str = "master",
        dials: bool = True,
        options: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Set this node up below `parent`, and ask for its certificate.

        Args:
            parent: Where to ask; its certificate is fetched and pinned first, unless
                one is.
            ticket: Auto-signing ticket for this node's name, or nothing.
            zone: This node's own zone.
            parent_zone: The parent's zone.
            dials: Whether this node connects to the parent, or waits for it.
            options: Further options of `node setup`.
        """
        if not self.trusted_parent_path.exists():
            self.save_parent_certificate(parent)
        where = f",{parent.address}" if dials else ""
        given = ("--ticket", ticket) if ticket else ()
        return self.cli(
            *("node", "setup", "--cn", self.name),
            *("--zone", zone, "--parent_zone", parent_zone),
            *("--endpoint", f"{parent.name}{where}"),
            *("--parent_host", str(parent.address)),
            *("--trustedcert", str(self.trusted_parent_path), *given),
            *("--listen", str(self.address)),
            *("--accept-config", "--accept-commands", *options),
        )

    def node_setup_agent(
        self,
        parent: NodeUnderTest,
        *,
        ticket: str = "",
        parent_zone: str = "satellite",
        dials: bool = True,
        options: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Set this node up as an agent: its zone bears its own name."""
        return self.node_setup_satellite(
            parent,
            ticket=ticket,
            zone=self.name,
            parent_zone=parent_zone,
            dials=dials,
            options=options,
        )

    # Being a signer.

    def pending(self) -> dict[str, dict[str, Any]]:
        """Return `ca list --json`: stored requests by fingerprint."""
        listed = self.must("ca", "list", "--json")
        return msgspec.json.decode(listed, type=dict[str, dict[str, Any]])

    def pending_of(self, common_name: str) -> list[str]:
        """Return the fingerprints of unsigned requests for one name."""
        return [
            fingerprint
            for fingerprint, request in self.pending().items()
            if request["subject"] == f"CN = {common_name}"
            and "cert_response" not in request
        ]

    def ca_sign(self, fingerprint: str) -> None:
        """Approve one stored request."""
        self.must("ca", "sign", fingerprint)

    @property
    def salt(self) -> str:
        """The ticket salt in `constants.conf`; empty when there is none."""
        text = (self.config_dir / "constants.conf").read_text()
        found = re.search(r'^const TicketSalt = "(.*)"', text, re.MULTILINE)
        return found[1] if found else ""

    def ticket_for(self, common_name: str) -> str:
        """Return the ticket that this node's salt makes for a name.

        Computed here, so that a test of tickets does not judge a product by itself.
        """
        return hashlib.pbkdf2_hmac(
            "sha1", common_name.encode(), self.salt.encode(), 50_000
        ).hex()

    # Files written by hand, as `node setup` would leave them.

    def configure(
        self,
        zones: Sequence[ZoneSpec],
        *,
        dials: Mapping[str, Address] | None = None,
        salt: str = "",
        icefloe_endpoints: Sequence[str] = (),
    ) -> None:
        """Write names, tree and listener, and enable the listener.

        Args:
            zones: The tree as this node is to know it; it must hold this node.
            dials: Addresses of the endpoints this node connects to.
            salt: Ticket salt; empty turns automatic signing off.
            icefloe_endpoints: Endpoints declared to be Icefloe nodes.
        """
        zone = next(zone.name for zone in zones if self.name in zone.endpoints)
        etc = self.config_dir
        (etc / "constants.conf").write_text(
            layout.constants_conf(
                node=self.name,
                zone=zone,
                salt=salt,
                icefloe_endpoints=icefloe_endpoints,
            )
        )
        self.write_zones(zones, dials=dials)
        (etc / "features-available/api.conf").write_text(
            layout.api_conf(
                host=self.host, port=self.port, with_salt=bool(salt), accept=True
            )
        )
        self.enable("api")

    def write_zones(
        self, zones: Sequence[ZoneSpec], *, dials: Mapping[str, Address] | None = None
    ) -> None:
        """Write `zones.conf` alone, for a node that `node setup` has configured."""
        text = layout.zones_conf(zones, dials or {})
        (self.config_dir / "zones.conf").write_text(text)

    def write_local(self, name: str, text: str) -> None:
        """Put objects of Icinga's language into `local.d`, which is included."""
        (self.config_dir / f"local.d/{name}.conf").write_text(text)

    def write_zone_config(self, zone: str, name: str, text: str) -> None:
        """Put objects into `zones.d/<zone>`, from where they are synced down."""
        directory = self.config_dir / "zones.d" / zone
        directory.mkdir(exist_ok=True)
        (directory / f"{name}.conf").write_text(text)

    def enable(self, feature: str) -> None:
        """Enable a feature as `feature enable` does, without a command."""
        link = self.config_dir / f"features-enabled/{feature}.conf"
        if not link.is_symlink():
            link.symlink_to(f"../features-available/{feature}.conf")

    def install_identity(self, pki: PreparedPKI, *, signer: bool = False) -> None:
        """Give this node a signed certificate from the session's ready-made CA.

        Args:
            pki: Where the CA and ready-made key pairs are.
            signer: Whether this node gets the CA key as well.
        """
        made = pki.identity(self.name)
        shutil.copy(made / "node.key", self.key_path)
        shutil.copy(made / "node.crt", self.certificate_path)
        shutil.copy(pki.ca_dir / "ca.crt", self.ca_path)
        if signer:
            shutil.copytree(pki.ca_dir, self.ca_dir)
            self.ca_dir.chmod(0o700)

    # The daemon.

    def start(self) -> None:
        """Start the daemon; wait until it listens and could be stopped in order.

        Raises:
            DeadlineMissed: It ended, or did not listen in time; the log tells why.
        """
        if self._process is not None and self._process.is_running:
            raise AssertionError(f"{self!r} already runs")
        self._log_before_start = self.log_mark()
        process = OwnProcess(
            self.argv("daemon", *self.daemon_options),
            environment=self.environment(),
            log=self.log_path,
        )
        self._process = process

        def ready_or_ended() -> bool:
            if not process.is_running:
                return True
            return process.handles(signal.SIGTERM) and is_listening(*self.address)

        wait_until(
            ready_or_ended, what=f"{self!r} to listen; its log is {self.log_path}"
        )
        if not self.is_running:
            raise AssertionError(f"{self!r} ended at once:\n{self.log()[-4000:]}")

    def stop(self) -> int:
        """Stop the daemon in an orderly way; return its exit code (0: never ran)."""
        return 0 if self._process is None else self._process.stop()

    def kill(self) -> None:
        """Kill the daemon's processes with signal 9."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop and start the daemon."""
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        """Say whether the daemon runs."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """Process id of the daemon's first process, which leads its group.

        Raises:
            AssertionError: The daemon was never started.
        """
        if self._process is None:
            raise AssertionError(f"{self!r} was never started")
        return self._process.pid

    # The log.

    def log(self, after: int = 0) -> str:
        """Return what the daemon printed, from byte `after` on."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[after:].decode(errors="replace")

    def log_mark(self) -> int:
        """Return the log's size, to look only at what comes later."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def wait_for_log(
        self,
        pattern: str,
        *,
        after: int = 0,
        timeout_seconds: float = GENEROUS_SECONDS,
    ) -> re.Match[str]:
        """Return the first match of a regular expression in the log.

        Args:
            pattern: Searched line by line (`^` and `$` match at lines).
            after: A `log_mark`; earlier output is not looked at.
            timeout_seconds: When to give up.
        """
        compiled = re.compile(pattern, re.MULTILINE)
        return wait_until(
            lambda: compiled.search(self.log(after)),
            what=f"/{pattern}/ in the log of {self!r}",
            timeout_seconds=timeout_seconds,
        )

    @abstractmethod
    def connected_pattern(self, peer: str) -> str:
        """Return what the log says when the session with an endpoint is ready."""

    def wait_until_connected(
        self, peer: NodeUnderTest, *, after: int | None = None
    ) -> None:
        """Wait until this node's session with `peer` is ready for messages.

        A node's log tells of its own side only: a self-signed agent takes its parent
        for authenticated while the parent takes the agent for anonymous.  Ask the
        end that has to know the other.

        Args:
            peer: The other end.
            after: A `log_mark`; None looks at everything since the last start.
        """
        self.wait_for_log(
            self.connected_pattern(peer.name),
            after=self._log_before_start if after is None else after,
        )
