"""Abilities against expansion ratio (notebook 5): scores, axes, controls, perplexity.

The dense model is on the left and the narrowest width on the right, as in the paper; below each
expansion ratio stands the share of neurons removed.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from ppmlib.analyse.study_records import NOISE
from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure
from ppmlib.show.wording import signed

WIDTH = 5.6  # inches; narrow, so that the text stays readable on a phone
PANEL_HEIGHT = 2.3
CONTROL = "#8a8a8a"
CAPS = {"capsize": 3, "capthick": 1}
X_LABEL = "expansion ratio (below: neurons removed)"


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


def edge(color: str) -> dict:
    """Marker edges that show (the style draws none)."""
    return {"markeredgecolor": color, "markeredgewidth": 1.4}


def panels(count: int, columns: int = 2, height: float = PANEL_HEIGHT):
    """A grid of `count` small axes, at least one, the unused ones hidden."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows + 0.8), squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return fig, axes


def _points(table: pd.DataFrame, column: str) -> pd.Series:
    """Shares in points, perplexities as they are."""
    return table[column].where(table["unit"] == "percent", 100 * table[column])


def _error_line(axis, rows: pd.DataFrame, **style) -> None:
    value, low, high = (_points(rows, name).astype(float) for name in ("value", "low", "high"))
    spread = [(value - low).clip(lower=0), (high - value).clip(lower=0)]
    axis.errorbar(rows["expansion_ratio"], value, yerr=spread, **CAPS, markersize=4.5,
                  linewidth=1.4, **style)  # fmt: skip


def _with_dense(scores: pd.DataFrame, selection: str) -> pd.DataFrame:
    rows = scores[scores["selection"].isin(["dense", selection]) & scores["headline"]]
    return rows.sort_values("expansion_ratio", ascending=False)


def legend(fig, axes, columns: int = 3) -> None:
    """One legend for all panels, above them."""
    found = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    fig.legend(found.values(), found.keys(), loc="outside upper center", ncols=columns, fontsize=9)


def task_names(table: pd.DataFrame, tasks: Sequence[str]) -> list[str]:
    """Those of the tasks that the table has, in the order given."""
    there = set(table["task"])
    return [task for task in tasks if task in there]


def scores(
    table: pd.DataFrame, *, tasks: Sequence[str], criterion: str, root: Path | None = None
) -> Figure | None:
    """Each task's score against expansion ratio, with 95% intervals, baseline, chance and floor.

    None where no task is scored in points.

    Args:
        table: `analysis.scores_table`.
        tasks: in the order of the panels; perplexities have a figure of their own.
    """
    rows = _with_dense(table, criterion)
    rows = rows[rows["unit"] == "points"]
    names = task_names(rows, tasks)
    if not names:
        return None
    fig, axes = panels(len(names))
    for axis, task in zip(axes.flat, names, strict=False):
        mine = rows[rows["task"] == task]
        for dense in mine[mine["selection"] == "dense"]["value"]:
            axis.axhline(100 * dense, **BASELINE, label="dense")
        chance = mine[mine["floor_kind"] == "chance"]
        if len(chance):
            axis.axhline(100 * chance["floor"].iloc[0], **CHANCE, label="chance")
        permuted = mine[mine["floor_kind"] == "permuted responses"]
        if len(permuted):
            axis.plot(permuted["expansion_ratio"], 100 * permuted["floor"].astype(float), "x--",
                      color="#000000", markersize=5, linewidth=0.8, **edge("#000000"),
                      label="own answers permuted")  # fmt: skip
        _error_line(axis, mine, color=PALETTE[0], marker=MARKERS[0], label=f"{criterion}, 95%")
        axis.set_title(f"{task}\n{mine['metric'].iloc[0]}, n = {mine['n'].iloc[0]}", fontsize=10)
        top = max(100 * mine["high"].max(), 100 * (mine["floor"].max() or 0))
        axis.set_ylim(-2, min(103, top + 8))
        width_axis(axis, mine)
    for axis in axes[:, 0]:
        axis.set_ylabel("score, %", fontsize=9)
    fig.supxlabel(X_LABEL, fontsize=9)
    legend(fig, axes)
    shown = rows.set_index("task").loc[names].reset_index()
    ends = [(m["value"].iloc[0], m["value"].iloc[-1]) for _, m in shown.groupby("task", sort=False)]
    drops = "; ".join(f"{task} {100 * a:.0f} to {100 * b:.0f}%" for task, (a, b) in zip(
        shown["task"].drop_duplicates(), ends, strict=True))  # fmt: skip
    columns = ["task", "metric", "run", "expansion_ratio", "n", "value", "low", "high", "floor",
               "floor_kind", "own_minus_floor_points", "level"]  # fmt: skip
    return figure(
        fig,
        name="scores_by_width",
        title="Scores against expansion ratio with 95% intervals. Dashed: the dense model; dotted: "
        "chance; crosses: the same answers handed to other prompts.",
        alt=f"Small line charts, one per task, dense to narrowest: {drops}.",
        table=shown[columns].set_index(["task", "run"]),
        root=root,
    )


