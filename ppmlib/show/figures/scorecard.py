"""The scores of one run, each beside its chance level and its permuted floor (notebook 3)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ppmlib.show import figures as plots

COLUMNS = ["axis", "metric", "value", "low", "high", "chance", "permuted", "n"]


def scorecard(
    table: pd.DataFrame, *, name: str, title: str, root: Path | None = None
) -> plots.Figure | None:
    """Headline scores with 95% intervals; grey line: chance; cross: the same responses permuted.

    Perplexities are in the table below the figure: they have neither a floor nor the same unit.
    None where nothing else was evaluated.

    Args:
        table: what `scorecard.headlines` gave.
        name: of the figure's files, such as `<run>/scorecard`.
    """
    shares = table[table["unit"] == "points"][::-1]
    if shares.empty:
        return None
    fig, axes = plt.subplots(figsize=(7.2, 0.42 * len(shares) + 1.3))
    axis_names = list(dict.fromkeys(table["axis"]))
    colours = dict(zip(axis_names, plots.PALETTE * len(axis_names), strict=False))
    y = np.arange(len(shares))
    value, low, high, chance, permuted = (
        100 * shares[name].astype(float) for name in ("value", "low", "high", "chance", "permuted")
    )
    shades = [colours[name] for name in shares["axis"]]
    axes.hlines(y, low, high, colors=shades, linewidth=2.2)
    axes.scatter(value, y, c=shades, s=42, zorder=3)
    axes.scatter([], [], c="#333333", s=42, label="score, 95% interval")
    if chance.notna().any():
        axes.scatter(chance, y, marker="|", s=320, color="#777777", linewidths=2, zorder=2)
        axes.scatter([], [], marker="|", s=160, color="#777777", linewidths=2, label="chance")
    if permuted.notna().any():
        axes.scatter(permuted, y, marker="x", s=44, color="#000000", linewidths=1.4, zorder=4)
        axes.scatter([], [], marker="x", s=44, color="#000000", label="permuted responses")
    axes.set_yticks(
        y, [f"{task}\n({row.axis})" for task, row in shares.iterrows()], fontsize="small"
    )
    axes.set(xlim=(-2, 102), xlabel="score (%)", ylim=(-0.6, len(shares) - 0.4))
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=3, fontsize="small")
    above = ", ".join(shares[shares["level"] == "above floor"].index[::-1]) or "none"
    return plots.figure(
        fig,
        name=name,
        title=title,
        alt=f"Scores of {len(shares)} tasks with 95% intervals beside chance and permuted floors; "
        f"above their floor: {above}.",
        table=table[COLUMNS],
        root=root,
    )
