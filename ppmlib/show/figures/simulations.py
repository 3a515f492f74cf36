"""Coverage, false positives and power of the study's statistics (notebook 8)."""

import matplotlib.pyplot as plt
import pandas as pd

from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, drawing, figure, styled
from ppmlib.show.figures.drawing import CAPS, CONTROL, WIDTH, ZONE
from ppmlib.simulations import bounds
from ppmlib.statistics import proportions


def _add_shares(axis, x: pd.Series, share: pd.Series, error: pd.Series, **look) -> None:
    """Simulated shares in percent, with bars of two simulation errors."""
    axis.errorbar(x, 100 * share, yerr=200 * error, markersize=5, **CAPS, **look)


@styled()
def draw_coverage(table: pd.DataFrame, graded: pd.DataFrame) -> Figure:
    """Coverage of 95% intervals against the number of documents expected to change."""
    fig, axis = plt.subplots(figsize=(WIDTH, 4.2))
    low, high = (100 * end for end in bounds.BAND)
    axis.axhspan(low, high, color=ZONE, zorder=0, label=f"{low:.0f} to {high:.0f}%")
    axis.axhline(95, **BASELINE)
    axis.axvline(bounds.ENOUGH_PAIRS, **CHANCE)
    for rows, column, label, color, marker in (
        (table, "coverage", "score interval", PALETTE[0], MARKERS[0]),
        (table, "bootstrap_coverage", "percentile bootstrap", CONTROL, MARKERS[1]),
        (graded, "coverage", "graded scores", PALETTE[1], MARKERS[2]),
    ):
        look = {"color": color, "marker": marker, "linestyle": "none", "label": label}
        _add_shares(axis, rows["expected_pairs"], rows[column], rows["error"], **look)
    drawing.log_axis(axis, [2, 5, 10, 20, 50, 100, 200])
    drawing.label_axes(axis, "documents expected to change", "intervals that contain the truth, %")
    drawing.add_legend(axis, columns=2)
    worst, worst_bootstrap = table["coverage"].min(), table["bootstrap_coverage"].min()
    columns = ["n", "gain", "loss", "expected_pairs", "coverage", "error", "bootstrap_coverage"]
    return figure(
        fig,
        name="simulations/coverage",
        title="Coverage of 95% intervals; bars: two simulation errors. With ten or more expected "
        "changed documents (right of the dotted line) it must lie in the band.",
        alt=f"Coverage against expected changed documents: score intervals cover at least "
        f"{100 * worst:.1f}%, the percentile bootstrap as little as {100 * worst_bootstrap:.1f}%.",
        table=table[[*columns, "draws"]],
    )


@styled()
def draw_false_positives(table: pd.DataFrame) -> Figure:
    """Studies with any false claim after Holm (`simulations.false_positive_table`)."""
    fig, axis = plt.subplots(figsize=(WIDTH, 3.6))
    axis.axhline(100 * bounds.FAMILY_LEVEL, **BASELINE, label="5%")
    for ((kind, n), rows), look in drawing.with_looks(table.groupby(["kind", "n"], sort=False)):
        look["label"] = f"{kind}, n = {n}"
        _add_shares(axis, rows["claims"], rows["family"], rows["error"], **look)
    axis.set_xticks(sorted(set(table["claims"])))
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=9)
    drawing.label_axes(axis, "declared claims, all of them false", "studies with a false claim, %")
    drawing.add_legend(axis, columns=2)
    return figure(
        fig,
        name="simulations/false_positives",
        title="Studies in which at least one false claim is significant after Holm's correction; "
        "bars: two simulation errors.",
        alt=f"Shares of studies with a false claim by number of claims: at most "
        f"{100 * table['family'].max():.1f}%, against an allowed 5%.",
        table=table,
    )


@styled()
def draw_power(table: pd.DataFrame) -> Figure:
    """Chance to show a true fall, alone and as one of three claims (`simulations.power_table`)."""
    fig, axis = plt.subplots(figsize=(WIDTH, 3.8))
    axis.axhline(100 * proportions.POWER, **CHANCE, label="80%")
    for (effect, rows), look in drawing.with_looks(table.groupby("effect")):
        name = f"fall of {100 * effect:.3g} points"
        axis.plot(rows["n"], 100 * rows["power"], label=name, **look)
        look |= {"markerfacecolor": "white", "label": f"{name}, one of three claims"}
        axis.plot(rows["n"], 100 * rows["power_holm"], "--", **look)
    drawing.log_axis(axis, sorted(set(table["n"])))
    axis.set_ylim(-2, 102)
    drawing.label_axes(axis, "documents", "significant, % of studies")
    drawing.add_legend(axis, columns=2)
    last = table[table["n"] == table["n"].max()]
    shown = ", ".join(f"{100 * r.effect:.3g} points {r.power:.0%}" for r in last.itertuples())
    return figure(
        fig,
        name="simulations/power",
        title="Power of the exact McNemar test at 5%, alone and with Holm's correction.",
        alt=f"Power against the number of documents; with the most documents: {shown}.",
        table=table,
    )
