"""The collection's own parts: what they read, what they promise, what stands in them."""

from __future__ import annotations

import importlib
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are not installed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from icefloe.enrollment.problems import PROBLEMS, Outlook
from icefloe.pki.certificates import to_pem
from icefloe.pki.tickets import ticket
from icefloe.storage.keys import KeyType, encode_private_key, generate_key
from tests.ansible.controller import COLLECTION, RUN_SECONDS, Controller, Run
from tests.node.cluster import Authority, unsigned
from tests.source_tree import ROOT

MODULES = ("icefloe_node", "icefloe_ticket", "icinga2_enrollment")
ROLE = COLLECTION / "roles/icefloe"

Part = Callable[[str], ModuleType]


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Part]:
    """Return an importer of the collection's Python modules, by Ansible's names."""
    place = tmp_path / "importable/ansible_collections/icefloe"
    place.mkdir(parents=True)
    (place / "icefloe").symlink_to(COLLECTION)
    monkeypatch.syspath_prepend(place.parent.parent)
    before = set(sys.modules)
    yield lambda name: importlib.import_module(
        f"ansible_collections.icefloe.icefloe.plugins.{name}"
    )
    for name in set(sys.modules) - before:
        if name.startswith("ansible_collections"):
            del sys.modules[name]


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


# --- Certificates ---------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_a_certificate_is_read_as_cryptography_reads_it(
    part: Part, *, signed: bool
) -> None:
    authority, key = Authority(), generate_key()
    name = "web1.example.org"
    made = authority.issue(name, key) if signed else unsigned(name, key)
    read = part("module_utils.certificate").read_certificate(to_pem(made))
    assert read.common_name == name
    assert read.is_self_signed is not signed
    assert read.issuer == made.issuer.public_bytes()
    assert read.subject == made.subject.public_bytes()
    assert read.not_before == made.not_valid_before_utc.timestamp()
    assert read.not_after == made.not_valid_after_utc.timestamp()
    assert read.fingerprint == made.fingerprint(SHA256()).hex()
    assert read.public_key == made.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def test_a_damaged_certificate_is_a_typed_error_wherever_it_is_cut(part: Part) -> None:
    certificates = part("module_utils.certificate")
    der = certificates.read_certificate(to_pem(Authority().certificate)).der
    for length in range(len(der)):
        with pytest.raises(certificates.NotACertificate):
            certificates.decode_certificate(der[:length])
    with pytest.raises(certificates.NotACertificate):
        certificates.read_certificate("no PEM at all")


def test_key_and_certificate_of_two_pairs_are_no_pair(
    part: Part, tmp_path: Path
) -> None:
    why_no_pair = part("module_utils.certificate").why_no_pair
    key, other = generate_key(), generate_key(KeyType.EC)
    certificate = tmp_path / "a.crt"
    certificate.write_text(to_pem(unsigned("a", key)))
    for each, name in ((key, "a.key"), (other, "b.key")):
        (tmp_path / name).write_bytes(encode_private_key(each))
    assert why_no_pair(str(certificate), str(tmp_path / "a.key")) is None
    assert "KEY_VALUES_MISMATCH" in why_no_pair(
        str(certificate), str(tmp_path / "b.key")
    )
    assert why_no_pair(str(certificate), str(tmp_path / "none")) is not None


@pytest.mark.parametrize(
    "text", ["AB" * 32, ":".join(["ab"] * 32), " ".join(["Ab"] * 32)]
)
def test_a_fingerprint_may_be_written_in_any_way(part: Part, text: str) -> None:
    assert part("module_utils.certificate").plain_fingerprint(text) == "ab" * 32


