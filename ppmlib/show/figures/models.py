"""Models side by side, against expansion ratio and against the share removed (notebook 7)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ppmlib.show.figures import BASELINE, MARKERS, PALETTE, Figure, figure
from ppmlib.show.figures.abilities import CAPS, WIDTH, legend
from ppmlib.show.wording import signed

AXES = (("expansion_ratio", "expansion ratio"), ("pruning_ratio", "neurons removed, %"))


def changes(table: pd.DataFrame, *, root: Path | None = None) -> Figure:
    """Change of every common task in every model, on both axes, with 95% intervals.

    Args:
        table: `across.changes_table`. Perplexities are in percent, on a symmetric log axis.
    """
    tasks, studies = list(dict.fromkeys(table["task"])), list(dict.fromkeys(table["study"]))
    fig, axes = plt.subplots(
        len(tasks), 2, figsize=(WIDTH, 1.75 * len(tasks) + 1.1), squeeze=False, sharey="row"
    )
    for row, task in zip(axes, tasks, strict=True):
        for axis, (column, _) in zip(row, AXES, strict=True):
            axis.axhline(0, **BASELINE)
            for study, color, marker in zip(studies, PALETTE, MARKERS, strict=False):
                mine = table[(table["task"] == task) & (table["study"] == study)]
                _line(axis, mine, column, color=color, marker=marker, label=study)
            if column == "expansion_ratio":
                axis.invert_xaxis()
            if table.loc[table["task"] == task, "unit"].iloc[0] == "percent":
                axis.set_yscale("symlog", linthresh=100)
            axis.tick_params(labelsize=8)
        unit = "%" if table.loc[table["task"] == task, "unit"].iloc[0] == "percent" else "points"
        row[0].set_title(f"{task}, {unit}", fontsize=9)
    for axis, (_, label) in zip(axes[-1], AXES, strict=True):
        axis.set_xlabel(label, fontsize=9)
    legend(fig, axes, columns=3)
    last = table[table["pruning_ratio"] == table["pruning_ratio"].max()]
    ends = "; ".join(f"{r.task} {r.study} {signed(r.diff_points)}" for r in last.itertuples())
    return figure(
        fig,
        name="models",
        title="Change against each model's own dense scores, with 95% intervals: by expansion "
        "ratio (left) and by the share of neurons removed (right).",
        alt=f"Line charts by task for {len(studies)} models; at the largest share removed: {ends}.",
        table=table.set_index(["task", "study", "run"])[
            ["expansion_ratio", "pruning_ratio", "dense_value", "value", "diff_points",
             "ci_low_points", "ci_high_points", "change"]
        ],
        root=root,
    )  # fmt: skip


def _line(axis, rows: pd.DataFrame, column: str, **look) -> None:
    scale = 100 if column == "pruning_ratio" else 1
    rows = rows.sort_values("pruning_ratio")
    dense = 0.0 if column == "pruning_ratio" else rows["dense_expansion_ratio"].iloc[0]
    change = rows["diff_points"]
    label = look.pop("label")
    axis.plot([dense, scale * rows[column].iloc[0]], [0, change.iloc[0]], color=look["color"],
              linewidth=1, linestyle=":")  # fmt: skip
    axis.errorbar(scale * rows[column], change, yerr=[change - rows["ci_low_points"],
                  rows["ci_high_points"] - change], markersize=4, linewidth=1.2, label=label,
                  **CAPS, **look)  # fmt: skip
