"""Changes against the dense model (notebook 5): one width, and all widths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.show.figures import BASELINE, PALETTE, Figure, figure
from ppmlib.show.figures.abilities import CONTROL, WIDTH, X_LABEL, edge, legend, task_names
from ppmlib.show.wording import LARGE_PERCENT, signed

HALO = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
CHANGES = {
    "better": ("^", PALETTE[0]),
    "worse": ("v", PALETTE[1]),
    "equivalent": ("o", PALETTE[2]),
    "inconclusive": ("D", CONTROL),
}


def differences(
    verdicts: pd.DataFrame, *, run: str, tasks: Sequence[str], root: Path | None = None
) -> Figure | None:
    """Forest plot of one width: each task's difference to the dense model with its 95% interval.

    Open markers: the level is not above its floor. Perplexity is left out (another unit); None
    where nothing else was evaluated.
    """
    rows = verdicts[
        (verdicts["run"] == run) & verdicts["headline"] & (verdicts["unit"] == "points")
    ]
    if rows.empty:
        return None
    rows = rows.set_index("task").loc[task_names(rows, tasks)].reset_index()
    fig, axis = plt.subplots(figsize=(WIDTH, 0.42 * len(rows) + 1.6))
    axis.axvline(0, **BASELINE)
    for at, row in enumerate(rows.to_dict("records")):
        marker, color = CHANGES[row["change"]]
        high = row["level"] in ("above floor", "no floor")
        ends = row["ci_low_points"], row["ci_high_points"]
        axis.plot(ends, [at, at], color=color, linewidth=2)
        axis.plot(row["diff_points"], at, marker, color=color, markersize=8, **edge(color),
                  markerfacecolor=color if high else "white", label=row["change"])  # fmt: skip
        axis.annotate(signed(row["diff_points"]), (ends[1], at), fontsize=8,
                      xytext=(5, 0), textcoords="offset points", va="center",
                      bbox=HALO)  # fmt: skip
    axis.plot([], [], "o", markerfacecolor="white", **edge("#444444"),
              label="open: not above floor")  # fmt: skip
    axis.set_yticks(range(len(rows)), rows["task"], fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.margins(x=0.14)
    axis.set_xlabel("difference to the dense model, points (95% interval)", fontsize=9)
    legend(fig, np.array([axis]))
    counts = ", ".join(f"{n} {change}" for change, n in rows["change"].value_counts().items())
    ratio = rows["expansion_ratio"].iloc[0]
    columns = ["task", "metric", "diff_points", "ci_low_points", "ci_high_points", "p_value",
               "p_adjusted", "change", "level", "mde_points"]  # fmt: skip
    return figure(
        fig,
        name="differences",
        title=f"Differences to the dense model at {ratio:.2f}x ({run}), paired by document.",
        alt=f"Forest plot of {len(rows)} tasks at expansion ratio {ratio:.2f}: {counts}; largest "
        f"fall {rows['diff_points'].min():+.1f} points, largest rise "
        f"{rows['diff_points'].max():+.1f} points.",
        table=rows[columns].set_index("task"),
        root=root,
    )


def _cell(row: Mapping[str, Any]) -> str:
    if row["unit"] != "percent":
        return signed(row["diff_points"], 0)
    if row["diff_points"] > LARGE_PERCENT:
        return f"×{1 + row['diff_points'] / 100:,.0f}"
    return f"{signed(row['diff_points'], 0)}%"


def matrix(
    verdicts: pd.DataFrame, *, tasks: Sequence[str], criterion: str, root: Path | None = None
) -> Figure:
    """All verdicts of a selection at once: tasks by widths, coloured by the change in points."""
    rows = verdicts[(verdicts["selection"] == criterion) & verdicts["headline"]]
    names = task_names(rows, tasks)
    widths = rows.drop_duplicates("run").sort_values("expansion_ratio", ascending=False)
    table = rows.pivot(index="task", columns="run", values="diff_points").loc[names, widths["run"]]
    good = rows.drop_duplicates("task").set_index("task").loc[names, "better_if_positive"]
    gains = table.mul(np.where(good, 1, -1), axis=0)
    fig, axis = plt.subplots(figsize=(WIDTH, 0.44 * len(names) + 1.5))
    limit = 30
    axis.imshow(gains, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto", alpha=0.75)
    symbols = {"better": "▲", "worse": "▼", "equivalent": "=", "inconclusive": "?"}
    for row in rows[rows["task"].isin(names)].to_dict("records"):
        place = list(widths["run"]).index(row["run"]), names.index(row["task"])
        mark = "°" if row["level"] in ("not above floor", "below floor") else ""
        deep = abs(gains.loc[row["task"], row["run"]]) > 0.8 * limit
        axis.text(*place, f"{_cell(row)} {symbols[row['change']]}{mark}",
                  ha="center", va="center", fontsize=9,
                  color="white" if deep else "black")  # fmt: skip
    axis.set_yticks(range(len(names)), names, fontsize=9)
    labels = [
        f"{w.expansion_ratio:.2f}x\n{100 * w.pruning_ratio:.3g}%" for w in widths.itertuples()
    ]
    axis.set_xticks(range(len(labels)), labels, fontsize=9)
    axis.set_xlabel(X_LABEL, fontsize=9)
    axis.grid(False)
    return figure(
        fig,
        name="changes",
        title="Change against the dense model in points (perplexity: percent). ▲ better, ▼ worse, "
        "= equivalent within the margin, ? inconclusive; ° the level is not above its floor.",
        alt=f"Table of {len(names)} tasks by {len(labels)} widths, coloured by change: "
        + ", ".join(f"{n} {change}" for change, n in rows["change"].value_counts().items())
        + ".",
        table=table,
        root=root,
    )
