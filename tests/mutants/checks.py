"""Where our code checks what it is told, and the same code with one check taken out.

A check is a statement that can end in a named error: `if ...: raise`, an arrow that only raises, a call of a
function that only checks, `try ... except`, `with blame(...)`, or a verdict on which such a statement depends.
They are found in the source, so that a new check without a test cannot be forgotten.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKED = {
    "protocols/pairwise/client.py": None,
    "protocols/pairwise/server.py": None,
    "protocols/pairwise/recovery.py": None,
    "protocols/oneshot/client.py": None,
    "protocols/oneshot/member.py": None,
    "protocols/oneshot/server.py": None,
    "protocols/oneshot/convener.py": None,
    "protocols/oneshot/messages.py": None,
    "protocols/oneshot/epoch.py": None,
    "protocols/plan/policy.py": {"check", "check_parameters", "identity_of"},
    "protocols/messages.py": {"from_bitmap", "__post_init__"},
    "protocols/codec.py": {"read_header", "open_frame", "decode_body"},
    "protocols/party.py": {"arrive"},
    "protocols/heads.py": {"require_onward", "_require_later"},
    "protocols/countersigning.py": {"check"},
    "protocols/submission.py": None,
    "protocols/invitation.py": None,
    "protocols/endpoint/client.py": {"_receive", "_begin", "_thaw", "_keep_result"},
    "protocols/endpoint/hub.py": {"_receive", "_opened"},
    "protocols/endpoint/server.py": {"_admit", "_hears"},
    "protocols/endpoint/turns.py": {"one"},
}
CALLS = {
    "enough",
    "verify",
    "check_point",
    "check_roster",
    "check_survivors",
    "check_witnesses",
    "check",
    "check_parameters",
    "check_credential",
    "coding_of",
    "check_begin",
    "check_invited",
    "check_known",
    "check_number",
    "check_cohort",
    "check_committee",
    "check_share",
    "require_onward",
    "_require_later",
}
VERDICTS = {"honest"}
DECIDING = {"tags_match"}
BOUNDING = {"check", "check_committee"}
BOUNDS = ast.Compare | ast.BoolOp | ast.Call


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its file, the function it stands in, and its first line as `ast` writes it."""

    file: str
    function: str
    line: str

    @property
    def place(self) -> str:
        """Module and function, the former as seen from `protocols`."""
        module = self.file.removeprefix("protocols/").removesuffix(".py").replace("/", ".")
        return f"{module}.{self.function}"

    def __str__(self) -> str:
        return f"{self.place}: {self.line}"


class Finder(ast.NodeTransformer):
    """Collects the checks of one file in order, and takes out the one numbered `remove`."""

    def __init__(self, file: str, remove: int | None = None) -> None:
        self.file, self.remove = file, remove
        self.found: list[Check] = []
        self.function = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self.function = self.function, node.name
        only = node.body[-1]
        if len(node.body) == 1 and isinstance(only, ast.Raise) and self.met(f"raise {_name(only.exc)}"):
            node.body = ast.parse("return state, []").body
        self.generic_visit(node)
        self.function = outer
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.body[-1], ast.Raise) and self.met(f"if {ast.unparse(node.test)}"):
            node.test = ast.Constant(value=False)
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if _name(node.value) in CALLS and self.met(ast.unparse(node)) else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in VERDICTS and self.met(ast.unparse(node)):
            node.value = ast.Constant(value=True)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if self.function in DECIDING and self.met(ast.unparse(node)):
            node.value = ast.Constant(value=True)
        return node

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        """A bound of a policy: (what must hold, what to say if it does not)."""
        bound = self.function in BOUNDING and len(node.elts) == 2 and isinstance(node.elts[0], BOUNDS)
        if bound and self.met(ast.unparse(node.elts[0])):
            node.elts[0] = ast.Constant(value=True)
        self.generic_visit(node)
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        gone = bool(node.handlers) and self.met(f"except {_spelled(node.handlers[0].type)}")
        self.generic_visit(node)
        return node.body if gone else node

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        line = ast.unparse(node.items[0].context_expr)
        gone = line.startswith("blame(") and self.met(f"with {line}")
        self.generic_visit(node)
        return node.body if gone else node

    def met(self, line: str) -> bool:
        """Note a check, and say whether it is the one to take out."""
        only = CHECKED[self.file]
        if only is not None and self.function not in only:
            return False
        self.found.append(Check(self.file, self.function, line))
        return self.remove == len(self.found) - 1


def _name(node: ast.expr | None) -> str:
    """The last name of f, a.f, f(...) and a.f(...)."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _spelled(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def checks_of(file: str) -> list[Check]:
    """Every check of a file, in order."""
    finder = Finder(file)
    finder.visit(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    return finder.found


def every_check() -> list[Check]:
    """All of them."""
    return [check for file in CHECKED for check in checks_of(file)]


def without(check: Check) -> str:
    """The source of the check's file with this check taken out."""
    finder = Finder(check.file, checks_of(check.file).index(check))
    tree = finder.visit(ast.parse((ROOT / check.file).read_text(encoding="utf-8")))
    return ast.unparse(ast.fix_missing_locations(tree))
