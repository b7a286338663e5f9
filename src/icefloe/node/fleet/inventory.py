"""Ansible inventories: INI, YAML, and the JSON of `ansible-inventory --list`.

What is taken from one: hosts, their groups, and variables, those of groups handed down
to hosts (inner groups win over outer ones, hosts over groups).  Read are the two static
forms as Ansible's documentation describes them, ranges such as `web[01:20]` included.
Not read are `group_vars/` and `host_vars/` beside the file, vaults, plugins and scripts;
the JSON has all of that resolved by Ansible itself.

A host's variables that count here:

    icefloe_cn, icinga2_cn       the name in its certificate, else the inventory's name
    icefloe_host, ansible_host   where it is, else the inventory's name
    icefloe_port, icefloe_listen_port, icinga2_port
                                 its port, else 5665 (`ansible_port` is that of SSH)

`icefloe_cn`, `icefloe_listen_port` and `icefloe_role` are variables of our collection.
"""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from icefloe.node.fleet.targets import (
    TARGETS_MAX,
    Target,
    TargetInvalid,
    has_template,
    is_address,
    parse_port,
)

__all__ = ["Inventory", "expand", "from_json", "from_yaml", "parse_ini", "targets_of"]

NAME_VARIABLES: Final = ("icefloe_cn", "icinga2_cn")
HOST_VARIABLES: Final = ("icefloe_host", "ansible_host")
PORT_VARIABLES: Final = ("icefloe_port", "icefloe_listen_port", "icinga2_port")

_DEPTH_MAX: Final = 64
_UNSAFE: Final = "__ansible_unsafe"
_RANGE: Final = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")
_RANGE_CHARACTERS_MAX: Final = 64
"""Python refuses to read numbers of some thousand digits."""
_SECTION: Final = re.compile(r"\[([^\[\]:]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_WITH_SSH_PORT: Final = re.compile(r"((?:[^\[\]:]|\[[^\]]*\])+):([0-9]{1,5})")
_OWN_NAME: Final = re.compile(r"\{\{\s*inventory_hostname\s*\}\}")


@dataclass(slots=True)
class Inventory:
    """Groups, hosts and variables as a file has them.

    Attributes:
        hosts: Variables of each host, in the order of the file.
        members: Hosts of each group.
        children: Groups of each group.
        variables: Variables of each group.
    """

    hosts: dict[str, dict[str, object]] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    variables: dict[str, dict[str, object]] = field(default_factory=dict)

    def add_host(
        self, name: str, group: str, variables: Mapping[str, object] | None = None
    ) -> None:
        """Put a host into a group."""
        self.hosts.setdefault(name, {}).update(variables or {})
        if len(self.hosts) > TARGETS_MAX:
            raise TargetInvalid(f"more than {TARGETS_MAX} hosts; take them in parts")
        self.members.setdefault(group, []).append(name)

    def add_child(self, group: str, child: str) -> None:
        """Put a group into a group."""
        self.members.setdefault(child, [])
        self.children.setdefault(group, []).append(child)


def targets_of(inventory: Inventory, *, port: int, source: str) -> list[Target]:
    """Return a target for each host.

    Args:
        inventory: As read.
        port: For a host without a port of its own.
        source: The file, for messages.

    Raises:
        TargetInvalid: A port is none, or a host has no usable address.
    """
    groups = _groups_of_hosts(inventory)
    found = []
    for name, own in inventory.hosts.items():
        variables: dict[str, object] = dict(inventory.variables.get("all", {}))
        for group in groups.get(name, ()):
            variables.update(inventory.variables.get(group, {}))
        variables.update(own)
        where = _text(variables, HOST_VARIABLES, name) or name
        if not where.strip("[]") or any(each.isspace() for each in where):
            raise TargetInvalid(f"{source}: host {name!r} has no usable address")
        wanted = _text(variables, NAME_VARIABLES, name)
        found.append(
            Target(
                label=name,
                host=where.strip("[]"),
                port=_port(variables, port, f"{source}: host {name!r}"),
                name=wanted or (None if is_address(name.strip("[]")) else name),
                variables=variables,
                groups=groups.get(name, ()),
            )
        )
    return found


def _text(variables: Mapping[str, object], names: tuple[str, ...], own: str) -> str:
    for name in names:
        value = variables.get(name)
        if isinstance(value, str) and value.strip():
            plain = value.strip()
            # The usual template; any other has to be resolved by Ansible.
            if _OWN_NAME.fullmatch(plain):
                return own
            if "{{" not in plain:
                return plain
    return ""


