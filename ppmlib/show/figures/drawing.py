"""What the figures share: small multiples, interval lines, forest plots, axes and legends.

Charts against width have the dense model on the left and the narrowest width on the right, as in
the paper; below each expansion ratio stands the share of neurons removed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from ppmlib.show.figures import BASELINE, MARKERS, PALETTE

WIDTH = 5.6  # inches; narrow, so that the text stays readable on a phone
CONTROL = "#8a8a8a"
ZONE = "#cfe3d6"  # where a value was declared or is allowed to lie
CAPS = {"capsize": 3, "capthick": 1}
LINE = {"markersize": 4.5, "linewidth": 1.4}
HALO = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
X_LABEL = "expansion ratio (below: neurons removed)"


def grid(count: int, columns: int = 2, height: float = 2.3):
    """A grid of `count` small axes, at least one, the unused ones hidden."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows + 0.8), squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return fig, axes


def small_multiples(
    names: Sequence[str], draw: Callable, *, y_label: str = "score, %", legend_columns: int = 3
):
    """A figure with one small chart against width per name.

    `draw(axis, name)` returns the rows whose widths label that axis.
    """
    fig, axes = grid(len(names))
    for axis, name in zip(axes.flat, names, strict=False):
        width_axis(axis, draw(axis, name))
    for axis in axes[:, 0]:
        axis.set_ylabel(y_label, fontsize=9)
    fig.supxlabel(X_LABEL, fontsize=9)
    add_legend(axes, legend_columns)
    return fig


def width_axis(axis, widths: pd.DataFrame, *, labels: bool = True) -> None:
    """Label the x axis: expansion ratios, dense on the left, with the share removed below."""
    table = widths.drop_duplicates("expansion_ratio").sort_values("expansion_ratio")
    ratios = table["expansion_ratio"].to_numpy()
    texts = [
        f"{ratio:.1f}\n{100 * removed:.3g}%"
        for ratio, removed in zip(ratios, table["pruning_ratio"], strict=True)
    ]
    shown = slice(None, None, -(-len(ratios) // 8))
    axis.xaxis.set_major_locator(FixedLocator(ratios[::-1][shown]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels(texts[::-1][shown] if labels else [], fontsize=9)
    margin = 0.06 * (ratios.max() - ratios.min() or 1)
    axis.set_xlim(ratios.max() + margin, ratios.min() - margin)
    axis.tick_params(axis="y", labelsize=9)


def log_axis(axis, ticks: Sequence[float]) -> None:
    """A logarithmic x axis with plain numbers at the ticks."""
    axis.set_xscale("log")
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=9)


def label_axes(axis, x: str, y: str) -> None:
    """Axis labels in the small size of narrow figures."""
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)


def with_looks(
    groups: Iterable, colors: Sequence[str] = PALETTE, markers: Sequence[str] = MARKERS
) -> Iterator[tuple[Any, dict[str, str]]]:
    """Each group with the colour and marker of its line, in turn."""
    for group, color, marker in zip(groups, cycle(colors), cycle(markers), strict=False):
        yield group, {"color": color, "marker": marker}


def error_line(axis, x, ends: pd.DataFrame, **look) -> None:
    """A line of values with their intervals; the columns of `ends`: value, lower, upper end."""
    value, low, high = (ends[name].astype(float) for name in ends)
    spread = [(value - low).clip(lower=0), (high - value).clip(lower=0)]
    axis.errorbar(x, value, yerr=spread, **CAPS | look)


def forest(names: Sequence[str], *, height: float, x_label: str, fontsize: int = 9):
    """A figure and its axis with one row per name, the first on top, and a line at zero."""
    fig, axis = plt.subplots(figsize=(WIDTH, height))
    axis.axvline(0, **BASELINE)
    axis.set_yticks(range(len(names)), names, fontsize=fontsize)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel(x_label, fontsize=9)
    return fig, axis


def write_value(axis, text: str, place: tuple[float, float]) -> None:
    """Write a value to the right of its interval, readable over other lines."""
    offset = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
    axis.annotate(text, place, fontsize=8, bbox=HALO, **offset)


def marker_edge(color: str) -> dict:
    """Marker edges that show (the style draws none)."""
    return {"markeredgecolor": color, "markeredgewidth": 1.4}


def add_legend(axes, columns: int = 3, *, where: str = "upper", fontsize: int | None = 9) -> None:
    """One legend for all axes of a figure, above (`upper`) or below them (`lower`)."""
    axes = np.atleast_1d(axes)
    found = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    place = {"loc": f"outside {where} center", "ncols": columns, "fontsize": fontsize}
    axes.flat[0].figure.legend(found.values(), found.keys(), **place)


def task_names(table: pd.DataFrame, tasks: Sequence[str]) -> list[str]:
    """Those of the tasks that the table has, in the order given."""
    there = set(table["task"])
    return [task for task in tasks if task in there]
