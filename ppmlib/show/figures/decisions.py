"""Declared claims and the trade-off (notebook 5)."""

import matplotlib.pyplot as plt
import pandas as pd

from ppmlib.show.figures import BASELINE, PALETTE, Figure, drawing, figure, styled
from ppmlib.show.figures.drawing import X_LABEL, ZONE
from ppmlib.show.wording import percent, signed

HELD = {True: ("o", PALETTE[2], "holds"), False: ("X", PALETTE[1], "not shown")}


@styled()
def draw_claims(table: pd.DataFrame) -> Figure | None:
    """Each tested claim: what was declared as a zone, what was found with its interval.

    Claims about perplexities (percent) are left out; None if no other claim of
    `verdicts.claims_table` was tested.
    """
    rows = table[table["holds"].notna() & (table["unit"] == "points")]
    if rows.empty:
        return None
    names = [f"{r.task}\n{r.direction}, {percent(r.pruning_ratio)}" for r in rows.itertuples()]
    label = "difference to the dense model, points"
    fig, axis = drawing.forest(names, height=0.62 * len(rows) + 1.7, x_label=label)
    ends = rows[["ci_low_points", "ci_high_points"]].astype(float)
    reach = 1.15 * max(ends.abs().max().max(), 1.5 * float(rows["margin_points"].max()), 5.0)
    for at, row in enumerate(rows.itertuples()):
        low, high = {
            "better": (row.margin_points, reach),
            "worse": (-reach, -row.margin_points),
            "equivalent": (-row.margin_points, row.margin_points),
        }[row.direction]
        axis.barh(at, high - low, left=low, height=0.66, color=ZONE, zorder=0, label="declared")
        marker, color, label = HELD[row.holds]
        axis.plot([row.ci_low_points, row.ci_high_points], [at, at], color=color, linewidth=2.2)
        axis.plot(row.diff_points, at, marker, color=color, markersize=9, label=label)
    axis.set_xlim(-reach, reach)
    axis.grid(visible=False, axis="y")
    drawing.add_legend(axis)
    found = "; ".join(
        f"{r.task} {r.direction}: {signed(r.diff_points)}, {HELD[r.holds][2]}"
        for r in rows.itertuples()
    )
    columns = ["pruning_ratio", "direction", "margin_points", "diff_points", *ends]
    return figure(
        fig,
        name="declared_claims",
        title="Declared claims: in green the declared range of the change; the measured change "
        "with its interval (90% for equivalence, else 95%).",
        alt=f"Forest plot of declared claims, in points: {found}.",
        table=rows.set_index("task")[[*columns, "p_holm", "holds"]],
    )


@styled()
def draw_trade_off(rows: pd.DataFrame, found: dict) -> Figure | None:
    """Loss of each knowledge task with its one-sided 95% bound; None without knowledge tasks."""
    if not found["tasks"]:
        return None
    rows = rows[rows["task"].isin(found["tasks"])]
    rows = rows.sort_values("expansion_ratio", ascending=False)
    fig, axis = plt.subplots(figsize=(drawing.WIDTH, 3.6))
    axis.axhline(0, **BASELINE, label="dense")
    margin = found["margin_points"]
    if margin:
        axis.axhspan(-margin, margin, color=ZONE, zorder=0, label=f"within {margin:g} points")
    change = ["diff_points", "low90_points", "high90_points"]
    for (task, part), look in drawing.with_looks(rows.groupby("task", sort=False)):
        look |= {"markersize": 5, "label": task}
        drawing.error_line(axis, part["expansion_ratio"], part[change], **look)
    drawing.width_axis(axis, rows)
    drawing.label_axes(axis, X_LABEL, "change, points (90% interval)")
    drawing.add_legend(axis)
    best = "none" if found["ratio"] is None else f"{percent(found['ratio'])} removed"
    table = rows.assign(margin_points=margin).set_index(["task", "run"])
    return figure(
        fig,
        name="trade_off",
        title="From which width on is knowledge lost? Changes of the knowledge tasks with 90% "
        "intervals; a width passes if the whole interval lies above minus the margin.",
        alt=f"Line chart of the changes of {len(found['tasks'])} knowledge tasks by expansion "
        f"ratio; the largest passing width: {best}.",
        table=table[["pruning_ratio", "expansion_ratio", *change, "margin_points"]],
    )
