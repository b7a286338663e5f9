"""The shape of the house, held by tests; `docs/architecture.md` says why it is so."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.source_tree import (
    Module,
    all_modules,
    dotted_name,
    read_module,
)

# A package may import from those before it, and from itself.
PACKAGES_IN_ORDER = (
    "errors",
    "doors",  # imports nothing; pki and all below speak of WallTime
    "wire",
    "pki",
    "cluster",
    "enrollment",
    "habits",
    "simulation",
    "config",
    "storage",
    "node",
    "lab",
    "cli",
)
# The command `python -m icefloe` stands above all of them.
TOP_MODULES = frozenset({"", "__main__"})

WITHOUT_IO = frozenset(
    {"errors", "wire", "pki", "doors", "cluster", "enrollment", "habits"}
)
MODULES_OF_IO = frozenset(
    {
        # What the docs name.
        *("asyncio", "socket", "ssl", "os", "pathlib", "time", "random", "secrets"),
        # Other roads to the same places.
        *("OpenSSL", "concurrent", "glob", "http", "io", "logging", "multiprocessing"),
        *("queue", "selectors", "shutil", "signal", "sqlite3", "structlog"),
        *("subprocess", "sys", "tempfile", "threading", "urllib", "uuid"),
    }
)
# Calls, by the end of their dotted name, and what to do instead.
TIME_OR_CHANCE = {
    "datetime.now": "take `now: Now` as an argument",
    "datetime.utcnow": "take `now: Now` as an argument",
    "datetime.today": "take `now: Now` as an argument",
    "date.today": "take `now: Now` as an argument",
    "clock.now": "take `now: Now` as an argument",
    "uuid1": "draw from Entropy",
    "uuid4": "draw from Entropy",
    "urandom": "draw from Entropy",
    "token_bytes": "draw from Entropy",
    "token_hex": "draw from Entropy",
    "random_serial_number": "make it from bytes of Entropy",
    "generate_private_key": "keys are made outside and come in",
    "PrivateKey.generate": "keys are made outside and come in",
    "padding.PSS": "a randomised signature: use PKCS#1 v1.5",
    "open": "files are read outside; content comes in",
    "print": "return what is to be said",
    "input": "ask outside",
}
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70

MODULES = all_modules()
MODULES_WITHOUT_IO = [module for module in MODULES if module.package in WITHOUT_IO]


def named(module: Module) -> str:
    return module.name


def imports_out_of_order(module: Module) -> Iterator[str]:
    """Yield one sentence for each import that points downwards."""
    if module.package in TOP_MODULES:
        return
    own = PACKAGES_IN_ORDER.index(module.package)
    for name, node in module.imports():
        top, _, rest = name.partition(".")
        package = rest.partition(".")[0]
        if top != "icefloe" or package not in PACKAGES_IN_ORDER:
            continue
        if PACKAGES_IN_ORDER.index(package) > own:
            yield f"{module.where(node)}: {module.package} may not import {package}"


def roads_to_io(module: Module) -> Iterator[str]:
    """Yield one sentence for each import or call that reaches the world."""
    for name, node in module.imports():
        if name.partition(".")[0] in MODULES_OF_IO:
            yield f"{module.where(node)}: {module.package} may not import {name}"
    for call in ast.walk(module.tree):
        if not isinstance(call, ast.Call):
            continue
        called = dotted_name(call.func)
        for banned, remedy in TIME_OR_CHANCE.items():
            if f".{called}".endswith(banned if "." in banned else f".{banned}"):
                yield f"{module.where(call)}: {called}(): {remedy}"
        if signs_with_chance(call):
            yield f"{module.where(call)}: ECDSA signs with chance: say deterministic"


def signs_with_chance(call: ast.Call) -> bool:
    """Return whether this call makes an ECDSA signature that no one can make again.

    Either `key.sign(data, ec.ECDSA(...))` or the `sign` of a cryptography builder.
    """
    called = dotted_name(call.func)
    if not called.endswith(".sign"):
        return False
    words = {word.arg for node in ast.walk(call) for word in keywords(node)}
    if words & {"deterministic_signing", "ecdsa_deterministic"}:
        return False
    inner = {dotted_name(node) for node in ast.walk(call)}
    return any(name.endswith(("ECDSA", "Builder")) for name in inner)


def keywords(node: ast.AST) -> list[ast.keyword]:
    return node.keywords if isinstance(node, ast.Call) else []


def test_every_package_has_its_place_in_the_order() -> None:
    """A new package is put into the order (and into the architecture page) first."""
    known = {*PACKAGES_IN_ORDER, *TOP_MODULES}
    assert {module.package for module in MODULES} <= known


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_module_imports_only_from_packages_before_its_own(module: Module) -> None:
    assert list(imports_out_of_order(module)) == []


@pytest.mark.parametrize("module", MODULES_WITHOUT_IO, ids=named)
def test_module_of_the_core_reaches_neither_world_nor_time_nor_chance(
    module: Module,
) -> None:
    assert list(roads_to_io(module)) == []


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_module_is_about_one_idea(module: Module) -> None:
    """Past 600 lines: which two ideas live there?"""
    assert len(module.text.splitlines()) <= MODULE_LINES_MAX


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_functions_can_be_seen_at_once(module: Module) -> None:
    lengths = {
        f"{module.where(node)} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for node in module.functions()
    }
    assert {n: size for n, size in lengths.items() if size > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_module_says_what_it_is(module: Module) -> None:
    assert ast.get_docstring(module.tree)


# One interpreter loads what comes from outside, then forks for each module: each is
# imported first and alone, without paying for cryptography again every time.
IMPORT_ALONE = """
import os, sys, traceback
import click, cryptography.x509, OpenSSL.SSL, msgspec, structlog, typer, rich.console
assert not [name for name in sys.modules if name.startswith("icefloe")]
failed = 0
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            __import__(name)
        except BaseException:
            print(f"--- import {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1]
sys.exit(bool(failed))
"""


@pytest.mark.timeout(300)
def test_every_module_imports_alone() -> None:
    """No module needs another one to have been imported before it.

    Takes 20 s on an idle machine, and more beside the tests with real peers.
    """
    names = [m.name for m in MODULES if not m.name.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALONE, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def parsed(source: str, *, package: str = "pki") -> Module:
    """Return a module that is nowhere on disk."""
    example = read_module(MODULES[0].path)
    return Module(f"icefloe.{package}.x", example.path, source, ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from asyncio import sleep",
        "def f():\n    import socket",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "from datetime import datetime\ndatetime.now()",
        "self.clock.now()",
        "x509.random_serial_number()",
        "ec.generate_private_key(ec.SECP256R1())",
        "ed25519.Ed25519PrivateKey.generate()",
        "key.sign(data, ec.ECDSA(hashes.SHA256()))",
        "key.sign(data, padding.PSS(mgf, 32), hashes.SHA256())",
        "x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256())",
        "open('file')",
    ],
)
def test_roads_to_io_are_seen(source: str) -> None:
    """The test above can fail."""
    assert list(roads_to_io(parsed(source))) != []


@pytest.mark.parametrize(
    "source",
    [
        "import datetime\ndatetime.datetime.fromtimestamp(now.wall, datetime.UTC)",
        "key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))",
        "key.sign(data, padding.PKCS1v15(), hashes.SHA256())",
        "timers.reopen()",
        "x509.CertificateSigningRequestBuilder().sign(k, h, ecdsa_deterministic=True)",
    ],
)
def test_harmless_source_is_let_through(source: str) -> None:
    assert list(roads_to_io(parsed(source))) == []


def test_imports_out_of_order_are_seen() -> None:
    module = parsed("from icefloe import node\nimport icefloe.wire.netstring")
    assert len(list(imports_out_of_order(module))) == 1
