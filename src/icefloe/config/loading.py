"""A node's files to its `NodeConfiguration`.

Evaluated are `constants.conf`, `zones.conf` and `features-enabled/api.conf`, in
Icinga's order, with what they include.  The rest of Icinga's configuration is only
searched (see `declarations`).  Everything that is wrong is reported at once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from icefloe.cluster.zones import Endpoint, Zone, ZoneError, ZoneTree
from icefloe.config import predefined as names
from icefloe.config import schema
from icefloe.config.declarations import Declaration, search
from icefloe.config.errors import ConfigError, ConfigProblem, printable
from icefloe.config.evaluator import ConfigObject, Evaluation, evaluate
from icefloe.config.host import fully_qualified_name
from icefloe.config.layout import NodeDirectories
from icefloe.config.limits import Limits, with_limits
from icefloe.config.model import ListenerSettings, NodeConfiguration, NodeConstants
from icefloe.config.source import Source
from icefloe.config.sources import FileIncludes, SourceUnreadable, read_source
from icefloe.config.syntax import Value
from icefloe.pki.errors import CommonNameInvalid
from icefloe.pki.names import check_common_name

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 15.0
"""Icinga's default for `connect_timeout`."""

TLS_PROTOCOLS = ("TLSv1.2", "TLSv1.3")
"""What `tls_protocolmin` may be; Icinga refuses older ones since 2.11."""

_SET_UP = "Run 'icefloe node setup', or name another directory with --config-dir."
_ENABLE = "Run 'icefloe feature enable api'."


def load(
    config_dir: Path,
    data_dir: Path,
    *,
    default_node_name: Callable[[], str] = fully_qualified_name,
) -> NodeConfiguration:
    """Read and check the configuration of a node.

    Args:
        config_dir: Icinga's ConfigDir.
        data_dir: Icinga's DataDir; only searched for configuration.
        default_node_name: Asked when no file defines `NodeName`.

    Raises:
        ConfigError: With every problem found, when the node cannot run like this.
    """
    directories = NodeDirectories(config_dir=config_dir, data_dir=data_dir)
    run = _Loading(directories, default_node_name)
    run.evaluate(
        {
            directories.constants_conf: _SET_UP,
            directories.zones_conf: _SET_UP,
            directories.feature_enabled("api"): _ENABLE,
        }
    )
    # Checks of the whole would only repeat what is wrong with its parts.
    run.stop_at_problems()
    return run.configuration()


def load_constants(
    config_dir: Path,
    data_dir: Path,
    *,
    default_node_name: Callable[[], str] = fully_qualified_name,
) -> NodeConstants:
    """Read what `constants.conf` says; enough for commands that need no cluster.

    Args:
        config_dir: Icinga's ConfigDir.
        data_dir: Icinga's DataDir.
        default_node_name: Asked when the file does not define `NodeName`.

    Raises:
        ConfigError: With every problem of the file.
    """
    directories = NodeDirectories(config_dir=config_dir, data_dir=data_dir)
    run = _Loading(directories, default_node_name)
    run.evaluate({directories.constants_conf: _SET_UP})
    constants = run.constants()
    run.stop_at_problems()
    return constants


