"""Which of the project's own sources a module can reach: its imports, read from the syntax tree, and theirs."""

import ast
from pathlib import Path

from helpers.paths import PROJECT

PACKAGES = ("cfnsr", "components", "pipelines")


def source_of(module: str) -> Path | None:
    path = PROJECT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def imported(path: Path) -> set[str]:
    """Names of own modules that a source imports, at its top or inside functions (not those for types only)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] in PACKAGES}


def reachable(module: str) -> set[Path]:
    """Sources of a module and of all that it can import, below the project's root."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = source_of(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += imported(path)
    return {path.relative_to(PROJECT) for path in found}
