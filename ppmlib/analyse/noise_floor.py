"""The A/A repeat: what changes when the dense model is run again in other batches."""

import numpy as np
import pandas as pd

from ppmlib.analyse.outcomes import Outcome
from ppmlib.analyse.study_records import DENSE, Study, metric_key
from ppmlib.record.evaluation_records import REPEAT

COUNTS = ("n", "flips", "gained", "lost", "unit", "value", "again", "difference", "noise")
KEY = ["task", "metric", "filter"]


def flips(study: Study) -> pd.DataFrame:
    """How the A/A repeat of the dense run differs from it, per task and metric.

    Returns:
        a row per metric that has shares or log-likelihoods per document: n; flips, documents whose
        outcome differs at all, of which gained and lost; unit, `points` or `percent` (of a
        perplexity); value and again, the two scores; difference (again minus value) and noise,
        both in that unit. noise is the largest change that the flips could make: for points all
        of them counted in one direction, for perplexities the size of the difference. Empty
        without an A/A repeat.
    """
    rows = []
    for row in study.rows(REPEAT) if REPEAT in study.evaluations else ():
        if study.has_outcomes(DENSE, row) and study.has_outcomes(REPEAT, row):
            first, second = study.outcome(DENSE, row), study.outcome(REPEAT, row)
            if "none" not in (first.unit, second.unit):
                rows.append([*metric_key(row), *_count(first, second)])
    return pd.DataFrame(rows, columns=[*KEY, *COUNTS])


def _count(first: Outcome, second: Outcome) -> tuple:
    change, weight = second.totals - first.totals, first.weight.sum()
    counts = [int(np.sum(which)) for which in (change != 0, change > 0, change < 0)]
    values = first.value(first.mean()), second.value(second.mean())
    difference = first.effect(change.sum() / weight)
    at_most = first.effect(np.abs(change).sum() / weight)
    noise = abs(difference) if first.unit == "percent" else at_most
    return len(change), *counts, first.unit, *values, difference, noise


def within(changes: pd.DataFrame, noise: pd.DataFrame) -> pd.Series:
    """Whether each change (`diff_points`) is no larger than the noise of its task and metric.

    Args:
        noise: of `flips`.
    Returns:
        True, False, or None where no noise of that metric was measured; index as `changes`.
    """
    floor = noise.set_index(KEY)["noise"].to_dict()
    known = [floor.get(key) for key in changes[KEY].itertuples(index=False, name=None)]
    pairs = zip(changes["diff_points"], known, strict=True)
    found = [None if most is None else abs(change) <= most for change, most in pairs]
    return pd.Series(found, index=changes.index, dtype=object)
