"""What understands nothing, and what only damages (notebook 5)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure
from ppmlib.show.figures.abilities import (
    CAPS,
    CONTROL,
    X_LABEL,
    legend,
    panels,
    task_names,
    width_axis,
)
from ppmlib.show.trivial_baselines import name_baseline

BAND = "#E69F00"
KINDS = {"dense": ("#000000", "*"), "random": (CONTROL, MARKERS[1]),
         "noise": (PALETTE[3], MARKERS[3])}  # fmt: skip


def trivial(
    responders: pd.DataFrame, beyond: pd.DataFrame, *, tasks, criterion: str,
    root: Path | None = None,
) -> Figure | None:  # fmt: skip
    """Scores against the range of answers that understand nothing; None without responders.

    Args:
        responders: `trivial.responder_table`; beyond: `trivial.beyond_table`.
        tasks: in the order of the panels.
    """
    names = task_names(beyond, tasks)
    if not names:
        return None
    fig, axes = panels(len(names))
    for axis, task in zip(axes.flat, names, strict=False):
        band, mine = responders[responders["task"] == task], beyond[beyond["task"] == task]
        mine = mine.sort_values("expansion_ratio", ascending=False)
        low, high = 100 * band["value"].min(), 100 * band["value"].max()
        axis.axhspan(low, high, color=BAND, alpha=0.3, lw=0, label="trivial responders, range")
        axis.axhline(high, color=BAND, lw=1.4)
        axis.plot(mine["expansion_ratio"], 100 * mine["value"], color=PALETTE[0], marker=MARKERS[0],
                  markersize=4.5, linewidth=1.4, label=f"{criterion}, all documents")  # fmt: skip
        hard = mine[mine["hard_value"].notna()]
        if len(hard):
            axis.plot(hard["expansion_ratio"], 100 * hard["hard_value"].astype(float), "--",
                      color=PALETTE[1], marker=MARKERS[2], markersize=4.5, linewidth=1.2,
                      label="documents that none of them passes")  # fmt: skip
        best = name_baseline(band["responder"].iloc[0])
        axis.set_title(f"{task}\nbest: {best}", fontsize=9)
        axis.set_ylim(-2, min(103, max(high, 100 * mine["value"].max()) + 8))
        width_axis(axis, mine)
    for axis in axes[:, 0]:
        axis.set_ylabel("score, %", fontsize=9)
    fig.supxlabel(X_LABEL, fontsize=9)
    legend(fig, axes, columns=2)
    shown = beyond[beyond["task"].isin(names)]
    above = shown[shown["against_best"] == "above floor"]
    return figure(
        fig,
        name="trivial_responders",
        title="Scores and the range of answers that understand nothing; dashed: the score on the "
        "documents that none of them passes.",
        alt=f"Small line charts, one per task: in {len(above)} of {len(shown)} cases the score is "
        "surely above that of the best trivial responder.",
        table=shown[["task", "run", "expansion_ratio", "n", "value", "best", "best_value",
                     "above_points", "above_low", "above_high", "hard_n", "hard_value"]]
        .set_index(["task", "run"]),
        root=root,
    )  # fmt: skip


def damage(
    table: pd.DataFrame, pooled: pd.DataFrame, *, criterion: str, responders: pd.DataFrame,
    root: Path | None = None,
) -> Figure | None:  # fmt: skip
    """Instruction score against perplexity for every kind of damage; None if there is nothing.

    Args:
        table: `damage.damage_table`; pooled: `damage.pooled` of it.
        responders: `trivial.responder_table`, for the level of the best one.
    """
    if table.empty:
        return None
    names = list(table["task"].unique())
    fig, axes = panels(len(names), columns=1, height=3.6)
    for axis, task in zip(axes.flat, names, strict=True):
        mine = table[table["task"] == task]
        best = responders[responders["task"] == task] if len(responders) else responders
        if len(best):
            axis.axhline(100 * best["value"].max(), **CHANCE, label="best trivial responder")
        dense = mine[mine["kind"] == "dense"]
        axis.axhline(100 * dense["value"].iloc[0], **BASELINE)
        _path(axis, pd.concat([dense, mine[mine["kind"] == criterion]]), PALETTE[0], criterion)
        others = [kind for kind in mine["kind"].unique()
                  if kind not in ("dense", criterion, "random")]  # fmt: skip
        for kind, color, marker in zip(others, (PALETTE[3], *PALETTE[4:]), MARKERS[3:],
                                       strict=False):  # fmt: skip
            part = mine[mine["kind"] == kind].sort_values("perplexity")
            axis.plot(part["perplexity"], 100 * part["value"], linestyle=":", color=color,
                      marker=marker, markersize=6, label=_kind_label(kind))  # fmt: skip
        _random(axis, mine, pooled[pooled["task"] == task] if len(pooled) else pooled)
        _star(axis, dense)
        axis.set_xscale("log")
        _plain_log(axis, mine["perplexity"])
        axis.set_title(task, fontsize=10)
        axis.set_ylabel("score, %", fontsize=9)
        axis.set_ylim(-2, min(103, 100 * mine["value"].max() + 8))
        axis.set_xlabel(f"{mine['perplexity_task'].iloc[0]}, word perplexity (log scale)",
                        fontsize=9)  # fmt: skip
    legend(fig, axes, columns=3)
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
        root=root,
    )


def _kind_label(kind: str) -> str:
    return "noise at full width" if kind == "noise" else kind


def _path(axis, rows: pd.DataFrame, color: str, label: str) -> None:
    """The widths in order, with the share removed beside each point."""
    rows = rows.sort_values("pruning_ratio")
    axis.plot(rows["perplexity"], 100 * rows["value"], color=color, marker=MARKERS[0],
              markersize=5, label=label)  # fmt: skip
    for row in rows[rows["pruning_ratio"] > 0].itertuples():
        axis.annotate(f"{100 * row.pruning_ratio:.3g}%", (row.perplexity, 100 * row.value),
                      xytext=(5, 5), textcoords="offset points", fontsize=8,
                      color=color)  # fmt: skip


def _random(axis, mine: pd.DataFrame, pooled: pd.DataFrame) -> None:
    color, marker = KINDS["random"]
    each = mine[mine["kind"] == "random"]
    axis.plot(each["perplexity"], 100 * each["value"], ".", color=color, alpha=0.5, markersize=4)
    if pooled.empty:
        return
    seeds = int(pooled["seeds"].max())
    value = 100 * pooled["value"]
    spread = [(value - 100 * pooled["low"]).clip(lower=0), (100 * pooled["high"] - value).clip(
        lower=0)]  # fmt: skip
    axis.errorbar(pooled["perplexity"], value, yerr=spread, color=color, marker=marker, **CAPS,
                  markersize=4.5, linewidth=1, linestyle="--",
                  label=f"random, {seeds} seed{'s' * (seeds > 1)}")  # fmt: skip


def _star(axis, dense: pd.DataFrame) -> None:
    color, marker = KINDS["dense"]
    axis.plot(dense["perplexity"], 100 * dense["value"], marker, color=color, markersize=10,
              linestyle="none", label="dense")  # fmt: skip


def _plain_log(axis, values: pd.Series) -> None:
    """Few plain numbers on a logarithmic axis, none of them on top of another."""
    low, high = float(values.min()), float(values.max())
    steps = np.array([m * 10.0**e for e in range(-2, 9) for m in (1, 1.5, 2, 3, 5, 7)])
    inside = steps[(steps >= 0.9 * low) & (steps <= 1.1 * high)]
    every = max(1, -(-len(inside) // 7))
    axis.set_xticks(inside[::every] if len(inside) else [low])
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=9)