def axes_changes(
    changes: pd.DataFrame,
    dichotomy: pd.DataFrame,
    *,
    root: Path | None = None,
) -> Figure | None:
    """Mean change of each axis against expansion ratio; below, instructions minus knowledge.

    None where no axis has a task in points.

    Args:
        changes: `contrasts.axis_changes`. dichotomy: `contrasts.dichotomy_table`, maybe empty.
    """
    if changes.empty:
        return None
    tested = not dichotomy.empty
    ratios = [3, 1.5] if tested else [1]
    fig, panels = plt.subplots(
        len(ratios), 1, figsize=(WIDTH, 5.6 if tested else 4.0), squeeze=False,
        gridspec_kw={"height_ratios": ratios},
    )  # fmt: skip
    top = panels[0, 0]
    dense = {"expansion_ratio": changes["dense_expansion_ratio"].iloc[0], "pruning_ratio": 0.0}
    widths = pd.concat([pd.DataFrame([dense]), changes], ignore_index=True)
    top.axhline(0, **BASELINE, label="dense")
    for (_, part), color, marker in zip(
        changes.groupby("axis", sort=False), PALETTE, MARKERS, strict=False
    ):
        x = [dense["expansion_ratio"], *part["expansion_ratio"]]
        top.fill_between(x, [0, *part["low"]], [0, *part["high"]], color=color, alpha=0.15, lw=0)
        top.plot(x, [0, *part["change_points"]], color=color, marker=marker, markersize=5,
                 label=part["label"].iloc[0])  # fmt: skip
    top.set_ylabel("change, points", fontsize=9)
    width_axis(top, widths, labels=not tested)
    if tested:
        low = panels[1, 0]
        low.axhline(0, **BASELINE)
        value = dichotomy["difference_points"]
        low.errorbar(dichotomy["expansion_ratio"], value, color="#000000", marker="o", **CAPS,
                     yerr=[value - dichotomy["low"], dichotomy["high"] - value])  # fmt: skip
        low.set_ylabel("instruction\nminus knowledge", fontsize=9)
        width_axis(low, widths)
    panels[-1, 0].set_xlabel(X_LABEL, fontsize=9)
    legend(fig, np.array([top]), columns=2)
    last = changes[changes["expansion_ratio"] == changes["expansion_ratio"].min()]
    ends = "; ".join(f"{r.label} {signed(r.change_points)}" for r in last.itertuples())
    return figure(
        fig,
        name="abilities",
        title="Mean change of each axis against the dense model, with 95% intervals"
        + ("; below, the dichotomy: instruction minus knowledge." if tested else "."),
        alt=f"Line chart of changes in points by expansion ratio; at the narrowest width {ends}.",
        table=changes.set_index(["label", "run"])[
            ["expansion_ratio", "pruning_ratio", "change_points", "low", "high", "tasks"]
        ],
        root=root,
    )


