"""The node's own identity, switched in whole: the journal.

Key, certificate and CA are three files, and three renames are not one.  So what is to
be done is written down before the first rename, and whoever comes next finishes it:

    stage     each new content beside its file, brought to disk and read back
    verify    what the files will be together: the certificate for the key, its name,
              its chain and dates; owners and modes that let the daemon's user read
              *and* replace them
    keep      each file that is about to go under a second name, `.before-TIME`
    journal   `switch.json`: state "switching"                     <- the moment of truth
    rename    each staged file over the old one, the CA first
    journal   state "unconfirmed"

A crash before the journal's line leaves the old identity and litter beside it; a crash
after it leaves a journal that `recover` carries on, forward when every new content is
whole, else back.  `recover` itself may be killed anywhere.  While nothing has recovered
yet the key and the certificate of a rotation may not match: so the daemon, and every
command that touches the identity, recovers first.

"unconfirmed" is a new identity that no parent has taken yet.  The daemon connects with
it and says `confirm`; or its parents refuse it, and `roll_back` puts the older pair
back.  A CA bundle that vouches for both stays.  The older pair is the last one that
was confirmed, also when several switches came in between.

Writers are kept apart by a lock on the directory of the files (`directory_lock`).

The journal holds names and digests, never a key's bytes.  It lies in a directory of the
daemon's user, so root believes nothing of it that leads out of `certs/`: it names files
there, and no others.

Rotation of the key: see `icefloe.storage.rotation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from pathlib import Path
from typing import Self

from icefloe.config.layout import NodeDirectories
from icefloe.doors import WallTime
from icefloe.storage.directory_lock import locked_directories
from icefloe.storage.files import FileProblem, Owner, read_file_if_there
from icefloe.storage.identity_checks import (
    Parts,
    check_access,
    check_parts,
    fingerprint_of,
)
from icefloe.storage.identity_files import IdentityFiles, IdentityProblem
from icefloe.storage.older_identity import (
    NoOlder,
    ca_that_vouches,
    older_after,
    read_older,
)
from icefloe.storage.replacing import sweep_staged
from icefloe.storage.switch_record import (
    FORMAT,
    Older,
    Phase,
    Record,
    RecordDamaged,
    RecordFile,
    Step,
)
from icefloe.storage.switch_steps import (
    Change,
    are_whole,
    discard_staged,
    go_back,
    go_forward,
    is_complete,
    prepare,
)

__all__ = ["IdentityJournal", "Phase", "Recovery", "SwitchState", "Went"]


@unique
class Went(StrEnum):
    """Which way a switch that was interrupted was finished."""

    FORWARD = "forward"
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchState:
    """What the journal says.

    Attributes:
        state: How far the last switch has come.
        at: When it came there.
        reason: Why, in words; for a roll-back that could not be done, why not.
        old: Fingerprint of the certificate to roll back to: hex SHA-256 of its DER;
            "" when there was none.
        new: That of the certificate that was put in place (for "rolled-back": that was
            taken away again).
        kept: Names of the `.before-TIME` files this switch made, beside the files.
    """

    state: Phase
    at: WallTime
    reason: str
    old: str
    new: str
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A switch that had been interrupted, and was finished.

    Attributes:
        went: Forward to the new identity, or back to the old one.
        state: What the journal says now; None when it says nothing, as before the
            first switch.
    """

    went: Went
    state: SwitchState | None


