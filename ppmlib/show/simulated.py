"""Sentences and tables of the simulations (notebook 8)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ppmlib.show.table import or_dash, table_of
from ppmlib.simulations.bounds import describe_row
from ppmlib.simulations.simulations import MARGIN
from ppmlib.statistics.proportions import POWER


def sentences(bounds: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """False claims and power, whether the bounds hold, the coverage of the percentile bootstrap."""
    broken, power = bounds[~bounds["holds"]], tables["power"]
    listed = f"; not: {', '.join(broken['bound'])}." if len(broken) else "."
    most = power["n"].max()
    false = tables["false_positives"]["family"].max()
    lines = [
        f"If every declared claim is false, at most {false:.1%} of studies find one significant; "
        f"with {most} documents {_detected(power[power['n'] == most])} is detected with 80% power.",
        f"{len(bounds) - len(broken)} of {len(bounds)} bounds hold{listed}",
    ]
    for row in bounds.to_dict("records"):
        worst = f"{row['worst']:.1%} ± {row['error']:.1%} ({row['where']})"
        lines.append(f"Bound: {row['bound']}. The worst is {worst}.")
    coverage, combined = tables["coverage"], tables["combined"]
    worst = coverage.loc[coverage["bootstrap_coverage"].idxmin()]
    mixed = combined.loc[combined["bootstrap_coverage"].idxmin()]
    lines.append(
        f"The percentile bootstrap, which is used for neither, covers as little as "
        f"{worst['bootstrap_coverage']:.1%} for right or wrong documents ({describe_row(worst)}) "
        f"and {mixed['bootstrap_coverage']:.1%} for the difference of two tasks "
        f"({describe_row(mixed)})."
    )
    exact = tables["losses"]
    least = exact.loc[exact["coverage"].idxmin()]
    lines.append(
        "Where documents are only lost, the exact coverage of the score interval is at least "
        f"{least['coverage']:.1%} ({describe_row(least)})."
    )
    for n, rows in power.groupby("n"):
        lines.append(
            f"With {n} documents {_detected(rows)} is detected with 80% power (the smallest "
            f"detectable change is {rows['detectable_points'].iloc[0]:.1f} points), and a model "
            f"without any change is called equivalent within {100 * MARGIN:g} points in "
            f"{rows['equivalent'].mean():.0%} of studies."
        )
    return lines


def _detected(rows: pd.DataFrame) -> str:
    """The smallest simulated fall that is significant with the wanted power."""
    best = rows.loc[rows["power"] >= POWER, "effect"].min()
    return "no simulated fall" if np.isnan(best) else f"a fall of {100 * best:.3g} points or more"


def _share(row: Mapping, name: str, error: str = "error") -> str:
    return f"{row[name]:.1%}\u00a0±\u00a0{row[error]:.1%}"


def coverage_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Coverage for a page."""
    return table_of(
        table,
        "documents",
        lambda row: {
            "documents": row["n"],
            "gained / lost": f"{row['gain']:.1%} / {row['loss']:.1%}",
            "expected pairs": f"{row['expected_pairs']:.3g}",
            "score interval covers": _share(row, "coverage"),
            "percentile bootstrap": f"{row['bootstrap_coverage']:.1%}",
            "mean width, points": f"{row['width_points']:.1f}",
        },
    )


def graded_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Graded scores for a page."""
    return table_of(
        table,
        "documents",
        lambda row: {
            "documents": row["n"],
            "changed": f"{row['changed']:.0%}",
            "interval covers": _share(row, "coverage"),
            "of the score itself": _share(row, "level_coverage", "level_error"),
            "false changes": f"{row['false_positives']:.1%}",
            "false equivalences": _share(row, "false_equivalences", "equivalence_error"),
            "simulated studies": row["draws"],
        },
    )


def combined_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Differences of two tasks' changes for a page."""
    return table_of(
        table,
        "documents",
        lambda row: {
            "documents": f"{row['n']} and {row['other_n']}",
            "lost": f"{row['loss']:.1%} and {row['other_loss']:.1%}",
            "interval covers": _share(row, "coverage"),
            "percentile bootstrap": f"{row['bootstrap_coverage']:.1%}",
        },
    )


def seeds_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Means over documents and random selections for a page."""
    return table_of(
        table,
        "random selections",
        lambda row: {
            "random selections": row["selections"],
            "their spread, points": f"{100 * row['spread']:.3g}",
            "the criterion's lead, points": f"{100 * row['lead']:.3g}",
            "interval covers": _share(row, "coverage"),
            "simulated studies": row["draws"],
        },
    )


def false_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """False claims for a page."""
    return table_of(
        table,
        "documents",
        lambda row: {
            "documents": row["n"],
            "claims": row["claims"],
            "of": row["kind"],
            "any significant after Holm": _share(row, "family"),
            "the first, uncorrected": f"{row['single']:.1%}",
        },
    )


def power_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Power for a page."""
    return table_of(
        table,
        "documents",
        lambda row: {
            "documents": row["n"],
            "true fall, points": f"{100 * row['effect']:.3g}",
            "significant alone": _share(row, "power"),
            "one of three claims": f"{row['power_holm']:.1%}",
            "smallest for 80%, points": or_dash(row["detectable_points"], "{:.1f}".format),
            "no change, called equivalent": f"{row['equivalent']:.0%}",
        },
    )


def bounds_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The bounds for a page."""
    return table_of(
        table,
        "bound",
        lambda row: {
            "bound": row["bound"],
            "worst": _share(row, "worst"),
            "where": row["where"],
            "holds": "yes" if row["holds"] else "NO",
        },
    )
