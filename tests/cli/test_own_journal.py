"""Commands that touch the node's own identity go by its journal; others leave it be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import Command, Done
from tests.node.fake_parent import FakeParent, fake_parent, refuses, signs

from icefloe.pki.certificates import is_self_signed
from icefloe.storage.identity import load_identity
from icefloe.storage.switching import IdentityJournal, Phase


def phase(icefloe: Command) -> Phase | None:
    state = IdentityJournal.of_node(icefloe.directories, owner=None).state()
    return None if state is None else state.state


def new_pair(icefloe: Command, place: Path) -> tuple[object, ...]:
    files = ("--key", place / "a1.key", "--cert", place / "a1.crt")
    icefloe.ok("pki", "new-cert", "--cn", "a1", *files)
    return *files, "--ca", place / "ca.crt"


def request(icefloe: Command, parent: FakeParent, files: tuple[object, ...]) -> Done:
    pin = icefloe.path("pin.crt")
    pin.write_bytes(parent.pin)
    return icefloe(
        *("pki", "request", "--host", "127.0.0.1", "--port", parent.port),
        *files,
        *("--trustedcert", pin, "--ticket", "t"),
    )


def test_a_certificate_for_the_nodes_own_key_waits_for_its_confirmation(
    icefloe: Command,
) -> None:
    icefloe.certs.mkdir(mode=0o700)
    files = new_pair(icefloe, icefloe.certs)
    assert phase(icefloe) is Phase.CONFIRMED
    with fake_parent(signs) as parent:
        assert request(icefloe, parent, files).code == 0
    assert phase(icefloe) is Phase.UNCONFIRMED


def test_files_of_another_node_have_no_journal(icefloe: Command) -> None:
    files = new_pair(icefloe, icefloe.root)
    with fake_parent(signs) as parent:
        assert request(icefloe, parent, files).code == 0
    assert phase(icefloe) is None
    assert not icefloe.directories.own_dir.exists()


def test_a_signer_confirms_its_own_certificate_itself(icefloe: Command) -> None:
    icefloe.ok("api", "setup", "--cn", "m1")
    assert phase(icefloe) is Phase.CONFIRMED
    assert not is_self_signed(load_identity(icefloe.certs, "m1").certificate)


def interrupt_new_pair(icefloe: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die between the two renames: the key is the new one, the certificate is not."""
    real = os.replace

    def replace(source: str, target: str, **options: Any) -> None:
        if target == "a1.crt":
            raise KeyboardInterrupt
        real(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        patch.setattr(IdentityJournal, "_undo", lambda *_: None)
        icefloe("pki", "new-cert", "--cn", "a1", *own(icefloe))
    assert phase(icefloe) is Phase.SWITCHING


def own(icefloe: Command) -> tuple[object, ...]:
    return "--key", icefloe.certs / "a1.key", "--cert", icefloe.certs / "a1.crt"


def test_what_a_killed_command_left_half_done_is_finished_by_the_next(
    icefloe: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    icefloe.certs.mkdir(mode=0o700)
    files = new_pair(icefloe, icefloe.certs)
    interrupt_new_pair(icefloe, monkeypatch)
    with fake_parent(refuses) as parent:
        done = request(icefloe, parent, files)
    assert "not for the key" not in done.text
    assert phase(icefloe) is Phase.CONFIRMED
    load_identity(icefloe.certs, "a1")
