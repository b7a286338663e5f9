"""What `cryptography` does about bytes that it cannot decode: raise, or warn.

It decodes late, raises many kinds of exception, and warns about two things that a
stranger can cause.  Every loader of this package decodes inside `decoding` and turns
`DECODING_ERRORS` into its own error.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

__all__ = ["DECODING_ERRORS", "decoding"]

DECODING_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)
"""What is raised for bytes that cannot be decoded (its documentation, and fuzzing)."""


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Let serial numbers of zero in, which Icinga before 2.4 gave out, without a word.

    A name longer than the standard allows is kept out (a `UserWarning` is raised), or
    each look at it would warn again.

    Filters are process-wide: at worst, two threads here at once leave these two
    behind, which name only warnings of `cryptography`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        warnings.filterwarnings("error", message="Attribute's length must be")
        yield
