"""The directories of one node, with Icinga 2's own names inside them.

Everything Icinga writes has its place here, so that an existing node can be taken over
and given back; Icefloe's own files lie in one sub-directory of the data directory,
which Icinga leaves alone (protocol: Icinga 2, files of a node).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from icefloe.config.errors import LayoutError, printable

CONFIG_DIR_VARIABLE = "ICEFLOE_CONFIG_DIR"
DATA_DIR_VARIABLE = "ICEFLOE_DATA_DIR"

CONFIG_DIR_DEFAULT = Path("/etc/icinga2")
DATA_DIR_DEFAULT = Path("/var/lib/icinga2")

FILE_NAME_BYTES_MAX = 255 - len(".crt.orig")
"""A node's name becomes a file name, and the longest one made of it is the back-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDirectories:
    """Where one node's files are.  Several nodes may live on one machine.

    Attributes:
        config_dir: Icinga's ConfigDir: what the operator writes.
        data_dir: Icinga's DataDir: keys, certificates, state.
    """

    config_dir: Path
    data_dir: Path

    # Below config_dir

    @property
    def icinga2_conf(self) -> Path:
        """The file Icinga starts from; Icefloe only looks at what it includes."""
        return self.config_dir / "icinga2.conf"

    @property
    def constants_conf(self) -> Path:
        """NodeName, ZoneName, TicketSalt and other constants."""
        return self.config_dir / "constants.conf"

    @property
    def zones_conf(self) -> Path:
        """Endpoints and zones."""
        return self.config_dir / "zones.conf"

    @property
    def zones_d(self) -> Path:
        """Configuration that a master hands to the zones below it."""
        return self.config_dir / "zones.d"

    @property
    def conf_d(self) -> Path:
        """Local configuration; on Debian it holds example hosts."""
        return self.config_dir / "conf.d"

    @property
    def api_users_conf(self) -> Path:
        """The API user that setting up a master makes."""
        return self.conf_d / "api-users.conf"

    @property
    def features_available(self) -> Path:
        """One file per feature."""
        return self.config_dir / "features-available"

    @property
    def features_enabled(self) -> Path:
        """Links to the files of the features in use."""
        return self.config_dir / "features-enabled"

    def feature_available(self, feature: str) -> Path:
        """The file of a feature; raises `LayoutError` for a name that is no name."""
        return self.features_available / _file_name(feature, ".conf")

    def feature_enabled(self, feature: str) -> Path:
        """The link of a feature; raises `LayoutError` for a name that is no name."""
        return self.features_enabled / _file_name(feature, ".conf")

    # Below data_dir: Icinga's

    @property
    def certs(self) -> Path:
        """The node identity: key, certificate and the CA's certificate."""
        return self.data_dir / "certs"

    @property
    def trusted_ca(self) -> Path:
        """The CA certificate (PEM) this node trusts."""
        return self.certs / "ca.crt"

    @property
    def ticket(self) -> Path:
        """The ticket that a node not yet signed sends along.  A secret."""
        return self.certs / "ticket"

    def node_certificate(self, node_name: str) -> Path:
        """A node's certificate (PEM); raises `LayoutError` for an unusable name."""
        return self.certs / _file_name(node_name, ".crt")

    def node_key(self, node_name: str) -> Path:
        """A node's private key (PEM); raises `LayoutError` for an unusable name."""
        return self.certs / _file_name(node_name, ".key")

    def node_csr(self, node_name: str) -> Path:
        """A node's CSR (PEM); raises `LayoutError` for an unusable name."""
        return self.certs / _file_name(node_name, ".csr")

    @property
    def ca_dir(self) -> Path:
        """The CA; only a signer has it."""
        return self.data_dir / "ca"

    @property
    def ca_certificate(self) -> Path:
        """The CA's own certificate (PEM)."""
        return self.ca_dir / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """The CA's private key (PEM)."""
        return self.ca_dir / "ca.key"

    @property
    def certificate_requests(self) -> Path:
        """Icinga's store of requests, one JSON file for each."""
        return self.data_dir / "certificate-requests"

    @property
    def api_zones(self) -> Path:
        """Configuration that a parent synced to this node."""
        return self.data_dir / "api" / "zones"

    @property
    def api_packages(self) -> Path:
        """Configuration deployed through the API, and objects created at run time."""
        return self.data_dir / "api" / "packages"

    # Below data_dir: ours

    @property
    def own_dir(self) -> Path:
        """Icefloe's sub-directory, mode 0700."""
        return self.data_dir / "icefloe"

    @property
    def ledger(self) -> Path:
        """The ledger (SQLite), mode 0600."""
        return self.own_dir / "ledger.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the daemon, so that no second one uses these directories."""
        return self.own_dir / "lock"

    @property
    def identity_journal(self) -> Path:
        """The directory of the journal that the node's identity is switched by, 0700."""
        return self.own_dir / "identity"

    @property
    def backups(self) -> Path:
        """The sets of copies that `node backup` makes, 0700.  They hold keys."""
        return self.own_dir / "backups"


def resolve_directories(
    *,
    config_dir: Path | None,
    data_dir: Path | None,
    environment: Mapping[str, str],
) -> NodeDirectories:
    """Decide where the node's files are: option, else environment, else default.

    Args:
        config_dir: What `--config-dir` said, if given.
        data_dir: What `--data-dir` said, if given.
        environment: `ICEFLOE_CONFIG_DIR` and `ICEFLOE_DATA_DIR` are looked at; an
            empty value counts as not set.

    Returns:
        Absolute paths; they need not exist.

    Raises:
        LayoutError: When a directory's name is empty or holds a NUL.
    """
    return NodeDirectories(
        config_dir=_directory(
            config_dir, environment.get(CONFIG_DIR_VARIABLE), CONFIG_DIR_DEFAULT
        ),
        data_dir=_directory(
            data_dir, environment.get(DATA_DIR_VARIABLE), DATA_DIR_DEFAULT
        ),
    )


def _directory(given: Path | None, variable: str | None, default: Path) -> Path:
    chosen = given if given is not None else Path(variable) if variable else default
    if "\0" in str(chosen):
        raise LayoutError("a directory's name holds a NUL character")
    return chosen.absolute()


def _file_name(name: str, ending: str) -> str:
    """A file name made of a configured name, never a path to somewhere else."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise LayoutError(f"'{printable(name)}' cannot be part of a file name")
    if size > FILE_NAME_BYTES_MAX:
        raise LayoutError(f"a name of {size} bytes is too long for a file name")
    return name + ending