class IdentityJournal:
    """The journal of one node's identity.

    May be shared by threads, and made anew at will: it keeps nothing in memory.
    """

    def __init__(
        self, directory: Path, *, owner: Owner | None, certs: Path | None = None
    ) -> None:
        """Touch nothing yet.

        Args:
            directory: `NodeDirectories.identity_journal`; made (0700) by the first
                switch.
            owner: The daemon's user and group, who get the files when we are root.
            certs: The directory of the identity; None: `DataDir/certs`, by
                `directory`'s place in `DataDir/icefloe`.
        """
        self._certs = certs or directory.parent.parent / "certs"
        self._owner = owner
        self._file = RecordFile(directory)

    @classmethod
    def of_node(cls, directories: NodeDirectories, *, owner: Owner | None) -> Self:
        """Return the journal of the node in these directories."""
        return cls(directories.identity_journal, owner=owner, certs=directories.certs)

    # --- What is done with it -----------------------------------------------------

    def switch(
        self,
        contents: Sequence[tuple[Path, bytes | None, int]],
        *,
        files: IdentityFiles,
        node_name: str,
        at: WallTime,
        reason: str = "",
        owner: Owner | None = None,
        issued: bool = True,
        ends: Phase = Phase.UNCONFIRMED,
        check_rights: bool = True,
    ) -> bool:
        """Replace files of the identity in whole; finish an interrupted switch first.

        Args:
            contents: The files, what each is to hold (None: it goes away) and its
                mode, in the order of the renames: the CA first.  All of them lie in
                `certs/`.
            files: Which file is what.
            node_name: Whom the certificate has to be for.
            at: The time to verify by, and for the names of what is kept.
            reason: Why, for the journal.
            owner: Who gets the files; None: the journal's owner, else the key's.
            issued: Whether the certificate has to be one of the CA and within its
                dates; False for a restore, which may bring back a self-signed one.
            ends: The state afterwards: "unconfirmed", or "confirmed" where there is
                nobody to ask (a signer) or a person has decided (a restore).
            check_rights: Whether the daemon's user has to be able to read the files
                and to replace them; False for a tool that sees to that afterwards.

        Returns:
            Whether anything was changed; False when all is so already.

        Raises:
            IdentityProblem: What they would be together cannot work.  Nothing has
                been changed.
            FileProblem: The operating system objects, or another process is at it.
                The identity is the old one, or `recover` makes it the new one.
        """
        certs = self._certs.absolute()
        assert all(path.absolute().parent == certs for path, _, _ in contents)
        # By one name for each, however they were given.
        contents = [
            (self._certs / path.name, new, mode) for path, new, mode in contents
        ]
        files = self._files(files.key.name, files.certificate.name, files.ca.name)
        with locked_directories([files.key]) as locked:
            self._finish(at)
            changes = _changes(contents)
            if not changes:
                return False
            present = _parts_in(files)
            after = _after(files, present, {path: new for path, new, _ in changes})
            check_parts(files, after, node_name=node_name, at=at, issued=issued)
            if owner is None:
                owner = self._owner or _owner_of(files.key)
            if locked:
                _sweep(changes)
            before = self._read()
            spare = [] if before is None else list(before.names())
            steps = prepare(changes, owner=owner, at=at, spare=spare)
            older = older_after(files, present, before, steps)
            record = _switching(files, after, before=before, older=older, steps=steps)
            record = replace(
                record, at=at, reason=reason, node_name=node_name, ends=ends
            )
            self._carry_through(record, owner, check_rights=check_rights)
        return True

    def recover(self, at: WallTime) -> Recovery | None:
        """Finish a switch that was interrupted.  Costs one look when there is none.

        Call it at the start of the daemon and of each command that touches the
        identity, before the identity is loaded.

        Returns:
            What was done; None when there was nothing to do.

        Raises:
            FileProblem: The operating system objects; call it again later.
        """
        with suppress(RecordDamaged):
            record = self._file.read()
            if record is None or record.state is not Phase.SWITCHING:
                return None
        # Another process may just be switching: then it is waited for.
        with locked_directories([self._certs / "any"]):
            return self._finish(at)

    def confirm(self, at: WallTime, *, new: str | None = None) -> bool:
        """Note that the identity in place works: a parent has taken it.

        Args:
            at: The time.
            new: Which one was taken: fingerprint of its certificate, as in
                `SwitchState.new`.  None for whichever is in place, where nobody else
                may have changed it.

        Returns:
            Whether the journal was waiting for it; False as well when another
            certificate than `new` is in place.

        Raises:
            FileProblem: The operating system objects; it stays unconfirmed.
        """
        if self._read() is None:
            return False
        with locked_directories([self._certs / "any"]):
            self._finish(at)
            record = self._read()
            if record is None or record.state is not Phase.UNCONFIRMED:
                return False
            if new is not None and not self._is_about(record, new):
                return False
            confirmed = replace(record, state=Phase.CONFIRMED, at=at, older=None)
            self._write(confirmed, self._owner)
            return True

    def roll_back(self, reason: str, at: WallTime, *, new: str | None = None) -> bool:
        """Put the older key and certificate back in place of an unconfirmed identity.

        Args:
            reason: Why, for the journal: who refused it.
            at: The time; the older certificate has to be valid at it.
            new: Which one was refused, as for `confirm`.

        Returns:
            Whether it was done.  False when nothing is unconfirmed, when another
            certificate than `new` is in place (nothing is changed), or when there is
            no older identity that works: it was self-signed, has expired, is not of a
            CA that is trusted, or its files are gone.  Then nothing is changed but
            the journal's `reason`, which says so.

        Raises:
            FileProblem: The operating system objects; nothing was changed, or
                `recover` finishes it.
        """
        if self._read() is None:
            return False
        with locked_directories([self._certs / "any"]) as locked:
            self._finish(at)
            record = self._read()
            if record is None or record.state is not Phase.UNCONFIRMED:
                return False
            if new is not None and not self._is_about(record, new):
                return False
            files = self._files_of(record)
            try:
                changes = self._way_back(record, files, at)
            except NoOlder as error:
                self._say_why_not(record, f"not rolled back ({reason}): {error}", at)
                return False
            if locked:
                _sweep(changes)
            owner = self._owner or _owner_of(files.key)
            steps = prepare(changes, owner=owner, at=at, spare=list(record.names()))
            self._carry_through(
                replace(
                    record,
                    state=Phase.SWITCHING,
                    at=at,
                    reason=reason,
                    steps=steps,
                    ends=Phase.ROLLED_BACK,
                    older=None,
                    before=record,
                ),
                owner,
            )
            return True

    def state(self) -> SwitchState | None:
        """Return what the journal says; None before the first switch.

        Compare `new` with the certificate in place before acting on it: a person may
        have put another one there.

        Raises:
            FileProblem: It is there and cannot be read.
        """
        return _told(self._read())

    # --- Parts --------------------------------------------------------------------

    def _carry_through(
        self, record: Record, owner: Owner | None, *, check_rights: bool = True
    ) -> None:
        """Do what has been prepared; on failure leave the old, or what can go on."""
        try:
            if check_rights:
                check_access(self._after(record), owner=owner)
            self._write(record, owner)
            go_forward(self._certs, record.steps)
            self._write(_ended(record, WallTime(record.at)), owner)
        except BaseException:
            # Where that fails, too, it is left for `recover`.
            with suppress(FileProblem, RecordDamaged):
                self._undo(record, owner)
            raise

    def _after(self, record: Record) -> list[Path]:
        """Return where the parts are that the identity will consist of."""
        names = {name: name for name in (record.key, record.certificate, record.ca)}
        names |= {step.name: step.staged or "" for step in record.steps}
        return [self._certs / name for name in names.values() if name]

    def _undo(self, record: Record, owner: Owner | None) -> None:
        """After a failure: go back, unless only the journal's last line is missing."""
        said = self._file.read()
        is_said = said is not None and said.steps == record.steps
        if is_said and is_complete(self._certs, record.steps):
            return
        go_back(self._certs, record.steps, owner=owner)
        if is_said:
            self._return_to(record.before, owner)
        discard_staged(self._certs, record.steps)

    def _finish(self, at: WallTime) -> Recovery | None:
        """Finish an interrupted switch; the directory is locked."""
        try:
            record = self._file.read()
        except RecordDamaged:
            # Nothing can be finished by it, and it must keep no node from starting.
            self._file.set_aside(owner=self._owner)
            return None
        if record is None or record.state is not Phase.SWITCHING:
            return None
        owner = self._owner or _owner_of(self._certs / record.key)
        if self._can_go_on(record, at):
            go_forward(self._certs, record.steps)
            self._write(_ended(record, at), owner)
            went = Went.FORWARD
        else:
            go_back(self._certs, record.steps, owner=owner)
            self._return_to(record.before, owner)
            went = Went.BACK
        discard_staged(self._certs, record.steps)
        return Recovery(went=went, state=_told(self._read()))

    def _can_go_on(self, record: Record, at: WallTime) -> bool:
        """Say whether all new contents are whole, and fit what is there by now."""
        if not are_whole(self._certs, record.steps):
            return False
        files = self._files_of(record)
        new: dict[Path, bytes | None] = {}
        for step in record.steps:
            if step.staged is None:
                new[self._certs / step.name] = None
            elif (content := read_file_if_there(self._certs / step.staged)) is not None:
                new[self._certs / step.name] = content
            # else it is in place already
        after = _after(files, _parts_in(files), new)
        try:
            check_parts(files, after, node_name=record.node_name, at=at, issued=False)
        except IdentityProblem:
            return False
        return True

    def _way_back(
        self, record: Record, files: IdentityFiles, at: WallTime
    ) -> list[Change]:
        """Return what puts the older identity back; `NoOlder` when nothing does."""
        present = _parts_in(files)
        if fingerprint_of(present.certificate) != record.new:
            raise NoOlder("another certificate has been put in place since")
        older = read_older(self._certs, record.older)
        ca = ca_that_vouches(
            files, older.parts, present.ca, node_name=record.node_name, at=at
        )
        wanted: list[Change] = [
            (files.ca, ca, older.ca_mode),
            (files.key, older.parts.key, older.key_mode),
            (files.certificate, older.parts.certificate, older.certificate_mode),
        ]
        return _changes(wanted)

    def _say_why_not(self, record: Record, why: str, at: WallTime) -> None:
        if record.reason != why:
            self._write(replace(record, reason=why, at=at), self._owner)

    def _return_to(self, before: Record | None, owner: Owner | None) -> None:
        if before is None:
            self._file.remove()
        else:
            self._write(before, owner)

    def _read(self) -> Record | None:
        with suppress(RecordDamaged):
            return self._file.read()
        return None

    def _write(self, record: Record, owner: Owner | None) -> None:
        self._file.write(record, owner=owner)

    def _is_about(self, record: Record, new: str) -> bool:
        """Whether that certificate is the one the record means, and is in place."""
        present = read_file_if_there(self._files_of(record).certificate)
        return record.new == new and fingerprint_of(present) == new

    def _files_of(self, record: Record) -> IdentityFiles:
        return self._files(record.key, record.certificate, record.ca)

    def _files(self, key: str, certificate: str, ca: str) -> IdentityFiles:
        return IdentityFiles(
            key=self._certs / key,
            certificate=self._certs / certificate,
            ca=self._certs / ca,
            ticket=None,
        )


