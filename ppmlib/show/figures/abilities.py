"""Abilities against expansion ratio (notebook 5): scores, axes, controls, perplexity."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ppmlib.analyse.study_records import NOISE
from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, drawing, figure, styled
from ppmlib.show.figures.drawing import CONTROL, LINE, X_LABEL
from ppmlib.show.wording import signed


def _select_headlines(scores: pd.DataFrame, selection: str, unit: str) -> pd.DataFrame:
    """Headline scores of the dense model and one selection, dense first."""
    rows = scores[scores["selection"].isin(["dense", selection]) & scores["headline"]]
    rows = rows.sort_values("expansion_ratio", ascending=False)
    return rows[rows["unit"] == unit]


def _add_scores(axis, rows: pd.DataFrame, *, percent: bool = True, **look) -> None:
    """Scores with their intervals: shares in percent, perplexities as they are."""
    ends = (100 if percent else 1) * rows[["value", "low", "high"]].astype(float)
    drawing.error_line(axis, rows["expansion_ratio"], ends, **LINE, **look)


def _add_dense(axis, rows: pd.DataFrame) -> None:
    for dense in rows[rows["selection"] == "dense"]["value"]:
        axis.axhline(100 * dense, **BASELINE, label="dense")


@styled()
def draw_scores(table: pd.DataFrame, *, tasks: Sequence[str], criterion: str) -> Figure | None:
    """Each task's score against expansion ratio, with 95% intervals, dense score and baseline.

    None where no task is scored in points; `draw_perplexity` draws the others.
    """
    rows = _select_headlines(table, criterion, "points")
    names = drawing.task_names(rows, tasks)
    if not names:
        return None

    def draw(axis, task: str) -> pd.DataFrame:
        mine = rows[rows["task"] == task]
        _add_dense(axis, mine)
        chance = mine[mine["floor_kind"] == "chance"]
        if len(chance):
            axis.axhline(100 * chance["floor"].iloc[0], **CHANCE, label="chance")
        permuted = mine[mine["floor_kind"] == "permuted responses"]
        if len(permuted):
            x, y = permuted["expansion_ratio"], 100 * permuted["floor"].astype(float)
            look = {"markersize": 5, "linewidth": 0.8, "label": "permuted baseline"}
            axis.plot(x, y, "x--", color="#000000", **drawing.marker_edge("#000000"), **look)
        _add_scores(axis, mine, color=PALETTE[0], marker=MARKERS[0], label=f"{criterion}, 95%")
        axis.set_title(f"{task}\n{mine['metric'].iloc[0]}, n = {mine['n'].iloc[0]}", fontsize=10)
        top = max(100 * mine["high"].max(), 100 * (mine["floor"].max() or 0))
        axis.set_ylim(-2, min(103, top + 8))
        return mine

    fig = drawing.small_multiples(names, draw)
    shown = rows.set_index("task").loc[names].reset_index()
    drops = "; ".join(
        f"{task} {100 * mine['value'].iloc[0]:.0f} to {100 * mine['value'].iloc[-1]:.0f}%"
        for task, mine in shown.groupby("task", sort=False)
    )
    columns = ["metric", "expansion_ratio", "n", "value", "low", "high", "floor", "floor_kind"]
    return figure(
        fig,
        name="scores_by_width",
        title="Scores against expansion ratio with 95% intervals. Dashed: the dense model; dotted: "
        "chance; crosses: the permuted baseline (the same answers at other prompts).",
        alt=f"Small line charts, one per task, dense to narrowest: {drops}.",
        table=shown.set_index(["task", "run"])[[*columns, "own_minus_floor_points", "level"]],
    )


@styled()
def draw_axes_changes(changes: pd.DataFrame, dichotomy: pd.DataFrame) -> Figure | None:
    """Mean change of each axis against expansion ratio; below, instructions minus knowledge.

    None where no axis has a task in points. The dichotomy may be empty.
    """
    if changes.empty:
        return None
    tested = not dichotomy.empty
    ratios, height = ([3, 1.5], 5.6) if tested else ([1], 4.0)
    size = (drawing.WIDTH, height)
    fig, panels = plt.subplots(len(ratios), figsize=size, squeeze=False, height_ratios=ratios)
    top, bottom = panels[0, 0], panels[-1, 0]
    dense = {"expansion_ratio": changes["dense_expansion_ratio"].iloc[0], "pruning_ratio": 0.0}
    widths = pd.concat([pd.DataFrame([dense]), changes], ignore_index=True)
    top.axhline(0, **BASELINE, label="dense")
    for (_, part), look in drawing.with_looks(changes.groupby("axis", sort=False)):
        x = [dense["expansion_ratio"], *part["expansion_ratio"]]
        ends, shade = ([0, *part["low"]], [0, *part["high"]]), look["color"]
        top.fill_between(x, *ends, color=shade, alpha=0.15, lw=0)
        look["label"] = part["label"].iloc[0]
        top.plot(x, [0, *part["change_points"]], markersize=5, **look)
    top.set_ylabel("change, points", fontsize=9)
    drawing.width_axis(top, widths, labels=not tested)
    if tested:
        bottom.axhline(0, **BASELINE)
        found = dichotomy[["difference_points", "low", "high"]]
        look = {"color": "#000000", "marker": "o"}
        drawing.error_line(bottom, dichotomy["expansion_ratio"], found, **look)
        bottom.set_ylabel("instruction\nminus knowledge", fontsize=9)
        drawing.width_axis(bottom, widths)
    bottom.set_xlabel(X_LABEL, fontsize=9)
    drawing.add_legend(top, columns=2)
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
    )


@styled()
def draw_controls(
    table: pd.DataFrame, compared: pd.DataFrame, *, tasks: Sequence[str], criterion: str
) -> Figure | None:
    """The criterion against other selections: random ones as a range over their seeds.

    None where no other selection was compared in points (`contrasts.controls_table`).
    """
    rows = _select_headlines(table, criterion, "points")
    names = drawing.task_names(rows, tasks)
    if len(compared):
        names = drawing.task_names(compared[compared["unit"] == "points"], names)
    if compared.empty or not names:
        return None

    def draw(axis, task: str) -> pd.DataFrame:
        mine = rows[rows["task"] == task]
        _add_dense(axis, mine)
        others = compared[compared["task"] == task].groupby("control")
        looks = (CONTROL, *PALETTE[1:]), MARKERS[1:]
        for (control, part), look in drawing.with_looks(others, *looks):
            low, high = 100 * part["control_low"], 100 * part["control_high"]
            ends = pd.DataFrame({"middle": (low + high) / 2, "low": low, "high": high})
            look["label"] = seeds_label(part) if control == "random" else control
            look |= {"markersize": 4, "linewidth": 1, "linestyle": "--"}
            drawing.error_line(axis, part["expansion_ratio"], ends, **look)
        _add_scores(axis, mine, color=PALETTE[0], marker=MARKERS[0], label=f"{criterion}, 95%")
        axis.set_title(task, fontsize=9)
        axis.set_ylim(bottom=-2)
        return mine

    fig = drawing.small_multiples(names, draw)
    shown = compared[compared["task"].isin(names)]
    ahead, behind = int(shown["beats_all"].sum()), int(shown["beaten_by_all"].sum())
    return figure(
        fig,
        name="controls_by_width",
        title=f"Is it {criterion}, or any pruning? Scores of {criterion} and of other selections "
        "of the same width; bars of random selections are the range over seeds.",
        alt=f"Small line charts, one per task: {criterion} is better than every control in {ahead} "
        f"and worse in {behind} of {len(shown)} comparisons.",
        table=shown.set_index(["task", "run", "control"])[
            ["expansion_ratio", "value", "control_low", "control_high", "seeds", "lead"]
        ],
    )


def seeds_label(rows: pd.DataFrame) -> str:
    """`random, 5 seeds`."""
    seeds = int(rows["seeds"].max())
    return f"random, {seeds} seed{'s' * (seeds > 1)}"


@styled()
def draw_perplexity(table: pd.DataFrame, *, criterion: str) -> Figure | None:
    """Perplexities against expansion ratio on a logarithmic axis; None if the study has none."""
    rows = table[(table["unit"] == "percent") & table["headline"] & (table["selection"] != NOISE)]
    if rows.empty:
        return None
    fig, axis = plt.subplots(figsize=(drawing.WIDTH, 3.6))
    colors = PALETTE[0], CONTROL, *PALETTE[1:]
    selections = [criterion, *sorted(set(rows["selection"]) - {criterion, "dense", NOISE})]
    ends = []
    for selection, look in drawing.with_looks(selections, colors):
        look["linestyle"] = "-" if selection == criterion else "--"
        for task in rows[rows["selection"] == selection]["task"].drop_duplicates():
            mine = _select_headlines(rows[rows["task"] == task], selection, "percent")
            _add_scores(axis, mine, percent=False, label=f"{selection}: {task}", **look)
            ends.append(f"{selection} {mine['value'].iloc[0]:.3g} to {mine['value'].iloc[-1]:.3g}")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(ScalarFormatter())
    low, high = axis.get_ylim()
    axis.yaxis.set_minor_formatter(ScalarFormatter() if high < 20 * low else NullFormatter())
    axis.tick_params(axis="y", which="both", labelsize=8)
    drawing.width_axis(axis, rows)
    drawing.label_axes(axis, X_LABEL, "perplexity (log scale; lower is better)")
    drawing.add_legend(axis, columns=2)
    return figure(
        fig,
        name="perplexity",
        title="Perplexity against expansion ratio with 95% intervals over documents.",
        alt=f"Line chart on a logarithmic axis, dense to narrowest: {'; '.join(ends)}.",
        table=rows.set_index(["task", "run"])[["expansion_ratio", "value", "low", "high", "n"]],
    )
