"""Models side by side, against expansion ratio and against the share removed (notebook 7)."""

import matplotlib.pyplot as plt
import pandas as pd

from ppmlib.show.figures import BASELINE, Figure, drawing, figure, styled
from ppmlib.show.wording import signed

AXES = {"expansion_ratio": "expansion ratio", "pruning_ratio": "neurons removed, %"}
CHANGE = ["diff_points", "ci_low_points", "ci_high_points"]


@styled()
def draw_changes(table: pd.DataFrame) -> Figure:
    """Change of every common task in every model (`across.changes_table`), on both axes.

    Perplexities are in percent, on a symmetric log axis.
    """
    tasks, studies = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["study"]))
    size = (drawing.WIDTH, 1.75 * len(tasks) + 1.1)
    fig, axes = plt.subplots(len(tasks), 2, figsize=size, squeeze=False, sharey="row")
    for line, task in zip(axes, tasks, strict=True):
        rows = table[table["task"] == task]
        percent = rows["unit"].iloc[0] == "percent"
        for axis, column in zip(line, AXES, strict=True):
            axis.axhline(0, **BASELINE)
            for study, look in drawing.with_looks(studies):
                mine = rows[rows["study"] == study].sort_values("pruning_ratio")
                _add_change(axis, mine, column, label=study, **look)
            if percent:
                axis.set_yscale("symlog", linthresh=100)
            axis.tick_params(labelsize=8)
        line[0].invert_xaxis()
        line[0].set_title(f"{task}, {'%' if percent else 'points'}", fontsize=9)
    for axis, label in zip(axes[-1], AXES.values(), strict=True):
        axis.set_xlabel(label, fontsize=9)
    drawing.add_legend(axes)
    last = table[table["pruning_ratio"] == table["pruning_ratio"].max()]
    ends = "; ".join(f"{r.task} {r.study} {signed(r.diff_points)}" for r in last.itertuples())
    return figure(
        fig,
        name="models",
        title="Change against each model's own dense scores, with 95% intervals: by expansion "
        "ratio (left) and by the share of neurons removed (right).",
        alt=f"Line charts by task for {len(studies)} models; at the largest share removed: {ends}.",
        table=table.set_index(["task", "study", "run"])[
            [*AXES, "dense_value", "value", *CHANGE, "change"]
        ],
    )


def _add_change(axis, rows: pd.DataFrame, column: str, *, label: str, **look) -> None:
    """One model's changes, joined to its dense model by a dotted line."""
    share = column == "pruning_ratio"
    x = (100 if share else 1) * rows[column]
    dense = 0.0 if share else rows["dense_expansion_ratio"].iloc[0]
    start = [0, rows["diff_points"].iloc[0]]
    axis.plot([dense, x.iloc[0]], start, color=look["color"], linewidth=1, linestyle=":")
    drawing.error_line(axis, x, rows[CHANGE], markersize=4, linewidth=1.2, label=label, **look)