@pytest.mark.parametrize("text", ["", "AB" * 20, "AB" * 33, "XY" * 32])
def test_what_is_no_fingerprint_is_refused(part: Part, text: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        part("module_utils.certificate").plain_fingerprint(text)


# --- The identity of a plain icinga2 --------------------------------------------------


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_a_new_pair_that_was_being_put_in_place_is_finished_by_the_next_run(
    part: Part, tmp_path: Path, renamed: int
) -> None:
    """Killed before, between and after the two renames."""
    certs = tmp_path / "certs"
    files = part("module_utils.identity_files").IdentityFiles("a", str(certs), None)
    new = certs / ".new-a"
    new.mkdir(parents=True)
    (certs / ".new-a.part").mkdir()
    key = generate_key()
    (new / "node.key").write_bytes(encode_private_key(key))
    (new / "node.key").chmod(0o600)
    (new / "node.crt").write_text(to_pem(unsigned("a", key)))
    for name, target in [("node.crt", "a.crt"), ("node.key", "a.key")][:renamed]:
        (new / name).rename(certs / target)
    assert files.finish_interrupted()
    assert files.why_unusable() is None
    assert sorted(path.name for path in certs.iterdir()) == ["a.crt", "a.key"]
    assert (certs / "a.key").stat().st_mode & 0o777 == 0o600
    assert not files.finish_interrupted()


def test_what_is_replaced_is_copied_away_first_and_once(
    part: Part, tmp_path: Path
) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    key = generate_key()
    (certs / "a.key").write_bytes(encode_private_key(key))
    (certs / "a.crt").write_text(to_pem(unsigned("a", key)))
    files = part("module_utils.identity_files").IdentityFiles("a", str(certs), None)
    before = (certs / "a.crt").read_bytes()
    copies = files.copies()
    Path(copies["node.crt"]).write_text(to_pem(Authority().issue("a", key)))
    Path(copies["ca.crt"]).write_text(to_pem(Authority().certificate))
    assert len(files.take_over(copies, ["ca.crt", "node.crt"])) == 2
    (backup,) = (tmp_path / "certs-backups").iterdir()
    assert (backup / "a.crt").read_bytes() == before
    assert (backup / "a.key").read_bytes() == (certs / "a.key").read_bytes()
    assert backup.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "../a", ".a", "a/b", "a\0b"])
def test_a_name_never_leads_out_of_the_directory(
    part: Part, tmp_path: Path, name: str
) -> None:
    with pytest.raises(part("module_utils.problems").Problem):
        part("module_utils.identity_files").IdentityFiles(name, str(tmp_path), None)


# --- What icinga2 said ----------------------------------------------------------------


@pytest.mark.parametrize(
    "code, out, is_new, expected",
    [
        (0, "information/cli: Writing signed certificate", True, "signed"),
        (0, "information/cli: !!! The request for 'a' is pending.", False, "pending"),
        (0, "", False, "pending"),
        (1, "critical/cli: !!! Invalid ticket for CN 'a'.", False, "wrong-ticket"),
        (1, "critical/cli: !!! declined by administrator.", False, "declined"),
        (1, "critical/cli: !!! Something else.", False, "refused-by-parent"),
        (1, "critical/cli: Could not fetch valid response. Ple", False, "cut-off"),
        (1, "critical/cli: Cannot connect to host 'x'", False, "unreachable"),
        (1, "certificate does not match trusted one", False, "trust-mismatch"),
        (134, "Aborted", False, "other-trouble"),
    ],
)
def test_an_end_of_pki_request_has_a_code(
    part: Part, code: int, out: str, expected: str, *, is_new: bool
) -> None:
    ran = part("module_utils.program").Ran(code, out, "")
    came = part("module_utils.pki_request").judge(ran, "sat1:5665", is_new=is_new)
    assert came.code == expected
    assert came.code in PROBLEMS


def test_codes_are_those_of_the_catalogue(part: Part) -> None:
    """A new problem that passes by itself is one that the modules wait for."""
    problems = part("module_utils.problems")
    waits = {code for code, each in PROBLEMS.items() if each.outlook is Outlook.WAITS}
    assert waits == problems.PASSES_BY_ITSELF
    assert problems.NEXT_STEPS.keys() <= PROBLEMS.keys()


# --- What the world does to a module --------------------------------------------------


class Ended(Exception):
    """The module has ended; what it told is in `args`."""


class Told:
    """In place of an AnsibleModule: options, and a program that says what it is told."""

    check_mode = False

    def __init__(self, out: str = "", **params: Any) -> None:
        self.params = params
        self._out = out

    def get_bin_path(self, name: str, **_: Any) -> str:
        return f"/bin/{name}"

    def run_command(self, _words: list[str], **_: Any) -> tuple[int, str, str]:
        return 0, self._out, ""

    def exit_json(self, **told: Any) -> None:
        raise Ended(told)

    fail_json = exit_json


def test_a_ticket_is_found_behind_warnings_and_never_told_in_a_failure(
    part: Part,
) -> None:
    ticket_of = part("modules.icefloe_ticket").ticket
    params = {"cn": "a", "executable": "icinga2", "config_dir": None}
    assert ticket_of(Told("warning/cli: old\nabc123\n", **params)) == "abc123"
    with pytest.raises(Ended) as caught:
        ticket_of(Told("abc123\nwarning/cli: old\n", **params))
    assert "abc123" not in str(caught.value.args)