def _switching(
    files: IdentityFiles,
    after: Parts,
    *,
    before: Record | None,
    older: Older | None,
    steps: tuple[Step, ...],
) -> Record:
    """Return what is said of a switch; when, why and for whom is to be filled in."""
    return Record(
        format=FORMAT,
        state=Phase.SWITCHING,
        at=0.0,
        reason="",
        old="" if older is None else older.fingerprint,
        new=fingerprint_of(after.certificate),
        node_name="",
        key=files.key.name,
        certificate=files.certificate.name,
        ca=files.ca.name,
        steps=steps,
        ends=Phase.UNCONFIRMED,
        older=older,
        before=None if before is None else replace(before, before=None),
    )


def _changes(wanted: Sequence[Change]) -> list[Change]:
    """Return what is not so already."""
    return [each for each in wanted if read_file_if_there(each[0]) != each[1]]


def _parts_in(files: IdentityFiles) -> Parts:
    return Parts(
        key=read_file_if_there(files.key),
        certificate=read_file_if_there(files.certificate),
        ca=read_file_if_there(files.ca),
    )


def _after(
    files: IdentityFiles, parts: Parts, new: Mapping[Path, bytes | None]
) -> Parts:
    """Return the parts as they are with some of them replaced."""
    return Parts(
        key=new.get(files.key, parts.key),
        certificate=new.get(files.certificate, parts.certificate),
        ca=new.get(files.ca, parts.ca),
    )


def _told(record: Record | None) -> SwitchState | None:
    if record is None:
        return None
    return SwitchState(
        state=record.state,
        at=WallTime(record.at),
        reason=record.reason,
        old=record.old,
        new=record.new,
        kept=tuple(step.kept for step in record.steps if step.kept is not None),
    )


def _owner_of(path: Path) -> Owner | None:
    """Return who has a file now; None when it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(
            path, action="read", reason=reason, errno=error.errno
        ) from error
    return status.st_uid, status.st_gid


def _ended(record: Record, at: WallTime) -> Record:
    return replace(record, state=record.ends, at=at, before=None)


def _sweep(changes: Sequence[Change]) -> None:
    for path, _, _ in changes:
        sweep_staged(path)
