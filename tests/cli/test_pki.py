"""`icefloe pki`, against files and against a parent that does what it is told."""

from __future__ import annotations

import re
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from tests.cli.command import Command
from tests.node.fake_parent import (
    FakeParent,
    cuts,
    fake_parent,
    pends,
    refuses,
    says,
    signs,
)
from tests.node.tls.material import Authority, pem

from icefloe.enrollment.requester import Requester
from icefloe.pki.certificates import (
    common_name,
    dns_names,
    is_self_signed,
    key_id,
    load_pem,
    load_pem_all,
)
from icefloe.pki.requests import check_request_certificate, check_signing_request
from icefloe.pki.tickets import ticket
from icefloe.storage.keys import KeyType, key_type_of, read_private_key
from icefloe.storage.ledger import SQLiteLedger

BRIEFLY: dict[str, Any] = Requester.__init__.__kwdefaults__ or {}
"""How long a requester goes on without any answer, to be cut short."""

SECRET = "0123456789abcdef0123456789abcdef01234567"


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# --- new-ca, new-cert, sign-csr -------------------------------------------------------


def test_a_new_ca_says_what_it_cannot_do(icefloe: Command) -> None:
    out = icefloe.ok("pki", "new-ca")
    key = icefloe.directories.ca_key
    assert f"information/base: Writing private key to '{key}'." in out
    assert "P-256" in out
    assert "--key-type rsa" in out
    assert key_type_of(read_private_key(key)) is KeyType.EC


def test_an_rsa_ca_has_nothing_to_warn_of(icefloe: Command) -> None:
    out = icefloe.ok("pki", "new-ca", "--key-type", "rsa")
    assert "P-256" not in out
    assert read_private_key(icefloe.directories.ca_key).key_size == 4096


def test_a_second_ca_is_refused(icefloe: Command) -> None:
    icefloe.ok("pki", "new-ca")
    before = icefloe.files()
    done = icefloe("pki", "new-ca")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("warning/cli: ")
    assert icefloe.files() == before


def test_a_new_certificate_comes_with_key_and_request(icefloe: Command) -> None:
    key, csr, cert = (icefloe.path(f"a.{end}") for end in ("key", "csr", "crt"))
    out = icefloe.ok(
        *("pki", "new-cert", "--cn", "a.example.org"),
        *("--key", key, "--csr", csr, "--cert", cert),
    )
    assert out.splitlines() == [
        f"information/base: Writing private key to '{key}'.",
        f"information/base: Writing X509 certificate to '{cert}'.",
        f"information/base: Writing certificate signing request to '{csr}'.",
    ]
    assert [mode_of(path) for path in (key, csr, cert)] == [0o600, 0o644, 0o644]
    presented = check_request_certificate(load_pem(cert.read_bytes()))
    assert presented.cn == "a.example.org"
    assert dns_names(presented.certificate) == ("a.example.org",)
    assert check_signing_request(csr.read_bytes()).key_id == presented.key_id


def test_a_key_that_is_overwritten_is_kept(icefloe: Command) -> None:
    key = icefloe.path("a.key")
    make = ("pki", "new-cert", "--cn", "a", "--key", key)
    icefloe.ok(*make)
    first = key.read_bytes()
    icefloe.ok(*make)
    assert key.read_bytes() != first
    (kept,) = icefloe.root.glob("a.key.before-*")
    assert kept.read_bytes() == first
    assert mode_of(kept) == 0o600


def test_a_name_that_no_node_may_have_makes_nothing(icefloe: Command) -> None:
    key = icefloe.path("a.key")
    done = icefloe("pki", "new-cert", "--cn", "a,DNS:b", "--key", key)
    assert done.code == 1
    assert "comma" in done.err
    assert not key.exists()


def test_a_request_is_signed_once_and_recorded(icefloe: Command) -> None:
    csr, cert = icefloe.path("a.csr"), icefloe.path("a.crt")
    icefloe.ok("pki", "new-ca")
    make = ("pki", "new-cert", "--cn", "a", "--key", icefloe.path("a.key"))
    icefloe.ok(*make, "--csr", csr)
    out = icefloe.ok("pki", "sign-csr", "--csr", csr, "--cert", cert)
    assert out == f"information/pki: Writing certificate to file '{cert}'.\n"
    signed = cert.read_bytes()
    icefloe.ok("pki", "sign-csr", "--csr", csr, "--cert", cert)
    assert cert.read_bytes() == signed
    ca = icefloe.directories.ca_certificate
    assert icefloe("pki", "verify", "--cert", cert, "--cacert", ca).code == 0
    with SQLiteLedger.open(icefloe.directories.ledger, create=False) as ledger:
        (request,) = ledger.requests()
        assert request.cn == "a"


