"""What setting up a node writes, in Icinga's own form.

A real Icinga 2 reads these files, and `loading` does.  Every name goes through
`printer`, and the zone tree is built before it is written: a set-up that Icinga would
refuse to start with is refused here (protocol: Icinga 2, files that node setup writes).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from icefloe.cluster.zones import DEFAULT_PORT, Endpoint, Zone, ZoneError, ZoneTree
from icefloe.config import edits
from icefloe.config.errors import ConfigError, PlanError, printable
from icefloe.config.features import (
    Features,
    feature_link,
    plan_disable,
    read_features,
)
from icefloe.config.layout import NodeDirectories
from icefloe.config.plan import OPEN_MODE, SECRET_MODE, Plan, PlannedFile
from icefloe.config.predefined import (
    ICEFLOE_ENDPOINTS,
    NODE_NAME,
    TICKET_SALT,
    ZONE_NAME,
)
from icefloe.config.printer import print_comment, print_constant, print_object
from icefloe.config.schema import API_LISTENER, API_USER, ENDPOINT, PORT_MAX, ZONE
from icefloe.config.sources import SourceMissing, SourceUnreadable, read_source
from icefloe.config.syntax import Value
from icefloe.pki.canaries import check_node_name
from icefloe.pki.errors import CommonNameInvalid

DEFAULT_GLOBAL_ZONES = ("global-templates", "director-global")
"""Global zones that Icinga's set-up writes unless told not to."""

DEFAULT_MASTER_ZONE = "master"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiUserSetup:
    """An API user that may do everything.

    Attributes:
        name: Its login.
        password: Its password.  A secret.
    """

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSetup:
    """What a node is to become.

    Attributes:
        node_name: Its endpoint, and the CN of its certificate.
        zone_name: Its own zone.
        parent_zone: The zone above, or None for a master.
        parents: The endpoints of the parent zone, with hosts to dial if known.
        global_zones: Names of global zones, the default ones included.
        bind_host: Address to listen on, or None for Icinga's default.
        bind_port: Port to listen on, or None for Icinga's default.
        accept_config: Whether to take configuration from the parent.
        accept_commands: Whether to run commands from the parent.
        ticket_salt: A signer's salt, or None for a node that checks no tickets.  A
            secret.
        api_user: The user to write if `api-users.conf` does not exist, or None.
        icefloe_endpoints: What to declare as Icefloe nodes, or None to leave that.
        disable_conf_d: Whether to stop including `conf.d`.
    """

    node_name: str
    zone_name: str
    parent_zone: str | None = None
    parents: tuple[Endpoint, ...] = ()
    global_zones: tuple[str, ...] = DEFAULT_GLOBAL_ZONES
    bind_host: str | None = None
    bind_port: int | None = None
    accept_config: bool = False
    accept_commands: bool = False
    ticket_salt: str | None = field(default=None, repr=False)
    api_user: ApiUserSetup | None = None
    icefloe_endpoints: tuple[str, ...] | None = None
    disable_conf_d: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentFiles:
    """What is there before a set-up; None for a file that does not exist."""

    constants_conf: str | None = field(repr=False)
    icinga2_conf: str | None = field(repr=False)
    has_api_users: bool
    features: Features


def read_current(directories: NodeDirectories) -> CurrentFiles:
    """Read what a set-up has to know of a node's files.

    Raises:
        ConfigError: When a file is there and cannot be read.
    """
    return CurrentFiles(
        constants_conf=_text_of(directories.constants_conf),
        icinga2_conf=_text_of(directories.icinga2_conf),
        has_api_users=_text_of(directories.api_users_conf) is not None,
        features=read_features(directories),
    )


