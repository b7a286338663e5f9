"""The configuration of one node, as values: what `loading` makes of the files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from icefloe.cluster.zones import ZoneTree
from icefloe.config.declarations import Declaration
from icefloe.config.errors import ConfigProblem
from icefloe.config.layout import NodeDirectories
from icefloe.config.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """The node's `ApiListener`.

    Attributes:
        bind_host: Address to listen on; "::" is both families.
        bind_port: TCP port; 0 lets the system choose.
        accept_config: Whether configuration from the parent is taken.
        accept_commands: Whether commands from the parent are run.
        max_anonymous_clients: How many peers without a membership may be connected;
            None for no limit of the operator's.
        crl_path: File with revocations (PEM), if any.
        cipher_list: OpenSSL's cipher list, if not the default.
        tls_protocolmin: "TLSv1.2" or "TLSv1.3".
        tls_handshake_timeout: Seconds.
        connect_timeout: Seconds, for connection and handshake together.
    """

    bind_host: str
    bind_port: int
    accept_config: bool
    accept_commands: bool
    max_anonymous_clients: int | None
    crl_path: Path | None
    cipher_list: str | None
    tls_protocolmin: str
    tls_handshake_timeout: float
    connect_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConstants:
    """What `constants.conf` alone says; enough for commands that need no cluster.

    Attributes:
        node_name: NodeName, by default the machine's full name.
        zone_name: ZoneName, by default the node's name.
        ticket_salt: TicketSalt, or "".  A secret.
        icefloe_endpoints: IcefloeEndpoints.
    """

    node_name: str
    zone_name: str
    ticket_salt: str = field(repr=False)
    icefloe_endpoints: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfiguration:
    """Everything a node is told by its configuration, checked.

    Attributes:
        directories: Where it was read.
        node_name: The node's own endpoint, and the CN of its certificate.
        zones: The zone tree as this node knows it, with `IcefloeEndpoints`.
        listener: The `ApiListener`.
        limits: IcefloeLimits.
        ticket_salt: The salt of the tickets that this node accepts, or "" when it
            accepts none.  A secret: whoever has it can make tickets.
        api_client_names: The `client_cn` of every API user: certificates for these
            names are logins.
        monitoring_objects: Host and Service declarations that Icinga would read here;
            a node that checks nothing must have none.
        warnings: What works but should be changed.
    """

    directories: NodeDirectories
    node_name: str
    zones: ZoneTree
    listener: ListenerSettings
    ticket_salt: str = field(repr=False)
    api_client_names: frozenset[str]
    monitoring_objects: tuple[Declaration, ...]
    warnings: tuple[ConfigProblem, ...]
    limits: Limits = field(default_factory=Limits)

    @property
    def zone_name(self) -> str:
        """The zone that this node's endpoint is in."""
        return self.zones.local_zone.name

    @property
    def icefloe_endpoints(self) -> frozenset[str]:
        """The endpoints that are declared to be Icefloe nodes."""
        return self.zones.icefloe_endpoints