def test_without_a_ca_nothing_is_signed(icefloe: Command) -> None:
    csr = icefloe.path("a.csr")
    make = ("pki", "new-cert", "--cn", "a", "--key", icefloe.path("a.key"))
    icefloe.ok(*make, "--csr", csr)
    done = icefloe("pki", "sign-csr", "--csr", csr, "--cert", icefloe.path("a.crt"))
    assert done.code == 1
    assert "ca.key" in done.err
    assert not icefloe.path("a.crt").exists()


# --- ticket, verify -------------------------------------------------------------------


def test_a_ticket_is_printed_alone(icefloe: Command) -> None:
    out = icefloe.ok("pki", "ticket", "--cn", "web1", "--salt", "pepper")
    assert out == ticket("web1", "pepper") + "\n"


def test_the_salt_is_that_of_the_configuration(icefloe: Command) -> None:
    constants = icefloe.directories.constants_conf
    constants.write_text('const TicketSalt = "pepper"\n')
    assert icefloe.ok("pki", "ticket", "--cn", "web1").strip() == ticket(
        "web1", "pepper"
    )


def test_without_a_salt_there_is_no_ticket(icefloe: Command) -> None:
    done = icefloe("pki", "ticket", "--cn", "web1")
    assert (done.code, done.out) == (1, "")
    assert "--salt" in done.err


@pytest.fixture
def pair(icefloe: Command) -> dict[str, Path]:
    """Return a CA, a certificate under it, and a self-signed one."""
    icefloe.ok("pki", "new-ca")
    own = {name: icefloe.path(f"{name}.crt") for name in ("signed", "alone")}
    csr = icefloe.path("a.csr")
    make = ("pki", "new-cert", "--cn", "a", "--key", icefloe.path("a.key"))
    icefloe.ok(*make, "--csr", csr, "--cert", own["alone"])
    icefloe.ok("pki", "sign-csr", "--csr", csr, "--cert", own["signed"])
    return {**own, "ca": icefloe.directories.ca_certificate}


VERIFICATIONS = {
    "--cn a --cert signed": 0,
    "--cn b --cert signed": 2,
    "--cn a --cert signed --cacert ca": 0,
    "--cert signed --cacert ca": 0,
    "--cert alone --cacert ca": 2,
    "--cacert ca": 0,
    "--cacert signed": 2,
    "--cert alone": 0,
    "--cn a": 2,
    "": 0,
    "--cert missing": 2,
    "--cert signed --cacert missing": 2,
}


@pytest.mark.parametrize("options, code", VERIFICATIONS.items())
def test_verification_ends_with_the_code_of_a_plugin(
    icefloe: Command, pair: dict[str, Path], options: str, code: int
) -> None:
    words = [
        pair.get(word, icefloe.path(word)) if before in {"--cert", "--cacert"} else word
        for before, word in zip(["", *options.split()], options.split(), strict=False)
    ]
    done = icefloe("pki", "verify", *words)
    assert done.code == code
    assert ("critical/cli: " in done.err) == (code == 2)


def test_a_verified_certificate_is_printed_as_icinga_prints_it(
    icefloe: Command, pair: dict[str, Path]
) -> None:
    out = icefloe.ok("pki", "verify", "--cert", pair["signed"])
    labels = re.findall(r"^ ([A-Z][A-Za-z ]+): ", out, re.MULTILINE)
    assert labels == [
        *("Version", "Subject", "Issuer", "Valid From", "Valid Until", "Serial"),
        *("Signature Algorithm", "Subject Alt Names", "Fingerprint"),
    ]


# --- save-cert ------------------------------------------------------------------------


def fingerprint_line(certificate: Any) -> re.Pattern[str]:
    """protocol: Puppet greps for the hex at the end of a line."""
    digest = certificate.fingerprint(SHA256()).hex(" ").upper()
    return re.compile(rf"Fingerprint: .*{digest}\s*$", re.MULTILINE)


