"""The questions of `node setup`: each with its option, its variables and its key.

One table, from which the command line, the environment, a file and the wizard are
served.  A test holds it and the options of the command alike.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["QUESTIONS", "Kind", "Question", "canonical_key"]


@enum.unique
class Kind(enum.Enum):
    """What an answer is."""

    TEXT = "a text"
    TEXTS = "a text or a list of texts"
    FLAG = "true or false"
    NUMBER = "a number of seconds"
    CERTIFICATES = "a path or a certificate (PEM), or a list of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        name: The key in a file, `parent_host`.
        kind: What an answer is.
        spelled: The option as it is shown.
        container: The variable of the official Icinga container; "" without one.
        parts: The keys of a table that may stand for a text, in the text's order:
            `{name = "sat1", host = "192.0.2.1"}` for `sat1,192.0.2.1`.
        secret: Whether the answer is shown to nobody.
        for_master: Whether it means something for a master.
    """

    name: str
    kind: Kind
    spelled: str
    container: str = ""
    parts: tuple[str, ...] = ()
    secret: bool = False
    for_master: bool = True

    @property
    def variable(self) -> str:
        """The environment variable: `ICEFLOE_PARENT_HOST`."""
        return f"ICEFLOE_{self.name.upper()}"


_ALL: Final = (
    Question(name="master", kind=Kind.FLAG, spelled="--master", container="MASTER"),
    Question(name="cn", kind=Kind.TEXT, spelled="--cn", container="CN"),
    Question(name="zone", kind=Kind.TEXT, spelled="--zone", container="ZONE"),
    Question(
        name="endpoint",
        kind=Kind.TEXTS,
        spelled="--endpoint",
        container="ENDPOINT",
        parts=("name", "host", "port"),
        for_master=False,
    ),
    Question(
        name="parent_host",
        kind=Kind.TEXTS,
        spelled="--parent_host",
        container="PARENT_HOST",
        parts=("host", "port"),
        for_master=False,
    ),
    Question(
        name="parent_zone",
        kind=Kind.TEXT,
        spelled="--parent_zone",
        container="PARENT_ZONE",
        for_master=False,
    ),
    Question(
        name="trustedcert",
        kind=Kind.CERTIFICATES,
        spelled="--trustedcert",
        container="TRUSTEDCERT",
        for_master=False,
    ),
    Question(
        name="cacert",
        kind=Kind.CERTIFICATES,
        spelled="--cacert",
        container="CACERT",
        for_master=False,
    ),
    Question(
        name="ticket",
        kind=Kind.TEXT,
        spelled="--ticket",
        container="TICKET",
        secret=True,
        for_master=False,
    ),
    Question(
        name="ticket_file", kind=Kind.TEXT, spelled="--ticket-file", for_master=False
    ),
    Question(name="wait", kind=Kind.NUMBER, spelled="--wait", for_master=False),
    Question(
        name="listen",
        kind=Kind.TEXT,
        spelled="--listen",
        container="LISTEN",
        parts=("host", "port"),
    ),
    Question(
        name="accept_config",
        kind=Kind.FLAG,
        spelled="--accept-config",
        container="ACCEPT_CONFIG",
    ),
    Question(
        name="accept_commands",
        kind=Kind.FLAG,
        spelled="--accept-commands",
        container="ACCEPT_COMMANDS",
    ),
    Question(
        name="global_zones",
        kind=Kind.TEXTS,
        spelled="--global_zones",
        container="GLOBAL_ZONES",
    ),
    Question(
        name="no_default_global_zones",
        kind=Kind.FLAG,
        spelled="--no-default-global-zones",
    ),
    Question(
        name="disable_confd",
        kind=Kind.FLAG,
        spelled="--disable-confd",
        container="DISABLE_CONFD",
    ),
    Question(name="icefloe_endpoint", kind=Kind.TEXTS, spelled="--icefloe-endpoint"),
    Question(name="key_type", kind=Kind.TEXT, spelled="--key-type"),
)

QUESTIONS: Final[Mapping[str, Question]] = MappingProxyType(
    {question.name: question for question in _ALL}
)
"""By name, in the order in which they are shown."""

_OTHER_SPELLINGS: Final = MappingProxyType(
    {
        "trusted_cert": "trustedcert",
        "ca_cert": "cacert",
        "master_host": "parent_host",
        "disable_conf_d": "disable_confd",
        "common_name": "cn",
        "endpoints": "endpoint",
        "parent_hosts": "parent_host",
        "icefloe_endpoints": "icefloe_endpoint",
    }
)
"""protocol: `--master_host` is Icinga's old name, `--trusted-cert` what people write."""


def canonical_key(spelled: str) -> str:
    """Return the name of a question, or of an option, however it is spelled.

    Hyphens and underscores are the same, as tools mix them; what is unknown comes back
    with underscores.
    """
    name = spelled.replace("-", "_")
    return _OTHER_SPELLINGS.get(name, name)
