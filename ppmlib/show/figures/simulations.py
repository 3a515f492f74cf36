"""Coverage, false positives and power of the study's statistics (notebook 8)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ppmlib.show import simulated
from ppmlib.show.figures import BASELINE, CHANCE, MARKERS, PALETTE, Figure, figure
from ppmlib.show.figures.abilities import CAPS, CONTROL, WIDTH, legend
from ppmlib.statistics import proportions

BAND = "#cfe3d6"


def _log_axis(axis, ticks) -> None:
    axis.set_xscale("log")
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=9)


def coverage(table: pd.DataFrame, graded: pd.DataFrame, *, root: Path | None = None) -> Figure:
    """Coverage of 95% intervals against the number of documents expected to change.

    Args:
        table: `simulations.coverage_table`. graded: `simulations.graded_table`.
    """
    fig, axis = plt.subplots(figsize=(WIDTH, 4.2))
    low, high = (100 * end for end in simulated.BAND)
    axis.axhspan(low, high, color=BAND, zorder=0, label=f"{low:.0f} to {high:.0f}%")
    axis.axhline(95, **BASELINE)
    axis.axvline(simulated.ENOUGH_PAIRS, **CHANCE)
    series = [(table, "coverage", "score interval", PALETTE[0], MARKERS[0]),
              (table, "bootstrap_coverage", "percentile bootstrap", CONTROL, MARKERS[1]),
              (graded, "coverage", "graded scores", PALETTE[1], MARKERS[2])]  # fmt: skip
    for rows, column, label, color, marker in series:
        look = {"color": color, "marker": marker, "linestyle": "none", "markersize": 5, **CAPS}
        axis.errorbar(rows["expected_pairs"], 100 * rows[column], yerr=200 * rows["error"],
                      label=label, **look)  # fmt: skip
    _log_axis(axis, [2, 5, 10, 20, 50, 100, 200])
    axis.set_xlabel("documents expected to change", fontsize=9)
    axis.set_ylabel("intervals that hold the truth, %", fontsize=9)
    legend(fig, np.array([axis]), columns=2)
    worst = table.loc[table["coverage"].idxmin()]
    columns = ["n", "gain", "loss", "expected_pairs", "coverage", "error", "bootstrap_coverage",
               "draws"]  # fmt: skip
    return figure(
        fig,
        name="simulations/coverage",
        title="Coverage of 95% intervals; bars: two simulation errors. From ten expected changed "
        "documents on (dotted) the band must hold.",
        alt=f"Coverage against expected changed documents: score intervals cover at least "
        f"{100 * worst['coverage']:.1f}%, the percentile bootstrap as little as "
        f"{100 * table['bootstrap_coverage'].min():.1f}%.",
        table=table[columns],
        root=root,
    )


def false_positives(table: pd.DataFrame, *, root: Path | None = None) -> Figure:
    """Studies with any false claim after Holm, by number of claims.

    Args:
        table: `simulations.false_positive_table`.
    """
    fig, axis = plt.subplots(figsize=(WIDTH, 3.6))
    axis.axhline(100 * simulated.FAMILY_LEVEL, **BASELINE, label="5%")
    for ((kind, n), rows), color, marker in zip(
        table.groupby(["kind", "n"], sort=False), PALETTE, MARKERS, strict=False
    ):
        axis.errorbar(rows["claims"], 100 * rows["family"], yerr=200 * rows["error"], color=color,
                      marker=marker, markersize=5, label=f"{kind}, n = {n}", **CAPS)  # fmt: skip
    axis.set_xticks(sorted(set(table["claims"])))
    axis.set_ylim(bottom=0)
    axis.set_xlabel("declared claims, all of them false", fontsize=9)
    axis.set_ylabel("studies with a false claim, %", fontsize=9)
    axis.tick_params(labelsize=9)
    legend(fig, np.array([axis]), columns=2)
    return figure(
        fig,
        name="simulations/false_positives",
        title="Studies that show at least one false claim after Holm's correction; bars: two "
        "simulation errors.",
        alt=f"Shares of studies with a false claim by number of claims: at most "
        f"{100 * table['family'].max():.1f}%, against an allowed 5%.",
        table=table,
        root=root,
    )


def power(table: pd.DataFrame, *, root: Path | None = None) -> Figure:
    """Chance to show a true fall, alone and as one of three claims, by number of documents.

    Args:
        table: `simulations.power_table`.
    """
    fig, axis = plt.subplots(figsize=(WIDTH, 3.8))
    axis.axhline(100 * proportions.POWER, **CHANCE, label="80%")
    for (effect, rows), color, marker in zip(
        table.groupby("effect"), PALETTE, MARKERS, strict=False
    ):
        name = f"fall of {100 * effect:.3g} points"
        axis.plot(rows["n"], 100 * rows["power"], color=color, marker=marker, label=name)
        axis.plot(rows["n"], 100 * rows["power_holm"], "--", color=color, marker=marker,
                  markerfacecolor="white", label=f"{name}, one of three claims")  # fmt: skip
    _log_axis(axis, sorted(set(table["n"])))
    axis.set_ylim(-2, 102)
    axis.set_xlabel("documents", fontsize=9)
    axis.set_ylabel("shown, % of studies", fontsize=9)
    legend(fig, np.array([axis]), columns=2)
    last = table[table["n"] == table["n"].max()]
    said = ", ".join(f"{100 * r.effect:.3g} points {r.power:.0%}" for r in last.itertuples())
    return figure(
        fig,
        name="simulations/power",
        title="Power of the exact McNemar test at 5%, alone and with Holm's correction.",
        alt=f"Power against the number of documents; with the most documents: {said}.",
        table=table,
        root=root,
    )
