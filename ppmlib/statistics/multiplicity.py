"""p-values adjusted for testing several things at once."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ppmlib.statistics.resampling import column_of


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted so that the chance of any false claim is at most the level (Holm 1979).

    Own lines: statsmodels' multipletests collects garbage at every call, a fifth of a second.
    """
    column = column_of("p-values", p_values)
    order = np.argsort(column)
    adjusted = np.empty_like(column)
    steps = np.arange(column.size, 0, -1) * column[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995)."""
    column = column_of("p-values", p_values)
    return stats.false_discovery_control(column, method="bh") if column.size else column
