"""The evaluated widths of a study, for reading."""

import pandas as pd

from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.show.table import table_of


def tabulate_runs(study: Study) -> pd.DataFrame:
    """Sizes, tasks and documents of every evaluated width, dense first."""
    runs = [study.runs[DENSE]]
    runs += [run for selection in study.selections() for run in study.widths(selection)]
    rows = []
    for run in runs:
        tasks = study.evaluations[run.key]["results"]["tasks"]
        documents = sum(task["n"] for task in tasks.values())
        rows.append(run._asdict() | {"tasks": len(tasks), "documents": documents})
    columns = {
        "run": "{key}",
        "expansion ratio": "{expansion_ratio:.2f}x",
        "neurons removed": "{pruning_ratio:percent}",
        "neurons per layer": "{intermediate_size}",
        "parameters": "{parameters:,}",
        "tasks": "{tasks}",
        "documents": "{documents:,}",
    }
    return table_of(rows, "run", columns)
