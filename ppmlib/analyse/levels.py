"""Scores with their error bars, and what their level is worth beside a floor.

interval      of one score
judge         one score against its floor: the only place where a level is judged
floor_of      the same for a run of a study, kept
scores_table  every score of a study with both
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppmlib.analyse.outcomes import compare, has_outcome, outcome_of, untestable
from ppmlib.analyse.study_records import Study, describe_run
from ppmlib.statistics import resampling
from ppmlib.statistics.verdicts import level_verdict

# Not the study's: notebook 3, which knows of no study, must come to the same level.
SEED = 0
NO_FLOOR = {
    "floor": None, "floor_kind": "none", "own_minus_floor_points": None,
    "own_minus_floor_low": None, "own_minus_floor_high": None, "floor_p_value": None,
    "level": "no floor",
}  # fmt: skip
COLUMNS = [
    "run", "selection", "criterion", "seed", "pruning_ratio", "expansion_ratio", "task", "metric",
    "filter", "axis", "headline", "n", "value", "low", "high", "unit", "chance", *NO_FLOOR,
]  # fmt: skip


def interval(table: pd.DataFrame, row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """A score's 95% interval over documents, or clusters of them; None where it has none.

    Args:
        table: samples of the task. row: its metric row (metric, filter, value).
    """
    if untestable(table, row):
        return None, None
    low, high = sorted(map(outcome_of(table, row).value, _ends(table, row)))
    return low, high


def _ends(table: pd.DataFrame, row: Mapping[str, Any]) -> tuple[float, float]:
    own = outcome_of(table, row)
    return resampling.mean_interval(
        own.totals, weights=own.weights, clusters=own.clusters, seed=SEED
    )[1:]


def judge(table: pd.DataFrame, row: Mapping[str, Any]) -> dict[str, Any]:
    """A score's level against its floor.

    Written answers: own minus permuted responses, paired by document. Choices: the score minus the
    expected score of guessing. Documents of one cluster are kept together; a document's several
    answers all count. Others have no floor.

    Args:
        table: samples of the task. row: its metric row (metric, filter, value, chance).
    Returns:
        floor, floor_kind, own_minus_floor_points with its 95% interval, floor_p_value and level
        (`above floor`, `not above floor`, `below floor`, `no floor`), by name.
    """
    if untestable(table, row):
        return dict(NO_FLOOR)
    own, p = outcome_of(table, row), None
    if has_outcome(table, row, floor=True):
        permuted = outcome_of(table, row, floor=True)
        change = compare(permuted, own, seed=SEED)
        kind, floor, gap = "permuted responses", permuted.mean(), change.difference
        low, high, p = change.low, change.high, change.p_value
    elif row["chance"] is not None and not pd.isna(row["chance"]):
        kind, floor = "chance", float(row["chance"])
        low, high = (end - floor for end in _ends(table, row))
        gap = own.mean() - floor
    else:
        return dict(NO_FLOOR)
    return {
        "floor": floor, "floor_kind": kind, "own_minus_floor_points": 100 * gap,
        "own_minus_floor_low": 100 * low, "own_minus_floor_high": 100 * high,
        "floor_p_value": p, "level": level_verdict(low, high),
    }  # fmt: skip


def floor_of(study: Study, run: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """`judge` of a run's metric row."""
    key = ("level", run, row["task"], row["metric"], row["filter"])
    return study.once(key, lambda: judge(study.samples(run, row["task"]), row))


def scores_table(study: Study, *, all_metrics: bool = False) -> pd.DataFrame:
    """Every score with its 95% interval and floor, one row per run, task and metric.

    Args:
        all_metrics: also the metrics that are not headlines.
    """
    table = []
    for key, run in study.runs.items():
        for row in study.rows(key):
            if not (row["headline"] or all_metrics) or not study.has_outcomes(key, row):
                continue
            low, high = interval(study.samples(key, row["task"]), row)
            table.append({
                **describe_run(run), **{name: row[name] for name in ("task", "metric", "filter")},
                "axis": row["axis"], "headline": row["headline"], "n": row["n"],
                "value": row["value"], "low": low, "high": high,
                "unit": study.outcome(key, row).unit, "chance": row["chance"],
                **floor_of(study, key, row),
            })  # fmt: skip
    order = ["task", "headline", "metric", "selection", "expansion_ratio"]
    ascending = [True, False, True, True, False]
    table = pd.DataFrame(table, columns=COLUMNS)
    return table.sort_values(order, ascending=ascending, ignore_index=True)
