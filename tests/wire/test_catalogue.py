"""Names and typed parameters of the cluster's messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.wire import catalogue
from icefloe.wire.catalogue import (
    KNOWN_METHODS,
    STATUS_ERROR,
    STATUS_PENDING,
    STATUS_SIGNED,
    VERSION_UNKNOWN,
    CertificateResult,
    Hello,
    RequestCertificate,
    SetLogPosition,
    UpdateCertificate,
    is_known,
)
from icefloe.wire.errors import MessageError, Reason
from icefloe.wire.jsonrpc import (
    Notification,
    Response,
    decode,
    encode_notification,
    encode_response,
)

TYPES = (
    Hello,
    SetLogPosition,
    RequestCertificate,
    UpdateCertificate,
    CertificateResult,
)

# Every method of Icinga 2 2.13 to 2.16 (protocol: "Cluster message catalogue").
METHODS = {
    "icinga::Hello",
    "event::Heartbeat",
    "log::SetLogPosition",
    "event::CheckResult",
    "event::SetNextCheck",
    "event::SetLastCheckStarted",
    "event::SetStateBeforeSuppression",
    "event::SetSuppressedNotifications",
    "event::SetSuppressedNotificationTypes",
    "event::SetNextNotification",
    "event::UpdateLastNotifiedStatePerUser",
    "event::ClearLastNotifiedStatePerUser",
    "event::SetForceNextCheck",
    "event::SetForceNextNotification",
    "event::SetAcknowledgement",
    "event::ClearAcknowledgement",
    "event::SendNotifications",
    "event::NotificationSentUser",
    "event::NotificationSentToAllUsers",
    "event::ExecuteCommand",
    "event::ExecutedCommand",
    "event::UpdateExecutions",
    "event::SetRemovalInfo",
    "config::Update",
    "config::UpdateObject",
    "config::DeleteObject",
    "pki::RequestCertificate",
    "pki::UpdateCertificate",
}

FINGERPRINT = "0123456789abcdef" * 4


@pytest.mark.parametrize("method", sorted(METHODS))
def test_method_of_icinga_is_known_and_survives_the_wire(method: str) -> None:
    assert is_known(method)
    assert decode(encode_notification(method, {})) == Notification(method, {})


@pytest.mark.parametrize(
    "method", ["", "icefloe::Anything", "icinga::hello", "event::Heartbeat "]
)
def test_other_methods_are_unknown(method: str) -> None:
    assert not is_known(method)


def test_catalogue_holds_these_methods_and_no_others() -> None:
    assert METHODS == KNOWN_METHODS
    constants = {
        value
        for name, value in vars(catalogue).items()
        if isinstance(value, str) and "::" in value and name.isupper()
    }
    assert constants <= KNOWN_METHODS


def test_limits_are_icingas() -> None:
    assert catalogue.ANONYMOUS_MESSAGE_BYTES_MAX == 1024 * 1024
    assert catalogue.CHILD_MESSAGE_BYTES_MAX == 16 * 1024 * 1024
    assert catalogue.NETSTRING_BYTES_MAX == 10**9 - 1


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "params, reason",
    [
        (None, Reason.PARAMS_MISSING),
        ([], Reason.PARAMS_NOT_AN_OBJECT),
        ("text", Reason.PARAMS_NOT_AN_OBJECT),
        (5, Reason.PARAMS_NOT_AN_OBJECT),
        (False, Reason.PARAMS_NOT_AN_OBJECT),
    ],
)
def test_params_that_are_no_object_are_an_error(
    kind: Any, params: object, reason: str
) -> None:
    with pytest.raises(MessageError) as caught:
        kind.parse(params)
    assert caught.value.reason is reason


# -- icinga::Hello ------------------------------------------------------------------


@pytest.mark.parametrize(
    "params, version, capabilities",
    [
        ({}, VERSION_UNKNOWN, 0),
        ({"version": None, "capabilities": None}, VERSION_UNKNOWN, 0),
        ({"version": 0, "capabilities": 0.0}, VERSION_UNKNOWN, 0),
        ({"version": 21306, "capabilities": 1}, 21306, 1),
        ({"version": 21306.0, "capabilities": 7.0, "x": []}, 21306, 7),
    ],
)
def test_hello_is_read(params: object, version: int, capabilities: int) -> None:
    hello = Hello.parse(params)
    assert hello == Hello(version=version, capabilities=capabilities)


@pytest.mark.parametrize(
    "params",
    [{"version": "21306"}, {"version": -1}, {"capabilities": 2**64}, {"version": []}],
)
def test_hello_with_strange_numbers_is_an_error(params: dict[str, object]) -> None:
    with pytest.raises(MessageError) as caught:
        Hello.parse(params)
    assert caught.value.field == next(iter(params))


def test_our_hello_says_2_14_5_and_no_capability() -> None:
    assert Hello().to_params() == {"version": 21405, "capabilities": 0}
    ours = Hello(icefloe={"version": "0.1"})
    assert ours.to_params()["icefloe"] == {"version": "0.1"}
    assert Hello.parse(ours.to_params()) == ours


@pytest.mark.parametrize("facts", ["0.1", 5, [], None, True])
def test_hello_with_strange_facts_is_of_another_kind_of_node(facts: object) -> None:
    assert Hello.parse({"icefloe": facts}).icefloe is None


def test_hello_with_strange_version_of_ours_is_still_of_our_kind() -> None:
    hello = Hello.parse({"icefloe": {"version": 5}})
    assert hello.icefloe == {"version": 5}


# -- log::SetLogPosition ------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 5, -1.5, 1795339110.655543])
def test_log_position_is_a_number(position: object) -> None:
    parsed = SetLogPosition.parse({"log_position": position})
    assert parsed.log_position == position
    assert SetLogPosition.parse(parsed.to_params()) == parsed


@pytest.mark.parametrize(
    "position, reason",
    [
        (None, Reason.FIELD_MISSING),
        ("5", Reason.FIELD_WRONG_TYPE),
        (True, Reason.FIELD_WRONG_TYPE),
        (10**400, Reason.FIELD_OUT_OF_RANGE),
    ],
)
def test_log_position_that_is_no_number_is_an_error(
    position: object, reason: str
) -> None:
    with pytest.raises(MessageError) as caught:
        SetLogPosition.parse({"log_position": position})
    assert caught.value.reason is reason


# -- pki::RequestCertificate --------------------------------------------------------


@pytest.mark.parametrize(
    "params, expected",
    [
        ({}, RequestCertificate()),
        (
            {"ticket": None, "cert_request": None, "requestor_ca": None},
            RequestCertificate(),
        ),
        ({"ticket": " t\n"}, RequestCertificate(ticket=" t\n")),
        (
            {"ticket": "t", "cert_request": "PEM", "requestor_ca": "CA", "x": 1},
            RequestCertificate(ticket="t", cert_request="PEM", requestor_ca="CA"),
        ),
        ({"icefloe": {"hops": []}}, RequestCertificate(icefloe={"hops": []})),
        ({"icefloe": "text"}, RequestCertificate()),
    ],
)
def test_certificate_request_is_read(params: object, expected: object) -> None:
    assert RequestCertificate.parse(params) == expected


@pytest.mark.parametrize("key", ["ticket", "cert_request", "requestor_ca"])
@pytest.mark.parametrize("value", [5, True, ["x"], {"x": 1}])
def test_certificate_request_with_other_than_text_is_an_error(
    key: str, value: Any
) -> None:
    with pytest.raises(MessageError) as caught:
        RequestCertificate.parse({key: value})
    assert caught.value.reason is Reason.FIELD_WRONG_TYPE
    assert caught.value.field == key


def test_certificate_request_is_written_with_its_ticket_even_if_empty() -> None:
    assert RequestCertificate().to_params() == {"ticket": ""}
    full = RequestCertificate(
        ticket="t", cert_request="PEM", requestor_ca="CA", icefloe={"a": 1}
    )
    assert full.to_params() == {
        "ticket": "t",
        "cert_request": "PEM",
        "requestor_ca": "CA",
        "icefloe": {"a": 1},
    }


def test_ticket_shows_nowhere() -> None:
    request = RequestCertificate(ticket="secret", icefloe={"token": "secret"})
    assert "secret" not in repr(request)
    assert "secret" not in str(request)
    with pytest.raises(MessageError) as caught:
        RequestCertificate.parse({"ticket": ["secret"]})
    assert "secret" not in repr(caught.value)
    assert caught.value.__context__ is None


# -- pki::UpdateCertificate ---------------------------------------------------------


def test_certificate_update_is_read_and_written() -> None:
    params: dict[str, object] = {
        "cert": "PEM",
        "ca": "CA",
        "fingerprint_request": FINGERPRINT,
        "status_code": 0,
    }
    update = UpdateCertificate.parse(params)
    assert update == UpdateCertificate(
        cert="PEM", ca="CA", fingerprint_request=FINGERPRINT, status_code=0
    )
    assert update.to_params() == params


def test_certificate_update_needs_only_the_certificate() -> None:
    update = UpdateCertificate.parse({"cert": "PEM", "status_code": None})
    assert update == UpdateCertificate(cert="PEM", ca="", status_code=None)
    assert update.to_params() == {"cert": "PEM"}


@pytest.mark.parametrize(
    "params, field",
    [
        ({}, "cert"),
        ({"cert": ""}, "cert"),
        ({"cert": 5}, "cert"),
        ({"cert": "PEM", "ca": 5}, "ca"),
        ({"cert": "PEM", "status_code": "0"}, "status_code"),
        ({"cert": "PEM", "status_code": 0.5}, "status_code"),
        ({"cert": "PEM", "fingerprint_request": 5}, "fingerprint_request"),
    ],
)
def test_certificate_update_with_a_bad_field_names_it(
    params: object, field: str
) -> None:
    with pytest.raises(MessageError) as caught:
        UpdateCertificate.parse(params)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "fingerprint",
    ["../../x", "AB", "ab/", "ab\n", "a.json", "g", "٣", " ab", "a" * 65, "\x00"],
)
def test_certificate_update_with_a_fingerprint_unfit_for_a_file_is_an_error(
    fingerprint: str,
) -> None:
    with pytest.raises(MessageError) as caught:
        UpdateCertificate.parse({"cert": "PEM", "fingerprint_request": fingerprint})
    assert caught.value.field == "fingerprint_request"
    assert caught.value.reason is Reason.FIELD_OUT_OF_RANGE


# -- the result ---------------------------------------------------------------------

RESULTS = {
    "signed": (
        {
            "status_code": 0,
            "cert": "PEM",
            "ca": "CA",
            "fingerprint_request": FINGERPRINT,
        },
        CertificateResult(
            status_code=STATUS_SIGNED,
            cert="PEM",
            ca="CA",
            fingerprint_request=FINGERPRINT,
        ),
    ),
    "nothing to do": (
        {"status_code": 1, "error": "up to date"},
        CertificateResult(status_code=STATUS_ERROR, error="up to date"),
    ),
    "bad ticket": (
        {
            "status_code": 1,
            "error": "bad",
            "ca": "CA",
            "fingerprint_request": FINGERPRINT,
        },
        CertificateResult(
            status_code=1, error="bad", ca="CA", fingerprint_request=FINGERPRINT
        ),
    ),
    "pending": (
        {
            "status_code": 2,
            "error": "wait",
            "ca": "CA",
            "fingerprint_request": FINGERPRINT,
        },
        CertificateResult(
            status_code=STATUS_PENDING,
            error="wait",
            ca="CA",
            fingerprint_request=FINGERPRINT,
        ),
    ),
    "invented status": ({"status_code": 7}, CertificateResult(status_code=7)),
    "ours": (
        {"status_code": 1, "error": "no", "icefloe": {"hop": "sat", "reason": "r"}},
        CertificateResult(
            status_code=1, error="no", icefloe={"hop": "sat", "reason": "r"}
        ),
    ),
}


@pytest.mark.parametrize("case", RESULTS)
def test_result_is_read_and_written(case: str) -> None:
    params, expected = RESULTS[case]
    assert CertificateResult.parse(params) == expected
    assert expected.to_params() == params


@pytest.mark.parametrize(
    "params, expected",
    [
        ({"error": "no"}, CertificateResult(status_code=STATUS_ERROR, error="no")),
        ({"cert": "PEM"}, CertificateResult(status_code=STATUS_SIGNED, cert="PEM")),
        (
            {"status_code": 2.0, "ca": None, "error": None, "cert": None},
            CertificateResult(status_code=STATUS_PENDING),
        ),
        (
            {"error": "no", "icefloe": [1]},
            CertificateResult(status_code=STATUS_ERROR, error="no"),
        ),
    ],
)
def test_result_that_is_incomplete_is_understood(
    params: object, expected: object
) -> None:
    assert CertificateResult.parse(params) == expected


@pytest.mark.parametrize(
    "params, field",
    [
        ({}, "cert"),
        ({"status_code": 0}, "cert"),
        ({"status_code": 0, "cert": ""}, "cert"),
        ({"status_code": 0, "error": "odd"}, "cert"),
        ({"status_code": -1}, "status_code"),
        ({"status_code": "1"}, "status_code"),
        ({"status_code": 1, "error": ["no"]}, "error"),
        ({"status_code": 1, "ca": 5}, "ca"),
        ({"status_code": 1, "fingerprint_request": 5}, "fingerprint_request"),
    ],
)
def test_result_with_a_bad_field_names_it(params: object, field: str) -> None:
    with pytest.raises(MessageError) as caught:
        CertificateResult.parse(params)
    assert caught.value.field == field


def test_result_gives_access_to_the_facts_of_our_kind() -> None:
    facts = {"hop": "sat", "reason": "ticket-wrong", "retry_after": 2, "hops": [{}]}
    result = CertificateResult.parse({"error": "no", "icefloe": facts})
    assert result.hop == "sat"
    assert result.reason == "ticket-wrong"
    assert result.retry_after == 2.0
    assert result.hops == ({},)


@pytest.mark.parametrize(
    "facts", [{}, {"hop": 5, "reason": [], "retry_after": "soon", "hops": "sat"}]
)
def test_result_with_strange_facts_has_none(facts: object) -> None:
    result = CertificateResult.parse({"error": "no", "icefloe": facts})
    assert (result.hop, result.reason, result.retry_after) == (None, None, None)
    assert result.hops == ()


# -- any value ----------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
naturals = st.integers(0, 2**53 - 1)
facts = st.dictionaries(texts, texts | naturals, max_size=3)
typed = st.one_of(
    st.builds(
        Hello,
        version=naturals.filter(bool),
        capabilities=naturals,
        icefloe=st.none() | facts,
    ),
    st.builds(SetLogPosition, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(
        RequestCertificate,
        ticket=texts,
        cert_request=texts,
        requestor_ca=texts,
        icefloe=st.none() | facts,
    ),
    st.builds(
        UpdateCertificate,
        cert=texts.filter(bool),
        ca=texts,
        fingerprint_request=st.text("0123456789abcdef", max_size=64),
        status_code=st.none() | naturals,
    ),
    st.builds(
        CertificateResult,
        status_code=naturals,
        cert=texts.filter(bool),
        ca=texts,
        error=texts,
        fingerprint_request=texts,
        icefloe=facts,
    ),
)
keys = st.sampled_from(
    [
        *(
            "version",
            "capabilities",
            "icefloe",
            "log_position",
            "ticket",
            "cert_request",
        ),
        *("requestor_ca", "cert", "ca", "error", "status_code", "fingerprint_request"),
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=5,
)


@given(params=typed)
def test_typed_params_survive_the_wire(params: Any) -> None:
    message = decode(encode_response(1, params.to_params()))
    assert isinstance(message, Response)
    assert type(params).parse(message.result) == params


@given(params=anything | st.dictionaries(keys, anything))
def test_any_params_give_a_value_or_the_declared_error(params: object) -> None:
    for kind in TYPES:
        try:
            parsed = kind.parse(params)
        except MessageError:
            continue
        assert kind.parse(parsed.to_params()) == parsed
