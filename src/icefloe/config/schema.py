"""What objects may say: known attributes, their types, and which are out of date.

An attribute that Icinga knows and Icefloe has no use for is accepted; one that Icinga
does not know either is a problem, because it is usually a slip of the pen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from icefloe.config.errors import ConfigProblem, printable
from icefloe.config.evaluator import ConfigObject
from icefloe.config.syntax import Value

T = TypeVar("T")

ENDPOINT = "Endpoint"
ZONE = "Zone"
API_LISTENER = "ApiListener"
API_USER = "ApiUser"

KNOWN_ATTRIBUTES = {
    ENDPOINT: frozenset({"host", "port", "log_duration", "zone"}),
    ZONE: frozenset({"endpoints", "parent", "global", "zone"}),
    API_LISTENER: frozenset(
        {
            "accept_commands",
            "accept_config",
            "access_control_allow_credentials",
            "access_control_allow_headers",
            "access_control_allow_methods",
            "access_control_allow_origin",
            "bind_host",
            "bind_port",
            "ca_path",
            "cert_path",
            "cipher_list",
            "connect_timeout",
            "crl_path",
            "enforce_filter_expression_permission",
            "http_response_headers",
            "key_path",
            "max_anonymous_clients",
            "ticket_salt",
            "tls_handshake_timeout",
            "tls_protocolmin",
            "zone",
        }
    ),
    API_USER: frozenset(
        {"client_cn", "password", "password_hash", "permissions", "zone"}
    ),
}
"""By type of object: what Icinga 2.11 to 2.16 know."""

_PATH_REMEDY = (
    "Icefloe reads the node's certificate from the data directory, as Icinga does"
    " since 2.8. Remove the line."
)
_CORS_REMEDY = "Icinga ignores it since 2.9. Remove the line."

DEPRECATED_ATTRIBUTES = {
    (API_LISTENER, "cert_path"): _PATH_REMEDY,
    (API_LISTENER, "key_path"): _PATH_REMEDY,
    (API_LISTENER, "ca_path"): _PATH_REMEDY,
    (API_LISTENER, "access_control_allow_credentials"): _CORS_REMEDY,
    (API_LISTENER, "access_control_allow_headers"): _CORS_REMEDY,
    (API_LISTENER, "access_control_allow_methods"): _CORS_REMEDY,
    (API_LISTENER, "tls_handshake_timeout"): (
        "Icinga has the constant TlsHandshakeTimeout for it."
    ),
    (API_USER, "password_hash"): "Icinga ignores it since 2.9. Use password.",
}
"""By type and attribute: what to say about one that is out of date."""

PORT_MAX = 65535


def check_names(obj: ConfigObject) -> tuple[list[ConfigProblem], list[ConfigProblem]]:
    """Look at the type of an object and at the names of its attributes.

    Returns:
        The problems, and the warnings about attributes that are out of date.
    """
    known = KNOWN_ATTRIBUTES.get(obj.type_name)
    if known is None:
        problem = obj.problem(
            f"objects of type {printable(obj.type_name)} do not belong here",
            f"In these files Icefloe reads {', '.join(KNOWN_ATTRIBUTES)} objects."
            " Move others to a file that only Icinga 2 reads.",
        )
        return [problem], []
    problems: list[ConfigProblem] = []
    warnings: list[ConfigProblem] = []
    for name, attribute in obj.attributes.items():
        if name not in known:
            problems.append(
                obj.source.problem(
                    attribute.start,
                    f"{obj.type_name} has no attribute '{printable(name)}'",
                    f"It has: {', '.join(sorted(known))}.",
                )
            )
        elif remedy := DEPRECATED_ATTRIBUTES.get((obj.type_name, name)):
            warnings.append(
                obj.source.problem(
                    attribute.start, f"the attribute '{name}' is out of date", remedy
                )
            )
    return problems, warnings


class AttributeReader:
    """Reads the attributes of one object as values of the right type.

    What is not set, or is null, yields the default; so does what is wrong, after a
    problem was noted.
    """

    def __init__(self, obj: ConfigObject, problems: list[ConfigProblem]) -> None:
        """Read `obj`, and add what is wrong to `problems`."""
        self._object = obj
        self._problems = problems

    def text(self, name: str, default: str | None = None) -> str | None:
        """A string; an empty one counts as not set."""
        return self._read(name, default, "a string", as_text) or default

    def flag(self, name: str) -> bool:
        """A boolean, or a number as Icinga takes it; false by default."""
        return self._read(name, default=False, wanted="true or false", convert=_flag)

    def port(self, name: str, default: int, *, smallest: int = 1) -> int:
        """A port as a number or as a string of digits."""
        port = self._read(name, default, f"a port from {smallest} to 65535", as_port)
        if smallest <= port <= PORT_MAX:
            return port
        self.problem(name, f"'{name}' must be a port from {smallest} to {PORT_MAX}")
        return default

    def whole_number(self, name: str, default: int) -> int:
        """A whole number."""
        return self._read(name, default, "a whole number", _whole_number)

    def seconds(self, name: str, default: float) -> float:
        """A time in seconds, more than none."""
        return self._read(name, default, "a time such as 15s", as_seconds)

    def names(self, name: str) -> tuple[str, ...]:
        """An array of strings; empty by default."""
        return self._read(name, (), 'an array such as [ "a", "b" ]', as_names)

    def problem(self, name: str, message: str, remedy: str = "") -> None:
        """Note a problem with an attribute that is set."""
        obj = self._object
        start = obj.attributes[name].start
        self._problems.append(obj.source.problem(start, message, remedy))

    def _read(
        self, name: str, default: T, wanted: str, convert: Callable[[Value], T | None]
    ) -> T:
        attribute = self._object.attributes.get(name)
        if attribute is None or attribute.value is None:
            return default
        value = convert(attribute.value)
        if value is None:
            self.problem(name, f"'{name}' must be {wanted}")
            return default
        return value


def as_text(value: Value) -> str | None:
    """A string that can be handed to the system, or None."""
    return value if isinstance(value, str) and "\0" not in value else None


def as_port(value: Value) -> int | None:
    """A number given as number or digits, or None."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value) if len(value) <= len(str(PORT_MAX)) else PORT_MAX + 1
    return _whole_number(value)


def as_seconds(value: Value) -> float | None:
    """A number of seconds above 0, or None."""
    return value if type(value) is float and value > 0 else None


def as_names(value: Value) -> tuple[str, ...] | None:
    """An array of strings that are not empty, or None."""
    if not isinstance(value, list):
        return None
    names = tuple(item for item in value if isinstance(item, str) and item)
    return names if len(names) == len(value) else None


def as_dictionary(value: Value) -> dict[str, Value] | None:
    """A dictionary, or None."""
    return value if isinstance(value, dict) else None


def _flag(value: Value) -> bool | None:
    return bool(value) if isinstance(value, bool | float) else None


def _whole_number(value: Value) -> int | None:
    if type(value) is float and value.is_integer():
        return int(value)
    return None
