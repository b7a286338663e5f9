"""The fuzz targets, one parser each; `ALL` names them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

NAMES = (
    "netstrings",
    "json_rpc",
    "catalogue",
    "certificates",
    "signing_requests",
    "revocation_lists",
    "asked",
    "answered",
    "session",
    "configuration",
    "node_files",
    "stored_requests",
)
"""In the order of `make fuzz`: from the socket inwards, files last."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser and what must hold for it.

    Attributes:
        name: Of its module, and of its corpus's directory.
        check: Takes any bytes; raises when something does not hold.
        seeds: Inputs made by hand, by a name that says what is odd about each.
        bytes_max: Longer inputs find nothing that shorter ones do not.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Mapping[str, bytes]
    bytes_max: int


def load(name: str) -> Target:
    """Import one target.

    Raises:
        KeyError: There is none of that name.
    """
    if name not in NAMES:
        raise KeyError(name)
    module: ModuleType = importlib.import_module(f"{__name__}.{name}")
    return Target(name, module.check, module.SEEDS, module.BYTES_MAX)
