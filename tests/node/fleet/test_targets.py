from __future__ import annotations

import pytest

from icefloe.node.fleet.targets import (
    Target,
    TargetInvalid,
    distinct,
    parse_list,
    parse_target,
)


@pytest.mark.parametrize(
    "text, host, port, name",
    [
        ("web1.example.org", "web1.example.org", 5665, "web1.example.org"),
        ("web1:5666", "web1", 5666, "web1"),
        ("web1,5666", "web1", 5666, "web1"),
        (" web1 , 5666 ", "web1", 5666, "web1"),
        ("10.0.0.7", "10.0.0.7", 5665, None),
        ("10.0.0.7:5666", "10.0.0.7", 5666, None),
        ("[2001:db8::7]:5666", "2001:db8::7", 5666, None),
        ("[2001:db8::7],5666", "2001:db8::7", 5666, None),
        ("[2001:db8::7]", "2001:db8::7", 5665, None),
        ("2001:db8::7", "2001:db8::7", 5665, None),
        ("2001:db8::7,5666", "2001:db8::7", 5666, None),
        ("::1", "::1", 5665, None),
        ("web1=10.0.0.7:5666", "10.0.0.7", 5666, "web1"),
        ("web1=[::1]:5666", "::1", 5666, "web1"),
        ("my agent=10.0.0.7", "10.0.0.7", 5665, "my agent"),
        ("web1=sat1.example.org", "sat1.example.org", 5665, "web1"),
    ],
)
def test_a_word_names_a_host_a_port_and_a_name(
    text: str, host: str, port: int, name: str | None
) -> None:
    target = parse_target(text)
    assert (target.host, target.port, target.name) == (host, port, name)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":5665", ",", "=web1", "web1=", "web1:", "web1:0", "web1:65536"),
        *("web1:http", "web1:-1", "web1:5665:1", "[::1", "[web1]:5665", "[::1]5665"),
        *("we b1", "web\x1b1", "x" * 254, "web1:\u0665", "web1:99999999999999999999"),
        "::g",
        *(
            "{{ lookup('pipe', 'id') }}=10.0.0.7",
            "{%x%}=a",
            "{#x#}",
            "\udcff=a",
            "a\x1b=b",
        ),
    ],
)
def test_a_word_that_names_none_is_refused_with_itself(text: str) -> None:
    with pytest.raises(TargetInvalid) as caught:
        parse_target(text)
    assert str(caught.value).isprintable()


def test_the_port_of_hosts_without_one_can_be_told() -> None:
    assert parse_target("web1", port=5666).port == 5666
    assert parse_target("web1:5667", port=5666).port == 5667
    assert parse_target("::1", port=5666).address == "[::1]:5666"


def test_a_label_shows_a_port_only_if_it_is_another() -> None:
    assert parse_target("web1:5665").label == "web1"
    assert parse_target("web1:5666").label == "web1,5666"
    assert parse_target("web1=10.0.0.1:5666").label == "web1"


def test_a_file_has_a_target_a_line_with_comments() -> None:
    text = "# all agents\n\nweb1  # first\n  web2:5666\r\n"
    found = parse_list(text, source="hosts")
    assert [target.address for target in found] == ["web1:5665", "web2:5666"]


def test_a_wrong_line_is_named() -> None:
    with pytest.raises(TargetInvalid, match=r"^hosts\.txt:2: "):
        parse_list("web1\nweb2:x\n", source="hosts.txt")


def test_a_place_is_looked_at_once() -> None:
    words = ["web1", "web1:5665", "web1:5666", "a=web1", "b=web1", "a=web1,5665"]
    found = distinct(map(parse_target, words))
    assert [each.label for each in found] == ["web1", "web1,5666", "a", "b"]


def test_variables_are_not_in_the_repr() -> None:
    target = Target(label="a", host="a", variables={"ansible_password": "hunter2"})
    assert "hunter2" not in repr(target)
