"""The worked example of the analysis in sentences: from documents to one verdict."""

import pandas as pd

from ppmlib.analyse.worked_example import WorkedExample
from ppmlib.show import wording

CHANGES = {
    "better": "the adjusted p-value is at most 0.05 and the change is a gain",
    "worse": "the adjusted p-value is at most 0.05 and the change is a loss",
    "equivalent": "the adjusted p-value is above 0.05 and the 90% interval "
    "[{low90}, {high90}] lies within the margin of ±{margin:g} points",
    "inconclusive": "the adjusted p-value is above 0.05 and the 90% interval "
    "[{low90}, {high90}] does not lie within the margin of ±{margin:g} points",
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


def explain_steps(example: WorkedExample) -> list[str]:
    """Documents, test, interval, adjustment, verdict and baseline, one sentence or two each."""
    row, cells = example.verdict, example.documents
    gained, lost, n = cells[0, 1], cells[1, 0], row["n"]
    score = {name: wording.score_text(row[name], "points") for name in ("dense_value", "value")}
    reason = CHANGES[row["change"]].format(
        low90=wording.signed(row["low90_points"]),
        high90=wording.signed(row["high90_points"]),
        margin=row["margin_points"],
    )
    strata = " at the effective sample size of the strata" if "stratified" in row["method"] else ""
    steps = [
        f"**Documents.** Of {n:,} documents of {row['task']}, {cells[1, 1]} are right at both "
        f"widths, {cells[0, 0]} at neither, {lost} are lost and {gained} gained. The score goes "
        f"from {score['dense_value']} to {score['value']}: ({gained} − {lost}) / {n:,} = "
        f"{wording.signed(row['diff_points'])} points.",
        f"**Test.** If pruning did nothing, a changed document would be as likely gained as lost. "
        f"McNemar's exact test of {gained} gained against {lost} lost: "
        f"{wording.p_text(row['p_value'])}.",
        f"**Interval.** Changes that the documents allow at 95% (Tango's score interval{strata}): "
        f"{wording.interval_text(row['ci_low_points'], row['ci_high_points'])} points.",
        f"**Many comparisons.** Adjusted over all tasks and widths (Benjamini-Hochberg): "
        f"{wording.p_text(row['p_adjusted'])}.",
        f"**Verdict: {row['change']}**, because {reason}.",
    ]
    return [*steps, _explain_level(row)]


def _explain_level(row: dict) -> str:
    if row["floor_kind"] == "none":
        return "**Baseline.** This score has none, so its level is not judged."
    floor = wording.score_text(row["floor"], "points")
    gap = wording.interval_text(row["own_minus_floor_low"], row["own_minus_floor_high"])
    return (
        f"**Baseline.** {row['floor_kind'].capitalize()}: {floor}. The pruned score minus it is "
        f"{wording.signed(row['own_minus_floor_points'])} points {gap}: **{row['level']}**."
    )
