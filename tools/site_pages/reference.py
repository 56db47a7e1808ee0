"""Pages of public names, for mkdocstrings to fill from the docstrings; read from the source, nothing is imported.

A name stands once, on the first page of `PAGES` that has it; other pages point there.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Listing:
    """One page: its title, its place in the menu, and the modules whose public names it has."""

    title: str
    order: int
    modules: tuple[str, ...]


PAGES = {
    "errors": Listing("Errors", 90, ("secagg.errors", "dp.errors", "protocols.errors")),
    "ledger": Listing("dp.ledger: the ledger", 40, ("dp.ledger",)),
    "audits": Listing("dp.audit: attacks on claims", 50, ("dp.audit",)),
    "learning": Listing("protocols.learning: the training loop", 60, ("protocols.learning",)),
    "adapters": Listing(
        "protocols.adapters: inside frameworks",
        80,
        (
            "protocols.adapters.flower",
            "protocols.adapters.nvflare",
            "protocols.adapters.pfl",
            "protocols.adapters.demands",
        ),
    ),
    "endpoints": Listing(
        "Endpoints: one process for each party",
        70,
        tuple(
            f"protocols.{name}"
            for name in (
                *("endpoint.client", "endpoint.server", "endpoint.holder", "endpoint.decryptor", "endpoint.keymaker"),
                *("endpoint.member", "endpoint.convener", "durable", "charging", "countersigning", "committee"),
                *("roster", "home", "certificates"),
            )
        ),
    ),
    "secagg": Listing("secagg: how numbers are hidden", 10, ("secagg",)),
    "dp": Listing("dp: how much is revealed", 20, ("dp",)),
    "protocols": Listing("protocols: who says what, and when", 30, ("protocols",)),
}


@functools.cache
def source_of(module: str) -> ast.Module:
    """The tree of a module or of a package's first page.  Raises: FileNotFoundError."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def imported(module: str) -> dict[str, str]:
    """name -> module, of what is taken from our own packages, also for type checkers alone."""
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(source_of(module))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("secagg", "dp", "protocols")
        for alias in node.names
        if node.module is not None
    }


def public_names(module: str) -> list[str]:
    """`__all__` or the keys of `_HOME`; without either, the classes and functions that the module defines itself."""
    tree = source_of(module)
    listed = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    if "_HOME" in listed:
        return sorted(ast.literal_eval(listed["_HOME"]))
    if "__all__" in listed:
        return list(ast.literal_eval(listed["__all__"]))
    defined = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [node.name for node in defined if not node.name.startswith("_")]


def home_of(module: str, name: str) -> str:
    """The full name under which `name`, found in `module`, is defined."""
    origin = imported(module).get(name)
    return f"{module}.{name}" if origin is None else home_of(origin, name)


def reference() -> dict[str, str]:
    """path -> text of every page of names."""
    seen: dict[str, str] = {}
    return {f"reference/{name}.md": page_of(name, listing, seen) for name, listing in PAGES.items()}


def page_of(page: str, listing: Listing, seen: dict[str, str]) -> str:
    parts = [f"---\norder: {listing.order}\n---\n\n# {listing.title}\n"]
    for module in listing.modules:
        parts.append(f"\n## `{module}`\n\n::: {module}\n{MODULE}")
        for name in public_names(module):
            home = home_of(module, name)
            if seen.setdefault(home, page) == page:
                parts.append(f"\n::: {home}\n{NAME}")
            else:
                parts.append(f"\n### `{name}`\n\nOn another page: [`{home}`][{home}].\n")
    return "".join(parts)


MODULE = "    options: {members: false, show_root_heading: false, show_root_toc_entry: false}\n"
NAME = "    options: {heading_level: 3}\n"
