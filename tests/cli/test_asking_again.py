"""`pki request` in vain, and what the commands that come after it make of it.

Which tool runs which of them is in `tests/tools`.
"""

from __future__ import annotations

import errno
import os
import signal
from functools import partial
from typing import Any

import pytest
from tests.cli.command import Command, Done
from tests.node.fake_parent import FakeParent, cuts, fake_parent, pends, refuses, signs

from icefloe.enrollment.requester import Requester
from icefloe.node.commands import pki_request
from icefloe.pki.certificates import is_self_signed, load_pem
from icefloe.pki.requests import check_signing_request

BRIEFLY: dict[str, Any] = Requester.__init__.__kwdefaults__ or {}


class Agent:
    """A newcomer, and the commands that a tool runs for it."""

    def __init__(self, icefloe: Command, parent: FakeParent) -> None:
        self.icefloe = icefloe
        self.certs = icefloe.certs
        self.certs.mkdir(mode=0o700)
        self.key, self.cert = self.certs / "a1.key", self.certs / "a1.crt"
        self.aside, self.ca = self.certs / "a1.crt.unsigned", self.certs / "ca.crt"
        self.port = parent.port
        self.pin = icefloe.path("pin.crt")
        self.pin.write_bytes(parent.pin)
        self.new_cert()
        self.first_key = self.key.read_bytes()
        self.first_cert = self.cert.read_bytes()

    def new_cert(self, *more: object, cn: str = "a1") -> str:
        make = ("pki", "new-cert", "--cn", cn)
        return self.icefloe.ok(*make, "--key", self.key, "--cert", self.cert, *more)

    def request(self, *more: object) -> Done:
        return self.icefloe(
            *("pki", "request", "--host", "127.0.0.1", "--port", self.port),
            *("--key", self.key, "--cert", self.cert, "--ca", self.ca),
            *("--trustedcert", self.pin, *more),
        )

    @property
    def is_aside(self) -> bool:
        return (
            not self.cert.exists()
            and self.aside.read_bytes() == self.first_cert
            and self.key.read_bytes() == self.first_key
            and not self.ca.exists()
        )

    @property
    def is_signed(self) -> bool:
        """Whether it is signed, for the first key, and nothing is left of the way."""
        return (
            not is_self_signed(load_pem(self.cert.read_bytes()))
            and self.key.read_bytes() == self.first_key
            and not self.aside.exists()
        )


def test_a_tool_that_begins_with_new_cert_goes_on_with_the_same_request(
    icefloe: Command,
) -> None:
    """As Ansible, Icinga Director's script and Icinga for Windows do."""
    with fake_parent(partial(refuses, reason="wrong-ticket"), signs) as parent:
        agent = Agent(icefloe, parent)
        done = agent.request("--ticket", "wrong")
        assert done.code == 1
        assert f"set aside as '{agent.aside}'" in done.out
        assert agent.is_aside
        csr = icefloe.path("a1.csr")
        out = agent.new_cert("--csr", csr)
        assert agent.cert.read_bytes() == agent.first_cert
        assert f"information/base: Writing X509 certificate to '{agent.cert}'." in out
        assert f"Using the private key in '{agent.key}'" in out
        request = check_signing_request(csr.read_bytes())
        assert agent.request("--ticket", "right").code == 0
    assert agent.is_signed
    assert request.cn == "a1"


def test_a_tool_that_only_asks_again_needs_no_certificate(icefloe: Command) -> None:
    """As Puppet does: it makes a key once."""
    with fake_parent(refuses, signs) as parent:
        agent = Agent(icefloe, parent)
        assert agent.request().code == 1
        assert agent.is_aside
        done = agent.request()
    assert done.code == 0
    assert f"Taking up the request in '{agent.aside}' again." in done.out
    assert agent.is_signed


def test_a_lost_answer_and_a_parent_that_is_down_do_the_same(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BRIEFLY, "answer_deadline", 0.1)
    with fake_parent(cuts) as parent:
        agent = Agent(icefloe, parent)
        assert agent.request().code == 1
        assert agent.is_aside
    # Nobody listens there any more.
    assert agent.request().code == 1
    assert agent.is_aside


