"""The few OpenSSL functions that pyOpenSSL binds but does not offer in public.

Kept in one file, so that an update of pyOpenSSL that moves them breaks one place and
one test.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import ffi, lib


def clear_error_queue() -> None:
    """Forget the errors that OpenSSL has queued for the calling thread.

    A verification failure that our callback overrides leaves entries in the queue.
    Before OpenSSL 4.0 the next `SSL_get_error` of *any* connection of this thread took
    them for its own and the connection died; since 4.0 they only turn up in the text
    of later errors.  The queue is per thread: call this where the step ran.
    """
    lib.ERR_clear_error()


def verify_error_text(code: int) -> str:
    """OpenSSL's words for an `X509_V_ERR_...` number ("self-signed certificate")."""
    text = ffi.string(lib.X509_verify_cert_error_string(code))
    return str(text.decode("ascii", "replace"))


def return_after_each_record(connection: SSL.Connection) -> None:
    """Have `recv` take one record at a time, also of records that hold no data.

    pyOpenSSL turns `SSL_MODE_AUTO_RETRY` on: `SSL_read` then goes on by itself after
    a key update or a refused renegotiation, and a stranger who sends nothing else
    (12 microseconds of work each) keeps the call, and with it the whole event loop,
    for as long as he likes.  Without it, such a record is "want read"; the rest is
    still in the kernel, as we read no more than a record ahead, and the poller comes
    back to it after everybody else had a turn.
    """
    lib.SSL_clear_mode(connection._ssl, lib.SSL_MODE_AUTO_RETRY)  # noqa: SLF001
