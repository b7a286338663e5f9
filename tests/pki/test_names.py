"""Which names a node may have."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icefloe.pki.errors import CommonNameInvalid
from icefloe.pki.names import check_common_name, is_dns_name


@pytest.mark.parametrize(
    "cn",
    [
        *("agent1.example.org", "a", "web_01", "my agent", "10.0.0.7", "fe80::1"),
        *("zürich", "東京", "x" * 64, "ü" * 32, "a..b", "a.", "-", "Agent(1)"),
    ],
)
def test_a_name_within_the_rule_is_returned_unchanged(cn: str) -> None:
    assert check_common_name(cn) == cn


@pytest.mark.parametrize(
    "cn, says",
    [
        ("", "it is empty; give the node's name"),
        ("x" * 65, "it has 65 bytes, and there is room for 64; use a shorter"),
        ("ü" * 33, "it has 66 bytes"),
        ("a,DNS:b", "it holds a comma; Icinga would sign the part behind it"),
        ("../../etc/passwd", "it holds a '/'"),
        ("a\\b", "it holds a backslash"),
        ("*.example.org", r"it holds a '\*'"),
        ("a\0b", r"unprintable character U\+0000; remove it"),
        ("a\nb", r"unprintable character U\+000A"),
        ("a\x7f", r"unprintable character U\+007F"),
        ("a\u202eb", r"unprintable character U\+202E"),
        ("a\u00a0b", r"unprintable character U\+00A0"),
        ("a\ud800", r"unprintable character U\+D800"),
        (" a", "it begins or ends with a blank; remove the blank"),
        ("a ", "it begins or ends with a blank"),
        (".example.org", "it begins with a dot"),
        ("..", "it begins with a dot"),
    ],
)
def test_a_name_outside_the_rule_is_refused_with_what_to_do(cn: str, says: str) -> None:
    with pytest.raises(CommonNameInvalid, match=says) as caught:
        check_common_name(cn)
    assert caught.value.common_name == cn


@given(st.text(max_size=80))
def test_only_the_declared_error_escapes(cn: str) -> None:
    with suppress(CommonNameInvalid):
        assert check_common_name(cn) == cn


@given(st.text(max_size=200))
def test_an_error_shows_any_name_on_one_line(cn: str) -> None:
    assert str(CommonNameInvalid(cn, problem="no", advice="do")).isprintable()


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{1,10}){0,3}\Z"))
def test_host_names_are_names_for_a_node(cn: str) -> None:
    assert check_common_name(cn) == cn


@pytest.mark.parametrize(
    "cn", ["a", "localhost", "agent1.example.org", "A-1.Example.ORG", "1.2.3.x", "x1"]
)
def test_a_host_name_is_a_dns_name(cn: str) -> None:
    assert is_dns_name(cn)


@pytest.mark.parametrize(
    "cn",
    [
        *("", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "zürich", "*.a"),
        *("10.0.0.7", "7", "a\n", "x" * 64, ".".join(["a" * 63] * 4)),
    ],
)
def test_another_name_is_no_dns_name(cn: str) -> None:
    assert not is_dns_name(cn)