def test_a_parents_certificate_is_printed_and_saved(icefloe: Command) -> None:
    saved = icefloe.path("trusted.crt")
    with fake_parent() as parent:
        out = icefloe.ok(
            *("pki", "save-cert", "--host", "127.0.0.1", "--port", parent.port),
            *("--trustedcert", saved, "--key", "ignored", "--cert", "ignored"),
        )
    assert load_pem(saved.read_bytes()) == parent.certificate
    assert f"Retrieving TLS certificate for '127.0.0.1:{parent.port}'" in out
    assert fingerprint_line(parent.certificate).search(out)
    assert fingerprint_line(parent.ca.certificate).search(out)
    assert out.index("CN = parent1") < out.index("It is signed by this CA")
    assert "\n***\n*** " in out


def test_a_ca_that_did_not_issue_the_parents_certificate_is_not_shown(
    icefloe: Command,
) -> None:
    """A CA certificate is public: anybody can send it along."""
    real, own = Authority(), Authority()
    with fake_parent(ca=real, node=own.issue("parent1")) as parent:
        out = icefloe.ok(
            *("pki", "save-cert", "--host", "127.0.0.1", "--port", parent.port),
            *("--trustedcert", icefloe.path("trusted.crt")),
        )
    assert not fingerprint_line(real.certificate).search(out)


def test_nobody_to_fetch_from_saves_nothing(icefloe: Command) -> None:
    saved = icefloe.path("trusted.crt")
    done = icefloe(
        *("pki", "save-cert", "--host", "127.0.0.1", "--port", closed_port()),
        *("--trustedcert", saved),
    )
    assert done.code == 1
    assert "refused" in done.err
    assert not saved.exists()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- request --------------------------------------------------------------------------


class Request:
    """One newcomer's files, and `pki request` with them."""

    def __init__(self, icefloe: Command, parent: FakeParent) -> None:
        self.icefloe = icefloe
        self.key, self.cert = icefloe.path("a1.key"), icefloe.path("a1.crt")
        self.ca, self.pin = icefloe.path("ca.crt"), icefloe.path("pin.crt")
        self.port = parent.port
        self.pin.write_bytes(parent.pin)
        icefloe.ok(
            *("pki", "new-cert", "--cn", "a1", "--key", self.key, "--cert", self.cert)
        )
        self.before = icefloe.files()

    def words(self, *more: object) -> tuple[object, ...]:
        return (
            *("pki", "request", "--host", "127.0.0.1", "--port", self.port),
            *("--key", self.key, "--cert", self.cert, "--ca", self.ca),
            *("--trustedcert", self.pin, *more),
        )

    def __call__(self, *more: object) -> Any:
        return self.icefloe(*self.words(*more))

    @property
    def is_only_set_aside(self) -> bool:
        """Whether the request has another name, and nothing else is changed."""
        expected = dict(self.before)
        expected["a1.crt.unsigned"] = expected.pop("a1.crt")
        return self.icefloe.files() == expected


