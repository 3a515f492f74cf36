"""Tables for reading: a template or a function for every column, an empty table without rows."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from ppmlib.show.wording import DASH, fill, has_values, whole

Cell = str | Callable[[Mapping[str, Any]], Any]


def table_of(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    index: str | list[str],
    columns: Mapping[str, Cell] | Callable[[Mapping[str, Any]], dict],
    one_line: Collection[str] = (),
) -> pd.DataFrame:
    """A table of text, indexed by some of its columns.

    Args:
        columns: by header a template (`wording.fill`; a dash where a value is missing) or a
            function of the row. Or one function that gives all cells of a row.
        one_line: headers of the columns whose cells are not broken into lines.
    """
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    made = [
        columns(row)
        if callable(columns)
        else {header: _cell(column, row) for header, column in columns.items()}
        for row in rows
    ]
    if not made:
        return pd.DataFrame()
    table = pd.DataFrame(made)
    for header in one_line:
        table[header] = table[header].map(whole)
    return table.set_index(index) if index else table


def _cell(column: Cell, row: Mapping[str, Any]) -> Any:
    if callable(column):
        return column(row)
    return fill(column, row) if has_values(column, row) else DASH


def or_dash(value: Any, text: Callable[[Any], str]) -> str:
    """`text(value)`, or a dash where there is no value."""
    return DASH if pd.isna(value) else text(value)
