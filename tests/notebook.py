"""Runs a notebook's cells as Jupyter would, without Jupyter.

``python -m tests.notebook FILE`` runs it in the folder of the file and writes what
its cells print and show back into it.
"""

import ast
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def outputs(notebook: Json) -> list[list[Json]]:
    """Run the code cells in order, in one namespace; return each one's outputs."""
    namespace: Json = {"__name__": "__main__"}
    return [
        _run("".join(cell["source"]), namespace, number)
        for number, cell in enumerate(_code(notebook), 1)
    ]


def stored(notebook: Json) -> list[list[Json]]:
    """Return the outputs that a notebook has in it."""
    return [cell["outputs"] for cell in _code(notebook)]


def _code(notebook: Json) -> list[Json]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _run(source: str, namespace: Json, number: int) -> list[Json]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    shown: object = None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        if isinstance(last, ast.Expr):
            expression = ast.Expression(last.value)
            shown = eval(compile(expression, f"cell {number}", "eval"), namespace)
    found: list[Json] = []
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        found.append({"name": "stdout", "output_type": "stream", "text": lines})
    if shown is not None:
        found.append(
            {
                "data": {"text/plain": repr(shown).splitlines(keepends=True)},
                "execution_count": number,
                "metadata": {},
                "output_type": "execute_result",
            }
        )
    return found


def main(path: Path) -> None:
    """Run a notebook and write its outputs into it."""
    notebook: Json = json.loads(path.read_text())
    os.chdir(path.parent)
    for number, (cell, found) in enumerate(
        zip(_code(notebook), outputs(notebook), strict=True), 1
    ):
        cell["outputs"], cell["execution_count"] = found, number
    Path(path.name).write_text(
        json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
