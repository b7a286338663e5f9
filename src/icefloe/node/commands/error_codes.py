"""Which problem of the catalogue an error is.

What a parent says has its code in `enrollment.problems`; here are the errors of this
machine: its files, its configuration, its own key and certificate.
"""

from __future__ import annotations

import errno
from typing import Final

from icefloe.config.errors import (
    ConfigError,
    FeatureUnknown,
    LayoutError,
    PlanError,
)
from icefloe.enrollment.ledger import LedgerUnavailableError
from icefloe.enrollment.problems import PROBLEMS, Code, Problem
from icefloe.enrollment.reasons import Reason
from icefloe.node.client import FetchFailed, code_of_failure
from icefloe.node.commands.answers import AnswersInvalid
from icefloe.node.commands.assessing import ClockWrong, RotationNeedsParent
from icefloe.node.commands.enrolling import ParentInvalid, TicketProblem, TrustMissing
from icefloe.node.commands.safekeeping import MayNotWrite
from icefloe.node.errors import BindFailed, TLSConfigurationInvalid, TransportError
from icefloe.pki.errors import CommonNameInvalid, PKIError, TicketInvalid
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import IdentityProblem
from icefloe.storage.ledger_errors import LedgerProblem, SQLiteLedgerError

__all__ = ["problem_of_error"]

_OF_ERRNO: Final = {
    errno.EACCES: Code.FILE_RIGHTS,
    errno.EPERM: Code.FILE_RIGHTS,
    errno.ENOSPC: Code.DISK_FULL,
    errno.EDQUOT: Code.DISK_FULL,
}

_OF_LEDGER: Final = {
    LedgerProblem.FULL: Code.DISK_FULL,
    LedgerProblem.READ_ONLY: Code.FILE_RIGHTS,
    LedgerProblem.NOT_PERMITTED: Code.FILE_RIGHTS,
    LedgerProblem.EXPOSED: Code.FILE_RIGHTS,
}

_OF_TYPE: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (TrustMissing, Code.TRUST_MISSING),
    (TicketProblem, Code.TICKET_UNREADABLE),
    (TicketInvalid, Code.TICKET_UNREADABLE),
    (CommonNameInvalid, Reason.BAD_NAME.value),
    (IdentityProblem, Code.IDENTITY_BROKEN),
    (TLSConfigurationInvalid, Code.IDENTITY_BROKEN),
    (BindFailed, Code.PORT_IN_USE),
    (PKIError, Code.IDENTITY_BROKEN),
    (ConfigError, Code.CONFIGURATION_INVALID),
    (PlanError, Code.CONFIGURATION_INVALID),
    (LayoutError, Code.CONFIGURATION_INVALID),
    (FeatureUnknown, Code.CONFIGURATION_INVALID),
    (ParentInvalid, Code.CONFIGURATION_INVALID),
    (AnswersInvalid, Code.CONFIGURATION_INVALID),
    (RotationNeedsParent, Code.CONFIGURATION_INVALID),
    (MayNotWrite, Code.FILE_RIGHTS),
    (ClockWrong, Code.CLOCK_WRONG),
    (KeyboardInterrupt, Code.INTERRUPTED),
)
"""The first that fits counts."""


def problem_of_error(error: BaseException) -> Problem:
    """Return the problem that an error is; `other-trouble` for one with no own code."""
    return PROBLEMS[_code(error)]


def _code(error: BaseException) -> str:
    if isinstance(error, FileProblem | OSError):
        return _OF_ERRNO.get(error.errno or 0, Code.FILE_TROUBLE)
    if isinstance(error, SQLiteLedgerError):
        return _OF_LEDGER.get(error.problem, Reason.LEDGER_FAULT.value)
    if isinstance(error, LedgerUnavailableError):
        return Reason.LEDGER_FAULT.value
    found = (code for kind, code in _OF_TYPE if isinstance(error, kind))
    code = next(found, "")
    if code:
        return code
    cause = error.__cause__
    if isinstance(error, FetchFailed):
        if isinstance(cause, TransportError):
            return code_of_failure(cause)
        return Code.UNREACHABLE
    if isinstance(error, TransportError):
        return code_of_failure(error)
    # Some errors only say what another one means for the command.
    return Code.OTHER_TROUBLE if cause is None else _code(cause)
