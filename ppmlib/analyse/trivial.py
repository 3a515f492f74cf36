"""Trivial baselines on the study's own documents, and every width against the best of them."""

import numpy as np
import pandas as pd

from ppmlib.analyse.outcomes import in_points
from ppmlib.analyse.study_records import DENSE, Study, describe_run
from ppmlib.statistics import paired, resampling
from ppmlib.statistics.verdicts import level_verdict

RESPONDER_COLUMNS = ["task", "metric", "responder", "run", "n", "value", "low", "high"]
BEYOND_COLUMNS = [
    *("task", "axis", "run", "pruning_ratio", "expansion_ratio", "n", "value"),
    *("best", "best_value", "responders"),
    *("above_points", "above_low", "above_high", "above_p_value", "against_best"),
    *("hard_n", "hard_value", "hard_change_points", "hard_low", "hard_high", "hard_p_value"),
]


def responder_table(study: Study, *, seed: int) -> pd.DataFrame:
    """Score of every trivial baseline with its 95% interval, headlines in points, best first."""
    rows = []
    for kind, run in study.trivial.items():
        for row in study.rows(run):
            if not row["headline"] or study.untestable(run, row):
                continue
            own = study.outcome(run, row)
            if own.unit != "points":
                continue
            interval = resampling.mean_interval(
                own.totals, weights=own.weights, clusters=own.clusters, seed=seed
            )
            rows.append([row["task"], row["metric"], kind, run, own.totals.size, *interval])
    table = pd.DataFrame(rows, columns=RESPONDER_COLUMNS)
    return table.sort_values(["task", "value"], ascending=[True, False], ignore_index=True)


def beyond_table(study: Study, responders: pd.DataFrame, *, criterion: str, seed: int):
    """The dense model and every width of the criterion against the best trivial baseline.

    `above_points`: the score minus that of the best baseline, paired by document; the best is
    chosen on the same documents, which favours it. `hard_*`: right/wrong tasks with written
    answers only, over the documents that no baseline passes; the change is paired with the dense
    model. Where fewer than two such documents are left there is none.
    """
    rows = []
    for task, mine in responders.groupby("task", sort=False):
        if study.headline(DENSE, task) is None:
            continue
        hard, best = _hard(study, task, mine), mine.iloc[0]
        of_best = {"best": best["responder"], "best_value": best["value"], "responders": len(mine)}
        for run, row in study.scored(task, criterion):
            if study.untestable(run.key, row):
                continue
            change = study.change(run.key, row, seed=seed, reference=best["run"])
            about = {"axis": row["axis"], **describe_run(run), "n": change.n, "value": row["value"]}
            above = in_points(change, "above_points", "above_")
            above["against_best"] = level_verdict(change.low, change.high)
            on_hard = _on_hard(study, run.key, row, hard, seed)
            rows.append({"task": task, **about, **of_best, **above, **on_hard})
    return pd.DataFrame(rows, columns=BEYOND_COLUMNS)


def _hard(study: Study, task: str, responders: pd.DataFrame) -> np.ndarray | None:
    """Which documents no baseline passes; None for choices and graded scores."""
    if "response" not in study.samples(DENSE, task):
        return None
    columns = [study.outcome(run, study.headline(run, task)) for run in responders["run"]]
    if any(own.weights is not None or not resampling.is_binary(own.totals) for own in columns):
        return None
    return ~np.any([own.totals > 0 for own in columns], axis=0)


def _on_hard(study: Study, run: str, row: dict, hard: np.ndarray | None, seed: int) -> dict:
    if hard is None:
        return {}
    own, dense = study.outcome(run, row), study.outcome(DENSE, row)
    if hard.sum() < 2 or not resampling.is_binary(own.totals, dense.totals):
        return {"hard_n": int(hard.sum())}
    found = {"hard_n": int(hard.sum()), "hard_value": float(own.totals[hard].mean())}
    if run == DENSE:
        return found
    clusters = None if own.clusters is None else own.clusters[hard]
    if clusters is not None and len(set(clusters)) < 2:
        return found
    change = paired.compare(dense.totals[hard], own.totals[hard], clusters=clusters, seed=seed)
    return {**found, **in_points(change, "hard_change_points", "hard_")}
