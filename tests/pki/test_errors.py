"""What is wrong is data, and a text that may be shown."""

from __future__ import annotations

import pytest

from icefloe.errors import IcefloeError
from icefloe.pki.errors import (
    CertificateInvalid,
    CommonNameInvalid,
    KeyInvalid,
    PKIError,
    Reason,
    ReasonCode,
    RevocationListInvalid,
    SigningRequestInvalid,
    TicketInvalid,
)


def test_a_reason_is_its_text_and_bears_a_code() -> None:
    reason = Reason(ReasonCode.EXPIRED, "it expired")
    assert reason == "it expired"
    assert reason.code is ReasonCode.EXPIRED


def test_an_invalid_certificate_keeps_every_reason() -> None:
    error = CertificateInvalid(
        [Reason(ReasonCode.EXPIRED, "it expired"), Reason(ReasonCode.KEY, "weak")]
    )
    assert error.reasons == ("it expired", "weak")
    assert error.codes == {ReasonCode.EXPIRED, ReasonCode.KEY}
    assert error.public == "the certificate is not acceptable: it expired; weak"


def test_a_name_is_shown_escaped_and_cut() -> None:
    error = CommonNameInvalid("a\x1b[2J" + "b" * 100, problem="no", advice="do")
    assert "\\x1b[2J" in str(error)
    assert "..." in str(error)
    assert len(str(error)) < 160


@pytest.mark.parametrize(
    "kind", [KeyInvalid, RevocationListInvalid, SigningRequestInvalid, TicketInvalid]
)
def test_other_errors_keep_their_problem(
    kind: type[KeyInvalid | RevocationListInvalid | SigningRequestInvalid],
) -> None:
    error = kind("it is torn")
    assert error.problem == "it is torn"
    assert str(error).endswith(": it is torn")
    assert isinstance(error, PKIError)
    assert isinstance(error, IcefloeError)