def test_a_program_that_hangs_is_killed(part: Part) -> None:
    """`icinga2 pki request` waits for ever for a parent that says nothing."""
    program = part("module_utils.program")

    class Running(Told):
        def run_command(
            self, _words: list[str], **options: Any
        ) -> tuple[int, str, str]:
            with subprocess.Popen(_words) as process:
                options["before_communicate_callback"](process)
            return process.returncode, "", ""

    ran = program.run_program(Running(), ["sleep", "60"], seconds_max=0.2)
    came = part("module_utils.pki_request").judge(ran, "sat1:5665", is_new=False)
    assert came.code == "cut-off"
    assert program.run_program(Running(), ["true"], seconds_max=60.0).code == 0


def agent_of(part: Part, certs: Path, **params: Any) -> Any:
    """Return the module's agent with its usual options, and nothing to run."""
    usual: dict[str, Any] = dict.fromkeys(("ca_certificate", "user", "group"))
    usual["trust_on_first_use"] = False
    lists: dict[str, Any] = {"trusted_certificates": [], "parent_fingerprints": []}
    told = Told(
        **{"cn": "a", "ticket": None, "deadline": 1, **usual, **lists, **params}
    )
    files = part("module_utils.identity_files").IdentityFiles("a", str(certs), None)
    return part("module_utils.enrollment").Agent(told, files)


def enrolled_at(certs: Path, ca: Authority) -> None:
    key = generate_key()
    certs.mkdir()
    (certs / "a.key").write_bytes(encode_private_key(key))
    (certs / "a.crt").write_text(to_pem(ca.issue("a", key)))
    (certs / "ca.crt").write_text(to_pem(ca.certificate))


def test_a_certificate_of_another_ca_than_the_given_one_is_not_enrolled(
    part: Part, tmp_path: Path
) -> None:
    """Every CA of Icinga bears the same name: the key tells them apart."""
    ours, other = Authority(), Authority()
    certs = tmp_path / "certs"
    enrolled_at(certs, other)
    given = to_pem(ours.certificate)
    assert not agent_of(part, certs, ca_certificate=given).is_enrolled()
    own = to_pem(other.certificate)
    assert agent_of(part, certs, ca_certificate=own).is_enrolled()
    assert agent_of(part, certs).is_enrolled()
    gone = str(tmp_path / "gone.crt")
    assert agent_of(part, certs, ca_certificate=gone).is_enrolled()


def test_a_ca_that_was_not_given_is_not_taken_from_a_parent(
    part: Part, tmp_path: Path
) -> None:
    given, sent = Authority().certificate, Authority().certificate
    agent = agent_of(part, tmp_path, ca_certificate=to_pem(given))
    read = part("module_utils.certificate").read_certificate
    parent = part("module_utils.parent").Parent("m", "127.0.0.1", 1)
    agent.check_root(read(to_pem(given)), agent.trust(), parent, None)
    with pytest.raises(part("module_utils.problems").Problem, match="CA certificate"):
        agent.check_root(read(to_pem(sent)), agent.trust(), parent, None)


@contextmanager
def showing(directory: Path, ca: Authority, name: str) -> Iterator[int]:
    """Show a certificate of this CA to whoever connects; yield the port."""
    key = generate_key()
    (directory / "p.key").write_bytes(encode_private_key(key))
    (directory / "p.crt").write_text(to_pem(ca.issue(name, key)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "p.crt", directory / "p.key")

    def serve() -> None:
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), plain, context.wrap_socket(plain, server_side=True):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("trust", ["fingerprint", "certificate", "what is there"])
def test_a_ca_that_comes_along_is_compared_with_whatever_pins_the_parent(
    part: Part, tmp_path: Path, trust: str
) -> None:
    """A parent's fingerprint vouches for the CA of its certificate, and no other."""
    ours, other = Authority(), Authority()
    certificates, parents = (
        part("module_utils.certificate"),
        part("module_utils.parent"),
    )
    certs = tmp_path / "certs"
    enrolled_at(certs, ours if trust == "what is there" else Authority())
    with showing(tmp_path, ours, "m") as port:
        parent = parents.Parent("m", "127.0.0.1", port)
        pem = (tmp_path / "p.crt").read_text()
        leaf = certificates.read_certificate(pem)
        pins: dict[str, Any] = {
            "fingerprint": {"parent_fingerprints": [leaf.fingerprint]},
            "certificate": {"trusted_certificates": [pem]},
            "what is there": {},
        }[trust]
        agent = agent_of(part, certs, trust_on_first_use=not pins, **pins)
        assert parents.trusted_certificate(parent, agent.trust()).der == leaf.der
        good, bad = (
            certificates.read_certificate(to_pem(each.certificate))
            for each in (ours, other)
        )
        agent.check_root(good, agent.trust(), parent, leaf)
        with pytest.raises(part("module_utils.problems").Problem) as caught:
            agent.check_root(bad, agent.trust(), parent, leaf)
    assert caught.value.code == "invalid-certificate"
    assert "CA certificate that came along" in caught.value.detail