def test_a_signed_certificate_is_installed(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        request = Request(icefloe, parent)
        done = request("--ticket", SECRET)
    assert done.code == 0
    assert (
        f"information/cli: Writing CA certificate to file '{request.ca}'." in done.out
    )
    assert (
        f"information/cli: Writing signed certificate to file '{request.cert}'."
        in done.out
    )
    issued = load_pem(request.cert.read_bytes())
    assert not is_self_signed(issued)
    assert key_id(issued) == key_id(read_private_key(request.key).public_key())
    assert load_pem_all(request.ca.read_bytes()) == (parent.ca.certificate,)
    assert parent.asked[0].ticket == SECRET
    assert SECRET not in done.text


def test_pending_without_a_ticket_ends_at_once_with_the_ca(icefloe: Command) -> None:
    with fake_parent(pends) as parent:
        request = Request(icefloe, parent)
        done = request()
    assert done.code == 0
    assert len(parent.asked) == 1
    assert "!!! Certificate request is pending." in done.out
    assert re.search("PENDING.* ca sign [0-9a-f]{64}", done.out)
    assert "cannot pass a refusal on" in done.out
    assert request.ca.exists()
    assert request.cert.read_bytes() == request.before["a1.crt"]


def test_pending_because_of_a_nodes_trouble_names_the_node_and_what_to_do(
    icefloe: Command,
) -> None:
    """No approval would help: the signer's disk is full, say."""
    full = partial(pends, hop="master1", reason="ledger-fault")
    with fake_parent(full) as parent:
        done = Request(icefloe, parent)("--ticket", SECRET, "--wait", "0")
    assert done.code == 0
    assert "PENDING. Waits for master1, reason: ledger-fault." in done.out
    assert "Next: Look at the log and the disk of master1" in done.out
    assert "ca sign" not in done.out


def test_pending_with_a_ticket_goes_on_until_it_is_signed(icefloe: Command) -> None:
    with fake_parent(cuts, pends, signs) as parent:
        done = Request(icefloe, parent)("--ticket", SECRET)
    assert done.code == 0
    assert len(parent.asked) == 3
    assert "cut off" in done.out
    assert "pending: Certificate request is pending." in done.out


def test_the_wait_is_bounded_by_the_option(icefloe: Command) -> None:
    with fake_parent(pends) as parent:
        done = Request(icefloe, parent)("--ticket", SECRET, "--wait", "0")
    assert done.code == 0
    assert len(parent.asked) == 1


REFUSALS = {
    "an Icefloe master": partial(refuses, hop="master1", reason="wrong-ticket"),
    "an Icinga master": partial(refuses, ca=True),
}


@pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_sets_the_request_aside_and_says_what_to_do(
    icefloe: Command, refuse: Any
) -> None:
    """protocol: Puppet and others take `ca.crt` for success."""
    with fake_parent(refuse) as parent:
        request = Request(icefloe, parent)
        done = request("--ticket", SECRET)
    assert done.code == 1
    assert len(parent.asked) == 1
    assert "critical/cli: !!! Invalid ticket." in done.err
    assert "Refused by " in done.err
    assert "Next: Get a ticket for exactly this name" in done.err
    assert "pki ticket --cn a1" in done.err
    assert request.is_only_set_aside
    assert SECRET not in done.text


def test_a_refusal_names_hop_and_reason(icefloe: Command) -> None:
    with fake_parent(partial(refuses, hop="master1", reason="declined")) as parent:
        done = Request(icefloe, parent)()
    assert "Refused by master1, reason: declined." in done.err
    assert "ca restore" in done.err


def test_words_of_a_refusal_cannot_play_with_the_terminal(icefloe: Command) -> None:
    facts = {"hop": "m\x1b[2J", "reason": "x\x07"}
    with fake_parent(
        says(status_code=1, error="\x1b]0;x\x07", icefloe=facts)
    ) as parent:
        done = Request(icefloe, parent)()
    assert not set(done.text) & {"\x1b", "\x07"}


def test_nothing_to_do_is_told_and_fails_as_icinga_does(icefloe: Command) -> None:
    with fake_parent(signs, partial(refuses, reason="nothing-to-do")) as parent:
        request = Request(icefloe, parent)
        request()
        signed = request.cert.read_bytes()
        done = request()
    assert done.code == 1
    assert request.cert.read_bytes() == signed


def test_a_parent_that_is_not_the_trusted_one_gets_nothing(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        request = Request(icefloe, parent)
        request.pin.write_bytes(pem(parent.ca.issue("parent1").certificate))
        request.before = icefloe.files()
        done = request("--ticket", SECRET)
    assert done.code == 1
    assert "not the trusted one" in done.err
    assert request.is_only_set_aside
    assert parent.asked == []


def test_the_certificate_of_a_ca_is_no_trusted_certificate(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        request = Request(icefloe, parent)
        request.pin.write_bytes(pem(parent.ca.certificate))
        done = request()
    assert done.code == 1
    assert "of a CA, not of a parent" in done.err


def test_an_existing_ca_of_another_cluster_is_named(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        request = Request(icefloe, parent)
        request.ca.write_bytes(pem(Authority().certificate))
        request.before = icefloe.files()
        done = request()
    assert done.code == 1
    assert "ca.crt" in done.err
    assert "move ca.crt away" in done.err
    assert request.is_only_set_aside


def test_a_certificate_from_another_ca_than_was_sent_is_not_installed(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signer with a wrong `certs/ca.crt`; Icinga's client installs that."""
    monkeypatch.setitem(BRIEFLY, "answer_deadline", 0.1)
    other = Authority()
    with fake_parent(partial(signs, by=other)) as parent:
        request = Request(icefloe, parent)
        done = icefloe(*request.words())
    assert done.code == 1
    assert "not accepted" in done.err
    assert request.is_only_set_aside


def test_a_second_host_is_asked_when_the_first_is_down(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        request = Request(icefloe, parent)
        down = f"127.0.0.1,{closed_port()}"
        words = request.words()
        done = icefloe(*words[:2], "--host", down, *words[2:])
    assert done.code == 0
    assert "unreachable" in done.out
    assert len(parent.asked) == 1


def test_the_outcome_as_json_stands_alone(icefloe: Command) -> None:
    with fake_parent(partial(pends, hop="sat1")) as parent:
        request = Request(icefloe, parent)
        outcome = icefloe.json(*request.words())
    assert isinstance(outcome, dict)
    assert outcome["outcome"] == "pending"
    assert outcome["hop"] == "sat1"
    assert outcome["wrote_ca"] is True
    assert outcome["common_name"] == "a1"


def test_the_way_of_a_request_is_told(icefloe: Command) -> None:
    hops = [
        {"node": "sat1", "did": "received", "at": 100.0},
        {"node": "master1", "did": "signed", "at": 100.25},
        {"node": 5},
        "odd",
    ]

    def behave(asked: Any) -> None:
        pends(asked, hops=hops)

    with fake_parent(behave) as parent:
        done = Request(icefloe, parent)()
    assert "sat1 received (0.00 s) -> master1 signed (0.25 s)" in done.out


# --- The ticket -----------------------------------------------------------------------


def test_a_ticket_comes_from_a_file_or_the_environment(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = icefloe.path("my-ticket")
    file.write_text("from-file\n")
    monkeypatch.setenv("ICEFLOE_TICKET", "from-environment\n")
    with fake_parent(pends) as parent:
        request = Request(icefloe, parent)
        request("--wait", "0")
        request("--wait", "0", "--ticket-file", file)
        request("--wait", "0", "--ticket", "from-option")
    tickets = [asked.ticket for asked in parent.asked]
    assert tickets == ["from-environment", "from-file", "from-option"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"x" * 5000, None])
def test_a_ticket_file_without_a_ticket_is_named(
    icefloe: Command, content: bytes | None
) -> None:
    file = icefloe.path("my-ticket")
    if content is not None:
        file.write_bytes(content)
    with fake_parent(pends) as parent:
        done = Request(icefloe, parent)("--ticket-file", file)
    assert done.code == 1
    assert str(file) in done.err
    assert parent.asked == []


def test_two_tickets_are_one_too_many(icefloe: Command) -> None:
    with fake_parent(pends) as parent:
        done = Request(icefloe, parent)("--ticket", "a", "--ticket-file", "b")
    assert done.code == 1
    assert "exclude each other" in done.err


def test_a_file_called_ticket_elsewhere_is_nobody_elses(icefloe: Command) -> None:
    """An operator's own file beside `--ca` is neither written nor removed."""
    file = icefloe.path("ticket")
    file.write_text("mine")
    with fake_parent(pends, signs) as parent:
        request = Request(icefloe, parent)
        request("--wait", "0", "--ticket-file", file)
        assert file.read_text() == "mine"
        assert request("--ticket-file", file).code == 0
    assert file.read_text() == "mine"


class NodesOwnRequest(Request):
    """The same, in the places where the daemon looks."""

    def __init__(self, icefloe: Command, parent: FakeParent) -> None:
        super().__init__(icefloe, parent)
        certs = icefloe.certs
        certs.mkdir(mode=0o700)
        self.key = self.key.rename(certs / "a1.key")
        self.cert = self.cert.rename(certs / "a1.crt")
        self.ca = certs / "ca.crt"


def test_the_nodes_own_pending_ticket_is_left_for_the_daemon(icefloe: Command) -> None:
    with fake_parent(pends, signs) as parent:
        request = NodesOwnRequest(icefloe, parent)
        done = request("--ticket", SECRET, "--wait", "0")
        assert done.code == 0
        ticket_file = icefloe.directories.ticket
        assert ticket_file.read_text() == SECRET
        assert mode_of(ticket_file) == 0o600
        assert SECRET not in done.text
        assert request("--ticket", SECRET).code == 0
    assert not ticket_file.exists()


def test_a_ticket_for_another_name_than_the_nodes_is_not_left(icefloe: Command) -> None:
    with fake_parent(pends) as parent:
        request = NodesOwnRequest(icefloe, parent)
        (icefloe.certs / "this-node.key").write_text("")
        request("--ticket", SECRET, "--wait", "0")
    assert not icefloe.directories.ticket.exists()


def test_the_subject_of_an_issued_certificate_is_the_nodes(icefloe: Command) -> None:
    with fake_parent(signs) as parent:
        request = Request(icefloe, parent)
        request()
    assert common_name(load_pem(request.cert.read_bytes())) == "a1"
