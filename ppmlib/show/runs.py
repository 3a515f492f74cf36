"""The evaluated widths of a study, for reading."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.show.table import table_of
from ppmlib.show.wording import percent


def tabulate_runs(study: Study) -> pd.DataFrame:
    """Sizes, tasks and documents of every evaluated width, dense first."""
    narrower = [run for selection in study.selections() for run in study.widths(selection)]

    def cells(run: Mapping[str, Any]) -> dict[str, Any]:
        tasks = study.evaluations[run["key"]]["results"]["tasks"]
        return {
            "run": run["key"],
            "expansion ratio": f"{run['expansion_ratio']:.2f}x",
            "neurons removed": percent(run["pruning_ratio"]),
            "neurons per layer": run["intermediate_size"],
            "parameters": f"{run['parameters']:,}",
            "tasks": len(tasks),
            "documents": f"{sum(task['n'] for task in tasks.values()):,}",
        }

    return table_of([run._asdict() for run in (study.runs[DENSE], *narrower)], "run", cells)
