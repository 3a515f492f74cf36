"""What the simulations say: bounds that the procedures must keep, sentences, tables (notebook 8).

holds      each bound with its worst row
sentences  whether they hold, what the bootstrap would have done, what can be shown
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ppmlib.simulations.simulations import MARGIN
from ppmlib.statistics.proportions import POWER

ALWAYS, BAND, ENOUGH_PAIRS = 0.93, (0.93, 0.97), 10
FAMILY_LEVEL = 0.05


def holds(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The bounds of the design, each with its worst row; two simulation errors are allowed.

    Args:
        tables: `coverage`, `graded`, `combined`, `seeds` and `false_positives`.
    Returns:
        bound, worst, error, where, holds.
    """
    coverage, graded = tables["coverage"], tables["graded"]
    enough = coverage[coverage["expected_pairs"] >= ENOUGH_PAIRS]
    least, most, err = ("coverage", ALWAYS, True), ("coverage", BAND[1], False), "error"
    checks = [
        ("score intervals cover at least 93%", coverage, *least, err),
        ("score intervals cover at most 97% with 10 expected discordant pairs", enough, *most, err),
        ("bootstrap intervals of graded scores cover at least 93%", graded, *least, err),
        ("intervals of graded scores themselves cover at least 93%", graded, "level_coverage",
         ALWAYS, True, "level_error"),
        ("intervals of differences between two tasks cover at least 93%", tables["combined"],
         *least, err),
        ("intervals over documents and random selections cover at least 93%", tables["seeds"],
         *least, err),
        ("any false claim after Holm in at most 5%", tables["false_positives"], "family",
         FAMILY_LEVEL, False, err),
        ("graded scores falsely called equivalent in at most 5%", graded, "false_equivalences",
         FAMILY_LEVEL, False, "equivalence_error"),
    ]  # fmt: skip
    rows = []
    for bound, table, column, limit, at_least, error in checks:
        worst = table.loc[table[column].idxmin() if at_least else table[column].idxmax()]
        slack = 2 * worst[error]
        kept = worst[column] >= limit - slack if at_least else worst[column] <= limit + slack
        rows.append({"bound": bound, "worst": float(worst[column]), "error": float(worst[error]),
                     "where": _where(worst), "holds": bool(kept)})  # fmt: skip
    return pd.DataFrame(rows)


def _where(row: pd.Series) -> str:
    """The circumstances of a row: `n = 100, 2 expected pairs`."""
    if "other_n" in row:
        return (f"n = {row['n']:.0f} and {row['other_n']:.0f}, losing {row['loss']:.1%} and "
                f"{row['other_loss']:.1%}")  # fmt: skip
    rest = {
        "expected_pairs": "{:.3g} expected pairs", "spread": "spread of selections {:.0%}",
        "lead": "lead {:.1%}", "claims": "declared claims: {:.0f}", "kind": "{}",
        "selections": "{:.0f} selections",
    }  # fmt: skip
    parts = [text.format(row[name]) for name, text in rest.items() if name in row]
    return ", ".join([f"n = {row['n']:.0f}", *parts])