class _Loading:
    """One reading of a node's files: notes on the way what is wrong."""

    def __init__(
        self, directories: NodeDirectories, default_node_name: Callable[[], str]
    ) -> None:
        self._directories = directories
        self._predefined = names.predefined_names(directories, default_node_name)
        self._evaluation = Evaluation(
            constants={}, defined_at={}, objects=(), problems=()
        )
        self._problems: list[ConfigProblem] = []
        self._warnings: list[ConfigProblem] = []

    def stop_at_problems(self) -> None:
        if self._problems:
            raise ConfigError(tuple(self._problems))

    def evaluate(self, files: dict[Path, str]) -> None:
        """Evaluate files; each comes with what to do when it is missing."""
        self._evaluation = evaluate(
            list(self._read(files)),
            includes=FileIncludes(),
            predefined=self._predefined,
        )
        self._problems += self._evaluation.problems
        for obj in self._evaluation.objects:
            problems, warnings = schema.check_names(obj)
            self._problems += problems
            self._warnings += warnings

    def _read(self, files: dict[Path, str]) -> Iterator[Source]:
        for path, remedy in files.items():
            try:
                yield read_source(path)
            except SourceUnreadable as failure:
                self._problems.append(failure.problem(path, remedy))

    def constants(self) -> NodeConstants:
        node_name = self._node_name()
        return NodeConstants(
            node_name=node_name,
            zone_name=self._constant(
                names.ZONE_NAME, node_name, "a string", schema.as_text
            ),
            ticket_salt=self._constant(
                names.TICKET_SALT, "", "a string", schema.as_text
            ),
            icefloe_endpoints=self._icefloe_endpoints(),
        )

    def configuration(self) -> NodeConfiguration:
        node_name = self._node_name()
        icefloe_endpoints = self._icefloe_endpoints()
        limits = self._limits()
        listener = self._listener()
        endpoints = [self._endpoint(obj) for obj in self._objects(schema.ENDPOINT)]
        zones = [self._zone(obj) for obj in self._objects(schema.ZONE)]
        declared = search(self._directories, self._value_of)
        self._problems += declared.problems
        self._warn_of_unread_zones(declared.cluster)
        client_names = declared.client_names | self._client_names()
        self.stop_at_problems()
        assert listener is not None, "its absence is a problem"
        try:
            tree = ZoneTree(
                zones=zones,
                endpoints=endpoints,
                node_name=node_name,
                icefloe_endpoints=icefloe_endpoints,
            )
        except ZoneError as error:
            problems = tuple(self._zone_problem(reason) for reason in error.reasons)
            raise ConfigError(problems) from None
        return NodeConfiguration(
            directories=self._directories,
            node_name=node_name,
            zones=tree,
            listener=listener[0],
            ticket_salt=listener[1],
            api_client_names=client_names,
            monitoring_objects=declared.monitoring,
            warnings=tuple(self._warnings),
            limits=limits,
        )

    # Constants

    def _value_of(self, name: str) -> Value:
        if name in self._evaluation.constants:
            return self._evaluation.constants[name]
        return self._predefined(name)

    def _constant(
        self, name: str, default: T, wanted: str, convert: Callable[[Value], T | None]
    ) -> T:
        """A constant of the right type; the default when it is missing or null."""
        value = self._value_of(name)
        if value is None:
            return default
        converted = convert(value)
        if converted is None:
            self._constant_problem(name, f"{name} must be {wanted}", "")
            return default
        return converted

    def _node_name(self) -> str:
        name = self._constant(names.NODE_NAME, "", "a string", schema.as_text)
        try:
            return check_common_name(name)
        except CommonNameInvalid as error:
            self._constant_problem(
                names.NODE_NAME, "NodeName cannot be the name of a node", str(error)
            )
            return name

    def _icefloe_endpoints(self) -> frozenset[str]:
        none: tuple[str, ...] = ()
        found = self._constant(
            names.ICEFLOE_ENDPOINTS, none, 'an array such as [ "a" ]', schema.as_names
        )
        return frozenset(found)

    def _limits(self) -> Limits:
        none: dict[str, Value] = {}
        given = self._constant(
            names.ICEFLOE_LIMITS,
            none,
            "a dictionary such as { open_requests = 500 }",
            schema.as_dictionary,
        )
        limits, problems = with_limits(given)
        place = self._evaluation.defined_at.get(names.ICEFLOE_LIMITS)
        for each in problems:
            if place is None:
                self._constant_problem(names.ICEFLOE_LIMITS, each.message, each.remedy)
                continue
            source, start = place
            where = source.find_assignment(each.name, start)
            self._problems.append(source.problem(where, each.message, each.remedy))
        return limits

    # Objects

    def _objects(self, type_name: str) -> list[ConfigObject]:
        objects = self._evaluation.objects
        return [obj for obj in objects if obj.type_name == type_name]

    def _endpoint(self, obj: ConfigObject) -> Endpoint:
        read = schema.AttributeReader(obj, self._problems)
        return Endpoint(
            name=obj.name, host=read.text("host"), port=str(read.port("port", 5665))
        )

    def _zone(self, obj: ConfigObject) -> Zone:
        read = schema.AttributeReader(obj, self._problems)
        return Zone(
            name=obj.name,
            endpoints=read.names("endpoints"),
            parent=read.text("parent"),
            is_global=read.flag("global"),
        )

    def _client_names(self) -> frozenset[str]:
        found = (
            schema.AttributeReader(obj, self._problems).text("client_cn")
            for obj in self._objects(schema.API_USER)
        )
        return frozenset(name for name in found if name)

    def _listener(self) -> tuple[ListenerSettings, str] | None:
        """The settings of the one `ApiListener`, and its ticket salt."""
        objects = self._objects(schema.API_LISTENER)
        for surplus in objects[1:]:
            self._problems.append(
                surplus.problem("there is more than one ApiListener", "Keep one.")
            )
        if not objects:
            file = self._directories.feature_enabled("api")
            remedy = "Run 'icefloe node setup', which writes the file."
            self._problems.append(
                ConfigProblem.of_file(file, "it declares no ApiListener", remedy)
            )
            return None
        read = schema.AttributeReader(objects[0], self._problems)
        protocol = read.text("tls_protocolmin") or TLS_PROTOCOLS[0]
        if protocol not in TLS_PROTOCOLS:
            read.problem(
                "tls_protocolmin",
                f"'tls_protocolmin' must be one of {', '.join(TLS_PROTOCOLS)}",
            )
        return self._listener_settings(read, protocol), read.text("ticket_salt") or ""

    def _listener_settings(
        self, read: schema.AttributeReader, protocol: str
    ) -> ListenerSettings:
        clients = read.whole_number("max_anonymous_clients", -1)
        crl_path = read.text("crl_path")
        host = self._constant(names.API_BIND_HOST, "::", "a string", schema.as_text)
        port = self._constant(names.API_BIND_PORT, 5665, "a port", schema.as_port)
        handshake = self._constant(
            names.TLS_HANDSHAKE_TIMEOUT, 10.0, "a time such as 10s", schema.as_seconds
        )
        return ListenerSettings(
            bind_host=read.text("bind_host") or host,
            bind_port=read.port("bind_port", port, smallest=0),
            accept_config=read.flag("accept_config"),
            accept_commands=read.flag("accept_commands"),
            max_anonymous_clients=None if clients < 0 else clients,
            crl_path=None if crl_path is None else Path(crl_path),
            cipher_list=read.text("cipher_list"),
            tls_protocolmin=protocol,
            tls_handshake_timeout=read.seconds("tls_handshake_timeout", handshake),
            connect_timeout=read.seconds("connect_timeout", CONNECT_TIMEOUT_SECONDS),
        )

    # Problems

    def _constant_problem(self, name: str, message: str, remedy: str) -> None:
        place = self._evaluation.defined_at.get(name)
        if place is None:
            file = self._directories.constants_conf
            self._problems.append(ConfigProblem.of_file(file, message, remedy))
        else:
            source, start = place
            self._problems.append(source.problem(start, message, remedy))

    def _zone_problem(self, reason: str) -> ConfigProblem:
        """A fault of the zone tree, with the declaration that it begins with."""
        for obj in self._evaluation.objects:
            if reason.startswith(f"{obj.type_name} '{obj.name}' "):
                return obj.problem(printable(reason))
        return ConfigProblem.of_file(self._directories.zones_conf, printable(reason))

    def _warn_of_unread_zones(self, cluster: Iterable[Declaration]) -> None:
        read = {os.path.realpath(obj.source.name) for obj in self._evaluation.objects}
        unread = Counter(
            declaration.file
            for declaration in cluster
            if os.path.realpath(declaration.file) not in read
        )
        for file, count in unread.items():
            self._warnings.append(
                ConfigProblem.of_file(
                    Path(file),
                    f"{count} Endpoint and Zone objects here are not read",
                    "Move those that this node is to know to zones.conf.",
                )
            )
