"""Every single check that refuses something, found in the code, and how to remove it.

A check is a condition that leads to a refusal, or one part of it, a call whose only
effect is to raise, or one part of an answer that is yes only if all hold. Its name says
where it is and what it asks.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

AREAS = {
    "Receiver pipeline": (
        "shared/envelope/opening.py",
        "shared/protocol/window.py",
        "participant/service/session.py",
        "manager/service/directory.py",
        "manager/service/dispatch.py",
    ),
    "Tickets and links": (
        "participant/protocol/ap_exchange.py",
        "participant/protocol/peer_hello.py",
    ),
    "Offer, manifest and start": (
        "shared/protocol/manifest.py",
        "shared/protocol/roster.py",
        "participant/protocol/consent.py",
        "participant/protocol/plan.py",
        "manager/protocol/job_request.py",
    ),
    "Realm, registration and AS exchange": (
        "participant/protocol/trust.py",
        "participant/protocol/registration.py",
        "participant/protocol/as_exchange.py",
        "manager/protocol/as_exchange.py",
        "manager/protocol/registration.py",
    ),
}
"""Which files are looked at, under the headings of docs/mutants.md."""

CALLS = ("check_", "_check_", "verify")
"""How functions are called that do nothing but refuse."""

REFUSALS = (
    "refus",
    "Refuse",
    "Replayed",
    "Verdict",
    "_drop",
    "duplicate",
    "superseded",
)
"""What stands in the value that a function returns when it refuses."""

_Edit = Callable[[ast.AST], None]


@dataclass(frozen=True, slots=True)
class Check:
    """A check. ``name`` is unique in its file; ``lines``: of its question, from 1.

    ``source``: the whole file without it.
    """

    path: str
    name: str
    lines: range
    source: str


def checks_in(path: str) -> list[Check]:
    """Return the checks of a file, in order."""
    tree = ast.parse((ROOT / path).read_text())
    found: list[Check] = []
    names: list[str] = []
    for function in _functions(tree):
        for node in ast.walk(function):
            for asks, edit in _edits(node):
                base = f"{function.name}: {asks}"
                names.append(base)
                again = names.count(base)
                name = f"{base} ({again})" if again > 1 else base
                found.append(
                    Check(path, name, _lines(node), _without(tree, node, edit))
                )
    return sorted(found, key=lambda check: check.lines.start)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(node: ast.AST) -> range:
    assert isinstance(node, ast.If | ast.Expr | ast.Return)
    end = node.test if isinstance(node, ast.If) else node
    return range(node.lineno, (end.end_lineno or node.lineno) + 1)


def _edits(node: ast.AST) -> Iterator[tuple[str, _Edit]]:
    """Yield what a statement asks, each with how to make it not ask that."""
    if isinstance(node, ast.If) and _refuses(node.body[-1]):
        for part, expression in _parts(node.test):
            yield ast.unparse(expression), _test_without(part)
    elif isinstance(node, ast.Return):
        yield from _answers(node.value)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        name = function.attr if isinstance(function, ast.Attribute) else ""
        name = function.id if isinstance(function, ast.Name) else name
        if name.startswith(CALLS):
            yield ast.unparse(node), _nothing


def _refuses(end: ast.stmt) -> bool:
    if isinstance(end, ast.Return) and end.value is not None:
        return any(word in ast.unparse(end.value) for word in REFUSALS)
    return isinstance(end, ast.Raise)


def _answers(value: ast.expr | None) -> Iterator[tuple[str, _Edit]]:
    """Yield what has to hold for an answer, each with how to answer without it."""
    match value:
        case ast.BoolOp(op=ast.And(), values=values):
            for number, each in enumerate(values):
                yield ast.unparse(each), _yes_in_place_of(number)
        case ast.IfExp(test=test, orelse=ast.Constant(value=None)):
            yield ast.unparse(test), _always_the_value
        case _:
            pass


def _yes_in_place_of(number: int) -> _Edit:
    def edit(node: ast.AST) -> None:
        assert isinstance(node, ast.Return)
        assert isinstance(node.value, ast.BoolOp)
        node.value.values[number] = ast.Constant(value=True)

    return edit


def _always_the_value(node: ast.AST) -> None:
    assert isinstance(node, ast.Return)
    assert isinstance(node.value, ast.IfExp)
    node.value = node.value.body


_Path = tuple[int | str, ...]


def _parts(test: ast.expr, path: _Path = ()) -> Iterator[tuple[_Path, ast.expr]]:
    """Yield the single questions in a condition, each with the way to it."""
    match test:
        case ast.BoolOp(op=ast.Or(), values=values):
            for number, value in enumerate(values):
                yield from _parts(value, (*path, "values", number))
        case ast.UnaryOp(
            op=ast.Not(), operand=ast.Compare(ops=operators, left=left)
        ) if len(operators) > 1:
            comparison = test.operand
            assert isinstance(comparison, ast.Compare)
            before = left
            for number, after in enumerate(comparison.comparators):
                one = ast.Compare(before, [operators[number]], [after])
                yield (*path, "chain", number), ast.UnaryOp(ast.Not(), one)
                before = after
        case ast.Compare(
            left=ast.Tuple(elts=ours),
            ops=[ast.NotEq()],
            comparators=[ast.Tuple(elts=theirs)],
        ) if len(ours) == len(theirs):
            for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
                yield (
                    (*path, "tuple", number),
                    ast.Compare(mine, [ast.NotEq()], [other]),
                )
        case _:
            yield path, test


def _test_without(path: _Path) -> _Edit:
    def edit(node: ast.AST) -> None:
        assert isinstance(node, ast.If)
        node.test = _dropped(node.test, path)

    return edit


def _dropped(test: ast.expr, path: _Path) -> ast.expr:
    """Return a condition without one of its questions."""
    if not path:
        return ast.Constant(value=False)
    kind, number, *rest = path
    assert isinstance(number, int)
    if kind == "values":
        assert isinstance(test, ast.BoolOp)
        test.values[number] = _dropped(test.values[number], tuple(rest))
        return test
    if kind == "tuple":
        assert isinstance(test, ast.Compare)
        for side in (test.left, *test.comparators):
            assert isinstance(side, ast.Tuple)
            del side.elts[number]
        return test
    assert isinstance(test, ast.UnaryOp)
    chain = test.operand
    assert isinstance(chain, ast.Compare)
    terms = [chain.left, *chain.comparators]
    kept: list[ast.expr] = [
        ast.Compare(terms[at], [operator], [terms[at + 1]])
        for at, operator in enumerate(chain.ops)
        if at != number
    ]
    return ast.UnaryOp(ast.Not(), ast.BoolOp(ast.And(), [*kept, ast.Constant(True)]))


def _nothing(node: ast.AST) -> None:
    assert isinstance(node, ast.Expr)
    node.value = ast.Constant(value=None)


def _without(tree: ast.Module, node: ast.AST, edit: _Edit) -> str:
    """Return the module's source with one statement edited."""
    position = next(at for at, each in enumerate(ast.walk(tree)) if each is node)
    altered = copy.deepcopy(tree)
    edit(next(each for at, each in enumerate(ast.walk(altered)) if at == position))
    return ast.unparse(ast.fix_missing_locations(altered)) + "\n"