def plan_node_setup(
    setup: NodeSetup,
    *,
    current: CurrentFiles,
    directories: NodeDirectories,
    note: str,
) -> Plan:
    """Plan the configuration of a node: master, satellite or agent.

    Args:
        setup: What the node is to become.
        current: What is there now.
        directories: Where the files go.
        note: Who does this and when; becomes comments in the files.

    Returns:
        The files to write as a whole, the link that enables the feature `api` and, on
        a node with a parent, the removal of the feature `notification`.  Keys,
        certificates and the ticket are not configuration and not in the plan.

    Raises:
        PlanError: When Icinga would not start with this, or a name cannot be used.
        ConfigError: When a file to be edited cannot be understood.
    """
    endpoints, zones = _tree(setup)
    api_feature = directories.feature_available("api")
    files = [
        PlannedFile(
            path=directories.zones_conf,
            text=zones_text(endpoints, zones, note=note),
            mode=OPEN_MODE,
        ),
        PlannedFile(path=api_feature, text=api_text(setup, note=note), mode=OPEN_MODE),
        PlannedFile(
            path=directories.constants_conf,
            text=_constants_text(setup, current, directories),
            mode=SECRET_MODE,
        ),
        *_api_user_files(setup, current, directories, note),
        *_icinga2_files(setup, current, directories, note),
    ]
    links = []
    if "api" not in current.features.enabled:
        links.append(feature_link("api", directories))
    removals: tuple[Path, ...] = ()
    if setup.parent_zone is not None:
        # Notifications are sent by the masters, once.
        change = plan_disable(current.features, ["notification"], directories)
        removals = change.plan.removals
    return Plan(files=tuple(files), links=tuple(links), removals=removals)


def zones_text(
    endpoints: Iterable[Endpoint], zones: Iterable[Zone], *, note: str
) -> str:
    """A `zones.conf` with these objects, in this order.

    Raises:
        PlanError: When a name cannot be written.
    """
    blocks = [print_comment(note)]
    for endpoint in endpoints:
        attributes: dict[str, Value] = {}
        if endpoint.host:
            attributes["host"] = endpoint.host
            if endpoint.port != DEFAULT_PORT:
                attributes["port"] = endpoint.port
        blocks.append(_object(ENDPOINT, endpoint.name, attributes))
    for zone in zones:
        attributes = {}
        if zone.endpoints:
            attributes["endpoints"] = list(zone.endpoints)
        if zone.parent is not None:
            attributes["parent"] = zone.parent
        if zone.is_global:
            attributes["global"] = True
        blocks.append(_object(ZONE, zone.name, attributes))
    return "\n".join(blocks)


def api_text(setup: NodeSetup, *, note: str) -> str:
    """A `features-available/api.conf`.

    Raises:
        PlanError: When the bind host or port cannot be written.
    """
    attributes: dict[str, Value] = {}
    if setup.bind_host is not None:
        attributes["bind_host"] = setup.bind_host
    if setup.bind_port is not None:
        if not 0 <= setup.bind_port <= PORT_MAX:
            raise PlanError(f"{setup.bind_port} is not a port")
        attributes["bind_port"] = float(setup.bind_port)
    attributes["accept_config"] = setup.accept_config
    attributes["accept_commands"] = setup.accept_commands
    text = print_object(API_LISTENER, "api", attributes)
    if setup.ticket_salt is not None:
        # The salt has one place, constants.conf; this is its name, not a string.
        text = text.removesuffix("}\n") + f"\n\tticket_salt = {TICKET_SALT}\n}}\n"
    return f"{print_comment(note)}\n{text}"


def api_users_text(user: ApiUserSetup, *, note: str) -> str:
    """A `conf.d/api-users.conf` with one user.

    Raises:
        PlanError: When name or password cannot be written.
    """
    attributes: dict[str, Value] = {"password": user.password, "permissions": ["*"]}
    return f"{print_comment(note)}\n{_object(API_USER, user.name, attributes)}"


def icinga2_text(*, note: str) -> str:
    """An `icinga2.conf` for a machine that has none: includes the node's files only."""
    return print_comment(note) + (
        '\ninclude "constants.conf"\ninclude "zones.conf"\n\n'
        'include <itl>\n\ninclude "features-enabled/*.conf"\n'
    )


