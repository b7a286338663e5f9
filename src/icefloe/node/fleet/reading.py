"""The files that say whom to look at and by what to judge; the one that is written.

PyYAML is imported only for a file in YAML: it is an extra of the package.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from icefloe.doors import WallTime
from icefloe.node.fleet import inventory
from icefloe.node.fleet.advisories import Advisories, parse_advisories
from icefloe.node.fleet.targets import (
    Target,
    TargetInvalid,
    parse_list,
    parse_target,
)
from icefloe.pki.certificates import describe
from icefloe.pki.trust import TrustAnchor
from icefloe.storage.files import (
    FileProblem,
    read_file,
    read_file_if_there,
    write_file,
)

__all__ = [
    "doubts_of",
    "known_advisories",
    "read_anchor",
    "read_inventory",
    "read_targets",
    "write_repair",
]

STANDARD_INPUT: Final = "-"
LIST_BYTES_MAX: Final = 16 * 1024 * 1024
REPAIR_MODE: Final = 0o600
"""It names the weak points of a fleet."""

_YAML: Final = frozenset({".yaml", ".yml"})


def read_targets(
    words: Sequence[str],
    files: Sequence[Path],
    inventories: Sequence[Path],
    *,
    port: int,
) -> list[Target]:
    """Return every target that is named, in order, as often as it is named.

    Args:
        words: Targets; `@FILE` stands for the targets in a file.
        files: Files with targets; `-` is standard input.
        inventories: Ansible inventories.
        port: For targets without one.

    Raises:
        TargetInvalid: One cannot be understood, or a file not be used.
        FileProblem: A file cannot be read.
    """
    found: list[Target] = []
    for word in words:
        if word.startswith("@"):
            found += _read_list(Path(word[1:]), port=port)
        else:
            found.append(parse_target(word, port=port))
    for path in files:
        found += _read_list(path, port=port)
    for path in inventories:
        found += read_inventory(path, port=port)
    return found


def _read_list(path: Path, *, port: int) -> list[Target]:
    """Read a file with a target a line.

    Raises:
        TargetInvalid: A line cannot be understood.
        FileProblem: The file cannot be read.
    """
    if str(path) == STANDARD_INPUT:
        content = sys.stdin.buffer.read(LIST_BYTES_MAX + 1)
        if len(content) > LIST_BYTES_MAX:
            raise TargetInvalid(f"standard input is longer than {LIST_BYTES_MAX} bytes")
        source = "standard input"
    else:
        content, source = read_file(path), str(path)
    return parse_list(_text(content, source), port=port, source=source)


def read_inventory(path: Path, *, port: int) -> list[Target]:
    """Read an Ansible inventory: YAML by its ending, JSON by its first sign, else INI.

    Raises:
        TargetInvalid: It cannot be understood, or is none of these.
        FileProblem: The file cannot be read.
    """
    source = str(path)
    instead = f"give what 'ansible-inventory -i {source} --list' prints"
    if path.is_dir():
        raise TargetInvalid(
            f"'{source}' is a directory: give a file in it, or {instead}"
        )
    text = _text(read_file(path), source)
    if text.startswith("#!"):
        raise TargetInvalid(f"'{source}' is a program: {instead}")
    if path.suffix.lower() in _YAML:
        found = inventory.from_yaml(_yaml(text, source), source=source)
    elif text.lstrip().startswith("{"):
        found = inventory.from_json(_json(text, source), source=source)
    else:
        found = inventory.parse_ini(text, source=source)
    return inventory.targets_of(found, port=port, source=source)


def read_anchor(
    ca: Path | None, crl: Path | None, own: Path
) -> tuple[TrustAnchor, Path] | None:
    """Return the CA to judge by and its file: the one given, else this node's own.

    Args:
        ca: A file with the CA's certificate, PEM; None when none was given.
        crl: A file with its revocation lists, PEM.
        own: This node's `ca.crt`; it may be missing, or not ours to read.

    Raises:
        CertificateInvalid: The file holds no CA certificate.
        RevocationListInvalid: The list cannot be relied upon.
        FileProblem: A file that was given cannot be read.
    """
    lists = None if crl is None else read_file(crl)
    if ca is not None:
        return TrustAnchor.from_pem(read_file(ca), lists), ca
    try:
        content = read_file_if_there(own)
    except FileProblem:
        return None  # nobody asked for it, and this user may not read it
    return None if content is None else (TrustAnchor.from_pem(content, lists), own)


def known_advisories() -> Advisories:
    """Read the package's data.

    Raises:
        AdvisoriesInvalid: A bug of the package.
    """
    data = resources.files(__package__) / "advisories.toml"
    return parse_advisories(data.read_text(encoding="utf-8"))


def doubts_of(anchor: TrustAnchor, at: WallTime) -> list[str]:
    """Say where revocation lists that were given do not tell what is revoked.

    Returns:
        Sentences; none where no list was given.
    """
    if not anchor.revocation_lists:
        return []
    doubts = []
    for ca in anchor.all_cas:
        name = dict(describe(ca))["Subject"]
        lists = [each for each in anchor.revocation_lists if each.issuer == ca.subject]
        ends = [each.next_update for each in lists]
        if not lists:
            doubts.append(f"there is no revocation list of {name}")
        elif all(end is not None and end.timestamp() < at for end in ends):
            doubts.append(f"the revocation list of {name} has expired")
    return doubts


def write_repair(path: Path, text: str) -> None:
    """Write an inventory in one step.

    Raises:
        FileProblem: The operating system objects.
    """
    write_file(path, text.encode(), mode=REPAIR_MODE)


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TargetInvalid(f"{source}:{line}: it is not UTF-8") from error


def _json(text: str, source: str) -> object:
    try:
        parsed: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TargetInvalid(f"'{source}' is not JSON") from error
    return parsed


def _yaml(text: str, source: str) -> object:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError as error:
        raise TargetInvalid(
            f"reading '{source}' needs PyYAML, which is not installed: install "
            "icefloe[yaml], or give what 'ansible-inventory --list' prints (JSON)"
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc] # untyped here
        """The safe loader, which passes over vaults and other tags."""

    Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)
    try:
        # A subclass of the safe loader: it makes no objects of foreign tags.
        parsed: object = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        # The whole message would quote the line, which may hold a password.
        problem = getattr(error, "problem", "") or "broken"
        raise TargetInvalid(f"{source}{line}: it is not YAML: {problem}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise TargetInvalid(f"'{source}' is not YAML that can be read") from error
    return parsed