def test_pending_and_signed_leave_the_certificate_in_its_place(
    icefloe: Command,
) -> None:
    with fake_parent(pends) as parent:
        agent = Agent(icefloe, parent)
        assert agent.request("--wait", "0").code == 0
        assert agent.cert.read_bytes() == agent.first_cert
    assert not agent.aside.exists()


def test_ctrl_c_sets_the_request_aside_too(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pki_request, "enroll_files", interrupted)
    with fake_parent() as parent:
        agent = Agent(icefloe, parent)
        assert agent.request().code == 130
    assert agent.is_aside


def test_a_tool_whose_patience_is_over_finds_the_request_aside_too(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_ended(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(pki_request, "enroll_files", is_ended)
    with fake_parent() as parent:
        agent = Agent(icefloe, parent)
        # Without a handler of its own this process would be gone.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with pytest.raises(SystemExit) as ended:
                agent.request()
            assert ended.value.code == 128 + signal.SIGTERM
            assert agent.is_aside
        finally:
            signal.signal(signal.SIGTERM, before)


def test_a_directory_that_cannot_be_written_is_told(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with fake_parent(refuses) as parent:
        agent = Agent(icefloe, parent)
        before = icefloe.files()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", read_only)
            done = agent.request()
    assert done.code == 1
    assert f"The request stays in '{agent.cert}'" in done.err
    assert "read-only" in done.err
    assert "remove it, not the key" in done.err
    assert "Refused by" in done.err
    assert icefloe.files() == before


def refused(icefloe: Command) -> Agent:
    """Return an agent whose request is set aside."""
    with fake_parent(refuses) as parent:
        agent = Agent(icefloe, parent)
        assert agent.request().code == 1
    assert agent.is_aside
    return agent


def test_another_name_gets_a_key_of_its_own(icefloe: Command) -> None:
    agent = refused(icefloe)
    agent.new_cert(cn="a2")
    assert agent.key.read_bytes() != agent.first_key


def test_another_kind_of_key_is_made(icefloe: Command) -> None:
    agent = refused(icefloe)
    agent.new_cert("--key-type", "rsa")
    assert agent.key.read_bytes() != agent.first_key


def test_who_removes_the_request_gets_a_new_key(icefloe: Command) -> None:
    agent = refused(icefloe)
    agent.aside.unlink()
    agent.new_cert()
    assert agent.key.read_bytes() != agent.first_key
    assert agent.cert.read_bytes() != agent.first_cert


def test_a_key_that_cannot_be_read_is_replaced_as_ever(icefloe: Command) -> None:
    agent = refused(icefloe)
    agent.key.write_text("damaged")
    agent.new_cert()
    assert is_self_signed(load_pem(agent.cert.read_bytes()))


def test_node_setup_goes_on_with_the_same_request(icefloe: Command) -> None:
    with fake_parent(refuses, signs) as parent:
        agent = Agent(icefloe, parent)
        assert agent.request().code == 1
        done = icefloe(
            *("node", "setup", "--cn", "a1", "--zone", "a1"),
            *("--endpoint", f"parent1,127.0.0.1,{parent.port}"),
            *("--parent_host", f"127.0.0.1,{parent.port}"),
            *("--trustedcert", agent.pin, "--parent_zone", "master"),
        )
    assert done.code == 0, done.text
    assert parent.asked[0].presented == parent.asked[1].presented
    assert agent.is_signed


def test_the_way_of_the_request_is_in_the_json(icefloe: Command) -> None:
    with fake_parent(refuses, pends) as parent:
        agent = Agent(icefloe, parent)
        done = agent.request("--json")
        assert f'"set_aside":"{agent.aside}"' in done.out
        assert '"set_aside":null' in agent.request("--json", "--wait", "0").out


def test_how_long_to_wait_is_a_variable_for_tools(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICEFLOE_WAIT", "0")
    with fake_parent(pends) as parent:
        agent = Agent(icefloe, parent)
        assert agent.request("--ticket", "any").code == 0
    assert len(parent.asked) == 1


def test_the_status_of_a_refused_node_is_told(icefloe: Command) -> None:
    """It has a key and a request; its files are not broken."""
    agent = refused(icefloe)
    icefloe.directories.constants_conf.write_text('const NodeName = "a1"\n')
    status = icefloe("enrollment", "status")
    assert "identity-broken" not in status.text
    assert agent.is_aside