def test_a_certificate_is_verified_also_where_icinga2_cannot(
    part: Part, tmp_path: Path
) -> None:
    """Another CA of the same name has not signed it; `pki verify` is not needed."""
    ours, other = Authority(), Authority()
    certs = tmp_path / "certs"
    enrolled_at(certs, ours)
    agent = agent_of(part, certs)
    copies = {"node.crt": str(certs / "a.crt"), "key": str(certs / "a.key")}
    read = part("module_utils.certificate").read_certificate
    got = read((certs / "a.crt").read_text())
    agent.check(got, got, read(to_pem(ours.certificate)), copies)
    with pytest.raises(part("module_utils.problems").Problem) as caught:
        agent.check(got, got, read(to_pem(other.certificate)), copies)
    assert caught.value.code == "invalid-certificate"
    assert "not from the CA that came along" in caught.value.detail


def test_files_are_given_to_the_user_who_is_named_else_to_the_directorys(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = part("module_utils.identity_files")
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda _, user, group: given.append((user, group)))
    nobody, own = pwd.getpwnam("nobody"), tmp_path.stat()
    for user in ("nobody", None):
        files = module.IdentityFiles("a", str(tmp_path), None, user=user)
        files.store_ticket(f"ticket of {user}")
    assert given == [(nobody.pw_uid, own.st_gid), (own.st_uid, own.st_gid)]
    with pytest.raises(part("module_utils.problems").Problem, match="no-such-user"):
        module.IdentityFiles("a", str(tmp_path), None, user="no-such-user")


def test_what_a_check_foretells_of_a_used_ticket_is_what_a_run_does(
    part: Part, tmp_path: Path
) -> None:
    certs = tmp_path / "certs"
    enrolled_at(certs, Authority())
    (certs / "ticket").write_text("abc123\n")
    agent = agent_of(part, certs, ticket="abc123")
    agent.module.check_mode = True
    with pytest.raises(Ended) as caught:
        agent.bring_about()
    assert caught.value.args[0]["changed"]
    assert (certs / "ticket").exists()


