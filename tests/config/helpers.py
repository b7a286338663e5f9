"""Small files, as the tests of the configuration need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import strategies as st

from icefloe.config.evaluator import Evaluation, IncludeFailure, evaluate
from icefloe.config.layout import NodeDirectories
from icefloe.config.source import Source
from icefloe.config.syntax import Value

NODE = "node1.example.org"

# The essential shape of what Debian installs, in our own words.
CONSTANTS = """\
/* constants
 * of the node */
const PluginDir = "/usr/lib/nagios/plugins"

//const NodeName = "localhost"

const ZoneName = NodeName

/* Secret */
const TicketSalt = ""
"""

ZONES = """\
object Endpoint NodeName {
  host = NodeName
}

object Zone ZoneName {
  endpoints = [ NodeName ]
}

object Zone "global-templates" {
  global = true
}

/*
object Zone "satellite" {
  parent = "master"
}
*/
"""

API = """\
object ApiListener "api" {
  //accept_config = false
  ticket_salt = TicketSalt
}
"""

ICINGA2 = """\
/**
 * everything
 */
include "constants.conf"
include "zones.conf"
include <itl>
include <plugins>
include "features-enabled/*.conf"
/** the examples */
include_recursive "conf.d"
"""

HOSTS = """\
/* object Host "commented" { } */
object Host NodeName {
  import "generic-host"
  vars.text = "object Host \\"quoted\\" {"
}
"""

SERVICES = """\
apply Service for (disk => config in host.vars.disks) {
  assign where (host.address || host.address6) && host.vars.os == "Linux"
}
apply Service "ssh" {
  check_command = {{ "ssh" }}
}
apply Notification "mail" to Host { }
"""


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files below a directory."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def debian_node(root: Path, **changes: str) -> NodeDirectories:
    """Make the directories of a fresh Debian node with the feature `api` enabled."""
    directories = NodeDirectories(config_dir=root / "etc", data_dir=root / "lib")
    write(
        directories.config_dir,
        {
            "constants.conf": changes.get("constants", CONSTANTS),
            "zones.conf": changes.get("zones", ZONES),
            "features-available/api.conf": changes.get("api", API),
            "icinga2.conf": changes.get("icinga2", ICINGA2),
            "conf.d/hosts.conf": HOSTS,
            "conf.d/services.conf": SERVICES,
        },
    )
    directories.features_enabled.mkdir()
    link = directories.feature_enabled("api")
    link.symlink_to("../features-available/api.conf")
    return directories


class MemoryIncludes:
    """The files of an evaluation, in memory."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def named(self, including: str, path: str) -> Sequence[Source]:
        del including
        if path not in self._files:
            raise IncludeFailure(f"{path} does not exist", "")
        return [Source(path, self._files[path])]

    def below(self, including: str, path: str, pattern: str) -> Sequence[Source]:
        del including
        return [
            Source(name, text)
            for name, text in self._files.items()
            if name.startswith(f"{path}/") and name.endswith(pattern.removeprefix("*"))
        ]


def evaluated(text: str, **files: str) -> Evaluation:
    """Evaluate a text, with other files to include."""
    predefined: dict[str, Value] = {"NodeName": NODE}
    return evaluate(
        [Source("test.conf", text)],
        includes=MemoryIncludes(files),
        predefined=predefined.get,
    )


def value_of(expression: str) -> Value:
    """The value of one expression that has one."""
    found = evaluated(f"const X = {expression}\n")
    assert found.problems == ()
    return found.constants["X"]


def messages_of(text: str, **files: str) -> list[str]:
    """What is wrong with a text, as `line:column: message`."""
    return [
        f"{p.position.line}:{p.position.column}: {p.message}"
        if p.position
        else p.message
        for p in evaluated(text, **files).problems
    ]


# What people and attackers put into names.
hostile_text = st.text(
    st.one_of(
        st.sampled_from('"\\{}[]()+;,#/*\n\r\t\0 \x01\x7f07@$!<>=\u2028'),
        st.characters(codec="utf-8"),
    ),
    max_size=30,
)

numbers = st.one_of(
    st.integers(-(10**12), 10**12).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)

values: st.SearchStrategy[Value] = st.recursive(
    st.one_of(st.none(), st.booleans(), hostile_text, numbers),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(hostile_text, inner, max_size=4),
    ),
    max_leaves=12,
)

# Text that looks like configuration often enough to get past the first token.
configuration_text = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    "const",
                    "object",
                    "include",
                    "include_recursive",
                    "Zone",
                    "Endpoint",
                    "X",
                    "NodeName",
                    '"a"',
                    '"',
                    "{",
                    "}",
                    "[",
                    "]",
                    "(",
                    ")",
                    "{{",
                    "}}",
                    "{{{",
                    "}}}",
                    "=",
                    "+=",
                    "+",
                    "-",
                    ".",
                    ",",
                    ";",
                    "\n",
                    "\n",
                    "1",
                    "2m",
                    "1.5",
                    "true",
                    "null",
                    "//",
                    "/*",
                    "*/",
                    "#",
                    "<itl>",
                    "if",
                    "function",
                    "@object",
                    "\\",
                    "\x00",
                    "é",
                ]
            ),
            st.text(max_size=3),
        ),
        max_size=60,
    ).map(" ".join),
)
