from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings

from icefloe.config import declarations
from icefloe.config.declarations import (
    DECLARATIONS_MAX,
    Declarations,
    search,
)
from icefloe.config.errors import Position
from icefloe.config.layout import NodeDirectories
from icefloe.config.source import Source
from tests.config.helpers import NODE, configuration_text, debian_node, write


def found_in(root: Path, files: dict[str, str | bytes]) -> Declarations:
    """Search a node that has these files below its two directories."""
    write(root, files)
    return searched(NodeDirectories(config_dir=root / "etc", data_dir=root / "lib"))


def searched(directories: NodeDirectories) -> Declarations:
    return search(directories, {"NodeName": NODE, "ZonesDir": "zones.d"}.get)


def shown(found: Declarations, root: Path) -> list[str]:
    return [str(each).removeprefix(f"{root}/") for each in found.monitoring]


def test_fresh_debian_node_has_its_example_hosts(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    write(directories.config_dir, {"constants.conf": f'const NodeName = "{NODE}"'})
    assert shown(searched(directories), tmp_path) == [
        f'etc/conf.d/hosts.conf:2: object Host "{NODE}"',
        "etc/conf.d/services.conf:1: apply Service",
        'etc/conf.d/services.conf:4: apply Service "ssh"',
    ]


@pytest.mark.parametrize(
    "line",
    [
        '// include_recursive "conf.d"',
        '/* include_recursive "conf.d" */',
        'const X = "include_recursive \\"conf.d\\""',
        "",
    ],
)
def test_conf_d_that_is_not_included_does_not_count(tmp_path: Path, line: str) -> None:
    directories = debian_node(tmp_path, icinga2=f"{line}\n")
    assert searched(directories).monitoring == ()


def test_conf_d_without_icinga2_conf_does_not_count(tmp_path: Path) -> None:
    directories = debian_node(tmp_path)
    directories.icinga2_conf.unlink()
    assert searched(directories).monitoring == ()


def test_node_without_any_file_has_nothing(tmp_path: Path) -> None:
    nowhere = NodeDirectories(config_dir=tmp_path / "no", data_dir=tmp_path / "nothing")
    assert searched(nowhere) == Declarations(
        monitoring=(), cluster=(), client_names=frozenset(), problems=()
    )


@pytest.mark.parametrize(
    "statement, file",
    [
        ('include "x/a.conf"', "etc/x/a.conf"),
        ('include "x/*.conf"', "etc/x/a.conf"),
        ('include "x/" + NodeName + ".conf"', f"etc/x/{NODE}.conf"),
        ('const D = "x"\ninclude D + "/a.conf"', "etc/x/a.conf"),
        ('include "c.conf"\ninclude D + "/a.conf"', "etc/x/a.conf"),
        ('include_recursive "x"', "etc/x/y/a.conf"),
        ('include_recursive "x", "*.txt"', "etc/x/a.txt"),
        ('include_zones "etc", "x"', "etc/x/zone/a.conf"),
        ('include_zones "etc", ZonesDir, "*.conf"', "etc/zones.d/z/a.conf"),
        ('if (true) {\n include "x/a.conf" }', "etc/x/a.conf"),
        ("", "etc/zones.d/zone/a.conf"),
        ("", "lib/api/zones/zone/_etc/a.conf"),
        ("", "lib/api/packages/p/stage/conf.d/a.conf"),
    ],
)
def test_everything_that_icinga_reads_is_searched(
    tmp_path: Path, statement: str, file: str
) -> None:
    found = found_in(
        tmp_path,
        {
            "etc/icinga2.conf": f"{statement}\n",
            "etc/c.conf": 'const D = "x"',
            file: '\nobject Host "h" { }\n',
        },
    )
    assert found.problems == ()
    assert shown(found, tmp_path) == [f'{file}:2: object Host "h"']


def test_library_of_icinga_is_not_searched(tmp_path: Path) -> None:
    found = found_in(tmp_path, {"etc/icinga2.conf": "include <itl>\n"})
    assert found == Declarations(
        monitoring=(), cluster=(), client_names=frozenset(), problems=()
    )


def test_only_the_active_stage_of_a_package_counts(tmp_path: Path) -> None:
    host = 'object Host "h" { }'
    files: dict[str, str | bytes] = {
        "lib/api/packages/director/old/zones.d/m/a.conf": host,
        "lib/api/packages/director/new/zones.d/m/a.conf": "",
        "lib/api/packages/director/active-stage": "new\n",
    }
    assert found_in(tmp_path, files).monitoring == ()
    for unusable in (b"", b"gone", b"../x", b"\xff"):
        files["lib/api/packages/director/active-stage"] = unusable
        assert found_in(tmp_path, files).monitoring != ()


@pytest.mark.parametrize(
    "text",
    [
        '// object Host "h" { }',
        '# object Host "h" { }',
        '/* object Host "h" { } */',
        'const X = "object Host"',
        "const X = {{{ object Host x { } }}}",
        'template Host "h" { }',
        'object HostGroup "h" { }',
        'apply Notification "x" to Service { }',
        "object",
        "apply",
    ],
)
def test_what_declares_no_checks_does_not_count(tmp_path: Path, text: str) -> None:
    assert found_in(tmp_path, {"etc/icinga2.conf": text}).monitoring == ()


@pytest.mark.parametrize(
    "text, declaration",
    [
        ('object Host "h" { }', 'object Host "h"'),
        ("object Host NodeName { }", f'object Host "{NODE}"'),
        ("object Host name { }", 'object Host "name"'),
        ("object Host (a) { }", "object Host"),
        ('object Host "a" + b { }', 'object Host "\\"a\\""'),
        ("object Host", "object Host"),
        ("object Service {", "object Service"),
        ('apply Service "s" for (a in b) { }', 'apply Service "s"'),
        ("if (x) { for (a in b) { object Host a { } } }", 'object Host "a"'),
        ("object @Host { }", "object Host"),
    ],
)
def test_declaration_counts_wherever_it_stands(
    tmp_path: Path, text: str, declaration: str
) -> None:
    found = found_in(tmp_path, {"etc/icinga2.conf": text})
    assert shown(found, tmp_path) == [
        f"etc/icinga2.conf:1: {declaration.replace(chr(92), '')}"
    ]


def test_name_of_a_declaration_is_safe_to_show(tmp_path: Path) -> None:
    found = found_in(tmp_path, {"etc/icinga2.conf": r'object Host "a\033[31m" { }'})
    assert str(found.monitoring[0]).isprintable()


def test_endpoints_and_zones_are_found_apart(tmp_path: Path) -> None:
    text = 'object Endpoint "e" { }\nobject Zone "z" { }\n'
    found = found_in(tmp_path, {"etc/zones.d/m/a.conf": text})
    assert [each.type_name for each in found.cluster] == ["Endpoint", "Zone"]
    assert found.monitoring == ()


def test_number_of_declarations_kept_is_bounded(tmp_path: Path) -> None:
    text = 'object Host "h" { }\n' * (DECLARATIONS_MAX + 1)
    late = 'object ApiUser "u" { client_cn = "late" }'
    found = found_in(
        tmp_path,
        {
            "etc/zones.d/a.conf": text,
            "etc/zones.d/b.conf": text,
            "etc/zones.d/c.conf": late,
        },
    )
    assert len(found.monitoring) == DECLARATIONS_MAX
    assert found.client_names == {"late"}


def test_names_of_api_users_are_found(tmp_path: Path) -> None:
    text = """\
object ApiUser "a" {
  client_cn = "one"
  permissions = [ { permission = "*", filter = {{ host.name == "x" }} } ]
}
template ApiUser "b" { client_cn = "two" + NodeName }
if (true) { object ApiUser "c" { client_cn = NodeName } }
// client_cn = "commented"
object Host "h" { vars.client_cn = host.name }
object ApiUser "d" { password = "p" }
"""
    found = found_in(tmp_path, {"etc/icinga2.conf": text})
    assert found.problems == ()
    assert found.client_names == {"one", f"two{NODE}", NODE}


@pytest.mark.parametrize("value", ["name()", "a.b", 'x += "b"', "5", ""])
def test_api_user_whose_name_cannot_be_told_is_a_problem(
    tmp_path: Path, value: str
) -> None:
    """Else the signer would give its certificate to anyone with a ticket."""
    text = f"object ApiUser u {{\n\tclient_cn = {value}\n}}"
    if "+=" in value:
        text = 'object ApiUser u {\n\tclient_cn += "b"\n}'
    (problem,) = found_in(tmp_path, {"etc/icinga2.conf": text}).problems
    assert problem.position is not None
    assert problem.position.line == 2


@pytest.mark.parametrize(
    "text",
    [
        "include f()",
        "include",
        "include_zones",
        'include_zones "etc"',
        "include_recursive 5",
        r'include "a\000b"',
    ],
)
def test_include_that_cannot_be_followed_is_a_problem(
    tmp_path: Path, text: str
) -> None:
    (problem,) = found_in(tmp_path, {"etc/icinga2.conf": text}).problems
    assert problem.message == "cannot tell which files are included here"


def test_missing_include_holds_nothing(tmp_path: Path) -> None:
    text = 'include "nope.conf"\ninclude "nope/*"\ninclude_recursive "nope"\n'
    found = found_in(tmp_path, {"etc/icinga2.conf": text})
    assert found.problems == ()


def test_files_that_include_one_another_are_searched_once(tmp_path: Path) -> None:
    text = 'include "a.conf"\ninclude "./icinga2.conf"\nobject Host "h" { }\n'
    found = found_in(tmp_path, {"etc/icinga2.conf": text, "etc/a.conf": text})
    assert found.problems == ()
    assert len(found.monitoring) == 2


def test_chain_of_includes_is_bounded(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"etc/{n}.conf": f'include "{n + 1}.conf"\n' for n in range(100)
    }
    files["etc/icinga2.conf"] = 'include "0.conf"\n'
    (problem,) = found_in(tmp_path, files).problems
    assert problem.message == "too many files include one another"


def test_file_that_cannot_be_searched_is_a_problem(tmp_path: Path) -> None:
    found = found_in(
        tmp_path, {"etc/icinga2.conf": 'x = "', "etc/zones.d/a/b.conf": "/*"}
    )
    assert [problem.message for problem in found.problems] == [
        "this string does not end on its line",
        "this comment does not end",
    ]


def test_link_to_nowhere_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "etc/zones.d").mkdir(parents=True)
    (tmp_path / "etc/icinga2.conf").symlink_to("nowhere")
    (tmp_path / "etc/zones.d/a.conf").symlink_to("nowhere")
    assert len(found_in(tmp_path, {}).problems) == 2


