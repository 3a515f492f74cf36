"""The code cells of a notebook run in this process, as a kernel would, without the kernel."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run_cells(name: str, parameters: Mapping[str, Any], monkeypatch) -> tuple[dict, list]:
    """Run every code cell of a notebook in the current folder.

    Returns:
        the notebook's variables, and the objects that its cells displayed.
    """
    shown: list[Any] = []
    monkeypatch.setattr("ppmlib.show.progress.display", mock.MagicMock())
    monkeypatch.setattr("IPython.display.display", shown.append)
    space: dict[str, Any] = {}
    for at, cell in enumerate(nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells):
        if cell.cell_type != "code":
            continue
        place, tree = f"{name}, cell {at}", ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, place, "exec"), space)
        if "parameters" in cell.metadata.get("tags", ()):
            space.update(parameters)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), place, "eval"), space)
            shown += [] if value is None else [value]
    return space, shown
