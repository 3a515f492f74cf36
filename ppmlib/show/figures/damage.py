"""Trivial baselines, and instruction scores against perplexity (notebook 5)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, drawing, figure, styled
from ppmlib.show.figures.abilities import seeds_label
from ppmlib.show.figures.drawing import CONTROL, LINE
from ppmlib.show.trivial_baselines import name_baseline

BAND = "#E69F00"


@styled()
def draw_trivial(
    responders: pd.DataFrame, beyond: pd.DataFrame, *, tasks: Sequence[str], criterion: str
) -> Figure | None:
    """Scores against the range of the trivial baselines; None without them."""
    names = drawing.task_names(beyond, tasks)
    if not names:
        return None

    def draw(axis, task: str) -> pd.DataFrame:
        band, mine = responders[responders["task"] == task], beyond[beyond["task"] == task]
        mine = mine.sort_values("expansion_ratio", ascending=False)
        low, high = 100 * band["value"].min(), 100 * band["value"].max()
        axis.axhspan(low, high, color=BAND, alpha=0.3, lw=0, label="trivial baselines, range")
        axis.axhline(high, color=BAND, lw=1.4)
        look = {"color": PALETTE[0], "marker": MARKERS[0], "label": f"{criterion}, all documents"}
        axis.plot(mine["expansion_ratio"], 100 * mine["value"], **LINE, **look)
        hard = mine[mine["hard_value"].notna()]
        if len(hard):
            x, y = hard["expansion_ratio"], 100 * hard["hard_value"].astype(float)
            look = {"color": PALETTE[1], "marker": MARKERS[2], "markersize": 4.5, "linewidth": 1.2}
            axis.plot(x, y, "--", label="documents that no baseline passes", **look)
        axis.set_title(f"{task}\nbest: {name_baseline(band['responder'].iloc[0])}", fontsize=9)
        axis.set_ylim(-2, min(103, max(high, 100 * mine["value"].max()) + 8))
        return mine

    fig = drawing.small_multiples(names, draw, legend_columns=2)
    shown = beyond[beyond["task"].isin(names)]
    above = shown[shown["against_best"] == "above floor"]
    columns = ["expansion_ratio", "n", "value", "best", "best_value"]
    columns += ["above_points", "above_low", "above_high", "hard_n", "hard_value"]
    return figure(
        fig,
        name="trivial_responders",
        title="Scores and the range of the trivial baselines; dashed: the score on documents that "
        "no trivial baseline passes.",
        alt=f"Small line charts, one per task: in {len(above)} of {len(shown)} cases the score is "
        "significantly above that of the best trivial baseline.",
        table=shown.set_index(["task", "run"])[columns],
    )


@styled()
def draw_damage(
    table: pd.DataFrame, pooled: pd.DataFrame, *, criterion: str, responders: pd.DataFrame
) -> Figure | None:
    """Instruction score against perplexity for every kind of damage; None if there is nothing.

    Args:
        table: `damage.damage_table`. pooled: `damage.pooled` of it.
        responders: `trivial.responder_table`, for the level of the best one.
    """
    if table.empty:
        return None
    names = list(table["task"].unique())
    fig, axes = drawing.grid(len(names), columns=1, height=3.6)
    for axis, task in zip(axes.flat, names, strict=True):
        mine, best, random = (
            part[part["task"] == task] if len(part) else part
            for part in (table, responders, pooled)
        )
        if len(best):
            axis.axhline(100 * best["value"].max(), **CHANCE, label="best trivial baseline")
        _add_damage(axis, mine, random, criterion)
        drawing.log_axis(axis, _plain_ticks(mine["perplexity"]))
        axis.set_title(task, fontsize=10)
        axis.set_ylim(-2, min(103, 100 * mine["value"].max() + 8))
        name = mine["perplexity_task"].iloc[0]
        drawing.label_axes(axis, f"{name}, word perplexity (log scale)", "score, %")
    drawing.add_legend(axes)
    ends = table[table["kind"] == criterion].sort_values("perplexity").iloc[-1]
    kinds = ", ".join(kind for kind in table["kind"].unique() if kind != "dense")
    return figure(
        fig,
        name="damage",
        title="Instruction score against perplexity, for every kind of damage. Points of random "
        "selections: mean over seeds, with the 95% interval over documents and seeds, or the range "
        "below five seeds.",
        alt=f"Score against perplexity on a logarithmic axis for {kinds}; {criterion} ends at "
        f"{100 * ends['value']:.0f}% and perplexity {ends['perplexity']:.3g}.",
        table=table.set_index(["task", "run"])[
            ["kind", "seed", "pruning_ratio", "expansion_ratio", "perplexity", "value"]
        ],
    )


def _add_damage(axis, rows: pd.DataFrame, pooled: pd.DataFrame, criterion: str) -> None:
    """Score by perplexity: the criterion's widths in order, other selections, dense as a star."""

    def draw(part: pd.DataFrame, **look) -> None:
        axis.plot(part["perplexity"], 100 * part["value"], **look)

    dense, random = (rows[rows["kind"] == kind] for kind in ("dense", "random"))
    axis.axhline(100 * dense["value"].iloc[0], **BASELINE)
    own = pd.concat([dense, rows[rows["kind"] == criterion]]).sort_values("pruning_ratio")
    draw(own, color=PALETTE[0], marker=MARKERS[0], markersize=5, label=criterion)
    for row in own[own["pruning_ratio"] > 0].itertuples():
        place = {"xytext": (5, 5), "textcoords": "offset points", "fontsize": 8}
        point = row.perplexity, 100 * row.value
        axis.annotate(f"{100 * row.pruning_ratio:.3g}%", point, color=PALETTE[0], **place)
    others = [kind for kind in rows["kind"].unique() if kind not in ("dense", criterion, "random")]
    for kind, look in drawing.with_looks(others, PALETTE[3:], MARKERS[3:]):
        part = rows[rows["kind"] == kind].sort_values("perplexity")
        label = "noise at full width" if kind == "noise" else kind
        draw(part, linestyle=":", markersize=6, label=label, **look)
    draw(random, linestyle="none", marker=".", color=CONTROL, alpha=0.5, markersize=4)
    if len(pooled):
        look = {"color": CONTROL, "marker": MARKERS[1], "markersize": 4.5, "linewidth": 1}
        look |= {"linestyle": "--", "label": seeds_label(pooled)}
        ends = 100 * pooled[["value", "low", "high"]].astype(float)
        drawing.error_line(axis, pooled["perplexity"], ends, **look)
    draw(dense, linestyle="none", marker="*", color="#000000", markersize=10, label="dense")


def _plain_ticks(values: pd.Series) -> np.ndarray | list[float]:
    """Few plain numbers for a logarithmic axis, none of them on top of another."""
    low, high = float(values.min()), float(values.max())
    steps = np.array([m * 10.0**e for e in range(-2, 9) for m in (1, 1.5, 2, 3, 5, 7)])
    inside = steps[(steps >= 0.9 * low) & (steps <= 1.1 * high)]
    every = max(1, -(-len(inside) // 7))
    return inside[::every] if len(inside) else [low]
