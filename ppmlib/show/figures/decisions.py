"""What was declared and what may be given up: claims and the trade-off (notebook 5)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.show.figures import BASELINE, MARKERS, PALETTE, Figure, figure
from ppmlib.show.figures.abilities import CAPS, CONTROL, WIDTH, X_LABEL, legend, width_axis
from ppmlib.show.wording import percent, signed

HELD = {True: ("o", PALETTE[2], "holds"), False: ("X", PALETTE[1], "not shown")}
ZONE = "#cfe3d6"


def claims(table: pd.DataFrame, *, root: Path | None = None) -> Figure | None:
    """Each tested claim: what was declared as a zone, what was found with its interval.

    Claims about perplexities (percent) are left out.

    Args:
        table: `verdicts.claims_table`; None if no claim in points was tested.
    """
    rows = table[table["holds"].notna() & (table["unit"] == "points")]
    if rows.empty:
        return None
    fig, axis = plt.subplots(figsize=(WIDTH, 0.62 * len(rows) + 1.7))
    reach = 1.15 * max(
        rows[["ci_low_points", "ci_high_points"]].astype(float).abs().max().max(),
        1.5 * float(rows["margin_points"].max()), 5.0,
    )  # fmt: skip
    axis.axvline(0, **BASELINE)
    for at, row in enumerate(rows.to_dict("records")):
        margin = row["margin_points"]
        zone = {"better": (margin, reach), "worse": (-reach, -margin),
                "equivalent": (-margin, margin)}[row["direction"]]  # fmt: skip
        axis.barh(at, zone[1] - zone[0], left=zone[0], height=0.66, color=ZONE, zorder=0,
                  label="declared")  # fmt: skip
        marker, color, label = HELD[row["holds"]]
        ends = [row["ci_low_points"], row["ci_high_points"]]
        axis.plot(ends, [at, at], color=color, linewidth=2.2)
        axis.plot(row["diff_points"], at, marker, color=color, markersize=9, label=label)
    names = [f"{r.task}\n{r.direction}, {percent(r.pruning_ratio)}" for r in rows.itertuples()]
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(-reach, reach)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("difference to the dense model, points", fontsize=9)
    legend(fig, np.array([axis]))
    said = "; ".join(
        f"{r.task} {r.direction}: {signed(r.diff_points)}, {HELD[r.holds][2]}"
        for r in rows.itertuples()
    )
    columns = ["task", "pruning_ratio", "direction", "margin_points", "diff_points",
               "ci_low_points", "ci_high_points", "p_holm", "holds"]  # fmt: skip
    return figure(
        fig,
        name="declared_claims",
        title="Declared claims: green where the change was declared to lie, the change found with "
        "its interval (90% for equivalence, else 95%).",
        alt=f"Forest plot of declared claims, in points: {said}.",
        table=rows[columns].set_index("task"),
        root=root,
    )


def trade_off(rows: pd.DataFrame, found: dict, *, root: Path | None = None) -> Figure | None:
    """Loss of each knowledge task with its one-sided 95% bound, against the margin.

    Args:
        rows: headlines of the criterion. found: `contrasts.trade_off`; None without tasks.
    """
    if not found["tasks"]:
        return None
    rows = rows[rows["task"].isin(found["tasks"])]
    rows = rows.sort_values("expansion_ratio", ascending=False)
    fig, axis = plt.subplots(figsize=(WIDTH, 3.6))
    axis.axhline(0, **BASELINE, label="dense")
    margin = found["margin_points"]
    if margin:
        axis.axhspan(-margin, margin, color=ZONE, zorder=0, label=f"within {margin:g} points")
    for (task, part), color, marker in zip(rows.groupby("task", sort=False),
                                           (*PALETTE, CONTROL), MARKERS, strict=False):  # fmt: skip
        change = part["diff_points"]
        axis.errorbar(part["expansion_ratio"], change, yerr=[change - part["low90_points"],
                      part["high90_points"] - change], color=color, marker=marker, **CAPS,
                      markersize=5, label=task)  # fmt: skip
    width_axis(axis, rows)
    axis.set_xlabel(X_LABEL, fontsize=9)
    axis.set_ylabel("change, points (90% interval)", fontsize=9)
    legend(fig, np.array([axis]))
    best = "none" if found["ratio"] is None else f"{percent(found['ratio'])} removed"
    return figure(
        fig,
        name="trade_off",
        title="How far until knowledge is lost? Changes of the knowledge tasks with 90% intervals; "
        "a width passes where the whole interval lies above minus the margin.",
        alt=f"Line chart of the changes of {len(found['tasks'])} knowledge tasks by expansion "
        f"ratio; the largest passing width: {best}.",
        table=rows.assign(margin_points=margin)[
            ["task", "run", "pruning_ratio", "expansion_ratio", "diff_points", "low90_points",
             "high90_points", "margin_points"]
        ].set_index(["task", "run"]),
        root=root,
    )  # fmt: skip
