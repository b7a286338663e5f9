"""Running icefloe and icinga2: with a clean environment, told through standard input."""

import json
import os
import threading
from typing import Any, Dict, List, NamedTuple, Optional

NODE_VARIABLES = ("ICEFLOE_", "ICINGA_")
"""Beginnings of variables that answer `node setup`: none may slip in from a shell."""

PLACES = ("ICEFLOE_CONFIG_DIR", "ICEFLOE_DATA_DIR")
"""Where the node is: a play may say that with `environment`."""

WHERE_ELSE = ["/opt/icefloe/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"]
"""Looked at beside PATH; Debian keeps icinga2 in /usr/sbin, the role icefloe in /opt."""


class Ran(NamedTuple):
    """How a program ended.

    Attributes:
        code: Its exit code.
        out: What it printed on standard output.
        err: What it printed on standard error.
    """

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both, for a person."""
        return (self.out + self.err).strip()


def find_program(module: Any, name: str) -> Optional[str]:
    """Return the path of a program, or None when it is not there."""
    if os.path.sep in name:
        usable = os.path.isfile(name) and os.access(name, os.X_OK)
        return os.path.abspath(name) if usable else None
    found: Optional[str] = module.get_bin_path(
        name, required=False, opt_dirs=WHERE_ELSE
    )
    return found


def run_program(
    module: Any,
    words: List[str],
    *,
    stdin: Optional[str] = None,
    user: Optional[str] = None,
    group: Optional[str] = None,
    seconds_max: Optional[float] = None,
) -> Ran:
    """Run a program to its end.

    Args:
        module: The AnsibleModule.
        words: The command line.
        stdin: What it reads; also the place for a secret.
        user: The daemon's user, to whom files are to belong.
        group: The daemon's group.
        seconds_max: After so many it is killed; None lets it take its time.
    """
    timers: List[threading.Timer] = []

    def limit(process: Any) -> None:
        if seconds_max is not None:
            timers.append(threading.Timer(seconds_max, process.kill))
            timers[0].start()

    for name in list(os.environ):
        if name.startswith(NODE_VARIABLES) and name not in PLACES:
            del os.environ[name]
    environment = {"LC_ALL": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "200"}
    if user:
        environment["ICINGA2_USER"] = user
    if group:
        environment["ICINGA2_GROUP"] = group
    try:
        code, out, err = module.run_command(
            words,
            data=stdin,
            environ_update=environment,
            expand_user_and_vars=False,
            encoding="utf-8",
            errors="replace",
            before_communicate_callback=limit,
        )
    finally:
        for timer in timers:
            timer.cancel()
    return Ran(code, out, err)


def json_of(ran: Ran) -> Optional[Dict[str, Any]]:
    """Return the one JSON object that a program printed; None when it did not."""
    try:
        found = json.loads(ran.out)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