def sentences(bounds: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Whether the bounds hold, what the bootstrap would have done, what can be shown."""
    broken = bounds[~bounds["holds"]]
    said = [f"{len(bounds) - len(broken)} of {len(bounds)} bounds hold"
            + (f"; not: {', '.join(broken['bound'])}." if len(broken) else ".")]  # fmt: skip
    for row in bounds.to_dict("records"):
        said.append(f"Bound: {row['bound']}. The worst is {row['worst']:.1%} ± "
                    f"{row['error']:.1%} ({row['where']}).")  # fmt: skip
    coverage, combined = tables["coverage"], tables["combined"]
    worst = coverage.loc[coverage["bootstrap_coverage"].idxmin()]
    mixed = combined.loc[combined["bootstrap_coverage"].idxmin()]
    said.append(
        f"The percentile bootstrap, which is not used for either, covers as little as "
        f"{worst['bootstrap_coverage']:.1%} for right or wrong documents ({_where(worst)}) and "
        f"{mixed['bootstrap_coverage']:.1%} for the difference of two tasks ({_where(mixed)})."
    )
    exact = tables["losses"]
    least = exact.loc[exact["coverage"].idxmin()]
    said.append(f"Where documents are only lost, the exact coverage of the score interval is at "
                f"least {least['coverage']:.1%} ({_where(least)}).")  # fmt: skip
    power = tables["power"]
    shown = power[power["power"] >= POWER]
    for n, rows in power.groupby("n"):
        best = shown[shown["n"] == n]["effect"].min()
        seen = "none of the falls tried" if np.isnan(best) else f"a fall of {100 * best:.3g} points"
        said.append(f"With {n} documents {seen} is shown with 80% power; the smallest that could "
                    f"be is {rows['detectable_points'].iloc[0]:.1f} points, and no change is "
                    f"called equivalent within {100 * MARGIN:g} points in "
                    f"{rows['equivalent'].mean():.0%} of studies.")  # fmt: skip
    return said


def _share(value: float, error: float) -> str:
    return f"{value:.1%}\u00a0±\u00a0{error:.1%}"


def coverage_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Coverage for a page."""
    return pd.DataFrame({
        "documents": table["n"], "gained / lost": [f"{r.gain:.1%} / {r.loss:.1%}"
                                                   for r in table.itertuples()],
        "expected pairs": table["expected_pairs"].map("{:.3g}".format),
        "score interval covers": [_share(r.coverage, r.error) for r in table.itertuples()],
        "percentile bootstrap": table["bootstrap_coverage"].map("{:.1%}".format),
        "mean width, points": table["width_points"].map("{:.1f}".format),
    }).set_index("documents")  # fmt: skip


def graded_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Graded scores for a page."""
    return pd.DataFrame({
        "documents": table["n"], "changed": table["changed"].map("{:.0%}".format),
        "interval covers": [_share(r.coverage, r.error) for r in table.itertuples()],
        "of the score itself": [_share(r.level_coverage, r.level_error)
                                for r in table.itertuples()],
        "false changes": table["false_positives"].map("{:.1%}".format),
        "false equivalences": [_share(r.false_equivalences, r.equivalence_error)
                               for r in table.itertuples()],
        "simulated studies": table["draws"],
    }).set_index("documents")  # fmt: skip


def combined_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Differences of two tasks' changes for a page."""
    return pd.DataFrame({
        "documents": [f"{r.n} and {r.other_n}" for r in table.itertuples()],
        "lost": [f"{r.loss:.1%} and {r.other_loss:.1%}" for r in table.itertuples()],
        "interval covers": [_share(r.coverage, r.error) for r in table.itertuples()],
        "percentile bootstrap": table["bootstrap_coverage"].map("{:.1%}".format),
    }).set_index("documents")  # fmt: skip


def seeds_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Means over documents and random selections for a page."""
    return pd.DataFrame({
        "random selections": table["selections"],
        "their spread, points": (100 * table["spread"]).map("{:.3g}".format),
        "the criterion's lead, points": (100 * table["lead"]).map("{:.3g}".format),
        "interval covers": [_share(r.coverage, r.error) for r in table.itertuples()],
        "simulated studies": table["draws"],
    }).set_index("random selections")  # fmt: skip


def false_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """False claims for a page."""
    return pd.DataFrame({
        "documents": table["n"], "claims": table["claims"], "of": table["kind"],
        "any shown after Holm": [_share(r.family, r.error) for r in table.itertuples()],
        "the first, uncorrected": table["single"].map("{:.1%}".format),
    }).set_index("documents")  # fmt: skip


def power_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Power for a page."""
    return pd.DataFrame({
        "documents": table["n"], "true fall, points": (100 * table["effect"]).map("{:.3g}".format),
        "shown alone": [_share(r.power, r.error) for r in table.itertuples()],
        "one of three claims": table["power_holm"].map("{:.1%}".format),
        "smallest for 80%, points": ["–" if pd.isna(v) else f"{v:.1f}"
                                     for v in table["detectable_points"]],
        "no change called equivalent": table["equivalent"].map("{:.0%}".format),
    }).set_index("documents")  # fmt: skip


def bounds_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The bounds for a page."""
    return pd.DataFrame({
        "bound": table["bound"], "worst": [_share(r.worst, r.error) for r in table.itertuples()],
        "where": table["where"], "holds": table["holds"].map({True: "yes", False: "NO"}),
    }).set_index("bound")  # fmt: skip
