"""What the tests of `node setup` share: a parent, an agent, and what is left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from tests.cli.command import Command, Done
from tests.node.fake_parent import Asked, FakeParent, _PublicOnly
from tests.node.tls.material import build, common_name, dns

from icefloe.config.loading import load
from icefloe.config.model import NodeConfiguration
from icefloe.pki.certificates import common_names, fingerprint, to_pem

SECRET = "0123456789abcdef0123456789abcdef01234567"
AGENT = ("node", "setup", "--cn", "a1", "--zone", "a1", "--endpoint", "parent1")
YEAR = timedelta(days=397)


def signs_for_a_year(asked: Asked) -> None:
    """Sign as a real signer does: the certificate is not due for renewal yet."""
    ca = asked.parent.ca
    name = common_names(asked.presented)[0]
    key: Any = _PublicOnly(asked.presented.public_key())
    certificate = build(
        subject=common_name(name),
        key=key,
        issuer=ca.name,
        signer=ca.key,
        starts=timedelta(minutes=-1),
        ends=YEAR,
        extensions=[dns(name)],
    )
    asked.answer(
        status_code=0,
        cert=to_pem(certificate),
        ca=to_pem(ca.certificate),
        fingerprint_request=fingerprint(asked.presented),
    )
    asked.close()


def words_for(
    icefloe: Command, parent: FakeParent, *more: object
) -> tuple[object, ...]:
    """Return the command that sets an agent up below a parent."""
    pin = icefloe.path("pin.crt")
    if not pin.exists() or pin.read_bytes() != parent.pin:
        pin.write_bytes(parent.pin)
    asks = ("--parent_host", parent.address, "--trustedcert", pin)
    return (*AGENT, *asks, *more)


def set_up(icefloe: Command, parent: FakeParent, *more: object) -> Done:
    return icefloe(*words_for(icefloe, parent, *more))


def facts(done: Done) -> dict[str, Any]:
    """Return the one object on standard output."""
    decoded = msgspec.json.decode(done.out)
    assert isinstance(decoded, dict)
    return decoded


def configuration(icefloe: Command) -> NodeConfiguration:
    directories = icefloe.directories
    return load(directories.config_dir, directories.data_dir)


def touched(icefloe: Command) -> dict[str, tuple[int, int]]:
    """Return what tells whether any file or directory was touched: inode and mtime."""
    return {
        str(path.relative_to(icefloe.root)): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
        )
        for path in sorted(icefloe.root.rglob("*"))
    }


@contextmanager
def place_for_everybody() -> Iterator[Path]:
    """Yield a directory that other users may pass into, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="icefloe-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Give up root's rights for a while."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
