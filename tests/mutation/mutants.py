"""Every small change of a source file that its tests should notice, found in the source by AST.

Comparisons, arithmetic, truth, numbers one up and one down, conditions turned round, bounds of slices left out,
results withheld, calls and raises left out. Left alone is what promises nothing: docstrings, other text and bytes,
what an error says, `__repr__` and `__str__`, type annotations and aliases, decorators, `if TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPPOSITE = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
# Where a change is shorter than what was there, the lines it lost are put back.
LOST = "\0"
UNSPOKEN = {"__repr__", "__str__"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `old -> new` in a line of a function, or of the module where function is empty.

    `nth` tells equal changes of equal lines of one function apart, in the order of the file.
    """

    file: str
    function: str
    line: str
    change: str
    nth: int
    number: int
    start: int
    end: int
    text: str

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What names it, and stays when other lines come and go."""
        return self.file, self.function, self.line, self.change, self.nth

    def source(self) -> str:
        """The file with the change in it; no other line moves."""
        raw = (ROOT / self.file).read_bytes()
        lost = raw[self.start : self.end].count(b"\n")
        return (raw[: self.start] + self.text.replace(LOST, "\n" * lost).encode() + raw[self.end :]).decode()


def mutants_of(file: str) -> list[Mutant]:
    """All of a file, in its order."""
    raw = (ROOT / file).read_bytes()
    starts = [0]
    for row in raw.split(b"\n"):
        starts.append(starts[-1] + len(row) + 1)
    rows, seen, found = raw.decode().split("\n"), Counter[tuple[str, str, str]](), []
    for function, old, new in _changes(ast.parse(raw), "", False):
        start, end = (
            starts[line - 1] + column
            for line, column in ((old.lineno, old.col_offset), (old.end_lineno or 0, old.end_col_offset or 0))
        )
        statement = isinstance(old, ast.stmt)
        text = ast.unparse(new) + LOST if statement else f"({ast.unparse(new)}{LOST})"
        place = function, rows[old.lineno - 1].strip(), f"{ast.unparse(old)} -> {ast.unparse(new)}"
        seen[place] += 1
        found.append(Mutant(file, *place, seen[place], old.lineno, start, end, text))
    return found


def _changes(node: ast.AST, function: str, inside: bool) -> Iterator[tuple[str, ast.expr | ast.stmt, ast.AST]]:
    """(function, what is there, what it becomes), for a node and all below it."""
    if isinstance(node, ast.expr | ast.stmt):
        for new in _variants(node):
            yield function if inside else "", node, new
    for test in _conditions(node):
        yield function if inside else "", test, ast.UnaryOp(ast.Not(), test)
    for part, within in _parts(node):
        named, body = function, inside
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and part in node.body and not inside:
            named = f"{function}.{node.name}".lstrip(".")
            body = isinstance(node, ast.FunctionDef)
        yield from _changes(part, named, body and within)


def _parts(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """The parts of a node that are looked at."""
    match node:
        case ast.FunctionDef(name=name) if name in UNSPOKEN:
            return
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Raise() | ast.JoinedStr():
            return
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
            return
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "ctx", "bases"}:
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield part, True


def _variants(node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            for at, op in enumerate(ops):
                yield ast.Compare(left, [*ops[:at], COMPARED[type(op)](), *ops[at + 1 :]], others)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED and not (_text(left) or _text(right)):
            yield ast.BinOp(left, COMPUTED[type(op)](), right)
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in COMPUTED and not _text(value):
            yield ast.AugAssign(target, COMPUTED[type(op)](), value)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as number):
            yield from (ast.Constant(number + 1), ast.Constant(number - 1))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield ast.Pass()
        case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=step), ctx=context):
            if lower is not None:
                yield ast.Subscript(value, ast.Slice(None, upper, step), context)
            if upper is not None:
                yield ast.Subscript(value, ast.Slice(lower, None, step), context)


def _conditions(node: ast.AST) -> list[ast.expr]:
    """What is asked in a node, to be turned round."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return []
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            tests = [test]
        case ast.comprehension(ifs=tests):
            pass
        case _:
            return []
    return [test for test in tests if not _opposed(test)]


def _opposed(test: ast.expr) -> bool:
    """Whether another change already turns this condition round."""
    single = isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], OPPOSITE)
    return single or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))


def _text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
