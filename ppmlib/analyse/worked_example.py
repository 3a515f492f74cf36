"""One task at one width, counted out: what every row of the table of verdicts is made of."""

from typing import NamedTuple

import pandas as pd

from ppmlib.analyse.study_records import Study
from ppmlib.record.evaluation_records import DENSE
from ppmlib.statistics.resampling import is_binary


class WorkedExample(NamedTuple):
    """A verdict row, and its documents counted by `[dense, pruned]`, 1 right and 0 wrong."""

    verdict: dict
    documents: dict[tuple[int, int], int]


def choose_example(study: Study, verdicts: pd.DataFrame, run: str) -> WorkedExample | None:
    """The first right-or-wrong headline score of a run; None where there is none.

    Args:
        verdicts: rows of `verdict_table`, in the order of the study's tasks.
        run: the run that is shown in detail.
    """
    for row in verdicts[(verdicts["run"] == run) & verdicts["headline"]].to_dict("records"):
        dense, pruned = (study.outcome(name, row) for name in (DENSE, run))
        plain = dense.weights is None and dense.clusters is None
        if plain and is_binary(dense.totals, pruned.totals):
            pairs = pd.Series(zip(dense.totals.astype(int), pruned.totals.astype(int), strict=True))
            cells = {(d, p): int((pairs == (d, p)).sum()) for d in (1, 0) for p in (1, 0)}
            return WorkedExample(row, cells)
    return None