def test_a_ticket_that_is_being_stored_leaves_nothing_behind_when_killed(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certs = tmp_path / "certs"
    enrolled_at(certs, Authority())
    files = part("module_utils.identity_files").IdentityFiles("a", str(certs), None)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            files.store_ticket("abc123")
    files.finish_interrupted()
    assert sorted(path.name for path in certs.iterdir()) == ["a.crt", "a.key", "ca.crt"]
    assert files.store_ticket("abc123")
    assert (certs / "ticket").stat().st_mode & 0o777 == 0o600


def test_rubbish_from_a_parent_is_a_typed_problem(part: Part) -> None:
    module = part("module_utils.enrollment")
    with pytest.raises(part("module_utils.problems").Problem, match="no certificate"):
        module._certificate("rubbish")


def test_text_around_a_ca_certificate_does_no_harm(part: Part) -> None:
    parent = part("module_utils.parent")
    pem = to_pem(Authority().certificate)
    trust = parent.read_trust(f"O = M\N{REPLACEMENT CHARACTER}ller\n{pem}", [], [])
    assert trust.ca_pem == pem
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(part("module_utils.problems").Problem, match="ca_certificate"):
        parent.read_trust(pem + broken, [], [])


def test_a_host_that_can_be_none_is_a_typed_problem(part: Part) -> None:
    parent = part("module_utils.parent")
    trust = parent.read_trust(None, [], [], first_use=True)
    with pytest.raises(part("module_utils.problems").Problem) as caught:
        parent.trusted_certificate(parent.Parent("a", "a..b", 5665), trust)
    assert caught.value.code == "name-not-resolved"


def test_user_and_directories_are_made_also_after_a_run_that_ended_before_them() -> (
    None
):
    tasks = yaml_of(ROLE / "tasks/units.yml")
    made = [each for each in tasks if "when" in each or "user" in each["name"]]
    assert [each.get("when") for each in made] == [None]


def test_zones_below_are_written_as_the_configuration_spells_strings() -> None:
    r"""Icinga's strings know no `\u00fc`, which JSON has for every such letter."""
    environment = jinja2.Environment(autoescape=False)
    environment.filters["to_json"] = json.dumps
    template = environment.from_string(
        (ROLE / "templates/children.conf.j2").read_text()
    )
    zone = {"name": "zürich", "endpoints": [{"name": 'ä"', "host": "ö"}]}
    text = template.render(icefloe_child_zones=[zone], icefloe_zone="ü")
    assert '"zürich"' in text
    assert '[ "ä\\"" ]' in text
    assert "\\u" not in text


# --- What is told to the program ------------------------------------------------------


def test_answers_are_toml_whatever_stands_in_them(part: Part) -> None:
    answers = {
        "cn": 'a"b\\c\n\x7f\tü🧊',
        "wait": 120,
        "master": False,
        "global_zones": ["x", 'y"'],
        "endpoint": [{"name": "s", "host": "h", "port": 5665}, {"name": "t"}],
        "listen": {"host": "::", "port": 1},
        "cacert": "-----BEGIN CERTIFICATE-----\nAAAA\n",
    }
    text = part("module_utils.answers").toml_of(answers)
    assert tomllib.loads(text) == answers


@pytest.mark.parametrize(
    "cn, salt", [("web1.example.org", "0123456789abcdef" * 2), ("ä", "x")]
)
def test_the_filter_makes_the_ticket_that_the_signer_makes(
    part: Part, cn: str, salt: str
) -> None:
    assert part("filter.ticket").ticket(cn, salt) == ticket(cn, salt)


# --- The collection as a whole --------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_a_module_documents_the_options_that_it_takes(part: Part, name: str) -> None:
    module = part(f"modules.{name}")
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    source = (COLLECTION / f"plugins/modules/{name}.py").read_text()
    for option, about in documented.items():
        assert about["description"], option
        assert f'"{option}": {{' in source, option
    assert yaml.safe_load(module.EXAMPLES)
    assert yaml.safe_load(module.RETURN)


def test_the_ticket_of_a_module_is_never_logged(part: Part) -> None:
    assert part("modules.icefloe_node").ARGUMENTS["ticket"]["no_log"] is True


def test_the_role_documents_every_variable_and_gives_it_a_default() -> None:
    options = yaml_of(ROLE / "meta/argument_specs.yml")["argument_specs"]["main"]
    defaults = yaml_of(ROLE / "defaults/main.yml")
    assert options["options"].keys() == defaults.keys()
    for name, about in options["options"].items():
        assert about["description"], name
        if "default" in about:
            assert about["default"] == defaults[name], name


def tasks_in(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every use of one of our modules in a piece of YAML."""
    if isinstance(node, list):
        for each in node:
            yield from tasks_in(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if str(key).startswith("icefloe.icefloe."):
                yield str(key).rpartition(".")[2], value
            yield from tasks_in(value)


def variables_in(node: Any) -> Iterator[str]:
    """Yield every variable of the role in a piece of YAML."""
    if isinstance(node, list):
        for each in node:
            yield from variables_in(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if str(key).startswith("icefloe_"):
                yield str(key)
            yield from variables_in(value)


def test_the_guide_uses_options_and_variables_that_exist(part: Part) -> None:
    guide = (ROOT / "docs/ansible.md").read_text()
    blocks = [
        yaml.safe_load(text)
        for text in re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    ]
    used = list(tasks_in(blocks))
    assert {name for name, _ in used} == {"icefloe_ticket", "icinga2_enrollment"}
    for name, options in used:
        module = part(f"modules.{name}")
        assert options.keys() <= yaml.safe_load(module.DOCUMENTATION)["options"].keys()
    known = yaml_of(ROLE / "defaults/main.yml").keys()
    groups = {"icefloe_masters", "icefloe_satellites", "icefloe_agents"}
    found = set(variables_in(blocks)) | set(re.findall(r"`(icefloe_\w+)[`:]", guide))
    assert len(found) > len(groups)
    assert found - groups - set(MODULES) <= known


def test_the_unit_is_made_for_the_user_whom_the_files_belong_to(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("icefloe", "systemd-sysusers", "systemd-tmpfiles"):
        program = programs / name
        words = f"{name} for $ICINGA2_USER:$ICINGA2_GROUP"
        program.write_text(f'#!/bin/sh\necho "{words}" >> {tmp_path}/said\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    controller.hosts({"all": {"web1": {}}})
    role = {"name": "icefloe.icefloe.icefloe", "tasks_from": "units.yml"}
    variables = {
        "icefloe_executable": str(programs / "icefloe"),
        "icefloe_service": False,
        "icefloe_user": "nagios",
        "icefloe_group": "nogroup",
    }
    task = {"ansible.builtin.include_role": role, "vars": variables}
    run = controller.run(controller.playbook("units", [task]))
    assert run.code == 0, run.output
    said = (tmp_path / "said").read_text().splitlines()
    assert said[0] == "icefloe for nagios:nogroup"


def test_pip_is_given_a_wheel_and_never_a_name_by_default(
    controller: Controller, tmp_path: Path
) -> None:
    """Whoever owns the name at some index would own the hosts."""
    controller.hosts({"all": {"web1": {}}})
    wheel = tmp_path / "icefloe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        about = "icefloe-1.0.dist-info"
        names = {
            "icefloe.py": "",
            f"{about}/METADATA": "Metadata-Version: 2.1\nName: icefloe\nVersion: 1.0\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
        }
        for name, text in names.items():
            archive.writestr(name, text)
        lines = [f"{name},," for name in (*names, f"{about}/RECORD")]
        archive.writestr(f"{about}/RECORD", "\n".join(lines))
    role = {"name": "icefloe.icefloe.icefloe", "tasks_from": "install-pip.yml"}
    usual = {
        "icefloe_venv": str(tmp_path / "venv"),
        "icefloe_python": sys.executable,
        "icefloe_pip_extra_args": "--no-index --no-deps",
        "icefloe_service": False,
    }

    def install(**own: str) -> Run:
        task = {"ansible.builtin.include_role": role, "vars": {**usual, **own}}
        return controller.run(controller.playbook("install", [task]))

    refused = install()
    assert refused.counts("failed") == {"web1": 1}, refused.output
    assert "give a wheel" in refused.output
    assert not (tmp_path / "venv").exists()
    for changed in (1, 0):
        done = install(icefloe_package=str(wheel))
        assert done.code == 0, done.output
        assert done.counts("changed") == {"web1": changed}
    assert list((tmp_path / "venv").glob("lib/*/site-packages/icefloe.py"))


def test_nobody_has_to_retry_in_a_playbook() -> None:
    """Waits and retries are the modules' business."""
    books = [*ROLE.rglob("*.yml"), *(COLLECTION / "playbooks").glob("*.yml")]
    assert len(books) > 5
    for book in books:
        assert not re.search(r"^\s*(until|retries):", book.read_text(), re.MULTILINE)


def test_ansible_builds_and_documents_the_collection(
    controller: Controller, tmp_path: Path
) -> None:
    """What is built holds the modules, and nothing that only this tree needs."""
    tree = shutil.copytree(COLLECTION, tmp_path / "tree")
    built = ansible(
        controller,
        *("ansible-galaxy", "collection", "build", str(tree)),
        *("--output-path", str(tmp_path)),
    )
    (archive,) = tmp_path.glob("icefloe-icefloe-*.tar.gz")
    names = subprocess.run(
        ["tar", "tzf", str(archive)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {f"plugins/modules/{name}.py" for name in MODULES} <= set(names), built
    assert not {"ruff.toml"} & set(names)
    shown = ansible(
        controller, "ansible-doc", *(f"icefloe.icefloe.{name}" for name in MODULES)
    )
    for name in MODULES:
        assert f"> MODULE icefloe.icefloe.{name}" in shown
    assert "ticket" in ansible(
        controller, "ansible-doc", "-t", "filter", "icefloe.icefloe.ticket"
    )


def ansible(controller: Controller, program: str, *words: str) -> str:
    """Run one of Ansible's programs; return what it printed."""
    result = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words],
        env=controller.environment(),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
