"""Scores with their 95% intervals, and what their level is worth against a floor."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppmlib.analyse.outcomes import compare, has_outcome, outcome_of, untestable
from ppmlib.analyse.study_records import RUN_COLUMNS, Study, describe_run, metric_key
from ppmlib.statistics import resampling
from ppmlib.statistics.verdicts import level_verdict

GAP = ("own_minus_floor_points", "own_minus_floor_low", "own_minus_floor_high")
# Not the study's: notebook 3, which knows of no study, must come to the same level.
SEED = 0
DESCRIBED = ("task", "metric", "filter", "axis", "headline", "n", "value")


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
        return _level()
    own = outcome_of(table, row)
    if has_outcome(table, row, floor=True):
        permuted = outcome_of(table, row, floor=True)
        change = compare(permuted, own, seed=SEED)
        gap = change.difference, change.low, change.high
        return _level("permuted responses", permuted.mean(), gap, change.p_value)
    if row["chance"] is None or pd.isna(row["chance"]):
        return _level()
    chance = float(row["chance"])
    return _level("chance", chance, [end - chance for end in (own.mean(), *_ends(table, row))])


def _level(kind="none", floor=None, gap=(None, None, None), p_value=None) -> dict[str, Any]:
    """The names of `judge`; `gap` is the score minus its floor and the interval's ends."""
    points = [None if value is None else 100 * value for value in gap]
    return {
        "floor": floor,
        "floor_kind": kind,
        **dict(zip(GAP, points, strict=True)),
        "floor_p_value": p_value,
        "level": "no floor" if floor is None else level_verdict(*gap[1:]),
    }


def floor_of(study: Study, run: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """`judge` of a run's metric row."""
    key = ("level", run, *metric_key(row))
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
            about = {**describe_run(run), **{name: row[name] for name in (*DESCRIBED, "chance")}}
            about |= {"low": low, "high": high, "unit": study.outcome(key, row).unit}
            table.append({**about, **floor_of(study, key, row)})
    order = ["task", "headline", "metric", "selection", "expansion_ratio"]
    columns = [*RUN_COLUMNS, *DESCRIBED, "low", "high", "unit", "chance", *_level()]
    table = pd.DataFrame(table, columns=columns)
    return table.sort_values(order, ascending=[True, False, True, True, False], ignore_index=True)
