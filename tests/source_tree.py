"""Icefloe's own source, parsed: what the tests about its shape look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "icefloe"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One module of Icefloe.

    Attributes:
        name: Dotted name, such as `icefloe.wire.netstring`.
        path: Its file.
        text: Its source.
        tree: The source, parsed.
    """

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The part below `icefloe` that it belongs to: `wire`, `doors`; or ""."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""

    def where(self, node: ast.AST) -> str:
        """Return file and line of a node, for messages."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"

    def imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """Yield the dotted name of everything imported, wherever the import stands.

        `from a.b import c` yields `a.b` and `a.b.c`, since `c` may be a module.
        """
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                yield node.module, node
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node

    def functions(self) -> Iterator[FunctionNode]:
        """Yield every function and method, nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, FunctionNode):
                yield node


def read_module(path: Path) -> Module:
    """Parse one file of the source tree."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    text = path.read_text(encoding="utf-8")
    return Module(".".join(parts), path, text, ast.parse(text, str(path)))


def all_modules() -> list[Module]:
    """Parse the whole source tree, in the order of names."""
    return [read_module(path) for path in sorted(SOURCE.rglob("*.py"))]


def dotted_name(node: ast.AST) -> str:
    """Return `a.b.c` for such an expression; unknown parts are left out."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call):
        return dotted_name(node.func)
    return ""
