"""A finished study's tables, as its analysis recorded them."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ppmlib.analyse import levels, sources
from ppmlib.record import records

ANALYSIS = "5_analysis"


class StudyTables(NamedTuple):
    """One row per run, task and metric in `scores` and `verdicts`; one per claim in `claims`."""

    scores: pd.DataFrame
    verdicts: pd.DataFrame
    claims: pd.DataFrame
    conclusions: list[str]
    limits: list[str]


def read_tables(folder: str | Path) -> StudyTables:
    """Scores with intervals and baselines, verdicts, claims and conclusions of a report folder.

    Raises:
        RecordError: if the study has no analysis, or a record is missing or damaged.
    """
    root = Path(folder)
    results = records.read(root, ANALYSIS)["results"]
    return StudyTables(
        levels.scores_table(sources.load(root)),
        pd.DataFrame(results["verdicts"]),
        pd.DataFrame(results["claims"]),
        results["conclusions"],
        results["limits"],
    )
