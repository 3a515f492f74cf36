"""The worked example of the analysis in sentences: from documents to one verdict."""

import pandas as pd

from ppmlib.analyse.worked_example import WorkedExample
from ppmlib.show.wording import fill

SIGNIFICANT = "the adjusted p-value is at most 0.05 and the change is a "
INTERVAL = (
    "the adjusted p-value is above 0.05 and the 90% interval "
    "[{low90_points:signed}, {high90_points:signed}] "
)
CHANGES = {
    "better": SIGNIFICANT + "gain",
    "worse": SIGNIFICANT + "loss",
    "equivalent": INTERVAL + "lies within the margin of ±{margin_points:g} points",
    "inconclusive": INTERVAL + "does not lie within the margin of ±{margin_points:g} points",
}


def documents_table(example: WorkedExample) -> pd.DataFrame:
    """The 2x2 table of documents, with sums."""
    names = {1: "right", 0: "wrong"}
    table = pd.DataFrame(
        {
            f"pruned {names[pruned]}": {
                f"dense {names[dense]}": example.documents[dense, pruned] for dense in (1, 0)
            }
            for pruned in (1, 0)
        }
    )
    table["sum"] = table.sum(axis=1)
    table.loc["sum"] = table.sum()
    return table


STEPS = (
    "**Documents.** Of {n:,} documents of {task}, {both} are right at both widths, {neither} at "
    "neither, {lost} are lost and {gained} gained. The score goes from {dense_value:share} to "
    "{value:share}: ({gained} − {lost}) / {n:,} = {diff_points:signed} points.",
    "**Test.** If pruning did nothing, a changed document would be as likely gained as lost. "
    "McNemar's exact test of {gained} gained against {lost} lost: {p_value:p=}.",
    "**Interval.** Changes that the documents allow at 95% (Tango's score interval{strata}): "
    "[{ci_low_points:signed}, {ci_high_points:signed}] points.",
    "**Many comparisons.** Adjusted over all tasks and widths (Benjamini-Hochberg): "
    "{p_adjusted:p=}.",
    "**Verdict: {change}**, because {reason}.",
)
BASELINE = (
    "**Baseline.** {kind}: {floor:share}. The pruned score minus it is "
    "{own_minus_floor_points:signed} points "
    "[{own_minus_floor_low:signed}, {own_minus_floor_high:signed}]: **{level}**."
)
NO_BASELINE = "**Baseline.** This score has none, so its level is not judged."


def explain_steps(example: WorkedExample) -> list[str]:
    """The documents, the test, the interval, the verdict with its reason, and the baseline."""
    row, cells = example.verdict, example.documents
    more = {"both": cells[1, 1], "neither": cells[0, 0], "gained": cells[0, 1], "lost": cells[1, 0]}
    stratified = "stratified" in row["method"]
    more["strata"] = " at the effective sample size of the strata" if stratified else ""
    more["reason"] = fill(CHANGES[row["change"]], row)
    more["kind"] = row["floor_kind"].capitalize()
    last = NO_BASELINE if row["floor_kind"] == "none" else BASELINE
    return [fill(step, row, **more) for step in (*STEPS, last)]
