"""A request out of the way of tools: only a request, always with its key, never lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pki.makers import AGENT, DAY, NOW, certificate
from tests.storage.material import (
    CA,
    ISSUED,
    NEW_CA_KEY,
    NODE_KEY,
    SELF_SIGNED,
    certs_dir,
)

from icefloe.pki.certificates import to_pem
from icefloe.storage import replacing
from icefloe.storage import set_aside as module
from icefloe.storage.files import FileProblem
from icefloe.storage.identity import (
    IdentityFiles,
    IdentityProblem,
    install_files,
    load_files,
)
from icefloe.storage.set_aside import set_aside, take_up

OTHER_KEYS = certificate(subject=AGENT, key=NEW_CA_KEY)
ENDING = certificate(subject=AGENT, key=NODE_KEY, end=NOW + 29 * DAY)


@pytest.fixture
def files(tmp_path: Path) -> IdentityFiles:
    """Return an identity that is a request."""
    return IdentityFiles.of_node(certs_dir(tmp_path), AGENT)


def names(files: IdentityFiles) -> set[str]:
    return {path.name for path in files.key.parent.iterdir()}


def test_a_request_gets_another_name_and_its_key_stays(files: IdentityFiles) -> None:
    before = load_files(files)
    mode = files.certificate.stat().st_mode
    assert set_aside(files, at=NOW) == files.unsigned
    assert names(files) == {f"{AGENT}.key", f"{AGENT}.crt.unsigned"}
    assert files.unsigned.stat().st_mode == mode
    # The node itself still asks with it: its daemon starts, its status can be told.
    assert load_files(files) == before
    assert take_up(files, at=NOW, cn=AGENT)
    assert names(files) == {f"{AGENT}.key", f"{AGENT}.crt"}
    assert load_files(files) == before


CONTENTS = {
    "a signed certificate": to_pem(ISSUED),
    "a request of another key": to_pem(OTHER_KEYS),
    "a request and its CA": to_pem(SELF_SIGNED) + to_pem(CA),
    "no certificate": "nothing\n",
    "nothing": "",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_request_of_this_key_is_never_moved(
    files: IdentityFiles, content: str
) -> None:
    files.certificate.write_text(content)
    assert set_aside(files, at=NOW) is None
    assert files.certificate.read_text() == content
    assert not files.unsigned.exists()


def test_without_key_or_certificate_there_is_nothing_to_do(
    files: IdentityFiles,
) -> None:
    files.key.unlink()
    assert set_aside(files, at=NOW) is None
    files.certificate.unlink()
    assert set_aside(files, at=NOW) is None
    assert not take_up(files, at=NOW)


def test_a_link_is_left_alone_and_told(files: IdentityFiles, tmp_path: Path) -> None:
    elsewhere = files.certificate.rename(tmp_path / "elsewhere.crt")
    files.certificate.symlink_to(elsewhere)
    with pytest.raises(FileProblem, match=AGENT):
        set_aside(files, at=NOW)
    assert files.certificate.is_symlink()


def test_what_has_the_other_name_already_is_kept(files: IdentityFiles) -> None:
    files.unsigned.write_text(to_pem(ISSUED))
    assert set_aside(files, at=NOW) == files.unsigned
    (kept,) = files.unsigned.parent.glob("*.unsigned.before-*")
    assert kept.read_text() == to_pem(ISSUED)
    assert files.unsigned.read_text() == to_pem(SELF_SIGNED)


def test_a_certificate_that_comes_in_the_last_moment_stays(
    files: IdentityFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a real icinga2, which knows nothing of our lock."""
    real = replacing.put_in_place

    def late(staged: Path, target: Path) -> None:
        if target == files.unsigned:
            files.certificate.write_text(to_pem(ISSUED))
        real(staged, target)

    monkeypatch.setattr(module, "put_in_place", late)
    assert set_aside(files, at=NOW) is None
    assert files.certificate.read_text() == to_pem(ISSUED)


NOT_TAKEN_UP = {
    "a signed certificate": (to_pem(ISSUED), AGENT),
    "another key's": (to_pem(OTHER_KEYS), AGENT),
    "for another name": (to_pem(SELF_SIGNED), "other.example.org"),
    "one that has nearly run out": (to_pem(ENDING), AGENT),
}


@pytest.mark.parametrize("content, cn", NOT_TAKEN_UP.values(), ids=NOT_TAKEN_UP)
def test_only_a_request_that_still_serves_is_taken_up(
    files: IdentityFiles, content: str, cn: str
) -> None:
    files.certificate.rename(files.unsigned).write_text(content)
    assert not take_up(files, at=NOW, cn=cn)
    assert not files.certificate.exists()


def test_a_certificate_in_its_place_is_not_replaced(files: IdentityFiles) -> None:
    files.unsigned.write_text(to_pem(SELF_SIGNED))
    files.certificate.write_text(to_pem(ISSUED))
    assert not take_up(files, at=NOW)
    assert files.certificate.read_text() == to_pem(ISSUED)


def test_another_keys_request_does_not_stand_for_the_certificate(
    files: IdentityFiles,
) -> None:
    files.certificate.rename(files.unsigned).write_text(to_pem(OTHER_KEYS))
    with pytest.raises(IdentityProblem, match="there is no certificate"):
        load_files(files)


def test_an_issued_certificate_takes_the_place_and_the_request_goes(
    files: IdentityFiles,
) -> None:
    """What a daemon does that was started meanwhile."""
    set_aside(files, at=NOW)
    install_files(
        files,
        node_name=AGENT,
        certificate_pem=to_pem(ISSUED),
        ca_pem=to_pem(CA),
        owner=None,
        at=NOW,
    )
    assert names(files) == {f"{AGENT}.key", f"{AGENT}.crt", "ca.crt"}
    assert load_files(files).certificate == ISSUED


def read_only(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("act", [set_aside, take_up])
def test_a_directory_that_cannot_be_written_is_told_and_nothing_moves(
    files: IdentityFiles, monkeypatch: pytest.MonkeyPatch, act: Callable[..., object]
) -> None:
    if act is take_up:
        set_aside(files, at=NOW)
    before = names(files)
    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(FileProblem, match="read-only"):
        act(files, at=NOW)
    assert names(files) == before


class Killed(BaseException):
    """The process ends here."""


CALLS = ("link", "replace", "unlink", "fsync")


@pytest.mark.parametrize("act", [set_aside, take_up])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whoever_is_killed_leaves_key_and_request(
    files: IdentityFiles,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[..., object],
    *,
    after: bool,
) -> None:
    """At each call that changes a directory, one after the other."""
    identity = load_files(files)
    left = 0
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}

    def dying(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0 and not after:
                raise Killed
            result = real[name](*args, **options)
            if left == 0:
                raise Killed
            left -= 1
            return result

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, dying(name))
    for steps in range(20):
        prepare(files, act)
        left = steps
        try:
            act(files, at=NOW)
        except Killed:
            assert load_files(files) == identity
            continue
        assert steps > 0
        break
    else:
        raise AssertionError("it never came to its end")


def prepare(files: IdentityFiles, act: Callable[..., object]) -> None:
    """Put the request where it is before the act, and an older one in the way."""
    for path in files.key.parent.glob(f"{AGENT}.crt*"):
        path.rename(path.parent.parent / "away")
    place = files.certificate if act is set_aside else files.unsigned
    place.write_text(to_pem(SELF_SIGNED))
    if act is set_aside:
        files.unsigned.write_text(to_pem(ENDING))
