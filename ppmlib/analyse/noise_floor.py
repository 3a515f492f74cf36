"""The noise floor of a study: what changes when the dense model is run again in other batches,
by lm-eval's own engine where the study's is another one.

flips    per task and metric, the documents whose outcome is another one, and by how much
within   which changes are no larger than what flips by itself
"""

import numpy as np
import pandas as pd

from ppmlib.analyse.outcomes import Outcome
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.record.evaluation_records import REPEAT

COLUMNS = [
    *("task", "metric", "filter", "n", "flips", "gained", "lost", "unit"),
    *("value", "again", "difference", "noise"),
]
KEY = ["task", "metric", "filter"]


def flips(study: Study) -> pd.DataFrame:
    """How the repeated dense run differs from the dense run, per task and metric.

    Returns:
        a row per metric that has outcomes per document: n; flips, the documents whose outcome
        differs at all, of which gained and lost; unit, `points` or `percent` (of a perplexity);
        value and again, the two scores; difference (again minus value) and noise, both in that
        unit. noise is the largest change that the flips could make: for points all of them
        counted in one direction, for perplexities the size of the difference. Empty without a
        repeated run.
    Source: DESIGN 7, the A/A floor of noise.
    """
    if REPEAT not in study.evaluations:
        return pd.DataFrame(columns=COLUMNS)
    rows = []
    for row in study.rows(REPEAT):
        if not study.has_outcomes(DENSE, row) or not study.has_outcomes(REPEAT, row):
            continue
        first, second = study.outcome(DENSE, row), study.outcome(REPEAT, row)
        change = second.totals - first.totals
        rows.append({
            **{name: row[name] for name in KEY},
            "n": len(change),
            "flips": int((change != 0).sum()),
            "gained": int((change > 0).sum()),
            "lost": int((change < 0).sum()),
            "unit": first.unit,
            **_effects(first, second),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _effects(first: Outcome, second: Outcome) -> dict[str, float]:
    weights = np.ones(len(first.totals)) if first.weights is None else first.weights
    change = second.totals - first.totals
    difference = first.effect(change.sum() / weights.sum())
    at_most = first.effect(np.abs(change).sum() / weights.sum())
    return {
        "value": first.value(first.mean()),
        "again": second.value(second.mean()),
        "difference": difference,
        "noise": abs(difference) if first.unit == "percent" else at_most,
    }


def within(changes: pd.DataFrame, noise: pd.DataFrame) -> pd.Series:
    """Whether each change is no larger than the noise of its task and metric.

    Args:
        changes: columns task, metric, filter and diff_points (points, or percent of a perplexity).
        noise: what `flips` gave.
    Returns:
        True, False, or None where the study measured no noise of that metric; index as `changes`.
    """
    floor = noise.set_index(KEY)["noise"].to_dict()
    known = [floor.get(tuple(key)) for key in changes[KEY].itertuples(index=False)]
    pairs = zip(changes["diff_points"], known, strict=True)
    return pd.Series(
        [None if most is None else abs(change) <= most for change, most in pairs],
        index=changes.index,
        dtype=object,
    )
