"""What a set-up would change: the configuration as a diff, and the identity in words.

`node setup` looks here first: nothing to do is found out before anything is written or
anybody asked.  `--dry-run` prints it, the wizard makes its summary of it, and the
set-up itself carries out the plan that stands here, and no more.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from icefloe.config.plan import Plan, PlannedFile, PlannedLink, says_the_same
from icefloe.config.setup import NodeSetup
from icefloe.config.source import Source
from icefloe.enrollment.requester import Parent
from icefloe.storage.files import read_file_if_there
from icefloe.storage.keys import KeyType

__all__ = [
    "AgentSetup",
    "Changes",
    "Fate",
    "FileChange",
    "IdentityChange",
    "TicketFate",
    "changes_of_plan",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """What an agent or a satellite is to become.

    Attributes:
        node: Its configuration.
        parents: Whom to ask for a certificate; empty: nobody, `ca.crt` is copied by
            hand and the daemon asks.
        pins: What the parents have to show.
        ticket: The ticket, or "".
        wait: Seconds to go on after a pending answer.
        key_type: For a new key.
        ca_pem: The CA's certificate (PEM), to be put in place when there is none; None
            when it is not known.
        rotate_key: Whether a new key is to take the place of the present one.
        verify: Whether the parents are asked although nothing is to be changed.
    """

    node: NodeSetup
    parents: Sequence[Parent] = ()
    pins: tuple[x509.Certificate, ...] = ()
    ticket: str = field(default="", repr=False)
    wait: float = 0.0
    key_type: KeyType = KeyType.EC
    ca_pem: bytes | None = field(default=None, repr=False)
    rotate_key: bool = False
    verify: bool = False


@enum.unique
class Fate(enum.StrEnum):
    """What becomes of the identity: key and certificate."""

    KEPT = "kept"
    """Both stay as they are, and nobody is asked."""

    ASKED = "asked"
    """The key stays; a certificate for it is asked for, or signed here."""

    MADE = "made"
    """There is no key yet: one is made, and a certificate for it is got."""

    ROTATED = "rotated"
    """A new key takes the place of the present one, once its certificate is there."""


@enum.unique
class TicketFate(enum.StrEnum):
    """What becomes of the file with the ticket."""

    STAYS = "stays"
    STORED = "stored"
    """It is kept for the daemon, which goes on where the command stops."""
    REMOVED = "removed"
    """It has done its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityChange:
    """What would happen to key and certificate.

    Attributes:
        fate: In one word.
        detail: In one sentence, without a full stop.
        certificate: The present certificate, or None.
        acts: Whether a file is written or somebody asked for it.
        new_ca: Whether a CA is made.
        beside: Whether a request is made beside the present certificate, which
            somebody signed, but which does not serve.
        replaces: Whether the present certificate is replaced without having served:
            by a request, since it does not fit the key or is a stale request itself, or
            by what our own CA signs.
    """

    fate: Fate
    detail: str
    certificate: x509.Certificate | None = field(default=None, repr=False)
    acts: bool
    new_ca: bool = False
    beside: bool = False
    replaces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A configuration file that would be made or changed.

    Attributes:
        path: Which.
        before: Its text; None when there is no such file.  Kept out of `repr`, as
            `after` is: they may hold secrets.
        after: Its new text.
        mode: Its new permissions.
    """

    path: Path
    before: str | None = field(repr=False)
    after: str = field(repr=False)
    mode: int

    @property
    def is_new(self) -> bool:
        """Whether there is no such file yet."""
        return self.before is None

    def diff(self) -> str:
        """Return a unified diff, in which no secret can be read."""
        name = str(self.path)
        return _unified(
            Source(name, self.before or ""),
            Source(name, self.after),
            from_name="/dev/null" if self.before is None else name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that a set-up would change.

    Attributes:
        node_name: The node's name.
        files: Configuration files, each of which differs from what is there.
        links: Links to make.
        removals: Links to remove.
        identity: What happens to key and certificate.
        ticket: What happens to the file with the ticket.
        writes_ca: Whether the CA certificate that was given is put in place.
    """

    node_name: str
    files: tuple[FileChange, ...]
    links: tuple[PlannedLink, ...]
    removals: tuple[Path, ...]
    identity: IdentityChange
    ticket: TicketFate = TicketFate.STAYS
    writes_ca: bool = False

    @property
    def plan(self) -> Plan:
        """What is to be carried out of the configuration."""
        files = (
            PlannedFile(path=each.path, text=each.after, mode=each.mode)
            for each in self.files
        )
        return Plan(files=tuple(files), links=self.links, removals=self.removals)

    @property
    def nothing_to_do(self) -> bool:
        """Whether the node is as it is asked to be."""
        return (
            self.plan.is_empty
            and not self.identity.acts
            and self.ticket is TicketFate.STAYS
            and not self.writes_ca
        )

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path of the configuration that changes."""
        links = (link.path for link in self.links)
        return (*(file.path for file in self.files), *links, *self.removals)

    def diff(self) -> str:
        """Return every change of the configuration, as a diff without secrets.

        Links stand in it as lines of their own.
        """
        parts = [file.diff() for file in self.files]
        parts += [f"link {link.path} -> {link.target}\n" for link in self.links]
        parts += [f"remove {path}\n" for path in self.removals]
        return "".join(parts)


def changes_of_plan(
    plan: Plan,
    *,
    node_name: str,
    identity: IdentityChange,
    ticket: TicketFate = TicketFate.STAYS,
    writes_ca: bool = False,
) -> Changes:
    """Compare a plan with what is there; what is so already falls away.

    A file that differs only in the note of who wrote it, and when, counts as the same.

    Raises:
        FileProblem: The operating system objects.
    """
    return Changes(
        node_name=node_name,
        files=tuple(_changed(plan.files)),
        links=plan.links,
        removals=plan.removals,
        identity=identity,
        ticket=ticket,
        writes_ca=writes_ca,
    )


def _changed(files: Sequence[PlannedFile]) -> Iterator[FileChange]:
    for file in files:
        content = read_file_if_there(file.path)
        before = None if content is None else content.decode(errors="replace")
        if before is not None and says_the_same(before, file.text):
            continue
        yield FileChange(path=file.path, before=before, after=file.text, mode=file.mode)


def _unified(before: Source, after: Source, *, from_name: str) -> str:
    """Compare the real lines, and show each one as it may be shown."""
    shown = [_shown(before), _shown(after)]
    old, new = _lines(before), _lines(after)
    out = [f"--- {from_name}\n", f"+++ {after.name}\n"]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        spans = (_span(first[1], last[2]), _span(first[3], last[4]))
        out.append("@@ -{} +{} @@\n".format(*spans))
        for what, i1, i2, j1, j2 in group:
            if what == "equal":
                out += [f" {line}\n" for line in shown[0][i1:i2]]
                continue
            out += [f"-{line}\n" for line in shown[0][i1:i2]]
            out += [f"+{line}\n" for line in shown[1][j1:j2]]
    return "".join(out)


def _lines(source: Source) -> list[str]:
    return source.text.removesuffix("\n").split("\n") if source.text else []


def _shown(source: Source) -> list[str]:
    return list(source.safe_lines()) if source.text else []


def _span(start: int, end: int) -> str:
    """Return a range of lines as `diff -u` writes it."""
    length = end - start
    if length == 1:
        return f"{start + 1}"
    return f"{start + 1 if length else start},{length}"
