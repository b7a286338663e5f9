"""An Ansible inventory of the hosts to mend.

One group for each state, `icefloe_self_signed` and so on.  Those that enrolling anew
cures are in `icefloe_mend`.  The others want a person first (whose host is it? who
revoked it?) and are in `icefloe_look`.

It is meant to stand beside the inventory that the hosts came from (`-i hosts -i
mend.yaml`): Ansible joins the two, vaults and all.  Variables are copied only as far as
a host is found and set up by them, so that the file works alone as well; nothing is
copied that may be a secret.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Mapping
from typing import Final

import msgspec

from icefloe.node.acceptance import tidy
from icefloe.node.fleet.report import Audit, time_text, worst_first
from icefloe.node.fleet.states import State
from icefloe.node.fleet.targets import Target, is_address
from icefloe.node.fleet.verdicts import Verdict

__all__ = [
    "CURED_BY_ENROLLING",
    "LOOK_GROUP",
    "MEND_GROUP",
    "group_of",
    "ini_text",
    "is_kept",
    "yaml_text",
]

MEND_GROUP: Final = "icefloe_mend"
LOOK_GROUP: Final = "icefloe_look"

CURED_BY_ENROLLING: Final = frozenset(
    {State.SELF_SIGNED, State.EXPIRED, State.EXPIRING, State.INVALID}
)

_KEPT: Final = re.compile(
    r"ansible_(host|port|user|connection|become|become_user|become_method|"
    r"python_interpreter)|icefloe_\w+|icinga2_\w+"
)
_HOLDS_SECRETS: Final = frozenset(
    {"icefloe_pip_extra_args", "icinga2_constants", "icinga2_features"}
)
"""An index's password; TicketSalt; databases' passwords: in text or deep inside."""
_SECRET: Final = re.compile(
    r"pass|secret|ticket|token|salt|vault|credential|(^|_)key", re.IGNORECASE
)
_WITH_PASSWORD: Final = re.compile(r"://[^/\s]*@")
_NO_SECRET: Final = frozenset({"icefloe_key_type", "icefloe_rotate_key"})
_STATED: Final = frozenset({"icefloe_audit_state", "icefloe_audit_detail"})
_PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9_.:@%/-]+")


def group_of(state: State) -> str:
    """Return the group of a state: Ansible's names have no hyphens."""
    return f"icefloe_{state.value.replace('-', '_')}"


def is_kept(name: str) -> bool:
    """Say whether a variable of a host goes into the inventory."""
    if name in _NO_SECRET:
        return True
    if name in _HOLDS_SECRETS:
        return False
    return _KEPT.fullmatch(name) is not None and _SECRET.search(name) is None


def _may_be_secret(value: object) -> bool:
    """Say whether a secret may stand inside: below such a name, or in an address."""
    if isinstance(value, Mapping):
        return any(
            (isinstance(key, str) and _SECRET.search(key) is not None)
            or _may_be_secret(each)
            for key, each in value.items()
        )
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_may_be_secret, value))
    return isinstance(value, str) and _WITH_PASSWORD.search(value) is not None


def yaml_text(audit: Audit) -> str:
    """Return the inventory as YAML."""
    lines = [*_head(audit), "all:", "  children:"]
    for parent, groups in _groups(audit).items():
        lines.append(f"    {parent}:")
        lines += ["      children:"] if groups else []
        for group, hosts in groups.items():
            lines += [f"        {group}:", "          hosts:"]
            for name, verdict in hosts.items():
                lines.append(f"            {_json(name)}:")
                lines += [
                    f"              {key}: {_json(value)}"
                    for key, value in _variables(name, verdict).items()
                ]
    return "\n".join(lines) + "\n"


def ini_text(audit: Audit) -> str:
    """Return the inventory as INI."""
    lines = _head(audit)
    for parent, groups in _groups(audit).items():
        for group, hosts in groups.items():
            lines += ["", f"[{group}]"]
            for name, verdict in hosts.items():
                settings = (
                    shlex.quote(f"{key}={_ini(value)}")
                    for key, value in _variables(name, verdict).items()
                )
                lines.append(" ".join((name, *settings)))
        lines += ["", f"[{parent}:children]", *groups]
    return "\n".join(lines) + "\n"


def _head(audit: Audit) -> list[str]:
    seen = f"'icefloe fleet audit' at {time_text(audit.at)}"
    return [
        f"# {audit.to_mend} of {audit.asked} hosts to mend, as seen by {seen}.",
        f"# {MEND_GROUP}: to be enrolled anew. {LOOK_GROUP}: look at them first.",
    ]


def _groups(audit: Audit) -> dict[str, dict[str, Mapping[str, Verdict]]]:
    """Return hosts by group, groups by the group above them; the worst first."""
    found: dict[str, dict[str, dict[str, Verdict]]] = {MEND_GROUP: {}, LOOK_GROUP: {}}
    taken: set[str] = set()
    for verdict in worst_first(audit.verdicts):
        if verdict.state.is_well:
            continue
        cured = verdict.state in CURED_BY_ENROLLING
        groups = found[MEND_GROUP if cured else LOOK_GROUP]
        name = _host_name(verdict.target, taken)
        taken.add(name)
        groups.setdefault(group_of(verdict.state), {})[name] = verdict
    return {parent: dict(groups) for parent, groups in found.items()}


def _host_name(target: Target, taken: set[str]) -> str:
    """Name a host for Ansible, which takes a colon or a comma for something else."""
    plain = target.label if target.variables else target.name or target.host
    # An IPv6 address stays: Ansible knows one by itself.
    name = plain if is_address(plain) else re.sub(r"[\s,:=#;'\"\\\[\]{}]", "_", plain)
    while name in taken:
        name = f"{name}_{target.port}"
    return name


def _variables(name: str, verdict: Verdict) -> dict[str, object]:
    """Return what goes with a host: how to find it, and why it is here."""
    target = verdict.target
    kept = {
        key: value
        for key, value in target.variables.items()
        if is_kept(key) and key not in _STATED and not _may_be_secret(value)
    }
    if not target.variables and target.host != name:
        # From the command line or a list: it says where Ansible finds the host, too.
        kept["ansible_host"] = target.host
    kept["icefloe_port"] = target.port
    if target.name is not None and target.name != name:
        kept["icefloe_cn"] = target.name
    kept["icefloe_audit_state"] = verdict.state.value
    kept["icefloe_audit_detail"] = _without_templates(verdict.detail)
    return kept


def _without_templates(text: str) -> str:
    """Make a stranger's words harmless: no template of Ansible's begins in them."""
    return re.sub(r"[{}%#\\]", "_", tidy(text))


def _json(value: object) -> str:
    """Write a value as JSON, which is YAML."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def _ini(value: object) -> str:
    """Write a value so that it is read as the same: text as text."""
    if isinstance(value, str) and _PLAIN_VALUE.fullmatch(value):
        try:
            ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return repr(value)
