"""Generated answers, and the change by kind of instruction (notebook 5)."""

import pandas as pd

from ppmlib.show.figures import PALETTE, Figure, drawing, figure, styled
from ppmlib.show.figures.drawing import CONTROL, LINE
from ppmlib.show.wording import signed
from ppmlib.statistics.proportions import LEVEL

SHARES = {"stopped": "end before the limit", "repeating": "repeat themselves", "empty": "empty"}


@styled()
def draw_lengths(table: pd.DataFrame, *, tasks) -> Figure | None:
    """Per task with generated answers: shares that end, repeat or are empty, by width.

    None if the table (`responses.response_table`) has no rows.
    """
    names = drawing.task_names(table, tasks)
    if not names:
        return None
    table = table[table["task"].isin(names)]
    ends = {}

    def draw(axis, task: str) -> pd.DataFrame:
        mine = table[table["task"] == task].sort_values("expansion_ratio", ascending=False)
        for (name, label), look in drawing.with_looks(SHARES.items()):
            axis.plot(mine["expansion_ratio"], 100 * mine[name], label=label, **LINE, **look)
        first, last = ends[task] = mine.iloc[0], mine.iloc[-1]
        tokens = f"{first['median_tokens']:.0f} → {last['median_tokens']:.0f} tokens"
        axis.set_title(f"{task}\nmedian {tokens}", fontsize=9)
        axis.set_ylim(-3, 103)
        return mine

    fig = drawing.small_multiples(names, draw, y_label="answers, %")
    words = "; ".join(
        f"{task} {100 * ends[task][0]['stopped']:.0f} to {100 * ends[task][1]['stopped']:.0f}% end"
        for task in table["task"].drop_duplicates()
    )
    columns = ["expansion_ratio", "median_tokens", *SHARES, "change_points"]
    columns += ["from_degenerate_points", "from_proper_points"]
    return figure(
        fig,
        name="answers_by_width",
        title="Generated answers by width: how many end before the token limit, repeat themselves "
        "or are empty; median length of dense and narrowest above each panel.",
        alt=f"Small line charts, dense to narrowest: {words}.",
        table=table.set_index(["task", "run"])[columns],
    )


@styled()
def draw_kinds(table: pd.DataFrame, *, task: str, run: str) -> Figure | None:
    """Change of every kind of instruction (`responses.kinds_table`); None if there is none."""
    if table.empty:
        return None
    names = [f"{row.kind}, n = {row.n}" for row in table.itertuples()]
    label = "change of the share followed, points (95% interval)"
    height = 0.36 * len(table) + 1.5
    fig, axis = drawing.forest(names, height=height, x_label=label, fontsize=8)
    looks = {True: (PALETTE[1], "falls"), False: (PALETTE[0], "rises")}
    for at, row in enumerate(table.itertuples()):
        sure = row.p_adjusted <= LEVEL
        color, label = looks[row.diff_points < 0] if sure else (CONTROL, "not distinguishable")
        axis.plot([row.low, row.high], [at, at], color=color, linewidth=2)
        axis.plot(row.diff_points, at, "o", color=color, markersize=7, label=label)
        drawing.write_value(axis, signed(row.diff_points), (row.high, at))
    axis.margins(x=0.14)
    drawing.add_legend(axis)
    top, bottom = table.iloc[-1], table.iloc[0]
    return figure(
        fig,
        name="instruction_kinds",
        title=f"{task}: change by kind of instruction at {run}, instruction level, strict.",
        alt=f"Forest plot of {len(table)} kinds of instruction: from {bottom['kind']} "
        f"{signed(bottom['diff_points'])} to {top['kind']} {signed(top['diff_points'])} points.",
        table=table.set_index("kind"),
    )
