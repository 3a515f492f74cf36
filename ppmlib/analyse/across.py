"""Several finished studies compared: each model a replicate, nothing pooled (notebook 7)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ppmlib.analyse.sources import about_task, flatten, refuse_unlike
from ppmlib.analyse.study_records import DENSE
from ppmlib.record import evaluation_records, records
from ppmlib.record.records import RecordError

NOT_COMPARED = ("settings.floors", "settings.engine")
OF_THE_MODEL = ("model.dtype",)
TASK_FIELDS = (
    *("definition_sha256", "code_sha256", "groups_sha256", "version", "num_fewshot", "n"),
    *("max_gen_toks", "doc_sha256", "target_sha256", "fewshot_sha256"),
)
SCORE_FIELDS = ("metric", "filter", "axis")
CHANGES = ["worse", "better", "equivalent", "inconclusive"]
AGREEMENT = ["task", "pruning_ratio", "models", *CHANGES, "unit", "low_points", "high_points"]
COLUMNS = [
    *("study", "model", "task", "metric", "axis", "run", "pruning_ratio", "expansion_ratio"),
    *("dense_expansion_ratio", "n", "unit", "dense_value", "value", "diff_points"),
    *("ci_low_points", "ci_high_points", "change", "level", "margin_points"),
]


class Model(NamedTuple):
    """One finished study: its name, its analysis record and its dense evaluation."""

    study: str
    analysis: dict[str, Any]
    dense: dict[str, Any]

    @property
    def criterion(self) -> str:
        """The selection that the study judges."""
        return self.analysis["inputs"]["criterion"]

    @property
    def tasks(self) -> list[str]:
        """The study's tasks in their order."""
        return [task["name"] for task in self.analysis["inputs"]["tasks"]]

    @property
    def headlines(self) -> list[dict[str, Any]]:
        """The verdicts on headline metrics of the judged selection."""
        rows = self.analysis["results"]["verdicts"]
        return [row for row in rows if row["headline"] and row["selection"] == self.criterion]


def load(folders: Sequence[Path]) -> list[Model]:
    """Read finished studies, refused where their numbers cannot be compared.

    Raises:
        RecordError: for a folder without a verified analysis, a study given twice, or studies that
            differ in lm-eval's version, a setting of the evaluation (BOS, batch size, ...), or the
            documents of a common task; it names the field and both values.
    """
    models = []
    for folder in map(Path, folders):
        analysis = records.read(folder, "5_analysis")
        dense = evaluation_records.read_one(folder, DENSE)
        if dense is None:
            raise RecordError(f"{folder}: no evaluation of the dense model")
        models.append(Model(analysis["results"]["study"], analysis, dense))
    names = [model.study for model in models]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RecordError(f"study {twice[0]} is given twice: each model counts once")
    for other in models[1:]:
        _refuse_unlike(models[0], other)
    if not common_tasks(models):
        raise RecordError(f"{' and '.join(names)} have no task in common")
    return models


def _compared(model: Model) -> dict[str, Any]:
    inputs = model.dense["inputs"]
    settings = {
        name: value
        for name, value in flatten(inputs).items()
        if name in OF_THE_MODEL
        or (name.startswith("settings.") and not name.startswith(NOT_COMPARED))
    }
    version = inputs["versions"]["lm_eval"]
    return {"criterion": model.criterion, **settings, "versions.lm_eval": version}


def _refuse_unlike(first: Model, second: Model) -> None:
    names = first.study, second.study
    refuse_unlike(*names, _compared(first), _compared(second))
    mine, other = (model.dense["inputs"]["tasks"] for model in (first, second))
    scores = [
        {task["name"]: task for task in model.analysis["inputs"]["tasks"]}
        for model in (first, second)
    ]
    for task in first.tasks:
        if task in mine and task in other:
            refuse_unlike(*names, *about_task(task, scores, SCORE_FIELDS))
            refuse_unlike(*names, *about_task(task, (mine, other), TASK_FIELDS))


def common_tasks(models: Sequence[Model]) -> list[str]:
    """Tasks with a headline verdict in every model, in the first one's order."""
    judged = [{row["task"] for row in model.headlines} for model in models]
    return [task for task in models[0].tasks if all(task in found for found in judged)]


def changes_table(models: Sequence[Model]) -> pd.DataFrame:
    """Every common headline of every model and width, against that model's own dense scores.

    Returns:
        a DataFrame of COLUMNS, tasks in order, models in order, widest first.
    """
    rows = []
    for task in common_tasks(models):
        for model in models:
            about = {
                "study": model.study,
                "model": model.analysis["results"]["model"],
                "dense_expansion_ratio": model.dense["results"]["expansion_ratio"],
            }
            found = [{**row, **about} for row in model.headlines if row["task"] == task]
            rows += sorted(found, key=lambda row: -row["expansion_ratio"])
    return pd.DataFrame(rows, columns=COLUMNS)


def shared_ratios(table: pd.DataFrame) -> list[float]:
    """Pruning ratios that every model was pruned at."""
    sets = [set(part["pruning_ratio"]) for _, part in table.groupby("study")]
    return sorted(set.intersection(*sets)) if sets else []


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Task by task at each common pruning ratio: how many models are worse, better, or neither.

    Counts of models, no p-value; `low_points` and `high_points`: the range of their changes. A task
    has no row at a ratio where a model was not evaluated on it.
    """
    rows = []
    shared = table[table["pruning_ratio"].isin(shared_ratios(table))]
    models = table["study"].nunique()
    for (task, ratio), part in shared.groupby(["task", "pruning_ratio"], sort=False):
        if len(part) < models:
            continue  # a model that was not evaluated there agrees with none
        rows.append(
            {
                "task": task,
                "pruning_ratio": ratio,
                "models": len(part),
                **part["change"].value_counts().reindex(CHANGES, fill_value=0),
                "unit": part["unit"].iloc[0],
                "low_points": part["diff_points"].min(),
                "high_points": part["diff_points"].max(),
            }
        )
    return pd.DataFrame(rows, columns=AGREEMENT)
