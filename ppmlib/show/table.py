"""Tables for reading: one row of cells after another, an empty table without rows."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from ppmlib.show.wording import DASH


def table_of(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]],
    index: str | list[str],
    cells: Callable[[Mapping[str, Any]], dict],
) -> pd.DataFrame:
    """The `cells` of every row, by their headers, indexed by some of them."""
    rows = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    made = [cells(row) for row in rows]
    return pd.DataFrame(made).set_index(index) if made else pd.DataFrame()


def or_dash(value: Any, text: Callable[[Any], str]) -> str:
    """`text(value)`, or a dash where there is no value."""
    return DASH if pd.isna(value) else text(value)