def _port(variables: Mapping[str, object], port: int, where: str) -> int:
    for name in PORT_VARIABLES:
        value = variables.get(name)
        if value in (None, "", 0) or "{{" in str(value):
            continue  # not said, or said by what only Ansible can resolve
        number = parse_port(value)
        if number is None:
            raise TargetInvalid(f"{where}: {name} is no port from 1 to 65535")
        return number
    return port


def _groups_of_hosts(inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return each host's groups, outer ones first: the order in which variables win."""
    ancestry = _Ancestry(inventory)
    known: dict[str, set[str]] = {}
    for group, members in inventory.members.items():
        above = ancestry.of(group)
        for member in members:
            known.setdefault(member, set()).update(above)
    return {
        host: tuple(
            sorted(
                groups - {"all", "ungrouped"},
                key=lambda group: (ancestry.depths[group], group),
            )
        )
        for host, groups in known.items()
    }


class _Ancestry:
    """Which groups a group is in, itself included, and how deep it lies."""

    def __init__(self, inventory: Inventory) -> None:
        self.depths: dict[str, int] = {}
        self._known: dict[str, frozenset[str]] = {}
        self._parents: dict[str, list[str]] = {}
        for group, children in inventory.children.items():
            for child in children:
                self._parents.setdefault(child, []).append(group)

    def of(self, group: str, below: tuple[str, ...] = ()) -> frozenset[str]:
        if group in below:
            raise TargetInvalid(f"group {group!r} is inside itself")
        if len(below) > _DEPTH_MAX:
            raise TargetInvalid(f"groups are more than {_DEPTH_MAX} deep")
        if group not in self._known:
            parents = self._parents.get(group, [])
            above = [self.of(each, (*below, group)) for each in parents]
            self.depths[group] = max((self.depths[p] + 1 for p in parents), default=0)
            self._known[group] = frozenset({group}).union(*above)
        return self._known[group]


# --- INI ------------------------------------------------------------------------------


def parse_ini(text: str, *, source: str) -> Inventory:
    """Read Ansible's INI form.

    Raises:
        TargetInvalid: Naming file and line, and never quoting variables.
    """
    inventory = Inventory()
    group, kind = "ungrouped", "hosts"
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        where = f"{source}:{number}"
        if stripped.startswith("[") and (section := _SECTION.fullmatch(stripped)):
            group, kind = section[1].strip(), section[2] or "hosts"
            if kind not in {"hosts", "children", "vars"}:
                raise TargetInvalid(f"{where}: there are no '{kind}' of a group")
            inventory.members.setdefault(group, [])
        elif kind == "vars":
            name, value = _setting(stripped, where)
            inventory.variables.setdefault(group, {})[name] = value
        elif kind == "children":
            inventory.add_child(group, stripped.split("#", 1)[0].strip())
        else:
            _ini_host(inventory, group, stripped, where)
    return inventory


def _ini_host(inventory: Inventory, group: str, line: str, where: str) -> None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise TargetInvalid(f"{where}: a quotation mark is not closed") from error
    pattern, *settings = words or [""]
    variables = dict(_setting(each, where) for each in settings)
    try:
        for name in expand(without_ssh_port(pattern)):
            inventory.add_host(name, group, variables)
    except TargetInvalid as error:
        raise TargetInvalid(f"{where}: {error}") from error


def _setting(text: str, where: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise TargetInvalid(f"{where}: a variable has the form name=value")
    return name.strip(), _literal(value.strip())


def without_ssh_port(pattern: str) -> str:
    """Return `host` of `host:22`; ranges have colons of their own, in brackets."""
    found = _WITH_SSH_PORT.fullmatch(pattern)
    return found[1] if found else pattern


def expand(pattern: str) -> Iterator[str]:
    """Yield the hosts of `web[01:03].example.org`; a plain name yields itself.

    Raises:
        TargetInvalid: It stands for too many, or a range mixes letters and digits.
    """
    parts: list[list[str]] = []
    place = 0
    for found in _RANGE.finditer(pattern):
        parts += [[pattern[place : found.start()]], _range(found)]
        place = found.end()
    parts.append([pattern[place:]])
    count = 1
    for part in parts:
        count *= len(part)
    if count > TARGETS_MAX:
        shown = pattern[:80]
        raise TargetInvalid(f"'{shown}' stands for more than {TARGETS_MAX} hosts")
    for words in itertools.product(*parts):
        yield "".join(words)


def _range(found: re.Match[str]) -> list[str]:
    if len(found[0]) > _RANGE_CHARACTERS_MAX:
        raise TargetInvalid(f"'{found[0][:_RANGE_CHARACTERS_MAX]}...' is no range")
    first, last, step = found[1], found[2], int(found[3] or 1)
    if step < 1 or first.isdigit() != last.isdigit():
        raise TargetInvalid(f"'{found[0]}' is no range")
    if not first.isdigit():
        return [chr(code) for code in range(ord(first), ord(last) + 1, step)]
    if len(last) > len(str(TARGETS_MAX)) or int(last) - int(first) > TARGETS_MAX:
        raise TargetInvalid(f"'{found[0]}' has more than {TARGETS_MAX} hosts")
    width = len(first) if first.startswith("0") else 0
    return [f"{each:0{width}}" for each in range(int(first), int(last) + 1, step)]


def _literal(text: str) -> object:
    """Read a value as Ansible does: a Python literal, else the text itself."""
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return value


# --- YAML and JSON --------------------------------------------------------------------


def from_yaml(parsed: object, *, source: str) -> Inventory:
    """Read Ansible's YAML form, parsed: groups with hosts, vars and children.

    Raises:
        TargetInvalid: It is not of that form.
    """
    inventory = Inventory()
    _yaml_groups(inventory, parsed, None, source, 0)
    return inventory


def _yaml_groups(
    inventory: Inventory, groups: object, parent: str | None, source: str, depth: int
) -> None:
    if groups is None:
        return
    if not isinstance(groups, Mapping) or depth > _DEPTH_MAX:
        raise TargetInvalid(f"{source}: groups have the form 'name: {{hosts: ...}}'")
    for name, content in groups.items():
        group = str(name)
        inventory.members.setdefault(group, [])
        if parent is not None:
            inventory.add_child(parent, group)
        entry = _mapping(content, source, group)
        for host, variables in _mapping(entry.get("hosts"), source, group).items():
            own = _mapping(variables, source, str(host))
            for each in expand(without_ssh_port(str(host))):
                inventory.add_host(each, group, {str(k): v for k, v in own.items()})
        values = _mapping(entry.get("vars"), source, group)
        inventory.variables.setdefault(group, {}).update(
            {str(key): value for key, value in values.items()}
        )
        _yaml_groups(inventory, entry.get("children"), group, source, depth + 1)


def _mapping(value: object, source: str, name: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TargetInvalid(
            f"{source}: what stands below {name!r} is no mapping; names end with ':'"
        )
    return value


def from_json(parsed: object, *, source: str) -> Inventory:
    """Read what `ansible-inventory --list` prints, parsed.

    Raises:
        TargetInvalid: It is not of that form.
    """
    top = _mapping(parsed, source, "the file")
    meta = _mapping(top.get("_meta"), source, "_meta")
    variables = _mapping(meta.get("hostvars"), source, "hostvars")
    inventory = Inventory()
    for name, content in top.items():
        group = str(name)
        if group == "_meta":
            continue
        inventory.members.setdefault(group, [])
        listed = isinstance(content, list)
        entry = {"hosts": content} if listed else _mapping(content, source, group)
        for host in _words(entry.get("hosts"), source, group):
            own = _mapping(variables.get(host), source, host)
            inventory.add_host(host, group, _without_templates(own))
        for child in _words(entry.get("children"), source, group):
            inventory.add_child(group, child)
        values = _mapping(entry.get("vars"), source, group)
        inventory.variables.setdefault(group, {}).update(_without_templates(values))
    return inventory


def _without_templates(variables: Mapping[Any, Any]) -> dict[str, object]:
    """Leave out what Ansible would run: here nobody can tell whose words they are.

    Ansible knows that a cloud's labels, say, are strangers' words, and never takes them
    for templates; its JSON marks them (until 2.18) or does not tell at all.
    """
    plain = {str(name): _unmarked(value) for name, value in variables.items()}
    return {name: value for name, value in plain.items() if not _runs(value)}


def _unmarked(value: object) -> object:
    if isinstance(value, Mapping) and value.keys() == {_UNSAFE}:
        return value[_UNSAFE]
    return value


def _runs(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_runs, (*value.keys(), *value.values())))
    if isinstance(value, list):
        return any(map(_runs, value))
    return isinstance(value, str) and has_template(value)


def _words(value: object, source: str, name: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TargetInvalid(f"{source}: what stands below {name!r} is no list of names")
    return value