def controls(
    table: pd.DataFrame,
    compared: pd.DataFrame,
    *,
    tasks: Sequence[str],
    criterion: str,
    root: Path | None = None,
) -> Figure | None:
    """The criterion beside other selections: random ones as a range over their seeds.

    None where no other selection was compared in points.

    Args:
        table: `analysis.scores_table`. compared: `contrasts.controls_table`, maybe empty.
    """
    rows = _with_dense(table, criterion)
    rows = rows[rows["unit"] == "points"]
    names = task_names(rows, tasks)
    if len(compared):
        names = task_names(compared[compared["unit"] == "points"], names)
    if compared.empty or not names:
        return None
    fig, axes = panels(len(names))
    for axis, task in zip(axes.flat, names, strict=False):
        mine = rows[rows["task"] == task]
        for dense in mine[mine["selection"] == "dense"]["value"]:
            axis.axhline(100 * dense, **BASELINE, label="dense")
        others = compared[compared["task"] == task]
        for (control, part), color, marker in zip(
            others.groupby("control"), (CONTROL, *PALETTE[1:]), MARKERS[1:], strict=False
        ):
            low, high = 100 * part["control_low"], 100 * part["control_high"]
            middle, seeds = (low + high) / 2, int(part["seeds"].max())
            label = f"random, {seeds} seed{'s' * (seeds > 1)}" if control == "random" else control
            axis.errorbar(part["expansion_ratio"], middle, yerr=[middle - low, high - middle],
                          color=color, marker=marker, markersize=4, linewidth=1, **CAPS,
                          linestyle="--", label=label)  # fmt: skip
        _error_line(axis, mine, color=PALETTE[0], marker=MARKERS[0], label=f"{criterion}, 95%")
        axis.set_title(task, fontsize=9)
        axis.set_ylim(bottom=-2)
        width_axis(axis, mine)
    for axis in axes[:, 0]:
        axis.set_ylabel("score, %", fontsize=9)
    fig.supxlabel(X_LABEL, fontsize=9)
    legend(fig, axes)
    shown = compared[compared["task"].isin(names)]
    ahead, behind = int(shown["beats_all"].sum()), int(shown["beaten_by_all"].sum())
    return figure(
        fig,
        name="controls_by_width",
        title=f"Is it {criterion}, or any pruning? Scores of {criterion} beside other selections "
        "of the same width; bars of random selections are the range over seeds.",
        alt=f"Small line charts, one per task: {criterion} is better than every control in {ahead} "
        f"and worse in {behind} of {len(shown)} comparisons.",
        table=shown.set_index(["task", "run", "control"])[
            ["expansion_ratio", "value", "control_low", "control_high", "seeds", "lead"]
        ],
        root=root,
    )


def perplexity(table: pd.DataFrame, *, criterion: str, root: Path | None = None) -> Figure | None:
    """Perplexities against expansion ratio on a logarithmic axis; None if the study has none."""
    rows = table[(table["unit"] == "percent") & table["headline"] & (table["selection"] != NOISE)]
    if rows.empty:
        return None
    fig, axis = plt.subplots(figsize=(WIDTH, 3.6))
    styles = zip((PALETTE[0], CONTROL, *PALETTE[1:]), MARKERS, strict=False)
    selections = [criterion, *sorted(set(rows["selection"]) - {criterion, "dense", NOISE})]
    ends = []
    for selection, (color, marker) in zip(selections, styles, strict=False):
        for task in rows[rows["selection"] == selection]["task"].drop_duplicates():
            mine = _with_dense(rows[rows["task"] == task], selection)
            _error_line(axis, mine, color=color, marker=marker, label=f"{selection}: {task}",
                        linestyle="-" if selection == criterion else "--")  # fmt: skip
            ends.append(f"{selection} {mine['value'].iloc[0]:.3g} to {mine['value'].iloc[-1]:.3g}")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(ScalarFormatter())
    low, high = axis.get_ylim()
    axis.yaxis.set_minor_formatter(ScalarFormatter() if high < 20 * low else NullFormatter())
    axis.tick_params(axis="y", which="both", labelsize=8)
    width_axis(axis, rows)
    axis.set_xlabel(X_LABEL, fontsize=9)
    axis.set_ylabel("perplexity (log scale; lower is better)", fontsize=9)
    legend(fig, np.array([axis]), columns=2)
    return figure(
        fig,
        name="perplexity",
        title="Perplexity against expansion ratio with 95% intervals over documents.",
        alt=f"Line chart on a logarithmic axis, dense to narrowest: {'; '.join(ends)}.",
        table=rows.set_index(["task", "run"])[["expansion_ratio", "value", "low", "high", "n"]],
        root=root,
    )
