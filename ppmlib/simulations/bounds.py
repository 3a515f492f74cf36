"""The bounds that the procedures must keep, each with its worst row."""

from collections.abc import Mapping

import pandas as pd

ALWAYS, BAND, ENOUGH_PAIRS = 0.93, (0.93, 0.97), 10
FAMILY_LEVEL = 0.05
# Bound, table, column, limit, whether it is a least value, column of the simulation error.
BOUNDS = (
    ("score intervals cover at least 93%", "coverage", "coverage", ALWAYS, True, "error"),
    (
        "score intervals cover at most 97% with 10 expected discordant pairs",
        *("enough", "coverage", BAND[1], False, "error"),
    ),
    (
        "bootstrap intervals of graded scores cover at least 93%",
        *("graded", "coverage", ALWAYS, True, "error"),
    ),
    (
        "intervals of graded scores themselves cover at least 93%",
        *("graded", "level_coverage", ALWAYS, True, "level_error"),
    ),
    (
        "intervals of differences between two tasks cover at least 93%",
        *("combined", "coverage", ALWAYS, True, "error"),
    ),
    (
        "intervals over documents and random selections cover at least 93%",
        *("seeds", "coverage", ALWAYS, True, "error"),
    ),
    (
        "any false claim after Holm in at most 5%",
        *("false_positives", "family", FAMILY_LEVEL, False, "error"),
    ),
    (
        "graded scores falsely called equivalent in at most 5%",
        *("graded", "false_equivalences", FAMILY_LEVEL, False, "equivalence_error"),
    ),
)
CIRCUMSTANCES = {
    "expected_pairs": "{:.3g} expected pairs",
    "spread": "spread of selections {:.0%}",
    "lead": "lead {:.1%}",
    "claims": "declared claims: {:.0f}",
    "kind": "{}",
    "selections": "{:.0f} selections",
}


def check_bounds(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The bounds of the design, each with its worst row; two simulation errors are allowed.

    Args:
        tables: `coverage`, `graded`, `combined`, `seeds` and `false_positives`.
    Returns:
        bound, worst, error, where, holds.
    """
    coverage = tables["coverage"]
    enough = coverage[coverage["expected_pairs"] >= ENOUGH_PAIRS]
    rows = []
    for bound, name, column, limit, at_least, error in BOUNDS:
        table = enough if name == "enough" else tables[name]
        worst = table.loc[table[column].idxmin() if at_least else table[column].idxmax()]
        value, slack = float(worst[column]), 2 * worst[error]
        kept = value >= limit - slack if at_least else value <= limit + slack
        rows.append((bound, value, float(worst[error]), describe_row(worst), bool(kept)))
    return pd.DataFrame(rows, columns=["bound", "worst", "error", "where", "holds"])


def describe_row(row: pd.Series) -> str:
    """The circumstances of a simulated row: `n = 100, 2 expected pairs`."""
    if "other_n" in row:
        losses = f"losing {row['loss']:.1%} and {row['other_loss']:.1%}"
        return f"n = {row['n']:.0f} and {row['other_n']:.0f}, {losses}"
    parts = [text.format(row[name]) for name, text in CIRCUMSTANCES.items() if name in row]
    return ", ".join([f"n = {row['n']:.0f}", *parts])
