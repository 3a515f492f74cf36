"""Trivial baselines in words: what they score, and where every width stands against them."""

from collections.abc import Mapping

import pandas as pd

from ppmlib.analyse.study_records import DENSE
from ppmlib.show.table import table_of
from ppmlib.show.wording import (
    DASH,
    MARKS,
    fill,
    interval_text,
    joined,
    percent,
    score_text,
    signed,
)

NAMES = {
    "constant": "constant answer",
    "repeated_token": "repeated token",
    "echo": "echoed prompt",
    "empty": "empty answer",
    "uniform": "uniform guesses",
    "majority": "majority answer",
}


def name_baseline(kind: str) -> str:
    """A trivial baseline for readers; an unknown kind by its stored name."""
    return NAMES.get(kind, kind.replace("_", " "))


def _range_text(mine: pd.DataFrame) -> str:
    """`0.0% (empty answer) to 14.2% (constant answer)`."""
    low, high = (score_text(mine["value"].iloc[at], "points") for at in (-1, 0))
    worst, best = (name_baseline(mine["responder"].iloc[at]) for at in (-1, 0))
    if len(mine) == 1:
        return f"{high} ({best})"
    if mine["value"].nunique() == 1:
        return f"{high} (all {len(mine)} of them)"
    return f"{low} ({worst}) to {high} ({best})"


def describe_baselines(responders: pd.DataFrame, beyond: pd.DataFrame, run: str) -> list[str]:
    """Task by task: the range of the baselines; the dense model and the shown width against it."""
    if responders.empty:
        return [
            "No trivial baseline was evaluated; levels are compared with the permuted baseline "
            "and with chance only."
        ]
    said = []
    for task, mine in responders.groupby("task", sort=False):
        rows = beyond[beyond["task"] == task].set_index("run")
        parts = [f"{task}: trivial baselines score {_range_text(mine)}"]
        for key in (DENSE, run):
            if key in rows.index:
                parts.append(_stands(rows.loc[key], "the dense model" if key == DENSE else None))
        said.append("; ".join(parts) + "." + _hard_text(rows, run))
    return said


def summarise_baselines(beyond: pd.DataFrame, run: str) -> list[str]:
    """One sentence: where a width is, and is not, significantly above the best baseline."""
    rows = beyond[beyond["run"] == run]
    if rows.empty:
        return []
    above = rows[rows["against_best"] == "above floor"]
    rest = [
        f"{row.task} ({row.against_best.replace('floor', 'it')}: "
        f"{score_text(row.value, 'points')} against {score_text(row.best_value, 'points')}, "
        f"{name_baseline(row.best)})"
        for row in rows.itertuples()
        if row.against_best != "above floor"
    ]
    text = (
        f"At {percent(rows['pruning_ratio'].iloc[0])} removed the score is significantly above "
        f"the best trivial baseline on {len(above)} of {len(rows)} tasks"
    )
    return [f"{text}; not on {joined(rest)}." if rest else f"{text}."]


def tabulate_baselines(beyond: pd.DataFrame) -> pd.DataFrame:
    """Every task and width against the best trivial baseline; ° not above, ▽ below it."""

    def difference(row: Mapping) -> str:
        text = fill("{above_points:signed} [{above_low:signed}, {above_high:signed}]", row)
        return text + MARKS[row["against_best"]]

    columns = {
        "task": "{task}",
        "best baseline": lambda row: fill(
            f"{name_baseline(row['best'])}, {{best_value:share}}", row
        ),
        "neurons removed": "{pruning_ratio:percent}",
        "score": "{value:share}",
        "above it, points": difference,
        "where no baseline passes": _hard_score,
    }
    return table_of(beyond, ["task", "best baseline", "neurons removed"], columns)


def _stands(row: pd.Series, name: str | None) -> str:
    level = row["against_best"].replace("floor", "the best of them")
    name = name or f"at {percent(row['pruning_ratio'])} removed the score"
    return (
        f"{name} is {level} ({signed(row['above_points'])} points "
        f"{interval_text(row['above_low'], row['above_high'])})"
    )


def _hard_text(rows: pd.DataFrame, run: str) -> str:
    if run not in rows.index or pd.isna(rows.loc[run, "hard_n"]):
        return ""
    row, count = rows.loc[run], int(rows.loc[run, "hard_n"])
    if pd.isna(row["hard_change_points"]):
        return f" {count} documents are passed by no baseline: too few to compare."
    parts = [
        f"dense {score_text(rows.loc[DENSE, 'hard_value'], 'points')}"
        if DENSE in rows.index
        else "",
        f"{percent(row['pruning_ratio'])} removed {score_text(row['hard_value'], 'points')}",
    ]
    return (
        f" On the {count} documents that no trivial baseline passes: "
        f"{joined([p for p in parts if p])} ({signed(row['hard_change_points'])} points "
        f"{interval_text(row['hard_low'], row['hard_high'])})."
    )


def _hard_score(row: Mapping) -> str:
    """`7.0% of 100 (−41.0)`, the change against dense in brackets."""
    if pd.isna(row["hard_n"]):
        return DASH
    if pd.isna(row["hard_value"]):
        return f"{int(row['hard_n'])} documents"
    text = f"{score_text(row['hard_value'], 'points')} of {int(row['hard_n'])}"
    change = row["hard_change_points"]
    return text if pd.isna(change) else f"{text} ({signed(change)})"
