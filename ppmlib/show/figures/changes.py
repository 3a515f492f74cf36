"""Changes against the dense model (notebook 5): one width, and all widths."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.show.figures import PALETTE, Figure, drawing, figure, styled
from ppmlib.show.figures.drawing import CONTROL, WIDTH, X_LABEL, marker_edge
from ppmlib.show.wording import LARGE_PERCENT, signed

LOOKS = {
    "better": ("▲", "^", PALETTE[0]),
    "worse": ("▼", "v", PALETTE[1]),
    "equivalent": ("=", "o", PALETTE[2]),
    "inconclusive": ("?", "D", CONTROL),
}  # of a change: its sign in a table, its marker and colour
LIMIT = 30  # points; larger changes have the full colour


@styled()
def draw_differences(verdicts: pd.DataFrame, *, run: str, tasks: Sequence[str]) -> Figure | None:
    """Forest plot of one width: each task's difference to the dense model with its 95% interval.

    Open markers: the score is not above its baseline. Perplexity is left out (another unit); None
    where nothing else was evaluated.
    """
    rows = verdicts[verdicts["headline"] & (verdicts["unit"] == "points")]
    rows = rows[rows["run"] == run]
    if rows.empty:
        return None
    rows = rows.set_index("task").loc[drawing.task_names(rows, tasks)].reset_index()
    label = "difference to the dense model, points (95% interval)"
    fig, axis = drawing.forest(rows["task"], height=0.42 * len(rows) + 1.6, x_label=label)
    for at, row in enumerate(rows.itertuples()):
        _, marker, color = LOOKS[row.change]
        high = row.level in ("above floor", "no floor")
        look = {"color": color, "markerfacecolor": color if high else "white", "label": row.change}
        axis.plot([row.ci_low_points, row.ci_high_points], [at, at], color=color, linewidth=2)
        axis.plot(row.diff_points, at, marker, markersize=8, **marker_edge(color), **look)
        drawing.write_value(axis, signed(row.diff_points), (row.ci_high_points, at))
    empty = {"markerfacecolor": "white", "label": "open: not above baseline"}
    axis.plot([], [], "o", **marker_edge("#444444"), **empty)
    axis.margins(x=0.14)
    drawing.add_legend(axis)
    counts = ", ".join(f"{n} {change}" for change, n in rows["change"].value_counts().items())
    ratio, found = rows["expansion_ratio"].iloc[0], rows["diff_points"]
    columns = ["metric", "diff_points", "ci_low_points", "ci_high_points", "p_value", "p_adjusted"]
    return figure(
        fig,
        name="differences",
        title=f"Differences to the dense model at {ratio:.2f}x ({run}), paired by document.",
        alt=f"Forest plot of {len(rows)} tasks at expansion ratio {ratio:.2f}: {counts}; largest "
        f"fall {found.min():+.1f} points, largest rise {found.max():+.1f} points.",
        table=rows.set_index("task")[[*columns, "change", "level", "mde_points"]],
    )


def _cell_text(row: Mapping[str, Any]) -> str:
    mark = "°" if row["level"] in ("not above floor", "below floor") else ""
    if row["unit"] == "percent" and row["diff_points"] > LARGE_PERCENT:
        change = f"×{1 + row['diff_points'] / 100:,.0f}"
    else:
        change = signed(row["diff_points"], 0) + "%" * (row["unit"] == "percent")
    return f"{change} {LOOKS[row['change']][0]}{mark}"


@styled()
def draw_matrix(verdicts: pd.DataFrame, *, tasks: Sequence[str], criterion: str) -> Figure:
    """All verdicts of a selection at once: tasks by widths, coloured by the change in points."""
    rows = verdicts[(verdicts["selection"] == criterion) & verdicts["headline"]]
    names = drawing.task_names(rows, tasks)
    widths = rows.drop_duplicates("run").sort_values("expansion_ratio", ascending=False)
    table = rows.pivot(index="task", columns="run", values="diff_points").loc[names, widths["run"]]
    good = rows.drop_duplicates("task").set_index("task").loc[names, "better_if_positive"]
    gains = table.mul(np.where(good, 1, -1), axis=0)
    fig, axis = plt.subplots(figsize=(WIDTH, 0.44 * len(names) + 1.5))
    axis.imshow(gains, cmap="PuOr", vmin=-LIMIT, vmax=LIMIT, aspect="auto", alpha=0.75)
    for row in rows[rows["task"].isin(names)].to_dict("records"):
        place = list(widths["run"]).index(row["run"]), names.index(row["task"])
        deep = abs(gains.loc[row["task"], row["run"]]) > 0.8 * LIMIT
        look = {"ha": "center", "va": "center", "color": "white" if deep else "black"}
        axis.text(*place, _cell_text(row), fontsize=9, **look)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    labels = [
        f"{w.expansion_ratio:.2f}x\n{100 * w.pruning_ratio:.3g}%" for w in widths.itertuples()
    ]
    axis.set_xticks(range(len(labels)), labels, fontsize=9)
    axis.set_xlabel(X_LABEL, fontsize=9)
    axis.grid(False)
    counts = ", ".join(f"{n} {change}" for change, n in rows["change"].value_counts().items())
    return figure(
        fig,
        name="changes",
        title="Change against the dense model in points (perplexity: percent). ▲ better, ▼ worse, "
        "= equivalent within the margin, ? inconclusive; ° the score is not above its baseline.",
        alt=f"Table of {len(names)} tasks by {len(labels)} widths, coloured by change: {counts}.",
        table=table,
    )
