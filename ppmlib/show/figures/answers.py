"""What the written answers are like, and which kinds of instruction moved (notebook 5)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.show.figures import BASELINE, MARKERS, PALETTE, Figure, figure
from ppmlib.show.figures.abilities import WIDTH, X_LABEL, legend, panels, task_names, width_axis
from ppmlib.show.figures.changes import HALO
from ppmlib.show.wording import signed
from ppmlib.statistics.proportions import LEVEL

SHARES = (("stopped", "stop by themselves"), ("repeating", "repeat themselves"),
          ("empty", "empty"))  # fmt: skip


def lengths(table: pd.DataFrame, *, tasks, root: Path | None = None) -> Figure | None:
    """Per task with written answers: shares that stop, repeat or are empty, by width.

    Args:
        table: `responses.response_table`; None if it has no rows.
    """
    names = task_names(table, tasks)
    if not names:
        return None
    fig, axes = panels(len(names))
    for axis, task in zip(axes.flat, names, strict=False):
        mine = table[table["task"] == task].sort_values("expansion_ratio", ascending=False)
        for (name, label), color, marker in zip(SHARES, PALETTE, MARKERS, strict=False):
            axis.plot(mine["expansion_ratio"], 100 * mine[name], color=color, marker=marker,
                      markersize=4.5, linewidth=1.4, label=label)  # fmt: skip
        first, last = mine.iloc[0], mine.iloc[-1]
        axis.set_title(f"{task}\nmedian {first['median_tokens']:.0f} → "
                       f"{last['median_tokens']:.0f} tokens", fontsize=9)  # fmt: skip
        axis.set_ylim(-3, 103)
        width_axis(axis, mine)
    for axis in axes[:, 0]:
        axis.set_ylabel("answers, %", fontsize=9)
    fig.supxlabel(X_LABEL, fontsize=9)
    legend(fig, axes)
    shown = table[table["task"].isin(names)]
    words = []
    for task, rows in shown.groupby("task", sort=False):
        rows = rows.sort_values("expansion_ratio")
        words.append(f"{task} {100 * rows['stopped'].iloc[-1]:.0f} to "
                     f"{100 * rows['stopped'].iloc[0]:.0f}% stop")  # fmt: skip
    columns = ["task", "run", "expansion_ratio", "median_tokens", "stopped", "repeating", "empty",
               "change_points", "from_degenerate_points", "from_proper_points"]  # fmt: skip
    return figure(
        fig,
        name="answers_by_width",
        title="Written answers by width: how many stop by themselves before the token limit, "
        "repeat themselves or are empty; median length of dense and narrowest above each panel.",
        alt=f"Small line charts, dense to narrowest: {'; '.join(words)}.",
        table=shown[columns].set_index(["task", "run"]),
        root=root,
    )


def kinds(table: pd.DataFrame, *, task: str, run: str, root: Path | None = None) -> Figure | None:
    """Change of every kind of instruction with its 95% interval; None if there is none.

    Args:
        table: `responses.kinds_table`.
    """
    if table.empty:
        return None
    fig, axis = plt.subplots(figsize=(WIDTH, 0.36 * len(table) + 1.5))
    axis.axvline(0, **BASELINE)
    for at, row in enumerate(table.to_dict("records")):
        sure = row["p_adjusted"] <= LEVEL
        color = (PALETTE[1] if row["diff_points"] < 0 else PALETTE[0]) if sure else "#8a8a8a"
        label = ("falls" if row["diff_points"] < 0 else "rises") if sure else "not distinguishable"
        axis.plot([row["low"], row["high"]], [at, at], color=color, linewidth=2)
        axis.plot(row["diff_points"], at, "o", color=color, markersize=7, label=label)
        axis.annotate(signed(row["diff_points"]), (row["high"], at), fontsize=8, xytext=(5, 0),
                      textcoords="offset points", va="center", bbox=HALO)  # fmt: skip
    axis.set_yticks(np.arange(len(table)),
                    [f"{r.kind}, n = {r.n}" for r in table.itertuples()], fontsize=8)  # fmt: skip
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.margins(x=0.14)
    axis.set_xlabel("change of the share followed, points (95% interval)", fontsize=9)
    legend(fig, np.array([axis]))
    top, bottom = table.iloc[-1], table.iloc[0]
    return figure(
        fig,
        name="instruction_kinds",
        title=f"{task}: which kinds of instruction moved at {run}, instruction level, strict.",
        alt=f"Forest plot of {len(table)} kinds of instruction: from {bottom['kind']} "
        f"{signed(bottom['diff_points'])} to {top['kind']} {signed(top['diff_points'])} points.",
        table=table.set_index("kind"),
        root=root,
    )
