"""The scores of one run, each with its chance level and its permuted baseline (notebook 3)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.show.figures import PALETTE, Figure, figure, styled

COLUMNS = ["axis", "metric", "value", "low", "high", "chance", "permuted", "n"]


@styled()
def draw_scorecard(table: pd.DataFrame, *, name: str, title: str) -> Figure | None:
    """Headline scores with 95% intervals; grey line: chance; cross: the permuted baseline.

    Perplexities are in the table below the figure: they have neither a baseline nor the same unit.
    None where nothing else was evaluated.

    Args:
        table: `scorecard.headlines`. name: of the figure's files, such as `<run>/scorecard`.
    """
    rows = table[table["unit"] == "points"][::-1]
    if rows.empty:
        return None
    fig, axis = plt.subplots(figsize=(7.2, 0.42 * len(rows) + 1.3))
    names = list(dict.fromkeys(table["axis"]))
    colours = dict(zip(names, PALETTE * len(names), strict=False))
    shades = [colours[name] for name in rows["axis"]]
    y, shares = np.arange(len(rows)), 100 * rows[COLUMNS[2:7]].astype(float)
    axis.hlines(y, shares["low"], shares["high"], colors=shades, linewidth=2.2)
    axis.scatter(shares["value"], y, c=shades, s=42, zorder=3)
    axis.scatter([], [], c="#333333", s=42, label="score, 95% interval")
    if shares["chance"].notna().any():
        look = {"marker": "|", "color": "#777777", "linewidths": 2}
        axis.scatter(shares["chance"], y, s=320, zorder=2, **look)
        axis.scatter([], [], s=160, label="chance", **look)
    if shares["permuted"].notna().any():
        look = {"marker": "x", "color": "#000000", "s": 44}
        axis.scatter(shares["permuted"], y, zorder=4, linewidths=1.4, **look)
        axis.scatter([], [], label="permuted baseline", **look)
    labels = [f"{task}\n({row.axis})" for task, row in rows.iterrows()]
    axis.set_yticks(y, labels, fontsize="small")
    axis.set(xlim=(-2, 102), xlabel="score (%)", ylim=(-0.6, len(rows) - 0.4))
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=3, fontsize="small")
    above = ", ".join(rows[rows["level"] == "above floor"].index[::-1]) or "none"
    return figure(
        fig,
        name=name,
        title=title,
        alt=f"Scores of {len(rows)} tasks with 95% intervals, chance and permuted baselines; "
        f"above their baseline: {above}.",
        table=table[COLUMNS],
    )
