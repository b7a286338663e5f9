"""The root of Icefloe's error tree.

Every error that the world can cause (a peer, a file, an operator) is a subclass of
[`IcefloeError`][icefloe.errors.IcefloeError] and lives beside its domain:
`icefloe.wire.errors`, `icefloe.pki.errors` and so on.  An exception that is not of
this tree is a bug in Icefloe.
"""

from __future__ import annotations


class IcefloeError(Exception):
    """Anything that went wrong for a reason outside Icefloe's own code.

    Subclasses keep the facts of the failure as attributes and make the message from
    them.  The message is fit to be shown to an operator and to be written to a log:
    it never holds a secret (ticket, token, salt, private key).
    """

    @property
    def public(self) -> str:
        """The text that may be shown outside this node."""
        return str(self)