def test_closed_directory_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"etc/icinga2.conf": 'include "x/*.conf"\n', "etc/x/a.conf": ""})
    monkeypatch.setattr(os, "access", lambda *_: False)
    (problem,) = found_in(tmp_path, {}).problems
    assert "Permission denied" in problem.message


def test_bytes_that_are_not_utf8_do_not_hide_a_host(tmp_path: Path) -> None:
    found = found_in(tmp_path, {"etc/icinga2.conf": b'// \xff\nobject Host "\xe9" { }'})
    assert len(found.monitoring) == 1


@settings(max_examples=50)
@given(text=configuration_text)
def test_no_text_makes_the_search_raise(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    root = tmp_path_factory.mktemp("node")
    found_in(root, {"etc/icinga2.conf": text.encode("utf-8", "replace")})


def test_module_knows_no_other_group_of_types() -> None:
    assert not declarations.MONITORING_TYPES & declarations.CLUSTER_TYPES


def test_what_is_not_understood_elsewhere_is_not_looked_up_for_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each took a millisecond: of 16 MB full of functions, half an hour."""

    def asked_for(_source: Source, _offset: int) -> Position:
        raise AssertionError("nobody will see the place")

    monkeypatch.setattr(Source, "position", asked_for)
    found = found_in(tmp_path, {"etc/icinga2.conf": "const A = f()\nconst B = A + {\n"})
    assert found.problems == ()


def test_of_many_names_that_cannot_be_told_a_hundred_are_reported(
    tmp_path: Path,
) -> None:
    found = found_in(tmp_path, {"etc/icinga2.conf": "client_cn = f()\n" * 300})
    assert len(found.problems) == DECLARATIONS_MAX
