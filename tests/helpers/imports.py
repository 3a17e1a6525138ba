"""The imports of the project's modules, read from their syntax trees."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from helpers.paths import PROJECT

PACKAGES = ("cfnsr", "components", "pipelines")


def sources() -> dict[str, Path]:
    """All modules of the three packages and their files."""
    paths = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
    return {".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def source_of(module: str) -> Path | None:
    """File of a module; None if it is not the project's."""
    path = PROJECT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


@cache
def imported_names(path: Path) -> frozenset[str]:
    """Everything that a source imports at its top or inside functions, except for type annotations only.

    `from a import b` counts as `a` and `a.b`, because `b` may be a module.
    """
    names: set[str] = set()
    for node in _runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def _runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _runtime_nodes(child)


def imported(path: Path) -> set[str]:
    """The project's own modules that a source imports."""
    names = {name for name in imported_names(path) if name.split(".")[0] in PACKAGES}
    return {name for name in names if source_of(name) is not None}


def reachable(module: str) -> set[Path]:
    """Sources of a module and of all that it can import, relative to the project's root."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = source_of(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += imported(path)
    return {path.relative_to(PROJECT) for path in found}
