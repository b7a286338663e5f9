"""The identity of a plain icinga2, changed so that it is whole at any moment.

`icinga2 pki request` writes into the files that it is given, `ca.crt` also when it was
refused.  So it is given copies in a directory beside them; what came is looked at, what
was there is copied away, and then the files are exchanged one by one by `rename`.  A new
key is made in such a directory, too.

    certs/CN.key CN.crt ca.crt ticket    the identity
    certs/.enrolling-CN/                 copies for one request; thrown away
    certs/.new-CN/                       a new pair that is being put in place
    certs-backups/CN-20261123T013000Z-x/ what was there before
"""

import grp
import os
import pwd
import shutil
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.icefloe.icefloe.plugins.module_utils.certificate import (
    Certificate,
    NotACertificate,
    read_certificate,
    why_no_pair,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.problems import Problem

KEY_MODE, PUBLIC_MODE, DIRECTORY_MODE = 0o600, 0o644, 0o700


class IdentityFiles:
    """The identity of one name in one directory.

    Attributes:
        cn: The name.
        directory: Icinga's `certs`.
        key: Path of the private key.
        certificate: Path of its certificate, which is the request until it is signed.
        ca: Path of the CA's certificate.
        ticket: Path of the ticket that icinga2's daemon sends.
        backup: Where the copies of this run are; None as long as there are none.
    """

    def __init__(
        self,
        cn: str,
        directory: str,
        backups: Optional[str],
        *,
        user: Optional[str] = None,
        group: Optional[str] = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            cn: The name.
            directory: Icinga's `certs`.
            backups: Where copies go; None is beside the directory.
            user: To whom files are given; None is the directory's owner.
            group: Their group; None is the directory's.

        Raises:
            Problem: The name cannot be a file's, or there is no such user or group.
        """
        if not cn or "/" in cn or "\0" in cn or cn.startswith("."):
            raise Problem("other-trouble", f"'{cn}' cannot be part of a file's name")
        self.cn = cn
        self.directory = os.path.abspath(directory)
        self.key = os.path.join(self.directory, cn + ".key")
        self.certificate = os.path.join(self.directory, cn + ".crt")
        self.ca = os.path.join(self.directory, "ca.crt")
        self.ticket = os.path.join(self.directory, "ticket")
        self.backup: Optional[str] = None
        self._user, self._group = _ids_of(user, group)
        self._backups = backups or self.directory + "-backups"
        self._new = os.path.join(self.directory, ".new-" + cn)
        self._working = os.path.join(self.directory, ".enrolling-" + cn)

    # What is there

    def has_key(self) -> bool:
        """Say whether there is a key."""
        return os.path.lexists(self.key)

    def present(self) -> Optional[Certificate]:
        """Return the certificate that is there; None when there is none to be read."""
        return _certificate_in(self.certificate)

    def anchor(self) -> Optional[Certificate]:
        """Return the CA's certificate; None when there is none to be read."""
        return _certificate_in(self.ca)

    def why_unusable(self) -> Optional[str]:
        """Return why the pair that is there cannot be used; None when it can."""
        certificate = self.present()
        if certificate is None:
            return f"there is a key and no certificate in '{self.certificate}'"
        why = why_no_pair(self.certificate, self.key)
        if why is not None:
            return f"'{self.key}' and '{self.certificate}' are no pair: {why}"
        if certificate.common_name != self.cn:
            return f"'{self.certificate}' is for '{certificate.common_name}'"
        return None

    # A new pair

    def make_directory(self) -> None:
        """Make the directory, for whom the one above it belongs to, if there is none."""
        if not os.path.isdir(self.directory):
            os.mkdir(self.directory, DIRECTORY_MODE)
            self._own(self.directory, like=os.path.dirname(self.directory))

    def would_finish(self) -> bool:
        """Say whether `finish_interrupted` would put something in place."""
        return os.path.isdir(self._new)

    def finish_interrupted(self) -> bool:
        """Put a new pair in place that an earlier run has made, and not yet put there.

        Returns:
            Whether anything was done to the identity.
        """
        shutil.rmtree(self._working, ignore_errors=True)
        shutil.rmtree(self._part, ignore_errors=True)
        if not self.would_finish():
            return False
        self._install_new()
        return True

    def part(self) -> str:
        """Make and return the directory in which a new pair is to be made."""
        shutil.rmtree(self._part, ignore_errors=True)
        os.mkdir(self._part, DIRECTORY_MODE)
        return self._part

    def install_pair(self) -> None:
        """Put in place what was made in `part` as `node.key` and `node.crt`.

        From the first rename on it is finished by the next run, if not by this one.
        """
        os.rename(self._part, self._new)
        self._install_new()

    @property
    def _part(self) -> str:
        return self._new + ".part"

    def _install_new(self) -> None:
        for name, path, mode in (
            ("node.crt", self.certificate, PUBLIC_MODE),
            ("node.key", self.key, KEY_MODE),
        ):
            made = os.path.join(self._new, name)
            if os.path.exists(made):
                self._put(made, path, mode)
        os.rmdir(self._new)

    # A request

    def copies(self) -> Dict[str, str]:
        """Return paths of copies that a request may write into, and of the key."""
        self.discard_copies()
        os.mkdir(self._working, DIRECTORY_MODE)
        paths = {
            name: os.path.join(self._working, name)
            for name in ("node.crt", "ca.crt", "trusted.crt")
        }
        shutil.copyfile(self.certificate, paths["node.crt"])
        paths["key"] = self.key
        return paths

    def discard_copies(self) -> None:
        """Throw them away."""
        shutil.rmtree(self._working, ignore_errors=True)

    def take_over(self, copies: Dict[str, str], names: List[str]) -> List[str]:
        """Put copies in place, in the order of `names`; return the changed paths."""
        places = {"ca.crt": self.ca, "node.crt": self.certificate}
        changed = []
        for name in names:
            if _content(copies[name]) not in (b"", _content(places[name])):
                self._put(copies[name], places[name], PUBLIC_MODE)
                changed.append(places[name])
        return changed

    def store_ticket(self, ticket: str) -> bool:
        """Keep the ticket for icinga2's daemon, which goes on asking."""
        wanted = ticket.encode()
        if _content(self.ticket).strip() == wanted:
            return False
        # In there the next run throws it away if this one is killed.
        self.discard_copies()
        os.mkdir(self._working, DIRECTORY_MODE)
        handle, path = tempfile.mkstemp(dir=self._working)
        with os.fdopen(handle, "wb") as target:
            target.write(wanted)
        self._put(path, self.ticket, KEY_MODE)
        self.discard_copies()
        return True

    def holds_ticket(self, ticket: str) -> bool:
        """Say whether the ticket's file holds this ticket."""
        return bool(ticket) and _content(self.ticket).strip() == ticket.encode()

    def drop_ticket(self, ticket: str) -> bool:
        """Remove the ticket's file when it holds this ticket, which has done its work."""
        if not self.holds_ticket(ticket):
            return False
        os.unlink(self.ticket)
        return True

    # Putting a file in place

    def keep(self) -> None:
        """Copy what is there away, before the first change of a file that exists."""
        there = [
            path
            for path in (self.key, self.certificate, self.ca)
            if os.path.isfile(path)
        ]
        if self.backup is not None or not there:
            return
        os.makedirs(self._backups, mode=DIRECTORY_MODE, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.backup = tempfile.mkdtemp(prefix=f"{self.cn}-{stamp}-", dir=self._backups)
        for path in there:
            shutil.copy2(path, self.backup)
        copies = (os.path.join(self.backup, name) for name in os.listdir(self.backup))
        for path in (self._backups, self.backup, *copies):
            self._own(path)

    def _put(self, source: str, target: str, mode: int) -> None:
        if os.path.lexists(target) and target != self.ticket:
            self.keep()
        os.chmod(source, mode)
        self._own(source)
        with open(source, "rb") as opened:
            os.fsync(opened.fileno())
        os.replace(source, target)

    def _own(self, path: str, like: Optional[str] = None) -> None:
        """Give a file to the daemon's user: the given one, or the directory's owner."""
        if os.geteuid() == 0:
            owner = os.stat(like or self.directory)
            user = owner.st_uid if self._user is None else self._user
            group = owner.st_gid if self._group is None else self._group
            os.chown(path, user, group)


def _ids_of(
    user: Optional[str], group: Optional[str]
) -> Tuple[Optional[int], Optional[int]]:
    """Return the numbers of a user and a group; None for what is not given.

    Raises:
        Problem: There is no such user or group.
    """
    try:
        return (
            pwd.getpwnam(user).pw_uid if user else None,
            grp.getgrnam(group).gr_gid if group else None,
        )
    except KeyError as error:
        raise Problem("file-trouble", str(error.args[0])) from None


def files_state(files: IdentityFiles) -> Dict[str, Any]:
    """Return what a module tells of the certificate that is there."""
    certificate = files.present()
    if certificate is None:
        return {}
    end = time.gmtime(certificate.not_after)
    return {
        "common_name": certificate.common_name,
        "self_signed": certificate.is_self_signed,
        "fingerprint": certificate.fingerprint,
        "not_valid_after": time.strftime("%Y-%m-%dT%H:%M:%SZ", end),
    }


def _certificate_in(path: str) -> Optional[Certificate]:
    try:
        return read_certificate(_content(path).decode("ascii", "replace"))
    except NotACertificate:
        return None


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as source:
            return source.read()
    except FileNotFoundError:
        return b""