def problems_of_setup(setup: NodeSetup) -> tuple[str, ...]:
    """Every reason for which a set-up cannot be written, or Icinga would not start.

    Args:
        setup: What the node is to become; no file is looked at.
    """
    endpoints, zones = _objects(setup)
    problems: list[str] = []
    for endpoint in endpoints:
        try:
            check_node_name(endpoint.name)
        except CommonNameInvalid as error:
            problems.append(str(error))
    problems += [
        f"the name of a Zone is not empty and has no '!': '{printable(zone.name)}'"
        for zone in zones
        if not zone.name or "!" in zone.name
    ]
    try:
        ZoneTree(zones=zones, endpoints=endpoints, node_name=setup.node_name)
    except ZoneError as error:
        problems += error.reasons
    if setup.bind_port is not None and not 0 <= setup.bind_port <= PORT_MAX:
        problems.append(f"{setup.bind_port} is not a port")
    return tuple(dict.fromkeys(problems))


def _tree(setup: NodeSetup) -> tuple[list[Endpoint], list[Zone]]:
    """The endpoints and zones of a set-up that can be written."""
    problems = problems_of_setup(setup)
    if problems:
        raise PlanError("; ".join(problems))
    return _objects(setup)


def _objects(setup: NodeSetup) -> tuple[list[Endpoint], list[Zone]]:
    """The endpoints and zones of a set-up, in the order Icinga writes them."""
    endpoints = [*setup.parents, Endpoint(setup.node_name)]
    zones: list[Zone] = []
    if setup.parent_zone is not None:
        names = tuple(parent.name for parent in setup.parents)
        zones.append(Zone(setup.parent_zone, names))
    zones.append(Zone(setup.zone_name, (setup.node_name,), setup.parent_zone))
    zones += [Zone(name, is_global=True) for name in setup.global_zones]
    return endpoints, zones


def _object(type_name: str, name: str, attributes: dict[str, Value]) -> str:
    """An object whose name Icinga takes (it refuses '!' and the empty name)."""
    if not name or "!" in name:
        raise PlanError(f"the name of a {type_name} is not empty and has no '!'")
    return print_object(type_name, name, attributes)


def _constants_text(
    setup: NodeSetup, current: CurrentFiles, directories: NodeDirectories
) -> str:
    values: dict[str, Value] = {
        NODE_NAME: setup.node_name,
        ZONE_NAME: setup.zone_name,
    }
    if setup.ticket_salt is not None:
        values[TICKET_SALT] = setup.ticket_salt
    if setup.icefloe_endpoints is not None:
        values[ICEFLOE_ENDPOINTS] = list(setup.icefloe_endpoints)
    text = current.constants_conf
    if text is None:
        # api.conf of another set-up may name it, and Icinga knows no default.
        defaults: dict[str, Value] = {TICKET_SALT: ""}
        lines = (print_constant(n, v) for n, v in (defaults | values).items())
        return "\n".join(lines) + "\n"
    for name, value in values.items():
        text = edits.set_constant(
            text, name, value, file=str(directories.constants_conf)
        )
    return text


def _api_user_files(
    setup: NodeSetup, current: CurrentFiles, directories: NodeDirectories, note: str
) -> list[PlannedFile]:
    if setup.api_user is None or current.has_api_users:
        return []
    return [
        PlannedFile(
            path=directories.api_users_conf,
            text=api_users_text(setup.api_user, note=note),
            mode=SECRET_MODE,
        )
    ]


def _icinga2_files(
    setup: NodeSetup, current: CurrentFiles, directories: NodeDirectories, note: str
) -> list[PlannedFile]:
    """`icinga2.conf`, if there is one and it has to change."""
    text = current.icinga2_conf
    if text is None:
        return []
    file = str(directories.icinga2_conf)
    if setup.disable_conf_d:
        text = edits.disable_conf_d(text, note=note, file=file)
    if setup.api_user is not None:
        text = edits.include_api_users(text, note=note, file=file)
    if text == current.icinga2_conf:
        return []
    return [PlannedFile(path=directories.icinga2_conf, text=text, mode=OPEN_MODE)]


def _text_of(path: Path) -> str | None:
    try:
        return read_source(path).text
    except SourceMissing:
        return None
    except SourceUnreadable as failure:
        raise ConfigError((failure.problem(path),)) from None
