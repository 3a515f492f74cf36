"""Scores with their error bars, and what their level is worth beside a floor."""

from typing import Any

import pandas as pd

from ppmlib import resampling, stats
from ppmlib.analysis.study_records import Study, describe_run


def floor_of(study: Study, run: str, row: dict[str, Any], seed: int) -> dict[str, Any]:
    """A score's level against its floor.

    Generation tasks: own minus permuted responses, paired by document. Choice tasks: the score
    minus the expected score of guessing. Others have none.

    Returns:
        floor, floor_kind, own_minus_floor_points with its 95% interval, floor_p_value and level,
        by name.
    """
    key = ("level", run, row["task"], row["metric"], row["filter"], seed)
    return study.once(key, lambda: _floor_of(study, run, row, seed))


def _floor_of(study: Study, run: str, row: dict[str, Any], seed: int) -> dict[str, Any]:
    none = {
        "floor": None, "floor_kind": "none", "own_minus_floor_points": None,
        "own_minus_floor_low": None, "own_minus_floor_high": None, "floor_p_value": None,
        "level": "no floor",
    }  # fmt: skip
    if study.has_outcomes(run, row, floor=True):
        change = study.own_minus_floor(run, row, seed=seed)
        own = study.outcome(run, row, floor=True)
        total = own.totals.size if own.weights is None else own.weights.sum()
        low, high, p = change.low, change.high, change.p_value
        kind, floor, gap = "permuted responses", own.totals.sum() / total, change.difference
    elif row["chance"] is not None:
        own = study.outcome(run, row)
        mean, low, high = resampling.mean_interval(
            own.totals, weights=own.weights, clusters=own.clusters, seed=seed
        )
        kind, floor, gap = "chance", row["chance"], mean - row["chance"]
        low, high, p = low - floor, high - floor, None
    else:
        return none
    return {
        "floor": float(floor), "floor_kind": kind, "own_minus_floor_points": 100 * float(gap),
        "own_minus_floor_low": 100 * low, "own_minus_floor_high": 100 * high,
        "floor_p_value": p, "level": stats.level_verdict(low, high),
    }  # fmt: skip


def scores_table(study: Study, *, seed: int, all_metrics: bool = False) -> pd.DataFrame:
    """Every score with its 95% interval and floor, one row per run, task and metric.

    Args:
        all_metrics: also the metrics that are not headlines.
    """
    table = []
    for key, run in study.runs.items():
        for row in study.rows(key):
            if not (row["headline"] or all_metrics):
                continue
            if not study.has_outcomes(key, row):
                continue
            own = study.outcome(key, row)
            low, high = None, None
            if own.totals.size > 1:
                _, *ends = resampling.mean_interval(
                    own.totals, weights=own.weights, clusters=own.clusters, seed=seed
                )
                low, high = sorted(own.value(end) for end in ends)
            table.append({
                **describe_run(run), **{name: row[name] for name in ("task", "metric", "filter")},
                "axis": row["axis"], "headline": row["headline"], "n": row["n"],
                "value": row["value"], "low": low, "high": high, "unit": own.unit,
                "chance": row["chance"],
                **(floor_of(study, key, row, seed) if own.totals.size > 1 else {}),
            })  # fmt: skip
    order = ["task", "headline", "metric", "selection", "expansion_ratio"]
    ascending = [True, False, True, True, False]
    return pd.DataFrame(table).sort_values(order, ascending=ascending, ignore_index=True)
