"""Sentences and tables of the simulations (notebook 8)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ppmlib.show.table import table_of
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


TABLES = {
    "coverage": {
        "documents": "{n}",
        "gained / lost": "{gain:.1%} / {loss:.1%}",
        "expected pairs": "{expected_pairs:.3g}",
        "score interval covers": "{coverage:.1%} ± {error:.1%}",
        "percentile bootstrap": "{bootstrap_coverage:.1%}",
        "mean width, points": "{width_points:.1f}",
    },
    "graded": {
        "documents": "{n}",
        "changed": "{changed:.0%}",
        "interval covers": "{coverage:.1%} ± {error:.1%}",
        "of the score itself": "{level_coverage:.1%} ± {level_error:.1%}",
        "false changes": "{false_positives:.1%}",
        "false equivalences": "{false_equivalences:.1%} ± {equivalence_error:.1%}",
        "simulated studies": "{draws}",
    },
    "combined": {
        "documents": "{n} and {other_n}",
        "lost": "{loss:.1%} and {other_loss:.1%}",
        "interval covers": "{coverage:.1%} ± {error:.1%}",
        "percentile bootstrap": "{bootstrap_coverage:.1%}",
    },
    "seeds": {
        "random selections": "{selections}",
        "their spread, points": "{spread_points:.3g}",
        "the criterion's lead, points": "{lead_points:.3g}",
        "interval covers": "{coverage:.1%} ± {error:.1%}",
        "simulated studies": "{draws}",
    },
    "false_positives": {
        "documents": "{n}",
        "claims": "{claims}",
        "of": "{kind}",
        "any significant after Holm": "{family:.1%} ± {error:.1%}",
        "the first, uncorrected": "{single:.1%}",
    },
    "power": {
        "documents": "{n}",
        "true fall, points": "{effect_points:.3g}",
        "significant alone": "{power:.1%} ± {error:.1%}",
        "one of three claims": "{power_holm:.1%}",
        "smallest for 80%, points": "{detectable_points:.1f}",
        "no change, called equivalent": "{equivalent:.0%}",
    },
    "bounds": {
        "bound": "{bound}",
        "worst": "{worst:.1%} ± {error:.1%}",
        "where": "{where}",
        "holds": lambda row: "yes" if row["holds"] else "NO",
    },
}


def tabulate(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """One of the TABLES for a page, from the simulated rows of that name."""
    shares = table.columns.intersection(["spread", "lead", "effect"])
    columns = TABLES[name]
    shown = table.join((100 * table[shares]).add_suffix("_points"))
    with_error = [header for header, cell in columns.items() if "±" in str(cell)]
    return table_of(shown, next(iter(columns)), columns, one_line=with_error)
